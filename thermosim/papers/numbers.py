"""Numbers of claims: of an analysis, of the replicas of an ensemble, ratios of means, limits of learning rate 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thermosim.papers.claims import Number

__all__ = ["at_rate_zero", "extrapolated", "known", "last", "of_ratio", "of_replicas", "surviving"]


def known(
    quantity: str, value: xr.DataArray, error: xr.DataArray, claimed: float, valid: object = True, **more: Any
) -> Number:
    """A number of an analysis, with its error and the degrees of freedom of that; undecided where it is not valid."""
    freedom = float(error.attrs.get("degrees_of_freedom", np.inf))
    return Number(quantity, float(value), float(error) if valid else np.nan, claimed, freedom, **more)


def of_replicas(quantity: str, values: np.ndarray, claimed: float, **more: Any) -> Number:
    """The mean of values (R,)."""
    values = np.asarray(values, float)
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Number(quantity, float(values.mean()), error, claimed, degrees_of_freedom=len(values) - 1, **more)


def of_ratio(quantity: str, top: np.ndarray, below: np.ndarray, claimed: float, **more: Any) -> Number:
    """The ratio of two means over replicas, its error to leading order in those of the means: (R,) both."""
    ratio = float(top.mean() / below.mean())
    return of_replicas(quantity, ratio + (top - ratio * below) / below.mean(), claimed, **more)


def extrapolated(quantity: str, rates: np.ndarray, values: np.ndarray, claimed: float, **more: Any) -> Number:
    """The mean of values (rates, R) at learning rate 0; how far off a straight line leads is what is left open."""
    parabola, line = at_rate_zero(rates, values), at_rate_zero(rates, values, order=1)
    left = float(abs(parabola.mean() - line.mean()))
    return of_replicas(quantity, parabola, claimed, allowed=left, because="the next order of the learning rate", **more)


def at_rate_zero(rates: np.ndarray, values: np.ndarray, order: int = 2) -> np.ndarray:
    """What replicas (rates, R) say of learning rate 0: (R,), by a parabola through their means, weighted by the errors.

    It is linear in the values, so that the spread of what comes out is right also where rates share their noise. NaN
    where a value is.
    """
    if not np.isfinite(values).all():
        return np.full(values.shape[1], np.nan)
    powers = np.vander(rates / rates.max(), order + 1, increasing=True) / values.std(1, ddof=1)[:, None]
    to_zero = np.linalg.pinv(powers)[0] / values.std(1, ddof=1)
    return np.asarray(to_zero @ values)


def surviving(ds: xr.Dataset) -> xr.Dataset:
    """Without replicas that diverged at any point of the sweep."""
    alive = (ds["status"] == 0).all([dim for dim in ds["status"].dims if dim != "replica"])
    return ds.isel(replica=np.flatnonzero(alive.values))


def last(ds: xr.Dataset) -> xr.Dataset:
    """The last frame."""
    return ds.isel(step=-1)
