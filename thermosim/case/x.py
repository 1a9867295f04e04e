"""The section [x] of a case: how the samples move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from thermosim.case.numbers import schedule_faults
from thermosim.case.section import Each, Schedule, Section
from thermosim.case.theta import ThetaSection
from thermosim.model import Model
from thermosim.moves import THETA_MOVES, X_MOVES, possible_moves
from thermosim.schedules import is_schedule, schedule_values

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
    initial: Literal["equilibrium", "zero", "normal", "random", "data"] = Field(
        "equilibrium", description="distribution of x at step 0"
    )
    restart: bool = Field(False, description="whether chains start anew from data rows at every step")


def faults(model: Model, settings: Settings) -> list[str]:
    """What is wrong with the section, or with its absence."""
    x, theta = settings.x, settings.theta
    if x is None:
        if not model.has_samples or (model.learns and theta.gradient != "contrast" and model.normalised):
            return []
        return [f"x: missing; model {model.name!r} has samples x, give them a dynamics in [x]."]
    if not model.has_samples:
        return [f"x: model {model.name!r} has no samples x, only parameters theta; remove [x]."]
    found = _move_faults(model, x, theta) + _hyper_faults(model, x, settings)
    return found + _start_faults(model, settings, x, bool(found))


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
    several = isinstance(x.temperature, list) and len(set(x.temperature)) > 1
    if x.initial == "equilibrium" and (several or model.drive is not None):
        found.append(
            "x.initial = 'equilibrium': the steady state between several baths or under a drive is that of mobility 1; "
            "use 'normal' or 'zero' and discard the beginning."
        )
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


def _start_faults(model: Model, settings: Settings, x: XSection, faulty: bool) -> list[str]:
    """Whether x can start as asked."""
    start, name = x.initial, f"model {model.name!r}"
    faults = []
    if start == "equilibrium" and model.equilibrium is None and model.fresh is None:
        starts = "'random' or 'data'" if model.discrete else "'zero', 'normal' or 'data'"
        why = "is driven, so it has no known equilibrium" if model.drive is not None else "has no exact sampler"
        faults.append(f"x.initial = 'equilibrium': {name} {why}; use {starts} and discard the beginning.")
    elif start == "equilibrium" and model.equilibrium is None and x.temperature != 1.0:
        faults.append(f"x.initial = 'equilibrium': {name} samples exp(-phi) only; use x.temperature = 1, or 'normal'.")
    elif start == "equilibrium" and is_schedule(x.temperature) and not faulty:
        steps = settings.run.steps
        first = steps if settings.run.direction == "reversed" else 0
        if not np.all(schedule_values(x.temperature, steps, first, first) > 0):
            faults.append(
                "x.temperature: is 0 at step 0, where the equilibrium start needs one above 0; or start from 'zero'."
            )
    if start in ("zero", "normal") and model.discrete and not (start == "zero" and 0.0 in model.levels):
        faults.append(f"x.initial = {start!r}: the components of {name} are {model.levels}; use 'random' or 'data'.")
    if start == "random" and not model.discrete:
        faults.append(f"x.initial = 'random': is for discrete x; {name} is continuous, use 'normal' or 'data'.")
    if (start == "data" or x.restart) and not settings.data:
        key = "x.initial = 'data'" if start == "data" else "x.restart = true"
        faults.append(f"{key}: needs data rows to start from; add a [data] section.")
    return faults
