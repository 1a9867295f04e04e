"""A run: lanes to steppers, frames to storage. Starting one, going on after a stop, going on past the end.

What has been sealed is a set of rectangles, lanes by steps; the work of a run is what is missing. So a run can be cut
by lanes and by steps in any way, by other threads or workers after every stop, and the result does not depend on it.
"""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermosim.case.faults import CaseError
from thermosim.case.files import CASE_FOLDER
from thermosim.case.load import Case
from thermosim.plan.outline import Outline, plan
from thermosim.run import inputs
from thermosim.run.describe import differences, make_manifest
from thermosim.run.devices import chosen, device_faults, devices_of, lanes_of_card, shared
from thermosim.run.execution import Clock, Execution, Interrupted, Listener, Progress, stop_requests
from thermosim.run.footprint import lanes_at_once, workers_for
from thermosim.run.stepper import Stepper, compile_all, runs_of_lanes
from thermosim.run.weighing import Weight, disk_faults, memory_faults, weight_of
from thermosim.storage import MANIFEST, Manifest, Parts, StorageError, parts_folder, read_manifest
from thermosim.storage.claim import refuse_what_is_there
from thermosim.storage.durable import command
from thermosim.storage.layout import Layout
from thermosim.storage.manifest import Origin, Stretch
from thermosim.storage.open import open_ensemble
from thermosim.storage.segments import RamSegments, read_state

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["complete", "ready", "simulate", "tidied", "weigh"]

_SEGMENT_SECONDS = 60.0


def simulate(
    case: Case,
    output: str | Path | None = None,
    *,
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    virtual: bool = False,
    overwrite: bool = False,
    report: Listener | None = None,
    force: bool = False,
    device: str = "cpu",
    **tuning: Any,
) -> xr.Dataset:
    """Run a case and return its ensemble: in memory, or backed by the HDF5 file `output`.

    `threads` defaults to all processors. `workers` starts so many worker processes on this machine and `scheduler`,
    such as "tcp://10.0.0.1:8786", uses a dask cluster that exists. `device` makes the steps: "cpu", "cuda" (all cards
    there are), "cuda:1", or "auto", which takes cards where they are worth it. `virtual` leaves the frames in their
    segments beside the file, which then holds views of them. `tuning` (tile_width, segment_frames, segment_seconds,
    lanes_at_once) is for tests and measurements. The numbers depend on none of this. Raises CaseError for what the
    memory or the disk of this machine cannot hold, before anything is made and unless it is told to `force` it,
    StorageError when the output cannot be written, and Interrupted after Ctrl-C once everything so far is sealed.
    """
    execution = Execution(threads, workers, scheduler, report, virtual, force, device, **tuning)
    if faults := execution.faults(output):
        raise CaseError(faults, "the run")
    blocks = plan(case)
    weigh(case, blocks, execution, output)
    execution = ready(blocks, execution, whole=output is None)
    manifest = make_manifest(case, blocks, first_device(execution, blocks), in_memory=output is None)
    manifest = replace(manifest, case_folder=str(case.folder.absolute()))
    if output is None:
        return _in_memory(case, blocks, manifest, execution)
    output, reads = Path(output), inputs.read_by(case, blocks)
    if not overwrite:
        _not_begun(output, manifest)
    refuse_what_is_there(output, overwrite, reads)
    parts = Parts.create(output, manifest, overwrite, lambda folder: inputs.keep(case, blocks, folder), reads)
    with tidied(parts):
        return complete(case, blocks, parts, execution)


def weigh(
    case: Case,
    blocks: list[Outline],
    execution: Execution,
    output: str | Path | None,
    before: Origin | None = None,
    there: float = 0.0,
) -> None:
    """Raises CaseError for what does not fit this machine: see `weighing`. A cluster elsewhere has its own.

    `before` is where the ensemble comes from that is extended, `there` are bytes of it that lie there by now.
    """
    engine = blocks[0].engine
    if faults := device_faults(execution.device, execution.scheduler is None, engine):
        raise CaseError(faults, "the run")
    if execution.force:
        return
    devices = ("cpu",) if execution.scheduler is not None else devices_of(execution.device, engine)
    weight, faults = weight_of(case, blocks, devices[0]), []
    if output is not None:
        reached = before.settings["run"]["steps"] if before else -1
        added = weight.replicas - before.settings["ensemble"]["replicas"] if before else 0
        faults += disk_faults(weight, Path(output), execution.virtual, reached, there, added)
    if execution.scheduler is None:
        workers, threads = execution.workers, execution.threads
        if workers is not None:
            workers = workers_for(blocks, workers)
            threads = threads or max(1, (os.cpu_count() or 1) // workers)
        faults += memory_faults(weight, output is None, threads, workers)
        faults += _card_faults(weight, shared(devices, workers, threads), output is None)
    if faults:
        raise CaseError(faults, "the run")


def _card_faults(weight: Weight, devices: tuple[str, ...], whole: bool) -> list[str]:
    if devices[0] == "cpu":
        return []
    from thermosim.run.on_cards import card_faults

    return card_faults(weight, devices, whole)


def first_device(execution: Execution, blocks: list[Outline]) -> str:
    """The device whose kind decides the bits of networks: all that make steps are of one kind. Else "cpu"."""
    if all(block.engine == "lanes" for block in blocks) or execution.scheduler is not None:
        return "cpu"
    return devices_of(chosen(execution.device, blocks), blocks[0].engine)[0]


def ready(blocks: list[Outline], execution: Execution, whole: bool = False) -> Execution:
    """With a device that is there, and everything compiled for it. Raises CaseError for what it cannot run.

    Without a file the lanes of a block go at one time, as a `whole`.
    """
    if execution.scheduler is None:
        execution = replace(execution, device=chosen(execution.device, blocks, whole))
    compile_all(blocks, "cpu" if execution.scheduler is not None else execution.device)
    return execution


def _not_begun(output: Path, manifest: Manifest) -> None:
    """Raises StorageError when a run to this output was begun, saying in what it differs from the new one."""
    folder = parts_folder(output)
    if output.exists() or not (folder / MANIFEST).is_file():
        return
    others = differences(read_manifest(folder).origin, manifest.origin)
    what = "of this same case" if not others else "of another case:\n" + "\n".join(f"  {one}" for one in others)
    raise StorageError(
        f"{folder} exists already; nothing was changed. It is a run that was begun and not completed, {what}\nTo go on "
        f"with it: {command('resume', output)}\nTo begin anew: --overwrite, or another -o."
    )


def complete(case: Case, blocks: list[Outline], parts: Parts, execution: Execution) -> xr.Dataset:
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


def _run_here(case: Case, blocks: list[Outline], parts: Parts, execution: Execution, stop: threading.Event) -> None:
    """All missing steps, by threads of this process."""
    from thermosim.storage.coverage import frontier

    devices = devices_of(execution.device, blocks[0].engine)
    threads = max(1, (execution.threads or os.cpu_count() or 1) // len(devices))
    clock = Clock(execution.report, sum(block.lanes * block.made_by(block.steps) for block in blocks))
    missing = []
    for block in blocks:
        most = execution.lanes_at_once or lanes_at_once(block, threads, devices=devices)
        for first, lanes, step in frontier(parts.manifest, block.number, block.lanes):
            clock.skip(lanes * block.made_by(step))
            if step < block.steps:
                of_device = min(most, lanes_of_card(lanes, len(devices)))
                missing += [(block, *run, step) for run in runs_of_lanes(block, first, lanes, of_device)]
    free: queue.SimpleQueue[str] = queue.SimpleQueue()  # devices that nothing runs on
    for device in devices:
        free.put(device)

    def run_part(block: Outline, first_lane: int, count: int, step: int) -> None:
        snapshot, device = None, free.get()
        try:
            if step >= 0:
                snapshot = read_state(parts.folder, parts.manifest, block.number, first_lane, count, step)
            width, frames = execution.tile_width, execution.segment_frames
            stepper = Stepper(block, first_lane, count, snapshot, step, threads, width, frames, device=device)
            del snapshot
            _run_part(stepper, parts.seal, sealer, clock, stop, execution)
        except BaseException:
            stop.set()  # the others seal what they have
            raise
        finally:
            free.put(device)

    with ThreadPoolExecutor(1) as sealer:
        if len(devices) == 1:
            for part in missing:
                run_part(*part)
            return
        with ThreadPoolExecutor(len(devices)) as pool:
            futures = [pool.submit(run_part, *part) for part in missing]
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, Interrupted)):
            raise error


def _run_part(
    stepper: Stepper,
    seal: Callable[[Stretch, Any, Any], Any],
    sealer: ThreadPoolExecutor,
    clock: Clock,
    stop: threading.Event,
    execution: Execution,
) -> None:
    """All steps of some lanes. On Ctrl-C what was made so far is sealed before Interrupted is raised."""
    part, sealing = stepper.block, None
    seconds = execution.segment_seconds or _SEGMENT_SECONDS

    def seal_in_background(begin: int, previous: Future[Any] | None) -> Future[Any]:
        if previous is not None:
            previous.result()
        stretch = Stretch(part.number, part.first_lane, part.lanes, begin, stepper.recorded)
        return sealer.submit(seal, stretch, stepper.take(), stepper.snapshot())

    if stepper.warm_up is None:
        clock.tick(0)
    begin, sealed_at = stepper.recorded, time.perf_counter()
    try:
        while stepper.recorded < part.steps:
            steps = stepper.advance_chunk(part.steps)
            if stepper.warm_up is None:
                clock.tick(part.lanes * steps)
            else:
                clock.say(str(stepper.warm_up))
            if stop.is_set():
                raise KeyboardInterrupt
            if stepper.recorded < 0:
                continue
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
        warming = "interrupted before step 0, in its warm-up, which is made anew"
        after = f"interrupted after step {stepper.step:,} of {part.steps:,}"
        raise Interrupted(after if stepper.warm_up is None else warming) from None
    finally:
        stepper.close()


def _in_memory(case: Case, blocks: list[Outline], manifest: Manifest, execution: Execution) -> xr.Dataset:
    """The same without a file: what would have been sealed is put together at the end."""
    threads = execution.threads or os.cpu_count() or 1
    clock = Clock(execution.report, sum(block.lanes * block.made_by(block.steps) for block in blocks))
    memory, whole = RamSegments(manifest), replace(execution, segment_seconds=math.inf)
    device = devices_of(execution.device, blocks[0].engine)[0]

    def keep(stretch: Stretch, frames: dict[str, Any], state: Any) -> None:
        if execution.segment_frames is not None:  # what was taken is otherwise all there is of a block
            frames = {name: array.copy() for name, array in frames.items()}
        memory.seal(stretch, frames, state)

    with stop_requests() as stop, ThreadPoolExecutor(1) as sealer:
        for block in blocks:
            width, frames = execution.tile_width, execution.segment_frames
            stepper = Stepper(
                block, 0, block.lanes, None, -1, threads, width, frames, most_bytes=math.inf, device=device
            )
            _run_part(stepper, keep, sealer, clock, stop, whole)
            del stepper
    from thermosim.storage.reading import dataset

    ds = dataset(Layout(memory.manifest), memory, completed=True)
    for name, variable in ds.variables.items():
        variable.load()
        memory.forget(str(name))  # or there would be two of everything
    ds.encoding[CASE_FOLDER] = str(case.folder.absolute())
    return ds


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
