"""The kernel that every hidden layer of every deep linear network comes to, in the state of least entropic loss.

f = M_O W_D ... W_1 M_I x with invertible M_I and M_O that are not learned, l = |f - y|^2 (no 1/2), y = V x + e, e
independent of x, second moments Sx and Se. With h_0 = M_I x, h_i = W_i h_(i-1) and A_i = M_O W_D ... W_(i+1), on the
manifold f = V x of least loss

    E|g|^2 = 4 sum_i Tr(A_i'Se A_i) E|h_(i-1)|^2

It is stationary under h_i -> B^-1 h_i, A_i -> A_i B of every hidden layer i < D where

    E|h_(i-1)|^2 A_i'Se A_i = Tr(A_(i+1)'Se A_(i+1)) E[h_i h_i']

so every hidden layer has, up to one number, the same inner products, whatever M_I, M_O, depth and widths:

    h_i(x).h_i(z) = const_i x'K z,   K = Sx^(-1/2) (Sx^(1/2) V'Se V Sx^(1/2))^(1/2) Sx^(-1/2)

Invariant under x -> Z x with V -> V Z^-1, under orthogonal transforms of the labels, not under others. The state in
closed form, with P S Q' = Se^(1/2) V Sx^(1/2), s = Tr S and rho^D = s^2/[E|h_0|^2 Tr(M_O'Se M_O)], is

    h_i = c_i R_i S^(1/2) Q'Sx^(-1/2) x,   c_i^2 s = E|h_i|^2 = E|h_0|^2 rho^i,   R_i'R_i = 1

and E|g|^2 = 4 D s^2/rho, the same for every layer. It is the least: D terms are at least D times their geometric mean,
in which E|h_i|^2 Tr(A_i'Se A_i) >= s^2, the square of a nuclear norm, for every hidden layer.
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025); closed forms by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thermosim.exact.linear_langevin import square_root

__all__ = [
    "gram",
    "gram_cosine",
    "hidden_grams",
    "hidden_maps",
    "layer_squares",
    "least_deep_square",
    "least_deep_weights",
    "stationarity",
    "universal_kernel",
]


def universal_kernel(matrix: np.ndarray, inputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """K (n, n) for V (d, n), Sx (n, n), Se (d, d) of the inputs that are fed in."""
    root = square_root(inputs)
    back = np.linalg.inv(root)
    _, values, right = np.linalg.svd(square_root(noise) @ matrix @ root, full_matrices=False)
    return np.asarray(back @ (right.T * values) @ right @ back)


def gram(kernel: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """x'K z (p, p) of all pairs of probe inputs (p, n), for a kernel (n, n)."""
    return np.asarray(probes @ kernel @ probes.T)


def gram_cosine(ours: np.ndarray, other: np.ndarray) -> float:
    """<K1, K2>/(|K1||K2|) of two Gram matrices (p, p): 1 where they are alike up to a positive number."""
    return float((ours * other).sum() / (np.linalg.norm(ours) * np.linalg.norm(other)))


def hidden_maps(weights: Sequence[np.ndarray], embedding: np.ndarray) -> list[np.ndarray]:
    """The matrices of x -> h_0, ..., h_(D-1), for W_1, ..., W_D and M_I."""
    maps = [embedding]
    for layer in weights[:-1]:
        maps.append(layer @ maps[-1])
    return maps


def hidden_grams(weights: Sequence[np.ndarray], embedding: np.ndarray, probes: np.ndarray) -> list[np.ndarray]:
    """Gram matrices (p, p) of the D - 1 hidden layers on probe inputs (p, n)."""
    return [gram(found.T @ found, probes) for found in hidden_maps(weights, embedding)[1:]]


def layer_squares(
    weights: Sequence[np.ndarray],
    embedding: np.ndarray,
    unembedding: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray,
) -> np.ndarray:
    """E|dl/dW_i|^2 of every layer (D) on the manifold, for W_1, ..., W_D, M_I and M_O."""
    befores, afters = hidden_maps(weights, embedding), _output_maps(weights, unembedding)
    squares = [_square(before, inputs) * _square(after.T, noise) for before, after in zip(befores, afters)]
    return 4.0 * np.array(squares)


def stationarity(
    weights: Sequence[np.ndarray],
    embedding: np.ndarray,
    unembedding: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray,
) -> list[np.ndarray]:
    """E|h_(i-1)|^2 A_i'Se A_i - Tr(A_(i+1)'Se A_(i+1)) E[h_i h_i'] of hidden layers i = 1, ..., D - 1, each (h, h)."""
    befores, afters = hidden_maps(weights, embedding), _output_maps(weights, unembedding)
    found = []
    for i in range(1, len(weights)):
        ours = _square(befores[i - 1], inputs) * afters[i - 1].T @ noise @ afters[i - 1]
        found.append(ours - _square(afters[i].T, noise) * befores[i] @ inputs @ befores[i].T)
    return found


def least_deep_square(
    matrix: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray,
    depth: int,
    embedding: np.ndarray | None = None,
    unembedding: np.ndarray | None = None,
) -> float:
    """The least E|g|^2 on the manifold of V (d, n): 4 D s^(2 - 2/D) [E|h_0|^2 Tr(M_O'Se M_O)]^(1/D)."""
    embedding, unembedding = _or_identity(embedding, unembedding, matrix)
    _, values, _ = np.linalg.svd(square_root(noise) @ matrix @ square_root(inputs), full_matrices=False)
    ends = _square(embedding, inputs) * _square(unembedding.T, noise)
    return float(4.0 * depth * values.sum() ** (2.0 - 2.0 / depth) * ends ** (1.0 / depth))


def least_deep_weights(
    matrix: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray,
    widths: Sequence[int],
    embedding: np.ndarray | None = None,
    unembedding: np.ndarray | None = None,
) -> list[np.ndarray]:
    """W_1, ..., W_D of least E|g|^2 on the manifold of V (d, n), for the widths of D - 1 hidden layers.

    R_i are the first unit vectors. ValueError where a width is less than the rank of V.
    """
    embedding, unembedding = _or_identity(embedding, unembedding, matrix)
    left, values, right = np.linalg.svd(square_root(noise) @ matrix @ square_root(inputs), full_matrices=False)
    rank, depth, total = int(np.linalg.matrix_rank(matrix)), len(widths) + 1, float(values.sum())
    if min(widths) < rank:
        raise ValueError(f"widths {list(widths)} cannot make a matrix of rank {rank}: take {rank} or more")
    start = _square(embedding, inputs)
    ratio = (total**2 / (start * _square(unembedding.T, noise))) ** (1.0 / depth)
    scales = [np.sqrt(start * ratio**i / total) for i in range(1, depth)]
    root = np.sqrt(values[:rank])
    into = (root[:, None] * right[:rank]) @ np.linalg.inv(square_root(inputs)) @ np.linalg.inv(embedding)
    out = np.linalg.inv(unembedding) @ np.linalg.inv(square_root(noise)) @ (left[:, :rank] * root)
    weights = [scales[0] * np.eye(widths[0], rank) @ into]
    for i in range(1, depth - 1):
        weights.append(scales[i] / scales[i - 1] * np.eye(widths[i], rank) @ np.eye(rank, widths[i - 1]))
    return [*weights, out @ np.eye(rank, widths[-1]) / scales[-1]]


def _output_maps(weights: Sequence[np.ndarray], unembedding: np.ndarray) -> list[np.ndarray]:
    """A_1, ..., A_D, with A_D = M_O."""
    maps = [unembedding]
    for layer in weights[:0:-1]:
        maps.append(maps[-1] @ layer)
    return maps[::-1]


def _square(linear: np.ndarray, second_moment: np.ndarray) -> float:
    """E|L x|^2."""
    return float(np.trace(linear @ second_moment @ linear.T))


def _or_identity(
    embedding: np.ndarray | None, unembedding: np.ndarray | None, matrix: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    outputs, inputs = matrix.shape
    return (
        np.eye(inputs) if embedding is None else embedding,
        np.eye(outputs) if unembedding is None else unembedding,
    )
