"""A move of theta that is no learning: a prescribed protocol."""

from __future__ import annotations

prepare = None  # bound when the move is compiled


def protocol(  # type: ignore[no-untyped-def]
    seed, step, first_replica, theta, memory, derived, states, normal, uniform, constants, shared, data, first_row,
    row_count, hyper, table, path, loss, gradient, after, row, work, scratch,
):  # fmt: skip
    """theta' = the protocol's value at this step, table (m,), for every lane."""
    moved = False
    for i in range(theta.shape[0]):
        values, value = theta[i], table[i]
        if values[0] != value:  # a parameter that rests costs nothing
            moved = True
            for lane in range(theta.shape[1]):
                values[lane] = value
    if moved:
        prepare(theta, constants, shared, derived, scratch)
