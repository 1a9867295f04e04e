"""Driven linear systems, exactly and at any time step: dragged and squeezed traps, and two steady states.

Time-dependent traps. theta_t = (c_t, K_t) is prescribed at steps t = 0..N. A step makes theta jump (work) and x move
`tau` times (heat); a reversed run reads the protocol backwards and makes x move first. From a Gaussian start,

    mean ledger        `ledger`                   mean and covariance of x, carried exactly from stretch to stretch
    variance of w      `work_moments`             a file of its own, as has
    ln <e^{-b Sigma}>  `path_weights`
    dF                 `free_energy_difference`   (T/2) ln(det K_N/det K_0)

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
1666 (2019) (two beads). Units: as in the ledger, mobility 1 unless given; signs as in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thermosim.exact.gaussian_products import product, quadratic, trace
from thermosim.exact.linear_langevin import Gaussian
from thermosim.exact.stretches import LinearProtocol, Stretches, asked_steps, running, stretches

__all__ = [
    "Ledger",
    "dragging_work",
    "equilibrium",
    "free_energy_difference",
    "ledger",
    "rotational_trap_rate",
    "two_bead_current",
    "two_bead_rate",
]


@dataclass(frozen=True)
class Ledger:
    """Exact means at F steps: mean (F, n) and covariance (F, n, n) of x, and the books since step 0, (F)."""

    step: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    energy: np.ndarray
    work: np.ndarray
    heat: np.ndarray
    log_ratio: np.ndarray
    heat_of_component: np.ndarray | None  # (F, n); None of a trap without drive in one bath

    def state(self, row: int) -> Gaussian:
        """The distribution of x at one of the steps."""
        return Gaussian(self.mean[row], self.covariance[row])

    def shadow(self, temperature: float) -> np.ndarray:
        """Log ratio less -heat/T: the part of the ratio that is an artefact of the time step, (F)."""
        return np.asarray(self.log_ratio + self.heat / temperature)


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
    mean, covariance = course.states(start)
    before, after = (mean[:, :-1], covariance[..., :-1]), (mean[:, 1:], covariance[..., 1:])
    old, new = course.jump
    met = after if course.x_first else before
    jump = _energy(*new, *met) - _energy(*old, *met)
    gain = _energy(*course.held, *after) - _energy(*course.held, *before)
    driven, heats, heat = np.any(protocol.drive), None, gain
    if driven or not protocol.one_bath:
        heats = course.heats(*before)
        heat = heats.sum(axis=0) if driven else gain
    ratio = -gain / course.temperature[0] if heats is None else -np.sum(heats / course.temperature, axis=0)
    if course.dynamics == "ula":
        squares = _mean_square_force(course, *after) - _mean_square_force(course, *before)
        ratio = ratio + np.sum(0.25 * course.time_step * squares / course.temperature, axis=0)
    at = course.rows(steps)
    work, heat, ratio = (running(books)[at] for books in (jump + (gain - heat), heat, ratio))
    of_component = None if heats is None else running(heats).T[at]
    energy = _energy(course.stiffness, course.center, mean, covariance)[at]
    return Ledger(steps, mean.T[at], np.moveaxis(covariance, -1, 0)[at], energy, work, heat, ratio, of_component)


def _energy(stiffness: np.ndarray, center: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Mean of phi in Gaussian states, (G)."""
    gap = mean - center
    return 0.5 * (quadratic(stiffness, gap, gap) + trace(stiffness, covariance))


def _mean_square_force(course: Stretches, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """<F_i^2> while x moves, (n, G)."""
    matrix, constant = course.force
    force = product(matrix, mean) + constant
    return force**2 + np.einsum("ij...,jk...,ik...->i...", matrix, covariance, matrix, optimize=True)


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
