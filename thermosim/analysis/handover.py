"""Ensembles as other programs take them: ArviZ, pandas, pymbar and alchemlyb. Nothing is estimated here but means.
Replicas that diverged are left out.

    to_arviz             a DataTree in ArviZ's schema: a replica is a chain, a frame is a draw
    table                a pandas table of a sweep: one row for each point, means over replicas with standard errors
    work_values          reduced work w/T of every replica, as `pymbar.bar(w_F, w_R)` and `pymbar.exp(w_F)` take it
    reduced_potentials   u_k(x) = phi(x; theta_k)/T_k of the samples of every point at every point: a table as
                         `alchemlyb.estimators.MBAR().fit(...)` takes it, and its transpose `pymbar.MBAR(u_kn, N_k)`

Sources: the schema of ArviZ 1; M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import survivors
from thermosim.analysis.estimates import replica_mean, require
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.replicas import examine
from thermosim.analysis.settings import axes
from thermosim.data.sources import theta_of
from thermosim.ledger import VARIABLES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["reduced_potentials", "table", "to_arviz", "work_values"]

_NUMBERS = 16  # components of a variable that a table has columns for
_STATES = ("theta", "x")


def to_arviz(ds: xr.Dataset, variables: Sequence[str] | None = None, first: int | None = None) -> xr.DataTree:
    """A DataTree in ArviZ's schema: dims chain (replica) and draw (frame) first, axes of a sweep after them.

    States and observables are in the group `posterior`, what moves booked in `sample_stats`. `variables` are by default
    all that are recorded at the common steps; frames before step `first` are left out as a burn-in. Chains of ArviZ
    are to be stationary, which an ensemble is only where its law no longer changes. Raises ValueError for a variable
    that is not recorded at these steps, and where no frame is left.
    """
    examine(ds)
    there = [str(name) for name, one in ds.data_vars.items() if {"step", "replica"} <= set(one.dims)]
    if missing := [name for name in variables or () if name not in there]:
        raise ValueError(f"{', '.join(missing)}: not recorded at the common steps; there are {', '.join(there)}.")
    chosen = ds[list(variables) if variables is not None else there].reset_coords(drop=True)
    if first is not None:
        chosen = chosen.sel(step=slice(first, None))
    if not chosen.sizes["step"]:
        raise ValueError(f"first = {first}: no frame is left; the last is of step {ds['step'].values[-1]}.")
    chosen = chosen.rename(replica="chain", step="draw")
    order = ["chain", "draw", *(dim for dim in chosen.dims if dim not in ("chain", "draw"))]
    chosen = chosen.transpose(*order)
    booked = [str(name) for name in chosen.data_vars if name in VARIABLES and name not in _STATES]
    groups = {"posterior": chosen.drop_vars(booked), "sample_stats": chosen[booked]}
    about: dict[str, Any] = {
        "inference_library": "thermosim",
        "inference_library_version": str(ds.attrs.get("thermosim_version", "")),
    }
    about |= {"title": str(ds.attrs.get("title", "")), "sample_dims": ["chain", "draw"]}
    kept = {name: group.drop_attrs(deep=False).assign_attrs(about) for name, group in groups.items() if group.data_vars}
    return xr.DataTree.from_dict({f"/{name}": group for name, group in kept.items()})


def table(ds: xr.Dataset, variables: Sequence[str] | None = None, step: int | None = None) -> pd.DataFrame:
    """Means over replicas and their standard errors (`NAME_error`) at one frame: a row for each point of the sweep.

    The axes are the index; without a sweep there is one row, 0. A variable of up to 16 components has a column for
    each, `theta[0]`; by default larger ones are left out. `step` is by default the last frame. Raises ValueError for
    a variable that is not recorded at that step.
    """
    import pandas as pd

    ds = _left(ds)
    names = [str(name) for name, one in ds.data_vars.items() if {"step", "replica"} <= set(one.dims)]
    if missing := [name for name in variables or () if name not in names]:
        raise ValueError(f"{', '.join(missing)}: not recorded at the common steps; there are {', '.join(names)}.")
    if step is not None and step not in ds["step"].values:
        steps = ds["step"].values
        raise ValueError(f"step = {step}: recorded are steps {steps[0]}, ..., {steps[-1]}.")
    frame, along = ds.isel(step=-1) if step is None else ds.sel(step=step), axes(ds)
    columns: dict[str, np.ndarray] = {}
    for name in names if variables is None else variables:
        mean, error = replica_mean(frame[name])
        inner = [str(dim) for dim in mean.dims if dim not in along]
        shape = [mean.sizes[dim] for dim in inner]
        if variables is None and math.prod(shape) > _NUMBERS:
            continue
        for index in np.ndindex(*shape):
            at = dict(zip(inner, index, strict=True))
            label = f"{name}[{', '.join(map(str, index))}]" if index else name
            columns[label] = mean.isel(at).transpose(*along).values.ravel()
            columns[f"{label}_error"] = error.isel(at).transpose(*along).values.ravel()
    rows: Any = pd.MultiIndex.from_product([ds[name].values for name in along], names=along) if along else [0]
    return pd.DataFrame(columns, index=rows)


def work_values(ds: xr.Dataset, step: int | None = None) -> np.ndarray:
    """Work since the first step over T, of every replica and sample, (N,): in nat, at a frame, by default the last.

    Of a reversed ensemble it is the work of the reversed protocol, the w_R of `pymbar.bar`. Raises ValueError for a
    sweep of more than one point, where the temperature is not one constant, or the step is not recorded.
    """
    require(ds, "work")
    (point,) = _points(_left(ds), 1)
    if point.temperature is None or point.temperature <= 0.0:
        raise ValueError("x.temperature: reduced work needs one temperature above 0, constant in time")
    steps = ds["step"].values
    if step is not None and step not in steps:
        raise ValueError(f"step = {step}: recorded are steps {steps[0]}, ..., {steps[-1]}.")
    work = point.frames["work"].isel(step=-1 if step is None else int(np.flatnonzero(steps == step)[0]))
    return np.asarray(work.values, float).ravel() / point.temperature


def reduced_potentials(ds: xr.Dataset, first: int | None = None) -> pd.DataFrame:
    """phi(x; theta_k)/T_k of all samples from step `first` on, at every point k of the sweep: (N, K), in nat.

    The index is (time, values of the axes), a column is a point: what alchemlyb calls u_nk. theta must rest, and be the
    same for all replicas of a point. Frames that follow each other closely are correlated, which MBAR's errors do not
    know: thin them by `first` and the cadence. Raises ValueError for an ensemble whose theta moves, that has no single
    temperature, or of one point only.
    """
    import pandas as pd

    ds = _left(ds)
    points, along = _points(ds, 2), axes(ds)
    thetas = [_resting(point) for point in points]
    frames = np.flatnonzero(points[0].steps >= (points[0].steps[0] if first is None else first))
    if not len(frames):
        raise ValueError(f"first = {first}: no frame is left; the last is of step {points[0].steps[-1]}.")
    names = [tuple(ds[name].values[point.index[name]] for name in along) for point in points]
    labels = names if len(along) > 1 else [name[0] for name in names]
    parts, index = [], []
    for point, name in zip(points, names, strict=True):
        x = np.concatenate([point.x(int(frame)).reshape(-1, point.x(int(frame)).shape[-1]) for frame in frames])
        columns = [
            other.evaluator.surprisals(x, theta[None])[0] / other.temperature
            for other, theta in zip(points, thetas, strict=True)
        ]
        parts.append(np.stack(columns, axis=1))
        times = np.repeat(point.steps[frames], len(x) // len(frames))
        index += [(int(time), *name) for time in times]
    rows = pd.MultiIndex.from_tuples(index, names=["time", *along])
    result = pd.DataFrame(np.concatenate(parts), index=rows, columns=pd.Index(labels, tupleize_cols=False))
    result.attrs |= {"temperature": points[0].temperature, "energy_unit": "kT"}
    return result


def _left(ds: xr.Dataset) -> xr.Dataset:
    """What did not diverge. Raises ValueError where nothing is left."""
    left = survivors(ds).ds
    if not left.sizes["replica"]:
        raise ValueError(f"all {ds.sizes['replica']} replicas diverged (see status and diverged_step)")
    return left


def _points(ds: xr.Dataset, least: int) -> list[Machine]:
    """The points of a sweep: one, or several. Raises ValueError."""
    found = machines(ds)
    if least == 1 and len(found) > 1:
        raise ValueError(f"the sweep has {len(found)} points; select one, as in ds.isel({axes(ds)[0]}=0)")
    if len(found) < least:
        raise ValueError("reduced potentials are those of one point at another: sweep over what differs")
    return found


def _resting(point: Machine) -> np.ndarray:
    """The theta (m,) of a point at which nothing learns and no protocol moves. Raises ValueError."""
    if point.temperature is None or point.temperature <= 0.0:
        raise ValueError("x.temperature: reduced potentials need one temperature above 0, constant in time")
    if point.theta_move.rests and not isinstance(given := point.settings.theta.initial or {}, str):
        return theta_of(point.model, point.constants, given)
    theta, last = point.theta(0), point.theta(len(point.steps) - 1)
    if not (np.array_equal(theta, last) and np.array_equal(theta, np.broadcast_to(theta[0], theta.shape))):
        raise ValueError("theta moves, or differs between replicas: reduced potentials need one theta for each point")
    return np.asarray(theta[0])
