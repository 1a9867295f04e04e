"""Random-walk Metropolis in the loss of all data: training without a gradient, in detailed balance.

    theta' = theta + sqrt(2 r T) xi,   accepted with probability min(1, exp(-(U(theta') - U(theta))/T))
    U = L + lambda |theta|^2/2,        ln p(theta'|theta) - ln p(theta|theta') = -(U(theta') - U(theta))/T

exp(-U/T) is invariant at any r; as r -> 0 the path becomes that of the Langevin equation, over a time r a step.
Source: N. Metropolis et al., J. Chem. Phys. 21, 1087 (1953).

r is r times the entry of `table` for that parameter, 0 for one that is not learned. Rows of hyper: learning rate r,
weight decay lambda, temperature T. uniform (1, L) decides; memory is not used. Bound: gradient_of_loss, prepare,
PREPARED, rows of the ledger.
"""

from __future__ import annotations

import math

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma, log
from thermosim.kernels.lanes import dot

LOSS_SUM = MINIBATCH_LOSS = LOG_RATIO_THETA = ACCEPTED_THETA = -1  # rows of the ledger, -1 where they are not booked
PREPARED = False
gradient_of_loss = prepare = None


@inlined
def _propose(theta, rate, temperature, normal, table):  # type: ignore[no-untyped-def]
    for i in range(theta.shape[0]):
        w, noise, scale = theta[i], normal[i], table[i]
        for lane in range(theta.shape[1]):
            w[lane] = fma(math.sqrt(2.0 * scale * rate[lane] * temperature[lane]), noise[lane], w[lane])


def metropolis(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, memory, derived, states, normal, uniform, constants, shared, data, first_row,
    row_count, hyper, table, path, loss, gradient, after, row, work, scratch,
):  # fmt: skip
    """One proposal for theta (m, L).

    `after` (2 m, L) keeps the theta of lanes that refuse, then takes the gradient of the proposal, which nobody reads;
    loss and gradient stay those of theta before.
    """
    parameters, lanes = theta.shape
    rate, decay, temperature, decision = hyper[0], hyper[1], hyper[2], uniform[0]
    before, square, proposed = work[0], work[1], work[2]
    gradient_of_loss(
        seed, step, first_replica, theta, derived if PREPARED else theta, normal, states, constants, shared, data,
        first_row, row_count, loss, gradient, row, work, scratch,
    )  # fmt: skip
    dot(theta, theta, square)
    for lane in range(lanes):
        before[lane] = fma(0.5 * decay[lane], square[lane], loss[lane])
        if LOSS_SUM >= 0:
            path[LOSS_SUM, lane] += loss[lane]
        if MINIBATCH_LOSS >= 0:
            path[MINIBATCH_LOSS, lane] = loss[lane]
    for i in range(parameters):
        w, kept = theta[i], after[i]
        for lane in range(lanes):
            kept[lane] = w[lane]
    _propose(theta, rate, temperature, normal, table)
    prepare(theta, constants, shared, derived, scratch)
    gradient_of_loss(
        seed, step, first_replica, theta, derived if PREPARED else theta, normal, states, constants, shared, data,
        first_row, row_count, proposed, after[parameters:], row, work, scratch,
    )  # fmt: skip
    dot(theta, theta, square)
    for lane in range(lanes):
        gain = (fma(0.5 * decay[lane], square[lane], proposed[lane]) - before[lane]) / temperature[lane]
        taken = log(decision[lane]) < -gain
        decision[lane] = 1.0 if taken else 0.0
        if LOG_RATIO_THETA >= 0:
            path[LOG_RATIO_THETA, lane] -= gain if taken else 0.0
        if ACCEPTED_THETA >= 0:
            path[ACCEPTED_THETA, lane] += decision[lane]
    for i in range(parameters):
        w, kept = theta[i], after[i]
        for lane in range(lanes):
            w[lane] = w[lane] if decision[lane] > 0.5 else kept[lane]
    prepare(theta, constants, shared, derived, scratch)
