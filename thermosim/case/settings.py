"""The settings of a run: frozen objects from the case to the file and back. `settings.theta.dynamics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from thermosim.case.engine import EngineSection, MeasureSection
from thermosim.case.ensemble import EnsembleSection
from thermosim.case.irreversibility import IrreversibilitySection
from thermosim.case.record import RecordSection
from thermosim.case.run import RunSection
from thermosim.case.theta import ThetaSection
from thermosim.case.x import XSection
from thermosim.data import DataSection

__all__ = ["SECTIONS", "ModelSettings", "Settings"]

# every section of a case but [model] and [sweep]; those with a default of None below may be absent
SECTIONS: dict[str, type[BaseModel]] = {
    "theta": ThetaSection,
    "x": XSection,
    "data": DataSection,
    "ensemble": EnsembleSection,
    "run": RunSection,
    "record": RecordSection,
    "irreversibility": IrreversibilitySection,
    "engine": EngineSection,
    "measure": MeasureSection,
}


@dataclass(frozen=True)
class ModelSettings:
    """The section [model]: the model's name, the user's file or the formula if it has one, and all constants."""

    name: str
    constants: Mapping[str, Any]
    file: str | None = None
    formula: str = ""  # its text, as `models.formula` has it


@dataclass(frozen=True)
class Settings:
    """A whole case, every default filled in; the first values of a sweep in place, all of them in `sweep`."""

    model: ModelSettings
    theta: ThetaSection
    ensemble: EnsembleSection
    run: RunSection
    record: RecordSection
    x: XSection | None = None
    data: DataSection | None = None
    irreversibility: IrreversibilitySection | None = None
    engine: EngineSection | None = None
    measure: MeasureSection | None = None
    sweep: Mapping[str, list[Any]] = field(default_factory=dict)
    title: str = ""

    @property
    def of_x(self) -> XSection:
        """The section [x]. Raises ValueError where the case has none."""
        if self.x is None:
            raise ValueError("the ensemble has no samples x: its case has no [x]")
        return self.x

    @property
    def of_measure(self) -> MeasureSection:
        """The section [measure], its defaults where the case has none."""
        return self.measure or MeasureSection.model_validate({})

    def as_dict(self) -> dict[str, Any]:
        """Tables of plain values, as they are stored with an ensemble."""
        made_of = {key: given for key in ("file", "formula") if (given := getattr(self.model, key))}
        sections: dict[str, Any] = {"model": {"name": self.model.name, **made_of, **self.model.constants}}
        for name in SECTIONS:
            section = getattr(self, name)
            if section is not None:
                sections[name] = section.model_dump()
        return sections | {"sweep": {key: list(values) for key, values in self.sweep.items()}, "title": self.title}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Settings:
        """The settings that an ensemble holds. Raises pydantic's ValidationError for what is none."""
        model = dict(stored["model"])
        named = ModelSettings(model.pop("name"), model, model.pop("file", None), model.pop("formula", ""))
        sections: dict[str, Any] = {
            name: section.model_validate(stored.get(name, {}))
            for name, section in SECTIONS.items()
            if name in stored or name in ("theta", "record")
        }
        return cls(named, **sections, sweep=dict(stored.get("sweep", {})), title=str(stored.get("title", "")))

    def value(self, key: str) -> Any:
        """The value of a dotted key such as "theta.learning_rate". Raises KeyError where there is none."""
        section, *parts = key.split(".")
        if section == "model":
            table: Any = {"name": self.model.name, "file": self.model.file, **self.model.constants}
        else:
            table = getattr(self, section, None)
        for part in parts:
            try:
                table = table[part] if isinstance(table, Mapping) else getattr(table, part)
            except AttributeError:
                raise KeyError(key) from None
        return table

    def at(self, values: Mapping[str, Any]) -> Settings:
        """The same with other values of dotted keys, as at one point of a sweep; they are not validated anew."""
        result = self
        for key, value in values.items():
            section, name, *inner = key.split(".")
            if section == "model":
                changed: Any = replace(result.model, constants={**result.model.constants, name: value})
            else:
                of = getattr(result, section)
                changed = of.model_copy(update={name: _within(getattr(of, name), inner, value)})
            result = replace(result, **{section: changed})
        return result


def _within(table: Any, keys: list[str], value: Any) -> Any:
    """A table with a value deep inside replaced."""
    if not keys:
        return value
    given = table if isinstance(table, Mapping) else {}
    return {**given, keys[0]: _within(given.get(keys[0]), keys[1:], value)}
