"""A linear encoder that finds one view y of something in another, z: l = |W'W z - y|^2, W (hidden, inputs).

    dl/dW = 2 (h e' + (W e) z'),   h = W z,   e = W'h - y

The loss stays the same under W -> R W of any rotation R of the hidden units, as that of self-supervised learning does:
the generators are antisymmetric, so they have no charge and the mean squared gradient is the same along the orbit.
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025); E. Oja, J. Math. Biol. 15, 267 (1982).
"""

import numpy as np

from thermosim import Constant, Model, Parameter, Symmetry

HIDDEN = 1  # bound: row of the constant


def parameter_gradient(row, theta, constants, shared, factor, loss, gradient, scratch):
    hidden = np.int64(constants[HIDDEN, 0])
    inputs = row.shape[0] // 2
    h, back, error = scratch[:hidden], scratch[hidden : 2 * hidden], scratch[2 * hidden :]
    for lane in range(theta.shape[1]):
        for j in range(hidden):
            h[j, lane] = 0.0
            for i in range(inputs):
                h[j, lane] += theta[j * inputs + i, lane] * row[i, lane]
        for i in range(inputs):
            error[i, lane] = -row[inputs + i, lane]
            for j in range(hidden):
                error[i, lane] += theta[j * inputs + i, lane] * h[j, lane]
            loss[lane] += factor * error[i, lane] * error[i, lane]
        for j in range(hidden):
            back[j, lane] = 0.0
            for i in range(inputs):
                back[j, lane] += theta[j * inputs + i, lane] * error[i, lane]
            for i in range(inputs):
                slope = h[j, lane] * error[i, lane] + back[j, lane] * row[i, lane]
                gradient[j * inputs + i, lane] += 2.0 * factor * slope


def shape(constants):
    return int(constants["hidden"]), int(constants["inputs"])


def rotations(constants):
    """Antisymmetric generators, one for each pair of hidden units."""
    hidden, inputs = shape(constants)
    pairs = [(a, b) for a in range(hidden) for b in range(a)]
    turns = np.zeros((len(pairs), hidden, hidden))
    for turn, (a, b) in zip(turns, pairs, strict=True):
        turn[a, b], turn[b, a] = 1.0, -1.0
    return np.stack([np.kron(turn, np.eye(inputs)) for turn in turns])


def start(constants, hyper, normal, uniform):
    return 0.5 * normal[:-1]


MODEL = Model(
    name="two-views",
    summary="linear encoder that finds one view of something in another",
    source="L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025)",
    constants=(
        Constant("inputs", 3, "number of inputs", minimum=1, integer=True),
        Constant("hidden", 2, "number of hidden units", minimum=2, integer=True),
    ),
    inputs=lambda constants: int(constants["inputs"]),
    targets=lambda constants: int(constants["inputs"]),
    parameters=(Parameter("weights", "weights W, one hidden unit after another", shape, lambda c: np.ones(shape(c))),),
    scratch_rows=lambda constants: 2 * int(constants["hidden"]) + int(constants["inputs"]),
    parameter_gradient=parameter_gradient,
    initial_theta={"normal": start},
    symmetries=(Symmetry("rotation", "a step along a rotation of hidden units", rotations),),
)
