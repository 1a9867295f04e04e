"""What the kernel of dense layers is told of a block: sizes, kinds, and where in its buffers everything is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thermosim.engines.dense.layout import ACTIVATIONS, LOSSES, MOVES
from thermosim.engines.networks.shapes import shapes_of
from thermosim.plan.block import Block

__all__ = ["ROWS", "Given", "given_of"]

ROWS = 256  # of data that are judged together
_ALIGNED = 16  # numbers of a cache line, at least


@dataclass(frozen=True, eq=False)
class Given:
    """Sizes (D, 2) of the weights, kinds by number, factors of the learning rate, and a plan of the buffers."""

    shapes: np.ndarray
    bias: int
    activation: int
    loss: int
    move: int
    rates: np.ndarray
    places: np.ndarray  # (4, D): inputs, outputs and then slopes, derivatives; and two rows of work
    size: int  # of the buffers

    def buffers(self) -> np.ndarray:
        """Memory for a thread."""
        return np.zeros(self.size, self.rates.dtype)


def given_of(block: Block, rows: int) -> Given:
    """For so many rows at a time."""
    assert block.model.perceptron is not None
    perceptron, shapes = block.model.perceptron(block.model_constants), shapes_of(block)
    sizes = np.array([shape for _, shape in shapes.groups], np.int64)
    rates, first = [], 0
    for out, into in sizes:
        rates.append(1.0 if block.timetable.scales is None else block.timetable.scales[first])
        first += int(out * into)
    places, end = np.zeros((4, max(2, len(sizes))), np.int64), 0
    wanted = [(kind, k, rows * int(sizes[k, 1 if kind == 0 else 0])) for k in range(len(sizes)) for kind in range(3)]
    widest = int(sizes[:, 1].max())
    for kind, k, count in [*wanted, (3, 0, rows * widest), (3, 1, widest)]:
        places[kind, k] = end
        end += -(-count // _ALIGNED) * _ALIGNED
    return Given(
        shapes=sizes,
        bias=int(perceptron.bias),
        activation=ACTIVATIONS[perceptron.activation],
        loss=LOSSES[perceptron.loss],
        move=MOVES[block.theta_dynamics],
        rates=np.array(rates, block.precision),
        places=places,
        size=end,
    )


def targets_of(data: Mapping[str, Any], prefix: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Classes (N,) and targets (N, k) of data rows, one of them empty."""
    y, x = data[f"{prefix}y"], data[f"{prefix}x"]
    if y.ndim == 1:
        return y.astype(np.int64), np.zeros((0, 0), x.dtype)
    return np.zeros(0, np.int64), y
