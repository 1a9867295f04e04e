"""Update energy of Adam: |dtheta|^2 over r^2 d A where gradients are pure noise, in windows of the run.

Compared where what is left of a mean gradient, of epsilon and of higher orders of 1 - beta2 is a small tolerance, which
is stated (`analysis.update_energy`). Elsewhere in linear regression, and of AdamW, over that of a second moment that
all replicas share, from the step on at which the doubt of that is small (`exact.adam_regression`); beside Adam in a
sweep, SGD and others over what is exact.
Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026); the limit by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.estimates import gathered
from thermosim.analysis.machine import Machine
from thermosim.analysis.update_energy import NoiseLimit, adam_limit, exact_limit, noise_limit
from thermosim.checks.means import is_nearly_normal, mean_comparison

__all__ = ["update_energy_comparisons"]

_SQUARE = "displacement_square"
_LARGEST = 0.005  # relative tolerance of a frame that is still compared
_MILDEST = 0.02  # the same of a second moment that replicas are taken to share
_WINDOWS = 4
_REFERENCE = "Adam on pure noise: r^2 d (1 - beta1)/(1 + beta1), to first order in 1 - beta2"
_SHARED = "Adam in linear regression as beta2 -> 1: closed recursion of theta and its first moment; others exact"


def update_energy_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """|dtheta|^2 of each window over that of theory; none where any point of the sweep has other gradients."""
    if _SQUARE not in ds:
        return []
    noise = [noise_limit(machine) for machine in everyone]
    if found := _windows(ds, everyone, noise, _LARGEST, ("noise", _REFERENCE)):
        return found
    if not any(machine.theta_move.moments for machine in everyone):
        return []  # by exact recursion alone (`checks.regression`)
    mixed = [adam_limit(machine) if machine.theta_move.moments else exact_limit(machine) for machine in everyone]
    return _windows(ds, everyone, mixed, _MILDEST, ("theory", _SHARED))


def _windows(
    ds: xr.Dataset,
    everyone: Sequence[Machine],
    limits: Sequence[NoiseLimit | None],
    largest: float,
    told: tuple[str, str],
) -> list[Comparison]:
    """Of frames from which on all doubts are below `largest`; told: what it is the energy of, by what theory."""
    if any(limit is None for limit in limits):
        return []
    known = np.all([limit.doubt < largest for limit in limits if limit is not None], axis=0)
    if not known.any():
        return []
    first = int(np.flatnonzero(~known)[-1]) + 1 if not known.all() else 0  # all that follows is known
    count = len(known) - first
    if count < 1:
        return []
    edges = np.unique(np.linspace(first, len(known), min(_WINDOWS, count) + 1).astype(int))
    ratios, tolerance = [], []
    for machine, limit in zip(everyone, limits, strict=True):
        assert limit is not None
        moved = np.diff(machine.frames[_SQUARE].transpose("step", "replica").values[edges], axis=0)
        expected = np.add.reduceat(limit.displacement_square, edges[:-1])
        ratios.append(moved / expected[:, None])
        tolerance.append(np.maximum.reduceat(limit.doubt, edges[:-1]))
    values = gathered(ds, ratios, ("window", "replica"))
    steps = ds["step"].values[edges]
    quantity = f"update energy of steps {int(steps[0]) + 1} to {int(steps[-1])} over that of {told[0]}"
    found = mean_comparison(ds, quantity, values, 1.0, told[1], "window")
    found = replace(found, tolerance=np.reshape(tolerance, found.measured.shape))
    return [found] if is_nearly_normal(found) else []
