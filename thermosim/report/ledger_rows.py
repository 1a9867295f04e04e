"""The ledger of an ensemble: totals from the first frame to the last, means over replicas with their errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import survivors
from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.settings import axes, without_single_axes
from thermosim.analysis.work import first_law_residual
from thermosim.ledger import VARIABLES

__all__ = ["Entry", "Ledger", "ledger_of"]

_TOTALS = (
    ("work", "work done on x"),
    ("heat", "heat absorbed by x"),
    ("phi", "change of the energy phi"),
    ("entropy_production", "entropy production of x given theta"),
    ("log_ratio_x", "log path ratio of x: entropy given to its baths"),
    ("log_ratio_theta", "log path ratio of theta"),
    ("shadow", "shadow term: error of the finite time step"),
    ("loss_sum", "sum of the loss over steps"),
    ("minibatch_loss", "change of the loss of the minibatch"),
    ("displacement_square", "sum of squared displacements of theta"),
    ("gradient_square", "sum of squared gradients"),
)
_UNITS = {"nat": "nats", "1": ""}


@dataclass(frozen=True)
class Entry:
    """One row: what it is, mean and standard error."""

    name: str
    words: str
    mean: str
    error: str
    units: str


@dataclass(frozen=True)
class Ledger:
    """All rows of an ensemble, or of one point of a sweep."""

    entries: list[Entry]
    span: str  # between which steps
    over: str  # of how many replicas
    residual: str  # of the first law; empty where the books are not all there


def ledger_of(ds: xr.Dataset) -> Ledger | None:
    """The ledger of one point; None of a sweep, whose points have one each, and where nothing of it is recorded."""
    left = without_single_axes(survivors(ds).ds)
    if axes(left) or not left.sizes.get("replica") or left.sizes.get("step", 0) < 2:
        return None
    entries = []
    for name, words in _TOTALS:
        if name not in left or not {"step", "replica"} <= set(left[name].dims):
            continue
        total = left[name].isel(step=-1).astype(float) - left[name].isel(step=0)
        mean, error = (float(value) for value in replica_mean(total))
        units = VARIABLES[name].units
        entries.append(Entry(name, words, *_rounded(mean, error), _UNITS.get(units, units)))
    if not entries:
        return None
    first, last = (int(left["step"].values[k]) for k in (0, -1))
    over = f"{left.sizes['replica']:,} replicas"
    books = {"phi", "work", "heat"} <= set(left) and all("step" in left[n].dims for n in ("phi", "work", "heat"))
    residual = f"{float(first_law_residual(left).max()):.1e}" if books else ""
    return Ledger(entries, f"from step {first:,} to step {last:,}", over, residual)


def _rounded(mean: float, error: float) -> tuple[str, str]:
    """To two digits of the error."""
    if not 0.0 < error < np.inf:
        return f"{mean:.6g}", "0" if error == 0.0 else ""
    decimals = 1 - int(np.floor(np.log10(error)))
    return (f"{mean:.{decimals}f}" if 0 <= decimals < 10 else f"{mean:.6g}"), f"{error:.2g}"
