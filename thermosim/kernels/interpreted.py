"""Functions of kernels as plain Python: for the debugger, with the bits of machine code, and to look at users' models.

Arrays give numpy's numbers, which divide by zero and overflow without an error, as compiled ones do; the root of a
negative number, which Python refuses, has a stand-in. In a user's file some arithmetic may still round otherwise than
compiled: powers written `**`, and functions of `math` other than the root.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, CellType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from thermosim.kernels.declare import Part, is_inlined
from thermosim.kernels.identity import named

__all__ = ["AS_COMPILED", "Binder", "interpreted"]


class Binder:
    """Binds the names of functions, and of the helpers they call, as the compiler does; some stand for others."""

    def __init__(self, stand_ins: Mapping[Any, Any]) -> None:
        """`stand_ins` are what to use in place of some functions and modules."""
        self._stand_ins = stand_ins
        self._helpers: dict[FunctionType, FunctionType] = {}  # once for all that call them

    def bound(self, part: Part) -> FunctionType:
        """The function of a part with its names bound."""
        function = self._empty(part.function)
        self._fill(function, part)
        return function

    def _empty(self, template: Any) -> FunctionType:
        """The same code in a scope of its own."""
        cells = template.__closure__ and tuple(map(self._cell, template.__closure__))
        scope, name = dict(template.__globals__), template.__name__
        function = FunctionType(template.__code__, scope, name, template.__defaults__, cells)
        function.__kwdefaults__ = template.__kwdefaults__
        return function

    def _fill(self, function: FunctionType, part: Part) -> None:
        for name, value in named(part.function, part.scope):
            function.__globals__[name] = self._meaning(value)

    def _meaning(self, value: Any) -> Any:
        if isinstance(value, Part):
            return self.bound(value)
        if isinstance(value, (FunctionType, BuiltinFunctionType, ModuleType)) and value in self._stand_ins:
            return self._stand_ins[value]
        return self._helper(value) if is_inlined(value) else value

    def _helper(self, function: FunctionType) -> FunctionType:
        if function not in self._helpers:
            self._helpers[function] = self._empty(function)  # before it is filled: it may call itself
            self._fill(self._helpers[function], Part(function, {}))
        return self._helpers[function]

    def _cell(self, cell: CellType) -> CellType:
        try:
            return CellType(self._meaning(cell.cell_contents))
        except ValueError:  # not filled yet
            return cell


# where Python has an error and machine code a number, this has the number too
AS_COMPILED = Binder({math: SimpleNamespace(**vars(math) | {"sqrt": np.sqrt}), math.sqrt: np.sqrt})


def interpreted(template: Part) -> Callable[..., Any]:
    """A kernel: the function of a template, every name that it uses standing for what it means to the compiler."""
    kernel: Callable[..., Any] = np.errstate(all="ignore")(AS_COMPILED.bound(template))
    return kernel  # the generator counts on integers that wrap
