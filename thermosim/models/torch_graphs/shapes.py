"""Operations of torch that make, cut and join arrays, in JAX. Names and arguments are torch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["SHAPES"]


def _type(dtype: Any) -> Any:
    return None if dtype is None else jax.dtypes.canonicalize_dtype(dtype)


def _expand(x: Any, size: Sequence[int]) -> Any:
    new = len(size) - x.ndim
    return jnp.broadcast_to(x, [x.shape[i - new] if n == -1 else n for i, n in enumerate(size)])


def _squeeze(x: Any, dim: Any = None) -> Any:
    """Axes of length 1 among those named."""
    named = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    return jnp.squeeze(x, tuple(d for d in named if x.shape[d] == 1))


def _part(x: Any, dim: int, start: int | None, end: int | None, step: int) -> tuple[slice, ...]:
    """As Python cuts: beyond the end is the end."""
    return (slice(None),) * (dim % x.ndim) + (slice(start, end, step),)


def _slice(x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    return x[_part(x, dim, start, end, step)]


def _slice_scatter(
    x: Any, src: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    return x.at[_part(x, dim, start, end, step)].set(src)


def _select(x: Any, dim: int, index: int) -> Any:
    return x[(slice(None),) * (dim % x.ndim) + (index,)]


def _select_scatter(x: Any, src: Any, dim: int, index: int) -> Any:
    return x.at[(slice(None),) * (dim % x.ndim) + (index,)].set(src)


def _split(x: Any, sizes: int | Sequence[int], dim: int = 0) -> list[Any]:
    length = x.shape[dim]
    parts = [sizes] * -(-length // sizes) if isinstance(sizes, int) else sizes
    ends = [sum(parts[: k + 1]) for k in range(len(parts) - 1)]
    return list(jnp.split(x, ends, axis=dim))


def _index(x: Any, indices: Sequence[Any]) -> Any:
    return x[tuple(slice(None) if index is None else index for index in indices)]


def _index_put(x: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    place = x.at[tuple(slice(None) if index is None else index for index in indices)]
    return place.add(values) if accumulate else place.set(values)


def _gather(x: Any, dim: int, index: Any, sparse_grad: bool = False) -> Any:
    """The rows of `index` may be fewer than those of x."""
    cut = tuple(slice(None) if d == dim % x.ndim else slice(n) for d, n in enumerate(index.shape))
    return jnp.take_along_axis(x[cut], index, axis=dim)


def _embedding(weight: Any, index: Any, padding_idx: int = -1, *others: Any, **more: Any) -> Any:
    if padding_idx >= 0:  # that row does not learn
        weight = weight.at[padding_idx].set(jax.lax.stop_gradient(weight[padding_idx]))
    return weight[index]


def _pad(x: Any, pad: Sequence[int], value: float = 0.0) -> Any:
    """Pairs from the last axis on; negative ones cut."""
    pairs = [(0, 0, 0)] * x.ndim
    for k in range(len(pad) // 2):
        pairs[-1 - k] = (pad[2 * k], pad[2 * k + 1], 0)
    return jax.lax.pad(x, jnp.asarray(value, x.dtype), pairs)


def _roll(x: Any, shifts: Sequence[int], dims: Sequence[int] = ()) -> Any:
    return jnp.roll(x, tuple(shifts), tuple(dims)) if dims else jnp.roll(x.ravel(), shifts[0]).reshape(x.shape)


def _empty(size: Sequence[int], dtype: Any = None) -> Any:
    return jnp.zeros(size, _type(dtype))


def _diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return jnp.diagonal(x, offset, dim1, dim2)


def _same(x: Any, **more: Any) -> Any:
    return x


SHAPES: dict[str, Callable[..., Any]] = {
    "view": lambda x, size: x.reshape(size),
    "reshape": lambda x, size: x.reshape(size),
    "_unsafe_view": lambda x, size: x.reshape(size),
    "permute": lambda x, dims: jnp.transpose(x, dims),
    "expand": _expand,
    "unsqueeze": lambda x, dim: jnp.expand_dims(x, dim),
    "squeeze": _squeeze,
    "cat": lambda tensors, dim=0: jnp.concatenate(tensors, axis=dim),
    "stack": lambda tensors, dim=0: jnp.stack(tensors, axis=dim),
    "slice": _slice,
    "slice_scatter": _slice_scatter,
    "select": _select,
    "select_scatter": _select_scatter,
    "split": _split,
    "split_with_sizes": _split,
    "unbind": lambda x, dim=0: [_select(x, dim, k) for k in range(x.shape[dim])],
    "index": _index,
    "index_put": _index_put,
    "index_select": lambda x, dim, index: jnp.take(x, index, axis=dim),
    "gather": _gather,
    "embedding": _embedding,
    "constant_pad_nd": _pad,
    "flip": lambda x, dims: jnp.flip(x, dims),
    "roll": _roll,
    "repeat": lambda x, repeats: jnp.tile(x, repeats),
    "diagonal": _diagonal,
    "tril": lambda x, diagonal=0: jnp.tril(x, diagonal),
    "triu": lambda x, diagonal=0: jnp.triu(x, diagonal),
    "clone": _same,
    "alias": _same,
    "detach": _same,
    "lift_fresh_copy": _same,
    "_to_copy": lambda x, dtype=None: x if dtype is None else x.astype(_type(dtype)),
    "copy": lambda x, src: jnp.broadcast_to(src, x.shape).astype(x.dtype),
    "empty": _empty,
    "zeros": _empty,
    "ones": lambda size, dtype=None: jnp.ones(size, _type(dtype)),
    "full": lambda size, fill_value, dtype=None: jnp.full(size, fill_value, _type(dtype)),
    "full_like": lambda x, fill_value, dtype=None: jnp.full_like(x, fill_value, _type(dtype)),
    "zeros_like": lambda x, dtype=None: jnp.zeros_like(x, _type(dtype)),
    "ones_like": lambda x, dtype=None: jnp.ones_like(x, _type(dtype)),
    "arange.start_step": lambda start, end, step=1, dtype=None: jnp.arange(start, end, step, _type(dtype)),
    "scalar_tensor": lambda value, dtype=None: jnp.asarray(value, _type(dtype)),
}
