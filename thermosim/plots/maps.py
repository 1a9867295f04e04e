"""Axes of a sweep as axes of a panel, and maps of a quantity over two of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from thermosim.analysis.settings import axes, settings
from thermosim.plots import style
from thermosim.plots.labels import named, shown, swept_name
from thermosim.plots.page import Draw, colour_bar

__all__ = ["NO_VALUE", "SweptAxis", "edges", "heat_map", "map_of", "swept_axes"]

_DECADES = 100.0  # ratio of values from which colours are logarithmic
_TICKS = 8  # values along an axis that are all told, at most
_NUMBERS = 8  # ticks of values that are no numbers, at most
NO_VALUE = "0.88"  # colour of a point without a value


@dataclass(frozen=True, eq=False)
class SweptAxis:
    """An axis of the sweep: numbers where they stand, anything else side by side."""

    name: str
    values: Sequence[Any]
    words: str

    @functools.cached_property
    def numeric(self) -> bool:
        """Whether its values are different numbers."""
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in self.values)
        return numbers and len(set(self.values)) == len(self.values)

    @functools.cached_property
    def places(self) -> np.ndarray:
        """Where the values stand, in their order."""
        return np.asarray(self.values, float) if self.numeric else np.arange(len(self.values), dtype=float)

    @functools.cached_property
    def logarithmic(self) -> bool:
        """Whether they are spread over a logarithmic scale."""
        return self.numeric and style.is_logarithmic(self.places)

    def along(self, panel: Axes, which: str = "x") -> None:
        """Label, scale and ticks of one of the panel's axes."""
        panel.set(**{f"{which}label": self.words})
        if not self.numeric:
            every = -(-len(self.values) // _NUMBERS)
            ticks = [shown(value) for value in self.values]
            slanted = which == "x" and sum(len(tick) + 2 for tick in ticks[::every]) > 38
            more: dict[str, Any] = {"rotation": 20, "ha": "right"} if slanted else {}
            getattr(panel, f"set_{which}ticks")(self.places[::every], ticks[::every], **more)
            return
        if self.logarithmic:
            style.log_ticks(panel, which)
        if self._few:
            axis = panel.xaxis if which == "x" else panel.yaxis
            axis.set_major_locator(FixedLocator(self.places.tolist()))
            axis.set_major_formatter(FixedFormatter([shown(value) for value in self.values]))
            axis.set_minor_locator(NullLocator())

    @functools.cached_property
    def _few(self) -> bool:
        """Whether its numbers are few, short and far enough apart to be ticks."""
        words = [shown(value) for value in self.values]
        at = np.sort(np.log(self.places) if self.logarithmic else self.places)
        apart = np.diff(at).min() * (_TICKS + 0.01) >= np.ptp(at)
        exact = np.allclose([float(word) for word in words], self.places, rtol=1e-9, atol=0.0)
        return bool(apart and exact and max(map(len, words)) <= 5)


def swept_axes(ds: xr.Dataset) -> list[SweptAxis]:
    """The axes of several values, those of numbers first."""
    swept = settings(ds).sweep.values()
    found = [SweptAxis(name, values, swept_name(name)) for name, values in zip(axes(ds), swept, strict=True)]
    return sorted((axis for axis in found if len(axis.values) > 1), key=lambda axis: not axis.numeric)


def edges(places: np.ndarray, logarithmic: bool) -> np.ndarray:
    """Edges of cells around ordered places, half way on their scale."""
    at = np.log(places) if logarithmic else places
    between = 0.5 * (at[1:] + at[:-1])
    result = np.concatenate([[2 * at[0] - between[0]], between, [2 * at[-1] - between[-1]]])
    return np.exp(result) if logarithmic else result


def heat_map(panel: Axes, values: np.ndarray, x: SweptAxis, y: SweptAxis, words: str) -> None:
    """values (y, x) as colours, each cell around its point; colours are logarithmic over two decades and more."""
    columns, rows = np.argsort(x.places), np.argsort(y.places)
    ordered = np.ma.masked_invalid(values[np.ix_(rows, columns)])
    low, high = (float(ordered.min()), float(ordered.max())) if ordered.count() else (0.0, 1.0)
    norm = LogNorm if low > 0.0 and high > _DECADES * low else Normalize
    sides = edges(x.places[columns], x.logarithmic), edges(y.places[rows], y.logarithmic)
    image = panel.pcolormesh(*sides, ordered, norm=norm(low, high), cmap="viridis", rasterized=True)
    panel.set_facecolor(NO_VALUE)
    x.along(panel, "x")
    y.along(panel, "y")
    panel.set(xlim=(sides[0][0], sides[0][-1]), ylim=(sides[1][0], sides[1][-1]))
    colour_bar(panel, image, words)


def map_of(ds: xr.Dataset, values: xr.DataArray, words: str, title: str = "") -> Draw | None:
    """A map of values (over the sweep) along its first two axes, at the first value of any other.

    None without two axes, and where nothing varies.
    """
    swept = swept_axes(ds)
    if len(swept) < 2:
        return None
    x, y = swept[:2]
    rest = {name: 0 for name in axes(ds) if name not in (x.name, y.name)}
    there = values.isel(rest).transpose(y.name, x.name).values.astype(float)
    if np.isfinite(there).sum() > 1 and np.nanmin(there) == np.nanmax(there):
        return None
    fixed = named(ds, {axis.name: 0 for axis in swept[2:]})

    def draw(panel: Axes) -> None:
        heat_map(panel, there, x, y, words)
        panel.set_title(", ".join(part for part in (title, fixed) if part), loc="right")

    return draw
