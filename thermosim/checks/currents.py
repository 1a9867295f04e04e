"""Precision of the books of driven linear systems against theory, between two frames of a run in which theta rests.

    precision     <J>^2/Var(J)                  J: work, heat, log ratio, or the heat from each of two baths
    efficiency    precision over Sigma/2        a wrong Sigma shows here, a wrong current in both

Mean and variance are exact at the time step of the run, from the covariance of x at the first of the two frames
(`thermosim.exact.currents`), so the state need not be stationary. The measured ones are means of jackknife
pseudo-values, whose skewness is known to the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.settings import axes
from thermosim.analysis.uncertainty import precision_values
from thermosim.checks.driven_theory import Exact, baths
from thermosim.checks.means import is_nearly_normal, mean_comparison
from thermosim.exact.currents import book_forms, current_moments
from thermosim.exact.linear_langevin import transition

__all__ = ["exact_precision", "precision_rows"]

_MOVES = 256  # of x, at most, between the two frames
_NO_CURRENT = 1e-9  # precision of books whose mean is none
_WORDS = {
    "work": "work",
    "heat": "heat",
    "log_ratio_x": "log ratio",
    "heat_from_hot": "heat from hot",
    "heat_from_cold": "heat from cold",
}


def precision_rows(ds: xr.Dataset, exact: list[Exact], first: int) -> list[Comparison]:
    """Two comparisons over all currents with a mean, from step `first` to the last frame at most 256 moves later."""
    steps, tau = ds["step"].values, exact[0].protocol.tau
    window = steps[(steps > first) & ((steps - first) * tau <= _MOVES)]
    if "log_ratio_x" not in ds or not len(window) or not all(_is_central(cell, first) for cell in exact):
        return []
    last = int(window[-1])
    known = [exact_precision(cell, first, last) for cell in exact]
    rise = ds.sel(step=last, drop=True) - ds.sel(step=first, drop=True)
    names = [name for name in _WORDS if all(name in point and point[name][0] > _NO_CURRENT for point in known)]
    names = [name for name in names if name in ds or (name.startswith("heat_") and "heat" in ds)]
    if not names:
        return []
    values = np.stack([_measured(rise.isel(cell.index), cell, names) for cell in exact])  # (points, 2, K, R)
    dims, shape = [*axes(ds), "kind", "current", "replica"], [ds.sizes[name] for name in axes(ds)]
    whole = xr.DataArray(values.reshape(*shape, *values.shape[1:]), dims=dims)
    wanted = np.array([[[point[name][kind] for name in names] for kind in range(2)] for point in known])
    wanted = wanted.reshape(*shape, 2, len(names))
    between = f"of {', '.join(_WORDS[name] for name in names)}, steps {first} to {last}"
    reference = "moments of quadratic currents of the Gaussian chain, at the run's time step"
    rows = [
        mean_comparison(ds, f"{what} {between}", whole.isel(kind=kind), wanted[..., kind, :], reference, "current")
        for kind, what in enumerate(("precision <J>^2/Var(J)", "precision over half the entropy production"))
    ]
    return [row for row in rows if is_nearly_normal(row)]


def exact_precision(cell: Exact, first: int, last: int) -> Mapping[str, tuple[float, float]]:
    """Of every current the precision, and its ratio to Sigma/2 with the mean log ratio as Sigma, between two steps."""
    h, temperature, mobility = cell.protocol.bath(0)
    force, dynamics = cell.protocol.force(0), cell.protocol.dynamics
    forms = book_forms(force, dynamics, h, temperature, mobility)
    del forms["heat_of_component"]
    if len(set(baths(cell))) == 2:
        cold, hot = sorted(set(baths(cell)))
        for name, own, other in (("heat_from_hot", hot, cold), ("heat_from_cold", cold, hot)):
            forms[name] = (forms["heat"] / other + forms["log_ratio_x"]) / (1.0 / other - 1.0 / own)
    start = cell.ledger.covariance[cell.rows(first)]
    move, moves = transition(force, dynamics, h, temperature, mobility), (last - first) * cell.protocol.tau
    found = {name: [float(v) for v in current_moments(move, start, form, moves)] for name, form in forms.items()}
    entropy = found["log_ratio_x"][0]
    precision = {name: mean**2 / variance for name, (mean, variance) in found.items() if variance > 0.0}
    return {name: (value, 2.0 * value / entropy if entropy else np.nan) for name, value in precision.items()}


def _measured(rise: xr.Dataset, cell: Exact, names: list[str]) -> np.ndarray:
    """Pseudo-values (2, K, R) of one point; rise: what the books grew by."""
    books = {name: _samples(rise[name]) for name in ("work", "heat", "log_ratio_x") if name in rise}
    if len(set(baths(cell))) == 2 and "heat" in books:
        cold, hot = sorted(set(baths(cell)))
        for name, own, other in (("heat_from_hot", hot, cold), ("heat_from_cold", cold, hot)):
            books[name] = (books["heat"] / other + books["log_ratio_x"]) / (1.0 / other - 1.0 / own)
    return np.stack([precision_values(books[name], books["log_ratio_x"]) for name in names], axis=1)


def _samples(values: xr.DataArray) -> np.ndarray:
    """(R, S)."""
    values = values if "sample" in values.dims else values.expand_dims(sample=1)
    return np.asarray(values.transpose("replica", "sample").values, float)


def _is_central(cell: Exact, first: int) -> bool:
    """Whether the law of x is about the center, and nothing is scheduled."""
    here = cell.ledger.mean[cell.rows(first)]
    scheduled = np.ndim(cell.protocol.time_step) or np.ndim(cell.protocol.temperature) > 1
    return not scheduled and bool(np.all(here == cell.protocol.center[0]))
