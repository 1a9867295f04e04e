"""Logistic regression: which of two classes, from inputs.

    l = ln(1 + exp(-s f)),   f = w.z + b,   s = 2 y - 1;   y is 0 or 1, and p(y = 1) = 1/(1 + exp(-f))

in nat. theta is w, with the bias last where there is one.

Source: C. M. Bishop, Pattern Recognition and Machine Learning, ch. 4.3.2.
"""

from __future__ import annotations

import numpy as np

from thermosim.kernels.elementary import exp, fma, log
from thermosim.model import Constant, Model, Parameter, Values
from thermosim.models.network_layers import first_backward, forward

INPUTS = 0  # bound when a function is compiled: the row of the constant
_INFINITE = float("inf")


def parameter_gradient(  # type: ignore[no-untyped-def]
    row, theta, constants, shared, factor, loss, gradient, scratch
):
    """scratch (3, L): f, its slope, zeros. exp is taken of numbers that are not positive, so that none overflows."""
    d = np.int64(constants[INPUTS, 0])
    f, slope, zero, target = scratch[0], scratch[1], scratch[2], row[d]
    for lane in range(row.shape[1]):
        zero[lane] = 0.0
    forward(theta, row[:d], scratch[:1], zero, -_INFINITE)
    for lane in range(row.shape[1]):
        sign = fma(2.0, target[lane], -1.0)
        margin = sign * f[lane]
        small = exp(-abs(margin))
        above = 1.0 + small
        tail = small if above == 1.0 else log(above) * (small / (above - 1.0))  # ln(1 + small) without loss of digits
        loss[lane] = fma(factor, max(-margin, 0.0) + tail, loss[lane])
        wrong = small / above if margin > 0.0 else 1.0 / above  # p of the other class
        slope[lane] = -factor * sign * wrong
    first_backward(row[:d], scratch[1:2], gradient)


def outputs(theta: np.ndarray, constants: Values, inputs: np.ndarray) -> np.ndarray:
    """0 and f of inputs (K, d) for theta (R, m): (R, K, 2)."""
    f = theta[:, : inputs.shape[1]] @ inputs.T
    f = f + theta[:, -1:] if constants["bias"] == "yes" else f
    return np.stack([np.zeros_like(f), f], axis=-1)


def _weights(constants: Values) -> tuple[int, ...]:
    return (int(constants["inputs"]) + int(constants["bias"] == "yes"),)


MODEL = Model(
    name="logistic-regression",
    summary="linear layer that learns one of two classes from inputs",
    source="C. M. Bishop, Pattern Recognition and Machine Learning, ch. 4.3.2",
    constants=(
        Constant("inputs", 1, "number of inputs", minimum=1, maximum=100_000, integer=True),
        Constant("bias", "no", "whether there is a bias", choices=("no", "yes")),
    ),
    inputs=lambda constants: int(constants["inputs"]),
    targets=lambda constants: 1,
    classes=lambda constants: 2,
    parameters=(Parameter("weights", "weights w, with the bias", _weights, lambda c: np.zeros(_weights(c))),),
    scratch_rows=lambda constants: 3,
    parameter_gradient=parameter_gradient,
    outputs=outputs,
)
