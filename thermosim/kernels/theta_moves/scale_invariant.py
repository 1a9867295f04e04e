"""SGD of scale-invariant parameters under the three constraints of the ideal-gas theory.

    fixed-lr      w' = w - eta (g + lambda w)                  effective learning rate eta/|w|^2
    fixed-elr     w' = w - eta_eff |w|^2 (g + lambda w)
    fixed-sphere  v = w - eta_eff r^2 g,  w' = r v/|v|         no weight decay; |v|/r - 1 measures the pressure

Source: I. Sadrtdinov et al., "Can Stationary Distributions of Scale-Invariant Neural Networks Be Described by the
Thermodynamics of an Ideal Gas?", arXiv 2511.07308, isotropic noise model.

Rows of hyper: learning rate (eta or eta_eff), weight decay lambda, radius r. Booked: |w|^2 |g|^2, the squared gradient
norm on the unit sphere, and on the sphere |v|/r - 1.
"""

from __future__ import annotations

import math

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma
from thermosim.kernels.lanes import dot

LOSS_SUM = GRADIENT_SQUARE = STRETCH = -1  # rows of the ledger, -1 where they are not booked
FIXED_LR, FIXED_ELR, FIXED_SPHERE = 0, 1, 2
CONSTRAINT = FIXED_LR  # bound when the move is compiled
PREPARED = False
gradient_of_loss = prepare = None


def constrained_sgd(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, memory, derived, states, normal, uniform, constants, shared, data, first_row,
    row_count, hyper, table, path, loss, gradient, after, row, work, scratch,
):  # fmt: skip
    """One step of theta (m, L) along minus the gradient of the loss."""
    parameters, lanes = theta.shape
    gradient_of_loss(
        seed, step, first_replica, theta, derived if PREPARED else theta, normal, states, constants, shared, data,
        first_row, row_count, loss, gradient, row, work, scratch,
    )  # fmt: skip
    if LOSS_SUM >= 0:
        for lane in range(lanes):
            path[LOSS_SUM, lane] += loss[lane]
    learning_rate, weight_decay, radius = hyper[0], hyper[1], hyper[2]
    norm, slope, shrink, stride = work[0], work[1], work[2], work[3]
    booked = path[GRADIENT_SQUARE]
    dot(theta, theta, norm)
    if GRADIENT_SQUARE >= 0:
        dot(gradient, gradient, slope)
    for lane in range(lanes):  # w' = shrink w - stride g
        if GRADIENT_SQUARE >= 0:
            booked[lane] = fma(norm[lane], slope[lane], booked[lane])
        if CONSTRAINT == FIXED_LR:
            stride[lane] = learning_rate[lane]
            shrink[lane] = fma(-learning_rate[lane], weight_decay[lane], 1.0)
        elif CONSTRAINT == FIXED_ELR:
            stride[lane] = learning_rate[lane] * norm[lane]
            shrink[lane] = fma(-learning_rate[lane] * norm[lane], weight_decay[lane], 1.0)
        else:
            stride[lane] = learning_rate[lane] * radius[lane] * radius[lane]
            shrink[lane] = 1.0
    for i in range(parameters):
        w, g = theta[i], gradient[i]
        for lane in range(lanes):
            w[lane] = fma(-stride[lane], g[lane], shrink[lane] * w[lane])
    if CONSTRAINT == FIXED_SPHERE:
        _return_to_sphere(theta, radius, norm, path[STRETCH], STRETCH >= 0)
    prepare(theta, constants, shared, derived, scratch)


@inlined
def _return_to_sphere(theta, radius, factor, booked, books):  # type: ignore[no-untyped-def]
    dot(theta, theta, factor)
    for lane in range(theta.shape[1]):
        length = math.sqrt(factor[lane])
        if books:
            booked[lane] += length / radius[lane] - 1.0
        factor[lane] = radius[lane] / length
    for i in range(theta.shape[0]):
        w = theta[i]
        for lane in range(theta.shape[1]):
            w[lane] *= factor[lane]
