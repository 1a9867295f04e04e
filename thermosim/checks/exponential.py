"""Exponential averages against 1, in a frame that most replicas carry: of any move and any model."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.settings import axes
from thermosim.analysis.skewed_means import error_against

__all__ = ["exponential_average"]

_SHARE = 0.8  # effective sample size of an exponential average, of all replicas
_LEAST_REPLICAS = 100


def exponential_average(ds: xr.Dataset, exponent: xr.DataArray, name: str, reference: str) -> list[Comparison]:
    """<exp(-a)> against 1, by every second replica, in the last frame that the others say most replicas carry.

    A rule that looked at the weights it tests would prefer frames in which no heavy one has come yet. What skewness the
    others leave is taken out of the error (`error_against`), so that false alarms are as rare as they are said to be.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        weights = xr.DataArray(np.exp(-exponent))
        weights = weights.mean("sample") if "sample" in weights.dims else weights
        judges, tested = weights.isel(replica=slice(0, None, 2)), weights.isel(replica=slice(1, None, 2))
        share = judges.mean("replica") ** 2 / (judges**2).mean("replica")
    lowest = share.min([d for d in share.dims if d != "step"], skipna=False).values
    good = np.flatnonzero((lowest >= _SHARE) & (ds["step"].values > 0))
    if not len(good) or tested.sizes["replica"] < _LEAST_REPLICAS:
        return []
    frame = int(good[-1])
    last = tested.isel(step=frame)
    mean, error = (
        v.transpose(*axes(ds)).values for v in (last.mean("replica", skipna=False), error_against(last, 1.0))
    )
    if not np.all(error > 0.0):
        return []
    quantity = f"{name} to step {int(ds['step'][frame])}"
    return [Comparison(quantity, mean, error, np.ones_like(mean), tested.sizes["replica"] - 1, reference)]
