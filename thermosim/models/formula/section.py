"""The section [model.formula] of a case: read, given its names from the rest of the case, and kept as one text.

A constant is a key of [model], or of model.formula.constants; a parameter one of [theta.protocol], of a table
theta.initial, or of model.formula.parameters. The text has all of it, so that it alone makes the model again.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.model import OF_FORMULA
from thermosim.models.formula.graph import FUNCTIONS

__all__ = ["formula_text"]

_KEYS: tuple[str, ...] = ("energy", "loss", "drive", "components", "inputs", "targets", "constants", "parameters")
_KEYS += ("observables", "unbounded")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")
_TAKEN = {*FUNCTIONS, "tan", "sinh", "cosh", "sum", "where", "range", "pairs", "pi", "if", "else", "for", "in", "and"}
_TAKEN |= {"or", "not", "is", "lambda", "None", "True", "False", "name", "file", "formula", "theta"}
_MOST_NUMBERS = 100_000


def formula_text(raw: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The text of the formula of a case's tables, or what is wrong with the section."""
    model = raw["model"]
    section = model["formula"]
    if not isinstance(section, dict):
        return "", [
            f'model.formula = {section!r}: expected a table [model.formula] with energy = "..." or loss = "...".'
        ]
    faults = _key_faults(section)
    if faults:
        return "", faults
    of_loss = "loss" in section
    constants, parameters = dict(section.get("constants", {})), dict(section.get("parameters", {}))
    constants |= {
        key: value for key, value in model.items() if key not in ("name", "formula") and key not in parameters
    }
    parameters = {**_of_theta(raw, constants), **parameters}
    vectors = ("z", "y") if of_loss else ("x",)
    for kind, table in (("constants", constants), ("parameters", parameters)):
        for name, value in table.items():
            key = f"model.formula.{kind}.{name}" if name in section.get(kind, {}) else f"{name} (of the case)"
            faults += _name_faults(key, name, vectors) + _number_faults(key, value)
    for name in constants.keys() & parameters.keys():
        faults.append(f"model.formula: {name} is both a constant and a parameter; keep one of them.")
    if faults:
        return "", faults
    told = {key: section[key] for key in _KEYS if key in section and key not in ("constants", "parameters")}
    if isinstance(raw.get("x"), dict) and isinstance(raw["x"].get("temperature"), list):
        told["lanes"] = True  # only functions of one lane move at several temperatures
    text = {**told, "constants": constants, "parameters": parameters, "name": str(model.get("name", "formula"))}
    return f"{OF_FORMULA} {json.dumps(text)}}}", []


def _key_faults(section: Mapping[str, Any]) -> list[str]:
    faults = []
    for key in section:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, 1, cutoff=0.5)
            hint = f"Did you mean model.formula.{near[0]}?" if near else f"Valid here: {', '.join(_KEYS)}."
            faults.append(f"model.formula.{key}: unknown key. {hint}")
    if ("energy" in section) == ("loss" in section):
        faults.append(
            'model.formula: give energy = "..." of components x0, x1, ..., or loss = "..." of inputs z and targets y.'
        )
    for key in ("energy", "loss"):
        if key in section and not isinstance(section[key], str):
            faults.append(f'model.formula.{key} = {section[key]!r}: expected a formula in quotes, "0.5*k*x0**2".')
    drive = section.get("drive", [])
    if not isinstance(drive, list) or not all(isinstance(one, str) for one in drive):
        faults.append('model.formula.drive: expected a list of formulas, one for each component: ["-w*x1", "w*x0"].')
    elif drive and "loss" in section:
        faults.append("model.formula.drive: is a force on x, which a loss does not have; remove it.")
    for key in ("constants", "parameters", "observables"):
        if not isinstance(section.get(key, {}), dict):
            faults.append(f"model.formula.{key} = {section[key]!r}: expected a table of names.")
    observables = section.get("observables", {})
    observables = section.get("observables", {})
    for name, text in observables.items() if isinstance(observables, dict) else ():
        if not isinstance(text, str):
            faults.append(f"model.formula.observables.{name} = {text!r}: expected a formula in quotes.")
        elif not _NAME.fullmatch(name):
            faults.append(f"model.formula.observables.{name}: a name has letters, digits and _.")
    if not isinstance(section.get("unbounded", False), bool):
        faults.append(f"model.formula.unbounded = {section['unbounded']!r}: expected true or false.")
    for key in ("components", "inputs", "targets"):
        size = section.get(key, 1)
        if isinstance(size, bool) or not (isinstance(size, str) or (isinstance(size, int) and 0 < size <= 10**6)):
            faults.append(
                f'model.formula.{key} = {size!r}: expected a whole number, or a formula of some, as in "2*n".'
            )
    return faults


def _of_theta(raw: Mapping[str, Any], constants: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that [theta] gives a value or a schedule: the value at its start."""
    theta: Any = raw.get("theta")
    found: dict[str, Any] = {}
    for key in ("protocol", "initial") if isinstance(theta, dict) else ():
        table = theta.get(key)
        if isinstance(table, dict) and "from" not in table:
            found |= {name: _start(value) for name, value in table.items() if name not in constants}
    return found


def _start(value: Any) -> Any:
    """A number, an array, or the first of a schedule."""
    for key in ("initial", "value", "mean", "values"):
        if isinstance(value, dict) and key in value:
            first = value[key]
            return _start(first[0] if key == "values" and isinstance(first, list) and first else first)
    return value


def _name_faults(key: str, name: str, vectors: tuple[str, ...]) -> list[str]:
    if not _NAME.fullmatch(name):
        return [f"{key}: a name in a formula begins with a letter and has letters, digits and _ after it; rename it."]
    component = name in vectors or any(re.fullmatch(rf"{vector}\d+", name) for vector in vectors)
    if name in _TAKEN or component:
        return [f"{key}: the name {name} has a meaning in formulas already; rename it."]
    return []


def _number_faults(key: str, value: Any) -> list[str]:
    try:
        array = np.asarray(value)
        good = array.dtype.kind in "fiu" and bool(np.isfinite(array).all()) and 0 < array.size <= _MOST_NUMBERS
    except (TypeError, ValueError, OverflowError):
        good = False
    return [] if good else [f"{key} = {str(value)[:80]}: expected finite numbers; [model] of a formula has constants."]
