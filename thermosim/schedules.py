"""Schedules: a number, or a table {kind = ...}, as values at steps 0, 1, ..., N. Pure numpy, units those of the value.

    constant      value
    linear        initial -> final
    cosine        initial -> final, with zero slope at both ends: final + (initial - final)(1 + cos pi s)/2
    exponential   initial (final/initial)^s
    sinusoidal    mean + amplitude sin(2 pi (t - begin)/period + phase)
    step          value times factor at every step in `at`
    piecewise     values[i] from step at[i] on, each a number, an array or a schedule in steps of its own
    table         values at steps, linear between them, held outside
    least-dissipation  of a learning rate: the persistent chains of learning by contrast lag behind by as much at every
                  step from begin + 1 to end, N steps in all, with a jump at both ends (`exact.least_dissipation`):
                  1/(k D), (1 - c)/(k (D - (i - 1)(1 - c))) at the i-th step, 1/(k (1 + c)); D = (N - 1)(1 - c) + 1 + c

s = (t - begin)/(end - begin) clipped to [0, 1]; `begin` is 0 and `end` the run's last step unless given. A sinusoid is
held before `begin` and after `end`, if there are these. `warm_up = k` multiplies the first k steps by t/k. The value at
index t is the one used by step t; index 0 is the initial state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "AT_STEPS",
    "KINDS",
    "Kind",
    "is_by_group",
    "is_exact",
    "is_schedule",
    "schedule_values",
    "telling_steps",
    "values_at",
    "why_no_numbers",
    "with_its_end",
]

AT_STEPS = ("begin", "end", "warm_up", "at", "steps")  # keys that are steps
_SINGLE = ("factor", "period", "phase")  # that are one number, also for an array
_EXTREMES = 100_000  # of a sinusoid that are looked at, at most
_LOOKED_AT = 2**20  # numbers, between the extremes


@dataclass(frozen=True)
class Kind:
    """A kind of schedule: its values at steps (len(times), ...), and the meaning of its keys."""

    values: Callable[[Mapping[str, Any], np.ndarray, int], np.ndarray]  # of a table, steps, and the run's last step
    summary: str
    needed: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    ends_with_the_run: bool = False  # unless it has an `end`
    exact: bool = False  # made of sums, products and quotients, which are the same on any machine

    @property
    def keys(self) -> dict[str, str]:
        """All keys besides `kind`, and what they mean."""
        return {**self.needed, **self.optional, **COMMON}


COMMON = {"warm_up": "steps over which the value is multiplied by t/warm_up; default none"}
_ENDS = {"initial": "value up to `begin`", "final": "value from `end` on"}
_RAMP = {"begin": "step at which it begins; default 0", "end": "step at which it ends; default the last of the run"}


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
    result = KINDS[value["kind"]].values(value, times, steps)
    if warm_up := value.get("warm_up"):
        ramp = np.minimum(times / warm_up, 1.0)
        result = result * ramp.reshape(-1, *(1,) * (result.ndim - 1))
    return result


def is_exact(value: Any) -> bool:
    """Whether the values of a number, an array or a schedule are the same, to the bit, on any machine."""
    if not is_schedule(value) or "kind" not in value:
        return True
    if value["kind"] == "piecewise":
        return all(map(is_exact, value["values"]))
    return KINDS[value["kind"]].exact


def telling_steps(value: Any, steps: int, numbers: int = 1) -> np.ndarray:
    """Steps at which a schedule takes its extreme values, and a thousand between: enough to judge all of them.

    Between the extremes, and of a sinusoid, fewer where each value is an array of many `numbers`.
    """
    if not is_schedule(value):
        return np.array(sorted({0, 1, steps}))
    marks = [np.array([0.0, 1.0, steps]), np.linspace(0, steps, max(2, min(1001, _LOOKED_AT // numbers)))]
    knots = [value.get(key) for key in ("begin", "end", "at", "steps", "warm_up")]
    marks += [np.ravel(np.asarray(knot, float)) for knot in knots if knot is not None]
    if value.get("kind") == "sinusoidal":
        count = int(min(2.0 * steps / value["period"] + 2.0, max(4, _EXTREMES // numbers)))
        turns = 0.5 * np.arange(count) + 0.25 - value.get("phase", 0.0) % (2.0 * np.pi) / (2.0 * np.pi)
        marks.append(value.get("begin", 0) + value["period"] * turns)
    if value.get("kind") == "piecewise":
        for begin, length, part in _parts(value, steps):
            marks.append(begin + telling_steps(part, length, numbers))
    near = np.rint(np.add.outer([-1, 0, 1], np.concatenate(marks))).ravel()
    return np.unique(near[(near >= 0) & (near <= steps)]).astype(int)


def why_no_numbers(value: Any) -> str:
    """Why a value, or those of a schedule, are no numbers or arrays that fit together; empty where they are."""
    parts = value if is_schedule(value) else {"value": value}
    if parts.get("kind") == "piecewise":
        return ""  # each part is judged by itself
    arrays: dict[str, np.ndarray] = {}
    for name in parts.keys() - {"kind", *AT_STEPS}:
        try:
            arrays[name] = np.asarray(parts[name], float)
        except (TypeError, ValueError, OverflowError) as error:
            return str(error)
        if name in _SINGLE and arrays[name].ndim:
            return f"{name} is one number"
    if parts.get("kind") == "table" and arrays["values"].shape[:1] != (len(parts["steps"]),):
        return f"{len(parts['steps'])} values are needed, one for each of the steps"
    try:
        np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        return f"{' and '.join(sorted(arrays))} have shapes that do not fit together"
    return ""


def with_its_end(value: Any, steps: int) -> Any:
    """The same, its end at the last of `steps` steps written down where it is that of the run."""
    if not is_schedule(value) or "kind" not in value:
        return value
    if value["kind"] == "piecewise":
        _, length, last = _parts(value, steps)[-1]
        return {**value, "values": [*value["values"][:-1], with_its_end(last, length)]}
    ends = KINDS[value["kind"]].ends_with_the_run and "end" not in value
    return {**value, "end": steps} if ends else value


def _parts(table: Mapping[str, Any], steps: int) -> list[tuple[int, int, Any]]:
    """Of a piecewise schedule: where each part begins, its number of steps, and its value or schedule."""
    begins = [int(step) for step in table["at"]]
    lengths = [end - begin for begin, end in zip(begins, [*begins[1:], max(steps, begins[-1] + 1)], strict=True)]
    return list(zip(begins, lengths, table["values"], strict=True))


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


def _sinusoidal(table: Mapping[str, Any], times: np.ndarray, steps: int) -> np.ndarray:
    mean, amplitude = np.asarray(table["mean"], float), np.asarray(table["amplitude"], float)
    begin = table.get("begin", 0)
    elapsed = np.clip(times, begin, table.get("end", np.inf)) - begin
    wave = np.sin(2.0 * np.pi * elapsed / table["period"] + table.get("phase", 0.0))
    return mean + amplitude * wave.reshape(-1, *(1,) * np.broadcast(mean, amplitude).ndim)


def _piecewise(table: Mapping[str, Any], times: np.ndarray, steps: int) -> np.ndarray:
    parts = _parts(table, steps)
    which = np.searchsorted([begin for begin, _, _ in parts], times, side="right") - 1
    values = [values_at(part, length, times[which == i] - begin) for i, (begin, length, part) in enumerate(parts)]
    result = np.empty((len(times), *values[0].shape[1:]))
    for i, of_part in enumerate(values):
        result[which == i] = of_part.reshape(len(of_part), *result.shape[1:])
    return result


def _step(table: Mapping[str, Any], times: np.ndarray, steps: int) -> np.ndarray:
    value = np.asarray(table["value"], float)
    drops = np.searchsorted(np.sort(np.asarray(table["at"])), times, side="right")
    return value * (float(table["factor"]) ** drops).reshape(-1, *(1,) * value.ndim)


def _table(table: Mapping[str, Any], times: np.ndarray, steps: int) -> np.ndarray:
    points, values = np.asarray(table["steps"], float), np.asarray(table["values"], float)
    flat = values.reshape(len(points), -1)
    columns = [np.interp(times, points, column) for column in flat.T]
    return np.stack(columns, axis=-1).reshape(len(times), *values.shape[1:])


def _least_dissipation(table: Mapping[str, Any], times: np.ndarray, steps: int) -> np.ndarray:
    left, curvature = (np.asarray(table.get(name, 1.0), float) for name in ("contraction", "curvature"))
    begin = table.get("begin", 0)
    count, lost = table.get("end", steps) - begin, 1.0 - left
    shape = np.broadcast_shapes(left.shape, curvature.shape)
    place = np.reshape(times - begin, (-1, *(1,) * len(shape))).astype(float)
    whole = (count - 1.0) * lost + 1.0 + left
    values = lost / (whole - (np.clip(place, 1.0, count) - 1.0) * lost)
    values = np.where(place == 1.0, 1.0 / whole, values)
    values = np.where(place == count, 1.0 / (1.0 + left) if count > 1 else 1.0, values)
    return np.where((place >= 1.0) & (place <= count), values / curvature, 0.0)


KINDS: dict[str, Kind] = {
    "constant": Kind(_constant, "the same value at all steps", {"value": "a number or an array"}, exact=True),
    "linear": Kind(_linear, "from initial to final at constant speed", _ENDS, _RAMP, True, exact=True),
    "cosine": Kind(_cosine, "from initial to final, slow at both ends", _ENDS, _RAMP, True),
    "exponential": Kind(_exponential, "from initial to final by a constant factor a step", _ENDS, _RAMP, True),
    "sinusoidal": Kind(
        _sinusoidal,
        "mean + amplitude sin(2 pi (t - begin)/period + phase)",
        {"mean": "value about which it swings", "amplitude": "largest deviation from it", "period": "in steps"},
        {
            "phase": "at `begin`, in radians; default 0",
            "begin": "step up to which its first value is held; default 0",
            "end": "step from which its value is held; default never",
        },
    ),
    "step": Kind(
        _step,
        "a value that is multiplied again and again",
        {"value": "at first", "factor": "that multiplies it", "at": "steps at which it does, in order"},
    ),
    "piecewise": Kind(
        _piecewise,
        "one value or schedule after another",
        {
            "at": "steps at which the parts begin, in order, the first 0",
            "values": "the parts: numbers, arrays, or schedules whose step 0 is the step in `at`",
        },
    ),
    "table": Kind(
        _table,
        "values at some steps, linear between them",
        {"steps": "in order", "values": "at these steps; held before the first and after the last"},
    ),
    "least-dissipation": Kind(
        _least_dissipation,
        "the rate at which learning by contrast does the least work on its chains in this time; 0 outside of it",
        {"contraction": "share of their lag that the moves of a step leave: (1 - time_step curvature)^tau of ula"},
        {
            "curvature": "of the loss and of the energy; default 1",
            "begin": "step after which it begins; default 0",
            "end": "step with which learning ends; default the last of the run",
        },
        True,
        exact=True,
    ),
}
