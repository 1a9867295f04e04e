"""One replica of an ensemble again, with more of it recorded: its noise has an address, so it is the same to the bit.

A cohort is the least that is summed together, and lanes are never cut inside one; so the cohort of the replica makes
its steps, and the rest of it is forgotten. What the file holds of the replica is compared with what was made.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thermosim import cohorts
from thermosim.addresses import series
from thermosim.case.faults import CaseError
from thermosim.case.load import Case
from thermosim.case.record import RecordSection, frame_names, record_faults, recordable
from thermosim.plan.outline import Outline, plan
from thermosim.run import inputs, machine
from thermosim.run.describe import make_manifest
from thermosim.run.execution import Clock, Execution, Interrupted, stop_requests
from thermosim.run.resume import same_kernels
from thermosim.run.simulate import first_device, ready
from thermosim.run.stepper import Stepper
from thermosim.run.weighing import bytes_text
from thermosim.storage import StorageError
from thermosim.storage.manifest import Manifest
from thermosim.storage.manifest_file import output_of
from thermosim.storage.open import open_ensemble

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["replay"]

Taken = dict[str, np.ndarray]


def replay(
    file: str | Path,
    replica: int,
    point: Mapping[str, Any] | None = None,
    *,
    start: int | None = None,
    stop: int | None = None,
    every: int = 1,
    variables: Sequence[str] | None = None,
    **execution: Any,
) -> xr.Dataset:
    """Make the steps of one replica of a complete ensemble again, and record it at steps start, start + every, ...

    `replica` is its label along that dimension, `point` names the values of a sweep's axes, by key or by name. Steps go
    from the first to `stop`, by default the last; `variables` are by default all that the case can record without
    measures. Returns the dataset of this replica, in memory; `replayed` in its attributes says how many numbers that
    the file holds of it are the same to the bit. Other arguments are threads, device and report of `simulate`. Raises
    StorageError where the file is no complete ensemble, or would come out otherwise here, and CaseError for a replica,
    a point, steps or variables that it has not, or more than fits the memory.
    """
    source = output_of(Path(file))
    with open_ensemble(source) as ds:
        if not source.is_file():
            raise StorageError(f"{source}: is not complete, and only a complete ensemble tells what made it.")
        with tempfile.TemporaryDirectory() as temporary:
            origin = inputs.unpack(source, Path(temporary))
            case = inputs.case_of(origin, Path(temporary), {})
            how, stop = Execution(**execution), case.settings.run.steps if stop is None else stop
            same_kernels(source, origin, case, plan(case), how)
            case = _recording(case, start, stop, every, variables)
            blocks = plan(case)
            places = _places_of(case, point or {})
            block, lane = _lane_of(case, blocks, replica, places)
            manifest = make_manifest(case, blocks, in_memory=True)
            taken = _made(block, lane, stop, manifest, ready([block], how), first_device(how, blocks))
        there = ds.isel({axis.name: [places.get(axis.key, 0)] for axis in case.axes} | {"replica": [replica]}).load()
        return _compared(_dataset(taken, case, manifest, there, stop), there, source)


def _recording(case: Case, start: int | None, stop: int, every: int, variables: Sequence[str] | None) -> Case:
    """The case with this recorded, and nothing else. Raises CaseError."""
    run = case.settings.run
    start = run.first_step if start is None else start
    if not run.first_step <= start <= stop <= run.steps or every < 1:
        told = f"steps {start} to {stop}, every {every}"
        raise CaseError(
            [f"{told}: expected steps from {run.first_step} to {run.steps}, every 1 or more."], "the replay"
        )
    names = recordable(case.model, case.settings)
    wanted = None if variables is None else list(variables)
    record = RecordSection.model_validate({"first": start, "every": every, "variables": wanted})
    record = record.model_copy(update={"variables": frame_names(record, names, case.model)})
    changed = replace(case.settings, record=record)
    if faults := record_faults(case.model, changed):
        raise CaseError(faults, "the replay")
    return replace(case, settings=changed)


def _places_of(case: Case, point: Mapping[str, Any]) -> dict[str, int]:
    """The place of a point along each axis of the sweep, by its key. Raises CaseError."""
    by_name, places = {axis.name: axis for axis in case.axes} | {axis.key: axis for axis in case.axes}, {}
    for name, value in point.items():
        if name not in by_name:
            axes = ", ".join(axis.key for axis in case.axes) or "none"
            raise CaseError([f"{name} = {value!r}: is no axis of the sweep; there are {axes}."], "the replay")
        axis = by_name[name]
        near = [i for i, one in enumerate(axis.values) if one == value or _close(one, value)]
        if len(near) != 1:
            listed = ", ".join(map(repr, axis.values))
            raise CaseError([f"{name} = {value!r}: expected one of {listed}."], "the replay")
        places[axis.key] = near[0]
    for axis in case.axes:
        if axis.key not in places and len(axis.values) > 1:
            listed = ", ".join(map(repr, axis.values))
            raise CaseError([f"{axis.key}: which point of the sweep? Name one of {listed}."], "the replay")
    return places


def _close(one: Any, value: Any) -> bool:
    """Whether a number is meant by its first digits, as they are printed."""
    numbers = isinstance(one, (int, float)) and isinstance(value, (int, float))
    return numbers and math.isclose(one, value, rel_tol=1e-3)


def _lane_of(case: Case, blocks: list[Outline], replica: int, places: Mapping[str, int]) -> tuple[Outline, int]:
    """The block and the lane of a replica at a point of the sweep. Raises CaseError."""
    ensemble = case.settings.ensemble
    if not 0 <= replica < ensemble.replicas:
        raise CaseError([f"replica {replica}: the ensemble has 0 to {ensemble.replicas - 1}."], "the replay")
    ends = np.cumsum(series(ensemble.replicas, ensemble.added))
    number = int(np.searchsorted(ends, replica, side="right"))
    of_series = len(blocks) // len(ends)
    index = tuple(places.get(axis.key, 0) for axis in case.axes if axis.structural)
    block = next(one for one in blocks[number * of_series : (number + 1) * of_series] if one.index == index)
    lane = 0
    for axis in block.lane_axes:
        lane = lane * len(axis.values) + places.get(axis.key, 0)
    return block, lane * block.replicas + replica - (int(ends[number - 1]) if number else 0)


def _made(block: Outline, lane: int, stop: int, manifest: Manifest, execution: Execution, device: str) -> Taken:
    """What is recorded of a lane up to step `stop`, (frames, ...), and its state. Raises CaseError and Interrupted."""
    record, cohort = block.settings.record, int(cohorts.numbers(block.replicas, np.array([lane]))[0])
    first, end = cohorts.lanes_of(block.replicas, cohort, cohort + 1)
    frames = (stop - record.first) // (record.every or 1) + 1
    needed = 16.0 * frames * sum(math.prod(variable.shape) for variable in manifest.variables.values())
    if needed > (free := machine.memory().free):
        told = f"{frames:,} frames of a replica take {bytes_text(needed)}, and {bytes_text(free)} of memory are free"
        raise CaseError([f"{told}; record fewer steps or variables, or a larger every."], "the replay")
    clock, threads = Clock(execution.report, (end - first) * block.made_by(stop)), execution.threads or os.cpu_count()
    stepper, parts = Stepper(block, first, end - first, threads=threads or 1, device=device), list[Taken]()
    try:
        with stop_requests() as stopped:
            while stepper.recorded < stop:
                clock.tick((end - first) * stepper.advance_chunk(stop))
                if stopped.is_set():
                    raise Interrupted("interrupted; nothing was written")
                if stepper.full or stepper.recorded == stop:
                    parts.append({name: array[:, lane - first].copy() for name, array in stepper.take().items()})
        state = {name: stepper.snapshot()[name][..., lane - first] for name in ("status", "diverged_step")}
    finally:
        stepper.close()
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in parts[-1]} | state


def _dataset(taken: Taken, case: Case, manifest: Manifest, there: xr.Dataset, stop: int) -> xr.Dataset:
    """The frames beside the coordinates that the file has of this replica."""
    import xarray as xr

    record, lanes = case.settings.record, tuple(there["status"].dims)
    steps = np.arange(record.first, stop + 1, record.every or 1)
    coords: dict[Any, Any] = {name: one for name, one in there.coords.items() if set(one.dims) <= set(lanes)}
    coords |= {name: (one.dims, np.array(one.values), one.attributes) for name, one in manifest.coordinates.items()}
    coords["step"] = ("step", steps, there["step"].attrs if "step" in there.coords else {})
    of_lane, found = (1,) * len(lanes), {}
    for name in ("status", "diverged_step"):
        found[name] = xr.Variable(lanes, taken[name].reshape(of_lane), there[name].attrs)
    for name, variable in manifest.variables.items():
        if variable.cadence:
            values = taken[name].reshape(len(steps), *of_lane, *variable.shape)
            found[name] = xr.Variable(("step", *lanes, *variable.dims), values, dict(variable.attributes))
    return xr.Dataset(found, coords, {"settings": json.dumps(case.settings.as_dict())})


def _compared(made: xr.Dataset, there: xr.Dataset, source: Path) -> xr.Dataset:
    """With what the file holds of this replica found the same. Raises StorageError for another number."""
    count = 0
    for name in made.data_vars:
        if name not in there or "step" not in there[name].dims or "step" not in made[name].dims:
            continue
        steps = np.intersect1d(made["step"].values, there["step"].values)
        ours, theirs = made[name].sel(step=steps), there[name].sel(step=steps).transpose(*made[name].dims)
        if not np.array_equal(ours.values.astype(theirs.dtype), theirs.values, equal_nan=True):
            raise StorageError(f"{source}: {name} of this replica came out otherwise than the file has it.")
        count += theirs.size
    told = f"{count:,} numbers of {source.name}, the same to the bit"
    said = {"replayed": told if count else f"{source.name} holds nothing of these steps to compare with"}
    kept = {key: value for key, value in there.attrs.items() if key not in ("sha256", "virtual", "format")}
    return made.assign_attrs(kept | made.attrs | said)
