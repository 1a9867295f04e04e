"""Order in the learning rate at which gradient descent departs from flows: 2 of the entropic loss, 1 of the loss.

The order between r and r/2 differs from its limit by about twice what it differs by from that between r/2 and r/4:
three times this, and a little, is a tolerance; where it is large nothing is compared (`analysis.entropic_loss`).
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.entropic_loss import entropic_loss_order, why_no_entropic_loss
from thermosim.analysis.machine import Machine
from thermosim.data.tables import DataError
from thermosim.exact.entropic_loss import COEFFICIENT

__all__ = ["entropic_loss_comparisons"]

_ORDERS = {0.0: ("the loss", 1.0), COEFFICIENT: ("the entropic loss", 2.0)}
_LEAST, _LARGEST = 0.02, 0.3  # tolerance of an order
_ROUNDING = 1e-8  # distance below which the flow itself is not known
_LONGEST, _WIDEST = 500, 100  # steps and parameters: seconds
_REFERENCE = "1, and 2 for l + r |grad l|^2/4, as r goes to 0"


def entropic_loss_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """None where it is not gradient descent, takes long, or the rates are too large for an order."""
    if "theta" not in ds or ds.sizes["theta_dim"] > _WIDEST or int(ds["step"][-1]) > _LONGEST:
        return []
    if any(machine.constants.get("activation") == "relu" for machine in everyone):
        return []  # its gradient jumps, and orders are those of smooth losses
    if any(why_no_entropic_loss(machine) for machine in everyone):
        return []
    try:
        found = entropic_loss_order(ds, tuple(_ORDERS)).isel(parts=-1)
    except (ValueError, DataError):  # a flow that does not arrive, or data that are not to be had
        return []
    comparisons = []
    for coefficient, (name, order) in _ORDERS.items():
        here = found.sel(coefficient=coefficient)
        change = np.abs(here["order_change"].values) + here["order_change_error"].values
        tolerance = _LEAST + 3.0 * change
        if not np.all(tolerance < _LARGEST) or float(here["distance"].min()) < _ROUNDING:
            continue
        quantity = f"order of the distance between descent and the flow of {name}"
        measured, error = here["order"].values, here["order_error"].values
        exact, freedom = np.full(np.shape(measured), order), found.attrs["replicas"] - 1
        comparisons.append(Comparison(quantity, measured, error, exact, freedom, _REFERENCE, tolerance=tolerance))
    return comparisons
