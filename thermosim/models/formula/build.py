"""From the tree of a formula to graphs: names get their meaning, sums are written out, or kept as loops where long.

    energy = straight part + sum over the terms of each loop

A loop is kept for a sum that the formula adds, however deep in further sums; one inside a function is written out.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from thermosim.models.formula.grammar import FormulaFault, span_of
from thermosim.models.formula.graph import FUNCTIONS, ORDERS, Graph, Node
from thermosim.models.formula.indices import Iteration, Whole, iteration, whole

__all__ = ["Builder", "Layout", "Loop", "Terms"]

_WRITTEN_OUT = 400  # operations of a sum, up to which it is written out
_MOST_NODES = 8_000  # of a graph: more take minutes to compile
_LARGEST_POWER = 64
_OPERATORS = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide"}
_SIGNS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_COMPOSED = {"tan": 1, "sinh": 1, "cosh": 1, "where": 3, "sum": 1}


class _NotInALoop(FormulaFault):
    """What a loop cannot do, and a sum that is written out can."""


@dataclass(frozen=True)
class Layout:
    """What names mean: the lengths of vectors (x, or z and y), of parameters and array constants, and the scalars."""

    vectors: Mapping[str, int | None]  # None: as long as the formula needs
    arrays: Mapping[str, tuple[int, ...]]  # groups of parameters, () for one, and array constants
    scalars: frozenset[str] = frozenset()  # constants of one number
    wholes: Mapping[str, int] = field(default_factory=dict)  # those that are whole numbers

    def known(self) -> list[str]:
        """Every name of the case that a formula may use."""
        some = [f"{name}0" if length != 1 else name for name, length in self.vectors.items()]
        return [*some, *self.arrays, *sorted(self.scalars)]


@dataclass(frozen=True)
class Loop:
    """One term of a sum, over all values of its variables; `places` are indices of its leaves, by their text."""

    iteration: Iteration
    body: Node
    places: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Terms:
    """A formula: its straight part, and its loops."""

    graph: Graph
    straight: Node
    loops: tuple[Loop, ...] = ()


class Builder:
    """Formulas over one layout. `longest` holds the highest index of each vector that was met, plus one."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.longest = dict.fromkeys(layout.vectors, 0)
        self.used: set[str] = set()
        self._graph, self._places, self._variables = Graph(), dict[str, np.ndarray](), set[str]()

    def terms(self, tree: ast.expr, loops: bool = True) -> Terms:
        """A formula as graphs. Raises FormulaFault."""
        self._graph = Graph()
        straight, kept = self._graph.number(0.0), list[Loop]()
        for part, factors, generators in _split(tree) if loops else [(tree, [], [])]:
            if generators and (loop := self._loop(part, factors, generators)) is not None:
                kept.append(loop)
                continue
            node = self._summed(part, generators, {}) if generators else self.node(part, {})
            for factor, turned in factors:
                node = self._scaled(node, factor, turned, {})
            straight = self._graph.add(straight, node)
        return Terms(self._graph, straight, tuple(kept))

    def _scaled(self, node: Node, factor: ast.expr | None, turned: bool, variables: Mapping[str, Whole]) -> Node:
        """Times a factor, or divided by it; None is -1."""
        if factor is None:
            return self._graph.negative(node)
        other = self.node(factor, variables)
        return self._graph.divide(node, other) if turned else self._graph.multiply(other, node)

    def _loop(self, part: ast.expr, factors: Sequence, generators: list[ast.comprehension]) -> Loop | None:
        """The loop of a sum, or None where it is short, or needs to be written out."""
        over = iteration(generators, self._wholes({}))
        size = sum(1 for _ in ast.walk(part)) // 2
        if over.count * size <= _WRITTEN_OUT:
            return None
        self._places = {}
        try:
            node = self.node(part, over.symbols)
            for factor, turned in factors:
                node = self._scaled(node, factor, turned, {})
        except _NotInALoop:
            return None
        return Loop(over, node, self._places)

    def node(self, tree: ast.expr, variables: Mapping[str, Whole]) -> Node:
        """The node of a part, at values of the variables of sums."""
        if self._graph.size > _MOST_NODES:
            raise FormulaFault(
                f"takes more than {_MOST_NODES:,} operations when it is written out: keep sums outside of functions, "
                "where they become loops, or write the model as a file.",
                span_of(tree),
            )
        self._graph.span = span_of(tree)
        if isinstance(tree, ast.Constant):
            return self._graph.number(float(tree.value))  # type: ignore[arg-type]
        if isinstance(tree, (ast.Name, ast.Subscript)):
            return self._named(tree, variables)
        if isinstance(tree, ast.UnaryOp):
            node = self.node(tree.operand, variables)
            return self._graph.negative(node) if isinstance(tree.op, ast.USub) else node
        if isinstance(tree, ast.BinOp):
            return self._operation(tree, variables)
        if isinstance(tree, ast.Call):
            return self._call(tree, variables)
        if isinstance(tree, ast.IfExp):
            return self._where(tree.test, tree.body, tree.orelse, variables)
        if isinstance(tree, ast.Compare):
            one, zero = self._graph.number(1.0), self._graph.number(0.0)
            return self._graph.where(self._condition(tree, variables), one, zero)
        raise FormulaFault("expected a number here; a sum is written sum(... for i in range(n)).", span_of(tree))

    def _operation(self, tree: ast.BinOp, variables: Mapping[str, Whole]) -> Node:
        if isinstance(tree.op, (ast.FloorDiv, ast.Mod)):
            value = whole(tree, self._wholes(variables))
            if value.values.ndim:
                raise _NotInALoop("// and % are for indices.", span_of(tree))
            return self._graph.number(float(value.values))
        a, b = self.node(tree.left, variables), self.node(tree.right, variables)
        self._graph.span = span_of(tree)
        try:
            if isinstance(tree.op, ast.Pow):
                return self._power(a, b, tree)
            if isinstance(tree.op, ast.Div) and b.is_number(0.0):
                raise FormulaFault("is a division by zero.", span_of(tree.right))
            node: Node = getattr(self._graph, _OPERATORS[type(tree.op)])(a, b)
        except OverflowError:
            raise FormulaFault("is larger than any number of 64 bits.", span_of(tree)) from None
        if node.op == "number" and not math.isfinite(node.number):
            raise FormulaFault("is no finite number.", span_of(tree))
        return node

    def _power(self, a: Node, b: Node, tree: ast.BinOp) -> Node:
        graph = self._graph
        if b.op != "number":
            if b.op == "leaf" and b.place[0] in self._variables:
                raise _NotInALoop("is a power of its own in every term.", span_of(tree))
            return graph.node("exp", graph.multiply(b, graph.node("log", a)))
        exponent = b.number
        if abs(exponent) > _LARGEST_POWER:
            raise FormulaFault(
                f"is the power {exponent:g}; powers go up to {_LARGEST_POWER}, larger ones are written exp(p*log(..)).",
                span_of(tree.right),
            )
        root, size = (2.0 * exponent).is_integer(), abs(exponent)
        if not root:
            return graph.node("exp", graph.multiply(b, graph.node("log", a)))
        if a.is_number(0.0) and exponent < 0.0:
            raise FormulaFault("is a division by zero.", span_of(tree.left))
        node = graph.power(a, int(size))
        if size != int(size):
            node = graph.multiply(node, graph.node("sqrt", a))
        return graph.divide(graph.number(1.0), node) if exponent < 0.0 else node

    def _call(self, tree: ast.Call, variables: Mapping[str, Whole]) -> Node:
        assert isinstance(tree.func, ast.Name)
        name, known = tree.func.id, {**FUNCTIONS, **_COMPOSED}
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(known))}."
            raise FormulaFault(f"there is no function {name!r}. {hint}", span_of(tree.func))
        if len(tree.args) != known[name]:
            raise FormulaFault(f"{name} takes {known[name]}, not {len(tree.args)}, in its brackets.", span_of(tree))
        if name == "sum":
            inner = tree.args[0]
            if not isinstance(inner, ast.GeneratorExp):
                raise FormulaFault("a sum is written sum(x[i]**2 for i in range(n)).", span_of(inner))
            return self._summed(inner.elt, inner.generators, variables)
        if name == "where":
            test, yes, no = tree.args
            return self._where(test, yes, no, variables)
        arguments = [self.node(argument, variables) for argument in tree.args]
        graph = self._graph
        graph.span = span_of(tree)
        if name == "tan":
            return graph.divide(graph.node("sin", *arguments), graph.node("cos", *arguments))
        if name in ("sinh", "cosh"):
            up = graph.node("exp", *arguments)
            down = graph.divide(graph.number(1.0), up)
            both = graph.subtract(up, down) if name == "sinh" else graph.add(up, down)
            return graph.multiply(graph.number(0.5), both)
        return graph.node(name, *arguments)

    def _summed(self, body: ast.expr, generators: list[ast.comprehension], variables: Mapping[str, Whole]) -> Node:
        """A sum written out."""
        if any(value.values.ndim for value in variables.values()):
            raise _NotInALoop("is a sum inside a function inside a sum.", span_of(body))
        over, total = iteration(generators, self._wholes(variables)), self._graph.number(0.0)
        if over.count * sum(1 for _ in ast.walk(body)) > 40 * _MOST_NODES:
            raise FormulaFault(f"is a sum of {over.count:,} terms, too long to be written out.", span_of(body))
        for number in range(over.count):
            here = {name: Whole(str(values[number]), values[number]) for name, values in over.values.items()}
            total = self._graph.add(total, self.node(body, {**variables, **here}))
        return total

    def _where(self, test: ast.expr, yes: ast.expr, no: ast.expr, variables: Mapping[str, Whole]) -> Node:
        condition = self._condition(test, variables)
        return self._graph.where(condition, self.node(yes, variables), self.node(no, variables))

    def _condition(self, tree: ast.expr, variables: Mapping[str, Whole]) -> Node:
        if not isinstance(tree, ast.Compare):
            raise FormulaFault("expected a comparison here, such as x0 > 0.", span_of(tree))
        a, b = self.node(tree.left, variables), self.node(tree.comparators[0], variables)
        self._graph.span = span_of(tree)
        sign = _SIGNS[type(tree.ops[0])]
        assert sign in ORDERS
        return self._graph.node(sign, a, b)

    def _named(self, tree: ast.Name | ast.Subscript, variables: Mapping[str, Whole]) -> Node:
        """A component, a parameter, a constant, a variable of a sum."""
        name = tree.id if isinstance(tree, ast.Name) else tree.value.id  # type: ignore[attr-defined]
        layout, given = self.layout, _indices(tree)
        if name in variables and not given:
            value = variables[name]
            if value.values.ndim == 0:
                return self._graph.number(float(value.values))
            self._variables.add(name)
            self._places.setdefault(name, value.values)
            return self._graph.leaf(name, name)
        if name in layout.vectors or (not given and self._numbered(name) is not None):
            return self._component(tree, name, given, variables)
        if name in layout.arrays:
            self.used.add(name)
            return self._entry(tree, name, given, variables)
        if name in layout.scalars and not given:
            self.used.add(name)
            return self._graph.leaf(name)
        if name == "pi" and not given:
            return self._graph.number(math.pi)
        if name in layout.scalars or name in variables:
            raise FormulaFault(f"{name} is one number, without an index.", span_of(tree))
        raise FormulaFault(self._unknown(name, variables), span_of(tree))

    def _unknown(self, name: str, variables: Mapping[str, Whole]) -> str:
        known = [*self.layout.known(), *variables]
        near = difflib.get_close_matches(name, known, 1, cutoff=0.6)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
        return (
            f"there is no {name!r}. {hint} A constant is a key of [model], {name} = 1.0; a parameter is one of "
            f"[theta.protocol], or of model.formula.parameters."
        )

    def _numbered(self, name: str) -> tuple[str, int] | None:
        """x12 is component 12 of x."""
        for vector in self.layout.vectors:
            digits = name.removeprefix(vector)
            if digits != name and digits.isdigit() and (digits == "0" or digits[0] != "0") and len(digits) < 7:
                return vector, int(digits)
        return None

    def _component(self, tree: ast.expr, name: str, given: list[ast.expr], variables: Mapping[str, Whole]) -> Node:
        numbered = self._numbered(name) if name not in self.layout.vectors else None
        vector = numbered[0] if numbered else name
        length = self.layout.vectors[vector]
        if numbered:
            index = Whole(str(numbered[1]), np.array(numbered[1]))
        elif not given:
            if length not in (1, None) or self.longest[vector] > 1:
                raise FormulaFault(
                    f"{name} has several components; write {name}0, {name}1 or {name}[i].", span_of(tree)
                )
            index = Whole("0", np.array(0))
        elif len(given) > 1:
            raise FormulaFault(f"{name} has one index.", span_of(tree))
        else:
            index = whole(given[0], self._wholes(variables))
        self._in_range(index, length, name, tree)
        self.longest[vector] = max(self.longest[vector], int(index.values.max(initial=-1)) + 1)
        return self._leaf(vector, index)

    def _entry(self, tree: ast.expr, name: str, given: list[ast.expr], variables: Mapping[str, Whole]) -> Node:
        shape = self.layout.arrays[name]
        if len(given) != len(shape) and not (not given and math.prod(shape) == 1):
            expected = ", ".join("ijkl"[: len(shape)])
            written = f"{name}[{expected}]" if shape else name
            raise FormulaFault(f"{name} has {len(shape)} indices: write {written}.", span_of(tree))
        place = Whole("0", np.array(0))
        for size, index in zip(shape, given, strict=False):
            found = whole(index, self._wholes(variables))
            self._in_range(found, size, name, index)
            place = place.times(size).plus(found)
        return self._leaf(name, place)

    def _in_range(self, index: Whole, length: int | None, name: str, tree: ast.expr) -> None:
        least, most = int(index.values.min(initial=0)), int(index.values.max(initial=0))
        if least < 0 or (length is not None and most >= length) or most > 10**6:
            wrong = least if least < 0 else most
            range_ = "0 on" if length is None else f"0 to {length - 1}"
            raise FormulaFault(f"the index of {name} becomes {wrong}; indices count from {range_}.", span_of(tree))

    def _leaf(self, name: str, index: Whole) -> Node:
        self._places[index.text] = index.values
        return self._graph.leaf(name, index.text)

    def _wholes(self, variables: Mapping[str, Whole]) -> dict[str, Whole]:
        named = {name: Whole(str(value), np.array(value)) for name, value in self.layout.wholes.items()}
        return {**named, **variables}


def _indices(tree: ast.Name | ast.Subscript) -> list[ast.expr]:
    if isinstance(tree, ast.Name):
        return []
    return list(tree.slice.elts) if isinstance(tree.slice, ast.Tuple) else [tree.slice]


Factors = list[tuple[ast.expr | None, bool]]


def _split(tree: ast.expr) -> list[tuple[ast.expr, Factors, list[ast.comprehension]]]:
    """The terms that a formula adds: each with factors, and the generators of the sum it stands in."""
    if isinstance(tree, ast.UnaryOp) and _has_sum(tree):
        sign: Factors = [(None, False)] if isinstance(tree.op, ast.USub) else []
        return [(part, [*factors, *sign], over) for part, factors, over in _split(tree.operand)]
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, (ast.Add, ast.Sub)):
        chain = []  # long sums are chains to the left
        while isinstance(tree, ast.BinOp) and isinstance(tree.op, (ast.Add, ast.Sub)):
            minus: Factors = [(None, False)] if isinstance(tree.op, ast.Sub) else []
            chain.append([(part, [*factors, *minus], over) for part, factors, over in _split(tree.right)])
            tree = tree.left
        return [*_split(tree), *(term for terms in reversed(chain) for term in terms)]
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, (ast.Mult, ast.Div)) and _has_sum(tree):
        for inner, outer in ((tree.left, tree.right), (tree.right, tree.left)):
            divided = isinstance(tree.op, ast.Div)
            if not _has_sum(outer) and not (divided and inner is tree.right):
                return [(part, [*factors, (outer, divided)], over) for part, factors, over in _split(inner)]
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "sum" and len(tree.args) == 1:
        inner = tree.args[0]
        if isinstance(inner, ast.GeneratorExp):
            body = _split(inner.elt)
            if len(body) == 1 and not body[0][1]:
                return [(body[0][0], [], [*inner.generators, *body[0][2]])]
            return [(inner.elt, [], inner.generators)]
    return [(tree, [], [])]


def _has_sum(tree: ast.expr) -> bool:
    return any(isinstance(node, ast.GeneratorExp) for node in ast.walk(tree))
