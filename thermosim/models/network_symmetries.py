"""Rescaling symmetries of a network: of neighbouring layers, and of the weights into and out of one hidden unit.

Hidden units that are linear or ReLU, without biases, keep the output under W_k -> W_k e^-s, W_(k+1) -> W_(k+1) e^s, and
under w_i -> w_i e^-s, u_i -> u_i e^s. The generators are diagonal, 1 for weights that go out and -1 for those that come
in, so that the charges are (|W_(k+1)|^2 - |W_k|^2)/2 and (|u_i|^2 - |w_i|^2)/2.

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thermosim.models.network_books import incoming, layer_gradient_square, outgoing

__all__ = ["gained_by_layers", "gained_by_units", "layer_generators", "unit_generators"]


def layer_generators(places: Sequence[np.ndarray]) -> Any:
    """Diagonals (D - 1, m), sparse, of the places in theta of each layer's weights (out, in)."""
    return _sparse([(b, a) for a, b in itertools.pairwise(places)], places)


def unit_generators(places: Sequence[np.ndarray]) -> Any:
    """Diagonals (hidden units, m), sparse, the first layer first."""
    pairs = [(b[:, unit], a[unit]) for a, b in itertools.pairwise(places) for unit in range(len(a))]
    return _sparse(pairs, places)


def gained_by_layers(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """|g_(k+1)|^2 - |g_k|^2, summed over steps: (..., D - 1)."""
    return np.diff(sums[layer_gradient_square.name], axis=-1)


def gained_by_units(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """|g_u|^2 - |g_w|^2, summed over steps: (..., hidden units)."""
    return sums[outgoing.name] - sums[incoming.name]


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
