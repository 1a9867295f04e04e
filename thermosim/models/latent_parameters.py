"""Parameters of models with a latent, `vae` and `gan`, and how they start: two perceptrons, a group for each layer."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thermosim.model import Parameter, Values
from thermosim.models.latent_rules import layer_shapes

__all__ = ["DEEPEST", "groups", "starts"]

DEEPEST = 3  # hidden layers of a part


def groups(parts: Sequence[str]) -> tuple[Parameter, ...]:
    """Weights into every layer of every part, such as encoder_1: (out, in + 1), biases last."""
    return tuple(_group(part, number) for part in parts for number in range(DEEPEST + 1))


def starts(parts: Sequence[str]) -> dict[str, Callable[..., np.ndarray]]:
    """The named starts: normal weights of variance gain/in, biases 0."""

    def start(gain: float, constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        theta, first = np.zeros((len(normal) - 1, normal.shape[1])), 0
        for b, row in (shape for part in parts for shape in layer_shapes(constants, part)):
            part = slice(first, first + b * row)
            drawn = normal[part].reshape(b, row, -1)[:, :-1]
            theta[part].reshape(b, row, -1)[:, :-1] = math.sqrt(gain / (row - 1)) * drawn
            first += b * row
        return theta

    def lecun(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        return start(1.0, constants, hyper, normal, uniform)

    def he(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        return start(2.0, constants, hyper, normal, uniform)

    return {"lecun": lecun, "he": he}


def _shape(part: str, number: int, constants: Values) -> tuple[int, ...]:
    shapes = layer_shapes(constants, part)
    return shapes[number] if number < len(shapes) else (0,)


def _group(part: str, number: int) -> Parameter:
    shape = functools.partial(_shape, part, number)
    meaning = f"weights into layer {number + 1} of the {part}, a row for each unit with its bias last"
    return Parameter(f"{part}_{number + 1}", meaning, shape, lambda constants: np.zeros(shape(constants)))
