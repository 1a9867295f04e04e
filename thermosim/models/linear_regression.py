"""Linear regression: the perceptron of one linear layer, which learns real targets from inputs.

    l = |W z + b - y|^2                                                             (no factor 1/2)

theta is W, one output after another, with the bias of an output last in its row where there is one.

Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), for the convention; C. M. Bishop, Pattern Recognition and
Machine Learning, ch. 3.1.
"""

from __future__ import annotations

import numpy as np

from thermosim.model import Constant, Model, Parameter, Values
from thermosim.models.network_layers import first_backward, forward, squared_error

INPUTS, OUTPUTS = 0, 1  # bound when a function is compiled: rows of constants
_INFINITE = float("inf")


def parameter_gradient(  # type: ignore[no-untyped-def]
    row, theta, constants, shared, factor, loss, gradient, scratch
):
    """scratch (2 k + 1, L): the outputs, their slopes, zeros."""
    d, k = np.int64(constants[INPUTS, 0]), np.int64(constants[OUTPUTS, 0])
    outputs, slopes, zero = scratch[:k], scratch[k : 2 * k], scratch[2 * k]
    for lane in range(row.shape[1]):
        zero[lane] = 0.0
    forward(theta, row[:d], outputs, zero, -_INFINITE)
    squared_error(outputs, row[d:], factor, loss, slopes)
    first_backward(row[:d], slopes, gradient)


def _weights(constants: Values) -> tuple[int, ...]:
    return int(constants["outputs"]), int(constants["inputs"]) + int(constants["bias"] == "yes")


MODEL = Model(
    name="linear-regression",
    summary="linear layer that learns real targets from inputs",
    source="C. M. Bishop, Pattern Recognition and Machine Learning, ch. 3.1",
    constants=(
        Constant("inputs", 1, "number of inputs", minimum=1, maximum=100_000, integer=True),
        Constant("outputs", 1, "number of targets", minimum=1, maximum=100_000, integer=True),
        Constant("bias", "no", "whether outputs have a bias", choices=("no", "yes")),
    ),
    inputs=lambda constants: int(constants["inputs"]),
    targets=lambda constants: int(constants["outputs"]),
    parameters=(Parameter("weights", "weights W, with the biases", _weights, lambda c: np.zeros(_weights(c))),),
    scratch_rows=lambda constants: 2 * int(constants["outputs"]) + 1,
    parameter_gradient=parameter_gradient,
)
