"""Memory laid out for vector loads."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

__all__ = ["aligned_together", "aligned_zeros"]

_CACHE_LINE = 64
_GAP = 12 * _CACHE_LINE  # between arrays of one piece: from 4 lines on the slow placings were rare, from 12 rarer
_PAGE = 4096
_stagger = 0


def aligned_zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros starting on a cache line, each array on another line of its page.

    Vectors that straddle cache lines, and rows at equal offsets in their pages (which the processor takes for the
    same address), cost up to a factor of two.
    """
    global _stagger
    _stagger = (_stagger + 3) % (_PAGE // _CACHE_LINE)
    size = math.prod(shape) * 8
    raw = np.zeros(size + _CACHE_LINE + _PAGE, np.uint8)
    start = -raw.ctypes.data % _CACHE_LINE + _stagger * _CACHE_LINE
    return raw[start : start + size].view(np.float64).reshape(shape)


def aligned_together(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Zeros of these shapes in one piece of memory, each array starting on a cache line.

    Where arrays lie anywhere, some that a loop reads together look alike to the processor (a hash of the upper bits of
    their addresses finds a line in its cache), and a run is now and then a fifth slower than the next.
    """
    sizes = {name: math.prod(shape) * 8 for name, shape in shapes.items()}
    raw = np.zeros(sum(-(-size // _CACHE_LINE) * _CACHE_LINE + _GAP for size in sizes.values()) + _CACHE_LINE, np.uint8)
    start, arrays = -raw.ctypes.data % _CACHE_LINE, {}
    for name, shape in shapes.items():
        arrays[name] = raw[start : start + sizes[name]].view(np.float64).reshape(shape)
        start += -(-sizes[name] // _CACHE_LINE) * _CACHE_LINE + _GAP
    return arrays
