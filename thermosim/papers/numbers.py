"""Numbers of claims from what an analysis or the replicas of an ensemble say."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thermosim.papers.claims import Number

__all__ = ["known", "last", "mean_of"]


def known(
    quantity: str, value: xr.DataArray, error: xr.DataArray, claimed: float, valid: object = True, **more: Any
) -> Number:
    """A number of an analysis, with its error and the degrees of freedom of that; undecided where it is not valid."""
    freedom = float(error.attrs.get("degrees_of_freedom", np.inf))
    return Number(quantity, float(value), float(error) if valid else np.nan, claimed, freedom, **more)


def mean_of(quantity: str, values: np.ndarray, claimed: float, **more: Any) -> Number:
    """The mean of a number of every replica (R,)."""
    error = float(values.std(ddof=1)) / float(np.sqrt(len(values)))
    return Number(quantity, float(values.mean()), error, claimed, len(values) - 1.0, **more)


def last(ds: xr.Dataset) -> xr.Dataset:
    return ds.isel(step=-1)
