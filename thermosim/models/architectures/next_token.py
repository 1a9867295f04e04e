"""Losses of sequences of tokens in JAX, of logits f(s_0, ..., s_t) of the next token at every place.

    l = -(1/|P|) sum_(t in P) ln softmax(f_t)_(s_(t+1)),   ln p(s_P | s_0, ...) = sum_(t in P) ln softmax(f_t)_(s_(t+1))

Tokens are chosen by products with rows of 0 and 1, whose sums and derivatives are made in the same order everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from thermosim.model import Values
from thermosim.network import Network

__all__ = ["language_model", "linear", "logits", "one_hot", "share_right"]

Parameters = Mapping[str, Any]
Hidden = Callable[[Parameters, Any], list[Any]]  # of tokens (B, T): (B, T, units) of every layer


def linear(w: Any, x: Any) -> Any:
    """W x + b of rows x (..., in), with w (out, in + 1), the biases last."""
    return x @ w[:, :-1].T + w[:, -1]


def one_hot(tokens: Any, size: int, dtype: Any) -> Any:
    """(..., size) of 0 and 1, of tokens that may be stored as real numbers."""
    return (tokens[..., None].astype(jnp.int32) == jnp.arange(size, dtype=jnp.int32)).astype(dtype)


def _surprisals(f: Any, x: Any, predict: str) -> Any:
    """-ln p of what is predicted, (B, |P|), from f (B, T, V) of rows x (B, T + 1)."""
    first = -1 if predict == "last" else 0
    f, following = f[:, first:], x[:, 1:][:, first:]
    chosen = jnp.sum(f * one_hot(following, f.shape[-1], f.dtype), axis=-1)
    return jax.nn.logsumexp(f, axis=-1) - chosen


def logits(hidden: Hidden, parameters: Parameters, x: Any) -> Any:
    """f (B, T, V) of rows x (B, T + 1), whose last token is not read: linear in the last layer, by `readout`."""
    return linear(parameters["readout"], hidden(parameters, x[:, :-1])[-1])


def share_right(f: Any, x: Any, predict: str) -> Any:
    """How often the likeliest token is the one that follows."""
    first = -1 if predict == "last" else 0
    right = f[:, first:].argmax(axis=-1) == x[:, 1:][:, first:].astype(jnp.int32)
    return right.mean(dtype=jnp.float32)


def language_model(hidden: Hidden, constants: Values) -> Network:
    """The network whose last hidden layer is read out. Features are those after the last token read."""

    def surprisals(parameters: Parameters, x: Any) -> Any:
        return _surprisals(logits(hidden, parameters, x), x, constants["predict"])

    return Network(
        loss=lambda parameters, x, y: jnp.mean(surprisals(parameters, x)),
        features=lambda parameters, x: {
            f"h_{k}": h[:, -1] for k, h in enumerate(hidden(parameters, x[:, :-1]), start=1)
        },
        log_probability=lambda parameters, x: -jnp.sum(surprisals(parameters, x), axis=1),
    )
