"""The lanes of a block, cut into tiles: their state, hyper-parameters, and the guard that quarantines what diverges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from thermosim.kernels.tiles import Tile, aligned_zeros, tile_width
from thermosim.plan import Block

__all__ = ["BlockState"]

_MEMORY_ROWS = 0  # of a move of theta that remembers, such as momentum


@dataclass
class BlockState:
    """Everything that changes while a block runs, and what each tile needs of what does not."""

    step: int
    tiles: list[Tile]
    constants: list[np.ndarray]  # per tile (C, L)
    theta_hyper: list[np.ndarray]
    x_hyper: list[np.ndarray]
    shared: np.ndarray
    status: np.ndarray  # (lanes,) 0 fine, else 1 + the number of the first variable that was not finite
    diverged_step: np.ndarray  # (lanes,)
    recorded: int = -1  # the last step whose frame, if it is due, has been taken: -1 before that of step 0

    @classmethod
    def at_start(cls, block: Block, threads: int, width: int | None = None) -> BlockState:
        """The state at step 0."""
        lanes, m, n, samples = block.lanes, block.parameters, block.components, block.samples
        width = width or tile_width(lanes, m, n * samples, threads)
        constants, (theta_hyper, x_hyper) = block.model_constants(), block.hyper()
        tiles = [
            Tile.empty(
                first, width, min(width, lanes - first), parameters=m, memory=_MEMORY_ROWS, samples=samples,
                components=n, theta_hyper=len(theta_hyper), x_hyper=len(x_hyper),
            )
            for first in range(0, lanes, width)
        ]  # fmt: skip
        state = cls(
            0,
            tiles,
            [_of_tile(constants, tile) for tile in tiles],
            [_of_tile(theta_hyper, tile) for tile in tiles],
            [_of_tile(x_hyper, tile) for tile in tiles],
            block.shared(),
            np.zeros(lanes, np.int8),
            np.full(lanes, -1, np.int64),
        )
        theta = block.initial_theta()
        x = block.initial_x(theta)
        for tile in tiles:
            tile.theta[:] = _of_tile(theta, tile)
            tile.x[:] = _of_tile(x, tile)
        return state

    def snapshot(self) -> dict[str, np.ndarray]:
        """A copy of the state of all lanes: what going on from here takes."""
        names = ("theta", "memory", "x", "theta_path", "x_path")
        arrays = {
            name: np.concatenate([getattr(tile, name)[..., : tile.used] for tile in self.tiles], axis=-1)
            for name in names
        }
        return arrays | {"status": self.status.copy(), "diverged_step": self.diverged_step.copy()}

    def restore(self, snapshot: Mapping[str, np.ndarray], step: int) -> None:
        """Take up a snapshot made after `step`."""
        for tile in self.tiles:
            for name in ("theta", "memory", "x", "theta_path", "x_path"):
                getattr(tile, name)[:] = _of_tile(snapshot[name], tile)
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
            if buffer.shape[0] == 0 or np.isfinite(buffer.sum()):
                continue
            finite = np.isfinite(buffer[: len(steps)]).reshape(len(steps), -1, tile.width).all(axis=1)[:, : tile.used]
            first = np.where(finite.all(axis=0), len(steps), np.argmin(finite, axis=0))
            code[first < bad] = number
            bad = np.minimum(bad, first)
        new = (bad < len(steps)) & (self.status[lanes] == 0)
        self.diverged_step[lanes][new] = steps[bad[new]]
        self.status[lanes][new] = code[new]
        quarantined = np.flatnonzero(bad < len(steps))
        for array in (tile.theta, tile.x, tile.theta_path, tile.x_path):
            array[..., quarantined] = np.nan
        return bad


def _of_tile(array: np.ndarray, tile: Tile) -> np.ndarray:
    """The columns of a tile, the last one repeated in lanes past the end."""
    lanes = np.minimum(np.arange(tile.first, tile.first + tile.width), array.shape[-1] - 1)
    part = aligned_zeros((*array.shape[:-1], tile.width))
    part[:] = array[..., lanes]
    return part
