"""A run on many machines: tasks of (lanes x steps) on dask.distributed, each short and free to be run twice or lost.

A task takes lanes of a block from the step they are at to a later one, and seals what it made in the folder of the
parts where its worker sees that folder; otherwise frames and state come back through the scheduler and are sealed
here. Lanes are cut at the edges of cohorts, so nothing that is stored depends on the number of workers.
"""

from __future__ import annotations

import json
import queue
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from thermosim.case.load import Case
from thermosim.plan.outline import Outline
from thermosim.run import machine, tasks
from thermosim.run.budget import RUNS_PER_SLOT, TASK_SECONDS
from thermosim.run.dask_client import connected
from thermosim.run.devices import devices_of, shared
from thermosim.run.execution import Clock, Execution, Interrupted
from thermosim.run.footprint import SHARE_OF_MEMORY, lanes_at_once, workers_for
from thermosim.run.stepper import runs_of_lanes
from thermosim.run.tasks import PATIENCE, FolderNotShared, Job, OtherKernels, Result, Task
from thermosim.storage import Parts, StorageError
from thermosim.storage.coverage import frontier
from thermosim.storage.durable import command
from thermosim.storage.manifest import Segment
from thermosim.storage.segments import read_state, write

__all__ = ["run"]

_FIRST_TASK_SECONDS = 1.0  # the progress line moves whenever a task ends: soon at first, later every 5 % of the time
_SHARE_OF_TIME = 0.05  # of the run so far, for a task; and of all time, for replacing the manifest
_SEALING_SHARE = 0.02  # of a task's time, at most, unless it is as long as tasks may be
_MANY_SEGMENTS = 50_000  # where tasks become longer, for the manifest names every segment
_FEWEST_LANES = 64
_ATTEMPTS = 5  # each loses three workers more, dask's own count
_GATHER_SECONDS = 30.0  # for the result of one task to come


def run(case: Case, blocks: list[Outline], parts: Parts, execution: Execution, stop: threading.Event) -> None:
    """All missing steps, by the workers of a cluster.

    Raises Interrupted once `stop` is set and tasks have sealed, StorageError when there is no cluster, or it is lost,
    or something cannot be sealed; what was sealed stays.
    """
    if execution.workers is not None and (few := workers_for(blocks, execution.workers)) < execution.workers:
        sentence = f"{few} workers instead of {execution.workers}: there is no work, or no processor, for more."
        Clock(execution.report, sum(block.lanes * block.made_by(block.steps) for block in blocks)).note(sentence)
        execution = replace(execution, workers=few)
    with connected(execution, stop) as (client, mend):
        _Coordinator(client, mend, case, blocks, parts, execution, stop).run()


class _Coordinator:
    """Hands out tasks and seals what comes back. Everything it knows can be found again in the manifest."""

    def __init__(
        self,
        client: Any,
        mend: Callable[[], object],
        case: Case,
        blocks: list[Outline],
        parts: Parts,
        execution: Execution,
        stop: threading.Event,
    ) -> None:
        self._client, self._mend, self._stop = client, mend, stop
        self._case, self._blocks, self._parts = case, blocks, parts
        self._execution = execution
        self._clock = Clock(execution.report, sum(block.lanes * block.made_by(block.steps) for block in blocks))
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._running: dict[Any, Task] = {}
        self._waiting: deque[Task] = deque()
        self._lanes = 0  # of all runs of lanes that have steps to go
        self._fitting: dict[int, int] = {}  # lanes of each block, in the memory of a slot
        self._sealed: list[Segment] = []  # sealed, not yet in the manifest
        self._record_at = 0.0
        self._slots, self._memory_of_slot, self._looked_at = 0, 0.0, 0.0
        self._begin = time.monotonic()
        static = json.dumps(replace(parts.manifest, segments=()).to_json())
        self._job = Job(static, str(parts.folder.resolve()), secrets.token_hex(8))
        self._inputs: Any = None
        self._losses: tuple[type[Exception], ...] = tasks.losses()

    def run(self) -> None:
        """Until nothing is missing. Raises as the function `run`."""
        probe = self._job.probe
        for stale in probe.parent.glob("probe-*"):  # of an execution that was killed: its tasks seal no more
            stale.unlink(missing_ok=True)
        probe.write_text(self._job.token)
        try:
            self._run()
        except KeyboardInterrupt:
            raise Interrupted(self._wind_up()) from None
        except OSError as error:
            raise StorageError(
                f"the dask scheduler has gone ({str(error) or type(error).__name__}). What was sealed is whole; to go "
                f"on: {command('resume', self._parts.output)}"
            ) from None
        finally:
            probe.unlink(missing_ok=True)
            if self._running:
                self._ask_to_stop()
            with suppress(StorageError):  # one is on its way already
                self._record()
        self._parts.tidy()  # what tasks sealed that were run twice

    def _run(self) -> None:
        self._greet()
        self._cut()
        self._clock.tick(0)
        while self._waiting or self._running:
            self._submit()
            self._collect()
            if self._stop.is_set():
                raise KeyboardInterrupt
            if self._client.status not in ("running", "connecting"):
                raise OSError("the connection is closed")
        self._record()

    def _greet(self) -> None:
        """Wait for the first worker, and see whether it makes the same bits. Every task looks again."""
        first = self._client.submit(tasks.introduce, self._job, pure=False)
        self._clock.say("waiting for workers")
        while not first.done():
            if self._stop.wait(0.1):
                raise Interrupted("interrupted before the first worker came")
        try:
            sees = first.result()
        except (ImportError, AttributeError) as error:
            raise StorageError(f"a worker of the cluster cannot run this thermosim: {error}") from None
        except OtherKernels as error:
            raise StorageError(str(error)) from None
        if not sees:
            self._share_nothing()

    def _share_nothing(self) -> None:
        """From now on everything goes through the scheduler."""
        if self._job.folder is None:
            return
        self._job = replace(self._job, folder=None)
        folder, kept = self._parts.folder, self._parts.manifest.inputs
        files = {file.name: (folder / file.name).read_bytes() for file in kept}
        if files:  # as a task: should all workers that have them be lost, the scheduler can make them again
            self._inputs = self._client.submit(tasks.deliver, files, pure=False)

    def _look(self) -> None:
        """How many tasks can run at one time, and how much memory each may take."""
        if time.monotonic() - self._looked_at < 2.0 and self._slots:
            return
        self._mend()
        self._looked_at, threads = time.monotonic(), self._client.nthreads()
        if (slots := sum(threads.values())) in (0, self._slots):
            self._slots = max(1, self._slots)
            return
        self._slots, self._fitting = slots, {}
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        here = machine.memory().free
        limits = [(w["memory_limit"] or here / len(threads)) / w["nthreads"] for w in workers]
        self._memory_of_slot = SHARE_OF_MEMORY * min(limits, default=here / slots)

    def _cut(self) -> None:
        """The missing work as runs of lanes, a few for each slot."""
        states: dict[tuple[int, int], list[Segment]] = defaultdict(list)
        for segment in self._parts.manifest.segments:
            if segment.state:
                states[segment.block, segment.step].append(segment)
        pieces = []
        for block in self._blocks:
            for first, lanes, step in frontier(self._parts.manifest, block.number, block.lanes):
                self._clock.skip(lanes * block.made_by(step))
                if step < block.steps:
                    pieces.append((block.number, first, lanes, step))
        self._lanes = sum(lanes for _, _, lanes, _ in pieces)
        seconds = min(_FIRST_TASK_SECONDS, self._execution.segment_seconds or TASK_SECONDS)
        for number, first, lanes, step in pieces:
            for task in self._parted(Task(number, first, lanes, step, seconds)):
                held = [segment for segment in states[number, step] if task.overlaps(segment)]
                self._waiting.append(replace(task, segments=tuple(held)))

    def _parted(self, task: Task) -> list[Task]:
        """A task, cut by lanes so that no slot need wait for others: there may be more of them by now."""
        self._look()
        block = self._blocks[task.block]
        if task.block not in self._fitting:
            self._fitting[task.block] = lanes_at_once(block, 1, self._memory_of_slot, self._devices())
        fitting = self._fitting[task.block]
        most = max(_FEWEST_LANES, -(-self._lanes // (RUNS_PER_SLOT * self._slots)))
        if task.lanes < 2 * most and task.step >= 0 and task.lanes <= fitting:
            return [task]
        runs = runs_of_lanes(block, task.first_lane, task.lanes, min(most, fitting))
        return [replace(task, first_lane=first, lanes=lanes) for first, lanes in runs]

    def _devices(self) -> tuple[str, ...]:
        """Of the workers on this machine, which share its cards; those of other machines know theirs."""
        here = self._execution.device if self._execution.scheduler is None else "cpu"
        workers = self._execution.workers or 1
        return shared(devices_of(here, self._blocks[0].engine), workers, -(-self._slots // workers))

    def _submit(self) -> None:
        """Keep every slot busy, and one task more waiting for each."""
        self._look()
        while self._waiting and len(self._running) < 2 * self._slots:
            task, state = self._waiting.popleft(), None
            sent = task
            if self._job.folder is None:
                sent = replace(task, segments=())
                if task.step >= 0:
                    manifest = replace(self._parts.manifest, segments=task.segments)
                    lanes = task.block, task.first_lane, task.lanes
                    state = read_state(self._parts.folder, manifest, *lanes, task.step, wait=PATIENCE)
            key = f"thermosim-{self._job.token}-{secrets.token_hex(8)}"
            most_frames = self._execution.segment_frames
            future = self._client.submit(
                tasks.advance_part,
                self._job,
                self._inputs,
                sent,
                state,
                most_frames,
                self._execution.device,
                key=key,
                pure=False,
            )
            self._running[future] = task
            future.add_done_callback(self._done.put)

    def _collect(self) -> None:
        """Take what has come back, and put what goes on at the end of the queue."""
        with suppress(queue.Empty):
            future = self._done.get(timeout=0.2)
            while True:
                self._take(future)
                future = self._done.get_nowait()
        if time.monotonic() > self._record_at:
            self._record()

    def _take(self, future: Any) -> None:
        task = self._running.pop(future)
        try:
            result: Result | None = future.result(timeout=_GATHER_SECONDS)
        except TimeoutError:  # its worker has died since, and it is being made again, or nobody is left to make it
            self._running[future] = task
            later = threading.Timer(2.0, self._done.put, [future])
            later.daemon = True
            later.start()
            return
        except FolderNotShared:
            self._share_nothing()
            self._waiting.appendleft(task)
            return
        except OtherKernels as error:
            raise StorageError(str(error)) from None
        except self._losses as error:  # its worker died, or with it what the task needed
            if task.attempt + 1 >= _ATTEMPTS:
                raise StorageError(
                    f"a task was lost with its workers {_ATTEMPTS} times ({type(error).__name__}); do they run "
                    f"out of memory? What was sealed is whole: {command('resume', self._parts.output)}"
                ) from None
            self._waiting.appendleft(replace(task, attempt=task.attempt + 1))
            return
        except OSError as error:
            if future.status != "error":
                raise
            raise StorageError(f"a worker could not go on: {error}") from None
        if result is None:  # asked to stop before it began
            return
        stretch, segment = result.stretch, result.segment
        if segment is None:
            segment = write(self._parts.folder, self._parts.manifest.run, stretch, result.frames, result.state)
        self._sealed.append(segment)
        if stretch.step < self._blocks[stretch.block].steps:
            seconds = self._seconds_of_task(result.sealing)
            following = replace(task, step=stretch.step, seconds=seconds, segments=(segment,), attempt=0)
            self._waiting.extend(self._parted(following))
        else:
            self._lanes -= stretch.lanes
        self._clock.tick(stretch.lanes * (stretch.step - max(stretch.first_step, 0)))

    def _seconds_of_task(self, sealing: float) -> float:
        """How long the next task should take, where the last one took `sealing` seconds to seal."""
        if self._execution.segment_seconds is not None:
            return self._execution.segment_seconds
        so_far = _SHARE_OF_TIME * (time.monotonic() - self._begin)
        longest = TASK_SECONDS * max(1.0, len(self._parts.manifest.segments) / _MANY_SEGMENTS)
        return min(max(_FIRST_TASK_SECONDS, so_far, sealing / _SEALING_SHARE), longest)

    def _record(self) -> None:
        """Enter in the manifest what was sealed: the more it holds, the more rarely."""
        begin = time.monotonic()
        if self._sealed:
            self._parts.record(self._sealed)
            self._sealed = []
        now = time.monotonic()
        self._record_at = now + max(1.0, (now - begin) / _SHARE_OF_TIME)

    def _wind_up(self) -> str:
        """Ask the tasks to seal what they have, wait for that, and say what came of it."""
        self._clock = Clock(None, 1)  # whoever listens may have raised the interrupt
        begin = asked = time.monotonic()
        self._ask_to_stop()
        while self._running and time.monotonic() < begin + PATIENCE:
            if time.monotonic() > asked + 2.0:
                if not any(self._client.processing().values()) and self._done.empty():
                    break  # the workers are gone, and what they were at with them
                self._ask_to_stop()  # workers that have come since
                asked = time.monotonic()
            self._collect()
        self._record()
        if self._running:
            return f"interrupted; {len(self._running)} tasks did not end, what they made since they began is lost"
        return "interrupted; every worker has sealed what it had made"

    def _ask_to_stop(self) -> None:
        """Without waiting for an answer: a worker may hang."""

        def ask() -> None:
            with suppress(Exception):
                self._client.run(tasks.request_stop, self._job.token, on_error="ignore")

        threading.Thread(target=ask, daemon=True).start()
