"""What the step loop calls by address: each declared once, names, order and types. L = lanes, always the last axis.

theta (m, L), x (n, L), constants (C, L) one row per scalar constant of the model, shared (K,) its array constants
packed one after another, the same for all replicas; derived (D, L) what the model computes from theta, or theta itself;
data (rows, n), of which lane l owns row_count from first_row[l]; path (Q, L) the rows of the ledger that are booked;
scratch (R, L) work rows of the model's functions.

The functions below are declarations: what is compiled for one must have its arguments, by name and in order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

from thermosim.kernels import types
from thermosim.kernels.types import Signature

__all__ = ["Buffers", "Flag", "Integer", "Integers", "Stack", "Tile", "Vector", "argument_names", "signature_of"]

_real = types.float64
# types by the names that declarations give them; for mypy they are anything
_KINDS: dict[str, types.Scalar | types.Array] = {
    "Integer": types.int64,
    "Flag": types.boolean,
    "Vector": _real[::1],
    "Integers": types.int64[::1],
    "Tile": _real[:, ::1],
    "Stack": _real[:, :, ::1],
    "Buffers": _real[:, :, :, ::1],
}
Integer: TypeAlias = Any
Flag: TypeAlias = Any
Vector: TypeAlias = Any
Integers: TypeAlias = Any
Tile: TypeAlias = Any
Stack: TypeAlias = Any
Buffers: TypeAlias = Any


def argument_names(declaration: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the arguments, in order."""
    code = declaration.__code__  # type: ignore[attr-defined]
    return tuple(code.co_varnames[: code.co_argcount])


@functools.cache
def signature_of(declaration: Callable[..., Any]) -> Signature:
    """The signature of a declaration, which names the type of every argument and returns nothing."""
    return types.void(*(_KINDS[declaration.__annotations__[name]] for name in argument_names(declaration)))


def prepare(theta: Tile, constants: Tile, shared: Vector, derived: Tile, scratch: Tile) -> None:
    """What the model derives from theta, once after every move of theta."""


def theta_move(
    seed: Integer,
    step: Integer,
    first_replica: Integer,
    theta: Tile,
    memory: Tile,
    derived: Tile,
    states: Stack,
    normal: Tile,
    uniform: Tile,
    constants: Tile,
    shared: Vector,
    data: Tile,
    first_row: Integers,
    row_count: Integer,
    hyper: Tile,
    table: Vector,
    path: Tile,
    loss: Vector,
    gradient: Tile,
    after: Tile,
    row: Tile,
    work: Tile,
    scratch: Tile,
) -> None:
    """One move of theta, in place; derived is brought up to date. states (S, n, L) are the samples x.

    hyper (H, L) are the hyper-parameters of this step and table (K,) what it prescribes; memory (M, L) stays from step
    to step; normal, uniform, after (2 m, L), row (n, L) and work (4, L) are work space. loss (L) and gradient (m, L)
    stay as the move found them at theta, for functionals that book after it.
    """


def books(
    theta: Tile,
    before: Tile,
    loss: Vector,
    gradient: Tile,
    constants: Tile,
    shared: Vector,
    path: Tile,
) -> None:
    """Add to path what functionals gain by the move of theta from `before`; see `ledger.Book`."""


def jump(
    x: Tile,
    derived: Tile,
    constants: Tile,
    shared: Vector,
    phi: Vector,
    force: Tile,
    path: Tile,
    scratch: Tile,
) -> None:
    """phi at x for a theta that has moved, the change booked as work; the force too, for moves that keep it."""


def restart(
    seed: Integer,
    step: Integer,
    first_replica: Integer,
    sample: Integer,
    x: Tile,
    derived: Tile,
    constants: Tile,
    shared: Vector,
    data: Tile,
    first_row: Integers,
    row_count: Integer,
    phi: Vector,
    force: Tile,
    path: Tile,
    scratch: Tile,
) -> None:
    """x on a data row, the change of phi booked as heat."""


def x_move(
    x: Tile,
    x_new: Tile,
    derived: Tile,
    constants: Tile,
    shared: Vector,
    table: Vector,
    langevin: Tile,
    normal: Tile,
    uniform: Tile,
    phi: Vector,
    force_old: Tile,
    force_new: Tile,
    path: Tile,
    jumped: Flag,
    last: Flag,
    scratch: Tile,
) -> None:
    """From x to x_new, both (n, L).

    phi (L) is that of x, at the theta before its last move where `jumped`, and becomes that of x_new; force_old (n, L)
    and force_new likewise, of moves that keep it. Before the `last` move of a step, a move whose heat depends on its
    two ends only may leave phi behind. langevin holds the rows h_i, sqrt(2 h_i T_i),
    sqrt(h_i/(2 T_i)), h_i being the time step times the mobility of component i, one h where they are the same.
    """
