"""The engine of networks: tiles of replicas, each advanced by one compiled program; on a processor by threads.

Same device kind, versions, precision and tile width make the same bits, wherever a run is cut, whichever tile and place
in it a replica has, and in whatever process.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from thermosim.engines.engine import DeviceError, Take, Watch
from thermosim.engines.networks import cards, platform
from thermosim.engines.networks.memory import MOVES
from thermosim.engines.networks.normals import normals_of_steps
from thermosim.engines.networks.rows import rows_of_data
from thermosim.engines.networks.shapes import shapes_of
from thermosim.kernels.identity import identity_of, identity_of_modules
from thermosim.network import NotMeasured
from thermosim.plan.block import Block
from thermosim.streams import ROW_NOISE, THETA_NOISE

__all__ = ["NetworksEngine"]

_SHARE = 0.8  # of the memory of a card
_COLUMNS = 1024  # of scheduled hyper-parameters that a call takes along
_NOISE_BYTES = 64_000_000  # of the normals that it does
_MODULES = tuple(
    f"thermosim.engines.networks.{name}"
    for name in (
        "addresses",
        "books",
        "constraints",
        "engine",
        "memory",
        "normals",
        "probe",
        "program",
        "rows",
        "shapes",
        "updates",
    )
)


class NetworksEngine:
    """See `engines.engine.Engine`."""

    name = "networks"

    def __init__(self, device: str = "cpu") -> None:
        """On a device of this name: "cpu", "cuda" or "cuda:1"."""
        self.device = device

    def faults(self, block: Block) -> list[str]:
        """JAX or the device that is missing, a move that this engine has not, a loss that cannot be traced."""
        if found := platform.device_faults(self.device):
            return found
        if block.theta_dynamics not in MOVES:
            return [f"engine: networks move by {', '.join(MOVES)}, not {block.theta_dynamics!r}."]
        try:
            with platform.traced():
                try_out(block, self.device)
        except (NotMeasured, DeviceError) as error:
            return [str(error)]
        except Exception as error:  # whatever a user's functions, or the compiler, say
            line = " ".join(str(error).split())[:500]
            return [f"model: {block.model_name!r} cannot be compiled: {type(error).__name__}: {line}"]
        return []

    def fingerprint(self, block: Block) -> dict[str, str]:
        """Digests of the network and of what steps it, tile width, precision, device kind, versions."""
        of_model = identity_of(block.model.network, block.model.parameters, block.model.measures)
        return {
            "network": of_model.digest,
            "tile width": str(block.tile_width),
            "precision": block.precision,
        } | self.versions()

    def versions(self) -> dict[str, str]:
        """The part of a fingerprint that is the same for every block."""
        if platform.jax_faults():
            return {"jax": "not installed"}
        steps = {"steps of networks": identity_of_modules(*_MODULES, "thermosim.kernels.traced").digest}
        return steps | {"device": platform.kind_of(self.device)} | platform.versions()

    def lanes_taken(self, block: Block, lanes: int, threads: int) -> int:
        """Whole tiles."""
        return -(-lanes // block.tile_width) * block.tile_width

    def bytes_per_lane(self, block: Block) -> float:
        """Parameters, memory, gradients and the change, and some of what a minibatch makes of them."""
        shapes, size = shapes_of(block), 8 if block.precision == "float64" else 4
        rows = (block.batch or block.data_rows) * block.data.shape[1]
        return float(size * (4 * shapes.parameters + 2 * shapes.memory + 4 * rows) + 8 * shapes.path)

    def most_lanes(self, block: Block, sums: float = 0.0) -> int:
        """Whole tiles, one at least, that fit a card beside each other; the machine's memory has no limit here."""
        if self.device == "cpu" or (free := cards.cards_of(self.device)[0].free) == float("inf"):
            return sys.maxsize
        fitting = int(_SHARE * free / (self.bytes_per_lane(block) + sums))
        return max(1, fitting // block.tile_width) * block.tile_width

    def state_shapes(self, block: Block) -> dict[str, tuple[int, ...]]:
        """Theta, its memory and its ledger."""
        shapes = shapes_of(block)
        return {"theta": (shapes.parameters,), "memory": (shapes.memory,), "theta_path": (shapes.path,)}

    def open(
        self, block: Block, threads: int = 1, width: int | None = None, watch: Watch | None = None
    ) -> LanesOfNetworks:
        """Tiles as wide as the case says; `width` is nothing to them."""
        return LanesOfNetworks(block, self.device, threads)


@dataclass
class _Tile:
    lanes: slice
    state: dict[str, dict[str, Any]]
    given: dict[str, Any]
    first_replica: int
    hyper: np.ndarray  # (H, width)


class LanesOfNetworks:
    """See `engines.engine.Lanes`."""

    watches, most_frames = False, sys.maxsize
    shortest = 0.0

    def __init__(self, block: Block, device: str, threads: int) -> None:
        import jax

        self._block, self._step = block, 0
        self._place = platform.device_of(device)
        self._shapes, self._dtype = shapes_of(block), np.dtype(block.precision)
        # what is measured at the same steps is measured together: a program for each cadence, and no more
        together = {
            cadences: [n for n, own in block.measured.items() if own == cadences]
            for cadences in block.measured.values()
        }
        self._measured = {cadences: tuple(names) for cadences, names in together.items()}
        width = block.tile_width
        edges = range(0, block.lanes, width)
        self.pieces = tuple(slice(first, min(first + width, block.lanes)) for first in edges)
        with platform.traced():
            from thermosim.engines.networks.program import program_of

            self._program = program_of(block, device)
            data = jax.device_put(rows_of_data(block), self._place)
            self._tiles = [self._tile(piece, data) for piece in self.pieces]
        workers = min(threads, len(self._tiles)) if device == "cpu" else 1
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None

    def _tile(self, piece: slice, data: dict[str, Any]) -> _Tile:
        import jax

        block, width = self._block, self._block.tile_width
        places = np.minimum(np.arange(piece.start, piece.start + width), block.lanes - 1)
        lane: dict[str, Any] = {"replica": (block.first_replica + places).astype(np.uint64)}
        if block.first_rows.any():
            lane["first_row"] = block.first_rows[places].astype(np.int32)
        zeros = {name: np.zeros((*shape, width)) for name, shape in self._row_counts().items()}
        state = jax.device_put(self._shapes.state(zeros, self._dtype), self._place)
        given = {"lane": jax.device_put(lane, self._place), "data": data}
        return _Tile(piece, state, given, block.first_replica + piece.start, block.theta_hyper[:, places])

    def _row_counts(self) -> dict[str, tuple[int, ...]]:
        shapes = self._shapes
        return {"theta": (shapes.parameters,), "memory": (shapes.memory,), "theta_path": (shapes.path,)}

    def restore(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Take up a state made after `step`; what is missing of it is 0, as at the start."""
        import jax

        width = self._block.tile_width
        for tile in self._tiles:
            taken = {}
            for name, shape in self._row_counts().items():
                rows = np.zeros((*shape, width))
                if name in state:
                    rows[:, : tile.lanes.stop - tile.lanes.start] = state[name][:, tile.lanes]
                    rows[:, tile.lanes.stop - tile.lanes.start :] = state[name][
                        :, tile.lanes.stop - 1 : tile.lanes.stop
                    ]
                taken[name] = rows
            with platform.traced():
                tile.state = jax.device_put(self._shapes.state(taken, self._dtype), self._place)
        self._step = step

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the state of all lanes."""
        parts = [self._shapes.arrays(tile.state, tile.lanes.stop - tile.lanes.start) for tile in self._tiles]
        return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}

    def sums(self) -> dict[str, np.ndarray]:
        """None: frames are delivered."""
        return {}

    def restore_sums(self, sums: Mapping[str, np.ndarray], lost: np.ndarray) -> None:
        """There are none."""

    def quarantine(self, lanes: np.ndarray) -> None:
        """Make these lanes NaN."""
        width = self._block.tile_width
        for position in np.unique(lanes // width):
            tile, bad = self._tiles[position], np.zeros(width, bool)
            bad[lanes[lanes // width == position] - position * width] = True
            with platform.traced():
                tile.state = self._program.spoiled(tile.state, bad)

    def advance(self, stop: int, first: int, every: int, take: Take) -> None:
        """Go on to step `stop`; `take` is called in the thread that has just advanced a tile."""
        begin = self._step
        frames = list(range(first, stop + 1, every))

        def go(tile: _Tile) -> None:
            delivered = self._empty(len(frames), tile)
            at = begin
            with platform.traced():
                for number, frame in enumerate(frames):
                    self._run(tile, at, frame)
                    at = frame
                    self._copy(tile, frame, number, delivered)
                self._run(tile, at, stop)
                if self._tiles[-1] is tile:
                    _finished(tile.state)
            take(tile.lanes, delivered, None)

        try:
            for _ in self._pool.map(go, self._tiles) if self._pool is not None else map(go, self._tiles):
                pass
        except Exception as error:
            if type(error).__name__ not in ("XlaRuntimeError", "JaxRuntimeError"):
                raise
            raise DeviceError(self._said_of(error, begin, stop)) from error
        self._step = stop

    def trace_measures(self) -> None:
        """Call what is measured with nothing but shapes. Raises whatever it raises."""
        tile = self._tiles[0]
        for names in self._measured.values():
            self._program.measure.eval_shape(tile.state["theta"], tile.given, np.int64(0), names=names)

    def _said_of(self, error: Exception, begin: int, stop: int) -> str:
        kind, tile = str(self._place.device_kind), self._tiles[0]
        if not cards.is_exhausted(error):
            return f"{kind}: {str(error).splitlines()[0]}"

        width, told = self._block.tile_width, self._place.memory_stats() or {}
        advance: Any = self._program.advance

        def compiled() -> Any:
            zeros = {name: np.zeros((*shape, width)) for name, shape in self._row_counts().items()}
            of_steps = (self._hyper(tile, begin, stop, stop - begin), self._noise(tile, begin, stop, stop - begin))
            with platform.traced():
                state = self._shapes.state(zeros, self._dtype)
                return advance.lower(state, tile.given, *of_steps, np.int64(begin), np.int64(stop)).compile()

        return cards.said_of_exhausted(error, kind, width, compiled, _SHARE * float(told.get("bytes_limit", 0.0)))

    def _run(self, tile: _Tile, begin: int, stop: int) -> None:
        """Steps begin + 1 to stop, as many in a call as their noise and their schedules allow."""
        block, noisy = self._block, self._numbers_of_noise()
        most = stop - begin
        if block.timetable.theta_varies:
            most = _COLUMNS
        if noisy:
            most = max(1, min(_COLUMNS, _NOISE_BYTES // (8 * noisy * block.tile_width)))
        while begin < stop:
            end = min(stop, begin + most)
            tile.state = self._program.advance(
                tile.state,
                tile.given,
                self._hyper(tile, begin, end, most),
                self._noise(tile, begin, end, most),
                np.int64(begin),
                np.int64(end),
            )
            begin = end

    def _hyper(self, tile: _Tile, begin: int, end: int, most: int) -> np.ndarray:
        """(H, width, F): of as many steps as are ever asked for, so that one program does."""
        factor, _ = self._block.timetable.factors(begin + 1, end)
        values = tile.hyper[:, :, None] * factor[:, None, :]
        if self._block.timetable.theta_varies:
            values = np.pad(values, ((0, 0), (0, 0), (0, most - values.shape[2])), mode="edge")
        return values.astype(self._dtype)

    def _numbers_of_noise(self) -> int:
        block = self._block
        of_theta = block.parameters if block.theta.density else 0
        return of_theta + (block.batch or block.data_rows) * self._program.network.normals

    def _noise(self, tile: _Tile, begin: int, end: int, most: int) -> dict[str, np.ndarray]:
        """Normals (steps, width, K) of theta and of the rows of minibatches, where there are any."""
        block, found = self._block, {}
        steps = np.arange(begin + 1, end + 1)
        if block.turn:
            steps = np.where(steps > block.turn, 2 * block.turn + 1 - steps, steps)
        counts = {"theta": (THETA_NOISE, block.parameters if block.theta.density else 0)}
        counts["rows"] = (ROW_NOISE, (block.batch or block.data_rows) * self._program.network.normals)
        for name, (stream, count) in counts.items():
            if count:
                drawn = np.zeros((most, block.tile_width, count), self._dtype)
                drawn[: len(steps)] = normals_of_steps(
                    block.seed, stream, steps, tile.first_replica, count, block.tile_width
                )
                found[name] = drawn
        return found

    def _empty(self, frames: int, tile: _Tile) -> dict[str, np.ndarray]:
        lanes = tile.lanes.stop - tile.lanes.start
        return {name: np.zeros((frames, lanes, *self._block.shape(name))) for name in self._block.delivered}

    def _copy(self, tile: _Tile, step: int, number: int, delivered: dict[str, np.ndarray]) -> None:
        """Put a frame where it is wanted; what is measured is at its own steps, and 0 at others."""
        lanes = tile.lanes.stop - tile.lanes.start
        measured: dict[str, Any] = {}
        for cadences, names in self._measured.items():
            if any(step >= at and (step - at) % every == 0 for at, every in cadences):
                measured |= self._program.measure(tile.state["theta"], tile.given, np.int64(step), names=names)
        for name, frames in delivered.items():
            if name == "theta":
                groups = [np.asarray(tile.state["theta"][group])[:lanes] for group, _ in self._shapes.groups]
                frames[number] = np.concatenate([group.reshape(lanes, -1) for group in groups], axis=1)
            elif name in measured:
                frames[number] = np.asarray(measured[name])[:lanes].reshape(frames[number].shape)
            elif name not in self._block.measured:
                frames[number] = np.asarray(tile.state["path"][name])[:lanes]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def try_out(block: Block, device: str) -> None:
    """Compile the program of a block, by a step that makes nothing, and trace what is measured."""
    lanes = LanesOfNetworks(block, device, 1)
    lanes.advance(0, 1, 1, lambda *frames: None)
    lanes.trace_measures()
    lanes.close()


def _finished(state: Any) -> None:
    import jax

    jax.block_until_ready(state)
