"""Single instructions, and calls by address, that numba has no words for. Imported when something is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from thermosim.kernels import elementary

__all__ = ["INTRINSICS", "function_at"]


@intrinsic
def _fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), build


@intrinsic
def _bits_of(typing_context: Any, x: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.uint64(types.float64), build


@intrinsic
def _float_of(typing_context: Any, bits: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.uint64), build


# what stands in machine code for these functions
INTRINSICS: dict[Callable[..., Any], Any] = {
    elementary.fma: _fma,
    elementary.bits_of: _bits_of,
    elementary.float_of: _float_of,
}


def function_at(signature: Any) -> Any:
    """What turns an address into a first-class function of this signature of numba's.

    numba can take the function itself as an argument, but spends 60 microseconds on each at every call.
    """
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
