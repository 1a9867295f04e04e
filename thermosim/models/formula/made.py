"""The Model that a formula makes: its text is all there is to know, and every field is a function of that text."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from thermosim.model import Constant, Model, Observable, Parameter, Values
from thermosim.models.formula.compiled import NotAFormula, compiled, section_of, wholes_of
from thermosim.models.formula.laws import law_at
from thermosim.models.formula.section import formula_text
from thermosim.models.formula.values import value

__all__ = ["formula_model", "model_of_formula"]

formula_energy = formula_force = formula_drive = formula_tile = formula_gradient = None  # bound when compiled


def energy(x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    """phi of one lane."""
    return formula_energy(x, theta, constants, shared, lane)


def force(i, x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    """-d phi/dx_i of one lane."""
    return formula_force(i, x, theta, constants, shared, lane)


def drive(i, x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    """The part of the force that is no gradient."""
    return formula_drive(i, x, theta, constants, shared, lane)


def surprisal_and_force(x, derived, constants, shared, phi, force, scratch):  # type: ignore[no-untyped-def]
    """phi and -d phi/dx of a tile."""
    formula_tile(x, derived, constants, shared, phi, force, scratch)


def parameter_gradient(  # type: ignore[no-untyped-def]
    row, theta, constants, shared, factor, loss, gradient, scratch
):
    """A loss and its slopes, of a tile."""
    formula_gradient(row, theta, constants, shared, factor, loss, gradient, scratch)


_FUNCTIONS = {"energy": energy, "force": force, "drive": drive}
_BOUND = {
    "energy": "formula_energy",
    "force": "formula_force",
    "drive": "formula_drive",
    "surprisal_and_force": "formula_tile",
    "parameter_gradient": "formula_gradient",
}


def formula_model(raw: Mapping[str, Any]) -> tuple[Model | None, list[str]]:
    """The model of the section [model.formula] of a case, or what is wrong with it."""
    text, faults = formula_text(raw)
    if faults:
        return None, faults
    try:
        model = model_of_formula(text)
        if unused := _unused(text):
            return None, unused
    except NotAFormula as error:
        return None, [str(error)]
    return model, []


def _unused(text: str) -> list[str]:
    """Constants and parameters that no formula has: a name that was misspelt would else change nothing, silently."""
    section, used = section_of(text), compiled(text, section_of(text)["constants"]).used
    faults = []
    for kind in ("constants", "parameters"):
        for name in section[kind].keys() - used:
            near = difflib.get_close_matches(name, used, 1, cutoff=0.6)
            remedy = f"Did you mean {near[0]}?" if near else "Remove it, or use it."
            faults.append(f"model.formula: no formula has the name {name!r}, of the {kind}. {remedy}")
    return sorted(faults)


@functools.lru_cache(maxsize=64)
def model_of_formula(text: str) -> Model:
    """The model of the text of a formula. Raises NotAFormula."""
    section = section_of(text)
    wholes = wholes_of(text)
    here = compiled(text, section["constants"])
    fields: dict[str, Any] = {
        "name": section["name"],
        "summary": f"{'loss' if here.is_loss else 'phi'} = {_short(section['loss' if here.is_loss else 'energy'])}",
        "source": "the formula of the case",
        "formula": text,
        "constants": tuple(_constant(name, value, name in wholes) for name, value in section["constants"].items()),
        "parameters": tuple(_parameter(name, value) for name, value in section["parameters"].items()),
        "bound": partial(_bound, text),
        "observables": {
            name: Observable(kind, partial(_observed, text, name), "1", name, _short(section["observables"][name]))
            for name, (kind, _) in here.observables.items()
        },
    }
    if here.is_loss:
        fields |= {"inputs": partial(_length, text, "z"), "targets": partial(_length, text, "y")}
        return Model(**fields, parameter_gradient=parameter_gradient)
    from thermosim.models.formula.judged import validate

    fields |= {"components": partial(_length, text, "x"), "validate": partial(validate, text)}
    names = ("energy", "force") if here.one_lane else ()
    fields |= {name: _FUNCTIONS[name] for name in (*names, *(("drive",) if here.drives else ()))}
    if not here.one_lane:
        fields["surprisal_and_force"] = surprisal_and_force
    if here.components <= 2 and not here.drives:
        fields |= {"equilibrium": partial(_equilibrium, text), "log_normaliser": partial(_log_normaliser, text)}
    return Model(**fields)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else f"{line[:60]} ... {line[-25:]}"


def _constant(name: str, default: Any, is_whole: bool) -> Constant:
    shape = np.shape(default)
    if shape:
        return Constant(name, default, "a constant of the formula", shape=lambda constants: shape)
    number = default if is_whole else float(default)
    return Constant(name, number, "a constant of the formula", integer=is_whole)


def _parameter(name: str, default: Any) -> Parameter:
    array = np.asarray(default, float)
    return Parameter(name, "a parameter of the formula", lambda constants: array.shape, lambda constants: array)


def _length(text: str, vector: str, constants: Values) -> int:
    return int(compiled(text, constants).lengths[vector])


def _bound(text: str, constants: Values) -> dict[str, Any]:
    return {_BOUND[name]: function for name, function in compiled(text, constants).functions.items()}


def _observed(text: str, name: str, frames: np.ndarray, constants: Values) -> np.ndarray:
    """An observable of frames (..., n), constants numbers or of their leading shape."""
    formula = compiled(text, constants)
    kind, terms = formula.observables[name]
    moved = np.moveaxis(np.asarray(frames, float), -1, 0)
    none = np.zeros((0, *moved.shape[1:]))
    x, theta = (moved, none) if kind == "x" else (none, moved)
    given = formula.given(x, theta, constants)
    return np.array(np.broadcast_to(value(terms, given), moved.shape[1:]))


def _equilibrium(
    text: str, theta: np.ndarray, constants: Values, temperature: np.ndarray, normal: np.ndarray
) -> np.ndarray:
    """Samples of exp(-phi/T), theta (m, R), temperature and normal (n, R): x (n, R)."""
    x = np.empty_like(normal)
    arrays = {name for name, v in section_of(text)["constants"].items() if np.ndim(v)}
    swept = {name: v for name, v in constants.items() if name not in arrays and np.ndim(v)}
    columns = [np.broadcast_to(v, normal.shape[1:]) for v in swept.values()]
    keys, places = np.unique(np.vstack([theta, temperature[:1], *columns]), axis=1, return_inverse=True)
    for number in range(keys.shape[1]):
        lanes = np.flatnonzero(places.ravel() == number)
        here = {**constants, **{name: float(row[lanes[0]]) for name, row in zip(swept, columns)}}
        found = law_at(text, here, theta[:, lanes[0]], float(temperature[0, lanes[0]]))
        x[:, lanes] = found.samples(normal[:, lanes])
    return x


def _log_normaliser(text: str, theta: np.ndarray, constants: Values) -> tuple[np.ndarray, np.ndarray]:
    """ln Z at temperature 1 of theta (..., m), by quadrature."""
    rows = theta.reshape(-1, theta.shape[-1])
    values = [law_at(text, constants, row, 1.0).log_normaliser for row in rows]
    found = np.reshape(values, theta.shape[:-1])
    return found, np.zeros(found.shape)
