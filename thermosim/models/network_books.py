"""What a network books along its path, layer by layer.

    layer_gradient_square_k    sum over steps of |g_k|^2, g_k the gradient of layer k at its minibatch

Two neighbouring layers without biases whose hidden units are linear or ReLU have the rescaling symmetry
W_k -> W_k e^s, W_(k+1) -> W_(k+1) e^-s, with the charge C_k = (|W_(k+1)|^2 - |W_k|^2)/2, and under SGD at the learning
rate r and weight decay lambda, at every step and for every batch,

    C_k' = (1 - r lambda)^2 C_k + (r^2/2) (|g_(k+1)|^2 - |g_k|^2)

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025); exact, since <W_k, g_k> is the same for all layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.ledger import Functional

__all__ = ["LAYER", "layer_gradient_square"]

LAYER = "layer"  # the dimension
WIDTHS = BIAS = 0  # bound: where the widths start among the array constants, the row of the constant `bias`


def _book(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    """Add |g_k|^2 of every layer to its row of total (depth, L)."""
    biases, i = np.int64(constants[BIAS, 0]), 0
    for k in range(total.shape[0]):
        row = total[k]
        for _ in range(np.int64(shared[WIDTHS + k + 1]) * (np.int64(shared[WIDTHS + k]) + biases)):
            slope = gradient[i]
            for lane in range(theta.shape[1]):
                row[lane] += slope[lane] * slope[lane]
            i += 1


def _depth(constants: Mapping[str, Any]) -> int:
    return len(constants["widths"]) - 1


layer_gradient_square = Functional(
    "layer_gradient_square",
    "theta",
    "energy^2",
    "sum over steps of the squared gradient of each layer",
    "sum_t |g_k|^2",
    book=_book,
    dim=LAYER,
    size=_depth,
)
