"""Sums over components, one per lane, several components at a time so that the sum is seldom loaded and stored."""

from __future__ import annotations

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma

__all__ = ["dot", "weighted_sum"]


@inlined
def dot(a, b, total):  # type: ignore[no-untyped-def]
    """total[l] = sum_i a[i, l] b[i, l] for a, b (n, L)."""
    components, lanes = a.shape
    i = 0
    if components >= 3:
        for lane in range(lanes):
            total[lane] = fma(a[0, lane], b[0, lane], fma(a[1, lane], b[1, lane], a[2, lane] * b[2, lane]))
        i = 3
    else:
        for lane in range(lanes):
            total[lane] = a[0, lane] * b[0, lane]
        i = 1
    while i + 4 <= components:
        a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
        b0, b1, b2, b3 = b[i], b[i + 1], b[i + 2], b[i + 3]
        for lane in range(lanes):
            s = fma(a0[lane], b0[lane], fma(a1[lane], b1[lane], total[lane]))
            total[lane] = fma(a2[lane], b2[lane], fma(a3[lane], b3[lane], s))
        i += 4
    while i < components:
        a0, b0 = a[i], b[i]
        for lane in range(lanes):
            total[lane] = fma(a0[lane], b0[lane], total[lane])
        i += 1


@inlined
def weighted_sum(weights, a, total):  # type: ignore[no-untyped-def]
    """total[l] = sum_i weights[i] a[i, l] for weights (n,), a (n, L)."""
    components, lanes = a.shape
    i = 0
    if components >= 3:
        w0, w1, w2 = weights[0], weights[1], weights[2]
        for lane in range(lanes):
            total[lane] = fma(w0, a[0, lane], fma(w1, a[1, lane], w2 * a[2, lane]))
        i = 3
    else:
        w0 = weights[0]
        for lane in range(lanes):
            total[lane] = w0 * a[0, lane]
        i = 1
    while i + 4 <= components:
        a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
        w0, w1, w2, w3 = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        for lane in range(lanes):
            s = fma(w0, a0[lane], fma(w1, a1[lane], total[lane]))
            total[lane] = fma(w2, a2[lane], fma(w3, a3[lane], s))
        i += 4
    while i < components:
        a0, w0 = a[i], weights[i]
        for lane in range(lanes):
            total[lane] = fma(w0, a0[lane], total[lane])
        i += 1
