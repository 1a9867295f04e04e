"""The mean squared gradient S along the orbit of a symmetry: marks at moved states, lines from gradients at one.

Datasets are those of `analysis.orbit`; a band shows the place of the minimum with its standard error.
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.plots import style
from thermosim.plots.labels import label
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw, page

__all__ = ["curves", "figure"]

_MARKS = 9
_LOOKS = (style.WORK, style.HEAT, style.ENERGY)


def figure(orbits: Mapping[str, xr.Dataset] | xr.Dataset, title: str = "") -> Figure:
    """One panel of several orbits by name, or of a single one."""
    given = orbits if isinstance(orbits, Mapping) and not isinstance(orbits, xr.Dataset) else {"": orbits}
    with style.style():
        return page(title, [curves(given)], over="minibatches", exact=SAID)


SAID = "Lines: from the gradients at s = 0; bands: place of the minimum and its standard error."


def curves(orbits: Mapping[str, xr.Dataset], relative: bool = False) -> Draw:
    """Orbits by name in one panel; relative: over their values at the s next to 0."""

    def draw(panel: Axes) -> None:
        everything = []
        for (words, found), look in zip(orbits.items(), _LOOKS, strict=False):
            s, few = found["along"].values, style.pick(found.sizes["along"], _MARKS)
            unit = float(found["predicted"][int(np.argmin(np.abs(s)))]) if relative else 1.0
            value, error = found["mean_square_gradient"] / unit, found["mean_square_gradient_error"] / unit
            style.data(panel, s[few], value[few], error[few], look=look, label=words)
            style.theory(panel, s, found["predicted"] / unit, color=look.color)
            least, width = float(found["minimum"]), float(found["minimum_error"])
            if np.isfinite(least):
                panel.axvspan(least - width, least + width, color=look.color, alpha=0.3, lw=0)
            everything.append(value.values)
        name = "$S(s)/S(0)$" if relative else label(r"$S(s)=\langle|g|^2\rangle_s$", "energy^2")
        panel.set(xlabel="place $s$ on the orbit", ylabel=name)
        if np.max(everything) > 10.0 * np.min(everything):
            style.log_ticks(panel, "y")
        legend(panel)

    return draw
