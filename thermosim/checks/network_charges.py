"""Charges between layers of a network and of its hidden units: of those of every symmetry (`charges`), two by name."""

from __future__ import annotations

from thermosim.analysis.machine import Machine
from thermosim.checks.charges import charges_of, is_booked
from thermosim.model import Symmetry
from thermosim.models.multilayer_perceptron import MODEL

__all__ = ["LAYERS", "UNITS", "charges_of", "is_exact", "layers_of"]

LAYERS, UNITS = MODEL.symmetries[:2]  # of the perceptron
is_exact = is_booked


def layers_of(machine: Machine) -> Symmetry | None:
    """The symmetry of neighbouring layers, where the ledger has all that changes its charges; else None."""
    found = next((one for one in machine.model.symmetries if one.name == LAYERS.name), None)
    if found is None or not is_exact(machine, found):
        return None
    decays = bool(machine.settings.theta.weight_decay)
    return None if decays and not (found.weights and set(found.weights) <= set(machine.frames)) else found
