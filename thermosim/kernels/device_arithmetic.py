"""Arithmetic that a graphics card would do otherwise than a processor: what stands in for it, and what is refused.

Additions, products, quotients and roots are rounded alike everywhere. Functions such as math.exp are not: each system
has a library of its own, and NVIDIA's (libdevice) gives other last bits. Of a remainder of floats a card makes
a - b trunc(a/b), where a processor's is exact. What calls them is seen in the code that is handed to NVIDIA's compiler.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["OF_NUMPY", "refused"]

# of NVIDIA's library: exact, or rounded to nearest
_ALIKE = frozenset(
    "abs ceil copysign fabs floor fma fmod frexp isfinited isinfd isnand ldexp llabs llrint llround modf nextafter "
    "remainder rint round sqrt trunc".split()
)
_OTHER_NAMES = {"tgamma": "gamma"}  # in `math`

# numba knows functions of numpy for processors only
OF_NUMPY: Mapping[Any, Any] = {np.absolute: abs, np.sqrt: math.sqrt, np.fabs: math.fabs, np.isnan: math.isnan} | {
    getattr(np, name): getattr(math, name) for name in ("exp", "log", "tanh", "sin", "cos", "isinf", "isfinite")
}

_FUNCTION = re.compile(r"^define ([^\n]*)\n(.*?)^}", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r'\bcall [^@\n]*@"?__nv_(\w+)')
_REMAINDER = re.compile(r"= frem \w")


def refused(code: str | Iterable[str]) -> str:
    """Why code that is compiled for a card, as text of LLVM, would give other bits there; empty where it would not."""
    called: dict[str, None] = {}
    for header, body in _FUNCTION.findall(code if isinstance(code, str) else "\n".join(code)):
        if "int_power" not in header:  # whose products are those of a processor
            called |= dict.fromkeys(name for name in _CALL.findall(body) if name not in _ALIKE)
        if _REMAINDER.search(body):
            called["%"] = None
    found = [_said(name) for name in called]
    if not found:
        return ""
    return (
        f"a card gives other last bits for {' and '.join(found)}; exp, log, tanh and cos_sin_quarter of "
        "thermosim.kernels.elementary are the same everywhere. Use those, or --device cpu."
    )


def _said(name: str) -> str:
    if name == "%":
        return "a % b and a // b of floats (math.fmod is the same)"
    if name == "pow":
        return "powers whose exponent is no integer"
    return f"math.{_OTHER_NAMES.get(name, name)}"
