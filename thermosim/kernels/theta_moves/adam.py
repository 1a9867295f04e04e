"""Adam, and AdamW with its weight decay outside the moments.

    m' = beta1 m + (1 - beta1) g,    v' = beta2 v + (1 - beta2) g^2
    adam    g = g_b(theta) + lambda theta,   theta' = theta - r m^/(sqrt(v^) + epsilon)
    adamw   g = g_b(theta),                  theta' = theta - r (m^/(sqrt(v^) + epsilon) + lambda theta)

m^ = m'/c1 and v^ = v'/c2 are free of the bias of their start at 0: c1 = 1 - beta1^t after t steps, carried along as the
same average of ones, c' = beta c + (1 - beta). Sources: D. P. Kingma, J. Ba, ICLR 2015, Algorithm 1; I. Loshchilov,
F. Hutter, ICLR 2019, Algorithm 2, whose decay of theta in a step is lambda, not r lambda as here and in most libraries.

r is r times the entry of `table` for that parameter, 0 for one that is not learned. Rows of hyper: learning rate r,
weight decay lambda, beta1, beta2, epsilon; memory (2 m + 2, L) holds m, v, c1, c2. Bound: gradient_of_loss, book_loss,
prepare, PREPARED, DECOUPLED (AdamW), rows of the ledger.
"""

from __future__ import annotations

import math

from thermosim.kernels.elementary import fma

PREPARED = DECOUPLED = False
gradient_of_loss = book_loss = prepare = None


def adam(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, memory, derived, states, normal, uniform, constants, shared, data, first_row,
    row_count, hyper, table, path, loss, gradient, after, row, work, scratch,
):  # fmt: skip
    """One step of theta (m, L)."""
    parameters, lanes = theta.shape
    gradient_of_loss(
        seed, step, first_replica, theta, derived if PREPARED else theta, normal, states, constants, shared, data,
        first_row, row_count, loss, gradient, row, work, scratch,
    )  # fmt: skip
    book_loss(loss, gradient, path, work[0])
    rate, decay, beta1, beta2, epsilon = hyper[0], hyper[1], hyper[2], hyper[3], hyper[4]
    share1, share2 = memory[2 * parameters], memory[2 * parameters + 1]
    for lane in range(lanes):
        share1[lane] = fma(beta1[lane], share1[lane], 1.0 - beta1[lane])
        share2[lane] = fma(beta2[lane], share2[lane], 1.0 - beta2[lane])
    for i in range(parameters):
        w, g, mean, square, scale = theta[i], gradient[i], memory[i], memory[parameters + i], table[i]
        for lane in range(lanes):
            slope = g[lane] if DECOUPLED else fma(decay[lane], w[lane], g[lane])
            mean[lane] = fma(beta1[lane], mean[lane], (1.0 - beta1[lane]) * slope)
            square[lane] = fma(beta2[lane], square[lane], (1.0 - beta2[lane]) * slope * slope)
            pull = mean[lane] / share1[lane] / (math.sqrt(square[lane] / share2[lane]) + epsilon[lane])
            if DECOUPLED:
                pull = fma(decay[lane], w[lane], pull)
            w[lane] = fma(-scale * rate[lane], pull, w[lane])
    prepare(theta, constants, shared, derived, scratch)
