"""What stands in a report of an ensemble, gathered piece by piece: what fails is a sentence, and the rest is shown."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from thermosim.analysis.machine import ensemble_model
from thermosim.analysis.settings import axes, each_point
from thermosim.case.settings import Settings
from thermosim.case.words import Key, keys_of, said
from thermosim.checks.report import Report, check
from thermosim.model import Model
from thermosim.plots.picture import picture
from thermosim.report.figures import Drawn, drawn
from thermosim.report.ledger_rows import Ledger, ledger_of
from thermosim.report.state import Found, found_in

__all__ = ["MOST_BYTES", "Case", "Contents", "Point", "contents_of"]

MOST_BYTES = 5_000_000  # of all pictures of a page
_MOST_POINTS = 200  # of a sweep that have a ledger on the page
T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """What was asked."""

    words: str
    source: str
    overrides: dict[str, str]
    keys: list[Key]
    model_file: str  # name and text of a user's own model; empty for one of thermosim
    model_source: str


@dataclass
class Point:
    """One point of a sweep by itself."""

    name: str
    ledger: Ledger | None = None
    report: Report | None = None
    why_no_report: str = ""
    drawn: Drawn | None = None
    why_no_picture: str = ""


@dataclass
class Contents:
    """All parts of a page; None where there is nothing, and a sentence in `missing` or beside it that says why."""

    title: str
    missing: list[str]
    case: Case | None = None
    report: Report | None = None
    why_no_report: str = ""
    drawn: Drawn | None = None
    why_no_picture: str = ""
    ledger: Ledger | None = None
    points: list[Point] = field(default_factory=list)
    of_points: str = ""  # which points and pictures are left out
    made: list[tuple[str, str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def contents_of(ensemble: xr.Dataset | str | Path, points: int) -> Contents:
    """Everything that can be had; of a sweep, this many points with a table and a picture of their own.

    Raises StorageError where there is no file of this name.
    """
    found = found_in(ensemble)
    page = Contents(str(found.attributes.get("title") or found.file or "an ensemble"), found.missing)
    _put_case(page, found)
    ds = found.ds
    if ds is None:
        page.why_no_report = page.why_no_picture = "There are no numbers that can be read."
        return page
    page.report, page.why_no_report = _tried(lambda: check(ds), "compared")
    page.drawn, page.why_no_picture = _tried(lambda: drawn(picture(ds), "all"), "drawn")
    page.ledger, _ = _tried(lambda: ledger_of(ds), "added up")
    if page.drawn is not None and page.drawn.size > MOST_BYTES:
        page.why_no_picture = f"The picture takes {page.drawn.size / 1e6:.0f} MB, too much for a page: thermosim plot."
        page.drawn = None
    wrong = _tried(lambda: _put_points(page, ds, points), "shown point by point")[1]
    page.missing += [wrong] if wrong else []
    return page


def _tried(work: Callable[[], T], what: str) -> tuple[T | None, str]:
    """What work gives, or None and why not: a report of a damaged file is there for its other parts."""
    try:
        return work(), ""
    except Exception as error:
        named = "" if isinstance(error, (ValueError, KeyError)) else f"{type(error).__name__}: "
        return None, f"Nothing could be {what}: {named}{error}"


def _put_case(page: Contents, found: Found) -> None:
    """The case, how it was made and how to make it again, from what the file says of itself."""
    attributes = found.attributes
    page.made = _made(found)
    if not isinstance(attributes.get("settings"), str):
        page.missing.append("What was asked cannot be read: the file holds no case.")
        return
    settings, why = _tried(lambda: Settings.from_dict(json.loads(attributes["settings"])), "read of the case")
    source, overrides = str(attributes.get("case", "")), json.loads(attributes.get("overrides") or "{}")
    if settings is None:
        page.missing.append(why)
        page.case = Case("", source, overrides, [], "", "")
        return
    model = _tried(lambda: _model_of(found), "said of the model")[0]
    file = Path(settings.model.file).name if settings.model.file else ""
    shown = {key: json.dumps(value) for key, value in overrides.items()}
    keys = keys_of(settings, source, overrides, model)
    words = said(settings, model)
    page.case = Case(words, source, shown, keys, file, str(attributes.get("model_source", "")))
    page.commands = _commands(page, found, settings, shown)


def _model_of(found: Found) -> Model:
    return ensemble_model(found.ds if found.ds is not None else xr.Dataset(attrs=found.attributes))


def _made(found: Found) -> list[tuple[str, str]]:
    """Versions, seed and checksums."""
    attributes = found.attributes
    rows: list[tuple[str, Any]] = [
        ("thermosim", attributes.get("thermosim_version")),
        ("Python", attributes.get("python")),
    ]
    packages = _tried(lambda: json.loads(attributes.get("packages") or "{}"), "read")[0] or {}
    rows += [(name, version) for name, version in packages.items() if name != "thermosim-engine"]
    rows += [("seed", attributes.get("seed")), ("run", attributes.get("run"))]
    rows.append(("file", f"{found.file}, {found.bytes:,} bytes" if found.bytes else found.file))
    rows.append(("sha256 of the file", found.sha256))
    rows.append(("sha256 of the data rows", attributes.get("data_sha256")))
    if found.file:
        rows.append(("checksums inside", "all agree" if found.whole else "damaged: see what is missing"))
    rows.append(("sizes", ", ".join(f"{dim} {size:,}" for dim, size in found.sizes.items())))
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def _commands(page: Contents, found: Found, settings: Settings, overrides: dict[str, str]) -> list[str]:
    """What makes the file again, wherever the case is saved under the name of the page."""
    import tomllib

    name = Path(found.file).stem or "case"
    sets = [f"--set {shlex.quote(f'{key}={value}')}" for key, value in overrides.items()]
    commands = [" ".join(["thermosim run", shlex.quote(f"{name}.toml"), *sets, "-o", shlex.quote(f"{name}.h5")])]
    asked = json.loads(found.attributes.get("overrides") or "{}").get("run.steps")
    if asked is None:
        raw = _tried(lambda: tomllib.loads(page.case.source if page.case else ""), "read")[0] or {}
        asked = raw.get("run", {}).get("steps")
    longer = ["--steps", str(settings.run.steps - int(asked))] if asked and settings.run.steps > int(asked) else []
    if longer:
        commands.append(" ".join(["thermosim extend", shlex.quote(f"{name}.h5"), *longer]))
    for added in settings.ensemble.added:
        commands.append(f"thermosim extend {shlex.quote(f'{name}.h5')} --replicas {added}")
    return commands


def _put_points(page: Contents, ds: xr.Dataset, most: int) -> None:
    """The points of a sweep: all with a ledger, some with a table and a picture too."""
    names = [name for name in axes(ds) if ds.sizes[name] > 1]
    if not names:
        return
    everything = [(index, here) for index, here in each_point(ds)]
    some = _spread(len(everything), _MOST_POINTS)
    shown = set(_spread(len(some), max(1, most)))
    room = MOST_BYTES - (page.drawn.size if page.drawn else 0)
    left_out = 0
    for number, place in enumerate(some):
        index, here = everything[place]
        part = ds.isel(index)
        values = (f"{key.rsplit('.', 1)[-1]} = {_value(here.value(key))}" for key in _keys(ds, names))
        point = Point(", ".join(values))
        point.ledger = _tried(lambda part=part: ledger_of(part), "added up")[0]  # type: ignore[misc]
        if number in shown:
            point.report, point.why_no_report = _tried(lambda part=part: check(part), "compared")  # type: ignore[misc]
            name = f"point-{number}"
            made, why = _tried(lambda part=part, name=name: drawn(picture(part), name), "drawn")  # type: ignore[misc]
            if made is not None and made.size > room:
                left_out, made, why = left_out + 1, None, "Left out: the page would be too large."
            room -= made.size if made is not None else 0
            point.drawn, point.why_no_picture = made, why
        else:
            point.why_no_picture = point.why_no_report = "At this point there is only the ledger; --points shows more."
        page.points.append(point)
    page.of_points = _left_out(len(everything), len(some), len(shown), left_out)


def _keys(ds: xr.Dataset, names: list[str]) -> list[str]:
    from thermosim.analysis.settings import settings

    return [key for key in settings(ds).sweep if key.rsplit(".", 1)[-1] in names]


def _left_out(points: int, told: int, shown: int, too_large: int) -> str:
    """Which points are on the page, in a sentence."""
    of = f"All {points:,} points of the sweep" if told == points else f"{told:,} of the {points:,} points of the sweep"
    rest = "" if shown == told else f", {shown:,} of them with a table and pictures of their own"
    lost = f"; of {too_large:,} the pictures were left out, since the page would be too large" if too_large else ""
    return f"{of}{rest}{lost}."


def _spread(length: int, most: int) -> list[int]:
    """Indices of at most so many evenly spread members, the first and the last among them."""
    return sorted(set(np.linspace(0, length - 1, min(most, length)).round().astype(int).tolist()))


def _value(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) < 60 else text[:56] + " ..."
