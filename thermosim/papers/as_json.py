"""A reproduction as JSON for scripts: strict, what is not finite is a string, as in `thermosim check --json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from thermosim.papers.claims import Number
    from thermosim.papers.reproduction import Reproduction, Result

__all__ = ["reproduction_json"]

SCHEMA_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class NumberDocument(_Part):
    """One number of a claim."""

    quantity: str
    measured: float
    standard_error: float = Field(description="over replicas; 0 of what is computed without chance")
    degrees_of_freedom: float
    claimed: float
    sense: str = Field(description="= of a value, > or < of a bound")
    allowed: float = Field(description="deviation that the claim leaves open itself, for the reason `because`")
    because: str
    z: float = Field(description="deviation from the claim in standard errors, nothing allowed")
    outcome: str
    published: float | None
    published_spread: float | None
    published_where: str | None


class ClaimDocument(_Part):
    """One claim."""

    says: str
    where: str
    outcome: str | None = Field(
        description="holds, holds within, not decided, does not hold; null where it was not run"
    )
    verdict: str = Field(description="the rest of the sentence")
    numbers: list[NumberDocument]
    corrected: list[NumberDocument] = Field(description="what is right instead, of a claim that does not hold")


class ReproductionDocument(_Part):
    """What `thermosim reproduce PAPER --json` prints."""

    schema_version: int = SCHEMA_VERSION
    arxiv: str
    title: str
    full: bool
    rate: float = Field(description="false-alarm rate of a single number")
    seconds: float
    claims: list[ClaimDocument]


def reproduction_json(found: Reproduction) -> str:
    """All claims and numbers."""
    document = ReproductionDocument(
        arxiv=found.paper.arxiv,
        title=found.paper.title,
        full=found.full,
        rate=found.rate,
        seconds=found.seconds,
        claims=[_claim(result, verdict, found.rate) for result, _, verdict in found.lines],
    )
    return document.model_dump_json(indent=1)


def _claim(result: Result, verdict: str, rate: float) -> ClaimDocument:
    return ClaimDocument(
        says=result.claim.says,
        where=result.claim.where,
        outcome=result.outcome.value if result.outcome else None,
        verdict=verdict,
        numbers=[_number(one, rate) for one in result.numbers],
        corrected=[_number(one, rate) for one in result.corrected],
    )


def _number(number: Number, rate: float) -> NumberDocument:
    there = number.published
    return NumberDocument(
        quantity=number.quantity,
        measured=number.measured,
        standard_error=number.error,
        degrees_of_freedom=number.degrees_of_freedom,
        claimed=number.claimed,
        sense=number.sense,
        allowed=number.allowed,
        because=number.because,
        z=number.z,
        outcome=number.outcome(rate).value,
        published=there.value if there else None,
        published_spread=there.spread if there else None,
        published_where=there.where if there else None,
    )
