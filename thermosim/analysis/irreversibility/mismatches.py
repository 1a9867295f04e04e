"""Three ways in which a step of learning rate r is not the time-one flow of its field, as vectors over r.

    discretisation error   g_DE = [y(1) - theta']/r,         dy/dt = -r U(y), y(0) = theta                (G3, G4)
    time renormalisation   g_TR = 2 [T(T(theta)) - theta']/r,    T a step of r/2                          (G10-G12)
    time reversal          g_TA = [theta - theta~]/(2 r),    theta~ = theta' + r U(theta')                (B8, G17)

theta' = theta - r U(theta). Each is r J U/2 to leading order, J the Jacobian of U: where J is symmetric, the gradient
of r |U|^2/4. Differences of theta lose digits as r goes to 0, twice as many as those of fields:

    g_DE = int_0^1 [U(theta) - U(y)] ds,   g_TR = U(theta) - U(theta - r U/2),   g_TA = [U(theta) - U(theta')]/2

Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), appendices B and G.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from thermosim.analysis.irreversibility.fields import Field, directional

__all__ = ["MEASURES", "Measure", "discretisation", "leading", "renormalisation", "reversal"]

_MIDPOINTS = (2, 4, 6, 8, 12, 16, 24, 32)  # steps of the rules
_PARTS, _RESOLVED = (1, 4, 16, 32), 2.0  # of the flow, and r times the curvature that one part bears
_ROUNDING = 1e-15  # of the field, to which rules need not agree
_EXPLODED = 10.0  # times the field at theta
_STILL = 1e-9  # of theta, a way that tells no curvature for rounding
Measure = Callable[[Field, np.ndarray, float], np.ndarray]
Slope = Callable[[float, np.ndarray], tuple[np.ndarray, np.ndarray]]


def discretisation(field: Field, theta: np.ndarray, rate: float, accuracy: float = 1e-12) -> np.ndarray:
    """g_DE at theta (R, m): (R, m). The flow over one step, in as many parts as the curvature on the way asks for.

    Smooth fields are right to some `accuracy` of it, to which three rules agree. NaN where the flow runs away, or r
    times the curvature is above 64.
    """
    here = field(theta)

    def slope(time: float, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # w(1) is the mismatch
        place = theta - rate * (here * time - w)
        return here - field(place), place

    before, rounding = np.full(len(theta), np.inf), _ROUNDING * np.abs(here).max(1)
    with np.errstate(over="ignore", invalid="ignore"):
        for parts in _PARTS:
            w, curvature = np.zeros_like(theta), np.zeros(len(theta))
            for part in range(parts):
                w, met = _extrapolated(slope, w, part / parts, 1.0 / parts, rounding, accuracy)
                curvature = np.maximum(curvature, met)
            resolved = rate * curvature <= _RESOLVED * parts
            if np.all(resolved | (curvature > 1.5 * before)):  # where U jumps to and fro a kink nothing is resolved
                break
            before = curvature
        bounded = np.abs(w).max(1) <= _EXPLODED * np.abs(here).max(1)  # as beside a kink; what is not resolved explodes
    return np.where((resolved | bounded)[:, None], w, np.nan)


def _extrapolated(
    slope: Slope, w: np.ndarray, start: float, length: float, enough: np.ndarray, accuracy: float
) -> tuple[np.ndarray, np.ndarray]:
    """w after a time, extrapolated from modified midpoint rules of 2, 4, ... 32 steps, and the curvature met, (R,).

    W. Gragg, SIAM J. Numer. Anal. 2, 384 (1965); R. Bulirsch, J. Stoer, Numer. Math. 8, 1 (1966). Every replica keeps
    the order at which three neighbours agree best, for two may by chance: neither rounding nor a ReLU's kink is
    extrapolated.
    """
    best, least, last = np.full_like(w, np.nan), np.full(len(w), np.inf), np.full(len(w), np.inf)
    row, curvature = [np.zeros_like(w)], np.zeros(len(w))
    for order, count in enumerate(_MIDPOINTS):
        rule, curvature = _midpoint(slope, w, start, length, count)
        new = [rule]
        for column in range(min(order, len(row))):
            ratio = (count / _MIDPOINTS[order - 1 - column]) ** 2
            new.append(new[column] + (new[column] - row[column]) / (ratio - 1.0))
        gap = np.abs(new[-1] - row[-1]).max(1)
        surely = np.maximum(gap, last)
        better = surely < least
        best, least = np.where(better[:, None], new[-1], best), np.where(better, surely, least)
        last, row = gap, new
        if np.all(least <= enough + accuracy * np.abs(best).max(1)):
            break
    return best, curvature


def _midpoint(
    slope: Slope, start: np.ndarray, begin: float, length: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """w after so many steps, with an error in even powers of their length; and sum |dU| over sum |dy| of the steps.

    Sums, for the jump of U at a kink of a ReLU is no curvature that finer steps resolve.
    """
    step, turns, moves = length / count, np.zeros(len(start)), np.zeros(len(start))
    (here, place), before = slope(begin, start), start
    now = start + step * here
    for k in range(1, count + 1):
        new, there = slope(begin + k * step, now)
        moves, turns = moves + np.abs(there - place).max(1), turns + np.abs(new - here).max(1)
        here, place = new, there
        if k < count:
            before, now = now, before + 2.0 * step * here
    told = moves > _STILL * np.abs(place).max(1)
    curvature = np.divide(turns, moves, out=np.zeros_like(moves), where=told)
    return 0.5 * (now + before + step * here), np.where(np.isfinite(moves + turns), curvature, np.inf)


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


MEASURES: Mapping[str, Measure] = {
    "de": discretisation,
    "tr": renormalisation,
    "ta": reversal,
}
