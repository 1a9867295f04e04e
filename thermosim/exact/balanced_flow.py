"""Kernels of hidden layers of linear networks under gradient flow, which keeps Q_i = W_i W_i' - W_(i+1)'W_(i+1).

With no noise there is no entropic force: layers stay where the start left them on the manifold M = W_D ... W_1. How far
the charges fix them, for two layers, W_1 (h, n) and W_2 (d, h), K = W_1'W_1 and G = W_2 W_2':

    Q = q 1 on the hidden units     W_1'Q W_1 = K^2 - M'M = q K,   so K = q/2 + (q^2/4 + M'M)^(1/2)  where M is not 0

and G is the same with M' and -q. Where M is 0 a direction has K = 0 for q <= 0; for q > 0 it has K = q or 0, of which
the start decides unless all have q (h = n) or none has (h the rank of M); q > 0 needs h <= n, and q < 0 h <= d.
Any other Q does not fix K: for a rotation U of the h units there is a positive P with

    P W_1 W_1'P - P^-1 W_2'W_2 P^-1 = U'Q U,   W_1 -> U P W_1,   W_2 -> W_2 P^-1 U'

which keeps M and Q and changes K. These h (h - 1)/2 numbers, of W_1 and W_2 of rank h, are left to the way of the flow.

Balanced layers, Q_i = 0 for all i, are fixed at any depth and at every moment, not only at the end:

    h_k(x).h_k(z) = x'(M'M)^(k/D) z

With embedding M_I and unembedding M_O it is M_I'(M'M)^(k/D) M_I with M = M_O^-1 V M_I^-1 where the flow has fitted V:
no universal kernel, for it changes with the view. A balanced flow never changes the rank of M in a finite time, so
that a square M keeps the sign of its determinant: from the wrong side it ends at a saddle,
which errors of finite steps leave in time.

Sources: K. Fukumizu, ICONIP (1998), and S. Arora, N. Cohen, E. Hazan, arXiv:1802.06509, for the charges and for
balanced layers (Theorem 1); C. Dominé et al., arXiv:2409.14623, for Q = q 1; the rest by hand.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_continuous_lyapunov

__all__ = ["balanced_kernel", "charged_kernels", "same_charge"]

_RANK = 1e-12  # relative: a singular value that is 0
_NEWTON = 60


def balanced_kernel(matrix: np.ndarray, layer: int, depth: int) -> np.ndarray:
    """(M'M)^(k/D) (n, n) of M (..., d, n): the inner products of hidden layer k of D balanced layers."""
    _, values, right = np.linalg.svd(matrix, full_matrices=False)
    powers = values ** (2.0 * layer / depth)
    return np.asarray(right.swapaxes(-1, -2) * powers[..., None, :] @ right)


def charged_kernels(matrix: np.ndarray, charge: float, width: int) -> tuple[np.ndarray, np.ndarray]:
    """K (n, n) and G (d, d) of two layers of M (d, n), with W_1 W_1' - W_2'W_2 = q 1 on `width` hidden units.

    Raises ValueError where no such layers make M, or many do with other kernels.
    """
    outputs, inputs = matrix.shape
    rank = int(np.linalg.matrix_rank(matrix, tol=_RANK * max(np.abs(matrix).max(), 1e-300)))
    if width < rank:
        raise ValueError(f"width {width} cannot make a matrix of rank {rank}: take {rank} or more")
    most = inputs if charge > 0.0 else outputs
    if charge and width not in (rank, most):
        raise ValueError(
            f"charge {charge:g} on {width} units: kernels are fixed for a width of {rank}, the rank, or {most}; "
            f"{'no layers have it' if width > most else 'many have it between'}"
        )
    spare = abs(charge) if width > rank else 0.0
    return _kernel(matrix, charge, spare), _kernel(matrix.T, -charge, spare)


def _kernel(matrix: np.ndarray, charge: float, spare: float) -> np.ndarray:
    """q/2 + (q^2/4 + M'M)^(1/2) where M is not 0, `spare` where it is and q > 0."""
    _, found, right = np.linalg.svd(matrix)
    sizes = np.zeros(len(right))
    sizes[: len(found)] = found
    values = 0.5 * charge + np.sqrt(0.25 * charge**2 + sizes**2)
    values = np.where(sizes > _RANK * found.max(), values, spare if charge > 0.0 else 0.0)
    return np.asarray((right.T * values) @ right)


def same_charge(first: np.ndarray, second: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Other layers of the same M and Q: U P W_1 (h, n) and W_2 P^-1 U' (d, h), for a rotation U (h, h).

    By Newton's steps, along a path of U'Q U that begins at Q. Raises ValueError where they do not end.
    """
    a, b = first @ first.T, second.T @ second
    start, root = a - b, np.eye(len(a))
    target = rotation.T @ start @ rotation
    for share in np.linspace(0.0, 1.0, _NEWTON)[1:]:
        wanted = (1.0 - share) * start + share * target
        for _ in range(_NEWTON):
            inverse = np.linalg.inv(root)
            ours, other = root @ a @ root, inverse @ b @ inverse
            off = wanted - (ours - other)
            if np.abs(off).max() < 1e-13 * max(np.abs(ours).max(), np.abs(other).max()):
                break
            # P -> (1 + D) P, D symmetric: D (ours + other) + (ours + other) D = off
            step = solve_continuous_lyapunov(ours + other, off)
            left = (np.eye(len(a)) + step) @ root
            _, s, v = np.linalg.svd(left)  # P of left = (rotation) P: off by the square of the step
            root = v.T @ (s[:, None] * v)
        else:
            raise ValueError("Newton's steps to this rotation do not end: take one nearer to the identity")
    return rotation @ root @ first, second @ np.linalg.inv(root) @ rotation.T
