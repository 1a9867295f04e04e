"""The causal Transformer in JAX: the network of `models.transformer`, formula by formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from thermosim.model import Values
from thermosim.models.architectures.next_token import language_model, linear, one_hot
from thermosim.models.architectures.perceptron import gelu
from thermosim.network import Network

__all__ = ["hidden_of", "transformer"]

Parameters = Mapping[str, Any]
_SMALL = 1e-5  # beside the variance of a norm


def _norm(w: Any, x: Any) -> Any:
    """g (x - mean)/sqrt(variance + 1e-5) + b over units, w = (g, b)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return w[0] * (centred / jnp.sqrt(variance + _SMALL)) + w[1]


def _attention(w: Any, x: Any, heads: int) -> Any:
    """Every place looks at itself and at those before it; w (4, D, D + 1) of queries, keys, values and what is said."""
    batch, places, units = x.shape
    each = units // heads

    def split(which: int) -> Any:
        return linear(w[which], x).reshape(batch, places, heads, each).swapaxes(1, 2)  # (B, heads, T, each)

    scores = split(0) @ split(1).swapaxes(2, 3) / math.sqrt(each)
    place = jnp.arange(places)
    scores = jnp.where(place[:, None] >= place[None, :], scores, -jnp.inf)
    mixed = jax.nn.softmax(scores, axis=-1) @ split(2)
    return linear(w[3], mixed.swapaxes(1, 2).reshape(batch, places, units))


def hidden_of(constants: Values) -> Any:
    """hidden(parameters, tokens (B, T)) -> [(B, T, D)]: the stream after every block, the last one normalised."""
    layers, vocabulary, heads = (int(constants[name]) for name in ("layers", "vocabulary", "heads"))

    def hidden(parameters: Parameters, tokens: Any) -> list[Any]:
        embedding, found = parameters["embedding"], []
        x = one_hot(tokens, vocabulary, embedding.dtype) @ embedding + parameters["positions"][: tokens.shape[1]]
        for k in range(1, layers + 1):
            norms = parameters[f"norms_{k}"]
            x = x + _attention(parameters[f"attention_{k}"], _norm(norms[0], x), heads)
            wide = gelu(linear(parameters[f"expand_{k}"], _norm(norms[1], x)))
            x = x + linear(parameters[f"contract_{k}"], wide)
            found.append(x)
        return [*found[:-1], _norm(parameters["norm"], x)]

    return hidden


def transformer(constants: Values) -> Network:
    """See `models.transformer`."""
    return language_model(hidden_of(constants), constants)
