"""Where x is at step 0: the starts that there are, which of them a case can have, and what is known of their law.

    initial = "equilibrium" | "zero" | "normal" | "random" | "data"
    initial = [1.0, -2.0]                                               a point; one number is every component
    initial = { from = "normal", mean = [1.0, 0.0], deviation = 0.5 }   numbers, or one for each component
    initial = { from = "other.h5", step = 500, survivors = true }       a frame of another run, else its last state
    initial = { warm_up = 10000, from = "zero" }                        any of them, then so many moves of x

A warm-up makes the moves of the case at the theta, the time step and the temperature of step 0, before any step.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thermosim.case.numbers import whole
from thermosim.model import Model
from thermosim.moves import X_MOVES
from thermosim.schedules import is_schedule, schedule_values

if TYPE_CHECKING:
    from thermosim.case.settings import Settings
    from thermosim.case.x import XSection

__all__ = [
    "FROM_FILE",
    "NAMES",
    "OtherRun",
    "Start",
    "in_equilibrium",
    "listed",
    "others",
    "possible_starts",
    "start_faults",
]

NAMES = ("equilibrium", "zero", "normal", "random", "data")
_KEYS = ("from", "mean", "deviation", "step", "survivors", "warm_up")
_LONGEST = 10**12  # moves of a warm-up
_LARGEST = sys.float_info.max
FROM_FILE = {"from": "other.h5"}


@dataclass(frozen=True)
class OtherRun:
    """A frame of another run: its file, the step (None: its last state), and whether diverged replicas are left out."""

    file: str
    step: int | None = None
    survivors: bool = False

    @classmethod
    def of(cls, given: Any) -> OtherRun | None:
        """What theta.initial or x.initial names, or None where it is no other run."""
        if not isinstance(given, Mapping) or not isinstance(given.get("from"), str) or given["from"] in NAMES:
            return None
        return cls(given["from"], whole(given.get("step")), bool(given.get("survivors", False)))

    @classmethod
    def faults(cls, key: str, given: Mapping[str, Any]) -> list[str]:
        """What is wrong with the table itself, before the file is looked at."""
        step, survivors, found = whole(given.get("step")), given.get("survivors", False), []
        if step is not None and (isinstance(step, bool) or not isinstance(step, int) or step < 0):
            found.append(f"{key}.step = {step!r}: expected a recorded step; without it the last state is taken.")
        if not isinstance(survivors, bool):
            found.append(f"{key}.survivors = {survivors!r}: expected true or false.")
        return found


@dataclass(frozen=True)
class Start:
    """A start of x, as `x.initial` has it. kind: one of NAMES, "point" or "other run"."""

    kind: str
    mean: Any = 0.0  # of "normal" and "point": a number, or one per component
    deviation: Any = 0.0
    other: OtherRun | None = None
    warm_up: int = 0  # moves

    @classmethod
    def of(cls, given: Any) -> Start:
        """What a valid x.initial says."""
        table = given if isinstance(given, Mapping) else {"from": given}
        origin, warm_up = table.get("from"), whole(table.get("warm_up", 0))
        if other := OtherRun.of(table):
            return cls("other run", other=other, warm_up=warm_up)
        if not isinstance(origin, str):
            return cls("point", mean=origin, warm_up=warm_up)
        if origin == "normal":
            return cls(origin, table.get("mean", 0.0), table.get("deviation", 1.0), warm_up=warm_up)
        return cls(origin, warm_up=warm_up)

    @property
    def has_density(self) -> bool:
        """Whether x_0 has a known density (or, where x is discrete, probability) that is not the equilibrium's."""
        normal = self.kind == "normal" and bool(np.all(np.asarray(self.deviation) > 0.0))
        return not self.warm_up and (normal or self.kind == "random")

    def __str__(self) -> str:
        """In words, for messages."""
        words = {"point": "a point", "other run": f"a frame of {self.other.file if self.other else ''}"}
        origin = words.get(self.kind, repr(self.kind))
        return f"a warm-up of {self.warm_up:,} moves from {origin}" if self.warm_up else origin


def others(settings: Settings) -> dict[str, OtherRun]:
    """The other runs that a case starts from, by "theta" and "x"."""
    found = {"theta": OtherRun.of(settings.theta.initial), "x": settings.x.start.other if settings.x else None}
    return {name: other for name, other in found.items() if other is not None}


def in_equilibrium(x: XSection) -> bool:
    """Whether x_0 is drawn from exp(-phi/T) itself: so drawn and kept by a warm-up, or by a last move that is fresh."""
    start, move = Start.of(x.initial), X_MOVES[x.dynamics]
    if start.warm_up and move.fresh:
        return True
    return start.kind == "equilibrium" and (not start.warm_up or move.invariant)


def possible_starts(model: Model, settings: Settings | None = None) -> list[Any]:
    """Values of x.initial that a case can have; without a case, those that some case of the model can have."""
    warm = {"warm_up": 10000, "from": "random" if model.discrete else "normal"}
    some = [*NAMES, float(model.levels[1]) if model.discrete else 1.0, warm, FROM_FILE]
    return [start for start in some if _why_not(model, Start.of(start), settings) is None]


def listed(starts: list[Any]) -> str:
    """Starts as a case has them: "'zero', a point such as 1.0 or { from = 'other.h5' }"."""
    words = [_named(start) for start in starts]
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _written(start: Any) -> str:
    if isinstance(start, Mapping):
        return "{ " + ", ".join(f"{key} = {value!r}" for key, value in start.items()) + " }"
    return repr(start)


def _named(start: Any) -> str:
    return f"a point such as {start}" if isinstance(start, float) else _written(start)


def start_faults(model: Model, settings: Settings, x: XSection, faulty: bool) -> list[str]:
    """What is wrong with x.initial and x.restart, but for files. faulty: so are other keys of [x]."""
    given = x.initial
    if found := _table_faults(model, settings, given):
        return found
    start, found = Start.of(given), []
    if not faulty and (why := _why_not(model, start, settings)):
        use = listed(possible_starts(model, settings))
        found.append(f"x.initial = {_written(given)}: {why}; use {use}.")
    if x.restart and not settings.data:
        remedy = "add a [data] section" if model.learns else "remove it"
        found.append(f"x.restart = true: needs data rows to start from; {remedy}.")
    return found


def _table_faults(model: Model, settings: Settings, given: Any) -> list[str]:
    """What is wrong with how a start is written."""
    if not isinstance(given, Mapping):
        if isinstance(given, str) and given not in NAMES:
            near = difflib.get_close_matches(given, NAMES, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            return [f"x.initial = {given!r}: use {listed(possible_starts(model, settings))}.{hint}"]
        return []
    found = [
        f"x.initial.{key} = {given[key]!r}: unknown key; a start has {', '.join(_KEYS)}."
        for key in given
        if key not in _KEYS
    ]
    origin, warm_up = given.get("from"), whole(given.get("warm_up", 1))
    if origin is None:
        use = listed([start for start in possible_starts(model, settings) if isinstance(start, Mapping)])
        found.append(f"x.initial: from is missing; write {use}.")
    if isinstance(warm_up, bool) or not isinstance(warm_up, int) or not 1 <= warm_up <= _LONGEST:
        found.append(f"x.initial.warm_up = {warm_up!r}: expected a number of moves of x, 1 to {_LONGEST:.0e}.")
    if isinstance(origin, Mapping):
        found.append(f"x.initial.from = {origin!r}: expected a start, a point or a file, no table.")
    is_file = OtherRun.of(given) is not None
    wrong = [] if origin == "normal" else ["mean", "deviation"]
    wrong += [] if is_file else ["step", "survivors"]
    owners = {"mean": 'from = "normal"', "deviation": 'from = "normal"'}
    for key in wrong:
        if key in given:
            owner = owners.get(key, "a file, { from = 'other.h5' }")
            found.append(f"x.initial.{key} = {given[key]!r}: is only used with {owner}; remove it.")
    return found + (OtherRun.faults("x.initial", given) if is_file else [])


def _why_not(model: Model, start: Start, settings: Settings | None) -> str | None:
    """Why x cannot start so, or None."""
    name, discrete = f"model {model.name!r}", model.discrete
    if start.warm_up and settings is not None and (why := _why_no_moves(settings)):
        return why
    if start.kind == "equilibrium":
        return _why_no_equilibrium(model, settings)
    if start.kind == "data":
        if not model.learns:
            return f"{name} does not learn from data, so it has no rows to start from"
        if settings is not None and not settings.data:
            return "needs data rows to start from; add a [data] section"
    if start.kind == "random" and not discrete:
        return f"is for discrete x; {name} is continuous"
    if discrete and (start.kind == "normal" or (start.kind == "zero" and 0.0 not in model.levels)):
        return f"the components of {name} are {model.levels}"
    if start.kind in ("point", "normal"):
        return _why_no_point(model, start, settings)
    return None


def _why_no_point(model: Model, start: Start, settings: Settings | None) -> str | None:
    """Why a point, or the mean and deviation of a normal start, cannot be taken."""
    shapes = [()] if settings is None else [(), (model.components(settings.model.constants),)]
    for what, value in (("point", start.mean), ("deviation", start.deviation)):
        kept = np.shape(value) if not _has_no_numbers(value) else None
        if kept not in shapes or not np.isfinite(np.asarray(value, float)).all():
            wanted = f"finite numbers, {shapes[-1][0]} of them or one for all" if shapes[-1] else "a number"
            return f"expected {wanted}" + ("" if start.kind == "point" else f" for its {what.replace('point', 'mean')}")
    if np.min(start.deviation) < 0.0:
        return "the deviation is negative"
    if model.discrete and not np.isin(np.asarray(start.mean, float), model.levels).all():
        return f"the components of model {model.name!r} are {model.levels}"
    return None


def _has_no_numbers(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return not parts or not all(
        isinstance(part, (int, float)) and not isinstance(part, bool) and abs(part) <= _LARGEST for part in parts
    )


def _why_no_equilibrium(model: Model, settings: Settings | None) -> str | None:
    name, x = f"model {model.name!r}", settings.x if settings is not None else None
    if model.equilibrium is None and model.fresh is None:
        return f"{name} " + ("is driven, so it has no known equilibrium" if model.drive else "has no exact sampler")
    if x is None or settings is None:
        return None
    if model.equilibrium is None:
        if x.temperature != 1.0:
            return f"{name} samples exp(-phi) only, which is x.temperature = 1"
        return None
    mobilities = isinstance(x.mobility, list) and len(set(x.mobility)) > 1
    baths = isinstance(x.temperature, list) and len(set(x.temperature)) > 1
    if mobilities and (baths or model.drive is not None):
        return "the steady state between several baths or under a drive is that of mobility 1"
    if _at_zero(x.temperature, settings) <= 0.0:
        return "x.temperature is 0 at step 0, where an equilibrium start needs one above 0"
    return None


def _why_no_moves(settings: Settings) -> str | None:
    """Why x cannot move before step 0: schedules may begin at 0, a value that no step uses."""
    x = settings.of_x
    for key, value in (("time_step", x.time_step), ("temperature", x.temperature)):
        if key in X_MOVES[x.dynamics].hyper and value is not None and _at_zero(value, settings) <= 0.0:
            return f"x.{key} is 0 at step 0, and a warm-up moves x at its values there"
    return None


def _at_zero(value: Any, settings: Settings) -> float:
    """The least of a number, list or schedule at step 0; that of a reversed run is the last of the schedule."""
    steps = settings.run.steps
    first = steps if settings.run.direction == "reversed" else 0
    try:
        return float(np.min(schedule_values(value, steps, first, first) if is_schedule(value) else value))
    except Exception:  # no schedule: its own fault is told
        return math.inf
