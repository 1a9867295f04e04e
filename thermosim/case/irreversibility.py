"""The section [irreversibility] of a case: how the irreversibility of its steps is measured.

It changes nothing in what runs: `check` and `plot` read it (`analysis.irreversibility`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from thermosim.case.section import Section
from thermosim.case.theta import move_of
from thermosim.model import Model

if TYPE_CHECKING:
    from thermosim.case.settings import Settings

__all__ = ["IrreversibilitySection", "faults"]


class IrreversibilitySection(Section):
    """How the irreversibility of steps is measured."""

    scalars: bool = Field(
        True, description="potentials phi_DE, phi_TR, phi_TA too, which need a symmetric Jacobian; false: phi_ST only"
    )
    sigma: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = Field(
        None, description="standard deviation of the virtual noise of a step, by which its entropy is regularised"
    )
    replicas: int = Field(16, ge=1, description="replicas whose potentials are computed, at most")


def faults(model: Model, settings: Settings, section: IrreversibilitySection) -> list[str]:
    """What is wrong with [irreversibility] in this case."""
    theta, move = settings.theta, move_of(model, settings.theta)
    if model.no_potential:
        return [f"irreversibility: {model.no_potential}; remove the section."]
    found = []
    if not move.learns or not (model.is_loss or theta.gradient == "likelihood"):
        found.append(
            "irreversibility: it is measured of the gradient of a loss of data, which theta does not descend here; "
            'take a model of losses, or theta.gradient = "likelihood".'
        )
    elif section.scalars and (not move.descent or theta.momentum):
        found.append(
            f"irreversibility.scalars = true: a step of {theta.dynamics!r} depends on its memory, and the Jacobian of "
            "theta and memory together is not symmetric: there are no scalars phi_DE, phi_TR, phi_TA; set it to false."
        )
    return found
