"""The smallest scale-invariant network: one vector w, and rows d whose squared cosine with it is the loss.

    l = (d.w)^2/|w|^2,   g = (2 c/|w|^2) (|w|^2 d - (d.w) w),  c = d.w/|w|^2      mean over the rows of a minibatch

On rows of R^3 the law of SGD is known to any accuracy (`exact.direction_chain`), noise of minibatches and all.
Two rows (sqrt(3)/2, +-1/2, 0) leave a direction of no loss, where the noise dies out; three rows
(cos, sin, 1/5) at a third of a turn from each other, divided by their length, keep it alive at every rate.

Source: the example on the sphere in the public code `sgd-free-energy` of I. Sadrtdinov et al., before arXiv:2511.07308.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from thermosim.kernels.elementary import fma
from thermosim.kernels.lanes import dot
from thermosim.model import Constant, Model, Observable, Parameter, Values
from thermosim.models.network_books import Matrix, books, layer_gradient_square, layer_weight_square
from thermosim.models.scale_invariant import starts


def parameter_gradient(  # type: ignore[no-untyped-def]
    row, theta, constants, shared, factor, loss, gradient, scratch
):
    """scratch (2, L): d.w, then the cosine over |w|, and |w|^2."""
    cosine, square = scratch[0], scratch[1]
    dot(row, theta, cosine)
    dot(theta, theta, square)
    for lane in range(row.shape[1]):
        along = cosine[lane]
        cosine[lane] = along / square[lane]
        loss[lane] = fma(factor * along, cosine[lane], loss[lane])
        square[lane] = 2.0 * factor * cosine[lane]
    for i in range(row.shape[0]):
        d, w, g = row[i], theta[i], gradient[i]
        for lane in range(row.shape[1]):
            g[lane] = fma(square[lane], fma(-cosine[lane], w[lane], d[lane]), g[lane])


def _shapes(constants: Values) -> dict[str, tuple[int, ...]]:
    return {"w": (int(constants["inputs"]),)}


def _scales(constants: Values) -> tuple[tuple[str, ...], ...]:
    return (("w",),)


def _one(constants: Values) -> int:
    return 1


def _radius(theta: np.ndarray, constants: Values) -> np.ndarray:
    return np.asarray(np.linalg.norm(theta, axis=-1))


def _first_axis(constants: Values) -> np.ndarray:
    return np.eye(int(constants["inputs"]))[0]


_RANDOM = starts(_shapes, _scales)["random"]

MODEL = Model(
    name="squared-cosine",
    summary="scale-invariant loss (d.w)^2/|w|^2 of data rows d: the smallest network that is a gas",
    source="I. Sadrtdinov et al., code sgd-free-energy, example on the sphere",
    constants=(Constant("inputs", 3, "length of w and of the rows d", minimum=2, maximum=1000, integer=True),),
    inputs=lambda constants: int(constants["inputs"]),
    parameters=(Parameter("w", "weights", lambda constants: _shapes(constants)["w"], _first_axis),),
    scratch_rows=lambda constants: 2,
    parameter_gradient=parameter_gradient,
    bound=lambda constants: books([Matrix((1, int(constants["inputs"])), hidden=False)]).bound,
    scales=_scales,
    functionals=tuple(replace(one, size=_one) for one in (layer_gradient_square, layer_weight_square)),
    initial_theta={"random": _RANDOM},
    observables={"radius": Observable("theta", _radius, "1", "radius", "r = |w|")},
)
