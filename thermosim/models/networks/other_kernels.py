"""Kernels of layers with a fixed matrix, and of layers whose rows of weights have their length divided out.

    fixed         y = M x;   dl/dx_i = sum_j M_ji d_j
    normalised    y_j = g_j u_j,   u_j = v_j.x/|v_j|;
                  dl/dg_j = d_j u_j,   dl/dv_j = (g_j d_j/|v_j|) (x - u_j v_j/|v_j|),   dl/dx = sum_j g_j d_j v_j/|v_j|

Row j of a normalised layer is v_j, then g_j where it has gains; else g_j = 1.
Source: T. Salimans, D. P. Kingma, "Weight normalization", arXiv:1602.07868, Eqs. 2 and 3.
"""

from __future__ import annotations

import math

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma
from thermosim.models.networks.kernels import Kernels

__all__ = ["fixed", "normalised"]


def fixed(matrix: np.ndarray, first: bool) -> Kernels:
    """A linear map (b, a) that does not learn."""
    outputs, inputs = matrix.shape

    @inlined
    def forward(weights, x, y, kept):  # type: ignore[no-untyped-def]
        for j in range(outputs):
            _clear(y[j])
            for i in range(inputs):
                _add(matrix[j, i], x[i], y[j])

    @inlined
    def backward(weights, x, d, of_weights, of_x, kept):  # type: ignore[no-untyped-def]
        for i in range(0 if first else inputs):
            _clear(of_x[i])
            for j in range(outputs):
                _add(matrix[j, i], d[j], of_x[i])

    return Kernels(forward, backward, 0, outputs)


def normalised(inputs: int, outputs: int, gain: int, first: bool) -> Kernels:
    """Kept are 1/|v_j| and u_j, and a row of work."""
    stride = inputs + gain

    @inlined
    def forward(weights, x, y, kept):  # type: ignore[no-untyped-def]
        for j in range(outputs):
            v, f, inverse, u = weights[j * stride :], y[j], kept[j], kept[outputs + j]
            _clear(inverse)
            _clear(u)
            for i in range(inputs):
                _lengths(v[i], x[i], inverse, u)
            for lane in range(f.shape[0]):
                inverse[lane] = 1.0 / math.sqrt(inverse[lane])
                u[lane] *= inverse[lane]
                f[lane] = v[inputs, lane] * u[lane] if gain > 0 else u[lane]

    @inlined
    def backward(weights, x, d, of_weights, of_x, kept):  # type: ignore[no-untyped-def]
        for i in range(0 if first else inputs):
            _clear(of_x[i])
        for j in range(outputs):
            v, g, inverse, u = weights[j * stride :], of_weights[j * stride :], kept[j], kept[outputs + j]
            slope, scaled = d[j], kept[2 * outputs]
            for lane in range(slope.shape[0]):
                scaled[lane] = slope[lane] * inverse[lane]
                if gain > 0:
                    g[inputs, lane] = fma(slope[lane], u[lane], g[inputs, lane])
                    scaled[lane] *= v[inputs, lane]
            for i in range(inputs):
                _across(v[i], x[i], inverse, u, scaled, g[i])
            for i in range(0 if first else inputs):
                _product(v[i], scaled, of_x[i])

    return Kernels(forward, backward, outputs * stride, outputs, 2 * outputs + 1)


@inlined
def _clear(row):  # type: ignore[no-untyped-def]
    for lane in range(row.shape[0]):
        row[lane] = 0.0


@inlined
def _add(factor, x, total):  # type: ignore[no-untyped-def]
    for lane in range(x.shape[0]):
        total[lane] = fma(factor, x[lane], total[lane])


@inlined
def _product(v, x, total):  # type: ignore[no-untyped-def]
    for lane in range(x.shape[0]):
        total[lane] = fma(v[lane], x[lane], total[lane])


@inlined
def _lengths(v, x, square, product):  # type: ignore[no-untyped-def]
    for lane in range(x.shape[0]):
        square[lane] = fma(v[lane], v[lane], square[lane])
        product[lane] = fma(v[lane], x[lane], product[lane])


@inlined
def _across(v, x, inverse, u, scaled, g):  # type: ignore[no-untyped-def]
    """Add to g the part of scaled x that is across v: <v, g> = 0."""
    for lane in range(x.shape[0]):
        along = u[lane] * (v[lane] * inverse[lane])
        g[lane] = fma(scaled[lane], x[lane] - along, g[lane])
