"""Machine code with options of its own, fast sums and arrays of its own among them: not of the step loop of lanes.

Kept on the disk as kernels are, by all that decides it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numba

from thermosim.kernels import disk_cache, machine_code, types
from thermosim.kernels.compile import compiler_versions
from thermosim.kernels.identity import identity_of

__all__ = ["compiled_freely"]

assert machine_code  # whose options of the vectoriser these loops need, too


@functools.cache
def _kept(function: Callable[..., Any], signature: types.Signature, options: tuple[tuple[str, Any], ...]) -> Any:
    digest = identity_of(function, signature, options, sorted(compiler_versions().items())).digest
    name = f"{function.__name__}-{digest}"
    given = {key: set(value) if isinstance(value, frozenset) else value for key, value in options}
    dispatcher = numba.njit(**given)(function)
    if dispatcher is function:  # the compiler is switched off
        return function
    dispatcher._cache = disk_cache.KernelCache(function, name)
    dispatcher.compile(_plain_signature(signature))
    dispatcher.disable_compile()
    return dispatcher


def compiled_freely(function: Callable[..., Any], signature: types.Signature, options: Mapping[str, Any]) -> Any:
    """Machine code with options of its own, fast sums and arrays of its own among them: not of the step loop of lanes.

    Kept on the disk as kernels are.
    """
    held = tuple(sorted((name, frozenset(v) if isinstance(v, set) else v) for name, v in options.items()))
    return _kept(function, signature, held)


def _plain_signature(signature: types.Signature) -> Any:
    return numba.types.void(*map(_plain, signature.arguments))


def _plain(argument: types.Scalar | types.Array | types.Tuple) -> Any:
    if isinstance(argument, types.Array):
        return numba.types.Array(getattr(numba.types, argument.scalar), argument.axes, "C")
    assert isinstance(argument, types.Scalar)
    return getattr(numba.types, argument.name)
