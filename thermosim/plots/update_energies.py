"""Update energy of an optimiser along the run: what a few replicas show, and what all of them do.

Lines are exact in linear regression, and for Adam those of pure noise, which follow the schedule of the learning rate;
elsewhere those of beta2 -> 1, so named, where that is known to a tenth at worst (`analysis.update_energy`). Every point
is a mean over the steps between two frames.

Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), whose curves are of three seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from thermosim.analysis.machine import machines
from thermosim.analysis.update_energy import adam_limit, energies_of_updates, exact_limit, noise_limit
from thermosim.plots import style
from thermosim.plots.labels import label
from thermosim.plots.learning_points import Point, spread
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw

__all__ = ["FEW", "update_energies"]

_MARKS = 41  # frames
FEW = 3  # seeds of the source
_DOUBT = 0.01  # relative, of a line that is drawn
_MILD = 0.1  # the same of a bound that is far from what is left out


def update_energies(chosen: Sequence[Point], most: int | None = None) -> Draw | None:
    """Mean over replicas, at `most` so many, in a band of 5 to 95 % of them, or from least to most of a few."""
    if "displacement_square" not in chosen[0].ds or chosen[0].ds.sizes["step"] < 3:
        return None
    curves = [_curve(point, most) for point in chosen]
    few = most is not None

    def draw(panel: Axes) -> None:
        for look, point, (step, energy, limit, words) in zip(style.looks(len(chosen)), chosen, curves, strict=True):
            ends = (0.0, 1.0) if few else (0.05, 0.95)
            low, high = np.quantile(energy, ends, axis=1)
            band = "_range" if few else style.BAND
            panel.fill_between(step, low, high, color=look.color, alpha=0.2, lw=0, label=band)
            style.data(panel, step, energy.mean(1), look=look, label=point.label, ms=2.5)
            if limit is not None:
                named = f"{point.label}, {words}".strip(", ") if words else ""
                style.theory(panel, step, limit, color=look.color, ls=look.dashes, label=named)
        panel.set(xlabel="step", ylabel=label(r"update energy $|\Delta\theta|^2/r$", "energy"))
        count = curves[0][1].shape[1]
        panel.set_title(f"{count} replicas, bands from least to most" if few else f"{count} replicas", loc="right")
        panel.set_ylim(bottom=0.0)
        legend(panel)

    return draw if curves[0][1].shape[1] > 1 else None


def _curve(point: Point, most: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, str]:
    """Steps between frames (F), energies (F, R), those of theory (F) where they are known well, and their limit."""
    machine = machines(point.ds.isel(step=spread(point.ds.sizes["step"], _MARKS), replica=slice(most)))[0]
    energy, _ = energies_of_updates(machine)
    middle = 0.5 * (machine.steps[1:] + machine.steps[:-1])
    exact = exact_limit(machine)
    if exact is not None:
        return middle, energy, exact.energy, ""
    for limit, largest, words in (
        (noise_limit(machine), _DOUBT, ""),
        (adam_limit(machine), _MILD, r"as $\beta_2\to1$"),
    ):
        if limit is not None and np.any(limit.doubt < largest):
            return middle, energy, np.where(limit.doubt < largest, limit.energy, np.nan), words
    return middle, energy, None, ""
