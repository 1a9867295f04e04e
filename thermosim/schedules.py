"""Schedules: a number, or a table {kind = ...}, as values at steps 0, 1, ..., N. Pure numpy, units those of the value.

    constant      value
    linear        initial -> final
    cosine        initial -> final, with zero slope at both ends: final + (initial - final)(1 + cos pi s)/2
    exponential   initial (final/initial)^s
    step          value times factor at every step in `at`
    table         values at steps, linear between them, held outside

s = (t - begin)/(end - begin) clipped to [0, 1]; `begin` is 0 and `end` the run's last step unless given. `warm_up = k`
multiplies the first k steps by t/k. The value at index t is the one used by step t; index 0 is the initial state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["KINDS", "is_by_group", "is_schedule", "schedule_values", "telling_steps", "values_at"]

COMMON = {"kind", "warm_up"}
RAMP = {"initial", "final", "begin", "end"}


def is_schedule(value: Any) -> bool:
    """Whether this value of a case is a schedule table."""
    return isinstance(value, Mapping)


def is_by_group(value: Any) -> bool:
    """Whether this value of a case is a table of one number for each parameter group."""
    return isinstance(value, Mapping) and "kind" not in value


def schedule_values(value: Any, steps: int, first: int = 0, last: int | None = None) -> np.ndarray:
    """Values at steps first..last (inclusive; default 0..steps) of a run of `steps` steps: (last - first + 1, ...)."""
    return values_at(value, steps, np.arange(first, (steps if last is None else last) + 1))


def values_at(value: Any, steps: int, times: np.ndarray) -> np.ndarray:
    """Values of a schedule at chosen steps of a run of `steps` steps: (len(times), ...)."""
    if not is_schedule(value):
        value = {"kind": "constant", "value": value}
    result = KINDS[value["kind"]][0](value, times, steps)
    if warm_up := value.get("warm_up"):
        ramp = np.minimum(times / warm_up, 1.0)
        result = result * ramp.reshape(-1, *(1,) * (result.ndim - 1))
    return result


def telling_steps(value: Any, steps: int) -> np.ndarray:
    """Steps at which a schedule takes its extreme values, and a thousand between: enough to judge all of them."""
    if not is_schedule(value):
        return np.array(sorted({0, 1, steps}))
    marks: list[float] = [0, 1, steps, *np.linspace(0, steps, 1001)]
    knots = [value.get(key) for key in ("begin", "end", "at", "steps", "warm_up")]
    marks += [mark for knot in knots if knot is not None for mark in np.ravel(np.asarray(knot, float))]
    near = np.rint(np.add.outer(marks, [-1, 0, 1])).ravel()
    return np.unique(near[(near >= 0) & (near <= steps)]).astype(int)


def _fraction(table: Mapping[str, Any], times: np.ndarray, steps: int, shape: tuple[int, ...]) -> np.ndarray:
    begin, end = table.get("begin", 0), table.get("end", steps)
    s = np.clip((times - begin) / max(end - begin, 1), 0.0, 1.0)
    return s.reshape(-1, *(1,) * len(shape))


def _ends(table: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(table["initial"], float), np.asarray(table["final"], float)


def _constant(table: Mapping[str, Any], times: np.ndarray, steps: int) -> np.ndarray:
    value = np.asarray(table["value"], float)
    return np.broadcast_to(value, (len(times), *value.shape)).copy()


def _linear(table: Mapping[str, Any], times: np.ndarray, steps: int) -> np.ndarray:
    initial, final = _ends(table)
    s = _fraction(table, times, steps, np.broadcast(initial, final).shape)
    return (1.0 - s) * initial + s * final


def _cosine(table: Mapping[str, Any], times: np.ndarray, steps: int) -> np.ndarray:
    initial, final = _ends(table)
    s = _fraction(table, times, steps, np.broadcast(initial, final).shape)
    return final + (initial - final) * 0.5 * (1.0 + np.cos(np.pi * s))


def _exponential(table: Mapping[str, Any], times: np.ndarray, steps: int) -> np.ndarray:
    initial, final = _ends(table)
    s = _fraction(table, times, steps, np.broadcast(initial, final).shape)
    return initial * (final / initial) ** s


def _step(table: Mapping[str, Any], times: np.ndarray, steps: int) -> np.ndarray:
    value = np.asarray(table["value"], float)
    drops = np.searchsorted(np.sort(np.asarray(table["at"])), times, side="right")
    return value * (float(table["factor"]) ** drops).reshape(-1, *(1,) * value.ndim)


def _table(table: Mapping[str, Any], times: np.ndarray, steps: int) -> np.ndarray:
    points, values = np.asarray(table["steps"], float), np.asarray(table["values"], float)
    flat = values.reshape(len(points), -1)
    columns = [np.interp(times, points, column) for column in flat.T]
    return np.stack(columns, axis=-1).reshape(len(times), *values.shape[1:])


# kind: (function, keys it needs, keys it may have)
KINDS: dict[str, tuple[Callable[..., np.ndarray], set[str], set[str]]] = {
    "constant": (_constant, {"value"}, COMMON),
    "linear": (_linear, {"initial", "final"}, COMMON | RAMP),
    "cosine": (_cosine, {"initial", "final"}, COMMON | RAMP),
    "exponential": (_exponential, {"initial", "final"}, COMMON | RAMP),
    "step": (_step, {"value", "factor", "at"}, COMMON),
    "table": (_table, {"steps", "values"}, COMMON),
}
