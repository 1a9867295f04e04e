"""Frames as kernels copy them, lanes last, and as they are delivered: named variables, lanes behind the frames."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from thermosim.engines.lanes.link import rows_of_theta
from thermosim.engines.lanes.tiles import shapes_of_tile
from thermosim.plan.block import Block

__all__ = ["FRAMES", "Delivery", "FrameShapes", "arrays_of"]

FRAMES = ("theta", "x", "phi", "theta_path", "x_path")  # arrays that the kernel copies frames of


class FrameShapes:
    """Shapes of the arrays that frames of a block are copied to; of what is not delivered there are none."""

    def __init__(self, block: Block) -> None:
        self._shapes, delivered = shapes_of_tile(block), block.delivered
        self._kept = {name: name in delivered for name in ("theta", "x", "phi")}
        self._kept |= {"theta_path": bool(block.theta_rows), "x_path": bool(block.x_rows)}

    def of(self, frames: int, lanes: int) -> dict[str, tuple[int, ...]]:
        """For so many frames of so many lanes."""
        return {name: (frames if self._kept[name] else 0, *self._shapes[name], lanes) for name in FRAMES}


def arrays_of(block: Block, names: Collection[str]) -> tuple[str, ...]:
    """The arrays that hold the frames of these variables."""
    paths = {"theta_path": set(block.theta_rows), "x_path": set(block.x_rows)}
    return tuple(name for name in FRAMES if name in names or paths.get(name, set()) & set(names))


class Delivery:
    """Named variables of the frames of a block: all that it delivers, or those of some `names`."""

    def __init__(self, block: Block, names: Collection[str] | None = None) -> None:
        wanted = set(block.delivered if names is None else names)
        self._whole = [name for name in ("theta", "x", "phi") if name in wanted and name in block.delivered]
        self._of_theta = {name: rows for name, rows in rows_of_theta(block).items() if name in wanted}
        self._of_x = {name: row for row, name in enumerate(block.x_rows) if name in wanted}

    def of(self, arrays: Mapping[str, np.ndarray], lanes: slice) -> dict[str, np.ndarray]:
        """{variable: (frames, lanes, *shape)} of these lanes: views of what the kernel copied."""
        found: dict[str, np.ndarray] = {name: arrays[name] for name in self._whole}
        found |= {name: arrays["theta_path"][:, rows] for name, rows in self._of_theta.items()}
        found |= {name: arrays["x_path"][:, :, row] for name, row in self._of_x.items()}
        return {name: array[..., lanes].transpose(0, -1, *range(1, array.ndim - 1)) for name, array in found.items()}
