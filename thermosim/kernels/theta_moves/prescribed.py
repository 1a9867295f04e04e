"""A move of theta that is no learning: a prescribed protocol."""

from __future__ import annotations


def protocol(theta, memory, gradient, hyper, normal, table, path, work):  # type: ignore[no-untyped-def]
    """theta' = the protocol's value at this step, table (m,), for every lane."""
    for i in range(theta.shape[0]):
        row, value = theta[i], table[i]
        if row[0] != value:  # a parameter that rests costs nothing
            for lane in range(theta.shape[1]):
                row[lane] = value
