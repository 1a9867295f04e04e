"""The bipartite loop over one tile: theta moves with x frozen, x moves tau times with theta frozen, frames are copied.

In the forward process (S. S. Parsi, Entropy 26, 112 (2024), Eq. 33) theta jumps first, which is work, and x
follows, which is heat. A time-reversed run takes the same moves in the opposite order: x first, then theta.
"""

from __future__ import annotations

import math

from thermosim.kernels import signatures
from thermosim.kernels.compile import function_at, inlined
from thermosim.kernels.ledger import LOSS_SUM, WORK
from thermosim.kernels.noise import ACCEPTANCE, THETA_NOISE, X_NOISE, fill_normal_pair, fill_uniform

__all__ = ["advance", "jump"]

_stochastic_gradient_at = function_at(signatures.STOCHASTIC_GRADIENT)
_theta_move_at = function_at(signatures.THETA_MOVE)
_jump_at = function_at(signatures.JUMP)
_x_move_at = function_at(signatures.X_MOVE)
energy = None  # bound to the model's when `jump` is compiled


def jump(x, theta, constants, shared, phi, work):  # type: ignore[no-untyped-def]
    """Book the change of phi that a move of theta made at fixed x as work."""
    for lane in range(x.shape[1]):
        energy_new = energy(x, theta, constants, shared, lane)
        work[lane] += energy_new - phi[lane]
        phi[lane] = energy_new


@inlined
def _scale(base, factor, column, scaled):  # type: ignore[no-untyped-def]
    """Hyper-parameters of this step: base (H, L) times a column of the schedules' factors (H, steps)."""
    for i in range(base.shape[0]):
        for lane in range(base.shape[1]):
            scaled[i, lane] = base[i, lane] * factor[i, column]


@inlined
def _fill_langevin(hyper, langevin):  # type: ignore[no-untyped-def]
    """Rows h, sqrt(2 h T_i), sqrt(h/(2 T_i)) from the rows h, T_i."""
    temperatures = hyper.shape[0] - 1
    for lane in range(hyper.shape[1]):
        langevin[0, lane] = hyper[0, lane]
    for i in range(temperatures):
        for lane in range(hyper.shape[1]):
            langevin[1 + i, lane] = math.sqrt(2.0 * hyper[0, lane] * hyper[1 + i, lane])
            langevin[1 + temperatures + i, lane] = math.sqrt(0.5 * hyper[0, lane] / hyper[1 + i, lane])


@inlined
def _add(values, total):  # type: ignore[no-untyped-def]
    for lane in range(total.shape[0]):
        total[lane] += values[lane]


@inlined
def _copy(source, target):  # type: ignore[no-untyped-def]
    for i in range(source.shape[0]):
        for lane in range(source.shape[1]):
            target[i, lane] = source[i, lane]


@inlined
def _copy_frame(frame, theta, states, phi, theta_path, x_path, frames):  # type: ignore[no-untyped-def]
    """Copy what is wanted: an array of `frames` with no entries is not."""
    frame_theta, frame_x, frame_phi, frame_theta_path, frame_x_path = frames
    if frame_theta.shape[0] > 0:
        _copy(theta, frame_theta[frame])
    if frame_theta_path.shape[0] > 0:
        _copy(theta_path, frame_theta_path[frame])
    if frame_phi.shape[0] > 0:
        _copy(phi, frame_phi[frame])
    for sample in range(states.shape[0]):
        if frame_x.shape[0] > 0:
            _copy(states[sample], frame_x[frame, sample])
        if frame_x_path.shape[0] > 0:
            _copy(x_path[sample], frame_x_path[frame, sample])


def advance(  # type: ignore[no-untyped-def]
    seed, first_replica, first_step, steps, tau, first_frame, every,
    has_gradient, theta_moves, x_needs_uniform, x_first,
    theta, memory, x, theta_path, x_path,
    constants, shared, theta_hyper, theta_factor, x_hyper, x_factor, theta_table, x_table,
    stochastic_gradient_address, theta_move_address, jump_address, x_move_address,
    frame_theta, frame_x, frame_phi, frame_theta_path, frame_x_path, scratch,
):  # fmt: skip
    """Advance one tile from `first_step` by `steps` steps, in place, copying the frames met on the way.

    State: theta (m, L), memory (M, L) of a move such as momentum, x (S, n, L), running sums theta_path (Q, L) and
    x_path (S, 3, L). Hyper-parameters (H, L) are scaled by factors (H, steps), tables (steps, ...) hold what is
    prescribed per step; either has a single column or row where nothing changes. Frames are due at steps
    first_frame, first_frame + every, ...; work space comes from `tiles.Tile`.
    """
    stochastic_gradient = _stochastic_gradient_at(stochastic_gradient_address)
    theta_move, x_move = _theta_move_at(theta_move_address), _x_move_at(x_move_address)
    jump = _jump_at(jump_address)
    samples, components = x.shape[0], x.shape[1]
    (theta_normal, gradient, loss, theta_hyper_now, x_hyper_now,
     langevin, x_normal, uniform, states, phi, work) = scratch  # fmt: skip
    now, frame = 0, 0
    jumped = False
    theta_block, x_block = -1, -1
    next_frame = first_frame

    for sample in range(samples):
        _copy(x[sample], states[now, sample])
        jump(x[sample], theta, constants, shared, phi[sample], uniform[sample])  # phi only: no work is booked
    frames = (frame_theta, frame_x, frame_phi, frame_theta_path, frame_x_path)
    if next_frame == first_step:
        _copy_frame(frame, theta, states[now], phi, theta_path, x_path, frames)
        frame += 1
        next_frame += every
    for s in range(steps):
        step = first_step + s + 1
        if s < theta_factor.shape[1]:
            _scale(theta_hyper, theta_factor, s, theta_hyper_now)
        if samples > 0 and s < x_factor.shape[1]:
            _scale(x_hyper, x_factor, s, x_hyper_now)
            _fill_langevin(x_hyper_now, langevin)
        for half in range(2):
            if (half == 0) != x_first:
                if not theta_moves:
                    continue
                if has_gradient:
                    if theta_block != step >> 1:
                        theta_block = step >> 1
                        even, odd = theta_normal[0], theta_normal[1]
                        fill_normal_pair(seed, THETA_NOISE, theta_block, first_replica, 0, even, odd)
                    stochastic_gradient(theta, theta_normal[step & 1], constants, shared, loss, gradient, work)
                    _add(loss, theta_path[LOSS_SUM])
                prescribed = theta_table[min(s, theta_table.shape[0] - 1)]
                normal = theta_normal[step & 1]
                theta_move(theta, memory, gradient, theta_hyper_now, normal, prescribed, theta_path, work)
                jumped = not x_first and tau > 0
                if not jumped:
                    for sample in range(samples):
                        jump(states[now, sample], theta, constants, shared, phi[sample], x_path[sample, WORK])
                continue
            prescribed = x_table[min(s, x_table.shape[0] - 1)]
            for move in range((step - 1) * tau, step * tau):
                if x_block != move >> 1:
                    x_block = move >> 1
                    fill_normal_pair(seed, X_NOISE, x_block, first_replica, 0, x_normal[0], x_normal[1])
                if x_needs_uniform:
                    fill_uniform(seed, ACCEPTANCE, move, first_replica, 0, uniform)
                for sample in range(samples):
                    normal = x_normal[move & 1, sample * components : (sample + 1) * components]
                    x_move(
                        states[now, sample], states[1 - now, sample], theta, constants, shared, prescribed,
                        langevin, normal, uniform[sample], phi[sample], x_path[sample], jumped,
                    )  # fmt: skip
                now = 1 - now
                jumped = False
        if step == next_frame:
            _copy_frame(frame, theta, states[now], phi, theta_path, x_path, frames)
            frame += 1
            next_frame += every

    for sample in range(samples):
        _copy(states[now, sample], x[sample])
