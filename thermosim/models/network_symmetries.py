"""Symmetries of a network: of neighbouring layers, of the weights into and out of one hidden unit, of pairs of units.

Hidden units that are linear or ReLU, without biases, keep the output under W_k -> W_k e^-s, W_(k+1) -> W_(k+1) e^s, and
under w_i -> w_i e^-s, u_i -> u_i e^s. The generators are diagonal, 1 for weights that go out and -1 for those that come
in, so that the charges are (|W_(k+1)|^2 - |W_k|^2)/2 and (|u_i|^2 - |w_i|^2)/2.

Linear units keep the output under W_k -> exp(-s B) W_k, W_(k+1) -> W_(k+1) exp(s B) of any B. With those of one unit,
B = e_a e_b' + e_b e_a' are all symmetric ones, whose charges are u_a.u_b - w_a.w_b, and B = e_a e_b' - e_b e_a' rotate.

A row of weights whose length is divided out keeps the output under w -> w e^s, with the charge |w|^2/2.

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thermosim.model import Symmetry, Values
from thermosim.models.network_books import (
    incoming,
    incoming_weights,
    layer_gradient_square,
    layer_weight_square,
    outgoing,
    outgoing_weights,
)

__all__ = [
    "between_layers",
    "between_weights",
    "layer_generators",
    "pair_generators",
    "rescalings",
    "unit_generators",
    "unit_lengths",
]

Places = Callable[[Values], Sequence[np.ndarray]]
_LARGEST = 4_000_000  # numbers of the matrices of pairs


def rescalings(places: Places, linear: Places) -> tuple[Symmetry, ...]:
    """Symmetries of a network that books `network_books.BOOKS`.

    places(constants): where in theta the weights (out, in) of its layers are, one array where none can be rescaled;
    linear: the same, of layers whose units are linear.
    """
    return (
        Symmetry(
            "layers",
            "a charge between layers",
            lambda constants: layer_generators(places(constants)),
            books=(layer_gradient_square.name,),
            weights=(layer_weight_square.name,),
            between=between_layers,
        ),
        Symmetry(
            "units",
            "a charge of a hidden unit",
            lambda constants: unit_generators(places(constants)),
            books=(outgoing.name, incoming.name),
            weights=(outgoing_weights.name, incoming_weights.name),
            between=between_weights,
        ),
        Symmetry("pairs", "a charge of two hidden units", lambda constants: pair_generators(linear(constants), 1.0)),
        Symmetry(
            "rotations",
            "a step along a rotation of two hidden units",
            lambda constants: pair_generators(linear(constants), -1.0),
        ),
    )


def layer_generators(places: Sequence[np.ndarray]) -> Any:
    """Diagonals (D - 1, m), sparse, of the places in theta of each layer's weights (out, in)."""
    return _sparse([(b, a) for a, b in itertools.pairwise(places)], places)


def unit_generators(places: Sequence[np.ndarray]) -> Any:
    """Diagonals (hidden units, m), sparse, the first layer first."""
    pairs = [(b[:, unit], a[unit]) for a, b in itertools.pairwise(places) for unit in range(len(a))]
    return _sparse(pairs, places)


def pair_generators(places: Sequence[np.ndarray], sign: float) -> np.ndarray:
    """Matrices (G, m, m) of B = e_a e_b' + sign e_b e_a' for pairs a < b of units of a layer; none where too many."""
    size, count = sum(part.size for part in places), sum(len(part) * (len(part) - 1) // 2 for part in places[:-1])
    if count * size**2 > _LARGEST:
        return np.zeros((0, size))
    found, row = np.zeros((count, size, size)), 0
    for first, second in itertools.pairwise(places):
        for b in range(len(first)):
            for a in range(b):
                found[row, first[a], first[b]] = -1.0
                found[row, first[b], first[a]] = -sign
                found[row, second[:, b], second[:, a]] = 1.0
                found[row, second[:, a], second[:, b]] = sign
                row += 1
    return found


def unit_lengths(rows: Sequence[np.ndarray], count: int) -> Any:
    """Diagonals (rows, count), sparse: 1 at the places of each row of weights whose length has no effect."""
    return _sparse([(row, row[:0]) for row in rows], [np.arange(count)])


def between_layers(sums: np.ndarray) -> np.ndarray:
    """Of sums of squares of each layer (..., D), what goes out less what comes in: (..., D - 1)."""
    return np.diff(sums, axis=-1)


def between_weights(out: np.ndarray, into: np.ndarray) -> np.ndarray:
    """Of sums of squares out of hidden units and into them, (..., hidden units) all."""
    return out - into


def _sparse(pairs: Sequence[tuple[np.ndarray, np.ndarray]], places: Sequence[np.ndarray]) -> Any:
    """A row for each pair: 1 at the places of its first, -1 at those of its second."""
    from scipy import sparse  # costs a start of the command line

    entries = [(row, int(place), sign)
               for row, pair in enumerate(pairs)
               for sign, part in zip((1.0, -1.0), pair, strict=True)
               for place in part.ravel()]  # fmt: skip
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    shape = (len(pairs), sum(part.size for part in places))
    return sparse.csr_array((np.array(values, float), (np.array(rows, int), np.array(columns, int))), shape=shape)
