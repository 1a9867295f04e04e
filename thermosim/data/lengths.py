"""How long x and y of a loss are, as the rows of the data have it: for a network that does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from thermosim.data.rows import DataError
from thermosim.data.section import GENERATED, DataSection
from thermosim.data.tables import table
from thermosim.data.targets import Targets, names_column, rows_of_file, supervised
from thermosim.data.tokens import holds_tokens

__all__ = ["lengths_of"]


def lengths_of(section: DataSection, folder: Path, count: Any = None) -> dict[str, int]:
    """Numbers of x, classes of y (0 where it is numbers) and numbers of y, of which there are `count` if it is given.

    Raises DataError where they are not told by the data.
    """
    if section.source in GENERATED:
        return _of_generated(section)
    if holds_tokens(section):
        raise DataError(f"{_named(section)}: holds tokens, of which a row has as many as the network takes.")
    source = table(section, folder, 0)
    if section.targets is None and source.labels is not None:
        classes = np.unique(source.labels[source.kept(section.digits)])
        return {"inputs": source.components(section.shrink), "classes": len(classes), "targets": 1}
    if isinstance(section.targets, str) and not names_column(section):
        count = rows_of_file(section, folder).shape[1]
    elif isinstance(section.targets, list):
        count = len(section.targets)
    rows, aims = supervised(section, source, 0, Targets(int(count or 1)), folder)
    return {"inputs": rows.components(section.shrink), "classes": 0, "targets": aims.shape[1]}


def _named(section: DataSection) -> str:
    return f"data.source = {section.source!r}" if section.source else f"data.file = {section.file!r}"


def _of_generated(section: DataSection) -> dict[str, int]:
    if section.source == "mixture" and section.centers:
        return {"inputs": int(np.size(section.centers[0])), "classes": len(section.centers), "targets": 1}
    if section.source == "linear" and section.matrix:
        return {"inputs": int(np.size(section.matrix[0])), "classes": 0, "targets": len(section.matrix)}
    raise DataError(f"data.source = {section.source!r}: has rows of any length.")
