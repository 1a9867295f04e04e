"""Averages of exp(-b Sigma) of a linear system, exactly: the paths, weighted, integrated out between steps.

    Sigma = sum ln p(x'|x)/p(x|x') + ln p_0(x_0) - ln p_t(x_t)

p_0 is the start, p_t any density. The integral fluctuation theorem says ln <exp(-Sigma)> = 0; b = 2 gives the variance
of that average. Weights p^{1-b} (reverse p)^b of a path are Gaussian for linear moves of any kind: one move is a kernel
exp(-z'F z/2) of z = (x, x', 1), and kernels compose (`exact.gaussian_products`, products by `exact.scan`).

Source: U. Seifert, Phys. Rev. Lett. 95, 040602 (2005), for Sigma and its theorem.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from thermosim.exact.gaussian_products import kernels, log_integral
from thermosim.exact.linear_langevin import Gaussian
from thermosim.exact.scan import Maps, power, running_products
from thermosim.exact.stretches import LinearProtocol, Stretches, asked_steps, stretches

__all__ = ["log_theorem_average", "log_theorem_averages"]


def log_theorem_average(
    protocol: LinearProtocol, start: Gaussian, ends: Gaussian, exponent: float, record: ArrayLike | None = None
) -> np.ndarray:
    """ln <exp(-b Sigma)>, b = `exponent`, at the steps `record`, by default all of 0..N: (F).

    `ends` are the densities p_t at these steps, mean (F, n) and covariance (F, n, n). nan from where it diverges, and
    where a move has no noise.
    """
    return log_theorem_averages(protocol, start, [ends], exponent, record)[0]


def log_theorem_averages(
    protocol: LinearProtocol,
    start: Gaussian,
    families: Sequence[Gaussian],
    exponent: float,
    record: ArrayLike | None = None,
) -> np.ndarray:
    """The same for several choices of p_t at once: (families, F)."""
    steps = asked_steps(protocol, record)
    course, later = stretches(protocol, steps), steps > 0
    results = np.zeros((len(families), len(steps)))
    if not np.any(later):
        return results
    with np.errstate(divide="ignore", invalid="ignore"):
        (path,) = power(_kernel(course, exponent), course.moves, kernels)
        (path,) = running_products(lambda at: (path[..., at],), len(course.end), course.rows(steps[later]) - 1, kernels)
        n = len(start.mean)
        before, after = [*range(n), 2 * n], [*range(n, 2 * n + 1)]
        path[np.ix_(before, before)] += _power_of(start.mean[None], start.covariance[None], 1.0 - exponent)
        for result, law in zip(results, families, strict=True):
            whole = path.copy()
            whole[np.ix_(after, after)] += _power_of(law.mean[later], law.covariance[later], exponent)
            result[later] = log_integral(whole)
    return results


def _kernel(course: Stretches, b: float) -> Maps:
    """p(x'|x)^{1-b} p(x|x')^b of one move in each stretch."""
    forth = _density(course)
    n = len(forth) // 2
    turned = [*range(n, 2 * n), *range(n), 2 * n]
    return ((1.0 - b) * forth + b * forth[np.ix_(turned, turned)],)


def _density(course: Stretches) -> np.ndarray:
    """F of p(x'|x) = exp(-z'F z/2) over (2 pi)^{n/2}."""
    matrix, shift, noise = course.transitions()
    n = len(matrix)
    inverse, volume = _inverse(noise)
    residual = np.concatenate([-matrix, np.broadcast_to(np.eye(n)[..., None], matrix.shape), -shift[:, None]], axis=1)
    form = np.einsum("ki...,kl...,lj...->ij...", residual, inverse, residual, optimize=True)
    form[-1, -1] += volume
    return form


def _power_of(mean: np.ndarray, covariance: np.ndarray, exponent: float) -> np.ndarray:
    """The form of p^b for normal laws of means (F, n) and covariances (F, n, n), z = (x, 1), without its 2 pi."""
    inverse, volume = _inverse(np.moveaxis(covariance, 0, -1))
    n = mean.shape[1]
    residual = np.concatenate([np.broadcast_to(np.eye(n)[..., None], (n, n, len(mean))), -mean.T[:, None]], axis=1)
    form = np.einsum("ki...,kl...,lj...->ij...", residual, inverse, residual, optimize=True)
    form[-1, -1] += volume
    return exponent * form


def _inverse(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverses and ln det of covariances (n, n, S); nan where there is none."""
    stacked = np.moveaxis(covariance, -1, 0)
    volume = np.linalg.slogdet(stacked)[1]
    regular = np.where(np.isfinite(volume)[:, None, None], stacked, np.nan)
    return np.moveaxis(np.linalg.inv(regular), 0, -1), volume
