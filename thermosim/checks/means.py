"""Averages over replicas as comparisons: with the skewness of what is averaged, or with an error that theory knows.

Moments of a normal vector x of known mean and covariance S = L L' need no estimated error. With y = L^{-1} (x - mean),
the triangular factor T of the scatter sum_r y_r y_r' = T T' has independent entries (M. S. Bartlett, Proc. R. Soc.
Edinb. 53, 260 (1933)): T_ii^2 is chi-squared with R - i degrees of freedom, i = 0..n-1, and T_ij is standard normal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import special

from thermosim.analysis.comparison import SKEWEST, Comparison
from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.settings import axes
from thermosim.exact.linear_langevin import Gaussian

__all__ = [
    "LEAST_REPLICAS",
    "is_nearly_normal",
    "mean_comparison",
    "normal_moments",
    "normal_variance",
    "skewness_of_mean",
]

LEAST_REPLICAS = 100  # of an average whose law is not known


def mean_comparison(
    ds: xr.Dataset,
    quantity: str,
    values: xr.DataArray,
    exact: np.ndarray | float,
    reference: str,
    *tail: str,
    scale: float | np.ndarray = 0.0,
    units: str = "1",
) -> Comparison:
    """Mean over replicas, dims the axes of the sweep and `tail`, against `exact` of that shape."""
    if "sample" in values.dims:
        values = values.mean("sample", skipna=False)
    values = values.transpose("replica", *axes(ds), *tail)
    mean, error = (v.values for v in replica_mean(values))
    return Comparison(
        quantity,
        mean,
        error,
        np.broadcast_to(np.asarray(exact, float), mean.shape),
        values.sizes["replica"] - 1,
        reference,
        scale=scale,
        skewness=skewness_of_mean(values.values),
        units=units,
    )


def skewness_of_mean(values: np.ndarray) -> np.ndarray:
    """Skewness of the mean over the first axis, from that of its terms: 0 where they are all alike."""
    deviation = values - values.mean(axis=0)
    variance = np.mean(deviation**2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.mean(deviation**3, axis=0) / variance**1.5 / np.sqrt(len(values))
    return np.where(np.isfinite(skewness), skewness, 0.0)


def is_nearly_normal(comparison: Comparison) -> bool:
    """Whether no mean of it is too skewed, or of too few replicas, for Student's law."""
    enough = comparison.degrees_of_freedom + 1 >= LEAST_REPLICAS
    return enough and bool(np.all(np.abs(comparison.skewness) < SKEWEST))


def normal_variance(
    ds: xr.Dataset, quantity: str, deviation: xr.DataArray, exact: np.ndarray, reference: str, units: str
) -> Comparison:
    """Variance of a normal variable about its known mean, independent in all samples: a chi-squared."""
    values = _flat(ds, deviation)
    count = values.shape[-1]
    measured = np.mean(values**2, axis=-1)
    ratios = zip(measured.ravel(), exact.ravel(), strict=True)
    score = np.array([_normal_score(count * m / e, count) for m, e in ratios])
    error = exact * np.sqrt(2.0 / count)
    score = np.reshape(score, exact.shape)
    return Comparison(quantity, measured, error, exact, np.inf, reference, score=score, units=units)


def _flat(ds: xr.Dataset, values: xr.DataArray, *tail: str) -> np.ndarray:
    """(axes..., replicas and their samples, tail...)."""
    every = [name for name in ("replica", "sample") if name in values.dims]
    array = values.transpose(*axes(ds), *every, *tail).values
    front = array.shape[: len(axes(ds))]
    return np.reshape(array, (*front, -1, *array.shape[len(front) + len(every) :]))


def normal_moments(
    ds: xr.Dataset, x: xr.DataArray, exact: Sequence[Gaussian], what: str, reference: str
) -> list[Comparison]:
    """Mean and covariance of a normal x, one law for each point of the sweep, independent in all samples.

    The errors are those of theory; `score` has the laws of the estimates, of each component given those before it.
    Entries of the covariance are pairs i <= j. No more components than samples.
    """
    values = _flat(ds, x, "x_dim")
    shape, size = values.shape[:-2], values.shape[-2:]
    if size[0] <= size[1]:
        return []
    points = values.reshape(-1, *size)
    columns = [_normal_point(point, law) for point, law in zip(points, exact, strict=True)]
    mean, mean_error, mean_exact, mean_score, covariance, error, covariance_exact, score = (
        np.stack(column).reshape(*shape, -1) for column in zip(*columns, strict=True)
    )
    return [
        Comparison(f"mean {what}", mean, mean_error, mean_exact, np.inf, reference, score=mean_score),
        Comparison(f"covariance {what}", covariance, error, covariance_exact, np.inf, reference, score=score),
    ]


def _normal_point(x: np.ndarray, law: Gaussian) -> tuple[np.ndarray, ...]:
    """Mean and covariance of x (R, n): measured, error, exact and score of each."""
    replicas, n = x.shape
    deviation, covariance = x - law.mean, law.covariance
    lower = np.linalg.cholesky(covariance)
    white = np.linalg.solve(lower, deviation.T)
    rows, columns = np.triu_indices(n)
    mean_score = white.mean(axis=1) * np.sqrt(replicas)
    variance = np.diag(covariance)
    measured = (deviation.T @ deviation / replicas)[rows, columns]
    error = np.sqrt((np.outer(variance, variance) + covariance**2)[rows, columns] / replicas)
    factor = np.linalg.cholesky(white @ white.T)
    score = factor.T.copy()
    for i in range(n):
        score[i, i] = _normal_score(factor[i, i] ** 2, replicas - i)
    return (
        x.mean(axis=0),
        np.sqrt(variance / replicas),
        law.mean,
        mean_score,
        measured,
        error,
        covariance[rows, columns],
        score[rows, columns],
    )


def _normal_score(chi_square: float, degrees: int) -> float:
    """The standard normal variable of the same probability, by the nearer tail."""
    below, above = special.chdtr(degrees, chi_square), special.chdtrc(degrees, chi_square)
    return float(special.ndtri(below) if below < above else -special.ndtri(above))
