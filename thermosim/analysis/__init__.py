"""Dataset in, Dataset out: what ensembles say, with standard errors from independent replicas."""

from __future__ import annotations

from thermosim.analysis.comparison import Comparison, judge
from thermosim.analysis.entropy import angle_entropy, cap_entropy
from thermosim.analysis.ideal_gas import (
    drift,
    free_energy_maps,
    maxwell,
    radius_fluctuations,
    radius_transient,
    thermodynamics,
)
from thermosim.analysis.work import (
    crooks,
    entropy_production,
    heat_currents,
    integral_fluctuation_theorem,
    jarzynski,
    work_and_heat,
)

__all__ = [
    "Comparison",
    "angle_entropy",
    "cap_entropy",
    "crooks",
    "drift",
    "entropy_production",
    "free_energy_maps",
    "heat_currents",
    "integral_fluctuation_theorem",
    "jarzynski",
    "judge",
    "maxwell",
    "radius_fluctuations",
    "radius_transient",
    "thermodynamics",
    "work_and_heat",
]
