"""Scale-invariant networks against what is exact of them, at every batch or in a stationary state.

To rounding, of all weights w that share a scale, at every step and for any data, noise and architecture:

    <w, g> = 0                                                                      (1)
    |w'|^2 = (1 - r lambda)^2 |w|^2 + r^2 |g|^2          fixed-lr                   (2)
    |w'| = R                                             fixed-sphere               (3)

(2), and its like at a fixed effective rate, are held between any two frames in `radius_recursion`; (1) was measured to
hold to 2 u |w||g|, u the spacing of numbers, in networks of 2 to 20 layers, and 16 are allowed.

Balances, g_t = |w| |g|, of all parameters together; of radii by group, sums over groups of each side:

    r^4 = eta g_t^2/(2 lambda - eta lambda^2)            fixed-lr, stationary, but for the spread of r
    2 eta_eff lambda r^2 - (eta_eff lambda r^2)^2 + (drift of ln r^2) = eta_eff^2 g_t^2    fixed-elr
    stretch = eta_eff^2 g_t^2/2                          fixed-sphere
    <|w' - w|^2> = 2 eta lambda <|w|^2> + (drift of |w|^2)   fixed-lr, exact

With y = eta_eff^2 g_t^2 and its variance Var y in one step, <ln(1 + q)> is the drift, q = |w'|^2/|w|^2 - 1, so that
<q> is Var y/2 above it: the second leaves open y (Var y/y^2)/2 of itself, and the third, where 2 stretch = y - y^2/4,
a part y (1 + Var y/y^2)/4. Var y is taken from means between frames, which positive correlations make too large.
Drifts are from the first to the last interval, of each replica, and errors those of independent replicas, however long
a replica remembers. A law that leaves open more than 2 % of itself is not compared, and the notes say where, and why.

U and g_t^2 are the same at all stationary points that differ by the unit of length only: any lambda at one eta_eff, any
eta and lambda with one product, any sphere. This is exact: w -> c w takes one run into the other. Differences to the
first such point are told.

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
from thermosim.checks.radius_recursion import COSINE, of_scales, recursions, spacing, to_rounding

__all__ = ["advice", "check"]

_SUMS = 32.0  # spacings, of sums of squares
_DRIFT = 0.02  # of a law, at most
_FEWEST = 8  # replicas
_ACROSS = "gradients are across weights that share a scale, to rounding"
_SPHERE = "the radius is held, to rounding"
_BALANCE = {
    "fixed-lr": "stationary r^4 = eta g_t^2/(2 lambda - eta lambda^2)",
    "fixed-elr": "r^2 (2 lambda - eta_eff lambda^2 r^2) = eta_eff g_t^2, its drift taken out",
    "fixed-sphere": "stretch = eta_eff^2 g_t^2/2",
}
_TURN = "<|w' - w|^2> = 2 eta lambda <|w|^2>, its drift taken out"
_ALIKE = "points that differ by the unit of length only"
_NAMES = {"loss": "U", "gradient": "g_t^2"}


def check(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """Of a network with scales, all that its record allows; of any other none."""
    if everyone[0].model.scales is None:
        return []
    rows = [*_across(everyone), *recursions(everyone), *_held(everyone)]
    if ds.sizes["replica"] < _FEWEST:
        return rows
    there = gases(ds)
    rows += _balance(there) + _alike(there)
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
    told = _left_out(ds, there)
    drifting = sum(not gas.is_stationary for gas in there)
    if not drifting:
        return told
    which = "The run drifts" if len(there) == 1 else f"{drifting} of {len(there)} points drift"
    why = "loss or radius of the two halves of the record differ, so what holds in a stationary state alone"
    remedy = "a radius relaxes in 1/(eta_eff^2 g_t^2) steps: start nearer to it (theta.radius), or run longer"
    return [f"{which}: {why} is not compared there; {remedy}.", *told]


def _left_out(ds: xr.Dataset, there: Sequence[Gas]) -> list[str]:
    """A sentence for each reason that the law of the radius is not compared for at some points, by their names."""
    where: dict[str, list[str]] = {}
    for gas in there:
        law = _law(gas)
        if law is not None and (why := _why_not(law)):
            at = ", ".join(f"{key} = {ds[key].values[place]}" for key, place in gas.machine.index.items())
            where.setdefault(why, []).append(f"({at})" if at else "")
    found = []
    for why, points in where.items():
        which = f" at {' and '.join(points)}" if points[0] else ""
        found.append(
            f"The law of the radius is not compared{which}: {why}; take smaller learning rates, or longer runs."
        )
    return found


def _across(everyone: Sequence[Machine]) -> list[Comparison]:
    name = "radial_cosine_square"
    if name not in everyone[0].frames or not everyone[0].steps[-1]:
        return []
    found = [float(np.sqrt(m.frames[name].isel(step=-1) / m.steps[-1]).max()) for m in everyone]
    allowed = [COSINE * spacing(machine) for machine in everyone]
    return [to_rounding("largest <w, g>/|w||g|, root mean square over steps", found, allowed, _ACROSS)]


def _held(everyone: Sequence[Machine]) -> list[Comparison]:
    """(3) of the mean of |w|^2 between the frames, of each radius that is held."""
    name = "layer_weight_square"
    spheres = [machine for machine in everyone if machine.settings.theta.constraint == "fixed-sphere"]
    if not spheres or name not in spheres[0].frames or len(spheres[0].steps) < 2:
        return []
    found = []
    for machine in spheres:
        theta, steps = machine.settings.theta, np.diff(machine.steps[[0, -1]])
        square = of_scales(machine, name)[-1] / steps
        square = square if theta.radii == "by-group" else square.sum(-1)
        found.append(float(np.abs(np.sqrt(square) / theta.radius - 1.0).max()))
    return [to_rounding("largest |w|/R - 1", found, [_SUMS * spacing(m) for m in spheres], _SPHERE)]


def _balance(there: Sequence[Gas]) -> list[Comparison]:
    """Laws of points, one row for each kind of law: r^4 where they are stationary, the others take their drift out."""
    rows = []
    for constraint, reference in _BALANCE.items():
        found = [law for gas in there if gas.constraint == constraint and (law := _law(gas)) is not None]
        rows += _row(f"balance of the radius at {constraint}", found, reference)
    turns = [law for gas in there if (law := _turn(gas)) is not None]
    return rows + _row("mean |w' - w|^2 over that of a stationary state", turns, _TURN)


def _why_not(law: tuple[np.ndarray, float]) -> str:
    """Why a law is not compared; empty where it is."""
    values, tolerance = law
    if not tolerance < _DRIFT:
        return f"finite steps leave open {tolerance:.1%} of it, more than {_DRIFT:.0%}"
    if not abs(skewness_of_mean(values)) < SKEWEST:
        return "replicas differ too unevenly for an error of their mean"
    return ""


def _row(quantity: str, laws: Sequence[tuple[np.ndarray, float]], reference: str) -> list[Comparison]:
    """Values (R,) about 1 and a tolerance, of every point that leaves little enough open."""
    laws = [one for one in laws if not _why_not(one)]
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
    if gas.constraint == "fixed-sphere":
        if gas.stretch is None or not gas.is_stationary:
            return None
        y = rate**2 * gas.mean(gas.gradient)
        return _about_one(2.0 * gas.mean(gas.stretch), y), float(y.mean()) * (1.0 + _relative_variance(gas)) / 4.0
    if not decay:
        return None
    if gas.constraint == "fixed-elr":
        x = 2.0 * rate * decay * gas.of_radii  # (F - 1, R, radii)
        y = rate**2 * gas.later(gas.gradient)
        falls = gas.later((x - x**2 / 4.0).sum(-1))
        grows = gas.drift(np.log(x)).sum(-1)
        spread = float((x.var(0) / x.mean(0) ** 2).mean())
        # <ln(1 + q)> is the drift: <q> is half the variance of y above it, y of one radius being y/radii
        open_end = float(y.mean()) * (_relative_variance(gas) + spread) / 2.0
        return _about_one(y - grows, falls), open_end
    if not gas.is_stationary:
        return None
    square, share = gas.later(gas.radius_square), rate * decay * (2.0 - rate * decay)
    # means between frames spread less than what relaxes at the rate 4 r lambda within them
    within = 1.0 + 2.0 * rate * decay * float(np.diff(gas.steps).mean())
    spread = within * float((gas.radius_square.var(0) / square**2).mean())
    grows = gas.drift(gas.radius_square)
    return _about_one(rate**2 * gas.later(gas.gradient) / square - grows, share * square), 2.0 * spread


def _relative_variance(gas: Gas) -> float:
    """Of g_t^2 in one step, at most: from that of its means between frames, which positive correlations enlarge."""
    lengths = np.diff(gas.steps)
    deviation = gas.gradient / gas.mean(gas.gradient) - 1.0
    free = len(lengths) / max(len(lengths) - 1, 1)
    return float((lengths[:, None] * deviation**2).mean() * free)


def _turn(gas: Gas) -> tuple[np.ndarray, float] | None:
    """|w' - w|^2 = 2 eta lambda |w|^2 + |w'|^2 - |w|^2 of every step, since w and g are at right angles."""
    if gas.constraint != "fixed-lr" or gas.moved is None or not gas.decay:
        return None
    expected, grows = 2.0 * gas.rate * gas.decay, gas.drift(gas.radius_square)
    square = gas.later(gas.radius_square)
    # of the first and the last interval a half is taken, where steps should count the more the nearer they are
    ramps = float(abs(grows.mean()) / (expected * square.mean())) / len(gas.loss)
    return _about_one(gas.later(gas.moved) - grows, expected * square), ramps


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
