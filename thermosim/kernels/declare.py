"""Kernel code is plain Python: how its functions are marked, and how the names they use get their meaning.

Nothing here needs the compiler, so a model can be read, bound and stepped through without it. A function of a kernel
may call helpers that carry `@inlined`, and functions that it is given by address. It is a template: the global names it
uses for a model (`energy`, `COMPONENTS`, ...) are bound when it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, TypeVar

from thermosim.kernels.types import Signature

__all__ = [
    "INTERPRETED",
    "TWO_VECTORS",
    "CompileError",
    "FunctionAt",
    "Part",
    "bound",
    "function_at",
    "inlined",
    "instruction",
    "is_inlined",
    "place_of",
    "scope_of",
    "two_vectors",
]

INTERPRETED: dict[int, Callable[..., Any]] = {}  # by address, where the compiler is switched off
TWO_VECTORS: set[tuple[str, int]] = set()  # where functions start that are marked so


class CompileError(Exception):
    """A user's function that the compiler refuses: file, line and why, in one sentence."""


_Function = TypeVar("_Function", bound=Callable[..., Any])


def inlined(function: _Function) -> _Function:
    """Mark a helper of kernels: what is compiled with a function that names it. In Python it stays as it is."""
    function.__dict__["inlined"] = True
    return function


def instruction(function: _Function) -> _Function:
    """Mark what is a single instruction in machine code: it is known by its name, however Python does it."""
    function.__dict__["instruction"] = True
    return function


def two_vectors(function: _Function) -> _Function:
    """Mark a function whose innermost loops compute two vectors of lanes at a time, instruction by instruction.

    It is for loops with so long a chain of instructions, each waiting for the one before, that a processor sees no end
    of it: the second vector fills the waiting. The bits are the same.
    """
    function.__dict__["two_vectors"] = True
    TWO_VECTORS.add(place_of(function.__code__))  # type: ignore[attr-defined]
    return function


def place_of(code: CodeType) -> tuple[str, int]:
    """File and line: numba exchanges the code of functions while a profiler looks on."""
    return code.co_filename, code.co_firstlineno


def is_inlined(value: Any) -> bool:
    """Whether this is a function marked so."""
    return isinstance(value, FunctionType) and value.__dict__.get("inlined", False)


@dataclass(frozen=True)
class FunctionAt:
    """For kernels: turns an address into a function of this signature."""

    signature: Signature

    def __call__(self, address: int) -> Callable[..., Any]:
        """The function, where the compiler is switched off."""
        return INTERPRETED[address]


def function_at(signature: Signature) -> Any:
    """For kernels: what turns an address into a function of this signature."""
    return FunctionAt(signature)


@dataclass(frozen=True, eq=False)
class Part:
    """A function that is bound to a name, with the names it sees itself."""

    function: Callable[..., Any]
    scope: Mapping[str, Any]


def scope_of(bindings: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, and a Part for each function: it sees all numbers and the functions before it."""
    scope = {name: value for name, value in bindings.items() if not callable(value)}
    for name, value in bindings.items():
        if callable(value):
            scope[name] = Part(value, dict(scope))
    return scope


def bound(template: Any, bindings: Mapping[str, Any], key: str = "") -> FunctionType:
    """The same function with these global names.

    `key` makes its own name unique: machine code is found by name, and code from the disk cache may carry a name that
    another binding of the same template has in this process.
    """
    values = {
        name: bound(value.function, value.scope) if isinstance(value, Part) else value
        for name, value in bindings.items()
    }
    name = f"{template.__name__}_{key}"
    function = FunctionType(
        template.__code__, template.__globals__ | values, name, template.__defaults__, template.__closure__
    )
    function.__kwdefaults__ = template.__kwdefaults__
    function.__qualname__ = name  # what the compiler makes the symbol's name of
    return function
