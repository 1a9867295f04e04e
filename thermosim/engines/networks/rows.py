"""Rows of data as networks take them: inputs and targets apart, classes as whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from thermosim.plan.block import Block

__all__ = ["rows_of_data"]


def rows_of_data(block: Block) -> dict[str, Any]:
    """x (N, n) and y, all data sets one after another; test_x, test_y of rows kept from learning; and the seed."""
    found = _parted(block, block.data) | {"seed": np.uint64(block.seed)}
    if block.test is not None:
        found |= {f"test_{name}": values for name, values in _parted(block, block.test).items()}
    return found


def _parted(block: Block, rows: np.ndarray) -> dict[str, Any]:
    model, constants, dtype = block.model, block.model_constants, np.dtype(block.precision)
    inputs = model.inputs(constants) if model.inputs is not None else model.components(constants)
    x, y = np.ascontiguousarray(rows[:, :inputs], dtype), rows[:, inputs:]
    if model.classes is not None and model.classes(constants):
        return {"x": x, "y": y[:, 0].astype(np.int32)}
    return {"x": x, "y": np.ascontiguousarray(y, dtype)}
