"""The section [x] of a case: how the samples move."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from thermosim.case.numbers import schedule_faults
from thermosim.case.other_run import frame_faults
from thermosim.case.section import Each, Schedule, Section, StartOfX
from thermosim.case.start import Start, in_equilibrium, start_faults
from thermosim.case.theta import ThetaSection
from thermosim.model import Model
from thermosim.moves import THETA_MOVES, X_MOVES, possible_moves
from thermosim.schedules import is_schedule

if TYPE_CHECKING:
    from thermosim.case.settings import Settings

    Dynamics = str
else:
    Dynamics = Literal[tuple(X_MOVES)]

__all__ = ["XSection", "faults"]


class XSection(Section):
    """How the samples move."""

    dynamics: Dynamics = Field(description="the move of x")
    time_step: Schedule = Field(None, description="time step h of one Langevin move, a number or a schedule")
    tau: int = Field(1, ge=1, le=10**9, description="moves of x per step")
    temperature: Schedule = Field(1.0, description="temperature, a number, a schedule, or one number per component")
    mobility: Each = Field(
        1.0,
        description="mobility mu, x' = x + h mu F + sqrt(2 h mu T) xi: a number, or one number per component",
    )
    samples: int = Field(1, ge=1, le=10**6, description="independent chains per replica")
    initial: StartOfX = Field(
        "equilibrium",
        description="x at step 0: equilibrium, zero, normal, random or data; a point, a number or one per component; "
        "or a table { from, warm_up, mean, deviation, step, survivors }",
    )
    restart: bool = Field(False, description="whether chains start anew from data rows at every step")

    @property
    def start(self) -> Start:
        """What `initial` says."""
        return Start.of(self.initial)

    @property
    def starts_in_equilibrium(self) -> bool:
        """Whether x_0 is drawn from exp(-phi/T) itself; of several baths or a drive, the steady state."""
        return in_equilibrium(self)


def faults(model: Model, settings: Settings, folder: Path) -> list[str]:
    """What is wrong with the section, or with its absence. `folder` is where the files of the case are looked for."""
    x, theta = settings.x, settings.theta
    if x is None:
        if not model.has_samples or (model.learns and theta.gradient != "contrast" and model.normalised):
            return []
        return [f"x: missing; model {model.name!r} has samples x, give them a dynamics in [x]."]
    if not model.has_samples:
        return [f"x: model {model.name!r} has no samples x, only parameters theta; remove [x]."]
    found = _move_faults(model, x, theta) + _hyper_faults(model, x, settings)
    found += start_faults(model, settings, x, bool(found))
    return found + (frame_faults("x", x.start.other, model, settings, folder) if not found and x.start.other else [])


def _hyper_faults(model: Model, x: XSection, settings: Settings) -> list[str]:
    """Whether time step and temperature are what the move takes."""
    move, steps, temperature = X_MOVES[x.dynamics], settings.run.steps, x.temperature
    found = []
    if "time_step" not in move.hyper:
        if x.time_step is not None:
            found.append(f"x.time_step = {x.time_step!r}: has no meaning for {move.name!r}; remove it.")
        if temperature != 1.0:
            found.append(
                f"x.temperature = {temperature!r}: {move.name!r} samples exp(-phi), at temperature 1; remove it."
            )
    elif x.time_step is None:
        found.append(f"x.time_step: missing; {move.name!r} needs a number or a schedule.")
    else:
        found += schedule_faults("x.time_step", x.time_step, steps, "time step of x", exclusive=True)
    shape = (model.components(settings.model.constants),) if isinstance(temperature, list) else ()
    found += schedule_faults("x.temperature", temperature, steps, "temperature of x", exclusive=True, shape=shape)
    if "temperature" in move.hyper and not move.temperatures and isinstance(temperature, list):
        remedy = "give one number, or use 'ula'."
        found.append(f"x.temperature: {move.name!r} obeys detailed balance at one temperature; {remedy}")
    found += _mobility_faults(model, x, settings)
    if move.steady and (is_schedule(x.time_step) or is_schedule(temperature)):
        found.append(f"x.time_step, x.temperature: {move.name!r} needs constants; use 'ula' with schedules.")
    return found


def _mobility_faults(model: Model, x: XSection, settings: Settings) -> list[str]:
    """Whether the move has a mobility, and one for each component."""
    move, mobility = X_MOVES[x.dynamics], x.mobility
    if mobility == 1.0 and not isinstance(mobility, bool):
        return []
    if "mobility" not in move.keys:
        return [f"x.mobility = {mobility!r}: has no meaning for {move.name!r}; remove it."]
    if is_schedule(mobility):
        return [f"x.mobility = {mobility!r}: is a constant; schedule x.time_step, which it multiplies."]
    shape = (model.components(settings.model.constants),) if isinstance(mobility, list) else ()
    found = schedule_faults("x.mobility", mobility, settings.run.steps, "mobility of x", exclusive=True, shape=shape)
    if found or not isinstance(mobility, list) or len(set(mobility)) == 1:
        return found
    if not move.mobilities:
        able = " or ".join(repr(other.name) for other in X_MOVES.values() if other.mobilities)
        found.append(f"x.mobility: {move.name!r} moves all components alike; give one number, or use {able}.")
    return found


def _move_faults(model: Model, x: XSection, theta: ThetaSection) -> list[str]:
    """Whether the model can make this move."""
    move, name = X_MOVES[x.dynamics], f"model {model.name!r}"
    if lack := move.lacks(model):
        others = " or ".join(map(repr, possible_moves(model)))
        return [f"x.dynamics = {move.name!r}: {name} {lack}; use {others}."]
    if move.steady and THETA_MOVES[theta.dynamics].learns:
        return [
            f"x.dynamics = {move.name!r}: needs one theta for all replicas; use 'mala' or 'ula' while theta learns."
        ]
    if move.temperatures and isinstance(x.temperature, list) and model.energy is None:
        return [f"x.temperature: {name} moves at one temperature; give one number."]
    return []
