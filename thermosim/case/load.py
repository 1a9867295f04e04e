"""A case file becomes a frozen, validated Case.

All faults of a case are collected and reported together, each with its dotted key, the value, what was expected and
the nearest valid name. Nothing is compiled or written before a case is whole.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from thermosim.case import library
from thermosim.case.faults import CaseError, unknown
from thermosim.case.model import find_model
from thermosim.case.numbers import plain, whole
from thermosim.case.record import RecordTable, frame_names, name_faults, recordable, shape_faults
from thermosim.case.resolve import resolve
from thermosim.case.settings import SECTIONS, Settings
from thermosim.case.sweep import Axis, axes_of, is_structural, taken_names
from thermosim.case.toml import toml
from thermosim.data.utf8 import why_not_text
from thermosim.model import Model
from thermosim.moves import X_MOVES

__all__ = ["Case", "key_parts", "load_case"]

Raw = dict[str, Any]
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
        structural = [axis for axis in self.axes if axis.structural]
        if not structural:
            yield (), self.settings
            return
        for index in itertools.product(*(range(len(axis.values)) for axis in structural)):
            values = {axis.key: axis.values[i] for axis, i in zip(structural, index, strict=True)}
            settings, _ = resolve(_changed(self.raw, values), self.model, self.folder)
            assert settings is not None
            yield index, settings

    def model_source(self) -> str:
        """The text of a user's model file; empty for a model of thermosim."""
        file = self.settings.model.file
        return (self.folder / file).read_text("utf-8-sig") if file else ""

    def frame_steps(self) -> np.ndarray:
        """The recorded steps."""
        record = self.settings.record
        return np.arange(record.first, self.settings.run.steps + 1, record.every)


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
    text, home, name = (toml(plain(source)), Path.cwd(), "the case") if isinstance(source, Mapping) else _read(source)
    home = home if folder is None else Path(folder)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CaseError([f"not valid TOML: {error}. Strings need quotes, tables [brackets]."], name) from None
    for key, value in overrides.items():
        _put(raw, key, value)

    faults = [unknown(key, raw[key], _TOP) for key in raw if key not in _TOP]
    axes, axis_faults = axes_of(raw.pop("sweep", {}))
    title = raw.pop("title", Path(name).stem)
    if not isinstance(title, str):
        faults.append(f"title = {title!r}: expected a string.")
    model, model_faults = find_model(raw, home)
    faults += axis_faults + model_faults
    if model is None:
        raise CaseError(faults, name)
    raw = _whole(raw, model)
    axes = [
        replace(
            axis, values=tuple(whole(value) if _is_whole(axis.key, value, model) else value for value in axis.values)
        )
        for axis in axes
    ]
    faults += taken_names(axes, model)
    raw = _changed(raw, {axis.key: axis.values[0] for axis in axes})
    settings, axes, more = _swept(raw, model, home, axes)
    faults += more
    if not faults and settings is not None and settings.model.file is not None:
        from thermosim.models.slopes import slope_faults  # compiles

        faults += slope_faults(model, settings.model.constants)
    if faults or settings is None:
        raise CaseError(faults, name)
    settings = replace(settings, sweep={axis.key: list(axis.values) for axis in axes}, title=title)
    return Case(title, text, overrides, raw, home, model, settings, tuple(axes))


def _swept(raw: Raw, model: Model, home: Path, axes: list[Axis]) -> tuple[Settings | None, list[Axis], list[str]]:
    """The settings at the first point, the axes with what is structural, and the faults of all points.

    Each value of an axis is tried with the first values of the others, all structural values together, and each value
    of the other axes with all of these.
    """
    settings, faults = resolve(raw, model, home)
    moves = {settings.x.dynamics} if settings is not None and settings.x is not None else set()
    moves = moves.union(*(axis.values for axis in axes if axis.key == "x.dynamics"))
    steady = any(X_MOVES[name].steady for name in moves if name in X_MOVES)
    axes = [replace(axis, structural=is_structural(axis, model, steady)) for axis in axes]
    everywhere = recordable(model, settings) if settings is not None and not faults else []
    for axis in axes:
        for value in axis.values[1:]:
            there, wrong = resolve(_changed(raw, {axis.key: value}), model, home)
            faults += wrong
            if there is not None and not wrong:
                names = recordable(model, there)
                everywhere = [name for name in everywhere if name in names]
    if faults or settings is None:
        return None, axes, faults
    record = settings.record.model_copy(update={"variables": frame_names(settings.record, everywhere)})
    settings = replace(settings, record=record)
    faults += name_faults(settings, {axis.name: axis.key for axis in axes})
    structural = [axis for axis in axes if axis.structural]
    lane_values = [(axis.key, value) for axis in axes if not axis.structural for value in axis.values[1:]]
    for values in itertools.product(*(axis.values for axis in structural)) if structural else ():
        together = dict(zip((axis.key for axis in structural), values, strict=True))
        combined, wrong = resolve(_changed(raw, together), model, home)
        faults += wrong if wrong or combined is None else shape_faults(model, settings, combined)
        for key, value in lane_values:
            faults += resolve(_changed(raw, {**together, key: value}), model, home)[1]
    return settings, axes, faults


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
    """A copy of a case's tables with other values of dotted keys."""
    changed = copy.deepcopy(raw)
    for key, value in values.items():
        _put(changed, key, value)
    return changed


def _read(source: str | Path) -> tuple[str, Path, str]:
    if isinstance(source, str) and "\n" in source:
        return source, Path.cwd(), "the case"
    path = Path(source)
    try:
        found = path if path.exists() else library.find(path) or path
        return found.read_text("utf-8-sig"), found.resolve().parent, str(path)
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.toml")], 1)
        meant = path.parent / near[0] if near else library.suggestion(path)
        hint = f" Did you mean {meant}?" if meant else " `thermosim cases` lists those that come with it."
        raise CaseError([f"no such file.{hint}"], str(path)) from None
    except UnicodeDecodeError:
        raise CaseError([f"{why_not_text(found.read_bytes())}."], str(path)) from None
    except OSError as error:
        raise CaseError([f"cannot be read: {error}"], str(path)) from None


def _put(raw: Raw, key: str, value: Any) -> None:
    *parents, last = key_parts(key)
    for part in parents:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            raise CaseError([f"{key}: {part} is a value, not a table; it has no key {last!r}"])
    raw[last] = value


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
