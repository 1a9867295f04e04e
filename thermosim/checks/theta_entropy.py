"""Theta with thermal noise against theory: its fluctuation theorem, that of theta and x together, detailed balance.

    density of the moves known     <exp(-sigma_theta)> = 1 given the minibatches; with feedback only together with x
    metropolis                     q_theta = d U/T for every replica, to rounding
    linear machine, all data       theta is normal with the exact moments: chi^2 of its principal components in bins

The density of the end is a normal fitted to every second replica, and the others are tested: given the former, the
theorem is exact, whether or not theta is normal. The canonical law itself is compared nowhere: no run knows that theta
is stationary. Source: S. S. Parsi, Entropy 26, 112 (2024), Eqs. 23, 46, 47.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import stats

from thermosim.analysis.canonical_law import binned
from thermosim.analysis.comparison import Comparison
from thermosim.analysis.estimates import gathered
from thermosim.analysis.gradient_noise import learned_parameters
from thermosim.analysis.machine import Machine
from thermosim.analysis.settings import axes
from thermosim.analysis.theta_entropy import (
    entropy_productions,
    normal_log_density,
    potential,
    temperature_of_theta,
)
from thermosim.checks.exponential import exponential_average
from thermosim.checks.gaussian_machine import exact_moments

__all__ = ["theta_comparisons"]

_LEAST_REPLICAS = 500
_MANY = 10**9  # degrees of freedom of a normal deviate
_ROUNDING = 1e-11  # relative to the energies that were added up
_NAMES = {"theta": "<exp(-sigma of theta)>", "joint": "<exp(-sigma of theta and x)>"}


def theta_comparisons(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """None where theta books no density, or step 0 is missing."""
    if not {"theta", "log_ratio_theta"} <= set(ds) or int(ds["step"][0]) != 0 or ds.sizes["step"] < 2:
        return []
    if not all(machine.theta_move.density for machine in everyone):
        return []
    return _theorems(ds, everyone) + _detailed_balance(ds, everyone) + _law(ds, everyone)


def _theorems(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """<exp(-sigma)> of the odd replicas, the density of the end being that of the even ones."""
    try:
        found = [_productions(machine) for machine in everyone]
    except ValueError:  # a start without a density, or too few replicas for a normal
        return []
    comparisons = []
    for name, quantity in _NAMES.items():
        if not all(exact.get(name, False) for _, exact in found):
            continue
        values = [sigma[name].transpose("step", "replica", ...) for sigma, _ in found]
        whole = gathered(ds, [value.values for value in values], [str(dim) for dim in values[0].dims])
        reference = "integral fluctuation theorem of the moves at their minibatches, any learning rate (Eq. 46)"
        comparisons += exponential_average(ds, whole, quantity, reference)
    return comparisons


def _productions(machine: Machine) -> tuple[dict[str, xr.DataArray], dict[str, bool]]:
    learned = learned_parameters(machine)[0]

    def end(theta: np.ndarray, step: int) -> np.ndarray:
        return normal_log_density(theta[::2, learned], theta[:, learned])

    return entropy_productions(machine, end)


def _law(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """chi^2 of theta in the last frame, as the normal deviate of its probability."""
    if ds.sizes["replica"] < _LEAST_REPLICAS:
        return []
    deviates = []
    for machine in everyone:
        law = exact_moments(machine) if machine.settings.theta.batch == "all" else None
        if law is None or np.linalg.eigvalsh(law.theta_covariance[-1])[0] <= 0.0:
            return []
        learned = learned_parameters(machine)[0]
        gap = machine.theta(-1)[:, learned] - law.theta_mean[-1]
        white = np.linalg.solve(np.linalg.cholesky(law.theta_covariance[-1]), gap.T)
        found = [binned(stats.norm.cdf(component)[:, None]) for component in white]
        deviates.append(stats.norm.isf(stats.chi2.sf(*np.sum(found, axis=0))))
    measured = np.reshape(deviates, [ds.sizes[name] for name in axes(ds)])
    reference = "normal with the exact recursion's mean and covariance; chi^2 as a normal deviate"
    quantity = f"law of theta at step {int(ds['step'][-1])}"
    return [Comparison(quantity, measured, np.ones(measured.shape), np.zeros(measured.shape), _MANY, reference)]


def _detailed_balance(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """The largest |q_theta - dU/T| of moves that judge by U itself, against the rounding of what was added up."""
    if not all(machine.theta_move.judges and temperature_of_theta(machine) for machine in everyone):
        return []
    largest, scale = 0.0, 1.0
    for machine in everyone:
        energy = np.stack([potential(machine, frame) for frame in (0, -1)]) / (temperature_of_theta(machine) or 1.0)
        heat = -machine.frames["log_ratio_theta"].isel(step=-1).values
        largest = max(largest, float(np.abs(heat - (energy[1] - energy[0])).max()))
        scale += float(np.abs(energy).max() + np.abs(heat).max())
    bound = _ROUNDING * scale * np.sqrt(float(ds["step"][-1]))
    reference = "q_theta = d U/T for every replica, to rounding (Eqs. 23, 47)"
    measured, error, exact = np.asarray(largest), np.asarray(bound), np.zeros(())
    freedom = max(ds.sizes["replica"] - 1, 1)
    return [Comparison("largest |q of theta - dU/T|", measured, error, exact, freedom, reference, bound, units="nat")]
