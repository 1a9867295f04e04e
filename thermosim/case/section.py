"""What every section of a case is: a frozen object of typed keys that knows no others."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Batch", "Each", "Factors", "Matrix", "Scale", "Schedule", "Section", "Start", "StartOfX"]

Batch = Annotated[Any, Field(json_schema_extra={"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}]})]
Start = Annotated[Any, Field(json_schema_extra={"type": ["string", "object"]})]
StartOfX = Annotated[Any, Field(json_schema_extra={"type": ["string", "number", "array", "object"]})]
Each = Annotated[Any, Field(json_schema_extra={"type": ["number", "array"]})]
Factors = Annotated[Any, Field(json_schema_extra={"type": "object"})]
Matrix = Annotated[Any, Field(json_schema_extra={"type": "array"})]
Scale = Annotated[Any, Field(json_schema_extra={"type": ["number", "object"]})]
Schedule = Annotated[Any, Field(json_schema_extra={"schedule": True})]


class Section(BaseModel):
    """A section, each key an attribute with its type, range, default and meaning. Also the JSON schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
