"""The section [run] of a case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from thermosim.case.section import Section
from thermosim.case.start import others
from thermosim.case.theta import move_of
from thermosim.model import Model

if TYPE_CHECKING:
    from thermosim.case.settings import Settings

__all__ = ["RunSection", "first_step_faults"]


class RunSection(Section):
    """How long."""

    steps: int = Field(ge=1, lt=2**48, description="steps of theta, counted from 0")
    first_step: int = Field(
        0, ge=0, description="the step of another run that this one goes on from, with the noise of the steps after it"
    )
    direction: Literal["forward", "reversed", "there-and-back"] = Field(
        "forward",
        description="reversed: protocol and moves in reverse order; there-and-back: SGD, then half way gradient ascent "
        "through the same minibatches in reverse order",
    )


def first_step_faults(model: Model, settings: Settings) -> list[str]:
    """Why a run cannot begin at its first step: all that moves must be there, as another run had it at that step."""
    first, run = settings.run.first_step, settings.run
    if not first:
        return []
    key = f"run.first_step = {first}"
    if run.direction != "forward":
        return [f"{key}: a run that is {run.direction} begins at step 0; remove it."]
    if first >= run.steps:
        return [f"{key}: there are no steps after it; run.steps = {run.steps} is the last one, counted from 0."]
    move, found = move_of(model, settings.theta), []
    used = {name for name in move.hyper if getattr(settings.theta, name) != 0.0}
    if move.memory(1, used):
        found.append(
            f"{key}: {settings.theta.dynamics!r} remembers earlier steps, and of these no frame tells; begin at step 0."
        )
    starts, wanted = others(settings), {"theta"} if move.learns else set()
    wanted |= {"x"} if settings.x else set()
    for name in sorted(wanted):
        if name not in starts or starts[name].step != first or (name == "x" and settings.of_x.start.warm_up):
            found.append(
                f"{key}: {name} must be that of another run at this step; give {name}.initial = "
                f'{{ from = "other.h5", step = {first} }}, or remove it.'
            )
    return found
