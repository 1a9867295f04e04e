"""What a terminal shows of a report: the table of measured against exact, and who diverged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from thermosim.analysis.unscaled import unscaled_rows
from thermosim.checks.rows import lines_of, references_of, verdict_words
from thermosim.ledger import EXPLODED

if TYPE_CHECKING:
    from rich.console import Console

    from thermosim.checks.report import Report

__all__ = ["diverged", "print_report"]

_DIVERGED_IN = {1: "theta", 2: "x", 3: "phi", 4: "the sums of theta", 5: "the ledger"}


def _short(value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{value:.4g}"


def diverged(ds: Any) -> list[str]:
    """A sentence for the first replicas that diverged."""
    where = np.argwhere(ds.status.values != 0)
    if not len(where):
        return []
    dims = ds.status.dims
    lines = [
        f"[red]{len(where)} of {ds.status.size} replicas diverged[/red] and are NaN from there on"
        + ("; the others finished:" if len(where) < ds.status.size else ":")
    ]
    for position in where[:5]:
        at = ", ".join(
            f"{dim} = {_short(ds[dim].values[i])}" if dim in ds.coords else f"{dim} {i}"
            for dim, i in zip(dims, position, strict=True)
        )
        what, step = _DIVERGED_IN[int(ds.status.values[tuple(position)])], int(ds.diverged_step.values[tuple(position)])
        lines.append(f"  {escape(at)}: {what} not finite at step {step:,}")
    if len(where) > 5:
        lines.append(f"  ... and {len(where) - 5} more: see the variables status and diverged_step")
    lines.append(f"Beyond {EXPLODED:.0e} (energies and sums: {EXPLODED**2:.0e}) a value counts as not finite.")
    lines.append("A learning rate or time step that is too large is the usual cause; or a start or data far away.")
    return [*lines, escape(why)] if (why := unscaled_rows(ds)) else lines


def print_report(report: Report, console: Console) -> None:
    """The notes, the table and the verdict, or why there is none."""
    for note in report.notes:
        console.print(escape(note))
    if report.verdict is None:
        console.print(escape(report.why_nothing))
        return
    references = references_of(report)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("quantity")
    for title in ("points", "measured", "error", "exact", "z", "rms z"):
        table.add_column(title, justify="right")
    table.add_column("")
    for line in lines_of(report):
        z = line.z if line.accepted else f"[red]{line.z}[/red]"
        numbers = (f"{line.points:,}", line.measured, line.error, line.exact, z, line.rms)
        table.add_row(escape(line.quantity), *numbers, f"[dim]({line.reference})[/dim]")
    console.print(table)
    for number, reference in enumerate(references, 1):
        console.print(f"[dim]({number}) {escape(reference)}[/dim]")
    if any(np.size(c.z) > 1 for c in report.comparisons):
        console.print(
            "[dim]Of several points the one with the largest |z| is shown; rms z is 1 when errors are right.[/dim]"
        )
    before, word, after = verdict_words(report.verdict)
    colour = "green" if report.verdict.consistent else "red"
    console.print(f"{before}[{colour}]{word}[/{colour}]{after}")
