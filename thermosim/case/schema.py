"""The sections of a case file: their keys, types, ranges and defaults. This is also the JSON schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from thermosim.data.section import DataSection

__all__ = ["SECTIONS", "RecordTable", "json_schema"]

Batch = Annotated[Any, Field(json_schema_extra={"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}]})]
Start = Annotated[Any, Field(json_schema_extra={"type": ["string", "object"]})]
Scale = Annotated[Any, Field(json_schema_extra={"type": ["number", "object"]})]
Schedule = Annotated[Any, Field(json_schema_extra={"type": ["number", "object"]})]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ThetaSection(_Section):
    """How the parameters move."""

    dynamics: Literal["sgd", "sgld", "langevin", "protocol", "frozen"] = Field(
        "frozen", description="the move of theta"
    )
    constraint: Literal["fixed-lr", "fixed-elr", "fixed-sphere"] | None = Field(
        None, description="what SGD of scale-invariant parameters holds fixed"
    )
    learning_rate: Schedule = Field(None, description="learning rate, a number or a schedule")
    weight_decay: Schedule = Field(0.0, description="weight decay, a number or a schedule")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum of SGD")
    temperature: Schedule = Field(
        None,
        description="temperature of sgld and langevin: a number, a schedule, or a table of one per parameter group",
    )
    batch: Batch = Field(None, description="rows of a minibatch, or all of the data")
    gradient: Literal["likelihood", "contrast"] | None = Field(
        None, description="likelihood, or contrast of data and samples; default what the model can do"
    )
    learn: list[str] | None = Field(None, min_length=1, description="parameter groups that are learned; default all")
    radius: float = Field(1.0, gt=0, allow_inf_nan=False, description="|w| of the fixed sphere, or of the random start")
    initial: Start = Field(None, description="named start of the model, or a table of values of parameter groups")
    spread: Scale = Field(
        None, description="standard deviation over replicas of the start: a number, or a table of parameter groups"
    )
    protocol: dict[str, Any] = Field({}, description="prescribed value or schedule of each parameter group")
    recording: dict[str, Any] = Field(
        {}, description="a protocol read from an ensemble: { file, replica }, the path of theta of one of its replicas"
    )


class XSection(_Section):
    """How the samples move."""

    dynamics: Literal["ula", "mala", "gibbs", "exact", "exact-ou"] = Field(description="the move of x")
    time_step: Schedule = Field(None, description="time step h of one Langevin move, a number or a schedule")
    tau: int = Field(1, ge=1, le=10**9, description="moves of x per step")
    temperature: Schedule = Field(1.0, description="temperature, a number, a schedule, or one number per component")
    samples: int = Field(1, ge=1, le=10**6, description="independent chains per replica")
    initial: Literal["equilibrium", "zero", "normal", "random", "data"] = Field(
        "equilibrium", description="distribution of x at step 0"
    )
    restart: bool = Field(False, description="whether chains start anew from data rows at every step")


class EnsembleSection(_Section):
    """How many replicas, and the seed of all their noise."""

    replicas: int = Field(ge=1, le=10**12, description="replicas of every point of the sweep")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of every random number")


class RunSection(_Section):
    """How long."""

    steps: int = Field(ge=1, lt=2**48, description="steps of theta")
    direction: Literal["forward", "reversed", "there-and-back"] = Field(
        "forward",
        description="reversed: protocol and moves in reverse order; there-and-back: SGD, then half way gradient ascent "
        "through the same minibatches in reverse order",
    )


class RecordSection(_Section):
    """Which frames and variables are kept. A table [record.VARIABLE] says it for one variable."""

    first: int = Field(0, ge=0, description="first recorded step")
    every: int | None = Field(None, ge=1, description="steps between frames; default a hundredth of the run")
    variables: list[str] | None = Field(
        None, description="variables of which all frames are kept; default all of this case without a table"
    )
    storage: Literal["float64", "float32"] = Field("float64", description="number format of stored frames")


class RecordTable(_Section):
    """[record.VARIABLE]: what is kept of one variable, and at which steps."""

    first: int | None = Field(None, ge=0, description="first step; default record.first")
    every: int | None = Field(None, ge=1, description="steps between values; default record.every")
    keep: list[
        Literal["frames", "mean", "variance", "last", "histogram", "correlation", "ensemble_mean", "ensemble_variance"]
    ] = Field(
        ["frames"],
        min_length=1,
        description="frames; mean, variance, last and correlation over steps, of every replica; histogram over steps "
        "and replicas; ensemble_mean and ensemble_variance over replicas, of every frame",
    )
    storage: Literal["float64", "float32"] | None = Field(
        None, description="number format of its frames; default record.storage"
    )
    range: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        None, min_length=2, max_length=2, description="lower and upper end of the histogram"
    )
    bins: int | None = Field(None, ge=1, le=100_000, description="bins of the histogram; default 100")
    lags: int | None = Field(None, ge=1, le=1000, description="lags of the correlation, in units of every; default 20")


SECTIONS: dict[str, type[BaseModel]] = {
    "theta": ThetaSection,
    "x": XSection,
    "data": DataSection,
    "ensemble": EnsembleSection,
    "run": RunSection,
    "record": RecordSection,
}


def json_schema() -> dict[str, Any]:
    """The JSON schema of a case file; [model] takes the constants that `thermosim models NAME` lists."""
    axis = {
        "type": "object",
        "properties": {
            "values": {"type": "array"},
            "logspace": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            "linspace": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            "num": {"type": "integer", "minimum": 2},
        },
        "additionalProperties": False,
    }
    properties: dict[str, Any] = {
        "title": {"type": "string"},
        "model": {"type": "object", "properties": {"name": {"type": "string"}, "file": {"type": "string"}}},
        "sweep": {"type": "object", "additionalProperties": axis},
    }
    properties |= {name: section.model_json_schema() for name, section in SECTIONS.items()}
    properties["record"]["additionalProperties"] = RecordTable.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "thermosim case",
        "type": "object",
        "properties": properties,
        "required": ["model", "ensemble", "run"],
        "additionalProperties": False,
    }
