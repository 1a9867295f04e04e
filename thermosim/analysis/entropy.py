"""Entropy of a density on the sphere from samples, by distances to nearest neighbours (Kozachenko-Leonenko, k = 1).

    cap      S = psi(N) - psi(1) + ln Area(S^(d-1)) + mean ln f(theta_i),  f = fraction of the sphere in a cap
             f(theta) = I(sin^2 theta; (d-1)/2, 1/2)/2 for theta < pi/2     theta_i: angle to the nearest other sample
    angles   the same estimator on the D = d-1 spherical angles, each divided by its standard deviation,
             S = D mean ln eps_i + ln(N-1) - ln Gamma(D/2+1) + (D/2) ln pi + gamma + sum ln std
                 + sum_k (d-1-k) mean ln |sin a_k|

The cap estimator knows no chart, so it does not depend on the orientation. The angles have a cut and poles, which
bias the second one when the samples lie across them. Samples must be independent: correlated ones make both too low.
Each has a bias of its own at finite N, which `estimator_bias` measures on exact samples.

Source: I. Sadrtdinov et al., arXiv 2511.07308 (angles, scale step); the cap form replaces balls in the chart by caps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special
from scipy.spatial import cKDTree

from thermosim.exact import von_mises_fisher

__all__ = ["angle_entropy", "cap_entropy", "estimator_bias", "grouped_entropy"]

EULER_GAMMA = -float(special.digamma(1.0))
Estimator = Callable[[np.ndarray], float]


def cap_entropy(samples: np.ndarray) -> float:
    """Entropy in nats of the unit vectors (N, d) on S^(d-1). -inf if two samples coincide."""
    number, dimension = samples.shape
    chord = _nearest(samples)
    log_fraction = _log_cap_fraction(dimension, np.square(np.minimum(chord, 2.0)) / 4)
    log_area = np.log(2.0) + dimension / 2 * np.log(np.pi) - special.gammaln(dimension / 2)
    return float(special.digamma(number) + EULER_GAMMA + log_area + log_fraction.mean())


def angle_entropy(samples: np.ndarray) -> float:
    """The same by the source's spherical angles, with its scale step. Samples (N, d), nats."""
    number, dimension = samples.shape
    angles = _spherical_angles(samples)
    scale = angles.std(0)
    degrees = dimension - 1
    constant = np.log(number - 1) - special.gammaln(degrees / 2 + 1) + degrees / 2 * np.log(np.pi) + EULER_GAMMA
    with np.errstate(divide="ignore"):
        chart = degrees * np.log(_nearest(angles / scale)).mean() + constant + np.log(scale).sum()
        powers = np.arange(dimension - 2, 0, -1)
        measure = (powers * np.log(np.abs(np.sin(angles[:, :-1])))).sum(1).mean()
    return float(chart + measure)


def grouped_entropy(groups: np.ndarray, estimator: Estimator = cap_entropy) -> tuple[float, float]:
    """Mean over independent groups of samples (G, N, d), and its standard error. G >= 2."""
    values = np.array([estimator(group) for group in groups])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def estimator_bias(
    number: int,
    dimension: int,
    kappa: float,
    estimator: Estimator = cap_entropy,
    repeats: int = 32,
    seed: int = 0,
    concentrations: np.ndarray | None = None,
) -> tuple[float, float]:
    """Bias at N = number and its standard error, from exact von Mises-Fisher samples about a diagonal direction.

    `concentrations` (number,) gives each sample a kappa of its own, as for pooled runs of different temperature.
    """
    random = np.random.default_rng(seed)
    mean = np.full(dimension, dimension**-0.5)
    spread = np.full(number, kappa) if concentrations is None else concentrations
    draws = (
        von_mises_fisher.directions(spread, mean, random.random(number), random.standard_normal((dimension, number))).T
        for _ in range(repeats)
    )
    values = np.array([estimator(draw) for draw in draws]) - float(von_mises_fisher.entropy(dimension, kappa))
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(repeats))


def _nearest(points: np.ndarray) -> np.ndarray:
    """Distance of every point (N, D) to the nearest other one."""
    distances = np.asarray(cKDTree(points).query(points, k=2)[0])
    return distances[:, 1]


def _log_cap_fraction(dimension: int, half_sine_square: np.ndarray) -> np.ndarray:
    """ln of the fraction of S^(d-1) within the angle theta, from sin^2(theta/2)."""
    sine_square = 4.0 * half_sine_square * (1.0 - half_sine_square)
    a, b = (dimension - 1) / 2, 0.5
    fraction = special.betainc(a, b, sine_square)
    with np.errstate(divide="ignore", invalid="ignore"):
        series = (
            a * np.log(sine_square)
            + b * np.log1p(-sine_square)
            - np.log(a)
            - special.betaln(a, b)
            + np.log(special.hyp2f1(a + b, 1.0, a + 1.0, np.minimum(sine_square, 0.9)))
        )
        near = np.where(fraction > 1e-250, np.log(fraction), series) - np.log(2.0)
    return np.where(half_sine_square < 0.5, near, np.log1p(-fraction / 2))


def _spherical_angles(samples: np.ndarray) -> np.ndarray:
    """a_k = atan2(|x_(k+1..d)|, x_k); the last is atan2(x_d, x_(d-1)) in (-pi, pi]. (N, d) -> (N, d-1)."""
    tails = np.sqrt(np.cumsum(np.square(samples[:, ::-1]), axis=1))[:, ::-1]
    angles = np.arctan2(tails[:, 1:], samples[:, :-1])
    angles[:, -1] = np.arctan2(samples[:, -1], samples[:, -2])
    return angles
