"""A case file becomes a frozen, validated Case.

All faults of a case are collected and reported together, each with its dotted key, the value, what was expected and
the nearest valid name. Nothing is compiled or written before a case is whole.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from thermosim.case.data import some_rows
from thermosim.case.engine import of_networks
from thermosim.case.faults import CaseError, unknown
from thermosim.case.model import find_model, with_lengths
from thermosim.case.numbers import plain, whole
from thermosim.case.record import RecordTable, frame_names, name_faults, recordable, shape_faults
from thermosim.case.resolve import Known, combination_faults, resolve, settings_of
from thermosim.case.settings import SECTIONS, Settings
from thermosim.case.sweep import Axis, axes_of, is_structural, taken_names
from thermosim.case.text import parsed, read, refuse_what_no_case_is, toml
from thermosim.model import Model
from thermosim.models.user_file.blame import blamed
from thermosim.moves import THETA_MOVES, X_MOVES

__all__ = ["Case", "key_parts", "load_case"]

Raw = dict[str, Any]
Point = tuple[tuple[int, int], ...]
_MOST_BLOCKS = 10_000  # structural points of a sweep
_LOOKED_AT = 16  # rows of data by which a user's network is looked at
_MOST_TRIED = 200  # values of an axis, or blocks, whose combination with everything else is looked at
_TOP = ("title", "model", *SECTIONS, "sweep")


@dataclass(frozen=True)
class Case:
    """A whole, valid case. `settings` is resolved: every default filled in, first values of the sweep in place."""

    title: str
    source: str
    overrides: Mapping[str, Any]
    raw: Raw
    folder: Path
    model: Model
    settings: Settings
    axes: tuple[Axis, ...]
    of_blocks: tuple[Settings, ...] = field(repr=False)  # at every combination of structural values

    @property
    def lane_axes(self) -> tuple[Axis, ...]:
        """Axes whose points are lanes of one ensemble."""
        return tuple(axis for axis in self.axes if not axis.structural)

    @property
    def replicas_in_all(self) -> int:
        """Replicas over the whole sweep."""
        return int(self.settings.ensemble.replicas * math.prod(len(axis.values) for axis in self.axes))

    def blocks(self) -> Iterator[tuple[tuple[int, ...], Settings]]:
        """Index and settings of every combination of structural values, in order."""
        sizes = [len(axis.values) for axis in self.axes if axis.structural]
        yield from zip(itertools.product(*map(range, sizes)), self.of_blocks, strict=True)

    def model_source(self) -> str:
        """The text of a user's model file, or of a formula; empty for a model of thermosim."""
        file = self.settings.model.file
        return (self.folder / file).read_text("utf-8-sig") if file else self.settings.model.formula

    def frame_steps(self) -> np.ndarray:
        """The recorded steps."""
        record = self.settings.record
        return np.arange(record.first, self.settings.run.steps + 1, record.every)

    def _repr_html_(self) -> str:
        """The case in a notebook: in words, every key, and its text."""
        from thermosim.case.words import case_html

        return case_html(self)


def load_case(
    source: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
) -> Case:
    """The case in a TOML file, of a name that `thermosim cases` lists, or in TOML text: a string with a line break.

    Or a dict of its sections. `overrides` maps dotted keys to values, as `--set` does; numbers may be numpy's. `folder`
    is where a model's file is looked for, by default next to the case. Raises CaseError naming every fault at once.
    """
    overrides = plain(overrides or {})
    text, home, name = (toml(plain(source)), Path.cwd(), "the case") if isinstance(source, Mapping) else read(source)
    home = home if folder is None else Path(folder)
    raw = _changed(parsed(text, name), overrides)
    refuse_what_no_case_is(raw, name)

    faults = [unknown("", key, raw[key], _TOP) for key in raw if key not in _TOP]
    axes, axis_faults = axes_of(raw.pop("sweep", {}))
    title = raw.pop("title", Path(name).stem)
    if not isinstance(title, str):
        faults.append(f"title = {title!r}: expected a string.")
    model, model_faults = find_model(_changed(raw, {axis.key: axis.values[0] for axis in axes}), home)
    faults += axis_faults + model_faults
    if model is None:
        raise CaseError(faults, name)
    raw = with_lengths(_whole(raw, model), model, home)
    axes = [replace(axis, values=_whole_values(axis, model)) for axis in axes]
    faults += taken_names(axes, model)
    raw = _changed(raw, {axis.key: axis.values[0] for axis in axes})
    with _users_code(raw, name):
        settings, axes, of_blocks, more = _swept(raw, model, home, axes)
    faults += more
    if not faults and settings is not None and settings.model.file is not None:
        faults += _examined(model, settings, raw, home, axes)
    if faults or settings is None:
        raise CaseError(faults, name)
    settings = replace(settings, sweep={axis.key: list(axis.values) for axis in axes}, title=title)
    of_blocks = of_blocks if any(axis.structural for axis in axes) else [settings]
    return Case(title, text, overrides, raw, home, model, settings, tuple(axes), tuple(of_blocks))


@contextlib.contextmanager
def _users_code(raw: Raw, name: str) -> Iterator[None]:
    """What functions of a user's model raise while a case is read is a fault of the case, with its line."""
    file = raw.get("model", {}).get("file")
    try:
        yield
    except Exception as error:
        if not (said := blamed(error)):
            raise
        raise CaseError([f"model.file = {file!r}: {said}"], name) from error


def _examined(model: Model, settings: Settings, raw: Raw, home: Path, axes: Sequence[Axis]) -> list[str]:
    """What is wrong with a user's model at the constants of this case, at the ends of each axis of [model] too."""
    from thermosim.models.user_file.examination import Start

    constants: list[Mapping[str, Any]] = [settings.model.constants]
    swept: list[str] = []
    for axis in axes:
        section, _, key = axis.key.partition(".")
        if section == "model":
            numbers = all(isinstance(value, (int, float)) for value in axis.values)
            ends = (min(axis.values), max(axis.values)) if numbers else (axis.values[0], axis.values[-1])
            resolved = [resolve(_changed(raw, {axis.key: value}), model, home)[0] for value in ends]
            constants += [there.model.constants for there in resolved if there is not None]
            swept += [] if axis.structural else [key]
    constants = [values for i, values in enumerate(constants) if values not in constants[:i]]
    theta, start = settings.theta, None
    move = THETA_MOVES[theta.dynamics]
    if model.initial_theta and move.learns:
        hyper = {key: None if isinstance(value := getattr(theta, key), Mapping) else value for key in move.hyper}
        named = theta.initial if isinstance(theta.initial, str) else next(iter(model.initial_theta))
        start = Start(named, {**hyper, "constraint": theta.constraint})
    found = []
    if model.has_kernels:
        from thermosim.models.user_file.examine import examine  # compiles

        found += examine(model, constants, swept=swept, start=start).faults
    if of_networks(model, settings) and not found:
        from thermosim.models.user_file.examine_network import examine_network  # needs JAX

        rows = some_rows(model, settings, home, _LOOKED_AT)
        precision = settings.engine.precision if settings.engine else "float32"
        found += examine_network(model, settings.model.constants, start, rows, precision).faults
    return [f"model.file = {settings.model.file!r}: {fault}" for fault in found]


def _swept(
    raw: Raw, model: Model, home: Path, axes: list[Axis]
) -> tuple[Settings | None, list[Axis], list[Settings], list[str]]:
    """The settings at the first point, the axes with what is structural, the settings of all blocks, and all faults.

    Each value of an axis is tried with the first values of the others, all structural values together, and each value
    of the other axes with all of these; of thousands as many as time allows, with the least, the largest and the last
    of an axis. Single values of what is structural are all looked at.
    """
    settings, faults = resolve(raw, model, home)
    moves = {settings.x.dynamics} if settings is not None and settings.x is not None else set()
    moves |= {value for axis in axes if axis.key == "x.dynamics" for value in axis.values if isinstance(value, str)}
    steady = any(X_MOVES[name].steady for name in moves if name in X_MOVES)
    axes = [replace(axis, structural=is_structural(axis, model, steady)) for axis in axes]
    if too_many := _too_many_blocks(axes):
        return None, axes, [], faults + too_many

    known: Known = {}

    @functools.cache
    def there(point: Point) -> tuple[Settings | None, list[str]]:
        """At (number of an axis, number of a value), and the first values of the other axes, single values only."""
        values = {axes[number].key: axes[number].values[position] for number, position in point}
        return settings_of(_changed(raw, values), model, known)

    @functools.cache
    def at(point: Point) -> tuple[Settings | None, list[str]]:
        """The same, and how they go together."""
        found, wrong = there(point)
        return found, wrong if found is None else wrong or combination_faults(model, found, home)

    everywhere = recordable(model, settings) if settings is not None and not faults else []
    computed: set[int] = set()
    for number, axis in enumerate(axes):
        for position in _tried(axis, _MOST_TRIED):
            other, wrong = at(((number, position),))
            faults += wrong
            if other is not None and not wrong:
                if settings is not None and _moves_others(model, axis, settings, other):
                    computed.add(number)
                names = recordable(model, other)
                everywhere = [name for name in everywhere if name in names]
    axes = [replace(axis, structural=axis.structural or number in computed) for number, axis in enumerate(axes)]
    faults += _too_many_blocks(axes)
    if faults or settings is None:
        return None, axes, [], faults
    record = settings.record.model_copy(update={"variables": frame_names(settings.record, everywhere, model)})
    settings = replace(settings, record=record)
    faults += name_faults(settings, {axis.name: axis.key for axis in axes})
    structural = [number for number, axis in enumerate(axes) if axis.structural]
    places = itertools.product(*(range(len(axes[number].values)) for number in structural)) if structural else ()
    blocks = [tuple((number, i) for number, i in zip(structural, place) if i) for place in places]
    judged = {blocks[i] for i in [0, *_spaced(len(blocks), _MOST_TRIED)]} if blocks else set()
    of_blocks = []
    for point in blocks:
        combined, wrong = at(point) if point in judged else there(point)
        of_blocks += [combined] if combined is not None else []
        faults += wrong
        if point in judged:
            faults += shape_faults(model, settings, combined) if combined is not None and not wrong else []
            for number, axis in enumerate(axes):
                for position in () if axis.structural else _tried(axis, _MOST_TRIED // len(judged)):
                    faults += at.__wrapped__((*point, (number, position)))[1]
    return settings, axes, of_blocks, faults


def _too_many_blocks(axes: list[Axis]) -> list[str]:
    structural = [axis for axis in axes if axis.structural]
    blocks = math.prod(len(axis.values) for axis in structural)
    if blocks <= _MOST_BLOCKS:
        return []
    named = ", ".join(f"{axis.key} ({len(axis.values):,})" for axis in structural)
    return [f"sweep: the values of {named} run one after another, {blocks:,} runs; {_MOST_BLOCKS:,} at most."]


def _tried(axis: Axis, most: int) -> list[int]:
    """Numbers of the values after the first, or some of them: with the last and, of numbers, the least and largest."""
    tried = set(_spaced(len(axis.values), most))
    if len(tried) < len(axis.values) - 1 and all(isinstance(value, (int, float)) for value in axis.values):
        tried |= {int(np.argmin(axis.values)), int(np.argmax(axis.values))} - {0}  # of those with a NaN the NaN
    return sorted(tried)


def _spaced(count: int, most: int) -> list[int]:
    """So many numbers from 1 to `count`, or fewer, the last of them there."""
    return np.unique(np.linspace(1, count - 1, max(1, min(most, count - 1))).astype(int)).tolist() if count > 1 else []


def _moves_others(model: Model, axis: Axis, here: Settings, there: Settings) -> bool:
    """Whether constants, or defaults of theta, which lanes share, are computed from the constant of this axis."""
    section, _, key = axis.key.partition(".")
    if section != "model":
        return False
    a, b = here.model.constants, there.model.constants
    if any(a[name] != b[name] for name in a if name != key):
        return True
    return any(not np.array_equal(group.default(a), group.default(b)) for group in model.parameters)


def _whole(table: Raw, model: Model, prefix: str = "") -> Raw:
    """The tables of a case with whole numbers where these are expected, however they are written: steps = 1e5."""
    result = {}
    for name, value in table.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and "kind" not in value:
            result[name] = _whole(value, model, f"{key}.")
        else:
            result[name] = whole(value) if _is_whole(key, value, model) else value
    return result


def _whole_values(axis: Axis, model: Model) -> tuple[Any, ...]:
    """The same of the values of an axis."""
    all_whole = _is_whole(axis.key, 0, model)
    return tuple(whole(value) if all_whole or isinstance(value, dict) else value for value in axis.values)


def _is_whole(key: str, value: Any, model: Model) -> bool:
    """Whether a key, or a part of its value, is a whole number."""
    section, _, name = key.partition(".")
    if section == "model":
        return any(constant.integer for constant in model.constants if constant.name == name)
    if key in ("theta.batch", "theta.recording.replica") or isinstance(value, dict):
        return True
    schema = RecordTable if section == "record" and "." in name else SECTIONS.get(section)
    field = schema.model_fields.get(name.rpartition(".")[2]) if schema else None
    return field is not None and _names_int(field.annotation)


def _names_int(annotation: Any) -> bool:
    """Whether a type is int, or made of it: int | None, list[int], Literal[2, 4]."""
    parts = get_args(annotation)
    return annotation is int or type(annotation) is int or any(map(_names_int, parts))


def _changed(raw: Raw, values: Mapping[str, Any]) -> Raw:
    """A case's tables with other values of dotted keys; what does not change is shared."""
    for key, value in values.items():
        raw = _with(raw, key_parts(key), value, key)
    return raw


def _with(table: Raw, parts: list[str], value: Any, key: str) -> Raw:
    if len(parts) == 1:
        return {**table, parts[0]: value}
    inner = table.get(parts[0], {})
    if not isinstance(inner, dict):
        raise CaseError([f"{key}: {parts[0]} is a value, not a table; it has no key {parts[-1]!r}"])
    return {**table, parts[0]: _with(inner, parts[1:], value, key)}


def key_parts(key: str) -> list[str]:
    """The names in a dotted key: what stands in quotes is one of them, dots and all."""
    if not set(key) & set("\"'"):
        return key.split(".")
    try:
        table: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return key.split(".")
    parts = []
    while isinstance(table, dict):
        ((name, table),) = table.items()
        parts.append(name)
    return parts
