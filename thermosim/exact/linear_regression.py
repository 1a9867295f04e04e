"""Linear regression by SGD on a fixed data set: exact mean and covariance of theta at every step, at any learning rate.

    l = |W z - y|^2,   g_i = 2 (W z_i - y_i) z_i',   theta' = theta - r (g_b + lambda theta)

g_b is the mean gradient of B rows drawn one by one, with replacement, from n rows z_i (p), y_i (k); theta is W (k, p),
one output after another, and a bias is an input of 1. Given theta, g_b has the mean G(theta), affine with the Hessian
H = (2/n) 1 x sum_i z_i z_i', and the covariance of one row over B. So, for any law of theta with mean m and covariance
C, by the law of total covariance,

    m' = m - r (G(m) + lambda m),     C' = A C A' + r^2 V,     A = (1 - r lambda) 1 - r H
    V  = (Q - H C H - G(m) G(m)')/B,  0 for the full batch
    Q  = <g_i g_i'> = (4/n) sum_i E_i x z_i z_i',   E_i = <(W z_i - y_i)(W z_i - y_i)'> = (k, k)

and the means over theta and batch

    <L> = (1/n) sum_i Tr E_i
    <|g_b|^2> = Tr V + Tr H C H + |G(m)|^2
    <|theta' - theta|^2> = r^2 [Tr V + Tr (H + lambda) C (H + lambda) + |G(m) + lambda m|^2]

Nothing is Gaussian, small or stationary. x is the Kronecker product.
Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), for the convention of l; L. Ziyin, K. Liu, T. Mori,
M. Ueda, ICLR 2022, arXiv:2102.05375, for the noise of minibatches in linear regression; the recursion by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Moments", "moments"]


@dataclass(frozen=True)
class Moments:
    """At theta_t for t = 0..N: mean (N+1, m), covariance (N+1, m, m), loss <L> (N+1), minibatch gradient_square (N+1).

    displacement_square (N) is that of the step from theta_t, t = 0..N-1. Sums of the ledger after t steps are sums over
    the first t entries; weight decay is no part of the gradient, nor of the loss.
    """

    mean: np.ndarray
    covariance: np.ndarray
    loss: np.ndarray
    gradient_square: np.ndarray
    displacement_square: np.ndarray


def moments(
    inputs: np.ndarray,
    targets: np.ndarray,
    mean: ArrayLike,
    covariance: ArrayLike,
    *,
    steps: int,
    learning_rate: ArrayLike,
    batch: int | None,
    weight_decay: float = 0.0,
) -> Moments:
    """From a start with mean (m) and covariance (m, m), m = k p, on inputs (n, p) and targets (n, k).

    learning_rate is a number or a schedule (N) over steps 1..N; batch is None for the full batch. Raises ValueError for
    a schedule of another length, or a start of another size.
    """
    rates = np.broadcast_to(np.asarray(learning_rate, float), (steps,))
    size = targets.shape[1] * inputs.shape[1]
    m, c = np.array(mean, float), np.array(covariance, float)
    if m.shape != (size,) or c.shape != (size, size):
        raise ValueError(f"start of shapes {m.shape} and {c.shape}: expected ({size},) and ({size}, {size})")
    hessian = np.kron(np.eye(targets.shape[1]), 2.0 * inputs.T @ inputs / len(inputs))
    contracted = hessian + weight_decay * np.eye(size)
    means, covariances = np.empty((steps + 1, size)), np.empty((steps + 1, size, size))
    loss, square, moved = np.empty(steps + 1), np.empty(steps + 1), np.empty(steps)
    for t in range(steps + 1):
        errors = _errors(inputs, targets, m, c)
        slope = _mean_gradient(inputs, targets, m)
        spread = hessian @ c @ hessian + np.outer(slope, slope)  # second moment of G(theta)
        noise = np.zeros_like(c) if batch is None else (_row_square(inputs, errors) - spread) / batch
        means[t], covariances[t] = m, c
        loss[t] = np.trace(errors, axis1=1, axis2=2).mean()
        square[t] = np.trace(noise + spread)
        if t == steps:
            break
        rate, pull = rates[t], slope + weight_decay * m
        moved[t] = rate**2 * (np.trace(noise + contracted @ c @ contracted) + pull @ pull)
        step = np.eye(size) - rate * contracted
        m, c = m - rate * pull, step @ c @ step.T + rate**2 * noise
    return Moments(means, covariances, loss, square, moved)


def _errors(inputs: np.ndarray, targets: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """E_i of every row (n, k, k)."""
    k, p = targets.shape[1], inputs.shape[1]
    off = inputs @ mean.reshape(k, p).T - targets
    half = np.einsum("ni,aibj->nabj", inputs, covariance.reshape(k, p, k, p), optimize=True)
    return np.asarray(off[:, :, None] * off[:, None, :] + np.einsum("nabj,nj->nab", half, inputs))


def _mean_gradient(inputs: np.ndarray, targets: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """G at theta (m): (m)."""
    off = inputs @ theta.reshape(targets.shape[1], inputs.shape[1]).T - targets
    return np.asarray(2.0 * (off.T @ inputs).ravel() / len(inputs))


def _row_square(inputs: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Q (m, m), from E_i (n, k, k)."""
    size = errors.shape[1] * inputs.shape[1]
    square = np.einsum("nab,ni,nj->aibj", errors, inputs, inputs, optimize=True)
    return np.asarray(4.0 * square.reshape(size, size) / len(inputs))
