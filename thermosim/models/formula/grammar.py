"""What a formula may be: text to a tree of Python's grammar in which only arithmetic is left. Nothing is evaluated.

Allowed are numbers, names, + - * / ** // %, indices, calls of named functions, one comparison, `a if c else b` and
sums written as `sum(... for i in range(n))`. Anything else, however it is written, is refused by its place.
"""

from __future__ import annotations

import ast
import math
import re
import warnings

__all__ = ["FormulaFault", "parsed", "span_of"]

Span = tuple[int, int]

_LONGEST = 10_000  # characters
_DEEPEST = 60  # brackets, and whatever else stands in one another
_SHOWN = 76  # characters of a formula around a place
_ALIEN = re.compile(r"[^A-Za-z0-9_.+\-*/%()\[\],<>=! \t\r\n]")
_HINTS = {"^": "a power is written **", "'": "a formula has no strings", '"': "a formula has no strings"}
_HINTS |= {"{": "brackets are ( ) and [ ]", ":": "a formula has no slices and no functions of its own"}
_INSIDE = (ast.operator, ast.unaryop, ast.cmpop, ast.expr_context, ast.comprehension)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.FloorDiv, ast.Mod)
_ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


class FormulaFault(Exception):
    """What is wrong with a formula, as a sentence, and the characters it is about."""

    def __init__(self, said: str, span: Span | None = None) -> None:
        super().__init__(said)
        self.said, self.span = said, span

    def shown(self, key: str, text: str) -> str:
        """The sentence after the key of the formula, and under it the formula with marks at the place."""
        if self.span is None:
            return f"{key}: {self.said}"
        first, last = self.span[0], max(self.span[1], self.span[0] + 1)
        start = max(0, min(first - _SHOWN // 3, len(text) - _SHOWN))
        line = re.sub(r"\s", " ", text[start : start + _SHOWN])
        marks = " " * (first - start) + "^" * max(1, min(last, start + _SHOWN) - first)
        return f"{key}, position {first + 1}: {self.said}\n      {line}\n      {marks}"


def span_of(node: ast.AST) -> Span:
    """The characters of a part of a formula; formulas are ASCII in one line."""
    return getattr(node, "col_offset", 0), getattr(node, "end_col_offset", 0) or 0


def parsed(text: str) -> ast.expr:
    """The tree of a formula. Raises FormulaFault."""
    if len(text) > _LONGEST:
        raise FormulaFault(f"has {len(text):,} characters, {_LONGEST:,} at most; write sums as sum(... for i in ...).")
    if not text.strip():
        raise FormulaFault('is empty; write a formula such as "0.5*k*x0**2".')
    if alien := _ALIEN.search(text):
        mark, place = alien.group(), alien.span()
        known = _HINTS.get(mark, "formulas are made of letters of ASCII, digits and + - * / ** ( ) [ ] , < > = !")
        code = "" if mark.isascii() else f" (U+{ord(mark):04X})"
        raise FormulaFault(f"the character {mark!r}{code} has no meaning here: {known}.", place)
    _refuse_deep_brackets(text)
    line = re.sub(r"\s", " ", text)
    lead = len(line) - len(line.lstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(line.lstrip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        column = getattr(error, "offset", None)
        where = None if not column else (lead + column - 1, lead + column)
        message = str(getattr(error, "msg", "")) or "it is no formula"
        raise FormulaFault(f"cannot be read: {message}.", where) from None
    for node in _walk(tree, 0):
        if lead and isinstance(node, ast.expr):
            node.col_offset, node.end_col_offset = node.col_offset + lead, (node.end_col_offset or 0) + lead
    for node in _walk(tree, 0):
        _refuse_what_is_none(node)
    return tree


def _refuse_deep_brackets(text: str) -> None:
    depth = 0
    for place, mark in enumerate(text):
        depth += (mark in "([") - (mark in ")]")
        if depth > _DEEPEST:
            raise FormulaFault(f"has brackets more than {_DEEPEST} deep; write it in fewer.", (place, place + 1))


def _walk(tree: ast.AST, depth: int) -> list[ast.AST]:
    """Every node once. Raises FormulaFault where they are too deep: long sums are chains to the left, and may be."""
    found, waiting = [], [(tree, depth)]
    while waiting:
        node, level = waiting.pop()
        found.append(node)
        if level > 4 * _DEEPEST:
            raise FormulaFault("has too many operations in one another; write it in fewer.", span_of(node))
        for child in ast.iter_child_nodes(node):
            chained = isinstance(node, ast.BinOp) and child is node.left and isinstance(child, ast.BinOp)
            waiting.append((child, level if chained else level + 1))
    return found


def _refuse_what_is_none(node: ast.AST) -> None:
    """Raises FormulaFault for a node that is not arithmetic."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            raise FormulaFault(f"{node.value!r} is no real number.", span_of(node))
        if not _is_finite(node.value):
            raise FormulaFault("this number is too large; numbers have 64 bits.", span_of(node))
        return
    if isinstance(node, ast.BinOp) and not isinstance(node.op, _OPERATORS):
        raise FormulaFault("this operation has no meaning here; there are + - * / ** // %.", span_of(node))
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, (ast.USub, ast.UAdd)):
        raise FormulaFault("this operation has no meaning here; a sign is + or -.", span_of(node))
    if isinstance(node, ast.Compare) and (len(node.ops) > 1 or not isinstance(node.ops[0], _ORDERS)):
        raise FormulaFault("expected one comparison by < <= > >= == or !=.", span_of(node))
    if isinstance(node, ast.Call):
        plain = isinstance(node.func, ast.Name) and not node.keywords and not _has(node.args, ast.Starred)
        if not plain:
            raise FormulaFault("only functions by their names are called, as in exp(x0).", span_of(node))
    if isinstance(node, ast.Subscript) and not isinstance(node.value, ast.Name):
        raise FormulaFault("only names have indices, as in x[i] or K[i, j].", span_of(node))
    allowed = (ast.Name, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Subscript, ast.IfExp, ast.GeneratorExp)
    if not isinstance(node, (*allowed, ast.Tuple, *_INSIDE)):
        raise FormulaFault("only arithmetic has a meaning here, not what Python has besides.", span_of(node))


def _has(nodes: list[ast.expr], kind: type) -> bool:
    return any(isinstance(node, kind) for node in nodes)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
