"""Where SGD leaves a linear network of two layers: the entropic solution, and how sharp it is.

l = |W2 W1 x - y|^2, y = V x + e, e independent of x, second moments Sx of x and Se of e. On the manifold W2 W1 = V of
least loss the mean squared gradient of a row is

    E|g|^2 = 4 [Tr Se Tr(W1 Sx W1') + Tr(W2' Se W2) Tr Sx]

Small steps of SGD make it least, eta/4 of it being added to the loss. With Se^(1/2) V Sx^(1/2) = P S Q', its singular
values in S, and c = (Tr Sx/Tr Se)^(1/4), it is 8 sqrt(Tr Sx Tr Se) Tr S, where

    W1'W1 = c^2 Sx^(-1/2) Q S Q' Sx^(-1/2),   W2 W2' = c^-2 Se^(-1/2) P S P' Se^(-1/2)

The trace of the Hessian of the mean loss, at any weights, and the least on the manifold are, d outputs,

    Tr H = 2 [d Tr(W1 Sx W1') + |W2|^2 Tr Sx] >= 4 sqrt(d Tr Sx) |V Sx^(1/2)|_*

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025); closed forms by hand.
"""

from __future__ import annotations

import numpy as np

__all__ = ["flattest_trace", "hessian_trace", "input_kernel", "least_square", "mean_square", "output_kernel"]


def mean_square(first: np.ndarray, second: np.ndarray, inputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """E|g|^2 of one row on the manifold, for W1 (..., h, n) and W2 (..., d, h), moments (n, n) and (d, d): (...)."""
    of_first = np.einsum("...hi,ij,...hj->...", first, inputs, first)
    of_second = np.einsum("...ih,ij,...jh->...", second, noise, second)
    return np.asarray(4.0 * (np.trace(noise) * of_first + np.trace(inputs) * of_second))


def least_square(matrix: np.ndarray, inputs: np.ndarray, noise: np.ndarray) -> float:
    """The least E|g|^2 on the manifold of V (d, n)."""
    _, values, _ = _decomposed(matrix, inputs, noise)
    return float(8.0 * np.sqrt(np.trace(inputs) * np.trace(noise)) * values.sum())


def input_kernel(matrix: np.ndarray, inputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """W1'W1 (n, n) of the entropic solution: the inner product of hidden activations is x' W1'W1 x'."""
    _, values, right = _decomposed(matrix, inputs, noise)
    back = np.linalg.inv(_root(inputs)) @ right
    return np.asarray(np.sqrt(np.trace(inputs) / np.trace(noise)) * (back * values) @ back.T)


def output_kernel(matrix: np.ndarray, inputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """W2 W2' (d, d) of the entropic solution."""
    left, values, _ = _decomposed(matrix, inputs, noise)
    back = np.linalg.inv(_root(noise)) @ left
    return np.asarray(np.sqrt(np.trace(noise) / np.trace(inputs)) * (back * values) @ back.T)


def hessian_trace(first: np.ndarray, second: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Trace of the Hessian of the mean loss at W1 (..., h, n) and W2 (..., d, h): (...)."""
    of_first = np.einsum("...hi,ij,...hj->...", first, inputs, first)
    return np.asarray(2.0 * (second.shape[-2] * of_first + (second**2).sum((-2, -1)) * np.trace(inputs)))


def flattest_trace(matrix: np.ndarray, inputs: np.ndarray) -> float:
    """The least trace of the Hessian on the manifold of V (d, n)."""
    values = np.linalg.svd(matrix @ _root(inputs), compute_uv=False)
    return float(4.0 * np.sqrt(len(matrix) * np.trace(inputs)) * values.sum())


def _decomposed(matrix: np.ndarray, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P (d, k), S (k), Q (n, k) of Se^(1/2) V Sx^(1/2)."""
    left, values, right = np.linalg.svd(_root(noise) @ matrix @ _root(inputs), full_matrices=False)
    return left, values, right.T


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(values)) @ vectors.T)
