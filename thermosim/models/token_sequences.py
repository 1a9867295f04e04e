"""What models of sequences of tokens have in common: their rows, constants, layouts of theta, and measures.

A row of data is T + 1 tokens s_0, ..., s_T, whole numbers from 0 to V - 1, T = `context`; it has no targets:

    l = -(1/|P|) sum_(t in P) ln p(s_(t+1) | s_0, ..., s_t)        in nat per predicted token

P are all t = 0, ..., T - 1, or the last alone (`predict`), as where a row is a question and its answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from thermosim.model import Constant, Parameter, Values
from thermosim.models.architectures.measures import MEASURES
from thermosim.models.architectures.signal import SIGNAL_SHARE
from thermosim.network import Measure

__all__ = [
    "CONTEXT",
    "DEEPEST",
    "PREDICT",
    "VOCABULARY",
    "group",
    "inputs",
    "measures",
    "numbered",
    "start",
    "with_bias",
]

DEEPEST = 8  # layers
VOCABULARY = Constant("vocabulary", 64, "number of different tokens, V", minimum=2, maximum=65536, integer=True)
CONTEXT = Constant("context", 32, "tokens that a prediction may go by, T; rows have one more", minimum=1, integer=True)
PREDICT = Constant("predict", "all", "which tokens the loss is of, all or the last", choices=("all", "last"))

Shapes = Mapping[str, tuple[int, ...]]


def inputs(constants: Values) -> int:
    """Tokens of a row."""
    return int(constants["context"]) + 1


def numbered(layer: Callable[[int, Values], Shapes], constants: Values) -> dict[str, tuple[int, ...]]:
    """Shapes of the groups name_k of layers k = 1, 2, ..., up to those that this network has."""
    return {
        f"{name}_{k}": shape
        for k in range(1, int(constants["layers"]) + 1)
        for name, shape in layer(k, constants).items()
    }


def group(name: str, meaning: str, shapes: Callable[[Values], Shapes]) -> Parameter:
    """A group of theta that is empty where the network has no such layer."""

    def shape(constants: Values) -> tuple[int, ...]:
        return shapes(constants).get(name, (0,))

    return Parameter(name, meaning, shape, lambda constants: np.zeros(shape(constants)))


def start(shapes: Shapes, deviation: Callable[[str], Any], mean: Callable[[str], Any], normal: np.ndarray) -> Any:
    """theta (m, R) = mean + deviation xi of every group, from normals of m rows or more; biases stand in last columns.

    What deviation and mean give of a group goes with its shape.
    """
    parts, first = [], 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        drawn = normal[first : first + size].reshape(*shape, -1)
        parts.append(mean(name) + np.asarray(deviation(name))[..., None] * drawn)
        first += size
    return np.concatenate([part.reshape(-1, normal.shape[1]) for part in parts])


def measures(hidden: Callable[[Values], Callable[..., Any]]) -> tuple[Measure, ...]:
    """Those of every network, the share of signal in gradients, and how often the likeliest token is the next one.

    hidden(constants)(theta, tokens) -> the layers of the network.
    """

    def accuracy(probe: Any, theta: Mapping[str, Any]) -> Any:
        from thermosim.models.architectures.next_token import logits, share_right  # JAX comes with it

        constants = probe.block.model_constants
        layers = hidden(constants)
        return probe.over_rows(lambda x, y: share_right(logits(layers, theta, x), x, constants["predict"]))

    words = "share of predicted tokens that are the likeliest, of all data"
    return (*MEASURES, SIGNAL_SHARE, Measure("token_accuracy", "1", words, "P(argmax f = s_(t+1))", accuracy))


def with_bias(out: int, into: int, deviation: float) -> np.ndarray:
    """Deviations (out, into + 1) of a matrix whose biases, in its last column, are 0 at the start."""
    return np.concatenate([np.full((out, into), deviation), np.zeros((out, 1))], axis=1)
