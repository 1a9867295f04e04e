"""Driven linear systems move after move: the recursions that `thermosim.exact` takes shortcuts for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thermosim.exact.driven import Ledger
from thermosim.exact.linear_langevin import Gaussian, LinearForce, Transition, after, mean_books, transition
from thermosim.exact.stretches import LinearProtocol
from thermosim.exact.work_moments import WorkMoments

__all__ = ["ledger", "log_theorem_average", "work_moments"]


def ledger(protocol: LinearProtocol, start: Gaussian) -> Ledger:
    """Mean books of a run that starts in the Gaussian state `start`."""
    n, size = protocol.center.shape[1], protocol.steps + 1
    mean, covariance = np.empty((size, n)), np.empty((size, n, n))
    energy, books, heats = np.empty(size), np.zeros((3, size)), np.zeros((size, n))
    state, force = start, protocol.force(0)
    mean[0], covariance[0], energy[0] = state.mean, state.covariance, force.mean_energy(state)
    for step in range(1, size):
        jumped = protocol.force(step)
        books[:, step], heats[step] = books[:, step - 1], heats[step - 1]
        if not protocol.x_first:
            books[0, step] += jumped.mean_energy(state) - force.mean_energy(state)
            force = jumped
        for _ in range(protocol.tau):
            state, move = mean_books(state, force, protocol.dynamics, *protocol.bath(step))
            books[:, step] += move.work, move.heat, move.log_ratio
            heats[step] += move.heat_of_component
        if protocol.x_first:
            books[0, step] += jumped.mean_energy(state) - force.mean_energy(state)
            force = jumped
        mean[step], covariance[step], energy[step] = state.mean, state.covariance, force.mean_energy(state)
    return Ledger(np.arange(size), mean, covariance, energy, books[0], books[1], books[2], heats)


def work_moments(protocol: LinearProtocol, start: Gaussian) -> WorkMoments:
    """Mean, variance and exponential averages of the work of a trap without drive, at one temperature."""
    inverse = 1.0 / float(np.ravel(protocol.temperature)[0])
    plain, tilts = _Spread(start), [_Tilt(start, power * inverse) for power in (1.0, 2.0, 3.0)]
    walkers: tuple[_Spread | _Tilt, ...] = (plain, *tilts)
    results = np.zeros((5, protocol.steps + 1))
    for step in range(1, protocol.steps + 1):
        before, now = protocol.force(step - 1), protocol.force(step)
        held = before if protocol.x_first else now
        move = transition(held, protocol.dynamics, *protocol.bath(step))
        for walker in walkers:
            if not protocol.x_first:
                walker.jump(before, now)
            for _ in range(protocol.tau):
                walker.move(move)
            if protocol.x_first:
                walker.jump(before, now)
        results[:, step] = plain.mean, plain.variance, *(tilt.logarithm for tilt in tilts)
    gaussian = bool(np.all(protocol.stiffness == protocol.stiffness[0]))
    return WorkMoments(np.arange(protocol.steps + 1), *results, gaussian)


def _jump(before: LinearForce, now: LinearForce, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Q, q and the constant of phi_now - phi_before = y'Q y + q.y + constant, y = x - mean."""
    pull_now, pull_before = now.stiffness @ (mean - now.center), before.stiffness @ (mean - before.center)
    constant = 0.5 * ((mean - now.center) @ pull_now - (mean - before.center) @ pull_before)
    return 0.5 * (now.stiffness - before.stiffness), pull_now - pull_before, float(constant)


class _Spread:
    """Mean and variance of the work, with its covariances with y, (n), and y y', (n, n)."""

    def __init__(self, start: Gaussian) -> None:
        self.state = start
        self.mean = self.variance = 0.0
        self.with_y, self.with_square = np.zeros_like(start.mean), np.zeros_like(start.covariance)

    def jump(self, before: LinearForce, now: LinearForce) -> None:
        big, small, constant = _jump(before, now, self.state.mean)
        s = self.state.covariance
        self.mean += constant + float(np.sum(big * s))
        self.variance += 2.0 * float(np.sum(big * self.with_square) + small @ self.with_y)
        self.variance += float(2.0 * np.sum((big @ s) * (big @ s).T) + small @ s @ small)
        self.with_y = self.with_y + s @ small
        self.with_square = self.with_square + 2.0 * s @ big @ s

    def move(self, move: Transition) -> None:
        self.state = after(self.state, move)
        self.with_y = move.matrix @ self.with_y
        self.with_square = move.matrix @ self.with_square @ move.matrix.T


class _Tilt:
    """ln <e^{-b w}> and the Gaussian state weighted with e^{-b w}."""

    def __init__(self, start: Gaussian, inverse: float) -> None:
        self.state, self.inverse, self.logarithm = start, inverse, 0.0

    def jump(self, before: LinearForce, now: LinearForce) -> None:
        b = self.inverse
        big, small, constant = _jump(before, now, self.state.mean)
        # S^{-1} + 2 b Q = S^{-1} (1 + 2 b S Q); its inverse also for a start without spread
        factor = np.eye(len(small)) + 2.0 * b * self.state.covariance @ big
        covariance = np.linalg.solve(factor, self.state.covariance)
        covariance = 0.5 * (covariance + covariance.T)
        if np.linalg.eigvals(factor).real.min() <= 0.0:
            self.logarithm = np.nan
        self.logarithm += -b * constant - 0.5 * np.linalg.slogdet(factor)[1] + 0.5 * b**2 * small @ covariance @ small
        self.state = Gaussian(self.state.mean - b * covariance @ small, covariance)

    def move(self, move: Transition) -> None:
        self.state = after(self.state, move)


def log_theorem_average(
    protocol: LinearProtocol, start: Gaussian, ends: Sequence[Gaussian], power: float
) -> np.ndarray:
    """ln <e^{-b Sigma}> at steps 0..N, each x integrated out in turn; the running weight is exp(a + l.x - x.P x/2)."""
    b = power
    a, linear, p = _log_weight(start, 1.0 - b)
    results = np.zeros(protocol.steps + 1)
    for step in range(1, protocol.steps + 1):
        force = protocol.force(step - 1 if protocol.x_first else step)
        move = transition(force, protocol.dynamics, *protocol.bath(step))
        inverse = np.linalg.inv(move.noise)
        m, pull, twice = move.matrix, inverse @ move.shift, move.matrix.T @ inverse @ move.matrix
        constant = -0.5 * (
            move.shift @ pull + np.linalg.slogdet(move.noise)[1]
        )  # its 2 pi cancels that of the integral
        for _ in range(protocol.tau):
            old = p + (1.0 - b) * twice + b * inverse
            cross = -(1.0 - b) * inverse @ m - b * m.T @ inverse
            push = linear - (1.0 - b) * m.T @ pull + b * pull
            a += constant + _log_integral(old, push, normalised=True)
            p = (1.0 - b) * inverse + b * twice - cross @ np.linalg.solve(old, cross.T)
            linear = (1.0 - b) * pull - b * m.T @ pull - cross @ np.linalg.solve(old, push)
        end, pull, inverse = _log_weight(ends[step], b)
        results[step] = a + end + _log_integral(p + inverse, linear + pull)
    return results


def _log_weight(state: Gaussian, power: float) -> tuple[float, np.ndarray, np.ndarray]:
    """p^b as exp(a + l.x - x.P x/2): a, l, P."""
    inverse = np.linalg.inv(state.covariance)
    constant = state.mean @ inverse @ state.mean + np.linalg.slogdet(2.0 * np.pi * state.covariance)[1]
    return -0.5 * power * float(constant), power * inverse @ state.mean, power * inverse


def _log_integral(precision: np.ndarray, push: np.ndarray, normalised: bool = False) -> float:
    """ln of the integral of exp(l.x - x.P x/2), over (2 pi)^{n/2} if `normalised`; nan where it diverges."""
    if np.linalg.eigvalsh(0.5 * (precision + precision.T)).min() <= 0.0:
        return float("nan")
    volume = 0.0 if normalised else len(push) * np.log(2.0 * np.pi)
    return float(0.5 * (volume - np.linalg.slogdet(precision)[1] + push @ np.linalg.solve(precision, push)))
