"""Types of everything the step loop calls by address. L = lanes (replicas of a tile), always the last axis.

theta (m, L), x (n, L), constants (C, L) one row per scalar constant of the model, shared (K,) its array constants
packed one after another, the same for all replicas; derived (D, L) what the model computes from theta, or theta itself;
data (rows, n), of which lane l owns row_count from first_row[l]; path (Q, L) the running sums of `ledger.py`;
scratch (R, L) work rows of the model's functions.
"""

from __future__ import annotations

from thermosim.kernels import types

_vector = types.float64[::1]
_tile = types.float64[:, ::1]
_stack = types.float64[:, :, ::1]
_buffers = types.float64[:, :, :, ::1]
_integer = types.int64
_integers = types.int64[::1]
_flag = types.boolean

# prepare(theta, constants, shared, derived, scratch): what depends on theta alone
PREPARE = types.void(_tile, _tile, _vector, _tile, _tile)

# theta_move(seed, step, first_replica, theta, memory, derived, states, normal, constants, shared, data, first_row,
#   row_count, hyper, table, path, loss, gradient, after, row, work, scratch): one move of theta, derived brought up to
#   date; states (S, n, L) are the samples, table what is prescribed at this step
THETA_MOVE = types.void(
    _integer, _integer, _integer, _tile, _tile, _tile, _stack, _tile, _tile, _vector, _tile, _integers, _integer,
    _tile, _vector, _tile, _vector, _tile, _tile, _tile, _tile, _tile,
)  # fmt: skip

# jump(x, derived, constants, shared, phi, force, work, scratch): phi (L) and force (n, L) at the new theta, the change
# of phi booked as work
JUMP = types.void(_tile, _tile, _tile, _vector, _vector, _tile, _vector, _tile)

# restart(seed, step, first_replica, sample, x, derived, constants, shared, data, first_row, row_count, phi, force,
#   path, scratch): x on a data row, the change of phi booked as heat
RESTART = types.void(
    _integer, _integer, _integer, _integer, _tile, _tile, _tile, _vector, _tile, _integers, _integer, _vector, _tile,
    _tile, _tile,
)  # fmt: skip

# x_move(x, x_new, derived, constants, shared, table, langevin, normal, uniform, phi, force, force_new, path, jumped,
#   last, scratch): from x to x_new; phi (L) is that of x, at the theta before its last move where `jumped`, and becomes
#   that of x_new; force (n, L) and force_new likewise, of moves that keep it. Before the `last` move of a step, a move
#   whose heat depends on its two ends only may leave phi behind.
X_MOVE = types.void(
    _tile, _tile, _tile, _tile, _vector, _vector, _tile, _tile, _tile, _vector, _tile, _tile, _tile, _flag,
    _flag, _tile,
)  # fmt: skip

# advance(...), see advance.py
ADVANCE = types.void(
    _integer, _integer, _integer, _integer, _integer, _integer, _integer, _integer, _integer,
    _flag, _flag, _flag,
    _tile, _tile, _stack, _tile, _stack,
    _tile, _vector, _tile, _integers, _tile, _tile, _tile, _tile, _tile, _tile,
    _integer, _integer, _integer, _integer, _integer,
    _stack, _buffers, _stack, _stack, _buffers,
    types.Tuple((
        _stack, _tile, _tile, _vector, _tile, _tile, _tile, _tile, _tile, _stack, _tile, _buffers, _buffers, _tile,
        _tile, _tile,
    )),
)  # fmt: skip
