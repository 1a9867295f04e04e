"""The JSON schema of a case file, made of the sections' own declarations."""

from __future__ import annotations

import json
from typing import Any

from thermosim.case.record import RecordTable
from thermosim.case.settings import SECTIONS
from thermosim.schedules import KINDS, Kind

__all__ = ["json_schema", "key_rows"]

_SCHEDULE = {"$ref": "#/$defs/schedule"}
_NUMBERS = {"type": ["number", "array"]}
_FORMULA = {
    "type": "object",
    "properties": {
        **{key: {"type": "string"} for key in ("energy", "loss")},
        "drive": {"type": "array", "items": {"type": "string"}},
        **{key: {"type": ["integer", "string"]} for key in ("components", "inputs", "targets")},
        **{key: {"type": "object", "additionalProperties": _NUMBERS} for key in ("constants", "parameters")},
        "observables": {"type": "object", "additionalProperties": {"type": "string"}},
        "unbounded": {"type": "boolean"},
    },
    "additionalProperties": False,
}
_BY_NAME = {"type": "object", "additionalProperties": {"type": "number"}}  # of components or groups of parameters


def json_schema() -> dict[str, Any]:
    """The JSON schema of a case file; [model] takes the constants that `thermosim models NAME` lists."""
    axis = {
        "type": "object",
        "properties": {
            "values": {"type": "array"},
            "logspace": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            "linspace": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            "num": {"type": "integer", "minimum": 2},
        },
        "additionalProperties": False,
    }
    properties: dict[str, Any] = {
        "title": {"type": "string"},
        "model": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "file": {"type": "string"}, "formula": _FORMULA},
        },
        "sweep": {"type": "object", "additionalProperties": axis},
    }
    properties |= {name: section.model_json_schema() for name, section in SECTIONS.items()}
    for section in properties.values():
        for described in section.get("properties", {}).values():
            if described.pop("schedule", False):
                described["anyOf"] = [_NUMBERS, _SCHEDULE, _BY_NAME]
    properties["theta"]["properties"]["protocol"]["additionalProperties"] = {"anyOf": [_NUMBERS, _SCHEDULE]}
    properties["record"]["properties"].pop("tables")
    properties["record"]["additionalProperties"] = RecordTable.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "thermosim case",
        "type": "object",
        "properties": properties,
        "$defs": {"schedule": {"anyOf": [_kind(name, kind) for name, kind in KINDS.items()]}},
        "required": ["model", "ensemble", "run"],
        "additionalProperties": False,
    }


def key_rows() -> list[tuple[str, str, str, str]]:
    """Key, type, default and meaning of every key of a case, in order, and of the kinds of schedules."""
    rows = [("title", "string", "the file's name", "what the case asks")]
    rows += [
        ("model.name", "string", "", "a model of `thermosim models`, whose other keys `thermosim models NAME` lists")
    ]
    rows += [("model.file", "string", "", "a model of your own, in place of a name")]
    rows += [("model.formula", "table", "", "energy or loss as one line of text, in place of a name; docs/formulas.md")]
    schema = json_schema()["properties"]
    for name in SECTIONS:
        rows += _rows(f"{name}.", schema[name])
    rows += _rows("record.VARIABLE.", schema["record"]["additionalProperties"])
    rows += [
        (
            'sweep."KEY"',
            "table",
            "",
            "an axis: { values = [...] }, or { logspace or linspace = [first, last], num = N }",
        )
    ]
    for name, kind in KINDS.items():
        rows += [(f'{{ kind = "{name}" }}', "schedule", "", kind.summary)]
        rows += [(f"    {key}", "", "required" if key in kind.needed else "", text) for key, text in kind.keys.items()]
    return rows


def _rows(prefix: str, section: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    required = section.get("required", ())
    return [
        (
            f"{prefix}{key}",
            _type(described),
            "required" if key in required else _default(described.get("default")),
            described.get("description", ""),
        )
        for key, described in section["properties"].items()
    ]


def _type(described: dict[str, Any]) -> str:
    """The type in words."""
    if "$ref" in described:
        return "schedule"
    if "enum" in described:
        return ", ".join(map(str, described["enum"]))
    if "const" in described:
        return str(described["const"])
    if "anyOf" in described:
        return " or ".join(dict.fromkeys(_type(one) for one in described["anyOf"] if one.get("type") != "null"))
    types = described.get("type", "any")
    words = {"object": "table", "array": "list", "integer": "whole number", "boolean": "true or false"}
    return " or ".join(words.get(one, one) for one in ([types] if isinstance(types, str) else types))


def _default(value: Any) -> str:
    return "" if value is None or value == {} else json.dumps(value)


def _kind(name: str, kind: Kind) -> dict[str, Any]:
    """A table of this kind, each key with its meaning."""
    return {
        "type": "object",
        "description": kind.summary,
        "properties": {"kind": {"enum": [name]}, **{key: {"description": text} for key, text in kind.keys.items()}},
        "required": ["kind", *kind.needed],
        "additionalProperties": False,
    }
