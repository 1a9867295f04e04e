"""The tables of a case as TOML text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["toml"]


def toml(tables: Mapping[str, Any]) -> str:
    """A case as TOML: its title, then a section for each table."""
    top = [f"{_text(name)} = {_value(value)}" for name, value in tables.items() if not isinstance(value, Mapping)]
    for name, section in tables.items():
        if isinstance(section, Mapping):
            top += ["", f"[{_text(name)}]", *(f"{_text(key)} = {_value(value)}" for key, value in section.items())]
    return "\n".join(top) + "\n"


def _text(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_text(name)} = {_value(part)}" for name, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # nan, inf, -inf
    if isinstance(value, (str, bool, int, float)):
        return json.dumps(value)
    return json.dumps(str(value))  # a path; anything else is refused by the key that it is given for
