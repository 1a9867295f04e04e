"""Estimates with their errors, as every analysis writes them: X, X_error, and attributes that say when X is exact.

The error is a standard error; `interval` gives the interval that covers the truth in 95 of 100 ensembles, which is not
two errors wide where replicas are few or the estimate is skewed. An estimator says so in one of two ways: it gives
`put` the degrees of freedom of its error, or the interval itself, kept as X_interval.

The flags `valid` and `reliable` are never true where an estimate or its error is not finite (`judged`). An estimate X
with a flag of its own, X_valid or X_reliable, answers to that one; one that says in its attribute `undefined` why it
has no number there answers to none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from thermosim.analysis.replicas import examine
from thermosim.analysis.settings import axes, needs_frames

__all__ = [
    "LEVEL",
    "MINIMUM_SAMPLE_SIZE",
    "bounds_of",
    "gathered",
    "interval",
    "judged",
    "put",
    "put_mean",
    "replica_mean",
    "require",
]

LEVEL = 0.95  # of every interval
FLAGS = ("valid", "reliable")
_OF_FLAGS = ("long_name", "condition", "method", "nominal_false_alarm_rate")  # attributes

MINIMUM_SAMPLE_SIZE = 100.0  # replicas that share what a single one would not tell


def replica_mean(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and standard error over replicas; samples of one replica are averaged first.

    NaN shows: what diverged has been left out before (`diverged`). One replica has no error: NaN.
    """
    if "sample" in values.dims:
        values = values.mean("sample", skipna=False)
    size, mean = values.sizes["replica"], values.mean("replica", skipna=False)
    if size < 2:
        return mean, xr.full_like(mean, np.nan, dtype=float)
    return mean, values.std("replica", ddof=1, skipna=False) / np.sqrt(size)


def put_mean(
    result: xr.Dataset, name: str, values: xr.DataArray, units: str, long_name: str, condition: str, **more: Any
) -> None:
    """Add the mean over replicas; its error has a degree of freedom for every replica but one."""
    more = {"degrees_of_freedom": values.sizes["replica"] - 1} | more
    put(result, name, *replica_mean(values), units, long_name, condition, **more)


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
    result: xr.Dataset,
    name: str,
    value: xr.DataArray,
    error: Any,
    units: str,
    long_name: str,
    condition: str,
    *,
    degrees_of_freedom: float | None = None,
    bounds: tuple[Any, Any] | None = None,
) -> None:
    """Add an estimate and its standard error, with their attributes.

    degrees_of_freedom: of the error, where its own uncertainty counts (Student's t); None for many.
    bounds: low and high end of the interval, where no multiple of the error gives it; kept as `NAME_interval`.
    """
    value = value.drop_attrs(deep=False)
    result[name] = value.assign_attrs(units=units, long_name=long_name, condition=condition)
    spread = xr.DataArray(xr.zeros_like(value, dtype=float) + error).drop_attrs(deep=False)
    meaning = f"standard error: {long_name}"
    spread = spread.assign_attrs(units=units, long_name=meaning, condition=condition)
    if degrees_of_freedom is not None:
        spread.attrs["degrees_of_freedom"] = float(degrees_of_freedom)
    result[f"{name}_error"] = spread
    if bounds is not None:
        ends = [xr.zeros_like(value, dtype=float) + bound for bound in bounds]
        meaning = f"{100 * LEVEL:g} % interval: {long_name}"
        result[f"{name}_interval"] = bounds_of(*ends).assign_attrs(units=units, long_name=meaning, condition=condition)


def interval(result: xr.Dataset, name: str) -> xr.DataArray:
    """The 95 % interval of an estimate: its dims and bound (low, high).

    It is the estimator's own where it keeps one, otherwise Student's, or the normal one where degrees of freedom are
    many. Raises KeyError when `result` has no such estimate, or no error of it.
    """
    if f"{name}_interval" in result:
        return result[f"{name}_interval"]
    error = result[f"{name}_error"]
    width = stats.t.ppf(0.5 * (1.0 + LEVEL), error.attrs.get("degrees_of_freedom", np.inf))
    ends = bounds_of(result[name] - width * error, result[name] + width * error).drop_attrs(deep=False)
    meaning = f"{100 * LEVEL:g} % interval: {result[name].attrs.get('long_name', name)}"
    return ends.assign_attrs(units=result[name].attrs.get("units", ""), long_name=meaning)


def bounds_of(low: xr.DataArray, high: xr.DataArray) -> xr.DataArray:
    """An interval from its ends: their dims and bound (low, high)."""
    ends = xr.concat([low, high], "bound", coords="minimal", compat="override")
    return ends.assign_coords(bound=["low", "high"]).transpose(..., "bound")


def judged(result: xr.Dataset) -> xr.Dataset:
    """A result whose flags are false wherever one of its estimates, or its standard error, is not finite.

    Along dimensions that a flag does not have, one such number is enough. `reason` names the estimate, if it is there.
    """
    for variable in result.data_vars.values():
        if variable.dtype.kind in "bOU":  # flags and words, made of numbers whose attributes are not theirs
            variable.attrs = {key: value for key, value in variable.attrs.items() if key in _OF_FLAGS}
    for flag, of in _answers(result).items():
        for name in of:
            wrong = xr.DataArray(~(np.isfinite(result[name]) & np.isfinite(result[f"{name}_error"])))
            wrong = wrong.any([dim for dim in wrong.dims if dim not in result[flag].dims])
            told = result[flag] & ~wrong.drop_attrs(deep=False)
            if flag == "valid" and "reason" in result:
                silent = wrong & (result["reason"] == "")
                text = result["reason"].astype(object).where(~silent, f"{name}, or its error, is not finite")
                result["reason"] = text.astype(str).transpose(*result["reason"].dims)
            result[flag] = told.transpose(*result[flag].dims, ...).assign_attrs(result[flag].attrs)
    return result


def _answers(result: xr.Dataset) -> dict[str, list[str]]:
    """Of every flag the estimates that it answers for."""
    estimates = [
        str(name)
        for name in result.data_vars
        if f"{name}_error" in result and not {"undefined"} & {*result[name].attrs, *result[f"{name}_error"].attrs}
    ]
    found: dict[str, list[str]] = {}
    for flag in FLAGS:
        own = {name for name in estimates if f"{name}_{flag}" in result}
        found |= {f"{name}_{flag}": [name] for name in own}
        if flag in result:
            found[flag] = [name for name in estimates if name not in own]
    return found


def require(ds: xr.Dataset, *names: str) -> None:
    """Raise ValueError unless `ds` is an ensemble whose frames have these variables."""
    examine(ds)
    missing = [name for name in names if name not in ds]
    if missing:
        raise ValueError(needs_frames(ds, missing))
    apart = [name for name in names if "step" not in ds[name].dims]
    if apart:
        raise ValueError(
            f"{apart[0]} has steps of its own, not those of all: name it in record.variables, or take it alone, "
            f"ds[[{apart[0]!r}]].rename({apart[0]}_step='step')"
        )
