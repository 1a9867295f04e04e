"""Some lanes of a block on their way through the steps: what a thread pool, or a worker of a cluster, advances.

An engine advances them by chunks of a tenth of a second, so that Python stays responsive. What is recorded does not
depend on the chunks, nor on how the engine divides the lanes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping

import numpy as np

from thermosim import cohorts
from thermosim.case.faults import CaseError
from thermosim.engines import engine_of
from thermosim.engines.engine import Seen
from thermosim.plan.block import Block
from thermosim.plan.outline import Outline
from thermosim.plan.starts import initial_state
from thermosim.run.guard import Guard, limits_of_theta
from thermosim.run.kept import watch_of
from thermosim.run.recording import Recorder
from thermosim.run.warm_up import WarmUp

__all__ = ["CHUNK_BYTES", "SEGMENT_BYTES", "Stepper", "compile_all", "longest_chunk", "runs_of_lanes"]

_CHUNK_SECONDS = 0.1
_LONGEST_CHUNK = 5.0
_FIRST_CHUNK = 2e7  # moved components, a few hundredths of a second; later chunks follow the clock
_TABLE_NUMBERS = 1_000_000  # of what changes from step to step, made for one chunk
CHUNK_BYTES = 64_000_000  # of frames gathered by one chunk
SEGMENT_BYTES = 128_000_000  # of frames between two `take`s


class Stepper:
    """Lanes first_lane, first_lane + 1, ... of a block, and everything recorded of them."""

    def __init__(
        self,
        outline: Outline,
        first_lane: int,
        lanes: int,
        snapshot: Mapping[str, np.ndarray] | None = None,
        step: int = -1,
        threads: int = 1,
        tile_width: int | None = None,
        most_frames: int | None = None,
        most_bytes: float = SEGMENT_BYTES,
        warm_up: bool = True,
        device: str = "cpu",
    ) -> None:
        """From the start, or from a snapshot made after `step`; with room for so much between two `take`s.

        Without its `warm_up` a start is another, and takes as long as any.
        """
        self.block = outline.block(first_lane, lanes)
        limits = limits_of_theta(outline.model.parameters, outline.settings.model.constants)
        self._guard = Guard(lanes, self.block.theta_rows, limits)
        watch = watch_of(outline, self.block, self._guard.limit)
        engine = engine_of(device, outline.engine)
        self._lanes = engine.open(self.block, threads, tile_width, watch)
        self._recorder = Recorder(outline, self.block, self._lanes.pieces, self._lanes.watches)
        self.recorded = (
            step  # the last step whose frame, if it is due, has been taken: -1 before that of the first step
        )
        self.step = max(step, outline.first_step)  # that the state is at
        state = snapshot or initial_state(outline, first_lane, lanes)
        self.warm_up: WarmUp | None = None  # as long as it goes on
        if snapshot is None and warm_up and outline.warm_up:
            self.warm_up = WarmUp(self.block, outline.warm_up, state, threads, tile_width, device)
        else:
            self._lanes.restore(state, self.step)
        if snapshot is not None:
            self._guard.restore(snapshot)
            self._recorder.restore(snapshot)
            self._lanes.restore_sums(snapshot, self._guard.status != 0)
        self._longest = longest_chunk(self.block)
        taken = engine.lanes_taken(self.block, lanes, threads) / lanes  # frames of whole tiles may be gathered
        self._frames_of_chunk = max(1, int(CHUNK_BYTES / max(1.0, self._recorder.bytes_per_frame * taken)))
        self._chunk = min(self._longest, max(1, int(_FIRST_CHUNK / (lanes * outline.moved))))
        self._seconds = min(_LONGEST_CHUNK, max(_CHUNK_SECONDS, self._lanes.shortest))
        fitting = min(most_bytes / max(self._recorder.stored_bytes_per_frame, 1e-300), 1e18)
        self._most_frames = most_frames or max(1, int(fitting))
        # filled in turn: what was taken may still be on its way to the disk, and fresh memory is slow
        self._stores: list[dict[str, np.ndarray]] = []
        self._filled: dict[str, int] = {}
        self._frames_gathered = 0  # at steps of the grid

    @property
    def full(self) -> bool:
        """Whether there is no room for another frame: `take` what there is."""
        return self._frames_gathered >= self._most_frames

    def advance_chunk(self, stop: int) -> int:
        """Go on for a fraction of a second, to `stop` at most. Returns the steps made: none in a warm-up."""
        if self.warm_up is not None:
            self._go_on_warming(self.warm_up)
            return 0
        start, begin = self.step, time.perf_counter()
        room = min(self._frames_of_chunk, self._most_frames - self._frames_gathered, self._lanes.most_frames)
        stop = self._recorder.last_step_within(self.recorded, min(start + self._chunk, stop), room)
        self._advance_to(stop)
        elapsed = time.perf_counter() - begin
        wanted = int((stop - start) * min(4.0, max(0.25, self._seconds / max(elapsed, 1e-6))))
        self._chunk = min(self._longest, max(1, wanted))
        return stop - start

    def _go_on_warming(self, warm_up: WarmUp) -> None:
        warm_up.advance_chunk(self._seconds)
        if warm_up.done:
            self._lanes.restore(warm_up.state(), self.step)
            warm_up.close()
            self.warm_up = None

    def _advance_to(self, stop: int) -> None:
        self._stores = self._stores or [self._recorder.store(self._most_frames)]
        chunk = self._recorder.chunk(self.recorded, stop, self._stores[0], self._filled)

        def take(lanes: slice, frames: Mapping[str, np.ndarray], seen: Seen | None) -> None:
            beyond = None if seen is None else seen.beyond
            bad = self._guard.examine(lanes, frames, chunk.steps, self._lanes.quarantine, beyond)
            if seen is not None:
                self._recorder.take_ensembles(seen, chunk)
            with np.errstate(all="ignore"):  # lanes that diverged, which the guard names
                self._recorder.gather(lanes, frames, bad, chunk)

        self._lanes.advance(stop, chunk.next_frame, self._recorder.grid.every, take)
        self.step = self.recorded = stop
        self._recorder.finish(chunk)
        for name, array in chunk.stored.items():
            self._filled[name] = self._filled.get(name, 0) + len(array)
        self._frames_gathered += len(chunk.steps)

    def take(self) -> dict[str, np.ndarray]:
        """The frames since the last call, variable: (frames, lanes or cohorts, ...); only variables that have any.

        They are views, good until the call after the next.
        """
        taken = {name: self._stores[0][name][:count] for name, count in self._filled.items() if count}
        self._filled, self._frames_gathered = {}, 0
        if taken and self.recorded >= self.block.steps:
            self._stores = []
        elif taken:
            spare = self._stores[1:] or [self._recorder.store(self._most_frames)]
            self._stores = [*spare, self._stores[0]]
        return taken

    def snapshot(self) -> dict[str, np.ndarray]:
        """A copy of the whole state: what going on from here takes."""
        return self._guard.snapshot(self._lanes.state()) | self._recorder.snapshot() | self._lanes.sums()

    def close(self) -> None:
        """Free what the engine holds."""
        self._lanes.close()
        if self.warm_up is not None:
            self.warm_up.close()


def runs_of_lanes(outline: Outline, first_lane: int, lanes: int, most: int) -> list[tuple[int, int]]:
    """Cut lanes of a block, at the edges of cohorts, into runs of about equal length, of at most `most` lanes each.

    A cohort is never cut, however few `most` allows. Returns first lane and number of lanes of each.
    """
    replicas = outline.replicas
    cut = cohorts.slice_of(replicas, first_lane, lanes)
    points, numbers = np.divmod(np.arange(cut.start, cut.stop + 1), cohorts.per_point(replicas))
    edges = points * replicas + cohorts.bounds(replicas)[numbers]
    count = min(len(edges) - 1, -(-lanes // max(1, most)))
    wanted = first_lane + np.arange(1, count) * lanes // count
    chosen = np.unique([first_lane, *edges[np.searchsorted(edges, wanted)], first_lane + lanes]).tolist()
    return [(a, b - a) for a, b in itertools.pairwise(chosen)]


def longest_chunk(block: Block) -> int:
    """Steps of the longest chunk: tables of what changes from step to step are made for all of it."""
    columns = len(block.theta_hyper) + len(block.x_hyper) + (0 if block.theta.learns else block.parameters)
    return max(1, _TABLE_NUMBERS // max(1, columns))


def compile_all(blocks: list[Outline], device: str = "cpu") -> None:
    """Let the engine look at every block, and compile what it needs. Raises CaseError for what it cannot run."""
    for block in blocks:
        if faults := engine_of(device, block.engine).faults(block.cohort):
            raise CaseError(faults)
