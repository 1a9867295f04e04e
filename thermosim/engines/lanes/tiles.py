"""The lanes of a block, cut into tiles: their memory, and the guard that quarantines what diverges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from thermosim.engines.lanes.link import needs_of
from thermosim.kernels.aligned import aligned_zeros
from thermosim.ledger import THETA_ROWS, X_ROWS
from thermosim.plan.block import Block
from thermosim.plan.starts import initial_state

__all__ = ["BlockState", "Rows", "Tile", "lanes_of_tile", "of_tile", "rows_of", "tile_width"]

LANES = 32  # widths are multiples of four vector registers, so that no loop has a remainder
_STATE_BYTES = 400_000  # of a tile: it should stay in the second-level cache
_WIDEST = 1024


def tile_width(lanes: int, rows: int, threads: int) -> int:
    """Lanes per tile for a run of `lanes` replicas: as wide as the cache allows, and work for every thread.

    `rows` are the numbers that one lane's state and work space take. The results do not depend on the width.
    """
    fitting = max(_STATE_BYTES // (8 * rows), LANES)
    width = min(lanes / threads, fitting, _WIDEST)
    tiles = threads * math.ceil(lanes / (width * threads))
    return LANES * math.ceil(lanes / tiles / LANES)


@dataclass(frozen=True)
class Rows:
    """Numbers of each kind that one lane takes."""

    parameters: int
    derived: int
    memory: int
    samples: int
    components: int
    theta_hyper: int
    x_hyper: int
    theta_normals: int
    gradient: int
    after: int
    row: int
    normals: int  # of one chain
    uniforms: int
    force: int
    scratch: int

    @property
    def total(self) -> int:
        """All of them together."""
        chain = 3 * self.components + 2 * self.normals + self.uniforms + 2 * self.force + X_ROWS + 1
        theta = self.parameters + self.derived + self.memory + 2 * self.theta_normals + self.gradient + self.after
        return theta + self.row + self.scratch + self.samples * chain + THETA_ROWS + 8


@dataclass
class Tile:
    """Lanes first to first + width - 1 of a block; those past the end are computed and thrown away."""

    first: int
    width: int
    used: int
    theta: np.ndarray  # (m, L)
    memory: np.ndarray  # (M, L)
    x: np.ndarray  # (S, n, L)
    theta_path: np.ndarray  # (Q, L)
    x_path: np.ndarray  # (S, P, L)
    scratch: tuple[np.ndarray, ...]

    @classmethod
    def empty(cls, first: int, width: int, used: int, size: Rows) -> Tile:
        """A tile of zeros."""

        def rows(*shape: int) -> np.ndarray:
            return aligned_zeros((*shape, width))

        scratch = (
            rows(2, size.theta_normals),
            rows(size.gradient),
            rows(size.after),
            rows(),  # loss
            rows(size.row),
            rows(size.theta_hyper),  # theta_hyper_now
            rows(size.x_hyper),  # x_hyper_now
            rows(max(2 * size.x_hyper - 1, 0)),  # langevin
            rows(4),  # work
            rows(2, size.samples * size.normals),  # x_normal
            rows(size.samples * size.uniforms),  # uniform
            rows(2, size.samples, size.components),  # states
            rows(2, size.samples, size.force),  # forces
            rows(size.samples),  # phi
            rows(size.derived),
            rows(size.scratch),
        )
        return cls(
            first,
            width,
            used,
            theta=rows(size.parameters),
            memory=rows(size.memory),
            x=rows(size.samples, size.components),
            theta_path=rows(THETA_ROWS),
            x_path=rows(size.samples, X_ROWS),
            scratch=scratch,
        )


def rows_of(block: Block) -> Rows:
    """What one lane of a block takes."""
    return Rows(
        parameters=block.parameters,
        derived=block.derived,
        samples=block.samples,
        components=block.components,
        theta_hyper=len(block.theta_rows),
        x_hyper=len(block.x_rows),
        **asdict(needs_of(block)),
    )


@dataclass
class BlockState:
    """Everything that changes while a block runs, and what each tile needs of what does not."""

    step: int
    tiles: list[Tile]
    constants: list[np.ndarray]  # per tile (C, L)
    theta_hyper: list[np.ndarray]
    x_hyper: list[np.ndarray]
    first_rows: list[np.ndarray]  # where each lane's data set begins
    shared: np.ndarray
    data: np.ndarray  # (rows of all sets, n)
    status: np.ndarray  # (lanes,) 0 fine, else 1 + the number of the first variable that was not finite
    diverged_step: np.ndarray  # (lanes,)
    recorded: int = -1  # the last step whose frame, if it is due, has been taken: -1 before that of step 0

    @classmethod
    def empty(cls, block: Block, threads: int, width: int | None = None) -> BlockState:
        """Everything but the state itself."""
        lanes, size = block.lanes, rows_of(block)
        width = width or tile_width(lanes, size.total, threads)
        constants, (theta_hyper, x_hyper), first_rows = block.model_constants(), block.hyper(), block.first_rows()
        tiles = [Tile.empty(first, width, min(width, lanes - first), size) for first in range(0, lanes, width)]
        return cls(
            0,
            tiles,
            [of_tile(constants, tile) for tile in tiles],
            [of_tile(theta_hyper, tile) for tile in tiles],
            [of_tile(x_hyper, tile) for tile in tiles],
            [first_rows[lanes_of_tile(tile, lanes)] for tile in tiles],
            block.shared(),
            np.ascontiguousarray(block.data.values) if block.data is not None else np.zeros((1, 0)),
            np.zeros(lanes, np.int8),
            np.full(lanes, -1, np.int64),
        )

    @classmethod
    def at_start(cls, block: Block, threads: int, width: int | None = None) -> BlockState:
        """The state at step 0."""
        state = cls.empty(block, threads, width)
        theta, x = initial_state(block)
        for tile in state.tiles:
            tile.theta[:] = of_tile(theta, tile)
            tile.x[:] = of_tile(x, tile)
        return state

    def snapshot(self) -> dict[str, np.ndarray]:
        """A copy of the state of all lanes: what going on from here takes."""
        names = ("theta", "memory", "x", "theta_path", "x_path")
        arrays = {
            name: np.concatenate([getattr(tile, name)[..., : tile.used] for tile in self.tiles], axis=-1)
            for name in names
        }
        for array in arrays.values():  # a move may write into quarantined lanes until the guard comes by
            array[..., self.status != 0] = np.nan
        return arrays | {"status": self.status.copy(), "diverged_step": self.diverged_step.copy()}

    def restore(self, snapshot: Mapping[str, np.ndarray], step: int) -> None:
        """Take up a snapshot made after `step`."""
        for tile in self.tiles:
            for name in ("theta", "memory", "x", "theta_path", "x_path"):
                getattr(tile, name)[:] = of_tile(snapshot[name], tile)
        self.status[:] = snapshot["status"]
        self.diverged_step[:] = snapshot["diverged_step"]
        self.step = self.recorded = step

    def guard(self, position: int, buffers: tuple[np.ndarray, ...], steps: np.ndarray) -> np.ndarray:
        """Quarantine lanes of a tile with a value that is not finite in one of the frames at `steps`.

        Returns the first bad frame of each lane of the tile, len(steps) where there is none.
        """
        tile = self.tiles[position]
        lanes = slice(tile.first, tile.first + tile.used)
        bad = np.full(tile.used, len(steps))
        bad[self.status[lanes] != 0] = 0
        code = np.zeros(tile.used, np.int8)
        for number, buffer in enumerate(buffers, 1):
            with np.errstate(all="ignore"):
                sound = buffer.shape[0] == 0 or np.isfinite(buffer.sum())
            if sound:
                continue
            finite = np.isfinite(buffer[: len(steps)]).reshape(len(steps), -1, tile.width).all(axis=1)[:, : tile.used]
            first = np.where(finite.all(axis=0), len(steps), np.argmin(finite, axis=0))
            code[first < bad] = number
            bad = np.minimum(bad, first)
        new = (bad < len(steps)) & (self.status[lanes] == 0)
        self.diverged_step[lanes][new] = steps[bad[new]]
        self.status[lanes][new] = code[new]
        quarantined = np.flatnonzero(bad < len(steps))
        for array in (tile.theta, tile.memory, tile.x, tile.theta_path, tile.x_path):
            array[..., quarantined] = np.nan
        return bad


def lanes_of_tile(tile: Tile, lanes: int) -> np.ndarray:
    """The lanes of a tile, the last one repeated past the end."""
    return np.minimum(np.arange(tile.first, tile.first + tile.width), lanes - 1)


def of_tile(array: np.ndarray, tile: Tile) -> np.ndarray:
    """The columns of a tile, the last one repeated in lanes past the end."""
    part = aligned_zeros((*array.shape[:-1], tile.width))
    part[:] = array[..., lanes_of_tile(tile, array.shape[-1])]
    return part
