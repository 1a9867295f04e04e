"""What a network books along its path, layer by layer and unit by unit.

    layer_gradient_square_k       sum over steps of |g_k|^2, g_k the gradient of layer k at its minibatch
    incoming_gradient_square_i    the same of the weights into hidden unit i, its bias included
    outgoing_gradient_square_i    the same of the weights out of it

Hidden units that are linear or ReLU, without biases, keep the output under W_k -> W_k e^s, W_(k+1) -> W_(k+1) e^-s of
two layers, and under w_i -> w_i e^s, u_i -> u_i e^-s of the weights into and out of one unit. The charges
(|W_(k+1)|^2 - |W_k|^2)/2 and (|u_i|^2 - |w_i|^2)/2 obey, under SGD at the learning rate r and weight decay lambda, at
every step and for every batch,

    C' = (1 - r lambda)^2 C + (r^2/2) (|g_out|^2 - |g_in|^2)

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025); exact, since <W_k, g_k> is the same for all layers and
<w_i, g_w> = <u_i, g_u> for every unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.ledger import Functional

__all__ = ["LAYER", "UNIT", "hidden_units", "incoming", "layer_gradient_square", "outgoing"]

LAYER, UNIT = "layer", "hidden_unit"  # dimensions
WIDTHS = 0  # bound: where the widths start among the array constants; they are the last where there are biases


def hidden_units(constants: Mapping[str, Any]) -> int:
    """Units of all hidden layers, the first layer first."""
    return int(sum(constants["widths"][1:-1]))


@inlined
def _biases(parameters, widths):  # type: ignore[no-untyped-def]
    """1 where units have biases, which theta has beyond the weights between layers; else 0."""
    weights, k = 0, 0
    while weights < parameters and k + 1 < widths.shape[0]:
        weights += np.int64(widths[k]) * np.int64(widths[k + 1])
        k += 1
    return 1 if weights < parameters else 0


def _layers(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    """Add |g_k|^2 of every layer to its row of total (depth, L)."""
    biases, i = _biases(theta.shape[0], shared[WIDTHS:]), 0
    for k in range(total.shape[0]):
        row = total[k]
        for _ in range(np.int64(shared[WIDTHS + k + 1]) * (np.int64(shared[WIDTHS + k]) + biases)):
            slope = gradient[i]
            for lane in range(theta.shape[1]):
                row[lane] += slope[lane] * slope[lane]
            i += 1


def _incoming(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    """Add the square of each row of the gradient of hidden layers to total (units, L)."""
    biases, i, unit, k = _biases(theta.shape[0], shared[WIDTHS:]), 0, 0, 0
    while unit < total.shape[0]:
        for _ in range(np.int64(shared[WIDTHS + k + 1])):
            row = total[unit]
            for _ in range(np.int64(shared[WIDTHS + k]) + biases):
                slope = gradient[i]
                for lane in range(theta.shape[1]):
                    row[lane] += slope[lane] * slope[lane]
                i += 1
            unit += 1
        k += 1


def _outgoing(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    """Add the square of each column of the gradient of layers after the first, biases left out, to total (units, L)."""
    biases, unit, k = _biases(theta.shape[0], shared[WIDTHS:]), 0, 1
    i = np.int64(shared[WIDTHS + 1]) * (np.int64(shared[WIDTHS]) + biases)
    while unit < total.shape[0]:
        width = np.int64(shared[WIDTHS + k])
        for _ in range(np.int64(shared[WIDTHS + k + 1])):
            for column in range(width):
                row, slope = total[unit + column], gradient[i + column]
                for lane in range(theta.shape[1]):
                    row[lane] += slope[lane] * slope[lane]
            i += width + biases
        unit += width
        k += 1


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
