"""Gaussian transitions one after another, each by the integral over what lies between: maps for `exact.scan`.

The last axis of all arrays counts maps; n components.

    moves           x' = A x + b + noise of covariance C                                    (A, b, C)
    booked moves    the same, and sums f_r(x) = z'Psi_r z of what moves book on average     (A, b, C, Psi), z = (x, 1)
    weighted moves  exp(c + eta.x - x'J x/2) N(x'; A x + b, C)                              (A, b, C, eta, J, c)
    kernels         (2 pi)^{-n/2} exp(-z'F z/2), any F, noise or not                        (F,), z = (x, x', 1)

The weight of a weighted move is a function of the state before it; noise may be singular, or none. A kernel holds any
quadratic form of both states. Integrals are nan where the form is not positive definite.

Source: S. Sarkka, A. F. Garcia-Fernandez, IEEE Trans. Autom. Control 66, 299 (2021), Lemma 8, for weighted moves.
"""

from __future__ import annotations

import numpy as np

from thermosim.exact.scan import Maps

__all__ = ["booked_moves", "kernels", "log_integral", "moves", "product", "quadratic", "trace", "weighted_moves"]


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b of matrices (n, m, S) and matrices or vectors (m, ..., S)."""
    return np.einsum("ij...,jk...->ik...", a, b) if a.ndim == b.ndim else np.einsum("ij...,j...->i...", a, b)


def trace(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """tr(a b), (S)."""
    return np.einsum("ij...,ji...->...", a, b)


def quadratic(a: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x'a y, (S)."""
    return np.einsum("i...,i...->...", x, product(a, y))


def moves(first: Maps, second: Maps) -> Maps:
    """The move that does both."""
    (a1, b1, c1), (a2, b2, c2) = first, second
    return product(a2, a1), product(a2, b1) + b2, product(product(a2, c1), a2.swapaxes(0, 1)) + c2


def booked_moves(first: Maps, second: Maps) -> Maps:
    """Both, with the books of the second averaged over the noise of the first."""
    (a, b, c, own), later = first, second[3]
    n = len(a)
    last = np.zeros((1, n + 1, *a.shape[2:]))
    last[0, n] = 1.0
    whole = np.concatenate([np.concatenate([a, b[:, None]], axis=1), last])
    books = np.einsum("ki...,rkl...,lj...->rij...", whole, later, whole, optimize=True) + own
    books[:, n, n] += np.einsum("rij...,ji...->r...", later[:, :n, :n], c)
    return (*moves(first[:3], second[:3]), books)


def weighted_moves(first: Maps, second: Maps) -> Maps:
    """Both, the weight of the second averaged over the noise of the first; its logarithm is nan where that diverges."""
    (a1, b1, c1, eta1, j1, log1), (a2, b2, c2, eta2, j2, log2) = first, second
    root = _root(c1)
    inner = product(product(root.swapaxes(0, 1), j2), root)
    inner = inner + np.eye(len(root)).reshape(inner.shape[:2] + (1,) * (inner.ndim - 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        lower = _root(inner, definite=True)
        half = _solved(lower, root.swapaxes(0, 1))
    tilted = product(half.swapaxes(0, 1), half)  # (C^{-1} + J)^{-1}
    slope = eta2 - product(j2, b1)
    turned = a1 - product(tilted, product(j2, a1))
    mean = b1 + product(tilted, slope)
    volume = np.sum([np.log(lower[i, i]) for i in range(len(lower))], axis=0)
    log = log1 + log2 - volume + 0.5 * quadratic(tilted, slope, slope)
    log = log + np.einsum("i...,i...->...", b1, eta2) - 0.5 * quadratic(j2, b1, b1)
    return (
        product(a2, turned),
        product(a2, mean) + b2,
        product(product(a2, tilted), a2.swapaxes(0, 1)) + c2,
        eta1 + product(turned.swapaxes(0, 1), slope),
        j1 + product(a1.swapaxes(0, 1), product(j2, turned)),
        log,
    )


def kernels(first: Maps, second: Maps) -> Maps:
    """The integral over the state between two kernels."""
    (f1,), (f2,) = first, second
    n = len(f1) // 2
    whole = np.zeros((3 * n + 1, 3 * n + 1, *np.broadcast_shapes(f1.shape[2:], f2.shape[2:])))
    # between, before, after, 1
    one, two = [*range(n, 2 * n), *range(n), 3 * n], [*range(n), *range(2 * n, 3 * n + 1)]
    whole[np.ix_(one, one)] += f1
    whole[np.ix_(two, two)] += f2
    return (_integrated(whole, n),)


def log_integral(form: np.ndarray) -> np.ndarray:
    """ln of the integral of exp(-z'F z/2)/(2 pi)^{n/2} over x, z = (x, 1), F (n + 1, n + 1, S); nan where infinite."""
    return np.asarray(-0.5 * _integrated(form, len(form) - 1)[0, 0])


def _integrated(form: np.ndarray, count: int) -> np.ndarray:
    """The form that is left of exp(-z'F z/2) when the first components are integrated out, over sqrt(2 pi) each."""
    volume = np.zeros(form.shape[2:])
    for _ in range(count):
        pivot = np.where(form[0, 0] > 0.0, form[0, 0], np.nan)
        volume += np.log(pivot)
        form = form[1:, 1:] - form[1:, :1] * (form[:1, 1:] / pivot)
    form[-1, -1] += volume
    return form


def _root(square: np.ndarray, definite: bool = False) -> np.ndarray:
    """Lower triangular L with L L' = a covariance, which may be singular; nan where a `definite` one is not."""
    root = np.zeros_like(square)
    for j in range(len(square)):
        rest = square[j:, j] - np.einsum("ik...,k...->i...", root[j:, :j], root[j, :j])
        if definite:
            root[j:, j] = rest / np.sqrt(np.where(rest[0] > 0.0, rest[0], np.nan))
        else:
            pivot = np.sqrt(np.maximum(rest[0], 0.0))
            root[j:, j] = np.where(pivot > 0.0, rest / np.where(pivot > 0.0, pivot, 1.0), 0.0)
    return root


def _solved(lower: np.ndarray, right: np.ndarray) -> np.ndarray:
    """L^{-1} of a matrix."""
    result = np.zeros(np.broadcast_shapes(lower.shape, right.shape))
    for i in range(len(lower)):
        known = np.einsum("k...,kj...->j...", lower[i, :i], result[:i])
        result[i] = (right[i] - known) / lower[i, i]
    return result
