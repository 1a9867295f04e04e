"""Networks that are not linear and learn one task apart: which of their hidden layers are alike, before and after.

Every replica is compared with others only, of its own network and of the other ones of the sweep: maps show all pairs
of layers at the first frame and the last, curves the means over pairs of the same layer. The grey band, two deviations
to each side, is what probes that have nothing to do with each other would give (`analysis.alignment_growth`); there is
no theory to draw.

Source: M. Huh et al., arXiv:2405.07987 (2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.alignment_growth import ALL
from thermosim.checks.replica_alignment import learns_apart, measured
from thermosim.plots import style
from thermosim.plots.labels import swept_name
from thermosim.plots.learning_points import Point
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw, colour_bar

__all__ = ["makers"]

_MARKS = 14  # frames of a curve
_TOLD, _TICKS = 6, 8  # layers whose numbers are written into the map, and that are named
_LETTERS = 50  # of names side by side
_NAMES = {"unbiased_cka": "unbiased CKA", "mutual_nearest_neighbours": "shared neighbours"}


def makers(ds: xr.Dataset, everything: list[Point]) -> Sequence[tuple[str, Callable[[], Draw | None]]]:
    """Names and makers of the panels; none where no networks of several kinds learn apart."""
    if not learns_apart(ds, [point.machine for point in everything]):
        return []
    found: list[xr.Dataset] = []  # made once, by the first panel

    def result() -> xr.Dataset:
        if not found:
            last = ds.sizes["step"] - 1
            frames = sorted({0, *np.unique(np.geomspace(1, last, _MARKS).astype(int)).tolist()})
            found.append(measured(ds, frames))
        return found[0]

    return [
        ("alignment at first", partial(_map, result, 0)),
        ("alignment at last", partial(_map, result, -1)),
        *((f"{words} in time", partial(_course, result, name)) for name, words in _NAMES.items()),
    ]


def _map(result: Callable[[], xr.Dataset], frame: int) -> Draw:
    """All pairs of layers of different replicas, mean of both orders: CKA on and above the diagonal, neighbours below.

    The diagonal is no trivial one: a layer of one replica and the same one of others.
    """
    found = result().isel(step=frame)
    above, below = (0.5 * (found[name].values + found[name].values.T) for name in _NAMES)
    values, (names, words) = np.triu(above) + np.tril(below, -1), _short(found["layer"].values)

    def draw(panel: Axes) -> None:
        image = panel.pcolormesh(values, vmin=0.0, vmax=1.0, cmap="viridis", rasterized=True)
        middles = [k + 0.5 for k in range(len(names))]
        some = slice(None, None, -(-len(names) // _TICKS))
        slanted = sum(len(name) + 2 for name in names[some]) > _LETTERS
        turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        panel.set_xticks(middles[some], names[some], fontsize=6.5, **turned)
        panel.set_yticks(middles[some], names[some], fontsize=6.5)
        panel.invert_yaxis()
        for (i, j), value in np.ndenumerate(values) if len(names) <= _TOLD else ():
            panel.text(middles[j], middles[i], f"{value:.2f}", ha="center", va="center", fontsize=6,
                       color="white" if value < 0.6 else "black")  # fmt: skip
        corners = np.arange(len(names) + 1)
        panel.step(corners, corners, where="pre", color="white", lw=2.0)
        panel.set(xlabel=f"{words} of one replica", ylabel="of another")
        panel.set_title(f"step {int(found['step']):,}", loc="right")
        colour_bar(panel, image, "CKA; below the steps: neighbours")

    return draw


def _course(result: Callable[[], xr.Dataset], name: str) -> Draw:
    """Means over pairs of the same layer against the step, over the band of the null."""
    found = result()
    groups = {"same network, same layer": "of one kind", "other networks, same layer": "of two kinds"}
    steps = found["step"].values
    places = np.where(steps == 0, steps[1] / 2.0, steps)  # step 0 stands to the left of the first frame
    null, width = (found[f"{name}_of_group_{what}"].sel(group=ALL).values for what in ("null", "null_deviation"))

    def draw(panel: Axes) -> None:
        for (group, words), look in zip(groups.items(), style.looks(len(groups))):
            here = found.sel(group=group)
            value, error = here[f"{name}_of_group"].values, here[f"{name}_of_group_error"].values
            style.data(panel, places, value, error, look=look, label=words)
            panel.plot(places, value, color=style.GREY, lw=0.5, ls=":", zorder=1)
        low, high = null - 2.0 * width, null + 2.0 * width
        panel.fill_between(places, low, high, color="0.7", lw=0, zorder=0, label="permuted probes")
        style.log_ticks(panel, "x")
        panel.set(xlabel="step (leftmost: 0)", ylabel=_NAMES[name], ylim=(-0.05, 1.0))
        panel.set_title("same layer of two replicas", loc="right")
        legend(panel)

    return draw


def _short(names: np.ndarray) -> tuple[list[str], str]:
    """relu 1 for "activation relu, layer_1", and what these are in words: activation, layer."""
    found, axes = [], ["layer"]
    for name in map(str, names):
        where, _, layer = name.rpartition(", ")
        parts = [part.split(" ", 1) for part in where.split(", ")]
        axes = [*(swept_name(axis) for axis, _ in parts), "layer"]
        found.append(" ".join([*(value for _, value in parts), layer.removeprefix("layer_")]))
    return found, ", ".join(axes)
