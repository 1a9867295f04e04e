"""Moments of the linear learning machine step after step: the recursion that `thermosim.exact` takes shortcuts for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thermosim.exact.learning_machine import LearningMachine, Moments, Start

__all__ = ["moments", "theta_cumulants"]

_THETA, _VELOCITY, _X = 0, 1, 2
_BLOCKS = 3


@dataclass(frozen=True)
class _State:
    """z = (m, v, x): mean (..., 3, n), covariance (..., 3, n, 3, n), response d mean/d mu (..., 3, n, n)."""

    mean: np.ndarray
    covariance: np.ndarray
    response: np.ndarray


@dataclass(frozen=True)
class _Move:
    """z' = matrix z + shift + noise, componentwise: matrix (..., 3, 3, n), shift (..., 3, n).

    noise (..., 3, n, 3, n) is its covariance; slope (..., 3, n) is d shift/d mu of the same component.
    """

    matrix: np.ndarray
    shift: np.ndarray
    slope: np.ndarray
    noise: np.ndarray


def moments(machine: LearningMachine, start: Start) -> Moments:
    """Means, covariances and mean books at steps 0..N."""
    state, books = _start(machine, start), np.zeros((3, *machine.precision.shape[:-1]))
    energy, frames, sums = _energy(machine, state), [], []
    rates, time_steps = machine.rates(), machine.time_steps()
    for step in range(machine.steps + 1):
        if step > 0:
            state = _step(machine, float(rates[step - 1]), float(time_steps[step - 1]), state, books)
        frames.append(state)
        sums.append([_energy(machine, state) - energy, *books.copy()])
    mean, covariance = np.stack([f.mean for f in frames]), np.stack([f.covariance for f in frames])
    return Moments(
        np.arange(machine.steps + 1),
        mean[..., _THETA, :],
        covariance[..., _THETA, :, _THETA, :],
        mean[..., _X, :],
        covariance[..., _X, :, _X, :],
        covariance[..., _THETA, :, _X, :],
        np.stack([f.response[..., _THETA, :, :] for f in frames]),
        *np.moveaxis(np.array(sums), 1, 0),
    )


def theta_cumulants(machine: LearningMachine, third: np.ndarray, fourth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Third and fourth cumulants of theta at steps 0..N."""
    results = np.zeros((2, machine.steps + 1, machine.components))
    if machine.batch is None:
        return results[0], results[1]
    for step, rate in enumerate(machine.rates(), start=1):
        keep, take = 1.0 - rate * (machine.precision + machine.weight_decay), rate * machine.precision
        for row, (order, cumulant) in enumerate(((3, third), (4, fourth))):
            fresh = take**order * cumulant / machine.batch ** (order - 1)
            results[row, step] = keep**order * results[row, step - 1] + fresh
    return results[0], results[1]


def _start(machine: LearningMachine, start: Start) -> _State:
    n, lead = machine.components, machine.precision.shape[:-1]
    mean, covariance = np.zeros((*lead, _BLOCKS, n)), np.zeros((*lead, _BLOCKS, n, _BLOCKS, n))
    spread = np.diag(np.broadcast_to(np.asarray(start.theta_spread, float), (n,)) ** 2)
    mean[..., _THETA, :], covariance[..., _THETA, :, _THETA, :] = start.theta_mean, spread
    if start.x is None:
        mean[..., _X, :] = start.theta_mean
        covariance[..., _X, :, _X, :] = spread + np.eye(n) / machine.precision[..., None]
        covariance[..., _X, :, _THETA, :] = covariance[..., _THETA, :, _X, :] = spread
    else:
        mean[..., _X, :], covariance[..., _X, :, _X, :] = start.x.mean, start.x.covariance
    return _State(mean, covariance, np.zeros((*lead, _BLOCKS, n, n)))


def _step(machine: LearningMachine, rate: float, time_step: float, state: _State, books: np.ndarray) -> _State:
    """The state after one step; adds mean work, heat and log ratio to `books` (3, ...)."""

    def theta(state: _State) -> _State:
        new = _after(state, _theta_move(machine, rate))
        books[0] += _energy(machine, new) - _energy(machine, state)
        return new

    def sample(state: _State) -> _State:
        new = _after(state, _x_moves(machine, time_step))
        heat = _energy(machine, new) - _energy(machine, state)
        shadow = np.zeros_like(heat)
        if machine.x_dynamics == "ula":
            gain = _square_gap(new) - _square_gap(state)
            shadow = 0.25 * time_step * np.sum(machine.precision**2 * gain, axis=-1)
        books[1] += heat
        books[2] += shadow - heat
        return new

    halves: tuple[Callable[[_State], _State], ...] = (sample, theta) if machine.x_first else (theta, sample)
    for half in halves:
        state = half(state)
    return state


def _theta_move(machine: LearningMachine, rate: float) -> _Move:
    n, k = machine.components, machine.precision
    lead = k.shape[:-1]
    matrix, noise = np.zeros((*lead, _BLOCKS, _BLOCKS, n)), np.zeros((*lead, _BLOCKS, n, _BLOCKS, n))
    shift, slope = np.zeros((*lead, _BLOCKS, n)), np.zeros((*lead, _BLOCKS, n))
    pull = rate * (k + machine.weight_decay)
    kick = 2.0 * rate * np.diag(np.broadcast_to(np.asarray(machine.temperature, float), (n,)))
    if machine.batch is not None:
        kick = kick + rate**2 * k[..., :, None] * k[..., None, :] * machine.data_covariance / machine.batch
    for block in (_THETA, _VELOCITY):
        matrix[..., block, _THETA, :], matrix[..., block, _VELOCITY, :] = -pull, machine.momentum
        shift[..., block, :], slope[..., block, :] = rate * k * machine.data_mean, rate * k
        for other in (_THETA, _VELOCITY):
            noise[..., block, :, other, :] = kick
    matrix[..., _THETA, _THETA, :] += 1.0
    matrix[..., _X, _X, :] = 1.0
    return _Move(matrix, shift, slope, noise)


def _x_moves(machine: LearningMachine, time_step: float) -> _Move:
    """All tau moves of a step at once: x - m is multiplied by a each time, and independent noise added."""
    n, k, tau = machine.components, machine.precision, machine.tau
    if machine.x_dynamics == "ula":
        once = 1.0 - time_step * k
        powers = 2 * np.arange(tau).reshape(-1, *(1,) * once.ndim)
        variance = 2.0 * time_step * np.sum(once**powers, axis=0)
        factor = once**tau
    else:
        factor = np.exp(-time_step * k * tau) if machine.x_dynamics == "exact-ou" else np.zeros_like(k)
        variance = (1.0 - factor**2) / k
    lead = k.shape[:-1]
    matrix = np.zeros((*lead, _BLOCKS, _BLOCKS, n))
    matrix[..., _THETA, _THETA, :] = matrix[..., _VELOCITY, _VELOCITY, :] = 1.0
    matrix[..., _X, _X, :], matrix[..., _X, _THETA, :] = factor, 1.0 - factor
    noise, nothing = np.zeros((*lead, _BLOCKS, n, _BLOCKS, n)), np.zeros((*lead, _BLOCKS, n))
    noise[..., _X, :, _X, :] = np.eye(n) * variance[..., None]
    return _Move(matrix, nothing, nothing, noise)


def _after(state: _State, move: _Move) -> _State:
    left = np.einsum("...abi,...bicj->...aicj", move.matrix, state.covariance)
    covariance = np.einsum("...aicj,...dcj->...aidj", left, move.matrix) + move.noise
    response = np.einsum("...abi,...bij->...aij", move.matrix, state.response)
    response += move.slope[..., None] * np.eye(move.slope.shape[-1])
    return _State(np.einsum("...abi,...bi->...ai", move.matrix, state.mean) + move.shift, covariance, response)


def _square_gap(state: _State) -> np.ndarray:
    """<(x_i - m_i)^2>, (..., n)."""
    variance = np.einsum("...aibi->...abi", state.covariance)
    gap = variance[..., _X, _X, :] + variance[..., _THETA, _THETA, :] - 2.0 * variance[..., _X, _THETA, :]
    return np.asarray(gap + (state.mean[..., _X, :] - state.mean[..., _THETA, :]) ** 2)


def _energy(machine: LearningMachine, state: _State) -> np.ndarray:
    """Mean of phi, without its constant: (...)."""
    return np.asarray(0.5 * np.sum(machine.precision * _square_gap(state), axis=-1))
