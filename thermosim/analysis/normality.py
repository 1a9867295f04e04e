"""How far samples are from a normal: each component by spacings, all together by cumulants of their normal scores.

    components  -ln f(x_i) = ln(x_(b) - x_(a)) - psi(b - a) + psi(N + 1),  a, b = ranks w/2 below and above that of i,
                or the first and the last: without bias for a uniform density, up to its ends
    scores      z_i = Phi^-1((rank_i - 1/2)/N) of each component: normal each, whatever the density
    together    J = (1/12) sum_ijk kappa_ijk^2 + (1/48) sum_ijkl kappa_ijkl^2,  cumulants of samples made white

J is the negentropy near the normal, by the Edgeworth series. The first sum is Mardia's skewness, <(y.y')^3> over all
pairs; the second <(y.y')^4> - 6 <|y|^4> + 3 n (n + 2). Neither depends on axes. Where densities are flat or bimodal J
is several times too small, so components are judged by spacings, and J is taken of the scores, of what components do
not show. A shell or a core shows in <|y|^4>, n (n + 2) for a normal. What normal samples have by chance is taken off.

Units: nats. Sources: O. Vasicek, J. R. Stat. Soc. B 38, 54 (1976), for spacings; K. V. Mardia, Biometrika 57, 519
(1970), for the sums; P. Comon, Signal Processing 36, 287 (1994), Eq. 3.4, for J.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

__all__ = [
    "SHARE",
    "Scores",
    "is_shell",
    "normal_excess",
    "normal_reason",
    "repeats",
    "score_excess",
    "scores",
    "whitened",
]

LOG_TWO_PI = float(np.log(2.0 * np.pi))
SHARE = 0.35  # of an error that a bias may be: then 93 of 100 intervals cover
_ALLOWED = 0.5  # of an error that what is taken for a normal may be off, where chance is as large
_TOLD = 0.6  # of an error that chance may be, if samples are to tell
_TIED = 0.01  # share of values that may be the same by rounding
_FLAT = 6.0  # how many times the J of a flat density is its negentropy
_CALIBRATION = 400  # samples, at most, of the normals that say what is chance
_NUMBERS = 1 << 16  # of all of them
_ROWS = 1 << 22  # numbers of a block


class Scores(NamedTuple):
    """Samples (N, n) as normal scores, in those axes that leave least to be told by all components together."""

    normal: np.ndarray  # scores (N, n)
    surprisals: np.ndarray  # (N,), sum over components of -ln of their density, less that of their score
    logarithm: float  # what the axes add to the entropy


def scores(samples: np.ndarray, window: int) -> Scores:
    """In the given axes or the principal ones, from windows of so many spacings. Components must have no ties."""
    given = _scores(samples, window, 0.0)
    if samples.shape[1] == 1:
        return given
    white, logarithm = whitened(samples)
    principal = _scores(white, window, logarithm)
    number, n = samples.shape
    chance = np.sqrt(n / number)  # or the better of two would find structure where there is none
    return principal if _entropy(principal) < _entropy(given) - chance else given


def normal_reason(slots: Sequence[np.ndarray], error: float, told: bool = True) -> str:
    """Why an entropy of normals, of this error, from samples (N, n) in each slot is not valid, or nothing.

    told: whether it is not where samples are too few to tell a normal from another law.
    """
    number, n = slots[0].shape
    if tied := max(map(repeats, slots)):
        return f"{100.0 * tied:.2g} % of the values of a component repeat: discrete, or replicas that coincide"
    excesses, chances = zip(*map(normal_excess, slots))
    excess, chance = float(np.mean(excesses)), float(np.mean(chances)) / np.sqrt(len(slots))
    if told and chance > _TOLD * error:
        return f"{number} samples are too few to tell a normal of {n} dimensions from another law"
    if excess > max(_ALLOWED * error, 0.0 if told else 3.0 * chance):
        return f"not normal: about {excess:.2g} too large"
    if np.mean([is_shell(slot, error) for slot in slots]) > 0.5:
        return "not normal: the lengths of samples are those of another law"
    return ""


def repeats(samples: np.ndarray) -> float:
    """Share of values (N, n) that are not the only ones of their component, 0 if it may come from rounding."""
    share = max(1.0 - len(np.unique(column)) / len(samples) for column in samples.T)
    return share if share > _TIED else 0.0


def normal_excess(samples: np.ndarray) -> tuple[float, float]:
    """How much too large the entropy of a normal is for samples (N, n), and the standard deviation of that by chance.

    About 0 for a normal, of either sign. Samples without ties, N > n + 1.
    """
    number, n = samples.shape
    width = _window(number)
    found = scores(samples, width)
    bias, deviation = _chance_of_component(number, width)
    normal = 0.5 * n * (LOG_TWO_PI + 1.0) + whitened(samples)[1]
    together, spread = score_excess(found.normal)
    return normal - _entropy(found) - n * bias + together, float(np.hypot(np.sqrt(n) * deviation, spread))


def score_excess(normal: np.ndarray) -> tuple[float, float]:
    """J of normal scores (N, n) less that of chance, and its standard deviation by chance."""
    number, n = normal.shape
    if n == 1:
        return 0.0, 0.0
    mean, deviation = _chance(number, n)
    return _joint_negentropy(whitened(normal)[0]) - mean, deviation


def is_shell(samples: np.ndarray, error: float, sure: float = 3.0) -> bool:
    """Whether the lengths of samples (N, n) are those of no normal, so far that an entropy of this error is wrong.

    sure: standard deviations of what is not chance.
    """
    number, n = samples.shape
    white = whitened(samples)[0] * np.sqrt(number / (number - 1.0))
    excess = float(np.mean(np.sum(white**2, axis=1) ** 2)) - n * (n + 2.0) * (number - 1.0) / (number + 1.0)
    score = excess / np.sqrt(8.0 * n * (n + 2.0) / number)
    return abs(score) > sure and _FLAT * excess**2 / (16.0 * n * (n + 2.0)) > SHARE * error


def whitened(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Samples (N, n) in principal components of unit variance, and (1/2) ln det of their covariance."""
    centered = samples - samples.mean(axis=0)
    variances, directions = np.linalg.eigh(centered.T @ centered / (len(samples) - 1))
    return centered @ directions / np.sqrt(variances), 0.5 * float(np.log(variances).sum())


def _scores(samples: np.ndarray, window: int, logarithm: float) -> Scores:
    number = len(samples)
    rank = np.arange(number)
    low, high = np.maximum(rank - window // 2, 0), np.minimum(rank + window // 2, number - 1)
    grid = special.ndtri((rank + 0.5) / number)
    constant = special.digamma(number + 1) - special.digamma(high - low) - 0.5 * grid**2 - 0.5 * LOG_TWO_PI
    normal, surprisals = np.empty_like(samples), np.zeros(number)
    for column in range(samples.shape[1]):
        order = np.argsort(samples[:, column], kind="stable")
        ordered = samples[order, column]
        with np.errstate(divide="ignore"):  # ties
            surprisals[order] += np.log(ordered[high] - ordered[low]) + constant
        normal[order, column] = grid
    return Scores(normal, surprisals, logarithm)


def _entropy(found: Scores) -> float:
    """Entropy if the scores are those of a normal: the entropy itself plus what they are short of one."""
    n = found.normal.shape[1]
    return float(found.surprisals.mean()) + found.logarithm + 0.5 * n * (LOG_TWO_PI + 1.0) + whitened(found.normal)[1]


def _window(number: int) -> int:
    """Spacings that tell a density from a normal best: more smooth it, fewer are noisy."""
    return 2 * max(1, round(0.35 * np.sqrt(number)), min(8, number // 10))


def _joint_negentropy(white: np.ndarray) -> float:
    number, n = white.shape
    if n**3 < number:
        pairs = (white[:, :, None] * white[:, None, :]).reshape(number, -1)
        third = float(np.sum((pairs.T @ white / number) ** 2))
        fourth = float(np.sum((pairs.T @ pairs / number) ** 2))
    else:
        third = fourth = 0.0
        for part in np.array_split(white, max(1, number**2 // _ROWS)):
            product = part @ white.T
            square = product * product
            third += float(np.sum(square * product)) / number**2
            fourth += float(np.sum(square * square)) / number**2
    fourth += 3.0 * n * (n + 2.0) - 6.0 * float(np.mean(np.sum(white**2, axis=1) ** 2))
    return third / 12.0 + fourth / 48.0


@functools.cache
def _chance(number: int, n: int) -> tuple[float, float]:
    """Mean and standard deviation of J for scores of N normal samples: measured, and in proportion to 1/N for many."""
    some = min(number, max(_CALIBRATION, 8 * n))
    random = np.random.default_rng(0)
    values = []
    for _ in range(max(24, _NUMBERS // some)):
        normal = _scores(random.standard_normal((some, n)), 2, 0.0).normal
        values.append(_joint_negentropy(whitened(normal)[0]))
    return float(np.mean(values)) * some / number, float(np.std(values)) * some / number


@functools.cache
def _chance_of_component(number: int, window: int) -> tuple[float, float]:
    """Mean and standard deviation of the entropy that spacings miss of one normal component."""
    random = np.random.default_rng(0)
    values = []
    for _ in range(max(64, _NUMBERS // number)):
        draw = random.standard_normal((number, 1))
        values.append(0.5 * (LOG_TWO_PI + 1.0) + whitened(draw)[1] - _entropy(_scores(draw, window, 0.0)))
    return float(np.mean(values)), float(np.std(values))
