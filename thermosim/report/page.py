"""One self-contained HTML page of an ensemble: nothing is fetched when it is read, no script but ours can run in it."""

from __future__ import annotations

import base64
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from thermosim import __version__
from thermosim.checks.report import Report
from thermosim.checks.rows import lines_of, points_of, references_of, verdict_words
from thermosim.pages.render import render
from thermosim.report.contents import Contents, contents_of
from thermosim.storage import StorageError

__all__ = ["Written", "write_report"]

_MARK = "thermosim report"  # in every page: what may be written over
_POINTS = 6  # of a sweep that have a table and pictures of their own
_NUMBERS = 400  # of all comparisons that are listed one by one


@dataclass(frozen=True)
class Written:
    """Where a page is, how large, and what of the ensemble is missing in it."""

    path: Path
    bytes: int
    missing: tuple[str, ...]


def write_report(ensemble: xr.Dataset | str | Path, output: str | Path | None = None, points: int = _POINTS) -> Written:
    """Write a page with all there is to say of an ensemble: HTML that needs no network, for reading and printing.

    Parameters
    ----------
    ensemble : Dataset or path
        As `thermosim.check` takes it. A file may be damaged, or its run not be complete: what is missing is said.
    output : path, optional
        By default the name of the file with .html; "report.html" for a Dataset.
    points : int
        Points of a sweep that have a table and pictures of their own.

    Raises
    ------
    StorageError
        There is no such file, or the page cannot be written there, such as over another one's file.

    Examples
    --------
    >>> thermosim.write_report("trap.h5", "trap.html").path
    """
    named = Path(ensemble).with_suffix(".html") if not isinstance(ensemble, xr.Dataset) else Path("report.html")
    target = Path(output) if output is not None else named
    if target.suffix.lower() not in (".html", ".htm"):
        raise StorageError(f"{target}: a report is HTML; call it {target.stem or 'report'}.html.")
    if target.exists() and not (target.is_file() and _MARK.encode() in target.read_bytes()[:4096]):
        raise StorageError(f"{target}: exists and is not a report that thermosim wrote; name another with -o.")
    contents = contents_of(ensemble, points)
    text = page_of(contents).encode()
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(text)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"{target}: the report cannot be written: {error.strerror}. Name another with -o.") from None
    return Written(target, len(text), tuple(contents.missing))


def page_of(contents: Contents) -> str:
    """The page as text."""
    threshold = contents.report.verdict.threshold if contents.report and contents.report.verdict else None
    return render(
        "report.html",
        mark=_MARK,
        version=__version__,
        page=contents,
        verdict=_verdict(contents),
        table=_table(contents.report),
        tables=[_table(point.report, threshold) for point in contents.points],
        case_link=_link(contents.case.source) if contents.case else "",
        model_link=_link(contents.case.model_source) if contents.case else "",
    )


def _link(text: str) -> str:
    return "data:text/plain;base64," + base64.b64encode(text.encode()).decode()


@dataclass(frozen=True)
class _Verdict:
    kind: str  # good, bad or none
    word: str
    sentence: str
    held: list[str]
    failed: list[str]
    open: list[str]  # what could not be compared


def _verdict(contents: Contents) -> _Verdict:
    """What held, what did not, and what could not be compared."""
    report = contents.report
    if report is None or report.verdict is None:
        why = contents.why_no_report if report is None else report.why_nothing
        return _Verdict("none", "not compared with theory", why, [], [], list(report.notes) if report else [])
    before, word, after = verdict_words(report.verdict)
    lines = lines_of(report)
    held = [line.quantity for line in lines if line.accepted]
    failed = [f"{line.quantity} (z = {line.z})" for line in lines if not line.accepted]
    kind = "good" if report.verdict.consistent else "bad"
    return _Verdict(kind, f"{word} with theory", f"{before}{word}{after}", held, failed, list(report.notes))


def _table(report: Report | None, threshold: float | None = None) -> dict[str, object] | None:
    """The table of a report, and its numbers one by one."""
    if report is None or report.verdict is None:
        return None
    numbers: list[tuple[str, ...]] = []
    untold = 0
    several = [c for c in report.comparisons if np.size(c.z) > 1]
    for c in several:
        shape = np.shape(c.z)
        for place, (measured, error, exact, z) in zip(np.ndindex(shape), points_of(c)):
            if len(numbers) < _NUMBERS:
                where = ", ".join(str(k + 1) for k in place)
                numbers.append((c.quantity.replace("_", " "), where, measured, error, exact, z))
            else:
                untold += 1
    return {
        "lines": lines_of(report, threshold),
        "references": references_of(report),
        "numbers": numbers,
        "untold": untold,
        "notes": report.notes,
    }
