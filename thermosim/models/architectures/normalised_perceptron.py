"""A perceptron whose layers are normalised, in JAX: `models.normalised_perceptron` says what it is."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from thermosim.model import Values
from thermosim.models.architectures.losses import cross_entropy
from thermosim.models.architectures.normalisers import normalised
from thermosim.models.scale_invariant import head
from thermosim.network import Network

__all__ = ["normalised_perceptron"]

Parameters = dict[str, Any]


def normalised_perceptron(constants: Values) -> Network:
    """Group layer_k has shape (out, in)."""
    depth = len(constants["widths"]) - 2
    weights, _ = head(constants, int(constants["widths"][-2]), biased=False)

    def hidden(parameters: Parameters, x: Any) -> list[Any]:
        found = []
        for k in range(1, depth + 1):
            x = jax.nn.relu(normalised(x @ parameters[f"layer_{k}"].T))
            found.append(x)
        return found

    def outputs(parameters: Parameters, x: Any) -> Any:
        last = hidden(parameters, x)[-1]
        return last @ jnp.asarray(weights, last.dtype).T

    return Network(
        loss=lambda parameters, x, y: cross_entropy(outputs(parameters, x), y),
        outputs=outputs,
        features=lambda parameters, x: {f"h_{k + 1}": h for k, h in enumerate(hidden(parameters, x))},
        by_row=False,
    )
