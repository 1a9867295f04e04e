"""Nesterov's accelerated gradient, theta being the point looked ahead at, where the gradient is taken.

    v' = beta v - r (g_b(theta) + lambda theta),   theta' = theta + beta v' - r (g_b(theta) + lambda theta)

With phi = theta - beta v this is phi' = phi + v', v' = beta v - r g(phi + beta v): the gradient looked ahead at.
Sources: Y. Nesterov, Sov. Math. Dokl. 27, 372 (1983); I. Sutskever et al., ICML 2013, Eqs. 3 and 4.

r is r times the entry of `table` for that parameter, 0 for one that is not learned. Rows of hyper: learning rate r,
weight decay lambda, momentum beta; memory (m, L) is the velocity v. Bound: gradient_of_loss, book_loss, prepare,
PREPARED, rows of the ledger.
"""

from __future__ import annotations

from thermosim.kernels.elementary import fma

PREPARED = False
gradient_of_loss = book_loss = prepare = None


def nesterov(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, memory, derived, states, normal, uniform, constants, shared, data, first_row,
    row_count, hyper, table, path, loss, gradient, after, row, work, scratch,
):  # fmt: skip
    """One step of theta (m, L); memory holds the velocity (m, L)."""
    gradient_of_loss(
        seed, step, first_replica, theta, derived if PREPARED else theta, normal, states, constants, shared, data,
        first_row, row_count, loss, gradient, row, work, scratch,
    )  # fmt: skip
    book_loss(loss, gradient, path, work[0])
    rate, decay, momentum = hyper[0], hyper[1], hyper[2]
    for i in range(theta.shape[0]):
        w, g, velocity, scale = theta[i], gradient[i], memory[i], table[i]
        for lane in range(theta.shape[1]):
            pull = -scale * rate[lane] * fma(decay[lane], w[lane], g[lane])
            velocity[lane] = fma(momentum[lane], velocity[lane], pull)
            w[lane] += fma(momentum[lane], velocity[lane], pull)
    prepare(theta, constants, shared, derived, scratch)
