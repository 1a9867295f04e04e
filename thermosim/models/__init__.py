"""The models, by the name a case calls them."""

from __future__ import annotations

from thermosim.model import Model
from thermosim.models import (
    boltzmann_machine,
    double_well,
    full_gaussian,
    gaussian,
    gaussian_mixture,
    harmonic_trap,
    isotropic_sphere,
    network_energy,
    restricted_boltzmann_machine,
    rotational_trap,
    two_beads,
)

__all__ = ["MODELS"]

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        isotropic_sphere.MODEL,
        harmonic_trap.MODEL,
        rotational_trap.MODEL,
        two_beads.MODEL,
        gaussian.MODEL,
        full_gaussian.MODEL,
        gaussian_mixture.MODEL,
        double_well.MODEL,
        boltzmann_machine.MODEL,
        restricted_boltzmann_machine.MODEL,
        network_energy.MODEL,
    )
}
