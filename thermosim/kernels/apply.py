"""A model's tile functions on arrays that come from outside the step loop: one tile of parameters at a time.

Templates; bound: prepare, evaluate, parameter_gradient, fresh, PREPARED.
"""

from __future__ import annotations

import math

from thermosim.kernels import types
from thermosim.kernels.elementary import exp

__all__ = [
    "DRAW",
    "GRADIENTS",
    "LOG_SUM",
    "MOMENTS",
    "ROW_LOSSES",
    "SURPRISALS",
    "draw",
    "gradient_moments",
    "gradients",
    "log_sum",
    "row_losses",
    "surprisals",
]

_vector = types.float64[::1]
_tile = types.float64[:, ::1]
_stack = types.float64[:, :, ::1]
_common = (_tile, _tile, _tile, _vector, _tile)  # theta (m, L), derived, constants (C, L), shared, scratch

SURPRISALS = types.void(*_common, _tile, _tile, _tile, _vector, _tile, _tile)
GRADIENTS = types.void(*_common, _tile, _stack, types.float64, _vector, _tile)
MOMENTS = types.void(*_common, _tile, _tile, _vector, _tile, _tile, _tile)
ROW_LOSSES = types.void(*_common, _tile, types.int64, _tile, _vector, _tile, _tile, _tile)
LOG_SUM = types.void(*_common, _tile, _tile, _tile, _vector, _vector, _vector)
DRAW = types.void(*_common, _tile, _tile, _tile)

PREPARED = True
prepare = evaluate = parameter_gradient = fresh = None


def surprisals(theta, derived, constants, shared, scratch, points, x, force, phi, out, forces):  # type: ignore[no-untyped-def]
    """out (P, L): phi of every point (P, n) under every lane's theta; forces (n, L) at the last point.

    Where points has no rows, x (n, L) is one point for each lane and out (1, L).
    """
    source = derived if PREPARED else theta
    prepare(theta, constants, shared, derived, scratch)
    if points.shape[0] == 0:
        evaluate(x, source, constants, shared, out[0], forces, scratch)
    for p in range(points.shape[0]):
        for i in range(x.shape[0]):
            for lane in range(x.shape[1]):
                x[i, lane] = points[p, i]
        evaluate(x, source, constants, shared, out[p], force, scratch)


def log_sum(theta, derived, constants, shared, scratch, points, x, force, phi, top, total):  # type: ignore[no-untyped-def]
    """Add sum_l exp(-phi_l) over lanes to exp(top) total (P), at every point (P, n); top is the largest -phi so far."""
    source = derived if PREPARED else theta
    prepare(theta, constants, shared, derived, scratch)
    for p in range(points.shape[0]):
        for i in range(x.shape[0]):
            for lane in range(x.shape[1]):
                x[i, lane] = points[p, i]
        evaluate(x, source, constants, shared, phi, force, scratch)
        lowest = phi[0]
        for lane in range(phi.shape[0]):
            lowest = min(lowest, phi[lane])
        highest = max(top[p], -lowest)
        for lane in range(phi.shape[0]):
            phi[lane] = exp(-phi[lane] - highest)
        added = 0.0
        for lane in range(phi.shape[0]):
            added += phi[lane]
        total[p] = total[p] * math.exp(top[p] - highest) + added
        top[p] = highest


def gradients(theta, derived, constants, shared, scratch, points, rows, factor, loss, gradient):  # type: ignore[no-untyped-def]
    """Add factor phi to loss (L) and factor d phi/d theta to gradient (m, L), for every point (P, n) in every lane.

    Where there are no points, every lane has its own, rows (K, n, L); rows[0] is scratch otherwise.
    """
    source = derived if PREPARED else theta
    prepare(theta, constants, shared, derived, scratch)
    for k in range(rows.shape[0] if points.shape[0] == 0 else 0):
        parameter_gradient(rows[k], source, constants, shared, factor, loss, gradient, scratch)
    for p in range(points.shape[0]):
        x = rows[0]
        for i in range(x.shape[0]):
            for lane in range(x.shape[1]):
                x[i, lane] = points[p, i]
        parameter_gradient(x, source, constants, shared, factor, loss, gradient, scratch)


def gradient_moments(  # type: ignore[no-untyped-def]
    theta, derived, constants, shared, scratch, points, x, loss, gradient, total, square
):
    """Sums over the points (P, n) of d phi/d theta and of its square, total and square (m, L), for every lane."""
    source = derived if PREPARED else theta
    prepare(theta, constants, shared, derived, scratch)
    for p in range(points.shape[0]):
        for i in range(x.shape[0]):
            for lane in range(x.shape[1]):
                x[i, lane] = points[p, i]
        for i in range(gradient.shape[0]):
            for lane in range(gradient.shape[1]):
                gradient[i, lane] = 0.0
        parameter_gradient(x, source, constants, shared, 1.0, loss, gradient, scratch)
        for i in range(gradient.shape[0]):
            for lane in range(gradient.shape[1]):
                total[i, lane] += gradient[i, lane]
                square[i, lane] += gradient[i, lane] * gradient[i, lane]


def row_losses(  # type: ignore[no-untyped-def]
    theta, derived, constants, shared, scratch, points, classes, x, other, gradient, loss, right
):
    """loss (P, L) of every point (P, n) in every lane; right (P, L) whether its class, the last number, is predicted.

    The prediction is the class of least loss; of several that are equal each counts as an equal part. Without classes
    (0) right is left alone. other (L) and gradient (m, L) are scratch.
    """
    source = derived if PREPARED else theta
    prepare(theta, constants, shared, derived, scratch)
    last = x.shape[0] - 1
    for p in range(points.shape[0]):
        for i in range(x.shape[0]):
            for lane in range(x.shape[1]):
                x[i, lane] = points[p, i]
        own, tied = loss[p], right[p]
        for lane in range(x.shape[1]):
            own[lane] = 0.0
        parameter_gradient(x, source, constants, shared, 1.0, own, gradient, scratch)
        if classes > 0:
            for lane in range(x.shape[1]):
                tied[lane] = 1.0
            for c in range(classes):
                if c != points[p, last]:
                    for lane in range(x.shape[1]):
                        x[last, lane] = c
                        other[lane] = 0.0
                    parameter_gradient(x, source, constants, shared, 1.0, other, gradient, scratch)
                    for lane in range(x.shape[1]):
                        if other[lane] < own[lane]:
                            tied[lane] = math.inf
                        elif other[lane] == own[lane]:
                            tied[lane] += 1.0
            for lane in range(x.shape[1]):
                tied[lane] = 1.0 / tied[lane]


def draw(theta, derived, constants, shared, scratch, x, normal, uniform):  # type: ignore[no-untyped-def]
    """Write an exact sample of every lane's exp(-phi) into x (n, L)."""
    source = derived if PREPARED else theta
    prepare(theta, constants, shared, derived, scratch)
    fresh(x, source, constants, shared, normal, uniform, scratch)
