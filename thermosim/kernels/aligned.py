"""Memory laid out for vector loads."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["aligned_zeros"]

_CACHE_LINE = 64
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
