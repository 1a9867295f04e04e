"""Irreversibility of training algorithms: four measures of any update field (arXiv 2605.21933).

`potentials` takes a callable, one of any framework; `field_of_loss` makes one of a model and rows of data.
"""

from __future__ import annotations

from thermosim.analysis.irreversibility.fields import asymmetry, critical_points, field_of_loss, fields_of_minibatches
from thermosim.analysis.irreversibility.potentials import potentials
from thermosim.analysis.irreversibility.sweep import sweep

__all__ = ["asymmetry", "critical_points", "field_of_loss", "fields_of_minibatches", "potentials", "sweep"]
