"""Legends that do not cover what they explain: in a free corner, or above the data, for which room is made."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.path import Path
from matplotlib.transforms import Transform

from thermosim.plots import style

__all__ = ["legend"]

_LINE, _LETTER, _HANDLE = 11.5, 4.3, 30.0  # points: height of an entry, width of a letter, and of what precedes it
_EDGE = 8.0  # points between axes and entries
_FILLING = 17  # points of a segment, and of a side of a box, that are looked at
_CORNERS = {2: (0, 1), 1: (1, 1), 4: (1, 0), 3: (0, 0)}  # matplotlib's number: right and top


def legend(panel: Axes, size: tuple[float, float] = (205.0, 145.0)) -> None:
    """Every label once, doubtful values last. size: of the axes, about, in points."""
    handles, labels = panel.get_legend_handles_labels()
    entries = dict(reversed(list(zip(labels, handles))))
    order = sorted(dict.fromkeys(labels), key=lambda label: label == "not valid")
    if not order:
        return
    shown = [entries[label] for label in order]
    taken = np.concatenate([*_taken(panel), np.empty((0, 2))])
    for columns in (1, 2):
        width, height = _box(order, columns, size)
        for corner, (right, top) in _CORNERS.items():
            left, bottom = right * (1.0 - width), top * (1.0 - height)
            if width <= 1.0 and _free(panel, taken, left, bottom, width, height):
                panel.legend(shown, order, loc=corner, ncols=columns, columnspacing=1.0, borderaxespad=0.2)
                return
    columns = 2 if _box(order, 2, size)[0] <= 1.0 else 1
    height = _box(order, columns, size)[1]
    style.headroom(panel, height / (1.0 - height))
    panel.legend(shown, order, loc="upper left", ncols=columns, columnspacing=1.0, borderaxespad=0.2)


def _box(labels: list[str], columns: int, size: tuple[float, float]) -> tuple[float, float]:
    """Width and height of a legend, as fractions of the axes."""
    rows = -(-len(labels) // columns)
    widths = [max(map(_letters, labels[k : k + rows])) for k in range(0, len(labels), rows)]
    width = sum(_HANDLE + _LETTER * letters for letters in widths)
    return (width + _EDGE) / size[0], (rows * _LINE + _EDGE) / size[1]


def _letters(label: str) -> int:
    """Length of a label as it is drawn: a TeX command is one sign."""
    return len(re.sub(r"[${}_^]|\\[,!]", "", re.sub(r"\\[A-Za-z]+", "x", label)))


def _free(panel: Axes, taken: np.ndarray, left: float, bottom: float, width: float, height: float) -> bool:
    """Whether nothing is drawn in a box, in fractions of the axes."""
    inside = (taken >= (left, bottom)) & (taken <= (left + width, bottom + height))
    if inside.all(axis=1).any():
        return False
    u, v = np.meshgrid(left + width * np.linspace(0, 1, _FILLING), bottom + height * np.linspace(0, 1, _FILLING))
    pixels = panel.transAxes.transform(np.stack([u.ravel(), v.ravel()], axis=1))
    return not any(path.contains_points(pixels, transform=how).any() for path, how in _areas(panel))


def _areas(panel: Axes) -> Iterator[tuple[Path, Transform]]:
    """Outlines of what is filled, and how they get on the page."""
    for band in panel.collections:
        if isinstance(band, PolyCollection):
            yield from ((path, band.get_transform()) for path in band.get_paths())
    yield from ((patch.get_path(), patch.get_transform()) for patch in panel.patches if patch.get_fill())


def _taken(panel: Axes) -> Iterator[np.ndarray]:
    """Points of all lines and marks, in fractions of the axes; the long segments of lines are filled."""
    panel.get_xlim(), panel.get_ylim()  # brings pending automatic limits up to date
    to_axes = panel.transAxes.inverted()
    for line in panel.lines:
        points = to_axes.transform(line.get_transform().transform(np.asarray(line.get_xydata(), float)))
        drawn = line.get_linestyle() not in ("None", "none", "", " ") and len(points) > 1
        yield _filled(points) if drawn else points
    for collection in panel.collections:
        transform = collection.get_transform()
        if isinstance(collection, LineCollection):
            for segment in collection.get_segments():
                ends = np.asarray(segment, float)
                if len(ends) > 1 and np.isfinite(ends).all():
                    yield _filled(to_axes.transform(transform.transform(ends)))
        elif isinstance(collection, PathCollection):
            yield to_axes.transform(panel.transData.transform(np.asarray(collection.get_offsets(), float)))
    outlines = [(patch.get_path(), patch.get_transform()) for patch in panel.patches]
    for path, transform in [*_areas(panel), *outlines]:
        yield _filled(to_axes.transform(transform.transform(np.asarray(path.vertices, float))))


def _filled(points: np.ndarray) -> np.ndarray:
    share = np.linspace(0.0, 1.0, _FILLING)[:, None, None]
    return np.asarray((points[:-1] + share * (points[1:] - points[:-1])).reshape(-1, 2))
