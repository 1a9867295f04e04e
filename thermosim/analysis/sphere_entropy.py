"""Entropy of a density on the sphere from caps to near neighbours, with a bias and an error that are known.

    S = psi(N) - psi(k) + ln Area(S^(d-1)) + <ln f(theta_i)>,   theta_i: angle to the k-th nearest of the other samples

with f the fraction of the sphere in a cap (`entropy.cap_entropy`, of k = 1). As in `neighbours`, the variance of these
surprisals is not that of the estimate; noise and bias are those of exact samples of the von Mises-Fisher law with the
mean resultant that is found. Another law is one whose caps four times as full tell another entropy, or which spreads
otherwise along the mean direction, <1 - z^2> = (d-1) <z>/kappa, or about it, where all directions are alike.

Units: nats. Sources: as of `entropy` and `neighbours`; K. V. Mardia, P. E. Jupp, Directional Statistics (2000), 9.3,
for the law and its moments, 10.7 for Bingham's test.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from scipy import optimize, special
from scipy.spatial import cKDTree

from thermosim.analysis.entropy import NO_NOISE, Noise, log_cap_fraction
from thermosim.analysis.neighbours import Neighbours
from thermosim.analysis.normality import SHARE
from thermosim.exact import von_mises_fisher

__all__ = ["sphere_entropy"]

NEIGHBOUR = 4  # the k
_FAR = 4  # times as many in a cap
_FEWEST_EACH = 40  # samples for every dimension of the sphere
_SURE = 3.0  # standard deviations of what is not chance
_SEEN = 2.0  # and of a bias
_GRID = 2.0  # concentrations per unit of their logarithm that are measured
_SOME = 500
_NUMBERS = 1 << 15
_FEWEST_DRAWS = 24


class _Calibration(NamedTuple):
    bias: float
    noise: Noise
    difference: float  # far estimate less near one
    deviation: float  # of it, by chance


def sphere_entropy(samples: np.ndarray) -> Neighbours:
    """Entropy of independent unit vectors (N, d), its error and why it is not valid, if it is not.

    -inf where samples coincide. Raises ValueError unless N > 16.
    """
    number, d = samples.shape
    if number <= _FAR * NEIGHBOUR:
        raise ValueError(f"{number} samples are too few for neighbours on the sphere: {_FAR * NEIGHBOUR + 1} or more")
    near, far = _estimates(samples)
    if not np.isfinite(near).all():
        return Neighbours(np.full(number, -np.inf), NO_NOISE, "samples coincide")
    kappa = _concentration(float(np.linalg.norm(samples.mean(axis=0))), number, d)
    known = _calibration(number, d, round(_GRID * np.log(kappa)) if kappa > 0.0 else None)
    found = Neighbours(near - known.bias, known.noise, "")
    unlike = far - float(near.mean()) - known.difference
    seen = abs(unlike) > _SEEN * known.deviation and abs(unlike) > SHARE * found.error * (_FAR ** (1.0 / (d - 1)) - 1.0)
    reason = ""
    if number < _FEWEST_EACH * (d - 1):
        reason = f"{number} samples are too few for caps on a sphere of {d - 1} dimensions: {_FEWEST_EACH} for each"
    elif seen or not _is_von_mises_fisher(samples, kappa):
        reason = "the bias of caps is known for the von Mises-Fisher law only, and this is another"
    return found._replace(reason=reason)


def _estimates(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Surprisals (N,), and the entropy from caps four times as full."""
    number, d = samples.shape
    far = _FAR * NEIGHBOUR
    chord = np.asarray(cKDTree(samples).query(samples, k=far + 1)[0])[:, [NEIGHBOUR, far]]
    logarithm = log_cap_fraction(d, np.square(np.minimum(chord, 2.0)) / 4)
    constant = np.log(2.0) + d / 2 * np.log(np.pi) - special.gammaln(d / 2) + special.digamma(number)
    both = logarithm + constant - special.digamma([NEIGHBOUR, far])
    return both[:, 0], float(both[:, 1].mean())


def _concentration(resultant: float, number: int, d: int) -> float:
    """kappa whose mean resultant this is, less what it is by chance; 0 for none."""
    square = (number * resultant**2 - 1.0) / (number - 1.0)
    if square <= 4.0 / number / np.sqrt(d):
        return 0.0

    def gap(logarithm: float) -> float:
        return float(von_mises_fisher.mean_cosine(d, np.exp(logarithm))) - np.sqrt(square)

    return float(np.exp(optimize.brentq(gap, np.log(1e-3), np.log(1e9), xtol=1e-3)))


def _is_von_mises_fisher(samples: np.ndarray, kappa: float) -> bool:
    """Whether the second moments are, along the mean direction and about it, as far as chance tells."""
    number, d = samples.shape
    mean = samples.mean(axis=0)
    if kappa == 0.0:
        return _alike(samples)
    axis = mean / np.linalg.norm(mean)
    along = samples @ axis
    cosine = along.mean()
    slope = 1.0 - cosine**2 - (d - 1) * cosine / kappa  # of <z> over kappa, which is fitted to it
    change = (d - 1) * (1.0 / kappa - cosine / (kappa**2 * slope))
    values = 1.0 - along**2 - (d - 1) * cosine / kappa - change * (along - cosine)
    if abs(values.mean()) > _SURE * values.std(ddof=1) / np.sqrt(number):
        return False
    rest = samples - along[:, None] * axis
    frame = np.linalg.svd(axis[None, :])[2][1:]
    return d == 2 or _alike(rest @ frame.T)


def _alike(points: np.ndarray) -> bool:
    """Whether points (N, n) about 0 spread alike in all directions."""
    number, n = points.shape
    if n == 1:
        return True
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    moment = unit.T @ unit / number - np.eye(n) / n
    freedom = 0.5 * (n - 1.0) * (n + 2.0)
    score = 0.5 * n * (n + 2.0) * number * float(np.sum(moment**2))  # chi square of Bingham's test
    return score < freedom + _SURE * np.sqrt(2.0 * freedom)


@functools.cache
def _calibration(number: int, d: int, step: int | None) -> _Calibration:
    """Of N samples of the law with the concentration exp(step/_GRID), or the uniform one."""
    random = np.random.default_rng(0)
    kappa = 0.0 if step is None else float(np.exp(step / _GRID))
    whole = _draws(random, number, d, kappa)
    few = min(number, _SOME)
    some = whole if number <= _SOME else _draws(random, few, d, kappa)
    bias, difference, seen, variance, exact = whole.mean(axis=0)
    stretch = (exact / (variance - seen)) if variance - seen > 0.1 else 1.0
    noise = Noise(float(seen), few * float(some[:, 0].var(ddof=1)), float(stretch))
    return _Calibration(float(bias), noise, float(difference), float(some[:, 1].std()) * np.sqrt(few / number))


def _draws(random: np.random.Generator, number: int, d: int, kappa: float) -> np.ndarray:
    """Error, difference to the far estimate, variances of the noise, of surprisals and of -ln of the density."""
    rows, spread = [], np.full(number, kappa)
    direction = np.full(d, d**-0.5)
    entropy = float(von_mises_fisher.entropy(d, kappa))
    for _ in range(max(_FEWEST_DRAWS, _NUMBERS // number)):
        uniform, normal = random.random(number), random.standard_normal((d, number))
        draw = von_mises_fisher.directions(spread, direction, uniform, normal).T
        near, far = _estimates(draw)
        exact = -kappa * (draw @ direction)
        exact += entropy + kappa * float(von_mises_fisher.mean_cosine(d, kappa)) if kappa else entropy
        noise = near - exact
        rows.append([noise.mean(), far - near.mean(), noise.var(ddof=1), near.var(ddof=1), exact.var(ddof=1)])
    return np.array(rows)
