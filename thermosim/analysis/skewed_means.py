"""Means of skewed numbers over replicas: an interval that knows the skewness, and whether replicas are enough for it.

The mean of R numbers with skewness g is not normal, and what few large numbers there are move it and its error alike.
Hall's transformation takes this out to order 1/R; the interval is

    mean - (s/sqrt(R)) n(t),  mean - (s/sqrt(R)) n(-t),    n(y) = 3 sqrt(R)/g {[1 + g (y/sqrt(R) - g/(6 R))]^{1/3} - 1}

with t of Student's law. Weights e^a, as in exponential averages, live on rare replicas that a small ensemble has not
seen; its own weights then look harmless, and a flag raised by them would choose ensembles by their luck. So the flag
looks at the bulk of a, which no rare replica moves. Its variance (with a standard error) and L-moments name a law,
normal, or Pearson's type III where the L-skewness is beyond chance, and that law a skewness g of e^a, which needs

    R >= REPLICAS g^{4/3},    for normal a with variance v:  g^{4/3} ~ e^{2 v}

Exponent and factors are measured (scripts/validation/coverage_of_work.py): with them intervals of e^a cover in 93 to 97
of 100 ensembles. A kind of event that no replica has shown cannot be flagged.

Sources: P. Hall, J. R. Stat. Soc. B 54, 221 (1992), Eq. 2.3, for the transformation; J. R. M. Hosking, J. R. Stat.
Soc. B 52, 105 (1990), for L-moments, and J. R. M. Hosking, J. R. Wallis, Regional Frequency Analysis (1997), Appendix
A.9, for Pearson's type III by L-moments; C. Jarzynski, Phys. Rev. E 73, 046105 (2006), for the number of replicas.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy import special, stats

from thermosim.analysis.estimates import LEVEL, put_mean

__all__ = [
    "FEWEST",
    "FEWEST_FOR_MEAN",
    "FEWEST_FOR_VARIANCE",
    "LOST",
    "REPLICAS",
    "enough_replicas",
    "expected_skewness",
    "mean_interval",
    "put_skewed_mean",
]

LOST = 1.3  # a few hundred numbers of a long-tailed law show so many times less than its skewness
REPLICAS = 8.0  # for a skewness of one
FEWEST = 50  # replicas that tell the tail of a law from its bulk
FEWEST_FOR_MEAN = 30  # replicas for the mean of numbers as skewed as the squares of normal ones
FEWEST_FOR_VARIANCE = 100  # replicas for the variance of a skewed law
_CHANCE = (6.0, 2.0)  # standard errors of the L-skewness beyond which a law has a short, or a long upper tail
_LARGEST = 1e6  # skewness that is still told from infinity


def mean_interval(values: xr.DataArray, expected: Any = 0.0) -> tuple[xr.DataArray, xr.DataArray]:
    """Ends of the interval of the mean over dimension replica; samples of one replica are averaged first.

    Their own skewness counts with a factor `LOST`. expected: the skewness to be expected of them; where that is larger
    than what they show, the middle of both is taken, but no more than twice of what they show.
    """
    values = values.mean("sample", skipna=False) if "sample" in values.dims else values
    count = values.sizes["replica"]
    mean = values.mean("replica", skipna=False)
    deviation = values - mean
    spread = np.sqrt((deviation**2).mean("replica", skipna=False))
    shape = (deviation**3).mean("replica", skipna=False) / np.maximum(spread, np.finfo(float).tiny) ** 3
    middle = 0.5 * (shape + np.minimum(expected, _LARGEST))
    shape = xr.DataArray(np.maximum(LOST * shape, np.minimum(middle, 2.0 * shape)))
    root = np.sqrt(count)
    chances = float(stats.t.ppf(0.5 * (1.0 + LEVEL), count - 1)) if count > 1 else np.nan
    error = spread / np.sqrt(max(count - 1, 1))
    low, high = (mean - error * _untransformed(sign * chances, shape / root) for sign in (1.0, -1.0))
    return low, high


def put_skewed_mean(
    result: xr.Dataset,
    name: str,
    values: xr.DataArray,
    units: str,
    long_name: str,
    condition: str,
    expected: Any = 0.0,
) -> None:
    """Add the mean over replicas of numbers that may be skewed, with the interval that knows it (`mean_interval`)."""
    put_mean(result, name, values, units, long_name, condition, bounds=mean_interval(values, expected))


def expected_skewness(logarithms: xr.DataArray) -> xr.DataArray:
    """Skewness of e^a expected of the bulk of a, its logarithms, over dimension replica; infinite for a long tail.

    Where a is infinite or not a number, so is it.
    """
    order = [dim for dim in logarithms.dims if dim != "replica"]
    a = logarithms.transpose(*order, "replica")
    known = {name: a[name] for name in order if name in a.coords}
    return xr.DataArray(_skewness(np.asarray(a.values, float)), dims=order, coords=known)


def enough_replicas(skewness: xr.DataArray, count: int) -> xr.DataArray:
    """Whether the interval of a mean of so many numbers of this skewness can be trusted."""
    return xr.DataArray((count >= REPLICAS * np.abs(skewness) ** (4.0 / 3.0)) & (count >= FEWEST))


def _untransformed(y: float, shape: xr.DataArray) -> xr.DataArray:
    """n(y), the deviation in standard errors; shape = g/sqrt(R)."""
    g = xr.DataArray(np.where(np.abs(shape) < 1e-6, 1e-6, shape), dims=shape.dims, coords=shape.coords)
    return xr.DataArray(3.0 / g * (np.cbrt(1.0 + g * (y - g / 6.0)) - 1.0))


def _skewness(a: np.ndarray) -> np.ndarray:
    """The same of arrays (..., R)."""
    count = a.shape[-1]
    if count < 4:
        return np.full(a.shape[:-1], np.inf)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        margin = 1.0 + np.sqrt(2.0 / (count - 1))  # a standard error of the variance of a normal law
        variance = margin * a.var(axis=-1, ddof=1)
        scale, ratio = _moments_of_order(a)
        scale = np.sqrt(margin) * scale
        ratio = np.where(scale > 0.0, ratio, 0.0)
        chance = 0.432 / np.sqrt(count)  # standard error of the L-skewness of a normal law
        normal = (ratio > -_CHANCE[0] * chance) & (ratio < _CHANCE[1] * chance)
        second, third = _pearson(scale, ratio)
        second, third = np.where(normal, variance, second), np.where(normal, 3.0 * variance, third)
        square, cube = np.exp(np.minimum(second, 200.0)), np.exp(np.minimum(third, 600.0))
        skewness = (cube - 3.0 * square + 2.0) / np.maximum(square - 1.0, np.finfo(float).tiny) ** 1.5
        skewness = np.where(second > 1e-9, skewness, 3.0 * np.sqrt(np.abs(second)))  # rounding takes all digits there
        known = np.isfinite(variance)
    return np.where(known & np.isfinite(skewness) & (skewness < _LARGEST) & (third < 600.0), skewness, np.inf)


def _moments_of_order(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L-scale and L-skewness of (..., R)."""
    count, place = a.shape[-1], np.arange(a.shape[-1])
    x = np.sort(a, axis=-1)
    x = x - x[..., -1:]
    first, second = x.mean(axis=-1), (x * place).mean(axis=-1) / (count - 1)
    third = (x * (place * (place - 1.0))).mean(axis=-1) / ((count - 1.0) * (count - 2.0))
    scale = 2.0 * second - first
    return scale, (6.0 * third - 6.0 * second + first) / scale


def _pearson(scale: np.ndarray, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln <e^{n a}> - n ln <e^a> for n = 2, 3, of Pearson's type III with this L-scale and L-skewness."""
    size = np.clip(np.abs(ratio), 1e-3, 0.95)
    z, u = 3.0 * np.pi * size**2, 1.0 - size
    nearly_normal = (1.0 + 0.2906 * z) / (z + 0.1882 * z**2 + 0.0442 * z**3)
    long = (0.36067 * u - 0.59567 * u**2 + 0.25361 * u**3) / (1.0 - 2.78861 * u + 2.56096 * u**2 - 0.77045 * u**3)
    number = np.where(size < 1.0 / 3.0, nearly_normal, long)
    width = np.sign(ratio) * scale * np.sqrt(np.pi) * np.exp(special.gammaln(number) - special.gammaln(number + 0.5))

    def excess(n: int) -> np.ndarray:
        inside, of_one = 1.0 - n * width, np.maximum(1.0 - width, np.finfo(float).tiny)
        finite = number * (n * np.log(of_one) - np.log(np.maximum(inside, np.finfo(float).tiny)))
        return np.where(inside > 0.0, finite, np.inf)

    return excess(2), excess(3)
