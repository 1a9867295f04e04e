"""Learning rates of parameter groups, and a symmetric matrix of learning rates: what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from thermosim.case.numbers import number_faults
from thermosim.model import Model
from thermosim.moves import THETA_MOVES, Move

if TYPE_CHECKING:
    from thermosim.case.settings import Settings

__all__ = ["rate_faults"]

_ROUNDING = 1e-12  # of the largest entry, that two entries which should be the same may differ by
_MEANING = "factor of the learning rate of a parameter group"


def rate_faults(model: Model, settings: Settings, move: Move) -> list[str]:
    """What is wrong with theta.learning_rate_factors and theta.preconditioner."""
    theta = settings.theta
    factors, matrix = theta.learning_rate_factors, theta.preconditioner
    found = _unable("learning_rate_factors", factors, "rates_by_group", move)
    found += _unable("preconditioner", matrix, "preconditioned", move)
    if found:
        return found
    if factors is not None and matrix is not None:
        both = "both give learning rates; put the factors into the matrix, and remove them."
        return [f"theta.learning_rate_factors, theta.preconditioner: {both}"]
    sizes = {
        group.name: math.prod(group.shape(settings.model.constants)) for group in model.groups(settings.model.constants)
    }
    if factors is not None:
        found += _factor_faults(factors, sizes, theta.learn)
    return found + ([] if matrix is None else _matrix_faults(matrix, sum(sizes.values())))


def _unable(key: str, value: Any, ability: str, move: Move) -> list[str]:
    """Whether the move has such rates at all."""
    if value is None or getattr(move, ability):
        return []
    able = " or ".join(repr(name) for name, other in THETA_MOVES.items() if getattr(other, ability))
    return [f"theta.{key}: is only used with theta.dynamics = {able}, not {move.name!r}; remove it."]


def _factor_faults(factors: Any, sizes: Mapping[str, int], learned: list[str] | None) -> list[str]:
    if not isinstance(factors, Mapping):
        expected = f"expected a table of one number per parameter group, such as {{ {next(iter(sizes))} = 2.0 }}"
        one = "one number for all belongs into theta.learning_rate"
        return [f"theta.learning_rate_factors = {factors!r}: {expected}; {one}."]
    if not factors:
        return ["theta.learning_rate_factors: is empty; name parameter groups, or remove it."]
    found = []
    for name, value in factors.items():
        key = f"theta.learning_rate_factors.{name}"
        if name not in sizes:
            found.append(f"{key}: unknown parameter group; there are {', '.join(sizes)}.")
        elif learned is not None and name not in learned:
            found.append(f"{key}: is not learned; name it in theta.learn, or remove it.")
        elif value == 0 and not isinstance(value, bool):
            found.append(f"{key} = {value!r}: a group that rests is one that theta.learn leaves out.")
        elif fault := number_faults(value, 0.0, None, True, _MEANING):
            found.append(f"{key} = {value!r}: {fault}")
    return found


def _matrix_faults(given: Any, size: int) -> list[str]:
    """Whether it is a symmetric positive matrix of all parameters."""
    key, expected = "theta.preconditioner", f"expected {size} rows of {size} numbers, one for each parameter"
    rows = given if isinstance(given, list) else [given]
    if any(not isinstance(row, list) or any(number_faults(v, None, None, False, "") for v in row) for row in rows):
        return [f"{key}: {expected}, all of them finite numbers."]
    shapes = [len(row) for row in rows]
    if len(rows) != size or any(length != size for length in shapes):
        has = f"{len(rows)} rows of {' or '.join(map(str, sorted(set(shapes))))} numbers"
        return [f"{key}: has {has}; {expected}."]
    matrix = np.asarray(rows, float)
    largest = np.abs(matrix).max()
    off = np.abs(matrix - matrix.T)
    if off.max() > _ROUNDING * largest:
        i, j = (int(n) for n in np.unravel_index(off.argmax(), off.shape))
        entries = f"row {i} has {matrix[i, j]:g} in column {j} and row {j} has {matrix[j, i]:g} in column {i}"
        return [f"{key}: is not symmetric, {entries}; give both the same number."]
    least = float(np.linalg.eigvalsh(matrix)[0])
    if least <= _ROUNDING * largest:
        remedy = "all must be more than 0. Parameters that rest are left out by theta.learn"
        return [f"{key}: is not positive, its least eigenvalue is {least:.3g}; {remedy}."]
    return []
