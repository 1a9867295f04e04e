"""Entropy of a density from its samples, in nats.

On the sphere, by distances to nearest neighbours (Kozachenko-Leonenko, k = 1):

    cap      S = psi(N) - psi(1) + ln Area(S^(d-1)) + mean ln f(theta_i),  f = fraction of the sphere in a cap
             f(theta) = I(sin^2 theta; (d-1)/2, 1/2)/2 for theta < pi/2     theta_i: angle to the nearest other sample
    angles   the same estimator on the D = d-1 spherical angles, each divided by its standard deviation,
             S = D mean ln eps_i + ln(N-1) - ln Gamma(D/2+1) + (D/2) ln pi + gamma + sum ln std
                 + sum_k (d-1-k) mean ln |sin a_k|

The cap estimator knows no chart, so it does not depend on the orientation. The angles have a cut and poles, which
bias the second one when the samples lie across them. Samples must be independent: correlated ones make both too low.
Each has a bias of its own at finite N, which `estimator_bias` measures on exact samples; `sphere_entropy` takes it off,
and has an error and a reason not to trust it.

In flat space:

    normal     S = (1/2) [n ln(2 pi e) + ln det A - sum_i psi((N-i)/2) - n ln 2],  A scatter about the mean, i = 1..n;
               unbiased for normal samples, at any N > n
    empirical  S = -sum_x f_x ln f_x of the frequencies of states, its bias removed by the jackknife

These two return jackknife pseudo-values, one for each independent sample: their mean is the estimate, their standard
deviation over sqrt(N) its standard error, and differences of entropies take differences of values. Distances between
neighbours in flat space are in `neighbours`, whether samples are those of a normal in `normality`.

Sources: I. Sadrtdinov et al., arXiv 2511.07308 (angles, scale step); the cap form replaces balls in the chart by caps.
N. A. Ahmed, D. V. Gokhale, IEEE Trans. Inf. Theory 35, 688 (1989), for the normal; S. Zahl, Ecology 58, 907 (1977), for
the empirical one; B. Efron, C. Stein, Ann. Stat. 9, 586 (1981): the jackknife does not understate variances on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special
from scipy.spatial import cKDTree

from thermosim.exact import von_mises_fisher

__all__ = [
    "EULER_GAMMA",
    "NO_NOISE",
    "Noise",
    "angle_entropy",
    "cap_entropy",
    "empirical_entropy",
    "empirical_noise",
    "empirical_reason",
    "estimator_bias",
    "grouped_entropy",
    "is_degenerate",
    "log_cap_fraction",
    "log_determinant",
    "log_determinant_variance",
    "normal_entropy",
    "singleton_fraction",
    "spherical_angles",
]

_FEWEST = 60  # replicas for a symmetric interval
_UNSEEN = 0.7  # probability of states not met, in errors of the entropy
EULER_GAMMA = -float(special.digamma(1.0))
Estimator = Callable[[np.ndarray], float]


class Noise(NamedTuple):
    """Variance that estimation adds to values whose mean is an entropy: as seen among them, and times N in the mean.

    stretch: of the rest of the variance, to what it is without the noise.
    """

    seen: float
    true: float
    stretch: float

    def plus(self, other: Noise) -> Noise:
        """That of a sum or difference."""
        return Noise(self.seen + other.seen, self.true + other.true, max(self.stretch, other.stretch))

    def error(self, variance: float, number: int) -> float:
        """Standard error of the mean of `number` values of this variance, of which the noise is a part."""
        part = min(variance, self.seen)
        noise = self.true * part / self.seen if part > 0.0 else 0.0
        return float(np.sqrt(((variance - part) * self.stretch + noise) / number))


NO_NOISE = Noise(0.0, 0.0, 1.0)


def cap_entropy(samples: np.ndarray) -> float:
    """Entropy in nats of the unit vectors (N, d) on S^(d-1). -inf if two samples coincide."""
    number, dimension = samples.shape
    chord = _nearest(samples)
    log_fraction = log_cap_fraction(dimension, np.square(np.minimum(chord, 2.0)) / 4)
    log_area = np.log(2.0) + dimension / 2 * np.log(np.pi) - special.gammaln(dimension / 2)
    return float(special.digamma(number) + EULER_GAMMA + log_area + log_fraction.mean())


def angle_entropy(samples: np.ndarray) -> float:
    """The same by the source's spherical angles, with its scale step. Samples (N, d), nats."""
    number, dimension = samples.shape
    angles = spherical_angles(samples)
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


def normal_entropy(samples: np.ndarray) -> np.ndarray:
    """Pseudo-values (N,) of the entropy of samples (N, n) of a normal. -inf where their covariance is singular.

    Raises ValueError unless N > n + 1.
    """
    number, n = samples.shape
    if number < n + 2:
        raise ValueError(f"{number} samples do not span {n} dimensions; the entropy of a normal needs at least {n + 2}")
    centered = samples - samples.mean(axis=0)
    scatter = centered.T @ centered
    if is_degenerate(samples):
        return np.full(number, -np.inf)
    leverage = number / (number - 1) * np.sum(centered * np.linalg.solve(scatter, centered.T).T, axis=1)
    whole = log_determinant(scatter, number - 1)
    logarithm = np.linalg.slogdet(scatter)[1] - whole
    without = logarithm + np.log1p(-leverage) - _log_chi_squares(number - 2, n)
    values = number * whole - (number - 1) * without
    return np.asarray(0.5 * (n * np.log(2.0 * np.pi * math.e) + whole + values - values.mean()))


def is_degenerate(samples: np.ndarray) -> bool:
    """Whether samples (N, n) have no spread in some direction, up to rounding."""
    spread = samples.std(axis=0)
    if np.any(spread <= 1e-12 * np.abs(samples).max(axis=0)):
        return True
    return bool(np.linalg.eigvalsh(np.corrcoef(samples.T).reshape(len(spread), -1))[0] < 1e-11)


def log_determinant(scatter: np.ndarray, freedom: int) -> float:
    """Unbiased ln det of the covariance whose Wishart matrix of `freedom` >= n degrees is scatter (n, n)."""
    return float(np.linalg.slogdet(scatter)[1]) - _log_chi_squares(freedom, len(scatter))


def log_determinant_variance(freedom: int, n: int) -> float:
    """Variance of `log_determinant`: sum_i psi'((freedom - i)/2), i = 0..n-1."""
    return float(special.polygamma(1, (freedom - np.arange(n)) / 2).sum())


def empirical_entropy(samples: np.ndarray) -> np.ndarray:
    """Pseudo-values (R,) of the entropy of discrete samples (R, S, n), S of each of R independent replicas."""
    replicas, per_replica = samples.shape[:2]
    states = np.unique(samples.reshape(replicas * per_replica, -1), axis=0, return_inverse=True)[1].reshape(-1)
    counts, total = np.bincount(states), len(states)
    owner = np.repeat(np.arange(replicas), per_replica)
    pairs, mine = np.unique(np.stack([owner, states]), axis=1, return_counts=True)
    whole = np.log(total) - special.xlogy(counts, counts).sum() / total
    count = counts[pairs[1]]
    change = special.xlogy(count, count) - special.xlogy(count - mine, count - mine)
    rest = special.xlogy(counts, counts).sum() - np.bincount(pairs[0], change, minlength=replicas)
    without = np.log(total - per_replica) - rest / (total - per_replica)
    return np.asarray(replicas * whole - (replicas - 1) * without)


def empirical_reason(samples: np.ndarray) -> str:
    """Why `empirical_entropy` of (R, S, n) is not to be trusted, or nothing.

    What the jackknife leaves is about half the probability of states not met.
    """
    values = empirical_entropy(samples)
    if len(values) < _FEWEST:
        return f"{len(values)} replicas are too few: frequencies and their error are skewed"
    error = empirical_noise(samples).error(float(values.var(ddof=1)), len(values))
    unseen = singleton_fraction(samples)
    return f"{100.0 * unseen:.2g} % of the probability is in states not met" if unseen > _UNSEEN * error else ""


def empirical_noise(samples: np.ndarray) -> Noise:
    """Of the pseudo-values of `empirical_entropy`: they count twice the variance of second order.

    It is all there is where K states are alike, (K-1)/(2 N^2) for N independent samples, and (K-1)/2N is the bias c
    that the jackknife takes off: so it is 2 c^2/(K-1), whatever the samples of a replica have in common.
    """
    counts = np.unique(samples.reshape(-1, samples.shape[-1]), axis=0, return_counts=True)[1]
    if len(counts) < 2:
        return NO_NOISE
    correction = float(empirical_entropy(samples).mean()) - float(special.entr(counts / counts.sum()).sum())
    second = 2.0 * len(samples) * correction**2 / (len(counts) - 1.0)
    return Noise(2.0 * second, second, 1.0)


def singleton_fraction(samples: np.ndarray) -> float:
    """Probability, by the Good-Turing estimate, of states that no sample of (R, S, n) has met."""
    counts = np.unique(samples.reshape(-1, samples.shape[-1]), axis=0, return_counts=True)[1]
    return float(np.mean(counts == 1) * len(counts) / counts.sum())


def _log_chi_squares(freedom: int, n: int) -> float:
    """<ln det> of a Wishart matrix of the unit covariance: sum_i psi((freedom - i)/2) + n ln 2, i = 0..n-1."""
    return float(special.digamma((freedom - np.arange(n)) / 2).sum()) + n * float(np.log(2.0))


def _nearest(points: np.ndarray) -> np.ndarray:
    """Distance of every point (N, D) to the nearest other one."""
    distances = np.asarray(cKDTree(points).query(points, k=2)[0])
    return distances[:, 1]


def log_cap_fraction(dimension: int, half_sine_square: np.ndarray) -> np.ndarray:
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


def spherical_angles(samples: np.ndarray) -> np.ndarray:
    """a_k = atan2(|x_(k+1..d)|, x_k); the last is atan2(x_d, x_(d-1)) in (-pi, pi]. (N, d) -> (N, d-1)."""
    tails = np.sqrt(np.cumsum(np.square(samples[:, ::-1]), axis=1))[:, ::-1]
    angles = np.arctan2(tails[:, 1:], samples[:, :-1])
    angles[:, -1] = np.arctan2(samples[:, -1], samples[:, -2])
    return angles
