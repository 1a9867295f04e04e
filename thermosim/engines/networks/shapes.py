"""The state of networks as arrays with lanes last, as every engine hands it over, and as programs have it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thermosim.engines.networks.memory import remembered
from thermosim.plan.block import Block

__all__ = ["Shapes", "shapes_of"]


@dataclass(frozen=True)
class Shapes:
    """Groups of theta in order, what an update remembers of them, and rows of the ledger."""

    groups: tuple[tuple[str, tuple[int, ...]], ...]
    of_groups: tuple[str, ...]  # memory that has the shape of theta
    numbers: tuple[str, ...]  # memory that is one number
    rows: tuple[tuple[str, tuple[int, ...]], ...]  # of the ledger, and how many numbers each has: () for one

    @property
    def parameters(self) -> int:
        """m."""
        return sum(math.prod(shape) for _, shape in self.groups)

    @property
    def memory(self) -> int:
        """Rows of memory."""
        return len(self.of_groups) * self.parameters + len(self.numbers)

    @property
    def path(self) -> int:
        """Rows of the ledger."""
        return sum(math.prod(shape) for _, shape in self.rows)

    def theta(self, rows: np.ndarray, dtype: Any) -> dict[str, np.ndarray]:
        """Parameters {group: (lanes, *shape)} of rows (m, lanes)."""
        return _cut(rows, self.groups, dtype)

    def state(self, arrays: Mapping[str, np.ndarray], dtype: Any) -> dict[str, dict[str, np.ndarray]]:
        """What a program goes on with, from theta (m, lanes), memory and theta_path."""
        kept = [(f"{what}/{name}", shape) for what in self.of_groups for name, shape in self.groups]
        kept += [(name, ()) for name in self.numbers]
        return {
            "theta": self.theta(arrays["theta"], dtype),
            "memory": _cut(arrays["memory"], tuple(kept), dtype),
            "path": _cut(arrays["theta_path"], self.rows, np.float64),
        }

    def arrays(self, state: Mapping[str, Mapping[str, Any]], lanes: int) -> dict[str, np.ndarray]:
        """The same back, of the first `lanes`."""
        names = {"theta": "theta", "memory": "memory", "theta_path": "path"}
        orders = {
            "theta": [name for name, _ in self.groups],
            "memory": [*(f"{what}/{name}" for what in self.of_groups for name, _ in self.groups), *self.numbers],
            "theta_path": [name for name, _ in self.rows],
        }
        return {
            name: np.concatenate(
                [_rows(state[part][key], lanes) for key in orders[name]] or [np.zeros((0, lanes))], dtype=float
            )
            for name, part in names.items()
        }


def _cut(rows: np.ndarray, parts: tuple[tuple[str, tuple[int, ...]], ...], dtype: Any) -> dict[str, np.ndarray]:
    """Rows (K, lanes) as arrays (lanes, *shape) by name, in order."""
    found, first = {}, 0
    for name, shape in parts:
        size = math.prod(shape)
        found[name] = np.ascontiguousarray(rows[first : first + size].T, dtype).reshape(-1, *shape)
        first += size
    return found


def _rows(values: Any, lanes: int) -> np.ndarray:
    """An array (width, *shape) as rows (K, lanes)."""
    array = np.asarray(values)[:lanes]
    return array.reshape(lanes, -1).T


def shapes_of(block: Block) -> Shapes:
    """Of a block of networks."""
    constants = block.model_constants
    groups = tuple((group.name, tuple(group.shape(constants))) for group in block.model.groups(constants))
    of_groups, numbers = remembered(block)
    rows = tuple((name, block.shape(name)) for name in dict.fromkeys(block.theta_rows))
    return Shapes(groups, of_groups, numbers, rows)
