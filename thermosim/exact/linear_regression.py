"""Linear regression by SGD: exact mean and covariance of theta, and the ledger, at every step and any learning rate.

    l = |W z - y|^2,   g = 2 (W z - y) z',   theta' = theta - r (g_b + lambda theta)

theta is W (k, p), one output after another, and a bias is an input of 1. g_b is the mean gradient of B rows, drawn
independently: from a fixed data set, one by one with replacement, or from a law of rows that are never met again. Of
the best weights W* (k, p) with <(y - W* z) z'> = 0 let r = (z, y - W* z) be what is known of a row, (D), D = p + k, and
U = (W - W*, -1), so that W z - y = U r. Given theta, g_b has the mean H (theta - theta*), H = 2 x <z z'> for every
output, and the covariance of one row over B. So for any law of theta, of mean m* + theta* and covariance C,

    m*' = m* - r [H m* + lambda (m* + theta*)],     C' = A C A' + r^2 N,     A = (1 - r lambda) 1 - r H
    N   = (Q - H C H - H m* m*'H)/B,  0 for the full batch
    Q_(ic)(jd) = <g_ic g_jd> = 4 sum_ab <U_ia U_jb> <r_a r_b z_c z_d>

by the law of total covariance, and the means over theta and batch are

    <L> = sum_i Tr <U_i U_i'> <r r'>,    <|g_b|^2> = Tr N + Tr H C H + |H m*|^2

and that of |theta' - theta|^2 likewise. Of a normal law of rows with mean mu the fourth moments follow from the second,
M = <r r'>, by Isserlis' theorem: M_ab M_cd + M_ac M_bd + M_ad M_bc - 2 mu_a mu_b mu_c mu_d. With momentum beta,

    v' = beta v - r (g_b + lambda theta),  theta' = theta + v',  Nesterov's theta + beta v' - r (g_b + lambda theta)

and the same holds of (theta, v). Thermal noise adds 2 r T to C'. Nothing else is Gaussian, small or stationary.
Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), for the convention of l; L. Ziyin, K. Liu, T. Mori,
M. Ueda, ICLR 2022, arXiv:2102.05375, for the noise of minibatches in linear regression; the recursion by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thermosim.exact.linear_langevin import Gaussian

__all__ = [
    "Descent",
    "Moments",
    "Rows",
    "loss_and_noise",
    "moments",
    "noiseless",
    "normal_rows",
    "rows_of_set",
    "steepness",
]

_TOGETHER = 4096  # rows whose products are formed at once


@dataclass(frozen=True)
class Rows:
    """Best weights W* (k, p), second moments <r r'> (D, D) and fourth <r_a r_b z_c z_d> (D, D, p, p), D = p + k."""

    best: np.ndarray
    second: np.ndarray
    fourth: np.ndarray


@dataclass(frozen=True)
class Descent:
    """How theta moves in N steps: rates and decays are numbers or schedules (N) over steps 1..N.

    batch is None for the full batch; `ahead` is Nesterov's momentum; the temperature of thermal noise, 0 for none, may
    be a schedule too. Raises ValueError for a schedule of another length.
    """

    steps: int
    learning_rate: ArrayLike
    batch: int | None
    weight_decay: ArrayLike = 0.0
    momentum: float = 0.0
    ahead: bool = False
    temperature: ArrayLike = 0.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "weight_decay", "temperature"):
            if np.shape(getattr(self, name)) not in ((), (self.steps,)):
                raise ValueError(f"{name} of shape {np.shape(getattr(self, name))}: a number or {self.steps} values")


@dataclass(frozen=True)
class Moments:
    """In F frames: mean (F, m) and covariance (F, m, m) of theta, minibatch_loss (F), <L> before the last step, and the
    sums over all steps so far, (F): loss_sum, gradient_square, displacement_square. At step 0 the last four are 0;
    weight decay is no part of the gradient, nor of the loss.
    """

    mean: np.ndarray
    covariance: np.ndarray
    minibatch_loss: np.ndarray
    loss_sum: np.ndarray
    gradient_square: np.ndarray
    displacement_square: np.ndarray


def rows_of_set(inputs: np.ndarray, targets: np.ndarray) -> Rows:
    """Inputs (n, p) and targets (n, k), each row as likely."""
    best = np.linalg.lstsq(inputs, targets, rcond=None)[0].T
    rows = np.column_stack([inputs, targets - inputs @ best.T])
    size, p = rows.shape[1], inputs.shape[1]
    fourth = np.zeros((size * size, p * p))
    for first in range(0, len(rows), _TOGETHER):
        some = rows[first : first + _TOGETHER]
        pairs = some[:, :, None] * some[:, None, :]
        fourth += pairs.reshape(len(some), -1).T @ pairs[:, :p, :p].reshape(len(some), -1)
    return Rows(best, rows.T @ rows / len(rows), fourth.reshape(size, size, p, p) / len(rows))


def normal_rows(mean: np.ndarray, covariance: np.ndarray, matrix: np.ndarray, noise: np.ndarray) -> Rows:
    """z of this mean (p) and covariance (p, p), y = V z + e with V (k, p) and e of covariance (k, k): a normal law."""
    p = len(mean)
    mu = np.concatenate([mean, np.zeros(len(matrix))])
    second = np.outer(mu, mu)
    second[:p, :p] += covariance
    second[p:, p:] += noise
    own, across = second[:p, :p], second[:, :p]
    crossed = np.einsum("ac,bd->abcd", across, across)
    points = np.einsum("a,b,c,d->abcd", mu, mu, mean, mean)
    fourth = np.einsum("ab,cd->abcd", second, own) + crossed + crossed.swapaxes(2, 3) - 2.0 * points
    return Rows(np.asarray(matrix, float), second, fourth)


def noiseless(rows: Rows) -> Rows:
    """The same inputs with targets that the weights 0 give exactly: what is left is the fate of a start."""
    k, p = rows.best.shape
    kept = np.arange(p + k) < p
    both = np.outer(kept, kept)
    return Rows(np.zeros((k, p)), rows.second * both, rows.fourth * both[:, :, None, None])


def steepness(rows: Rows) -> float:
    """<|z|^4>/<|z|^2>: minibatches of B rows make the mean square grow, as a rule, where r times this exceeds B.

    Of inputs alike in all directions, E|theta' - theta*|^2 = |theta - theta*|^2 [1 - 4 r s + 4 r^2 s <|z|^4>/<|z|^2>]
    for B = 1 and s = <|z|^2>/p.
    """
    p = rows.best.shape[1]
    return float(np.einsum("aacc->", rows.fourth[:p, :p]) / np.trace(rows.second[:p, :p]))


def moments(rows: Rows, start: Gaussian, descent: Descent, steps: ArrayLike) -> Moments:
    """In the frames at `steps`, in order and at most N, from a start of m = k p parameters.

    Raises ValueError for a start of another size.
    """
    size, frames = rows.best.size, [int(step) for step in np.atleast_1d(np.asarray(steps))]
    if start.mean.shape != (size,) or start.covariance.shape != (size, size):
        shapes = f"{start.mean.shape} and {start.covariance.shape}"
        raise ValueError(f"start of shapes {shapes}: expected ({size},) and ({size}, {size})")
    wanted, found = set(frames), []
    for t, state in zip(range(frames[-1] + 1), _states(rows, start, descent), strict=False):
        if t in wanted:
            found.append(state)
    means, covariances, books = (np.array(column) for column in zip(*found, strict=True))
    return Moments(means + rows.best.ravel(), covariances, *books.T)


def _states(
    rows: Rows, start: Gaussian, descent: Descent
) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[float, float, float, float]]]:
    """m* and C at steps 0, 1, ..., N, and the books to there in the order of `Moments`."""
    schedules = (descent.learning_rate, descent.weight_decay, descent.temperature)
    rates, decays, temperatures = (np.broadcast_to(np.asarray(one, float), (descent.steps,)) for one in schedules)
    (k, p), size = rows.best.shape, rows.best.size
    best, one = rows.best.ravel(), np.eye(size)
    hessian = np.kron(np.eye(k), 2.0 * rows.second[:p, :p])
    keep, kick = _inertia(descent.momentum, descent.ahead, size)
    m, c = np.zeros(len(keep)), np.zeros((len(keep), len(keep)))  # of theta, and of the velocity if there is one
    m[:size], c[:size, :size] = start.mean - best, start.covariance
    loss = losses = squares = moves = 0.0
    for rate, decay, temperature in zip(rates, decays, temperatures, strict=True):
        yield m[:size], c[:size, :size], (loss, losses, squares, moves)
        slope, spread = hessian @ m[:size], hessian @ c[:size, :size] @ hessian
        loss, noise = loss_and_noise(rows, m[:size], c[:size, :size], spread + np.outer(slope, slope), descent.batch)
        step = keep.copy()
        step[:, :size] -= rate * kick @ (hessian + decay * one)
        kicked = kick @ (rate**2 * noise + 2.0 * rate * temperature * one) @ kick.T
        after = step @ m - rate * decay * kick @ best
        way, far = step[:size] - np.eye(size, len(keep)), after[:size] - m[:size]
        losses += loss
        squares += float(np.trace(noise + spread) + slope @ slope)
        moves += float(far @ far + np.trace(kicked[:size, :size]) + np.sum((way @ c) * way))
        m, c = after, step @ c @ step.T + kicked
    yield m[:size], c[:size, :size], (loss, losses, squares, moves)


def _inertia(momentum: float, ahead: bool, size: int) -> tuple[np.ndarray, np.ndarray]:
    """What (theta, v), or theta alone without momentum, keeps, and what of it -r (g + lambda theta) enters."""
    one = np.eye(size)
    if not momentum:
        return one, one
    if ahead:
        return np.block([[one, momentum**2 * one], [0.0 * one, momentum * one]]), np.vstack([(1 + momentum) * one, one])
    return np.block([[one, momentum * one], [0.0 * one, momentum * one]]), np.vstack([one, one])


def loss_and_noise(
    rows: Rows, mean: np.ndarray, covariance: np.ndarray, square: np.ndarray, batch: int | None
) -> tuple[float, np.ndarray]:
    """<L>, and the covariance (m, m) of g_b given theta, averaged; `square` is that of its mean given theta."""
    k, p = rows.best.shape
    size = p + k
    weights = np.hstack([mean.reshape(k, p), -np.eye(k)])
    pairs = np.einsum("ia,jb->ijab", weights, weights)
    pairs[:, :, :p, :p] += covariance.reshape(k, p, k, p).swapaxes(1, 2)
    loss = float(np.einsum("iiab,ab->", pairs, rows.second))
    if batch is None:
        return loss, np.zeros_like(covariance)
    of_row = 4.0 * pairs.reshape(k * k, size * size) @ rows.fourth.reshape(size * size, p * p)
    return loss, (of_row.reshape(k, k, p, p).swapaxes(1, 2).reshape(k * p, k * p) - square) / batch
