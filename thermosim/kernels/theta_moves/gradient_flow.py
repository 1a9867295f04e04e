"""Gradient flow: one step of the classical Runge-Kutta method, of order 4, over a time r.

    d theta/ds = f(theta) = -(grad U_B(theta) + lambda theta)
    k1 = f(theta),   k2 = f(theta + r k1/2),   k3 = f(theta + r k2/2),   k4 = f(theta + r k3)
    theta' = theta + (r/6)(k1 + 2 k2 + 2 k3 + k4),   an error of r^5 a step and r^4 at a fixed time

A step of gradient descent at the learning rate r takes the same time, with an error of r: what they differ by is the
entropic force. Source: W. Kutta, Z. Math. Phys. 46, 435 (1901).

r is r times the entry of `table` for that parameter, 0 for one that is not learned. Rows of hyper: time r (the learning
rate), weight decay lambda; memory is not used. Bound: gradient_of_loss, book_loss, prepare, PREPARED.
"""

from __future__ import annotations

from thermosim.kernels.elementary import fma

PREPARED = False
gradient_of_loss = book_loss = prepare = None


def gradient_flow(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, memory, derived, states, normal, uniform, constants, shared, data, first_row,
    row_count, hyper, table, path, loss, gradient, after, row, work, scratch,
):  # fmt: skip
    """One step of theta (m, L).

    `after` (3 m, L) takes theta at the start, the weighted sum of the slopes, and the gradient of a stage; loss and
    gradient stay those of theta before.
    """
    parameters, lanes = theta.shape
    gradient_of_loss(
        seed, step, first_replica, theta, derived if PREPARED else theta, normal, states, constants, shared, data,
        first_row, row_count, loss, gradient, row, work, scratch,
    )  # fmt: skip
    book_loss(loss, gradient, path, work[0])
    rate, decay = hyper[0], hyper[1]
    for i in range(parameters):
        w, g, start, total, scale = theta[i], gradient[i], after[i], after[parameters + i], table[i]
        for lane in range(lanes):
            slope = fma(decay[lane], w[lane], g[lane])
            start[lane], total[lane] = w[lane], slope
            w[lane] = fma(-0.5 * scale * rate[lane], slope, w[lane])
    for stage in range(2, 5):
        prepare(theta, constants, shared, derived, scratch)
        gradient_of_loss(
            seed, step, first_replica, theta, derived if PREPARED else theta, normal, states, constants, shared, data,
            first_row, row_count, work[2], after[2 * parameters :], row, work, scratch,
        )  # fmt: skip
        for i in range(parameters):
            w, g, start, total, scale = theta[i], after[2 * parameters + i], after[i], after[parameters + i], table[i]
            for lane in range(lanes):
                slope, time = fma(decay[lane], w[lane], g[lane]), scale * rate[lane]
                if stage < 4:
                    total[lane] = fma(2.0, slope, total[lane])
                    w[lane] = fma(-0.5 * time if stage == 2 else -time, slope, start[lane])
                else:
                    w[lane] = fma(-time / 6.0, total[lane] + slope, start[lane])
    prepare(theta, constants, shared, derived, scratch)
