"""Some lanes of a block on their way through the steps: what a thread pool, or a worker of a cluster, advances.

Tiles advance by chunks of a tenth of a second; the kernels hold no lock, so Python stays responsive. What is recorded
does not depend on the chunks, the tiles or the threads.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from thermosim import cohorts
from thermosim.case.load import Case, CaseError
from thermosim.engines.lanes.link import addresses_of
from thermosim.engines.lanes.tiles import BlockState, Tile, rows_of
from thermosim.kernels import signatures
from thermosim.kernels.advance import advance
from thermosim.kernels.compile import compiled
from thermosim.ledger import THETA_ROWS, X_ROWS
from thermosim.plan.block import Block
from thermosim.run.recording import Recorder

__all__ = ["Stepper", "bytes_of_state", "bytes_per_lane", "compile_all", "runs_of_lanes"]

_CHUNK_SECONDS = 0.1
_CALL_SECONDS = 0.001  # of one kernel: Python takes a twentieth of that to call it
_LONGEST_CHUNK = 5.0
_TASKS_PER_THREAD = 4  # among which the tiles are dealt
_FIRST_CHUNK = 2e7  # moved components, a few hundredths of a second; later chunks follow the clock
_CHUNK_BYTES = 64_000_000  # of frames gathered by one chunk

Mapper = Callable[[Callable[[range], None], Iterable[range]], Iterable[None]]


class Stepper:
    """The lanes of `part`, a block or a run of its lanes, and everything recorded of them."""

    def __init__(
        self,
        case: Case,
        part: Block,
        snapshot: Mapping[str, np.ndarray] | None = None,
        step: int = -1,
        threads: int = 1,
        tile_width: int | None = None,
        most_frames: int | None = None,
        most_bytes: float = 128e6,
    ) -> None:
        """From the start, or from a snapshot made after `step`; with room for so much between two `take`s."""
        self.part = part
        begin = BlockState.at_start if snapshot is None else BlockState.empty
        self._state = begin(part, threads, tile_width)
        self._recorder = Recorder(case, part, self._state.tiles)
        if snapshot is not None:
            self._state.restore(snapshot, step)
            self._recorder.restore(snapshot)
        self._kernel, self._addresses = compiled(advance, signatures.ADVANCE), addresses_of(part)
        moves = part.parameters + part.samples * part.components * (part.settings.get("x") or {}).get("tau", 0)
        self._chunk = max(1, int(_FIRST_CHUNK / (part.lanes * moves)))
        tiles = len(self._state.tiles)
        self._seconds = min(_LONGEST_CHUNK, max(_CHUNK_SECONDS, _CALL_SECONDS * tiles / threads))
        tasks = min(tiles, _TASKS_PER_THREAD * threads)
        self._deals = [range(first, tiles, tasks) for first in range(tasks)]
        fitting = min(most_bytes / max(self._recorder.stored_bytes_per_frame, 1e-300), 1e18)
        self._most_frames = most_frames or max(1, int(fitting))
        # filled in turn: what was taken may still be on its way to the disk, and fresh memory is slow
        self._stores: list[dict[str, np.ndarray]] = []
        self._filled: dict[str, int] = {}
        self._frames_gathered = 0  # at steps of the grid

    @property
    def recorded(self) -> int:
        """The last step whose frames have been taken; -1 before those of step 0."""
        return self._state.recorded

    @property
    def step(self) -> int:
        """The step that the state is at."""
        return self._state.step

    @property
    def full(self) -> bool:
        """Whether there is no room for another frame: `take` what there is."""
        return self._frames_gathered >= self._most_frames

    def advance_chunk(self, stop: int, each: Mapper) -> int:
        """Go on for a fraction of a second, to `stop` at most; `each` maps over tiles. Returns the steps made."""
        start, begin = self.step, time.perf_counter()
        room = max(1, _CHUNK_BYTES // max(1, self._recorder.bytes_per_frame))
        room = min(room, self._most_frames - self._frames_gathered)
        stop = self._recorder.last_step_within(self.recorded, min(start + self._chunk, stop), room)
        self._advance_to(stop, each)
        elapsed = time.perf_counter() - begin
        self._chunk = max(1, int((stop - start) * min(4.0, max(0.25, self._seconds / max(elapsed, 1e-6)))))
        return stop - start

    def _advance_to(self, stop: int, each: Mapper) -> None:
        start, part, state = self.step, self.part, self._state
        self._stores = self._stores or [self._recorder.store(self._most_frames)]
        chunk = self._recorder.chunk(self.recorded, stop, self._stores[0], self._filled)
        theta_factor, x_factor = part.factors(start + 1, max(stop, start + 1))
        theta_table, x_table = part.tables(start + 1, max(stop, start + 1))
        settings, every = part.settings, self._recorder.grid.every
        x = settings.get("x") or {}
        seed, tau, restarts = settings["ensemble"]["seed"], x.get("tau", 0), x.get("restart", False)
        row_count = part.data.rows if part.data is not None else 0

        def run_deal(positions: range) -> None:
            for position in positions:
                run(position)

        def run(position: int) -> None:
            tile = state.tiles[position]
            buffers = self._recorder.buffers(position, tile, len(chunk.steps))
            self._kernel(
                seed, part.first_replica + tile.first, start, stop - start, part.turn, tau, chunk.next_frame, every,
                row_count, part.theta_dynamics != "frozen", part.reversed, restarts,
                tile.theta, tile.memory, tile.x, tile.theta_path, tile.x_path,
                state.constants[position], state.shared, state.data, state.first_rows[position],
                state.theta_hyper[position], theta_factor, state.x_hyper[position], x_factor, theta_table, x_table,
                *self._addresses, *buffers, tile.scratch,
            )  # fmt: skip
            bad = state.guard(position, buffers, chunk.steps)
            self._recorder.gather(position, buffers, bad, chunk)

        for _ in each(run_deal, self._deals):
            pass
        state.step = state.recorded = stop
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
        if taken:
            spare = self._stores[1:] or [self._recorder.store(self._most_frames)]
            self._stores = [*spare, self._stores[0]]
        return taken

    def snapshot(self) -> dict[str, np.ndarray]:
        """A copy of the whole state: what going on from here takes."""
        return self._state.snapshot() | self._recorder.snapshot()


def compile_all(blocks: list[Block]) -> None:
    """Compile what the blocks need. Raises CaseError when a model's function cannot be compiled."""
    from numba.core.errors import NumbaError  # with the compiler, not before

    for block in blocks:
        try:
            addresses_of(block)
        except NumbaError as error:
            line = str(error).strip().splitlines()
            message = f"model: a function of {block.model.name!r} cannot be compiled: {' '.join(line[:6])[:600]}"
            raise CaseError([message]) from None


def bytes_per_lane(case: Case, block: Block) -> float:
    """Memory that each lane of a block takes while it runs: state, work space, a sealed copy, a frame on its way."""
    cohort = block.part(0, int(cohorts.bounds(block.replicas)[1]))
    frame = Recorder(case, cohort, []).bytes_per_frame / cohort.lanes
    return 16.0 * rows_of(block).total + 2.0 * (_bytes_of_sums(case, block) + frame)


def bytes_of_state(case: Case, block: Block) -> float:
    """What is sealed of each lane to go on from: state and running sums."""
    rows = rows_of(block)
    paths = THETA_ROWS + rows.samples * X_ROWS
    return (
        8.0 * (rows.parameters + rows.memory + rows.samples * rows.components + paths)
        + 9.0
        + _bytes_of_sums(case, block)
    )


def _bytes_of_sums(case: Case, block: Block) -> float:
    """Running sums of summaries, for each lane; those of a cohort shared out."""
    cohort = block.part(0, int(cohorts.bounds(block.replicas)[1]))
    sums = Recorder(case, cohort, [Tile.empty(0, 1, 1, rows_of(block))]).snapshot()
    return sum(array.nbytes / (cohort.lanes if name.startswith("cohorts/") else 1) for name, array in sums.items())


def runs_of_lanes(block: Block, first_lane: int, lanes: int, most: int) -> list[tuple[int, int]]:
    """Cut lanes of a block, at the edges of cohorts, into runs of about equal length, of at most `most` lanes each.

    A cohort is never cut, however few `most` allows. Returns first lane and number of lanes of each.
    """
    replicas = block.replicas
    cut = cohorts.slice_of(replicas, first_lane, lanes)
    points, numbers = np.divmod(np.arange(cut.start, cut.stop + 1), cohorts.per_point(replicas))
    edges = points * replicas + cohorts.bounds(replicas)[numbers]
    count = min(len(edges) - 1, -(-lanes // max(1, most)))
    wanted = first_lane + np.arange(1, count) * lanes // count
    chosen = np.unique([first_lane, *edges[np.searchsorted(edges, wanted)], first_lane + lanes]).tolist()
    return [(a, b - a) for a, b in itertools.pairwise(chosen)]
