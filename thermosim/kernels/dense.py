"""Sums of products with weights of every lane, for several rows of inputs at a time, the sums held in registers.

    sums      z_bj = start_j + sum_i w_ji x_bi          of units j and rows b
    outer     g_ji = g_ji + sum_b u_bj v_bi

A weight belongs to one lane, so with one row of inputs a loaded number does one multiplication: the product is as fast
as weights come from the cache. With R rows a loaded weight does R. The order in which a sum adds its products is part
of the result: the first `opening` inputs backwards, then the others by fours in the order 1, 0, 3, 2, and the last
three or fewer as they come; `outer` adds one row after another. It does not depend on R, so neither do the bits.

A block of units and rows takes all inputs in lanes of one width, a number known to the compiler: the loop over lanes
becomes one vector, and the sums stay in registers from the first input to the last. For that the compiler must see that
no index is negative (`np.uint64`), and that no two sums overlap, so each is an argument of its own, in a tuple. Lanes
that are left over are taken one by one by the same code.

Source: K. Goto, R. A. van de Geijn, ACM Trans. Math. Softw. 34, 12 (2008), for blocks in registers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma

__all__ = ["AS_THEY_COME", "FEWEST", "ROWS", "Dense", "for_rows", "rows_at_once"]

_LANES = 8  # of one vector of 512 bits
_WIDTHS = {1: (2 * _LANES, _LANES, 1), 4: (_LANES, 1), 5: (_LANES, 1)}  # of blocks of sums, by the rows
_UNITS = {1: 8, 4: 4, 5: 4}  # of a block, by the rows: too small a loop over lanes is unrolled before it is a vector
_COST = {1: 2.2, 4: 1.05, 5: 1.0}  # time of a row among so many, measured with 64 inputs and 64 units
AS_THEY_COME = -1  # in the place of `opening`: products are added in the order of the inputs
FEWEST = 128  # weights of a model for which several rows at a time are faster
ROWS = tuple(_COST)  # how many can go together
Function = Callable[..., Any]


@dataclass(frozen=True)
class Dense:
    """The functions for so many rows at a time."""

    sums: Function
    outer: Function


def rows_at_once(count: int) -> int:
    """How many rows of `count` are best taken at a time, those left over being taken one by one."""
    return min(_COST, key=lambda rows: count // rows * rows * _COST[rows] + count % rows * _COST[1])


@functools.cache
def for_rows(rows: int) -> Dense:
    """The functions for `rows` rows at a time, for j < units, i < inputs, and places in arrays (..., L).

    sums(w, of_unit, of_input, start, of_start, x, of_x, z, of_z, units, inputs, opening)
        writes z[b of_z + j] = start[j of_start] + sum_i w[j of_unit + i of_input] x[b of_x + i]
    outer(u, of_u, v, of_v, g, of_g, units, inputs)
        adds u[b of_u + j] v[b of_v + i] to g[j of_g + i], for one row b after another
    """
    return Dense(_sums(rows, _UNITS[rows]), _outer(rows, _UNITS[rows]) if rows > 1 else _outer_of_one_row)


def _sums(rows: int, block: int) -> Function:
    taken, over_lanes = _sums_of(rows, block), _over_lanes_of_sums(rows, block, _WIDTHS[rows])

    @inlined
    def sums(w, of_unit, of_input, start, of_start, x, of_x, z, of_z, units, inputs, opening):  # type: ignore[no-untyped-def]
        if units < block:
            for j in range(units):
                of_one, begin = w[j * of_unit :], start[j * of_start]
                for b in range(rows):
                    _sum(of_one, of_input, begin, x[b * of_x :], z[b * of_z + j], inputs, opening)
            return
        for place in range(0, units, block):
            j = min(place, units - block)  # the last block takes some units once more: it is as wide as the others
            total, first, begin = taken(z, j, of_z), j * of_unit, j * of_start
            over_lanes(w, first, of_unit, of_input, start, begin, of_start, x, of_x, total, inputs, opening, 0)

    return sums


def _over_lanes_of_sums(rows: int, units: int, widths: tuple[int, ...]) -> Function:
    """All lanes from `lane` on: as many as there are whole vectors of the first width, the others by narrower ones."""
    width, block = widths[0], _block_of_sums(rows, units, widths[0])
    narrower = _over_lanes_of_sums(rows, units, widths[1:]) if len(widths) > 1 else _nothing

    @inlined
    def over_lanes(w, first, of_unit, of_input, start, begin, of_start, x, of_x, total, inputs, opening, lane):  # type: ignore[no-untyped-def]
        lanes = w.shape[1]
        whole = lanes - (lanes - lane) % width
        for here in range(lane, whole, width):
            block(w, first, of_unit, of_input, start, begin, of_start, x, of_x, total, inputs, opening, here)
        narrower(w, first, of_unit, of_input, start, begin, of_start, x, of_x, total, inputs, opening, whole)

    return over_lanes


@inlined
def _nothing(w, first, of_unit, of_input, start, begin, of_start, x, of_x, total, inputs, opening, lane):  # type: ignore[no-untyped-def]
    pass


def _block_of_sums(rows: int, units: int, width: int) -> Function:
    @inlined
    def block(w, first, of_unit, of_input, start, begin, of_start, x, of_x, total, inputs, opening, lane):  # type: ignore[no-untyped-def]
        """The sums of some units, `total`, in lanes `lane` to lane + width - 1."""
        for column in range(width):
            here = np.uint64(lane + column)
            for j in range(units):
                for b in range(rows):
                    total[j * rows + b][here] = start[np.uint64(begin + j * of_start), here]
        for place in range(inputs):
            i = _input_at(place, inputs, opening)
            for column in range(width):
                here = np.uint64(lane + column)
                for j in range(units):
                    weight = w[np.uint64(first + j * of_unit + i * of_input), here]
                    for b in range(rows):
                        value = x[np.uint64(b * of_x + i), here]
                        total[j * rows + b][here] = fma(value, weight, total[j * rows + b][here])

    return block


@inlined
def _sum(w, of_input, start, x, total, inputs, opening):  # type: ignore[no-untyped-def]
    """One sum of one row, in all lanes, four inputs at a time."""
    fours = inputs - inputs % 4
    for lane in range(total.shape[0]):
        total[lane] = start[lane]
    for place in range(0, fours, 4):
        i0, i1 = _input_at(place, inputs, opening), _input_at(place + 1, inputs, opening)
        i2, i3 = _input_at(place + 2, inputs, opening), _input_at(place + 3, inputs, opening)
        w0, w1, w2, w3 = w[i0 * of_input], w[i1 * of_input], w[i2 * of_input], w[i3 * of_input]
        x0, x1, x2, x3 = x[i0], x[i1], x[i2], x[i3]
        for lane in range(total.shape[0]):
            s = fma(x1[lane], w1[lane], fma(x0[lane], w0[lane], total[lane]))
            total[lane] = fma(x3[lane], w3[lane], fma(x2[lane], w2[lane], s))
    for place in range(fours, inputs):
        i = _input_at(place, inputs, opening)
        w0, x0 = w[i * of_input], x[i]
        for lane in range(total.shape[0]):
            total[lane] = fma(x0[lane], w0[lane], total[lane])


@inlined
def _input_at(place, inputs, opening):  # type: ignore[no-untyped-def]
    """Which input is added at this place of a sum."""
    if opening < 0:
        return place
    if place < opening:
        return opening - 1 - place
    after = place - opening
    return opening + (after ^ 1 if after < (inputs - opening) // 4 * 4 else after)


def _sums_of(rows: int, units: int) -> Function:
    """Lanes of the sums of some units from `first` on, a row each, first all rows of one unit."""
    if units > 1:
        shift = units // 2
        half, rest = _sums_of(rows, shift), _sums_of(rows, units - shift)

        @inlined
        def of_units(z, first, of_z):  # type: ignore[no-untyped-def]
            return half(z, first, of_z) + rest(z, first + shift, of_z)

        return of_units
    if rows > 1:
        one, others = _sums_of(1, 1), _sums_of(rows - 1, 1)

        @inlined
        def of_rows(z, first, of_z):  # type: ignore[no-untyped-def]
            return one(z, first, of_z) + others(z, first + of_z, of_z)

        return of_rows

    @inlined
    def of_one(z, first, of_z):  # type: ignore[no-untyped-def]
        return (z[first],)

    return of_one


def _outer(rows: int, block: int) -> Function:
    taken = _views(block)
    of_lanes, of_lane = _block_of_outer(rows, block, _LANES), _block_of_outer(rows, block, 1)

    @inlined
    def outer(u, of_u, v, of_v, g, of_g, units, inputs):  # type: ignore[no-untyped-def]
        lanes, blocks = g.shape[1], units - units % block
        whole = lanes - lanes % _LANES
        for j in range(0, blocks, block):
            parts = taken(g, j * of_g, of_g)
            for lane in range(0, whole, _LANES):
                of_lanes(u, j, of_u, v, of_v, parts, inputs, lane)
            for lane in range(whole, lanes):
                of_lane(u, j, of_u, v, of_v, parts, inputs, lane)
        for j in range(blocks, units):
            for i in range(inputs):
                for b in range(rows):
                    _add_product(u[b * of_u + j], v[b * of_v + i], g[j * of_g + i])

    return outer


def _block_of_outer(rows: int, units: int, width: int) -> Function:
    @inlined
    def block(u, first, of_u, v, of_v, parts, inputs, lane):  # type: ignore[no-untyped-def]
        """`parts`, those of some units, in lanes `lane` to lane + width - 1; what is read of u stays in registers."""
        for i in range(inputs):
            for column in range(width):
                here = np.uint64(lane + column)
                for j in range(units):
                    value = parts[j][np.uint64(i), here]
                    for b in range(rows):
                        value = fma(u[np.uint64(b * of_u + first + j), here], v[np.uint64(b * of_v + i), here], value)
                    parts[j][np.uint64(i), here] = value

    return block


@inlined
def _outer_of_one_row(u, of_u, v, of_v, g, of_g, units, inputs):  # type: ignore[no-untyped-def]
    for j in range(units):
        for i in range(inputs):
            _add_product(u[j], v[i], g[j * of_g + i])


@inlined
def _add_product(u, v, g):  # type: ignore[no-untyped-def]
    for lane in range(g.shape[0]):
        g[lane] = fma(u[lane], v[lane], g[lane])


def _views(count: int) -> Function:
    """What an array holds from some places on, a view for each of `count` places that are `apart`."""
    if count > 1:
        one, others = _views(1), _views(count - 1)

        @inlined
        def of_some(g, first, apart):  # type: ignore[no-untyped-def]
            return one(g, first, apart) + others(g, first + apart, apart)

        return of_some

    @inlined
    def of_one(g, first, apart):  # type: ignore[no-untyped-def]
        return (g[first:],)

    return of_one
