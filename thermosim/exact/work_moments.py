"""Moments of the work of a trap under a protocol, from a Gaussian start, exactly and at any time step.

With y = x - <x> one jump of theta adds y'Q y + q.y + const to the work w. With S the covariance of y, and covariances
u = <w y> and U = <w (y y' - S)>,

    Var(w)         += 2 [tr(Q U) + q.u] + 2 tr(Q S Q S) + q'S q          a jump (L. Isserlis, Biometrika 12, 134 (1918))
    u, U           += S q, 2 S Q S
    u, U           -> M u, M U M'                                        a move x' = M x + s + noise
    ln <e^{-b w}>     the same Gaussian, tilted: S^{-1} -> S^{-1} + 2 b Q at a jump

All are maps that compose, so that products of them (`exact.scan`) give any number of steps.
Sources: C. Jarzynski, Phys. Rev. Lett. 78, 2690 (1997); O. Mazonka, C. Jarzynski, arXiv cond-mat/9912121. Units: kT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thermosim.exact.gaussian_products import moves, product, quadratic, trace, weighted_moves
from thermosim.exact.linear_langevin import Gaussian
from thermosim.exact.scan import Maps, running_products
from thermosim.exact.stretches import LinearProtocol, Stretches, asked_steps, running, stretches

__all__ = ["WorkMoments", "weight_skewness", "work_moments"]

_POWERS = np.array([1.0, 2.0, 3.0])


@dataclass(frozen=True)
class WorkMoments:
    """At F steps: mean and variance of the work, and ln <e^{-b w/T}> of b = 1, 2, 3 (nan where it diverges)."""

    step: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    log_average: np.ndarray
    log_square: np.ndarray
    log_cube: np.ndarray
    gaussian: bool  # whether the distribution is exactly normal

    def effective_fraction(self) -> np.ndarray:
        """Expected effective sample size of the Jarzynski average per replica: <e^{-w/T}>^2/<e^{-2w/T}>, (F)."""
        return np.exp(2.0 * self.log_average - self.log_square)

    def skewness(self) -> np.ndarray:
        """That of e^{-w/T}, (F)."""
        return weight_skewness(self.log_average, self.log_square, self.log_cube)


def weight_skewness(log_average: np.ndarray, log_square: np.ndarray, log_cube: np.ndarray) -> np.ndarray:
    """Skewness of weights y > 0 from ln <y>, ln <y^2>, ln <y^3>: 0 for constant ones, infinite where one diverges."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        square, cube = np.exp(log_square - 2.0 * log_average), np.exp(log_cube - 3.0 * log_average)
        variance = square - 1.0
        skewness = np.where(variance > 1e-9, (cube - 3.0 * square + 2.0) / variance**1.5, 0.0)
    return np.where(np.isfinite(log_square) & np.isfinite(log_cube) & np.isfinite(skewness), skewness, np.inf)


def work_moments(
    protocol: LinearProtocol, start: Gaussian, record: ArrayLike | None = None, exponentials: bool = True
) -> WorkMoments:
    """Mean, variance and exponential averages of the work of a trap without drive, at one temperature.

    At the steps `record`, by default all of 0..N; exponential averages, which take longest, are nan unless asked for.
    Raises ValueError for a driven system or several temperatures.
    """
    if np.any(protocol.drive) or not protocol.one_bath:
        raise ValueError("moments of the work need a system without drive, at one temperature")
    steps = asked_steps(protocol, record)
    logs = np.zeros((len(_POWERS), len(steps)))
    gaussian = bool(np.all(protocol.stiffness == protocol.stiffness[0]))
    if gaussian and np.all(protocol.center == protocol.center[0]):  # nothing does work
        return WorkMoments(steps, logs[0], logs[0], logs[0], logs[1], logs[2], gaussian)
    course = stretches(protocol, steps)
    mean, covariance = course.states(start)
    met = slice(1, None) if course.x_first else slice(0, -1)
    mean, covariance = mean[:, met], covariance[..., met]
    jumps, at = _jumps(course, mean), course.rows(steps)
    big, _, constant = jumps
    work = running(constant + trace(big, covariance))
    variance = running(_variance(course, jumps, covariance))
    inverse = 1.0 / float(np.ravel(protocol.temperature)[0])
    if exponentials:
        logs[:, at > 0] = _logarithms(course, jumps, start, inverse * _POWERS, at[at > 0] - 1)
    else:
        logs[:] = np.nan
    return WorkMoments(steps, work[at], variance[at], logs[0], logs[1], logs[2], gaussian)


def _jumps(course: Stretches, mean: np.ndarray) -> Maps:
    """Q, q and the constant of phi_now - phi_before = y'Q y + q.y + constant, y = x - mean."""
    (old, old_center), (new, new_center) = course.jump
    pull_now, pull_before = product(new, mean - new_center), product(old, mean - old_center)
    constant = 0.5 * np.sum((mean - new_center) * pull_now - (mean - old_center) * pull_before, axis=0)
    return 0.5 * (new - old), pull_now - pull_before, constant


def _variance(course: Stretches, jumps: Maps, covariance: np.ndarray) -> np.ndarray:
    """What each jump adds to the variance of the work, (G)."""
    big, small, _ = jumps
    matrix = course.moved[0]
    turned = product(covariance, big)
    with_y, with_square = product(covariance, small), 2.0 * product(turned, covariance)
    if course.x_first:
        carried = (matrix, with_y, with_square)
    else:
        carried = (matrix, product(matrix, with_y), product(product(matrix, with_square), matrix.swapaxes(0, 1)))
    known = running_products(
        lambda at: tuple(part[..., at] for part in carried), len(course.end), np.arange(len(course.end)), moves
    )
    u, square = (np.concatenate([np.zeros_like(part[..., :1]), part[..., :-1]], axis=-1) for part in known[1:])
    if course.x_first:
        u, square = product(matrix, u), product(product(matrix, square), matrix.swapaxes(0, 1))
    of_jump = 2.0 * trace(turned, turned) + quadratic(covariance, small, small)
    return 2.0 * (trace(big, square) + np.sum(small * u, axis=0)) + of_jump


def _logarithms(course: Stretches, jumps: Maps, start: Gaussian, powers: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """ln <e^{-b w}> of each b after the stretches asked for, (len(powers), len(asked))."""
    (big, small, constant), b = jumps, powers[:, None]
    matrix, _, noise = course.moved
    n = len(small)
    still, none, one = np.zeros((n, 1, 1)), np.zeros((n, n, 1, 1)), np.eye(n)[..., None, None]

    def weighted(at: np.ndarray) -> Maps:
        jump = (one, still, none, -b * small[:, None, at], 2.0 * b * big[:, :, None, at], -b * constant[at])
        move = (matrix[:, :, None, at], still, noise[:, :, None, at], still, none, np.zeros((1, 1)))
        whole = weighted_moves(move, jump) if course.x_first else weighted_moves(jump, move)
        return tuple(np.broadcast_to(part, (*part.shape[:-2], len(powers), len(at))) for part in whole)

    begin = (none, still, start.covariance[..., None, None], still, none, np.zeros((1, 1)))
    passed = running_products(weighted, len(course.end), asked, weighted_moves)
    return np.asarray(weighted_moves(begin, passed)[-1])
