"""Whether the rows that a model learned from are on a scale of their own, and how to scale them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.machine import machines
from thermosim.analysis.settings import settings
from thermosim.data.section import GENERATED

__all__ = ["unscaled_rows"]

_UNSCALED = 5.0  # root mean square of a component: gradients go with it or its square, so ordinary rates are too large


def unscaled_rows(ds: xr.Dataset) -> str:
    """A sentence on the component of the largest rows, with the remedy; empty where rows are of order 1, or gone."""
    section = settings(ds).data
    if section is None or section.encoding != "real":
        return ""
    try:
        data = machines(ds)[0].data
    except ValueError:
        return ""
    mean, deviation = data.values.mean(axis=0), data.values.std(axis=0)
    size = np.hypot(mean, deviation)
    if size.max() < _UNSCALED:
        return ""
    worst = int(np.argmax(size))
    remedy = 'data.encoding = "standard" takes mean and deviation out of every component'
    if section.source in GENERATED:
        remedy = "make the mean and deviation that are given of order 1"
    return (
        f"The rows it learns from are not scaled: component {worst} has mean {mean[worst]:.3g} and deviation "
        f"{deviation[worst]:.3g}. Scale the data: {remedy}."
    )
