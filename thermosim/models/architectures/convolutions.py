"""Convolutions of images (B, H, W, a) in JAX, as products of matrices: patches (B, H', W', k k a) with weights.

A convolution over replicas with weights of their own is slow wherever it is a convolution; as a product it is not.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

__all__ = ["convolved", "max_pooled"]


def convolved(x: Any, w: Any, stride: int = 1) -> Any:
    """y (B, H', W', b) of images x (B, H, W, a) and weights w (b, k, k, a), k odd; H' = H/stride, rounded up.

    y_(p q b) = sum_(i j a) w_(b i j a) x_(s p + i - k // 2, s q + j - k // 2, a), zeros around the image.
    """
    size, (height, width) = w.shape[1], x.shape[1:3]
    if size == 1:
        patches = x[:, ::stride, ::stride]
    else:
        edge = (size // 2, size // 2)
        wide = jnp.pad(x, ((0, 0), edge, edge, (0, 0)))
        shifts = [(i, j) for i in range(size) for j in range(size)]
        parts = [wide[:, i : i + height : stride, j : j + width : stride] for i, j in shifts]
        patches = jnp.concatenate(parts, axis=-1)
    return patches @ w.reshape(w.shape[0], -1).T


def max_pooled(x: Any, size: int) -> Any:
    """The largest of every square of so many pixels; a rest at the far edges is left out."""
    rows, height, width, channels = x.shape
    down, across = height // size, width // size
    squares = x[:, : down * size, : across * size].reshape(rows, down, size, across, size, channels)
    return squares.max(axis=(2, 4))
