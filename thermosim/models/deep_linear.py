"""A deep linear network between two fixed matrices, which learns targets y from inputs x.

    h_0 = M_I x,   h_k = W_k h_(k-1),   f = M_O h_D,   l = |f - y|^2                 (no factor 1/2)

`embedding` M_I and `unembedding` M_O are not learned; both are the identity unless given, and need not be square.
Inputs seen through another view, Z x for x, are the embedding M_I Z. `widths` are those of h_0, ..., h_D, so that
group layer_k of theta has the shape (widths[k], widths[k - 1]).

Starts: weights from a normal law of variance 2/in (he) or 1/in (lecun); `balanced` layers carry r orthonormal vectors
into r orthonormal ones, r the least width, W_k = U_k U_(k-1)', so that W_k W_k' = W_(k+1)'W_(k+1) between any two.

Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), for M_O W_D ... W_1 M_I x; A. M. Saxe, J. L. McClelland,
S. Ganguli, arXiv:1312.6120, for deep linear networks; S. Arora, N. Cohen, N. Golowich, W. Hu, arXiv:1810.02281,
Definition 1, for balance.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma
from thermosim.model import Constant, Model, Parameter, Values
from thermosim.models.network_books import BOOKS, Matrix, books
from thermosim.models.network_layers import backward, first_backward, forward, squared_error
from thermosim.models.network_symmetries import rescalings

# bound when a function is compiled: where the array constants start
EMBEDDING = UNEMBEDDING = WIDTHS = 0
_INFINITE = float("inf")
_DEEPEST = 8


@inlined
def _product(matrix, columns, transposed, inputs, outputs):  # type: ignore[no-untyped-def]
    """outputs (b, L) = M inputs (a, L), M stored row by row with so many columns; or M' inputs."""
    for j in range(outputs.shape[0]):
        total = outputs[j]
        for lane in range(total.shape[0]):
            total[lane] = 0.0
        for i in range(inputs.shape[0]):
            entry, h = matrix[i * columns + j] if transposed else matrix[j * columns + i], inputs[i]
            for lane in range(total.shape[0]):
                total[lane] = fma(entry, h[lane], total[lane])


def parameter_gradient(  # type: ignore[no-untyped-def]
    row, theta, constants, shared, factor, loss, gradient, scratch
):
    """Add factor l and factor dl/dtheta; the matrices follow the widths."""
    depth, first_width = EMBEDDING - WIDTHS - 1, np.int64(shared[WIDTHS])
    last_width, units = np.int64(shared[WIDTHS + depth]), 0
    for k in range(depth + 1):
        units += np.int64(shared[WIDTHS + k])
    embedding, unembedding = shared[EMBEDDING:UNEMBEDDING], shared[UNEMBEDDING:]
    inputs, outputs = embedding.shape[0] // first_width, unembedding.shape[0] // last_width
    h, d, zero = scratch[:units], scratch[units : 2 * units], scratch[2 * units]
    f, of_f = scratch[2 * units + 1 : 2 * units + 1 + outputs], scratch[2 * units + 1 + outputs :]
    for lane in range(row.shape[1]):
        zero[lane] = 0.0
    _product(embedding, inputs, False, row[:inputs], h[:first_width])
    first, place, a = 0, 0, first_width
    for k in range(1, depth + 1):
        b = np.int64(shared[WIDTHS + k])
        forward(theta[first : first + a * b], h[place : place + a], h[place + a : place + a + b], zero, -_INFINITE)
        first, place, a = first + a * b, place + a, b
    _product(unembedding, last_width, False, h[place:], f)
    squared_error(f, row[inputs:], factor, loss, of_f[:outputs])
    _product(unembedding, last_width, True, of_f[:outputs], d[place:])
    for k in range(depth, 1, -1):
        a, b = np.int64(shared[WIDTHS + k - 1]), np.int64(shared[WIDTHS + k])
        first, here = first - a * b, slice(place - a, place)
        w, g = theta[first : first + a * b], gradient[first : first + a * b]
        backward(w, h[here], d[place : place + b], g, d[here], zero, -_INFINITE)
        place -= a
    second_width = np.int64(shared[WIDTHS + 1])
    first_backward(h[:first_width], d[place : place + second_width], gradient[: first_width * second_width])


def layers(theta: np.ndarray, constants: Values) -> list[np.ndarray]:
    """W_1, ..., W_D, each (..., out, in), of theta (..., m)."""
    found, first = [], 0
    for a, b in itertools.pairwise(int(width) for width in constants["widths"]):
        found.append(theta[..., first : first + a * b].reshape(*theta.shape[:-1], b, a))
        first += a * b
    return found


def activations(theta: np.ndarray, constants: Values, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """h_1, ..., h_(D-1), each (..., P, units), of theta (..., m) at inputs (P, n)."""
    hidden, found = inputs @ np.asarray(constants["embedding"], float).T, {}
    for k, weights in enumerate(layers(theta, constants)[:-1], start=1):
        hidden = hidden @ np.swapaxes(weights, -1, -2)
        found[f"layer_{k}"] = hidden
    return found


def outputs(theta: np.ndarray, constants: Values, inputs: np.ndarray) -> np.ndarray:
    """f (..., P, k) of theta (..., m) at inputs (P, n)."""
    hidden = inputs @ np.asarray(constants["embedding"], float).T
    for weights in layers(theta, constants):
        hidden = hidden @ np.swapaxes(weights, -1, -2)
    return np.asarray(hidden @ np.asarray(constants["unembedding"], float).T)


@functools.cache
def _books(widths: tuple[int, ...]) -> dict[str, Any]:
    shapes = [(b, a) for a, b in itertools.pairwise(widths)]
    return books([Matrix(shape, hidden=k + 1 < len(shapes)) for k, shape in enumerate(shapes)]).bound


def _places(constants: Values) -> list[np.ndarray]:
    """Where in theta the weights of every layer are, (out, in) each."""
    widths = [int(width) for width in constants["widths"]]
    return layers(np.arange(sum(a * b for a, b in itertools.pairwise(widths))), constants)


def _normal_start(gain: float, constants: Values, normal: np.ndarray) -> np.ndarray:
    """Weights of variance gain/in: theta (m, R)."""
    pairs = itertools.pairwise(int(width) for width in constants["widths"])
    deviations = np.concatenate([np.full(a * b, math.sqrt(gain / a)) for a, b in pairs])
    return np.asarray(deviations[:, None] * normal[: len(deviations)])


def _he(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return _normal_start(2.0, constants, normal)


def _lecun(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return _normal_start(1.0, constants, normal)


def _balanced(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """W_k = U_k U_(k-1)': U_0 and U_1 are the leading singular vectors of a random W_1, the others random."""
    rank, found = int(min(constants["widths"])), []
    for k, draw in enumerate(layers(normal[:-1].T, constants)):
        if k == 0:
            after, _, right = np.linalg.svd(draw, full_matrices=False)
            after, before = after[..., :rank], np.swapaxes(right[..., :rank, :], -1, -2)
        else:
            before, after = after, np.linalg.qr(draw[..., :rank])[0]
        found.append((after @ np.swapaxes(before, -1, -2)).reshape(len(draw), -1))
    return np.concatenate(found, axis=1).T


def _layer_shape(number: int, constants: Values) -> tuple[int, ...]:
    widths = [int(width) for width in constants["widths"]]
    return (widths[number + 1], widths[number]) if number + 1 < len(widths) else (0,)


def _layer(number: int) -> Parameter:
    shape = functools.partial(_layer_shape, number)
    meaning = f"weights W_{number + 1}, a row for each unit; none beyond the depth"
    return Parameter(f"layer_{number + 1}", meaning, shape, lambda c: np.zeros(shape(c)))


def _scratch_rows(constants: Values) -> int:
    """Activations and their gradients, outputs and theirs, and a row of zeros."""
    return 2 * int(sum(constants["widths"])) + 2 * len(constants["unembedding"]) + 1


def _validate(constants: Values, settings: Any) -> list[str]:
    widths = [int(width) for width in constants["widths"]]
    if not 2 <= len(widths) <= _DEEPEST + 1:
        return [f"model.widths = {widths!r}: expected those of h_0, ..., h_D, two at least, for {_DEEPEST} layers."]
    faults = []
    rows, columns = len(constants["embedding"]), len(constants["unembedding"][0])
    if rows != widths[0]:
        told = f"has {rows} rows, and model.widths starts with {widths[0]}"
        faults.append(f"model.embedding: {told}; give the matrix {widths[0]} rows, or start the widths with {rows}.")
    if columns != widths[-1]:
        told = f"has {columns} columns, and model.widths ends with {widths[-1]}"
        remedy = f"give the matrix {widths[-1]} columns, or end the widths with {columns}"
        faults.append(f"model.unembedding: {told}; {remedy}.")
    return faults


MODEL = Model(
    name="deep-linear",
    summary="deep linear network between a fixed embedding and unembedding, which learns targets from inputs",
    source="L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025)",
    constants=(
        Constant(
            "widths",
            [2, 4, 2],
            f"numbers of components of h_0, of units in each hidden layer, and of h_D; at most {_DEEPEST} layers",
            minimum=1,
            integer=True,
            shape=lambda constants: (None,),
        ),
        Constant(
            "embedding",
            lambda constants: np.eye(int(constants["widths"][0])).tolist(),
            "matrix M_I, which takes inputs to h_0 and is not learned; default the identity",
            shape=lambda constants: (None, None),
        ),
        Constant(
            "unembedding",
            lambda constants: np.eye(int(constants["widths"][-1])).tolist(),
            "matrix M_O, which takes h_D to outputs and is not learned; default the identity",
            shape=lambda constants: (None, None),
        ),
    ),
    inputs=lambda constants: len(constants["embedding"][0]),
    targets=lambda constants: len(constants["unembedding"]),
    parameters=tuple(_layer(number) for number in range(_DEEPEST)),
    scratch_rows=_scratch_rows,
    bound=lambda constants: _books(tuple(int(width) for width in constants["widths"])),
    parameter_gradient=parameter_gradient,
    initial_theta={"he": _he, "lecun": _lecun, "balanced": _balanced},
    validate=_validate,
    layers=layers,
    activations=activations,
    outputs=outputs,
    functionals=BOOKS,
    symmetries=rescalings(_places, _places),
)
