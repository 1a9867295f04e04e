"""The memory that lanes take on their way through the steps, by what is allocated, and how many go at one time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from thermosim import cohorts
from thermosim.engines import engine_of
from thermosim.plan.block import rows_of_block
from thermosim.plan.outline import Outline
from thermosim.plan.starts import window
from thermosim.run import machine
from thermosim.run.fold import shapes_of_sums
from thermosim.run.kept import bytes_of_sums, grid_of, kept_of
from thermosim.run.stepper import CHUNK_BYTES, SEGMENT_BYTES, longest_chunk

__all__ = [
    "SHARE_OF_MEMORY",
    "Footprint",
    "footprint",
    "lanes_at_once",
    "largest",
    "most_lanes",
    "workers_for",
]

SHARE_OF_MEMORY = 0.4  # of this machine, for what runs or is analysed at one time
_SHARE_OF_FREE = 0.8  # the same of what is free
_WORKERS_PER_PROCESSOR = 4  # some may wait for a disk

_STATUS = 9  # bytes of a lane's status and diverged step
_BLOCKS_KEPT = 2  # plan/outline.py keeps the last that were asked for
_OBSERVED = 2  # copies of a frame while a tile's are gathered
_DRAWN = 4  # arrays that a window of the start takes while it is drawn
_WIDEST_TILE = 1024  # of an engine on the processor
_WIDEST_PIECE = 8192  # of one on a card
_LOADED = 3  # copies of a set of rows while it is read and encoded


@dataclass(frozen=True)
class Footprint:
    """What each lane and each cohort of a block takes, in bytes."""

    outline: Outline
    cohort: float  # lanes of a cohort
    block: float  # of what the plan holds of a lane
    state: float  # of what is sealed of a lane to go on from, without sums
    start: float  # of theta and x
    frame: float  # that an engine delivers of a lane
    gathered: float  # of the same on its way to what is kept
    summed: float  # that is summed over cohorts, of a lane and frame
    widest: float  # variable of a frame
    stored_of_lane: float  # of a frame of the grid
    stored_of_cohort: float
    sums_of_lane: float  # running sums
    sums_of_cohort: float
    frames: int  # of the grid, in all
    chunk: float  # of them, at most, that the engine delivers at one time
    data: float  # rows to learn from, and a recorded path
    device: str = "cpu"  # that makes the steps; what is told is of the memory of the machine

    def with_replicas(self, replicas: int) -> Footprint:
        """The same with so many replicas of each point."""
        return replace(self, cohort=replicas / cohorts.per_point(replicas))

    @property
    def stored(self) -> float:
        """Of a lane and frame, cohorts shared out."""
        return self.stored_of_lane + self.stored_of_cohort / self.cohort

    @property
    def sums(self) -> float:
        """Of a lane, cohorts shared out."""
        return self.sums_of_lane + self.sums_of_cohort / self.cohort

    def running(self, lanes: int, threads: int | None = None, most_bytes: float = SEGMENT_BYTES) -> float:
        """The most that so many lanes take at one time, `most_bytes` of frames being sealed at a time."""
        threads, engine = threads or os.cpu_count() or 1, engine_of(self.device, self.outline.engine)
        taken = engine.lanes_taken(self.outline.lane, lanes, threads)
        kept = min(self.frames, max(1.0, most_bytes // max(lanes * self.stored, 1e-300)))
        chunk = min(kept, self.chunk, max(1.0, CHUNK_BYTES // (taken * self.gathered)))
        opened = taken * engine.bytes_per_lane(self.outline.lane)
        always = opened + taken * self.sums + lanes * _STATUS
        always += _BLOCKS_KEPT * lanes * self.block + self.data
        stores = self.stored * lanes * min(self.frames, kept + 1) * (1 if self.frames <= kept else 2)
        buffers = chunk * (self.frame * taken + self.summed * lanes)
        piece = _WIDEST_TILE if self.device == "cpu" else _WIDEST_PIECE
        buffers += _OBSERVED * chunk * self.widest * min(taken, threads * piece)
        later = stores + buffers + lanes * (self.state + _STATUS + self.sums)
        start = self.start * (lanes + _DRAWN * min(lanes, window(self.outline)))
        start += opened if self.outline.warm_up else 0.0  # which has lanes of its own
        return always + max(start, later)


def footprint(outline: Outline, device: str = "cpu") -> Footprint:
    """Of a block; nothing is compiled, read or drawn. The device is one that is there: "cpu" or "cuda:1"."""
    lane, kept = outline.lane, kept_of(outline)
    grid = grid_of([c for one in kept for c in (one.frames, one.table) if c is not None])
    stored = of_cohort = summed = 0.0
    sums = [0.0, 0.0]
    for one in kept:
        numbers = math.prod(one.shape)
        if one.frames is not None:
            stored += numbers * (4.0 if one.storage == "float32" else 8.0) * grid.every / one.frames.every
        if one.table is not None:
            of_cohort += 8.0 * len(one.ensemble) * numbers * grid.every / one.table.every
        summed += 8.0 * numbers * bool(one.ensemble)
        if one.summary is not None:
            for number, shapes in enumerate(shapes_of_sums(one.summary, numbers)):
                sums[number] += 8.0 * sum(map(math.prod, shapes.values()))
    return Footprint(
        outline=outline,
        cohort=outline.replicas / cohorts.per_point(outline.replicas),
        block=8.0 * rows_of_block(lane),
        state=8.0 * sum(math.prod(shape) for shape in engine_of(name=outline.engine).state_shapes(lane).values()),
        start=8.0 * (lane.parameters + lane.samples * lane.components),
        frame=8.0 * lane.frame_size,
        gathered=8.0 * (lane.frame_size + sum(math.prod(one.shape) for one in kept)),
        summed=summed,
        widest=8.0 * max(math.prod(one.shape) for one in kept),
        stored_of_lane=stored,
        stored_of_cohort=of_cohort,
        sums_of_lane=sums[0],
        sums_of_cohort=sums[1],
        frames=grid.until(outline.steps),
        chunk=longest_chunk(lane) // grid.every + 1.0,
        data=_bytes_of_data(outline),
        device=device,
    )


def _bytes_of_data(outline: Outline) -> float:
    """Rows to learn from as they are loaded, and a recorded path of theta."""
    recording = outline.lane.timetable.recording
    path = 0.0 if recording is None else float(recording.nbytes)
    rows, sets = outline.numbers_of_rows
    return path + 8.0 * outline.model.row_length(outline.settings.model.constants) * rows * (sets + _LOADED)


def lanes_at_once(
    block: Outline, threads: int | None = None, memory: float | None = None, devices: Sequence[str] = ("cpu",)
) -> int:
    """How many lanes of a block are to run at one time on a device: what fits a good part of the memory.

    A cohort at least. The memory is what is free here, shared by the devices, unless it is given; that of the devices
    themselves is looked at, too. One that is named twice is shared by two runs at a time.
    """
    if memory is None:
        here = machine.memory()
        memory = min(SHARE_OF_MEMORY * here.total, _SHARE_OF_FREE * here.free) / len(devices)
    takes, most = footprint(block, devices[0]), memory
    there = min(most_lanes(block, device) // devices.count(device) for device in dict.fromkeys(devices))
    fitting = largest(min(block.lanes, there), lambda lanes: takes.running(lanes, threads) <= most)
    return max(math.ceil(takes.cohort), fitting)


def most_lanes(block: Outline, device: str) -> int:
    """Lanes that fit the memory that a device has of its own; a warm-up has lanes of its own meanwhile."""
    return engine_of(device, block.engine).most_lanes(block.lane, bytes_of_sums(block)) // (2 if block.warm_up else 1)


def workers_for(blocks: list[Outline], asked: int) -> int:
    """How many of the workers asked for have work, which is dealt in cohorts, and a processor to do it with."""
    work = sum(block.lanes // block.replicas * cohorts.per_point(block.replicas) for block in blocks)
    return min(asked, work, _WORKERS_PER_PROCESSOR * (os.cpu_count() or 1))


def largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest whole number up to `most` that fits, to a thousandth; 0 where none does. What is smaller fits too."""
    if fits(most):
        return most
    low, high = 0, most
    while high - low > max(1, low // 1000):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
