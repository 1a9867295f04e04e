"""`check`, `plot` and `report`: what came of an ensemble, on paper. Each command returns the exit code."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermosim.cli.exits import Exit, explained

if TYPE_CHECKING:
    from thermosim.checks.report import Report

__all__ = ["check", "code_of", "draw", "plot", "report"]


def check(file: Path, as_json: bool) -> Exit:
    """Print measured against exact, as a table or as JSON."""
    from thermosim.checks.report import check as compared
    from thermosim.report.console import make_console
    from thermosim.report.text import print_report

    if as_json:
        return _check_json(file)
    report = compared(file)
    print_report(report, make_console())
    return code_of(report)


def _check_json(file: Path) -> Exit:
    """Print JSON and nothing else, whatever happens and whatever a user's model prints."""
    from thermosim.checks.report import check as compared
    from thermosim.report.as_json import error_json, report_json

    try:
        with contextlib.redirect_stdout(sys.stderr):
            report = compared(file)
    except Exception as error:
        print(error_json(explained(error)[0]))
        raise
    print(report_json(report))
    return code_of(report)


def code_of(report: Report) -> Exit:
    """The exit code of a check."""
    if report.consistent is None:
        return Exit.REFUSED
    return Exit.FINE if report.consistent else Exit.FAILED


def plot(file: Path, output: Path, variable: str | None = None) -> Exit:
    """Draw the picture of an ensemble, or of one variable."""
    if why := draw(file, output, variable):
        print(why)
        print("No picture was drawn; the ensemble opens in xarray for your own.")
        return Exit.REFUSED
    print(output)
    return Exit.FINE


def report(file: Path, output: Path | None, points: int) -> Exit:
    """Write the page of an ensemble; say what is missing in it."""
    import matplotlib

    matplotlib.use("Agg")  # a user's model may draw with pyplot
    from thermosim.report.console import make_console, size_text
    from thermosim.report.page import write_report

    with make_console(stderr=True).status("checking and drawing"):
        written = write_report(file, output, points)
    for sentence in written.missing:
        print(sentence)
    print(f"{written.path} ({size_text(written.bytes)})")
    return Exit.FAILED if written.missing else Exit.FINE


def draw(ensemble: Any, output: Path, variable: str | None = None) -> str:
    """Save the picture of an ensemble (a Dataset or a path), or of a variable; where there is none, say why."""
    import matplotlib

    matplotlib.use("Agg")  # a user's model may draw with pyplot
    from thermosim.checks.admission import Unfit
    from thermosim.plots.picture import picture, save

    try:
        save(picture(ensemble, variable), output)
    except Unfit as why:
        return str(why)
    return ""
