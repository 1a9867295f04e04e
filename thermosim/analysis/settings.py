"""What an ensemble was run with, read from the ensemble alone, and from what is left of it.

A Dataset may hold some points of the sweep, in any order. Its coordinates say which: an axis that is a dimension has
the values of its coordinate, one that is a scalar coordinate is a setting. Everything that analysis, checks and
pictures know of the sweep comes from here.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from thermosim.case.settings import Settings

__all__ = [
    "as_run",
    "axes",
    "each_point",
    "needs_frames",
    "number",
    "places",
    "setting",
    "settings",
    "without_single_axes",
]

_CLOSE = 1e-6  # relative: a coordinate that was rounded to float32


def as_run(ds: xr.Dataset) -> Settings:
    """The complete case as run, defaults filled in, whatever was selected since. Raises ValueError for no ensemble."""
    if "settings" not in ds.attrs:
        raise ValueError("not an ensemble of thermosim: its attributes are gone; keep_attrs=True of xarray keeps them")
    return _parsed(ds.attrs["settings"])


def settings(ds: xr.Dataset) -> Settings:
    """The complete case, with those points of the sweep that `ds` holds: `settings(ds).theta.learning_rate`.

    `sweep` has the axes that are dimensions, each with the values left, in order; one of which a single value was
    selected is set to it. Raises ValueError where an axis is gone, or has values that are not of the sweep.
    """
    whole = as_run(ds)
    if not whole.sweep:
        return whole
    held = tuple((key, place) for key, place in zip(whole.sweep, _held(ds, whole).values(), strict=True))
    return _of_part(ds.attrs["settings"], held)


def axes(ds: xr.Dataset) -> list[str]:
    """Names of the sweep axes that are dimensions, in the order of the case."""
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


def number(ds: xr.Dataset, key: str) -> Any:
    """A setting as a number, or as an array over the axis it is swept along; None when it is neither."""
    resolved = settings(ds)
    if key not in resolved.sweep:
        value = resolved.value(key)
        return float(value) if isinstance(value, (int, float)) else None
    values = resolved.sweep[key]
    if not all(isinstance(value, (int, float)) for value in values):
        return None
    name = _name(key)
    return xr.DataArray(np.asarray(values, float), dims=name, coords={name: ds[name]})


def each_point(ds: xr.Dataset) -> Iterator[tuple[dict[str, int], Settings]]:
    """Every point of the sweep that `ds` holds: its index on each axis, and the settings with its values in place."""
    resolved = settings(ds)
    sweep = resolved.sweep
    for index in itertools.product(*(range(len(values)) for values in sweep.values())):
        here = resolved.at({key: values[i] for (key, values), i in zip(sweep.items(), index, strict=True)})
        yield dict(zip(map(_name, sweep), index, strict=True)), here


def needs_frames(ds: xr.Dataset, names: Iterable[str]) -> str:
    """What to record, for an analysis of frames that an ensemble does not have: variables by name."""
    names = list(names)
    summarised = [name for name in names if name in as_run(ds).record.tables]
    if not summarised:
        return f"needs {', '.join(names)} among the recorded variables: record.variables"
    kept = f"of {' and '.join(summarised)} there is only what a table of [record] keeps"
    return f"needs frames of {', '.join(names)}, and {kept}: name in record.variables what is to have frames"


def places(ds: xr.Dataset) -> dict[str, Any]:
    """Where the values of each axis are in the sweep as run: arrays along dimensions, numbers where one is selected.

    In the order of the case. Raises ValueError as `settings`.
    """
    held = _held(ds, as_run(ds))
    return {name: np.array(place) if isinstance(place, tuple) else place for name, place in held.items()}


def without_single_axes(ds: xr.Dataset) -> xr.Dataset:
    """The ensemble with every axis of one value taken for what it is, a setting."""
    return ds.isel({name: 0 for name in axes(ds) if ds.sizes[name] == 1})


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> Settings:
    return Settings.from_dict(json.loads(text))


@functools.lru_cache(maxsize=1024)
def _of_part(text: str, held: tuple[tuple[str, int | tuple[int, ...]], ...]) -> Settings:
    whole = _parsed(text)
    single = {key: whole.sweep[key][place] for key, place in held if isinstance(place, int)}
    rest = {key: [whole.sweep[key][i] for i in place] for key, place in held if isinstance(place, tuple)}
    return replace(whole.at(single), sweep=rest)


def _held(ds: xr.Dataset, whole: Settings) -> dict[str, int | tuple[int, ...]]:
    """Of every axis the places in the sweep as run of the values that `ds` has: several along a dimension, or one."""
    return {_name(key): _places(ds, key, values) for key, values in whole.sweep.items()}


def _places(ds: xr.Dataset, key: str, values: list[Any]) -> int | tuple[int, ...]:
    name = _name(key)
    if name not in ds.coords:
        if len(values) == 1:
            return (0,) if name in ds.dims else 0
        if name in ds.dims:
            raise ValueError(f"the axis {name!r} of the sweep has lost its coordinate, which says what {key} is")
        raise ValueError(
            f"the axis {name!r} of the sweep is gone: average over replicas, or select a value of it and keep its "
            f"coordinate (no drop=True), which says what {key} is"
        )
    coordinate = ds.coords[name]
    if coordinate.dims not in ((), (name,)):
        raise ValueError(f"the axis {name!r} of the sweep lies along {list(coordinate.dims)}: unstack or rename it")
    if coordinate.ndim == 0 and name in ds.dims:
        raise ValueError(f"the axis {name!r} of the sweep has one value for several points: select one of them")
    if coordinate.size == 0:
        raise ValueError(f"the axis {name!r} of the sweep has no values left")
    known = _lookup(ds.attrs["settings"], key)
    found = tuple(_place(value, known, key) for value in np.atleast_1d(coordinate.values).tolist())
    return found if coordinate.ndim else found[0]


@functools.lru_cache(maxsize=1024)
def _lookup(text: str, key: str) -> dict[Any, int]:
    """The place in the sweep as run of each value that the coordinate of an axis can have."""
    values = _parsed(text).sweep[key]
    if any(isinstance(value, (list, dict)) for value in values):  # which the coordinate counts
        return {place: place for place in range(len(values))}
    words = any(isinstance(value, str) for value in values)
    return {str(value) if words else value: place for place, value in enumerate(values)}


def _place(value: Any, known: dict[Any, int], key: str) -> int:
    if value in known:
        return known[value]
    if isinstance(value, float) and not any(isinstance(one, str) for one in known):
        near = np.flatnonzero(np.isclose(np.array(list(known), float), value, rtol=_CLOSE, atol=0.0))
        if len(near) == 1:
            return list(known.values())[near[0]]
    raise ValueError(
        f"{_name(key)} = {value!r} is no value of the sweep over {key}: points of other cases, or given other labels, "
        "cannot be analysed with the settings of this one"
    )


def _name(key: str) -> str:
    return key.rsplit(".", 1)[-1]
