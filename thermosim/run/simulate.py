"""A run: lanes to steppers, frames to storage. Starting one, going on after a stop, going on past the end.

What has been sealed is a set of rectangles, lanes by steps; the work of a run is what is missing. So a run can be cut
by lanes and by steps in any way, by other threads or workers after every stop, and the result does not depend on it.
"""

from __future__ import annotations

import math
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermosim.case.load import Case, CaseError
from thermosim.kernels.compile import BITS, source_fingerprint
from thermosim.plan.block import Block, plan
from thermosim.run import inputs
from thermosim.run.budget import lanes_at_once, memory_of_machine
from thermosim.run.describe import differences, make_manifest
from thermosim.run.stepper import Stepper, bytes_per_lane, compile_all, runs_of_lanes
from thermosim.storage import MANIFEST, Manifest, Parts, StorageError, parts_folder, read_manifest
from thermosim.storage.layout import Layout
from thermosim.storage.manifest import Stretch
from thermosim.storage.open import open_ensemble
from thermosim.storage.segments import RamSegments, read_state

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Interrupted", "Progress", "Report", "simulate"]

_SEGMENT_SECONDS = 60.0
_ADDRESS = re.compile(r"(\w+://)?[^\s/:]+(:\d+)(/.*)?|(\w+://)\S+")
_BYTES_OF_WORKER = 200_000_000  # before it has any replicas


class Interrupted(Exception):
    """The run was stopped from outside; everything up to the message's step is sealed."""


@dataclass(frozen=True)
class Progress:
    """Where a run is, for a progress line."""

    done: int  # replica-steps, those before a stop included; or bytes of the file that is made at the end
    made: int  # since the first step of this process
    total: int
    seconds: float  # since the first step
    what: str = "replica-steps"


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Execution:
    """How a run is carried out; its result depends on none of this."""

    threads: int | None = None
    workers: int | None = None  # of a cluster on this machine
    scheduler: str | None = None  # address of a cluster that exists
    report: Report | None = None
    virtual: bool = False  # leave the frames in the segments, and make the file of views of them
    tile_width: int | None = None
    segment_frames: int | None = None
    segment_seconds: float | None = None
    lanes_at_once: int | None = None

    def faults(self, output: Any) -> list[str]:
        """What cannot be combined."""
        faults = []
        if self.workers is not None and self.scheduler is not None:
            faults.append("workers, scheduler: a cluster is either started here or exists already; give one of them.")
        if self.workers is not None and self.workers * _BYTES_OF_WORKER > memory_of_machine():
            most = memory_of_machine() // _BYTES_OF_WORKER
            faults.append(f"workers = {self.workers}: the memory of this machine is enough for {most}; take fewer.")
        if self.scheduler is not None and not _ADDRESS.fullmatch(self.scheduler):
            faults.append(f"scheduler = {self.scheduler!r}: expected an address such as tcp://10.0.0.1:8786.")
        if output is None and (self.workers is not None or self.scheduler is not None or self.virtual):
            faults.append("workers, scheduler, virtual: need an output file that the segments can lie beside.")
        return faults


def simulate(
    case: Case,
    output: str | Path | None = None,
    *,
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    virtual: bool = False,
    overwrite: bool = False,
    report: Report | None = None,
    **tuning: Any,
) -> xr.Dataset:
    """Run a case and return its ensemble: in memory, or backed by the HDF5 file `output`.

    `threads` defaults to all processors. `workers` starts so many worker processes on this machine and `scheduler`,
    such as "tcp://10.0.0.1:8786", uses a dask cluster that exists. `virtual` leaves the frames in their segments beside
    the file, which then holds views of them. `tuning` (tile_width, segment_frames, segment_seconds, lanes_at_once) is
    for tests and measurements. The numbers depend on none of this. Raises CaseError for what does not fit this machine,
    StorageError when the output cannot be written, and Interrupted after Ctrl-C once everything so far is sealed.
    """
    execution = Execution(threads, workers, scheduler, report, virtual, **tuning)
    if faults := execution.faults(output):
        raise CaseError(faults, "the run")
    blocks = plan(case)
    manifest = make_manifest(case, blocks, source_fingerprint(BITS))
    compile_all(blocks)
    if output is None:
        return _in_memory(case, blocks, manifest, execution)
    for block in blocks:
        lanes_at_once(case, block)
    if not overwrite:
        _not_begun(Path(output), manifest)
    parts = Parts.create(Path(output), manifest, overwrite, lambda folder: inputs.keep(case, blocks, folder))
    with tidied(parts):
        return complete(case, blocks, parts, execution)


def _not_begun(output: Path, manifest: Manifest) -> None:
    """Raises StorageError when a run to this output was begun, saying in what it differs from the new one."""
    folder = parts_folder(output)
    if output.exists() or not (folder / MANIFEST).is_file():
        return
    others = differences(read_manifest(folder).origin, manifest.origin)
    what = "of this same case" if not others else "of another case:\n" + "\n".join(f"  {one}" for one in others)
    raise StorageError(
        f"{folder} exists already; nothing was changed. It is a run that was begun and not completed, {what}\nTo go on "
        f"with it: thermosim resume {output}. To begin anew: --overwrite, or another -o."
    )


def complete(case: Case, blocks: list[Block], parts: Parts, execution: Execution) -> xr.Dataset:
    """Do the work that is missing, then make the one file. The parts are claimed by this process."""
    with stop_requests() as stop:
        if execution.workers is not None or execution.scheduler is not None:
            from thermosim.run import cluster

            cluster.run(case, blocks, parts, execution, stop)
        else:
            _run_here(case, blocks, parts, execution, stop)
        return open_ensemble(_one_file(parts, execution, stop))


def _one_file(parts: Parts, execution: Execution, stop: threading.Event) -> Path:
    """Consolidate, as long as nobody asks to stop."""
    from thermosim.storage.consolidation import consolidate

    begin = time.perf_counter()

    def report(done: int, total: int) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        if execution.report is not None:
            execution.report(Progress(done, done, total, time.perf_counter() - begin, "B"))

    try:
        return consolidate(parts, virtual=execution.virtual, report=report)
    except KeyboardInterrupt:
        raise Interrupted("interrupted while the file was being written; all steps are made") from None


def _run_here(case: Case, blocks: list[Block], parts: Parts, execution: Execution, stop: threading.Event) -> None:
    """All missing steps, by threads of this process."""
    from thermosim.storage.coverage import frontier

    threads = execution.threads or os.cpu_count() or 1
    clock = Clock(execution.report, sum(block.lanes * block.steps for block in blocks))
    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as sealer:
        for block in blocks:
            most = execution.lanes_at_once or lanes_at_once(case, block)
            for first, lanes, step in frontier(parts.manifest, block.number, block.lanes):
                clock.skip(lanes * max(step, 0))
                if step >= block.steps:
                    continue
                for first_lane, count in runs_of_lanes(block, first, lanes, most):
                    snapshot = None
                    if step >= 0:
                        snapshot = read_state(parts.folder, parts.manifest, block.number, first_lane, count, step)
                    part = block.part(first_lane, count)
                    width, frames = execution.tile_width, execution.segment_frames
                    stepper = Stepper(case, part, snapshot, step, threads, width, frames)
                    del snapshot
                    _run_part(stepper, parts.seal, pool, sealer, clock, stop, execution)


def _run_part(
    stepper: Stepper,
    seal: Callable[[Stretch, Any, Any], Any],
    pool: ThreadPoolExecutor,
    sealer: ThreadPoolExecutor,
    clock: Clock,
    stop: threading.Event,
    execution: Execution,
) -> None:
    """All steps of some lanes. On Ctrl-C what was made so far is sealed before Interrupted is raised."""
    part, sealing = stepper.part, None
    seconds = execution.segment_seconds or _SEGMENT_SECONDS

    def seal_in_background(begin: int, previous: Future[Any] | None) -> Future[Any]:
        if previous is not None:
            previous.result()
        stretch = Stretch(part.number, part.first_lane, part.lanes, begin, stepper.recorded)
        return sealer.submit(seal, stretch, stepper.take(), stepper.snapshot())

    clock.tick(0)
    begin, sealed_at = stepper.recorded, time.perf_counter()
    try:
        while stepper.recorded < part.steps:
            steps = stepper.advance_chunk(part.steps, pool.map)
            clock.tick(part.lanes * steps)
            if stop.is_set():
                raise KeyboardInterrupt
            late = time.perf_counter() - sealed_at > seconds
            if stepper.full or late or stepper.recorded == part.steps:
                sealing = seal_in_background(begin, sealing)
                begin, sealed_at = stepper.recorded, time.perf_counter()
        if sealing is not None:
            sealing.result()
    except KeyboardInterrupt:
        if stepper.recorded > begin:
            sealing = seal_in_background(begin, sealing)
        if sealing is not None:
            sealing.result()
        raise Interrupted(f"interrupted after step {stepper.step:,} of {part.steps:,}") from None


def _in_memory(case: Case, blocks: list[Block], manifest: Manifest, execution: Execution) -> xr.Dataset:
    """The same without a file: what would have been sealed is put together at the end."""
    threads = execution.threads or os.cpu_count() or 1
    clock = Clock(execution.report, sum(block.lanes * block.steps for block in blocks))
    memory, whole = RamSegments(manifest), replace(execution, segment_seconds=math.inf)

    def keep(stretch: Stretch, frames: dict[str, Any], state: Any) -> None:
        if execution.segment_frames is not None:  # what was taken is otherwise all there is of a block
            frames = {name: array.copy() for name, array in frames.items()}
        memory.seal(stretch, frames, state)

    needed = (
        sum(bytes_per_lane(case, block) * block.lanes for block in blocks[:1]) + Layout(manifest, manifest.steps).nbytes
    )
    if needed > memory_of_machine():
        message = (
            f"the state and the recorded frames take {needed / 1e9:,.0f} GB, more than the "
            f"{memory_of_machine() / 1e9:,.0f} GB of this machine: run to a file, record less, or take fewer replicas."
        )
        raise CaseError([message])
    with stop_requests() as stop, ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as sealer:
        for block in blocks:
            width, frames = execution.tile_width, execution.segment_frames
            stepper = Stepper(case, block, None, -1, threads, width, frames, most_bytes=math.inf)
            _run_part(stepper, keep, pool, sealer, clock, stop, whole)
    from thermosim.storage.reading import dataset

    return dataset(Layout(memory.manifest), memory, completed=True).load()


@contextmanager
def tidied(parts: Parts) -> Iterator[None]:
    """A run that fails before anything is sealed leaves nothing behind; others may write again when it ends."""
    try:
        yield
    except Interrupted:
        raise
    except BaseException:
        if parts.new and not parts.manifest.segments:
            parts.remove()
        raise
    finally:
        parts.release()


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets. The run stops between two chunks, where its state is whole: soon."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def request(number: int, frame: Any) -> None:
        event.set()

    for number in previous:
        signal.signal(number, request)
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Clock:
    """Counts replica-steps and reports them."""

    def __init__(self, report: Report | None, total: int) -> None:
        self._report, self._total = report, total
        self._done = self._made = 0
        self._begin: float | None = None

    def skip(self, replica_steps: int) -> None:
        """Steps made before this run."""
        self._done += replica_steps

    def say(self, what: str) -> None:
        """What is going on while no steps are made."""
        if self._report:
            self._report(Progress(self._done, 0, self._total, 0.0, what))

    def tick(self, replica_steps: int) -> None:
        """Steps just made."""
        now = time.perf_counter()
        self._begin = self._begin if self._begin is not None else now
        self._done += replica_steps
        self._made += replica_steps
        if self._report:
            self._report(Progress(self._done, self._made, self._total, now - self._begin))
