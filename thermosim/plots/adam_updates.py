"""Update energy of Adam in a network under schedules of its learning rate, and what explains it [arXiv:2605.21933].

U/r = |dtheta|^2/r of a step against the step, for all replicas and for three as in the source; over r d it is
1 where all minibatches say the same, (1 - beta1)/(1 + beta1) where they are pure noise, and in between where the
measured gradients have it, by no law that is exact (`analysis.adam_updates`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis.adam_updates import is_adam, of_one_size, of_signal
from thermosim.analysis.settings import settings
from thermosim.analysis.update_energy import energies_of_updates
from thermosim.plots import style
from thermosim.plots.labels import label
from thermosim.plots.learning_points import Point, left_out, points
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw, page

__all__ = ["adam_updates"]

_CURVES = 4  # points of a sweep
_MARKS = 26  # of a curve of means
FEW = 3  # seeds of the source
_SQUARE = "displacement_square"


def adam_updates(ds: xr.Dataset) -> Figure | None:
    """Up to four panels: U/r of all replicas and of three, U/r over r d, and the loss; None of other runs."""
    if _SQUARE not in ds or ds.sizes.get("step", 1) < 3:
        return None
    everything = points(ds)
    if not all(is_adam(point.machine) and point.machine.model.potential for point in everything):
        return None
    chosen = [everything[k] for k in style.pick(len(everything), _CURVES)]
    several = chosen[0].ds.sizes["replica"]
    draws = [_energies(chosen, None)] + ([_energies(chosen, FEW)] if several > FEW else []) + [_normalised(chosen)]
    draws += [_losses(chosen)] if "loss_sum" in ds else []
    notes = left_out(ds, chosen, everything)
    with style.style():
        return page(settings(ds).title or str(settings(ds).model.name), draws, notes)


def _energies(chosen: Sequence[Point], most: int | None) -> Draw:
    """U/r in bands of 5 to 95 % of replicas, or of a few from the least to the most."""

    def draw(panel: Axes) -> None:
        for look, point in zip(style.looks(len(chosen)), chosen, strict=True):
            machine = point.machine
            energy = energies_of_updates(machine)[0][:, :most]
            middle = 0.5 * (machine.steps[1:] + machine.steps[:-1])
            if most is None:
                style.band(panel, middle, energy, look, point.label)
            else:
                panel.fill_between(middle, energy.min(1), energy.max(1), color=look.color, alpha=0.2, lw=0)
                panel.plot(middle, energy.mean(1), color=look.color, ls=look.dashes, label=point.label)
        panel.set(xlabel="step", ylabel=label(r"update energy $|\Delta\theta|^2/r$", "energy"))
        panel.set_title("all replicas" if most is None else f"{most} replicas, least to most", loc="right")
        style.log_ticks(panel, "y")
        if most is None:
            legend(panel)

    return draw


def _normalised(chosen: Sequence[Point]) -> Draw:
    """U over r d: where schedules fall together, that of pure noise, and that of the signal measured."""

    def draw(panel: Axes) -> None:
        measured = False
        for look, point in zip(style.looks(len(chosen)), chosen, strict=True):
            machine = point.machine
            moved = np.diff(machine.frames[_SQUARE].transpose("step", "replica").values, axis=0)
            scale, said = of_one_size(machine), of_signal(machine)
            middle = 0.5 * (machine.steps[1:] + machine.steps[:-1])
            few = style.pick(len(middle), _MARKS)
            ratio = moved / scale[:, None]
            error = ratio.std(1, ddof=1) / np.sqrt(ratio.shape[1]) if ratio.shape[1] > 1 else None
            mean_error = None if error is None else error[few]
            style.data(panel, middle[few], ratio.mean(1)[few], mean_error, look=look, ms=2.5)
            if said is not None:
                measured = True
                panel.plot(middle, said / scale, color=look.color, ls="--", lw=1.0)
        if measured:
            panel.plot([], [], color="0.3", ls="--", lw=1.0, label="estimate from measured gradients")
        beta1 = chosen[0].machine.settings.theta.beta1
        limit = (1.0 - beta1) / (1.0 + beta1)
        panel.axhline(limit, color="0.3", ls=":", lw=1.2, label=r"pure noise, $(1-\beta_1)/(1+\beta_1)$")
        panel.set(xlabel="step", ylabel=r"update energy over $r\,d$")
        style.log_ticks(panel, "y")
        legend(panel)

    return draw


def _losses(chosen: Sequence[Point]) -> Draw:
    """Mean loss of the minibatches between two frames."""

    def draw(panel: Axes) -> None:
        for look, point in zip(style.looks(len(chosen)), chosen, strict=True):
            sums = point.ds["loss_sum"].transpose("step", "replica").values
            steps = point.machine.steps
            each = np.diff(sums, axis=0) / np.diff(steps)[:, None]
            style.band(panel, 0.5 * (steps[1:] + steps[:-1]), each, look)
        panel.set(xlabel="step", ylabel=label("loss of minibatches", "energy"))

    return draw
