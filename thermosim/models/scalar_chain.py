"""A chain of linear layers of width one: the smallest model with a rescaling symmetry, and exact charges.

    f = w_D ... w_1 x,   l = (f - y)^2,   dl/dw_k = 2 (f - y) f/w_k

The loss does not change when w_k grows by a factor and another falls by it, so that w_k dl/dw_k is the same for all k.
A step of SGD, any batch, takes C = (w_k^2 - w_j^2)/2 to C + eta^2 (g_k^2 - g_j^2)/2 exactly; for D = 2 and one row to
C (1 - 4 eta^2 (f - y)^2 x^2).

Sources: Ziyin, Ren, Levine, Chuang, arXiv:2605.21933, for the symmetry and its charge; A. Saxe,
J. McClelland, S. Ganguli, arXiv:1312.6120, for chains of linear layers.
"""

from __future__ import annotations

import numpy as np

from thermosim.kernels.elementary import fma
from thermosim.ledger import Functional
from thermosim.model import Constant, Model, Observable, Parameter, Symmetry, Values


def parameter_gradient(  # type: ignore[no-untyped-def]
    row, theta, constants, shared, factor, loss, gradient, scratch
):
    """scratch (D + 1, L): what goes into each layer, and dl/dh on the way back."""
    x, y, depth = row[0], row[1], theta.shape[0]
    back = scratch[depth]
    for lane in range(x.shape[0]):
        scratch[0, lane] = x[lane]
    for k in range(1, depth):
        w, before, here = theta[k - 1], scratch[k - 1], scratch[k]
        for lane in range(x.shape[0]):
            here[lane] = w[lane] * before[lane]
    w, before = theta[depth - 1], scratch[depth - 1]
    for lane in range(x.shape[0]):
        error = fma(w[lane], before[lane], -y[lane])
        loss[lane] = fma(factor * error, error, loss[lane])
        back[lane] = 2.0 * factor * error
    for k in range(depth - 1, -1, -1):
        w, before, g = theta[k], scratch[k], gradient[k]
        for lane in range(x.shape[0]):
            g[lane] = fma(back[lane], before[lane], g[lane])
            back[lane] *= w[lane]


def gradient_squares(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    """Add g_k^2 of every weight to its row of total (D, L)."""
    for k in range(theta.shape[0]):
        for lane in range(theta.shape[1]):
            total[k, lane] += gradient[k, lane] * gradient[k, lane]


def weight_squares(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    """Add w_k^2 before the step."""
    for k in range(theta.shape[0]):
        for lane in range(theta.shape[1]):
            total[k, lane] += before[k, lane] * before[k, lane]


def _neighbours(constants: Values) -> np.ndarray:
    """Diagonals (D - 1, D) of the rescaling of a weight, -1, and the next, 1."""
    return np.diff(np.eye(_weights(constants)[0]), axis=0)


def _weights(constants: Values) -> tuple[int, ...]:
    return (int(constants["depth"]),)


def _product(theta: np.ndarray, constants: Values) -> np.ndarray:
    return np.asarray(np.prod(theta, axis=-1))


def _charge(theta: np.ndarray, constants: Values) -> np.ndarray:
    return np.asarray(0.5 * (theta[..., -1] ** 2 - theta[..., 0] ** 2))


MODEL = Model(
    name="scalar-chain",
    summary="chain of linear layers of width one that learns a real target from a real input",
    source="Ziyin, Ren, Levine, Chuang, arXiv:2605.21933",
    constants=(Constant("depth", 2, "number D of layers", minimum=1, maximum=1000, integer=True),),
    inputs=lambda constants: 1,
    targets=lambda constants: 1,
    parameters=(Parameter("weight", "weights w, from the input on", _weights, lambda c: np.ones(_weights(c))),),
    scratch_rows=lambda constants: int(constants["depth"]) + 1,
    parameter_gradient=parameter_gradient,
    functionals=(
        Functional(
            "layer_gradient_square",
            "theta",
            "energy^2",
            "sum over steps of the squared gradient of each weight",
            "sum_t g_k^2",
            book=gradient_squares,
            dim="layer",
            size=lambda constants: int(constants["depth"]),
        ),
        Functional(
            "layer_weight_square",
            "theta",
            "1",
            "sum over steps of the square of each weight before the step",
            "sum_t w_k^2",
            book=weight_squares,
            dim="layer",
            size=lambda constants: int(constants["depth"]),
        ),
    ),
    symmetries=(
        Symmetry(
            "layers",
            "a charge between layers",
            _neighbours,
            books=("layer_gradient_square",),
            weights=("layer_weight_square",),
            between=lambda sums: np.diff(sums, axis=-1),
        ),
    ),
    observables={
        "product": Observable("theta", _product, "1", "slope of the chain", "w_D ... w_1"),
        "charge": Observable("theta", _charge, "1", "charge of the last layer and the first", "(w_D^2 - w_1^2)/2"),
    },
)
