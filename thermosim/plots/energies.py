"""Panels of work, heat and energy that several pictures share."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.settings import axes
from thermosim.checks.driven_theory import Exact
from thermosim.plots import style
from thermosim.plots.labels import label, temperature_of
from thermosim.plots.legends import legend
from thermosim.plots.maps import map_of
from thermosim.plots.page import Draw
from thermosim.plots.style import ENERGY, ENTROPY, HEAT, WORK, Look

__all__ = [
    "FREE",
    "MARKS",
    "distribution",
    "histogram",
    "label_of",
    "largest_residual",
    "ledger",
    "look_of",
    "maps_of",
    "marks",
    "replicas",
]

MARKS = 12  # marks along a curve in time
_ROWS = (
    ("work", "work", "work", WORK),
    ("heat", "heat", "heat absorbed", HEAT),
    ("phi", "energy", r"change of energy, $\Delta\varphi$", ENERGY),
)

_LABELS = {
    "work": ("work $w$", "energy", WORK),
    "heat": ("heat absorbed $q$", "energy", HEAT),
    "log_ratio_x": ("entropy given to the baths", "nat", ENTROPY),
}
FREE = Look(style.MEMORY.color, "v")  # of an estimated free energy


def ledger(ds: xr.Dataset, worst: float, title: str = "", exact: Exact | None = None) -> Draw:
    """Mean work, heat and change of energy since the first frame of one point of a sweep, with the exact books.

    worst: the largest first-law residual of any replica. exact: what theory knows of this point.
    """

    def draw(panel: Axes) -> None:
        begin = int(ds["step"][0])
        panel.axhline(0.0, color="0.85", lw=0.8, zorder=0)
        for name, of, words, look in _ROWS:
            if exact is not None:
                line, since = getattr(exact.ledger, of), exact.rows(begin)
                style.theory(panel, exact.steps[since:], line[since:] - line[since], color=look.color)
            marks(panel, ds, *replica_mean(ds[name] - ds[name].isel(step=0)), look, words)
        panel.set(xlabel="step", ylabel=label("mean since the first frame", "energy", temperature_of(ds)))
        panel.set_title("\n".join(part for part in (title, largest_residual(worst)) if part), loc="right")
        legend(panel)

    return draw


def maps_of(ds: xr.Dataset, names: list[str]) -> list[Draw]:
    """Means of the last frame over two axes of a sweep."""
    means = [(ds[name].isel(step=-1), label_of(ds, name)) for name in names]
    title = f"to step {int(ds['step'][-1])}"
    maps = [map_of(ds, v.mean([d for d in v.dims if d not in axes(ds)]), words, title) for v, words in means]
    return [draw for draw in maps if draw is not None]


def replicas(ds: xr.Dataset) -> str:
    """What means are over."""
    return f"{ds.sizes['replica']} replicas" + (" at each point of the sweep" if axes(ds) else "")


def label_of(ds: xr.Dataset, name: str) -> str:
    """The label of a row of the ledger."""
    words, units, _ = _LABELS[name]
    return label(words, units, temperature_of(ds))


def look_of(name: str) -> Look:
    """Colour and mark of a row of the ledger."""
    return _LABELS[name][2]


def largest_residual(worst: float) -> str:
    """What the first law leaves over, at most."""
    mantissa, _, power = f"{worst:.0e}".partition("e")
    number = rf"{mantissa}\cdot 10^{{{int(power)}}}" if power and worst else "0"
    return rf"first law: $|\Delta\varphi-w-q|\leq {number}$"


def marks(panel: Axes, ds: xr.Dataset, mean: xr.DataArray, error: xr.DataArray, look: Look, words: str) -> None:
    """Measured values at a dozen frames, the last one among them."""
    frames = style.pick(ds.sizes["step"], MARKS)
    bars = error.values[frames] if np.isfinite(error.values[frames]).any() else None
    style.data(panel, ds["step"].values[frames], mean.values[frames], bars, look=look, label=words)


def distribution(panel: Axes, values: np.ndarray, look: Look, words: str, title: str) -> tuple[float, float] | None:
    """Histogram over replicas, and its range; None, and a word, where nothing varies."""
    values = values[np.isfinite(values)]
    panel.set(xlabel=words, ylabel="probability density")
    panel.set_title(title, loc="right")
    if values.size < 2 or np.ptp(values) <= 1e-12 * np.abs(values).max():
        panel.text(0.5, 0.5, "the same in all replicas", ha="center", transform=panel.transAxes)
        return None
    return histogram(panel, values, look)


def histogram(panel: Axes, values: np.ndarray, look: Look, name: str = "", filled: bool = True) -> tuple[float, float]:
    """A density over replicas, and its range. All values are shown, in bins as wide as the bulk wants them."""
    low, high = np.quantile(values, [0.01, 0.99])
    width = (high - low) / float(np.clip(np.sqrt(values.size) / 2.0, 8, 40)) or np.ptp(values) or 1.0
    height, sides = np.histogram(values, int(np.clip(np.ceil(np.ptp(values) / width), 1, 200)))
    density = height / values.size / np.diff(sides)
    if filled:
        panel.stairs(density, sides, fill=True, color=look.color, alpha=0.35, label=name or None)
    else:
        panel.stairs(density, sides, color=look.color, ls=look.dashes, lw=1.2, baseline=None, label=name or None)
    return float(sides[0]), float(sides[-1])
