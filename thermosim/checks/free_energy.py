"""Distance of the Gaussian machine from the law of its rows, both ways, against exact moments of theta.

    <D(p* || p_theta)> = [sum_i k_i (C*_ii + V_ii) - n - ln det C* - sum ln k]/2
    <D(p_theta || p*)> = [sum_i C*^-1_ii/k_i + tr(C*^-1 V) - n + ln det C* + sum ln k]/2,   V = Cov(theta) + gap gap'

for rows from N(m*, C*), gap = <theta> - m*. Source: S. S. Parsi, Entropy 26, 112 (2024), Eqs. 6 and 9.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.free_energy import free_energy
from thermosim.analysis.machine import Machine
from thermosim.analysis.settings import axes
from thermosim.checks.gaussian_machine import exact_moments, linear_machine
from thermosim.data.densities import mean_and_covariance

__all__ = ["free_energy_comparisons"]

_SKEWNESS = 0.05  # of a mean, at most, for Student's law
_ROUNDING = 1e-12


def free_energy_comparisons(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """Both means in the last frame; none unless every point is a linear machine with rows from a Gaussian."""
    if "theta" not in ds or ds.sizes["replica"] < 2 or int(ds["step"][-1]) == 0:
        return []
    if any(m.settings.data is None or m.settings.data.source != "gaussian" for m in everyone):
        return []
    theory = [_exact(machine) for machine in everyone]
    if any(pair is None for pair in theory):
        return []
    last = free_energy(ds.isel(step=[-1])).isel(step=0)
    shape, step = [ds.sizes[name] for name in axes(ds)], int(ds["step"][-1])
    comparisons = []
    for row, (name, symbol) in enumerate((("target_divergence", "p*||p_theta"), ("free_energy", "p_theta||p*"))):
        values = last[name].transpose(*axes(ds), "replica").values
        deviation = values - values.mean(axis=-1, keepdims=True)
        variance = np.maximum((deviation**2).mean(axis=-1), np.finfo(float).tiny)
        if np.any(np.abs((deviation**3).mean(axis=-1)) > _SKEWNESS * np.sqrt(values.shape[-1]) * variance**1.5):
            continue
        exact = np.reshape([pair[row] for pair in theory if pair is not None], shape)
        mean, error = (last[f"mean_{name}{end}"].transpose(*axes(ds)).values for end in ("", "_error"))
        rounding = _ROUNDING * (1.0 + np.abs(exact))
        reference = "exact moments of theta, and the law that the rows are drawn from"
        quantity = f"mean D({symbol}) at step {step}"
        degrees = values.shape[-1] - 1
        comparisons.append(Comparison(quantity, mean, error, exact, degrees, reference, rounding, units="nat"))
    return comparisons


def _exact(machine: Machine) -> tuple[float, float] | None:
    linear, moments, section = linear_machine(machine), exact_moments(machine), machine.settings.data
    if linear is None or moments is None or section is None:
        return None
    k = linear[0].precision
    mean, covariance = mean_and_covariance(section, len(k))
    sign, volume = np.linalg.slogdet(covariance)
    if sign <= 0.0:
        return None
    gap, inverse, volume = moments.theta_mean[-1] - mean, np.linalg.inv(covariance), volume + np.log(k).sum()
    second = moments.theta_covariance[-1] + np.outer(gap, gap)
    forth = 0.5 * ((k * np.diag(covariance + second)).sum() - len(k) - volume)
    back = 0.5 * ((np.diag(inverse) / k).sum() + (inverse * second).sum() - len(k) + volume)
    return float(forth), float(back)
