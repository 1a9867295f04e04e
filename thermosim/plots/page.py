"""The page that every picture is drawn on, at the size it is printed: 17 cm wide, or 8.5 cm for a single panel.

A picture is a title, panels and a few small lines at the bottom. Panels draw; the page sees to what all have in common:
letters, legends, powers of ten, lines that are long, and what points, bands and lines without a name stand for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from thermosim.plots import legends, style
from thermosim.plots.labels import letters, plain, wrapped

__all__ = ["Draw", "colour_bar", "page"]

Draw = Callable[[Axes], None]

_WIDTH, _SINGLE = 17.0 / 2.54, 8.5 / 2.54  # inches
_HEIGHT, _LOWEST, _BAR = 2.2, 1.6, 0.45  # inches of a row, at most and at least, and of a colour bar above it
_TALLEST = 23.5 / 2.54  # inches of a page
_TITLE, _NOTE = 9.0, 7.0  # points
_LETTER = 0.54  # width of a letter over the size of its font


def page(
    title: str, draws: Sequence[Draw], notes: Sequence[str] = (), over: str = "replicas", exact: str = ""
) -> Figure:
    """All panels, two in a row. To be called in `style.style`.

    title: a user's own, in any length; notes: sentences; over: what the points are means of; exact: what is said of
    lines without a name, if not that they are exact at the run's own steps.
    """
    columns = 1 if len(draws) < 2 else 2
    rows = max(1, -(-len(draws) // columns))
    width = _WIDTH if columns == 2 else _SINGLE
    figure = Figure(figsize=(width, _HEIGHT * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat) if draws else []
    for panel, draw in zip(panels, draws):
        draw(panel)
    for panel in panels[len(draws) :]:
        panel.remove()
    panels = panels[: len(draws)]
    across = 0.96 * 72 * width / _LETTER  # letters of a line, times their size
    heading = wrapped(plain(title), int(across / _TITLE))
    told = [" ".join(_key(panels, over, exact)), *notes]
    lines = [line for note in told if note for line in wrapped(note, int(across / _NOTE)).split("\n")]
    if heading:
        figure.suptitle(heading, fontsize=_TITLE, x=0.01, ha="left")
    if lines:
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=_NOTE, color="0.3")
    beside = 0.17 * (heading.count("\n") + 1) + 0.13 * len(lines) + 0.1
    bars = _BAR * len({k // columns for k, panel in enumerate(panels) if style.bar_of(panel) is not None})
    if panels:
        _finish(figure, panels, columns, beside + bars)
    else:
        figure.set_size_inches(width, beside + 0.2)
    return figure


def colour_bar(panel: Axes, image: ScalarMappable, words: str, **more: str) -> None:
    """A colour bar above a map, as wide as the map; the page puts the panel's title above both."""
    assert panel.figure is not None
    place = panel.inset_axes((0.0, 1.04, 1.0, 0.06))
    bar = panel.figure.colorbar(image, cax=place, orientation="horizontal", ticklocation="top", **more)  # type: ignore[arg-type]
    bar.set_label(words.replace("\n", " "))


def _key(panels: Sequence[Axes], over: str, exact: str) -> list[str]:
    """What points, bands and lines without a name stand for, of those that are there."""
    lines = [style.exact_lines(panel) for panel in panels]
    said = []
    if any(panel.containers and any(len(c) == 3 and c[2] for c in panel.containers) for panel in panels):
        said.append(f"Points: mean and standard error over {over}.")
    if any(lines):
        dashed = any(len({line.get_linestyle() for line in some}) > 1 for some in lines)
        which = "Lines of the same colour" + (", dashed as in the legend" if dashed else "")
        said.append(exact or f"{which}: exact, at the run's own steps.")
    bands = [part for panel in panels for part in panel.collections if isinstance(part, PolyCollection)]
    if any(band.get_label() == style.BAND for band in bands):
        said.append("Bands: 5 to 95 % of replicas, around their mean.")
    return said


def _finish(figure: Figure, panels: list[Axes], columns: int, beside: float) -> None:
    """What can only be done when everything is drawn."""
    rows = -(-len(panels) // columns)
    width = figure.get_figwidth()
    row = max(min(_HEIGHT, (_TALLEST - beside) / rows), _LOWEST)
    figure.set_size_inches(width, row * rows + beside)
    _lay_out(figure)
    bars = [bar.ax for panel in panels if (bar := style.bar_of(panel)) is not None]
    for axes in (*panels, *bars):
        _name_powers(axes)
    for panel in panels:
        label, locator = panel.get_xlabel(), panel.xaxis.get_major_locator()
        if (label.startswith("step") or label.endswith("(steps)")) and isinstance(locator, MaxNLocator):
            locator.set_params(integer=True)
    for letter, panel in zip("abcdefghijklmnopqrstuvwxyz", panels, strict=False):
        room = int(panel.get_window_extent().width / figure.dpi * 72 / 7.5 / _LETTER) - 5
        title, bar = wrapped(panel.get_title(loc="right"), room), style.bar_of(panel)
        panel.set_title("", loc="right")
        on = panel if bar is None else bar.ax
        on.set_title(title, loc="right")
        if len(panels) > 1:
            on.set_title(rf"$\bf{{({letter})}}$", loc="left")
    _lay_out(figure)
    above = legends.place(panels)
    if above:
        more = sum(
            max(above.get(panel, 0.0) for panel in panels[k : k + columns]) for k in range(0, len(panels), columns)
        )
        figure.set_size_inches(width, max(min(row * rows + beside + more, _TALLEST), _LOWEST * rows + beside))
        _lay_out(figure)
        legends.place([panel for panel in panels if panel not in above])


def _lay_out(figure: Figure) -> None:
    """Give every panel its place, and its ticks; much quicker than to draw it."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)


def _name_powers(axes: Axes) -> None:
    """Write the power of ten of an axis with its unit, where it collides with nothing."""
    for axis in (axes.xaxis, axes.yaxis):
        offset, label = axis.get_offset_text().get_text().replace("\N{MINUS SIGN}", "-"), axis.get_label_text()
        power = re.search(r"^1e(-?\d+)$", offset)
        if power is None or not label:
            continue
        factor = f"$10^{{{power[1]}}}$"
        name, bracket, unit = label.rpartition("(")
        inside = bool(bracket) and label.endswith(")") and letters(unit) < 40
        axis.set_label_text(f"{name}({factor} {unit}" if inside else f"{label} ({factor})")
        axis.get_offset_text().set_visible(False)
