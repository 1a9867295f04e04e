"""Irreversibility over a sweep of the learning rate r at fixed theta, against closed forms and leading order.

    recorded step    <|theta_1 - theta_0|^2>/(4 r) = (r/4) (|g|^2 + tr C/B) at theta_0: leading order, from the run
    a quadratic      the four potentials, exact at any r (`exact.irreversibility`): quadratic, linear regression
    a smooth loss    potentials r |U|^2/4 and vectors r J U/2, within bounds of the remainder measured on the path

The bounds are estimates by constants that are lower than the true ones (`analysis.irreversibility.bounds`): one and a
half times the bound is allowed, and r h up to 1/2. Where ReLU has kinks nothing bounds the remainder, and a user's
model may have them too: only the recorded step is told.
Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), G33 to G36.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.irreversibility.ensemble_sweep import (
    EnsembleSweep,
    ensemble_sweep,
    exact_potentials,
    is_smooth,
    why_no_scalars,
    why_no_sweep,
)
from thermosim.analysis.machine import Machine
from thermosim.analysis.settings import settings
from thermosim.checks.means import is_nearly_normal, mean_comparison
from thermosim.data.tables import DataError

__all__ = ["sweep_advice", "sweep_comparisons"]

_ALLOWED = 1.5  # of a bound
_NEAR = 0.5  # r h up to which five points of a step tell its constants
_QUADRATURE = 1e-6  # of a potential, what its line integral, and a critical point, may leave
_ROUNDING = 1e-9  # of |U|, to which differences of fields are known
_REPLICAS = 1024  # whose recorded steps are compared, at most
_NAMES = {"de": "phi_DE", "tr": "phi_TR", "ta": "phi_TA", "st": "phi_ST"}
_CLOSED = "closed form of a quadratic, any learning rate"
_SMOOTH = "leading order, within the bound of the remainder measured on the path"


def sweep_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """None where the case has no [irreversibility], or is no sweep of learning rates."""
    if settings(ds).irreversibility is None or why_no_sweep(ds, everyone):
        return []
    try:
        here = ensemble_sweep(ds)
        found = _recorded(ds, everyone)
    except (ValueError, DataError):  # sweep_advice says why
        return []
    if here.quadratics:
        return found + _closed_forms(here)
    return found + (_leading_order(here) if here.smooth else [])


def sweep_advice(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[str]:
    """Why potentials are not compared, where they are not."""
    if settings(ds).irreversibility is None or why_no_sweep(ds, everyone):
        return []
    try:
        no_scalars = why_no_scalars(everyone[0])
    except (ValueError, DataError) as why:
        return [f"The sweep of irreversibility is not compared: {why}."]
    said = []
    if no_scalars:
        said.append(f"phi_DE, phi_TR and phi_TA are left out: {no_scalars}.")
    if not is_smooth(everyone[0]):
        said.append("Remainders are not compared: ReLU, or a model of your own, may have kinks, which no bound knows.")
    return said


def _recorded(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """Leading order by the length of the recorded step, over that of the rows' own moments at its start."""
    if ds.sizes["step"] < 2 or int(ds["step"][1]) != 1:
        return []
    ratios, scales, whole = [], [], everyone[0].settings.theta.batch == "all"
    for machine in everyone:
        theta, there = (machine.theta(frame)[:_REPLICAS] for frame in (0, 1))
        rate, moved = float(machine.settings.theta.learning_rate), np.linalg.norm(there - theta, axis=1)
        expected = 0.25 * rate * _squared_gradient(machine, theta)
        if not np.all(expected > 0.0):
            return []
        ratios.append(moved**2 / (4.0 * rate) / expected)
        # a step is the difference of two theta, of which neither is known better than to rounding
        scales.append(1.0 + float(np.mean(moved * np.abs(theta).max(1) / (rate * expected))))
    if not np.all(np.isfinite(ratios)):
        return []
    quantity, scale = "|theta_1 - theta_0|^2/(4 r) over leading order of entropy production", np.array(scales)
    values = xr.DataArray(np.stack(ratios), dims=["learning_rate", "replica"])
    if whole:  # nothing is drawn: what is left is rounding, and has no error bar
        one = np.ones(len(scale))
        reference = "(r/4)|g|^2 of the rows"
        return [Comparison(quantity, values.mean("replica").values, 0.0 * one, one, np.inf, reference, scale=scale)]
    reference = "(r/4)(|g|^2 + tr C/B) of the rows, which are drawn with replacement"
    comparison = mean_comparison(ds, quantity, values, 1.0, reference, scale=scale)
    return [comparison] if is_nearly_normal(comparison) else []


def _squared_gradient(machine: Machine, theta: np.ndarray) -> np.ndarray:
    """E |g_B|^2 over minibatches at theta (R, m): (R,)."""
    sets, batch, found = machine.data_set()[: len(theta)], machine.settings.theta.batch, np.empty(len(theta))
    for number in np.unique(sets):
        mine = sets == number
        rows = machine.data.of_set(int(number))
        if batch == "all":
            found[mine] = (machine.evaluator.data_gradient(rows, theta[mine])[1] ** 2).sum(1)
            continue
        _, mean, variance = machine.evaluator.gradient_moments(rows, theta[mine])
        found[mine] = (mean**2 + np.maximum(variance, 0.0) / int(batch)).sum(1)
    return found


def _closed_forms(here: EnsembleSweep) -> list[Comparison]:
    exact = exact_potentials(here.quadratics, here.theta, here.rates)
    return [
        _certain(f"{_NAMES[name]} over its closed form", here.found, name, 1.0 / exact[name], _QUADRATURE, _CLOSED)
        for name in here.found["potential"].values
    ]


def _leading_order(here: EnsembleSweep) -> list[Comparison]:
    """Ratios to leading order of potentials, and distances of vectors from theirs, where steps are short enough."""
    near = np.flatnonzero(np.abs(here.found["rate_sharpness"].values).max(0) <= _NEAR)
    if not near.size:
        return []
    found = here.found.isel(learning_rate=near)
    rates = found["learning_rate"].values
    lead = found["leading_order"].values
    comparisons = []
    for name in found["potential"].values:
        bound = found["remainder_bound"].sel(potential=name).values * rates**2 / lead
        allowed = _ALLOWED * bound.mean(0) + _QUADRATURE
        comparisons.append(_certain(f"{_NAMES[name]}/(r |U|^2/4)", found, name, 1.0 / lead, allowed, _SMOOTH))
    for name in found["vector"].values:
        off, bound = (found[f"vector_remainder{kind}"].sel(vector=name).values for kind in ("", "_bound"))
        floor = _ROUNDING * np.sqrt(4.0 * lead / rates) / rates**2
        measured = (off / (_ALLOWED * bound + floor)).max(0)
        quantity = f"|g_{name.upper()} - r J U/2| over what it may be, largest"
        zero = np.zeros(len(rates))
        comparisons.append(Comparison(quantity, measured, zero, zero, np.inf, _SMOOTH, tolerance=1.0))
    return comparisons


def _certain(
    quantity: str,
    found: xr.Dataset,
    name: str,
    factor: np.ndarray,
    tolerance: float | np.ndarray,
    reference: str,
) -> Comparison:
    """Mean over replicas of phi times a factor (R, K), which is 1; without an error: nothing in it is drawn."""
    measured = (found["phi"].sel(potential=name).values * factor).mean(0)
    zero = np.zeros(len(measured))
    return Comparison(quantity, measured, zero, zero + 1.0, np.inf, reference, tolerance=tolerance)
