"""Three ways in which a step of learning rate r is not the time-one flow of its field, as vectors over r.

    discretisation error   g_DE = [y(1) - theta']/r,         dy/dt = -r U(y), y(0) = theta                (G3, G4)
    time renormalisation   g_TR = 2 [T(T(theta)) - theta']/r,    T a step of r/2                          (G10-G12)
    time reversal          g_TA = [theta - theta~]/(2 r),    theta~ = theta' + r U(theta')                (B8, G17)

theta' = theta - r U(theta). Each is r J U/2 to leading order, J the Jacobian of U: where J is symmetric, the gradient
of r |U|^2/4. Differences of theta cancel as r goes to 0; the same numbers, as differences of fields, do not:

    g_DE = int_0^1 [U(theta) - U(y)] ds,   g_TR = U(theta) - U(theta - r U/2),   g_TA = [U(theta) - U(theta')]/2

Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), appendices B and G.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from thermosim.analysis.irreversibility.fields import Field, directional

__all__ = ["MEASURES", "discretisation", "leading", "renormalisation", "reversal"]

_MIDPOINTS = (2, 4, 6, 8, 12, 16, 24, 32)  # steps of the rules
_AGREED = 1e-12  # of the mismatch, where it is enough
Slope = Callable[[float, np.ndarray], np.ndarray]


def discretisation(field: Field, theta: np.ndarray, rate: float) -> np.ndarray:
    """g_DE at theta (R, m): (R, m). The flow is extrapolated from modified midpoint rules of 2, 4, ... 32 steps.

    W. Gragg, SIAM J. Numer. Anal. 2, 384 (1965); R. Bulirsch, J. Stoer, Numer. Math. 8, 1 (1966). Every replica keeps
    the order at which two neighbouring ones agree best, so that neither rounding nor a ReLU's kink is extrapolated:
    smooth fields agree to some 1e-12. NaN where the flow runs away.
    """
    here = field(theta)

    def difference(time: float, w: np.ndarray) -> np.ndarray:  # w(1) is the mismatch, y = theta - r (U t - w)
        return here - field(theta - rate * (here * time - w))

    best, least, row = np.full_like(theta, np.nan), np.full(len(theta), np.inf), [np.zeros_like(theta)]
    with np.errstate(over="ignore", invalid="ignore"):
        for order, count in enumerate(_MIDPOINTS):
            new = [_midpoint(difference, theta, count)]
            for column in range(min(order, len(row))):
                ratio = (count / _MIDPOINTS[order - 1 - column]) ** 2
                new.append(new[column] + (new[column] - row[column]) / (ratio - 1.0))
            gap = np.abs(new[-1] - row[-1]).max(1)
            better = gap < least
            best, least, row = np.where(better[:, None], new[-1], best), np.where(better, gap, least), new
            if order and np.all(least <= _AGREED * np.abs(best).max(1)):
                break
    return best


def _midpoint(slope: Slope, theta: np.ndarray, count: int) -> np.ndarray:
    """w(1) of dw/dt = slope(t, w) from 0, by so many steps, with an error in even powers of their length."""
    step = 1.0 / count
    before = np.zeros_like(theta)
    now = before + step * slope(0.0, before)
    for k in range(1, count):
        before, now = now, before + 2.0 * step * slope(k * step, now)
    return np.asarray(0.5 * (now + before + step * slope(1.0, now)))


def renormalisation(field: Field, theta: np.ndarray, rate: float) -> np.ndarray:
    """g_TR at theta (R, m): (R, m)."""
    here = field(theta)
    return np.asarray(here - field(theta - 0.5 * rate * here))


def reversal(field: Field, theta: np.ndarray, rate: float) -> np.ndarray:
    """g_TA at theta (R, m): (R, m)."""
    here = field(theta)
    return np.asarray(0.5 * (here - field(theta - rate * here)))


def leading(field: Field, theta: np.ndarray, rate: float) -> np.ndarray:
    """What all three are to leading order, r J U/2: (R, m)."""
    return 0.5 * rate * directional(field, theta, field(theta))


MEASURES: Mapping[str, Callable[[Field, np.ndarray, float], np.ndarray]] = {
    "de": discretisation,
    "tr": renormalisation,
    "ta": reversal,
}
