"""What the names in kernel code stand for when it is compiled: numbers, instructions, other functions compiled too.

The compilers of processors and of GPUs read the same source; what a helper becomes differs. Imported when something is
compiled.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from thermosim.kernels import types
from thermosim.kernels.declare import FunctionAt, Part, is_inlined
from thermosim.kernels.identity import identity_of, named, names_of
from thermosim.kernels.intrinsics import INTRINSICS

__all__ = ["Names"]

_numbers = itertools.count()


class Names:
    """The meaning of names for one compiler.

    `helper` makes what kernels call of a function whose names have been given their meaning, or will be; `function_at`
    what turns an address into a function of a signature; `builtins` are names of Python that stand for other functions.
    """

    def __init__(
        self,
        helper: Callable[[FunctionType], Any],
        function_at: Callable[[types.Signature], Any],
        builtins: Mapping[str, Callable[..., Any]],
    ) -> None:
        self._helper, self._function_at, self._builtins = helper, function_at, builtins
        self._made: dict[Any, tuple[Part, Any]] = {}  # helpers and bound functions, once for all that name them

    def filled(self, part: Part, key: str | None) -> FunctionType:
        """The function of a part, whose names mean what they do in its scope.

        `key` makes its own name unique: machine code is found by name, and code from the disk cache may carry a name
        that another binding of the same template has in this process.
        """
        function = self._empty(part, key or f"only_{next(_numbers)}")
        self._fill(function, part)
        return function

    def _empty(self, part: Part, key: str) -> FunctionType:
        """The function in a scope of its own that is yet to be filled."""
        template: Any = part.function
        name = f"{template.__name__}_{key}"
        cells = template.__closure__ and tuple(self._cell(cell, template.__code__) for cell in template.__closure__)
        # in this module, whatever the file: code from the disk cache is refused where its module cannot be imported
        scope = template.__globals__ | {"__name__": __name__}
        function = FunctionType(template.__code__, scope, name, template.__defaults__, cells)
        function.__kwdefaults__ = template.__kwdefaults__
        function.__qualname__ = name  # what numba makes the symbol's name of
        return function

    def _fill(self, function: FunctionType, part: Part) -> None:
        for name in names_of(function.__code__):
            if name in self._builtins:
                function.__globals__.setdefault(name, self._made_of(Part(self._builtins[name], {})))
        for name, value in named(part.function, part.scope):
            function.__globals__[name] = self._meaning(value, function.__code__)

    def _meaning(self, value: Any, code: CodeType) -> Any:
        """What stands in a kernel with this code for a value that it names."""
        if isinstance(value, Part):
            return self._made_of(value)
        if isinstance(value, FunctionAt):
            return self._function_at(value.signature)
        if isinstance(value, FunctionType) and value in INTRINSICS:
            return INTRINSICS[value]
        if is_inlined(value):
            return self._made_of(Part(value, {}))
        if isinstance(value, ModuleType) and any(_is_ours(vars(value).get(name)) for name in names_of(code)):
            module = ModuleType(value.__name__)
            vars(module).update({name: self._meaning(vars(value).get(name), code) for name in names_of(code)})
            return module
        return value

    def _cell(self, cell: CellType, code: CodeType) -> CellType:
        try:
            return CellType(self._meaning(cell.cell_contents, code))
        except ValueError:  # not filled yet
            return cell

    def _made_of(self, part: Part) -> Any:
        """Code that is compiled along with each kernel that calls it."""
        identity = identity_of(part)
        parts = [part, *(value for value in part.scope.values() if isinstance(value, Part))]
        key = (identity.digest, None if identity.complete else tuple(id(each.function) for each in parts))
        if key not in self._made:
            function = self._empty(part, identity.digest if identity.complete else f"only_{next(_numbers)}")
            self._made[key] = part, self._helper(function)  # before it is filled: it may call itself
            self._fill(function, part)
        return self._made[key][1]


def _is_ours(value: Any) -> bool:
    return is_inlined(value) or (isinstance(value, FunctionType) and value in INTRINSICS)
