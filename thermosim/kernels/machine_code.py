"""From plain Python to machine code: the part that talks to numba. Imported when something is compiled.

Arithmetic is strict IEEE-754, without any fastmath: fused multiply-adds are written out (`elementary.fma`), so the
bits of a lane cannot depend on how a loop was vectorised, unrolled or cut into tiles.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba._dynfunc import make_function
from numba.core.analysis import compute_cfg_from_blocks
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import register_pass
from numba.core.errors import NumbaError, NumbaExperimentalFeatureWarning
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

from thermosim.kernels import disk_cache, types
from thermosim.kernels.declare import TWO_VECTORS, CompileError, Part, place_of
from thermosim.kernels.intrinsics import KernelArray, function_at
from thermosim.kernels.naming import Names

__all__ = ["compile_part", "numba_signature"]


class _LoopID(ir.MDValue):
    """The name of a loop with hints to the vectoriser; that LLVM reads it, it must contain itself."""

    def descr(self, buf: Any) -> None:
        """Written as LLVM reads it."""
        hints = ", ".join(hint.get_reference() for hint in self.operands)
        buf += (f"distinct !{{ {self.get_reference()}, {hints} }}", "\n")


class _Lower(Lower):
    """From typed code to LLVM's, with the widest vectors, and two of them at a time where a function asks for it."""

    def setup_function(self, fndesc: Any) -> None:
        """Of several widths LLVM prefers 256 bits on Xeons, which costs up to a third; what has no 512 ignores it."""
        super().setup_function(fndesc)
        set.add(self.function.attributes, '"prefer-vector-width"="512"')  # its own `add` knows no attributes of targets

    def lower_function_body(self) -> Any:
        """Note where the innermost loops end."""
        self._ends = set[int]()
        if place_of(self.func_ir.func_id.code) in TWO_VECTORS:
            loops = list(compute_cfg_from_blocks(self.blocks).loops().values())
            innermost = [loop for loop in loops if sum(other.header in loop.body for other in loops) == 1]
            for loop in innermost:
                ends = [self.blocks[label].terminator for label in loop.body]
                self._ends |= {id(end) for end in ends if loop.header in end.get_targets()}
        return super().lower_function_body()

    def lower_inst(self, inst: Any) -> None:
        """Hang the hint on the jump back."""
        super().lower_inst(inst)
        if id(inst) in self._ends:
            hint = self.module.add_metadata(["llvm.loop.interleave.count", ir.Constant(ir.IntType(32), 2)])
            loop = _LoopID(self.module, [hint], name=str(len(self.module.metadata)))
            self.builder.block.terminator.set_metadata("llvm.loop", loop)


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):
    _name = "kernel_lowering"
    lowering_class = _Lower


class _Kernel(Compiler):
    """How kernels are compiled.

    No two arrays that a kernel is given overlap: the compiler may keep what it loaded across a store.
    """

    lowering: Any = _KernelLowering

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        managers = super().define_pipelines()
        for manager in managers:
            steps = manager.passes
            manager.passes = [(self.lowering if step is NativeLowering else step, why) for step, why in steps]
            manager.finalize()
        return managers


class _HelperLibrary(JITCodeLibrary):
    """Code of a helper: it is linked into kernels and optimised there, and nobody runs it by itself."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _HelperLowering(_KernelLowering):
    """A helper is never made machine code by itself, which would take as long as its kernel."""

    _name = "helper_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _HelperLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        super().run_pass(state)
        made, name = state.cr, state.func_id.func_qualname
        key = make_function(made.fndesc.lookup_module(), name, "", 0, made.env, (state.library,))  # without code
        state.targetctx.insert_user_function(key, made.fndesc, [state.library])  # its callers find it by the key
        state.cr = made._replace(cfunc=key)
        return True


class _Helper(_Kernel):
    """How functions are compiled that only kernels call."""

    lowering: Any = _HelperLowering

    def define_pipelines(self) -> Any:
        self.state.flags.no_compile = True
        return super().define_pipelines()


# Without reference counting a view of an array costs nothing, and a kernel that allocates does not compile.
_FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}
_KERNEL: dict[str, Any] = {**_FLAGS, "pipeline_class": _Kernel}
_HELPER: dict[str, Any] = {**_FLAGS, "pipeline_class": _Helper, "no_cpython_wrapper": True}

# A loop over lanes touches a dozen rows that the compiler must prove disjoint at run time before it vectorises;
# its default gives up at a few, which costs a factor of eight.
llvmlite.binding.set_option("thermosim", "-vectorize-memory-check-threshold=100000")

_NO_USERS = (Path(__file__).resolve().parents[1], Path(numba.__file__).resolve().parent)
_SAYS_NOTHING = ("Failed in nopython mode", "During:", "File ", "<source elided>")


def compile_part(template: Part, signature: types.Signature, cached_as: str | None) -> Any:
    """Machine code of a template for one signature, from the disk cache if it is there under this name.

    Raises CompileError when a user's function does not compile, and numba's errors when one of ours does not.
    """
    function = _names.filled(template, cached_as)
    dispatcher = numba.njit(**_KERNEL)(function)
    if cached_as is not None:
        dispatcher._cache = disk_cache.KernelCache(function, cached_as)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumbaExperimentalFeatureWarning)  # functions that are given functions
            dispatcher.compile(numba_signature(signature))
    except NumbaError as error:
        if said := _said(str(error), template):
            raise CompileError(said) from error
        raise
    dispatcher.disable_compile()
    return dispatcher


def _said(text: str, template: Part) -> str:
    """What the compiler says of a user's function: file, line, and the first line that says why; else nothing."""
    text = re.sub(r"\x1b\[\d*m", "", text)
    places = [(Path(file).resolve(), line) for file, line in re.findall(r'File "([^"]+)", line (\d+)', text)]
    users = [f"{file.name}, line {line}" for file, line in places if _is_users(file)]
    codes = [part.function.__code__ for part in _parts(template)]  # type: ignore[attr-defined]
    users = users or [Path(code.co_filename).name for code in codes if _is_users(Path(code.co_filename).resolve())]
    if not users:
        return ""
    lines = [line.strip() for line in text.splitlines()]
    why = next((line for line in lines if line and not line.startswith(_SAYS_NOTHING)), "see numba").rstrip(":. ")
    why += next((line.replace(">>>", ":") for line in lines if line.startswith(">>>")), "")
    return f"{users[-1]}: cannot be compiled: {why}. {_remedy(why)}"


def _remedy(why: str) -> str:
    if "Untyped global name" in why:
        return "Mark helpers with @inlined of thermosim.kernels.declare; other names must be numbers or tuples of them."
    return (
        "Such functions know numbers, views of their arrays, loops and `math`: no new arrays, text, objects or `try`."
    )


def _parts(template: Part) -> list[Part]:
    inner = [part for value in template.scope.values() if isinstance(value, Part) for part in _parts(value)]
    return [template, *inner]


def _is_users(file: Path) -> bool:
    return not any(home in file.parents for home in _NO_USERS)


@functools.cache
def numba_signature(signature: types.Signature) -> Any:
    """The same signature as numba writes it."""
    return numba.types.void(*map(_numba_type, signature.arguments))


def _numba_type(argument: types.Scalar | types.Array | types.Tuple) -> Any:
    if isinstance(argument, types.Tuple):
        return numba.types.Tuple(tuple(map(_numba_type, argument.items)))
    if isinstance(argument, types.Array):
        return KernelArray(getattr(numba.types, argument.scalar), argument.axes)
    return getattr(numba.types, argument.name)


_address: Callable[[types.Signature], Any] = functools.cache(lambda signature: function_at(numba_signature(signature)))
_names = Names(numba.njit(**_HELPER), _address, {})
