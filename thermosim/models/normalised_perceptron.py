"""A scale-invariant perceptron that learns classes: every hidden layer is normalised over the minibatch.

    h_0 = x,  h_k = relu(N(W_k h_(k-1))),  f = A h_D,   l = -ln softmax(f)_y in nat,   mean over the minibatch

N is batch normalisation without gain and bias, A of norm 10 does not learn. Group layer_k has shape (out, in). All
layers, and every unit of them, are scale-invariant by themselves.

Source: I. Sadrtdinov et al., arXiv:2511.07308, of whose ConvNet it is the smallest relative.
"""

from __future__ import annotations

import functools

import numpy as np

from thermosim.model import Constant, Model, Parameter, Values
from thermosim.models.scale_invariant import batch_faults, books, channels, head_seed, measures, starts
from thermosim.network import Network

_DEEPEST = 8


def _shapes(constants: Values) -> dict[str, tuple[int, ...]]:
    widths = [int(width) for width in constants["widths"]]
    return {f"layer_{k}": (widths[k], widths[k - 1]) for k in range(1, len(widths) - 1)}


def _scales(constants: Values) -> tuple[tuple[str, ...], ...]:
    return tuple((name,) for name in _shapes(constants))


def _shape(name: str, constants: Values) -> tuple[int, ...]:
    return _shapes(constants).get(name, (0,))


def _parameter(number: int) -> Parameter:
    shape = functools.partial(_shape, f"layer_{number}")
    meaning = f"weights into hidden layer {number}, a row for each unit; none beyond the depth"
    return Parameter(f"layer_{number}", meaning, shape, lambda constants: np.zeros(shape(constants)))


def _network(constants: Values) -> Network:
    from thermosim.models.architectures.normalised_perceptron import normalised_perceptron  # JAX comes with it

    return normalised_perceptron(constants)


def _validate(constants: Values, settings: object) -> list[str]:
    widths = constants["widths"]
    if not 3 <= len(widths) <= _DEEPEST + 2 or widths[-1] < 2:
        expected = f"inputs, 1 to {_DEEPEST} hidden layers, and two classes at least, as in [64, 32, 32, 10]"
        return [f"model.widths = {widths!r}: expected {expected}."]
    return batch_faults(constants, settings)


MODEL = Model(
    name="normalised-perceptron",
    summary="scale-invariant perceptron that learns classes, its hidden layers normalised",
    source="I. Sadrtdinov et al., arXiv:2511.07308 (2025)",
    constants=(
        Constant(
            "widths",
            [64, 32, 32, 10],
            f"numbers of inputs, of units in each hidden layer ({_DEEPEST} at most), and of classes",
            minimum=1,
            integer=True,
            shape=lambda constants: (None,),
        ),
        head_seed,
    ),
    inputs=lambda constants: int(constants["widths"][0]),
    targets=lambda constants: 1,
    classes=lambda constants: int(constants["widths"][-1]),
    parameters=tuple(_parameter(number) for number in range(1, _DEEPEST + 1)),
    scales=_scales,
    initial_theta=starts(_shapes, _scales),
    validate=_validate,
    functionals=books(_shapes, _scales),
    network=_network,
    measures=measures,
    symmetries=(channels(_shapes, _scales),),
)
