"""The law exp(-phi/T)/Z of a formula at one theta, for one or two components."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.models.formula.compiled import compiled
from thermosim.models.formula.quadrature import Law, law
from thermosim.models.formula.values import value

__all__ = ["law_at"]


def law_at(text: str, constants: Mapping[str, Any], theta: np.ndarray, temperature: float) -> Law:
    """The law at theta (m,). Raises NoNormaliser where it has none."""
    told = json.dumps({name: np.asarray(v).tolist() for name, v in constants.items()})
    return _law(text, told, tuple(map(float, theta)), float(temperature))


@functools.lru_cache(maxsize=512)
def _law(text: str, constants: str, theta: tuple[float, ...], temperature: float) -> Law:
    values = json.loads(constants)
    formula, row = compiled(text, values), np.array(theta)

    def energy(x: np.ndarray) -> np.ndarray:
        columns = row.reshape(-1, *(1,) * (x.ndim - 1))
        phi = value(formula.terms, formula.given(x, columns, values))
        return np.asarray(np.broadcast_to(phi, x.shape[1:]) / temperature)

    return law(energy, formula.components)
