"""MADE, a masked autoencoder: a deep autoregressive model of bits, with exact ln p(x) and exact samples.

    p(x) = prod_d p(x_d | x_1, ..., x_(d-1)),   p(x_d = 1 | ...) = 1/(1 + exp(-a_d)),   x_d in {0, 1}
    h_0 = x,   h_l = s(W_l h_(l-1) + b_l) for l <= L,   a = W_(L+1) h_L + b_(L+1)
    phi = -ln p(x) = sum_d ln(1 + exp(a_d)) - x_d a_d                     in nat; the loss is its mean over rows

s is relu or tanh. W_l has the weights of `autoregressive_masks` and no others: group weights_l of theta holds them, row
after row. The order of components is that of the data, and fixed.

A sample is drawn component by component, x_d = 1 where a uniform number in (0, 1] is at most p(x_d = 1 | ...).

Named starts draw the weights of a unit that sees k others from a normal law of variance 1/k (lecun) or 2/k (he); biases
are zero. Sources: M. Germain, K. Gregor, I. Murray, H. Larochelle, ICML 2015, arXiv:1502.03509; S. S. Parsi, Entropy
26, 112 (2024), Eq. 1, for phi; those of the starts are in `multilayer_perceptron`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from thermosim.model import Constant, Model, Parameter, Values
from thermosim.models.architectures.measures import MEASURES
from thermosim.models.autoregressive_masks import masks
from thermosim.models.network_books import booked_by_group
from thermosim.network import Network

__all__ = ["MODEL"]

_DEEPEST = 4  # hidden layers
_ENUMERATED = 16  # components, at most, of which all states are listed


def _masks(constants: Values) -> list[np.ndarray]:
    return masks(int(constants["dimension"]), [int(units) for units in constants["hidden"]])


def _shape(number: int, biases: bool, constants: Values) -> tuple[int, ...]:
    """Of weights or biases into layer `number`, counted from 0: none beyond the last."""
    if number > len(constants["hidden"]):
        return (0,)
    mask = _masks(constants)[number]
    return (len(mask),) if biases else (int(mask.sum()),)


def _groups(number: int) -> tuple[Parameter, Parameter]:
    weights, biases = (functools.partial(_shape, number, which) for which in (False, True))
    where = f"into layer {number + 1}"
    return (
        Parameter(
            f"weights_{number + 1}",
            f"weights {where} that its mask leaves, row after row; none beyond the depth",
            weights,
            lambda constants: np.zeros(weights(constants)),
        ),
        Parameter(
            f"biases_{number + 1}",
            f"biases {where}; none beyond the depth",
            biases,
            lambda constants: np.zeros(biases(constants)),
        ),
    )


def _start(gain: float, constants: Values, normal: np.ndarray) -> np.ndarray:
    """theta (m, R): weights of variance gain over the number that their unit sees, biases 0."""
    theta, first = np.zeros((len(normal) - 1, normal.shape[1])), 0
    for mask in _masks(constants):
        seen = np.broadcast_to(mask.sum(axis=1, keepdims=True), mask.shape)[mask]
        part = slice(first, first + len(seen))
        theta[part] = np.sqrt(gain / seen)[:, None] * normal[part]
        first += len(seen) + len(mask)
    return theta


def _lecun(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return _start(1.0, constants, normal)


def _he(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return _start(2.0, constants, normal)


def support(constants: Values) -> tuple[np.ndarray, np.ndarray] | None:
    """All 2^n states, each of weight one; None where they are too many."""
    n = int(constants["dimension"])
    if n > _ENUMERATED:
        return None
    points = ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1).astype(float)
    return points, np.zeros(len(points))


def fresh(parameters: dict[str, Any], constants: Values, normal: Any, uniform: Any) -> Any:
    """Exact samples (K, n), one for each row of uniform numbers (K, n)."""
    from thermosim.models.architectures.made import sampled  # JAX comes with it

    return sampled(parameters, constants, uniform)


def _network(constants: Values) -> Network:
    from thermosim.models.architectures.made import made

    return made(constants)


def _validate(constants: Values, settings: Any) -> list[str]:
    if not 1 <= len(constants["hidden"]) <= _DEEPEST:
        return [f"model.hidden = {constants['hidden']!r}: expected units of 1 to {_DEEPEST} hidden layers."]
    return []


def _components(constants: Values) -> int:
    return int(constants["dimension"])


MODEL = booked_by_group(
    Model(
        name="made",
        summary="masked autoencoder: learns the law of bits one after another, with exact ln p and exact samples",
        source="M. Germain, K. Gregor, I. Murray, H. Larochelle, ICML 2015, arXiv:1502.03509",
        constants=(
            Constant("dimension", 8, "number of bits n", minimum=2, integer=True),
            Constant("activation", "relu", "activation s of hidden units", choices=("relu", "tanh")),
            Constant(
                "hidden",
                [32],
                f"units of each hidden layer; at most {_DEEPEST} layers",
                minimum=1,
                integer=True,
                shape=lambda constants: (None,),
            ),
        ),
        inputs=_components,
        parameters=tuple(group for number in range(_DEEPEST + 1) for group in _groups(number)),
        normalised=True,
        discrete=True,
        fresh=fresh,
        fresh_uniforms=_components,
        support=support,
        initial_theta={"lecun": _lecun, "he": _he},
        validate=_validate,
        network=_network,
        measures=MEASURES,
    )
)
