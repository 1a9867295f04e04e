"""Branch-free elementary functions that vectorise over lanes: log, exp, cos and sin.

numba's current wheels carry no vector mathematics library, so a call to `math.log` in a loop over lanes runs one
lane at a time. These are polynomials in fused multiply-adds, accurate to about one unit in the last place and
identical, bit for bit, in scalar and in vector code. `fma`, `bits_of` and `float_of` are single instructions there
(`intrinsics.py`). Coefficients: interpolation at Chebyshev nodes of the reduced interval, computed with 50 digits;
`tests/test_elementary.py` holds the accuracy.
"""

from __future__ import annotations

import ctypes

import numpy as np

from thermosim.kernels.declare import inlined, instruction

__all__ = ["bits_of", "cos_sin_quarter", "exp", "float_of", "fma", "log", "tanh"]

_EXPONENT_SHIFT = np.uint64(52)
_MANTISSA = np.uint64(0x000FFFFFFFFFFFFF)
_ONE = np.uint64(0x3FF0000000000000)
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, left in the low bits
_ROUND_BITS = np.uint64(0x4338000000000000)
_INTEGER = np.uint64(0x4330000000000000)  # 2^52 as bits: or-ing a small integer into it converts to float
_SQRT_HALF_BITS = np.uint64(0x3FE6A09E667F3BCD)
_LN2_HIGH = 0.6931471805599452862
_LN2_LOW = 2.3190468138462995584e-17


_fma_of_c = ctypes.CDLL(None).fma  # of IEEE 754; `math.fma` raises errors where this has an infinity or a NaN
_fma_of_c.restype, _fma_of_c.argtypes = ctypes.c_double, [ctypes.c_double] * 3


@instruction
def fma(a: float, b: float, c: float) -> np.float64:
    """a b + c, rounded once."""
    return np.float64(_fma_of_c(a, b, c))


@instruction
def bits_of(x: float) -> np.uint64:
    """The 64 bits of x."""
    return np.float64(x).view(np.uint64)


@instruction
def float_of(bits: np.uint64) -> float:
    """The number with these 64 bits."""
    return np.uint64(bits).view(np.float64)


@inlined
def log(x: float) -> float:
    """Natural logarithm of a positive normal number; ln x = e ln 2 + 2 atanh((m - 1)/(m + 1)), x = 2^e m."""
    # subtracting sqrt(1/2) first makes the exponent field count from m in [sqrt(1/2), sqrt(2))
    offset = bits_of(x) - _SQRT_HALF_BITS + _ONE
    biased = offset >> _EXPONENT_SHIFT
    exponent = float_of(biased | _INTEGER) - 4503599627371519.0
    m = float_of((offset & _MANTISSA) + _SQRT_HALF_BITS)
    f = m - 1.0
    s = f / (m + 1.0)
    t = s * s
    p = fma(t, 0.07308224842521703, 0.07665860800278021)
    p = fma(t, p, 0.09091444562630861)
    p = fma(t, p, 0.1111110556739754)
    p = fma(t, p, 0.14285714312987743)
    p = fma(t, p, 0.19999999999949752)
    p = fma(t, p, 0.3333333333333335)
    # ln m = f - s f + 2 s^3 p  keeps the leading term exact
    tail = fma(2.0 * s * t, p, fma(exponent, _LN2_LOW, -s * f))
    return fma(exponent, _LN2_HIGH, f + tail)


@inlined
def exp(x: float) -> float:
    """e^x for |x| < 708; smaller arguments give 0 to within 1e-307, larger ones must not be passed."""
    x = max(min(x, 708.0), -708.0)
    shifted = fma(x, 1.4426950408889634, _ROUND)
    k = shifted - _ROUND
    r = fma(-k, _LN2_LOW, fma(-k, _LN2_HIGH, x))
    p = fma(r, 2.5100375832561234e-08, 2.7620075879983367e-07)
    p = fma(r, p, 2.7557268480310024e-06)
    p = fma(r, p, 2.4801521322368692e-05)
    p = fma(r, p, 0.00019841269863040545)
    p = fma(r, p, 0.0013888888917196719)
    p = fma(r, p, 0.008333333333330065)
    p = fma(r, p, 0.041666666666624164)
    p = fma(r, p, 0.16666666666666669)
    p = fma(r, p, 0.5)
    power = float_of((bits_of(shifted) << _EXPONENT_SHIFT) + _ONE)
    return power * (1.0 + fma(r * r, p, r))


@inlined
def tanh(x: float) -> float:
    """Hyperbolic tangent of any x, to about 2e-16 absolutely."""
    return 1.0 - 2.0 / (1.0 + exp(2.0 * x))


@inlined
def cos_sin_quarter(r: float) -> tuple[float, float]:
    """(cos, sin) of r quarter turns, |r| <= 1/2."""
    t = r * r
    s = fma(t, 5.633933781537854e-08, -3.59864335298231e-06)
    s = fma(t, s, 0.0001604411507421909)
    s = fma(t, s, -0.004681754132340976)
    s = fma(t, s, 0.07969262624604301)
    s = fma(t, s, -0.6459640975062443)
    s = r * fma(t, s, 1.5707963267948966)
    c = fma(t, 4.6552961874867623e-07, -2.520013526428479e-05)
    c = fma(t, c, 0.000919259950041661)
    c = fma(t, c, -0.02086348073494657)
    c = fma(t, c, 0.25366950789986475)
    c = fma(t, c, -1.2337005501361513)
    c = fma(t, c, 1.0)
    return c, s
