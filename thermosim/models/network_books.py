"""What a network books along its path, layer by layer and unit by unit.

    layer_gradient_square_k       sum over steps of |g_k|^2, g_k the gradient of layer k at its minibatch
    incoming_gradient_square_i    the same of the weights into hidden unit i, its bias included
    outgoing_gradient_square_i    the same of the weights out of it
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

from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.ledger import Functional

__all__ = [
    "BOOKS",
    "LAYER",
    "UNIT",
    "hidden_units",
    "incoming",
    "incoming_weights",
    "layer_gradient_square",
    "layer_weight_square",
    "outgoing",
    "outgoing_weights",
]

LAYER, UNIT = "layer", "hidden_unit"  # dimensions
WIDTHS = BIAS = 0  # bound: where the widths start among the array constants, the row of the constant `bias`


def hidden_units(constants: Mapping[str, Any]) -> int:
    """Units of all hidden layers, the first layer first."""
    return int(sum(constants["widths"][1:-1]))


@inlined
def _add_layers(values, widths, biases, total):  # type: ignore[no-untyped-def]
    """Add the square of every layer of values (m, L) to its row of total (depth, L)."""
    i = 0
    for k in range(total.shape[0]):
        row = total[k]
        for _ in range(np.int64(widths[k + 1]) * (np.int64(widths[k]) + biases)):
            one = values[i]
            for lane in range(values.shape[1]):
                row[lane] += one[lane] * one[lane]
            i += 1


@inlined
def _add_incoming(values, widths, biases, total):  # type: ignore[no-untyped-def]
    """Add the square of each row of the hidden layers of values (m, L) to total (units, L)."""
    i, unit, k = 0, 0, 0
    while unit < total.shape[0]:
        for _ in range(np.int64(widths[k + 1])):
            row = total[unit]
            for _ in range(np.int64(widths[k]) + biases):
                one = values[i]
                for lane in range(values.shape[1]):
                    row[lane] += one[lane] * one[lane]
                i += 1
            unit += 1
        k += 1


@inlined
def _add_outgoing(values, widths, biases, total):  # type: ignore[no-untyped-def]
    """Add the square of each column of layers after the first, biases left out, to total (units, L)."""
    unit, k = 0, 1
    i = np.int64(widths[1]) * (np.int64(widths[0]) + biases)
    while unit < total.shape[0]:
        width = np.int64(widths[k])
        for _ in range(np.int64(widths[k + 1])):
            for column in range(width):
                row, one = total[unit + column], values[i + column]
                for lane in range(values.shape[1]):
                    row[lane] += one[lane] * one[lane]
            i += width + biases
        unit += width
        k += 1


def _layers(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    _add_layers(gradient, shared[WIDTHS:], np.int64(constants[BIAS, 0]), total)


def _incoming(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    _add_incoming(gradient, shared[WIDTHS:], np.int64(constants[BIAS, 0]), total)


def _outgoing(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    _add_outgoing(gradient, shared[WIDTHS:], np.int64(constants[BIAS, 0]), total)


def _layer_weights(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    _add_layers(before, shared[WIDTHS:], np.int64(constants[BIAS, 0]), total)


def _incoming_weights(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    _add_incoming(before, shared[WIDTHS:], np.int64(constants[BIAS, 0]), total)


def _outgoing_weights(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    _add_outgoing(before, shared[WIDTHS:], np.int64(constants[BIAS, 0]), total)


def _depth(constants: Mapping[str, Any]) -> int:
    return len(constants["widths"]) - 1


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
    size=hidden_units,
)
outgoing = Functional(
    "outgoing_gradient_square",
    "theta",
    "energy^2",
    "sum over steps of the squared gradient of the weights out of each hidden unit",
    "sum_t |g_u|^2",
    book=_outgoing,
    dim=UNIT,
    size=hidden_units,
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
    size=hidden_units,
)
outgoing_weights = Functional(
    "outgoing_weight_square",
    "theta",
    "1",
    "sum over steps of the squared weights out of each hidden unit before the step",
    "sum_t |u|^2",
    book=_outgoing_weights,
    dim=UNIT,
    size=hidden_units,
)
BOOKS = (layer_gradient_square, incoming, outgoing, layer_weight_square, incoming_weights, outgoing_weights)
