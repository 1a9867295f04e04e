"""A formula at the whole numbers that its shape depends on: lengths, graphs, and the functions of its kernels."""

from __future__ import annotations

import ast
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from thermosim.models.formula.build import Builder, Layout, Terms
from thermosim.models.formula.grammar import FormulaFault, parsed
from thermosim.models.formula.graph import Node
from thermosim.models.formula.indices import Whole, whole
from thermosim.models.formula.source import drive_source, functions_of, gradient_source, lane_source, tile_source

__all__ = ["Compiled", "NotAFormula", "compiled", "section_of", "wholes_of"]

_ONE_LANE = 2  # components, up to which functions are those of one lane


class NotAFormula(ValueError):
    """What is wrong with a formula, told with its key and place."""


class Compiled:
    """A formula whose lengths are known."""

    def __init__(self, section: Mapping[str, Any], wholes: Mapping[str, int]) -> None:
        self.section, self.wholes = section, dict(wholes)
        self.is_loss = "loss" in section
        self._shapes = {name: np.shape(value) for name, value in section["parameters"].items()}
        arrays = {name: np.shape(v) for name, v in section["constants"].items() if np.ndim(v)}
        self._shapes_of_arrays = arrays
        scalars = [name for name, value in section["constants"].items() if not np.ndim(value)]
        self.places = _Places(self._shapes, arrays, scalars)
        lengths = self._given_lengths()
        layout = Layout(lengths, {**self._shapes, **arrays}, frozenset(scalars), self.wholes)
        self._builder = Builder(layout)
        drives = section.get("drive", [])
        short = bool(drives) or section.get("lanes", False)  # what is of one lane has all of it so
        self.terms = self.built("loss" if self.is_loss else "energy", loops=not short)
        self.drives = [self._drive(i, text) for i, text in enumerate(drives)]
        self.lengths = {name: size or max(self._builder.longest[name], 1) for name, size in lengths.items()}
        self.components = 0 if self.is_loss else self.lengths["x"]
        if drives and len(drives) != self.components:
            raise NotAFormula(
                f"model.formula.drive: has {len(drives)} formulas and x has {self.components} components; give one for "
                'each, "0" where there is none.'
            )
        self.used = {*self._builder.used, *wholes}  # names of the case that stand in a formula
        self.observables = {name: self._observable(name) for name in section.get("observables", {})}
        self.one_lane = not self.is_loss and not self.terms.loops and (short or self.components <= _ONE_LANE)

    def _given_lengths(self) -> dict[str, int | None]:
        if not self.is_loss:
            return {"x": self._size("components")}
        return {"z": self._size("inputs"), "y": self._size("targets")}

    def _size(self, key: str) -> int | None:
        given = self.section.get(key)
        if given is None or isinstance(given, int):
            return given
        names = {name: Whole(str(value), np.array(value)) for name, value in self.wholes.items()}
        with _told(f"model.formula.{key}", given):
            size = int(whole(parsed(given), names).values)
            if not 0 < size <= 10**6:
                raise FormulaFault(f"is {size}; expected a whole number from 1 on.")
        return size

    def built(self, key: str, loops: bool = True) -> Terms:
        """The graphs of one of the section's formulas. Raises NotAFormula."""
        text = self.section[key]
        with _told(f"model.formula.{key}", text):
            return self._builder.terms(parsed(text), loops)

    def _drive(self, component: int, text: str) -> Terms:
        with _told(f"model.formula.drive[{component}]", text):
            return self._builder.terms(parsed(text), loops=False)

    def _observable(self, name: str) -> tuple[str, Terms]:
        """Of x or of theta, and its graphs."""
        text = self.section["observables"][name]
        vectors = dict.fromkeys(self.lengths, 1) if self.is_loss else self.lengths
        layout = Layout(vectors, {**self._shapes, **self._shapes_of_arrays}, self._builder.layout.scalars, self.wholes)
        builder = Builder(layout)
        with _told(f"model.formula.observables.{name}", text):
            terms = builder.terms(parsed(text))
            self.used |= builder.used
            of_theta = builder.used & self._shapes.keys()
            of_x = any(builder.longest.values())
            if of_x and self.is_loss:
                raise FormulaFault("a loss has observables of its parameters, not of rows.")
            if of_x and of_theta:
                raise FormulaFault(f"has x and {min(of_theta)}; an observable is of x or of parameters.")
        return ("x" if of_x or not of_theta else "theta"), terms

    @functools.cached_property
    def functions(self) -> dict[str, FunctionType]:
        """The functions of its kernels, by what a Model calls them."""
        place, graph = self.places.place, self.terms.graph
        if self.is_loss:
            groups = {name: self.places.of_theta[name] for name in self._shapes}
            leaves = [graph.leaf(name, str(i)) for name, shape in self._shapes.items() for i in range(math.prod(shape))]
            inputs = self.lengths["z"]
            return functions_of(gradient_source(self.terms, groups, "row", self.places.of_row(inputs), leaves))
        source = ""
        if self.one_lane:
            source = lane_source(self.terms, [graph.leaf("x", str(i)) for i in range(self.components)], place)
        else:
            source = tile_source(self.terms, self.components, place)
        if self.drives:
            source += "\n" + drive_source([terms.straight for terms in self.drives], place)
        return functions_of(source)

    def given(self, x: np.ndarray, theta: np.ndarray, constants: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Names and what they stand for: x (n, ...), theta (m, ...), constants numbers, arrays or of shape (...)."""
        found: dict[str, np.ndarray] = {} if self.is_loss else {"x": x}
        for name, shape in self._shapes.items():
            first = self.places.of_theta[name]
            found[name] = theta[first : first + math.prod(shape)]
        depth = np.ndim(x) - 1 if not self.is_loss else np.ndim(theta) - 1
        for name, value in self.section["constants"].items():
            here = np.asarray(constants.get(name, value), float)
            found[name] = here.reshape(-1, *(1,) * depth) if np.ndim(value) else here
        return found

    def text_at(self, node: Node) -> str:
        """The formula with marks under a node."""
        key = "loss" if self.is_loss else "energy"
        return FormulaFault("", node.span).shown(key, self.section[key]).split("\n", 1)[1]


class _Places:
    """Where kernels find what a name stands for: in the order of `Model.names`."""

    def __init__(
        self, groups: Mapping[str, tuple[int, ...]], arrays: Mapping[str, tuple[int, ...]], scalars: Sequence[str]
    ) -> None:
        self.of_theta, self.of_shared = _offsets(groups), _offsets(arrays)
        self.of_constants = {name: row for row, name in enumerate(scalars)}

    def place(self, name: str, index: str) -> str:
        """What a kernel of x reads."""
        if name == "x":
            return f"x[{index}, lane]"
        if name in self.of_theta:
            return f"theta[{_at(self.of_theta[name], index)}, lane]"
        if name in self.of_shared:
            return f"shared[{_at(self.of_shared[name], index)}]"
        if name in self.of_constants:
            return f"constants[{self.of_constants[name]}, lane]"
        return f"float({name})"

    def of_row(self, inputs: int) -> Callable[[str, str], str]:
        """What a kernel of rows reads: inputs, then targets."""

        def place(name: str, index: str) -> str:
            if name in ("z", "y"):
                return f"row[{_at(inputs if name == 'y' else 0, index)}, lane]"
            return self.place(name, index)

        return place


def _offsets(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    found, first = {}, 0
    for name, shape in shapes.items():
        found[name] = first
        first += math.prod(shape)
    return found


def _at(first: int, index: str) -> str:
    return (
        index or "0"
        if first == 0
        else str(first + int(index or "0"))
        if (index or "0").isdigit()
        else f"{first} + {index}"
    )


class _told:
    """A fault of a formula becomes one with its key and place."""

    def __init__(self, key: str, text: str) -> None:
        self._key, self._text = key, text

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, FormulaFault):
            raise NotAFormula(error.shown(self._key, self._text)) from None
        if isinstance(error, RecursionError):
            raise NotAFormula(f"{self._key}: has too many terms; write them as sum(... for i in range(n)).") from None


@functools.cache
def section_of(text: str) -> dict[str, Any]:
    """The section that the text of a formula holds."""
    found: dict[str, Any] = json.loads(text)["formula"]
    return found


@functools.lru_cache(maxsize=64)
def _compiled(text: str, wholes: tuple[tuple[str, int], ...]) -> Compiled:
    return Compiled(section_of(text), dict(wholes))


def compiled(text: str, constants: Mapping[str, Any]) -> Compiled:
    """The formula at these constants. Raises NotAFormula."""
    default = section_of(text)["constants"]
    return _compiled(text, tuple((name, int(constants.get(name, default[name]))) for name in wholes_of(text)))


@functools.cache
def wholes_of(text: str) -> tuple[str, ...]:
    """Constants that are whole numbers and stand where an index or the end of a sum does. Raises NotAFormula."""
    section, found = section_of(text), set[str]()
    keys = ("energy", "loss", "components", "inputs", "targets")
    formulas: dict[str, Any] = {key: section[key] for key in keys if key in section}
    formulas |= {f"drive[{i}]": one for i, one in enumerate(section.get("drive", []))}
    formulas |= {f"observables.{name}": one for name, one in section.get("observables", {}).items()}
    for key, formula in formulas.items():
        if isinstance(formula, str):
            with _told(f"model.formula.{key}", formula):
                tree = parsed(formula)
            for part in [tree] if key in ("components", "inputs", "targets") else _whole_parts(tree):
                found |= {node.id for node in ast.walk(part) if isinstance(node, ast.Name)}
    whole_numbers = {name: value for name, value in section["constants"].items() if isinstance(value, int)}
    return tuple(name for name in whole_numbers if name in found)


def _whole_parts(tree: ast.expr) -> list[ast.AST]:
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            found.append(node.slice)
        elif isinstance(node, ast.comprehension):
            found += [node.iter, *node.ifs]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.FloorDiv, ast.Mod)):
            found.append(node)
    return found
