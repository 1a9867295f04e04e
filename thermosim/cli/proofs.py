"""What is known of a formula before it runs, as rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thermosim.case.load import Case

__all__ = ["proofs"]


def proofs(case: Case) -> list[tuple[str, str]]:
    """Rows for the formula of a case; none for any other model."""
    if not case.model.formula:
        return []
    from thermosim.models.formula.judged import proofs as rows

    return rows(case.model.formula, case.settings.model.constants, case.settings)
