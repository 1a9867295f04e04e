"""Parts of a network in JAX, each a perceptron of its own: groups PART_1, PART_2, ... with the biases last in a row."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from thermosim.model import Values
from thermosim.models.latent_rules import layer_shapes

__all__ = ["through"]

_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def through(part: str, parameters: dict[str, Any], constants: Values, h: Any) -> Any:
    """The last layer (..., units) of a part, its units linear."""
    depth = len(layer_shapes(constants, part))
    for number in range(1, depth + 1):
        w = parameters[f"{part}_{number}"]
        h = h @ w[:, :-1].T + w[:, -1]
        h = _ACTIVATIONS[constants["activation"]](h) if number < depth else h
    return h
