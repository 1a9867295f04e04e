"""Which currents an ensemble has for uncertainty relations, and what of them must be refused: dims as the books.

A current is odd: of a path read backwards it is the negative. Of the books these are work of a drive, heat and log
ratios, and what is made of them; sums of squares, losses, numbers of accepted moves count alike both ways. The state
must be steady: nothing scheduled, theta at rest or learning from data alone, whose minibatches are drawn alike forth
and back. A protocol that reads the same backwards, periodically repeated, has bounds of its own, which are not these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.settings import axes, each_point, needs_frames
from thermosim.case.settings import Settings
from thermosim.ledger import VARIABLES
from thermosim.moves import THETA_MOVES
from thermosim.schedules import is_schedule

__all__ = ["Subject", "drifting", "odd_current", "odd_currents", "steady_subject"]

_TOLD = 4.0  # standard errors between the halves of a run that is not stationary
_SCHEDULED = {
    "x": ("time_step", "temperature"),
    "theta": ("learning_rate", "temperature", "weight_decay"),
}


@dataclass(frozen=True)
class Subject:
    """What moves: x or theta, its log ratio, and the books of it that are odd."""

    name: str
    log_ratio: str
    odd: tuple[str, ...]
    also: tuple[str, ...]  # odd, and no more than combinations of those


_X = Subject("x", "log_ratio_x", ("work", "heat", "log_ratio_x"), ("shadow", "entropy_production"))
_THETA = Subject("theta", "log_ratio_theta", ("log_ratio_theta",), ())


def steady_subject(ds: xr.Dataset) -> Subject:
    """What has a steady state of its own. Raises ValueError where nothing can have one."""
    points = [resolved for _, resolved in each_point(ds)]
    moves = [THETA_MOVES[resolved.theta.dynamics] for resolved in points]
    still = [
        move.rests or (move.prescribed and not _protocol(point)) for move, point in zip(moves, points, strict=True)
    ]
    subject = _X if all(still) else _THETA
    for move, point in zip(moves, points, strict=True):
        if move.prescribed and (protocol := _protocol(point)):
            raise ValueError(
                f"theta.protocol.{protocol} changes in time: uncertainty relations hold in a steady state, and of a "
                "protocol, which read backwards is another one, currents are not odd; keep theta constant"
            )
        section = getattr(point, subject.name)
        for key in _SCHEDULED[subject.name]:
            if is_schedule(getattr(section, key, None)):
                raise ValueError(f"{subject.name}.{key} is a schedule: uncertainty relations need a steady state")
        if subject is _X and point.of_x.restart:
            raise ValueError("x.restart = true: chains start anew at every step, so there is no steady state of x")
        if subject is _THETA and point.theta.gradient == "contrast":
            raise ValueError(
                'theta.gradient = "contrast": theta follows x, and its log ratio alone is not the entropy it produces; '
                'learn with "likelihood", or keep theta at rest'
            )
        if subject is _THETA and not move.density:
            raise ValueError(
                f"theta.dynamics = {move.name!r} has no transition density, so no entropy production is booked: use "
                "'sgld', 'langevin' or 'metropolis', or keep theta at rest"
            )
    return subject


def odd_currents(
    ds: xr.Dataset, subject: Subject, asked: Mapping[str, xr.DataArray] | Sequence[str] | None
) -> dict[str, xr.DataArray]:
    """The running sums asked for, by name; by default the books that are odd and not zero throughout.

    Raises ValueError where there are none, or one is even or has other frames or replicas.
    """
    if isinstance(asked, Mapping):
        chosen = {name: odd_current(ds, name, values) for name, values in asked.items()}
    elif asked is not None:
        chosen = {name: _named(ds, subject, name) for name in ([asked] if isinstance(asked, str) else asked)}
    else:
        chosen = {name: ds[name] for name in subject.odd if name in ds and "step" in ds[name].dims}
        chosen = {name: values for name, values in chosen.items() if bool((values != values.isel(step=0)).any())}
        if subject is _X and "heat" in chosen:
            chosen |= _from_baths(ds)
    if not chosen:
        raise ValueError("no current is left: the books are 0, as in equilibrium without a drive, or none is recorded")
    return chosen


def odd_current(ds: xr.Dataset, name: str, values: xr.DataArray) -> xr.DataArray:
    """A running sum of the user's at the frames and replicas of ds. Raises ValueError where it cannot be a current."""
    missing = {"step", "replica"} - set(values.dims)
    if missing:
        raise ValueError(f"{name} has no dimension {sorted(missing)}: a current is a running sum along every path")
    strange = set(values.dims) - {"step", "replica", "sample", *axes(ds)}
    if strange:
        raise ValueError(f"{name} lies along {sorted(map(str, strange))}: give each component as a current of its own")
    absent = set(ds["step"].values.tolist()) - set(np.atleast_1d(values["step"].values).tolist())
    if "step" not in values.coords or absent:
        raise ValueError(
            f"{name} lacks frames of the ensemble, such as step {min(absent, default=0)}: give all of them"
        )
    values = values.sel(step=ds["step"].values)
    if "replica" in values.coords and "replica" in ds.coords:
        if not set(ds["replica"].values.tolist()) <= set(values["replica"].values.tolist()):
            raise ValueError(f"{name} is of other replicas than the ensemble: make it of the same Dataset")
        values = values.sel(replica=ds["replica"].values)
    elif values.sizes["replica"] != ds.sizes["replica"]:
        raise ValueError(
            f"{name} has {values.sizes['replica']} replicas, the ensemble {ds.sizes['replica']} that did not diverge: "
            "keep the coordinate replica"
        )
    rise = values.diff("step")
    if name != "log_density" and bool((rise > 0.0).any()) and bool((rise >= 0.0).all()):
        raise ValueError(
            f"{name} never falls, on no path: what counts the same forward and backward is no current, which is odd "
            "under reversal of the path"
        )
    whole = [values.expand_dims({axis: ds[axis]}) for axis in axes(ds) if axis not in values.dims][:1]
    return whole[0] if whole else values


def drifting(ds: xr.Dataset, flows: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """Whether the rate of a current differs between the two halves of the frames, by four standard errors: the axes."""
    steps = ds["step"].values
    middle = len(steps) // 2
    early, late = float(steps[middle] - steps[0]), float(steps[-1] - steps[middle])
    found = xr.DataArray(np.zeros([ds.sizes[name] for name in axes(ds)], bool), dims=axes(ds))
    for values in flows.values():
        rise = [values.isel(step=k, drop=True) for k in (middle, -1)]
        mean, error = replica_mean(rise[0] / early - (rise[1] - rise[0]) / late if len(steps) > 2 else 0.0 * rise[0])
        found = found | (abs(mean) > _TOLD * error).drop_vars([n for n in mean.coords if n not in axes(ds)])
    known = {name: ds[name] for name in axes(ds)}
    return found.assign_coords(known).assign_attrs(
        long_name=f"whether currents of the two halves of the frames differ by {_TOLD:g} standard errors",
        condition="a flag, not a proof, from three frames on; a start with a warm-up avoids it",
    )


def _named(ds: xr.Dataset, subject: Subject, name: str) -> xr.DataArray:
    allowed = (*subject.odd, *subject.also)
    if name not in allowed and name in VARIABLES:
        raise ValueError(
            f"{name} is no current of {subject.name}: expected one of {', '.join(allowed)}, which are odd under "
            "reversal of the path; others as DataArrays, {name: running sum}"
        )
    if name not in ds:
        raise ValueError(needs_frames(ds, [name]))
    return odd_current(ds, name, ds[name])


def _from_baths(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    """Heat from the hot and the cold bath, up to a function of state, where every point has two."""
    two = [np.unique(np.asarray(point.of_x.temperature, float)) for _, point in each_point(ds)]
    if any(len(temperatures) != 2 for temperatures in two):
        return {}
    flows = {name: xr.zeros_like(ds["heat"]) for name in ("heat_from_hot", "heat_from_cold")}
    for (index, _), (cold, hot) in zip(each_point(ds), two, strict=True):
        for name, own, other in (("heat_from_hot", hot, cold), ("heat_from_cold", cold, hot)):
            here = (ds["heat"].isel(index) / other + ds["log_ratio_x"].isel(index)) / (1.0 / other - 1.0 / own)
            flows[name][index] = here.transpose(*flows[name][index].dims)
    return {name: values.assign_attrs(units="energy") for name, values in flows.items()}


def _protocol(resolved: Settings) -> str:
    """The first value of the protocol that changes in time, or nothing."""
    given = resolved.theta.protocol or {}
    return next((str(name) for name, value in given.items() if is_schedule(value)), "")
