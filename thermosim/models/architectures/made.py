"""The masked autoencoder in JAX: the network of `models.made`, formula by formula."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from thermosim.model import Values
from thermosim.models.autoregressive_masks import masks
from thermosim.network import Network

__all__ = ["logits", "made", "sampled"]

Parameters = dict[str, Any]
_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def _layers(parameters: Parameters, constants: Values, x: Any) -> list[Any]:
    """h_1, ..., h_L and the logits a, each (B, units)."""
    activation, found = _ACTIVATIONS[constants["activation"]], []
    there = masks(int(constants["dimension"]), [int(units) for units in constants["hidden"]])
    for number, mask in enumerate(there, start=1):
        given = parameters[f"weights_{number}"]
        w = jnp.zeros(mask.shape, given.dtype).at[np.nonzero(mask)].set(given, unique_indices=True)
        z = x @ w.T + parameters[f"biases_{number}"]
        x = activation(z) if number < len(there) else z
        found.append(x)
    return found


def logits(parameters: Parameters, constants: Values, x: Any) -> Any:
    """a (B, n) of inputs (B, n)."""
    return _layers(parameters, constants, x)[-1]


def made(constants: Values) -> Network:
    """See `models.made`."""

    def log_probability(parameters: Parameters, x: Any) -> Any:
        a = logits(parameters, constants, x)
        return jnp.sum(x * a - jax.nn.softplus(a), axis=-1)

    return Network(
        loss=lambda parameters, x, y: -jnp.mean(log_probability(parameters, x)),
        features=lambda parameters, x: {f"h_{k + 1}": h for k, h in enumerate(_layers(parameters, constants, x)[:-1])},
        log_probability=log_probability,
    )


def sampled(parameters: Parameters, constants: Values, uniform: Any) -> Any:
    """x (K, n), component after component: x_d = 1 where uniform_d <= p(x_d = 1 | those before)."""

    def draw(place: Any, x: Any) -> Any:
        a = lax.dynamic_index_in_dim(logits(parameters, constants, x), place, axis=1, keepdims=False)
        here = lax.dynamic_index_in_dim(uniform, place, axis=1, keepdims=False) <= jax.nn.sigmoid(a)
        return lax.dynamic_update_index_in_dim(x, here.astype(x.dtype), place, axis=1)

    return lax.fori_loop(0, uniform.shape[1], draw, jnp.zeros_like(uniform))
