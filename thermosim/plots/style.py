"""The look shared by all figures: quiet, safe for colour-blind readers and in grey; theory a line, data marks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = [
    "BAND",
    "DOUBTFUL",
    "ENERGY",
    "ENTROPY",
    "EXACT",
    "GREY",
    "HEAT",
    "INFORMATION",
    "LOSS",
    "MEMORY",
    "MODEL",
    "OTHER",
    "SAMPLES",
    "WORK",
    "Look",
    "band",
    "bar_of",
    "data",
    "exact_lines",
    "is_logarithmic",
    "log_ticks",
    "looks",
    "pick",
    "style",
    "theory",
]


class Look(NamedTuple):
    """Colour, mark and dashes of a quantity, or of one of several curves: two of them differ in grey too."""

    color: str
    mark: str
    dashes: Any = "-"


# P. Tol, Colour Schemes (2021), "bright" and "muted": safe for the common kinds of colour blindness
WORK, HEAT, ENERGY, ENTROPY = Look("#4477AA", "o"), Look("#EE6677", "s"), Look("#228833", "^"), Look("#AA3377", "+")
INFORMATION, MEMORY, LOSS, OTHER = (
    Look("#997700", "o"),
    Look("#44AA99", "v"),
    Look("#332288", "o"),
    Look("#555555", "o"),
)
SAMPLES, MODEL = Look("#4477AA", "o"), Look("#CC3311", "")
GREY = "#777777"  # of theory that holds in a limit
DOUBTFUL = "0.65"
EXACT, BAND = "_exact", "_band"  # labels of what is explained once for all panels
_MARKS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1.2, 1.2)), (0, (7, 1, 1, 1, 1, 1)), (0, (2, 2)))

SETTINGS: dict[str, Any] = {
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "savefig.dpi": 200,
    "savefig.bbox": None,
    "pdf.fonttype": 42,  # fonts stay text
    "text.usetex": False,
    "text.color": "black",
    "axes.labelcolor": "black",
    "axes.edgecolor": "black",
    "xtick.color": "black",
    "ytick.color": "black",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 7.5,
    "axes.titlepad": 4.0,
    "axes.labelsize": 8,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.use_mathtext": False,  # plain numbers, which are set quickly; powers are named with the unit
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
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
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.handletextpad": 0.5,
    "legend.handlelength": 1.8,
    "legend.labelspacing": 0.3,
    "mathtext.fontset": "dejavusans",
    "image.cmap": "viridis",
    "axes.prop_cycle": cycler(color=[look.color for look in (WORK, HEAT, ENERGY, ENTROPY)]),
}


@contextmanager
def style() -> Iterator[None]:
    """Draw with the settings of this file, and leave those of the caller alone."""
    with mpl.rc_context(SETTINGS), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", message="Glyph")  # a title in signs that the font does not have
        yield


def data(axes: Axes, x: Any, y: Any, error: Any = None, *, look: Look = WORK, label: str = "", **more: Any) -> None:
    """Measured points with bars of one standard error."""
    options: dict[str, Any] = {"mfc": "white", "mew": 1.0, "ms": 4, "elinewidth": 1.0, "zorder": 3}
    options |= {"fmt": look.mark, "color": look.color} | ({"ms": 6} if look.mark == "+" else {}) | more
    axes.errorbar(np.asarray(x), np.asarray(y), yerr=error, label=label or None, **options)


def theory(axes: Axes, x: Any, y: Any, *, color: str = GREY, label: str = "", **more: Any) -> None:
    """A theoretical line. A coloured one without a label is exact for marks of its colour: the page says so once."""
    exact = not label and color != GREY
    options = {"lw": 1.2, "zorder": 2} | more
    axes.plot(np.asarray(x), np.asarray(y), color=color, label=label or (EXACT if exact else None), **options)


def exact_lines(panel: Axes) -> list[Line2D]:
    """Lines without a name that are exact for marks of their colour."""
    return [line for line in panel.lines if line.get_label() == EXACT]


def bar_of(panel: Axes) -> Colorbar | None:
    """The colour bar of a map, or of a matrix drawn as an image."""
    return next((part.colorbar for part in (*panel.collections, *panel.images) if part.colorbar is not None), None)


def band(panel: Axes, step: Any, values: np.ndarray, look: Look, label: str = "") -> None:
    """Mean over replicas of (steps, replicas) as a line, in a band of 5 to 95 % of them where there are several."""
    values = np.where(np.isfinite(values), values, np.nan)
    known = np.isfinite(values).any(axis=1)
    step, values = np.asarray(step)[known], values[known]
    if not len(step):
        return
    if values.shape[1] > 1:
        low, high = np.nanquantile(values, [0.05, 0.95], axis=1)
        panel.fill_between(step, low, high, color=look.color, alpha=0.2, lw=0, label=BAND)
    mark: dict[str, Any] = {"marker": look.mark, "ms": 3} if len(step) == 1 else {}
    mean = np.nanmean(values, axis=1)
    (line,) = panel.plot(step, mean, color=look.color, ls=look.dashes, label=label or None, **mark)
    line.sticky_edges.y.append(0.0)  # the margin of what is positive stays so


def is_logarithmic(values: Any) -> bool:
    """Whether numbers are spread evenly on a logarithmic axis rather than on a linear one, over a factor 4 or more."""
    values = np.unique(np.asarray(values, float))
    if values.size < 2 or not values[0] > 0.0 or values[-1] < 4.0 * values[0]:
        return False
    if values.size == 2:
        return bool(values[-1] >= 10.0 * values[0])
    even, steps = np.diff(np.log(values)), np.diff(values)
    return bool(even.std() / even.mean() < steps.std() / steps.mean())


def log_ticks(axes: Axes, which: str = "xy") -> None:
    """Logarithmic axes whose ticks are powers of ten, or plain numbers where there are fewer than two of these."""
    for letter in which:
        axis = axes.xaxis if letter == "x" else axes.yaxis
        getattr(axes, f"set_{letter}scale")("log")
        low, high = sorted(axis.get_view_interval())
        decades = np.floor(np.log10(high)) - np.ceil(np.log10(max(low, 1e-300))) + 1
        if high / max(low, 1e-300) < 30.0 or decades < 2:
            short = high / max(low, 1e-300) < 3.0
            axis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0) if short else (1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
        axis.set_minor_formatter(NullFormatter())


def pick(length: int, most: int = 4) -> list[int]:
    """Indices of at most `most` evenly spread members, first and last included."""
    return sorted(set(np.linspace(0, length - 1, min(most, length)).round().astype(int).tolist()))


def looks(count: int) -> list[Look]:
    """Of curves of ordered values, dark to light; of a single one, that of a first quantity."""
    if count == 1:
        return [WORK]
    colours = [mpl.colors.to_hex(mpl.colormaps["viridis"](v)) for v in np.linspace(0.05, 0.78, count)]
    return [Look(colour, _MARKS[k % 6], _DASHES[k % 6]) for k, colour in enumerate(colours)]
