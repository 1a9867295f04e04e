"""What a formula's functions are in kernels: without a branch, the same bits on every processor, and honest at edges.

log of what is not positive has no value, exp past the largest number is infinite; sine and cosine are those of
`kernels.elementary` after the turn is taken off, with 2/pi in two parts, to about |x| 1e-32 + 2e-16.
"""

from __future__ import annotations

import math

from thermosim.kernels import elementary
from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import cos_sin_quarter, fma

__all__ = ["cosine", "exponential", "hyperbolic_tangent", "logarithm", "sine", "square_root"]

_NAN, _INFINITE = float("nan"), float("inf")
_LARGEST, _LEAST = 709.782712893384, -708.0  # of an exponent, and where exp is 0 to within 1e-307
_SMALLEST = 2.2250738585072014e-308  # normal number
_TURN, _TURN_REST = 0.6366197723675814, -3.935735335036497e-17  # 2/pi
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer


@inlined
def exponential(x: float) -> float:
    """e^x."""
    value = elementary.exp(x)
    value = value if x <= 708.0 else (value * elementary.exp(x - 708.0) if x <= _LARGEST else _INFINITE)
    return value if x == x else x


@inlined
def logarithm(x: float) -> float:
    """ln x: no number where x is negative, -inf at 0."""
    value = elementary.log(x)
    value = value if x < _INFINITE else x
    return value if x >= _SMALLEST else (-_INFINITE if x >= 0.0 else _NAN)


@inlined
def square_root(x: float) -> float:
    """The root of x: no number where x is negative."""
    value = math.sqrt(x if x > 0.0 else 0.0)
    return value if x >= 0.0 else _NAN


@inlined
def hyperbolic_tangent(x: float) -> float:
    """tanh x."""
    value = elementary.tanh(x)
    return value if x == x else x


@inlined
def cosine(x: float) -> float:
    """cos x, |x| < 1e9."""
    return _turned(x, 0.0)


@inlined
def sine(x: float) -> float:
    """sin x, |x| < 1e9: the cosine a quarter turn before."""
    return _turned(x, 1.0)


@inlined
def _turned(x: float, quarters: float) -> float:
    """cos(x - quarters pi/2)."""
    k = fma(x, _TURN, _ROUND) - _ROUND
    r = fma(x, _TURN_REST, fma(x, _TURN, -k))
    c, s = cos_sin_quarter(r)
    q = k - quarters
    q = q - 4.0 * (fma(q, 0.25, _ROUND) - _ROUND)  # -2 to 2
    odd = q == 1.0 or q == -1.0
    value = s if odd else c
    return -value if q == 1.0 or q == 2.0 or q == -2.0 else value
