"""What can be recorded of a model beside what can be of every one, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from thermosim.model import Model

__all__ = ["measured_rows", "tables_of"]


def tables_of(model: Model) -> Iterator[Table]:
    """A table of its observables and functionals, and one of what is measured at frames, where there are any."""
    own: list[tuple[str, Any]] = [*model.observables.items(), *((one.name, one) for one in model.functionals)]
    measures = [(one.name, one) for one in model.measures]
    titles = {"variables of its own": own, 'measured at frames, with engine.name = "networks"': measures}
    for title, rows in titles.items():
        if not rows:
            continue
        table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left", title_style="bold")
        table.title = f"\n{title}"
        for column in ("variable", "units", "meaning"):
            table.add_column(column, style="bold" if column == "variable" else "", overflow="fold")
        for name, one in rows:
            table.add_row(name, escape(one.units), escape(one.long_name))
        yield table


def measured_rows(case: Any) -> list[tuple[str, str]]:
    """What a case measures of networks at frames, and from how much."""
    from thermosim.case.record import recordable, recorded_names

    names = recorded_names(case.settings.record, recordable(case.model, case.settings), case.model)
    found = [f"{one.name}: {one.long_name}" for one in case.model.measures if one.name in names]
    settings = case.settings.of_measure.model_dump().items()
    told = ", ".join(f"{key} {value}" for key, value in settings if value not in (None, []))
    return [("measures", "\n".join(found)), ("measure", told)] if found else []
