"""What a run was made with, read from the ensemble alone."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import xarray as xr

from thermosim.case.settings import Settings

__all__ = ["axes", "each_point", "setting", "settings", "with_settings", "without_single_axes"]


def settings(ds: xr.Dataset) -> Settings:
    """The complete case as run, defaults filled in: `settings(ds).theta.learning_rate`."""
    return _parsed(ds.attrs["settings"])


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> Settings:
    return Settings.from_dict(json.loads(text))


def axes(ds: xr.Dataset) -> list[str]:
    """Names of the sweep axes, in order."""
    return [_name(key) for key in settings(ds).sweep]


def setting(ds: xr.Dataset, key: str) -> Any:
    """The value of a dotted key such as "theta.learning_rate": the sweep's coordinate where it is an axis.

    Returns a DataArray over the axis, or the plain value of the case. Raises KeyError when the case has no such key,
    ValueError when the axis runs over lists, which a coordinate cannot hold: they are in `settings(ds).sweep`.
    """
    resolved = settings(ds)
    if key in resolved.sweep:
        if any(isinstance(value, list) for value in resolved.sweep[key]):
            raise ValueError(f"{key} is swept over lists; read them from settings(ds).sweep[{key!r}]")
        return ds[_name(key)]
    return resolved.value(key)


def each_point(ds: xr.Dataset) -> Iterator[tuple[dict[str, int], Settings]]:
    """Every point of the sweep: its index on each axis, and the settings with its values in place."""
    resolved = settings(ds)
    sweep = resolved.sweep
    for index in itertools.product(*(range(len(values)) for values in sweep.values())):
        here = resolved.at({key: values[i] for (key, values), i in zip(sweep.items(), index, strict=True)})
        yield dict(zip(map(_name, sweep), index, strict=True)), here


def without_single_axes(ds: xr.Dataset) -> xr.Dataset:
    """The ensemble with every axis of one value taken for what it is, a setting."""
    resolved = settings(ds)
    single = {key: values[0] for key, values in resolved.sweep.items() if ds.sizes[_name(key)] == 1}
    rest = {key: values for key, values in resolved.sweep.items() if key not in single}
    result = ds.isel({_name(key): 0 for key in single}, drop=True)
    return with_settings(result, replace(resolved.at(single), sweep=rest))


def with_settings(ds: xr.Dataset, resolved: Settings) -> xr.Dataset:
    """The ensemble, said to be made with these settings."""
    return ds.assign_attrs(settings=json.dumps(resolved.as_dict()))


def _name(key: str) -> str:
    return key.rsplit(".", 1)[-1]
