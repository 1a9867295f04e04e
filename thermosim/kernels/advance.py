"""The bipartite loop over one tile: theta moves with x frozen, x moves tau times with theta frozen, frames are copied.

In the forward process (S. S. Parsi, Entropy 26, 112 (2024), Eq. 33) theta jumps first, which is work, and x
follows, which is heat. A time-reversed run takes the same moves in the opposite order: x first, then theta.
"""

from __future__ import annotations

import math

import numpy as np

from thermosim.kernels import signatures
from thermosim.kernels.declare import Part, function_at, inlined
from thermosim.kernels.minibatch import draw_rows
from thermosim.kernels.noise import fill_normal_pair, fill_uniform
from thermosim.kernels.signatures import Buffers, Flag, Integer, Integers, Stack, Tile, Vector, signature_of
from thermosim.streams import ACCEPTANCE, RESTART, THETA_ACCEPTANCE, THETA_NOISE, X_NOISE

__all__ = ["NO_BOOKS", "advance", "advance_by", "books", "books_one", "jump", "jump_of_tile", "no_books", "restart"]

_prepare_at = function_at(signature_of(signatures.prepare))
_theta_move_at = function_at(signature_of(signatures.theta_move))
_books_at = function_at(signature_of(signatures.books))
_jump_at = function_at(signature_of(signatures.jump))
_restart_at = function_at(signature_of(signatures.restart))
_x_move_at = function_at(signature_of(signatures.x_move))
energy = evaluate = book = others = None  # bound to the model's when a jump or the books are compiled
WORK = HEAT = -1  # rows of the ledger, -1 where they are not booked
FIRST = LAST = 0  # rows of a functional that books for itself


def no_books(theta, before, loss, gradient, constants, shared, path):  # type: ignore[no-untyped-def]
    """No functional books for itself."""


def books(theta, before, loss, gradient, constants, shared, path):  # type: ignore[no-untyped-def]
    """Let a functional book in its rows of the ledger of theta, after the `others`."""
    others(theta, before, loss, gradient, constants, shared, path)
    book(theta, before, loss, gradient, constants, shared, path[FIRST:LAST])


def books_one(theta, before, loss, gradient, constants, shared, path):  # type: ignore[no-untyped-def]
    """The same for a functional of one number."""
    others(theta, before, loss, gradient, constants, shared, path)
    book(theta, before, loss, gradient, constants, shared, path[FIRST])


def jump(x, derived, constants, shared, phi, force, path, scratch):  # type: ignore[no-untyped-def]
    """Book the change of phi that a move of theta made at fixed x as work; of a model with one-lane functions."""
    work = path[WORK]
    for lane in range(x.shape[1]):
        energy_new = energy(x, derived, constants, shared, lane)
        if WORK >= 0:
            work[lane] += energy_new - phi[lane]
        phi[lane] = energy_new


def jump_of_tile(x, derived, constants, shared, phi, force, path, scratch):  # type: ignore[no-untyped-def]
    """The same for a model with functions of a tile, and for moves that keep the force."""
    work = path[WORK]
    if WORK >= 0:
        for lane in range(x.shape[1]):
            work[lane] -= phi[lane]
    evaluate(x, derived, constants, shared, phi, force, scratch)
    if WORK >= 0:
        for lane in range(x.shape[1]):
            work[lane] += phi[lane]


def restart(  # type: ignore[no-untyped-def]
    seed, step, first_replica, sample, x, derived, constants, shared, data, first_row, row_count, phi, force, path,
    scratch,
):  # fmt: skip
    """Put the chain on a data row, each replica its own; the change of phi at fixed theta is heat."""
    heat = path[HEAT]
    if HEAT >= 0:
        for lane in range(x.shape[1]):
            heat[lane] -= phi[lane]
    draw_rows(seed, RESTART, step, first_replica, sample, data, first_row, row_count, x, phi)
    evaluate(x, derived, constants, shared, phi, force, scratch)
    if HEAT >= 0:
        for lane in range(x.shape[1]):
            heat[lane] += phi[lane]


NO_BOOKS = Part(no_books, {})


@inlined
def _scale(base, factor, column, scaled):  # type: ignore[no-untyped-def]
    """Hyper-parameters of this step: base (H, L) times a column of the schedules' factors (H, steps)."""
    for i in range(base.shape[0]):
        for lane in range(base.shape[1]):
            scaled[i, lane] = base[i, lane] * factor[i, column]


@inlined
def _fill_langevin(hyper, langevin):  # type: ignore[no-untyped-def]
    """Rows h_i, sqrt(2 h_i T_i), sqrt(h_i/(2 T_i)) from the rows h_i, T_i; one h for all T_i, or one each."""
    temperatures = langevin.shape[0] - hyper.shape[0]
    times = hyper.shape[0] - temperatures
    for i in range(times):
        for lane in range(hyper.shape[1]):
            langevin[i, lane] = hyper[i, lane]
    for i in range(temperatures):
        h = min(i, times - 1)
        for lane in range(hyper.shape[1]):
            langevin[times + i, lane] = math.sqrt(2.0 * hyper[h, lane] * hyper[times + i, lane])
            langevin[times + temperatures + i, lane] = math.sqrt(0.5 * hyper[h, lane] / hyper[times + i, lane])


@inlined
def _copy(source, target):  # type: ignore[no-untyped-def]
    for i in range(source.shape[0]):
        for lane in range(source.shape[1]):
            target[i, lane] = source[i, lane]


@inlined
def _copy_states(now, states, target):  # type: ignore[no-untyped-def]
    """states[now], (S, n, L)."""
    for sample in range(states.shape[1]):
        if now == 0:
            _copy(states[0, sample], target[sample])
        else:
            _copy(states[1, sample], target[sample])


@inlined
def _copy_frame(  # type: ignore[no-untyped-def]
    now, frame, theta, states, phi, theta_path, x_path, frame_theta, frame_x, frame_phi, frame_theta_path, frame_x_path
):
    """Copy what is wanted: an array of frames with no entries is not."""
    if frame_theta.shape[0] > 0:
        _copy(theta, frame_theta[frame])
    if frame_theta_path.shape[0] > 0:
        _copy(theta_path, frame_theta_path[frame])
    if frame_phi.shape[0] > 0:
        _copy(phi, frame_phi[frame])
    if frame_x.shape[0] > 0:
        _copy_states(now, states, frame_x[frame])
    for sample in range(states.shape[1]):
        if frame_x_path.shape[0] > 0:
            _copy(x_path[sample], frame_x_path[frame, sample])


@inlined
def _fill_normals(seed, stream, move, block, first_replica, normal):  # type: ignore[no-untyped-def]
    """Normals (2, rows, L) of moves 2b and 2b + 1, filled when b is new; returns b."""
    if block != move >> 1 and normal.shape[1] > 0:
        fill_normal_pair(seed, stream, move >> 1, first_replica, 0, normal[0], normal[1])
    return move >> 1


@inlined
def _take_up(now, jump, x, states, source, constants, shared, phi, forces, work, scratch):  # type: ignore[no-untyped-def]
    """The samples x (S, n, L) into states[now], with phi and the force; no work is booked."""
    for sample in range(x.shape[0]):
        if now == 0:
            _copy(x[sample], states[0, sample])
            jump(states[0, sample], source, constants, shared, phi[sample], forces[0, sample], work, scratch)
        else:
            _copy(x[sample], states[1, sample])
            jump(states[1, sample], source, constants, shared, phi[sample], forces[1, sample], work, scratch)


@inlined
def _jump(now, jump, states, source, constants, shared, phi, forces, x_path, scratch):  # type: ignore[no-untyped-def]
    """Book a move of theta at every sample, in states[now]."""
    for sample in range(states.shape[1]):
        path = x_path[sample]
        if now == 0:
            jump(states[0, sample], source, constants, shared, phi[sample], forces[0, sample], path, scratch)
        else:
            jump(states[1, sample], source, constants, shared, phi[sample], forces[1, sample], path, scratch)


@inlined
def _restart(  # type: ignore[no-untyped-def]
    now, restart, seed, step, first_replica, states, source, constants, shared, data, first_row, row_count, phi,
    forces, x_path, scratch,
):  # fmt: skip
    """Put every sample, in states[now], on a data row."""
    for sample in range(states.shape[1]):
        if now == 0:
            restart(
                seed, step, first_replica, sample, states[0, sample], source, constants, shared, data, first_row,
                row_count, phi[sample], forces[0, sample], x_path[sample], scratch,
            )  # fmt: skip
        else:
            restart(
                seed, step, first_replica, sample, states[1, sample], source, constants, shared, data, first_row,
                row_count, phi[sample], forces[1, sample], x_path[sample], scratch,
            )  # fmt: skip


@inlined
def _move(  # type: ignore[no-untyped-def]
    now, x_move, states, source, constants, shared, table, langevin, normal, uniform, phi, forces, x_path, jumped,
    last, scratch,
):  # fmt: skip
    """One move of every sample, from states[now] to states[1 - now]."""
    samples = states.shape[1]
    normals, uniforms = normal.shape[1] // samples, uniform.shape[0] // samples
    for sample in range(samples):
        x_move(
            states[now, sample], states[1 - now, sample], source, constants, shared, table, langevin,
            normal[now, sample * normals : (sample + 1) * normals],
            uniform[sample * uniforms : (sample + 1) * uniforms],
            phi[sample], forces[now, sample], forces[1 - now, sample], x_path[sample], jumped, last, scratch,
        )  # fmt: skip


@inlined
def advance_by(  # type: ignore[no-untyped-def]
    prepare, theta_move, books, jump, restart, x_move,
    seed, first_replica, first_step, steps, turn, tau, first_frame, every, row_count, theta_moves, x_first, restarts,
    booking, theta, memory, x, theta_path, x_path, constants, shared, data, first_row,
    theta_hyper, theta_factor, x_hyper, x_factor, theta_table, x_table,
    frame_theta, frame_x, frame_phi, frame_theta_path, frame_x_path,
    theta_normal, theta_uniform, gradient, after, loss, row, theta_hyper_now, x_hyper_now, langevin, work, x_normal,
    uniform, states, forces, phi, derived, model_scratch, before,
):  # fmt: skip
    """The loop of `advance` with the functions themselves.

    Before a move of x, counted from step 0, the state is in states[move & 1], as its normals are in x_normal[move & 1].
    What is done to it is written out for both, so that no index depends on the move: a GPU keeps a lane in registers.
    """
    samples = x.shape[0]
    s, stop, frame, due, jumped = 0, 0, 0, first_frame - first_step, False
    theta_block, x_begins = -1, True
    # rows of the tables, unsigned: no index that might count from the end
    theta_row, theta_stride = np.uint64(0), np.uint64(1 if theta_table.shape[0] > 1 else 0)
    x_row, x_stride = np.uint64(0), np.uint64(1 if x_table.shape[0] > 1 else 0)
    _scale(theta_hyper, theta_factor, 0, theta_hyper_now)
    if samples > 0:
        _scale(x_hyper, x_factor, 0, x_hyper_now)
        _fill_langevin(x_hyper_now, langevin)
    prepare(theta, constants, shared, derived, model_scratch)
    source = derived if derived.shape[0] > 0 else theta
    _take_up(first_step * tau & 1, jump, x, states, source, constants, shared, phi, forces, work, model_scratch)
    while True:
        if s == stop:  # a frame is due, or it is the end
            if s == due:
                _copy_frame(
                    (first_step + s) * tau & 1, frame, theta, states, phi, theta_path, x_path, frame_theta, frame_x,
                    frame_phi, frame_theta_path, frame_x_path,
                )  # fmt: skip
                frame += 1
                due += every
            if s == steps:
                break
            stop = due if s < due < steps else steps
        step = first_step + s + 1
        if theta_factor.shape[1] > 1:
            _scale(theta_hyper, theta_factor, s, theta_hyper_now)
        if samples > 0 and x_factor.shape[1] > 1:
            _scale(x_hyper, x_factor, s, x_hyper_now)
            _fill_langevin(x_hyper_now, langevin)
        for half in range(2 if x_first else 1):  # a single turn leaves no loop; two where x goes first
            if theta_moves and (half == 1) == x_first:
                now = (step if x_first else step - 1) * tau & 1
                drawn = step if turn == 0 or step <= turn else 2 * turn + 1 - step
                theta_block = _fill_normals(seed, THETA_NOISE, drawn, theta_block, first_replica, theta_normal)
                if theta_uniform.shape[0] > 0:
                    fill_uniform(seed, THETA_ACCEPTANCE, drawn, first_replica, 0, theta_uniform)
                if booking:
                    _copy(theta, before)
                table = theta_table[theta_row]
                if drawn & 1 == 0 or theta_normal.shape[1] == 0:
                    theta_move(
                        seed, drawn, first_replica, theta, memory, derived, states[now], theta_normal[0],
                        theta_uniform, constants, shared, data, first_row, row_count, theta_hyper_now, table,
                        theta_path, loss, gradient, after, row, work, model_scratch,
                    )  # fmt: skip
                else:
                    theta_move(
                        seed, drawn, first_replica, theta, memory, derived, states[now], theta_normal[1],
                        theta_uniform, constants, shared, data, first_row, row_count, theta_hyper_now, table,
                        theta_path, loss, gradient, after, row, work, model_scratch,
                    )  # fmt: skip
                if booking:
                    books(theta, before, loss, gradient, constants, shared, theta_path)
                jumped = not x_first and not restarts
                if not jumped:
                    _jump(now, jump, states, source, constants, shared, phi, forces, x_path, model_scratch)
            if half == 1:
                continue
            if restarts:
                _restart(
                    (step - 1) * tau & 1, restart, seed, step, first_replica, states, source, constants, shared, data,
                    first_row, row_count, phi, forces, x_path, model_scratch,
                )  # fmt: skip
            table = x_table[x_row]
            for move in range((step - 1) * tau, step * tau if samples > 0 else 0):
                last = move == step * tau - 1
                if (x_begins or move & 1 == 0) and x_normal.shape[1] > 0:
                    fill_normal_pair(seed, X_NOISE, move >> 1, first_replica, 0, x_normal[0], x_normal[1])
                if uniform.shape[0] > 0:
                    fill_uniform(seed, ACCEPTANCE, move, first_replica, 0, uniform)
                if move & 1 == 0:
                    _move(
                        0, x_move, states, source, constants, shared, table, langevin, x_normal, uniform, phi, forces,
                        x_path, jumped, last, model_scratch,
                    )  # fmt: skip
                else:
                    _move(
                        1, x_move, states, source, constants, shared, table, langevin, x_normal, uniform, phi, forces,
                        x_path, jumped, last, model_scratch,
                    )  # fmt: skip
                jumped = x_begins = False
        s, theta_row, x_row = s + 1, theta_row + theta_stride, x_row + x_stride
    _copy_states((first_step + steps) * tau & 1, states, x)


def advance(
    prepare_address: Integer, theta_move_address: Integer, books_address: Integer, jump_address: Integer,
    restart_address: Integer, x_move_address: Integer,
    seed: Integer, first_replica: Integer, first_step: Integer, steps: Integer, turn: Integer, tau: Integer,
    first_frame: Integer, every: Integer, row_count: Integer, theta_moves: Flag, x_first: Flag, restarts: Flag,
    booking: Flag, theta: Tile, memory: Tile, x: Stack, theta_path: Tile, x_path: Stack,
    constants: Tile, shared: Vector, data: Tile, first_row: Integers,
    theta_hyper: Tile, theta_factor: Tile, x_hyper: Tile, x_factor: Tile, theta_table: Tile, x_table: Tile,
    frame_theta: Stack, frame_x: Buffers, frame_phi: Stack, frame_theta_path: Stack, frame_x_path: Buffers,
    theta_normal: Stack, theta_uniform: Tile, gradient: Tile, after: Tile, loss: Vector, row: Tile,
    theta_hyper_now: Tile, x_hyper_now: Tile, langevin: Tile, work: Tile, x_normal: Stack, uniform: Tile,
    states: Buffers, forces: Buffers, phi: Tile, derived: Tile, model_scratch: Tile, before: Tile,
) -> None:  # fmt: skip
    """Advance one tile from `first_step` by `steps` steps, in place, copying the frames met on the way.

    State: theta (m, L), memory (M, L) of a move such as momentum, x (S, n, L), rows of the ledger theta_path (Q, L) and
    x_path (S, P, L). Hyper-parameters (H, L) are scaled by factors (H, steps), tables (steps, ...) hold what is
    prescribed per step; either has a single column or row where nothing changes. Past step `turn` (if not 0) theta
    meets the minibatches and the noise of the steps before it once more, in reverse. Where functionals book for
    themselves after every move of theta, `booking`, their books are in one function. Frames are due at steps
    first_frame, first_frame + every, ...; the arrays from theta_normal on are work space.
    """
    advance_by(
        _prepare_at(prepare_address), _theta_move_at(theta_move_address), _books_at(books_address),
        _jump_at(jump_address), _restart_at(restart_address), _x_move_at(x_move_address),
        seed, first_replica, first_step, steps, turn, tau, first_frame, every, row_count, theta_moves, x_first,
        restarts, booking, theta, memory, x, theta_path, x_path, constants, shared, data, first_row,
        theta_hyper, theta_factor, x_hyper, x_factor, theta_table, x_table,
        frame_theta, frame_x, frame_phi, frame_theta_path, frame_x_path,
        theta_normal, theta_uniform, gradient, after, loss, row, theta_hyper_now, x_hyper_now, langevin, work,
        x_normal, uniform, states, forces, phi, derived, model_scratch, before,
    )  # fmt: skip
