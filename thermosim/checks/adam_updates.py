"""Adam in networks: steps are r times what moments say, and no longer than these allow (`analysis.adam_updates`).

    |dtheta|^2 = r^2 u^2,   u = m/(sqrt(v) + epsilon), of AdamW with lambda theta      each step      [update_square]

Between two frames the sum of |dtheta|^2 lies between min r^2 and max r^2 times that of u^2, which is an equality where
the rate is constant there: a wrong rate, or one of another step, is seen at any distance of frames.

The bound is one of every replica between any two frames, and sharp at the first steps: of a single frame at step 1 the
ratio is the share of parameters that have a gradient. Nothing is estimated, so there is no false alarm but by rounding:
a parameter of size 4 or less moves with an error of one spacing of its numbers, which small rates make the larger part.
In float32, at rates of 1e-3 to 1e-7, 150,000 steps of perceptrons had none, and used a fiftieth of the tolerance.

Source: D. P. Kingma, J. Ba, ICLR 2015, Algorithm 1; the bound by the inequality of Cauchy and Schwarz.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.adam_updates import has_moments, is_adam, learned_numbers, most_of_updates, rates
from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine
from thermosim.analysis.settings import axes

__all__ = ["adam_comparisons"]

_SQUARE = "displacement_square"
_LARGEST = 4.0  # size of a parameter
_UPDATE = "update_square"
_RATE = "Adam: theta' = theta - r u at the rate of every step, to rounding and what r changes between frames"
_BOUND = "Adam, any gradients: |dtheta|^2 <= r^2 d sum a^2/c, weights a and c of its first and second moment"


def adam_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """What |dtheta|^2 is off r^2 u^2, and above its bound, at most, relative to these, at each point of a sweep."""
    if _SQUARE not in ds or ds.sizes["step"] < 2:
        return []
    rows = []
    if _UPDATE in ds and all(has_moments(machine) for machine in everyone):
        rows.append(
            _row(ds, "largest part of |dtheta|^2 that is off r^2 u^2", _RATE, [_from_rate(m) for m in everyone])
        )
    if all(map(is_adam, everyone)):
        rows.append(
            _row(ds, "largest excess of |dtheta|^2 over what Adam can do", _BOUND, [_excess(m) for m in everyone])
        )
    return rows


def _row(ds: xr.Dataset, quantity: str, reference: str, found: Sequence[tuple[np.ndarray, np.ndarray]]) -> Comparison:
    """Of every point, what is largest beside what rounding allows of it, both of intervals (F - 1)."""
    shape = [ds.sizes[name] for name in axes(ds)]
    worst = [int(np.argmax(np.where(np.isnan(above), np.inf, above - off))) for above, off in found]
    excess, tolerance = ([float(pair[k][i]) for pair, i in zip(found, worst, strict=True)] for k in (0, 1))
    nothing, freedom = np.zeros(shape), max(ds.sizes["replica"] - 1, 1)
    measured, off = np.reshape(excess, shape), np.reshape(tolerance, shape)
    return Comparison(quantity, measured, nothing, nothing, freedom, reference, tolerance=off)


def _moved(machine: Machine, name: str) -> np.ndarray:
    """What a sum over steps gains between neighbouring frames: (F - 1, R)."""
    return np.asarray(np.diff(machine.frames[name].transpose("step", "replica").values, axis=0))


def _spacing(machine: Machine) -> float:
    engine = machine.settings.engine
    return _LARGEST * float(np.finfo(engine.precision if engine is not None else float).eps)


def _intervals(machine: Machine) -> list[np.ndarray]:
    """Rates of the steps between neighbouring frames."""
    rate = rates(machine)
    return [rate[a:b] for a, b in zip(machine.steps[:-1], machine.steps[1:], strict=True)]


def _excess(machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    moved, most, spacing = _moved(machine, _SQUARE), most_of_updates(machine), _spacing(machine)
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.where(moved > 0.0, moved / most[:, None] - 1.0, 0.0).max(1)
    return np.maximum(above, 0.0), np.array([_off(spacing, rate) for rate in _intervals(machine)])


def _from_rate(machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    """How far |dtheta|^2 is from what lies between the least and the largest rate of an interval, over the largest."""
    moved, update, spacing = _moved(machine, _SQUARE), _moved(machine, _UPDATE), _spacing(machine)
    squares = [rate**2 for rate in _intervals(machine)]
    least, most = (np.array([take(square) for square in squares])[:, None] for take in (np.min, np.max))
    numbers, lengths = learned_numbers(machine), np.diff(machine.steps)[:, None]
    off = np.maximum(moved - most * update, least * update - moved)
    # of d parameters, stored to half a spacing e: e^2 of each, and 2 r u e, which add up like sqrt(d): four deviations
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = spacing * np.sqrt(numbers * lengths / (most * update))
        share = np.where(off > 0.0, off / (most * update), 0.0)
        allowed = min(1.0, 2.3 / np.sqrt(numbers)) * relative + relative**2 / 4.0 + 8.0 * spacing
        worst = np.argmax(np.where(np.isnan(share), np.inf, share - allowed), axis=1)
    here = np.arange(len(worst)), worst
    return share[here], allowed[here]


def _off(spacing: float, rate: np.ndarray) -> float:
    """Relative error by rounding of the sum of |dtheta|^2 over some steps, each parameter moving by about r."""
    square = float((rate**2).sum())
    return float((2.0 * spacing * rate + spacing**2).sum() / square) if square > 0.0 else np.inf
