"""A case file becomes a frozen, validated Case. Every refusal a user can meet before a run is worded here.

All faults of a case are collected and reported together, each with its dotted key, the value, what was expected and
the nearest valid name. Nothing is compiled or written before a case is whole.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from thermosim.case import library
from thermosim.case.numbers import number_faults
from thermosim.case.record import fill_record, frame_names, name_faults
from thermosim.case.rules import combination_faults, recordable, shape_faults
from thermosim.case.schema import SECTIONS, RecordTable
from thermosim.ledger import VARIABLES
from thermosim.model import Constant, Model

__all__ = ["Axis", "Case", "CaseError", "load_case"]

Raw = dict[str, Any]
_TOP = ("title", "model", *SECTIONS, "sweep")


class CaseError(Exception):
    """A case that cannot be run; `faults` holds one paragraph for each fault."""

    def __init__(self, faults: Iterable[str], name: str = "the case") -> None:
        self.faults = list(dict.fromkeys(faults))
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"{name} has {count}:\n\n" + "\n\n".join(f"  {fault}" for fault in self.faults))


@dataclass(frozen=True)
class Axis:
    """One axis of a sweep. A structural axis changes shapes or code: its values run one after another."""

    key: str
    values: tuple[Any, ...]
    structural: bool

    @property
    def name(self) -> str:
        """The dimension's name: the last part of the key."""
        return self.key.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class Case:
    """A whole, valid case. `settings` is resolved: every default filled in, first values of the sweep in place."""

    title: str
    source: str
    overrides: Mapping[str, Any]
    raw: Raw
    folder: Path
    model: Model
    settings: Mapping[str, Any]
    axes: tuple[Axis, ...]

    @property
    def lane_axes(self) -> tuple[Axis, ...]:
        """Axes whose points are lanes of one ensemble."""
        return tuple(axis for axis in self.axes if not axis.structural)

    @property
    def replicas_in_all(self) -> int:
        """Replicas over the whole sweep."""
        return int(self.settings["ensemble"]["replicas"] * math.prod(len(axis.values) for axis in self.axes))

    def blocks(self) -> Iterator[tuple[tuple[int, ...], Mapping[str, Any]]]:
        """Index and settings of every combination of structural values, in order."""
        structural = [axis for axis in self.axes if axis.structural]
        if not structural:
            yield (), self.settings
            return
        for index in itertools.product(*(range(len(axis.values)) for axis in structural)):
            raw = copy.deepcopy(self.raw)
            for axis, i in zip(structural, index, strict=True):
                _put(raw, axis.key, axis.values[i])
            settings, _ = _resolve(raw, self.model, self.folder)
            yield index, settings

    def model_source(self) -> str:
        """The text of a user's model file; empty for a model of thermosim."""
        file = self.settings["model"].get("file")
        return (self.folder / file).read_text("utf-8") if file else ""

    def frame_steps(self) -> np.ndarray:
        """The recorded steps."""
        record, steps = self.settings["record"], self.settings["run"]["steps"]
        return np.arange(record["first"], steps + 1, record["every"])


def load_case(source: str | Path, overrides: Mapping[str, Any] | None = None, folder: str | Path | None = None) -> Case:
    """The case in a TOML file, of a name that `thermosim cases` lists, or in TOML text: a string with a line break.

    `overrides` maps dotted keys to values, as `--set` does; `folder` is where a model's file is looked for, by default
    next to the case. Raises CaseError naming every fault at once.
    """
    text, home, name = _read(source)
    home = home if folder is None else Path(folder)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CaseError([f"not valid TOML: {error}. Strings need quotes, tables [brackets]."], name) from None
    for key, value in (overrides or {}).items():
        _put(raw, key, value)

    faults = [_unknown(key, raw[key], _TOP) for key in raw if key not in _TOP]
    axes, axis_faults = _axes(raw.pop("sweep", {}))
    title = raw.pop("title", Path(name).stem)
    if not isinstance(title, str):
        faults.append(f"title = {title!r}: expected a string.")
    model, model_faults = _find_model(raw, home)
    faults += axis_faults + model_faults
    if model is None:
        raise CaseError(faults, name)

    for axis in axes:
        _put(raw, axis.key, axis.values[0])
    settings, resolve_faults = _resolve(raw, model, home)
    faults += resolve_faults
    moves = {settings.get("x", {}).get("dynamics")}.union(*(a.values for a in axes if a.key == "x.dynamics"))
    axes = [Axis(a.key, a.values, _is_structural(a, model, "exact-ou" in moves)) for a in axes]
    everywhere = None if faults else recordable(model, settings)
    for axis in axes:
        for value in axis.values[1:]:
            changed = copy.deepcopy(raw)
            _put(changed, axis.key, value)
            there, faults_there = _resolve(changed, model, home)
            faults += faults_there
            if everywhere is not None and not faults_there:
                everywhere = [name for name in everywhere if name in recordable(model, there)]
    if not faults:
        settings["record"]["variables"] = frame_names(settings["record"], everywhere or [])
        faults += name_faults(settings, {axis.name: axis.key for axis in axes})
        structural = [axis for axis in axes if axis.structural]
        for values in itertools.product(*(axis.values for axis in structural)):
            changed = copy.deepcopy(raw)
            for axis, value in zip(structural, values, strict=True):
                _put(changed, axis.key, value)
            combined, combined_faults = _resolve(changed, model, home)
            faults += combined_faults or shape_faults(model, settings, combined)
    if not faults and model.name not in _built_in():
        from thermosim.models.slopes import slope_faults

        faults += slope_faults(model, settings)
    if faults:
        raise CaseError(faults, name)
    settings["sweep"] = {axis.key: list(axis.values) for axis in axes}
    settings["title"] = title
    return Case(str(title), text, dict(overrides or {}), raw, home, model, settings, tuple(axes))


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
    except (OSError, UnicodeDecodeError) as error:
        raise CaseError([f"cannot be read: {error}"], str(path)) from None


def _put(raw: Raw, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for part in parents:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            raise CaseError([f"{key}: {part} is a value, not a table; it has no key {last!r}"])
    raw[last] = value


def _unknown(key: str, value: Any, valid: Iterable[str]) -> str:
    prefix, _, last = key.rpartition(".")
    near = difflib.get_close_matches(last, list(valid), 1, cutoff=0.5)
    dot = prefix + "." if prefix else ""
    hint = f"Did you mean {dot}{near[0]}?" if near else f"Valid here: {', '.join(sorted(valid))}."
    shown = f" = {value!r}" if not isinstance(value, (dict, list)) else ""
    return f"{key}{shown}: unknown key. {hint}"


def _built_in() -> Mapping[str, Model]:
    from thermosim.models import MODELS

    return MODELS


def _find_model(raw: Raw, folder: Path) -> tuple[Model | None, list[str]]:
    section = raw.get("model")
    if not isinstance(section, dict) or not section.keys() & {"name", "file"}:
        return None, [
            'model: missing. A case needs [model] with name = "..." (`thermosim models` lists them) or a file.'
        ]
    if "file" in section:
        from thermosim.models.user import load_user_model

        if "name" in section:
            return None, ["model: has both name and file; keep one of them."]
        return load_user_model(folder / str(section["file"]))
    name, models = section["name"], _built_in()
    if not isinstance(name, str) or name not in models:
        near = difflib.get_close_matches(str(name), list(models), 1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(models)}."
        return None, [f'model.name = {name!r}: no such model. {hint} Your own model: file = "my_model.py".']
    return models[name], []


def _axes(sweep: Any) -> tuple[list[Axis], list[str]]:
    if not isinstance(sweep, dict):
        return [], ["sweep: expected a table of axes."]
    axes, faults = [], []
    for key, spec in sweep.items():
        expected = "expected { values = [...] } or { logspace = [first, last], num = n } or { linspace = ..., num = n }"
        kinds = sorted(spec.keys() - {"num"}) if isinstance(spec, dict) else []
        if len(kinds) != 1 or kinds[0] not in ("values", "logspace", "linspace"):
            faults.append(f'sweep."{key}" = {spec!r}: {expected}.')
            continue
        values, number = spec[kinds[0]], spec.get("num")
        if kinds[0] == "values":
            good = isinstance(values, list) and len(values) > 0 and number is None
        else:
            good = isinstance(values, list) and len(values) == 2 and isinstance(number, int) and 2 <= number <= 100_000
            good = good and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
            good = good and (kinds[0] == "linspace" or min(values) > 0)
        if not good:
            faults.append(f'sweep."{key}" = {spec!r}: {expected}, the ends of a logspace positive.')
            continue
        if kinds[0] != "values":
            space = np.geomspace if kinds[0] == "logspace" else np.linspace
            values = [float(v) for v in space(values[0], values[1], number)]
        axes.append(Axis(key, tuple(values), structural=False))
    names = [axis.name for axis in axes]
    faults += [
        f"sweep: two axes are called {name!r}; sweep them in two cases." for name in names if names.count(name) > 1
    ]
    for axis in axes:
        if axis.key.split(".")[0] in ("sweep", "title", "record", "ensemble") or axis.key in (
            "run.steps",
            "model.name",
            "model.file",
        ):
            faults.append(f'sweep."{axis.key}": cannot be an axis of one ensemble; make it several cases or use --set.')
        elif "." not in axis.key:
            faults.append(f'sweep."{axis.key}": expected a dotted key such as "theta.learning_rate".')
    return [axis for axis in axes if "." in axis.key], faults


def _is_structural(axis: Axis, model: Model, exact_ou: bool) -> bool:
    """Whether the values run one after another; the propagator of exact-ou is one for all lanes."""
    section, _, key = axis.key.partition(".")
    numeric = all(isinstance(v, (int, float)) for v in axis.values)
    if section == "theta":
        return not (numeric and key in ("learning_rate", "weight_decay", "radius", "momentum", "temperature"))
    if section == "x":
        return exact_ou or not (numeric and key in ("time_step", "temperature"))
    constant = next((c for c in model.constants if c.name == key), None)
    return section != "model" or constant is None or constant.integer or constant.is_array or exact_ou


def _resolve(raw: Raw, model: Model, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Settings with every default, and the faults of this combination of values."""
    settings: dict[str, Any] = {}
    settings["model"], faults = _constants(raw.get("model", {}), model)
    for name, section in SECTIONS.items():
        given = raw.get(name)
        if given is None and name in ("x", "data"):
            continue
        if not isinstance(given if given is not None else {}, dict):
            faults.append(f"{name} = {given!r}: expected a table [{name}].")
            continue
        tables = _record_tables(given or {}) if name == "record" else {}
        own = {key: value for key, value in (given or {}).items() if key not in tables}
        settings[name], section_faults = _section(name, section, own)
        faults += section_faults
        if name == "record":
            parts = {key: _section(f"record.{key}", RecordTable, table) for key, table in tables.items()}
            settings["record"]["tables"] = {key: table for key, (table, _) in parts.items()}
            faults += [fault for _, table_faults in parts.values() for fault in table_faults]
    if not faults:
        faults += fill_record(settings)
    if not faults:
        theta = settings["theta"]
        if model.learns and theta["gradient"] is None and theta["dynamics"] in ("sgd", "sgld", "langevin"):
            theta["gradient"] = "likelihood" if model.normalised else "contrast"
        if theta["dynamics"] == "langevin" and theta["batch"] is None:
            theta["batch"] = "all"
        faults += combination_faults(model, settings, folder)
    return settings, faults


def _section(name: str, schema: type[BaseModel], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values of a section with defaults, and what is wrong with single ones; no values where something is."""
    try:
        return schema(**given).model_dump(), []
    except ValidationError as error:
        return {}, [_worded(name, fault, schema, given) for fault in error.errors()]
    except TypeError:
        return {}, [f"{name}: keys must be plain words."]


def _record_tables(given: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of [record] that are named after variables."""
    keys = SECTIONS["record"].model_fields
    return {key: value for key, value in given.items() if isinstance(value, dict) and key not in keys}


def _constants(given: Mapping[str, Any], model: Model) -> tuple[dict[str, Any], list[str]]:
    known = {constant.name: constant for constant in model.constants}
    values: dict[str, Any] = {"name": model.name}
    faults = [
        _unknown(f"model.{key}", value, known)
        for key, value in given.items()
        if key not in known and key not in ("name", "file")
    ]
    if "file" in given:
        values["file"] = given["file"]
    for constant in model.constants:
        value = given.get(constant.name, constant.default)
        if value is None:
            faults.append(f"model.{constant.name}: missing; {constant.meaning}.")
            continue
        if callable(value):
            value = value(values) if not faults else None
        if value is None:
            continue
        fault = _constant_fault(constant, value, values)
        if fault:
            faults.append(f"model.{constant.name} = {value!r}: {fault}")
        values[constant.name] = np.asarray(value, float).tolist() if constant.is_array and not fault else value
    return values, faults


def _constant_fault(constant: Constant, value: Any, values: Mapping[str, Any]) -> str | None:
    if constant.shape is not None:
        try:
            shape, wanted = np.shape(np.asarray(value, float)), constant.shape(values)
        except (TypeError, ValueError):
            return f"expected numbers; {constant.meaning}."
        return None if shape == wanted else f"has shape {shape}, expected {wanted}; {constant.meaning}."
    if constant.integer and (not isinstance(value, int) or isinstance(value, bool)):
        return f"expected a whole number; {constant.meaning}."
    return number_faults(value, constant.minimum, constant.maximum, constant.exclusive, constant.meaning)


def _worded(section: str, fault: Any, schema: Any, given: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in (section, *fault["loc"]))
    kind, context = fault["type"], fault.get("ctx", {})
    field = schema.model_fields.get(str(fault["loc"][0])) if fault["loc"] else None
    meaning = f" ({field.description})" if field is not None and field.description else ""
    if kind == "extra_forbidden" and section == "record" and fault["loc"][0] in VARIABLES:
        return f'{key} = {fault["input"]!r}: expected a table [{key}], such as {key}.keep = ["mean"].'
    if kind == "extra_forbidden":
        return _unknown(key, fault["input"], schema.model_fields)
    if kind == "missing":
        return f"{key}: missing{meaning}."
    if kind == "literal_error":
        near = difflib.get_close_matches(
            str(fault["input"]), context["expected"].replace("'", "").replace(" or ", ", ").split(", "), 1
        )
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"{key} = {fault['input']!r}: expected {context['expected']}.{hint}"
    return f"{key} = {fault['input']!r}: {fault['msg'].lower().replace('input should be', 'expected')}{meaning}."
