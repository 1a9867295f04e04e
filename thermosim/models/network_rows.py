"""The layers of `network_layers` for several rows of data at a time: each load of a weight serves all of them.

Rows stand one after another, a fixed number of places apart. Every sum takes its products in the order of
`network_layers`, its `a % 4` first inputs backwards, so that the bits do not depend on how many rows go together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thermosim.kernels import dense
from thermosim.kernels.declare import inlined

__all__ = ["Layers", "layers_of_rows"]

Function = Callable[..., Any]


@dataclass(frozen=True)
class Layers:
    """The functions for so many rows at a time."""

    forward: Function
    backward: Function
    of_weights: Function


def layers_of_rows(rows: int) -> Layers:
    """Layers of a inputs and b units; arrays (..., L) with row k of the inputs from place k of_x on, and so forth.

    forward(weights, x, of_x, y, of_y, a, b, zero (1, L), floor)     writes y = max(z, floor)
    backward(weights, x, of_x, d, of_d, of_inputs, a, b, zero, floor)   writes dl/dx, of_d apart, or 0 where x <= floor
    of_weights(x, of_x, d, of_d, g, a, b)                            adds dl/dw to g
    """
    sums, outer = dense.for_rows(rows).sums, dense.for_rows(rows).outer

    @inlined
    def forward(weights, x, of_x, y, of_y, a, b, zero, floor):  # type: ignore[no-untyped-def]
        stride = weights.shape[0] // b
        start = weights[a:] if stride > a else zero
        sums(weights, stride, 1, start, stride if stride > a else 0, x, of_x, y, of_y, b, a, a % 4)
        for row in range(rows):
            for j in range(b):
                _raise(y[row * of_y + j], floor)

    @inlined
    def backward(weights, x, of_x, d, of_d, of_inputs, a, b, zero, floor):  # type: ignore[no-untyped-def]
        sums(weights, 1, weights.shape[0] // b, zero, 0, d, of_d, of_inputs, of_d, a, b, b % 4)
        for row in range(rows):
            for i in range(a):
                _stop(x[row * of_x + i], of_inputs[row * of_d + i], floor)

    @inlined
    def of_weights(x, of_x, d, of_d, g, a, b):  # type: ignore[no-untyped-def]
        stride = g.shape[0] // b
        outer(d, of_d, x, of_x, g, stride, b, a)
        for row in range(rows if stride > a else 0):
            for j in range(b):
                _add(d[row * of_d + j], g[j * stride + a])

    return Layers(forward, backward, of_weights)


@inlined
def _raise(z, floor):  # type: ignore[no-untyped-def]
    """max(z, floor) in place of z; a NaN stays one."""
    for lane in range(z.shape[0]):
        z[lane] = floor if floor > z[lane] else z[lane]


@inlined
def _stop(h, d, floor):  # type: ignore[no-untyped-def]
    """0 in place of d where h <= floor."""
    for lane in range(d.shape[0]):
        d[lane] = 0.0 if h[lane] <= floor else d[lane]


@inlined
def _add(d, g):  # type: ignore[no-untyped-def]
    for lane in range(g.shape[0]):
        g[lane] += d[lane]
