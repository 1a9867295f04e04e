"""Irreversibility along a run against what is exact, and what is seen at the edge of stability.

    leading order r |U|^2/4         = |theta' - theta|^2/(4 r), theta' the next recorded frame
    phi_ST = (r/16)|U + U'|^2       = |theta'' - theta|^2/(16 r) on all rows at a constant rate
    r h = 1 - U.U'/|U|^2            = r <U'H U>/|U|^2, H averaged over the step: theta - s r U, s from 0 to 1

The first two hold the gradients that are computed here against the steps of the run; of frames further apart than a
step nothing is known. The third holds the way back against products with the Hessian: 16 points of Gauss and Legendre
stand for the average, and what 8 of them give apart from it is a tolerance. No theorem says that r h comes to 2 in a
network (J. Cohen et al., ICLR 2021, arXiv:2103.00065): it is told, and not compared.
Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), appendix G.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.estimates import gathered
from thermosim.analysis.gradient_noise import learned_parameters
from thermosim.analysis.irreversibility.fields import Field, directional
from thermosim.analysis.irreversibility.in_time import (
    field_of_steps,
    potentials_in_time,
    rates_of_steps,
    why_not_plain,
)
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.training import curvature
from thermosim.data.tables import DataError

__all__ = ["edge_advice", "edge_comparisons"]

_FRAMES, _LATE, _REPLICAS, _LARGEST = 24, 8, 8, 20_000  # at most: frames, those of the late half, numbers of theta
_SMALLEST = 1e-10  # of |theta|, what of a displacement rounding leaves
_DIFFERENCE = 1e-5  # of the curvature, what differences leave of a Hessian product
_SMOOTH = {"tanh", "linear", "gelu"}
_RULES = (8, 16)  # points for the average over a step
_DOUBT = 1e-3  # that the rules may be apart by, of 1 + r h
_AT_REST = 1e-5  # of the largest |U|, below which rounding is felt in U - U'
_WAY_BACK = "curvature averaged over the step, theta to theta', by Hessian products"


def edge_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """What is exact of the steps of kept rows; nothing of runs that are not about irreversibility."""
    if not _is_told(ds, everyone) or any(m.settings.data is None or m.settings.data.fresh for m in everyone):
        return []
    some = ds.isel(replica=slice(_REPLICAS))
    try:
        comparisons = _of_steps(some, "leading_order", 1, 4.0, "steps of the run, theta' - theta = -r U")
        if all(_is_one_map(machine) for machine in everyone):
            words = "pairs of steps of the run, theta'' - theta = -r (U + U')"
            comparisons += _of_steps(some, "phi_st", 2, 16.0, words)
        if all(_is_smooth(machine) for machine in everyone):
            comparisons += _of_curvature(some)
    except DataError:  # they are not to be had any more
        return []
    return comparisons


def edge_advice(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[str]:
    """How far from 2 the curvature is in the late half of a run at a constant rate."""
    if not _is_told(ds, everyone) or len(everyone) > 1:
        return []
    rate = everyone[0].settings.theta.learning_rate
    late = np.flatnonzero(2 * ds["step"].values >= int(ds["step"][-1]))[:-1]
    section = everyone[0].settings.irreversibility
    if not isinstance(rate, (int, float)) or len(late) < 2 or section is None:
        return []
    late = late[_spread(len(late), _LATE)]
    some = ds.isel(step=late, replica=slice(section.replicas))
    try:
        along, whole = potentials_in_time(some, replicas=section.replicas), curvature(some)
    except DataError:
        return []
    if not np.isfinite(along["rate_sharpness_error"]).all():  # one replica
        return []
    told = [
        f"{float(scale * found[name].mean()):.4g} ± {float(scale * found[f'{name}_error'].mean()):.2g}"
        for found, name, scale in (
            (whole, "largest_eigenvalue", float(rate)),
            (along, "rate_sharpness", 1.0),
            (along, "weighted_rate_sharpness", 1.0),
        )
    ]
    return [
        (
            f"In the late half of the run the learning rate times the largest curvature of all rows is {told[0]}, that "
            f"along the step, on its own minibatch, {told[1]}, and weighted by |U|^2 {told[2]} (means of {len(late)} "
            "frames, with the mean of their errors over replicas). At 2 plain descent is at the edge of stability; no "
            "theorem puts a network there, so it is told, not compared."
        )
    ]


def _is_told(ds: xr.Dataset, everyone: Sequence[Machine]) -> bool:
    """Whether the ensemble is about irreversibility, of plain descent, with frames of theta that steps follow."""
    if "theta" not in ds or ds.sizes["theta_dim"] > _LARGEST or ds["theta"].dtype != np.float64:
        return False
    if any(m.settings.irreversibility is None or why_not_plain(m) for m in everyone):
        return False
    return bool(ds.sizes["replica"] and ds.sizes["step"] > 1)


def _spread(length: int, most: int) -> list[int]:
    """Places of at most so many members, evenly spread."""
    return sorted({int(k) for k in np.linspace(0, length - 1, min(most, length)).round()})


def _is_one_map(machine: Machine) -> bool:
    """Whether every step takes the same rows at the same rate and decay."""
    theta = machine.settings.theta
    return theta.batch == "all" and all(isinstance(v, (int, float)) for v in (theta.learning_rate, theta.weight_decay))


def _is_smooth(machine: Machine) -> bool:
    """Whether the gradient is known to have no kinks."""
    return machine.settings.model.file is None and machine.constants.get("activation", "linear") in _SMOOTH


def _of_steps(ds: xr.Dataset, name: str, gap: int, factor: float, reference: str) -> list[Comparison]:
    """A potential against |theta of `gap` steps later - theta|^2/(factor r), means over replicas."""
    steps = ds["step"].values
    close = np.flatnonzero(steps[gap:] == steps[:-gap] + gap)
    if not close.size:
        return []
    close = close[_spread(len(close), _FRAMES)]
    found = potentials_in_time(ds.isel(step=close), replicas=_REPLICAS)
    here, later = ds["theta"].isel(step=close), ds["theta"].isel(step=close + gap).assign_coords(step=steps[close])
    square, size = ((later - here) ** 2).sum("theta_dim"), (here**2).sum("theta_dim")
    per_rate = 1.0 / (factor * found["rate_of_step"])
    exact = (square * per_rate).mean("replica").transpose(*found[name].dims)
    scale = (((square * size) ** 0.5 + _SMALLEST * size) * per_rate).mean("replica").transpose(*found[name].dims)
    symbol = {"leading_order": "r |U|^2/4", "phi_st": "phi_ST"}[name]
    quantity = f"{symbol} of {len(close)} steps, step {int(steps[close[0]])} to {int(steps[close[-1]])}"
    zero = np.zeros(exact.shape)
    values = found[name].values, zero, exact.values
    return [Comparison(quantity, *values, np.inf, reference, scale=scale.values, units="energy")]


def _of_curvature(ds: xr.Dataset) -> list[Comparison]:
    """r h from the way back against products with the Hessian, where two rules for the average over a step agree."""
    before = np.flatnonzero(ds["step"].values < int(machines(ds)[0].settings.run.steps))
    some = ds.isel(step=before[_spread(len(before), _FRAMES)])
    found = potentials_in_time(some, replicas=_REPLICAS)
    each = [_average_curvature(machine) for machine in machines(some)]
    exact, doubt = (gathered(some, [one[k] for one in each], ("step",)).values for k in range(2))
    measured = found["rate_sharpness"].values
    with np.errstate(invalid="ignore"):
        known = np.isfinite(measured) & (doubt < _DOUBT * (np.abs(exact) + 1.0))
    if not known.any():
        return []
    tolerance = doubt[known] + _DIFFERENCE * (np.abs(exact[known]) + 1.0)
    quantity = f"r h by time reversal, {int(known.sum())} frames"
    values = measured[known], np.zeros(int(known.sum())), exact[known]
    return [Comparison(quantity, *values, np.inf, _WAY_BACK, tolerance=tolerance)]


def _average_curvature(machine: Machine) -> np.ndarray:
    """Mean over replicas of r <U'HU>/|U|^2 over each frame's step, and of what two rules are apart: (2, F).

    NaN where U of a replica is so small that rounding is felt.
    """
    learned, _ = learned_parameters(machine)
    found, largest = np.full((2, len(machine.steps)), np.nan), 0.0
    for frame, (rate, decay) in enumerate(zip(*rates_of_steps(machine), strict=True)):
        field = field_of_steps(machine, [frame], decay, None)
        theta = machine.theta(frame)[:, learned]
        here = field(theta)
        square = (here**2).sum(1)
        largest = max(largest, float(square.max()))
        if square.min() <= _AT_REST**2 * largest:
            continue
        coarse, fine = (rate * _along(field, theta, rate * here, count) / (rate**2 * square) for count in _RULES)
        found[:, frame] = fine.mean(), np.abs(fine - coarse).mean()
    return found


def _along(field: Field, theta: np.ndarray, step: np.ndarray, count: int) -> np.ndarray:
    """step' H step averaged between theta and theta - step, (R, m) both, by so many points of Gauss: (R,)."""
    points, weights = np.polynomial.legendre.leggauss(count)
    each = [(step * directional(field, theta - 0.5 * (1.0 + s) * step, step)).sum(1) for s in points]
    return np.asarray(0.5 * weights @ np.stack(each))
