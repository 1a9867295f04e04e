"""Layers for several rows of data at a time, which stand one after another: each load of a weight serves all of them.

Every sum takes its products as they come and starts as in `kernels`, so that the bits do not depend on how many rows go
together. Layers that are not dense take their rows one by one.
"""

from __future__ import annotations

from thermosim.kernels.declare import inlined
from thermosim.kernels.dense import AS_THEY_COME, for_rows
from thermosim.models.networks.kernels import Kernels, add, opens_with_bias

__all__ = ["dense", "one_by_one"]


def dense(inputs: int, outputs: int, bias: int, first: bool, rows: int) -> Kernels:
    """y = W x + b for all rows; kept is a row of zeros."""
    sums, outer, stride = for_rows(rows).sums, for_rows(rows).outer, inputs + bias
    opening = bias if opens_with_bias(inputs) else 0

    @inlined
    def forward(weights, x, y, kept):  # type: ignore[no-untyped-def]
        for lane in range(kept.shape[1]):
            kept[0, lane] = 0.0
        start = weights[inputs:] if opening > 0 else kept
        sums(weights, stride, 1, start, stride * opening, x, inputs, y, outputs, outputs, inputs, AS_THEY_COME)
        for row in range(rows if bias > opening else 0):
            for j in range(outputs):
                add(weights[j * stride + inputs], y[row * outputs + j])

    @inlined
    def backward(weights, x, d, of_weights, of_x, kept):  # type: ignore[no-untyped-def]
        if not first:
            sums(weights, 1, stride, kept, 0, d, outputs, of_x, inputs, inputs, outputs, AS_THEY_COME)
        outer(d, outputs, x, inputs, of_weights, stride, outputs, inputs)
        for row in range(rows if bias > 0 else 0):
            for j in range(outputs):
                add(d[row * outputs + j], of_weights[j * stride + inputs])

    return Kernels(forward, backward, outputs * stride, rows * outputs, 1)


def one_by_one(layer: Kernels, inputs: int, rows: int) -> Kernels:
    """A layer that is made for one row."""
    b, k, into, back = layer.outputs, layer.kept, layer.forward, layer.backward

    @inlined
    def forward(weights, x, y, kept):  # type: ignore[no-untyped-def]
        for row in range(rows):
            own = kept[row * k : (row + 1) * k]
            into(weights, x[row * inputs : (row + 1) * inputs], y[row * b : (row + 1) * b], own)

    @inlined
    def backward(weights, x, d, of_weights, of_x, kept):  # type: ignore[no-untyped-def]
        for row in range(rows):
            here, own = slice(row * inputs, (row + 1) * inputs), kept[row * k : (row + 1) * k]
            back(weights, x[here], d[row * b : (row + 1) * b], of_weights, of_x[here], own)

    return Kernels(forward, backward, layer.parameters, rows * b, rows * k)
