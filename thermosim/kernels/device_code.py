"""From plain Python to a kernel of a GPU: the same source as `machine_code`, the same arithmetic, the same bits.

NVVM may fuse a multiplication and an addition into one rounding wherever it sees both; it is told not to, so that fused
multiply-adds are those written out (`elementary.fma`), as on a processor. What is left are operations rounded to
nearest. Imported when a kernel is compiled for a GPU, or for the simulator of one (NUMBA_ENABLE_CUDASIM=1), which runs
plain Python.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import config, cuda
from numba import types as numba_types

from thermosim.kernels import types
from thermosim.kernels.declare import CompileError, Part
from thermosim.kernels.device_arithmetic import OF_NUMPY, refused
from thermosim.kernels.identity import names_of
from thermosim.kernels.interpreted import AS_COMPILED

__all__ = ["SIMULATED", "device_kernel", "ptx_of"]

SIMULATED = bool(config.ENABLE_CUDASIM)
_compiling = threading.RLock()


def _larger(a, b):  # type: ignore[no-untyped-def]
    """As Python and processors do: the first of two where neither is larger, and where one is NaN."""
    return b if b > a else a


def _smaller(a, b):  # type: ignore[no-untyped-def]
    return b if b < a else a


def device_kernel(template: Part, signature: types.Signature, code: str | None = None) -> Any:
    """What is launched as kernel[blocks, threads, stream](...); compiled for the card that is current.

    `code` is a text that knows all that the kernel is made of: by it the kernel is kept on the disk, and found there.
    Raises CompileError for arithmetic that has other bits there, and numba's errors where it does not compile.
    """
    if SIMULATED:
        return _Simulated(cuda.jit(_quietly(AS_COMPILED.bound(template))))
    from numba.cuda.core.caching import NullCache

    from thermosim.kernels.device_cache import DeviceCache, cached_as

    with _compiling, _without_contraction():
        kernel = cuda.jit(_names().filled(template, None))
        if name := code and cached_as(code, cuda.get_current_device().compute_capability):
            kernel._cache = DeviceCache(name)
        kernel.compile(_signature(signature))
    kernel._cache = NullCache()
    kernel.disable_compile()  # for arguments of other types it would be compiled at its launch, and contracted
    return kernel


def ptx_of(template: Part, signature: types.Signature, capability: tuple[int, int]) -> str:
    """The instructions of a kernel, for cards of this compute capability; no card is needed.

    Raises like `device_kernel`.
    """
    from numba.cuda import dispatcher

    class _Card:
        compute_capability = capability

    kept = dispatcher.get_current_device
    with _compiling, _without_contraction():
        dispatcher.get_current_device = _Card  # helpers are compiled for the card that is current
        try:
            text, _ = cuda.compile(
                _names().filled(template, None), _signature(signature), cc=capability, device=False, abi="numba"
            )
        finally:
            dispatcher.get_current_device = kept
    return str(text)


@contextmanager
def _without_contraction() -> Iterator[None]:
    """numba has no option for it; every call of the compiler meanwhile is one of ours, or waits."""
    from numba.cuda.cudadrv import nvvm

    compile_ir = nvvm.compile_ir

    def strict(ir: Any, **options: Any) -> Any:
        if why := refused(ir):
            raise CompileError(why)
        return compile_ir(ir, **{**options, "fma": False})

    nvvm.compile_ir = strict
    try:
        with warnings.catch_warnings():  # functions that are given functions, which numba calls experimental
            warnings.simplefilter("ignore")
            yield
    finally:
        nvvm.compile_ir = compile_ir


_made: list[Any] = []


def _names() -> Any:
    """Helpers are compiled into each kernel that calls them: sizes and flags are numbers there."""
    from thermosim.kernels.naming import Names

    class _Names(Names):
        """Functions of numpy are those of `math`."""

        def _meaning(self, value: Any, code: CodeType) -> Any:
            if isinstance(value, np.ufunc):
                return OF_NUMPY.get(value, value)
            if value is np and any(isinstance(getattr(np, name, None), np.ufunc) for name in names_of(code)):
                module = ModuleType("numpy")
                known = [name for name in names_of(code) if hasattr(np, name)]
                vars(module).update({name: self._meaning(getattr(np, name), code) for name in known})
                return module
            return super()._meaning(value, code)

    if not _made:
        helper: Callable[[FunctionType], Any] = cuda.jit(device=True, forceinline=True)
        _made.append(_Names(helper, _no_address, {"max": _larger, "min": _smaller}))
    return _made[0]


def _no_address(signature: types.Signature) -> Any:
    raise TypeError("a kernel of a GPU knows no addresses")


def _signature(signature: types.Signature) -> Any:
    """As numba writes it; arrays of a card are numba's own."""
    return numba_types.void(*map(_type, signature.arguments))


def _type(argument: Any) -> Any:
    scalar = getattr(numba_types, argument.scalar if isinstance(argument, types.Array) else argument.name)
    return numba_types.Array(scalar, argument.axes, "C") if isinstance(argument, types.Array) else scalar


def _quietly(function: FunctionType) -> FunctionType:
    """The generator counts on integers that wrap, of which numpy warns; each thread of the simulator asks anew."""
    scope = function.__globals__  # of which the simulator replaces `cuda`, so that both must have the same
    scope |= {"_kernel": function, "_errstate": np.errstate}
    return FunctionType(_run_quietly.__code__, scope, function.__name__)


def _run_quietly(*arguments: Any) -> None:
    with _errstate(all="ignore"):  # type: ignore[name-defined]  # noqa: F821
        _kernel(*arguments)  # type: ignore[name-defined]  # noqa: F821


class _Simulated:
    """A kernel in the simulator, which runs one at a time."""

    _running = threading.Lock()

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __getitem__(self, configuration: tuple[Any, ...]) -> Callable[..., None]:
        def launch(*arguments: Any) -> None:
            with self._running:
                self._kernel[configuration](*arguments)

        return launch
