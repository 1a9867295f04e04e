"""The section [model] of a case: which model, and its constants."""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from thermosim.case.faults import unknown
from thermosim.case.numbers import number_faults
from thermosim.case.settings import ModelSettings
from thermosim.case.sweep import RESERVED
from thermosim.data import DataSection
from thermosim.data.lengths import lengths_of
from thermosim.ledger import BOOK_ARGUMENTS, VARIABLES, Functional
from thermosim.model import Constant, Model
from thermosim.models import MODELS
from thermosim.models.user_file.load import load_user_model

__all__ = ["find_model", "functional_faults", "resolved_model", "trial_constants", "with_lengths"]


_MOST_NUMBERS = 2**23  # of an array constant


def find_model(raw: Mapping[str, Any], folder: Path) -> tuple[Model | None, list[str]]:
    section = raw.get("model")
    if not isinstance(section, dict) or not section.keys() & {"name", "file", "formula"}:
        needed = 'name = "..." (`thermosim models` lists them), a file, or a table [model.formula]'
        return None, [f"model: missing. A case needs [model] with {needed}."]
    if "formula" in section:
        if twice := [key for key in ("name", "file") if key in section]:
            return None, [f"model: has both formula and {twice[0]}; keep one of them."]
        from thermosim.models.formula.made import formula_model

        return formula_model(raw)
    if "file" in section:
        if "name" in section:
            return None, ["model: has both name and file; keep one of them."]
        if not isinstance(section["file"], str):
            return None, [f"model.file = {section['file']!r}: expected the name of a file in quotes."]
        return load_user_model(folder / section["file"])
    name = section["name"]
    if not isinstance(name, str) or name not in MODELS:
        near = difflib.get_close_matches(str(name), list(MODELS), 1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(MODELS)}."
        return None, [f'model.name = {name!r}: no such model. {hint} Your own model: file = "my_model.py".']
    return MODELS[name], []


def with_lengths(raw: Mapping[str, Any], model: Model, folder: Path) -> dict[str, Any]:
    """The tables of a case with what a user's network takes from its data: the lengths of x and y.

    What cannot be told stays out, and is a fault of [model], or of [data].
    """
    given, data = raw["model"], raw.get("data")
    names = {constant.name for constant in model.constants} & {"inputs", "classes", "targets"}
    if "file" not in given or model.has_kernels or not isinstance(data, dict) or not names - given.keys():
        return dict(raw)
    with contextlib.suppress(ValidationError, ValueError, TypeError):
        found = lengths_of(DataSection(**data), folder, given.get("targets"))
        return {**raw, "model": {**{name: found[name] for name in sorted(names)}, **given}}
    return dict(raw)


def resolved_model(given: Mapping[str, Any], model: Model) -> tuple[ModelSettings, list[str]]:
    """The section with every constant, and what is wrong with it."""
    known = {constant.name: constant for constant in model.constants}
    functionals = functional_faults(model)
    values: dict[str, Any] = {}
    faults = [
        unknown("model", key, value, known)
        for key, value in given.items()
        if key not in known and key not in ("name", "file", "formula")
    ]
    for constant in model.constants:
        value = given.get(constant.name, constant.default)
        if value is None:
            faults.append(f"model.{constant.name}: missing; {constant.meaning}.")
            continue
        if constant.shape is not None and not faults and (size := _least_size(constant, values)) > _MOST_NUMBERS:
            keys = " or ".join(f"model.{name}" for name, given in values.items() if isinstance(given, int))
            told = f"would have {size:,} numbers, {_MOST_NUMBERS:,} at most"
            faults.append(f"model.{constant.name}: {told}; make {keys} smaller.")
            continue
        if callable(value):
            value = value(values) if not faults else None
        if value is None:
            continue
        fault = _constant_fault(constant, value, values)
        if fault:
            faults.append(f"model.{constant.name} = {value!r}: {fault}")
        values[constant.name] = _listed(constant, value) if constant.is_array and not fault else value
    faults += _size_faults(model, values, given["file"]) if "file" in given and not faults else []
    return ModelSettings(model.name, values, given.get("file"), model.formula), faults + functionals


def _size_faults(model: Model, values: Mapping[str, Any], file: str) -> list[str]:
    """Why nothing can be asked of a user's model at these constants: it does not say how long x and theta are."""
    from thermosim.models.user_file.plain import ModelFault
    from thermosim.models.user_file.states import check_sizes

    try:
        check_sizes(model, values)
    except ModelFault as fault:
        return [f"model.file = {file!r}: {fault}"]
    return []


def trial_constants(given: Mapping[str, Any], model: Model) -> tuple[dict[str, Any], list[str]]:
    """Every constant of a model without a case: as given, its default, or where it has none a number it allows."""
    values: dict[str, Any] = dict(given)
    for constant in model.constants:
        if constant.default is None and constant.name not in values:
            values[constant.name] = _allowed(constant, values)
    settings, faults = resolved_model(values, model)
    return dict(settings.constants), faults


def _least_size(constant: Constant, values: Mapping[str, Any]) -> int:
    """Numbers in an array constant, one where a length is free."""
    assert constant.shape is not None
    return math.prod(1 if length is None else length for length in constant.shape(values))


def _listed(constant: Constant, value: Any) -> list[Any]:
    """An array constant as lists of numbers."""
    numbers: list[Any] = np.asarray(value, int if constant.integer else float).tolist()
    return numbers


def _allowed(constant: Constant, values: Mapping[str, Any]) -> Any:
    if constant.choices:
        return constant.choices[0]
    low = -np.inf if constant.minimum is None else constant.minimum
    high = np.inf if constant.maximum is None else constant.maximum
    number = next((n for n in (1.0, 2.0, low + 0.5 * (high - low), low + 1.0, high - 1.0) if low < n <= high), low)
    if constant.shape is not None:
        return np.full([1 if length is None else length for length in constant.shape(values)], number).tolist()
    return int(np.ceil(number)) if constant.integer else float(number)


def functional_faults(model: Model) -> list[str]:
    """What is wrong with the functionals that a model brings."""
    names = [functional.name for functional in model.functionals]
    taken = {*VARIABLES, *model.observables, *RESERVED}
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    faults = [f"model: two functionals are called {name!r}; rename one." for name in twice]
    faults += [
        f"model: the observable {name!r} has a name that is taken; rename it."
        for name in model.observables
        if name in {*VARIABLES, *RESERVED}
    ]
    for functional in model.functionals:
        if functional.name in taken or not functional.name.isidentifier():
            faults.append(f"model: the functional {functional.name!r} has a name that is taken, or is none; rename it.")
        code = getattr(functional.book, "__code__", None)
        if code is not None and code.co_varnames[: code.co_argcount] != BOOK_ARGUMENTS:
            faults.append(
                f"model: `book` of the functional {functional.name!r} must be book({', '.join(BOOK_ARGUMENTS)})."
            )
        if functional.of != "theta" or (functional.book is None and not functional.of_networks):
            faults.append(
                f"model: the functional {functional.name!r} must be of theta and have a function `book`; "
                "sums along x are booked by the moves."
            )
        faults += _dimension_faults(functional, {*taken, *names})
    return faults


def _dimension_faults(functional: Functional, taken: set[str]) -> list[str]:
    """Whether a functional of several numbers says along which dimension, and how many they are."""
    named = f"model: the functional {functional.name!r}"
    if bool(functional.dim) != (functional.size is not None):
        return [f"{named} has dim = {functional.dim!r} {'without' if functional.dim else 'beside a'} size; give both."]
    if functional.dim and (not functional.dim.isidentifier() or functional.dim in taken):
        return [f"{named} has dim = {functional.dim!r}, a name that is taken, or is none; rename it."]
    return []


def _constant_fault(constant: Constant, value: Any, values: Mapping[str, Any]) -> str | None:
    if constant.choices:
        words = " or ".join(map(repr, constant.choices))
        return None if value in constant.choices else f"expected {words}; {constant.meaning}."
    if constant.shape is not None:
        try:
            shape, wanted = np.shape(np.asarray(value, float)), constant.shape(values)
        except (TypeError, ValueError):
            return f"expected numbers; {constant.meaning}."
        if len(shape) != len(wanted) or any(b not in (a, None) for a, b in zip(shape, wanted, strict=True)):
            expected = str(wanted).replace("None", "any length")
            return f"has shape {shape}, expected {expected}; {constant.meaning}."
        if not all(shape) and not constant.empty:
            return f"has no numbers; {constant.meaning}."
        if constant.integer and not all(float(number).is_integer() for number in np.ravel(value)):
            return f"expected whole numbers; {constant.meaning}."
        limits = (constant.minimum, constant.maximum, constant.exclusive, constant.meaning)
        return next((fault for number in np.ravel(value) if (fault := number_faults(float(number), *limits))), None)
    if constant.integer and (not isinstance(value, int) or isinstance(value, bool)):
        return f"expected a whole number; {constant.meaning}."
    return number_faults(value, constant.minimum, constant.maximum, constant.exclusive, constant.meaning)
