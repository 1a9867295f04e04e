"""The gradient of the loss of one step, from a minibatch of data, from all data, or prescribed by the model.

    likelihood   g = mean over the minibatch of d phi/d theta                                    [Parsi 2024, Eq. 2]
    contrast     g = that mean less the mean over the replica's own samples x, which estimates the gradient of ln Z
                 that an energy without its normaliser lacks (G. E. Hinton, Neural Comput. 14, 1771 (2002))

Rows are drawn independently with replacement, each replica its own, by the address (seed, MINIBATCH, step, replica,
place in the batch): any step can be repeated, backwards too. Rows of online learning are drawn from a normal law, at
the address (seed, FRESH, pair of places of a step, replica, component), and never met again.

Of a model that can take several rows at a time, with one look at theta, as many are handed over as are left.

Templates; bound: parameter_gradient, stochastic_gradient of the model, BATCH (0 for all rows), CONTRAST; of a model
that takes several rows at a time gradient_of_rows, ROWS_TOGETHER, and ROWS_LEFT, the rows that are left over.
"""

from __future__ import annotations

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma
from thermosim.kernels.noise import fill_normal_pair, unit_interval
from thermosim.streams import FRESH, MINIBATCH

__all__ = ["draw_rows", "from_data", "from_law", "from_noise"]

BATCH = ROWS_TOGETHER = ROWS_LEFT = 1
CONTRAST = False
parameter_gradient = gradient_of_rows = stochastic_gradient = None


@inlined
def draw_rows(  # type: ignore[no-untyped-def]
    seed, stream, step, first_replica, place, data, first_row, row_count, row, index
):
    """Copy to row (n, L) a random data row for every lane: one of the row_count that start at first_row[lane].

    index (L) is scratch; filling it first lets the generator vectorise, which the copying cannot, nor, everywhere, the
    rounding down to whole numbers.
    """
    components, lanes = row.shape
    for lane in range(lanes):
        u = unit_interval(seed, stream, step, first_replica + lane, place)
        index[lane] = u * row_count
    for lane in range(lanes):
        k = first_row[lane] + np.int64(index[lane])
        for i in range(components):
            row[i, lane] = data[k, i]


@inlined
def take_rows(place, data, first_row, row):  # type: ignore[no-untyped-def]
    """Copy to row (n, L) the row at this place of every lane's data set."""
    components, lanes = row.shape
    for lane in range(lanes):
        k = first_row[lane] + place
        for i in range(components):
            row[i, lane] = data[k, i]


@inlined
def _fill(drawn, seed, step, first_replica, place, data, first_row, row_count, row, index):  # type: ignore[no-untyped-def]
    """Copy to row (n, L) what stands at this place of every lane's minibatch, or of its data where none is drawn."""
    if drawn:
        draw_rows(seed, MINIBATCH, step, first_replica, place, data, first_row, row_count, row, index)
    else:
        take_rows(place, data, first_row, row)


@inlined
def _clear(loss, gradient):  # type: ignore[no-untyped-def]
    for lane in range(loss.shape[0]):
        loss[lane] = 0.0
    for i in range(gradient.shape[0]):
        for lane in range(gradient.shape[1]):
            gradient[i, lane] = 0.0


def from_data(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, derived, normal, states, constants, shared,
    data, first_row, row_count, loss, gradient, row, work, scratch,
):  # fmt: skip
    """Write loss (L) and gradient (m, L) at theta; states (S, n, L) are the samples x."""
    n, samples = row.shape[0] // ROWS_TOGETHER, states.shape[0]  # known when compiled for a card, as data is not
    _clear(loss, gradient)
    count = BATCH if BATCH > 0 else row_count
    share = 1.0 / count
    together = count - ROWS_LEFT if ROWS_TOGETHER > 1 else 0
    if ROWS_TOGETHER > 1:
        for first in range(0, together, ROWS_TOGETHER):
            for b in range(ROWS_TOGETHER):
                one = row[b * n : (b + 1) * n]
                _fill(BATCH > 0, seed, step, first_replica, first + b, data, first_row, row_count, one, work[3])
            gradient_of_rows(row, derived, constants, shared, share, loss, gradient, scratch)
    if ROWS_LEFT > 0:
        one = row[:n]
        for place in range(together, count):
            _fill(BATCH > 0, seed, step, first_replica, place, data, first_row, row_count, one, work[3])
            parameter_gradient(one, derived, constants, shared, share, loss, gradient, scratch)
    if CONTRAST:
        for sample in range(samples):
            parameter_gradient(states[sample], derived, constants, shared, -1.0 / samples, loss, gradient, scratch)


@inlined
def _from_normals(data, row):  # type: ignore[no-untyped-def]
    """Normals (n, L) become rows of the mean data[0] and the triangular factor data[1:], the last component first."""
    components = row.shape[0]
    for k in range(components):
        i = components - 1 - k
        factor, target = data[1 + i], row[i]
        mean, own = data[0, i], factor[i]
        for lane in range(row.shape[1]):
            target[lane] = fma(own, target[lane], mean)
        for j in range(i):
            weight, normal = factor[j], row[j]
            for lane in range(row.shape[1]):
                target[lane] = fma(weight, normal[lane], target[lane])


def from_law(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, derived, normal, states, constants, shared,
    data, first_row, row_count, loss, gradient, row, work, scratch,
):  # fmt: skip
    """The same with rows drawn anew; row (2 n, L) takes two of them, which come in pairs as their normals do."""
    components = data.shape[1]
    _clear(loss, gradient)
    for place in range(BATCH):
        even, odd = row[:components], row[components:]
        if place % 2 == 0:
            pair = step * ((BATCH + 1) // 2) + place // 2
            fill_normal_pair(seed, FRESH, pair, first_replica, 0, even, odd)
            _from_normals(data, even)
            if place + 1 < BATCH:
                _from_normals(data, odd)
        one = even if place % 2 == 0 else odd
        parameter_gradient(one, derived, constants, shared, 1.0 / BATCH, loss, gradient, scratch)


def from_noise(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, derived, normal, states, constants, shared,
    data, first_row, row_count, loss, gradient, row, work, scratch,
):  # fmt: skip
    """The model's own law of gradient noise."""
    stochastic_gradient(theta, normal, constants, shared, loss, gradient, work)
