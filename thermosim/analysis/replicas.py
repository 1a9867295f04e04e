"""Whether a Dataset still is an ensemble: its dimensions, its steps, and whose numbers its replicas are.

Replicas and points may be selected, sorted, relabelled, and those of other runs of the case put beside them: what
`addresses` says of each goes with it. What would give a wrong number is refused here, with the remedy.
"""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import numpy as np
import xarray as xr

from thermosim.addresses import ADDRESS, ORIGIN, Numbering, case_of, origin_of, seed_of, series, strides
from thermosim.analysis.settings import as_run, axes, places
from thermosim.case.settings import Settings
from thermosim.ledger import VARIABLES
from thermosim.models import model_of

__all__ = ["examine", "is_regular", "numbering", "own_addresses", "place_of", "seeds", "selected", "since"]

_MOST = 1 << 36  # replicas of an ensemble
_TAIL = ("sample", "x_dim", "theta_dim")


def examine(ds: xr.Dataset) -> None:
    """Raise ValueError where a number from these replicas and frames would not be what it is said to be."""
    names = axes(ds)
    _examine_dimensions(ds, names)
    _examine_steps(ds)
    _examine_replicas(ds, names)


def selected(ds: xr.Dataset, kept: np.ndarray) -> xr.Dataset:
    """Those replicas that are to be kept (R,); addresses are whole numbers again where only others were filled in."""
    rest = ds.isel(replica=kept)
    coordinates = [rest.coords[name] for name in (ADDRESS, ORIGIN) if name in rest.coords]
    return rest.assign_coords({c.name: c.astype(np.int64) for c in coordinates if bool(np.isfinite(c).all())})


def own_addresses(ds: xr.Dataset) -> np.ndarray:
    """Addresses of the replicas of one point of a sweep, (R,). Raises ValueError where they are not known.

    That is where the coordinates are missing, or where replicas are of another run than the attributes tell.
    """
    if ADDRESS not in ds.coords or ORIGIN not in ds.coords:
        raise ValueError(
            "nothing tells which random numbers these replicas had: the coordinates address and origin are missing. "
            "Open the whole file with thermosim.open_ensemble, which adds them, before selecting"
        )
    address, origin = _numbers(ds, ADDRESS), _numbers(ds, ORIGIN)
    if not np.all(origin == _origin(ds.attrs["settings"])):
        raise ValueError(
            "some replicas are of a run with another seed, or of none, so their random numbers cannot be drawn again: "
            "take each run by itself"
        )
    return address.astype(np.int64)


def place_of(ds: xr.Dataset) -> int:
    """The number of the point of the sweep that `ds` is, in the order in which addresses count points."""
    return int(np.sum(_counted(ds)))


def numbering(settings: Settings) -> Numbering:
    """The addresses of a case as run."""
    ensemble = settings.ensemble
    return Numbering(math.prod(map(len, settings.sweep.values())), series(ensemble.replicas, ensemble.added))


def seeds(ds: xr.Dataset) -> set[int]:
    """What tells the seeds of the replicas apart; nothing where they are not known."""
    if ORIGIN in ds.coords:
        return set(np.unique(seed_of(_numbers(ds, ORIGIN, *axes(ds)))).tolist())
    return {int(seed_of(_origin(ds.attrs["settings"])))} if "seed" in ds.attrs else set()


def since(ds: xr.Dataset | xr.DataArray) -> str:
    """From which frame on changes are counted, in words."""
    return f"since step {int(ds['step'][0])}"


def is_regular(steps: np.ndarray) -> bool:
    """Whether frames are equally far apart."""
    return len(set(np.diff(steps).tolist())) < 2


def _examine_dimensions(ds: xr.Dataset, names: list[str]) -> None:
    framed = "step" in ds.coords or not VARIABLES.keys().isdisjoint(map(str, ds.data_vars))
    for name in ("step", "replica") if framed else ("replica",):
        if name not in ds.dims:
            raise ValueError(
                f"there is no dimension {name!r}: analysis takes single frames of single replicas. Select one by a "
                f"list, isel({name}=[0]), and do not average, rename or stack them"
            )
    known = {"step", "replica", *names, *_TAIL}
    for variable in ds.data_vars.values():
        if not {"step", "replica"} <= set(variable.dims) or known.issuperset(variable.dims):
            continue
        if strange := set(variable.dims) - known - _own_dimensions(ds):
            raise ValueError(
                f"{variable.name} has dimensions that no ensemble has: {sorted(map(str, strange))}; select, rename or "
                "unstack them"
            )


def _own_dimensions(ds: xr.Dataset) -> set[str]:
    """Of functionals and measures of the model with several numbers."""
    model = model_of(as_run(ds).model.name, str(ds.attrs.get("model_source", "")))
    return {row.dim for row in model.rows}


def _examine_steps(ds: xr.Dataset) -> None:
    if "step" not in ds.dims:
        return
    if "step" not in ds.coords:
        raise ValueError("the coordinate step is gone, which says when the frames were taken")
    steps, last = np.asarray(ds["step"].values), as_run(ds).run.steps
    if steps.size == 0:
        raise ValueError("no frames are left: select some steps")
    record = as_run(ds).record
    cadences = [(record.first, record.every or 1)]
    cadences += [(table.first or 0, table.every or 1) for table in record.tables.values()]
    if not any(_are_of(steps, first, every, last) for first, every in cadences):
        first, every = cadences[0]
        raise ValueError(
            f"the coordinate step is not that of what was recorded, steps {first}, {first + every}, ... to {last}: "
            "keep it as it was"
        )
    if np.any(np.diff(steps) <= 0):
        raise ValueError("frames are not in the order of time, each once: ds.sortby('step').drop_duplicates('step')")


def _are_of(steps: np.ndarray, first: int, every: int, last: int) -> bool:
    """Whether steps are some of first, first + every, ... to last."""
    if steps.dtype.kind not in "iu":
        return False
    return bool(np.all((steps - first) % every == 0) and first <= steps.min() and steps.max() <= last)


def _examine_replicas(ds: xr.Dataset, names: list[str]) -> None:
    if ds.sizes["replica"] == 0:
        raise ValueError("no replicas are left: select some")
    if ADDRESS not in ds.coords or ORIGIN not in ds.coords:
        if "replica" in ds.coords and len(np.unique(ds["replica"].values)) < ds.sizes["replica"]:
            raise ValueError(
                "labels of replicas repeat, and nothing tells whether they are the same ones: open files with "
                "thermosim.open_ensemble, which keeps whose numbers they are"
            )
        return
    address, origin = (_numbers(ds, name, *names) for name in (ADDRESS, ORIGIN))
    if address.dtype.kind == "f" and np.isfinite(address).all():  # none was filled in
        raise ValueError(
            "the addresses of replicas are no whole numbers, like those of averages over some: take single replicas"
        )
    there, own = np.isfinite(address) & np.isfinite(origin), _origin(ds.attrs["settings"])
    address, origin = (np.where(there, values, 0).astype(np.int64) for values in (address, origin))  # or filled in
    if np.any(case_of(origin)[there] != case_of(own)):
        raise ValueError("some replicas are of another case than the attributes tell: take each case by itself")
    mine = there & (origin == own)
    expected = np.asarray(functools.reduce(np.add.outer, _counted(ds), np.int64(0)))[..., None]
    if np.any((numbering(as_run(ds)).place(address)[0] != expected) & mine):
        raise ValueError(
            "the coordinates do not belong to these replicas, whose addresses are those of other points of the sweep, "
            "or of a run with more replicas: keep the labels of the axes as they were, and take each run by itself"
        )
    if np.any(np.diff(address, axis=-1) <= 0) and _repeats(address, origin, there):
        raise ValueError(
            "some replicas are there twice, so errors over replicas would be too small: take each once, as "
            "ds.drop_duplicates('replica') does by their labels"
        )


def _repeats(address: np.ndarray, origin: np.ndarray, there: np.ndarray) -> bool:
    """Whether a point of (points..., R) has two replicas of one seed and address."""
    key = np.where(there, seed_of(origin) * _MOST + address, -1 - np.arange(address.shape[-1]))
    return bool(np.any(np.diff(np.sort(key, axis=-1), axis=-1) == 0))


def _numbers(ds: xr.Dataset, name: str, *names: str) -> np.ndarray:
    """A coordinate of replicas as an array over the axes and replicas. Raises ValueError where it has other dims."""
    coordinate = ds.coords[name]
    single = [axis for axis in names if axis not in coordinate.dims and ds.sizes[axis] == 1]  # made by expand_dims
    coordinate = coordinate.drop_vars(single, errors="ignore").expand_dims(single)
    if set(coordinate.dims) != {*names, "replica"} or coordinate.dtype.kind not in "iuf":
        raise ValueError(
            f"the coordinate {name!r} of replicas lies along {list(coordinate.dims)}, where {[*names, 'replica']} is "
            "expected: keep it as it was, or drop it"
        )
    return np.asarray(coordinate.transpose(*names, "replica").values)


def _counted(ds: xr.Dataset) -> list[Any]:
    """For each axis, by how much its values make the number of a point larger."""
    sweep = as_run(ds).sweep
    structural = json.loads(ds.attrs.get("structural", "[]"))
    steps = strides([len(values) for values in sweep.values()], [key in structural for key in sweep])
    return [place * step for place, step in zip(places(ds).values(), steps, strict=True)]


@functools.lru_cache(maxsize=256)
def _origin(settings: str) -> int:
    return origin_of(json.loads(settings))
