"""The four potentials of irreversibility of a quadratic loss E = theta'A theta/2, in closed form, and what is known of
the entropy of its steps.

    theta' = (I - r A) theta,   leading order (r/4) theta'A^2 theta
    phi_TR = phi_TA = leading order, at any r
    phi_DE = theta'(exp(-r A) - I + r A)theta/(2 r)
    phi_ST = (r/16)|(2 A - r A^2) theta|^2
    phi_BE = theta'(-log(I - r A)/r - A)theta/2, the modified loss whose flow goes through every step, r A < 1

Of a step with noise, theta' = (I - r M) theta + s xi from theta ~ N(mu, t^2 I), any matrix M, the entropy that it sheds
and the change of the system's own are

    <dS> = (r^2/(2 s^2)) [|M (2 - r M) mu|^2 + t^2 |M (2 - r M)|^2 + s^2 |M|^2] - r tr M
    dH = ln det[t^2 (I - r M)(I - r M)' + s^2 I]/2 - m ln t

A general linear field U = M theta, M not symmetric, has no potentials but phi_ST; its mismatches are those of M.
Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), G34-G36.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import linalg

__all__ = ["linear_mismatches", "quadratic_potentials", "step_entropies"]

_SMALL = 0.02
_EXPONENTIAL = np.array([(-1.0) ** k / math.factorial(k) for k in range(2, 11)])  # of exp(-x) - 1 + x, from x^2 on
_LOGARITHM = 1.0 / np.arange(2.0, 11.0)  # of -log(1 - x) - x


def quadratic_potentials(matrix: np.ndarray, theta: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    """de, tr, ta, st, leading and be (NaN where r A reaches 1) of symmetric A (m, m) at theta (R, m): each (R,)."""
    values, vectors = np.linalg.eigh(np.asarray(matrix, float))
    squares, scaled = (theta @ vectors) ** 2, rate * values
    plain = squares @ (0.25 * rate * values**2)
    below = np.where(scaled < 1.0, scaled, np.nan)
    return {
        "de": squares @ (_beyond_linear(scaled, _EXPONENTIAL, np.expm1(-scaled) + scaled) / (2.0 * rate)),
        "tr": plain,
        "ta": plain,
        "st": squares @ (rate / 16.0 * (2.0 * values - rate * values**2) ** 2),
        "leading": plain,
        "be": squares @ (_beyond_linear(below, _LOGARITHM, -np.log1p(-below) - scaled) / (2.0 * rate)),
    }


def _beyond_linear(x: np.ndarray, coefficients: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """A series from x^2 on where x is small, and the closed form, whose terms cancel there, elsewhere."""
    return np.where(np.abs(x) < _SMALL, np.polyval(coefficients[::-1], x) * x**2, closed)


def linear_mismatches(matrix: np.ndarray, theta: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    """Mismatches de, tr, ta and their leading order r M^2 theta/2 of U = M theta, M (m, m) any matrix: each (R, m)."""
    matrix = np.asarray(matrix, float)
    one = np.eye(len(matrix))
    square = 0.5 * rate * matrix @ matrix
    flow = (linalg.expm(-rate * matrix) - one + rate * matrix) / rate
    return {name: theta @ m.T for name, m in {"de": flow, "tr": square, "ta": square, "leading": square}.items()}


def step_entropies(matrix: np.ndarray, mean: np.ndarray, rate: float, tau: float, sigma: float) -> tuple[float, float]:
    """<dS> and dH of one noisy step of U = M theta, M (m, m), from theta ~ N(mean, tau^2 I), mean (m,)."""
    matrix = np.asarray(matrix, float)
    one = np.eye(len(matrix))
    both, step = matrix @ (2.0 * one - rate * matrix), one - rate * matrix
    square = ((both @ mean) ** 2).sum() + tau**2 * (both**2).sum() + sigma**2 * (matrix**2).sum()
    bath = rate**2 * square / (2.0 * sigma**2) - rate * np.trace(matrix)
    system = 0.5 * np.linalg.slogdet(tau**2 * step @ step.T + sigma**2 * one)[1] - len(one) * np.log(tau)
    return float(bath), float(system)
