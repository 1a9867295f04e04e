"""Mean and variance of currents along a linear Langevin chain, exactly, at any time step and after any number of moves.

    x' = M x + N^{1/2} xi,     J_n = sum over moves of y'B y,  y = (x, x'),  B symmetric     x about the mean of its law

Heat, work of a drive and log ratio are such sums (`book_forms`). With S the covariance of x, C that of y, and
U = <(J - <J>) x x'>, L. Isserlis, Biometrika 12, 134 (1918), gives for one move

    <J>     += tr(B C)                                                  C = (S, S M'; M S, S'),  S' = M S M' + N
    Var(J)  += 2 tr(K U) + 2 tr(B C B C)                                K = P'B P,  P = (1; M)
    U       -> M U M' + 2 Y B Y'                                        Y = (M S, S')

from U = 0 and the covariance of any start; in a stationary state S' = S. `swept_form` is the area that a path sweeps,
(x_i x'_j - x_j x'_i)/2. One move of the rotational trap in the plane has work of precision u/(1 + u), u = h eps^2 s/T
with s the variance of a component, where half the entropy production is u.

Counting. In one step of the stationary rotational trap the work of each plane is a multiple of X - Y, exponential
variables of rates 1 - l and 1 + l, l = h eps/sqrt(1 - (1 - h k)^2). So that of n/2 planes is positive when, of throws
of a coin with chance (1 + l)/2, n/2 heads come before n/2 tails: a chance P, and the sign has the precision
m^2/(1 - m^2), m = 2 P - 1, beyond half the entropy production, n l^2/(1 - l^2), where n > 2 and l is large.

Minibatches: theta' = theta - r A (theta - z) + sqrt(2 r T) xi, z the mean of a minibatch with covariance C, produces

    <sigma> = tr[(2 - r A) r A^2 C]/(2 T)

per step in the stationary state, given the minibatches: that of the density which `log_ratio_theta` books.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from thermosim.exact.linear_langevin import LinearForce, Transition, temperatures

__all__ = ["book_forms", "current_moments", "minibatch_entropy_production", "rotational_trap_sign", "swept_form"]


def book_forms(
    force: LinearForce, dynamics: str, time_step: float, temperature: ArrayLike, mobility: ArrayLike = 1.0
) -> dict[str, np.ndarray]:
    """B (2n, 2n) of what one move books, x from the center: work, heat, log_ratio_x, and heat_of_component (n, 2n, 2n).

    Formulas as in `linear_langevin`.
    """
    n = len(force.center)
    t, h = temperatures(temperature, n), time_step * temperatures(mobility, n)
    step, total = np.hstack([-np.eye(n), np.eye(n)]), np.hstack([np.eye(n), np.eye(n)])
    pull = force.matrix @ total
    heats = np.stack([_symmetric(-0.5 * np.outer(step[i], pull[i])) for i in range(n)])
    heat = heats.sum(axis=0)
    if dynamics == "exact-ou":
        ratio = -heat / t[0]
    else:
        before = force.matrix @ np.eye(n, 2 * n)
        after = force.matrix @ np.eye(n, 2 * n, n)
        squares = [0.25 * h[i] * (np.outer(after[i], after[i]) - np.outer(before[i], before[i])) for i in range(n)]
        ratio = np.sum([(square - own) / t[i] for i, (square, own) in enumerate(zip(squares, heats))], axis=0)
    work = _symmetric(0.5 * (force.drive @ total).T @ step)
    return {"work": work, "heat": heat, "log_ratio_x": ratio, "heat_of_component": heats}


def swept_form(components: int, pair: tuple[int, int]) -> np.ndarray:
    """B (2n, 2n) of the area that components i and j sweep: (x_i x'_j - x_j x'_i)/2."""
    form = np.zeros((2 * components, 2 * components))
    i, j = pair
    form[i, components + j], form[j, components + i] = 0.5, -0.5
    return _symmetric(form)


def current_moments(
    move: Transition, start: np.ndarray, form: np.ndarray, moves: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of J after these numbers of moves, in order: two arrays of their shape.

    start (n, n): covariance of x before the first move, whose law is normal about the fixed point of the move.
    """
    asked = np.atleast_1d(np.asarray(moves, int))
    n, m = len(start), move.matrix
    along = np.vstack([np.eye(n), m])
    later = along.T @ form @ along
    covariance, weighted, mean, variance = start, np.zeros((n, n)), 0.0, 0.0
    means, variances = np.zeros(len(asked)), np.zeros(len(asked))
    for count in range(1, int(asked.max()) + 1):
        ahead = m @ covariance
        new = ahead @ m.T + move.noise
        both = form @ np.block([[covariance, ahead.T], [ahead, new]])
        mean += float(np.trace(both))
        variance += float(2.0 * np.sum(later * weighted) + 2.0 * np.sum(both * both.T))
        met = np.hstack([ahead, new])
        weighted = m @ weighted @ m.T + 2.0 * met @ form @ met.T
        covariance = new
        means[asked == count], variances[asked == count] = mean, variance
    return means.reshape(np.shape(moves)), variances.reshape(np.shape(moves))


def rotational_trap_sign(stiffness: float, rotation: float, dimension: int, time_step: float) -> tuple[float, float]:
    """Of one stationary step of ula: the precision of the sign of the work, and half the entropy production."""
    tilt = time_step * rotation / np.sqrt(1.0 - (1.0 - time_step * stiffness) ** 2)
    planes = dimension // 2
    m = 2.0 * float(stats.nbinom.cdf(planes - 1, planes, 0.5 * (1.0 + tilt))) - 1.0
    return m**2 / (1.0 - m**2), dimension * tilt**2 / (1.0 - tilt**2)


def minibatch_entropy_production(
    curvature: np.ndarray, covariance: np.ndarray, learning_rate: float, temperature: float
) -> float:
    """tr[(2 - r A) r A^2 C]/(2 T) per step; covariance C (m, m) is that of a minibatch's mean."""
    a, r = np.asarray(curvature, float), learning_rate
    factor = r * (2.0 * np.eye(len(a)) - r * a) @ a @ a
    return float(np.trace(factor @ covariance) / (2.0 * temperature))


def _symmetric(form: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (form + form.T))
