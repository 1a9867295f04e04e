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


def ledger(protocol: LinearProtocol, start: Gaussian, record: ArrayLike | None = None) -> Ledger:
    """Mean books of a run that starts in the Gaussian state `start`, at the steps `record`, by default all of 0..N."""
    steps = asked_steps(protocol, record)
    course = stretches(protocol, steps)
    mean, covariance = states(course, start)
    (old, old_center, new, new_center), held = course.jump, course.held
    before, after = (mean[:, :-1], covariance[..., :-1]), (mean[:, 1:], covariance[..., 1:])
    moved = _energy(*held, *after) - _energy(*held, *before)
    jumped = after if course.x_first else before
    jump = _energy(new, new_center, *jumped) - _energy(old, old_center, *jumped)
    if protocol.one_bath and not np.any(protocol.drive):
        heats, heat = None, moved
    else:
        heats = heat_of_components(course, before)
        heat = heats.sum(axis=0)
    ratio = -(heat / course.temperature[0] if heats is None else np.sum(heats / course.temperature, axis=0))
    if course.dynamics == "ula":
        gain = _mean_square_force(course, *after) - _mean_square_force(course, *before)
        ratio = ratio + np.sum(0.25 * course.time_step * gain / course.temperature, axis=0)
    at = np.searchsorted(np.concatenate([[0], course.end]), steps)
    work, heat, ratio = (_running(books)[..., at] for books in (jump + (moved - heat), heat, ratio))
    of_component = None if heats is None else _running(heats)[..., at].T
    energy = _energy(course.stiffness, course.center, mean, covariance)
    return Ledger(
        steps, mean.T[at], np.moveaxis(covariance, -1, 0)[at], energy[at], work, heat, ratio, of_component
    )


def work_moments(protocol: LinearProtocol, start: Gaussian, record: ArrayLike | None = None) -> WorkMoments:
    """Mean, variance and exponential averages of the work of a trap without drive, at one temperature.

    At the steps `record`, by default all of 0..N. Raises ValueError for a driven system or several temperatures.
    """
    if np.any(protocol.drive) or not protocol.one_bath:
        raise ValueError("moments of the work need a system without drive, at one temperature")
    inverse = 1.0 / float(np.ravel(protocol.temperature)[0])
    steps = asked_steps(protocol, record)
    gaussian = bool(np.all(protocol.stiffness == protocol.stiffness[0]))
    course = stretches(protocol, steps)
    if gaussian and np.all(protocol.center == protocol.center[0]):  # nothing does work
        return WorkMoments(steps, *np.zeros((5, len(steps))), gaussian=True)
    mean, covariance = states(course, start)
    met = slice(1, None) if course.x_first else slice(0, -1)
    mean, covariance = mean[:, met], covariance[..., met]
    big, small, constant = _jumps(course, mean)
    matrix, _, noise = power(course.transitions(), np.maximum(course.moves, 1), moves)
    variance = _variance(course.x_first, matrix, covariance, big, small)
    # tilted by b = 1, 2, 3 over T, in terms of y = x - <x>
    b = inverse * np.array([1.0, 2.0, 3.0])[:, None]
    still, nothing = np.zeros((1, len(matrix), 1, 1)), np.zeros((len(matrix), len(matrix), 1, 1))
    rest, no_weight = still[0], np.zeros((1, 1))
    jump = (
        np.eye(len(matrix))[..., None, None] + nothing,
        rest,
        nothing,
        -b * small[:, None],
        2.0 * b * big[:, :, None],
        -b * constant,
    )
    move = (matrix[:, :, None], rest, noise[:, :, None], rest, nothing, no_weight)
    whole = weighted_moves(move, jump) if course.x_first else weighted_moves(jump, move)
    shape = (3, len(course.end))
    whole = tuple(np.broadcast_to(part, (*part.shape[:-2], *shape)) for part in whole)
    begin = (nothing, rest, start.covariance[..., None, None], rest, nothing, no_weight)
    at = np.searchsorted(course.end, steps[steps > 0])
    tilted = weighted_moves(begin, running_products(lambda s: tuple(p[..., s] for p in whole), shape[1], at, weighted_moves))
    logarithms = np.zeros((3, len(steps)))
    logarithms[:, steps > 0] = tilted[5]
    at = np.searchsorted(np.concatenate([[0], course.end]), steps)
    work = _running(constant + trace(big, covariance))[at]
    return WorkMoments(steps, work, _running(variance)[at], *logarithms, gaussian)


def states(course: Stretches, start: Gaussian) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n, G+1) and covariance (n, n, G+1) of x at the start and after each stretch."""
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
