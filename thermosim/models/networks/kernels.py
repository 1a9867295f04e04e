"""Layers on lanes, forwards and backwards, their widths known to the compiler: every lane has weights of its own.

    z_j = sum_i w_ji x_i + b_j;        dl/dw_ji = d_j x_i,   dl/db_j = d_j,   dl/dx_i = sum_j w_ji d_j,   d_j = dl/dz_j

A layer is a pair of functions made for its widths, which are then constants of their code: loops over units and inputs
are unrolled, and a sum stays in a register. A loop over lanes writes few rows, for the compiler has to prove every
pair of them disjoint. The functions of a network are made of those of its layers (`following`, `around`).

    forward(weights (m, L), x (a, L), y (b, L), kept (K, L))               writes y, and in kept what the way back needs
    backward(weights, x, d (b, L), of_weights (m, L), of_x (a, L), kept)   adds to of_weights, and writes of_x = dl/dx
                                                                           unless the layer is the first that learns

Source: D. E. Rumelhart, G. E. Hinton, R. J. Williams, Nature 323, 533 (1986), for the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma

__all__ = ["Kernels", "add", "around", "dense", "elementwise", "following", "opens_with_bias"]

_SUM, _BACK = 16, 8  # products in one loop over lanes, rows that one writes
Function = Callable[..., Any]


@dataclass(frozen=True)
class Kernels:
    """The functions of a layer, and their sizes."""

    forward: Function
    backward: Function
    parameters: int  # rows of weights
    outputs: int  # rows of y
    kept: int = 0  # rows that the way back finds as the way forward left them


def dense(inputs: int, outputs: int, bias: int, first: bool) -> Kernels:
    """y = W x + b: weights hold one unit after another, its bias last.

    Wide layers go in blocks; narrow ones have fewer functions, of which each costs a fifth of a second to compile.
    """
    forward = (_forward if opens_with_bias(inputs) else _forward_in_blocks)(inputs, outputs, bias)
    if first:
        backward = _back_of_first(inputs, outputs, bias)
    else:
        backward = (_back if outputs <= _BACK else _back_in_blocks)(inputs, outputs, bias)
    return Kernels(forward, backward, outputs * (inputs + bias), outputs)


def opens_with_bias(inputs: int) -> bool:
    """Whether a sum starts with the bias, which is added last where sums go in blocks."""
    return inputs <= _SUM


def elementwise(function: Function, units: int, first: bool) -> Kernels:
    """y = s(x) by a function that gives s and its slope, which is kept."""

    @inlined
    def forward(weights, x, y, kept):  # type: ignore[no-untyped-def]
        for j in range(units):
            z, h, slope = x[j], y[j], kept[j]
            for lane in range(z.shape[0]):
                h[lane], slope[lane] = function(z[lane])

    @inlined
    def backward(weights, x, d, of_weights, of_x, kept):  # type: ignore[no-untyped-def]
        for j in range(0 if first else units):
            slope, above, below = kept[j], d[j], of_x[j]
            for lane in range(slope.shape[0]):
                below[lane] = above[lane] * slope[lane]

    return Kernels(forward, backward, 0, units, units)


def following(below: Kernels, above: Kernels) -> Kernels:
    """One layer after another: between them are the outputs of the lower one and the slopes by them, both kept."""
    m, b, k = below.parameters, below.outputs, below.kept
    down, up, back_down, back_up = below.forward, above.forward, below.backward, above.backward

    @inlined
    def forward(weights, x, y, kept):  # type: ignore[no-untyped-def]
        between, rest = kept[:b], kept[2 * b :]
        down(weights[:m], x, between, rest[:k])
        up(weights[m:], between, y, rest[k:])

    @inlined
    def backward(weights, x, d, of_weights, of_x, kept):  # type: ignore[no-untyped-def]
        between, of_between, rest = kept[:b], kept[b : 2 * b], kept[2 * b :]
        back_up(weights[m:], between, d, of_weights[m:], of_between, rest[k:])
        back_down(weights[:m], x, of_between, of_weights[:m], of_x, rest[:k])

    return Kernels(forward, backward, m + above.parameters, above.outputs, 2 * b + k + above.kept)


def around(inner: Kernels, first: bool) -> Kernels:
    """y = x + f(x)."""
    units, into, back = inner.outputs, inner.forward, inner.backward

    @inlined
    def forward(weights, x, y, kept):  # type: ignore[no-untyped-def]
        into(weights, x, y, kept)
        for j in range(units):
            h, z = y[j], x[j]
            for lane in range(h.shape[0]):
                h[lane] += z[lane]

    @inlined
    def backward(weights, x, d, of_weights, of_x, kept):  # type: ignore[no-untyped-def]
        back(weights, x, d, of_weights, of_x, kept)
        for j in range(0 if first else units):
            above, below = d[j], of_x[j]
            for lane in range(above.shape[0]):
                below[lane] += above[lane]

    return Kernels(forward, backward, inner.parameters, units, inner.kept)


def _forward(inputs: int, outputs: int, bias: int) -> Function:
    stride = inputs + bias

    @inlined
    def forward(weights, x, y, kept):  # type: ignore[no-untyped-def]
        for j in range(outputs):
            w, total = weights[j * stride :], y[j]
            for lane in range(total.shape[0]):
                z = w[inputs, lane] if bias > 0 else 0.0
                for i in range(inputs):
                    z = fma(w[i, lane], x[i, lane], z)
                total[lane] = z

    return forward


def _forward_in_blocks(inputs: int, outputs: int, bias: int) -> Function:
    opening = inputs % _SUM or _SUM
    opened, added, stride = _forward(opening, 1, 0), _sum(_SUM), inputs + bias

    @inlined
    def forward(weights, x, y, kept):  # type: ignore[no-untyped-def]
        for j in range(outputs):
            row = weights[j * stride :]
            opened(row, x, y[j : j + 1], kept)
            for i in range(opening, inputs, _SUM):
                added(row[i:], x[i:], y[j])
            if bias > 0:
                add(row[inputs], y[j])

    return forward


def _sum(count: int) -> Function:
    @inlined
    def block(w, x, total):  # type: ignore[no-untyped-def]
        """Add the sum of count products to total."""
        for lane in range(total.shape[0]):
            z = total[lane]
            for i in range(count):
                z = fma(w[i, lane], x[i, lane], z)
            total[lane] = z

    return block


def _back(inputs: int, outputs: int, bias: int) -> Function:
    """Of the weights of one input into all units: their gradients, and dl/dx = sum_j w_j d_j."""
    stride = inputs + bias

    @inlined
    def backward(weights, x, d, of_weights, of_x, kept):  # type: ignore[no-untyped-def]
        for i in range(inputs):
            w, g, values, total = weights[i:], of_weights[i:], x[i], of_x[i]
            for lane in range(values.shape[0]):
                h, s = values[lane], 0.0
                for j in range(outputs):
                    slope = d[j, lane]
                    g[j * stride, lane] = fma(slope, h, g[j * stride, lane])
                    s = fma(w[j * stride, lane], slope, s)
                total[lane] = s
        for j in range(outputs if bias else 0):
            add(d[j], of_weights[j * stride + inputs])

    return backward


def _back_in_blocks(inputs: int, outputs: int, bias: int) -> Function:
    opening, stride = outputs % _BACK or _BACK, inputs + bias
    opened, added = _way_back(opening, stride, True), _way_back(_BACK, stride, False)

    @inlined
    def backward(weights, x, d, of_weights, of_x, kept):  # type: ignore[no-untyped-def]
        for i in range(inputs):
            opened(weights[i:], d, x[i], of_weights[i:], of_x[i])
            for j in range(opening, outputs, _BACK):
                here = i + j * stride
                added(weights[here:], d[j:], x[i], of_weights[here:], of_x[i])
        for j in range(outputs if bias else 0):
            add(d[j], of_weights[j * stride + inputs])

    return backward


def _way_back(count: int, stride: int, opens: bool) -> Function:
    @inlined
    def block(w, d, x, g, total):  # type: ignore[no-untyped-def]
        """The same of count units, added to total unless it opens the sum."""
        for lane in range(x.shape[0]):
            h, s = x[lane], 0.0 if opens else total[lane]
            for j in range(count):
                slope = d[j, lane]
                g[j * stride, lane] = fma(slope, h, g[j * stride, lane])
                s = fma(w[j * stride, lane], slope, s)
            total[lane] = s

    return block


def _back_of_first(inputs: int, outputs: int, bias: int) -> Function:
    """Of a layer whose inputs are data: nothing is passed on."""
    stride, rest = inputs + bias, inputs % _BACK
    whole = inputs - rest

    @inlined
    def backward(weights, x, d, of_weights, of_x, kept):  # type: ignore[no-untyped-def]
        for j in range(outputs):
            slopes, g = d[j], of_weights[j * stride :]
            for first in range(0, whole, _BACK):
                values, of_values = x[first:], g[first:]
                for lane in range(slopes.shape[0]):
                    for i in range(_BACK):
                        of_values[i, lane] = fma(slopes[lane], values[i, lane], of_values[i, lane])
            values, of_values = x[whole:], g[whole:]
            for lane in range(slopes.shape[0] if rest > 0 else 0):
                for i in range(rest):
                    of_values[i, lane] = fma(slopes[lane], values[i, lane], of_values[i, lane])
            if bias > 0:
                add(slopes, g[inputs])

    return backward


@inlined
def add(d, g):  # type: ignore[no-untyped-def]
    for lane in range(d.shape[0]):
        g[lane] += d[lane]
