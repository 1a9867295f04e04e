"""The engine of lanes: tiles of replicas, advanced by compiled kernels that hold no lock, on a pool of threads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from thermosim.engines.engine import Take, Watch
from thermosim.engines.lanes.fingerprint import engine_versions, fingerprint
from thermosim.engines.lanes.frames import FRAMES, Delivery, FrameShapes
from thermosim.engines.lanes.link import addresses_of, booking
from thermosim.engines.lanes.tiles import STATE, Tile, of_tile, rows_of_lane, shapes_of_tile, tile_width
from thermosim.kernels.advance import advance
from thermosim.kernels.compile import compiled
from thermosim.kernels.signatures import argument_names, signature_of
from thermosim.plan.block import Block, rows_of_block

__all__ = ["LanesEngine"]

_CALL_SECONDS = 0.001  # of one kernel: Python takes a twentieth of that to call it
_TASKS_PER_THREAD = 4  # among which the tiles are dealt


class LanesEngine:
    """See `engines.engine.Engine`."""

    name = "lanes"

    def faults(self, block: Block) -> list[str]:
        """A function of the model that does not compile; everything that does is in the cache from now on."""
        from numba.core.errors import NumbaError  # with the compiler, not before

        try:
            addresses_of(block)
        except NumbaError as error:
            line = " ".join(str(error).strip().splitlines()[:6])[:600]
            return [f"model: a function of {block.model_name!r} cannot be compiled: {line}"]
        return []

    def fingerprint(self, block: Block) -> dict[str, str]:
        """Digests of the code of its kernels, and versions of what compiles them."""
        return fingerprint(block)

    def versions(self) -> dict[str, str]:
        """The part of a fingerprint that is the same for every block."""
        return engine_versions()

    def lanes_taken(self, block: Block, lanes: int, threads: int) -> int:
        """Whole tiles."""
        width = tile_width(lanes, rows_of_lane(block), threads)
        return -(-lanes // width) * width

    def bytes_per_lane(self, block: Block) -> float:
        """State and work space, and what a tile copies of the block."""
        return 8.0 * (rows_of_lane(block) + rows_of_block(block))

    def most_lanes(self, block: Block, sums: float = 0.0) -> int:
        """There is no limit: the memory is that of the host."""
        return sys.maxsize

    def state_shapes(self, block: Block) -> dict[str, tuple[int, ...]]:
        """Theta, memory, x, and the ledgers of both."""
        return {name: shape for name, shape in shapes_of_tile(block).items() if name in STATE}

    def open(
        self, block: Block, threads: int = 1, width: int | None = None, watch: Watch | None = None
    ) -> LanesOfTiles:
        """Tiles of `width` lanes, by default as wide as the cache allows."""
        return LanesOfTiles(block, threads, width or tile_width(block.lanes, rows_of_lane(block), threads))


class LanesOfTiles:
    """See `engines.engine.Lanes`. The results do not depend on the width of the tiles or on the threads."""

    watches, most_frames = False, sys.maxsize

    def __init__(self, block: Block, threads: int, width: int) -> None:
        self._block, self._step = block, 0
        shapes = shapes_of_tile(block)
        self._tiles = [Tile.empty(block, first, width, shapes) for first in range(0, block.lanes, width)]
        self.pieces = tuple(tile.lanes for tile in self._tiles)
        self.shortest = _CALL_SECONDS * len(self._tiles) / threads
        self._kernel, names = compiled(advance, signature_of(advance)), argument_names(advance)
        self._place = {name: place for place, name in enumerate(names)}
        made_once = self._made_once()
        self._given = [self._of_tile(tile, made_once) for tile in self._tiles]
        self._delivery, self._frame_shapes = Delivery(block), FrameShapes(block)
        self._buffers: dict[int, dict[str, np.ndarray]] = {}
        tasks = min(len(self._tiles), _TASKS_PER_THREAD * threads)
        self._deals = [range(first, len(self._tiles), tasks) for first in range(tasks)]
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def _made_once(self) -> dict[str, object]:
        """Arguments of the kernel that are the same in every call and every tile."""
        block, addresses = self._block, addresses_of(self._block)
        return {
            "seed": block.seed,
            "turn": block.turn,
            "tau": block.tau,
            "row_count": block.data_rows,
            "theta_moves": not block.theta.rests,
            "x_first": block.reversed,
            "restarts": block.restarts,
            "shared": block.shared,
            "data": block.data,
            "booking": bool(booking(block)),
            **addresses,
        }

    def _of_tile(self, tile: Tile, made_once: Mapping[str, object]) -> list[object]:
        """Arguments of the kernel for a tile, in order; None where they are those of a call."""
        known = {**made_once, **tile.arrays, "first_replica": self._block.first_replica + tile.first}
        return [known.get(name) for name in self._place]

    def restore(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Take up a state made after `step`; what is missing of it is 0, as at the start."""
        for tile in self._tiles:
            for name in STATE:
                tile.arrays[name][:] = of_tile(state[name], tile) if name in state else 0.0
        self._step = step

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the state of all lanes: theta, memory, x, and the ledgers of both."""
        return {
            name: np.concatenate([tile.arrays[name][..., : tile.used] for tile in self._tiles], axis=-1)
            for name in STATE
        }

    def sums(self) -> dict[str, np.ndarray]:
        """None: frames are delivered."""
        return {}

    def restore_sums(self, sums: Mapping[str, np.ndarray], lost: np.ndarray) -> None:
        """There are none."""

    def quarantine(self, lanes: np.ndarray) -> None:
        """Make these lanes NaN."""
        width = self._tiles[0].width
        for position in np.unique(lanes // width):
            self._tiles[position].quarantine(lanes[lanes // width == position] - position * width)

    def advance(self, stop: int, first: int, every: int, take: Take) -> None:
        """Go on to step `stop`; `take` is called in the thread that has just advanced a tile."""
        start, block = self._step, self._block
        frames = max(0, (stop - first) // every + 1)
        theta_factor, x_factor = block.timetable.factors(start + 1, max(stop, start + 1))
        theta_table, x_table = block.timetable.tables(start + 1, max(stop, start + 1))
        of_call: dict[str, object] = {
            "first_step": start,
            "steps": stop - start,
            "first_frame": first,
            "every": every,
            "theta_factor": theta_factor,
            "x_factor": x_factor,
            "theta_table": theta_table,
            "x_table": x_table,
        }

        def run_deal(positions: range) -> None:
            for position in positions:
                tile, given = self._tiles[position], self._given[position]
                buffers = self._frames_of(position, frames)
                for name, value in of_call.items():
                    given[self._place[name]] = value
                for name in FRAMES:
                    given[self._place[f"frame_{name}"]] = buffers[name]
                self._kernel(*given)
                take(tile.lanes, self._delivery.of(buffers, slice(tile.used)), None)

        for _ in self._each(run_deal, self._deals):
            pass
        self._step = stop

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _each(self, work: Callable[[range], None], deals: Iterable[range]) -> Iterable[None]:
        return self._pool.map(work, deals) if self._pool is not None else map(work, deals)

    def _frames_of(self, position: int, frames: int) -> dict[str, np.ndarray]:
        """Frame buffers of one tile, as the kernel takes them; none for what is not delivered."""
        held = self._buffers.get(position)
        if held is None or max(len(buffer) for buffer in held.values()) < frames:
            shapes = self._frame_shapes.of(frames, self._tiles[position].width)
            held = {name: np.empty(shape) for name, shape in shapes.items()}
            self._buffers[position] = held
        return {name: buffer[:frames] for name, buffer in held.items()}
