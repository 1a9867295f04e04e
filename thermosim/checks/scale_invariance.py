"""Scale-invariant networks against what is exact of them, at every batch or in a stationary state.

To rounding, of all weights w that share a scale, at every step and for any data, noise and architecture:

    <w, g> = 0                                                                      (1)
    |w'|^2 = (1 - r lambda)^2 |w|^2 + r^2 |g|^2          fixed-lr                   (2)
    |w'| = R                                             fixed-sphere               (3)

with sums over steps (2) holds between any two frames. Rounding: numbers of theta are stored to half a spacing u, which
changes |w|^2 by u |w|^2 in a step at most; (1) was measured to hold to 2 u |w||g| in networks of 2 to 20 layers, and 16
are allowed. With one network in float32, u = 1.2e-7, and steps that change |w|^2 by 2 r lambda |w|^2.

In a stationary state, g_t = |w| |g|, of all parameters together; of radii by group, sums over groups:

    r^4 = eta g_t^2/(2 lambda - eta lambda^2)            fixed-lr, but for the spread of r
    r^2 (2 lambda - eta_eff lambda^2 r^2) = eta_eff g_t^2   fixed-elr, to the order of the variance of eta_eff^2 g_t^2
    stretch = eta_eff^2 g_t^2/2                          fixed-sphere, to order eta_eff^2 g_t^2
    <|w' - w|^2> = 2 eta lambda <|w|^2>                  fixed-lr, exact

What has not been stationary, or drifts by more than 2 % of a law, is not compared. U and g_t^2 are the same at all
points that differ by the unit of length only: any lambda at one eta_eff, any eta and lambda with one product, any
sphere. This is exact: w -> c w takes one run into the other. Differences to the first such point are told.

Sources: Z. Li, S. Arora, arXiv:1910.07454; I. Sadrtdinov et al., arXiv:2511.07308; finite steps by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import SKEWEST, Comparison
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.network_gas import NEEDED, Gas, alike, gases
from thermosim.checks.means import skewness_of_mean

__all__ = ["advice", "check"]

_COSINE = 16.0  # spacings that <w, g> may be off, over |w||g|
_SUMS = 32.0  # spacings, of sums of squares
_DRIFT = 0.02  # of a law, at most
_FEWEST = 8  # replicas
_ACROSS = "gradients are across weights that share a scale, to rounding"
_RECURSION = "|w'|^2 = (1 - r lambda)^2 |w|^2 + r^2 |g|^2 at every step, to rounding"
_SPHERE = "the radius is held, to rounding"
_BALANCE = {
    "fixed-lr": "stationary r^4 = eta g_t^2/(2 lambda - eta lambda^2)",
    "fixed-elr": "stationary r^2 (2 lambda - eta_eff lambda^2 r^2) = eta_eff g_t^2",
    "fixed-sphere": "stretch = eta_eff^2 g_t^2/2",
}
_TURN = "stationary <|w' - w|^2> = 2 eta lambda <|w|^2>"
_ALIKE = "points that differ by the unit of length only"
_NAMES = {"loss": "U", "gradient": "g_t^2"}


def check(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """Of a network with scales, all that its record allows; of any other none."""
    if everyone[0].model.scales is None:
        return []
    rows = [*_across(everyone), *_recursion(everyone), *_held(everyone)]
    if ds.sizes["replica"] < _FEWEST:
        return rows
    there = gases(ds)
    rows += _balance([gas for gas in there if gas.is_stationary]) + _alike(there)
    return rows


def advice(ds: xr.Dataset) -> list[str]:
    """What is not compared of a gas, and why."""
    everyone = machines(ds)
    if everyone[0].model.scales is None or everyone[0].settings.theta.constraint is None:
        return []
    if missing := [name for name in NEEDED if name not in ds]:
        return [f"Laws of a stationary state need {', '.join(missing)}: add them to record.variables."]
    if ds.sizes["replica"] < _FEWEST:
        return [f"Laws of a stationary state are compared of {_FEWEST} replicas and more."]
    there = gases(ds)
    told = _too_coarse(there)
    drifting = sum(not gas.is_stationary for gas in there)
    if not drifting:
        return told
    which = "The run drifts" if len(there) == 1 else f"{drifting} of {len(there)} points drift"
    why = "loss or radius of the two halves of the record differ, so stationary laws are not compared there"
    remedy = "a radius relaxes in 1/(eta_eff^2 g_t^2) steps: start nearer to it (theta.radius), or run longer"
    return [f"{which}: {why}; {remedy}.", *told]


def _too_coarse(there: Sequence[Gas]) -> list[str]:
    """A sentence for stationary points at which the law of the radius leaves too much open to be compared."""
    laws = [law for gas in there if gas.is_stationary and (law := _law(gas)) is not None]
    count = sum(law[1] >= _DRIFT for law in laws)
    if not count:
        return []
    where = "At this point" if len(there) == 1 else f"At {count} of {len(there)} points"
    why = f"finite steps, or a radius that still moves, leave open more than {_DRIFT:.0%} of it"
    return [f"{where} the law of the radius is not compared: {why}; take smaller learning rates, or longer runs."]


def _spacing(machine: Machine) -> float:
    engine = machine.settings.engine
    return float(np.finfo(engine.precision if engine is not None else "float64").eps)


def _to_rounding(quantity: str, found: Sequence[float], allowed: Sequence[float], reference: str) -> Comparison:
    """Numbers of every point that would be 0 without rounding."""
    zero = np.zeros(len(found))
    tolerance = np.asarray(allowed)
    return Comparison(quantity, np.asarray(found), zero, zero, 1.0, reference, tolerance=tolerance, scale=1.0)


def _across(everyone: Sequence[Machine]) -> list[Comparison]:
    name = "radial_cosine_square"
    if name not in everyone[0].frames or not everyone[0].steps[-1]:
        return []
    found = [float(np.sqrt(m.frames[name].isel(step=-1) / m.steps[-1]).max()) for m in everyone]
    allowed = [_COSINE * _spacing(machine) for machine in everyone]
    return [_to_rounding("largest <w, g>/|w||g|, root mean square over steps", found, allowed, _ACROSS)]


def _recursion(everyone: Sequence[Machine]) -> list[Comparison]:
    """(2) between the first frame and each other, over the sum of |w|^2."""
    names = ("layer_weight_square", "layer_gradient_square", "layer_weight_gain")
    plain = all(_is_plain(machine) for machine in everyone)
    if not plain or any(name not in everyone[0].frames for name in names) or len(everyone[0].steps) < 2:
        return []
    found, allowed = [], []
    for machine in everyone:
        theta, u, first = machine.settings.theta, _spacing(machine), machine.steps[0]
        rate, shrink = float(theta.learning_rate), 1.0 - float(theta.learning_rate) * float(theta.weight_decay)
        weight, gradient, gain = (_of_scales(machine, name) for name in names)  # (F - 1, R, scales)
        steps = (machine.steps[1:] - first)[:, None, None]
        residual = gain - (shrink**2 - 1.0) * weight - rate**2 * gradient
        across = 2.0 * _COSINE * u * np.sqrt(weight * gradient) * rate
        largest = (weight / steps + np.abs(gain)) * (_SUMS + steps) * u
        found.append(float((np.abs(residual) / weight).max()))
        allowed.append(float(((across + largest) / weight).max()))
    return [_to_rounding("largest residual of |w|^2 between frames, over its sum", found, allowed, _RECURSION)]


def _is_plain(machine: Machine) -> bool:
    """Whether (2) is how it moves: also of SGD without a constraint, momentum or rates by group."""
    theta, move = machine.settings.theta, machine.theta_move
    if machine.settings.run.direction != "forward":
        return False
    numbers = all(isinstance(value, (int, float)) for value in (theta.learning_rate, theta.weight_decay))
    if theta.constraint is not None or not numbers:
        return numbers and theta.constraint == "fixed-lr"
    return move.retraces and not theta.momentum and theta.learn is None


def _of_scales(machine: Machine, name: str) -> np.ndarray:
    """What a sum over layers gained since the first frame, added up in scales: (F - 1, R, scales)."""
    assert machine.model.scales is not None
    layers = machine.frames[name].transpose("step", "replica", "layer").values
    places = {group.name: place for place, group in enumerate(machine.model.groups(machine.constants))}
    scales = machine.model.scales(machine.constants)
    gained = layers[1:] - layers[:1]
    return np.stack([gained[..., [places[one] for one in names]].sum(-1) for names in scales], axis=-1)


def _held(everyone: Sequence[Machine]) -> list[Comparison]:
    """(3) of the mean of |w|^2 between the frames, of each radius that is held."""
    name = "layer_weight_square"
    spheres = [machine for machine in everyone if machine.settings.theta.constraint == "fixed-sphere"]
    if not spheres or name not in spheres[0].frames or len(spheres[0].steps) < 2:
        return []
    found = []
    for machine in spheres:
        theta, steps = machine.settings.theta, np.diff(machine.steps[[0, -1]])
        square = _of_scales(machine, name)[-1] / steps
        square = square if theta.radii == "by-group" else square.sum(-1)
        found.append(float(np.abs(np.sqrt(square) / theta.radius - 1.0).max()))
    return [_to_rounding("largest |w|/R - 1", found, [_SUMS * _spacing(m) for m in spheres], _SPHERE)]


def _balance(still: Sequence[Gas]) -> list[Comparison]:
    """Laws of points that are stationary, one row for each kind of law."""
    rows = []
    for constraint, reference in _BALANCE.items():
        found = [law for gas in still if gas.constraint == constraint and (law := _law(gas)) is not None]
        rows += _row(f"balance of the radius at {constraint}", found, reference)
    turns = [law for gas in still if (law := _turn(gas)) is not None]
    return rows + _row("mean |w' - w|^2 over that of a stationary state", turns, _TURN)


def _row(quantity: str, laws: Sequence[tuple[np.ndarray, float]], reference: str) -> list[Comparison]:
    """Values (R,) about 1 and a tolerance, of every point; those that drift too much are left out."""
    laws = [one for one in laws if one[1] < _DRIFT and abs(skewness_of_mean(one[0])) < SKEWEST]
    if not laws:
        return []
    values = np.stack([values for values, _ in laws], axis=1)  # (R, points)
    error = values.std(0, ddof=1) / np.sqrt(len(values))
    skewness = skewness_of_mean(values)
    tolerance = np.array([tolerance for _, tolerance in laws])
    one = np.ones(len(laws))
    row = Comparison(quantity, values.mean(0), error, one, len(values) - 1.0, reference, tolerance, 1.0, skewness)
    return [row]


def _law(gas: Gas) -> tuple[np.ndarray, float] | None:
    """Left side over right side of the law of the radius, of each replica, and what the law leaves open."""
    rate, decay = gas.rate, gas.decay
    square, gradient, steps = gas.mean(gas.radius_square), gas.mean(gas.gradient), gas.steps[-1] - gas.steps[0]
    varies = _relative_variance(gas)
    if gas.constraint == "fixed-sphere":
        if gas.stretch is None:
            return None
        y = rate**2 * gradient
        return _about_one(2.0 * gas.mean(gas.stretch), y), float(y.mean()) * (1.0 + varies) / 2.0
    if not decay:
        return None
    relaxed = np.log(gas.radius_square[-1] / gas.radius_square[0]) / steps  # drift of ln |w|^2 in a step
    if gas.constraint == "fixed-elr":
        assert gas.machine.model.scales is not None
        if gas.machine.settings.theta.radii == "by-group" and len(gas.machine.model.scales(gas.machine.constants)) > 1:
            return None  # of every scale by itself: squares of sums are no sums of squares
        x, y = 2.0 * rate * decay * square, rate**2 * gradient
        open_end = float(y.mean() * (y.mean() + varies))
        return _about_one(y, x - x**2 / 4.0), open_end + float(abs(relaxed.mean()) / x.mean())
    falls = rate * decay * (2.0 - rate * decay)
    # means between frames spread less than what relaxes at the rate 4 r lambda within them
    within = 1.0 + 2.0 * rate * decay * float(np.diff(gas.steps).mean())
    spread = within * float((gas.radius_square.var(0) / square**2).mean())
    values = _about_one(rate**2 * gradient / square, falls * square)
    return values, 2.0 * spread + float(abs(relaxed.mean()) / falls)


def _relative_variance(gas: Gas) -> float:
    """Of g_t^2 in one step, from that of its means between frames, which are taken as if they were independent."""
    length = float(np.diff(gas.steps).mean())
    return float((gas.gradient.var(0, ddof=1) / gas.mean(gas.gradient) ** 2).mean() * length)


def _turn(gas: Gas) -> tuple[np.ndarray, float] | None:
    if gas.constraint != "fixed-lr" or gas.moved is None or not gas.decay:
        return None
    expected = 2.0 * gas.rate * gas.decay
    square, steps = gas.mean(gas.radius_square), gas.steps[-1] - gas.steps[0]
    drift = (gas.radius_square[-1] - gas.radius_square[0]) / steps / square
    return _about_one(gas.mean(gas.moved), expected * square), float(abs(drift.mean()) / expected)


def _about_one(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Numbers (R,) whose mean is the ratio of means."""
    ratio = over.mean() / under.mean()
    return np.asarray(ratio + (over - ratio * under) / under.mean())


def _alike(there: Sequence[Gas]) -> list[Comparison]:
    """U and g_t^2 of points that differ by the unit of length, over those of the first of them, less 1."""
    rows = []
    for quantity in ("loss", "gradient"):
        measured, errors, skewness = [], [], []
        for group in alike(there):
            still = [there[number] for number in group if there[number].is_stationary]
            for other in still[1:]:
                one, two = (gas.mean(getattr(gas, quantity)) for gas in (still[0], other))
                of_means = [v.std(ddof=1) / np.sqrt(len(v)) for v in (two, one)]
                error = float(np.hypot(*of_means))
                third = [skewness_of_mean(v) * e**3 for v, e in zip((two, one), of_means, strict=True)]
                if abs(skew := float(third[0] - third[1]) / error**3) < SKEWEST:
                    size = one.mean()
                    measured.append((two.mean() - size) / size)
                    errors.append(error / size)
                    skewness.append(skew)
        if not measured:
            continue
        title = f"{_NAMES[quantity]} over that at another unit of length, less 1"
        found, error_of, zero = np.array(measured), np.array(errors), np.zeros(len(measured))
        degrees = there[0].loss.shape[1] - 1.0  # of each mean: fewer than those of a difference
        rows.append(Comparison(title, found, error_of, zero, degrees, _ALIKE, 0.0, 1.0, np.array(skewness)))
    return rows
