"""Kernels made ready: compiled for a signature with a model's names bound, once for a process and once for the disk.

Everything the step loop calls by address (moves, gradients, energies) is a plain Python function. A move is a template:
the global names it uses for the model (`energy`, `force`, `COMPONENTS`, ...) are bound when it is compiled, so the
model's arithmetic is inlined into the loop over lanes and intermediate results never leave the registers.

The compiler comes with the first kernel: importing this module, or a model, does not import numba.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import threading
from collections.abc import Callable
from typing import Any

from thermosim.kernels.declare import INTERPRETED, Part, scope_of
from thermosim.kernels.identity import identity_of_modules, kernel_identity
from thermosim.kernels.interpreted import interpreted
from thermosim.kernels.types import Signature

__all__ = ["address_of", "compiled", "compiler_versions"]

_compiling = threading.RLock()  # numba compiles one function at a time
_kept: dict[str, Any] = {}  # by the name of the kernel: equal code of other functions is compiled once


@functools.cache
def compiled(template: Callable[..., Any], signature: Signature, **bindings: Any) -> Any:
    """Machine code of `template` for `signature`, its global names in `bindings` bound to functions or numbers.

    Functions among the bindings see the numbers and the functions before them.

    Raises CompileError when a user's function does not compile, and numba's errors when one of ours does not.
    """
    scope = scope_of(bindings)
    if _interpreted():
        return interpreted(Part(template, scope))
    from thermosim.kernels.machine_code import compile_part

    with _compiling:
        identity = kernel_identity(template, signature, bindings)
        if not identity.complete:  # a user's function of which not everything is known: anew in every process
            return compile_part(Part(template, scope), signature, None)
        name = _name_of(identity.digest)
        if name not in _kept:
            _kept[name] = compile_part(Part(template, scope), signature, name)
        return _kept[name]


def address_of(template: Callable[..., Any], signature: Signature, **bindings: Any) -> int:
    """Where the machine code of `compiled(...)` starts: what the step loop takes to call it."""
    if _interpreted():
        INTERPRETED[len(INTERPRETED)] = compiled(template, signature, **bindings)
        return len(INTERPRETED) - 1
    from thermosim.kernels.machine_code import numba_signature

    result = compiled(template, signature, **bindings).get_compile_result(numba_signature(signature))
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


@functools.cache
def compiler_versions() -> dict[str, str]:
    """What turns a kernel's code into machine code, by name: two that differ may round differently."""
    import llvmlite
    import llvmlite.binding
    import numba

    modules = ("machine_code", "naming", "intrinsics", "types")
    return {
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "Python": platform.python_version(),
        "processor": llvmlite.binding.get_host_cpu_name(),
        "flags of the compiler": identity_of_modules(*(f"thermosim.kernels.{name}" for name in modules)).digest,
    }


def _name_of(digest: str) -> str:
    """Digest of everything that machine code depends on, from that of the plain code."""
    return hashlib.sha256(repr((digest, compiler_versions())).encode()).hexdigest()[:24]


@functools.cache
def _interpreted() -> bool:
    """Whether kernels run as plain Python, for the debugger."""
    from numba import config

    return bool(config.DISABLE_JIT)
