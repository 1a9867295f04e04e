"""Charges between layers of a network: of those of every symmetry (`charges`), the ones that pictures show."""

from __future__ import annotations

import numpy as np

from thermosim.analysis.machine import Machine
from thermosim.checks.charges import charges, is_plain_descent, summed_gain
from thermosim.model import Symmetry

__all__ = ["layer_charges", "obeys"]

_LAYERS = "layers"  # name of the symmetry
Charges = tuple[np.ndarray, np.ndarray]


def obeys(machine: Machine) -> bool:
    """Whether charges between layers are known in every frame, with what SGD makes of them."""
    symmetry = _symmetry(machine)
    if symmetry is None or not symmetry.generators(machine.constants).shape[0] or not is_plain_descent(machine):
        return False
    close = not machine.settings.theta.weight_decay or bool(np.all(np.diff(machine.steps) == 1))
    return close and summed_gain(machine, symmetry) is not None


def layer_charges(machine: Machine) -> Charges:
    """C_k, and the sum over steps of (r^2/2)(|g_(k+1)|^2 - |g_k|^2), each (F, R, D - 1)."""
    symmetry = _symmetry(machine)
    assert symmetry is not None
    gained = summed_gain(machine, symmetry)
    assert gained is not None
    theta = machine.frames["theta"].transpose("step", "replica", "theta_dim").values
    return charges(theta, symmetry.generators(machine.constants)), gained


def _symmetry(machine: Machine) -> Symmetry | None:
    return next((one for one in machine.model.symmetries if one.name == _LAYERS), None)
