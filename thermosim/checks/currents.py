"""Precision of the books of driven linear systems against theory, between two frames of a run in which theta rests.

    precision     p = <J>^2/Var(J)              J: work, heat, log ratio, or the heat from each of two baths
    efficiency    e = p over Sigma/2            a wrong Sigma shows here, a wrong current in both

Mean m and variance v are exact at the time step of the run, from the covariance of x at the first of the two frames
(`thermosim.exact.currents`), so the state need not be stationary. An estimate of p is not normal where m is not far
from 0. The terms of its expansion about the exact m, v and Sigma have means over replicas that are p and e, unbiased:

    p [2 J/m - (J - m)^2/v],     e [2 J/m - (J - m)^2/v - sigma/Sigma + 1]

The z of these means is judged. What is shown is the estimate itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.settings import axes
from thermosim.analysis.uncertainty import precision_values
from thermosim.checks.driven_theory import Exact, baths
from thermosim.checks.means import is_nearly_normal, mean_comparison
from thermosim.exact.currents import book_forms, current_moments
from thermosim.exact.linear_langevin import transition

__all__ = ["NO_CURRENT", "ExactCurrent", "exact_currents", "is_central", "precision_rows"]

NO_CURRENT = 1e-3  # precision of books whose mean is none, or too small to be told
_MOVES = 256  # of x, at most, between the two frames
_WORDS = {
    "work": "work",
    "heat": "heat",
    "log_ratio_x": "log ratio",
    "heat_from_hot": "heat from hot",
    "heat_from_cold": "heat from cold",
}


@dataclass(frozen=True)
class ExactCurrent:
    """Mean and variance of a current between two frames, and the mean log ratio there."""

    mean: float
    variance: float
    entropy: float

    @property
    def precision(self) -> float:
        """<J>^2/Var(J); 0 of books that are 0."""
        return self.mean**2 / self.variance if self.variance > 0.0 else 0.0

    @property
    def efficiency(self) -> float:
        """Precision over Sigma/2."""
        return 2.0 * self.precision / self.entropy


def precision_rows(ds: xr.Dataset, exact: list[Exact], first: int) -> list[Comparison]:
    """Two comparisons over all currents with a mean, from step `first` to the last frame at most 256 moves later."""
    steps, tau = ds["step"].values, exact[0].protocol.tau
    window = steps[(steps > first) & ((steps - first) * tau <= _MOVES)]
    if "log_ratio_x" not in ds or not len(window) or not all(is_central(cell, first) for cell in exact):
        return []
    last = int(window[-1])
    known = [exact_currents(cell, first, last) for cell in exact]
    rise = ds.sel(step=last, drop=True) - ds.sel(step=first, drop=True)
    flows = [_flows(rise.isel(cell.index), cell) for cell in exact]
    names = [name for name in _WORDS if all(name in flow for flow in flows)]
    names = [name for name in names if all(name in point and point[name].precision > NO_CURRENT for point in known)]
    if not names:
        return []
    between = f"of {', '.join(_WORDS[name] for name in names)}, steps {first} to {last}"
    reference = "moments of quadratic currents of the Gaussian chain, at the run's time step"
    dims, shape = [*axes(ds), "current", "replica"], [ds.sizes[name] for name in axes(ds)]
    rows = []
    for kind, what in enumerate(("precision <J>^2/Var(J)", "precision over half the entropy production")):
        wanted = np.array([[(p[name].precision, p[name].efficiency)[kind] for name in names] for p in known])
        terms = np.array([[_terms(f[n], f["log_ratio_x"], p[n])[kind] for n in names] for f, p in zip(flows, known)])
        values = xr.DataArray(terms.reshape(*shape, *terms.shape[1:]), dims=dims)
        quantity = f"{what} {between}"
        row = mean_comparison(ds, quantity, values, wanted.reshape(*shape, -1), reference, "current")
        shown = [[precision_values(f[n], f["log_ratio_x"])[kind].mean() for n in names] for f in flows]
        rows.append(replace(row, measured=np.reshape(shown, row.exact.shape), score=row.z))
    return [row for row in rows if is_nearly_normal(row)]


def exact_currents(cell: Exact, first: int, last: int) -> dict[str, ExactCurrent]:
    """Of every current between two steps; x about the center."""
    h, temperature, mobility = cell.protocol.bath(0)
    force, dynamics = cell.protocol.force(0), cell.protocol.dynamics
    forms = book_forms(force, dynamics, h, temperature, mobility)
    del forms["heat_of_component"]
    forms |= _from_baths(cell, forms)
    start = cell.ledger.covariance[cell.rows(first)]
    move, moves = transition(force, dynamics, h, temperature, mobility), (last - first) * cell.protocol.tau
    found = {name: current_moments(move, start, form, moves) for name, form in forms.items()}
    entropy = float(found["log_ratio_x"][0])
    return {name: ExactCurrent(float(mean), float(variance), entropy) for name, (mean, variance) in found.items()}


def is_central(cell: Exact, first: int) -> bool:
    """Whether the law of x is about the center, and nothing is scheduled."""
    here = cell.ledger.mean[cell.rows(first)]
    scheduled = np.ndim(cell.protocol.time_step) or np.ndim(cell.protocol.temperature) > 1
    return not scheduled and bool(np.all(here == cell.protocol.center[0]))


def _from_baths(cell: Exact, books: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Heat from the hot and the cold bath, of two: -Q_1/T_1 - Q_2/T_2 is the log ratio but for a function of state."""
    if len(set(baths(cell))) != 2 or "heat" not in books:
        return {}
    cold, hot = sorted(set(baths(cell)))
    pairs = {"heat_from_hot": (hot, cold), "heat_from_cold": (cold, hot)}
    return {
        name: (books["heat"] / other + books["log_ratio_x"]) / (1.0 / other - 1.0 / own)
        for name, (own, other) in pairs.items()
    }


def _flows(rise: xr.Dataset, cell: Exact) -> dict[str, np.ndarray]:
    """What the books of one point grew by, (R, S) each."""
    books = {}
    for name in ("work", "heat", "log_ratio_x"):
        if name in rise:
            values = rise[name] if "sample" in rise[name].dims else rise[name].expand_dims(sample=1)
            books[name] = np.asarray(values.transpose("replica", "sample").values, float)
    return books | _from_baths(cell, books)


def _terms(flow: np.ndarray, sigma: np.ndarray, exact: ExactCurrent) -> tuple[np.ndarray, np.ndarray]:
    """Of the expansions of precision and efficiency, (R) each."""
    of_current = 2.0 * flow / exact.mean - (flow - exact.mean) ** 2 / exact.variance
    of_both = of_current - sigma / exact.entropy + 1.0
    return exact.precision * of_current.mean(axis=-1), exact.efficiency * of_both.mean(axis=-1)
