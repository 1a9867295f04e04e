"""Means over replicas, and covariances in a frame, against exact ones: the same for all replicas, or each its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import ROUNDING, Comparison
from thermosim.analysis.settings import axes
from thermosim.checks.means import mean_comparison

__all__ = ["exact_table", "frame_moments", "of_stored", "residual_mean"]

_STORED = 8.0  # spacings of the numbers that are stored, which may be float32
_SINGULAR = 1e-10  # of a correlation matrix, its least eigenvalue


def exact_table(ds: xr.Dataset, entries: np.ndarray, *dims: str) -> xr.DataArray:
    """Exact values (points, ...) over the sweep: axes, then dims of the value, among them the replica of its own."""
    return xr.DataArray(
        entries.reshape(tuple(ds.sizes[name] for name in axes(ds)) + entries.shape[1:]), dims=(*axes(ds), *dims)
    )


def of_stored(values: xr.DataArray) -> float:
    """How many times ROUNDING the spacing of stored numbers is, 1 at least."""
    return max(1.0, _STORED * float(np.finfo(values.dtype).eps) / ROUNDING)


def residual_mean(
    ds: xr.Dataset,
    quantity: str,
    values: xr.DataArray,
    exact: xr.DataArray,
    reference: str,
    *tail: str,
    scale: float = 0.0,
) -> Comparison:
    """Mean of values less what each replica has on average, told as the mean of the one against that of the other."""
    values = values.mean("sample", skipna=False) if "sample" in values.dims else values
    residual = mean_comparison(ds, quantity, values - exact, 0.0, reference, *tail, scale=scale)
    average = exact.mean("replica") if "replica" in exact.dims else exact
    wanted = np.asarray(average.transpose(*axes(ds), *tail).values)
    return replace(residual, measured=residual.measured + wanted, exact=wanted)


def frame_moments(
    ds: xr.Dataset, values: xr.DataArray, mean: xr.DataArray, covariance: np.ndarray, what: str, reference: str
) -> list[Comparison]:
    """Mean and covariance of x or theta in one frame, deviations taken from the exact mean.

    covariance is (points, n, n), or (points, R, n, n) where replicas have their own; where it is regular, deviations
    are compared in units of its own, so that no direction of much noise hides one of little.
    """
    dimension = next(str(dim) for dim in values.dims if str(dim).endswith("_dim"))
    n, stored = covariance.shape[-1], of_stored(values)
    scale = stored * (1.0 + float(abs(values).max()))
    rows = [residual_mean(ds, f"mean of {what}", values, mean, reference, dimension, scale=scale)]
    deviation, units = values - mean, ""
    variance = np.einsum("...ii->...i", covariance)
    root = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
    regular = np.linalg.eigvalsh(covariance / root[..., None] / root[..., None, :]).min() > _SINGULAR
    if regular and np.all(variance > _SINGULAR * scale**2):
        deviation, units = _white(ds, deviation, covariance, dimension), " in units of its own"
        covariance = np.broadcast_to(np.eye(n), covariance.shape)
        scale = stored
    first, second = np.triu_indices(n)
    pairs = [
        deviation.isel({dimension: i}) * deviation.isel({dimension: j}) for i, j in zip(first, second, strict=True)
    ]
    lead: Sequence[str] = ("replica",) if covariance.ndim == 4 else ()
    exact = exact_table(ds, covariance[..., first, second], *lead, "pair")
    quantity = f"covariance of {what}{units}"
    squares = residual_mean(ds, quantity, xr.concat(pairs, "pair"), exact, reference, "pair", scale=scale**2)
    # products of different components are skewed by chance only, if they are white
    straight = np.where((first != second) & bool(units), 0.0, squares.skewness)
    return [*rows, replace(squares, skewness=straight)]


def _white(ds: xr.Dataset, deviation: xr.DataArray, covariance: np.ndarray, dimension: str) -> xr.DataArray:
    """L^{-1} of the deviations, L L' the exact covariance of the point or of each replica."""
    lower = np.linalg.inv(np.linalg.cholesky(covariance))
    lead = ("replica",) if covariance.ndim == 4 else ()
    matrix = exact_table(ds, lower, *lead, "row", dimension)
    return xr.DataArray(xr.dot(matrix, deviation, dim=dimension)).rename(row=dimension)
