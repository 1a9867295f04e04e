"""What a worker of a cluster does: one task, lanes of a block from the step they are at to a later one.

It seals what it made in the folder of the parts, if it sees that, or else returns it. See `cluster`.
"""

from __future__ import annotations

import fcntl
import functools
import importlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thermosim.case.faults import CaseError
from thermosim.plan.outline import Outline, plan
from thermosim.run import inputs
from thermosim.run.devices import chosen, device_faults, devices_of
from thermosim.run.fingerprint import changes, fingerprint, surroundings
from thermosim.run.stepper import Stepper, compile_all
from thermosim.storage.manifest import Manifest, Segment, Stretch
from thermosim.storage.segments import read_state, write

__all__ = [
    "PATIENCE",
    "FolderNotShared",
    "Job",
    "OtherKernels",
    "Result",
    "Task",
    "advance_part",
    "deliver",
    "introduce",
    "request_stop",
]

PATIENCE = 60.0  # seconds, for files that another machine wrote
_PROCESSES = 256  # of one user on a machine, that share its cards evenly
_CASES = 4  # that a worker process keeps, should several runs share a cluster


@dataclass(frozen=True)
class Job:
    """What every task of a run needs to know. Small: it goes along with each."""

    manifest: str  # JSON, without the segments
    folder: str | None  # of the parts, where workers see it
    token: str  # of this execution of the run; what stands in its probe file

    @property
    def probe(self) -> Path:
        """The file by which a worker knows the folder, there as long as the run goes on."""
        return Path(self.folder or "") / f"probe-{self.token}"


@dataclass(frozen=True)
class Task:
    block: int
    first_lane: int
    lanes: int
    step: int
    seconds: float
    segments: tuple[Segment, ...] = ()  # that hold the state
    attempt: int = 0

    def overlaps(self, segment: Segment) -> bool:
        """Whether the segment has some of the lanes."""
        return segment.first_lane < self.first_lane + self.lanes and self.first_lane < segment.end_lane


@dataclass(frozen=True)
class Result:
    stretch: Stretch
    sealing: float  # seconds
    segment: Segment | None  # as it was sealed
    frames: Mapping[str, Any]  # where the worker does not see the folder
    state: Mapping[str, Any]


class FolderNotShared(Exception):
    """A worker does not see the folder of the parts, or the run is over."""


class OtherKernels(Exception):
    """A worker would not make the same bits."""


def losses() -> tuple[type[Exception], ...]:
    """What dask raises for a task whose worker was lost, rather than for what the task does."""
    distributed: Any = importlib.import_module("distributed")
    comm: Any = importlib.import_module("distributed.comm")
    return distributed.KilledWorker, distributed.CancelledError, comm.CommClosedError


_stopped: set[str] = set()
_cases: dict[Job, list[Outline]] = {}
_building = threading.Lock()  # the threads of a worker compile one at a time


def request_stop(token: str) -> None:
    """Let the tasks of an execution on this worker end at their next chunk."""
    _stopped.add(token)


def deliver(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return files


def introduce(job: Job) -> bool:
    """Whether this worker sees the folder of the parts. Raises OtherKernels."""
    if job not in _cases:  # what does not depend on the case can be told before its files are here
        mine, theirs = surroundings(), _described(job).origin.fingerprint
        common = [name for name in mine if name in theirs]  # of networks and of lanes there are others
        _compare({name: theirs[name] for name in common}, {name: mine[name] for name in common})
    return _sees(job)


def _compare(theirs: Mapping[str, str], mine: Mapping[str, str]) -> None:
    """Raises OtherKernels for a fingerprint that is not that of the run."""
    if different := changes(theirs, mine):
        raise OtherKernels(
            f"the worker on {os.uname().nodename} would make other numbers; there differ: {'; '.join(different)}. Give "
            f"the cluster one installation, and one kind of processor if it is a rounding that differs."
        )


def _sees(job: Job) -> bool:
    try:
        return job.probe.read_text() == job.token
    except OSError:
        return False


def advance_part(
    job: Job,
    files: Mapping[str, bytes] | None,
    task: Task,
    state: Any,
    most_frames: int | None,
    device: str = "cpu",
) -> Result | None:
    """Take lanes from a step to a later one, for about the seconds the task says, and seal or return what was made.

    Of the cards of a machine its workers take one each. Returns None when it was asked to stop before it began. Raises
    OtherKernels, FolderNotShared, StorageError, and CaseError for a device that this worker has not.
    """
    if job.token in _stopped:
        return None
    folder = Path(job.folder) if job.folder is not None else None
    if not introduce(job) and folder is not None:
        raise FolderNotShared
    if task.step >= 0 and state is None:
        assert folder is not None
        manifest = replace(_described(job), segments=task.segments)
        state = read_state(folder, manifest, task.block, task.first_lane, task.lanes, task.step, wait=PATIENCE)
    with _building:
        blocks = _load(job, files, device)
        outline, device = blocks[task.block], _own_device(device, blocks)
        stepper = Stepper(
            outline, task.first_lane, task.lanes, state, task.step, most_frames=most_frames, device=device
        )
    try:
        return _advanced(job, folder, stepper, task)
    finally:
        stepper.close()


def _advanced(job: Job, folder: Path | None, stepper: Stepper, task: Task) -> Result | None:
    """Go on for the time of a task, and seal or return what was made."""
    begin, steps = time.perf_counter(), stepper.block.steps
    while stepper.recorded < steps:
        stepper.advance_chunk(steps)
        late = stepper.recorded > task.step and time.perf_counter() - begin > task.seconds
        if stepper.full or late or job.token in _stopped:
            break
    if stepper.recorded == task.step:  # in its warm-up still
        return None
    stretch = Stretch(task.block, task.first_lane, task.lanes, task.step, stepper.recorded)
    frames, snapshot = stepper.take(), stepper.snapshot()
    if folder is None:
        return Result(stretch, 0.0, None, frames, snapshot)
    if not _sees(job):  # the run ended without this task; another may be going on by now
        raise FolderNotShared
    begin = time.perf_counter()
    segment = write(folder, _described(job).run, stretch, frames, snapshot)
    return Result(stretch, time.perf_counter() - begin, segment, {}, {})


_ready: set[tuple[int, str]] = set()  # cases whose kernels a device of this worker has


def _own_device(device: str, blocks: list[Outline]) -> str:
    """The device of this worker: the processor, or its own of the cards of the machine. Raises CaseError."""
    if faults := device_faults(device, engine=blocks[0].engine):
        raise CaseError(faults, f"the worker on {os.uname().nodename}")
    devices = devices_of(chosen(device, blocks), blocks[0].engine)
    own = devices[_number_here() % len(devices) if len(devices) > 1 else 0]
    if own != "cpu" and (id(blocks), own) not in _ready:
        compile_all(blocks, own)
        _ready.add((id(blocks), own))
    return own


@functools.cache
def _number_here() -> int:
    """Of this process among those of the user on this machine: the least that none has, as long as it lives.

    Names of workers tell nothing: by default they end with the number of a port.
    """
    for number in range(_PROCESSES):
        with suppress(OSError):
            path = Path(tempfile.gettempdir()) / f"thermosim-worker-{os.getuid()}-{number}"
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            return number
    return 0


@functools.lru_cache(_CASES)
def _described(job: Job) -> Manifest:
    return Manifest.from_json(json.loads(job.manifest))


def _load(job: Job, files: Mapping[str, bytes] | None, device: str) -> list[Outline]:
    """The blocks of the case, compiled: once for every worker process."""
    if job not in _cases:
        while len(_cases) >= _CASES:
            del _cases[next(iter(_cases))]
        folder = Path(job.folder) if job.folder is not None else _unpacked(files or {})
        manifest = _described(job)
        case = inputs.case_of(manifest.origin, folder, manifest.external)
        blocks = plan(case)
        of_device = devices_of(chosen(device, blocks), blocks[0].engine)[0]
        _compare(manifest.origin.fingerprint, fingerprint(case, blocks, of_device))
        compile_all(blocks, of_device if blocks[0].engine == "networks" else "cpu")
        _cases[job] = blocks
    return _cases[job]


def _unpacked(files: Mapping[str, bytes]) -> Path:
    """The files of a case in the worker's own scratch folder, which goes away with it."""
    distributed: Any = importlib.import_module("distributed")
    folder = Path(tempfile.mkdtemp(prefix="thermosim-", dir=distributed.get_worker().local_directory))
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
