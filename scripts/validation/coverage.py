"""Whether 95 % intervals cover: an estimator applied to many synthetic ensembles whose answer is known.

A scenario is one estimator on one kind of ensemble. Estimates that call themselves unsound (`valid` or `reliable` is
false) are counted apart: what is not flagged must cover in 93 to 97 of 100 ensembles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

LEAST, MOST = 0.93, 0.97


class Estimate(NamedTuple):
    """What an estimator says of one ensemble."""

    value: float
    low: float
    high: float
    sound: bool = True


@dataclass(frozen=True)
class Scenario:
    """One estimator on ensembles of one kind. `draw` makes an ensemble from the generator and estimates from it."""

    estimator: str  # "jarzynski, free energy difference"
    ensemble: str  # "Gaussian work, standard deviation 1.5, 1,000 replicas"
    exact: float
    draw: Callable[[np.random.Generator], Estimate]


@dataclass(frozen=True)
class Coverage:
    """How the intervals of one scenario fared."""

    scenario: Scenario
    repeats: int
    sound: int  # how many were not flagged
    below: int  # of these, intervals that end below the exact value
    above: int  # and that begin above it
    bias: float  # mean of estimate - exact over the sound ones
    spread: float  # their standard deviation

    @property
    def covered(self) -> float:
        """Share of sound intervals that hold the exact value; NaN when every estimate was flagged."""
        return 1.0 - (self.below + self.above) / self.sound if self.sound else np.nan

    def allowed(self, false_alarms: float = 1e-4) -> bool:
        """Whether coverage between LEAST and MOST explains the count; flagged estimates claim nothing."""
        if not self.sound:
            return True
        missed = self.below + self.above
        too_many = stats.binom.sf(missed - 1, self.sound, 1.0 - LEAST)
        too_few = stats.binom.cdf(missed, self.sound, 1.0 - MOST)
        return bool(min(too_many, too_few) > false_alarms)


def coverage(scenario: Scenario, repeats: int, seed: int = 0) -> Coverage:
    """Estimate from `repeats` independent ensembles of a scenario."""
    generators = np.random.default_rng([seed, *scenario.ensemble.encode()]).spawn(repeats)
    return tally(scenario, [scenario.draw(generator) for generator in generators])


def tally(scenario: Scenario, estimates: Sequence[Estimate]) -> Coverage:
    """How the intervals of independent estimates fared."""
    sound = [e for e in estimates if e.sound]
    values = np.array([e.value for e in sound]) - scenario.exact
    below = sum(not e.high >= scenario.exact for e in sound)  # NaN is a miss
    above = sum(e.low > scenario.exact for e in sound)
    bias, spread = (values.mean(), values.std()) if len(sound) else (np.nan, np.nan)
    return Coverage(scenario, len(estimates), len(sound), below, above, float(bias), float(spread))


def table(results: Iterable[Coverage]) -> str:
    """A table in Markdown, a row for each scenario."""
    lines = [
        "| estimator | ensemble | exact | bias | spread | covered | flagged |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        share = f"{r.covered:.3f}" if r.sound else ""
        flagged = 1.0 - r.sound / r.repeats
        moments = f"{r.bias:+.2g} | {r.spread:.2g}" if r.sound else " | "
        what = f"{r.scenario.estimator} | {r.scenario.ensemble} | {r.scenario.exact:.4g}"
        lines.append(f"| {what} | {moments} | {share} | {flagged:.2f} |")
    return "\n".join(lines)
