"""Figures of one cell of the ideal gas of SGD in time: a stationary run and its laws, or a relaxing radius."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis import ideal_gas as measured
from thermosim.analysis.sphere_frames import Cells, frames, mean_of_finite
from thermosim.checks.ideal_gas import finite_step
from thermosim.exact import ideal_gas, sphere_chain
from thermosim.plots import style

__all__ = ["stationary", "transient"]

BINS = 30
MOST_CELLS = 5
MOST_POINTS = 24


def stationary(ds: xr.Dataset, there: Cells, title: str) -> Figure:
    """Mean loss and radius against step, and the distributions of z and of ln r^2."""
    sphere = there.protocol == "fixed-sphere"
    figure, axes = style.new_figure(1 if sphere else 2, 2, title=title)
    exact = finite_step(there)
    whole, settled = frames(ds, settle=False), frames(ds)
    name = "loss $L$"
    _course(axes[0, 0], whole.step, whole.loss, float(exact["U"][0]), name)
    _cosine(axes[0, 1], 1.0 - settled.loss[1:].ravel(), there)
    if not sphere:
        _course(axes[1, 0], whole.step, np.exp(whole.log_square / 2), float(exact["radius"][0]), "radius $r$")
        _log_radius(axes[1, 1], settled.log_square[1:].ravel(), exact)
    style.label_panels(list(axes.flat))
    return figure


def transient(ds: xr.Dataset, there: Cells, title: str) -> Figure:
    """Mean radius against step with the closed form, for a few cells; and the mean loss."""
    figure, axes = style.new_figure(1, 2, title=title)
    course, record = measured.radius_transient(ds), frames(ds, settle=False)
    flat = list(np.ndindex(there.noise.shape))
    shown = [flat[i] for i in style.pick(len(flat), MOST_CELLS)]
    colours = style.sequence(len(shown)) if len(shown) > 1 else [style.COLOURS[0]]
    fine = np.linspace(record.step[0], record.step[-1], 300)
    for k, (cell, colour) in enumerate(zip(shown, colours, strict=True)):
        index = (slice(None), *cell)
        named = zip(there.names, cell, strict=True)
        label = ", ".join(f"{n.replace('_', ' ')} {float(there.coords[n][i]):.3g}" for n, i in named) or "measured"
        noise, rate, decay = (values[cell] for values in there.arguments[2:5])
        start, elapsed = float(course["radius"].to_numpy()[0][cell]), fine - fine[0]
        exact = ideal_gas.radius_transient(there.protocol, there.dimension, noise, rate, decay, start, elapsed)
        style.theory(axes[0, 0], fine, exact, color=colour, label="closed form" if k == 0 else "")
        radius, error = course["radius"].to_numpy()[index], course["radius_error"].to_numpy()[index]
        few = style.pick(len(radius), MOST_POINTS)
        style.data(axes[0, 0], record.step[few], radius[few], error[few], color=colour, label=label)
        loss = record.loss[index]
        style.data(axes[0, 1], record.step, loss.mean(-1), loss.std(-1) / np.sqrt(record.replicas), color=colour)
    axes[0, 0].set(xlabel="step", ylabel=r"mean radius $\langle r\rangle$")
    axes[0, 1].set(xlabel="step", ylabel=r"mean loss $\langle L\rangle$", yscale="log")
    style.headroom(axes[0, 0], 0.25)
    axes[0, 0].legend(loc="upper left", ncols=2, columnspacing=1.0)
    style.label_panels(list(axes.flat))
    return figure


def _course(axes: Axes, step: np.ndarray, values: np.ndarray, exact: float, label: str) -> None:
    """Mean over replicas with a band of one standard error, a few replicas behind, the exact mean as a line."""
    mean = mean_of_finite(values)
    error = np.sqrt(mean_of_finite((values - mean[..., None]) ** 2) / values.shape[-1])
    for k in range(min(3, values.shape[-1])):
        axes.plot(step, values[:, k], color="0.8", lw=0.6, zorder=1, label="single replicas" if k == 0 else None)
    axes.fill_between(step, mean - error, mean + error, color=style.COLOURS[0], alpha=0.3, lw=0)
    axes.plot(step, mean, color=style.COLOURS[0], lw=1.0, label="mean of replicas")
    axes.axhline(exact, color="black", ls="--", lw=1.0, label="exact, finite step", zorder=4)
    axes.set(xlabel="step", ylabel=label)
    axes.legend(loc="best")


def _cosine(axes: Axes, cosine: np.ndarray, there: Cells) -> None:
    """Histogram of z with the exact density at the run's step."""
    step = there.learning_rate * (there.weight_decay if there.protocol == "fixed-lr" else 1.0)
    law = sphere_chain.stationary_law(there.protocol, there.dimension, float(there.noise), float(step))
    low = float(np.quantile(cosine[np.isfinite(cosine)], 1e-3))
    axes.hist(cosine, BINS, range=(low, 1.0), density=True, color=style.COLOURS[0], alpha=0.35, label="measured")
    z = np.linspace(low, 1.0, 401)[1:-1]
    axes.plot(z, sphere_chain.cosine_density(law, there.dimension, z), color="black", label="exact, finite step")
    axes.set(xlabel=r"$z = -\mu\cdot\bar w$", ylabel="density")
    axes.legend(loc="upper left")


def _log_radius(axes: Axes, log_square: np.ndarray, exact: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Histogram of ln r^2 with the Gaussian of its exact mean and deviation."""
    mean, deviation = 2 * float(exact["log_radius"][0]), float(exact["log_radius_square_deviation"][0])
    y = mean + deviation * np.linspace(-4, 4, 200)
    axes.hist(log_square, BINS, range=(y[0], y[-1]), density=True, color=style.COLOURS[0], alpha=0.35, label="measured")
    bell = np.exp(-((y - mean) ** 2) / (2 * deviation**2)) / np.sqrt(2 * np.pi * deviation**2)
    axes.plot(y, bell, color="black", label="Gaussian, exact\nmean and spread")
    axes.set(xlabel=r"$\ln r^2$", ylabel="density")
    axes.legend(loc="upper left")
