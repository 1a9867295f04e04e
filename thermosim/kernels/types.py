"""Types of a kernel's arguments, in the words of numba and without it: a case is read before anything is compiled.

void(float64[:, ::1], int64)      of a matrix and an integer; arrays are contiguous, their last axis innermost
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Array", "Scalar", "Signature", "Tuple", "boolean", "float64", "int64", "uint64", "void"]


@dataclass(frozen=True)
class Scalar:
    """A number; indexed with slices, an array of such numbers."""

    name: str

    def __getitem__(self, axes: slice | tuple[slice, ...]) -> Array:
        """The array with these axes. Raises TypeError unless its last axis is the innermost, ::1."""
        axes = axes if isinstance(axes, tuple) else (axes,)
        if axes[-1].step != 1:
            raise TypeError(f"{self.name}: arrays of kernels are contiguous; write ::1 for the last axis")
        return Array(self.name, len(axes))


@dataclass(frozen=True)
class Array:
    """A contiguous array."""

    scalar: str
    axes: int


@dataclass(frozen=True)
class Tuple:
    """Several arguments in one."""

    items: tuple[Scalar | Array | Tuple, ...]


@dataclass(frozen=True)
class Signature:
    """What a kernel takes; it returns nothing."""

    arguments: tuple[Scalar | Array | Tuple, ...]


def void(*arguments: Scalar | Array | Tuple) -> Signature:
    """The signature of a kernel with these arguments."""
    return Signature(arguments)


float64, int64, uint64, boolean = Scalar("float64"), Scalar("int64"), Scalar("uint64"), Scalar("boolean")
