"""Numbers and verdicts of claims as text: what a terminal prints and a notebook shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from thermosim.papers.claims import FALSE_ALARM_RATE, Number, Outcome, z_threshold

if TYPE_CHECKING:
    from thermosim.papers.reproduction import Reproduction, Result

__all__ = ["Line", "known_to", "lines_of", "summary_of", "verdict_of"]

_HOW = (
    "Errors (in brackets, of the last digits) are standard errors over replicas. All numbers of a paper together call "
    "a right claim wrong with a probability of {rate:g} at most."
)
_SINGULAR = {
    Outcome.HOLDS: "holds",
    Outcome.WITHIN: "holds within what it leaves open",
    Outcome.OPEN: "is not decided",
    Outcome.FAILS: "does not hold",
}
_PLURAL = _SINGULAR | {
    Outcome.HOLDS: "hold",
    Outcome.WITHIN: "hold within what they leave open",
    Outcome.OPEN: "are not decided",
    Outcome.FAILS: "do not hold",
}


@dataclass(frozen=True)
class Line:
    """One number."""

    quantity: str
    ours: str  # with its error in the last digits
    claimed: str
    z: str
    published: str
    outcome: Outcome
    corrected: bool  # whether it is of what is right instead


def lines_of(result: Result, rate: float) -> list[Line]:
    """The lines of a claim: its numbers, then those of what is right instead."""
    return [_line(one, rate, False) for one in result.numbers] + [_line(one, rate, True) for one in result.corrected]


def _line(number: Number, rate: float, corrected: bool) -> Line:
    sense = "" if number.sense == "=" else f"{number.sense} "
    there = number.published
    published = "" if there is None else there.words or known_to(there.value, there.spread)
    if there is not None and there.spread:  # z of ours against theirs, their spread taken for an error
        published += f", z {(number.measured - there.value) / np.hypot(number.error, there.spread):+.1f}"
    return Line(
        quantity=number.quantity,
        ours=known_to(number.measured, number.error),
        claimed=sense + f"{number.claimed:.6g}",
        z=_z(number),
        published=published,
        outcome=number.outcome(rate),
        corrected=corrected,
    )


def _z(number: Number) -> str:
    if number.z == 0.0 and number.error == 0.0:
        return "exact"
    if not np.isfinite(number.z):
        return ""
    return f"{number.z:+.1f}" if abs(number.z) < 1000.0 else f"{number.z:+.0e}"


def known_to(value: float, error: float) -> str:
    """A number with its error in units of its last digit, as in 1.0056(4); plain where there is none."""
    if not np.isfinite(value):
        return "not finite"
    if not 0.0 < error < np.inf:
        return f"{value:.6g}"
    size = max(abs(value), error)
    if not 1e-5 <= size < 1e5:
        power = int(np.floor(np.log10(size)))
        return f"{known_to(value / 10.0**power, error / 10.0**power)}e{power:+d}"
    decimals = 1 - int(np.floor(np.log10(error)))
    digits = round(error * 10.0**decimals)
    if digits >= 100:  # 9.96 rounds up to another digit
        decimals, digits = decimals - 1, round(digits / 10)
    if decimals > 12:
        return f"{value:.12g}"
    return f"{value:.{decimals}f}({digits})" if decimals > 0 else f"{value:.0f}({digits * 10**-decimals})"


def verdict_of(result: Result, rate: float) -> str:
    """The verdict in a sentence, after the word itself."""
    if result.outcome is None:
        return f"not run: {result.why_not}"
    numbers = result.numbers
    if result.outcome is Outcome.FAILS:
        return result.claim.why
    if result.outcome is Outcome.OPEN:
        return "the error is too large to tell, --full makes it smaller"
    if result.outcome is Outcome.WITHIN:
        off = [one for one in numbers if one.outcome(rate) is Outcome.WITHIN]
        reasons = ", ".join(dict.fromkeys(one.because for one in off))
        furthest = max(off, key=_share)
        return f"{_size(_share(furthest), furthest)}; the rest is {reasons}"
    chance = [one for one in numbers if one.sense == "=" and one.error > 0.0]
    if chance:
        told = [one for one in chance if one.claimed] or chance
        return f"a deviation of {_size(max(_resolution(one, rate) for one in told), told[0])} would show"
    return "to rounding" if all(one.sense == "=" for one in numbers) else ""


def summary_of(found: Reproduction) -> list[str]:
    """Sentences at the end: how many claims there are of each kind, and how they were judged."""
    counts = [(outcome, sum(one.outcome is outcome for one in found.results)) for outcome in Outcome]
    told = [f"{count} {_PLURAL[outcome] if count != 1 else _SINGULAR[outcome]}" for outcome, count in counts if count]
    skipped = sum(one.outcome is None for one in found.results)
    told += [f"{skipped} not run"] if skipped else []
    return [
        f"Of {len(found.results)} claims {', '.join(told)}.",
        _HOW.format(rate=FALSE_ALARM_RATE),
        *([found.paper.note] if found.paper.note else []),
    ]


def _share(number: Number) -> float:
    """How far it is from the claim, relative to it, or as it is where 0 is claimed."""
    return abs(number.measured - number.claimed) / (abs(number.claimed) or 1.0)


def _size(share: float, number: Number) -> str:
    """A share as per cent of the claimed value, or as it is where 0 is claimed."""
    return f"{100.0 * share:.2g} %" if number.claimed else f"{share:.2g}"


def _resolution(number: Number, rate: float) -> float:
    """Relative deviation that would have been seen."""
    return z_threshold(rate, number.degrees_of_freedom) * number.error / (abs(number.claimed) or 1.0)
