"""Measured against exact: the one place that turns differences into a verdict with a stated false-alarm rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

__all__ = ["FALSE_ALARM_RATE", "Comparison", "Verdict", "judge"]

FALSE_ALARM_RATE = 1e-4  # of one whole check, however many numbers it compares


@dataclass(frozen=True)
class Comparison:
    """One quantity at one or many points (cells of a grid): measured, its standard error, and the exact value.

    The arrays share a shape, or broadcast. `degrees_of_freedom` are those of the standard error: the number of
    independent replicas (or groups of them) less one. `reference` names the theory and where it holds.
    `tolerance` is a stated truncation of the reference itself; it is 0 for an exact one.
    """

    quantity: str
    measured: np.ndarray
    standard_error: np.ndarray
    exact: np.ndarray
    degrees_of_freedom: int
    reference: str
    tolerance: float | np.ndarray = 0.0

    @property
    def z(self) -> np.ndarray:
        """Deviations in standard errors, after what the reference leaves undecided."""
        deviation = np.asarray(self.measured, float) - self.exact
        excess = np.sign(deviation) * np.maximum(np.abs(deviation) - self.tolerance, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(excess == 0.0, 0.0, excess / self.standard_error)

    @property
    def p_value(self) -> np.ndarray:
        """Two-sided p-values of Student's t; 0 where the measurement is not a number."""
        p = 2.0 * special.stdtr(self.degrees_of_freedom, -np.abs(self.z))
        return np.where(np.isfinite(self.z), p, 0.0)


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
    threshold = -np.expm1(np.log1p(-rate) / p.size) if p.size else 0.0
    smallest = float(p.min()) if p.size else 1.0
    return Verdict(smallest >= threshold, int(p.size), float(threshold), smallest)
