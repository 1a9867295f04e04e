"""A case in words: a paragraph that says what is done, rows of its parts, and every key with its value and meaning."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thermosim.case.settings import Settings
from thermosim.model import Model
from thermosim.moves import THETA_MOVES, X_MOVES
from thermosim.pages.render import render

if TYPE_CHECKING:
    from thermosim.case.load import Case

__all__ = ["Key", "case_html", "keys_of", "moves_words", "rows_of", "said"]

_LONGEST = 120  # letters of a value that is shown


@dataclass(frozen=True)
class Key:
    """A key of a case as it was run."""

    name: str
    value: str
    origin: str  # "given", "swept" or "default"
    meaning: str


def moves_words(settings: Settings) -> str:
    """How theta and x move, on one line."""
    theta, x = settings.theta, settings.x
    details = [str(theta.constraint)] if theta.constraint else []
    details += [f"batch {theta.batch}"] if theta.batch else []
    details += [str(theta.gradient)] if theta.gradient else []
    parts = [f"theta {theta.dynamics}" + (f" ({', '.join(details)})" if details else "")]
    if x:
        parts.append(f"x {x.dynamics}, {x.tau} per step")
    return "; ".join(parts)


def said(settings: Settings, model: Model | None) -> str:
    """What is done, in a few sentences."""
    replicas, steps, record = settings.ensemble.replicas, settings.run.steps, settings.record
    points = math.prod(len(values) for values in settings.sweep.values())
    where = f" at each of {points:,} points of a sweep" if settings.sweep else ""
    summary = f", {model.summary[:1].lower()}{model.summary[1:].rstrip('.')}" if model is not None else ""
    theta, x = settings.theta, settings.x
    sentences = [f"{replicas:,} replicas{where} of the model {settings.model.name}{summary}, make {steps:,} steps."]
    if theta.dynamics in THETA_MOVES:
        sentences.append(f"The parameters theta move by {theta.dynamics}: {THETA_MOVES[theta.dynamics].summary}.")
    if x is not None and x.dynamics in X_MOVES:
        times = "once" if x.tau == 1 else f"{x.tau} times"
        sentences.append(f"After each step the samples x move {times} by {x.dynamics}: {X_MOVES[x.dynamics].summary}.")
    for key, values in settings.sweep.items():
        sentences.append(f"{key} takes {len(values)} values, from {_short(values[0])} to {_short(values[-1])}.")
    names = ", ".join(record.variables or ())
    every = "at every step" if record.every == 1 else f"every {record.every:,} steps"
    sentences.append(f"Recorded {every} from step {record.first:,} on: {names or 'no frames'}.")
    sentences.append(f"The random numbers are those of seed {settings.ensemble.seed}.")
    return " ".join(sentences)


def rows_of(case: Case) -> list[tuple[str, str]]:
    """The parts of a case, each with what it is."""
    steps, record = case.settings.run.steps, case.settings.record
    kept = [f"{name} ({', '.join(table.keep)})" for name, table in record.tables.items()]
    return [
        ("model", f"{case.model.name}: {case.model.summary}"),
        ("moves", moves_words(case.settings)),
        ("sweep", ", ".join(f"{axis.name} ({len(axis.values)})" for axis in case.axes) or "none"),
        ("replicas", f"{case.replicas_in_all:,} in all, {case.settings.ensemble.replicas:,} at each point"),
        ("steps", f"{steps:,} ({case.replicas_in_all * steps:.3g} replica-steps)"),
        ("frames", f"{len(case.frame_steps()):,}, every {record.every:,} steps from {record.first:,}"),
        ("variables", ", ".join([*(record.variables or ()), *kept])),
    ]


def keys_of(settings: Settings, source: str, overrides: Mapping[str, Any], model: Model | None) -> list[Key]:
    """Every key that is set, as it was run, and whether the case gave it; `source` is the text of the case."""
    from thermosim.case.schema import key_rows

    meanings = {name: meaning for name, _, _, meaning in key_rows()}
    meanings |= {f"model.{one.name}": one.meaning for one in (model.constants if model else ())}
    given = {*_named(source), *overrides}
    found = []
    for section, table in settings.as_dict().items():
        for name, value in table.items() if isinstance(table, dict) and section != "sweep" else ():
            key = f"{section}.{name}"
            if value is None or value == {} or value == []:
                continue
            swept = next((values for axis, values in settings.sweep.items() if axis == key), None)
            by_case = any(one == key or one.startswith(f"{key}.") for one in given)
            origin = "swept" if swept is not None else "given" if by_case else "default"
            found.append(Key(key, _short(swept or value), origin, meanings.get(key, "")))
    return found


def case_html(case: Case) -> str:
    """A case, for a notebook."""
    keys = keys_of(case.settings, case.source, case.overrides, case.model)
    return render(
        "notebook_case.html",
        title=case.title,
        words=said(case.settings, case.model),
        rows=rows_of(case),
        keys=keys,
        source=case.source,
        overrides={key: _short(value) for key, value in case.overrides.items()},
    )


def _named(source: str) -> set[str]:
    """Dotted keys that the text of a case has; none where it is not TOML."""
    try:
        tables = tomllib.loads(source)
    except tomllib.TOMLDecodeError:
        return set()
    return {f"{section}.{key}" for section, table in tables.items() if isinstance(table, dict) for key in table}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 4] + " ..."
