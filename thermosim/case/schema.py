"""The JSON schema of a case file, made of the sections' own declarations."""

from __future__ import annotations

from typing import Any

from thermosim.case.record import RecordTable
from thermosim.case.settings import SECTIONS

__all__ = ["json_schema"]


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
        "model": {"type": "object", "properties": {"name": {"type": "string"}, "file": {"type": "string"}}},
        "sweep": {"type": "object", "additionalProperties": axis},
    }
    properties |= {name: section.model_json_schema() for name, section in SECTIONS.items()}
    properties["record"]["properties"].pop("tables")
    properties["record"]["additionalProperties"] = RecordTable.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "thermosim case",
        "type": "object",
        "properties": properties,
        "required": ["model", "ensemble", "run"],
        "additionalProperties": False,
    }
