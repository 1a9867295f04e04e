"""Learning by contrast with the least dissipation: schedules of a Gaussian machine, and the work they cost.

theta (a mean) of phi(x) = k (x - theta)^2/2 + constant learns the mean mu of all data from K persistent chains,

    theta' = theta + r k (mu - xbar),   x' = theta' + c (x - theta') + noise,   c what a step's moves leave of a lag

so that the gradient is biased by how far chains lag: k (xbar - theta'). The lag costs work, for F does not change:

    W = sum over steps of (k/2) [<(xbar - theta')^2> - <(xbar - theta)^2>]

for each chain. Of many chains only means count. From rest at 0, with N steps and theta = mu after the last, W is least
where every step but the last leaves the same lag, d = mu/D with D = (N - 1)(1 - c) + 1 + c:

    r_1 k = 1/D,   r_i k = (1 - c)/(D - (i - 1)(1 - c)),   r_N k = 1/(1 + c)
    W = (k mu^2/2)/[1 + (N - 1)(1 - c)/(1 + c)]

Small steps, c = 1 - dt and t_f = N dt in relaxation times, make of these r = dt/(t_f + 2 - t) with jumps at both ends,
and W = k mu^2/(t_f + 2) (arXiv:2510.03137; for a dragged trap T. Schmiedl, U. Seifert, PRL 98, 108301 (2007)).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["MOVES", "least_work", "mean_work", "of_moves"]

MOVES = ("ula", "exact-ou", "exact")  # of x that are linear


def of_moves(dynamics: str, time_step: float, tau: int, curvature: float) -> tuple[float, float]:
    """The contraction c of tau moves of x, and the variance of x at rest under them."""
    move = time_step * curvature
    left = {"ula": 1.0 - move, "exact-ou": float(np.exp(-move)), "exact": 0.0}[dynamics]
    return left**tau, 1.0 / (curvature * (1.0 - move / 2.0 if dynamics == "ula" else 1.0))


def least_work(distance: ArrayLike, steps: int, contraction: float, curvature: ArrayLike = 1.0) -> np.ndarray:
    """Work of one of many chains along these rates (the schedule least-dissipation), mu - theta_0 being `distance`."""
    slow = 1.0 + (steps - 1.0) * (1.0 - contraction) / (1.0 + contraction)
    return np.asarray(np.asarray(curvature) * np.square(distance) / (2.0 * slow))


def mean_work(
    rates: ArrayLike,
    distance: float,
    contraction: float,
    curvature: float = 1.0,
    samples: float = np.inf,
    variance: float | None = None,
    of_minibatch: float = 0.0,
) -> np.ndarray:
    """Mean work of one of K chains after steps 0..N of any rates, (N + 1), their noise included.

    `variance` is that of x at rest: 1/k, unless the moves of x have a law of their own (ula: 1/(k (1 - h k/2))), which
    they do not start from. `of_minibatch` is that of the mean of a minibatch. Of several components works add up.
    """
    rest = (1.0 / curvature if variance is None else variance) / samples  # variance of xbar at fixed theta
    theta, mean = -distance, -distance  # less mu
    law = np.array([[0.0, 0.0], [0.0, 1.0 / (curvature * samples)]])  # covariance of theta and xbar
    lag = np.array([-1.0, 1.0])
    work = [0.0]
    for rate in np.asarray(rates, float) * curvature:
        before = (mean - theta) ** 2 + lag @ law @ lag
        theta = theta - rate * mean
        jump = np.array([[1.0, -rate], [0.0, 1.0]])
        law = jump @ law @ jump.T
        law[0, 0] += rate**2 * of_minibatch
        work.append(0.5 * curvature * ((mean - theta) ** 2 + lag @ law @ lag - before))
        mean = theta + contraction * (mean - theta)
        moves = np.array([[1.0, 0.0], [1.0 - contraction, contraction]])
        law = moves @ law @ moves.T
        law[1, 1] += rest * (1.0 - contraction**2)
    return np.cumsum(work)
