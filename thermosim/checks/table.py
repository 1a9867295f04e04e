"""What is compared with theory: one line for each kind of system. A user's model may bring its own (`Model.check`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.case.engine import of_networks
from thermosim.case.settings import Settings
from thermosim.checks import direction_law, driven, formulas, ideal_gas, learning, networks
from thermosim.model import Model
from thermosim.models import MODELS

__all__ = ["CHECKS", "LEARNS", "NETWORKS", "Check", "check_of", "row_of"]

LEARNS, NETWORKS = "every model that learns", "every network in JAX"
FORMULAS = "every energy by formula"
Row = TypeVar("Row")


@dataclass(frozen=True)
class Check:
    """What an ensemble without diverged replicas is compared with, and what a reader should know of it besides."""

    compare: Callable[[xr.Dataset], Sequence[Comparison]]
    advise: Callable[[xr.Dataset], list[str]] = lambda ds: []
    at_all_steps: bool = False  # it takes variables that have steps of their own, too


CHECKS: dict[str, Check] = {
    "isotropic-sphere": Check(ideal_gas.check, ideal_gas.advice),
    "squared-cosine": Check(direction_law.check, direction_law.advice),
    "harmonic-trap": Check(driven.check, driven.advice),
    "rotational-trap": Check(driven.check, driven.advice),
    "two-beads": Check(driven.check, driven.advice),
    LEARNS: Check(learning.check, learning.advice),
    FORMULAS: Check(formulas.check, formulas.advice),
    NETWORKS: Check(networks.check, networks.advice, at_all_steps=True),
}


def check_of(model: Model, case: Settings | None = None) -> Check | None:
    """What is compared of a model: what it brings itself comes before the table."""
    row = row_of(CHECKS, model, case)
    if model.check is None:
        return row
    return Check(model.check, row.advise) if row else Check(model.check)


def row_of(table: Mapping[str, Row], model: Model, case: Settings | None = None) -> Row | None:
    """A model's line in a table by name, or that of every model that learns. Names are those of the models here.

    Networks in JAX round otherwise, and have a line of their own; without a case a model runs as it does by default.
    """
    if not model.has_kernels or (case is not None and of_networks(model, case)):
        return table.get(NETWORKS)
    if model.formula and not model.learns:
        return table.get(FORMULAS)
    row = table.get(model.name) if MODELS.get(model.name) is model else None
    return row or (table.get(LEARNS) if model.learns else None)
