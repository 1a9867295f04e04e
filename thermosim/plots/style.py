"""The look shared by all figures: quiet, safe for colour-blind readers; theory a line, data a mark with its error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import mathtext
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = [
    "COLOURS",
    "GREY",
    "data",
    "headroom",
    "label_panels",
    "log_ticks",
    "new_figure",
    "pick",
    "sequence",
    "style",
    "theory",
]

# P. Tol, Colour Schemes (2021), "bright": safe for the common kinds of colour blindness
COLOURS = ("#4477AA", "#EE6677", "#228833", "#AA3377", "#66CCEE", "#CCBB44")
GREY = "#777777"
PANEL = (3.3, 2.6)  # inches
_LONGEST = 200  # characters of a title

SETTINGS: dict[str, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "ytick.minor.width": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "errorbar.capsize": 0,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 1.8,
    "mathtext.fontset": "dejavusans",
    "image.cmap": "viridis",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw with the settings of this file, and leave those of the caller alone."""
    with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
        yield


def new_figure(rows: int, columns: int, *, title: str = "", panel: tuple[float, float] = PANEL) -> tuple[Figure, Any]:
    """A figure without pyplot (nothing is shown or kept), and its axes as an array (rows, columns)."""
    figure = Figure(figsize=(panel[0] * columns, panel[1] * rows), layout="constrained")
    if title:
        shown = title if len(title) <= _LONGEST else title[:_LONGEST] + " ..."
        figure.suptitle(shown, fontsize=10, x=0.01, ha="left", parse_math=_is_mathematics(shown))
    return figure, figure.subplots(rows, columns, squeeze=False)


def _is_mathematics(text: str) -> bool:
    """Whether what stands between dollars is; a title with one that is none is shown as it is."""
    try:
        mathtext.MathTextParser("path").parse(text)
    except ValueError:
        return False
    return True


def data(
    axes: Axes, x: Any, y: Any, error: Any = None, *, color: str = COLOURS[0], label: str = "", **more: Any
) -> None:
    """Measured points with bars of one standard error."""
    options: dict[str, Any] = {"fmt": "o", "mfc": "white", "mew": 1.0, "ms": 4, "elinewidth": 1.0, "zorder": 3} | more
    axes.errorbar(np.asarray(x), np.asarray(y), yerr=error, color=color, label=label or None, **options)


def theory(axes: Axes, x: Any, y: Any, *, color: str = GREY, label: str = "", **more: Any) -> None:
    """A theoretical line."""
    axes.plot(np.asarray(x), np.asarray(y), color=color, label=label or None, **({"lw": 1.2, "zorder": 2} | more))


def log_ticks(axes: Axes, which: str = "xy") -> None:
    """Logarithmic axes whose ticks are powers of ten, or plain numbers where the range is short."""
    for letter in which:
        axis = axes.xaxis if letter == "x" else axes.yaxis
        getattr(axes, f"set_{letter}scale")("log")
        low, high = sorted(axis.get_view_interval())
        if high / max(low, 1e-300) < 30.0:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())


def headroom(axes: Axes, fraction: float) -> None:
    """Raise the upper end of the y axis by this fraction of its height, for a legend above the data."""
    transform = axes.yaxis.get_transform()
    low, high = transform.transform(np.asarray(axes.get_ylim()))
    axes.set_ylim(top=float(transform.inverted().transform(np.asarray([high + fraction * (high - low)]))[0]))


def label_panels(axes: Sequence[Axes]) -> None:
    """(a), (b), ... in the upper left corner, outside the frame."""
    for letter, panel in zip("abcdefghijkl", axes, strict=False):
        panel.set_title(f"({letter})", loc="left", fontweight="bold", fontsize=9)


def pick(length: int, most: int = 4) -> list[int]:
    """Indices of at most `most` evenly spread members, first and last included."""
    return sorted(set(np.linspace(0, length - 1, min(most, length)).round().astype(int).tolist()))


def sequence(count: int) -> list[str]:
    """Colours for ordered values, dark to light."""
    colormap = mpl.colormaps["viridis"]
    return [mpl.colors.to_hex(colormap(v)) for v in np.linspace(0.05, 0.8, count)]
