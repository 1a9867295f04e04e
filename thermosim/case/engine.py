"""The sections [engine] and [measure] of a case: what makes the steps, and how frames of networks are measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from thermosim.case.section import Section
from thermosim.model import Model
from thermosim.network import MOVES

if TYPE_CHECKING:
    from thermosim.case.settings import Settings

__all__ = ["EngineSection", "MeasureSection", "faults", "of_networks", "with_name"]


class EngineSection(Section):
    """What makes the steps. Part of the case: another one rounds otherwise."""

    name: Literal["lanes", "networks", "dense"] | None = Field(
        None,
        description="lanes: compiled kernels, float64; networks: JAX; dense: perceptrons, one replica at a "
        "time, on a processor; default lanes where the model has kernels",
    )
    precision: Literal["float32", "float64"] = Field("float32", description="of networks; the ledger is float64")
    tile_width: int = Field(
        16, ge=1, le=4096, description="replicas of a network that go together, part of what decides the last bits"
    )


class MeasureSection(Section):
    """How networks are measured at frames."""

    batches: int = Field(16, ge=2, le=4096, description="minibatches by which gradient noise is measured, K")
    eigenvalues: int = Field(8, ge=1, le=64, description="leading eigenvalues of a spectrum")
    iterations: int = Field(32, ge=2, le=1000, description="steps of Lanczos or power iteration")
    projections: int = Field(4, ge=1, le=256, description="random directions that theta is projected on")
    probes: int = Field(64, ge=2, le=1024, description="data rows at which representations are compared")
    rows: int | None = Field(None, ge=1, description="data rows whose Hessian is measured; default all")
    layers: list[str] = Field([], description="hidden layers whose kernels are measured; default the last")
    components: list[int] = Field(
        [], max_length=4096, description="numbers of components of theta to record, negative ones from the end"
    )


def with_name(model: Model, section: EngineSection | None) -> EngineSection | None:
    """The section with the name of the engine; None where kernels run and nothing was asked for."""
    if section is None:
        return None if model.has_kernels else EngineSection.model_validate({"name": "networks"})
    return section if section.name else section.model_copy(update={"name": "networks"})


def of_networks(model: Model, settings: Settings) -> bool:
    """Whether the engine of networks, or that of dense layers, makes the steps."""
    engine = settings.engine
    return model.network is not None and (not model.has_kernels or (engine is not None and engine.name != "lanes"))


def faults(model: Model, settings: Settings) -> list[str]:
    """What is wrong with the engine that this case asks for."""
    engine, name, found = settings.engine, f"model {model.name!r}", []
    if engine is not None and engine.name == "lanes":
        if not model.has_kernels:
            found.append(f"engine.name = 'lanes': {name} is a network without kernels; use 'networks', or remove it.")
        for key in ("precision", "tile_width"):
            if getattr(engine, key) != EngineSection.model_fields[key].default:
                found.append(
                    f"engine.{key} = {getattr(engine, key)!r}: belongs to engine.name = 'networks'; remove it."
                )
    if engine is not None and engine.name == "networks" and model.network is None:
        found.append(f"engine.name = 'networks': {name} is no network; remove [engine].")
    if engine is not None and engine.name == "dense":
        if model.perceptron is None:
            found.append(f"engine.name = 'dense': {name} is no perceptron; remove it.")
        if engine.tile_width != EngineSection.model_fields["tile_width"].default:
            told = "belongs to engine.name = 'networks'; here replicas go one at a time"
            found.append(f"engine.tile_width = {engine.tile_width}: {told}: remove it.")
    if settings.measure is not None and not of_networks(model, settings):
        found.append("measure: only networks are measured at frames, with engine.name = 'networks'; remove [measure].")
    if found or not of_networks(model, settings):
        return found
    theta, data = settings.theta, settings.data
    count = sum(math.prod(group.shape(settings.model.constants)) for group in model.parameters)
    if wrong := [one for one in settings.of_measure.components if not -count <= one < count]:
        found.append(
            f"measure.components = {wrong!r}: theta has {count} components; name some from {-count} to {count - 1}."
        )
    if settings.x is not None:
        found.append("x: networks run without samples x here; remove [x], or use engine.name = 'lanes'.")
    if theta.dynamics not in MOVES:
        found.append(
            f"theta.dynamics = {theta.dynamics!r}: networks move by {', '.join(MOVES[:-1])}; use one of these."
        )
    if theta.preconditioner is not None:
        found.append("theta.preconditioner: networks learn at one learning rate for each group; remove it.")
    if data is not None and data.fresh:
        found.append("data.fresh = true: networks learn from rows that are kept; set data.rows instead.")
    return found
