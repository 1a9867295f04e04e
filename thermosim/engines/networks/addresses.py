"""Data rows by address, in JAX: the words, uniforms and rows of `kernels.noise` and `kernels.minibatch`, bit for bit.

Whole numbers, and floats made of their bits, are the same everywhere; normals, which take logarithms and cosines, are
made by our kernel on the host (`normals`).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

__all__ = ["rows_drawn", "signs_drawn"]

_ROTATIONS = (16, 42, 12, 31, 16, 32, 24, 21, 16, 42, 12, 31, 16)
_PARITY = 0x1BD11BDAA9FC1A22


def rows_drawn(seed: Any, stream: int, step: Any, replica: Any, batch: int, first_row: Any, row_count: Any) -> Any:
    """Numbers (batch,) of the rows of one replica's minibatch, among the row_count that start at first_row."""
    word = _words(seed, stream, step, replica, batch)
    uniform = lax.bitcast_convert_type((word >> jnp.uint64(12)) | jnp.uint64(0x3FF0000000000000), jnp.float64) - 1.0
    return first_row + (uniform * row_count).astype(jnp.int32)


def signs_drawn(seed: Any, stream: int, step: Any, replica: Any, count: int) -> Any:
    """Whole numbers 1 and -1, (count,), with the first bit of the words of these addresses: -1 where it is set."""
    return 1 - 2 * (_words(seed, stream, step, replica, count) >> jnp.uint64(63)).astype(jnp.int32)


def _words(seed: Any, stream: int, step: Any, replica: Any, count: int) -> Any:
    key = (jnp.asarray(step, jnp.uint64) << jnp.uint64(8)) | jnp.uint64(stream)
    return _threefry(jnp.asarray(seed, jnp.uint64), key, replica, jnp.arange(count, dtype=jnp.uint64))


def _threefry(key0: Any, key1: Any, a: Any, b: Any) -> Any:
    """The first word of Threefry-2x64 with 13 rounds, of the counter (a, b) under the key."""
    keys = (key0, key1, jnp.uint64(_PARITY) ^ key0 ^ key1)
    a, b = jnp.asarray(a, jnp.uint64) + key0, b + key1
    for number, rotation in enumerate(_ROTATIONS):
        a = a + b
        b = ((b << jnp.uint64(rotation)) | (b >> jnp.uint64(64 - rotation))) ^ a
        if number % 4 == 3:
            added = number // 4 + 1
            a, b = a + keys[added % 3], b + keys[(added + 1) % 3] + jnp.uint64(added)
    return a
