"""How far weights turn in a step: the angle between theta at neighbouring steps, of each layer or row by itself.

    cos phi_t = w_t.w_(t+1)/(|w_t| |w_(t+1)|)

Where the length of w has no effect on the loss, weight decay and the growth of |w| by the gradient, which is across w,
come to a balance that sets this angle, whatever the noise, the data and the network (`exact.rotations`): near
sqrt(2 r lambda) for SGD, sqrt(2 r lambda/(1 + a)) with momentum a, sqrt(2 r lambda (1 - beta1)/(1 + beta1)) for AdamW.

Such weights are those of a scale-invariant model, and those that a model declares by a symmetry (`Model.symmetries`)
whose generator is 1 in some components and 0 in all others: every row of a normalised layer of a network. Any other
parameter group turns as a whole, and nothing is expected of it.
Source: A. Kosson, B. Messmer, M. Jaggi, ICML 2024, arXiv:2305.17212. Every X comes with X_error over replicas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put
from thermosim.analysis.machine import Machine, machines
from thermosim.exact import rotations as theory
from thermosim.schedules import values_at

__all__ = ["Part", "expected_square", "law_of_products", "parts", "path", "rotation"]

_ERRORS = 3.0  # that the halves of a stationary record may differ by
_EVERY_STEP = "record theta at every step: record.every = 1, from record.first on where the run is long"


@dataclass(frozen=True, eq=False)
class Part:
    """Some components of theta that turn together. `free`: their length has no effect on the loss."""

    name: str
    places: np.ndarray
    free: bool


@of_survivors
def rotation(ds: xr.Dataset) -> xr.Dataset:
    """Angles of all pairs of frames one step apart, dims step (of the later frame), axes and part.

    angle is the root mean square over replicas, in radians, radius the mean |w| before the step, and update_square the
    mean of |w' - w|^2 over that of |w|^2. Of the second half of the pairs, dims axes and part: settled_angle and
    settled_update_square; stationary, whether angle and ln |w| are the same in both halves of it within three standard
    errors; expected_angle and expected_square (`expected_square`), NaN where nothing is known.
    Raises ValueError without theta at neighbouring steps, four pairs of them at least.
    """
    points = machines(ds)
    if "theta" not in ds:
        raise ValueError(f"rotations need theta: add it to record.variables, and {_EVERY_STEP}")
    pairs = np.flatnonzero(np.diff(ds["step"].values) == 1)
    if len(pairs) < 4:
        raise ValueError(
            f"a rotation lies between neighbouring steps, and there are {len(pairs)} of them: {_EVERY_STEP}"
        )
    there = [parts(machine) for machine in points]
    if any(len(here) != len(there[0]) for here in there):
        raise ValueError("points of the sweep have other layers: select one of each, as in ds.isel(...)")
    frames = ds.isel(step=pairs + 1)
    of_points = [
        [_turns(path(machine, part), pairs) for part in here] for machine, here in zip(points, there, strict=True)
    ]
    turned, squares, lengths = (
        gathered(frames, [np.stack([of_part[k] for of_part in one]) for one in of_points], ("part", "step", "replica"))
        .transpose("step", ..., "part", "replica")
        .assign_coords(part=[part.name for part in there[0]])
        for k in range(3)
    )
    result = xr.Dataset()
    _put_root(result, "angle", turned**2, "angle of a step, root mean square over replicas, in radians", "every pair")
    put(result, "radius", lengths.mean("replica"), _error(lengths), "1", "mean |w| before the step", "every pair")
    _put_ratio(result, "update_square", squares, lengths**2, "<|w' - w|^2>/<|w|^2> of a step", "every pair")
    late = slice(len(pairs) // 2, None)
    turned, squares, lengths = (each.isel(step=late) for each in (turned, squares, lengths))
    when = f"steps {int(turned['step'][0])} to {int(turned['step'][-1])}"
    _put_root(result, "settled_angle", (turned**2).mean("step"), "angle of a step in the later half", when)
    moved, weight = squares.mean("step"), (lengths**2).mean("step")
    _put_ratio(result, "settled_update_square", moved, weight, "<|w' - w|^2>/<|w|^2> in the later half", when)
    known = [[expected_square(machine, part) for part in here] for machine, here in zip(points, there, strict=True)]
    square = gathered(frames, [np.array(one) for one in known], ("part",)).transpose(..., "part")
    square = square.assign_coords(part=turned["part"])
    result["expected_square"] = square.assign_attrs(
        units="1", long_name="expected settled_update_square", condition="stationary"
    )
    angle = xr.apply_ufunc(theory.angle, square)
    result["expected_angle"] = angle.assign_attrs(units="1", long_name="expected angle", condition="small 2 r lambda")
    still = _is_still(turned**2) & _is_still(xr.apply_ufunc(np.log, lengths))
    result["stationary"] = still.assign_attrs(long_name="whether angle and length are the same in both halves")
    return result


def parts(machine: Machine) -> list[Part]:
    """What turns by itself, of the parameters that are learned: rows whose length has no effect, and other groups."""
    model, constants, learn = machine.model, machine.constants, machine.settings.theta.learn
    groups, first = [], 0
    for group in model.groups(constants):
        shape = group.shape(constants)
        places = np.arange(first, first + math.prod(shape))
        first += len(places)
        if learn is None or group.name in learn:
            groups.append((group.name, places, len(places) // shape[0] if len(shape) > 1 else len(places)))
    if model.scale_invariant:
        return [Part(name, places, True) for name, places, _ in groups]
    free = _free(machine, first)
    found = []
    for name, places, row in groups:
        inside = [one for one in free if np.isin(one, places).all()]
        if not inside:
            found.append(Part(name, places, False))
        whole = len(inside) == 1 and len(places) == len(inside[0])
        found += [Part(name if whole else f"{name}[{(one[0] - places[0]) // row}]", one, True) for one in inside]
    return found


def _free(machine: Machine, size: int) -> list[np.ndarray]:
    """Places of weights whose common factor the loss does not notice."""
    found = []
    for symmetry in machine.model.symmetries:
        generators = None if symmetry.translation else symmetry.generators(machine.constants)
        if generators is None or generators.ndim != 2 or not generators.shape[0]:
            continue
        rows = np.asarray(generators.toarray() if hasattr(generators, "toarray") else generators)
        found += [np.flatnonzero(row) for row in rows if len(row) == size and np.all((row == 0.0) | (row == 1.0))]
    return found


def path(machine: Machine, part: Part) -> np.ndarray:
    """w (F, R, n) of all frames."""
    theta = machine.frames["theta"].isel(theta_dim=part.places)
    return np.asarray(theta.transpose("step", "replica", "theta_dim").values, float)


def _turns(w: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles, |w' - w|^2 and |w|, each (pairs, R). An angle by half-angles keeps its digits where it is small."""
    before, after = w[pairs], w[pairs + 1]
    length = np.linalg.norm(before, axis=-1)
    one, other = before / length[..., None], after / np.linalg.norm(after, axis=-1)[..., None]
    turned = 2.0 * np.arctan2(np.linalg.norm(other - one, axis=-1), np.linalg.norm(other + one, axis=-1))
    return turned, ((after - before) ** 2).sum(-1), length


def law_of_products(machine: Machine) -> tuple[np.ndarray, float] | None:
    """r lambda (N, 1) of steps 1..N, and the momentum, where `exact.rotations` (1) holds of free parts; else None.

    At a fixed effective rate that is r lambda of |w| = 1.
    """
    theta = machine.settings.theta
    known = machine.theta_move.name in theory.EXACT and not theta.has_several_rates
    if not known or machine.settings.run.direction != "forward":
        return None
    if theta.constraint == "fixed-sphere":
        return None
    steps = int(machine.settings.run.steps)
    every = np.arange(1, steps + 1)
    rates, decays = (values_at(value, steps, every) for value in (theta.learning_rate, theta.weight_decay))
    return (rates * decays)[:, None], float(theta.momentum)


def expected_square(machine: Machine, part: Part) -> float:
    """<|w' - w|^2>/<|w|^2> in a stationary state: exact of SGD, with momentum too; of Nesterov's and AdamW on noise.

    NaN where the length matters, where rates or decay change, and of other moves: Adam has its decay in the moments.
    """
    theta = machine.settings.theta
    rate, decay = theta.learning_rate, theta.weight_decay
    if not part.free or not isinstance(rate, (int, float)) or not isinstance(decay, (int, float)) or not decay:
        return math.nan
    if theta.has_several_rates or theta.constraint in ("fixed-elr", "fixed-sphere"):
        return math.nan
    return theory.stationary_square(machine.theta_move.name, rate, decay, theta.momentum, theta.beta1)


def _put_root(result: xr.Dataset, name: str, squares: xr.DataArray, long_name: str, when: str) -> None:
    """The root of a mean over replicas, its error that of the mean over twice the root."""
    root = squares.mean("replica") ** 0.5
    put(result, name, root, _error(squares) / (2.0 * root), "1", long_name, when)


def _put_ratio(
    result: xr.Dataset, name: str, over: xr.DataArray, under: xr.DataArray, long_name: str, when: str
) -> None:
    """A mean over replicas over another, its error that of over - ratio under."""
    weight = under.mean("replica")
    ratio = over.mean("replica") / weight
    put(result, name, ratio, _error(over - ratio * under) / weight, "1", long_name, when)


def _error(values: xr.DataArray) -> xr.DataArray:
    """Standard error of the mean over replicas; NaN of one."""
    return values.std("replica", ddof=1) / math.sqrt(values.sizes["replica"])


def _is_still(values: xr.DataArray) -> xr.DataArray:
    """Whether the means of the first and of the second half of the steps agree."""
    half = values.sizes["step"] // 2
    change = values.isel(step=slice(half, 2 * half)).mean("step") - values.isel(step=slice(half)).mean("step")
    return abs(change.mean("replica")) <= _ERRORS * _error(change)
