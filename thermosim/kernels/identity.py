"""What a function computes, as a digest: equal exactly when its code and everything the code names are equal.

Read are bytecode, the constants it loads, closures, defaults, and what its global names stand for: numbers, arrays, and
other functions, again with all that they name. Comments, docstrings, line numbers, file names, annotations and whatever
the code does not name leave no trace. The digest is the same in every process: nothing in it is an address, a hash or
the order of a set.
"""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import hashlib
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_VARARGS, CO_VARKEYWORDS
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from thermosim.kernels.declare import FunctionAt, Part, scope_of
from thermosim.kernels.types import Array, Scalar, Signature, Tuple

__all__ = ["Identity", "combined", "identity_of", "identity_of_modules", "kernel_identity", "named", "names_of"]

_LENGTH = 24  # hexadecimal digits
_EXTENDED = dis.opmap["EXTENDED_ARG"]
_STORE_NAME, _IMPORT_NAME = dis.opmap["STORE_NAME"], dis.opmap["IMPORT_NAME"]
_LOADS = frozenset(dis.hasconst)
# starred arguments, generators; of other flags numba clears some while a profiler looks on
_KINDS = CO_VARARGS | CO_VARKEYWORDS | CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
_TELLING = re.compile(b"[" + re.escape(bytes({_STORE_NAME, _IMPORT_NAME, *_LOADS})) + b"]", re.DOTALL)
_UNREAD = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})  # of a class or a module
_NO_MEMBERS = _UNREAD | {"__module__", "__dict__", "__weakref__", "__annotations__", "__qualname__"}
_OF_COMPILER = frozenset({"builtins", "math", "cmath", "operator", "numpy"})  # known to it by name


@dataclasses.dataclass(frozen=True)
class Identity:
    """The digest of some code, and what is known of it."""

    digest: str
    complete: bool  # nothing that it depends on is hidden from the digest
    packages: frozenset[str]  # of others, that it calls


def named(function: Callable[..., Any], scope: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What the code of a function may mean by its global names, in a fixed order: the name, and what it stands for.

    Names of attributes are among them when something global is called so: too much, never too little.
    """
    known: dict[str, Any] = function.__globals__  # type: ignore[attr-defined]
    names = names_of(function.__code__)  # type: ignore[attr-defined]
    return [(name, scope[name] if name in scope else known[name]) for name in names if name in scope or name in known]


@functools.cache
def names_of(code: CodeType) -> tuple[str, ...]:
    """Names of globals and attributes in a function and the functions inside it, each once."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= dict.fromkeys(names_of(constant))
    return tuple(names)


def kernel_identity(template: Callable[..., Any], signature: Signature, bindings: Mapping[str, Any]) -> Identity:
    """Of a template with its bindings: of those it does not use, nothing."""
    return identity_of(signature, Part(template, scope_of(bindings)))


def identity_of(*values: Any) -> Identity:
    """Of functions, or of data that may hold functions."""
    reader = _Reader()
    for value in values:
        reader.value(value)
    return reader.result()


@functools.cache
def identity_of_modules(*names: str) -> Identity:
    """Of modules, each as a whole, but not of those they import. Raises ImportError where one is not found."""
    reader = _Reader()
    for name in names:
        reader.module(name)
    return reader.result()


def combined(digests: Iterable[str]) -> str:
    """One digest for several, the same for any number of equal ones."""
    different = list(dict.fromkeys(digests))
    return different[0] if len(different) == 1 else hashlib.sha256(repr(different).encode()).hexdigest()[:_LENGTH]


class _Reader:
    """Feeds a hash with all that code depends on, function by function in the order they are met."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.complete = True
        self.packages: set[str] = set()
        self._met: dict[Any, int] = {}  # so that functions may call one another
        self._kept: list[Any] = []  # an address may not be used again

    def result(self) -> Identity:
        """Of all that was read."""
        return Identity(self.hash.hexdigest()[:_LENGTH], self.complete, frozenset(self.packages))

    def put(self, kind: str, data: bytes | str = b"") -> None:
        """A piece of what is hashed. Its length goes along: pieces cannot run into one another."""
        data = data.encode() if isinstance(data, str) else data
        self.hash.update(f"{kind} {len(data)}:".encode() + data)

    def value(self, value: Any) -> None:
        """A constant, or whatever else a name stands for."""
        if value is None or value is Ellipsis or type(value) in (bool, int, float, complex, str, bytes):
            self.put(type(value).__name__, repr(value))
        elif isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
            self.put(f"array {value.dtype.str} {value.shape}", np.ascontiguousarray(value).tobytes())
        elif isinstance(value, (tuple, list)):
            self._sequence(type(value).__qualname__, value)
        elif type(value) in (set, frozenset):
            self._sequence("set", sorted(identity_of(item).digest for item in value))
        elif isinstance(value, Mapping):
            self._sequence("mapping", [part for item in value.items() for part in item])
        elif isinstance(value, CodeType):
            self.code(value)
        elif isinstance(value, Part):
            self.function(value.function, value.scope)
        elif isinstance(value, (FunctionAt, Signature, Tuple, Array, Scalar, slice, range, np.dtype)):
            self.put(type(value).__name__, repr(value))
        else:
            self._object(value)

    def _sequence(self, kind: str, items: Iterable[Any]) -> None:
        items = list(items)
        self.put(f"{kind} {len(items)}")
        for item in items:
            self.value(item)

    def _object(self, value: Any) -> None:
        """What is known by the code it is made of, or else by its name."""
        if isinstance(value, FunctionType):
            self.function(value, {})
        elif isinstance(value, (ModuleType, BuiltinFunctionType, np.ufunc)):
            self._foreign(value)
        elif isinstance(value, MethodType):
            self._sequence("method", (value.__func__, value.__self__))
        elif isinstance(value, enum.Enum):
            self._sequence("enum", (type(value).__qualname__, value.name, value.value))
        elif isinstance(value, functools.partial):
            self._sequence("partial", (value.func, value.args, value.keywords))
        elif isinstance(value, property):
            self._sequence("property", (value.fget, value.fset))
        elif isinstance(value, (staticmethod, classmethod)):
            self._sequence(type(value).__name__, (value.__func__,))
        elif isinstance(value, functools.cached_property):
            self._sequence("property", (value.func,))
        elif isinstance(getattr(value, "__wrapped__", None), FunctionType):  # functools.cache
            self._sequence("wrapped", (value.__wrapped__,))
        elif isinstance(getattr(value, "py_func", None), FunctionType):  # compiled elsewhere, with whatever options
            self.complete = False
            self._sequence("compiled", (value.py_func,))
        elif isinstance(value, type):
            self._class(value)
        elif dataclasses.is_dataclass(value):
            fields = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
            self._sequence("instance", (type(value).__qualname__, fields))
        else:
            self.complete = False
            self._foreign(type(value))

    def function(self, function: Callable[..., Any], scope: Mapping[str, Any]) -> None:
        """A function, its global names standing for what they do in this scope and in its module."""
        function = getattr(function, "py_func", function)
        if getattr(function, "instruction", False):
            self.put("instruction", function.__name__)
            return
        if self._is_met(function, *self._seen_as(scope)):
            return
        if not isinstance(function, FunctionType) or _is_foreign(function.__module__ or ""):
            self._foreign(function)
            return
        self.code(function.__code__)
        if "two_vectors" in function.__dict__:
            self.put("two vectors")
        self._sequence("defaults", (function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                content = None
            self.value(content)
        for name, value in named(function, scope):
            self.put("name", name)
            self._named(value, function.__code__)
        for module in _imported(names_of(function.__code__)):
            self.module(module)
        if not _is_ours(function.__module__ or "") and _speaks_to_compiler(function.__globals__):
            self.complete = False

    def _seen_as(self, scope: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """A scope by what its names stand for: the same function in another scope is another."""
        return [(name, self._told(value)) for name, value in scope.items()]

    def _told(self, value: Any) -> Any:
        if value is None or type(value) in (bool, int, float, str):
            return repr(value)
        self._kept.append(value)
        return id(value)

    def _named(self, value: Any, code: CodeType) -> None:
        """What a name stands for; of a module of ours or the user's, those things in it that the code may mean."""
        if not isinstance(value, ModuleType) or _is_foreign(value.__name__):
            self.value(value)
            return
        self.put("module", value.__name__)
        if self._is_met(value, names_of(code)):
            return
        for name in names_of(code):
            if name in vars(value):
                self.put("attribute", name)
                self.value(vars(value)[name])

    def code(self, code: CodeType) -> None:
        """Bytecode and the constants that it loads, wherever they are kept: a docstring is not loaded."""
        operations, arguments = code.co_code[::2], bytearray(code.co_code[1::2])
        loaded: list[int] = []
        for found in _TELLING.finditer(operations):
            place, operation = found.start(), operations[found.start()]
            argument, before = arguments[place], place - 1
            while before >= 0 and operations[before] == _EXTENDED:
                argument |= arguments[before] << 8 * (place - before)
                before -= 1
            if operation in _LOADS:
                arguments[before + 1 : place + 1] = bytes(place - before)
                loaded.append(argument)
            elif operation == _IMPORT_NAME:
                self._package(code.co_names[argument])
            elif code.co_names[argument] in _UNREAD and loaded:
                loaded.pop()
        self.put("code", operations + arguments)
        shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _KINDS)
        self.put("shape", repr((*shape, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)))
        self.put("exceptions", code.co_exceptiontable)
        for number in loaded:
            self.value(code.co_consts[number])

    def module(self, name: str) -> None:
        """The code of a module, as it is on the disk."""
        spec = importlib.util.find_spec(name)
        code = getattr(spec.loader, "get_code")(name) if spec is not None else None  # noqa: B009  not in its type
        if code is None:
            raise ImportError(f"{name}: no code of this module can be found")
        self.code(code)

    def _class(self, kind: type) -> None:
        if _is_foreign(kind.__module__):
            self._foreign(kind)
        elif not self._is_met(kind):
            self.put("class", kind.__qualname__)
            self._sequence("bases", kind.__bases__)
            for name, value in sorted(vars(kind).items()):
                if name not in _NO_MEMBERS and not name.startswith("__dataclass"):
                    self.put("member", name)
                    self.value(value)

    def _foreign(self, value: Any) -> None:
        """What others made is known by its name."""
        module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or "numpy"
        package = module.partition(".")[0]
        self.put("foreign", f"{module} {getattr(value, '__qualname__', getattr(value, '__name__', ''))}")
        self.complete &= package in _OF_COMPILER
        self._package(package)

    def _package(self, module: str) -> None:
        package = module.partition(".")[0]
        if package not in sys.stdlib_module_names and not _is_ours(package):
            self.packages.add(package)

    def _is_met(self, *key: Any) -> bool:
        """Whether this was hashed before; what is hashed then is its number."""
        place = (id(key[0]), *key[1:])
        if place in self._met:
            self.put("again", str(self._met[place]))
            return True
        self._met[place] = len(self._met)
        self._kept.append(key[0])
        return False


@functools.cache
def _imported(names: tuple[str, ...]) -> list[str]:
    """Modules of this package that a function with these names imports when it is called."""
    found = []
    for name in names:
        if _is_ours(name) and "." in name:
            inside = [f"{name}.{other}" for other in names if "." not in other]
            found += [module for module in inside if _is_module(module)] or [name]
    return found


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # what it would be in is no package
        return False


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == __name__.partition(".")[0]


@functools.cache
def _is_foreign(module: str) -> bool:
    """Whether a module is of Python or of an installed package other than this one."""
    package = module.partition(".")[0]
    if _is_ours(module) or package == "__main__":
        return False
    if package in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(package), "__file__", None)
    return file is not None and any(folder in Path(file).parents for folder in _installed())


@functools.cache
def _installed() -> tuple[Path, ...]:
    return tuple(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))


def _speaks_to_compiler(scope: Mapping[str, Any]) -> bool:
    """Whether a file uses numba itself: it may then teach it what any name means."""
    for value in scope.values():
        module = value.__name__ if isinstance(value, ModuleType) else getattr(type(value), "__module__", None)
        if isinstance(module, str) and module.partition(".")[0] == "numba":
            return True
    return False
