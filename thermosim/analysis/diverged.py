"""Replicas that diverged: left out in one place, the same for every estimate, check and picture.

A replica of status != 0 is NaN from some frame on. It is left out as a whole: its earlier frames belong to a path that
has no end. At a point of a sweep where most replicas diverged nothing can be said of the ensemble, so the values of an
axis at which more than half of them did are left out first, and then the replicas that diverged at any other point.
What remains at a point where some diverged is a sample of the ensemble on condition that it did not diverge, which is
another ensemble: every result says over how many replicas it is, in its coordinate `replicas`. NaN of any other origin
is not left out: it shows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

import numpy as np
import xarray as xr

from thermosim.analysis.estimates import judged
from thermosim.analysis.replicas import selected
from thermosim.analysis.settings import axes, settings
from thermosim.ledger import told_temperature

__all__ = ["Survivors", "of_survivors", "survivors"]

_MOST = 0.5  # of the replicas at a value of an axis, beyond which the value is left out
_FEWEST = 2  # replicas, as long as there are values of an axis to leave out
P = ParamSpec("P")


@dataclass(frozen=True, eq=False)
class Survivors:
    """What of an ensemble did not diverge."""

    ds: xr.Dataset
    values: dict[str, list[int]]  # of each axis that lost some: positions of those that are left
    replicas: tuple[int, ...]  # numbers of those left out at the points that are left


def survivors(ds: xr.Dataset) -> Survivors:
    """An ensemble without what diverged; the same object where nothing did. It may be left without replicas."""
    if "status" not in ds or "replica" not in ds["status"].dims:
        return Survivors(ds, {}, ())
    names, status = _axes(ds), ds["status"] != 0
    status = status.any([dim for dim in status.dims if dim not in (*names, "replica")])
    status = status.expand_dims({name: ds.sizes[name] for name in names if name not in status.dims})
    lost = status.transpose(*names, "replica").values
    if not lost.any():
        return Survivors(ds, {}, ())  # a selection, even of all, would be laid out and summed in another order
    kept = [list(range(size)) for size in lost.shape[:-1]]
    while worst := _worst(lost, kept):
        kept[worst[0]].remove(worst[1])
    gone = np.asarray(lost[np.ix_(*kept)].reshape(-1, lost.shape[-1]).any(axis=0))
    values = {name: some for name, some, size in zip(names, kept, lost.shape) if len(some) < size}
    rest = ds.isel(values)
    if gone.any():
        rest = selected(rest, ~gone)
    numbers = ds["replica"].values if ds["replica"].dtype.kind in "iu" else np.arange(len(gone))
    return Survivors(rest, values, tuple(numbers[gone].tolist()))


def of_survivors(function: Callable[Concatenate[xr.Dataset, P], xr.Dataset]) -> Callable[..., xr.Dataset]:
    """An analysis that takes what did not diverge of its ensembles, and says in `replicas` how many that are.

    Values of an axis that are left out come back as NaN, of no replica. Raises ValueError where all diverged.
    """

    @functools.wraps(function)
    def of_what_is_left(ds: xr.Dataset, *args: Any, **keys: Any) -> xr.Dataset:
        if "replica" not in ds.dims:
            return function(ds, *args, **keys)
        left = survivors(ds)
        if not left.ds.sizes["replica"]:
            raise ValueError(f"all {ds.sizes['replica']} replicas diverged (see status and diverged_step)")
        others = [_likewise(other, left) for other in args]
        named = {name: _likewise(other, left) for name, other in keys.items()}
        try:
            with np.errstate(all="ignore"):  # what overflows is infinite in the result, and needs no warning besides
                result = function(left.ds, *others, **named)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                f"{function.__name__}: a matrix is singular to rounding ({error}); replicas that are far from all "
                "others, or all alike, make it so"
            ) from error
        return _told(judged(result), ds, left)

    return of_what_is_left


def _axes(ds: xr.Dataset) -> list[str]:
    """The axes of the sweep that an ensemble still has: the frames of one point have none."""
    return [name for name in axes(ds) if name in ds.dims]


def _worst(lost: np.ndarray, kept: list[list[int]]) -> tuple[int, int] | None:
    """The axis and the value of it that is left out next: where the largest share diverged; None where all may stay."""
    here = lost[np.ix_(*kept)]
    shares = {
        (axis, value): float(here.take(place, axis=axis).mean())
        for axis, some in enumerate(kept)
        for place, value in enumerate(some)
        if len(some) > 1
    }
    if not shares:
        return None
    worst = max(shares, key=lambda place: shares[place])
    left = int((~here.reshape(-1, here.shape[-1]).any(axis=0)).sum())
    too_few = left < min(_FEWEST, here.shape[-1]) and shares[worst] > 0.0
    return worst if shares[worst] > _MOST or too_few else None


def _likewise(other: Any, left: Survivors) -> Any:
    """Another argument at the same values of the axes: an ensemble without its own diverged replicas, or a result."""
    if not isinstance(other, xr.Dataset):
        return other
    values = {name: some for name, some in left.values.items() if name in other.dims}
    if "settings" not in other.attrs or "status" not in other:
        return other.isel(values)
    rest = survivors(other.isel(values))
    if rest.values:
        lost = ", ".join(rest.values)
        raise ValueError(
            f"the two ensembles diverged at different values of {lost}: select values at which neither did"
        )
    return rest.ds


def _told(result: xr.Dataset, ds: xr.Dataset, left: Survivors) -> xr.Dataset:
    """A result at all values of the axes of ds, with the number of replicas at each."""
    names, count = _axes(ds), left.ds.sizes["replica"]
    counts = xr.DataArray(np.full([left.ds.sizes[name] for name in names], count), dims=names)
    result = result.assign_coords(replicas=counts)
    for name in left.values:
        result = _filled(result, name, left.values[name], ds.sizes[name])
        if name in ds.coords:
            result = result.assign_coords({name: ds[name]})
    if any("energy" in variable.attrs.get("units", "") for variable in result.data_vars.values()):
        case = settings(ds)
        if case.x is not None:
            swept = "x.temperature" in case.sweep
            result.attrs.setdefault("temperature", told_temperature(case.x.temperature, swept))
    about = {"units": "1", "long_name": "replicas that the estimates are over"}
    if left.values or left.replicas:
        lost = int((ds["status"] != 0).sum())
        about["note"] = (
            f"{lost} of {ds['status'].size} replicas diverged and are left out: averages are on condition that one "
            "did not diverge"
        )
    result["replicas"].attrs.update(about)
    return result


def _filled(result: xr.Dataset, axis: str, places: list[int], size: int) -> xr.Dataset:
    """A result of some values of an axis among all of them: NaN, False, 0 or nothing at the others."""

    def fill(variable: xr.Variable) -> xr.Variable:
        if axis not in variable.dims:
            return variable
        kind = variable.dtype.kind
        nothing: Any = {"f": np.nan, "c": np.nan, "b": False, "O": None}.get(kind, "" if kind in "US" else 0)
        shape = [size if dim == axis else length for dim, length in variable.sizes.items()]
        whole = np.full(shape, nothing, variable.dtype)
        whole[tuple(places if dim == axis else slice(None) for dim in variable.dims)] = variable.values
        return xr.Variable(variable.dims, whole, variable.attrs)

    variables = {name: fill(result.variables[name]) for name in result.variables if name != axis}
    coords = {name: variable for name, variable in variables.items() if name in result.coords}
    data = {name: variable for name, variable in variables.items() if name not in result.coords}
    return xr.Dataset(data, coords, result.attrs)
