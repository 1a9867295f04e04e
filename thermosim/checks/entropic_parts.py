"""Coefficients of the two parts of the entropic loss, discretisation and noise, of descent on all rows and minibatches.

Of a sweep over theta.batch. The straight line through the coefficients at r and r/2 leaves an error of the order of the
square of its change, in units of the coefficient, which is a tolerance with two standard errors besides: starts of
different curvature make pseudo-values with long tails, and errors that are a third too small. Nothing is compared where
the line goes far, or the errors do not tell a half of the coefficient (`analysis.entropic_parts`).
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.entropic_parts import entropic_parts, why_no_parts
from thermosim.analysis.machine import Machine
from thermosim.analysis.settings import axes
from thermosim.data.tables import DataError

__all__ = ["entropic_parts_comparisons", "tells_parts"]

_FEWEST, _MOST = 64, 256  # replicas
_LONGEST, _WIDEST, _ROWS = 500, 100, 100  # steps, parameters, rows: seconds
_FAR, _LOOSE = 0.05, 0.03  # change of a coefficient, and its error, beyond which nothing is said
_BASE, _SQUARES, _ERRORS = 1e-4, 16.0, 2.0  # of the tolerance
_REFERENCE = "1/4 of either part in the entropic loss, as r goes to 0; no noise on all rows"


def tells_parts(ds: xr.Dataset, everyone: Sequence[Machine]) -> bool:
    """Whether it is a short sweep over the batch, and nothing else, of a smooth loss whose parts can be told."""
    if axes(ds) != ["batch"] or "theta" not in ds or ds.sizes["theta_dim"] > _WIDEST or int(ds["step"][-1]) > _LONGEST:
        return False
    if any(m.constants.get("activation") == "relu" or not m.model.is_loss for m in everyone):
        return False
    if ds.sizes["replica"] < _FEWEST or any(why_no_parts(machine) for machine in everyone):
        return False
    try:
        return all(machine.data.rows <= _ROWS for machine in everyone)
    except DataError:
        return False


def entropic_parts_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """Both coefficients at every batch, of single steps and of steps made as two."""
    if not tells_parts(ds, everyone):
        return []
    try:
        found = entropic_parts(ds.isel(replica=slice(_MOST)))
    except (ValueError, DataError):  # a flow that does not arrive, or rows that are all alike
        return []
    comparisons = []
    for number in found["substeps"].values:
        here = found.sel(substeps=number).transpose("batch", ..., "of_entropy")
        measured, error, change = (
            here[name].values for name in ("coefficient", "coefficient_error", "coefficient_change")
        )
        furthest = np.abs(change).max(-1, keepdims=True)
        if not np.all(furthest <= _FAR) or not np.all(error <= _LOOSE):  # or NaN
            continue
        tolerance = _BASE + _SQUARES * furthest**2 + _ERRORS * error
        made = "" if number == 1 else f", steps made as {number}"
        quantity = f"coefficients of discretisation and noise in the entropic loss{made}"
        freedom = float(here["coefficient_error"].attrs["degrees_of_freedom"])
        exact = here["exact"].values
        comparisons.append(Comparison(quantity, measured, error, exact, freedom, _REFERENCE, tolerance=tolerance))
    return comparisons
