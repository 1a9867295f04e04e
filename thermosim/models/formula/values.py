"""A formula's value in numpy: of frames, of grids, and wherever it is looked at before it is compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from thermosim.models.formula.build import Loop, Terms
from thermosim.models.formula.graph import Node, in_order

__all__ = ["first_without_value", "gradient_value", "value"]

_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "abs": np.abs,
    "min": np.minimum,
    "max": np.maximum,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "where": np.where,
}
Given = Mapping[str, np.ndarray]  # by name: (K, ...) of what has indices, (...) of scalars


def value(terms: Terms, given: Given) -> np.ndarray:
    """The formula at what is given, whose shapes after the index go together."""
    with np.errstate(all="ignore"):
        total = _evaluated([terms.straight], given, None)[terms.straight]
        for loop in terms.loops:
            total = total + _evaluated([loop.body], given, loop)[loop.body].sum(axis=0)
    return np.asarray(total, float)


def gradient_value(terms: Terms, name: str, length: int, given: Given) -> np.ndarray:
    """The slopes by the entries of one name: (length, ...)."""
    leaves = {i: terms.graph.leaf(name, str(i)) for i in range(length)}
    slopes = terms.graph.gradient(terms.straight, leaves.values())
    with np.errstate(all="ignore"):
        known = _evaluated(slopes.values(), given, None)
        shape = np.broadcast_shapes(*(np.shape(part)[1:] for part in given.values() if np.ndim(part)), ())
        out = np.zeros((length, *shape))
        for i, leaf in leaves.items():
            out[i] += known[slopes[leaf]]
        for loop in terms.loops:
            of_loop = [n for n in in_order([loop.body]) if n.op == "leaf" and n.place[0] == name]
            parts = terms.graph.gradient(loop.body, of_loop)
            known = _evaluated(parts.values(), given, loop)
            for leaf in of_loop:
                places = np.broadcast_to(loop.places[leaf.place[1]], (loop.iteration.count,))
                np.add.at(out, places, np.broadcast_to(known[parts[leaf]], (len(places), *shape)))
    return out


def first_without_value(terms: Terms, given: Given) -> Node | None:
    """The first operation that has no finite result where its arguments have; None where all is finite."""
    parts: list[tuple[Node, Loop | None]] = [(terms.straight, None), *((loop.body, loop) for loop in terms.loops)]
    with np.errstate(all="ignore"):
        for root, loop in parts:
            known = _evaluated([root], given, loop)
            for node in in_order([root]):
                if node.args and not np.isfinite(known[node]).all():
                    return node
    return None


def _evaluated(roots: object, given: Given, loop: Loop | None) -> dict[Node, np.ndarray]:
    """Every node by its value; in a loop with its terms as the first axis."""
    known: dict[Node, np.ndarray] = {}
    for node in in_order(roots):  # type: ignore[arg-type]
        if node.op == "number":
            known[node] = np.asarray(node.number)
        elif node.op == "leaf":
            known[node] = _leaf(node, given, loop)
        else:
            known[node] = _FUNCTIONS[node.op](*(known[argument] for argument in node.args))
    if loop is not None and loop.body in known:
        known[loop.body] = _per_term(known[loop.body], loop, given)
    return known


def _leaf(node: Node, given: Given, loop: Loop | None) -> np.ndarray:
    name, index = node.place
    if loop is not None and name in loop.iteration.values:
        values = loop.iteration.values[name]
        return values.reshape(-1, *(1,) * _depth(given)).astype(float)
    part = given[name]
    if not index:
        return part
    places = np.asarray(loop.places[index]) if loop is not None else np.asarray(int(index))
    return part[places]


def _depth(given: Given) -> int:
    """Dimensions after the index."""
    return max((np.ndim(part) - 1 for part in given.values() if np.ndim(part)), default=0)


def _per_term(values: np.ndarray, loop: Loop, given: Given) -> np.ndarray:
    """With the terms of the loop as the first axis, where all are alike too."""
    depth = _depth(given)
    if values.ndim == depth + 1:
        return np.broadcast_to(values, (loop.iteration.count, *values.shape[1:]))
    return np.broadcast_to(values, (loop.iteration.count, *np.shape(values)))
