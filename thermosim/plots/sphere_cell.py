"""Figures of one cell of the ideal gas of SGD in time: a stationary run and its laws, or a relaxing radius."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis import ideal_gas as measured
from thermosim.analysis.sphere_frames import Cells, frames
from thermosim.checks.ideal_gas import finite_step
from thermosim.exact import ideal_gas, sphere_chain
from thermosim.plots import style
from thermosim.plots.labels import plain
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw, page
from thermosim.plots.style import LOSS, MEMORY, Look

__all__ = ["stationary", "transient"]

BINS = 30
MOST_CELLS = 5
MOST_POINTS = 24
RADIUS = MEMORY


def stationary(ds: xr.Dataset, there: Cells, title: str) -> Figure:
    """Mean loss and radius against step, and the distributions of z and of ln r^2."""
    exact = finite_step(there)
    whole, settled = frames(ds, settle=False), frames(ds)
    draws: list[Draw] = [
        lambda a: _course(a, whole.step, whole.loss, float(exact["U"][0]), LOSS, "loss $L$"),
        lambda a: _cosine(a, 1.0 - settled.loss[1:].ravel(), there),
    ]
    if there.protocol != "fixed-sphere":
        radius = np.exp(whole.log_square / 2)
        draws += [
            lambda a: _course(a, whole.step, radius, float(exact["radius"][0]), RADIUS, "radius $r$"),
            lambda a: _log_radius(a, settled.log_square[1:].ravel(), exact),
        ]
    return page(title, draws, ["Histograms: settled frames of all replicas."])


def transient(ds: xr.Dataset, there: Cells, title: str) -> Figure:
    """Mean radius against step with the closed form, for a few cells; and the mean loss."""
    course, record = measured.radius_transient(ds), frames(ds, settle=False)
    flat = list(np.ndindex(there.noise.shape))
    shown = [flat[i] for i in style.pick(len(flat), MOST_CELLS)]
    looks = style.looks(len(shown))
    swept = [n for n in there.names if len(there.coords[n]) > 1]
    words = [
        ", ".join(f"{float(there.coords[n][i]):.3g}" for n, i in zip(there.names, cell, strict=True) if n in swept)
        for cell in shown
    ]
    heading = ", ".join(plain(n.replace("_", " ")) for n in swept)
    left_out = f"{len(shown)} of {len(flat)} points drawn" if len(shown) < len(flat) else ""

    def radii(panel: Axes) -> None:
        fine = np.linspace(record.step[0], record.step[-1], 300)
        for cell, look, name in zip(shown, looks, words, strict=True):
            noise, rate, decay = (values[cell] for values in there.arguments[2:5])
            start, elapsed = float(course["radius"].to_numpy()[0][cell]), fine - fine[0]
            exact = ideal_gas.radius_transient(there.protocol, there.dimension, noise, rate, decay, start, elapsed)
            style.theory(panel, fine, exact, color=look.color)
            index = (slice(None), *cell)
            radius, error = course["radius"].to_numpy()[index], course["radius_error"].to_numpy()[index]
            few = style.pick(len(radius), MOST_POINTS)
            style.data(panel, record.step[few], radius[few], error[few], look=look, label=name or "measured")
        panel.set(xlabel="step", ylabel=r"mean radius $\langle r\rangle$")
        panel.set_title(left_out, loc="right")
        legend(panel, heading)

    def losses(panel: Axes) -> None:
        for cell, look, name in zip(shown, looks, words, strict=True):
            loss = record.loss[(slice(None), *cell)]
            few = style.pick(len(loss), MOST_POINTS)
            error = loss.std(-1) / np.sqrt(record.replicas)
            style.data(panel, record.step[few], loss.mean(-1)[few], error[few], look=look, label=name)
        panel.set(xlabel="step", ylabel=r"mean loss $\langle L\rangle$")
        style.log_ticks(panel, "y")
        legend(panel, heading)

    lines = "Lines: closed form, to leading order in the step."
    return page(title, [radii, losses], [f"Dimension {there.dimension}."], exact=lines)


def _course(axes: Axes, step: np.ndarray, values: np.ndarray, exact: float, look: Look, label: str) -> None:
    """Mean over replicas in a band, a few replicas behind, the exact mean as a line."""
    for k in range(min(3, values.shape[-1])):
        axes.plot(step, values[:, k], color="0.7", lw=0.6, zorder=1, label="single replicas" if k == 0 else None)
    style.band(axes, step, values, look, "mean of replicas")
    axes.axhline(exact, color="black", ls="--", lw=1.0, label="exact mean, at this step size", zorder=4)
    axes.set(xlabel="step", ylabel=label)
    legend(axes)


def _cosine(axes: Axes, cosine: np.ndarray, there: Cells) -> None:
    """Histogram of z with the exact density at the run's step."""
    step = there.learning_rate * (there.weight_decay if there.protocol == "fixed-lr" else 1.0)
    law = sphere_chain.stationary_law(there.protocol, there.dimension, float(there.noise), float(step))
    low = float(np.quantile(cosine[np.isfinite(cosine)], 1e-3))
    color = LOSS.color
    axes.hist(cosine, BINS, range=(low, 1.0), density=True, color=color, alpha=0.35, label="measured")
    z = np.linspace(low, 1.0, 401)[1:-1]
    axes.plot(z, sphere_chain.cosine_density(law, there.dimension, z), color="black", label="exact, at this step size")
    axes.set(xlabel=r"cosine $z = -\mu\cdot\bar w = 1 - L$", ylabel="probability density")
    legend(axes)


def _log_radius(axes: Axes, log_square: np.ndarray, exact: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Histogram of ln r^2 with the Gaussian of its exact mean and deviation."""
    mean, deviation = 2 * float(exact["log_radius"][0]), float(exact["log_radius_square_deviation"][0])
    y = mean + deviation * np.linspace(-4, 4, 200)
    axes.hist(log_square, BINS, range=(y[0], y[-1]), density=True, color=RADIUS.color, alpha=0.35, label="measured")
    bell = np.exp(-((y - mean) ** 2) / (2 * deviation**2)) / np.sqrt(2 * np.pi * deviation**2)
    axes.plot(y, bell, color="black", label="normal law, exact mean and spread")
    axes.set(xlabel=r"$\ln r^2$", ylabel="probability density")
    legend(axes)
