"""The language model of gated recurrent units in JAX: the network of `models.gru`, formula by formula."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from thermosim.model import Values
from thermosim.models.architectures.next_token import language_model, linear, one_hot
from thermosim.network import Network

__all__ = ["gru", "hidden_of"]

Parameters = Mapping[str, Any]


def hidden_of(constants: Values) -> Any:
    """hidden(parameters, tokens (B, T)) -> states (B, T, h) of every layer, from states that start at 0."""
    layers, h, vocabulary = (int(constants[name]) for name in ("layers", "width", "vocabulary"))

    def hidden(parameters: Parameters, tokens: Any) -> list[Any]:
        embedding, found = parameters["embedding"], []
        x = one_hot(tokens, vocabulary, embedding.dtype) @ embedding  # (B, T, h)
        for k in range(1, layers + 1):
            of_state = parameters[f"recurrent_{k}"]
            from_inputs = linear(parameters[f"inputs_{k}"], x).swapaxes(0, 1)  # (T, B, 3 h)

            def step(state: Any, given: Any, w: Any = of_state) -> tuple[Any, Any]:
                own = linear(w, state)
                reset = jax.nn.sigmoid(given[:, :h] + own[:, :h])
                keep = jax.nn.sigmoid(given[:, h : 2 * h] + own[:, h : 2 * h])
                new = jnp.tanh(given[:, 2 * h :] + reset * own[:, 2 * h :])
                state = (1.0 - keep) * new + keep * state
                return state, state

            _, states = lax.scan(step, jnp.zeros((x.shape[0], h), x.dtype), from_inputs)
            x = states.swapaxes(0, 1)
            found.append(x)
        return found

    return hidden


def gru(constants: Values) -> Network:
    """See `models.gru`."""
    return language_model(hidden_of(constants), constants)
