"""Irreversibility along a run: curvature against 2/r, the four measures over leading order, the loss, and flows.

Grey lines are theory: 2, where plain descent on a quadratic is no longer stable, and what the measures are there if U
is an eigenvector. The flows start where the run does (`exact.edge_flows`); their distance is from the middle of a step,
theta - r U/2, which does not see the oscillation of descent.
Sources: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026); J. Cohen et al., arXiv:2103.00065 (2021) and
arXiv:2410.24206 (2024).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from thermosim.analysis.irreversibility.in_time import potentials_in_time, why_not_plain
from thermosim.analysis.loss_gradients import gradient_of
from thermosim.analysis.machine import Machine
from thermosim.analysis.training import curvature, training
from thermosim.data.tables import DataError
from thermosim.exact.edge_flows import central_path, flow_path
from thermosim.plots import style
from thermosim.plots.labels import label
from thermosim.plots.learning_panels import collected, why_not
from thermosim.plots.learning_points import Point
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw

__all__ = ["is_course", "panels"]

_FRAMES, _LONGEST, _WIDEST, _FLOWS = 100, 1000, 1000, 4  # frames of a curve; steps, parameters, replicas of a flow
_EDGE = {"st": 0.0, "de": 0.5 * (np.exp(-2.0) + 1.0), "tr": 1.0, "ta": 1.0}  # over leading order, at r h = 2
_MEASURES = {
    "ratio_st": (r"$\phi_{\rm ST}$, entropy production", style.ENTROPY, "o"),
    "projection_de": (r"$g_{\rm DE}$, discretisation", style.WORK, "s"),
    "projection_tr": (r"$g_{\rm TR}$, renormalisation", style.ENERGY, "^"),
    "projection_ta": (r"$g_{\rm TA}$, time reversal", style.HEAT, "v"),
}


def is_course(ds: xr.Dataset, everything: list[Point]) -> bool:
    """Whether a run shows irreversibility in time: one point, plain descent, several frames of theta."""
    one = len(everything) == 1 and "theta" in ds and ds.sizes["step"] > 2
    return one and not why_not_plain(everything[0].machine)


def panels(point: Point) -> tuple[list[Draw], list[str]]:
    """Curvature, measures, loss and flows of one run, and why some are not there."""
    count = point.ds.sizes["step"] - 1
    few = point.ds.isel(step=sorted({round(k) for k in np.linspace(0, count - 1, min(_FRAMES, count))}))
    section = point.machine.settings.irreversibility
    most = section.replicas if section else 16
    try:
        found = potentials_in_time(few, replicas=most)
    except (ValueError, DataError) as error:
        return [], [why_not("irreversibility in time", error)]
    minibatches = point.machine.settings.theta.batch != "all"
    draws, why = collected(
        [
            ("curvature", partial(_curvature, few, found, minibatches)),
            ("measures", partial(_measures, found)),
            ("loss", partial(_loss, few)),
            ("flows", partial(_flows, point.machine, few)),
            ("bound", partial(_bound, found, minibatches)),
        ]
    )
    flows = f" Thin lines: {_FLOWS} replicas, and their geometric mean." if not minibatches and len(draws) > 3 else ""
    return draws, [f"Bands: standard error of the mean over {min(most, few.sizes['replica'])} replicas.{flows}", *why]


def _curvature(few: xr.Dataset, found: xr.Dataset, minibatches: bool) -> Draw:
    step, rate = found["step"].values, found["rate_of_step"].values
    whole = curvature(few)

    def draw(panel: Axes) -> None:
        largest = whole["largest_eigenvalue"].isel(eigenvalue=0)
        error = whole["largest_eigenvalue_error"].isel(eigenvalue=0)
        _curve(panel, step, rate * largest, rate * error, style.LOSS, "", "largest eigenvalue, all rows")
        if minibatches:
            name, words = "weighted_rate_sharpness", r"along the step, weighted by $|U|^2$"
            _curve(panel, step, found[name], found[f"{name}_error"], style.INFORMATION, "", words)
        words = "along the step, by time reversal"
        _curve(panel, step, found["rate_sharpness"], found["rate_sharpness_error"], style.HEAT, "o", words)
        panel.axhline(2.0, color=style.GREY, lw=1.0, ls=(0, (2, 2)), zorder=1)
        panel.set(xlabel="step", ylabel="rate times curvature $r h$")
        panel.set_ylim(bottom=0.0)
        legend(panel)

    return draw


def _measures(found: xr.Dataset) -> Draw:
    def draw(panel: Axes) -> None:
        for name, (words, look, mark) in _MEASURES.items():
            _curve(panel, found["step"], found[name], found[f"{name}_error"], look, mark, words)
        for level in sorted(set(_EDGE.values())):
            panel.axhline(level, color=style.GREY, lw=1.0, ls=(0, (2, 2)), zorder=1)
        panel.set(xlabel="step", ylabel="over leading order", ylim=(-0.05, 1.25))
        legend(panel)

    return draw


def _loss(few: xr.Dataset) -> Draw:
    found = training(few)

    def draw(panel: Axes) -> None:
        _curve(panel, found["step"], found["loss"], found["loss_error"], style.LOSS, "o", "")
        panel.set(xlabel="step", ylabel=label("loss", "energy"))
        style.log_ticks(panel, "y")

    return draw


def _flows(machine: Machine, few: xr.Dataset) -> Draw | None:
    """Distance of the middle of each step from three flows, replica by replica and their mean."""
    theta = machine.settings.theta
    steps = few["step"].values
    if theta.batch != "all" or theta.weight_decay or theta.learn or not isinstance(theta.learning_rate, (int, float)):
        return None
    if steps[-1] > _LONGEST or few.sizes["theta_dim"] > _WIDEST or steps[0] != 0:
        return None
    rate, some = float(theta.learning_rate), Point({}, "", few.isel(replica=slice(_FLOWS))).machine
    gradient = gradient_of(some, None)
    there = np.stack([some.theta(frame) for frame in range(len(steps))])
    middle = there - 0.5 * rate * np.stack([gradient(one) for one in there])
    count = there.shape[1]
    both = flow_path(gradient, np.tile(there[0], (2, 1)), rate, steps + 0.5, np.repeat([0.0, 1.0], count))
    central, _, _ = central_path(gradient, there[0], rate, steps + 0.5)
    paths = {"gradient flow": both[:, :count], "modified flow": both[:, count:], "central flow": central}

    def draw(panel: Axes) -> None:
        for look, (words, path) in zip((style.OTHER, style.WORK, style.ENERGY), paths.items(), strict=True):
            far = np.linalg.norm(path - middle, axis=2)
            panel.plot(steps, far, color=look.color, lw=0.5, alpha=0.4)
            panel.plot(steps, np.exp(np.log(far).mean(1)), color=look.color, label=words)
        panel.set(xlabel="step", ylabel=r"distance from descent $|\Delta\theta|$")
        style.log_ticks(panel, "y")
        legend(panel)

    return draw


def _bound(found: xr.Dataset, minibatches: bool) -> Draw | None:
    """phi_ST over leading order against r h, and what it is at least: |U - U'| >= U.(U - U')/|U|, so of means too."""
    if not minibatches:
        return None

    def draw(panel: Axes) -> None:
        style.data(panel, found["rate_sharpness"], found["ratio_st"], found["ratio_st_error"], look=style.ENTROPY)
        x = np.linspace(0.0, 2.0, 100)
        style.theory(panel, x, (1.0 - 0.5 * x) ** 2, label=r"least, $(1 - r h/2)^2$")
        panel.set(xlabel="rate times curvature along the step $r h$", ylabel=r"$\phi_{\rm ST}$ over leading order")
        legend(panel)

    return draw


def _curve(panel: Axes, x: ArrayLike, y: ArrayLike, error: ArrayLike, look: style.Look, mark: str, words: str) -> None:
    """A line through means, in a band of their standard errors."""
    place, mean, width = (np.asarray(one, float) for one in (x, y, error))
    panel.plot(place, mean, color=look.color, lw=1.0, marker=mark or None, ms=2, label=words or None)
    panel.fill_between(place, mean - width, mean + width, color=look.color, alpha=0.2, lw=0)
