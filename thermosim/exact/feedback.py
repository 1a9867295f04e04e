"""Feedback: samples that steer theta, exactly. Learning by contrast is an engine that measures x and acts on it.

    theta' = theta - r (g_b - (1/S) sum_s d phi(x_s)/d theta + lambda theta) + noise
    w = phi_theta'(x) - phi_theta(x)

For x ~ p_theta = exp(-phi_theta), whatever the minibatch b and the noise, the weight of x cancels:

    <exp(-w)> = Int dx E[exp(-phi_theta'(x)(x))] = gamma                                  efficacy of the feedback

It is the integral of another density at every x, the one that this x would make, and 1 where theta' does not see x. A
contrast pushes theta' away from x, so that gamma < 1: a demon that pays, for mean work is not below -ln gamma. With
gamma_i the efficacy of step i given all that was there before it (theta, minibatch, noise, the other chains) but x,

    <exp(-w - sum_i ln gamma_i)> = 1    for fresh samples at every step,                  <w> >= -<sum_i ln gamma_i>

for given all of that the mean of exp(-w_i) is gamma_i, and a fresh x knows nothing of the steps before.

Gaussian that learns its means, phi = sum_j k_j (x_j - m_j)^2/2: of one chain of S, x_j - m_j' = (1 + r k_j/S) x_j +
what does not depend on x; of all S chains the determinant of 1 + (r k_j/S) 1 1' is 1 + r k_j. After t steps,

    one chain of S                        gamma = prod_j (1 + r k_j/S)^-t
    all S chains, w = sum_s w_s           gamma = prod_j (1 + r k_j)^-t

with fresh samples, at any data, batch, momentum, decay, noise and theta. Moves of x that keep a memory of it have the
same gamma in the first step only: weighted by exp(-w), x is not p_theta' once more, for theta' tells what x was.

Where theta' has a density given x, as with noise of variance 2 r T, there is what it knows of x, i = ln
p(theta'|x)/p(theta'), and <exp(-w - i)> = 1. Per step, given the other chains, one chain of the Gaussian has

    <i> = (1/2) sum_j ln(1 + r k_j/(2 T S^2))

Weighted by exp(-w - i) x is p_theta' again, so that this theorem holds at any tau of moves that leave it invariant.

Sources: T. Sagawa, M. Ueda, Phys. Rev. Lett. 104, 090602 (2010), for both theorems; Phys. Rev. E 85, 021104 (2012).
Units: k is an energy per x^2, r an inverse energy, T an energy; x is at temperature 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["enumerated_efficacy", "gaussian_information", "gaussian_log_efficacy"]

Function = Callable[[np.ndarray, np.ndarray], np.ndarray]
_LARGEST = 1 << 20  # surprisals of the last step, at most


def gaussian_log_efficacy(precision: np.ndarray, rates: ArrayLike, samples: int = 1) -> np.ndarray:
    """ln gamma of one chain of `samples`, after steps 0..N at the learning rates (N,): (N + 1, ...).

    precision k (..., n). With samples=1 it is also that of all chains of any number together. Raises ValueError where
    1 + r k/S is not positive, where x can be carried onto its own mode and the integral has no end.
    """
    pull = np.multiply.outer(np.asarray(rates, float), np.asarray(precision, float)) / samples
    if np.any(pull <= -1.0):
        raise ValueError("1 + r k/S is not positive: a negative learning rate this large carries theta onto x")
    return np.concatenate([np.zeros((1, *pull.shape[1:-1])), -np.cumsum(np.log1p(pull).sum(axis=-1), axis=0)])


def gaussian_information(
    precision: np.ndarray, rates: ArrayLike, temperature: ArrayLike, samples: int = 1
) -> np.ndarray:
    """Mean of sum i in nat, of one chain of `samples` given the others, after steps 0..N: (N + 1, ...).

    precision k (..., n), learning rates (N,), temperature of theta a number or (N,). Infinite without noise.
    """
    rate = np.asarray(rates, float) / (2.0 * np.broadcast_to(np.asarray(temperature, float), np.shape(rates)))
    gain = 0.5 * np.log1p(np.multiply.outer(rate, np.asarray(precision, float)) / samples**2).sum(axis=-1)
    return np.concatenate([np.zeros((1, *gain.shape[1:])), np.cumsum(gain, axis=0)])


def enumerated_efficacy(
    points: np.ndarray,
    log_weights: np.ndarray,
    surprisal: Function,
    slope: Function,
    data_slopes: Callable[[np.ndarray], np.ndarray],
    theta: np.ndarray,
    rates: ArrayLike,
    weight_decay: float = 0.0,
) -> float:
    """gamma of one chain from theta (m,) after steps at the learning rates (N,): a sum over all paths of x and b.

    points (P, n) and log_weights (P,) are a sum or quadrature over x; surprisal(x (Q, n), theta (Q, m)) -> (Q,) is
    -ln p, slope(x, theta) -> (Q, m) its derivative by theta; data_slopes(theta (Q, m)) -> (K, Q, m) mean slopes of K
    equally likely minibatches. No noise. Raises ValueError where (P K)^N paths are too many.
    """
    steps = np.asarray(rates, float)
    here = np.asarray(theta, float)[None]
    minibatches = len(data_slopes(here))
    if (len(points) * minibatches) ** len(steps) > _LARGEST:
        raise ValueError(
            f"{len(points)} states and {minibatches} minibatches make too many paths of {len(steps)} steps to add up"
        )
    weight = np.ones(1)
    for rate in steps:
        count = len(here)
        many, x = np.repeat(here, len(points), axis=0), np.tile(points, (count, 1))
        pushed = many + rate * (slope(x, many) - weight_decay * many)
        drift = np.repeat(data_slopes(here), len(points), axis=1)
        after = (pushed - rate * drift).reshape(-1, here.shape[1])
        phi = surprisal(np.tile(x, (minibatches, 1)), after).reshape(minibatches, count, len(points))
        weight = (weight[:, None] * np.exp(log_weights - phi) / minibatches).ravel()
        here = after
    return float(weight.sum())
