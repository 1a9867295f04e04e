"""The section [ensemble] of a case."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from thermosim.case.section import Section

__all__ = ["EnsembleSection"]


class EnsembleSection(Section):
    """How many replicas, and the seed of all their noise."""

    replicas: int = Field(ge=1, le=10**12, description="replicas of every point of the sweep")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of every random number")
    added: list[Annotated[int, Field(ge=1)]] = Field(
        [],
        description="how many of the replicas were added to the first ones, each time that `thermosim extend` added "
        "some: the addresses of their noise follow those of all before them",
    )
