"""Which data set a replica learned from, told by normals that have not seen it: a lower bound of I(Theta; B).

The mean of ln q(d|theta) plus the entropy of d is at most I(Theta; d), whatever the probabilities q. Here they are
those of normals with a mean for each set and one covariance, fitted to the other replicas. Source: D. Barber, F.
Agakov, NIPS 2003.
"""

from __future__ import annotations

import numpy as np

__all__ = ["classified", "is_singular", "spread_out"]


def classified(theta: np.ndarray, starts: np.ndarray, left_out: bool = True) -> np.ndarray:
    """ln of the probability of the own set over its share of the replicas, (R,), by normals that have not seen them.

    Or that have, unless `left_out`. Their means are those of the sets, their covariance A/f is common. Without replica
    r, with e its distance from its set's mean and N the set's size, the mean moves by -e/(N - 1) and the scatter A
    becomes A - N/(N - 1) e e'.
    """
    rows, sizes = np.arange(len(theta)), np.diff(starts, append=len(theta))
    label, share = np.repeat(np.arange(len(starts)), sizes), sizes / len(theta)
    freedom = len(theta) - len(starts) - 1
    if freedom <= theta.shape[1]:
        raise ValueError(f"too few replicas to tell data sets apart by {theta.shape[1]} parameters; run more replicas")
    means = np.add.reduceat(theta, starts, axis=0) / sizes[:, None]
    residual = theta - means[label]
    if is_singular(residual):
        return np.asarray(-np.log(share)[label])  # some direction tells the set without error
    root = np.linalg.inv(np.linalg.cholesky(residual.T @ residual)).T  # A^{-1} = root root'
    points, means, residual = theta @ root, means @ root, residual @ root
    factor, own = (sizes / (sizes - 1.0))[label], np.sum(residual**2, axis=1)
    distance = np.sum(points**2, axis=1)[:, None] - 2.0 * points @ means.T + np.sum(means**2, axis=1)
    along = np.sum(points * residual, axis=1)[:, None] - residual @ means.T
    known = np.broadcast_to(sizes.astype(float), distance.shape).copy()  # replicas that made the mean
    if left_out:
        distance[rows, label], along[rows, label] = factor**2 * own, factor * own
        distance += (factor / (1.0 - factor * own))[:, None] * along**2
        known[rows, label] -= 1.0
    spread = 1.0 + 1.0 / known
    score = np.log(share) - 0.5 * (freedom * distance / spread + theta.shape[1] * np.log(spread))
    return np.asarray(score[rows, label] - np.logaddexp.reduce(score, axis=1) - np.log(share)[label])


def spread_out(theta: np.ndarray) -> np.ndarray:
    """theta (R, M) in those principal directions in which replicas differ, of unit variance: (R, M' <= M)."""
    centered, spread = theta - theta.mean(axis=0), theta.std(axis=0)
    varies = spread > 1e-12 * np.abs(theta).max(axis=0)
    scaled = centered[:, varies] / spread[varies]
    variances, directions = np.linalg.eigh(scaled.T @ scaled / len(theta))
    kept = variances > 1e-11
    return np.asarray(scaled @ directions[:, kept] / np.sqrt(variances[kept]))


def is_singular(residual: np.ndarray) -> bool:
    """Whether the replicas of a set agree in some direction of unit variance."""
    return bool(np.linalg.eigvalsh(residual.T @ residual / len(residual))[0] < 1e-12)
