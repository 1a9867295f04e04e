"""Rows as they are stored, with their classes where there are any, and the error of data that cannot be had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["LARGEST_FILE", "DataError", "Table", "checked", "said", "sealed"]

LARGEST_FILE = 8 * 2**30


class DataError(ValueError):
    """Data that cannot be had; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Table:
    """All rows of a source, as they are stored. Arrays are read-only: loads share them."""

    values: np.ndarray  # (rows, components)
    labels: np.ndarray | None  # (rows,)
    low: float  # what the unit scale calls 0
    high: float  # and 1
    side: int | None  # of square images
    names: tuple[str, ...] = ()  # of the columns, where the file has them

    def kept(self, classes: list[int] | None) -> np.ndarray:
        """Indices of the rows of some classes, or of all rows."""
        if classes is None or self.labels is None:
            return np.arange(len(self.values))
        return np.flatnonzero(np.isin(self.labels, classes))

    def components(self, shrink: int | None) -> int:
        """Components of a row whose image was shrunk."""
        return self.values.shape[1] // (shrink or 1) ** 2


def sealed(values: np.ndarray, labels: np.ndarray | None, low: float, high: float, side: int | None) -> Table:
    """A table whose arrays nobody can change."""
    for array in (values, labels):
        if array is not None:
            array.flags.writeable = False
    return Table(values, labels, low, high, side)


def checked(key: str, array: np.ndarray, labels: np.ndarray | None = None) -> Table:
    """A table of rows of finite numbers, images flattened. Raises DataError for any other array."""
    if array.dtype.kind not in "buif":
        raise DataError(f"{key}: holds values of type {array.dtype}; save real numbers instead.")
    if array.ndim < 2:
        raise DataError(
            f"{key}: has shape {array.shape}, expected rows x components (or images); "
            "save one number per row as values[:, None]."
        )
    if array.size == 0:
        raise DataError(f"{key}: has shape {array.shape}, so there is no row in it; save at least one.")
    if labels is not None and labels.shape != (len(array),):
        raise DataError(f"{key}: {len(array)} rows have {len(labels)} classes; save one for each row.")
    side = array.shape[1] if array.ndim == 3 and array.shape[1] == array.shape[2] else None
    rows = np.ascontiguousarray(array).reshape(len(array), -1)
    with np.errstate(over="ignore"):
        rows = rows.astype(float) if rows.dtype.kind == "f" else rows  # what a wider type holds may be infinite here
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise DataError(
            f"{key}: {len(bad)} of {len(rows)} rows hold values that are not finite, or missing, the first is row "
            f"{bad[0]}; remove or mend them."
        )
    return sealed(rows, labels, float(rows.min()), float(rows.max()), side)


def said(error: Exception) -> str:
    """What an error of a library says, as part of a sentence."""
    return str(error).rstrip(".") or type(error).__name__
