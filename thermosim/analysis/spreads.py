"""Standard deviations over replicas, beside means: small where one computer tells of all (Eq. 24 of Parsi 2024).

The interval is the root of that of the mean square deviation, whose skewness it knows (`skewed_means`). Squares of few
replicas are too skewed for any interval: there is none below `FEWEST_FOR_VARIANCE` of them, and its ends are NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.estimates import put, replica_mean
from thermosim.analysis.skewed_means import FEWEST_FOR_VARIANCE, mean_interval

__all__ = ["put_spread", "replica_spread", "root_interval", "square_deviations"]


def square_deviations(values: xr.DataArray, noise: xr.DataArray | float = 0.0) -> xr.DataArray:
    """Square deviations whose mean over replicas is the variance of values that were known without their noise.

    noise: standard error of each value. Samples of one replica are averaged first. NaN for a single replica.
    """
    if "sample" in values.dims:
        values = values.mean("sample", skipna=False)
    size = values.sizes["replica"]
    unbiased = size / (size - 1) if size > 1 else np.nan
    return (values - values.mean("replica", skipna=False)) ** 2 * unbiased - noise**2


def replica_spread(squares: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The standard deviation of which these are the `square_deviations`, and its standard error.

    A variance below 0, by chance, counts as none. The error is that of the mean square deviation, at most the root of
    it where the deviation is none.
    """
    variance, error = replica_mean(squares)
    spread = np.sqrt(variance.clip(min=0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.minimum(0.5 / spread, 1.0 / np.sqrt(error))
    return xr.DataArray(spread), xr.DataArray(error * slope).where(error != 0.0, 0.0)


def root_interval(squares: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Ends of the interval of the root of the mean over replicas."""
    low, high = (np.sqrt(end.clip(min=0.0)) for end in mean_interval(squares))
    return xr.DataArray(low), xr.DataArray(high)


def put_spread(
    result: xr.Dataset, name: str, values: xr.DataArray, units: str, meaning: str, condition: str, noise: Any = 0.0
) -> None:
    """Add NAME_spread, the standard deviation over replicas of `values`, with its error and interval."""
    squares = square_deviations(values, noise)
    spread, error = replica_spread(squares)
    enough = squares.sizes["replica"] >= FEWEST_FOR_VARIANCE
    low, high = root_interval(squares) if enough else (np.nan, np.nan)
    what = f"standard deviation over replicas: {meaning}"
    put(result, f"{name}_spread", spread, error, units, what, condition, bounds=(low, high))
