"""The noise of minibatches of a network, as Fig. 5.1 of arXiv:2310.19802 shows it, with errors over replicas.

Single components of theta; accuracy, or a loss, over the ensemble; the variance C_ii(t) of the noise beside the mean
gradient, both as means over parameters; and the correlations of the noise in time.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis.diverged import survivors
from thermosim.analysis.machine import Machine
from thermosim.analysis.network_noise import network_noise, own_frames
from thermosim.analysis.settings import settings
from thermosim.plots import style
from thermosim.plots.energies import replicas
from thermosim.plots.labels import label, plain, power
from thermosim.plots.learning_panels import why_not
from thermosim.plots.learning_points import Point, left_out, points
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw, page

__all__ = ["figure"]

_CURVES, _REALISATIONS, _MARKS = 4, 4, 12
_KNOWN = ("test_accuracy", "accuracy", "test_loss", "full_loss", "minibatch_loss")  # how well it learned


def figure(ds: xr.Dataset) -> Figure | None:
    """The picture of an ensemble that measured its noise; None of any other."""
    if not {"gradient_noise_trace", "noise_projections"} <= set(ds):
        return None
    ds = survivors(ds).ds
    everything = [point for point in points(ds) if point.ds.sizes["replica"]]
    chosen = [everything[k] for k in style.pick(len(everything), _CURVES)]
    notes, noise = left_out(ds, chosen, everything), None
    try:
        noise = network_noise(ds)
    except ValueError as error:
        notes.append(why_not("the noise of minibatches", error))
    draws = [_realisations(chosen), _learned(chosen)]
    if noise is not None:
        draws += [_variance(chosen, noise), _correlations(chosen, noise)]
    resolved = settings(ds)
    with style.style():
        return page(resolved.title or resolved.model.name, [draw for draw in draws if draw], notes, replicas(ds))


def _realisations(chosen: list[Point]) -> Draw | None:
    """A component of theta of a few replicas of each point."""
    if "components" not in chosen[0].ds:
        return None
    group = _group_of(chosen[0].machine, chosen[0].machine.settings.of_measure.components[0])

    def draw(panel: Axes) -> None:
        for look, point in zip(style.looks(len(chosen)), chosen):
            values = own_frames(point.ds, "components").isel(component=0).transpose("step", "replica")
            for k in range(min(_REALISATIONS, values.sizes["replica"])):
                told = point.label if k == 0 else None
                panel.plot(values["step"], values[:, k], color=look.color, lw=0.8, label=told, zorder=2)
        panel.set(xlabel="step", ylabel=f"a weight of {group}")
        count = min(_REALISATIONS, chosen[0].ds.sizes["replica"])
        panel.set_title(f"{count} single replicas" + (" each" if len(chosen) > 1 else ""), loc="right")
        legend(panel)

    return draw


def _group_of(machine: Machine, number: int) -> str:
    """The parameter group of a component of theta, in words."""
    groups = machine.model.groups(machine.constants)
    ends = np.cumsum([math.prod(group.shape(machine.constants)) for group in groups])
    place = number if number >= 0 else number + int(ends[-1])
    return plain(groups[int(np.searchsorted(ends, place, side="right"))].name.replace("_", " "))


def _learned(chosen: list[Point]) -> Draw | None:
    """Mean of accuracy or loss with its error, and the standard deviation over replicas as a band."""
    name = next((name for name in _KNOWN if name in chosen[0].ds), None)
    if name is None:
        return None

    def draw(panel: Axes) -> None:
        for look, point in zip(style.looks(len(chosen)), chosen):
            values = own_frames(point.ds, name).transpose("step", "replica")
            step, mean, spread = values["step"].values, values.values.mean(1), values.values.std(1, ddof=1)
            panel.fill_between(step, mean - spread, mean + spread, color=look.color, alpha=0.2, lw=0)
            panel.plot(step, mean, color=look.color, ls=look.dashes, lw=0.8)
            few, error = style.pick(len(step), _MARKS), spread / np.sqrt(values.sizes["replica"])
            style.data(panel, step[few], mean[few], error[few], look=look, label=point.label, ms=3)
        units = str(chosen[0].ds[name].attrs.get("units", "1"))
        panel.set(xlabel="step", ylabel=label(name.replace("_", " "), units))
        panel.set_title("bands: one standard deviation", loc="right")
        legend(panel)

    return draw


def _variance(chosen: list[Point], noise: xr.Dataset) -> Draw:
    def draw(panel: Axes) -> None:
        for look, point in zip(style.looks(len(chosen)), chosen):
            here = noise.isel(point.index)
            step = here["step"].values
            few = style.pick(len(step), _MARKS)
            mean, error = here["mean_variance"].values[few], here["mean_variance_error"].values[few]
            style.data(panel, step[few], mean, error, look=look, label=point.label or "$C_{ii}(t,0)$", ms=3)
            panel.plot(step, here["mean_variance"], color=look.color, lw=0.8)
            if "mean_gradient_variance" in here:
                square = here["mean_gradient_variance"].values
                panel.plot(step, np.where(square > 0.0, square, np.nan), color=look.color, ls="--", lw=1.0)
        if "mean_gradient_variance" in noise:
            panel.plot([], [], color="0.3", ls="--", lw=1.0, label=r"mean gradient, $|\mathrm{E}\,g|^2/m$")
        panel.set(xlabel="step", ylabel="variance $C_{ii}(t,0)$ of noise,\nmean over weights (energy$^2$)")
        style.log_ticks(panel, "y")
        if "noise_temperature" in noise:
            warm = [power(float(noise["noise_temperature"].isel(point.index).mean())) for point in chosen]
            panel.set_title(f"$rC/2$: {', '.join(warm)}", loc="right")
        legend(panel)

    return draw


def _correlations(chosen: list[Point], noise: xr.Dataset) -> Draw:
    def draw(panel: Axes) -> None:
        panel.axhline(0.0, color=style.GREY, lw=1.0, zorder=1)
        lags = np.concatenate([[0], noise["lag"].values])
        width = 0.15 * (lags[1] - lags[0])
        for k, (look, point) in enumerate(zip(style.looks(len(chosen)), chosen)):
            here = noise.isel(point.index)
            value, error = here["mean_autocorrelation"].values, here["mean_autocorrelation_error"].values
            shift = width * (k - 0.5 * (len(chosen) - 1))
            both = np.concatenate([[1.0], value]), np.concatenate([[0.0], error])
            style.data(panel, lags + shift, *both, look=look, label=point.label, ms=3)
        values, errors = noise["mean_autocorrelation"], noise["mean_autocorrelation_error"]
        worst = float(abs(values / errors).where(errors > 0.0).max())
        panel.set(xlabel="lag $l$ (steps)", ylabel="autocorrelation of noise\n$C(l)/C(0)$")
        panel.set_title(f"beyond lag 0 at most {worst:.1f} errors from 0", loc="right")
        legend(panel)

    return draw
