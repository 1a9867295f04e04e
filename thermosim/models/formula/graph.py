"""A formula as a graph: equal subexpressions are one node, so they are computed once, and so are those of gradients.

The gradient is derived backwards, from the root to the leaves: with w the derivative of the root by a node, each of its
arguments a gains w d(node)/da. It takes a few times as many operations as the formula itself, however many leaves
there are. Source: A. Griewank, A. Walther, Evaluating Derivatives, 2nd ed. (SIAM 2008), ch. 3.2.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["FUNCTIONS", "ORDERS", "Graph", "Node", "in_order"]

FUNCTIONS = {"exp": 1, "log": 1, "sqrt": 1, "sin": 1, "cos": 1, "tanh": 1, "abs": 1, "min": 2, "max": 2}
ORDERS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One operation. op: "number", "leaf", + - * / neg power, a function, a comparison, or where.

    value: the number, the exponent of a power, or (name, index as text) of a leaf. span: characters of the formula that
    it stands for first.
    """

    op: str
    args: tuple[Node, ...] = ()
    value: object = None
    span: tuple[int, int] = (0, 0)

    @property
    def place(self) -> tuple[str, str]:
        """Name and index of a leaf."""
        assert isinstance(self.value, tuple), self.op
        return self.value[0], self.value[1]

    @property
    def number(self) -> float:
        """The number that it is."""
        assert isinstance(self.value, float), self.op
        return self.value

    def is_number(self, value: float) -> bool:
        """Whether this is that number."""
        return self.op == "number" and self.value == value


class Graph:
    """The nodes there are, each once. `span` is what new nodes stand for."""

    def __init__(self) -> None:
        self._nodes: dict[object, Node] = {}
        self.span = (0, 0)

    def node(self, op: str, *args: Node, value: object = None) -> Node:
        """The node of this operation."""
        key = (op, tuple(map(id, args)), value, str(value) if op == "number" else "")  # 0.0 is not -0.0
        if key not in self._nodes:
            self._nodes[key] = Node(op, args, value, self.span)
        return self._nodes[key]

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._nodes)

    def number(self, value: float) -> Node:
        """A number."""
        return self.node("number", value=float(value))

    def leaf(self, name: str, index: str = "") -> Node:
        """A component, a parameter, a constant."""
        return self.node("leaf", value=(name, index))

    def add(self, a: Node, b: Node) -> Node:
        """a + b."""
        if a.op == b.op == "number":
            return self.number(a.number + b.number)
        if a.is_number(0.0):
            return b
        if b.is_number(0.0):
            return a
        if b.op == "neg":
            return self.subtract(a, b.args[0])
        if a.op == "neg":
            return self.subtract(b, a.args[0])
        last = a.args[1] if a.op == "+" else a
        if (joined := self._joined(last, b)) is not None:
            return joined if last is a else self.node("+", a.args[0], joined)
        return self.node("+", a, b)

    def _joined(self, a: Node, b: Node) -> Node | None:
        """c (p + q) for two products c p + c q: a product less, and as many less again in the gradient."""
        if a.op != "*" or b.op != "*":
            return None
        mine, other = _factors(a), _factors(b)
        common = next((part for part in mine if part.op != "number" and part in other), None)
        if common is None or len(mine) < 2 or len(other) < 2:
            return None
        rests = []
        for factors in (mine, other):
            factors.remove(common)
            rests.append(functools.reduce(self.multiply, factors))
        return self.multiply(common, self.add(*rests))

    def subtract(self, a: Node, b: Node) -> Node:
        """a - b."""
        if a.op == b.op == "number":
            return self.number(a.number - b.number)
        if b.is_number(0.0):
            return a
        if a.is_number(0.0):
            return self.negative(b)
        return self.add(a, b.args[0]) if b.op == "neg" else self.node("-", a, b)

    def negative(self, a: Node) -> Node:
        """-a."""
        if a.op == "number":
            return self.number(-a.number)
        return a.args[0] if a.op == "neg" else self.node("neg", a)

    def multiply(self, a: Node, b: Node) -> Node:
        """a b."""
        if a.op == b.op == "number":
            return self.number(a.number * b.number)
        if b.op == "number":
            a, b = b, a
        if a.is_number(0.0) or a.is_number(1.0):
            return b if a.is_number(1.0) else self.number(0.0)
        if a.is_number(-1.0):
            return self.negative(b)
        if a.op == "number" and b.op == "*" and b.args[0].op == "number":
            return self.multiply(self.number(a.number * b.args[0].number), b.args[1])
        if a.op == "neg" or b.op == "neg":
            plain = [part.args[0] if part.op == "neg" else part for part in (a, b)]
            product = self.multiply(*plain)
            return product if a.op == b.op else self.negative(product)
        return self.node("*", a, b)

    def divide(self, a: Node, b: Node) -> Node:
        """a/b."""
        if b.op == "number" and b.number != 0.0:
            if a.op == "number":
                return self.number(a.number / b.number)
            if math.frexp(b.number)[0] in (0.5, -0.5):  # a power of two has an exact inverse
                return self.multiply(self.number(1.0 / b.number), a)
        return self.number(0.0) if a.is_number(0.0) else self.node("/", a, b)

    def power(self, a: Node, exponent: int) -> Node:
        """a to a whole number that is not negative."""
        if exponent == 0:
            return self.number(1.0)
        if exponent == 1:
            return a
        if a.op == "number":
            return self.number(a.number**exponent)
        if exponent == 2:
            a = a.args[0] if a.op == "neg" else a
            return self.multiply(a, a)
        half = self.power(a, exponent // 2)
        square = self.multiply(half, half)
        return self.multiply(square, a) if exponent % 2 else square

    def where(self, condition: Node, a: Node, b: Node) -> Node:
        """a where the condition holds, else b."""
        return a if a is b else self.node("where", condition, a, b)

    def gradient(self, root: Node, leaves: Iterable[Node]) -> dict[Node, Node]:
        """d root/d leaf of each of these leaves; 0 where it is none of root's."""
        slopes = {root: self.number(1.0)}
        for node in reversed(in_order([root])):
            if node not in slopes:
                continue
            self.span = node.span
            for argument, part in self._parts(node, slopes[node]):
                slopes[argument] = self.add(slopes[argument], part) if argument in slopes else part
        return {leaf: slopes.get(leaf, self.number(0.0)) for leaf in leaves}

    def _parts(self, node: Node, w: Node) -> list[tuple[Node, Node]]:
        """(argument, w d node/d argument) of each argument."""
        a, *more = node.args or (node,)
        b = more[0] if more else a
        if node.op == "+":
            return [(a, w), (b, w)]
        if node.op == "-":
            return [(a, w), (b, self.negative(w))]
        if node.op == "neg":
            return [(a, self.negative(w))]
        if node.op == "*":
            if a is b:
                return [(a, self.multiply(self.multiply(self.number(2.0), w), a))]
            return [(a, self.multiply(w, b)), (b, self.multiply(w, a))]
        if node.op == "/":
            over = self.divide(w, b)
            return [(a, over), (b, self.negative(self.multiply(over, node)))]
        if node.op in ("min", "max"):
            here = self.node("<" if node.op == "min" else ">", a, b)
            zero = self.number(0.0)
            return [(a, self.where(here, w, zero)), (b, self.where(here, zero, w))]
        if node.op == "where":
            zero = self.number(0.0)
            return [(b, self.where(a, w, zero)), (more[1], self.where(a, zero, w))]
        slope = self._slope(node, a) if node.op in FUNCTIONS else None
        return [] if slope is None else [(a, self.divide(w, a) if node.op == "log" else self.multiply(w, slope))]

    def _slope(self, node: Node, a: Node) -> Node:
        """The slope of a function of one argument."""
        one = self.number(1.0)
        if node.op == "exp":
            return node
        if node.op == "sqrt":
            return self.divide(self.number(0.5), node)
        if node.op == "sin":
            return self.node("cos", a)
        if node.op == "cos":
            return self.negative(self.node("sin", a))
        if node.op == "tanh":
            return self.subtract(one, self.multiply(node, node))
        if node.op == "abs":
            return self.where(self.node("<", a, self.number(0.0)), self.number(-1.0), one)
        return one


def _factors(node: Node) -> list[Node]:
    """What a product is made of; a square is one factor twice."""
    if node.op != "*":
        return [node]
    return [*_factors(node.args[0]), *_factors(node.args[1])]


def in_order(roots: Iterable[Node]) -> list[Node]:
    """Every node that the roots are made of, arguments before what is made of them."""
    found: dict[Node, None] = {}
    waiting = [(root, False) for root in reversed(list(roots))]
    while waiting:
        node, ready = waiting.pop()
        if node in found:
            continue
        if ready:
            found[node] = None
        else:
            waiting.append((node, True))
            waiting += [(argument, False) for argument in reversed(node.args)]
    return list(found)
