"""Rows that no replica learns from, to test what was learned.

`data.test` is a share of the rows of a source, or a number of them, taken from all sets alike; of a generated source a
number of further rows of the same law; or a file of their own, stored and encoded as the rows to learn from. Which rows
are held out depends on `data.seed` and the number of all rows only: they are the first of a random order of their own,
so a larger part holds the smaller one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from thermosim.data.generators import TEST, order
from thermosim.data.rows import DataError, Table
from thermosim.data.section import GENERATED, DataSection
from thermosim.data.tables import table
from thermosim.data.targets import Targets, supervised
from thermosim.data.tokens import holds_tokens

__all__ = ["file_rows", "how_many_learned", "learned", "share_faults", "test_faults", "tested"]

_EXPECTED = "expected a share of the rows between 0 and 1, a whole number of them, or the name of a file"


def tested(section: DataSection, source: Table) -> np.ndarray:
    """Indices, rising, of the rows of a source that are held out."""
    kept = source.kept(section.digits)
    count = _count(section, len(kept))
    return np.sort(kept[order(section.seed, len(kept), TEST)[:count]]) if count else kept[:0]


def learned(section: DataSection, source: Table) -> np.ndarray:
    """Indices, rising, of the rows of a source to learn from: all of the chosen classes but those held out."""
    return np.setdiff1d(source.kept(section.digits), tested(section, source), assume_unique=True)


def how_many_learned(section: DataSection, source: Table) -> int:
    """The number of these, which needs no random order."""
    total = len(source.kept(section.digits))
    return total - _count(section, total)


def _count(section: DataSection, total: int) -> int:
    given = section.test
    if given is None or isinstance(given, str):
        return 0
    return round(given * total) if isinstance(given, float) else int(given)


def test_faults(section: DataSection, targets: Targets | None) -> list[str]:
    """What is wrong with a data.test, as far as it can be told without rows."""
    given, key = section.test, f"data.test = {section.test!r}"
    if targets is None and isinstance(given, str):
        why = "its tokens would be others" if holds_tokens(section) else "is for rows with targets where it is a file"
        return [f"{key}: {why}; hold out a share of the rows, as in data.test = 0.2."]
    generated = section.source in GENERATED
    if isinstance(given, bool) or not isinstance(given, (int, float, str)):
        return [f"{key}: {_EXPECTED}."]
    if generated and not isinstance(given, int):
        return [f"{key}: rows to test {section.source!r} with are drawn besides; give their number, such as 1000."]
    if isinstance(given, float) and not 0.0 < given < 1.0:
        return [f"{key}: {_EXPECTED}; {given:g} is no share."]
    if isinstance(given, int) and not 1 <= given <= 10**9:
        return [f"{key}: {_EXPECTED}; give at least one row."]
    if given == section.file:
        return [f"{key}: is the file to learn from; hold out a share of it, as in data.test = 0.2, or name another."]
    if isinstance(given, str) and isinstance(section.targets, str) and Path(section.targets).suffix:
        only = f"data.targets = {section.targets!r} holds the targets of the rows to learn from only"
        return [f"{key}: {only}; save both files with their targets, or hold out a share, as in data.test = 0.2."]
    return []


def share_faults(section: DataSection, total: int) -> list[str]:
    """Whether what is held out of so many rows leaves some of both kinds."""
    given, count = section.test, _count(section, total)
    if given is None or isinstance(given, str) or 0 < count < total:
        return []
    many = "1 row" if total == 1 else f"{total} rows"
    what = "no row to test with; make it larger" if count == 0 else "no row to learn from; make it smaller"
    return [f"data.test = {given!r}: of {many} that leaves {what}."]


def _in_order(key: str, rows: Table, names: tuple[str, ...]) -> Table:
    """The same with its columns in the order of these names, where both files name them. Raises DataError."""
    if not names or not rows.names or rows.names == names:
        return rows
    if sorted(rows.names) != sorted(names):
        odd = next((name for name in names if name not in rows.names), rows.names[-1])
        raise DataError(f"{key}: its columns are not those of the rows to learn from: {odd!r}; give both the same.")
    order_of_names = [rows.names.index(name) for name in names]
    return replace(rows, values=np.ascontiguousarray(rows.values[:, order_of_names]), names=names)


def file_rows(
    section: DataSection, source: Table, inputs: int, targets: Targets, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (rows, n), as stored, and targets (rows, k) of the file of data.test. Raises DataError.

    `source` are the rows to learn from, without their targets: the file is to be like them.
    """
    key, own = f"data.test = {section.test!r}", section.model_copy(update={"file": section.test, "source": None})
    try:
        if (folder / str(section.test)).is_dir():  # whose rows to learn from would be found
            raise DataError(f"{key}: is a folder; name the file of images in it, such as t10k-images-idx3-ubyte.")
        rows = table(own, folder, inputs)
        if (rows.labels is None) != (source.labels is None) and section.targets is None:
            has, has_not = (
                ("it has", "the rows to learn from have not")
                if source.labels is None
                else ("the rows to learn from have", "it has not")
            )
            raise DataError(f"{key}: {has} classes stored beside them, {has_not}; save both in the same way.")
        rows = _in_order(key, rows, table(section, folder, inputs).names)
        known = None if source.labels is None else np.unique(source.labels[source.kept(section.digits)])
        rows, aims = supervised(own, rows, inputs, targets, folder, known)
    except DataError as error:
        raise DataError(str(error).replace(f"data.file = {section.test!r}", key)) from None
    if rows.values.shape[1] != source.values.shape[1]:
        raise DataError(
            f"{key}: rows have {rows.values.shape[1]} inputs, those to learn from {source.values.shape[1]}; test with "
            "rows of the same columns."
        )
    kept = rows.kept(section.digits)
    if not kept.size:
        raise DataError(f"{key}: has no row of data.digits = {section.digits!r}; choose others.")
    return rows.values[kept], aims[kept]
