"""Panels of learning there and back: how far theta ends from where it was.

SGD there and back through the same minibatches does not retrace its path: one step and its reverse leave -r^2 J U_b to
leading order (S. S. Parsi, Entropy 26, 112 (2024), Appendix A). The mismatch is zero for lazy learning alone (Eq. 21).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.gradient_noise import learned_parameters
from thermosim.analysis.learning import retrace
from thermosim.plots import style
from thermosim.plots.learning_panels import collected
from thermosim.plots.learning_points import Point, left_out, over_sweep
from thermosim.plots.legends import legend
from thermosim.plots.maps import map_of, swept_axes
from thermosim.plots.page import Draw

__all__ = ["moved_most", "panels"]

_LINES = 4  # points of a sweep
_REPLICAS = 3
_MARKS = 24
_MISMATCH, _DISTANCE = r"$|\theta(N-t)-\theta(t)|$", r"$|\theta(t)-\theta(0)|$"


def panels(ds: xr.Dataset, everything: list[Point]) -> tuple[list[Draw], list[str]]:
    """The mismatch at a few points of a sweep, its map over two axes, and the path of theta of the first."""
    chosen = [everything[k] for k in style.pick(len(everything), _LINES)]
    makers: list[tuple[str, Callable[[], Draw | None]]] = [
        ("mismatch", partial(_mismatch, chosen)),
        ("path of theta", partial(_path, chosen[0])),
        ("map of the mismatch", partial(_map, ds, everything)),
    ]
    draws, why = collected(makers)
    return draws, [*why, *left_out(ds, chosen, everything)]


def _map(ds: xr.Dataset, everything: list[Point]) -> Draw | None:
    """How far theta ends from its start, mean length, over two axes."""

    def end(point: Point) -> float:
        gap = retrace(point.ds)
        return float(gap["norm"].isel(step=0))

    if len(swept_axes(ds)) < 2 or int(ds["step"][0]) > 0:
        return None
    return map_of(ds, over_sweep(ds, everything, end), r"mean distance $|\theta(N)-\theta(0)|$")


def moved_most(point: Point) -> int:
    """The learned parameter whose mean changes most over the frames, against its start."""
    theta = point.ds["theta"].transpose("step", "replica", "theta_dim")
    learned = learned_parameters(point.machine)[0]
    change = abs((theta - theta.isel(step=0)).mean("replica")).max("step").values
    return int(learned[np.argmax(change[learned])])


def _path(point: Point) -> Draw | None:
    """The parameter that moves most, there and back, of a few replicas."""
    if "theta" not in point.ds:
        return None
    row = moved_most(point)
    theta = point.ds["theta"].isel(theta_dim=row).transpose("step", "replica")
    last = int(point.machine.settings.run.steps)

    def draw(panel: Axes) -> None:
        step = theta["step"].values
        there, back = 2 * step <= last, 2 * step >= last
        for k in range(min(_REPLICAS, theta.sizes["replica"])):
            colour = style.looks(_REPLICAS)[k].color
            labels = ("there", "back") if k == 0 else (None, None)
            panel.plot(step[there], theta.values[there, k], color=colour, label=labels[0])
            panel.plot(last - step[back], theta.values[back, k], color=colour, ls="--", label=labels[1])
        panel.set(xlabel="$t$ there, $N - t$ back (steps)", ylabel=rf"parameter $\theta_{{{row}}}$")
        panel.set_title(
            ", ".join(part for part in (point.label, "single\N{NO-BREAK SPACE}replicas") if part), loc="right"
        )
        legend(panel)

    return draw


def _mismatch(chosen: list[Point]) -> Draw:
    """Mean length of theta(N - t) - theta(t), and that of theta(t) - theta(0)."""
    results = [(point, retrace(point.ds), _distance(point.ds)) for point in chosen]

    def draw(panel: Axes) -> None:
        for look, (point, gap, far) in zip(style.looks(len(chosen)), results):
            frames = style.pick(gap.sizes["step"], _MARKS)
            here, there = gap.isel(step=frames), far.sel(step=gap["step"]).isel(step=frames)
            error = here["norm_error"].values
            label = point.label or _MISMATCH
            style.data(panel, here["step"].values, _visible(here["norm"].values), error, look=look, label=label)
            panel.plot(there["step"].values, _visible(there.values), "x", ms=3.5, color=look.color)
        if not chosen[0].label:
            panel.plot([], [], "x", ms=3.5, color=style.WORK.color, label=_DISTANCE)
        panel.set(xlabel="step $t$", ylabel="mean distance of parameters", yscale="log")
        legend(panel, f"{_MISMATCH}; crosses: {_DISTANCE}" if chosen[0].label else "")

    return draw


def _distance(ds: xr.Dataset) -> xr.DataArray:
    """Mean length of theta(t) - theta(0), (step)."""
    gap = ds["theta"] - ds["theta"].isel(step=0)
    return replica_mean(xr.DataArray(np.sqrt((gap**2).sum("theta_dim"))))[0]


def _visible(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0.0, values, np.nan)
