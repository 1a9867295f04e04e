"""Measured against exact: the one place that turns differences into a verdict with a stated false-alarm rate.

An average of n replicas is judged by z, its deviation in standard errors, and Student's law. Averages of skewed numbers
are not that normal: where the third cumulant is k, a = k/(s^3 sqrt(n)) for the average, z has Student's law only after

    z -> z + a z^2/3 + a^2 z^3/27 + a/6

which is monotone and leaves an error of order 1/n (P. Hall, J. R. Stat. Soc. B 54, 221 (1992), Sec. 2). It was measured
to hold down to p = 1e-6 for |a| < 0.25, which `SKEWEST` asks for: more skewed averages are not to be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

__all__ = ["FALSE_ALARM_RATE", "ROUNDING", "SKEWEST", "Comparison", "Verdict", "judge"]

FALSE_ALARM_RATE = 1e-4  # of one whole check, however many numbers it compares
ROUNDING = 1e-11  # of sums of many terms, relative to the numbers they are made of
SKEWEST = 0.25  # skewness of an average that is still compared


@dataclass(frozen=True)
class Comparison:
    """One quantity at one or many points (cells of a grid): measured, its standard error, and the exact value.

    The arrays share a shape, or broadcast. `degrees_of_freedom` are those of the standard error: the number of
    independent replicas (or groups of them) less one; infinite for an error that theory knows. `reference` names the
    theory and where it holds. `tolerance` is a stated truncation of the reference itself; it is 0 for an exact one.
    `scale` is the size of the numbers that went into the measured value, where it is larger than that value: a
    difference of theirs is known to ROUNDING times `scale`. `skewness` is that of the estimate. Where the law of the
    estimate is known, `score` is its deviation as that of a standard normal variable with the same probability. `units`
    are those of the ledger, "1" for a plain number.
    """

    quantity: str
    measured: np.ndarray
    standard_error: np.ndarray
    exact: np.ndarray
    degrees_of_freedom: float
    reference: str
    tolerance: float | np.ndarray = 0.0
    scale: float | np.ndarray = 0.0
    skewness: float | np.ndarray = 0.0
    score: np.ndarray | None = None
    units: str = "1"

    @property
    def z(self) -> np.ndarray:
        """Deviations in standard errors, after what the reference and rounding leave undecided, and without skew."""
        if self.score is not None:
            return np.asarray(self.score, float)
        measured, exact = np.asarray(self.measured, float), np.asarray(self.exact, float)
        deviation = measured - exact
        size = np.maximum(np.maximum(np.abs(measured), np.abs(exact)), self.scale)
        size = np.where(np.isfinite(size), size, 0.0)
        excess = np.sign(deviation) * np.maximum(np.abs(deviation) - self.tolerance - ROUNDING * size, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(excess == 0.0, 0.0, excess / self.standard_error)
            straight = z + self.skewness * (z**2 / 3.0 + self.skewness * z**3 / 27.0 + 1.0 / 6.0)
        return np.where((z == 0.0) | ~np.isfinite(straight), z, straight)

    @property
    def p_value(self) -> np.ndarray:
        """Two-sided p-values of Student's t; 0 where the measurement is not a number."""
        z = self.z
        p = 2.0 * special.stdtr(self.degrees_of_freedom, -np.abs(z))
        return np.where(np.isfinite(z), p, 0.0)


@dataclass(frozen=True)
class Verdict:
    """What a set of comparisons says together."""

    consistent: bool
    tests: int
    threshold: float  # the smallest p-value that is still accepted (Sidak)
    smallest: float


def judge(comparisons: Sequence[Comparison], rate: float = FALSE_ALARM_RATE) -> Verdict:
    """Accept when no p-value is below 1 - (1 - rate)^(1/tests): a false alarm has probability at most `rate`."""
    p = np.concatenate([np.ravel(c.p_value) for c in comparisons]) if comparisons else np.array([])
    threshold = float(-np.expm1(np.log1p(-rate) / p.size)) if p.size else 0.0
    smallest = float(p.min()) if p.size else 1.0
    return Verdict(smallest >= threshold, int(p.size), threshold, smallest)
