"""Batch normalisation without gain and bias in JAX, so that the scale of what comes before it has no effect at all.

    y = (z - m)/s,   m and s^2 the mean and the variance of a channel over the rows of the minibatch and all pixels

There is no epsilon under the root, which would be felt wherever weights are short: y(c z) = y(z) to rounding, and the
gradient of any loss of y is across z. A channel that is constant to rounding, s^2 < (2^6 u)^2 (m^2 + s^2) with u the
spacing of numbers at 1, has no direction to keep: its y and its gradient are 0, a rule that knows no scale either.

Source: S. Ioffe, C. Szegedy, arXiv:1502.03167, Algorithm 1, with epsilon = 0, gamma = 1 and beta = 0.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

__all__ = ["normalised"]

_CONSTANT = 64.0  # spacings of numbers


def normalised(z: Any) -> Any:
    """y of z (..., channels)."""
    axes = tuple(range(z.ndim - 1))
    mean = z.mean(axis=axes, keepdims=True)
    centred = z - mean
    variance = (centred * centred).mean(axis=axes, keepdims=True)
    moves = variance > (_CONSTANT * float(jnp.finfo(z.dtype).eps)) ** 2 * (mean * mean + variance)
    # two choices, so that neither a value nor a gradient is ever made of 0/0
    return jnp.where(moves, centred / jnp.sqrt(jnp.where(moves, variance, 1.0)), 0.0)
