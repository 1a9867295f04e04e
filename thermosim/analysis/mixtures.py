"""Surprisals of samples under their own replica and under mixtures over replicas, by samples or by a sum over all x.

    own        -ln p(x|theta_r)                         included   -ln (1/G) sum_s p(x|theta_s)
    excluded   -ln (1/G) [sum_{s not in d} p(x|theta_s) + n/(n-1) sum_{s in d, s != r} p(x|theta_s)]

averaged over x ~ p(x|theta_r), with s over G replicas, n of which have the data set d of r. The mixture over G replicas
stands for p_t = sum_d (n_d/G) <p(x|theta)>_d, with averages over infinitely many replicas of each set. The numbers n_d
are fixed, so without r the others of its set stand for it: each mixture has the mean p_t. By Jensen's inequality the
mixture without r has, on average, too large a surprisal, and with r too small a one on average over r, for it knows
where its samples come from. The two biases are opposite and equal to first order in the variances within sets,
(1/2G) int sum_d (n_d/G) Var_d[p(x|theta)]/p_t(x) dx, so `Surprisals.mixture` takes the middle. What is left is of order
1/G^2 (1/n^2 where sets are apart), and small while the two are close. Nowhere does a set's mixture exceed G/n times
that of all, so that information about which of D sets of equal size it was is at most ln D in any sample.

Source: B. Poole et al., ICML 2019, arXiv 1905.06922, Eqs. 10 and 13: the two bounds of a mutual information, of which
this is the middle; there for one set, excluded then being -ln 1/(G-1) sum_{s != r} p(x|theta_s).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from thermosim.analysis.machine import Machine

__all__ = ["Surprisals", "integrated", "log_normalisers", "support_size", "surprisals_of"]

_ENTRIES = 1 << 21  # numbers of a block
_TINY = np.finfo(float).eps


@dataclass(frozen=True, eq=False)
class Surprisals:
    """Of the samples of R replicas, K each, (R, K); `of_set` are mixtures over the replicas of the same data set."""

    own: np.ndarray
    included: np.ndarray
    excluded: np.ndarray
    included_of_set: np.ndarray
    excluded_of_set: np.ndarray
    mass: np.ndarray | None = None  # sum over the support of p(x|theta_r), 1 where it covers all, (R,)

    def mixture(self) -> np.ndarray:
        """-ln p_t, (R,): its mean is without the bias of order 1/R."""
        return _middle(self.included, self.excluded, np.zeros(1, int))

    def mixture_of_set(self, starts: np.ndarray) -> np.ndarray:
        """-ln p(x|set), (R,), for sets that start at these replicas."""
        return _middle(self.included_of_set, self.excluded_of_set, starts)

    def gap(self) -> float:
        """Half the distance of the bounds: the size of the bias that the middle has removed."""
        return 0.5 * float(np.mean(self.excluded - self.included))

    def gap_of_set(self) -> float:
        """The same of the sets."""
        return 0.5 * float(np.mean(self.excluded_of_set - self.included_of_set))


def _middle(included: np.ndarray, excluded: np.ndarray, starts: np.ndarray) -> np.ndarray:
    gap = np.mean(excluded - included, axis=1)
    sizes = np.diff(starts, append=len(gap))
    return np.asarray(excluded.mean(axis=1) - 0.5 * np.repeat(np.add.reduceat(gap, starts) / sizes, sizes))


def support_size(machine: Machine) -> int:
    """Number of points that an exact sum over x takes, 0 where the model has none."""
    support = machine.model.support(machine.constants)
    return 0 if support is None else len(support[0])


def log_normalisers(machine: Machine, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln Z of exp(-phi) at theta (R, m), and its standard error: (R,), (R,). Zero for a normalised surprisal.

    By the sum over all x where there is one, which the model's compiled functions make fast, or its own log_normaliser.
    Raises ValueError for an energy whose normaliser nobody knows.
    """
    model, constants = machine.model, machine.constants
    if model.normalised:
        return np.zeros(len(theta)), np.zeros(len(theta))
    support = model.support(constants)
    if support is None and model.log_normaliser is not None:
        value, error = model.log_normaliser(theta, constants)
        return np.asarray(value), np.asarray(error)
    if support is None:
        raise ValueError(
            f"model {model.name!r} does not know the normaliser of its energy at these constants, and information "
            "needs normalised densities; give it a log_normaliser, or choose constants where it can sum over all x"
        )
    top, total = np.full(len(theta), -np.inf), np.zeros(len(theta))
    for points, log_weights in _blocks(*support, len(theta)):
        exponents = log_weights - machine.evaluator.surprisals(points, theta)
        higher = np.maximum(top, exponents.max(axis=1))
        total = total * np.exp(top - higher) + np.exp(exponents - higher[:, None]).sum(axis=1)
        top = higher
    return top + np.log(total), np.zeros(len(theta))


def surprisals_of(
    machine: Machine, theta: np.ndarray, samples: np.ndarray, normaliser: np.ndarray, starts: np.ndarray
) -> Surprisals:
    """Of given samples (R, K, n) of the replicas with theta (R, m) and ln Z (R,); sets start at replicas `starts`."""
    replicas, per_replica = samples.shape[:2]
    sizes = np.diff(starts, append=replicas)
    points, owner = samples.reshape(replicas * per_replica, -1), np.repeat(np.arange(replicas), per_replica)
    group = np.repeat(np.arange(len(starts)), sizes)[owner]
    results = np.empty((5, len(points)))
    for first in range(0, len(points), _block_size(replicas)):
        part = slice(first, first + _block_size(replicas))
        log_density = -machine.evaluator.surprisals(points[part], theta) - normaliser[:, None]
        column = np.arange(log_density.shape[1])
        own, sums = log_density[owner[part], column], _log_sums(log_density, starts, sizes)
        whole, mine = np.logaddexp.reduce(sums, axis=0), sums[group[part], column]
        size = sizes[group[part]]
        results[:, part] = -own, *_bounds(own, mine, whole, size, replicas), *_bounds(own, mine, mine, size, size)
    return Surprisals(*results.reshape(5, replicas, per_replica))


def integrated(machine: Machine, theta: np.ndarray, normaliser: np.ndarray, starts: np.ndarray) -> Surprisals:
    """Averages over all x, a sum over the support of the model: (R, 1). Arguments as of `surprisals_of`."""
    support = machine.model.support(machine.constants)
    assert support is not None
    replicas = len(theta)
    sizes = np.diff(starts, append=replicas)
    results, mass = np.zeros((5, replicas)), np.zeros(replicas)
    for points, log_weights in _blocks(*support, replicas):
        log_density = -machine.evaluator.surprisals(points, theta) - normaliser[:, None]
        sums = _log_sums(log_density, starts, sizes)
        share = np.exp(log_density + log_weights)
        mass += share.sum(axis=1)
        mine, size = np.repeat(sums, sizes, axis=0), np.repeat(sizes, sizes)[:, None]
        rows = [-log_density, *_bounds(log_density, mine, np.logaddexp.reduce(sums, axis=0), size, replicas)]
        if len(starts) > 1:
            rows += _bounds(log_density, mine, mine, size, size)
        for result, row in zip(results, rows):
            result += np.sum(share * row, axis=1)
    if len(starts) == 1:
        results[3:] = results[1:3]
    own, included, excluded, included_of_set, excluded_of_set = results[:, :, None]
    return Surprisals(own, included, excluded, included_of_set, excluded_of_set, mass)


def _bounds(
    own: np.ndarray, of_set: np.ndarray, of_all: np.ndarray, size: np.ndarray, count: int | np.ndarray
) -> list[np.ndarray]:
    """-ln of the mean density of `count` replicas, with the own one and without it, for which others of its set stand.

    own: ln p; of_set, of_all: ln of the sums over the `size` >= 2 replicas of its set and over all, itself included.
    Where the own one is all of the sum, to rounding, the sum of the others is taken to be the rounding error.
    """
    mine, set_share, weight = np.exp(own - of_all), np.exp(of_set - of_all), size / (size - 1.0)
    rest = np.maximum((1.0 - set_share) + weight * (set_share - mine), weight * _TINY)
    included = np.log(count) - of_all
    return [included, included - np.log(rest)]


def _log_sums(log_density: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """ln sum of densities over every set, (sets, P), from logarithms (R, P)."""
    top = np.maximum.reduceat(log_density, starts, axis=0)
    shifted = np.exp(log_density - np.repeat(top, sizes, axis=0))
    return np.asarray(top + np.log(np.add.reduceat(shifted, starts, axis=0)))


def _block_size(replicas: int) -> int:
    return max(1, _ENTRIES // replicas)


def _blocks(points: np.ndarray, log_weights: np.ndarray, replicas: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first in range(0, len(points), _block_size(replicas)):
        part = slice(first, first + _block_size(replicas))
        yield points[part], log_weights[part]
