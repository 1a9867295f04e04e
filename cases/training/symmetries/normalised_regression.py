"""A linear map whose weights count by their direction only, as behind a normalisation: l = (w.z/|w| - y)^2.

    dl/dw = 2 (w.z/|w| - y) (z - (w.z) w/|w|^2)/|w|

The loss stays the same under w -> exp(s) w, so w.dl/dw = 0 and a step of SGD makes |w|^2 grow by r^2 |dl/dw|^2.
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025).
"""

import math

import numpy as np

from thermosim import Constant, Model, Observable, Parameter, Symmetry


def parameter_gradient(row, theta, constants, shared, factor, loss, gradient, scratch):
    inputs = theta.shape[0]
    for lane in range(theta.shape[1]):
        square, product = 0.0, 0.0
        for i in range(inputs):
            square += theta[i, lane] * theta[i, lane]
            product += theta[i, lane] * row[i, lane]
        length = math.sqrt(square)
        error = product / length - row[inputs, lane]
        loss[lane] += factor * error * error
        for i in range(inputs):
            across = row[i, lane] - product * theta[i, lane] / square
            gradient[i, lane] += factor * 2.0 * error * across / length


def size(constants):
    return (int(constants["inputs"]),)


def norm(theta, constants):
    return (theta**2).sum(-1)


MODEL = Model(
    name="normalised-regression",
    summary="linear map whose weights count by their direction only",
    source="L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025)",
    constants=(Constant("inputs", 3, "number of inputs", minimum=2, integer=True),),
    inputs=lambda constants: int(constants["inputs"]),
    targets=lambda constants: 1,
    parameters=(Parameter("weight", "weights w", size, lambda constants: np.ones(size(constants))),),
    parameter_gradient=parameter_gradient,
    observables={"norm": Observable("theta", norm, "1", "squared length of the weights", "|w|^2")},
    symmetries=(
        Symmetry(
            "length",
            "the squared length",
            lambda constants: np.ones((1, int(constants["inputs"]))),
            books=("gradient_square",),
        ),
    ),
)
