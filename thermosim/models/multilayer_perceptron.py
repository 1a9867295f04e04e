"""A multilayer perceptron that learns from inputs x and targets y; its loss is one of a data row, without samples.

    h_0 = x,   z_k = W_k h_(k-1) + b_k,   h_k = s(z_k) for k < D,   f = z_D
    squared         l = |f - y|^2                                                   (no factor 1/2)
    cross-entropy   l = -ln p_y,   p = softmax(f), in nat; y is a class 0, 1, ... in one column

The activation s is linear, relu, tanh, or gelu in its form with tanh, z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))/2.
Group layer_k of theta has shape (out, in), or (out, in + 1) with biases: row j is (w_j1, ..., w_jn, b_j).

Named starts draw weights from a normal law of variance 2/in (he) or 1/in (lecun), biases are zero.

Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), for the squared loss; K. He et al., arXiv:1502.01852,
Eq. 10, and Y. LeCun et al., "Efficient BackProp" (1998), Eq. 16, for the starts; the rest as in `networks`.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from thermosim.model import Constant, Model, Parameter, Values
from thermosim.models.network_books import incoming, layer_gradient_square, outgoing
from thermosim.models.networks import activations as of_units
from thermosim.models.networks.compose import Composition, composition, parameter_gradient
from thermosim.models.networks.layers import Dense, Stack
from thermosim.models.networks.losses import cross_entropy, squared_error

_DEEPEST = 8
_ACTIVATIONS = {one.name: one for one in (of_units.linear, of_units.relu, of_units.tanh, of_units.gelu)}
_LOSSES = {"squared": squared_error, "cross-entropy": cross_entropy}


@functools.cache
def _composed(widths: tuple[int, ...], activation: str, loss: str, bias: bool) -> Composition:
    """Dense layers with the activation between them: one that is linear is none."""
    hidden = () if activation == of_units.linear.name else (_ACTIVATIONS[activation],)
    layers = [part for width in widths[1:-1] for part in (Dense(width, bias), *hidden)]
    stack = Stack.of([*layers, Dense(widths[-1], bias)], widths[0], "multilayer-perceptron")
    return composition(stack, _LOSSES[loss])


def _network(constants: Values) -> Composition:
    widths = tuple(int(width) for width in constants["widths"])
    return _composed(widths, constants["activation"], constants["loss"], constants["bias"] == "yes")


def layer_shapes(constants: Values) -> list[tuple[int, int]]:
    """(out, in + bias) of every layer."""
    widths, bias = [int(width) for width in constants["widths"]], int(constants["bias"] == "yes")
    return [(b, a + bias) for a, b in itertools.pairwise(widths)]


def layers(theta: np.ndarray, constants: Values) -> list[np.ndarray]:
    """The matrices (..., out, in + bias) of theta (..., m), the bias of a unit last in its row."""
    return _network(constants).matrices(theta)


def _activations(theta: np.ndarray, x: np.ndarray, constants: Values) -> list[np.ndarray]:
    return _network(constants).stack.activations(layers(theta, constants), x)


def _he(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return _network(constants).start(2.0, normal)


def _lecun(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return _network(constants).start(1.0, normal)


def _layer_shape(number: int, constants: Values) -> tuple[int, ...]:
    shapes = layer_shapes(constants)
    return shapes[number] if number < len(shapes) else (0,)


def _layer(number: int) -> Parameter:
    shape = functools.partial(_layer_shape, number)
    meaning = f"weights into layer {number + 1}, a row for each unit with its bias last; none beyond the depth"
    return Parameter(f"layer_{number + 1}", meaning, shape, lambda c: np.zeros(shape(c)))


def _classes(constants: Values) -> int:
    return int(constants["widths"][-1]) if constants["loss"] == "cross-entropy" else 0


def _validate(constants: Values, settings: Any) -> list[str]:
    widths = constants["widths"]
    if not 2 <= len(widths) <= _DEEPEST + 1:
        return [f"model.widths = {widths!r}: expected inputs, hidden layers if any, and outputs; {_DEEPEST} layers."]
    if constants["loss"] == "cross-entropy" and widths[-1] < 2:
        return [f"model.widths = {widths!r}: cross-entropy needs an output for each class, two at least."]
    return []


MODEL = Model(
    name="multilayer-perceptron",
    summary="neural network of any depth and widths that learns targets from inputs",
    source="L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025)",
    constants=(
        Constant("activation", "relu", "activation s of hidden units", choices=tuple(_ACTIVATIONS)),
        Constant("loss", "squared", "loss of a row, |f - y|^2 or -ln softmax(f)_y", choices=tuple(_LOSSES)),
        Constant("bias", "no", "whether units have a bias", choices=("no", "yes")),
        Constant(
            "widths",
            [1, 4, 1],
            f"numbers of inputs, of units in each hidden layer, and of outputs; at most {_DEEPEST} layers",
            minimum=1,
            integer=True,
            shape=lambda constants: (None,),
        ),
    ),
    inputs=lambda constants: int(constants["widths"][0]),
    targets=lambda constants: 1 if _classes(constants) else int(constants["widths"][-1]),
    classes=_classes,
    parameters=tuple(_layer(number) for number in range(_DEEPEST)),
    scratch_rows=lambda constants: _network(constants).scratch_rows,
    bound=lambda constants: _network(constants).bound,
    parameter_gradient=parameter_gradient,
    layers=layers,
    activations=_activations,
    initial_theta={"he": _he, "lecun": _lecun},
    validate=_validate,
    functionals=(layer_gradient_square, incoming, outgoing),
)
