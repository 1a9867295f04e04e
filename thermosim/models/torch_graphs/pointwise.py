"""Operations of torch on every number, and sums over axes, in JAX. Names and arguments are torch's, gradients too.

Where a function has a kink the side is torch's: clamp passes the gradient at its ends, relu does not at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["POINTWISE"]


def _add(a: Any, b: Any, alpha: float = 1) -> Any:
    return a + (b if alpha == 1 else alpha * b)


def _sub(a: Any, b: Any, alpha: float = 1) -> Any:
    return a - (b if alpha == 1 else alpha * b)


def _rsub(a: Any, b: Any, alpha: float = 1) -> Any:
    return _sub(b, a, alpha)


def _div(a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return jnp.floor_divide(a, b)
    return jnp.trunc(a / b) if rounding_mode == "trunc" else a / b


def _pow(a: Any, b: Any) -> Any:
    return jnp.power(a, int(b) if isinstance(b, float) and b.is_integer() else b)


def _clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    x = x if min is None else jnp.where(x < min, min, x)
    return x if max is None else jnp.where(x > max, max, x)


def _hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    return jnp.where(x <= min_val, min_val, jnp.where(x >= max_val, max_val, x))


def _gelu(x: Any, approximate: str = "none") -> Any:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def _elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    below = jnp.where(x > 0, 0.0, x)
    return jnp.where(x > 0, scale * x, scale * alpha * jnp.expm1(input_scale * below))


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    small = jnp.where(beta * x > threshold, 0.0, x)
    return jnp.where(beta * x > threshold, x, jnp.log1p(jnp.exp(beta * small)) / beta)


def _log_sigmoid(x: Any) -> Any:
    return jax.nn.log_sigmoid(x), jnp.zeros_like(x)


def _axes(dim: int | Sequence[int] | None) -> Any:
    """None and an empty list are all axes, as in torch."""
    if dim is None or isinstance(dim, int):
        return dim
    return tuple(dim) or None


def _over(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        x = x if dtype is None else x.astype(jax.dtypes.canonicalize_dtype(dtype))
        return function(x, axis=_axes(dim), keepdims=keepdim)

    return reduced


def _var(x: Any, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Any:
    return jnp.var(x, axis=_axes(dim), ddof=1 if correction is None else int(correction), keepdims=keepdim)


def _arg(function: Callable[..., Any]) -> Callable[..., Any]:
    """The first place of the largest or the smallest."""

    def placed(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        return function(x, axis=dim, keepdims=keepdim)

    return placed


def _with_places(function: Callable[..., Any]) -> Callable[..., Any]:
    """The largest or smallest along an axis with its place: the gradient goes to that one."""

    def both(x: Any, dim: int, keepdim: bool = False) -> Any:
        places = function(x, axis=dim, keepdims=True)
        values = jnp.take_along_axis(x, places, axis=dim)
        return (values, places) if keepdim else (values.squeeze(dim), places.squeeze(dim))

    return both


def _cumsum(x: Any, dim: int, dtype: Any = None) -> Any:
    return jnp.cumsum(x, axis=dim)


def _norm(x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """(sum |x|^p)^(1/p), whose gradient at 0 is 0."""
    size, axis = jnp.abs(x), _axes(dim)
    if ord in (float("inf"), -float("inf")):
        return (jnp.max if ord > 0 else jnp.min)(size, axis=axis, keepdims=keepdim)
    total = jnp.sum(size if ord == 1 else jnp.power(size, int(ord) if ord == int(ord) else ord), axis, keepdims=keepdim)
    return jnp.where(total == 0, 0.0, jnp.where(total == 0, 1.0, total) ** (1.0 / ord))


def _softmax(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim, half_to_float=False: function(x, axis=dim)


POINTWISE: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(jnp, name)
        for name in (
            *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "abs", "sign", "floor", "ceil", "round"),
            *("trunc", "sin", "cos", "tan", "sinh", "cosh", "tanh", "isnan", "isinf", "square", "reciprocal"),
            *("maximum", "minimum", "fmod", "remainder", "where", "logical_and", "logical_or", "logical_not"),
            *("logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"),
        )
    },
    "neg": jnp.negative,
    "asin": jnp.arcsin,
    "acos": jnp.arccos,
    "atan": jnp.arctan,
    "atan2": jnp.arctan2,
    "asinh": jnp.arcsinh,
    "acosh": jnp.arccosh,
    "atanh": jnp.arctanh,
    "erf": jax.scipy.special.erf,
    "rsqrt": lambda x: 1.0 / jnp.sqrt(x),
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "leaky_relu": lambda x, negative_slope=0.01: jnp.where(x > 0, x, negative_slope * x),
    "gelu": _gelu,
    "elu": _elu,
    "softplus": _softplus,
    "log_sigmoid_forward": _log_sigmoid,
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clamp_min": lambda x, min: _clamp(x, min),
    "clamp_max": lambda x, max: _clamp(x, None, max),
    "add": _add,
    "sub": _sub,
    "rsub": _rsub,
    "mul": lambda a, b: a * b,
    "div": _div,
    "floor_divide": lambda a, b: jnp.floor_divide(a, b),
    "pow": _pow,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "sum": _over(jnp.sum),
    "mean": _over(jnp.mean),
    "prod": _over(jnp.prod),
    "amax": _over(jnp.max),
    "amin": _over(jnp.min),
    "any": _over(jnp.any),
    "all": _over(jnp.all),
    "max.default": lambda x: jnp.max(x),
    "min.default": lambda x: jnp.min(x),
    "max.dim": _with_places(jnp.argmax),
    "min.dim": _with_places(jnp.argmin),
    "argmax": _arg(jnp.argmax),
    "argmin": _arg(jnp.argmin),
    "var.correction": _var,
    "cumsum": _cumsum,
    "linalg_vector_norm": _norm,
    "_softmax": _softmax(jax.nn.softmax),
    "_log_softmax": _softmax(jax.nn.log_softmax),
}
