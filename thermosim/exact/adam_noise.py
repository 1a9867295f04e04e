"""Adam on gradients that are pure noise: the mean square of its normalised step.

    m_t = sum_k a_k g_(t-k),   v_t = sum_k c_k g_(t-k)^2,   theta' = theta - r m_t/(sqrt(v_t) + epsilon)
    a_k = (1 - beta1) beta1^k/(1 - beta1^t),   c_k the same of beta2, k = 0..t-1: the bias of the start is taken out

Where g is drawn anew at every step, of mean 0, variance s^2, no skewness and kurtosis K (3 of a normal law),
v = s^2 (1 + d) with d of order (1 - beta2)^(1/2), and with <m^2/v> = <m^2 (1 - d + d^2)>/s^2

    <m^2/v> = A [1 - (K - 1) (sum a_k^2 c_k/A - C)],   A = sum a_k^2,   C = sum c_k^2

up to terms of second order in (K - 1) C. As t -> infinity A = (1 - beta1)/(1 + beta1), which is all that is left as
beta2 -> 1: the update energy |dtheta|^2/r of d parameters is then r d (1 - beta1)/(1 + beta1), whatever the noise.

Of any gradients whatever, by the inequality of Cauchy and Schwarz, m^2/v <= sum a_k^2/c_k: at the first step it is 1,
and there m^2/v = 1 unless g = 0.
Sources: D. P. Kingma, J. Ba, ICLR 2015, Algorithm 1; the limit of update energies under schedules, L. Ziyin, Y. Ren,
D. Levine, I. Chuang, arXiv:2605.21933 (2026); the expansion by hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["batch_kurtosis", "largest_square", "mean_square", "spread_of_square"]


def mean_square(step: ArrayLike, beta1: float, beta2: float, kurtosis: float = 3.0) -> np.ndarray:
    """<(m/sqrt(v))^2> at steps 1, 2, ... (any shape), to first order in (K - 1) C; 1 at the first step, of any law."""
    t = np.asarray(step, float)
    square = _weights_square(beta1, t)
    overlap = _overlap(beta1, beta2, t)
    return np.asarray(square - (kurtosis - 1.0) * (overlap - square * _weights_square(beta2, t)))


def spread_of_square(step: ArrayLike, beta2: float, kurtosis: float = 3.0) -> np.ndarray:
    """(K - 1) C, the relative variance of v at these steps: the expansion is good to its square."""
    return np.asarray((kurtosis - 1.0) * _weights_square(beta2, np.asarray(step, float)))


def largest_square(step: ArrayLike, beta1: float, beta2: float) -> np.ndarray:
    """The most that (m/sqrt(v))^2 can be at steps 1, 2, ... (any shape): sum a_k^2/c_k; infinite where that is."""
    t = np.asarray(step, float)
    if beta2 == 0.0:  # v is the last square alone
        return np.where((t == 1.0) | (beta1 == 0.0), 1.0, np.inf)
    each = beta1**2 / beta2
    with np.errstate(over="ignore"):
        whole = t if each == 1.0 else (1.0 - each**t) / (1.0 - each)
    return np.asarray((1.0 - beta1) ** 2 * (1.0 - beta2**t) / ((1.0 - beta2) * (1.0 - beta1**t) ** 2) * whole)


def batch_kurtosis(of_row: ArrayLike, batch: int) -> np.ndarray:
    """Of the mean of so many independent rows of this kurtosis."""
    return np.asarray(3.0 + (np.asarray(of_row, float) - 3.0) / batch)


def _weights_square(beta: float, t: np.ndarray) -> np.ndarray:
    """Sum of the squared weights of an average over t steps."""
    return np.asarray((1.0 - beta) / (1.0 + beta) * (1.0 + beta**t) / (1.0 - beta**t))


def _overlap(beta1: float, beta2: float, t: np.ndarray) -> np.ndarray:
    """sum a_k^2 c_k."""
    each = beta1**2 * beta2
    whole = (1.0 - each**t) / (1.0 - each)
    return np.asarray((1.0 - beta1) ** 2 * (1.0 - beta2) * whole / ((1.0 - beta1**t) ** 2 * (1.0 - beta2**t)))
