"""Gradient descent with a symmetric matrix Lambda of learning rates, with momentum or looking ahead.

    sgd        v' = beta v - r Lambda (g_b(theta) + lambda theta),   theta' = theta + v'
    nesterov   v' the same,   theta' = theta + beta v' - r Lambda (g_b(theta) + lambda theta)

At Lambda = 1 they are those of `descent` and `nesterov`. Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025),
whose Lambda is r Lambda here; B. T. Polyak, USSR Comput. Math. Math. Phys. 4, 1 (1964).

Rows of hyper: learning rate r, weight decay lambda, momentum beta; memory (m, L) is the velocity v, or nothing without
momentum. table holds 2 m scales, not used, then Lambda row by row, 0 for parameters that are not learned. Bound:
gradient_of_loss, book_loss, prepare, PREPARED, AHEAD (nesterov).
"""

from __future__ import annotations

from thermosim.kernels.elementary import fma

PREPARED = AHEAD = False
gradient_of_loss = book_loss = prepare = None


def preconditioned(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, memory, derived, states, normal, uniform, constants, shared, data, first_row,
    row_count, hyper, table, path, loss, gradient, after, row, work, scratch,
):  # fmt: skip
    """One step of theta (m, L); `after` (m, L) takes the slopes g + lambda theta."""
    parameters, lanes = theta.shape
    gradient_of_loss(
        seed, step, first_replica, theta, derived if PREPARED else theta, normal, states, constants, shared, data,
        first_row, row_count, loss, gradient, row, work, scratch,
    )  # fmt: skip
    book_loss(loss, gradient, path, work[0])
    rate, decay, momentum, pull = hyper[0], hyper[1], hyper[2], work[0]
    for i in range(parameters):
        w, g, slopes = theta[i], gradient[i], after[i]
        for lane in range(lanes):
            slopes[lane] = fma(decay[lane], w[lane], g[lane])
    for i in range(parameters):
        w = theta[i]
        for lane in range(lanes):
            pull[lane] = 0.0
        for j in range(parameters):
            entry, slopes = table[2 * parameters + i * parameters + j], after[j]
            if entry != 0.0:
                for lane in range(lanes):
                    pull[lane] = fma(entry, slopes[lane], pull[lane])
        if memory.shape[0] > 0:
            velocity = memory[i]
            for lane in range(lanes):
                kick = -rate[lane] * pull[lane]
                velocity[lane] = fma(momentum[lane], velocity[lane], kick)
                w[lane] += fma(momentum[lane], velocity[lane], kick) if AHEAD else velocity[lane]
        else:
            for lane in range(lanes):
                w[lane] = fma(-rate[lane], pull[lane], w[lane])
    prepare(theta, constants, shared, derived, scratch)
