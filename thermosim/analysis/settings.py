"""What a run was made with, read from the ensemble alone."""

from __future__ import annotations

import json
from typing import Any

import xarray as xr

__all__ = ["axes", "setting", "settings", "without_single_axes"]

_NOT_AXES = {"step", "replica", "sample", "theta_dim", "x_dim"}


def settings(ds: xr.Dataset) -> dict[str, Any]:
    """The complete case as run, defaults filled in: {"model": {...}, "theta": {...}, ...}."""
    resolved: dict[str, Any] = json.loads(ds.attrs["settings"])
    return resolved


def axes(ds: xr.Dataset) -> list[str]:
    """Names of the sweep axes, in order."""
    return [key.rsplit(".", 1)[-1] for key in settings(ds)["sweep"]]


def setting(ds: xr.Dataset, key: str) -> Any:
    """The value of a dotted key such as "theta.learning_rate": the sweep's coordinate where it is an axis.

    Returns a DataArray over the axis, or the plain value of the case. Raises KeyError when the case has no such key,
    ValueError when the axis runs over lists, which a coordinate cannot hold: they are in `settings(ds)["sweep"]`.
    """
    resolved = settings(ds)
    if key in resolved["sweep"]:
        if any(isinstance(value, list) for value in resolved["sweep"][key]):
            raise ValueError(f"{key} is swept over lists; read them from settings(ds)['sweep'][{key!r}]")
        return ds[key.rsplit(".", 1)[-1]]
    value: Any = resolved
    for part in key.split("."):
        value = value[part]
    return value


def without_single_axes(ds: xr.Dataset) -> xr.Dataset:
    """The ensemble with every axis of one value taken for what it is, a setting."""
    resolved, single = settings(ds), [name for name in axes(ds) if ds.sizes[name] == 1]
    for key in [key for key in resolved["sweep"] if key.rsplit(".", 1)[-1] in single]:
        *parents, last = key.split(".")
        table = resolved
        for part in parents:
            table = table[part]
        table[last] = resolved["sweep"].pop(key)[0]
    result = ds.isel(dict.fromkeys(single, 0), drop=True)
    result.attrs = dict(ds.attrs) | {"settings": json.dumps(resolved)}
    return result
