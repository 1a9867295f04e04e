"""Linear Langevin systems at a finite time step: one move of a Gaussian state, and what the ledger books on average.

    phi(x) = (x - c)' K (x - c)/2,     F(x) = -K (x - c) + D x          K (n, n) symmetric, c (n), D (n, n)
    x' = M x + s + N^{1/2} xi,         xi ~ N(0, 1)

    ula        M = 1 + h mu (D - K),  s = h mu K c,        N = 2 h mu diag(T)            mu = diag(mobilities)
    exact-ou   M = exp(-h mu K),      s = (1 - M) c,       N = T K^{-1} (1 - M M')       (no D, one temperature and mu)

A Gaussian state stays Gaussian, so means of everything quadratic in (x, x') are traces:

    heat from bath i   Q_i = -(x'_i - x_i)(F_i + F'_i)/2                    sum_i Q_i = phi(x') - phi(x) - work of D
    work of D          (x' - x).D(x + x')/2
    log ratio          ula: sum_i [-Q_i + h mu_i (F'_i^2 - F_i^2)/4]/T_i;  exact-ou: -(phi(x') - phi(x))/T

For a linear force the trapezoidal Q_i of a quadratic energy is exact, so at fixed K, c, D the log ratio of ula differs
from -sum_i Q_i/T_i by the difference of a function of state alone: in a stationary state their means agree at any h.

Units: as in the ledger; mobility 1 unless given. Signs as in the ledger. Temperatures and mobilities are one per
component, (n,), or a number. Sources: H. Risken, The Fokker-Planck Equation, ch. 6.5; S. S. Parsi, Entropy 26, 112
(2024), Eq. 26, for the move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

__all__ = [
    "DYNAMICS",
    "Books",
    "Gaussian",
    "LinearForce",
    "Transition",
    "after",
    "entropy_production_rate",
    "exact_ou_moves",
    "exact_ou_transition",
    "largest_time_step",
    "mean_books",
    "square_root",
    "stationary_books",
    "stationary_covariance",
    "stationary_samples",
    "stationary_state",
    "temperatures",
    "transition",
]

DYNAMICS = ("ula", "exact-ou")  # moves whose transition is linear in x and normal


@dataclass(frozen=True)
class LinearForce:
    """F(x) = -K (x - c) + D x: stiffness K (n, n), center c (n), drive D (n, n)."""

    stiffness: np.ndarray
    center: np.ndarray
    drive: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """dF/dx, (n, n)."""
        return np.asarray(self.drive - self.stiffness)

    def mean_energy(self, state: Gaussian) -> float:
        """Mean of phi in a Gaussian state."""
        y = state.mean - self.center
        return float(0.5 * (y @ self.stiffness @ y + np.sum(self.stiffness * state.covariance)))


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution of x: mean (n), covariance (n, n)."""

    mean: np.ndarray
    covariance: np.ndarray

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """ln p(x) for x (..., n); shape (...)."""
        lower = np.linalg.cholesky(self.covariance)
        z = linalg.solve_triangular(lower, (x - self.mean).reshape(-1, len(self.mean)).T, lower=True)
        constant = np.log(np.diag(lower)).sum() + 0.5 * len(self.mean) * np.log(2.0 * np.pi)
        return np.asarray((-0.5 * np.sum(z**2, axis=0) - constant).reshape(x.shape[:-1]))


@dataclass(frozen=True)
class Transition:
    """x' = matrix x + shift + Gaussian noise of this covariance."""

    matrix: np.ndarray
    shift: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True)
class Books:
    """Mean entries of the ledger for one move: work of the drive, total heat, heat of each component (n), log ratio."""

    work: float
    heat: float
    heat_of_component: np.ndarray
    log_ratio: float


def temperatures(temperature: ArrayLike, components: int) -> np.ndarray:
    """One temperature per component, (n,)."""
    return np.broadcast_to(np.asarray(temperature, float), (components,))


def exact_ou_transition(
    stiffness: np.ndarray, center: np.ndarray, time_step: float, temperature: ArrayLike
) -> Transition:
    """The exact transition of dx = -K (x - c) dt + sqrt(2 T) dB over `time_step`; K symmetric, one temperature.

    Raises ValueError when the components have different temperatures.
    """
    matrix, noise = exact_ou_moves(stiffness, time_step, _one(temperature))
    return Transition(matrix, center - matrix @ center, noise)


def exact_ou_moves(
    stiffness: np.ndarray, time_step: ArrayLike, temperature: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """exp(-K h) and the covariance of the noise of any number of such transitions, (..., n, n) each.

    stiffness (..., n, n); time step and temperature are numbers or (...).
    """
    values, vectors = np.linalg.eigh(stiffness)
    h, turned = np.asarray(time_step, float)[..., None], vectors.swapaxes(-1, -2)
    decay = np.exp(-values * h)[..., None, :]
    variances = np.asarray(temperature, float)[..., None] * -np.expm1(-2.0 * values * h) / values
    return (vectors * decay) @ turned, (vectors * variances[..., None, :]) @ turned


def transition(
    force: LinearForce, dynamics: str, time_step: float, temperature: ArrayLike, mobility: ArrayLike = 1.0
) -> Transition:
    """One move "ula" or "exact-ou".

    Raises ValueError for any other, or when exact-ou is asked of a driven system or of several mobilities.
    """
    n = len(force.center)
    h = time_step * temperatures(mobility, n)
    if dynamics == "exact-ou":
        if np.any(force.drive):
            raise ValueError("exact-ou moves in the trap alone: a driven system has no such transition")
        if len(np.unique(h)) > 1:
            raise ValueError("exact-ou moves all components at one mobility")
        return exact_ou_transition(force.stiffness, force.center, float(h[0]), temperature)
    if dynamics != "ula":
        raise ValueError(f"no exact moments of the move {dynamics!r}: expected one of {DYNAMICS}")
    noise = np.diag(2.0 * h * temperatures(temperature, n))
    return Transition(np.eye(n) + h[:, None] * force.matrix, h * (force.stiffness @ force.center), noise)


def after(state: Gaussian, move: Transition) -> Gaussian:
    """The state after one move."""
    covariance = move.matrix @ state.covariance @ move.matrix.T + move.noise
    return Gaussian(move.matrix @ state.mean + move.shift, covariance)


def mean_books(
    state: Gaussian,
    force: LinearForce,
    dynamics: str,
    time_step: float,
    temperature: ArrayLike,
    mobility: ArrayLike = 1.0,
) -> tuple[Gaussian, Books]:
    """The state after one move, and what the ledger books for it on average over noise and `state`."""
    move = transition(force, dynamics, time_step, temperature, mobility)
    new = after(state, move)
    t = temperatures(temperature, len(force.center))
    # covariance of x + x' (rows) with x' - x (columns), and means of both
    across = new.covariance - state.covariance + state.covariance @ move.matrix.T - move.matrix @ state.covariance
    displacement, total = new.mean - state.mean, new.mean + state.mean
    force_total = force.matrix @ total + 2.0 * force.stiffness @ force.center
    heats = -0.5 * (force_total * displacement + np.einsum("ij,ji->i", force.matrix, across))
    work = 0.5 * float((force.drive @ total) @ displacement + np.sum(force.drive.T * across))
    if dynamics == "exact-ou":
        log_ratio = -float(heats.sum()) / float(t[0])
    else:
        squares = _mean_square_force(new, force) - _mean_square_force(state, force)
        h = time_step * temperatures(mobility, len(force.center))
        log_ratio = float(np.sum((-heats + 0.25 * h * squares) / t))
    return new, Books(work, float(heats.sum()), heats, log_ratio)


def stationary_covariance(matrix: np.ndarray, temperature: ArrayLike, mobility: ArrayLike = 1.0) -> np.ndarray:
    """Covariance (n, n) of the stationary state of dx = mu A x dt + sqrt(2 mu T) dB: mu A S + S A' mu = -2 mu T."""
    n = len(matrix)
    mu, t = temperatures(mobility, n), temperatures(temperature, n)
    covariance = linalg.solve_continuous_lyapunov(mu[:, None] * matrix, -2.0 * np.diag(mu * t))
    return np.asarray(0.5 * (covariance + covariance.T))


def stationary_samples(matrix: np.ndarray, temperature: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Samples (n, R) of the stationary state of dx = A x dt + sqrt(2 T) dB, from normals (n, R).

    matrix (n n, R or 1) holds A row by row, temperature (n, R or 1): each replica may have its own.
    """
    n, replicas = normal.shape
    cases = np.concatenate([np.broadcast_to(matrix, (n * n, replicas)), np.broadcast_to(temperature, (n, replicas))])
    if (cases == cases[:, :1]).all():
        distinct, which = cases[:, :1], np.zeros(replicas, int)
    else:
        distinct, which = np.unique(cases, axis=1, return_inverse=True)
    samples = np.empty_like(normal)
    for index, values in enumerate(distinct.T):
        covariance = stationary_covariance(values[: n * n].reshape(n, n), values[n * n :])
        chosen = which.ravel() == index
        # einsum, whose sums do not depend on how many columns there are as those of a BLAS product may
        samples[:, chosen] = np.einsum("ij,jr->ir", square_root(covariance), normal[:, chosen])
    return samples


def square_root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric root C of covariances: C C' = covariance, (..., n, n)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ vectors.swapaxes(-1, -2))


def stationary_state(
    force: LinearForce, dynamics: str, time_step: float, temperature: ArrayLike, mobility: ArrayLike = 1.0
) -> Gaussian:
    """The stationary state of the finite-step chain: S = M S M' + N.

    Raises ValueError when the chain has none: the time step is beyond the limit of stability.
    """
    move = transition(force, dynamics, time_step, temperature, mobility)
    if (radius := np.abs(np.linalg.eigvals(move.matrix)).max()) >= 1.0:
        raise ValueError(
            f"no stationary state: {dynamics} at time step {time_step} multiplies deviations by {radius:.4g}"
        )
    mean = np.linalg.solve(np.eye(len(move.shift)) - move.matrix, move.shift)
    covariance = linalg.solve_discrete_lyapunov(move.matrix, move.noise)
    return Gaussian(mean, 0.5 * (covariance + covariance.T))


def stationary_books(
    force: LinearForce, dynamics: str, time_step: float, temperature: ArrayLike, mobility: ArrayLike = 1.0
) -> Books:
    """Mean ledger entries of one move in the stationary state of the finite-step chain; divide by h for rates."""
    state = stationary_state(force, dynamics, time_step, temperature, mobility)
    return mean_books(state, force, dynamics, time_step, temperature, mobility)[1]


def entropy_production_rate(matrix: np.ndarray, temperature: ArrayLike, mobility: ArrayLike = 1.0) -> float:
    """Of the stationary state of dx = mu A x dt + sqrt(2 mu T) dB: sum_i mu_i [(A S A')_ii/T_i + A_ii], per unit time.

    The heat that x absorbs from bath i per unit time is -mu_i [(A S A')_ii + T_i A_ii].
    """
    mu, t = temperatures(mobility, len(matrix)), temperatures(temperature, len(matrix))
    squares = np.einsum("ij,jk,ik->i", matrix, stationary_covariance(matrix, t, mu), matrix)
    return float(np.sum(mu * (squares / t + np.diag(matrix))))


def largest_time_step(matrix: np.ndarray, mobility: ArrayLike = 1.0) -> float:
    """The time step from which ula of dx = mu A x dt + ... is unstable: min -2 Re l/|l|^2, l eigenvalues of mu A."""
    values = np.linalg.eigvals(temperatures(mobility, len(matrix))[:, None] * matrix)
    return float(np.min(-2.0 * values.real / np.abs(values) ** 2))


def _mean_square_force(state: Gaussian, force: LinearForce) -> np.ndarray:
    mean = force.matrix @ state.mean + force.stiffness @ force.center
    spread = np.einsum("ij,jk,ik->i", force.matrix, state.covariance, force.matrix)
    return np.asarray(mean**2 + spread)


def _one(temperature: ArrayLike) -> float:
    values = np.unique(np.asarray(temperature, float))
    if len(values) > 1:
        raise ValueError(f"components at different temperatures {values.tolist()}: exact-ou needs one temperature")
    return float(values[0])
