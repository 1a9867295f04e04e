"""Whole numbers in a formula: indices and the ranges of sums, with all values that they take at once.

A variable of a sum is an array of its values over all terms, so one look tells whether an index ever leaves its range.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thermosim.models.formula.grammar import FormulaFault, span_of

__all__ = ["Iteration", "Whole", "iteration", "whole"]

_MOST_TERMS = 200_000  # of a sum
_SIGNS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_LARGEST = 2**40


@dataclass(frozen=True)
class Whole:
    """A whole number as text of Python, and its value, or its values over the terms of a loop."""

    text: str
    values: np.ndarray

    def times(self, factor: int) -> Whole:
        """Times a number."""
        if self.values.ndim == 0:
            return Whole(str(int(self.values) * factor), self.values * factor)
        return Whole(f"({self.text}) * {factor}", self.values * factor)

    def plus(self, other: Whole) -> Whole:
        """The sum of two."""
        values = self.values + other.values
        if values.ndim == 0:
            return Whole(str(int(values)), values)
        return Whole(other.text if self.text == "0" else f"{self.text} + {other.text}", values)


@dataclass(frozen=True)
class Iteration:
    """The terms of a sum: loops as (variable, first, end, step), conditions with how many loops are around each."""

    loops: tuple[tuple[str, str, str, str], ...]
    conditions: tuple[tuple[int, str], ...]
    values: Mapping[str, np.ndarray]
    count: int

    @property
    def symbols(self) -> dict[str, Whole]:
        """Its variables by their names."""
        return {name: Whole(name, values) for name, values in self.values.items()}


def whole(tree: ast.expr, names: Mapping[str, Whole]) -> Whole:
    """A whole number. Raises FormulaFault."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        if abs(tree.value) > _LARGEST:
            raise FormulaFault("is too large for an index.", span_of(tree))
        return Whole(str(tree.value), np.array(tree.value))
    if isinstance(tree, ast.Name) and tree.id in names:
        return names[tree.id]
    if isinstance(tree, ast.UnaryOp):
        inner = whole(tree.operand, names)
        return inner if isinstance(tree.op, ast.UAdd) else _written(f"-({inner.text})", -inner.values)
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod)):
        a, b = whole(tree.left, names), whole(tree.right, names)
        if isinstance(tree.op, (ast.FloorDiv, ast.Mod)) and (b.values <= 0).any():
            raise FormulaFault("a divisor of indices is positive.", span_of(tree.right))
        sign, values = {
            ast.Add: ("+", lambda: a.values + b.values),
            ast.Sub: ("-", lambda: a.values - b.values),
            ast.Mult: ("*", lambda: a.values * b.values),
            ast.FloorDiv: ("//", lambda: a.values // b.values),
            ast.Mod: ("%", lambda: a.values % b.values),
        }[type(tree.op)]
        result = values()
        if (np.abs(result) > _LARGEST).any():
            raise FormulaFault("becomes too large for an index.", span_of(tree))
        return _written(f"({a.text} {sign} {b.text})", result)
    if isinstance(tree, ast.Name):
        raise FormulaFault(
            f"{tree.id!r} is no whole number known here; give {tree.id} = 8 in [model], or write the number.",
            span_of(tree),
        )
    raise FormulaFault("expected a whole number: variables of the sum, + - * // % and numbers.", span_of(tree))


def _written(text: str, values: np.ndarray) -> Whole:
    return Whole(text if np.ndim(values) else str(int(values)), np.asarray(values))


def iteration(generators: Sequence[ast.comprehension], names: Mapping[str, Whole]) -> Iteration:
    """The terms of `for i in range(n) for j in range(i) if ...`, pairs(n) being all i < j. Raises FormulaFault."""
    names, variables = dict(names), list[str]()
    loops, conditions, count = list[tuple[str, str, str, str]](), list[tuple[int, str]](), 1
    for generator in generators:
        for name, (first, end, step) in _ranges(generator, names):
            if name in variables:
                raise FormulaFault(f"{name} is a variable of this sum already.", span_of(generator.target))
            lengths = np.broadcast_to(_lengths(first.values, end.values, step.values), (count,))
            if lengths.sum() > _MOST_TERMS:
                raise FormulaFault(f"has more than {_MOST_TERMS:,} terms.", span_of(generator.iter))
            within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            starts = np.repeat(np.broadcast_to(first.values, (count,)), lengths)
            for other in variables:
                names[other] = Whole(other, np.repeat(names[other].values, lengths))
            names[name], count = Whole(name, starts + within * int(step.values)), int(lengths.sum())
            variables.append(name)
            loops.append((name, first.text, end.text, step.text))
        for test in generator.ifs:
            text, kept = _test(test, names, count)
            conditions.append((len(loops), text))
            for name in variables:
                names[name] = Whole(name, names[name].values[kept])
            count = int(kept.sum())
    return Iteration(tuple(loops), tuple(conditions), {name: names[name].values for name in variables}, count)


def _lengths(first: np.ndarray, end: np.ndarray, step: np.ndarray) -> np.ndarray:
    return np.maximum(0, -((first - end) // step))


def _ranges(generator: ast.comprehension, names: dict[str, Whole]) -> Iterator[tuple[str, tuple[Whole, Whole, Whole]]]:
    """Variables of one `for`, with first, end and step; `names` has the first of pairs(n) when the second is asked."""
    call, target, zero, one = generator.iter, generator.target, Whole("0", np.array(0)), Whole("1", np.array(1))
    kind = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
    if kind not in ("range", "pairs") or generator.is_async or not isinstance(call, ast.Call):
        raise FormulaFault("expected range(n), range(first, end) or pairs(n) after `in`.", span_of(call))
    bounds = [whole(argument, names) for argument in call.args]
    wanted = [target] if kind == "range" else list(target.elts) if isinstance(target, ast.Tuple) else []
    variables = [part.id for part in wanted if isinstance(part, ast.Name)]
    if len(variables) != (1 if kind == "range" else 2):
        shown = "for i in range(n)" if kind == "range" else "for i, j in pairs(n)"
        raise FormulaFault(f"expected {shown}.", span_of(target))
    if kind == "pairs":
        if len(bounds) != 1:
            raise FormulaFault("pairs takes one number: pairs(n) is all i < j < n.", span_of(call))
        yield variables[0], (zero, bounds[0], one)
        earlier = names[variables[0]]
        yield variables[1], (Whole(f"{earlier.text} + 1", earlier.values + 1), bounds[0], one)
        return
    if not 1 <= len(bounds) <= 3 or (len(bounds) == 3 and (bounds[2].values.ndim or bounds[2].values <= 0)):
        raise FormulaFault("range takes an end, or first and end, or those and a positive step.", span_of(call))
    first, end, step = (zero, bounds[0], one) if len(bounds) == 1 else (bounds[0], bounds[1], (*bounds, one)[2])
    yield variables[0], (first, end, step)


def _test(test: ast.expr, names: Mapping[str, Whole], count: int) -> tuple[str, np.ndarray]:
    if not isinstance(test, ast.Compare):
        raise FormulaFault("expected a comparison of indices here, as in i != j.", span_of(test))
    a, b, sign = whole(test.left, names), whole(test.comparators[0], names), _SIGNS[type(test.ops[0])]
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal}
    kept = compare.get(sign, np.not_equal)(a.values, b.values)
    return f"{a.text} {sign} {b.text}", np.broadcast_to(kept, (count,))
