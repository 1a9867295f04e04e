"""The engine of dense layers: replicas of a perceptron one at a time, many steps each, dealt to a pool of threads.

Same kind of processor, versions and precision make the same bits, wherever a run is cut and on whichever thread a
replica is.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from thermosim.engines.dense.given import ROWS, given_of, targets_of
from thermosim.engines.dense.layout import BOOKED, BOOKED_OF_LAYERS, MEASURED, MOVES
from thermosim.engines.engine import Take, Watch
from thermosim.engines.networks.platform import kind_of
from thermosim.engines.networks.rows import rows_of_data
from thermosim.engines.networks.shapes import shapes_of
from thermosim.kernels.compile import arithmetic_versions
from thermosim.kernels.identity import identity_of_modules
from thermosim.plan.block import Block

__all__ = ["DenseEngine"]

_COLUMNS = 4096  # of scheduled hyper-parameters that a call takes along
_MODULES = tuple(f"thermosim.engines.dense.{name}" for name in ("engine", "given", "kernel", "layout"))
_SHARED = tuple(f"thermosim.engines.networks.{name}" for name in ("memory", "rows", "shapes"))


class DenseEngine:
    """See `engines.engine.Engine`."""

    name = "dense"

    def faults(self, block: Block) -> list[str]:
        """A move or a measure that this engine has not; compiles what it has."""
        if block.theta_dynamics not in MOVES:
            told = f"engine.name = 'dense': moves by {', '.join(MOVES)}, not {block.theta_dynamics!r}"
            return [f"{told}; use 'networks' or 'lanes'."]
        if others := [name for name in block.measured if name not in MEASURED]:
            has = f"at frames 'dense' measures {', '.join(MEASURED)}"
            return [f"record: {', '.join(others)} are measured by engine.name = 'networks'; {has}."]
        if others := [name for name in dict.fromkeys(block.theta_rows) if name not in (*BOOKED, *BOOKED_OF_LAYERS)]:
            return [f"record: {', '.join(others)} are booked by engine.name = 'networks'; use it, or remove them."]
        _kernels(block)
        return []

    def fingerprint(self, block: Block) -> dict[str, str]:
        """Precision, and what is the same for every block."""
        return {"precision": block.precision} | self.versions()

    def versions(self) -> dict[str, str]:
        """Digests of the steps, the kind of processor, and versions of what compiles them."""
        import llvmlite
        import numba

        compilers = {"numba": numba.__version__, "llvmlite": llvmlite.__version__}
        steps = {"steps of dense layers": identity_of_modules(*_MODULES, *_SHARED).digest}
        return steps | {"device": kind_of("cpu")} | compilers | arithmetic_versions()

    def lanes_taken(self, block: Block, lanes: int, threads: int) -> int:
        """No more than are asked for."""
        return lanes

    def bytes_per_lane(self, block: Block) -> float:
        """Parameters and memory."""
        shapes, size = shapes_of(block), np.dtype(block.precision).itemsize
        return float(size * (shapes.parameters + shapes.memory) + 8 * shapes.path)

    def most_lanes(self, block: Block, sums: float = 0.0) -> int:
        """There is no limit: the memory is that of the host."""
        return sys.maxsize

    def state_shapes(self, block: Block) -> dict[str, tuple[int, ...]]:
        """Theta, its memory and its ledger."""
        shapes = shapes_of(block)
        return {"theta": (shapes.parameters,), "memory": (shapes.memory,), "theta_path": (shapes.path,)}

    def open(self, block: Block, threads: int = 1, width: int | None = None, watch: Watch | None = None) -> DenseLanes:
        """Replicas in as many pieces as keep the threads busy."""
        return DenseLanes(block, threads)


def _kernels(block: Block) -> tuple[Any, Any]:
    """The compiled steps of a block, and what judges its frames, if anything does."""
    from thermosim.engines.dense.kernel import compiled, judge, steps  # the compiler comes with it

    return compiled(steps, block.precision), compiled(judge, block.precision) if block.measured else None


class DenseLanes:
    """See `engines.engine.Lanes`."""

    watches, most_frames = False, sys.maxsize
    shortest = 0.0

    def __init__(self, block: Block, threads: int) -> None:
        self._block, self._step, self._shapes = block, 0, shapes_of(block)
        self._dtype = np.dtype(block.precision)
        self._steps, self._judged = _kernels(block)
        self._data = rows_of_data(block)
        self._x, self._aims = self._data["x"], targets_of(self._data)
        lanes, shapes = block.lanes, self._shapes
        self._theta = np.zeros((lanes, shapes.parameters), self._dtype)
        self._memory = np.zeros((lanes, len(shapes.of_groups), shapes.parameters), self._dtype)
        self._shares = np.zeros((lanes, 2), self._dtype)
        self._single = np.zeros((lanes, len(BOOKED)))
        self._of_layers = np.zeros((lanes, len(BOOKED_OF_LAYERS), len(shapes.groups)))
        self._given = given_of(block, block.batch or block.data_rows)
        pieces = min(lanes, 4 * threads)
        edges = [lanes * number // pieces for number in range(pieces + 1)]
        self.pieces = tuple(slice(a, b) for a, b in itertools.pairwise(edges))
        self._pool = ThreadPoolExecutor(threads) if threads > 1 and pieces > 1 else None

    def restore(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Take up a state made after `step`; what is missing of it is 0, as at the start."""
        shapes, lanes = self._shapes, self._block.lanes
        self._theta[:] = state["theta"].T
        memory = state.get("memory", np.zeros((shapes.memory, lanes)))
        whole = len(shapes.of_groups) * shapes.parameters
        self._memory[:] = memory[:whole].T.reshape(self._memory.shape)
        self._shares[:, : len(shapes.numbers)] = memory[whole:].T
        path, row = state.get("theta_path", np.zeros((shapes.path, lanes))), 0
        for name, shape in shapes.rows:
            count = int(np.prod(shape))
            self._booked(name)[:] = path[row : row + count].T.reshape(lanes, *shape)
            row += count
        self._step = step

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the state of all lanes."""
        shapes, lanes = self._shapes, self._block.lanes
        memory = [self._memory.reshape(lanes, -1), self._shares[:, : len(shapes.numbers)]]
        path = [self._booked(name).reshape(lanes, -1) for name, _ in shapes.rows] or [np.zeros((lanes, 0))]
        found = {"theta": self._theta, "memory": np.concatenate(memory, 1), "theta_path": np.concatenate(path, 1)}
        return {name: np.array(values.T, float, order="C") for name, values in found.items()}

    def _booked(self, name: str) -> np.ndarray:
        """The row of the ledger, of all lanes: a view."""
        if name in BOOKED:
            return self._single[:, BOOKED.index(name)]
        return self._of_layers[:, BOOKED_OF_LAYERS.index(name)]

    def sums(self) -> dict[str, np.ndarray]:
        """None: frames are delivered."""
        return {}

    def restore_sums(self, sums: Mapping[str, np.ndarray], lost: np.ndarray) -> None:
        """There are none."""

    def quarantine(self, lanes: np.ndarray) -> None:
        """Make these lanes NaN."""
        for array in (self._theta, self._memory, self._shares, self._single, self._of_layers):
            array[lanes] = np.nan

    def advance(self, stop: int, first: int, every: int, take: Take) -> None:
        """Go on to step `stop`, replica by replica; `take` is called in the thread that has just advanced a piece."""
        begin, frames = self._step, list(range(first, stop + 1, every))

        def go(piece: slice) -> None:
            lanes, delivered = piece.stop - piece.start, {}
            for name in self._block.delivered:
                delivered[name] = np.zeros((len(frames), lanes, *self._block.shape(name)))
            buffers = self._given.buffers()
            for place, lane in enumerate(range(piece.start, piece.stop)):
                at = begin
                for number, frame in enumerate(frames):
                    self._run(lane, at, frame, buffers)
                    self._copy(lane, frame, number, place, delivered)
                    at = frame
                self._run(lane, at, stop, buffers)
            take(piece, delivered, None)

        for _ in self._pool.map(go, self.pieces) if self._pool is not None else map(go, self.pieces):
            pass
        self._step = stop

    def _run(self, lane: int, begin: int, stop: int, buffers: np.ndarray) -> None:
        """Steps begin + 1 to stop of one replica."""
        block, given = self._block, self._given
        while begin < stop:
            end = min(stop, begin + _COLUMNS)
            drawn = np.arange(begin + 1, end + 1)
            if block.turn:
                drawn = np.where(drawn > block.turn, 2 * block.turn + 1 - drawn, drawn)
            factor, _ = block.timetable.factors(begin + 1, end)
            hyper = np.ascontiguousarray((block.theta_hyper[:, lane : lane + 1] * factor).T, self._dtype)
            self._steps(
                *(block.seed, block.first_replica + lane, drawn, self._x, *self._aims),
                *(int(block.first_rows[lane]), block.data_rows, block.batch, given.shapes, given.bias),
                *(given.activation, given.loss, given.move, hyper, given.rates, self._theta[lane]),
                *(self._memory[lane], self._shares[lane], self._single[lane], self._of_layers[lane]),
                *(buffers, given.places),
            )
            begin = end

    def _copy(self, lane: int, step: int, number: int, place: int, delivered: dict[str, np.ndarray]) -> None:
        block, judged = self._block, dict[str, np.ndarray]()
        for name, frames in delivered.items():
            if name == "theta":
                frames[number, place] = self._theta[lane]
            elif name in block.measured:
                if any(step >= first and (step - first) % every == 0 for first, every in block.measured[name]):
                    prefix = "test_" if name.startswith("test_") else ""
                    if prefix not in judged:
                        judged[prefix] = self._judge(lane, prefix)
                    frames[number, place] = judged[prefix][MEASURED[name]]
            else:
                frames[number, place] = self._booked(name)[lane]

    def _judge(self, lane: int, prefix: str) -> np.ndarray:
        """The loss, and the share of rows whose class is predicted, of all rows of a replica's set or of its test."""
        block, result = self._block, np.zeros(2)
        given, x = given_of(block, ROWS), self._data[f"{prefix}x"]
        first, count = (0, len(x)) if prefix else (int(block.first_rows[lane]), block.data_rows)
        self._judged(
            *(x, *targets_of(self._data, prefix), first, count, ROWS, given.shapes, given.bias, given.activation),
            *(given.loss, self._theta[lane], given.buffers(), given.places, result),
        )
        return result

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
