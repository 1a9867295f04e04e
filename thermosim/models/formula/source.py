"""The graph of a formula as source of kernels: each node a line, equal parts shared, a product that is added fused.

Only what is written here gets into the source: names of lines and numbers, of a formula's text nothing.
"""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from types import FunctionType
from typing import Any

from thermosim.kernels.elementary import fma
from thermosim.models.formula import functions
from thermosim.models.formula.build import Loop, Terms
from thermosim.models.formula.graph import ORDERS, Graph, Node, in_order

__all__ = ["Place", "drive_source", "functions_of", "gradient_source", "lane_source", "tile_source"]

Place = Callable[[str, str], str]  # of a leaf: its name and its index, to what a kernel reads

_MODULE = "thermosim.models.formula.generated"
_NAMES: dict[str, Any] = {
    "fma": fma,
    "exponential": functions.exponential,
    "logarithm": functions.logarithm,
    "square_root": functions.square_root,
    "sine": functions.sine,
    "cosine": functions.cosine,
    "hyperbolic_tangent": functions.hyperbolic_tangent,
}
_CALLS = {"exp": "exponential", "log": "logarithm", "sqrt": "square_root", "sin": "sine", "cos": "cosine"}
_CALLS |= {"tanh": "hyperbolic_tangent", "abs": "abs"}
_LANE = "x, theta, constants, shared, lane"
_TILE = "x, theta, constants, shared"


def functions_of(source: str) -> dict[str, FunctionType]:
    """The functions that this source defines. It is ours: made of nodes, never of a text that was given."""
    file = f"<formula {sha256(source.encode()).hexdigest()[:12]}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope: dict[str, Any] = {"__name__": _MODULE, **_NAMES}
    exec(compile(source, file, "exec"), scope)
    return {name: value for name, value in scope.items() if isinstance(value, FunctionType) and name not in _NAMES}


def lane_source(terms: Terms, x: Sequence[Node], place: Place) -> str:
    """`energy` and `force` of one lane."""
    lines = _Lines(place, "    ")
    (energy,) = lines.written([terms.straight])
    source = [f"def energy({_LANE}):", *lines.text, f"    return {energy}", "", f"def force(i, {_LANE}):"]
    slopes = terms.graph.gradient(terms.straight, x)
    return "\n".join([*source, *_branches([terms.graph.negative(slopes[leaf]) for leaf in x], place)]) + "\n"


def drive_source(components: Sequence[Node], place: Place) -> str:
    """`drive` of one lane."""
    return "\n".join([f"def drive(i, {_LANE}):", *_branches(components, place)]) + "\n"


def _branches(nodes: Sequence[Node], place: Place) -> list[str]:
    """Return the value of node i; loops over i are unrolled, so a branch costs nothing."""
    source: list[str] = []
    for i, node in enumerate(nodes):
        last = i == len(nodes) - 1
        indent = "    " if last else "        "
        lines = _Lines(place, indent)
        (value,) = lines.written([node])
        source += [*([] if last else [f"    if i == {i}:"]), *lines.text, f"{indent}return {value}"]
    return source


def tile_source(terms: Terms, components: int, place: Place) -> str:
    """`surprisal_and_force` of a tile."""
    graph = terms.graph
    x = {i: graph.leaf("x", str(i)) for i in range(components)}
    slopes = graph.gradient(terms.straight, x.values())
    used = [i for i, leaf in x.items() if not slopes[leaf].is_number(0.0)]
    lines = _Lines(place, "        ")
    phi, *forces = lines.written([terms.straight, *(graph.negative(slopes[x[i]]) for i in used)])
    source = [f"def surprisal_and_force({_TILE}, phi, force, scratch):"]
    if len(used) < components:
        source += [f"    for i in range({components}):", "        for lane in range(x.shape[1]):"]
        source += ["            force[i, lane] = 0.0"]
    source += ["    for lane in range(x.shape[1]):", *lines.text, f"        phi[lane] = {phi}"]
    source += [f"        force[{i}, lane] = {value}" for i, value in zip(used, forces)]
    for loop in terms.loops:
        source += _loop(graph, loop, place, ("x",), "phi[lane] += {}", "force[{}, lane] -= {}", "x")
    return "\n".join(source) + "\n"


def gradient_source(terms: Terms, groups: Mapping[str, int], row: str, place: Place, leaves: Iterable[Node]) -> str:
    """`parameter_gradient` of a tile; groups: parameters and where each starts in theta."""
    graph, leaves = terms.graph, list(leaves)
    slopes = graph.gradient(terms.straight, leaves)
    used = [leaf for leaf in leaves if not slopes[leaf].is_number(0.0)]
    lines = _Lines(place, "        ")
    value, *parts = lines.written([terms.straight, *(slopes[leaf] for leaf in used)])
    source = [f"def parameter_gradient({row}, theta, constants, shared, factor, loss, gradient, scratch):"]
    source += [f"    for lane in range({row}.shape[1]):", *lines.text]
    source += [f"        loss[lane] = fma(factor, {value}, loss[lane])"]
    for leaf, part in zip(used, parts):
        at = _row(leaf, groups)
        source.append(f"        gradient[{at}, lane] = fma(factor, {part}, gradient[{at}, lane])")
    for loop in terms.loops:
        add = "gradient[{}, lane] += factor * {}"
        source += _loop(graph, loop, place, tuple(groups), "loss[lane] += factor * {}", add, row, groups)
    return "\n".join(source) + "\n"


def _row(leaf: Node, groups: Mapping[str, int]) -> str:
    name, index = leaf.place
    first = groups.get(name, 0)
    return index if first == 0 else f"{first} + {index}"


def _loop(
    graph: Graph,
    loop: Loop,
    place: Place,
    names: tuple[str, ...],
    add: str,
    spread: str,
    width: str,
    groups: Mapping[str, int] | None = None,
) -> list[str]:
    """The loops of a sum around one over lanes: its value is added, its slopes go to the leaves of these names."""
    source, indent = [], "    "
    for depth, (name, first, end, step) in enumerate(loop.iteration.loops, 1):
        source.append(f"{indent}for {name} in range({first}, {end}, {step}):")
        indent += "    "
        for level, condition in loop.iteration.conditions:
            if level == depth:
                source.append(f"{indent}if {condition}:")
                indent += "    "
    leaves = [n for n in in_order([loop.body]) if n.op == "leaf" and n.place[0] in names]
    slopes = graph.gradient(loop.body, leaves)
    lines = _Lines(place, indent + "    ")
    value, *parts = lines.written([loop.body, *(slopes[leaf] for leaf in leaves)])
    source += [f"{indent}for lane in range({width}.shape[1]):", *lines.text, f"{indent}    {add.format(value)}"]
    for leaf, part in zip(leaves, parts):
        source.append(f"{indent}    {spread.format(_row(leaf, groups or {}), part)}")
    return source


class _Lines:
    """Source of nodes, a line each."""

    def __init__(self, place: Place, indent: str) -> None:
        self.text: list[str] = []
        self._place, self._indent = place, indent
        self._names: dict[Node, str] = {}

    def written(self, roots: Sequence[Node]) -> list[str]:
        """The lines of these nodes, and what each root is called then."""
        order = in_order(roots)
        uses = Counter(argument for node in order for argument in node.args) + Counter(roots)
        fused = {part for node in order if (part := _fused(node, uses)) is not None}
        for node in order:
            if node.op == "number":
                self._names[node] = f"({node.number!r})" if node.number < 0.0 else repr(node.number)
            elif node not in fused:
                self._write(node, fused)
        return [self._names[root] for root in roots]

    def _write(self, node: Node, fused: set[Node]) -> None:
        if node.op == "leaf":
            text = self._place(*node.place)
        else:
            text = self._expression(node, fused)
        name = f"t{len(self._names)}"
        self._names[node] = name
        self.text.append(f"{self._indent}{name} = {text}")

    def _expression(self, node: Node, fused: set[Node]) -> str:
        known = self._names
        if node.op in "+-" and (product := next((a for a in node.args if a in fused), None)) is not None:
            a, b = (known[part] for part in product.args)
            other = known[node.args[1] if product is node.args[0] else node.args[0]]
            if node.op == "+":
                return f"fma({a}, {b}, {other})"
            return f"fma({a}, {b}, -{other})" if product is node.args[0] else f"fma(-{a}, {b}, {other})"
        names = [known[argument] for argument in node.args]
        if node.op in "+-*/":
            return f"{names[0]} {node.op} {names[1]}"
        if node.op in ORDERS:
            return f"{names[0]} {node.op} {names[1]}"
        if node.op == "neg":
            return f"-{names[0]}"
        if node.op == "where":
            return f"{names[1]} if {names[0]} else {names[2]}"
        if node.op in ("min", "max"):
            return f"{names[0]} if {names[0]} {'<' if node.op == 'min' else '>'} {names[1]} else {names[1]}"
        return f"{_CALLS[node.op]}({names[0]})"


def _fused(node: Node, uses: Counter[Node]) -> Node | None:
    """A product that is only used in this sum or difference."""
    if node.op not in ("+", "-") or node.args[0] is node.args[1]:
        return None
    return next((part for part in reversed(node.args) if part.op == "*" and uses[part] == 1), None)
