"""Irreversibility of training algorithms: four measures of any update field (arXiv 2605.21933).

`potentials` takes a callable, one of any framework; `field_of_loss` makes one of a model and rows of data,
and `potentials_in_time` follows a recorded run.
"""

from __future__ import annotations

from thermosim.analysis.irreversibility.dissipation import dissipation
from thermosim.analysis.irreversibility.entropy import regularised_entropy_production, virtual_entropy
from thermosim.analysis.irreversibility.fields import asymmetry, critical_points, field_of_loss, fields_of_minibatches
from thermosim.analysis.irreversibility.in_time import potentials_in_time
from thermosim.analysis.irreversibility.potentials import potentials
from thermosim.analysis.irreversibility.steps import entropy_of_steps
from thermosim.analysis.irreversibility.sweep import sweep
from thermosim.analysis.irreversibility.symmetries import (
    symmetry_breaking,
    symmetry_breaking_of_loss,
    under_transformation,
)

__all__ = [
    "asymmetry",
    "critical_points",
    "dissipation",
    "entropy_of_steps",
    "field_of_loss",
    "fields_of_minibatches",
    "potentials",
    "potentials_in_time",
    "regularised_entropy_production",
    "sweep",
    "symmetry_breaking",
    "symmetry_breaking_of_loss",
    "under_transformation",
    "virtual_entropy",
]
