"""How an energy grows along an axis: the leading power of the distance, with bounds of its factor.

Far out on an axis every part of a formula is c t^p to leading order, with c between two bounds (those of a sine are
-1 and 1). Sums keep the highest power, products add powers. What cancels to leading order, and what grows in another
way, is not decided, and then looked at by numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thermosim.models.formula.build import Loop, Terms
from thermosim.models.formula.graph import Node, in_order

__all__ = ["FALLS", "FLAT", "RISES", "UNDECIDED", "Growth", "along", "verdict"]

RISES, FLAT, FALLS, UNDECIDED = "rises", "stays bounded", "falls without bound", "undecided"


@dataclass(frozen=True)
class Growth:
    """c t^order with low <= c <= high; an order of inf is an exponential."""

    order: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """Of the factor: 0 where it is not decided."""
        return 1 if self.low > 0.0 else -1 if self.high < 0.0 else 0

    @property
    def is_zero(self) -> bool:
        """Whether it vanishes."""
        return self.low == self.high == 0.0


_NOTHING = Growth(0.0, 0.0, 0.0)


class _Undecided(Exception):
    """What this calculus cannot tell."""


def along(terms: Terms, axis: int, direction: int, given: Mapping[str, np.ndarray], most: int = 2000) -> str:
    """RISES, FLAT, FALLS or UNDECIDED of an energy along an axis of x, everything else fixed at what is given."""
    try:
        total = _of(terms.straight, axis, direction, given, None, 0)
        for loop in terms.loops:
            if loop.iteration.count > most:
                return UNDECIDED
            for term in range(loop.iteration.count):
                total = _sum(total, _of(loop.body, axis, direction, given, loop, term))
    except _Undecided:
        return UNDECIDED
    return verdict(total)


def verdict(growth: Growth) -> str:
    """What a growth means for an energy."""
    if growth.order <= 0.0 or growth.is_zero:
        return FLAT
    return {1: RISES, -1: FALLS, 0: UNDECIDED}[growth.sign]


def _of(root: Node, axis: int, direction: int, given: Mapping[str, np.ndarray], loop: Loop | None, term: int) -> Growth:
    known: dict[Node, Growth] = {}
    truths: dict[Node, bool] = {}
    for node in in_order([root]):
        if node.op == "number":
            known[node] = Growth(0.0, node.number, node.number)
        elif node.op == "leaf":
            known[node] = _leaf(node, axis, direction, given, loop, term)
        elif node.op in ("<", "<=", ">", ">=", "==", "!="):
            difference = _sum(known[node.args[0]], _negative(known[node.args[1]]))
            if difference.sign == 0:
                raise _Undecided
            truths[node] = difference.sign > 0 if node.op in (">", ">=", "!=") else difference.sign < 0
            truths[node] = node.op == "!=" if node.op in ("==", "!=") else truths[node]
        elif node.op == "where":
            known[node] = known[node.args[1] if truths[node.args[0]] else node.args[2]]
        else:
            known[node] = _operation(node.op, [known[argument] for argument in node.args])
    return known[root]


def _leaf(
    node: Node, axis: int, direction: int, given: Mapping[str, np.ndarray], loop: Loop | None, term: int
) -> Growth:
    name, index = node.place
    if loop is not None and name in loop.iteration.values:
        number = float(loop.iteration.values[name][term])
        return Growth(0.0, number, number)
    part = np.asarray(given[name], float)
    if index:
        places = loop.places[index] if loop is not None else np.array(int(index))
        place = int(places if places.ndim == 0 else places[term])
        if name == "x" and place == axis:
            return Growth(1.0, float(direction), float(direction))
        part = part[place]
    return Growth(0.0, float(part), float(part))


def _operation(op: str, args: Sequence[Growth]) -> Growth:
    a, b = args[0], args[-1]
    if op == "+":
        return _sum(a, b)
    if op == "-":
        return _sum(a, _negative(b))
    if op == "neg":
        return _negative(a)
    if op == "*":
        return _product(a, b) if args[0] is not args[1] else _square(a)
    if op == "/":
        if b.sign == 0:
            raise _Undecided
        return _product(a, Growth(-b.order, 1.0 / b.high, 1.0 / b.low))
    if op in ("min", "max"):
        difference = _sum(a, _negative(b))
        if difference.sign == 0 and not difference.is_zero:
            raise _Undecided
        return a if (difference.sign < 0) == (op == "min") else b
    return _function(op, a)


def _function(op: str, a: Growth) -> Growth:
    if op in ("sin", "cos"):
        if a.order <= 0.0 and a.low == a.high:
            number = getattr(math, op)(a.low if a.order == 0.0 else 0.0)
            return Growth(0.0, number, number)
        return Growth(0.0, -1.0, 1.0)
    if op == "abs":
        low = 0.0 if a.sign == 0 else min(abs(a.low), abs(a.high))
        return Growth(a.order, low, max(abs(a.low), abs(a.high)))
    if a.order > 0.0 and not a.is_zero:
        if a.sign == 0:
            raise _Undecided
        if op == "tanh":
            return Growth(0.0, float(a.sign), float(a.sign))
        if op == "exp":
            return Growth(math.inf, 1.0, 1.0) if a.sign > 0 else _NOTHING
        if op == "sqrt" and a.sign > 0:
            return Growth(a.order / 2.0, math.sqrt(a.low), math.sqrt(a.high))
        if op == "log" and a.sign > 0 and a.order < math.inf:
            return Growth(1e-9, a.order, a.order)  # slower than any power
        raise _Undecided
    low, high = (a.low, a.high) if a.order == 0.0 else (0.0, 0.0)
    try:
        return Growth(0.0, getattr(math, op)(low), getattr(math, op)(high))  # each of these rises
    except (ValueError, OverflowError):
        raise _Undecided from None


def _sum(a: Growth, b: Growth) -> Growth:
    if a.is_zero or b.is_zero:
        return b if a.is_zero else a
    if a.order != b.order:
        return _leading(a, b) if a.order > b.order else _leading(b, a)
    low, high = a.low + b.low, a.high + b.high
    cancelled = low <= 0.0 <= high and a.order != 0.0
    if cancelled or (a.order == math.inf and a.sign * b.sign < 0):
        raise _Undecided
    return Growth(a.order, low, high)


def _leading(a: Growth, b: Growth) -> Growth:
    if a.sign == 0 and b.order > 0.0:
        raise _Undecided
    return a


def _negative(a: Growth) -> Growth:
    return Growth(a.order, -a.high, -a.low)


def _square(a: Growth) -> Growth:
    ends = (a.low * a.low, a.high * a.high)
    return Growth(2.0 * a.order, 0.0 if a.sign == 0 else min(ends), max(ends))


def _product(a: Growth, b: Growth) -> Growth:
    if a.is_zero or b.is_zero:
        return _NOTHING
    if math.inf in (a.order, b.order) and -math.inf in (a.order, b.order):
        raise _Undecided
    ends = [p * q for p in (a.low, a.high) for q in (b.low, b.high)]
    return Growth(a.order + b.order, min(ends), max(ends))
