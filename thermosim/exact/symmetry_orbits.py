"""The mean squared gradient along the orbit of a symmetry, where it is least, and states that SGD cannot leave.

Of a loss that does not change along theta -> exp(s A) theta, l(exp(s A) theta) = l(theta) for every data row, the
gradient obeys theta'A'g = 0 and goes over to exp(-s A')g. The entropic force is that of S = E|g|^2, the mean over data
rows or minibatches, and along the orbit

    S(s) = E|exp(-s A')g|^2,   dS/ds = -E h'(A + A')h,   d2S/ds2 = 2 E (A'h).(A + A')h,   h = exp(-s A')g

The theorem (T1) is for symmetric A: S(s) = E g'exp(-2 s A)g = sum_i m_i exp(-2 s a_i), with a_i the eigenvalues and
m_i the mean square of g along their eigenvectors. The second derivative is 4 E|A h|^2, so S is strictly convex unless
A g = 0 in every row. With m_i > 0 at eigenvalues of both signs there is one minimum, where E g'A g = 0; where all are
of one sign S falls to the part that A does not move, for ever: at +infinity for positive ones (scaling, A = 1: the norm
grows).

The table of symmetries of the paper, and what can be proved of its "symmetric state":

    translation       theta + s z: g is the same, S is flat. SGD keeps z.theta in every step and batch, and weight decay
                      takes it to 0 as (1 - r lambda)^t. "No non-compact symmetry survives" is thus a theorem on linear
                      actions: a translation is not compact, does not preserve the norm, and does survive; what survives
                      are isometries of theta.
    scaling           A = 1: the infimum is at infinity, no state.
    rescaling         A = (1, -1): the minimum has E|g_u|^2 = E|g_w|^2. This is |u| = |w| where |g_u|/|w| = |g_w|/|u| in
                      every row, as in a chain of width one, not for a neuron with several inputs. |u| = |w| is where
                      weight decay leads, the least norm on the orbit; but the paper's own theorem is on gradients.
    rotation          A' = -A: S is flat. A state of low rank, W n = 0, is one that the reflection 1 - 2 n n' leaves.
    double rotation   U B, B^-1 W of any invertible B: rotations are flat, symmetric B balance (`symmetry_charges`).
                      Of other B, A does not commute with A': one that turns theta round an ellipse keeps no norm and
                      S is periodic along it. So "a unique minimum for every symmetry" needs a symmetric A, and what is
                      broken is every linear symmetry that is no isometry, compact or not.
    permutation, sign flip   orthogonal, so S is the same at both ends; nothing is said of what lies between.

Discrete symmetries theta -> O theta have g(O theta) = O g(theta), so at a state that O leaves alone O g = g for every
row: SGD with any batch never leaves identical neurons, low rank, or w = 0. That they attract is no theorem. Close to
such a state, along a direction n with O n = -n that is an eigenvector of every row's Hessian, with eigenvalue h,

    x_(t+1) = (1 - r (lambda + h)) x_t,   (1/t) ln|x_t/x_0| -> E ln|1 - r (lambda + h)|

so noise may bind SGD to a saddle, E(h + lambda) < 0: to second order it does where
r E(h + lambda)^2 > 2 |E(h + lambda)|.

Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), for the theorem and the table; L. Ziyin, Y. Ren,
D. Levine, I. Chuang, arXiv:2605.21933 (2026), Theorems 6 and 7; the rest by hand. r is the learning rate, lambda the
weight decay of a case.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg, optimize

__all__ = [
    "collapse_exponent",
    "curvature_along",
    "double_rotation",
    "is_normal",
    "least_along",
    "moved",
    "slope_along",
    "square_along",
    "tangents",
]

_NOTHING = 1e-14  # of E|g|^2, relative: along such a direction there is no gradient


def moved(theta: np.ndarray, generator: np.ndarray, along: np.ndarray) -> np.ndarray:
    """exp(s A) theta of theta (m,), A (m, m) or a diagonal (m,), for every s of `along` (L,): (L, m)."""
    if generator.ndim == 1:
        return np.asarray(np.exp(np.multiply.outer(along, generator)) * theta)
    return np.stack([linalg.expm(s * generator) @ theta for s in along])


def tangents(generators: Any, theta: np.ndarray, translation: bool = False) -> np.ndarray:
    """A theta, or z, of theta (K, m) for generators as diagonals (G, m), also sparse, or (G, m, m): (G, K, m)."""
    if generators.ndim == 3:
        return np.asarray(np.einsum("gij,kj->gki", generators, theta))
    rows = generators.toarray() if hasattr(generators, "toarray") else np.asarray(generators)
    return np.asarray(
        np.broadcast_to(rows[:, None], (len(rows), *theta.shape)) if translation else rows[:, None] * theta
    )


def square_along(gradients: np.ndarray, generator: np.ndarray, along: np.ndarray) -> np.ndarray:
    """|exp(-s A')g|^2 of each of K gradients (K, m), rows or minibatches, for every s of `along` (L,): (L, K)."""
    return np.stack([(_transported(gradients, generator, s) ** 2).sum(-1) for s in along])


def slope_along(gradients: np.ndarray, generator: np.ndarray, along: float = 0.0) -> np.ndarray:
    """dS/ds of each of K gradients (K, m) at s: (K,)."""
    h = _transported(gradients, generator, along)
    return np.asarray(-2.0 * (_times(h, generator) * h).sum(-1))


def curvature_along(gradients: np.ndarray, generator: np.ndarray, along: float = 0.0) -> np.ndarray:
    """d2S/ds2 of each of K gradients (K, m) at s: (K,); none is negative where A commutes with A'."""
    h = _transported(gradients, generator, along)
    first = _times(h, generator)
    return np.asarray(2.0 * (first * (first + _times(h, generator.T))).sum(-1))


def is_normal(generator: np.ndarray) -> bool:
    """Whether A commutes with A', to rounding: then S is convex along its orbits."""
    if generator.ndim == 1:
        return True
    apart = generator @ generator.T - generator.T @ generator
    return bool(np.abs(apart).max() <= 1e-12 * len(generator) * _size(generator) ** 2)


def least_along(gradients: np.ndarray, generator: np.ndarray) -> float:
    """The s of the least mean of S over K gradients (K, m), for an A (m, m), or diagonal (m,), that commutes with A'.

    Infinite, with its sign, where S falls for ever, and NaN where S is flat. Raises ValueError for any other A.
    """
    if not is_normal(generator):
        raise ValueError("the generator does not commute with its transpose: S need not have one minimum along it")
    if generator.ndim == 1:
        values, along = generator, gradients
    else:
        values, vectors = np.linalg.eigh(0.5 * (generator + generator.T))
        along = gradients @ vectors
    squares = (along**2).mean(0)
    seen = (squares > _NOTHING * squares.sum()) & (np.abs(values) > _NOTHING * _size(generator))
    rates, weights = values[seen], squares[seen]
    if not len(rates):
        return np.nan
    if (rates > 0.0).all() or (rates < 0.0).all():
        return float(np.copysign(np.inf, rates[0]))
    return _root(rates, weights)


def double_rotation(inputs: int, hidden: int, outputs: int, mixing: np.ndarray) -> np.ndarray:
    """A (m, m) of W1 (h, n) -> exp(s B) W1, W2 (d, h) -> W2 exp(-s B), for B (h, h); theta is W1 and then W2."""
    first = np.kron(mixing, np.eye(inputs))
    second = np.kron(np.eye(outputs), -mixing.T)
    assert mixing.shape == (hidden, hidden)
    return np.asarray(linalg.block_diag(first, second))


def collapse_exponent(curvature: np.ndarray, learning_rate: float, decay: float = 0.0) -> np.ndarray:
    """ln|1 - r (lambda + h)| of every row's h (K,), whose mean is the rate at which SGD leaves a symmetric state."""
    return np.log(np.abs(1.0 - learning_rate * (decay + curvature)))


def _transported(gradients: np.ndarray, generator: np.ndarray, along: float) -> np.ndarray:
    if generator.ndim == 1:
        return np.asarray(gradients * np.exp(-along * generator))
    return np.asarray(gradients @ linalg.expm(-along * generator))


def _times(gradients: np.ndarray, generator: np.ndarray) -> np.ndarray:
    """A'g of every row."""
    return np.asarray(gradients * generator if generator.ndim == 1 else gradients @ generator)


def _root(rates: np.ndarray, weights: np.ndarray) -> float:
    """The s of sum_i a_i m_i exp(-2 s a_i) = 0: where the logarithms of what pulls either way are the same."""
    up, down = rates > 0.0, rates < 0.0

    def difference(s: float) -> float:
        logs = np.log(np.abs(rates) * weights) - 2.0 * s * rates
        return float(np.logaddexp.reduce(logs[up]) - np.logaddexp.reduce(logs[down]))

    reach = 1.0 / np.abs(rates).min()
    while difference(reach) > 0.0 or difference(-reach) < 0.0:
        reach *= 2.0
    return float(optimize.brentq(difference, -reach, reach, xtol=1e-14 * reach, rtol=1e-14))


def _size(generator: np.ndarray) -> float:
    return float(np.abs(generator).max())
