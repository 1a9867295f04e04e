"""The measured noise of minibatches against what is exact of it: given the past, the next rows are drawn anew.

    <eta(t).eta(t + l)> = 0                              at every lag l > 0, at any theta
    <|g_(t+1)|^2>       = |E g|^2 + Tr Sigma             of the minibatch of the step after a frame

On the left of the second is what the ledger books of the step, on the right what K other minibatches say of the same
theta; both sides are without bias at any theta. Terms of different steps and replicas are uncorrelated, so their number
is that of frames times replicas, and a mean of so skewed a law that Student's does not hold for it is not compared.
Source: S. S. Parsi, Entropy 26, 112 (2024), Eq. 20.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import SKEWEST, Comparison
from thermosim.analysis.gradient_noise import learned_parameters
from thermosim.analysis.machine import Machine
from thermosim.analysis.network_noise import own_frames
from thermosim.analysis.settings import axes
from thermosim.checks.means import skewness_of_mean

__all__ = ["noise"]

_LAGS = 8  # frames
_FEWEST = 100  # terms


def noise(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """Whiteness, and the size of the next gradient, where they are recorded; forward, from minibatches."""
    if any(m.settings.run.direction != "forward" or m.settings.theta.batch == "all" for m in everyone):
        return []
    return [*_whiteness(ds, everyone), *_next_gradients(ds, everyone)]


def _whiteness(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    if "noise_projections" not in ds:
        return []
    records = [own_frames(machine.frames, "noise_projections") for machine in everyone]
    steps = records[0]["step"].values
    if len(steps) < 3 or len(set(np.diff(steps).tolist())) > 1:
        return []
    last = min(_LAGS, len(steps) - 2)
    found = []
    for record in records:
        eta = record.transpose("step", "replica", "projection").values
        terms = [(eta[:-last] * eta[lag : len(eta) - last + lag]).mean(-1).ravel() for lag in range(1, last + 1)]
        found.append(np.stack(terms) / np.mean(eta**2))
    every = int(steps[1] - steps[0])
    quantity = f"autocorrelation of the noise, lags {every} to {last * every}"
    reference = "every step draws its rows anew: white noise (Eq. 20)"
    values = np.stack(found)  # points, lags, terms
    return _compared(ds, quantity, values, np.zeros(values.shape[:-1]), reference, "1")


def _next_gradients(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    names = ("gradient_square", "gradient_noise_trace", "mean_gradient_square")
    if not set(names) <= set(ds):
        return []
    if any(machine.settings.theta.constraint is not None for machine in everyone):
        return []  # gradient_square is |w|^2 |g|^2 there
    booked, seen = [], []
    for machine in everyone:
        sums, trace, mean = (own_frames(machine.frames, name) for name in names)
        at = np.intersect1d(trace["step"].values, mean["step"].values)
        at = at[np.isin(at, sums["step"].values) & np.isin(at + 1, sums["step"].values)]
        if not len(at) or len(learned_parameters(machine)[0]) < _numbers(machine):
            return []
        before, after = (sums.sel(step=steps).transpose("step", "replica").values for steps in (at, at + 1))
        booked.append(np.ravel(after - before))
        seen.append(np.ravel((trace + mean).sel(step=at).transpose("step", "replica").values))
    values, expected = np.stack(booked), np.stack(seen)
    quantity = f"squared gradient of the next step, at {len(at)} frames"
    reference = "|E g|^2 + Tr Sigma of other minibatches at the same theta, without bias"
    return _compared(ds, quantity, values - expected, expected.mean(-1), reference, "energy^2")


def _compared(
    ds: xr.Dataset, quantity: str, values: np.ndarray, exact: np.ndarray, reference: str, units: str
) -> list[Comparison]:
    """Means over the last axis, added to what is exact; the first are points of the sweep."""
    count = values.shape[-1]
    shape = [*(ds.sizes[name] for name in axes(ds)), *values.shape[1:-1]]
    skewness = skewness_of_mean(np.moveaxis(values, -1, 0)).reshape(shape)
    error = values.std(axis=-1, ddof=1).reshape(shape) / np.sqrt(count) if count > 1 else np.zeros(shape)
    if count < _FEWEST or np.max(np.abs(skewness)) > SKEWEST or not np.all(error > 0.0):
        return []
    exact = exact.reshape(shape)
    measured = exact + values.mean(axis=-1).reshape(shape)
    return [Comparison(quantity, measured, error, exact, count - 1, reference, skewness=skewness, units=units)]


def _numbers(machine: Machine) -> int:
    return sum(int(np.prod(group.shape(machine.constants))) for group in machine.model.parameters)
