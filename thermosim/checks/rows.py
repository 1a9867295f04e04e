"""Lines of the table of measured and exact, as text: what a terminal prints, a page shows and a notebook displays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from thermosim.analysis.comparison import FALSE_ALARM_RATE, Comparison, Verdict
from thermosim.pages.render import render

if TYPE_CHECKING:
    from thermosim.checks.report import Report

__all__ = ["Line", "line_of", "lines_of", "points_of", "references_of", "report_html", "verdict_words"]


@dataclass(frozen=True)
class Line:
    """One quantity: the number itself, or the worst of several points."""

    quantity: str  # with its units
    points: int
    measured: str
    error: str
    exact: str
    z: str
    rms: str  # of z over several points; empty for one
    accepted: bool
    reference: int  # number of its theory in the list, from 1


def references_of(report: Report) -> list[str]:
    """The theories that were compared with, each once."""
    return list(dict.fromkeys(c.reference for c in report.comparisons))


def lines_of(report: Report, threshold: float | None = None) -> list[Line]:
    """All lines of a report; judged by another threshold where one is given, such as that of a larger table."""
    references = references_of(report)

    def accepted(c: Comparison) -> bool:
        return report.accepts(c) if threshold is None else bool(np.all(c.p_value >= threshold))

    return [line_of(c, accepted(c), references.index(c.reference) + 1) for c in report.comparisons]


def line_of(c: Comparison, accepted: bool, reference: int) -> Line:
    """The line of one comparison."""
    z = np.ravel(c.z)
    worst = int(np.nanargmax(np.abs(z))) if np.isfinite(z).any() else 0
    measured, error, exact, shown = list(points_of(c))[worst]
    return Line(
        quantity=c.quantity.replace("_", " ") + (f" ({c.units})" if c.units != "1" else ""),
        points=z.size,
        measured=measured,
        error=error,
        exact=exact,
        z=shown,
        rms=f"{np.sqrt(np.nanmean(z**2)):.2f}" if z.size > 1 and np.isfinite(z).any() else "",
        accepted=accepted,
        reference=reference,
    )


def points_of(c: Comparison) -> Iterator[tuple[str, str, str, str]]:
    """Measured, error, exact and z of every point, to the digits that are known."""
    z = np.ravel(c.z)
    columns = (
        np.ravel(np.broadcast_to(np.asarray(v, float), np.shape(c.z)))
        for v in (c.measured, c.standard_error, c.exact, c.tolerance)
    )
    for measured, error, exact, tolerance, score in zip(*columns, z):
        known_to = error or tolerance
        decimals = max(0, 1 - int(np.floor(np.log10(known_to)))) if 0 < known_to < np.inf else 6
        number = f"{{:.{decimals}f}}" if decimals < 7 else "{:.3g}"
        open_by = f" ± {tolerance:.1g}" if tolerance > 0.05 * error else ""
        yield number.format(measured), f"{error:.2g}", number.format(exact) + open_by, f"{score:+.1f}"


def verdict_words(verdict: Verdict) -> tuple[str, str, str]:
    """The verdict as a sentence in three parts; the second is the word itself."""
    tests = "1 comparison" if verdict.tests == 1 else f"{verdict.tests:,} comparisons"
    after = (
        f" with theory: smallest p-value {verdict.smallest:.2g}; below {verdict.threshold:.1g} it would "
        f"be called a deviation, which keeps the false-alarm rate of the whole table below {FALSE_ALARM_RATE:g}."
    )
    return f"{tests}, ", "consistent" if verdict.consistent else "not consistent", after


def report_html(report: Report) -> str:
    """The table, the notes and the verdict, for a notebook."""
    return render(
        "notebook_report.html",
        report=report,
        lines=lines_of(report),
        references=references_of(report),
        verdict=verdict_words(report.verdict) if report.verdict else None,
    )
