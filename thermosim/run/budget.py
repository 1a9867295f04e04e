"""What a run will take before it runs: time by a short trial, memory, disk, files and tasks."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass

import numpy as np

from thermosim.case.faults import CaseError
from thermosim.case.load import Case
from thermosim.engines import engine_of
from thermosim.plan.outline import Outline, plan
from thermosim.run.describe import make_manifest
from thermosim.run.recording import Recorder
from thermosim.run.stepper import Stepper, compile_all, runs_of_lanes
from thermosim.storage.chunks import size_of_file

__all__ = [
    "RUNS_PER_SLOT",
    "SHARE_OF_MEMORY",
    "TASK_SECONDS",
    "Needs",
    "Spread",
    "lanes_at_once",
    "memory_of_machine",
    "needs_of_case",
    "seconds_per_replica_step",
]

TASK_SECONDS = 30.0  # of a worker between two seals
RUNS_PER_SLOT = 4  # runs of lanes for each thread of a cluster, so that none waits long for the last one
SHARE_OF_MEMORY = 0.4  # of this machine, for what runs or is analysed at one time
TASKS_PER_SECOND = 100.0  # that one scheduler hands out and that seal, measured by scripts/bench.py

_TRIALS = 6  # blocks of a structural sweep that are tried; the cost of others lies between theirs
_LANES_PER_THREAD = 2048


@dataclass(frozen=True)
class Needs:
    """What a case takes. Bytes, seconds and numbers."""

    replica_steps: float
    seconds: float  # of one machine such as this, all its threads
    threads: int
    lanes: int  # of the largest block
    memory: float  # while it runs, all lanes at one time
    memory_of_machine: float
    lanes_at_once: int  # that fit the memory, of the largest block
    file: float  # frames, summaries and state in the finished file
    state: float  # of all lanes, sealed twice in the parts while the run goes on

    @property
    def disk(self) -> float:
        """The most that lies on the disk at one time: segments, and the file made of them."""
        return 2.0 * self.file + 2.0 * self.state

    @property
    def disk_virtual(self) -> float:
        """The same when the frames stay in their segments."""
        return self.file + 2.0 * self.state

    def on(self, workers: int) -> Spread:
        """The same on so many machines such as this."""
        runs = RUNS_PER_SLOT * workers * self.threads
        seconds = self.seconds / workers
        tasks = runs * max(1, math.ceil(seconds * workers * self.threads / runs / TASK_SECONDS))
        seconds = max(seconds, tasks / TASKS_PER_SECOND)
        return Spread(seconds, tasks, 2 * tasks)


@dataclass(frozen=True)
class Spread:
    """A run on several machines."""

    seconds: float
    tasks: int
    files: int


def needs_of_case(case: Case, seconds: float = 1.5, trial: bool = True) -> Needs:
    """Measure for about so many seconds, after everything has been compiled, and work out the rest.

    Without a trial the time is nan.
    """
    blocks = plan(case)
    compile_all(blocks)
    manifest = make_manifest(case, blocks, in_memory=True)
    lanes, per_lane = blocks[0].lanes, max(bytes_per_lane(block) for block in blocks)
    memory = memory_of_machine()
    state = sum(bytes_of_state(block) * block.lanes for block in blocks)
    return Needs(
        replica_steps=float(sum(block.lanes * block.steps for block in blocks)),
        seconds=_seconds(blocks, seconds) if trial else math.nan,
        threads=os.cpu_count() or 1,
        lanes=lanes,
        memory=per_lane * lanes,
        memory_of_machine=memory,
        lanes_at_once=min(lanes, int(SHARE_OF_MEMORY * memory / per_lane)),
        file=size_of_file(manifest) + state,
        state=state,
    )


def _seconds(blocks: list[Outline], seconds: float) -> float:
    """Time of all blocks on this machine, a few of them measured."""
    chosen = np.unique(np.linspace(0, len(blocks) - 1, min(_TRIALS, len(blocks))).astype(int))
    costs = [seconds_per_replica_step(blocks[i], seconds / len(chosen)) for i in chosen]
    moves = np.array([float(block.moved) for block in blocks])
    order = np.argsort(moves[chosen])
    each = np.interp(moves, moves[chosen][order], np.array(costs)[order])
    return float(sum(cost * block.lanes * block.steps_to_make for cost, block in zip(each, blocks, strict=True)))


def seconds_per_replica_step(block: Outline, seconds: float) -> float:
    """Time of one step of one replica, recording included, with all threads of this machine busy."""
    threads = os.cpu_count() or 1
    first, lanes = runs_of_lanes(block, 0, block.lanes, _LANES_PER_THREAD * threads)[0]
    stepper = Stepper(block, first, lanes, threads=threads, warm_up=False)
    try:
        while stepper.recorded < 0 or (stepper.step < block.steps and stepper.step <= 1):  # first touch of memory
            stepper.advance_chunk(min(2, block.steps))
        steps, begin = 0, time.perf_counter()
        while stepper.step < block.steps and (time.perf_counter() - begin < seconds or not steps):
            steps += stepper.advance_chunk(block.steps)
            if stepper.full:
                stepper.take()
        elapsed = time.perf_counter() - begin
    finally:
        stepper.close()
    return elapsed / (lanes * max(steps, 1))


def bytes_per_lane(outline: Outline) -> float:
    """Memory that each lane of a block takes while it runs: state, work space, a sealed copy, a frame on its way."""
    cohort = outline.cohort
    frame = Recorder(outline, cohort, ()).bytes_per_frame / cohort.lanes
    return engine_of().bytes_per_lane(cohort) + 2.0 * (_bytes_of_sums(outline) + frame)


def bytes_of_state(outline: Outline) -> float:
    """What is sealed of each lane to go on from: state, status and running sums."""
    return engine_of().bytes_of_state(outline.cohort) + 9.0 + _bytes_of_sums(outline)


def _bytes_of_sums(outline: Outline) -> float:
    """Running sums of summaries, for each lane; those of a cohort shared out."""
    cohort = outline.cohort
    sums = Recorder(outline, cohort, (slice(0, 1),)).snapshot()
    return sum(array.nbytes / (cohort.lanes if name.startswith("cohorts/") else 1) for name, array in sums.items())


def memory_of_machine() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def lanes_at_once(block: Outline) -> int:
    """How many lanes fit the memory of this machine at one time. Raises CaseError when not even a cohort does."""
    per_lane, memory = bytes_per_lane(block), memory_of_machine()
    fitting = int(SHARE_OF_MEMORY * memory / per_lane)
    largest = min(block.replicas, 1024)
    if fitting < largest:
        message = (
            f"one replica takes {per_lane / 1e6:,.0f} MB while it runs, and {largest:,} of them run at a time: "
            f"{largest * per_lane / 1e9:,.0f} GB, more than this machine with {memory / 1e9:,.0f} GB can hold. Take "
            f"fewer x.samples, a smaller model or fewer replicas."
        )
        raise CaseError([message])
    return fitting
