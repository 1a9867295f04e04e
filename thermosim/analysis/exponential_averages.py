"""Exponential averages <e^a> over replicas, such as <e^{-w/T}>: estimate, interval, and whether replicas are enough.

    ln <e^a> = ln (1/R) sum_r e^{a_r} + e^2/2          e: its standard error, by the jackknife

the last term being the bias of order 1/R, which the jackknife knows (A. M. Zuckerman, T. B. Woolf, Phys. Rev. Lett. 89,
180602 (2002)). Interval and flag are those of `skewed_means`. Samples of one replica are averaged first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from thermosim.analysis.machine import Machine
from thermosim.analysis.skewed_means import FEWEST, REPLICAS, enough_replicas, expected_skewness, mean_interval

__all__ = ["Average", "exponential_average", "put_reliability", "why_work_theorem_fails"]


class Average(NamedTuple):
    """ln <e^a> with its jackknife error and the ends of its interval; replicas that carry it; whether they suffice."""

    logarithm: xr.DataArray
    bias: xr.DataArray  # of the logarithm of the plain mean, not taken out of `logarithm`
    error: xr.DataArray
    low: xr.DataArray
    high: xr.DataArray
    sample_size: xr.DataArray
    reliable: xr.DataArray


def exponential_average(exponent: xr.DataArray) -> Average:
    """ln <e^a> of exponents a over replica and sample, everything over the other dimensions.

    `reliable` does not look at how large the rarest weights are: see `skewed_means`.
    """
    every = [d for d in ("replica", "sample") if d in exponent.dims]
    size = exponent.sizes["replica"]
    shift = exponent.max(every, skipna=False)
    weights = xr.DataArray(np.exp(exponent - shift))
    if "sample" in weights.dims:
        weights = weights.mean("sample", skipna=False)
    total = weights.sum("replica", skipna=False)
    logarithm = shift + np.log(total / size)
    if size == 1:
        unknown = xr.full_like(logarithm, np.nan)
        nobody = xr.zeros_like(logarithm, dtype=bool)
        return Average(logarithm, unknown, unknown, unknown, unknown, xr.ones_like(logarithm), nobody)
    without = xr.DataArray(np.log(np.maximum(total - weights, np.finfo(float).tiny) / (size - 1)))
    bias = (size - 1) * (without.mean("replica") - np.log(total / size))
    error = np.sqrt((size - 1) / size * ((without - without.mean("replica")) ** 2).sum("replica", skipna=False))
    with np.errstate(divide="ignore"):
        expected = expected_skewness(xr.DataArray(np.log(weights)))
        low, high = (shift + np.log(np.maximum(end, 0.0)) for end in mean_interval(weights, expected))
    sample_size = total**2 / (weights**2).sum("replica", skipna=False)
    reliable = enough_replicas(expected, size)
    return Average(logarithm, bias, xr.DataArray(error), low, high, sample_size, reliable)


def put_reliability(result: xr.Dataset, sample_size: xr.DataArray, reliable: xr.DataArray) -> xr.Dataset:
    """Add the effective sample size (sum w)^2/sum w^2, and whether the interval can be trusted."""
    result["effective_sample_size"] = sample_size.assign_attrs(
        units="1", long_name="effective sample size", condition="replicas that carry the exponential average"
    )
    result["reliable"] = reliable.assign_attrs(
        long_name=f"at least {FEWEST} replicas, and {REPLICAS:g} g^(4/3) for weights of skewness g",
        condition="g is expected of the bulk of exponents; a kind of event that no replica has shown is not flagged",
    )
    return result


def why_work_theorem_fails(machine: Machine, own_free_energy: bool = False) -> list[str]:
    """Why <exp(-w/T)> = exp(-dF/T) is not exact at this point of the sweep, in words; none where it is.

    own_free_energy: dF is that of each replica's own path of theta, and stands inside the average.
    """
    x, theta = machine.settings.of_x, machine.settings.theta
    learns = machine.theta_move.learns
    reasons = {
        f"x starts from {x.start}, not in equilibrium": not x.starts_in_equilibrium,
        "chains restart from data at every step": x.restart,
        "x is driven by a force that is no gradient": machine.model.drive is not None,
        f"{x.dynamics}: biased, first order in x.time_step": not machine.x_move.invariant,
        "learning by contrast lets theta follow x": learns and theta.gradient == "contrast",
        "replicas learn paths of their own, and dF is that of <exp(-dF/T)>": (
            learns and not machine.model.normalised and not own_free_energy
        ),
    }
    return [reason for reason, holds in reasons.items() if holds]
