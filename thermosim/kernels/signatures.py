"""Types of everything the step loop calls by address. L = lanes (replicas of a tile), always the last axis.

theta (m, L), x (n, L), constants (C, L) one row per scalar constant of the model, shared (K,) its array constants
packed one after another, the same for all replicas; path (Q, L) the running sums of `ledger.py`.
"""

from __future__ import annotations

from numba import types

_vector = types.float64[::1]
_tile = types.float64[:, ::1]
_stack = types.float64[:, :, ::1]
_buffers = types.float64[:, :, :, ::1]
_integer = types.int64
_flag = types.boolean

# stochastic_gradient(theta, normal, constants, shared, loss, gradient, work): writes loss (L) and gradient (m, L);
# work (4, L) is scratch
STOCHASTIC_GRADIENT = types.void(_tile, _tile, _tile, _vector, _vector, _tile, _tile)

# theta_move(theta, memory, gradient, hyper, normal, table, path, work): table (m,) the protocol's value at this step
THETA_MOVE = types.void(_tile, _tile, _tile, _tile, _tile, _vector, _tile, _tile)

# jump(x, theta, constants, shared, phi, work): phi (L) at the new theta, its change booked as work
JUMP = types.void(_tile, _tile, _tile, _vector, _vector, _vector)

# x_move(x, x_new, theta, constants, shared, table, langevin, normal, uniform, phi, path, jumped): from x to x_new;
# phi (L) is that of x, at the theta before its last move where `jumped`, and becomes that of x_new
X_MOVE = types.void(_tile, _tile, _tile, _tile, _vector, _vector, _tile, _tile, _vector, _vector, _tile, _flag)

# advance(...), see advance.py
ADVANCE = types.void(
    _integer, _integer, _integer, _integer, _integer, _integer, _integer,
    _flag, _flag, _flag, _flag,
    _tile, _tile, _stack, _tile, _stack,
    _tile, _vector, _tile, _tile, _tile, _tile, _tile, _tile,
    _integer, _integer, _integer, _integer,
    _stack, _buffers, _stack, _stack, _buffers,
    types.Tuple((_stack, _tile, _vector, _tile, _tile, _tile, _stack, _tile, _buffers, _tile, _tile)),
)  # fmt: skip
