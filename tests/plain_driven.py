"""Driven linear systems, exactly and at any time step: dragged and squeezed traps, and two steady states.

Time-dependent traps. theta_t = (c_t, K_t) is prescribed at steps t = 0..N. A step makes theta jump (work) and x move
`tau` times (heat); a reversed run reads the protocol backwards and makes x move first. From a Gaussian start,

    mean ledger        `ledger`            mean and covariance of x, carried exactly from move to move
    variance of w      `work_moments`      with y = x - <x>, one jump adds y'Q y + q.y + const to w
    ln <e^{-b w}>      `work_moments`      the same Gaussian, tilted: S^{-1} -> S^{-1} + 2 b Q
    ln <e^{-b Sigma}>  `log_theorem_average`   the paths, weighted, integrated out one move after another
    dF                 `free_energy_difference` = (T/2) ln(det K_N/det K_0)

The work is Gaussian when only the center moves. Then <w> = dF + Var(w)/(2T) if the moves leave the equilibrium of
each theta invariant (exact-ou), and not quite if they do not (ula); at finite step both sides are given here.

Steady states. Rotational trap: a trap k in n = 2 p dimensions with a rotation of rate eps in each of p planes,

    entropy production rate  n eps^2/k                                       continuous time, any temperature
                             n eps^2/(k - h (k^2 + eps^2)/2)                 ula

Two beads tied to walls by springs k and to each other by c, at temperatures T_1 and T_2:

    heat current 1 -> 2      c^2 (T_1 - T_2)/(2 (k + c)),    entropy production rate: current (1/T_2 - 1/T_1)
    of mobilities m_1, m_2   c^2 (T_1 - T_2)/(k + c) times m_1 m_2/(m_1 + m_2), from the Lyapunov equation

Sources: O. Mazonka, C. Jarzynski, arXiv cond-mat/9912121 (dragged trap); C. Jarzynski, Phys. Rev. Lett. 78, 2690
(1997); G. E. Crooks, Phys. Rev. E 60, 2721 (1999); J. Li, J. M. Horowitz, T. R. Gingrich, N. Fakhri, Nat. Commun. 10,
1666 (2019) (two beads). Units: kT, mobility 1 unless given; signs as in the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thermosim.exact.linear_langevin import (
    Gaussian,
    LinearForce,
    Transition,
    after,
    mean_books,
    temperatures,
    transition,
)

__all__ = [
    "Ledger",
    "LinearProtocol",
    "WorkMoments",
    "dragging_work",
    "equilibrium",
    "free_energy_difference",
    "ledger",
    "log_theorem_average",
    "log_theorem_averages",
    "rotational_trap_rate",
    "two_bead_current",
    "two_bead_rate",
    "weight_skewness",
    "work_moments",
]


@dataclass(frozen=True)
class LinearProtocol:
    """A linear system under a protocol, in the order its replicas live through it.

    stiffness (N+1, n, n) and center (N+1, n) at steps 0..N as the run meets them (a reversed run: read backwards),
    drive (n, n) constant. The time step and the temperature used by each step are numbers, or schedules with a first
    axis of N+1: time_step (N+1), temperature (N+1, n) or (N+1, 1); one temperature per component is (n).
    `x_first` is the order of a reversed run: tau moves at the old theta, then the jump.
    """

    stiffness: np.ndarray
    center: np.ndarray
    drive: np.ndarray
    dynamics: str
    time_step: ArrayLike
    tau: int
    temperature: ArrayLike
    x_first: bool = False
    mobility: ArrayLike = 1.0  # a number, or one per component (n)

    @property
    def steps(self) -> int:
        """N."""
        return len(self.center) - 1

    def force(self, step: int) -> LinearForce:
        """The force with theta as it is at this step."""
        return LinearForce(self.stiffness[step], self.center[step], self.drive)

    def bath(self, step: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Time step, temperatures (n) and mobilities (n) of the moves of this step."""
        h, t = np.asarray(self.time_step, float), np.asarray(self.temperature, float)
        t = t[step] if t.ndim == 2 else t
        n = self.center.shape[1]
        return float(h[step] if h.ndim else h), temperatures(t, n), temperatures(self.mobility, n)


@dataclass(frozen=True)
class Ledger:
    """Exact means at steps 0..N: mean (N+1, n) and covariance (N+1, n, n) of x, and the books, (N+1), cumulative."""

    mean: np.ndarray
    covariance: np.ndarray
    energy: np.ndarray
    work: np.ndarray
    heat: np.ndarray
    log_ratio: np.ndarray
    heat_of_component: np.ndarray  # (N+1, n)

    def state(self, step: int) -> Gaussian:
        """The distribution of x at a step."""
        return Gaussian(self.mean[step], self.covariance[step])

    def shadow(self, temperature: float) -> np.ndarray:
        """Log ratio less -heat/T: the part of the ratio that is an artefact of the time step, (N+1)."""
        return np.asarray(self.log_ratio + self.heat / temperature)


@dataclass(frozen=True)
class WorkMoments:
    """At steps 0..N: mean and variance of the work, and ln <e^{-b w/T}> of b = 1, 2, 3 (nan where it diverges)."""

    mean: np.ndarray
    variance: np.ndarray
    log_average: np.ndarray
    log_square: np.ndarray
    log_cube: np.ndarray
    gaussian: bool  # whether the distribution is exactly normal

    def effective_fraction(self) -> np.ndarray:
        """Expected effective sample size of the Jarzynski average per replica: <e^{-w/T}>^2/<e^{-2w/T}>, (N+1)."""
        return np.exp(2.0 * self.log_average - self.log_square)

    def skewness(self) -> np.ndarray:
        """That of e^{-w/T}, (N+1)."""
        return weight_skewness(self.log_average, self.log_square, self.log_cube)


def weight_skewness(log_average: np.ndarray, log_square: np.ndarray, log_cube: np.ndarray) -> np.ndarray:
    """Skewness of weights y > 0 from ln <y>, ln <y^2>, ln <y^3>: 0 for constant ones, infinite where one diverges."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        square, cube = np.exp(log_square - 2.0 * log_average), np.exp(log_cube - 3.0 * log_average)
        variance = square - 1.0
        skewness = np.where(variance > 1e-9, (cube - 3.0 * square + 2.0) / variance**1.5, 0.0)
    return np.where(np.isfinite(log_square) & np.isfinite(log_cube) & np.isfinite(skewness), skewness, np.inf)


def equilibrium(stiffness: np.ndarray, center: np.ndarray, temperature: float) -> Gaussian:
    """exp(-phi/T), normalised."""
    return Gaussian(np.asarray(center, float), temperature * np.linalg.inv(stiffness))


def free_energy_difference(stiffness: np.ndarray, temperature: float) -> np.ndarray:
    """F(theta_t) - F(theta_0) for stiffness (N+1, n, n): (T/2) ln(det K_t/det K_0), shape (N+1)."""
    logarithm = np.linalg.slogdet(stiffness)[1]
    return np.asarray(0.5 * temperature * (logarithm - logarithm[0]))


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
    return Ledger(mean, covariance, energy, books[0], books[1], books[2], heats)


def work_moments(protocol: LinearProtocol, start: Gaussian) -> WorkMoments:
    """Mean, variance and exponential averages of the work of a trap without drive, at one temperature.

    Raises ValueError for a driven system or several temperatures.
    """
    if np.any(protocol.drive) or len(np.unique(protocol.temperature)) > 1:
        raise ValueError("moments of the work need a system without drive, at one temperature")
    inverse = 1.0 / float(np.ravel(protocol.temperature)[0])
    plain, tilts = _Spread(start), [_Tilt(start, power * inverse) for power in (1.0, 2.0, 3.0)]
    walkers: tuple[_Spread | _Tilt, ...] = (plain, *tilts)
    results = np.zeros((5, protocol.steps + 1))
    if np.all(protocol.stiffness == protocol.stiffness[0]) and np.all(protocol.center == protocol.center[0]):
        return WorkMoments(
            results[0], results[1], results[2], results[3], results[4], gaussian=True
        )  # nothing does work
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
    return WorkMoments(results[0], results[1], results[2], results[3], results[4], gaussian)


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
    """ln <e^{-b Sigma}> at steps 0..N, Sigma = sum ln p(x'|x)/p(x|x') + ln p_0(x_0) - ln p_t(x_t), b = `power`.

    p_0 is `start`, p_t any density, one of `ends` (N+1) for each step. The integral fluctuation theorem says 0 at
    b = 1; b = 2 gives the variance of that average. nan from where it diverges. Path weights p^{1-b} (reverse p)^b are
    Gaussian for linear moves of any kind, so each x is integrated out in turn; the running weight is
    exp(a + l.x - x.P x/2).
    """
    return log_theorem_averages(protocol, start, [ends], power)[0]


def log_theorem_averages(
    protocol: LinearProtocol, start: Gaussian, families: Sequence[Sequence[Gaussian]], power: float
) -> np.ndarray:
    """The same for several choices of p_t at once: (families, N+1)."""
    b = power
    a, linear, p = _log_weight(start, 1.0 - b)
    results = np.zeros((len(families), protocol.steps + 1))
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
        for family, ends in enumerate(families):
            end, pull, inverse = _log_weight(ends[step], b)
            results[family, step] = a + end + _log_integral(p + inverse, linear + pull)
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


def dragging_work(stiffness: np.ndarray, velocity: np.ndarray, time: ArrayLike) -> np.ndarray:
    """Mean work of dragging a trap from equilibrium at constant velocity v, in continuous time.

    v.[t - K^{-1}(1 - e^{-Kt})] v, Mazonka and Jarzynski. The work is Gaussian with variance 2 T times its mean.
    Shape that of `time`.
    """
    values, vectors = np.linalg.eigh(stiffness)
    weights = (vectors.T @ velocity) ** 2
    times = np.asarray(time, float)[..., None]
    return np.asarray(np.sum(weights * (times + np.expm1(-values * times) / values), axis=-1))


def rotational_trap_rate(
    stiffness: ArrayLike, rotation: ArrayLike, dimension: int = 2, time_step: ArrayLike = 0.0
) -> np.ndarray:
    """Entropy production per unit time of the rotational trap: ula at this time step, 0 for continuous time."""
    k, e, h = np.asarray(stiffness, float), np.asarray(rotation, float), np.asarray(time_step, float)
    return np.asarray(dimension * e**2 / (k - 0.5 * h * (k**2 + e**2)))


def two_bead_current(
    stiffness: float, coupling: float, hot: ArrayLike, cold: ArrayLike, mobility: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Heat per unit time that flows from the bath at `hot` to the one at `cold`, continuous time."""
    ease = mobility[0] * mobility[1] / (mobility[0] + mobility[1])
    return np.asarray(ease * coupling**2 * (np.asarray(hot, float) - cold) / (stiffness + coupling))


def two_bead_rate(
    stiffness: float, coupling: float, hot: ArrayLike, cold: ArrayLike, mobility: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Entropy production per unit time of two beads between two temperatures, continuous time."""
    current = two_bead_current(stiffness, coupling, hot, cold, mobility)
    return np.asarray(current * (1.0 / np.asarray(cold, float) - 1.0 / np.asarray(hot, float)))
