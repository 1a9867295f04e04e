"""Estimates with their errors, as every analysis writes them: X, X_error, and attributes that say when X is exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.settings import axes

__all__ = ["MINIMUM_SAMPLE_SIZE", "gathered", "put", "put_sample_size", "replica_mean", "require"]

MINIMUM_SAMPLE_SIZE = 100.0  # of an exponential average that is called reliable


def replica_mean(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and standard error over replicas; samples of one replica are averaged first."""
    if "sample" in values.dims:
        values = values.mean("sample", skipna=False)
    size = values.sizes["replica"]
    spread = values.std("replica", ddof=1, skipna=False)
    return values.mean("replica", skipna=False), spread / np.sqrt(size)


def gathered(
    ds: xr.Dataset, values: Sequence[np.ndarray], dims: Sequence[str], coords: Mapping[str, Any] | None = None
) -> xr.DataArray:
    """Arrays of every point of the sweep, in the order of `machines`, as one: dims step (if any), axes, the others.

    dims names the dimensions of each array; those of ds keep their coordinates.
    """
    names = axes(ds)
    stacked = np.stack([np.asarray(value) for value in values])
    shape = [ds.sizes[name] for name in names]
    array = xr.DataArray(stacked.reshape((*shape, *stacked.shape[1:])), dims=[*names, *dims])
    known = {name: ds[name] for name in array.dims if name in ds.coords and ds.sizes[name] == array.sizes[name]}
    first = [name for name in ("part", "theorem", "prediction", "step", "lag") if name in dims]
    array = array.assign_coords(known | dict(coords or {}))
    return array.transpose(*first, *names, *[name for name in dims if name not in first])


def put(
    result: xr.Dataset, name: str, value: xr.DataArray, error: Any, units: str, long_name: str, condition: str
) -> None:
    """Add an estimate and its standard error, with their attributes."""
    result[name] = value.assign_attrs(units=units, long_name=long_name, condition=condition)
    spread = xr.zeros_like(value, dtype=float) + error
    meaning = f"standard error: {long_name}"
    result[f"{name}_error"] = spread.assign_attrs(units=units, long_name=meaning, condition=condition)


def require(ds: xr.Dataset, *names: str) -> None:
    missing = [name for name in names if name not in ds]
    if missing:
        raise ValueError(f"needs {', '.join(missing)} among the recorded variables: record.variables")


def put_sample_size(result: xr.Dataset, sample_size: xr.DataArray) -> xr.Dataset:
    result["effective_sample_size"] = sample_size.assign_attrs(
        units="1", long_name="effective sample size", condition="replicas that carry the exponential average"
    )
    result["reliable"] = (sample_size >= MINIMUM_SAMPLE_SIZE).assign_attrs(
        long_name=f"effective sample size of at least {MINIMUM_SAMPLE_SIZE:g}", condition="a flag, not a proof"
    )
    return result
