"""The ResNet-18 of scale-invariant learning in JAX: `models.resnet18` says what it is."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from thermosim.model import Values
from thermosim.models.architectures.convolutions import convolved
from thermosim.models.architectures.losses import cross_entropy
from thermosim.models.architectures.normalisers import normalised
from thermosim.models.scale_invariant import head, images
from thermosim.network import Network

__all__ = ["resnet"]

Parameters = dict[str, Any]


def resnet(constants: Values, stages: int, blocks: int) -> Network:
    """Groups stem, stage_s_block_b_conv_1 and _conv_2, and _shortcut of the blocks that change the width."""
    weights, _ = head(constants, 2 ** (stages - 1) * int(constants["width"]), biased=False)

    def hidden(parameters: Parameters, x: Any) -> list[Any]:
        stream, found = convolved(x.reshape(-1, *images(constants)), parameters["stem"]), []
        for stage in range(1, stages + 1):
            for number in range(1, blocks + 1):
                block = f"stage_{stage}_block_{number}"
                stride = 2 if stage > 1 and number == 1 else 1
                stream = _block(parameters, block, stream, stride)
            found.append(stream)
        return found

    def outputs(parameters: Parameters, x: Any) -> Any:
        last = jax.nn.relu(normalised(hidden(parameters, x)[-1])).mean(axis=(1, 2))
        return last @ jnp.asarray(weights, last.dtype).T

    return Network(
        loss=lambda parameters, x, y: cross_entropy(outputs(parameters, x), y),
        outputs=outputs,
        features=lambda parameters, x: {
            f"stage_{k + 1}": jax.nn.relu(normalised(maps)).mean(axis=(1, 2))
            for k, maps in enumerate(hidden(parameters, x))
        },
        by_row=False,
    )


def _block(parameters: Parameters, block: str, stream: Any, stride: int) -> Any:
    """The stream after a block: what it was, or the shortcut of its normalised form, and what the block adds."""
    inner = jax.nn.relu(normalised(stream))
    shortcut = parameters.get(f"{block}_shortcut")
    kept = stream if shortcut is None else convolved(inner, shortcut, stride)
    inner = jax.nn.relu(normalised(convolved(inner, parameters[f"{block}_conv_1"], stride)))
    return kept + convolved(inner, parameters[f"{block}_conv_2"])
