"""Legends that cover nothing, nor stretch the axes: in a free corner, or where there is none above the panel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import same_color
from matplotlib.container import ErrorbarContainer
from matplotlib.legend import Legend
from matplotlib.path import Path
from matplotlib.transforms import Bbox, Transform

from thermosim.plots import style

__all__ = ["legend", "place"]

_FILLING = 17  # points of a segment, and of a side of a box, that are looked at
_CORNERS = {"upper left": (0, 1), "upper right": (1, 1), "lower right": (1, 0), "lower left": (0, 0)}
_WANTED = "legend "  # label of a panel that has one, before its heading
_GAP, _TICK = 2.0, 3.0  # points; the uppermost tick label stands out of the axes by half its height


def legend(panel: Axes, title: str = "") -> None:
    """Have a legend of all labels; where it stands is settled when the page is laid out (`place`)."""
    panel.set_label(_WANTED + title)


def place(panels: Sequence[Axes]) -> dict[Axes, float]:
    """Make the legends of panels that want one; the height in inches of each that stands above its axes.

    The figure must have been laid out.
    """
    wanted = [panel for panel in panels if str(panel.get_label()).startswith(_WANTED)]
    return {panel: _above(panel) for panel in wanted if not _in_corner(panel)}


def _made(panel: Axes, **where: Any) -> tuple[Legend, Bbox]:
    """A legend of every label once, what is measured first and doubtful values last; and its box in pixels."""
    handles, labels = panel.get_legend_handles_labels()
    entries = dict(reversed(list(zip(labels, handles))))
    measured = {label for handle, label in zip(handles, labels) if isinstance(handle, ErrorbarContainer)}
    order = sorted(entries, key=lambda label: (label == "not valid", label not in measured, labels.index(label)))
    heading = str(panel.get_label()).removeprefix(_WANTED) or None
    made = panel.legend(
        [_with_line(panel, entries[label]) for label in order],
        order,
        title=heading,
        alignment="left",
        columnspacing=1.0,
        **where,
    )
    return made, made.get_window_extent(_renderer(panel))


def _with_line(panel: Axes, handle: Any) -> Any:
    """Measured marks over the line that is exact for them, if there is one."""
    if not isinstance(handle, ErrorbarContainer):
        return handle
    return (*(line for line in style.exact_lines(panel) if same_color(line.get_color(), handle[0].get_color())), handle)


def _renderer(panel: Axes) -> Any:
    assert panel.figure is not None
    return panel.figure.canvas.get_renderer()  # type: ignore[attr-defined]


def _in_corner(panel: Axes) -> bool:
    """Make the legend in a free corner, in one column or two; False where none is free."""
    labels = set(panel.get_legend_handles_labels()[1])
    if not labels:
        return True
    taken = np.concatenate([*_taken(panel), np.empty((0, 2))])
    whole = panel.get_window_extent().padded(2.0)
    for columns in (1, 2) if len(labels) > 2 else (1,):
        for corner in _CORNERS:
            made, box = _made(panel, loc=corner, ncols=columns, borderaxespad=0.3)
            inside = whole.contains(box.x0, box.y0) and whole.contains(box.x1, box.y1)
            if inside and _free(panel, taken, box.transformed(panel.transAxes.inverted())):
                made.set_in_layout(False)
                return True
            made.remove()
    return False


def _above(panel: Axes) -> float:
    """Make the legend above the axes, in as many columns as fit, and room for it under the title; its height."""
    assert panel.figure is not None
    axes, raised = panel.get_window_extent(), _TICK * panel.figure.dpi / 72.0
    label, count = panel.yaxis.label.get_window_extent(), len(set(panel.get_legend_handles_labels()[1]))
    left, bar = min(label.x1 if label.y1 > axes.y1 - 2.0 else label.x0, axes.x0), style.bar_of(panel)
    if bar is not None:
        raised += bar.ax.xaxis.label.get_window_extent().y1 - axes.y1
    corner = (left - axes.x0) / axes.width, 1.0 + raised / axes.height
    for columns in range(min(count, 4), 0, -1):
        made, box = _made(panel, loc="lower left", bbox_to_anchor=corner, ncols=columns, borderaxespad=0.0)
        if box.width <= axes.x1 - left or columns == 1:
            break
        made.remove()
    titled = panel if bar is None else bar.ax
    height = (box.height + (raised if bar is None else _TICK)) / panel.figure.dpi
    for where in ("left", "center", "right"):
        if text := titled.get_title(loc=where):
            titled.set_title(text, loc=where, pad=72.0 * height + _GAP)
    return float(height)


def _free(panel: Axes, taken: np.ndarray, box: Bbox) -> bool:
    """Whether nothing is drawn in a box, in fractions of the axes."""
    inside = (taken >= (box.x0 - 0.01, box.y0 - 0.02)) & (taken <= (box.x1 + 0.01, box.y1 + 0.02))
    if inside.all(axis=1).any() or any(isinstance(part, QuadMesh) for part in panel.collections):
        return False
    u, v = np.meshgrid(np.linspace(box.x0, box.x1, _FILLING), np.linspace(box.y0, box.y1, _FILLING))
    pixels = panel.transAxes.transform(np.stack([u.ravel(), v.ravel()], axis=1))
    return not any(path.contains_points(pixels, transform=how).any() for path, how in _areas(panel))


def _areas(panel: Axes) -> Iterator[tuple[Path, Transform]]:
    """Outlines of what is filled, and how they get on the page."""
    for band in panel.collections:
        if isinstance(band, PolyCollection):
            yield from ((path, band.get_transform()) for path in band.get_paths())
    yield from ((patch.get_path(), patch.get_transform()) for patch in panel.patches if patch.get_fill())


def _taken(panel: Axes) -> Iterator[np.ndarray]:
    """Points of all lines, marks and words, in fractions of the axes; the long segments of lines are filled."""
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
    for text in panel.texts:
        yield to_axes.transform(text.get_window_extent(_renderer(panel)).corners())


def _filled(points: np.ndarray) -> np.ndarray:
    share = np.linspace(0.0, 1.0, _FILLING)[:, None, None]
    return np.asarray((points[:-1] + share * (points[1:] - points[:-1])).reshape(-1, 2))
