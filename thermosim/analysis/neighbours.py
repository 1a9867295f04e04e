"""Entropy of any smooth density from distances between its samples, with a bias and an error that are known.

    S = <sum_j -ln f_j(x_j) + ln phi(z_j)> + S(z) + what the axes add,     f_j, z: `normality.scores`
    S(z) = psi(N) - psi(k) + ln V_n + n <ln eps> + (1/2) ln det C,         eps: to the k-th nearest of the white scores

with V_n the volume of the unit ball, C the covariance of the scores. Scores take from the neighbours what they are bad
at: edges, tails and clusters along an axis. What is left of their bias is that for a normal, measured and taken off, if
the scores are those of one.

The noise of distances has one law for all densities, but is not independent from sample to sample. So the variance of
surprisals is not that of the estimate. What is between is measured with products of normals and of uniform densities,
which have the same scores, as are the biases; of another density it is taken in proportion to its variance.

Bias, where the scores are not those of a normal, shows as the difference to an estimate by neighbours and windows
four times as far, less that of a normal; from three components on also in the negentropy that cumulants of the scores
imply, of which it is a fraction, and in their lengths. Above eight components it is not to be had.

Units: nats. Sources: L. F. Kozachenko, N. N. Leonenko, Probl. Inf. Transm. 23, 95 (1987); T. B. Berrett, R. J.
Samworth, M. Yuan, Ann. Stat. 47, 288 (2019), for the order of bias (k/N)^(2/n) and the variance.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from scipy import special
from scipy.spatial import cKDTree

from thermosim.analysis.entropy import NO_NOISE, Noise, is_degenerate
from thermosim.analysis.normality import LOG_TWO_PI, SHARE, is_shell, repeats, score_excess, scores, whitened

__all__ = ["DIMENSIONS", "FLAT", "Calibration", "Neighbours", "calibration", "neighbour_entropy"]

DIMENSIONS = 8  # most components that neighbours can do
FLAT = "samples have no spread in some direction"
NEIGHBOUR = 4  # the k
_FEWEST_EACH = 100  # samples for every component, below which bias and error are not known well enough
_FAR = 4  # times further, in neighbours and windows
_SEEN = 2.0  # standard deviations of what is not chance
_TIED = 0.01  # share of samples with neighbours at equal distances that may come from rounding
_SOME = 500  # samples that are tried for a lattice, and of the normals for a variance
_NUMBERS = 1 << 16  # samples of the normals for a calibration
_FEWEST_DRAWS, _MOST_DRAWS = 16, 400


class Calibration(NamedTuple):
    """What samples of uniform and normal densities have: (2,) each, but for the noise."""

    noise: Noise
    variance: np.ndarray  # of surprisals
    bias: np.ndarray  # of the entropy
    difference: np.ndarray  # far estimate less near one
    deviation: float  # of the difference, by chance

    def of(self, variance: float) -> tuple[float, float]:
        """Bias and difference of samples whose surprisals have this variance."""
        share = np.clip((variance - self.variance[0]) / (self.variance[1] - self.variance[0]), 0.0, 1.0)
        bias, difference = (float(both[0] + share * (both[1] - both[0])) for both in (self.bias, self.difference))
        return bias, difference


class Neighbours(NamedTuple):
    """Surprisals (N,) whose mean is the entropy, their noise, and why the mean is not valid, if it is not."""

    surprisals: np.ndarray
    noise: Noise
    reason: str

    @property
    def error(self) -> float:
        """Standard error of the entropy; NaN where it is infinite."""
        if not np.isfinite(self.surprisals).all():
            return np.nan
        return self.noise.error(float(self.surprisals.var(ddof=1)), len(self.surprisals))


def neighbour_entropy(samples: np.ndarray) -> Neighbours:
    """Entropy of independent samples (N, n), its bias left in where n > 8.

    -inf where samples repeat, or have no spread in some direction.
    Raises ValueError unless N > n + 1 and N > 5.
    """
    number, n = samples.shape
    least = max(n, NEIGHBOUR) + 2
    if number < least:
        raise ValueError(f"{number} samples are too few for neighbours in {n} dimensions: run {least} replicas or more")
    nothing = Neighbours(np.full(number, -np.inf), NO_NOISE, FLAT)
    if is_degenerate(samples):
        return nothing
    tied = repeats(samples)
    near, far, normal = _estimates(samples)
    if not np.isfinite(near).all():
        return nothing._replace(reason=_repeated(tied))
    if n > DIMENSIONS:
        return Neighbours(near, NO_NOISE, f"{n} dimensions are too many for neighbours")
    known = calibration(number, n)
    bias, difference = known.of(float(near.var(ddof=1)))
    found = Neighbours(near - bias, known.noise, "")
    unlike = far - float(near.mean()) - difference
    return found._replace(reason=_reason(samples, found, unlike, known.deviation, normal, tied))


@functools.cache
def calibration(number: int, n: int) -> Calibration:
    """Of `neighbour_entropy` for N samples in n dimensions. Variances are those of fewer samples where N is large."""
    random = np.random.default_rng(0)
    whole = _draws(random, number, n)
    some, few = (whole, number) if number <= _SOME else (_draws(random, _SOME, n), _SOME)
    bias, difference, variance = whole.mean(axis=0)
    true = few * some[:, 0].var(axis=0, ddof=1)
    stretch = (0.5 * n + true[1] - true[0]) / (variance[1] - variance[0])
    deviation = float(some[:, 1, 1].std()) * np.sqrt(few / number)
    return Calibration(Noise(variance[0], true[0], stretch), variance, bias, difference, deviation)


def _draws(random: np.random.Generator, number: int, n: int) -> np.ndarray:
    """Error, difference to the far estimate, variance of surprisals, of uniform and normal samples: (draws, 3, 2)."""
    rows = []
    for _ in range(int(np.clip(_NUMBERS // number, _FEWEST_DRAWS, _MOST_DRAWS))):
        draw = random.standard_normal((number, n))
        columns = []
        for samples, exact in ((special.ndtr(draw), 0.0), (draw, 0.5 * np.mean(n * LOG_TWO_PI + np.sum(draw**2, 1)))):
            near, far, _ = _estimates(samples)
            columns.append([near.mean() - exact, far - near.mean(), near.var(ddof=1)])
        rows.append(np.transpose(columns))
    return np.array(rows)


def _estimates(samples: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Surprisals (N,), the entropy from neighbours and windows further away, and the normal scores (N, n)."""
    number, n = samples.shape
    half = max(1, round(np.sqrt(number) / 4))
    near, far = scores(samples, 2 * half), scores(samples, 2 * max(1, min(_FAR * half, number // 4)))
    surprisals, further = near.surprisals + near.logarithm, float(far.surprisals.mean()) + far.logarithm
    if n == 1:
        scores_ = 0.5 * (LOG_TWO_PI + near.normal[:, 0] ** 2)
        return surprisals + scores_, further + float(scores_.mean()), near.normal
    white, logarithm = whitened(near.normal)
    order = max(NEIGHBOUR, min(_FAR * NEIGHBOUR, number // 3))
    distances = np.asarray(cKDTree(white).query(white, k=order + 1)[0])
    with np.errstate(divide="ignore"):
        constant = special.digamma(number) + 0.5 * n * np.log(np.pi) - special.gammaln(n / 2 + 1) + logarithm
        of_near = constant - special.digamma(NEIGHBOUR) + n * np.log(distances[:, NEIGHBOUR])
        of_far = constant - special.digamma(order) + n * np.log(distances[:, order])
    return surprisals + of_near, further + float(of_far.mean()), near.normal


def _reason(
    samples: np.ndarray, found: Neighbours, unlike: float, deviation: float, normal: np.ndarray, tied: float
) -> str:
    """Why the entropy is not to be trusted, or nothing. unlike: difference of the far estimate beyond the expected."""
    number, n = samples.shape
    if tied:
        return _repeated(tied)
    if _is_lattice(samples):
        return "samples lie on a lattice"
    if number < _FEWEST_EACH * n:
        return f"{number} samples are too few for neighbours in {n} dimensions: {_FEWEST_EACH} for each"
    allowed = SHARE * found.error
    seen = abs(unlike) > _SEEN * deviation and abs(unlike) > allowed * (_FAR ** (1.0 / n) - 1.0)
    fraction = 0.5 * score_excess(normal)[0] if n > 2 else 0.0
    if seen or fraction > allowed or (n > 2 and is_shell(normal, found.error, _SEEN)):
        return "the bias of neighbours shows at other distances, or is not known for such a density"
    return ""


def _repeated(tied: float) -> str:
    return f"{100.0 * tied:.2g} % of the values of a component repeat: discrete, or replicas that coincide"


def _is_lattice(samples: np.ndarray) -> bool:
    """Whether distances to the next two neighbours are often the same, as on a lattice at any angle."""
    white = whitened(samples)[0]
    two = np.asarray(cKDTree(white).query(white[:_SOME], k=3)[0])[:, 1:]
    return bool(np.mean(two[:, 1] - two[:, 0] < 1e-9 * two[:, 1]) > _TIED)
