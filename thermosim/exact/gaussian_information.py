"""Information and thermodynamic length of Gaussian learning machines, in closed form.

    entropy                 s = (1/2) ln det(2 pi e S)
    relative entropy        D(a || b) = <ln a - ln b>_a = [tr(S_b^{-1} S_a) + d.S_b^{-1} d - n + ln(det S_b/det S_a)]/2
    cross-entropy           H(a, b) = <-ln b>_a = s(a) + D(a || b)

The machine. A sample has density N(m, K^{-1}) at theta = m, K = diag(k), and theta ~ N(m*, Cov) over the ensemble, so
that samples of all replicas together have density N(m*, P), P = K^{-1} + Cov:

    L-info                  I(x; theta) = (1/2) ln det(1 + K Cov)
    ... of replica r        D(N(m_r, K^{-1}) || N(m*, P)), whose mean over replicas is I(x; theta)
    M-info                  s(theta), or, where every replica has a data set of its own, of which it knows the mean:
                            I(theta; set) = (1/2) ln [det(W + A C A')/det W],   theta | mu ~ N(a + A mu, W)

The Fisher metric of independent components is ds^2 = sum_i k_i dm_i^2 + (d ln k_i)^2/2. Crossing a path of length L in
n equal jumps, with x relaxed after each, takes work L^2/(2 n) + O(1/n^2).

Where theta is normal, all of this is exact; where it is not, the normal with its moments has the larger entropy, by the
negentropy.

Units: nats. Sources: T. M. Cover, J. A. Thomas, Elements of Information Theory (2006), ch. 8; S. S. Parsi, Entropy 26,
112 (2024), Eqs. 14, 25; G. E. Crooks, Phys. Rev. Lett. 99, 100602 (2007), for length and work; P. Comon, Signal
Processing 36, 287 (1994), for the negentropy from the Edgeworth series.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from thermosim.exact.linear_langevin import Gaussian

__all__ = [
    "cross_entropy",
    "data_information",
    "diagonal_cross_entropy",
    "diagonal_entropy",
    "diagonal_relative_entropy",
    "entropy",
    "fisher_length",
    "learned_information",
    "mutual_information",
    "negentropy",
    "quasistatic_work",
    "relative_entropy",
    "replica_information",
    "replica_information_variance",
]

_LOG_TWO_PI = float(np.log(2.0 * np.pi))


def diagonal_entropy(precision: np.ndarray) -> np.ndarray:
    """Entropy of independent components with precisions (..., n); shape (...)."""
    return np.asarray(0.5 * np.sum(1.0 + _LOG_TWO_PI - np.log(precision), axis=-1))


def diagonal_cross_entropy(
    mean_a: np.ndarray, precision_a: np.ndarray, mean_b: np.ndarray, precision_b: np.ndarray
) -> np.ndarray:
    """<-ln b>_a of independent components, sum_i [k_b (1/k_a + (m_a - m_b)^2) - ln k_b + ln 2 pi]/2, shape (...)."""
    terms = precision_b * (1.0 / precision_a + (mean_a - mean_b) ** 2) - np.log(precision_b) + _LOG_TWO_PI
    return np.asarray(0.5 * np.sum(terms, axis=-1))


def diagonal_relative_entropy(
    mean_a: np.ndarray, precision_a: np.ndarray, mean_b: np.ndarray, precision_b: np.ndarray
) -> np.ndarray:
    """D(a || b) of independent components, sum_i [k_b/k_a - 1 + k_b (m_a - m_b)^2 + ln(k_a/k_b)]/2, shape (...)."""
    ratio = precision_b / precision_a
    return np.asarray(0.5 * np.sum(ratio - 1.0 - np.log(ratio) + precision_b * (mean_a - mean_b) ** 2, axis=-1))


def entropy(covariance: np.ndarray) -> np.ndarray:
    """Entropy of normals with covariances (..., n, n); shape (...). -inf where the covariance is singular."""
    n = covariance.shape[-1]
    return np.asarray(0.5 * (n * (1.0 + _LOG_TWO_PI) + np.linalg.slogdet(covariance)[1]))


def relative_entropy(a: Gaussian, b: Gaussian) -> float:
    """D(a || b) of two normals."""
    n, gap = len(a.mean), a.mean - b.mean
    traces = np.trace(np.linalg.solve(b.covariance, a.covariance)) + gap @ np.linalg.solve(b.covariance, gap)
    volumes = np.linalg.slogdet(b.covariance)[1] - np.linalg.slogdet(a.covariance)[1]
    return 0.5 * float(traces - n + volumes)


def cross_entropy(a: Gaussian, b: Gaussian) -> float:
    """<-ln b>_a of two normals."""
    return float(entropy(a.covariance)) + relative_entropy(a, b)


def mutual_information(covariance: np.ndarray, other: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """I of two jointly normal vectors: -(1/2) ln det(1 - S^{-1} X S_other^{-1} X'), shape (...).

    S = covariance (..., n, n) of the first, other (..., m, m) that of the second, cross X (..., n, m) = Cov(first,
    other). A component without spread knows nothing and is known by nothing.
    """
    left = np.linalg.pinv(covariance, hermitian=True) @ cross
    right = np.linalg.pinv(other, hermitian=True) @ np.swapaxes(cross, -1, -2)
    return np.asarray(-0.5 * np.linalg.slogdet(np.eye(covariance.shape[-1]) - left @ right)[1])


def learned_information(precision: np.ndarray, theta_covariance: np.ndarray) -> np.ndarray:
    """L-info (1/2) ln det(1 + K Cov) for precisions (n), covariances of theta (..., n, n); shape (...)."""
    root = np.sqrt(precision)
    scaled = np.eye(len(precision)) + root[:, None] * theta_covariance * root
    return np.asarray(0.5 * np.linalg.slogdet(scaled)[1])


def replica_information(
    theta: np.ndarray, precision: np.ndarray, theta_mean: np.ndarray, theta_covariance: np.ndarray
) -> np.ndarray:
    """L-info of single replicas, D(N(m_r, K^{-1}) || N(m*, K^{-1} + Cov)), for m_r = theta (..., n); shape (...).

    precision (n), theta_mean (n), theta_covariance (n, n). Parsi 2024, Eq. 25.
    """
    inverse = np.linalg.inv(np.diag(1.0 / precision) + theta_covariance)
    gap = theta - theta_mean
    distance = np.sum((gap @ inverse) * gap, axis=-1)
    trace = float(np.sum(np.diag(inverse) / precision))
    return np.asarray(0.5 * (distance + trace - len(precision)) + learned_information(precision, theta_covariance))


def replica_information_variance(precision: np.ndarray, theta_covariance: np.ndarray) -> np.ndarray:
    """Variance of `replica_information` over normal theta: (1/2) tr[(P^{-1} Cov)^2], (..., n, n) to (...).

    Its mean is `learned_information`, for any distribution of theta with this covariance.
    """
    product = np.linalg.solve(np.diag(1.0 / precision) + theta_covariance, theta_covariance)
    return np.asarray(0.5 * np.sum(product * np.swapaxes(product, -1, -2), axis=(-2, -1)))


def data_information(within: np.ndarray, response: np.ndarray, set_covariance: np.ndarray) -> np.ndarray:
    """I(theta; mean of the data set) when each replica has its own: (1/2) ln [det(W + A C A')/det W], shape (...).

    within W (..., n, n) is the covariance of theta at a given set, response A (..., n, n) that of its mean to the mean
    of the set, set_covariance C (n, n) the covariance of the mean over sets: C*/K for K rows from a law with C*. It is
    all of I(theta; set) where nothing else about the set enters, as in full-batch Langevin dynamics. Minibatch noise
    also depends on the covariance of the set, which has mean (1 - 1/K) C*; with W its average over sets, this is then
    the information of normals with the exact second moments. Infinite where theta is a function of the set.
    """
    gain = response @ set_covariance @ np.swapaxes(response, -1, -2)
    sign, inner = np.linalg.slogdet(within)
    outer = np.linalg.slogdet(within + gain)[1]
    no_gain = ~np.any(gain, axis=(-2, -1))
    finite = (sign > 0.0) & ~no_gain
    information = 0.5 * (np.where(finite, outer, 0.0) - np.where(finite, inner, 0.0))
    return np.asarray(np.where(finite | no_gain, information, np.inf))


def fisher_length(mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Fisher length of paths m_t, k_t (N+1, ..., n) from their start, running, (N+1, ...).

    Between points m and ln k are straight lines, so the sum is exact for that broken path: each piece is
    the integral of sqrt(sum_i k_i dm_i^2 + (d ln k_i)^2/2), by Gauss-Legendre quadrature.
    """
    step, logarithm = np.diff(mean, axis=0), np.log(precision)
    turn = np.diff(logarithm, axis=0)
    pieces = np.zeros(step.shape[:-1])
    for node, weight in zip(*np.polynomial.legendre.leggauss(12)):
        local = np.exp(logarithm[:-1] + 0.5 * (1.0 + node) * turn)
        pieces += 0.5 * weight * np.sqrt(np.sum(local * step**2 + 0.5 * turn**2, axis=-1))
    return np.concatenate([np.zeros_like(pieces[:1]), np.cumsum(pieces, axis=0)])


def quasistatic_work(length: ArrayLike, jumps: ArrayLike) -> np.ndarray:
    """Work L^2/(2 n) of crossing a path of Fisher length L in n equal jumps, x relaxed after each; n large."""
    return np.asarray(np.asarray(length, float) ** 2 / (2.0 * np.asarray(jumps, float)))


def negentropy(variance: np.ndarray, third: np.ndarray, fourth: np.ndarray) -> np.ndarray:
    """Entropy of the normal of this variance less that of the density with these cumulants, near the normal.

    kappa_3^2/(12 v^3) + kappa_4^2/(48 v^4), same shapes; Comon 1994, less its terms kappa_3^4 and kappa_3^2 kappa_4. It
    is that of one component: the negentropy of a vector is at least as large as that of any of its components.
    """
    return np.asarray(third**2 / (12.0 * variance**3) + fourth**2 / (48.0 * variance**4))
