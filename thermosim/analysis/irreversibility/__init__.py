"""Irreversibility of training algorithms: four measures of any update field (arXiv 2605.21933).

`potentials` takes a callable, one of any framework; `field_of_loss` makes one of a model and rows of data.
"""

from __future__ import annotations

from thermosim.analysis.irreversibility.entropy import regularised_entropy_production, virtual_entropy
from thermosim.analysis.irreversibility.fields import asymmetry, critical_points, field_of_loss, fields_of_minibatches
from thermosim.analysis.irreversibility.potentials import potentials
from thermosim.analysis.irreversibility.steps import entropy_of_steps
from thermosim.analysis.irreversibility.symmetries import (
    symmetry_breaking,
    symmetry_breaking_of_loss,
    under_transformation,
)

__all__ = [
    "asymmetry",
    "critical_points",
    "entropy_of_steps",
    "field_of_loss",
    "fields_of_minibatches",
    "potentials",
    "regularised_entropy_production",
    "symmetry_breaking",
    "symmetry_breaking_of_loss",
    "under_transformation",
    "virtual_entropy",
]
