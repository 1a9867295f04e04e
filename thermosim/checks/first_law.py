"""The first law, d phi = work + heat, of every replica: true of any model, any move and any time step, to rounding."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.work import first_law_residual

__all__ = ["BOOKS", "first_law"]

BOOKS = {"phi", "work", "heat"}

_STORED = 8.0  # spacings of the numbers that are stored, which may be float32


def first_law(ds: xr.Dataset) -> Comparison:
    """The largest residual of any replica, an energy, against the rounding of its books. Needs phi, work and heat."""
    residual = first_law_residual(ds).max(skipna=False)
    scale = sum(abs(ds[name]).max(skipna=False) for name in ("phi", "work", "heat")) + 1.0
    stored = max(np.finfo(ds[name].dtype).eps for name in ("phi", "work", "heat"))
    reference = "d phi = work + heat for every replica, to rounding; any move, any time step"
    degrees_of_freedom = max(ds.sizes["replica"] - 1, 1)
    return Comparison(
        "largest first-law residual",
        np.asarray(residual),
        np.zeros(()),
        np.zeros(()),
        degrees_of_freedom,
        reference,
        tolerance=float(_STORED * stored * scale),
        scale=float(scale),
        units="energy",
    )
