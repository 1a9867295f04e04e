"""Softmax regression: a linear layer that learns one of several classes from inputs.

    l = -ln p_y,   p = softmax(W z + b), in nat;   y is a class 0, 1, ... in one column

theta is W, one class after another, with the bias of a class last in its row where there is one. The loss stays the
same where one vector is added to the rows of all classes, so SGD keeps their sum, sum_c W_c.

Source: C. M. Bishop, Pattern Recognition and Machine Learning, ch. 4.3.4.
"""

from __future__ import annotations

import numpy as np

from thermosim.model import Constant, Model, Parameter, Symmetry, Values
from thermosim.models.network_layers import cross_entropy, first_backward, forward

INPUTS, CLASSES = 0, 1  # bound when a function is compiled: rows of constants
_INFINITE = float("inf")


def parameter_gradient(  # type: ignore[no-untyped-def]
    row, theta, constants, shared, factor, loss, gradient, scratch
):
    """scratch (2 C + 3, L): the outputs, their slopes, zeros, and what makes the sum of exponentials stable."""
    d, k = np.int64(constants[INPUTS, 0]), np.int64(constants[CLASSES, 0])
    outputs, slopes, zero = scratch[:k], scratch[k : 2 * k], scratch[2 * k]
    for lane in range(row.shape[1]):
        zero[lane] = 0.0
    forward(theta, row[:d], outputs, zero, -_INFINITE)
    cross_entropy(outputs, row[d], factor, loss, slopes, scratch[2 * k + 1], scratch[2 * k + 2])
    first_backward(row[:d], slopes, gradient)


def outputs(theta: np.ndarray, constants: Values, inputs: np.ndarray) -> np.ndarray:
    """W z + b of inputs (K, d) for theta (R, m): (R, K, C)."""
    weights = theta.reshape(len(theta), *_weights(constants))
    of_inputs = inputs @ weights[..., : inputs.shape[1]].swapaxes(1, 2)
    return np.asarray(of_inputs + weights[:, None, :, -1] if constants["bias"] == "yes" else of_inputs)


def _weights(constants: Values) -> tuple[int, ...]:
    return int(constants["classes"]), int(constants["inputs"]) + int(constants["bias"] == "yes")


def _common_rows(constants: Values) -> np.ndarray:
    """Directions (n + b, m): one input, or the bias, of all classes."""
    classes, row = _weights(constants)
    return np.tile(np.eye(row), classes)


MODEL = Model(
    name="softmax-regression",
    summary="linear layer that learns one of several classes from inputs",
    source="C. M. Bishop, Pattern Recognition and Machine Learning, ch. 4.3.4",
    constants=(
        Constant("inputs", 1, "number of inputs", minimum=1, maximum=100_000, integer=True),
        Constant("classes", 2, "number of classes", minimum=2, maximum=100_000, integer=True),
        Constant("bias", "no", "whether classes have a bias", choices=("no", "yes")),
    ),
    inputs=lambda constants: int(constants["inputs"]),
    targets=lambda constants: 1,
    classes=lambda constants: int(constants["classes"]),
    parameters=(Parameter("weights", "weights W, with the biases", _weights, lambda c: np.zeros(_weights(c))),),
    scratch_rows=lambda constants: 2 * int(constants["classes"]) + 3,
    parameter_gradient=parameter_gradient,
    outputs=outputs,
    symmetries=(Symmetry("classes", "a sum of weights over classes", _common_rows, translation=True),),
)
