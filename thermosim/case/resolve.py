"""One combination of a case's values: every default filled in, and what is wrong with it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from thermosim.case import data, engine, irreversibility, theta, x
from thermosim.case.faults import unknown, worded
from thermosim.case.model import resolved_model
from thermosim.case.record import RecordTable, filled_record, record_faults, size_faults
from thermosim.case.run import first_step_faults
from thermosim.case.settings import SECTIONS, Settings
from thermosim.case.theta import ThetaSection
from thermosim.model import Model
from thermosim.moves import THETA_MOVES

__all__ = ["Known", "combination_faults", "resolve", "settings_of"]

Known = dict[tuple[str, int], tuple[Any, Any]]  # of tables that were read: by name and identity, table and what it gave

_OPTIONAL = ("x", "data", "irreversibility", "engine", "measure")
_ABSENT: dict[str, Any] = {}


def resolve(raw: Mapping[str, Any], model: Model, folder: Path) -> tuple[Settings | None, list[str]]:
    """The settings, or None where single values are wrong, and the faults of this combination of values.

    `folder` is where the files of the case are looked for.
    """
    settings, faults = settings_of(raw, model)
    return settings, faults if settings is None else faults or combination_faults(model, settings, folder)


def settings_of(raw: Mapping[str, Any], model: Model, known: Known | None = None) -> tuple[Settings | None, list[str]]:
    """The settings, or None where single values are wrong, and the faults of these and of options nothing uses.

    What was `known` of tables before is taken from there, and what is read is put there.
    """
    known = {} if known is None else known
    model_settings, found = _once(known, "model", raw.get("model", {}), lambda given: resolved_model(given, model))
    faults = list(found)
    sections: dict[str, Any] = {}
    for name in SECTIONS:
        given = raw.get(name)
        if given is None and name in _OPTIONAL:
            continue
        if not isinstance(given if given is not None else {}, dict):
            faults.append(f"{name} = {given!r}: expected a table [{name}].")
            continue
        sections[name], wrong = _once(known, name, given or _ABSENT, functools.partial(_read, name, model))
        faults += wrong
    if faults:
        return None, faults
    sections["engine"] = engine.with_name(model, sections.get("engine"))
    sections["record"], unused = filled_record(sections["record"], sections["run"])
    return Settings(model_settings, **sections), unused


def _once(known: Known, name: str, given: Any, read: Callable[[Any], Any]) -> Any:
    """What reading a table gives; the points of a sweep share all tables but those of their axes."""
    if (name, id(given)) not in known:
        known[name, id(given)] = given, read(given)  # kept, or another table might have its identity
    return known[name, id(given)][1]


def _read(name: str, model: Model, given: Mapping[str, Any]) -> tuple[BaseModel | None, list[str]]:
    """A section, with what follows from the model and the move filled in, and what is wrong with single values."""
    section, faults = _record(given) if name == "record" else _section(name, SECTIONS[name], given)
    return theta.with_defaults(model, section) if isinstance(section, ThetaSection) else section, faults


def combination_faults(model: Model, settings: Settings, folder: Path) -> list[str]:
    """Faults of a case whose single values have the right types."""
    if too_large := size_faults(model, settings):
        return too_large
    ensemble = settings.ensemble
    if sum(ensemble.added) >= ensemble.replicas:
        return [f"ensemble.added = {ensemble.added}: these are all of {ensemble.replicas} replicas; some came before."]
    if wrong_engine := engine.faults(model, settings):
        return wrong_engine
    faults = first_step_faults(model, settings)
    faults += theta.faults(model, settings, folder) + x.faults(model, settings, folder)
    faults += data.faults(model, settings, folder) + record_faults(model, settings)
    if settings.irreversibility is not None:
        faults += irreversibility.faults(model, settings, settings.irreversibility)
    if THETA_MOVES[settings.theta.dynamics].rests and settings.x is None:
        faults.append("theta.dynamics = 'frozen' and no [x]: nothing moves. Give theta a dynamics, or add [x].")
    if not faults and model.validate is not None:
        faults += _validated(model, settings)
    return faults


def _validated(model: Model, settings: Settings) -> list[str]:
    """What the model itself finds wrong; a user's `validate` may be wrong in any way."""
    assert model.validate is not None
    try:
        found = model.validate(settings.model.constants, settings)
    except Exception as error:
        if settings.model.file is None:
            raise
        called = f"model.file = {settings.model.file!r}: validate(constants, settings)"
        return [f"{called} raised {type(error).__name__}: {error}"]
    if not isinstance(found, list) or not all(isinstance(fault, str) for fault in found):
        return [f"model.file = {settings.model.file!r}: validate must return a list of sentences, not {found!r}."]
    return found


def _section(name: str, schema: type[BaseModel], given: Mapping[str, Any]) -> tuple[BaseModel | None, list[str]]:
    """The section with defaults, and what is wrong with single values; none where something is."""
    try:
        return schema(**given), []
    except ValidationError as error:
        return None, [worded(name, fault, schema, given) for fault in error.errors()]
    except TypeError:
        return None, [f"{name}: keys must be plain words."]


def _record(given: Mapping[str, Any]) -> tuple[BaseModel | None, list[str]]:
    """[record] with its tables, each named after a variable."""
    schema = SECTIONS["record"]
    keys = schema.model_fields.keys() - {"tables"}
    tables = {key: value for key, value in given.items() if isinstance(value, dict) and key not in keys}
    own = {key: value for key, value in given.items() if key not in tables}
    if "tables" in own:  # a field of the section, but no key of a case
        return None, [unknown("record", "tables", own["tables"], keys)]
    section, faults = _section("record", schema, own)
    parsed = {key: _section(f"record.{key}", RecordTable, table) for key, table in tables.items()}
    faults += [fault for _, wrong in parsed.values() for fault in wrong]
    if faults or section is None:
        return None, faults
    return section.model_copy(update={"tables": {key: table for key, (table, _) in parsed.items()}}), []
