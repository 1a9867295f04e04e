"""Linear regression by moves that are linear in the gradient: moments of theta and the ledger against exact recursions.

theta and the minibatch gradient are linear in each other given the rows, so that mean and covariance of theta and the
means of all books are exact at any learning rate, batch, decay, momentum and schedule (`exact.linear_regression`), on
data that are kept and on Gaussian rows that are fresh at every step. Replicas that learn from different sets are each
compared with the law of their own. The update energy |dtheta|^2/r is compared in four windows of the run, each over
the learning rates of its own steps, so that a schedule must have been followed.

Means are judged by the spread of replicas, which tells nothing where rare replicas carry them: minibatches multiply
theta - theta* by random matrices, and products of many of these are spread widely. So nothing is compared where the
learning rate is no small part of that at which the mean square grows; nor in a frame in which the fate of the start,
without noise of the targets, has a spread that is no small part of all.
Source: L. Ziyin, K. Liu, T. Mori, M. Ueda, ICLR 2022, arXiv:2102.05375; the recursion by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import ROUNDING, Comparison
from thermosim.analysis.machine import Machine
from thermosim.analysis.regression_laws import (
    MANY_NUMBERS,
    is_regression,
    is_told,
    laws,
    own_sets,
    parameters,
    why_no_regression,
)
from thermosim.analysis.update_energy import sums_of_rates
from thermosim.checks.means import LEAST_REPLICAS, is_nearly_normal
from thermosim.checks.moments import exact_table, frame_moments, of_stored, residual_mean
from thermosim.ledger import VARIABLES

__all__ = ["regression_comparisons"]

_SUMS = ("loss_sum", "gradient_square", "displacement_square")
_AT = "exact recursion of linear regression at the run's rates, batch and rows"
_UPDATES = "exact recursion of |dtheta|^2 at the run's rates, batch and rows"


def regression_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """Of every point of the sweep; none unless all of them are such runs, forward from a start that is known."""
    if not is_regression(everyone) or why_no_regression(everyone) or ds.sizes["replica"] < LEAST_REPLICAS:
        return []
    try:
        own = own_sets(everyone)
    except ValueError:  # replicas whose sets are not known, as `learning.advice` says
        return []
    if own is not None:
        numbers = len(everyone) * parameters(everyone[0]) ** 2
        ds = ds.isel(replica=slice(max(LEAST_REPLICAS, int(MANY_NUMBERS / numbers))))
        own = own[:, : ds.sizes["replica"]]
    last = ds.sizes["step"] - 1
    frames = sorted({0, last // 4, last // 2, 3 * last // 4, last})  # ends of windows; theta in three of them
    steps = [int(ds["step"][f]) for f in frames]
    theory = [laws(machine, steps) for machine in everyone]
    told = [is_told(theory, f) for f in range(len(frames))]

    def exact(name: str, frame: int) -> np.ndarray:
        """(points, ...), or (points, R, ...) where replicas have sets of their own."""
        of_sets = [np.stack([getattr(law, name)[frame] for law, _ in laws]) for laws in theory]
        return np.stack([one[0] if own is None else one[own[p]] for p, one in enumerate(of_sets)])

    lead, found = () if own is None else ("replica",), []
    for f, frame in enumerate(frames):
        if "theta" in ds and told[f] and steps[f] > 0 and frame in (last // 4, last // 2, last):
            mean = exact_table(ds, exact("mean", f), *lead, "theta_dim")
            values = ds["theta"].isel(step=frame)
            found += frame_moments(ds, values, mean, exact("covariance", f), f"theta at step {steps[f]}", _AT)
    for name in (*_SUMS, *(("minibatch_loss",) if told[-1] else ())):
        if name in ds and steps[-1] > 0:
            found.append(_book(ds, name, steps[-1], exact_table(ds, exact(name, -1), *lead)))
    for f in range(1, len(frames)) if "displacement_square" in ds else ():
        if told[f - 1] and told[f]:
            moved = exact_table(ds, exact("displacement_square", f) - exact("displacement_square", f - 1), *lead)
            found.append(_update_energy(ds, everyone, frames[f - 1 : f + 1], moved))
    return [one for one in found if is_nearly_normal(one)]


def _book(ds: xr.Dataset, name: str, step: int, exact: xr.DataArray) -> Comparison:
    values = ds[name].isel(step=-1)
    rounding = max(of_stored(values), step * float(np.finfo(float).eps) / ROUNDING)
    what = f"mean {name.replace('_', ' ')} {'to' if name in _SUMS else 'at'} step {step}"
    row = residual_mean(ds, what, values, exact, _AT, scale=rounding * float(abs(values).max()))
    return replace(row, units=VARIABLES[name].units)


def _update_energy(
    ds: xr.Dataset, everyone: Sequence[Machine], frames: Sequence[int], exact: xr.DataArray
) -> Comparison:
    """|dtheta|^2 between two frames over the sum of the learning rates of these steps."""
    steps = ds["step"].values[frames]
    rates = exact_table(ds, np.concatenate([sums_of_rates(machine, steps) for machine in everyone]))
    first, last = (ds["displacement_square"].isel(step=frame, drop=True) for frame in frames)
    what = f"update energy of steps {int(steps[0]) + 1} to {int(steps[1])}"
    rounding = max(of_stored(last), int(steps[1]) * float(np.finfo(float).eps) / ROUNDING)
    scale = rounding * float(abs(last / rates).max())
    row = residual_mean(ds, what, (last - first) / rates, exact / rates, _UPDATES, scale=scale)
    return replace(row, units="energy")
