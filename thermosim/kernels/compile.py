"""The one place that talks to numba: flags, templates bound to a model, addresses, a disk cache that cannot go stale.

Helpers shared by kernels carry `@inlined`. Everything the step loop calls by address (moves, gradients, energies) is
a plain Python function. A move is a template: the global names it uses for the model (`energy`, `force`,
`COMPONENTS`, ...) are bound when it is compiled, so the model's arithmetic is inlined into the loop over lanes and
intermediate results never leave the registers.

Arithmetic is strict IEEE-754, without any fastmath: fused multiply-adds are written out (`elementary.fma`), so the
bits of a lane cannot depend on how a loop was vectorised, unrolled or cut into tiles.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import platform
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.compiler import Compiler
from numba.extending import intrinsic

__all__ = ["BITS", "address_of", "bound", "compiled", "function_at", "inlined", "source_fingerprint"]


# Without reference counting a view of an array costs nothing, and a kernel that allocates does not compile.
class _DisjointArguments(Compiler):
    """No two arrays that a kernel is given overlap: the compiler may keep what it loaded across a store."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()


# every source that the bits of a result depend on
BITS = (
    "kernels",
    "models",
    "exact",
    "data",
    "plan",
    "engines",
    "run/recording.py",
    "run/stepper.py",
    "cohorts.py",
    "ledger.py",
    "schedules.py",
    "storage/summaries.py",
)

_FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False, "pipeline_class": _DisjointArguments}
_PACKAGE = Path(__file__).parent.parent

# A loop over lanes touches a dozen rows that the compiler must prove disjoint at run time before it vectorises;
# its default gives up at a few, which costs a factor of eight.
llvmlite.binding.set_option("thermosim", "-vectorize-memory-check-threshold=100000")

if numba.config.DISABLE_JIT:
    np.seterr(over="ignore")  # the generator counts on integers that wrap
_compiling = threading.RLock()  # numba's cache folder is one for the whole process
_interpreted: dict[int, Callable[..., Any]] = {}  # by address, under NUMBA_DISABLE_JIT=1

inlined: Callable[..., Any] = functools.partial(numba.njit, **_FLAGS)


@functools.cache
def source_fingerprint(places: tuple[str, ...]) -> str:
    """Hash of the sources in these places of the package, of numba, and of the processor."""
    digest = hashlib.sha256()
    for place in places:
        path = _PACKAGE / place
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(source.read_bytes())
    processor = llvmlite.binding.get_host_cpu_name()
    for part in (numba.__version__, llvmlite.__version__, platform.python_version(), processor):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


@functools.cache
def compiled(template: Callable[..., Any], signature: Any, **bindings: Any) -> Any:
    """Machine code of `template` for `signature`, its global names in `bindings` bound to functions or numbers.

    Functions among the bindings see the numbers and the functions before them. numba's own disk cache looks only at the
    file a function is written in, so the cache folder is named after everything the code depends on.

    Raises numba's errors when the function does not compile.
    """
    with _compiling:
        return _compiled(template, signature, bindings)


def _compiled(template: Callable[..., Any], signature: Any, bindings: Mapping[str, Any]) -> Any:
    key = _key(template, bindings)
    scope = {name: value for name, value in bindings.items() if not callable(value)}
    for name, part in bindings.items():
        if callable(part):
            scope[name] = inlined(bound(part, scope, key))  # as it is where the compiler is switched off
    function = bound(template, scope, key)
    if numba.config.DISABLE_JIT:
        return function
    if not all(_is_ours(f) for f in (template, *bindings.values()) if callable(f)):
        # a user's function may depend on anything its file imports: compiled anew by every process
        return numba.njit([signature], **_FLAGS)(function)
    previous, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(_cache_root() / key)
    try:
        return numba.njit([signature], cache=True, **_FLAGS)(function)
    finally:
        numba.config.CACHE_DIR = previous


def address_of(template: Callable[..., Any], signature: Any, **bindings: Any) -> int:
    """Where the machine code of `compiled(...)` starts: what the step loop takes to call it."""
    if numba.config.DISABLE_JIT:
        _interpreted[len(_interpreted)] = compiled(template, signature, **bindings)
        return len(_interpreted) - 1
    result = compiled(template, signature, **bindings).get_compile_result(signature)
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


def function_at(signature: Any) -> Any:
    """For kernels: turns an address into a first-class function of this signature.

    numba can take the function itself as an argument, but spends 60 microseconds on each at every call.
    """
    if numba.config.DISABLE_JIT:
        return _interpreted.get
    function_type = types.FunctionType(signature)

    @intrinsic
    def at(typing_context: Any, address: Any) -> Any:
        def build(context: Any, builder: Any, call: Any, arguments: Any) -> Any:
            function = cgutils.create_struct_proxy(function_type)(context, builder)
            pointer = context.get_value_type(types.voidptr)
            function.c_addr = builder.inttoptr(arguments[0], pointer)
            function.py_addr = context.get_constant_null(types.voidptr)
            function.jit_addr = builder.inttoptr(arguments[0], pointer)
            return function._getvalue()

        return function_type(types.int64), build

    return at


def bound(template: Any, bindings: Mapping[str, Any], key: str = "") -> FunctionType:
    """The same function with these global names.

    `key` makes its own name unique: numba finds machine code by name, and code from the disk cache may carry a name
    that another binding of the same template has in this process.
    """
    scope, name = template.__globals__ | dict(bindings), f"{template.__name__}_{key}"
    function = FunctionType(template.__code__, scope, name, template.__defaults__, template.__closure__)
    function.__qualname__ = name  # what numba makes the symbol's name of
    return function


def _key(template: Callable[..., Any], bindings: Mapping[str, Any]) -> str:
    """Hash of everything the machine code depends on; of a user's function, of this very object."""
    digest = hashlib.sha256(source_fingerprint(("kernels", "models")).encode())
    for name, value in [*bindings.items(), ("", template)]:
        text = repr(value)
        if callable(value):
            text = f"{value.__module__}.{value.__qualname__}" + ("" if _is_ours(value) else f" {id(value)}")
        digest.update(f"{name}={text};".encode())
    return digest.hexdigest()[:24]


def _is_ours(function: Callable[..., Any]) -> bool:
    return _PACKAGE in Path(inspect.getsourcefile(function) or "/").parents


@functools.cache
def _cache_root() -> Path:
    """The user's cache folder, or a private temporary one where that cannot be written."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(base) / "thermosim" / "kernels"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return root
    except OSError:
        return Path(tempfile.gettempdir()) / f"thermosim-kernels-{os.getuid()}"
