"""Pictures of runs about their irreversibility: what their steps shed, and the fluctuation theorem of steps with noise.

Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.irreversibility.dissipation import chain_of, dissipation, why_no_chain
from thermosim.analysis.irreversibility.steps import entropy_of_steps
from thermosim.analysis.theta_entropy import theta_fluctuation_theorem
from thermosim.plots import edge_of_stability, style
from thermosim.plots.labels import label
from thermosim.plots.learning_panels import collected
from thermosim.plots.learning_points import Point, spread
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw

__all__ = ["panels"]

_MARKS = 41  # frames
_CURVES = 4  # points of a sweep
_MOST = 6  # starts
_RELIABLE = 0.2  # error of an average that is drawn


def panels(ds: xr.Dataset, everything: list[Point]) -> tuple[list[Draw], list[str]]:
    """The panels, and why some are not there."""
    chosen = [everything[k] for k in style.pick(len(everything), _CURVES)]
    course = edge_of_stability.panels(everything[0]) if edge_of_stability.is_course(ds, everything) else ([], [])
    draws, why = collected(
        [
            ("dissipation", partial(_falling, everything)),
            ("dissipation on the orbit", partial(_on_orbit, everything)),
            ("entropy of steps", partial(_steps, chosen)),
            ("entropy production", partial(_production, chosen)),
            ("fluctuation theorem", partial(_theorem, chosen)),
        ]
    )
    return course[0] + draws, course[1] + why


def _chains(everything: Sequence[Point]) -> list[xr.Dataset] | None:
    """Dissipation of every point; None where the run is of no chain."""
    if len(everything) > _MOST or any(why_no_chain(point.machine) for point in everything):
        return None
    return [dissipation(point.ds) for point in everything]


def _falling(everything: Sequence[Point]) -> Draw | None:
    """r |g|^2/4 along the run, from every start."""
    each = _chains(everything)
    if each is None:
        return None

    def draw(panel: Axes) -> None:
        for look, point, found in zip(style.looks(len(each)), everything, each, strict=True):
            place = float(point.machine.settings.theta.initial["weight"][0])  # e^s v^(1/2)
            words = f"$w_1 = {place:.2g}$ at first" if len(each) > 1 else ""
            style.data(panel, found["step"], found["dissipation"], found["dissipation_error"], look=look, label=words)
        panel.axhline(float(each[0]["least"]), color="0.4", ls=(0, (1.2, 1.2)), lw=1.0, label=r"least, $r\to 0$")
        panel.set(xlabel="step", ylabel=label(r"dissipation $r\langle|g|^2\rangle/4$", "energy"), yscale="log")
        style.log_ticks(panel, "y")
        legend(panel)

    return draw


def _on_orbit(everything: Sequence[Point]) -> Draw | None:
    """The same against the place on the orbit."""
    each = _chains(everything)
    if each is None:
        return None

    def draw(panel: Axes) -> None:
        widest = 1.1 * max(float(np.abs(found["place"]).max()) for found in each)
        along = np.linspace(-widest, widest, 101)
        chain = chain_of(everything[0].machine)
        exact = r"$2 r q n v \cosh 2s$, $r\to 0$"
        style.theory(panel, along, chain.dissipation(along), label=exact)
        for look, found in zip(style.looks(len(each)), each, strict=True):
            style.data(panel, found["place"], found["dissipation"], found["dissipation_error"], look=look)
        panel.set(xlabel="place $s$ on the orbit", ylabel=label(r"dissipation $r\langle|g|^2\rangle/4$", "energy"))
        panel.set(yscale="log")
        style.log_ticks(panel, "y")
        legend(panel)

    return draw


def _some(point: Point) -> xr.Dataset:
    return point.ds.isel(step=spread(point.ds.sizes["step"], _MARKS))


def _has_sigma(chosen: Sequence[Point]) -> bool:
    return all(p.machine.settings.irreversibility and p.machine.settings.irreversibility.sigma for p in chosen)


def _steps(chosen: Sequence[Point]) -> Draw | None:
    """What steps shed, back through the same minibatch and a fresh one."""
    if not _has_sigma(chosen) or "theta" not in chosen[0].ds:
        return None
    each = [entropy_of_steps(_some(point)) for point in chosen]
    whole = all(point.machine.settings.theta.batch == "all" for point in chosen)

    def draw(panel: Axes) -> None:
        for pair, point, found in zip(_pairs(len(chosen)), chosen, each, strict=True):
            ways = [("same_batch", "same minibatch")] + ([] if whole else [("fresh_batch", "fresh minibatch")])
            for look, (name, words) in zip(pair, ways):
                told = _named(point, "" if whole else words)
                style.data(panel, found["step"], found[name], found[f"{name}_error"], look=look, label=told)
        panel.set(xlabel="step", ylabel=label(r"entropy of a step $\langle\Delta S\rangle$", "nat"))
        panel.set_ylim(bottom=0.0)
        legend(panel)

    return draw


def _production(chosen: Sequence[Point]) -> Draw | None:
    """Entropy production of theta since step 0, of steps with noise, and what of it was shed."""
    each = _theorems(chosen)
    if each is None:
        return None

    def draw(panel: Axes) -> None:
        for pair, point, found in zip(_pairs(len(chosen)), chosen, each, strict=True):
            whole, error = found["entropy_production"].squeeze(), found["entropy_production_error"].squeeze()
            style.data(panel, found["step"], whole, error, look=pair[0], label=_named(point, "theta and bath"))
            shed, error = -found["heat"].squeeze(), found["heat_error"].squeeze()
            style.data(panel, found["step"], shed, error, look=pair[1], label=_named(point, "bath alone"))
        panel.set(xlabel="step", ylabel=label("entropy production", "nat"))
        legend(panel)

    return draw


def _theorem(chosen: Sequence[Point]) -> Draw | None:
    """<exp(-sigma)> of theta since step 0, while its error tells something."""
    each = _theorems(chosen)
    if each is None:
        return None

    def draw(panel: Axes) -> None:
        panel.axhline(1.0, color="0.3", lw=1.0, label=style.EXACT, zorder=1)
        for look, point, found in zip(style.looks(len(chosen)), chosen, each, strict=True):
            average, error = found["average"].squeeze(), found["average_error"].squeeze()
            good = (error < _RELIABLE) & found["reliable"].squeeze()
            style.data(panel, found["step"], average.where(good), error, look=look, label=point.label)
        panel.set(xlabel="step", ylabel=r"$\langle e^{-\sigma}\rangle$")
        legend(panel)

    return draw


def _pairs(count: int) -> list[tuple[style.Look, style.Look]]:
    """Two looks for each point: of one colour, but where there is one point only."""
    if count == 1:
        first, second = style.looks(2)
        return [(first, second)]
    return [(look, look._replace(mark="s")) for look in style.looks(count)]


def _named(point: Point, words: str) -> str:
    return ", ".join(word for word in (point.label, words) if word)


def _theorems(chosen: Sequence[Point]) -> list[xr.Dataset] | None:
    if any("log_ratio_theta" not in point.ds or not point.machine.theta_move.density for point in chosen):
        return None
    return [theta_fluctuation_theorem(_some(point)).sel(theorem=["theta"]) for point in chosen]
