"""Hidden layers of deep linear networks that come to one representation: which are alike, since when, at which rate.

Maps show the Gram cosine of all pairs of layers of all networks, at the first frame and the last, of the smallest
learning rate. The cosine with the universal kernel is drawn as what it lacks of 1, along the run and against the rate.

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.network_alignment import alignment_in_time
from thermosim.analysis.settings import axes
from thermosim.models.deep_linear import MODEL
from thermosim.plots import style
from thermosim.plots.labels import shown
from thermosim.plots.learning_points import Point, spread
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw, colour_bar

__all__ = ["makers"]

_MARKS = 20  # frames of a curve
_TOLD = 8  # layers whose cosines are written into the map
_RATE = "learning_rate"


def makers(ds: xr.Dataset, point: Point) -> list[tuple[str, Callable[[], Draw | None]]]:
    """Names and makers of the panels; none for other models."""
    if point.machine.model is not MODEL or "theta" not in ds:
        return []
    slowest = ds.isel({_RATE: [int(np.argmin(ds[_RATE].values))]}) if _RATE in axes(ds) else ds
    rate = float(slowest[_RATE].values.ravel()[0]) if _RATE in axes(ds) else None
    return [
        ("alignment at first", partial(_matrix, slowest, 0)),
        ("alignment at last", partial(_matrix, slowest, -1)),
        ("alignment in time", partial(_course, slowest, rate)),
        ("alignment against the rate", partial(_against_rate, ds)),
    ]


def _matrix(ds: xr.Dataset, frame: int) -> Draw:
    """Gram cosines of all pairs of layers."""
    frame %= ds.sizes["step"]
    found = alignment_in_time(ds, frames=[frame]).isel(step=0)
    values, (names, words) = found["gram_cosine"].values, _short(found["layer"].values)

    def draw(panel: Axes) -> None:
        image = panel.imshow(values, vmin=0.5, vmax=1.0, cmap="viridis", aspect="auto")
        panel.set_xticks(range(len(names)), names, fontsize=6.5)
        panel.set_yticks(range(len(names)), names, fontsize=6.5)
        for (i, j), value in np.ndenumerate(values) if len(names) <= _TOLD else ():
            # what is 1 but for rounding is written so: 0.999 is not
            panel.text(j, i, f"{np.floor(100 * value + 1e-9) / 100:.2f}", ha="center", va="center", fontsize=6,
                       color="white" if value < 0.8 else "black")  # fmt: skip
        panel.set(xlabel=words or "hidden layer", ylabel=words or "hidden layer")
        panel.set_title(f"step {int(found['step']):,}", loc="right")
        colour_bar(panel, image, "Gram cosine of hidden layers", extend="min")

    return draw


def _course(ds: xr.Dataset, rate: float | None) -> Draw | None:
    """1 - cosine with the universal kernel of every layer, against the step."""
    frames = sorted({0, *np.unique(np.geomspace(1, ds.sizes["step"] - 1, _MARKS).astype(int)).tolist()})
    found = alignment_in_time(ds, frames=frames)
    if "universal_cosine" not in found:
        return None
    steps, (names, words) = found["step"].values, _short(found["layer"].values)
    # step 0 stands one frame to the left of the first
    places = np.where(steps == 0, steps[1] / 2.0, steps)

    def draw(panel: Axes) -> None:
        for k, look in enumerate(style.looks(len(names))):
            value, error = 1.0 - found["universal_cosine"][:, k].values, found["universal_cosine_error"][:, k].values
            style.data(panel, places, value, error, look=look, label=names[k])
            panel.plot(places, value, color=style.GREY, lw=0.5, ls=":", zorder=1)
        panel.set(xscale="log", yscale="log", xlabel="step (leftmost: 0)", ylabel="1 - cosine with\nuniversal kernel")
        panel.set_title("" if rate is None else f"learning rate {shown(rate)}", loc="right")
        legend(panel, words)

    return draw


def _against_rate(ds: xr.Dataset) -> Draw | None:
    """1 - cosine at each rate, mean over the last half of the record: 0 at rate 0 where theory holds."""
    if _RATE not in axes(ds) or ds.sizes[_RATE] < 2:
        return None
    frames = [k + ds.sizes["step"] // 2 for k in spread(ds.sizes["step"] - ds.sizes["step"] // 2, 8)]
    each = [alignment_in_time(ds.isel({_RATE: [k]}), frames=frames) for k in range(ds.sizes[_RATE])]
    if not all("universal_cosine" in one for one in each):
        return None
    rates = ds[_RATE].values
    value = 1.0 - np.stack([one["universal_cosine"].mean("step").values for one in each])
    # frames of a replica are correlated: the mean over frames is no better than one
    error = np.stack([one["universal_cosine_error"].mean("step").values for one in each])
    names, words = _short(each[0]["layer"].values)

    def draw(panel: Axes) -> None:
        for k, look in enumerate(style.looks(len(names))):
            style.data(panel, rates, value[:, k], error[:, k], look=look, label=names[k])
            panel.plot(np.append(0.0, rates), np.append(0.0, value[:, k]), color=style.GREY, lw=0.5, ls=":", zorder=1)
        panel.set(xlabel="learning rate", ylabel="1 - cosine,\nlast half of the run")
        panel.set_xlim(left=0.0)
        panel.locator_params(axis="x", nbins=4)
        panel.set_ylim(bottom=0.0)
        legend(panel, words)

    return draw


def _short(names: np.ndarray) -> tuple[list[str], str]:
    """Layers as 1.2, and what these numbers are: embedding.layer; as h_2 and no words where there is one network."""
    found, words = [], ""
    for name in map(str, names):
        where, _, layer = name.rpartition(", ")
        parts, number = [part.split(" ", 1) for part in where.split(", ") if part], layer.removeprefix("layer_")
        words = ".".join([*(axis for axis, _ in parts), "layer"]) if parts else ""
        found.append(".".join([*(value for _, value in parts), number]) if parts else f"$h_{number}$")
    return found, words.replace("_", " ")
