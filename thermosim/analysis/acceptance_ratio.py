"""Works of a protocol and of its reverse, with temperature 1: free-energy difference, and the line of Crooks.

    sum_F f(M + w - C) = sum_R f(-M + w + C),   f(x) = 1/(1 + e^x),   M = ln(n_F/n_R)            acceptance ratio
    ln P_F(w)/P_R(-w) = slope (w - crossing),   both from the odds that a work w, or -w, is of the forward run

The interval of C holds every value at which the two sums differ by no more than chance: f lies between 0 and 1, so that
rare works cannot spoil it. `shared` is the number of works that both runs could have made, sum f (1 - f) over all.

Sources: C. H. Bennett, J. Comput. Phys. 22, 245 (1976), Eq. 12; M. R. Shirts, J. Chem. Theory Comput. 9, 909 (2013),
for the line by maximum likelihood; E. C. Fieller, J. R. Stat. Soc. B 16, 175 (1954), for the interval of its zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from thermosim.analysis.estimates import LEVEL

__all__ = ["Estimated", "Line", "Ratio", "acceptance_ratio", "crooks_line"]

_ITERATIONS = 100


class Estimated(NamedTuple):
    """A value, its standard error, and its 95 % interval."""

    value: float
    error: float
    low: float
    high: float


NOTHING = Estimated(np.nan, np.nan, np.nan, np.nan)


class Ratio(NamedTuple):
    """dF by the acceptance ratio."""

    free_energy: Estimated
    shared: float


class Line(NamedTuple):
    """Crooks' line, NaN where works do not define one."""

    slope: Estimated
    crossing: Estimated


def acceptance_ratio(forward: np.ndarray, backward: np.ndarray) -> Ratio:
    """dF from works (n,) of a protocol and of its reverse; NaN where some are not finite or an ensemble has but one."""
    if min(len(forward), len(backward)) < 2 or not (np.isfinite(forward).all() and np.isfinite(backward).all()):
        return Ratio(NOTHING, np.nan)
    offset = np.log(len(forward) / len(backward))

    def accepted(c: float) -> tuple[np.ndarray, np.ndarray]:
        return special.expit(c - offset - forward), special.expit(offset - backward - c)

    def excess(c: float, chances: float = 0.0) -> float:
        first, second = accepted(c)
        noise = np.sqrt(len(first) * first.var(ddof=1) + len(second) * second.var(ddof=1)) if chances else 0.0
        return float(first.sum() - second.sum() - chances * noise)

    reach = abs(offset) + 40.0
    low, high = min(forward.min(), -backward.max()) - reach, max(forward.max(), -backward.min()) + reach
    value = float(optimize.brentq(excess, low, high, xtol=1e-12))
    first, second = accepted(value)
    shared = float((first * (1.0 - first)).sum() + (second * (1.0 - second)).sum())
    spread = np.sqrt(len(first) * first.var(ddof=1) + len(second) * second.var(ddof=1))
    chances = stats.t.ppf(0.5 * (1.0 + LEVEL), min(len(first), len(second)) - 1)
    ends = (_zero(lambda c: excess(c, -chances), value, -1.0), _zero(lambda c: excess(c, chances), value, 1.0))
    return Ratio(Estimated(value, float(spread / max(shared, np.finfo(float).tiny)), *ends), shared)


def crooks_line(forward: np.ndarray, backward: np.ndarray) -> Line:
    """Slope and zero of ln P_F(w)/P_R(-w) by logistic regression of the direction on the work.

    Works that are all alike, or those of one run all below those of the other, define none.
    """
    w = np.concatenate([forward, -backward])
    if not np.isfinite(w).all() or not _overlap(forward, -backward):
        return Line(NOTHING, NOTHING)
    scale = w.std()
    fit = _logistic((w - w.mean()) / scale, len(forward))
    if fit is None:
        return Line(NOTHING, NOTHING)
    (height, slope), covariance = fit
    covariance[0, 0] -= 1.0 / len(forward) + 1.0 / len(backward)  # the numbers of works are fixed, not drawn
    chances = stats.t.ppf(0.5 * (1.0 + LEVEL), len(w) - 2)
    error = np.sqrt(covariance[1, 1])
    line = Estimated(slope / scale, error / scale, (slope - chances * error) / scale, (slope + chances * error) / scale)
    gradient = np.array([-1.0 / slope, height / slope**2])
    error = np.sqrt(max(gradient @ covariance @ gradient, 0.0))
    ends = _fieller(height, slope, covariance, chances)
    zero = [w.mean() + scale * z for z in (-height / slope, *ends)]
    return Line(line, Estimated(zero[0], scale * error, zero[1], zero[2]))


def _zero(function: Callable[[float], float], start: float, direction: float) -> float:
    """Where an increasing function of C changes sign, from start on; infinite where it does not."""
    if function(start) * direction >= 0.0:
        return start
    step = 1e-3
    while step < 1e4:
        if function(start + direction * step) * direction >= 0.0:
            return float(optimize.brentq(function, start, start + direction * step, xtol=1e-10))
        step *= 2.0
    return direction * np.inf


def _overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether neither run's works lie all on one side of the other's."""
    return bool(first.min() < second.max() and second.min() < first.max())


def _logistic(w: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Height at w = 0 and slope of ln P_F/P_R, and their covariance; None where the likelihood has no maximum."""
    is_forward = np.arange(len(w)) < count
    offset = np.log(count / (len(w) - count))
    design = np.stack([np.ones_like(w), w])
    beta = np.zeros(2)

    def loss(b: np.ndarray) -> float:
        score = offset + b @ design
        return float(np.logaddexp(0.0, np.where(is_forward, -score, score)).sum())

    for _ in range(_ITERATIONS):
        p = special.expit(offset + beta @ design)
        information = (design * (p * (1.0 - p))) @ design.T
        if not np.linalg.det(information) > 1e-12 * len(w):
            return None
        change, share = np.linalg.solve(information, design @ (is_forward - p)), 1.0
        if np.abs(change).max() < 1e-8 * (1.0 + np.abs(beta).max()):
            return beta + change, np.linalg.inv(information)
        while loss(beta + share * change) > loss(beta) and share > 1e-6:
            share /= 2.0
        beta = beta + share * change
    return None


def _fieller(height: float, slope: float, covariance: np.ndarray, chances: float) -> tuple[float, float]:
    """Ends of the interval of -height/slope; infinite where the slope may be zero."""
    a = slope**2 - chances**2 * covariance[1, 1]
    b = height * slope - chances**2 * covariance[0, 1]
    c = height**2 - chances**2 * covariance[0, 0]
    if a <= 0.0 or b**2 < a * c:
        return -np.inf, np.inf
    root = np.sqrt(b**2 - a * c)
    return (-b - root) / a, (-b + root) / a
