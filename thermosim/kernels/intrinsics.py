"""Single instructions, calls by address, and arrays that are cheap to pass, that numba has no words for.

Imported when something is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import ArrayModel
from numba.core.datamodel.registry import register_default
from numba.extending import intrinsic
from numba.np.numpy_support import as_dtype

from thermosim.kernels import elementary

__all__ = ["INTRINSICS", "KernelArray", "function_at"]

_PASSED = ("data", "shape")


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


class KernelArray(types.Array):
    """A contiguous array of a kernel, passed as an address and a shape.

    numba passes nine numbers for a matrix: a move with seventeen arrays took as long to be called as to step 64 lanes.
    The owner is nobody, since kernels count no references, and strides follow from the shape.
    """

    def __init__(self, dtype: Any, ndim: int) -> None:
        super().__init__(dtype, ndim, "C", name=f"kernel_array({dtype}, {ndim}d)")

    def copy(self, dtype: Any = None, ndim: Any = None, layout: Any = None, readonly: Any = None) -> Any:
        """The type of a view."""
        if readonly or layout not in (None, "C"):
            return super().copy(dtype, ndim, layout, readonly)
        return KernelArray(self.dtype if dtype is None else dtype, self.ndim if ndim is None else ndim)

    def unify(self, typingctx: Any, other: Any) -> Any:
        """The type of a name that is one of two arrays."""
        return self if self == other else super().unify(typingctx, other)


@register_default(KernelArray)
class _AddressAndShape(ArrayModel):
    """Inside of a function an array is what numba makes of it."""

    def get_argument_type(self) -> Any:
        """An address and as many integers as there are axes."""
        return tuple(self._model(name).get_argument_type() for name in _PASSED)

    def as_argument(self, builder: Any, value: Any) -> Any:
        """What is passed of an array."""
        return tuple(self._model(name).as_argument(builder, self.get(builder, value, name)) for name in _PASSED)

    def from_argument(self, builder: Any, value: Any) -> Any:
        """The array again."""
        address, shape = value
        width = ir.Constant(ir.IntType(64), as_dtype(self.fe_type.dtype).itemsize)
        strides, items = [width], ir.Constant(ir.IntType(64), 1)
        for length in reversed(shape):
            strides.insert(0, builder.mul(strides[0], length, flags=["nsw"]))
            items = builder.mul(items, length, flags=["nsw"])
        fields = {
            "meminfo": ir.Constant(self._model("meminfo").get_value_type(), None),
            "parent": ir.Constant(self._model("parent").get_value_type(), None),
            "nitems": items,
            "itemsize": width,
            "data": address,
            "shape": self._model("shape").from_argument(builder, shape),
            "strides": self._model("strides").from_argument(builder, strides[1:]),
        }
        array = ir.Constant(self.get_value_type(), ir.Undefined)
        for name, field in fields.items():
            array = self.set(builder, array, field, name)
        return array

    def _model(self, field: str) -> Any:
        return self._models[self.get_field_position(field)]
