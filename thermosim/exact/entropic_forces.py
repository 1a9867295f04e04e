"""The entropic loss of a linear network of two layers anywhere, its force, its least states and their sharpness.

l = |W2 W1 x - y|^2 (no 1/2), y = V x + e, x normal of mean 0 and covariance Sx, e independent of mean 0 and covariance
Se. With D = W2 W1 - V and G = dl/d(W2 W1) = 2 (D x - e) x', the gradients are dl/dW1 = W2'G and dl/dW2 = G W1', so that

    F = E l + gamma |theta|^2 + (eta/4) E|g|^2,   E|g|^2 = Tr(W1 E[G'G] W1') + Tr(W2' E[GG'] W2)

of the mean gradient of a batch of B rows, where Isserlis' theorem for x gives, with k = 1/B and b = 1 + 1/B,

    E[G'G] = 4 {k [Tr(D Sx D') + Tr Se] Sx + b Sx D'D Sx}
    E[GG'] = 4 {k Tr Sx [D Sx D' + Se] + b D Sx^2 D'}

On the manifold D = 0 the law of x does not matter. Near it F is gamma |theta|^2 + (eta/4) E|g|^2 to leading order,
which is Tr(W1 A W1') + Tr(W2' C W2) with A = gamma 1 + (eta/B) Tr(Se) Sx, C = gamma 1 + (eta/B) Tr(Sx) Se. Given
W2 W1 = V, with P S Q' = C^(1/2) V A^(1/2), any such sum is least, 2 Tr S, for R'R = 1 in

    W1 = R S^(1/2) Q' A^(-1/2),   W2 = C^(-1/2) P S^(1/2) R'

Decay 0 is the entropic solution; A = 2 d Sx, C = 2 Tr(Sx) 1 the flattest network. Least F is where SGD stays only where
V, Sx and Se are diagonal in common bases (`checks.entropic_solution`).
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025); closed forms by hand.
"""

from __future__ import annotations

import numpy as np

from thermosim.exact.linear_langevin import square_root

__all__ = [
    "balance",
    "balanced_factors",
    "entropic_force",
    "entropic_kernels",
    "entropic_loss",
    "entropic_trace",
    "entropic_weights",
    "flattest_trace",
    "flattest_weights",
    "gradient_moments",
    "hessian",
    "hessian_trace",
    "largest_curvature",
    "least_penalty",
    "matrix_balance",
    "mean_square_gradient",
]

Pair = tuple[np.ndarray, np.ndarray]

_ENTROPIC = 0.25  # of eta |g|^2: the loss whose flow for a time eta is one step of eta


def gradient_moments(gap: np.ndarray, inputs: np.ndarray, noise: np.ndarray, batch: float = 1.0) -> Pair:
    """E[G'G] (n, n) and E[GG'] (d, d) at D = `gap` (d, n), for Sx (n, n), Se (d, d); a batch of inf is the full one."""
    k, b = 1.0 / batch, 1.0 + 1.0 / batch
    spread = gap @ inputs @ gap.T
    right = k * (np.trace(spread) + np.trace(noise)) * inputs + b * inputs @ gap.T @ gap @ inputs
    left = k * np.trace(inputs) * (spread + noise) + b * gap @ inputs @ inputs @ gap.T
    return 4.0 * right, 4.0 * left


def mean_square_gradient(
    first: np.ndarray,
    second: np.ndarray,
    matrix: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray,
    batch: float = 1.0,
) -> float:
    """E|g|^2 at W1 (h, n), W2 (d, h), on the manifold W2 W1 = V (d, n) and off it."""
    right, left = gradient_moments(second @ first - matrix, inputs, noise, batch)
    return float(np.trace(first @ right @ first.T) + np.trace(second.T @ left @ second))


def entropic_loss(
    first: np.ndarray,
    second: np.ndarray,
    matrix: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray,
    *,
    learning_rate: float,
    decay: float = 0.0,
    batch: float = 1.0,
) -> float:
    """F at W1 (h, n), W2 (d, h), up to O(eta^2); `decay` is gamma, half of the weight decay of a case."""
    gap = second @ first - matrix
    loss = float(np.trace(gap @ inputs @ gap.T) + np.trace(noise))
    norm = float((first**2).sum() + (second**2).sum())
    square = mean_square_gradient(first, second, matrix, inputs, noise, batch)
    return loss + decay * norm + _ENTROPIC * learning_rate * square


def entropic_force(
    first: np.ndarray,
    second: np.ndarray,
    matrix: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray,
    *,
    learning_rate: float,
    batch: float = 1.0,
) -> Pair:
    """-(eta/4) grad E|g|^2 in W1 (h, n) and W2 (d, h)."""
    k, b = 1.0 / batch, 1.0 + 1.0 / batch
    gap = second @ first - matrix
    right, left = gradient_moments(gap, inputs, noise, batch)
    inner, outer = first.T @ first, second @ second.T
    own = (k * np.trace(inner @ inputs) * gap + b * gap @ inputs @ inner) @ inputs
    other = outer @ gap @ (k * np.trace(inputs) * inputs + b * inputs @ inputs)
    of_gap = 8.0 * (own + other)  # dE|g|^2/dD at fixed W1'W1 and W2 W2'
    of_first = 2.0 * first @ right + second.T @ of_gap
    of_second = 2.0 * left @ second + of_gap @ first.T
    return -_ENTROPIC * learning_rate * of_first, -_ENTROPIC * learning_rate * of_second


def balance(
    first: np.ndarray,
    second: np.ndarray,
    matrix: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray,
    *,
    learning_rate: float = 1.0,
    decay: float = 0.0,
    batch: float = 1.0,
) -> np.ndarray:
    """gamma (W1 W1' - W2'W2) + (eta/4)(W1 E[G'G] W1' - W2' E[GG'] W2): (h, h), 0 in every stationary state of F.

    Exact at any learning rate: W1 -> B^-1 W1, W2 -> W2 B changes neither E l nor the moments of G.
    """
    moments = gradient_moments(second @ first - matrix, inputs, noise, batch)
    entropic = _ENTROPIC * learning_rate * matrix_balance(first, second, *moments)
    return np.asarray(decay * (first @ first.T - second.T @ second) + entropic)


def matrix_balance(first: np.ndarray, second: np.ndarray, right: np.ndarray, left: np.ndarray) -> np.ndarray:
    """W_i E[G'G] W_i' - W_{i+1}' E[GG'] W_{i+1} (h, h) of adjacent linear layers of any loss, G its gradient in
    W_{i+1} W_i, for E[G'G] (n, n) and E[GG'] (d, d): 0 in the stationary states of F without decay.
    """
    return np.asarray(first @ right @ first.T - second.T @ left @ second)


def balanced_factors(
    matrix: np.ndarray, of_first: np.ndarray, of_second: np.ndarray, width: int, frame: np.ndarray | None = None
) -> Pair:
    """W1 (h, n) and W2 (d, h) of least Tr(W1 A W1') + Tr(W2' C W2), given W2 W1 = V (d, n) of rank r.

    A (n, n) and C (d, d) are `of_first` and `of_second`; `frame` (h, r) is R, the first unit vectors where it is None.
    ValueError where the width is less than r, A or C are not positive definite, or R'R is not 1.
    """
    left, values, right = _decomposed(matrix, of_first, of_second)
    rank = len(values)
    if width < rank:
        raise ValueError(f"a width of {width} cannot make a matrix of rank {rank}: take {rank} or more")
    frame = np.eye(width, rank) if frame is None else np.asarray(frame, float)
    if frame.shape != (width, rank) or not np.allclose(frame.T @ frame, np.eye(rank)):
        raise ValueError(f"frame: {rank} orthonormal columns of length {width} are needed")
    first = (frame * np.sqrt(values)) @ right.T @ np.linalg.inv(square_root(of_first))
    second = np.linalg.inv(square_root(of_second)) @ (left * np.sqrt(values)) @ frame.T
    return first, second


def entropic_weights(
    matrix: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray,
    width: int,
    *,
    learning_rate: float = 1.0,
    decay: float = 0.0,
    batch: float = 1.0,
    frame: np.ndarray | None = None,
) -> Pair:
    """W1 (h, n) and W2 (d, h) of least gamma |theta|^2 + (eta/4) E|g|^2 on the manifold of V (d, n).

    Without decay the learning rate and the batch do not matter. Errors and `frame` as for `balanced_factors`.
    """
    return balanced_factors(matrix, *_metrics(inputs, noise, learning_rate / batch, decay), width, frame)


def entropic_kernels(
    matrix: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray,
    *,
    learning_rate: float = 1.0,
    decay: float = 0.0,
    batch: float = 1.0,
) -> Pair:
    """W1'W1 (n, n), the inner product of hidden activations, and W2 W2' (d, d) of these weights of any width."""
    metrics = _metrics(inputs, noise, learning_rate / batch, decay)
    first, second = balanced_factors(matrix, *metrics, int(np.linalg.matrix_rank(matrix)))
    return first.T @ first, second @ second.T


def least_penalty(
    matrix: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray,
    *,
    learning_rate: float,
    decay: float = 0.0,
    batch: float = 1.0,
) -> float:
    """The least gamma |theta|^2 + (eta/4) E|g|^2 on the manifold of V (d, n): 2 |C^(1/2) V A^(1/2)|_*."""
    _, values, _ = _decomposed(matrix, *_metrics(inputs, noise, learning_rate / batch, decay))
    return float(2.0 * values.sum())


def flattest_weights(matrix: np.ndarray, inputs: np.ndarray, width: int, frame: np.ndarray | None = None) -> Pair:
    """W1 (h, n) and W2 (d, h) of the least trace of the Hessian on the manifold of V (d, n)."""
    outputs = len(matrix)
    return balanced_factors(matrix, 2.0 * outputs * inputs, 2.0 * np.trace(inputs) * np.eye(outputs), width, frame)


def flattest_trace(matrix: np.ndarray, inputs: np.ndarray) -> float:
    """The least trace of the Hessian on the manifold of V (d, n): 4 (d Tr Sx)^(1/2) |V Sx^(1/2)|_*."""
    values = np.linalg.svd(matrix @ square_root(inputs), compute_uv=False)
    return float(4.0 * np.sqrt(len(matrix) * np.trace(inputs)) * values.sum())


def hessian_trace(first: np.ndarray, second: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Trace of the Hessian of E l at W1 (..., h, n) and W2 (..., d, h), on the manifold and off it: (...).

    2 [d Tr(W1 Sx W1') + |W2|^2 Tr Sx], a function of W1'W1 and W2 W2' alone.
    """
    of_first = np.einsum("...hi,ij,...hj->...", first, inputs, first)
    return np.asarray(2.0 * (second.shape[-2] * of_first + (second**2).sum((-2, -1)) * np.trace(inputs)))


def hessian(first: np.ndarray, second: np.ndarray, matrix: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Hessian (m, m) of E l in theta = (W1, W2), row by row, for W1 (h, n), W2 (d, h).

    2 E[J'J], J = d(W2 W1 x)/d theta, and off the manifold 2 (D Sx)_pi between W1_hi and W2_ph.
    """
    (width, n), outputs = first.shape, len(second)
    hidden = first @ inputs @ first.T
    gap = (second @ first - matrix) @ inputs
    mixed = np.einsum("ph,iq->hipq", second, inputs @ first.T) + np.einsum("pi,hq->hipq", gap, np.eye(width))
    corner = mixed.reshape(width * n, outputs * width)
    blocks = [[np.kron(second.T @ second, inputs), corner], [corner.T, np.kron(np.eye(outputs), hidden)]]
    return np.asarray(2.0 * np.block(blocks))


def largest_curvature(first: np.ndarray, second: np.ndarray, matrix: np.ndarray, inputs: np.ndarray) -> float:
    """The largest eigenvalue of the Hessian of E l; gradient descent is stable below 2/eta."""
    return float(np.linalg.eigvalsh(hessian(first, second, matrix, inputs))[-1])


def entropic_trace(matrix: np.ndarray, inputs: np.ndarray, noise: np.ndarray) -> float:
    """Trace of the Hessian in the entropic solution without decay, d outputs:

    2 (Tr Sx)^(1/2) [d Tr S/(Tr Se)^(1/2) + (Tr Se)^(1/2) Tr(Se^-1 P S P')], P S Q' = Se^(1/2) V Sx^(1/2).
    """
    left, values, _ = _decomposed(matrix, inputs, noise)
    root = np.sqrt(np.trace(noise))
    stretched = np.trace(np.linalg.inv(noise) @ (left * values) @ left.T)
    return float(2.0 * np.sqrt(np.trace(inputs)) * (len(matrix) * values.sum() / root + root * stretched))


def _metrics(inputs: np.ndarray, noise: np.ndarray, rate: float, decay: float) -> Pair:
    """A (n, n) and C (d, d) of gamma |theta|^2 + (eta/4) E|g|^2 on the manifold, where (1/4) cancels the 4 of |G|^2."""
    of_first = decay * np.eye(len(inputs)) + 4.0 * _ENTROPIC * rate * np.trace(noise) * inputs
    of_second = decay * np.eye(len(noise)) + 4.0 * _ENTROPIC * rate * np.trace(inputs) * noise
    return of_first, of_second


def _decomposed(
    matrix: np.ndarray, of_first: np.ndarray, of_second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P (d, r), S (r), Q (n, r) of C^(1/2) V A^(1/2), r the rank of V."""
    for name, metric in (("inputs", of_first), ("targets", of_second)):
        values = np.linalg.eigvalsh(metric)
        if values[0] <= len(values) * np.finfo(float).eps * max(values[-1], 0.0):
            raise ValueError(
                f"the covariance of the {name} or of their noise is not positive definite: no state is least"
            )
    left, values, right = np.linalg.svd(square_root(of_second) @ matrix @ square_root(of_first), full_matrices=False)
    rank = int(np.linalg.matrix_rank(matrix))
    return left[:, :rank], values[:rank], right[:rank].T
