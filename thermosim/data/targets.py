"""Inputs and targets of the rows that a loss learns from.

`data.targets` is a column, or several, of the rows (by number, -1 is the last, or by the name that the file gives it),
a file of its own, or another array of the file. Without it the classes of the source are the targets, or the last
columns where it has no classes. Classes are numbered from 0 in the order of their labels; a loss of
real targets takes them as 0 and 1, one component for each class.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from thermosim.data.formats import HEADED, NAMED, files_of, read
from thermosim.data.rows import DataError, Table, said
from thermosim.data.section import DataSection

__all__ = ["Targets", "array_of_targets", "as_targets", "names_column", "rows_of_file", "supervised"]


@dataclass(frozen=True)
class Targets:
    """The targets of one row: so many numbers, or, where `classes` is not 0, one class."""

    count: int
    classes: int = 0


def supervised(
    section: DataSection,
    source: Table,
    inputs: int,
    targets: Targets,
    folder: Path,
    known: np.ndarray | None = None,
) -> tuple[Table, np.ndarray]:
    """The table without its targets, and these (rows, k), for a loss of so many inputs. Raises DataError.

    known: labels of the classes from 0, in order, of rows that are to be numbered as others are; default their own.
    """
    named = f"data.source = {section.source!r}" if section.source else f"data.file = {section.file!r}"
    if section.targets is None and source.labels is not None:
        kept = source.kept(section.digits)
        rows = np.full((len(source.labels), targets.count), np.nan)
        rows[kept] = as_targets(source.labels[kept], targets, named, known)
        return source, rows
    values, columns = source.values, np.array([], int)
    if isinstance(section.targets, str) and not names_column(section):
        rows = rows_of_file(section, folder)
        if len(rows) != len(values):
            raise DataError(
                f"data.targets = {section.targets!r}: has {len(rows)} rows, {named} has {len(values)}; they go "
                "together row by row."
            )
    else:
        columns = _columns(section, source, targets.count, named)
        rows = values[:, columns].astype(float)
    key = named if section.targets is None else f"data.targets = {section.targets!r}"
    if rows.shape[1] != targets.count:
        raise DataError(f"{key}: {_few(rows.shape[1], 'column')}, this model has {_few(targets.count, 'target')}.")
    if targets.classes and not (np.isin(rows, np.arange(targets.classes))).all():
        wrong = rows[~np.isin(rows, np.arange(targets.classes))][0]
        raise DataError(
            f"{key}: holds the class {wrong:g}; this model has the classes 0 to {targets.classes - 1}. Number the "
            "classes from 0, or give the model more."
        )
    if not columns.size:
        return source, rows
    left = np.delete(values, columns, axis=1)
    if not left.size:
        raise DataError(f"{key}: takes every column, and leaves no inputs; save inputs and targets side by side.")
    return replace(source, values=left, low=float(left.min()), high=float(left.max()), names=()), rows


def as_targets(labels: np.ndarray, targets: Targets, named: str, known: np.ndarray | None = None) -> np.ndarray:
    """Labels (rows,) as classes from 0, or as one component of 0 or 1 for each class: (rows, k). Raises DataError.

    known: labels of all classes in order; default those that are there.
    """
    found = np.unique(labels) if known is None else known
    if len(strange := np.setdiff1d(labels, found)):
        shown = ", ".join(map(str, found))
        raise DataError(f"{named}: holds the class {strange[0]}, the rows to learn from only {shown}; remove its rows.")
    classes = np.searchsorted(found, labels)
    if targets.classes:
        if len(found) > targets.classes:
            raise DataError(
                f"{named}: has {len(found)} classes, this model has {targets.classes}; give the model "
                f"{len(found)}, or choose some of them with data.digits."
            )
        return np.asarray(classes.reshape(-1, 1), float)
    if targets.count != len(found):
        raise DataError(
            f"{named}: has {len(found)} classes, so as many targets of 0 or 1, this model has {targets.count}; give "
            f"the model {len(found)}, or choose others with data.targets."
        )
    return np.eye(len(found))[classes.reshape(-1)]


def array_of_targets(section: DataSection) -> str | None:
    """The array that data.targets names inside data.file, where that holds several and it is no file of its own."""
    return str(section.targets) if _is_inside(section, NAMED) else None


def names_column(section: DataSection) -> bool:
    """Whether data.targets is the name of a column of data.file, and no file of its own."""
    return _is_inside(section, HEADED)


def _is_inside(section: DataSection, endings: Collection[str]) -> bool:
    given, file = section.targets, Path(section.file or "")
    own = isinstance(given, str) and Path(given).suffix.lower() not in (*NAMED, *HEADED, ".npy")
    return own and file.suffix.lower() in endings


def _columns(section: DataSection, source: Table, count: int, named: str) -> np.ndarray:
    """Numbers of the columns that are targets, from 0."""
    given, width = section.targets, source.values.shape[1]
    if given is None:
        given = list(range(-count, 0))
        if count >= width:
            raise DataError(
                f"{named}: rows have {_few(width, 'column')}, and the last {count} would be targets; save inputs and "
                "targets side by side, or name a file of targets with data.targets."
            )
    listed = given if isinstance(given, list) else [given]
    if unknown := [name for name in listed if isinstance(name, str) and name not in source.names]:
        near = difflib.get_close_matches(unknown[0], source.names, 1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(source.names)}."
        known = hint if source.names else "its columns have no names; give their numbers, or a line of names."
        raise DataError(f"data.targets = {given!r}: no column of {named} is called {unknown[0]!r}; {known}")
    chosen = np.array([source.names.index(one) if isinstance(one, str) else one for one in listed], int)
    if (chosen < -width).any() or (chosen >= width).any():
        raise DataError(f"data.targets = {given!r}: rows have {_few(width, 'column')}, 0 to {width - 1}.")
    chosen = chosen % width
    if len(np.unique(chosen)) < len(chosen):
        raise DataError(f"data.targets = {given!r}: names a column twice; once is enough.")
    return np.asarray(chosen)


def rows_of_file(section: DataSection, folder: Path) -> np.ndarray:
    """Targets (rows, k) from a file of their own, or from another array of the file of inputs."""
    name, inside = str(section.targets), array_of_targets(section)
    file = str(section.file) if inside else name
    try:
        table = read(file, files_of(file, folder), inside, flat=True)
    except DataError as error:
        raise DataError(
            str(error).replace("data.file", "data.targets").replace("data.dataset", "data.targets")
        ) from None
    except Exception as error:  # a file can be broken in any way
        raise DataError(f"data.targets = {name!r}: cannot be read ({said(error)}); make the file again.") from error
    return np.asarray(table.values, float)


def _few(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
