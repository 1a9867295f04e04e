"""Linear regression by Adam and AdamW as beta2 -> 1: its second moment is then a number that all replicas share.

    m' = beta1 m + (1 - beta1) g,   v' = beta2 v + (1 - beta2) <g^2>
    theta' = theta - r (m'/c1)/(sqrt(v'/c2) + epsilon)

g is the gradient of a batch, with lambda theta in it (adam), or r lambda theta is taken from theta apart (adamw); c1
and c2 take out the bias of the start. With v at its mean over replicas, at every step that of the exact mean square of
the gradient, (theta, m) is linear in g, and its mean and covariance follow from those of g given theta, as in
`linear_regression`: at any learning rate, batch, schedule, and from any start. A replica has a v of its own, whose
relative variance, to first order what is left out, is told as `doubt`:

    sum_k c_k^2 Var(g_k^2)/v^2                 of minibatches, c_k the weights of v: (K - 1)/t at least after t steps
    (sum_k c_k Dev_theta <g_k^2|theta>/v)^2    of paths that differ, as if their gradients stayed apart
    2 c_0 Var(g)/v                             of the last gradient, which m and v share

with what such a relative error of the steps so far has left in the mean of theta. For normal rows, whose products
have the kurtosis K <= 12, 3 + 9/B of a batch. Sources: D. P. Kingma, J. Ba, ICLR 2015, Algorithm 1; I. Loshchilov,
F. Hutter, ICLR 2019, Algorithm 2; the closed recursion by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thermosim.exact.linear_langevin import Gaussian
from thermosim.exact.linear_regression import Rows, loss_and_noise

__all__ = ["AdamDescent", "Updates", "updates"]

_EXCESS = 9.0  # largest kurtosis of a product of two normal numbers, less 3


@dataclass(frozen=True)
class AdamDescent:
    """Learning rates and decays of steps 1..N, each (N,), and the constants of the move. `decoupled` is AdamW."""

    learning_rate: np.ndarray
    weight_decay: np.ndarray
    batch: int
    beta1: float
    beta2: float
    epsilon: float
    decoupled: bool


@dataclass(frozen=True)
class Updates:
    """Of steps 1..N: <|theta' - theta|^2>, and what it is known to, relative to it; each (N,)."""

    square: np.ndarray
    doubt: np.ndarray


def updates(rows: Rows, start: Gaussian, descent: AdamDescent) -> Updates:
    """From a start of m parameters with that mean and covariance."""
    (k, p), size = rows.best.shape, rows.best.size
    hessian = np.kron(np.eye(k), 2.0 * rows.second[:p, :p])
    one, best = np.eye(size), rows.best.ravel()
    mean, covariance = np.zeros(2 * size), np.zeros((2 * size, 2 * size))  # of theta - theta*, and of m
    mean[:size], covariance[:size, :size] = start.mean - best, start.covariance
    square, c1, c2, judge, found = np.zeros(size), 0.0, 0.0, _Judge(size, descent), []
    for rate, decay in zip(descent.learning_rate, descent.weight_decay, strict=True):
        apart, inside = (decay, 0.0) if descent.decoupled else (0.0, decay)
        here, spread = covariance[:size, :size], hessian @ covariance[:size, :size] @ hessian
        slope = hessian @ mean[:size]
        noise = loss_and_noise(rows, mean[:size], here, spread + np.outer(slope, slope), descent.batch)[1]
        matrix = hessian + inside * one
        pull, known = matrix @ mean[:size] + inside * best, np.diag(matrix @ here @ matrix)
        square = descent.beta2 * square + (1.0 - descent.beta2) * (np.diag(noise) + known + pull**2)
        c1, c2 = (beta * c + 1.0 - beta for beta, c in ((descent.beta1, c1), (descent.beta2, c2)))
        divided = rate / c1 / (np.sqrt(square / c2) + descent.epsilon)
        of_moment = np.hstack([(1.0 - descent.beta1) * matrix, descent.beta1 * one])
        step = -divided[:, None] * of_moment
        step[:, :size] -= rate * apart * one
        entry = np.vstack([-divided[:, None] * one, one]) * (1.0 - descent.beta1)
        shift = entry @ (inside * best)
        shift[:size] -= rate * apart * best
        far = step @ mean + shift[:size]
        kicked = entry @ noise @ entry.T
        each = far**2 + np.diag(kicked)[:size] + np.sum((step @ covariance) * step, axis=1)
        doubt = judge.doubt(np.diag(noise), known, pull, square, each, far, divided[:, None] * matrix)
        found.append((float(each.sum()), doubt))
        whole = np.vstack([np.hstack([one, np.zeros_like(one)]) + step, of_moment])
        mean, covariance = whole @ mean + shift, whole @ covariance @ whole.T + kicked
    return Updates(*(np.array(column) for column in zip(*found, strict=True)))


class _Judge:
    """What a replica's own v may change, along the path."""

    def __init__(self, size: int, descent: AdamDescent) -> None:
        self.beta2, self.batch = descent.beta2, descent.batch
        self.variance, self.deviation, self.error = np.zeros(size), np.zeros(size), np.zeros(size)

    def doubt(
        self,
        noise: np.ndarray,
        known: np.ndarray,
        pull: np.ndarray,
        square: np.ndarray,
        each: np.ndarray,
        far: np.ndarray,
        slopes: np.ndarray,
    ) -> float:
        """Relative, of a step whose mean squares are `each` (m). All are (m), slopes (m, m)."""
        size, fresh = known + pull**2, 1.0 - self.beta2
        of_batch = (2.0 + _EXCESS / self.batch) * noise**2 + 4.0 * noise * size
        of_batch = of_batch + 8.0 * np.sqrt(size / self.batch) * noise**1.5  # skewness
        self.variance = self.beta2**2 * self.variance + fresh**2 * of_batch
        apart = np.sqrt(2.0 * known**2 + 4.0 * pull**2 * known) * (1.0 + 3.0 / self.batch)
        self.deviation = self.beta2 * self.deviation + fresh * apart
        own = self.variance / square**2 + (self.deviation / square) ** 2 + 2.0 * fresh * noise / square
        total = float(each.sum())
        passed = 2.0 * float((np.abs(slopes) @ self.error) @ np.abs(far))
        left = np.abs(np.eye(len(far)) - slopes) @ self.error
        self.error = left + np.minimum(own, 1.0) * np.abs(far)
        return (float(own @ each) + passed) / total if total > 0.0 else np.inf
