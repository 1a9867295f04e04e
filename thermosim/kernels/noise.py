"""Addressable random numbers: every number has an address (seed, stream, replica, step, index), and no state.

Threefry-2x64 with 13 rounds (J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11) enciphers
the counter (replica, index) under the key (seed, 256 step + stream). One block gives two 64-bit words: two
uniforms, or by Box-Muller two normals. The two normals of a block belong to the same replica and index at two
consecutive moves (2b, 2b + 1), so nothing is wasted in any dimension.

Streams are numbered in `streams.py`; an address is never re-used.
"""

from __future__ import annotations

import math

import numpy as np

from thermosim.kernels import types
from thermosim.kernels.compile import compiled
from thermosim.kernels.declare import inlined, two_vectors
from thermosim.kernels.elementary import bits_of, cos_sin_quarter, float_of, log

__all__ = [
    "fill_normal_pair",
    "fill_uniform",
    "normal_array",
    "threefry",
    "uniform_array",
    "unit_interval",
]

_PARITY = np.uint64(0x1BD11BDAA9FC1A22)
_WORD = np.uint64(64)
_MANTISSA_SHIFT = np.uint64(12)
_SIGN_SHIFT = np.uint64(63)
_SWAP = np.uint64(2)
_ONE = np.uint64(0x3FF0000000000000)


@inlined
def _mix(a: np.uint64, b: np.uint64, rotation: np.uint64) -> tuple[np.uint64, np.uint64]:
    a = a + b
    b = ((b << rotation) | (b >> (_WORD - rotation))) ^ a
    return a, b


@inlined
def threefry(key0: np.uint64, key1: np.uint64, a: np.uint64, b: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Two random words of the counter (a, b) under the key (key0, key1): Threefry-2x64-13."""
    key2 = _PARITY ^ key0 ^ key1
    a, b = a + key0, b + key1
    a, b = _mix(a, b, np.uint64(16))
    a, b = _mix(a, b, np.uint64(42))
    a, b = _mix(a, b, np.uint64(12))
    a, b = _mix(a, b, np.uint64(31))
    a, b = a + key1, b + key2 + np.uint64(1)
    a, b = _mix(a, b, np.uint64(16))
    a, b = _mix(a, b, np.uint64(32))
    a, b = _mix(a, b, np.uint64(24))
    a, b = _mix(a, b, np.uint64(21))
    a, b = a + key2, b + key0 + np.uint64(2)
    a, b = _mix(a, b, np.uint64(16))
    a, b = _mix(a, b, np.uint64(42))
    a, b = _mix(a, b, np.uint64(12))
    a, b = _mix(a, b, np.uint64(31))
    a, b = a + key0, b + key1 + np.uint64(3)
    a, b = _mix(a, b, np.uint64(16))
    return a, b


@inlined
def _key(stream: int, step: int) -> np.uint64:
    return (np.uint64(step) << np.uint64(8)) | np.uint64(stream)


@two_vectors
@inlined
def fill_normal_pair(seed, stream, block, first_replica, first_index, even, odd):  # type: ignore[no-untyped-def]
    """Standard normals of moves 2 block (`even`) and 2 block + 1 (`odd`), both (n, L), by Box-Muller.

    Lane l belongs to replica first_replica + l, row i to index first_index + i.
    """
    key0, key1 = np.uint64(seed), _key(stream, block)
    for i in range(even.shape[0]):
        index = np.uint64(first_index + i)
        row_even, row_odd = even[i], odd[i]
        for lane in range(even.shape[1]):
            a, b = threefry(key0, key1, np.uint64(first_replica + lane), index)
            uniform = 2.0 - float_of((a >> _MANTISSA_SHIFT) | _ONE)  # in (0, 1]
            # the angle: within an eighth of a turn of an axis by 52 bits, which of the four half axes by the two lowest
            cosine, sine = cos_sin_quarter(float_of((b >> _MANTISSA_SHIFT) | _ONE) - 1.5)
            cosine = float_of(bits_of(cosine) ^ (b << _SIGN_SHIFT))
            swapped = (b & _SWAP) != np.uint64(0)
            radius = math.sqrt(-2.0 * log(uniform))
            row_even[lane] = radius * (sine if swapped else cosine)
            row_odd[lane] = radius * (cosine if swapped else sine)


@inlined
def unit_interval(seed, stream, step, replica, index):  # type: ignore[no-untyped-def]
    """A uniform in [0, 1)."""
    a, _ = threefry(np.uint64(seed), _key(stream, step), np.uint64(replica), np.uint64(index))
    return float_of((a >> _MANTISSA_SHIFT) | _ONE) - 1.0


@inlined
def fill_uniform(seed, stream, step, first_replica, first_index, out):  # type: ignore[no-untyped-def]
    """Uniforms in (0, 1], out (n, L), addressed as in `fill_normal_pair` (one block each)."""
    key0, key1 = np.uint64(seed), _key(stream, step)
    for i in range(out.shape[0]):
        index = np.uint64(first_index + i)
        row = out[i]
        for lane in range(out.shape[1]):
            a, _ = threefry(key0, key1, np.uint64(first_replica + lane), index)
            row[lane] = 2.0 - float_of((a >> _MANTISSA_SHIFT) | _ONE)


def normal_array(seed: int, stream: int, block: int, first_replica: int, shape: tuple[int, int]) -> np.ndarray:
    """Standard normals (n, R) of the even move of `block`, for replicas first_replica, first_replica + 1, ..."""
    even, odd = np.empty(shape), np.empty(shape)
    signature = types.void(*[types.int64] * 5, types.float64[:, ::1], types.float64[:, ::1])
    compiled(fill_normal_pair, signature)(seed, stream, block, first_replica, 0, even, odd)
    return even


def uniform_array(seed: int, stream: int, step: int, first_replica: int, shape: tuple[int, int]) -> np.ndarray:
    """Uniforms in (0, 1], (n, R), for replicas first_replica, first_replica + 1, ..."""
    out = np.empty(shape)
    compiled(fill_uniform, types.void(*[types.int64] * 5, types.float64[:, ::1]))(
        seed, stream, step, first_replica, 0, out
    )
    return out
