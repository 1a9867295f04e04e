"""A report as JSON for scripts, and the schema of that JSON (docs/check.md).

Strict JSON knows no NaN and no infinity; here they are the strings "NaN", "Infinity" and "-Infinity", as in the JSON
mapping of protocol buffers: Python's float() and numpy read them, and what is missing is not what diverges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from thermosim.analysis.comparison import FALSE_ALARM_RATE

if TYPE_CHECKING:
    from thermosim.analysis.comparison import Comparison
    from thermosim.checks.report import Report

__all__ = ["error_json", "report_json", "report_schema"]

SCHEMA_VERSION = 1
_NOT_FINITE = ["NaN", "Infinity", "-Infinity"]
Number = Annotated[float, WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": _NOT_FINITE}]})]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_inf_nan="strings", json_schema_serialization_defaults_required=True
    )


class ComparisonDocument(_Part):
    """One quantity. Lists hold its points in the order of C; reshape them to `shape`."""

    quantity: str = Field(description="what was compared")
    units: str = Field(description="of measured and exact values: energy, nat, ...; 1 for a plain number")
    consistent: bool = Field(description="whether no point of it is a deviation, given the number of all comparisons")
    shape: list[int] = Field(description="sizes of the array of points; empty for a single number")
    measured: list[Number] = Field(description="means or other estimates")
    standard_error: list[Number] = Field(description="standard errors of what was measured")
    exact: list[Number] = Field(description="exact values")
    tolerance: list[Number] = Field(description="truncation of the exact values; 0 where there is none")
    z: list[Number] = Field(
        description="deviations beyond tolerance and rounding, in standard errors, skewness taken out"
    )
    p_value: list[Number] = Field(description="two-sided p-values of z under Student's law; 0 where z is not finite")
    degrees_of_freedom: Number = Field(
        description="of the standard errors; infinite where theory knows these or the law of the estimate"
    )
    reference: str = Field(description="the theory, and where it holds")


class ReportDocument(_Part):
    """What `thermosim check FILE --json` prints; all keys are always there."""

    schema_version: int = Field(
        default=SCHEMA_VERSION, description="with another version a key may mean something else"
    )
    error: str | None = Field(default=None, description="why the ensemble could not be checked at all, or null")
    title: str | None = Field(default=None, description="title of the case; null with an error")
    model: str | None = Field(default=None, description="name of the model; null with an error")
    replicas: int = Field(default=0, description="replicas at each point of the sweep; 0 with an error")
    left_out: list[int] = Field(default=[], description="numbers of the replicas that diverged and are not compared")
    consistent: bool | None = Field(default=None, description="the verdict; null where nothing was compared")
    why_nothing: str | None = Field(
        default=None, description="why nothing was compared; null with comparisons or an error"
    )
    notes: list[str] = Field(default=[], description="sentences that a reader should know")
    tests: int = Field(default=0, description="numbers compared: all points of all comparisons")
    false_alarm_rate: Number = Field(
        default=FALSE_ALARM_RATE, description="probability, at most, that a right ensemble fails"
    )
    threshold: Number | None = Field(
        default=None, description="p-value below which a point is a deviation; null without any"
    )
    smallest_p_value: Number | None = Field(default=None, description="of all points; null without any")
    comparisons: list[ComparisonDocument] = []


def report_json(report: Report) -> str:
    """A report as strict JSON."""
    document = ReportDocument(
        title=report.title,
        model=report.model,
        replicas=report.replicas,
        left_out=list(report.left_out),
        consistent=report.consistent,
        why_nothing=report.why_nothing or None,
        notes=list(report.notes),
        tests=report.verdict.tests if report.verdict else 0,
        threshold=report.verdict.threshold if report.verdict else None,
        smallest_p_value=report.verdict.smallest if report.verdict else None,
        comparisons=[_comparison(c, report.accepts(c)) for c in report.comparisons],
    )
    return document.model_dump_json(indent=1)


def error_json(message: str) -> str:
    """The same keys, for an ensemble that could not be checked."""
    return ReportDocument(error=message).model_dump_json(indent=1)


def report_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of both."""
    schema = ReportDocument.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "thermosim check --json"}


def _comparison(comparison: Comparison, consistent: bool) -> ComparisonDocument:
    z = np.asarray(comparison.z, float)

    def flat(values: Any) -> list[float]:
        return [float(value) for value in np.broadcast_to(np.asarray(values, float), z.shape).flat]

    return ComparisonDocument(
        quantity=comparison.quantity,
        units=comparison.units,
        consistent=consistent,
        shape=list(z.shape),
        measured=flat(comparison.measured),
        standard_error=flat(comparison.standard_error),
        exact=flat(comparison.exact),
        tolerance=flat(comparison.tolerance),
        z=flat(z),
        p_value=flat(comparison.p_value),
        degrees_of_freedom=float(comparison.degrees_of_freedom),
        reference=comparison.reference,
    )
