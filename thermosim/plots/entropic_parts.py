"""Discretisation and noise in the entropic loss: along the path, what they do to it, and the coefficient of each.

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025); `analysis.entropic_parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.entropic_parts import entropic_parts
from thermosim.checks.entropic_parts import tells_parts
from thermosim.plots import style
from thermosim.plots.labels import label
from thermosim.plots.learning_points import Point
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw

__all__ = ["makers"]

_REPLICAS = 256  # at most
_PARTS = (("discretisation", style.ENERGY), ("noise", style.ENTROPY))
_HALF = 0.32  # of the width of a line of theory


def makers(ds: xr.Dataset, everything: Sequence[Point]) -> list[tuple[str, Callable[[], Draw | None]]]:
    """Panels of a sweep over the batch; none of any other ensemble."""
    if not tells_parts(ds, [point.machine for point in everything]):
        return []
    found = entropic_parts(ds.isel(replica=slice(_REPLICAS)))
    words = ["gradient descent" if str(b) == "all" else f"SGD, batch {b}" for b in found["batch"].values]
    return [(name, partial(make, found, words)) for name, make in _PANELS.items()]


def _entropies(found: xr.Dataset, words: list[str]) -> Draw:
    def draw(panel: Axes) -> None:
        step = found["step"].values
        for k, word in enumerate(words):
            for part, look in _PARTS:
                here = found.isel(batch=k).sel(of_entropy=part)
                if float(here["exact"].sel(substeps=1)) > 0.0:
                    marked = {"fmt": "o" if k == 0 else "s", "ms": 3}
                    name = f"{part}, {word}"
                    style.data(panel, step, here["entropy"], here["entropy_error"], look=look, label=name, **marked)
        panel.set(xlabel="step", ylabel=label("parts of the entropic loss", "energy"))
        style.log_ticks(panel, "y")
        legend(panel)

    return draw


def _displacements(found: xr.Dataset, words: list[str]) -> Draw:
    def draw(panel: Axes) -> None:
        step = found["step"].values
        for look, word, k in zip(style.looks(len(words)), words, range(len(words)), strict=True):
            here = found.isel(batch=k)
            style.data(panel, step, here["displacement"], here["displacement_error"], look=look, label=word, ms=3)
            panel.plot(step, here["predicted_displacement"], color=look.color, ls="--", zorder=2)
        panel.plot([], [], color="0.3", ls="--", label="what both parts make of it, to order $r$")
        panel.set(xlabel="step", ylabel=r"distance of $\theta$ from flows of minibatches")
        panel.set_ylim(bottom=0.0)
        legend(panel)

    return draw


def _coefficients(found: xr.Dataset, _: list[str]) -> Draw:
    table = found.stack(protocol=("batch", "substeps"), create_index=False)
    names = [
        ("all rows" if str(batch) == "all" else f"batch {batch}") + ("" if n == 1 else f",\n{n} substeps")
        for batch in found["batch"].values
        for n in found["substeps"].values
    ]

    def draw(panel: Axes) -> None:
        place = np.arange(len(names))
        for (part, look), shift, mark in zip(_PARTS, (-0.5 * _HALF, 0.5 * _HALF), ("o", "s"), strict=True):
            here = table.sel(of_entropy=part)
            at = place + shift
            panel.hlines(here["exact"], at - 0.5 * _HALF, at + 0.5 * _HALF, color=look.color, lw=1.2, zorder=1)
            style.data(panel, at, here["coefficient"], here["coefficient_error"], look=look, label=part, fmt=mark, ms=4)
        panel.set_xticks(place, names)
        panel.set(ylabel=r"coefficient $c$, at $r\to 0$")
        panel.set_title("lines: 1/4, 1/8 and 0", loc="right")
        panel.set_ylim(-0.05, 0.38)
        legend(panel)

    return draw


_PANELS: dict[str, Callable[[xr.Dataset, list[str]], Draw]] = {
    "parts of the entropic loss": _entropies,
    "what the parts do": _displacements,
    "coefficients of the parts": _coefficients,
}
