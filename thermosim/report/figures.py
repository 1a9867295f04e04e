"""A picture as SVG for a page: one for each panel, with the numbers that are drawn as marks to point at.

The pictures are those of `thermosim plot`, drawn once more by matplotlib, whose SVG needs no script to be seen. So the
panels of one page are its groups, cut out where they stand.
"""

from __future__ import annotations

import io
import itertools
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from thermosim.plots import style
from thermosim.report.series import Mark, in_words, marks_of

__all__ = ["Drawn", "Panel", "drawn"]

_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"  # names of XML, never fetched
_ASIDE, _ABOVE = 9.0, 3.0  # points around a panel: SVG sets words a little wider than they were measured
_OVERLAP = 20.0  # points by which panels may reach into each other and still be cut apart
_LARGEST = 2.0  # pixels of a point
_TOLD = 300  # rows of numbers below a panel, at most
_MARK_RADIUS = 3.0


@dataclass(frozen=True)
class Panel:
    """One panel: the SVG, a caption, and the numbers in it."""

    svg: Markup
    caption: str
    across: str  # what stands along the horizontal axis
    marks: list[Mark] = field(repr=False)
    untold: int  # numbers of these that the table leaves out


@dataclass(frozen=True)
class Drawn:
    """All panels of a picture, and the notes below it."""

    panels: list[Panel]
    notes: str

    @property
    def size(self) -> int:
        """Bytes, about."""
        return sum(len(panel.svg) + 130 * len(panel.marks) for panel in self.panels)


def drawn(figure: Figure, name: str) -> Drawn:
    """A figure as panels; `name` tells its identifiers from those of other pictures on the page."""
    axes = [one for one in figure.axes if one.get_visible()]
    for number, one in enumerate(axes):
        one.set_gid(f"panel-{number}")
    figure.set_dpi(72.0)  # that of SVG: words take the room that they have there
    text = _svg(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [_box(one, renderer) for one in axes]
    height = 72.0 * figure.get_figheight()
    root = ET.fromstring(text)
    _rename(root, name)
    notes = in_words(figure.get_supxlabel())
    marks = [marks_of(one) for one in axes]
    if _apart(boxes):
        panels = [
            _panel(root, f"{name}-panel-{k}", [one], box, height, some)
            for k, (one, box, some) in enumerate(zip(axes, boxes, marks))
        ]
    else:
        whole = Bbox([[0.0, 0.0], [72.0 * figure.get_figwidth(), height]])
        panels = [_panel(root, "", axes, whole, height, [mark for some in marks for mark in some])]
    return Drawn(panels, notes)


def _box(panel: Axes, renderer: Any) -> Bbox:
    """Where a panel stands with its words, and a legend that may be beside it."""
    parts = [panel.get_tightbbox(renderer) or panel.get_window_extent()]
    if (legend := panel.get_legend()) is not None:
        parts.append(legend.get_window_extent(renderer))
    return Bbox.union(parts).padded(_ASIDE, _ABOVE)


def _svg(figure: Figure) -> str:
    """The whole figure, the same bytes each time; letters are paths, so that they need no font."""
    buffer = io.StringIO()
    with style.style(), mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "thermosim"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return buffer.getvalue()


def _rename(root: ET.Element, name: str) -> None:
    """Give all identifiers a name of their own on the page."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key.endswith("href") and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))


def _apart(boxes: list[Bbox]) -> bool:
    """Whether no panel reaches into another."""
    for one, other in itertools.combinations(boxes, 2):
        common = Bbox.intersection(one, other)
        if common is not None and min(common.width, common.height) > _OVERLAP:
            return False
    return bool(boxes)


def _panel(root: ET.Element, group: str, axes: list[Axes], box: Bbox, height: float, marks: list[Mark]) -> Panel:
    """The part of a figure in a box, from one group of it or from all."""
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _LINK)
    kept = [e for e in root.iter(f"{{{_SVG}}}g") if e.get("id") == group] if group else [*root]
    inside = "".join(ET.tostring(e, encoding="unicode") for e in kept)
    if group:  # what stands for all panels, as far as this one needs it
        shared = [e for part in root if part.tag == f"{{{_SVG}}}defs" for e in part]
        needed = [e for e in shared if "id" not in e.attrib or f"#{e.get('id')})" in inside]
        inside = "<defs>" + "".join(ET.tostring(e, encoding="unicode") for e in needed) + f"</defs>{inside}"
    inside = re.sub(r"<(\w+:)?metadata.*?</(\w+:)?metadata>", "", inside, flags=re.DOTALL)
    inside = re.sub(r' xmlns(:\w+)?="[^"]*"', "", inside).replace("xlink:href", "href")
    caption, across = _caption(axes), in_words(axes[0].get_xlabel())
    points = Markup("").join(_point(mark, across, height) for mark in marks)
    view = f"{box.x0:.1f} {height - box.y1:.1f} {box.width:.1f} {box.height:.1f}"
    size = Markup("max-width: {:.0f}px").format(_LARGEST * box.width)  # letters as large in every panel
    head = Markup('<svg xmlns="{}" viewBox="{}" style="{}" role="img" aria-label="{}">')
    head = head.format(_SVG, view, size, caption)
    svg = head + Markup(inside) + Markup('<g class="marks">') + points + Markup("</g></svg>")
    return Panel(svg, caption, across, marks[:_TOLD], max(0, len(marks) - _TOLD))


def _point(mark: Mark, across: str, height: float) -> Markup:
    value = f"{mark.value} ± {mark.error}" if mark.error else mark.value
    told = f"{mark.of}: {value} at {across} {mark.at}" if across else f"{mark.of}: {value} at {mark.at}"
    place = f'cx="{mark.x:.1f}" cy="{height - mark.y:.1f}" r="{_MARK_RADIUS:g}"'
    return Markup("<circle " + place + "><title>") + escape(told) + Markup("</title></circle>")


def _caption(axes: list[Axes]) -> str:
    """What is drawn against what."""
    parts = []
    for one in axes:
        bar = style.bar_of(one)
        value = in_words(bar.ax.get_xlabel() or bar.ax.get_ylabel()) if bar is not None else in_words(one.get_ylabel())
        across, title = in_words(one.get_xlabel()), ""
        for side in ("right", "center"):
            on = one if bar is None or one.get_title(loc=side) else bar.ax
            title = title or in_words(on.get_title(loc=side))
        words = f"{value} against {across}" if value and across else value or across
        parts.append(f"{words} ({title})" if title and words else words or title)
    return "; ".join(part for part in parts if part) or "a picture"
