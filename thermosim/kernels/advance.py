"""The bipartite loop over one tile: theta moves with x frozen, x moves tau times with theta frozen, frames are copied.

In the forward process (S. S. Parsi, Entropy 26, 112 (2024), Eq. 33) theta jumps first, which is work, and x
follows, which is heat. A time-reversed run takes the same moves in the opposite order: x first, then theta.
"""

from __future__ import annotations

import math

from thermosim.kernels import signatures
from thermosim.kernels.declare import function_at, inlined
from thermosim.kernels.minibatch import draw_rows
from thermosim.kernels.noise import fill_normal_pair, fill_uniform
from thermosim.kernels.signatures import Buffers, Flag, Integer, Integers, Stack, Tile, Vector, signature_of
from thermosim.streams import ACCEPTANCE, RESTART, THETA_ACCEPTANCE, THETA_NOISE, X_NOISE

__all__ = ["advance", "book_of_row", "jump", "jump_of_tile", "restart"]

_prepare_at = function_at(signature_of(signatures.prepare))
_theta_move_at = function_at(signature_of(signatures.theta_move))
_book_at = function_at(signature_of(signatures.book))
_jump_at = function_at(signature_of(signatures.jump))
_restart_at = function_at(signature_of(signatures.restart))
_x_move_at = function_at(signature_of(signatures.x_move))
energy = evaluate = book = None  # bound to the model's when a jump is compiled
WORK = HEAT = -1  # rows of the ledger, -1 where they are not booked


def book_of_row(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    """Book a functional of one number in its row."""
    book(theta, before, loss, gradient, constants, shared, total[0])


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


@inlined
def _fill_normals(seed, stream, move, block, first_replica, normal):  # type: ignore[no-untyped-def]
    """Normals (2, rows, L) of moves 2b and 2b + 1, filled when b is new; returns b."""
    if block != move >> 1 and normal.shape[1] > 0:
        fill_normal_pair(seed, stream, move >> 1, first_replica, 0, normal[0], normal[1])
    return move >> 1


def advance(
    seed: Integer, first_replica: Integer, first_step: Integer, steps: Integer, turn: Integer, tau: Integer,
    first_frame: Integer, every: Integer, row_count: Integer, theta_moves: Flag, x_first: Flag, restarts: Flag,
    theta: Tile, memory: Tile, x: Stack, theta_path: Tile, x_path: Stack,
    constants: Tile, shared: Vector, data: Tile, first_row: Integers,
    theta_hyper: Tile, theta_factor: Tile, x_hyper: Tile, x_factor: Tile, theta_table: Tile, x_table: Tile,
    prepare_address: Integer, theta_move_address: Integer, jump_address: Integer, restart_address: Integer,
    x_move_address: Integer, books: Integers, book_rows: Integers, book_ends: Integers,
    frame_theta: Stack, frame_x: Buffers, frame_phi: Stack, frame_theta_path: Stack, frame_x_path: Buffers,
    theta_normal: Stack, theta_uniform: Tile, gradient: Tile, after: Tile, loss: Vector, row: Tile,
    theta_hyper_now: Tile, x_hyper_now: Tile, langevin: Tile, work: Tile, x_normal: Stack, uniform: Tile,
    states: Buffers, forces: Buffers, phi: Tile, derived: Tile, model_scratch: Tile, before: Tile,
) -> None:  # fmt: skip
    """Advance one tile from `first_step` by `steps` steps, in place, copying the frames met on the way.

    State: theta (m, L), memory (M, L) of a move such as momentum, x (S, n, L), rows of the ledger theta_path (Q, L) and
    x_path (S, P, L). Hyper-parameters (H, L) are scaled by factors (H, steps), tables (steps, ...) hold what is
    prescribed per step; either has a single column or row where nothing changes. Past step `turn` (if not 0) theta
    meets the minibatches and the noise of the steps before it once more, in reverse. books are the addresses of
    functionals that book for themselves after every move of theta, each in its rows of theta_path, from book_rows to
    book_ends. Frames are due at steps first_frame, first_frame + every, ...; the arrays from theta_normal on are work
    space.
    """
    prepare, theta_move = _prepare_at(prepare_address), _theta_move_at(theta_move_address)
    jump, restart, x_move = _jump_at(jump_address), _restart_at(restart_address), _x_move_at(x_move_address)
    samples = x.shape[0]
    normals, uniforms = x_normal.shape[1] // max(samples, 1), uniform.shape[0] // max(samples, 1)
    now, frame, next_frame, jumped = 0, 0, first_frame, False
    theta_block, x_block = -1, -1
    prepare(theta, constants, shared, derived, model_scratch)
    source = derived if derived.shape[0] > 0 else theta

    for sample in range(samples):
        _copy(x[sample], states[now, sample])
        # phi and the force only: no work is booked
        jump(x[sample], source, constants, shared, phi[sample], forces[now, sample], work, model_scratch)
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
                drawn = step if turn == 0 or step <= turn else 2 * turn + 1 - step
                theta_block = _fill_normals(seed, THETA_NOISE, drawn, theta_block, first_replica, theta_normal)
                if theta_uniform.shape[0] > 0:
                    fill_uniform(seed, THETA_ACCEPTANCE, drawn, first_replica, 0, theta_uniform)
                if books.shape[0] > 0:
                    _copy(theta, before)
                theta_move(
                    seed, drawn, first_replica, theta, memory, derived, states[now], theta_normal[drawn & 1],
                    theta_uniform, constants, shared, data, first_row, row_count, theta_hyper_now,
                    theta_table[min(s, theta_table.shape[0] - 1)], theta_path, loss, gradient, after, row, work,
                    model_scratch,
                )  # fmt: skip
                for number in range(books.shape[0]):
                    total = theta_path[book_rows[number] : book_ends[number]]
                    _book_at(books[number])(theta, before, loss, gradient, constants, shared, total)
                jumped = not x_first and not restarts
                for sample in range(0 if jumped else samples):
                    state, force = states[now, sample], forces[now, sample]
                    jump(state, source, constants, shared, phi[sample], force, x_path[sample], model_scratch)
                continue
            prescribed = x_table[min(s, x_table.shape[0] - 1)]
            for sample in range(samples if restarts else 0):
                restart(
                    seed, step, first_replica, sample, states[now, sample], source, constants, shared, data,
                    first_row, row_count, phi[sample], forces[now, sample], x_path[sample], model_scratch,
                )  # fmt: skip
            for move in range((step - 1) * tau, step * tau if samples > 0 else 0):
                x_block = _fill_normals(seed, X_NOISE, move, x_block, first_replica, x_normal)
                if uniforms > 0:
                    fill_uniform(seed, ACCEPTANCE, move, first_replica, 0, uniform)
                for sample in range(samples):
                    x_move(
                        states[now, sample], states[1 - now, sample], source, constants, shared, prescribed, langevin,
                        x_normal[move & 1, sample * normals : (sample + 1) * normals],
                        uniform[sample * uniforms : (sample + 1) * uniforms],
                        phi[sample], forces[now, sample], forces[1 - now, sample], x_path[sample], jumped,
                        move == step * tau - 1, model_scratch,
                    )  # fmt: skip
                now = 1 - now
                jumped = False
        if step == next_frame:
            _copy_frame(frame, theta, states[now], phi, theta_path, x_path, frames)
            frame += 1
            next_frame += every

    for sample in range(samples):
        _copy(states[now, sample], x[sample])
