"""The ConvNet of scale-invariant learning in JAX: `models.convnet` says what it is."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from thermosim.model import Values
from thermosim.models.architectures.convolutions import convolved, max_pooled
from thermosim.models.architectures.losses import cross_entropy
from thermosim.models.architectures.normalisers import normalised
from thermosim.models.scale_invariant import head, images
from thermosim.network import Network

__all__ = ["convnet"]

Parameters = dict[str, Any]
_LAYERS = 4


def convnet(constants: Values) -> Network:
    """Group conv_k has shape (out, 3, 3, in). What is pooled has 2 x 2 pixels while there are so many, and then all."""
    weights, bias = head(constants, 8 * int(constants["width"]), biased=True)

    def hidden(parameters: Parameters, x: Any) -> list[Any]:
        maps, found = x.reshape(-1, *images(constants)), []
        for k in range(1, _LAYERS + 1):
            maps = jax.nn.relu(normalised(convolved(maps, parameters[f"conv_{k}"])))
            if k > 1 and maps.shape[1] > 1:
                maps = max_pooled(maps, 2)
            found.append(maps)
        return found

    def outputs(parameters: Parameters, x: Any) -> Any:
        last = hidden(parameters, x)[-1].max(axis=(1, 2))
        return last @ jnp.asarray(weights, last.dtype).T + jnp.asarray(bias, last.dtype)

    return Network(
        loss=lambda parameters, x, y: cross_entropy(outputs(parameters, x), y),
        outputs=outputs,
        features=lambda parameters, x: {
            f"h_{k + 1}": maps.mean(axis=(1, 2)) for k, maps in enumerate(hidden(parameters, x))
        },
        by_row=False,
    )
