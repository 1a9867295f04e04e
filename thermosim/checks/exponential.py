"""Exponential averages against 1 or a known number, in a frame that most replicas carry: any move and any model."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.settings import axes
from thermosim.checks.means import LEAST_REPLICAS, is_nearly_normal, mean_comparison

__all__ = ["exponential_average"]

_SHARE = 0.8  # effective sample size of an exponential average, of all replicas


def exponential_average(
    ds: xr.Dataset, exponent: xr.DataArray, name: str, reference: str, expected: xr.DataArray | None = None
) -> list[Comparison]:
    """<exp(-a)> against 1, by every second replica, in the last frame that the others say most replicas carry.

    expected: what it is instead of 1, at every step and point of the sweep. A rule that looked at the weights it tests
    would prefer frames in which no heavy one has come yet; and Student's law needs weights that are not too skewed.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        weights = xr.DataArray(np.exp(-exponent))
        weights = weights.mean("sample") if "sample" in weights.dims else weights
        judges, tested = weights.isel(replica=slice(0, None, 2)), weights.isel(replica=slice(1, None, 2))
        share = judges.mean("replica") ** 2 / (judges**2).mean("replica")
    lowest = share.min([d for d in share.dims if d != "step"], skipna=False).values
    good = np.flatnonzero((lowest >= _SHARE) & (ds["step"].values > 0))
    if not len(good) or tested.sizes["replica"] < LEAST_REPLICAS:
        return []
    frame = int(good[-1])
    quantity = f"{name} to step {int(ds['step'][frame])}"
    scale = float(np.exp(-exponent.isel(step=frame)).max()) * max(
        1.0, float(abs(ds["phi"]).max()) if "phi" in ds else 1.0
    )
    exact = 1.0 if expected is None else expected.isel(step=frame).transpose(*axes(ds)).values
    comparison = mean_comparison(ds, quantity, tested.isel(step=frame), exact, reference, scale=scale)
    noisy = bool(np.any(comparison.standard_error > 0.0))  # without work there is nothing to compare
    return [comparison] if noisy and is_nearly_normal(comparison) else []
