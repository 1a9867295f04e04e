"""What a terminal shows of a report: the table of measured against exact, and who diverged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from thermosim.analysis.comparison import FALSE_ALARM_RATE
from thermosim.analysis.unscaled import unscaled_rows
from thermosim.ledger import EXPLODED

if TYPE_CHECKING:
    from rich.console import Console

    from thermosim.analysis.comparison import Comparison, Verdict
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
    references = list(dict.fromkeys(c.reference for c in report.comparisons))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("quantity")
    for title in ("points", "measured", "error", "exact", "z", "rms z"):
        table.add_column(title, justify="right")
    table.add_column("")
    for c in report.comparisons:
        table.add_row(*_row(c, report.accepts(c)), f"[dim]({references.index(c.reference) + 1})[/dim]")
    console.print(table)
    for number, reference in enumerate(references, 1):
        console.print(f"[dim]({number}) {escape(reference)}[/dim]")
    if any(np.size(c.z) > 1 for c in report.comparisons):
        console.print(
            "[dim]Of several points the one with the largest |z| is shown; rms z is 1 when errors are right.[/dim]"
        )
    console.print(_verdict(report.verdict))


def _verdict(verdict: Verdict) -> str:
    tests = "1 comparison" if verdict.tests == 1 else f"{verdict.tests:,} comparisons"
    word = "[green]consistent[/green]" if verdict.consistent else "[red]not consistent[/red]"
    return (
        f"{tests}, {word} with theory: smallest p-value {verdict.smallest:.2g}; below {verdict.threshold:.1g} it would "
        f"be called a deviation, which keeps the false-alarm rate of the whole table below {FALSE_ALARM_RATE:g}."
    )


def _row(c: Comparison, accepted: bool) -> tuple[str, ...]:
    """One line: the number itself, or the worst point of several."""
    z = np.ravel(c.z)
    measured, error, exact, tolerance = (
        np.ravel(np.broadcast_to(np.asarray(v, float), np.shape(c.z)))
        for v in (c.measured, c.standard_error, c.exact, c.tolerance)
    )
    worst = int(np.nanargmax(np.abs(z))) if np.isfinite(z).any() else 0
    known_to = error[worst] or tolerance[worst]
    decimals = max(0, 1 - int(np.floor(np.log10(known_to)))) if 0 < known_to < np.inf else 6
    number = f"{{:.{decimals}f}}" if decimals < 7 else "{:.3g}"
    shown = f"{z[worst]:+.1f}"
    if not accepted:
        shown = f"[red]{shown}[/red]"
    return (
        escape(c.quantity.replace("_", " ") + (f" ({c.units})" if c.units != "1" else "")),
        f"{z.size:,}",
        number.format(measured[worst]),
        f"{error[worst]:.2g}",
        number.format(exact[worst]) + (f" ± {tolerance[worst]:.1g}" if tolerance[worst] > 0.05 * error[worst] else ""),
        shown,
        f"{np.sqrt(np.nanmean(z**2)):.2f}" if z.size > 1 and np.isfinite(z).any() else "",
    )
