"""What a paper says, as numbers: ours with an error beside what is claimed and what was published, and what follows.

A number is compared with a claim by z and Student's law, at a stated false-alarm rate of the whole table (`judged`).
What a claim leaves open of itself, such as a term of the next order of the learning rate, is `allowed`, with the
reason: a deviation that is no larger is told as that, and not as agreement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from scipy import special

__all__ = ["Claim", "Number", "Outcome", "Paper", "Published", "Run", "Sense", "judged", "z_threshold"]

FALSE_ALARM_RATE = 1e-2  # of all numbers of one paper together, two-sided
_ROUNDING = 1e-9  # relative difference that is none, of numbers without an error
Sense = Literal["=", ">", "<"]
Ensembles = Mapping[str, xr.Dataset]


class Outcome(Enum):
    """What the numbers of a claim say, from best to worst."""

    HOLDS = "holds"
    WITHIN = "holds within"
    OPEN = "not decided"
    FAILS = "does not hold"


class Published(NamedTuple):
    """A number that authors printed, or that the outputs saved with their code show."""

    value: float
    spread: float  # as they give it; 0 where they give none
    where: str  # and what the spread is
    words: str = ""  # how it is told, where it is another number than ours, as in "largest error 2.5 %"


@dataclass(frozen=True)
class Number:
    """One number of a claim: `measured` +- `error` (one standard deviation) beside `claimed`.

    `error` is 0 of what is computed without chance. With `sense` ">" the claim is that it is larger than `claimed`. It
    decides where a deviation of `enough` times the claimed value, or of `enough` itself where 0 is claimed, would show.
    """

    quantity: str
    measured: float
    error: float
    claimed: float
    degrees_of_freedom: float = np.inf
    allowed: float = 0.0
    because: str = ""  # what allows it, as in "learning_rate/2"
    sense: Sense = "="
    published: Published | None = None
    enough: float = 0.5

    @property
    def z(self) -> float:
        """Deviation from the claim in standard errors, nothing allowed; infinite of a number without error."""
        deviation = self.measured - self.claimed
        if self.error > 0.0 or not np.isfinite(deviation):
            return float(deviation / self.error) if self.error > 0.0 else float("nan")
        return (
            0.0 if abs(deviation) <= _ROUNDING * max(abs(self.claimed), 1.0) else float(np.copysign(np.inf, deviation))
        )

    def outcome(self, rate: float) -> Outcome:
        """What it says, at a false-alarm rate of its own (two-sided)."""
        if not np.isfinite(self.measured) or not np.isfinite(self.error):
            return Outcome.OPEN
        limit = z_threshold(rate, self.degrees_of_freedom)
        if self.sense != "=":
            ahead = self.z if self.sense == ">" else -self.z
            return Outcome.HOLDS if ahead > limit else Outcome.FAILS if ahead < -limit else Outcome.OPEN
        if abs(self.z) <= limit:
            seen = limit * self.error <= self.enough * (abs(self.claimed) or 1.0)
            return Outcome.HOLDS if seen else Outcome.OPEN
        left = max(abs(self.measured - self.claimed) - self.allowed, 0.0)
        return Outcome.WITHIN if left <= limit * self.error else Outcome.FAILS


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, and how its numbers come from ensembles.

    `corrected` gives the numbers of what is right instead where a statement does not hold, and `why` says so; both are
    shown only then.
    """

    says: str
    where: str  # in the paper
    measure: Callable[[Ensembles], Sequence[Number]]
    runs: tuple[str, ...] = ()  # names of ensembles it takes
    why: str = ""
    corrected: Callable[[Ensembles], Sequence[Number]] | None = None


@dataclass(frozen=True)
class Run:
    """A case, and what is changed of it to fit a minute; nothing is with --full, or what `full` says."""

    case: str
    changes: Mapping[str, object] = field(default_factory=dict)
    full: Mapping[str, object] = field(default_factory=dict)
    needs: str = ""  # an extra of the package


@dataclass(frozen=True)
class Paper:
    """A paper, its ensembles and its claims."""

    arxiv: str
    name: str  # short, for the command line
    title: str
    authors: str
    runs: Mapping[str, Run]
    claims: tuple[Claim, ...]
    seconds: float  # of `thermosim reproduce` on two cores, from the second time on
    full_seconds: float  # estimated from the number of steps
    note: str = ""  # what of the paper is not tried, and why


def z_threshold(rate: float, degrees_of_freedom: float) -> float:
    """|z| that Student's law exceeds with that probability."""
    return float(
        -special.stdtrit(degrees_of_freedom, rate / 2.0)
        if np.isfinite(degrees_of_freedom)
        else -special.ndtri(rate / 2.0)
    )


def judged(tables: Sequence[Sequence[Number]], rate: float = FALSE_ALARM_RATE) -> tuple[float, list[Outcome]]:
    """Rate of a single number so that all together keep `rate` (Sidak), and the outcome of each table: its worst."""
    tests = max(1, sum(number.error > 0.0 for numbers in tables for number in numbers))
    single = float(-np.expm1(np.log1p(-rate) / tests))
    order = list(Outcome)
    outcomes = [
        max((number.outcome(single) for number in numbers), key=order.index, default=Outcome.OPEN) for numbers in tables
    ]
    return single, outcomes
