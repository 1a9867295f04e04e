"""The noise of minibatch gradients at a frame, from K minibatches b that no step learns from.

    g_b the gradient of minibatch b, gbar their mean, d_b = g_b - gbar, C_ab = d_a.d_b      (K x K)
    Tr Sigma         = sum_b C_bb/(K - 1)                          Sigma the covariance of g_b, m x m
    |E g|^2          = |gbar|^2 - Tr Sigma/K
    eigenvalues      those of C/(K - 1), which are those of the sample covariance sum_b d_b d_b'/(K - 1)

The first two are without bias; the leading eigenvalues of few samples are too large. Nor is the sum of their squares
the square of Sigma, which K samples make larger by about (Tr Sigma)^2/K. Without bias, whatever the law of g_b, are the
means over all choices of four different minibatches of

    ((g_a - g_b).(g_c - g_d))^2/4 -> Tr Sigma^2        |g_a - g_b|^2 |g_c - g_d|^2/4 -> (Tr Sigma)^2

since g_a - g_b and g_c - g_d are independent, with mean 0 and covariance 2 Sigma. Written out, the first is the
unbiased HSIC of the gradients with themselves (L. Song et al., J. Mach. Learn. Res. 13, 1393 (2012), Eq. 5; J. Li and
S. X. Chen, Ann. Stat. 40, 908 (2012), Eq. 2.1). The effective dimension (Tr Sigma)^2/Tr Sigma^2 is their ratio. It is 1
exactly where all noise has one direction; where it has many, the estimate of Tr Sigma^2 spreads by about 2/K of itself,
and the ratio is too large: of isotropic noise by 4/K^2, 1.6 % at K = 16, of spectra that fall like 1/k by 16 to 20 %
there, and by half at K = 8. The ratio of their means over replicas (`network_noise`) is not: record both squares.

The minibatch of the next step makes the noise eta that moves theta,

    eta = (g_next - g_0)/sqrt(2)

g_0 being that of another minibatch at the same theta: mean 0 and covariance Sigma, at any theta, and independent from
step to step. Were the minibatches of two steps one, the correlation of this eta would be 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import lax

__all__ = ["dimension", "layer_traces", "mean_square", "projections", "spectrum", "square", "trace", "trace_square"]

Theta = Mapping[str, Any]


def trace(probe: Any, theta: Theta) -> Any:
    """Tr Sigma of what learns."""
    return jnp.trace(_products(probe, theta)) / (probe.settings["batches"] - 1)


def mean_square(probe: Any, theta: Theta) -> Any:
    """|E g|^2 of what learns."""
    deviations = _deviations(probe, theta)
    mean = sum(_square(deviations[name][0]) for name in probe.learned)
    return mean - trace(probe, theta) / probe.settings["batches"]


def layer_traces(probe: Any, theta: Theta) -> Any:
    """Tr Sigma of every group of theta."""
    deviations = _deviations(probe, theta)  # JAX hands dicts on in the order of the alphabet
    squares = [_square(deviations[name][1]) for name in probe.names]
    return jnp.stack(squares) / (probe.settings["batches"] - 1)


def spectrum(probe: Any, theta: Theta) -> Any:
    """Leading eigenvalues of the sample covariance, the largest first."""
    products, count = _products(probe, theta), probe.settings["batches"] - 1
    known = jnp.isfinite(products).all()
    values = jnp.linalg.eigvalsh(jnp.where(known, products, 0.0))[::-1] / count
    return jnp.where(known, values[: min(probe.settings["eigenvalues"], count)], jnp.nan)


def square(probe: Any, theta: Theta) -> Any:
    """Tr Sigma^2."""
    return _of_pairs(probe, theta)[0]


def trace_square(probe: Any, theta: Theta) -> Any:
    """(Tr Sigma)^2."""
    return _of_pairs(probe, theta)[1]


def dimension(probe: Any, theta: Theta) -> Any:
    """(Tr Sigma)^2/Tr Sigma^2; 0 where K minibatches show no noise."""
    below, above = _of_pairs(probe, theta)
    return jnp.where(below <= 0.0, 0.0, above / jnp.where(below <= 0.0, 1.0, below))


def projections(probe: Any, theta: Theta) -> Any:
    """eta along random directions of length 1."""
    following, other = (probe.gradient(theta, *rows) for rows in (probe.next_minibatch(), probe.minibatch(0)))
    names = probe.learned
    noise = (probe.flat(following, names) - probe.flat(other, names)) / math.sqrt(2.0)
    count = probe.settings["projections"]
    return jnp.stack([jnp.dot(probe.direction(k, names, noise.dtype), noise) for k in range(count)])


def _deviations(probe: Any, theta: Theta) -> dict[str, tuple[Any, Any]]:
    """Of every group gbar (size) and d (K, size)."""

    def make() -> dict[str, tuple[Any, Any]]:
        numbers = jnp.arange(probe.settings["batches"], dtype=jnp.uint64)
        each = lax.map(lambda number: probe.gradient(theta, *probe.minibatch(number)), numbers)
        found = {}
        for name in theta:
            gradient = each[name].reshape(len(numbers), -1)
            mean = gradient.mean(axis=0)
            found[name] = (mean, gradient - mean)
        return found

    made: dict[str, tuple[Any, Any]] = probe.once("noise: deviations", make)
    return made


def _products(probe: Any, theta: Theta) -> Any:
    """C (K, K), in float64."""

    def make() -> Any:
        deviations = _deviations(probe, theta)
        each = [deviations[name][1].astype(jnp.float64) for name in probe.learned]
        return sum(d @ d.T for d in each)

    return probe.once("noise: products", make)


def _of_pairs(probe: Any, theta: Theta) -> tuple[Any, Any]:
    """Tr Sigma^2 and (Tr Sigma)^2, means over all choices of four minibatches."""
    products, count = _products(probe, theta), probe.settings["batches"]
    own = jnp.diag(products)
    apart = own[:, None] + own[None, :] - 2.0 * products  # |g_a - g_b|^2
    others = products - jnp.diag(own)
    sums = others.sum(axis=1)
    of_square = (others**2).sum() - 2.0 * (sums**2).sum() / (count - 2)
    of_square += sums.sum() ** 2 / ((count - 1) * (count - 2))
    lines = apart.sum(axis=1)
    of_trace = lines.sum() ** 2 - 4.0 * (lines**2).sum() + 2.0 * (apart**2).sum()
    choices = count * (count - 1) * (count - 2) * (count - 3)
    return of_square / (count * (count - 3)), of_trace / (4.0 * choices)


def _square(values: Any) -> Any:
    flat = values.reshape(-1).astype(jnp.float64)
    return jnp.dot(flat, flat)
