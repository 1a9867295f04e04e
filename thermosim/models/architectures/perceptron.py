"""The multilayer perceptron in JAX: the network of `models.multilayer_perceptron`, formula by formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from thermosim.model import Values
from thermosim.models.architectures.losses import cross_entropy, squared_error
from thermosim.network import Network

__all__ = ["gelu", "perceptron"]

Parameters = dict[str, Any]


def gelu(z: Any) -> Any:
    """z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))/2."""
    return 0.5 * z * (1.0 + jnp.tanh(math.sqrt(2.0 / math.pi) * (z + 0.044715 * z * z * z)))


_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda z: z,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": gelu,
}


def perceptron(constants: Values) -> Network:
    """Group layer_k has shape (out, in), or (out, in + 1) with the biases in its last column."""
    activation = _ACTIVATIONS[constants["activation"]]
    biased, depth = constants["bias"] == "yes", len(constants["widths"]) - 1
    loss_of = squared_error if constants["loss"] == "squared" else cross_entropy

    def layers(parameters: Parameters, x: Any) -> list[Any]:
        found = []
        for k in range(1, depth + 1):
            w = parameters[f"layer_{k}"]
            z = x @ w[:, :-1].T + w[:, -1] if biased else x @ w.T
            x = activation(z) if k < depth else z
            found.append(x)
        return found

    return Network(
        loss=lambda parameters, x, y: loss_of(layers(parameters, x)[-1], y),
        outputs=lambda parameters, x: layers(parameters, x)[-1],
        features=lambda parameters, x: {f"layer_{k + 1}": h for k, h in enumerate(layers(parameters, x)[:-1])},
    )
