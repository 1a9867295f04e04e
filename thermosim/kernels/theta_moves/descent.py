"""Learning: gradient descent on minibatches, with momentum or with thermal noise.

    sgd        v' = beta v - r (g_b(theta) + lambda theta),   theta' = theta + v'                 [Parsi 2024, Alg. 1]
    sgld       theta' = theta - r (g_b(theta) + lambda theta) + sqrt(2 r T_i) xi
    langevin   sgld on all data at once: the gradient is that of U_B                              [Parsi 2024, Eq. 19]

r is r times the entry of `table` for that parameter, 0 for one that is not learned. The density of a noisy move, at the
minibatch b that both directions use, has the ratio

    ln p(theta'|theta, b) - ln p(theta|theta', b) = sum_i v_i (xi_i + v_i/2),
    v_i = -sqrt(r/(2 T_i)) (g_i(theta) + lambda theta_i + g_i(theta') + lambda theta'_i)

Sources: B. T. Polyak, USSR Comput. Math. Math. Phys. 4, 1 (1964); M. Welling, Y. W. Teh, ICML 2011; the ratio as in
`x_moves/ula.py`.

Rows of hyper: learning rate r, weight decay lambda, momentum beta or temperature T. table holds m scales of r, then m
scales of T. Bound: gradient_of_loss, book_loss, prepare, PREPARED, rows of the ledger.
"""

from __future__ import annotations

import math

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma
from thermosim.kernels.lanes import dot

LOSS_SUM = MINIBATCH_LOSS = GRADIENT_SQUARE = DISPLACEMENT_SQUARE = (
    LOG_RATIO_THETA
) = -1  # rows of the ledger, -1 where they are not booked
PREPARED = False
_BLOCK = 4  # parameters moved together
gradient_of_loss = prepare = None


def book_loss(loss, gradient, path, square):  # type: ignore[no-untyped-def]
    """Book the loss before the move and the squared norm of its gradient (m, L); square (L) is scratch."""
    if LOSS_SUM >= 0:
        for lane in range(loss.shape[0]):
            path[LOSS_SUM, lane] += loss[lane]
    if MINIBATCH_LOSS >= 0:
        for lane in range(loss.shape[0]):
            path[MINIBATCH_LOSS, lane] = loss[lane]
    if GRADIENT_SQUARE >= 0:
        dot(gradient, gradient, square)
        for lane in range(loss.shape[0]):
            path[GRADIENT_SQUARE, lane] += square[lane]


def sgd(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, memory, derived, states, normal, uniform, constants, shared, data, first_row,
    row_count, hyper, table, path, loss, gradient, after, row, work, scratch,
):  # fmt: skip
    """One step of theta (m, L); memory holds the velocity (m, L), or nothing without momentum."""
    gradient_of_loss(
        seed, step, first_replica, theta, derived if PREPARED else theta, normal, states, constants, shared, data,
        first_row, row_count, loss, gradient, row, work, scratch,
    )  # fmt: skip
    book_loss(loss, gradient, path, work[0])
    rate, decay, momentum = hyper[0], hyper[1], hyper[2]
    square = path[DISPLACEMENT_SQUARE] if DISPLACEMENT_SQUARE >= 0 else work[0]
    parameters, whole = theta.shape[0], theta.shape[0] // _BLOCK * _BLOCK
    if memory.shape[0] > 0:
        for i in range(parameters):
            _roll(theta[i], memory[i], gradient[i], table[i], rate, decay, momentum, square)
    else:
        for i in range(0, whole, _BLOCK):
            _descend(theta[i:], gradient[i:], table[i:], rate, decay, square)
        for i in range(whole, parameters):
            _descend_one(theta[i], gradient[i], table[i], rate, decay, square)
    prepare(theta, constants, shared, derived, scratch)


@inlined
def _roll(w, velocity, g, scale, rate, decay, momentum, square):  # type: ignore[no-untyped-def]
    """A step of one parameter with momentum, its square added to square (L)."""
    for lane in range(w.shape[0]):
        slope = fma(decay[lane], w[lane], g[lane])
        velocity[lane] = fma(momentum[lane], velocity[lane], -scale * rate[lane] * slope)
        new = w[lane] + velocity[lane]
        step = new - w[lane]
        square[lane] += step * step
        w[lane] = new


@inlined
def _descend_one(w, g, scale, rate, decay, square):  # type: ignore[no-untyped-def]
    """The same without momentum."""
    for lane in range(w.shape[0]):
        slope = fma(decay[lane], w[lane], g[lane])
        new = fma(-scale * rate[lane], slope, w[lane])
        step = new - w[lane]
        square[lane] += step * step
        w[lane] = new


@inlined
def _descend(theta, gradient, table, rate, decay, square):  # type: ignore[no-untyped-def]
    """The same of several parameters, so that what they share is seldom loaded."""
    for lane in range(theta.shape[1]):
        r, shrink, total = rate[lane], decay[lane], square[lane]
        for i in range(_BLOCK):
            w = theta[i, lane]
            new = fma(-table[i] * r, fma(shrink, w, gradient[i, lane]), w)
            step = new - w
            total += step * step
            theta[i, lane] = new
        square[lane] = total


def langevin(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, memory, derived, states, normal, uniform, constants, shared, data, first_row,
    row_count, hyper, table, path, loss, gradient, after, row, work, scratch,
):  # fmt: skip
    """One step of theta (m, L) with noise, and the ratio of its density where it is booked.

    `after` (2 m, L) takes the gradient after the step, and the slopes before it; loss and gradient stay as they were.
    """
    parameters, lanes = theta.shape
    gradient_of_loss(
        seed, step, first_replica, theta, derived if PREPARED else theta, normal, states, constants, shared, data,
        first_row, row_count, loss, gradient, row, work, scratch,
    )  # fmt: skip
    book_loss(loss, gradient, path, work[0])
    rate, decay, temperature, ratio = hyper[0], hyper[1], hyper[2], path[LOG_RATIO_THETA]
    for i in range(parameters):
        w, g, noise, scale, warmth = theta[i], gradient[i], normal[i], table[i], table[parameters + i]
        slopes = after[parameters + i] if LOG_RATIO_THETA >= 0 else g
        for lane in range(lanes):
            slope = fma(decay[lane], w[lane], g[lane])
            if LOG_RATIO_THETA >= 0:
                slopes[lane] = slope
            amplitude = math.sqrt(2.0 * scale * rate[lane] * warmth * temperature[lane])
            w[lane] = fma(amplitude, noise[lane], fma(-scale * rate[lane], slope, w[lane]))
    prepare(theta, constants, shared, derived, scratch)
    if LOG_RATIO_THETA >= 0:
        gradient_of_loss(
            seed, step, first_replica, theta, derived if PREPARED else theta, normal, states, constants, shared, data,
            first_row, row_count, work[2], after[:parameters], row, work, scratch,
        )  # fmt: skip
        for i in range(parameters):
            w, g_new, noise, scale, warmth = theta[i], after[i], normal[i], table[i], table[parameters + i]
            slopes = after[parameters + i]
            for lane in range(lanes):
                slope = slopes[lane] + fma(decay[lane], w[lane], g_new[lane])
                v = -math.sqrt(0.5 * scale * rate[lane] / (warmth * temperature[lane])) * slope
                ratio[lane] = fma(v, fma(0.5, v, noise[lane]), ratio[lane])
