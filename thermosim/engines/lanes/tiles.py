"""The memory of one tile: the state of its lanes and the work space of the step loop, named as the loop's arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from thermosim.engines.lanes.link import booking, work_rows
from thermosim.kernels.aligned import aligned_together
from thermosim.plan.block import Block

__all__ = ["STATE", "Tile", "lanes_of_tile", "of_tile", "rows_of_lane", "shapes_of_tile", "tile_width"]

LANES = 32  # widths are multiples of four vector registers, so that no loop has a remainder
_STATE_BYTES = 400_000  # of a tile: it should stay in the second-level cache
_WIDEST = 992  # rows of whole pages, as 1024 lanes have, take the same places in a cache
_FEW_ROWS, _NARROW = 24, 320  # so few rows, half of which a step touches, stay in the first-level cache

STATE = ("theta", "memory", "x", "theta_path", "x_path")  # what stays from step to step


def shapes_of_tile(block: Block) -> dict[str, tuple[int, ...]]:
    """Shapes without the lane axis of every array that a tile owns. A ledger without rows has one that nobody reads."""
    rows, samples, n = work_rows(block), block.samples, block.components
    theta_hyper, x_hyper = len(block.theta_hyper), len(block.x_hyper)
    return {
        "theta": (block.parameters,),
        "memory": (rows.memory,),
        "x": (samples, n),
        "theta_path": (max(1, len(block.theta_rows)),),
        "x_path": (samples, max(1, len(block.x_rows))),
        "theta_normal": (2, rows.theta_normals),
        "theta_uniform": (rows.theta_uniforms,),
        "gradient": (rows.gradient,),
        "after": (rows.after,),
        "loss": (),
        "row": (rows.row,),
        "theta_hyper_now": (theta_hyper,),
        "x_hyper_now": (x_hyper,),
        "langevin": (x_hyper + block.temperatures if x_hyper else 0,),
        "work": (4,),
        "x_normal": (2, samples * rows.normals),
        "uniform": (samples * rows.uniforms,),
        "states": (2, samples, n),
        "forces": (2, samples, rows.force),
        "phi": (samples,),
        "derived": (block.derived,),
        "model_scratch": (rows.scratch,),
        "before": (block.parameters if booking(block) else 0,),
    }


def rows_of_lane(block: Block, names: tuple[str, ...] = ()) -> int:
    """Numbers that one lane takes in the arrays of these names, by default all."""
    shapes = shapes_of_tile(block)
    return sum(math.prod(shapes[name]) for name in names or shapes)


def tile_width(lanes: int, rows: int, threads: int) -> int:
    """Lanes per tile for a run of `lanes` replicas: as wide as the cache allows, and work for every thread.

    `rows` are the numbers that one lane's state and work space take. The results do not depend on the width.
    """
    fitting = max(_STATE_BYTES // (8 * rows), LANES)
    width = min(lanes / threads, fitting, _NARROW if rows <= _FEW_ROWS else _WIDEST)
    tiles = threads * math.ceil(lanes / (width * threads))
    return LANES * math.ceil(lanes / tiles / LANES)


@dataclass
class Tile:
    """Lanes first to first + width - 1 of a block; those past the end are computed and thrown away."""

    first: int
    width: int
    used: int
    arrays: dict[str, np.ndarray]  # state, work space, and what the lanes do not change

    @classmethod
    def empty(cls, block: Block, first: int, width: int, shapes: Mapping[str, tuple[int, ...]]) -> Tile:
        """A tile whose state is zeros, narrower than `width` where fewer lanes are left; of the block's shapes."""
        width = min(width, LANES * math.ceil((block.lanes - first) / LANES))
        given = {name: getattr(block, name) for name in ("constants", "theta_hyper", "x_hyper")}
        every = {**shapes, **{name: array.shape[:-1] for name, array in given.items()}}
        arrays = aligned_together({name: (*shape, width) for name, shape in every.items()})
        tile = cls(first, width, min(width, block.lanes - first), arrays)
        for name, array in given.items():
            arrays[name][:] = of_tile(array, tile)
        tile.arrays["first_row"] = block.first_rows[lanes_of_tile(tile, block.lanes)]
        return tile

    @property
    def lanes(self) -> slice:
        """Its lanes in the block."""
        return slice(self.first, self.first + self.used)

    def quarantine(self, lanes: np.ndarray) -> None:
        """NaN in lanes counted from the tile's first."""
        for name in STATE:
            self.arrays[name][..., lanes] = np.nan


def lanes_of_tile(tile: Tile, lanes: int) -> np.ndarray:
    """The lanes of a tile, the last one repeated past the end."""
    return np.minimum(np.arange(tile.first, tile.first + tile.width), lanes - 1)


def of_tile(array: np.ndarray, tile: Tile) -> np.ndarray:
    """The columns of a tile, the last one repeated in lanes past the end."""
    own = array[..., tile.lanes]
    if tile.used == tile.width:
        return own
    return np.concatenate([own, np.repeat(own[..., -1:], tile.width - tile.used, axis=-1)], axis=-1)
