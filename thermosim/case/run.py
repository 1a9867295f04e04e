"""The section [run] of a case."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from thermosim.case.section import Section

__all__ = ["RunSection"]


class RunSection(Section):
    """How long."""

    steps: int = Field(ge=1, lt=2**48, description="steps of theta")
    direction: Literal["forward", "reversed", "there-and-back"] = Field(
        "forward",
        description="reversed: protocol and moves in reverse order; there-and-back: SGD, then half way gradient ascent "
        "through the same minibatches in reverse order",
    )
