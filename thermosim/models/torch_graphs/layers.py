"""Layers of torch in JAX: products, normalisers, convolutions and pools. Names and arguments are torch's.

Convolutions are products of patches with weights: over replicas with weights of their own these are fast, and
convolutions are not. Images are (B, C, *places), one place axis or more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["LAYERS"]


def _addmm(b: Any, x: Any, w: Any, beta: float = 1, alpha: float = 1) -> Any:
    product = x @ w
    return (b if beta == 1 else beta * b) + (product if alpha == 1 else alpha * product)


def _standard(x: Any, axes: tuple[int, ...], eps: float) -> tuple[Any, Any, Any]:
    """(x - mean)/sqrt(variance + eps) over axes, the mean, and what it was divided by, inverted."""
    mean = jnp.mean(x, axis=axes, keepdims=True)
    inverse = 1.0 / jnp.sqrt(jnp.mean((x - mean) ** 2, axis=axes, keepdims=True) + eps)
    return (x - mean) * inverse, mean, inverse


def _scaled(x: Any, weight: Any, bias: Any) -> Any:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _layer_norm(x: Any, normalized_shape: Sequence[int], weight: Any, bias: Any, eps: float) -> Any:
    out, mean, inverse = _standard(x, tuple(range(x.ndim - len(normalized_shape), x.ndim)), eps)
    return _scaled(out, weight, bias), mean, inverse


def _by_channel(x: Any, vector: Any) -> Any:
    """A number for every channel, as x (B, C, *places) takes it."""
    return None if vector is None else vector.reshape(1, -1, *(1,) * (x.ndim - 2))


def _group_norm(x: Any, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float) -> Any:
    out, mean, inverse = _standard(x.reshape(N, group, -1), (2,), eps)
    scaled = _scaled(out.reshape(x.shape), _by_channel(x, weight), _by_channel(x, bias))
    return scaled, mean.reshape(N, group), inverse.reshape(N, group)


def _batch_norm(x: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float) -> Any:
    out, mean, inverse = _standard(x, (0, *range(2, x.ndim)), eps)
    return _scaled(out, _by_channel(x, weight), _by_channel(x, bias)), mean.ravel(), inverse.ravel()


def _fixed_batch_norm(x: Any, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float) -> Any:
    out = (x - _by_channel(x, mean)) / jnp.sqrt(_by_channel(x, var) + eps)
    return _scaled(out, _by_channel(x, weight), _by_channel(x, bias)), jnp.zeros(0), jnp.zeros(0)


def _each(value: Any, count: int, default: Any = None) -> list[int]:
    """A number for every axis of places: torch gives one for all, or an empty list for a default."""
    given = [value] if isinstance(value, int) else list(value) or list(default)
    return given * count if len(given) == 1 else given


def _shifted(x: Any, size: list[int], stride: list[int], dilation: list[int]) -> Iterator[Any]:
    """x (B, C, *places) as every place of a window sees it, (B, C, *windows), the last axis of the window fastest."""
    windows = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], size, stride, dilation)]
    for shift in itertools.product(*map(range, size)):
        parts = [slice(d * i, d * i + s * (n - 1) + 1, s) for i, n, s, d in zip(shift, windows, stride, dilation)]
        yield x[(slice(None), slice(None), *parts)]


def _padded(x: Any, pairs: Sequence[tuple[int, int]], value: float = 0.0, between: Sequence[int] | None = None) -> Any:
    """Edges of a value around the places, and so many between them."""
    inner = between or [0] * len(pairs)
    edges = [(0, 0, 0), (0, 0, 0), *((low, high, gap) for (low, high), gap in zip(pairs, inner))]
    return jax.lax.pad(x, jnp.asarray(value, x.dtype), edges)


def _convolution(
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Any:
    """y_(b o p) = sum_(a i) w_(o a i) x_(b a, s p + d i - edge); transposed, the transpose of that map."""
    size, count = list(weight.shape[2:]), weight.ndim - 2
    stride, edge, dilation = _each(stride, count), _each(padding, count), _each(dilation, count)
    if transposed:
        beyond = _each(output_padding, count)
        reach = [d * (k - 1) - e for d, k, e in zip(dilation, size, edge)]
        x = _padded(x, [(r, r + more) for r, more in zip(reach, beyond)], between=[s - 1 for s in stride])
        # of a group (in, out, *size): turned round, outputs first
        turned = jnp.flip(weight, tuple(range(2, weight.ndim))).reshape(groups, -1, *weight.shape[1:])
        weight = jnp.swapaxes(turned, 1, 2).reshape(-1, weight.shape[0] // groups, *size)
        stride = [1] * count
    else:
        x = _padded(x, [(e, e) for e in edge])
    patches = jnp.stack(list(_shifted(x, size, stride, dilation)), axis=-1)  # (B, C, *windows, places of the window)
    windows = patches.shape[2:-1]
    inputs, outputs = x.shape[1] // groups, weight.shape[0] // groups
    patches = patches.reshape(x.shape[0], groups, inputs, math.prod(windows), -1)
    kernels = weight.reshape(groups, outputs, inputs, -1)
    found = jnp.einsum("bgapk,goak->bgop", patches, kernels).reshape(x.shape[0], weight.shape[0], *windows)
    return found if bias is None else found + _by_channel(found, bias)


def _max_pool(
    x: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The largest of every window, the first of equal ones; and no places, which nothing here uses."""
    if ceil_mode:
        raise NotImplementedError("max_pool2d with ceil_mode=True is not translated; pad the images, or leave it out.")
    count = 2
    size, edge = _each(kernel_size, count), _each(padding, count)
    steps, dilation = _each(stride, count, size), _each(dilation, count)
    flat = x.reshape(-1, 1, *x.shape[-count:])
    parts = _shifted(_padded(flat, [(e, e) for e in edge], -jnp.inf), size, steps, dilation)
    largest = next(parts)
    for part in parts:
        largest = jnp.where(part > largest, part, largest)
    return largest.reshape(*x.shape[:-count], *largest.shape[2:]), None


def _average_pool(count: int) -> Callable[..., Any]:
    def pooled(
        x: Any,
        kernel_size: Any,
        stride: Any = (),
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Any:
        size, edge = _each(kernel_size, count), _each(padding, count)
        if ceil_mode or (any(edge) and not count_include_pad):
            raise NotImplementedError(
                "average pools with ceil_mode=True or count_include_pad=False are not translated; pad the images."
            )
        flat = _padded(x.reshape(-1, 1, *x.shape[-count:]), [(e, e) for e in edge])
        total = sum(_shifted(flat, size, _each(stride, count, size), [1] * count))
        mean = total / (divisor_override or math.prod(size))
        return mean.reshape(*x.shape[:-count], *mean.shape[2:])

    return pooled


def _adaptive_average_pool(x: Any, output_size: Sequence[int]) -> Any:
    if any(n % m for n, m in zip(x.shape[-2:], output_size)):
        raise NotImplementedError(
            f"an adaptive pool of {tuple(x.shape[-2:])} to {tuple(output_size)} has windows of several sizes, which is "
            "not translated; let the sizes divide."
        )
    (h, w), (i, j) = x.shape[-2:], output_size
    return x.reshape(*x.shape[:-2], i, h // i, j, w // j).mean(axis=(-3, -1))


LAYERS: dict[str, Callable[..., Any]] = {
    "mm": lambda a, b: a @ b,
    "bmm": lambda a, b: a @ b,
    "mv": lambda a, b: a @ b,
    "dot": lambda a, b: a @ b,
    "addmm": _addmm,
    "baddbmm": _addmm,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "_native_batch_norm_legit.no_stats": _batch_norm,
    "_native_batch_norm_legit_no_training": _fixed_batch_norm,
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool1d": _average_pool(1),
    "avg_pool2d": _average_pool(2),
    "_adaptive_avg_pool2d": _adaptive_average_pool,
}
