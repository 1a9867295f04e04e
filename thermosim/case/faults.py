"""The one exception for what a user gave, and the wording of what is unknown or of the wrong type."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from thermosim.ledger import VARIABLES

__all__ = ["CaseError", "unknown", "worded"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")  # what TOML takes for a key without quotes
_LONGEST = 1500  # characters of a fault, whatever value it shows


class CaseError(Exception):
    """A case that cannot be run; `faults` holds one paragraph for each fault."""

    def __init__(self, faults: Iterable[str], name: str = "the case") -> None:
        self.faults, self._name = list(dict.fromkeys(map(_shortened, faults))), name
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"{name} has {count}:\n\n" + "\n\n".join(f"  {fault}" for fault in self.faults))

    def __reduce__(self) -> tuple[type[CaseError], tuple[list[str], str]]:
        """A worker of a cluster sends it."""
        return CaseError, (self.faults, self._name)


def _shortened(fault: str) -> str:
    return fault if len(fault) <= _LONGEST else f"{fault[: _LONGEST // 2]} ... {fault[-_LONGEST // 2 :]}"


def unknown(section: str, name: str, value: Any, valid: Iterable[str]) -> str:
    """The wording of a key that a section (empty: the case itself) does not have."""
    near = difflib.get_close_matches(name, list(valid), 1, cutoff=0.5)
    dot = section + "." if section else ""
    hint = f"Did you mean {dot}{near[0]}?" if near else f"Valid here: {', '.join(sorted(valid))}."
    shown = f" = {value!r}" if not isinstance(value, (dict, list)) else ""
    key = name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
    return f"{dot}{key}{shown}: unknown key. {hint}"


def worded(section: str, fault: Any, schema: Any, given: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in (section, *fault["loc"]))
    kind, context = fault["type"], fault.get("ctx", {})
    field = schema.model_fields.get(str(fault["loc"][0])) if fault["loc"] else None
    meaning = f" ({field.description})" if field is not None and field.description else ""
    if kind == "extra_forbidden" and section == "record" and fault["loc"][0] in VARIABLES:
        return f'{key} = {fault["input"]!r}: expected a table [{key}], such as {key}.keep = ["mean"].'
    if kind == "extra_forbidden":
        *inner, name = fault["loc"]
        inside = ".".join(map(str, (section, *inner)))
        return unknown(inside, str(name), fault["input"], schema.model_fields.keys() - {"tables"})
    if kind == "missing":
        return f"{key}: missing{meaning}."
    if key == "data.source" and any(mark in str(fault["input"]) for mark in "./"):
        return f"{key} = {fault['input']!r}: names a source, not a file; write data.file = {fault['input']!r}."
    if kind == "literal_error":
        near = difflib.get_close_matches(
            str(fault["input"]), context["expected"].replace("'", "").replace(" or ", ", ").split(", "), 1
        )
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"{key} = {fault['input']!r}: expected {context['expected']}.{hint}"
    return f"{key} = {fault['input']!r}: {fault['msg'].lower().replace('input should be', 'expected')}{meaning}."
