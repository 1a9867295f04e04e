"""The four potentials of irreversibility of a quadratic loss E = theta'A theta/2, in closed form, and what is known of
the entropy of its steps.

    theta' = (I - r A) theta,   leading order (r/4) theta'A^2 theta
    phi_TR = phi_TA = leading order, at any r
    phi_DE = theta'(exp(-r A) - I + r A)theta/(2 r)
    phi_ST = (r/16)|(2 A - r A^2) theta|^2
    phi_BE = theta'(-log(I - r A)/r - A)theta/2, the modified loss whose flow goes through every step, r A < 1

A general linear field U = M theta, M not symmetric, has no potentials but phi_ST; its mismatches are those of M.
Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), G34-G36.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

__all__ = ["linear_mismatches", "quadratic_potentials"]


def quadratic_potentials(matrix: np.ndarray, theta: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    """de, tr, ta, st, leading and be (NaN where r A reaches 1) of symmetric A (m, m) at theta (R, m): each (R,)."""
    values, vectors = np.linalg.eigh(np.asarray(matrix, float))
    squares, scaled = (theta @ vectors) ** 2, rate * values
    plain = squares @ (0.25 * rate * values**2)
    below = np.where(scaled < 1.0, scaled, np.nan)
    return {
        "de": squares @ ((np.expm1(-scaled) + scaled) / (2.0 * rate)),
        "tr": plain,
        "ta": plain,
        "st": squares @ (rate / 16.0 * (2.0 * values - rate * values**2) ** 2),
        "leading": plain,
        "be": squares @ ((-np.log1p(-below) - scaled) / (2.0 * rate)),
    }


def linear_mismatches(matrix: np.ndarray, theta: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    """Mismatches de, tr, ta and their leading order r M^2 theta/2 of U = M theta, M (m, m) any matrix: each (R, m)."""
    matrix = np.asarray(matrix, float)
    one = np.eye(len(matrix))
    square = 0.5 * rate * matrix @ matrix
    flow = (linalg.expm(-rate * matrix) - one + rate * matrix) / rate
    return {name: theta @ m.T for name, m in {"de": flow, "tr": square, "ta": square, "leading": square}.items()}
