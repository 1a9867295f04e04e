"""A multilayer perceptron that learns from inputs x and targets y; its loss is one of a data row, without samples.

    h_0 = x,   z_k = W_k h_(k-1) + b_k,   h_k = s(z_k) for k < D,   f = z_D
    squared         l = |f - y|^2                                                   (no factor 1/2)
    cross-entropy   l = -ln p_y,   p = softmax(f), in nat; y is a class 0, 1, ... in one column

The activation s is linear, relu, tanh, or gelu in its form with tanh, z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))/2.
Group layer_k of theta has shape (out, in), or (out, in + 1) with biases: row j is (w_j1, ..., w_jn, b_j).

Named starts draw weights from a normal law of variance 2/in (he) or 1/in (lecun), biases are zero.

Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), for the squared loss; K. He et al., arXiv:1502.01852,
Eq. 10, and Y. LeCun et al., "Efficient BackProp" (1998), Eq. 16, for the starts; the rest as in `network_layers`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from thermosim.kernels.dense import FEWEST
from thermosim.model import Constant, Model, Parameter, Values
from thermosim.models.architectures.measures import MEASURES
from thermosim.models.network_books import BOOKS, Matrix, books, layer_rotation, update_square
from thermosim.models.network_layers import (
    GELU,
    RELU,
    activate,
    backward,
    cross_entropy,
    first_backward,
    forward,
    squared_error,
    through,
)
from thermosim.models.network_rows import layers_of_rows
from thermosim.models.network_symmetries import rescalings
from thermosim.models.networks import activations as of_units
from thermosim.models.networks.layers import Dense, Stack
from thermosim.network import Network, Perceptron

# bound when a function is compiled: rows of constants, and where the widths start among the array constants
ACTIVATION, LOSS, BIAS = 0, 1, 2
WIDTHS = 0
_INFINITE = float("inf")
_DEEPEST = 8
_ACTIVATIONS = ("linear", "relu", "tanh", "gelu")
_UNITS = (of_units.linear, of_units.relu, of_units.tanh, of_units.gelu)
_LOSSES = ("squared", "cross-entropy")


def parameter_gradient(  # type: ignore[no-untyped-def]
    row, theta, constants, shared, factor, loss, gradient, scratch
):
    """Add factor l and factor dl/dtheta. The widths are the last of the array constants, so their number is known."""
    depth, biases = shared.shape[0] - WIDTHS - 1, np.int64(constants[BIAS, 0])
    kind, inputs, units = np.int64(constants[ACTIVATION, 0]), np.int64(shared[WIDTHS]), 0
    for k in range(depth):
        units += np.int64(shared[WIDTHS + 1 + k])
    h, d, slopes = scratch[:units], scratch[units : 2 * units], scratch[2 * units + 3 :]
    zero, top, total = scratch[2 * units], scratch[2 * units + 1], scratch[2 * units + 2]
    for lane in range(row.shape[1]):
        zero[lane] = 0.0
    floor = 0.0 if kind == RELU else -_INFINITE
    first, place, before, a = 0, 0, row[:inputs], inputs
    for k in range(1, depth + 1):
        b = np.int64(shared[WIDTHS + k])
        size, here = b * (a + biases), h[place : place + b]
        forward(theta[first : first + size], before, here, zero, floor if k < depth else -_INFINITE)
        if k < depth:
            activate(kind, here, slopes[place : place + b])
            place += b
        first, before, a = first + size, here, b
    f, targets = h[place:], row[inputs:]
    if constants[LOSS, 0] == 0.0:
        squared_error(f, targets, factor, loss, d[place:])
    else:
        cross_entropy(f, targets[0], factor, loss, d[place:], top, total)
    for k in range(depth, 1, -1):
        a, b = np.int64(shared[WIDTHS + k - 1]), np.int64(shared[WIDTHS + k])
        size, here = b * (a + biases), slice(place - a, place)
        first -= size
        w, g = theta[first : first + size], gradient[first : first + size]
        backward(w, h[here], d[place : place + b], g, d[here], zero, floor)
        through(kind, h[here], slopes[here], d[here])
        place -= a
    first_backward(row[:inputs], d[: np.int64(shared[WIDTHS + 1])], gradient[:first])


def gradient_of_rows(rows: int) -> Callable[..., None]:
    """The same for so many rows at a time: h, d and slopes hold the units of one row after those of another."""
    of_rows = layers_of_rows(rows)
    forward, backward, of_weights = of_rows.forward, of_rows.backward, of_rows.of_weights

    def gradient_of_rows(row, theta, constants, shared, factor, loss, gradient, scratch):  # type: ignore[no-untyped-def]
        depth, n = shared.shape[0] - WIDTHS - 1, row.shape[0] // rows
        kind, inputs, units = np.int64(constants[ACTIVATION, 0]), np.int64(shared[WIDTHS]), 0
        for k in range(depth):
            units += np.int64(shared[WIDTHS + 1 + k])
        size, biases = rows * units, np.int64(constants[BIAS, 0])
        h, d, slopes = scratch[:size], scratch[size : 2 * size], scratch[2 * size + 3 :]
        zero, top, total = scratch[2 * size : 2 * size + 1], scratch[2 * size + 1], scratch[2 * size + 2]
        for lane in range(row.shape[1]):
            zero[0, lane] = 0.0
        floor = 0.0 if kind == RELU else -_INFINITE
        first, place, before, apart, a = 0, 0, row, n, inputs
        for k in range(1, depth + 1):
            b, here = np.int64(shared[WIDTHS + k]), h[place:]
            size, low = b * (a + biases), floor if k < depth else -_INFINITE
            forward(theta[first : first + size], before, apart, here, units, a, b, zero, low)
            for one in range(rows if k < depth else 0):
                begin = one * units + place
                activate(kind, h[begin : begin + b], slopes[begin : begin + b])
            place += b if k < depth else 0
            first, before, apart, a = first + size, here, units, b
        for one in range(rows):
            begin, targets = one * units + place, row[one * n + inputs : (one + 1) * n]
            f, of_f = h[begin : begin + a], d[begin : begin + a]
            if constants[LOSS, 0] == 0.0:
                squared_error(f, targets, factor, loss, of_f)
            else:
                cross_entropy(f, targets[0], factor, loss, of_f, top, total)
        for k in range(depth, 0, -1):
            a, b = np.int64(shared[WIDTHS + k - 1]), np.int64(shared[WIDTHS + k])
            size, below = b * (a + biases), place - a
            first -= size
            x, apart = (h[below:], units) if k > 1 else (row, n)
            of_weights(x, apart, d[place:], units, gradient[first : first + size], a, b)
            if k > 1:
                backward(theta[first : first + size], x, apart, d[place:], units, d[below:], a, b, zero, floor)
                for one in range(rows):
                    here = slice(one * units + below, one * units + place)
                    through(kind, h[here], slopes[here], d[here])
            place = below

    return gradient_of_rows


@functools.cache
def _books(shapes: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    return books([Matrix(shape, hidden=k + 1 < len(shapes)) for k, shape in enumerate(shapes)]).bound


def layer_shapes(constants: Values) -> list[tuple[int, int]]:
    """(out, in + bias) of every layer."""
    widths, bias = [int(width) for width in constants["widths"]], int(constants.get("bias") == "yes")
    return [(b, a + bias) for a, b in itertools.pairwise(widths)]


def layers(theta: np.ndarray, constants: Values) -> list[np.ndarray]:
    """The matrices (..., out, in + bias) of theta (..., m), the bias of a unit last in its row."""
    found, first = [], 0
    for shape in layer_shapes(constants):
        found.append(theta[..., first : first + math.prod(shape)].reshape(*theta.shape[:-1], *shape))
        first += math.prod(shape)
    return found


def activations(theta: np.ndarray, constants: Values, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """h_1, ..., h_(D-1), each (..., P, units), of theta (..., m) at inputs (P, n)."""
    return _stack(constants).hidden(layers(theta, constants), inputs)


def outputs(theta: np.ndarray, constants: Values, inputs: np.ndarray) -> np.ndarray:
    """f (..., P, k) of theta (..., m) at inputs (P, n)."""
    return _stack(constants).activations(layers(theta, constants), inputs)[-1]


def _stack(constants: Values) -> Stack:
    """The same network as a composition."""
    of_hidden = next(one for one in _UNITS if one.name == constants["activation"])
    widths, bias = [int(width) for width in constants["widths"]], constants["bias"] == "yes"
    parts = [part for width in widths[1:-1] for part in (Dense(width, bias), of_hidden)]
    return Stack.of([*parts, Dense(widths[-1], bias)], widths[0], "multilayer-perceptron")


def _start(gain: float, constants: Values, normal: np.ndarray) -> np.ndarray:
    """Weights of variance gain/in, biases 0: theta (m, R)."""
    theta, first = np.zeros((len(normal) - 1, normal.shape[1])), 0
    biased = constants["bias"] == "yes"
    for b, row in layer_shapes(constants):
        a = row - biased
        part = slice(first, first + b * row)
        weights = theta[part].reshape(b, row, -1)
        weights[:, :a] = math.sqrt(gain / a) * normal[part].reshape(b, row, -1)[:, :a]
        first += b * row
    return theta


def _he(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return _start(2.0, constants, normal)


def _lecun(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return _start(1.0, constants, normal)


def _layer_shape(number: int, constants: Values) -> tuple[int, ...]:
    shapes = layer_shapes(constants)
    return shapes[number] if number < len(shapes) else (0,)


def _layer(number: int) -> Parameter:
    shape = functools.partial(_layer_shape, number)
    meaning = f"weights into layer {number + 1}, a row for each unit with its bias last; none beyond the depth"
    return Parameter(f"layer_{number + 1}", meaning, shape, lambda c: np.zeros(shape(c)))


def _rescaled(constants: Values, kinds: tuple[str, ...] = ("linear", "relu")) -> list[np.ndarray]:
    """The places in theta of the weights of layers, (out, in) each, without biases; one layer for other activations."""
    places = layers(np.arange(sum(map(math.prod, layer_shapes(constants)))), constants)
    has = constants["activation"] in kinds and constants["bias"] == "no"
    return places if has else [np.concatenate([place.ravel() for place in places])]


def _network(constants: Values) -> Network:
    from thermosim.models.architectures.perceptron import perceptron  # JAX comes with it

    return perceptron(constants)


def _perceptron(constants: Values) -> Perceptron:
    return Perceptron(constants["activation"], constants["loss"], constants["bias"] == "yes")


def _classes(constants: Values) -> int:
    return int(constants["widths"][-1]) if constants["loss"] == "cross-entropy" else 0


def _scratch_rows(constants: Values) -> int:
    """Outputs and their gradients, of gelu its slopes too, and three rows of work."""
    units = int(sum(constants["widths"][1:]))
    return (3 if constants["activation"] == _ACTIVATIONS[GELU] else 2) * units + 3


def _validate(constants: Values, settings: Any) -> list[str]:
    widths = constants["widths"]
    if not 2 <= len(widths) <= _DEEPEST + 1:
        return [
            f"model.widths = {widths!r}: expected inputs, hidden layers if any, and outputs: 1 to {_DEEPEST} layers."
        ]
    if constants["loss"] == "cross-entropy" and widths[-1] < 2:
        return [f"model.widths = {widths!r}: cross-entropy needs an output for each class, two at least."]
    return []


MODEL = Model(
    name="multilayer-perceptron",
    summary="neural network of any depth and widths that learns targets from inputs",
    source="L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025)",
    constants=(
        Constant("activation", "relu", "activation s of hidden units", choices=_ACTIVATIONS),
        Constant("loss", "squared", "loss of a row, |f - y|^2 or -ln softmax(f)_y", choices=_LOSSES),
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
    scratch_rows=_scratch_rows,
    bound=lambda constants: _books(tuple(layer_shapes(constants))),
    parameter_gradient=parameter_gradient,
    gradient_of_rows=gradient_of_rows,
    rows_share=lambda constants: sum(map(math.prod, layer_shapes(constants))) >= FEWEST,
    layers=layers,
    activations=activations,
    outputs=outputs,
    initial_theta={"he": _he, "lecun": _lecun},
    validate=_validate,
    functionals=(*BOOKS, layer_rotation, update_square),
    network=_network,
    perceptron=_perceptron,
    measures=MEASURES,
    symmetries=rescalings(_rescaled, lambda constants: _rescaled(constants, ("linear",))),
)
