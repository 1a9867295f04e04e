"""The curvature of the loss at a frame: leading eigenvalues of its Hessian H, and that along minibatch gradients.

From a start v_1 of random signs, the same for all replicas and frames, n = measure.iterations products with H make

    v_(k+1) = H v_k made orthogonal to v_1, ..., v_k, twice, over its length         (C. Lanczos, 1950)

and Ritz values and vectors lambda, u of H on the span of v_1, ..., v_n, with full reorthogonalisation and the whole
matrix v_i'H v_j in place of the tridiagonal one, so that rounding makes no eigenvalue twice. Where the span is closed
under H, another random start goes on: with n = m it is all of theta, and every eigenvalue is exact. The k-th largest
Ritz value is at most the k-th largest eigenvalue, and |H u - lambda u|, which is told with it, is a bound: H has an
eigenvalue no further from lambda than that (B. N. Parlett, The Symmetric Eigenvalue Problem (1998), Sec. 4.5 and 13).

    batch sharpness = mean over K minibatches of g_b'H_b g_b/|g_b|^2

g_b and H_b both of minibatch b (A. Andreyev, P. Beneventano, arXiv:2412.20553): the curvature along the step, which
settles at 2/r for SGD where the largest eigenvalue does so for gradient descent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import lax

from thermosim.network import NotMeasured

__all__ = ["batch_sharpness", "sharpness", "sharpness_residual", "spectrum", "spectrum_residual"]

Theta = Mapping[str, Any]
_CLOSED = 100.0  # roundings of H v, below which nothing new is left of it


def sharpness(probe: Any, theta: Theta) -> Any:
    """The largest Ritz value."""
    return _ritz(probe, theta)[0][0]


def sharpness_residual(probe: Any, theta: Theta) -> Any:
    """|H u - lambda u| of the largest."""
    return _ritz(probe, theta)[1][0]


def spectrum(probe: Any, theta: Theta) -> Any:
    """The largest Ritz values, in falling order."""
    return _ritz(probe, theta)[0][: _kept(probe, theta)]


def spectrum_residual(probe: Any, theta: Theta) -> Any:
    """|H u - lambda u| of each."""
    return _ritz(probe, theta)[1][: _kept(probe, theta)]


def batch_sharpness(probe: Any, theta: Theta) -> Any:
    """The mean over minibatches that have a gradient; over all rows where theta learns from all."""
    if probe.block.batch == 0:
        gradient = _of_all(probe, lambda x, y: probe.gradient(theta, x, y))
        along, square = _along(probe, gradient, _of_all(probe, lambda x, y: probe.curvature(theta, x, y, gradient)))
        return along / jnp.where(square > 0.0, square, 1.0)

    def of_batch(number: Any) -> tuple[Any, Any]:
        x, y = probe.minibatch(number)
        gradient = _learned(probe, probe.gradient(theta, x, y))
        along, square = _along(probe, gradient, probe.curvature(theta, x, y, gradient))
        return jnp.where(square == 0.0, 0.0, along / jnp.where(square == 0.0, 1.0, square)), square != 0.0

    each, counted = lax.map(of_batch, jnp.arange(probe.settings["batches"], dtype=jnp.uint64))
    return each.sum() / jnp.maximum(counted.sum(), 1)


def _kept(probe: Any, theta: Theta) -> int:
    kept, numbers = min(probe.settings["eigenvalues"], probe.settings["iterations"]), _length(probe, theta)
    if kept > numbers:
        raise NotMeasured(f"measure.eigenvalues = {kept}: {numbers} numbers of theta learn; ask for as many at most.")
    return int(kept)


def _ritz(probe: Any, theta: Theta) -> tuple[Any, Any]:
    """Ritz values in falling order (n,), and their residuals."""
    made: tuple[Any, Any] = probe.once("curvature: ritz", lambda: _make_ritz(probe, theta))
    return made


def _make_ritz(probe: Any, theta: Theta) -> tuple[Any, Any]:
    names, count = probe.learned, min(probe.settings["iterations"], _length(probe, theta))
    rows, dtype = probe.settings["rows"], theta[names[0]].dtype

    def product(vector: Any) -> Any:
        direction = probe.groups(vector, names)
        total = probe.over_rows(lambda x, y: probe.curvature(theta, x, y, direction), count=rows)
        return probe.flat(total, names).astype(dtype)

    def start(number: Any) -> Any:
        return probe.direction(number, names, dtype)

    basis, products = _krylov(product, start, count, _length(probe, theta), dtype)
    matrix = (basis @ products.T).astype(jnp.float64)
    matrix = 0.5 * (matrix + matrix.T)
    known = jnp.isfinite(matrix).all()
    values, vectors = jnp.linalg.eigh(jnp.where(known, matrix, 0.0))
    values, vectors = values[::-1], vectors[:, ::-1].T.astype(dtype)
    left = vectors @ products - values[:, None].astype(dtype) * (vectors @ basis)
    residuals = jnp.sqrt((left.astype(jnp.float64) ** 2).sum(axis=1))
    return jnp.where(known, values, jnp.nan), jnp.where(known, residuals, jnp.nan)


def _krylov(
    product: Callable[[Any], Any], start: Callable[[Any], Any], count: int, length: int, dtype: Any
) -> tuple[Any, Any]:
    """An orthonormal basis (n, m), and H times each of its vectors."""

    def apart(vector: Any, basis: Any) -> Any:
        for _ in range(2):
            vector = vector - basis.T @ (basis @ vector)
        return vector

    def turn(number: Any, kept: tuple[Any, Any]) -> tuple[Any, Any]:
        basis, products = kept
        made = product(basis[number])
        rest, other = apart(made, basis), apart(start(number + 1), basis)
        closed = jnp.linalg.norm(rest) <= _CLOSED * jnp.finfo(dtype).eps * jnp.linalg.norm(made)
        following = jnp.where(closed, other, rest)
        following = following / jnp.linalg.norm(following)
        return basis.at[number + 1].set(following, mode="drop"), products.at[number].set(made)

    empty = jnp.zeros((count, length), dtype)
    basis, products = lax.fori_loop(0, count, turn, (empty.at[0].set(start(0)), empty))
    return basis, products


def _along(probe: Any, gradient: Theta, turned: Theta) -> tuple[Any, Any]:
    """g'H g and |g|^2 of what learns."""
    g, h = probe.flat(gradient, probe.learned), probe.flat(turned, probe.learned)
    return jnp.dot(g, h).astype(jnp.float64), jnp.dot(g, g).astype(jnp.float64)


def _of_all(probe: Any, function: Callable[[Any, Any], Theta]) -> dict[str, Any]:
    """A gradient of all rows, 0 in what does not learn."""
    return _learned(probe, probe.over_rows(function))


def _learned(probe: Any, groups: Theta) -> dict[str, Any]:
    found: dict[str, Any] = {name: values if name in probe.learned else 0.0 * values for name, values in groups.items()}
    return found


def _length(probe: Any, theta: Theta) -> int:
    return int(sum(theta[name].size for name in probe.learned))
