"""Replicas of the linear-Gaussian learning machine in plain numpy, moved as the text says: slow and independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from thermosim.exact.learning_machine import LearningMachine, Start
from thermosim.exact.linear_langevin import Gaussian

__all__ = ["MACHINE", "OWN_X", "PRECISION", "RATES", "REPLICAS", "ROWS", "START", "TIME_STEPS", "Run", "simulate"]

REPLICAS = 40_000
# skewed and correlated rows, far from the start; precisions and noise differ between components
ROWS = np.array([[2.0, -1.5], [1.2, 0.4], [1.6, -0.2], [0.3, 1.1], [3.9, -2.8], [0.9, 1.8]])
PRECISION = np.array([0.6, 2.4])
RATES = np.array([0.5, -0.15, 0.35, 0.45, 0.2])
TIME_STEPS = np.array([0.3, 0.15, 0.25, 0.2, 0.3])
OWN_X = Gaussian(np.array([-0.7, 0.5]), np.array([[1.5, 0.4], [0.4, 0.3]]))
MACHINE = LearningMachine(
    PRECISION, ROWS.mean(axis=0), np.cov(ROWS.T, ddof=0), 5, RATES, 2, x_dynamics="ula", time_step=TIME_STEPS, tau=2
)
START = Start(np.array([0.2, -0.4]), np.array([0.3, 0.5]), OWN_X)


@dataclass
class Run:
    """Replicas of a machine at steps 0..N: theta and x (N+1, n, R), sums (N+1, R)."""

    theta: np.ndarray
    x: np.ndarray
    work: np.ndarray
    heat: np.ndarray
    log_ratio: np.ndarray
    old_theta_heat: np.ndarray  # the mistake: phi of before the jump, for moves of x after it


def _log_transition(kind: str, h: float, k: np.ndarray, m: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """ln T(old -> new) of one x move, (R)."""
    if kind == "ula":
        center, deviation = old - h * k * (old - m), np.sqrt(2.0 * h) + 0.0 * k
    elif kind == "exact-ou":
        center, deviation = m + np.exp(-h * k) * (old - m), np.sqrt((1.0 - np.exp(-2.0 * h * k)) / k)
    else:
        center, deviation = m, 1.0 / np.sqrt(k)
    return np.asarray(stats.norm.logpdf(new, center, deviation).sum(axis=0))


def _move_x(kind: str, h: float, k: np.ndarray, m: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    xi = rng.standard_normal(x.shape)
    if kind == "ula":
        return np.asarray(x - h * k * (x - m) + np.sqrt(2.0 * h) * xi)
    if kind == "exact-ou":
        return np.asarray(m + np.exp(-h * k) * (x - m) + np.sqrt((1.0 - np.exp(-2.0 * h * k)) / k) * xi)
    return np.asarray(m + xi / np.sqrt(k))


def simulate(machine: LearningMachine, start: Start, rows: np.ndarray, seed: int, replicas: int = REPLICAS) -> Run:
    """Every replica moved as written in the text, with rows (K, n) shared or (R, K, n) its own."""
    rng, k, n = np.random.default_rng(seed), machine.precision[:, None], machine.components
    spread = np.broadcast_to(np.asarray(start.theta_spread, float), (n,))[:, None]
    theta = start.theta_mean[:, None] + spread * rng.standard_normal((n, replicas))
    if start.x is None:
        x = theta + rng.standard_normal((n, replicas)) / np.sqrt(k)
    else:
        x = rng.multivariate_normal(start.x.mean, start.x.covariance, replicas).T
    noise = np.broadcast_to(np.asarray(machine.temperature, float), (n,))[:, None]
    velocity, sums = np.zeros_like(theta), np.zeros((4, replicas))
    thetas, samples, books = [theta], [x], [sums.copy()]
    for step in range(machine.steps):
        r, h = float(machine.rates()[step]), float(machine.time_steps()[step])
        old_theta = theta
        for half in ("x", "theta") if machine.x_first else ("theta", "x"):
            if half == "theta":
                own = rows if rows.ndim == 3 else np.broadcast_to(rows, (replicas, *rows.shape))
                if machine.batch is not None:
                    drawn = rng.integers(own.shape[1], size=(replicas, machine.batch))
                    own = np.take_along_axis(own, drawn[:, :, None], axis=1)
                gradient = k * (theta - own.mean(axis=1).T) + machine.weight_decay * theta
                velocity = machine.momentum * velocity - r * gradient
                if noise.any():
                    velocity = velocity + np.sqrt(2.0 * r * noise) * rng.standard_normal(theta.shape)
                sums[0] -= (0.5 * k * (x - theta) ** 2).sum(axis=0)
                theta = theta + velocity
                sums[0] += (0.5 * k * (x - theta) ** 2).sum(axis=0)
                continue
            for _ in range(machine.tau):
                new = _move_x(machine.x_dynamics, h, k, theta, x, rng)
                sums[1] += (0.5 * k * ((new - theta) ** 2 - (x - theta) ** 2)).sum(axis=0)
                sums[3] += (0.5 * k * ((new - old_theta) ** 2 - (x - old_theta) ** 2)).sum(axis=0)
                forth = _log_transition(machine.x_dynamics, h, k, theta, x, new)
                sums[2] += forth - _log_transition(machine.x_dynamics, h, k, theta, new, x)
                x = new
        thetas.append(theta)
        samples.append(x)
        books.append(sums.copy())
    work, heat, log_ratio, old_theta_heat = np.stack(books, axis=1)
    return Run(np.stack(thetas), np.stack(samples), work, heat, log_ratio, old_theta_heat)
