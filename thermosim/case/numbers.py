"""What is wrong with a number, or with a schedule of numbers."""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.schedules import AT_STEPS, KINDS, is_schedule, telling_steps, values_at, why_no_numbers

__all__ = ["number_faults", "plain", "schedule_faults", "whole"]

_LARGEST = sys.float_info.max


def whole(value: Any) -> Any:
    """1e5 as 100000, in lists and in the steps of schedules too; what is no whole number stays as it is."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, list):
        return [whole(part) for part in value]
    if isinstance(value, Mapping):
        return {name: _whole_in(name, part) for name, part in value.items()}
    return value


def _whole_in(name: str, part: Any) -> Any:
    """The same of a key of a schedule, whose parts may be schedules."""
    if name == "values" and isinstance(part, list):
        return [whole(inner) if isinstance(inner, Mapping) else inner for inner in part]
    return whole(part) if name in AT_STEPS else part


def plain(value: Any) -> Any:
    """A value from Python as TOML would give it: numpy's scalars and arrays, tuples and ranges, at any depth."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, range)):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, str) else value


def number_faults(
    value: Any, minimum: float | None, maximum: float | None, exclusive: bool, meaning: str
) -> str | None:
    """What is wrong with a number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"expected a number; {meaning}."
    if not -_LARGEST <= value <= _LARGEST:
        return f"expected a finite number; {meaning}."
    if minimum is not None and (value < minimum or (exclusive and value == minimum)):
        return f"expected {'more than' if exclusive else 'at least'} {minimum:g}; {meaning}."
    if maximum is not None and value > maximum:
        return f"expected at most {maximum:g}; {meaning}."
    return None


def schedule_faults(
    key: str,
    value: Any,
    steps: int,
    meaning: str,
    exclusive: bool = False,
    shape: tuple[int, ...] = (),
    positive: bool = True,
) -> list[str]:
    """Faults of a number or array of `shape`, or of a schedule of such; one number will do for a shape of one."""
    if _has_bool(value):
        return [f"{key} = {value!r}: expected numbers, not true or false; {meaning}."]
    if _has_text(value):
        wanted = "numbers" if shape else "a number"
        return [f"{key} = {value!r}: expected {wanted} or a schedule, not text in quotes; {meaning}."]
    if is_schedule(value):
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            return [f"{key}.kind = {kind!r}: expected one of {', '.join(KINDS)}."]
        described = KINDS[kind]
        faults = [f"{key}: a {kind} schedule needs the key {name!r}." for name in described.needed if name not in value]
        faults += [
            f"{key}.{name} = {value[name]!r}: a {kind} schedule only has {', '.join(described.keys)}."
            for name in sorted(value.keys() - described.keys.keys() - {"kind"})
        ]
        if faults := faults or _knot_faults(key, value, steps):
            return faults
        if kind == "piecewise" and (faults := _part_faults(key, value, steps, meaning, shape)):
            return faults
    if why := why_no_numbers(value):
        wanted = "numbers" if shape else "a number"
        return [f"{key} = {value!r}: expected {wanted} or a schedule; {meaning} ({why})."]
    with np.errstate(all="ignore"):  # what overflows is not finite, which is told
        at = telling_steps(value, steps, math.prod(shape))
        values = values_at(value, steps, at)
    if values.shape[1:] != shape and not (shape and math.prod(shape) == 1 and values.size == len(values)):
        wanted = str(shape) if shape else "one number, without brackets"
        return [f"{key} = {value!r}: has shape {values.shape[1:]}, expected {wanted}; {meaning}."]
    if not np.isfinite(values).all():
        return [f"{key} = {value!r}: takes values that are not finite, expected finite ones; {meaning}."]
    low = values[at > 0].min()  # index 0 is the initial state, which no move uses
    if positive and (low < 0 or (exclusive and low == 0)):
        return [
            f"{key} = {value!r}: reaches {low:g}, expected {'more than' if exclusive else 'at least'} 0; {meaning}."
        ]
    return []


def _has_bool(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_bool(part) for part in value.values())
    return isinstance(value, bool) or (isinstance(value, list) and any(_has_bool(part) for part in value))


def _has_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_text(part) for name, part in value.items() if name != "kind")
    return isinstance(value, str) or (isinstance(value, list) and any(_has_text(part) for part in value))


def _knot_faults(key: str, value: Mapping[str, Any], steps: int) -> list[str]:
    """Faults in the steps at which a schedule begins, ends or changes."""
    faults = []
    for name in ("begin", "end", "warm_up"):
        if name in value and (not isinstance(value[name], int) or not 0 <= value[name] <= steps):
            faults.append(f"{key}.{name} = {value[name]!r}: expected a step between 0 and the last, {steps}.")
    for name in ("at", "steps"):
        knots = value.get(name, [0])
        if not isinstance(knots, list) or not knots or not all(isinstance(knot, int) for knot in knots):
            faults.append(f"{key}.{name} = {knots!r}: expected a list of steps.")
        elif any(b <= a for a, b in itertools.pairwise(knots)):
            faults.append(f"{key}.{name} = {knots!r}: expected steps in increasing order.")
    period = value.get("period", 1)
    if isinstance(period, bool) or not isinstance(period, (int, float)) or not 0.0 < period < math.inf:
        faults.append(f"{key}.period = {period!r}: expected a number of steps, more than 0.")
    if value.get("kind") == "least-dissipation":
        faults += _lag_faults(key, value)
    if not faults and value.get("begin", 0) >= value.get("end", steps):
        faults.append(
            f"{key}: begins at step {value.get('begin', 0)} and ends at {value.get('end', steps)}; end it later."
        )
    return faults


def _lag_faults(key: str, value: Mapping[str, Any]) -> list[str]:
    """Faults of what the moves of a step leave of a lag, and of a curvature; whether they are numbers is seen later."""
    faults = []
    with contextlib.suppress(TypeError, ValueError):
        left = np.asarray(value["contraction"], float)
        if not np.all((left >= 0.0) & (left < 1.0)):
            faults.append(f"{key}.contraction = {value['contraction']!r}: expected a share from 0 to below 1.")
    with contextlib.suppress(TypeError, ValueError):
        if not np.all(np.asarray(value.get("curvature", 1.0), float) > 0.0):
            faults.append(f"{key}.curvature = {value['curvature']!r}: expected more than 0.")
    return faults


def _part_faults(key: str, value: Mapping[str, Any], steps: int, meaning: str, shape: tuple[int, ...]) -> list[str]:
    """Faults of the parts of a piecewise schedule, each in its own steps."""
    begins, parts = value["at"], value["values"]
    if begins[0] != 0:
        return [f"{key}.at = {begins!r}: the first part begins at step 0; expected 0 in front."]
    if not isinstance(parts, list) or len(parts) != len(begins):
        return [f"{key}.values = {parts!r}: expected a list of {len(begins)} parts, one for each step in `at`."]
    lengths = [end - begin for begin, end in itertools.pairwise([*begins, max(steps, begins[-1] + 1)])]
    return [
        fault
        for number, (part, length) in enumerate(zip(parts, lengths, strict=True))
        for fault in schedule_faults(f"{key}.values[{number}]", part, length, meaning, shape=shape, positive=False)
    ]
