"""What a network books along its path, layer by layer and unit by unit.

    layer_gradient_square_k       sum over steps of |g_k|^2, g_k the gradient of layer k at its minibatch
    incoming_gradient_square_i    the same of the weights into hidden unit i, its bias included
    outgoing_gradient_square_i    the same of the weights out of it
    layer_rotation_k              sum over steps of 1 - cos phi_k, phi_k the angle that W_k turns by (in networks only)
    layer_weight_square_k         sum over steps of |W_k|^2, at the weights where the gradient was taken
    incoming_weight_square_i, outgoing_weight_square_i    the same of the weights into and out of a unit

Hidden units that are linear or ReLU, without biases, keep the output under W_k -> W_k e^s, W_(k+1) -> W_(k+1) e^-s of
two layers, and under w_i -> w_i e^s, u_i -> u_i e^-s of the weights into and out of one unit. The charges
(|W_(k+1)|^2 - |W_k|^2)/2 and (|u_i|^2 - |w_i|^2)/2 obey, under SGD at the learning rate r and weight decay lambda, at
every step and for every batch,

    C' = (1 - r lambda)^2 C + (r^2/2) (|g_out|^2 - |g_in|^2)

so that with the sums of weights it is exact between any two steps; where C has stopped to drift, on average,
|g_out|^2 - |g_in|^2 = (2 lambda/r) (1 - r lambda/2) (|out|^2 - |in|^2).

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), whose gamma is lambda/2; exact, since <W_k, g_k> is the
same for all layers and <w_i, g_w> = <u_i, g_u> for every unit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma
from thermosim.ledger import Functional
from thermosim.model import Model

__all__ = [
    "BOOKS",
    "LAYER",
    "UNIT",
    "Books",
    "Matrix",
    "booked_by_group",
    "books",
    "functionals",
    "incoming",
    "incoming_weights",
    "layer_gradient_square",
    "layer_rotation",
    "layer_weight_square",
    "outgoing",
    "outgoing_weights",
    "update_square",
]

LAYER, UNIT = "layer", "hidden_unit"  # dimensions
squares_of_layers = squares_of_incoming = squares_of_outgoing = None  # bound when a function is compiled
Function = Callable[..., Any]


@dataclass(frozen=True)
class Matrix:
    """The parameters of one layer."""

    shape: tuple[int, int]
    hidden: bool  # its outputs are the inputs of the next, through activations only, and both are dense


@dataclass(frozen=True)
class Books:
    """Functions (values (m, L), total (K, L)) that add squares of a gradient, or of theta, to total."""

    layers: Function
    incoming: Function
    outgoing: Function
    units: int  # hidden units

    @property
    def bound(self) -> dict[str, Function]:
        """What the names of the functionals' own functions stand for."""
        return {
            "squares_of_layers": self.layers,
            "squares_of_incoming": self.incoming,
            "squares_of_outgoing": self.outgoing,
        }


def books(matrices: Sequence[Matrix]) -> Books:
    """Of a network with these parameters, in the order of theta."""
    depth, hidden = len(matrices), [k for k, matrix in enumerate(matrices) if matrix.hidden]
    firsts = tuple(sum(math.prod(one.shape) for one in matrices[:k]) for k in range(depth + 1))
    rows, columns = (tuple(one.shape[axis] for one in matrices) for axis in (0, 1))
    pairs, count = tuple(hidden), len(hidden)

    @inlined
    def layers(values, total):  # type: ignore[no-untyped-def]
        for k in range(depth):
            _add_squares(values[firsts[k] : firsts[k + 1]], 1, total[k])

    @inlined
    def incoming(values, total):  # type: ignore[no-untyped-def]
        unit = 0
        for p in range(count):
            k = pairs[p]
            for j in range(rows[k]):
                first = firsts[k] + j * columns[k]
                _add_squares(values[first : first + columns[k]], 1, total[unit])
                unit += 1

    @inlined
    def outgoing(values, total):  # type: ignore[no-untyped-def]
        unit = 0
        for p in range(count):
            k = pairs[p]
            for i in range(rows[k]):
                _add_squares(values[firsts[k + 1] + i : firsts[k + 2]], columns[k + 1], total[unit])
                unit += 1

    if not count:
        return Books(layers, _nothing, _nothing, 0)
    return Books(layers, incoming, outgoing, sum(rows[k] for k in pairs))


@inlined
def _nothing(values, total):  # type: ignore[no-untyped-def]
    pass


@inlined
def _add_squares(g, stride, total):  # type: ignore[no-untyped-def]
    """Add the squares of every stride-th row of g, four at a time."""
    count = (g.shape[0] + stride - 1) // stride
    for n in range(0, count - 3, 4):
        a, b, c, d = g[n * stride], g[(n + 1) * stride], g[(n + 2) * stride], g[(n + 3) * stride]
        for lane in range(total.shape[0]):
            s = fma(a[lane], a[lane], fma(b[lane], b[lane], total[lane]))
            total[lane] = fma(c[lane], c[lane], fma(d[lane], d[lane], s))
    for n in range(count - count % 4, count):
        a = g[n * stride]
        for lane in range(total.shape[0]):
            total[lane] = fma(a[lane], a[lane], total[lane])


def functionals(layers: int, units: int) -> tuple[Functional, ...]:
    """Those of a network of so many layers that learn and hidden units; none of units where there are none."""
    counts = {LAYER: layers, UNIT: units}
    return tuple(replace(one, size=functools.partial(_size, counts[one.dim])) for one in BOOKS if counts[one.dim])


def _size(count: int, constants: Mapping[str, Any]) -> int:
    return count


def _layers(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    squares_of_layers(gradient, total)


def _incoming(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    squares_of_incoming(gradient, total)


def _outgoing(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    squares_of_outgoing(gradient, total)


def _layer_weights(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    squares_of_layers(before, total)


def _incoming_weights(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    squares_of_incoming(before, total)


def _outgoing_weights(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    squares_of_outgoing(before, total)


def _depth(constants: Mapping[str, Any]) -> int:
    return len(constants["widths"]) - 1


def _hidden_units(constants: Mapping[str, Any]) -> int:
    """Units of all hidden layers of a perceptron, the first layer first."""
    return int(sum(constants["widths"][1:-1]))


layer_gradient_square = Functional(
    "layer_gradient_square",
    "theta",
    "energy^2",
    "sum over steps of the squared gradient of each layer",
    "sum_t |g_k|^2",
    book=_layers,
    dim=LAYER,
    size=_depth,
)
incoming = Functional(
    "incoming_gradient_square",
    "theta",
    "energy^2",
    "sum over steps of the squared gradient of the weights into each hidden unit",
    "sum_t |g_w|^2",
    book=_incoming,
    dim=UNIT,
    size=_hidden_units,
)
outgoing = Functional(
    "outgoing_gradient_square",
    "theta",
    "energy^2",
    "sum over steps of the squared gradient of the weights out of each hidden unit",
    "sum_t |g_u|^2",
    book=_outgoing,
    dim=UNIT,
    size=_hidden_units,
)
layer_weight_square = Functional(
    "layer_weight_square",
    "theta",
    "1",
    "sum over steps of the squared weights of each layer before the step",
    "sum_t |W_k|^2",
    book=_layer_weights,
    dim=LAYER,
    size=_depth,
)
incoming_weights = Functional(
    "incoming_weight_square",
    "theta",
    "1",
    "sum over steps of the squared weights into each hidden unit before the step",
    "sum_t |w|^2",
    book=_incoming_weights,
    dim=UNIT,
    size=_hidden_units,
)
outgoing_weights = Functional(
    "outgoing_weight_square",
    "theta",
    "1",
    "sum over steps of the squared weights out of each hidden unit before the step",
    "sum_t |u|^2",
    book=_outgoing_weights,
    dim=UNIT,
    size=_hidden_units,
)
layer_rotation = Functional(
    "layer_rotation",
    "theta",
    "1",
    "sum over steps of 1 - cos of the angle that the weights of each layer turn by",
    "sum_t 1 - W.W'/(|W||W'|)",
    dim=LAYER,
    size=_depth,
    of_networks=True,
)
update_square = Functional(
    "update_square",
    "theta",
    "1",
    "sum over steps of the square of what Adam multiplies by its learning rate",
    "sum_t |m/(sqrt(v) + epsilon)|^2",
    of_networks=True,
)


def booked_by_group(model: Model) -> Model:
    """A model of the engine of networks with sums of layers, a layer being a group of its parameters."""
    of_layers = (layer_gradient_square, layer_weight_square, layer_rotation)
    size = functools.partial(_groups, model)
    own = tuple(replace(one, size=size, book=None, of_networks=True) for one in of_layers)
    return replace(model, functionals=(*model.functionals, *own, update_square))


def _groups(model: Model, constants: Mapping[str, Any]) -> int:
    return len(model.groups(constants))


BOOKS = (layer_gradient_square, incoming, outgoing, layer_weight_square, incoming_weights, outgoing_weights)
