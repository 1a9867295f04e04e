"""Activations of units: s(z) and its slope s'(z), of one number.

    relu        max(z, 0)
    gelu        z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))/2
    sigmoid     1/(1 + exp(-z))
    softplus    ln(1 + exp(z))

Your own is `activation("swish", swish)` with a function that gives both, compiled as it stands:

    def swish(z):
        p = 1.0 / (1.0 + exp(-z))               # exp of thermosim.kernels.elementary
        return z * p, p * (1.0 + z * (1.0 - p))

Sources: D. Hendrycks, K. Gimpel, arXiv:1606.08415, sec. 2, for gelu in the form with tanh; C. Dugas et al., NIPS 13
(2001), Eq. 4, for softplus.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import exp, fma, log
from thermosim.kernels.elementary import tanh as _tanh

__all__ = ["Activation", "activation", "gelu", "linear", "relu", "sigmoid", "softplus", "tanh"]

_ROOT_TWO_OVER_PI = 0.7978845608028654
_CUBIC = 0.044715


@dataclass(frozen=True)
class Activation:
    """A function of every unit, as a layer of a network."""

    name: str
    function: Callable[[float], tuple[float, float]]  # s and its slope, compiled
    in_numpy: Callable[[np.ndarray], np.ndarray] | None = None  # s of arrays; None: number by number

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """s of every number."""
        if self.in_numpy is not None:
            return self.in_numpy(z)
        return np.vectorize(lambda one: self.function(one)[0], otypes=[float])(z)


def activation(name: str, function: Callable[[float], tuple[float, float]]) -> Activation:
    """An activation of your own, by a function of one number that gives its value and its slope.

    Raises ValueError for anything but a name and a function.
    """
    if not isinstance(name, str) or not name or not hasattr(function, "__code__"):
        raise ValueError(
            f"activation({name!r}, {function!r}): expected a name and a function of z that returns (s, slope)"
        )
    return Activation(name, inlined(function))


@inlined
def _linear(z):  # type: ignore[no-untyped-def]
    return z, 1.0


@inlined
def _relu(z):  # type: ignore[no-untyped-def]
    """NaN stays what it is."""
    return (0.0, 0.0) if z <= 0.0 else (z, 1.0)


@inlined
def _of_tanh(z):  # type: ignore[no-untyped-def]
    t = _tanh(z)
    return t, fma(-t, t, 1.0)


@inlined
def _gelu(z):  # type: ignore[no-untyped-def]
    square = z * z
    t = _tanh(_ROOT_TWO_OVER_PI * z * fma(_CUBIC, square, 1.0))
    half = 0.5 * (1.0 + t)
    inner = _ROOT_TWO_OVER_PI * fma(3.0 * _CUBIC, square, 1.0)
    return z * half, fma(0.5 * z * fma(-t, t, 1.0), inner, half)


@inlined
def _sigmoid(z):  # type: ignore[no-untyped-def]
    p = 1.0 / (1.0 + exp(-z))
    return p, p * (1.0 - p)


@inlined
def _softplus(z):  # type: ignore[no-untyped-def]
    """exp is taken of numbers that are not positive, so that none overflows."""
    small = exp(-abs(z))
    above = 1.0 + small
    return max(z, 0.0) + log(above), (1.0 if z > 0.0 else small) / above


def _gelu_in_numpy(z: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * z * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (z + _CUBIC * z**3))))


linear = Activation("linear", _linear, np.asarray)
relu = Activation("relu", _relu, lambda z: np.maximum(z, 0.0))
tanh = Activation("tanh", _of_tanh, np.tanh)
gelu = Activation("gelu", _gelu, _gelu_in_numpy)
sigmoid = Activation("sigmoid", _sigmoid, lambda z: 0.5 * (1.0 + np.tanh(0.5 * z)))
softplus = Activation("softplus", _softplus, lambda z: np.logaddexp(0.0, z))
