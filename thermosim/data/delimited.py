"""Rows from text: numbers between commas, semicolons, tabs or spaces, with or without a line of names."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from thermosim.data.rows import DataError
from thermosim.data.utf8 import why_not_text

__all__ = ["read_delimited"]

_MISSING = ("", "na", "n/a", "nan", "null", "none", "?", "-")
_COUNTED = 3  # columns from which a first line 0, 1, 2 ... is taken for names that pandas made up


def read_delimited(key: str, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Rows (rows, columns) of a text file, and names of the columns or none. Raises DataError.

    Lines that are blank or begin with # are skipped.
    """
    content = path.read_bytes()
    if why := why_not_text(content):
        raise DataError(f"{key}: {why}.")
    text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip() and line[0] != "#"]
    if not lines:
        raise DataError(f"{key}: is empty; save at least one row.")
    delimiter = next((mark for mark in "\t;," if mark in lines[0][1]), None)
    first = _fields(lines[0][1], delimiter)
    named = not all(map(_is_number, first)) and not any(_is_number(field) for field in first if field)
    names = first if named else [f"number {i}" for i in range(1, len(first) + 1)]
    rows = lines[1:] if named else lines
    below = _fields(lines[1][1], delimiter)[0] if lines[1:] else ""
    if len(first) > 1 and not first[0] and (named or below == "0"):
        raise DataError(
            f"{key}: its first column has no name, as the index that pandas writes; save it with index=False."
        )
    if not rows:
        raise DataError(f"{key}: has a line of names but no row; save at least one.")
    if not named and len(rows) > 1 and len(first) >= _COUNTED and first == [str(i) for i in range(len(first))]:
        raise DataError(
            f"{key}: its first line counts the columns ({', '.join(first[:3])} ...), as pandas does; remove "
            "it (header=False), or give the columns names."
        )
    try:
        values = np.loadtxt([line for _, line in rows], delimiter=delimiter, quotechar='"', comments=None, ndmin=2)
    except ValueError:
        fault = next(_faults(rows, names, delimiter), "cannot be read as numbers; save one row of numbers per line")
        raise DataError(f"{key}: {fault}.") from None
    return values, tuple(names) if named else ()


def _faults(rows: list[tuple[int, str]], names: list[str], delimiter: str | None) -> Iterator[str]:
    """What numpy stumbled over, in words."""
    for number, line in rows:
        fields = _fields(line, delimiter)
        if len(fields) != len(names):
            yield f"line {number} has {len(fields)} values, expected {len(names)}; give every line as many"
        for name, field in zip(names, fields):
            if _is_number(field):
                continue
            if field.lower() in _MISSING:
                yield f"column {name!r} has no value in line {number}; remove the row or fill it"
            if delimiter == ";" and _is_number(field.replace(",", ".")):
                yield f"column {name!r} has {field} in line {number}; write decimals with a point"
            yield f"column {name!r} holds text ({field!r} in line {number}); remove it, or write numbers"


def _fields(line: str, delimiter: str | None) -> list[str]:
    fields = next(csv.reader([line], delimiter=delimiter)) if delimiter else line.split()
    return [field.strip() for field in fields]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
