"""Is theta a heat reservoir? Fig. 5.1 of Parsi 2024: realisations, loss, variance and correlation of minibatch noise.

eta = grad U_B - grad phi(b), C_ii(t, l) = <eta_i(t) eta_i(t + l)>, T = r C/2. Rows are drawn one by one, so that C is
proportional to 1/B at equal theta, and eta of different steps is uncorrelated: the lines of theory.

Source: S. S. Parsi, Entropy 26, 112 (2024), arXiv 2310.19802, Sec. 5.1.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.diverged import survivors
from thermosim.analysis.gradient_noise import learned_parameters, noise_statistics
from thermosim.analysis.mixtures import support_size
from thermosim.case.faults import CaseError
from thermosim.data.tables import DataError
from thermosim.plots import learning_panels, style
from thermosim.plots.learning_panels import Draw, collected, marks
from thermosim.plots.learning_points import Point, spread
from thermosim.plots.legends import legend
from thermosim.plots.retrace import moved_most

__all__ = ["panels"]

_CURVES = 4  # points of a sweep
_REPLICAS = 4  # realisations
_MARKS = 24  # frames along the run
_WINDOW = 41  # frames at the end, one after another
_LAGS = 20
_FEWEST = 8  # replicas
_OPERATIONS = 1 << 28  # of all gradients of a figure, about
_TERMS = 64  # of a gradient that cost as much as one state of the normaliser


def panels(ds: xr.Dataset, everything: list[Point]) -> tuple[list[Draw], list[str]]:
    """The four panels of Fig. 5.1 for a few points of a sweep, and why some are not there."""
    chosen = [everything[k] for k in style.pick(len(everything), _CURVES)]
    if ds.sizes["step"] < 2:
        return [], ["One frame is no course in time; record more"]
    try:
        along, late = _noise(ds, everything)
        why = []
    except (ValueError, CaseError, DataError) as error:
        along, late, why = None, None, [f"No noise of minibatches: {' '.join(str(error).split())}"]
    draws, reasons = collected(
        [("realisations", partial(_realisations, chosen)), ("loss", partial(_loss, chosen, along))]
    )
    if along is not None and late is not None:
        draws += [_variance(chosen, along), _autocorrelation(chosen, late)]
    return draws, reasons + why


def _noise(ds: xr.Dataset, everything: list[Point]) -> tuple[xr.Dataset, xr.Dataset]:
    """Statistics at frames along the run, and at the last ones in a row; of as many replicas as take seconds.

    Raises ValueError where there is no such noise, or too few frames or replicas.
    """
    if "theta" not in ds:
        raise ValueError("theta is not among the recorded variables")
    fine = np.flatnonzero(~np.isin(ds["replica"].values, survivors(ds).replicas))
    if len(fine) < 2:
        raise ValueError("fewer than two replicas are left")
    machine = everything[0].machine
    price = support_size(machine) + machine.data.rows * len(learned_parameters(machine)[0]) // _TERMS
    gradients = _OPERATIONS // max(price, 1) // len(everything) // 2

    def statistics(frames: list[int]) -> xr.Dataset:
        replicas = fine[style.pick(len(fine), max(_FEWEST, gradients // len(frames)))]
        some = ds.isel(step=frames, replica=replicas)
        return noise_statistics(some, _LAGS * int(np.diff(some["step"].values[:2])[0]))

    count = ds.sizes["step"]
    return statistics(spread(count, _MARKS)), statistics(list(range(count))[-_WINDOW:])


def _realisations(chosen: list[Point]) -> Draw | None:
    """One parameter of a few replicas of each point."""
    if "theta" not in chosen[0].ds:
        return None
    row = moved_most(chosen[0])

    def draw(panel: Axes) -> None:
        for colour, point in zip(style.COLOURS, chosen):
            theta = point.ds["theta"].isel(theta_dim=row).transpose("step", "replica").values
            for k in range(min(_REPLICAS, theta.shape[1])):
                label = point.label if k == 0 else None
                panel.plot(point.machine.steps, theta[:, k], color=colour, lw=0.7, label=label, zorder=2)
        panel.set(xlabel="step", ylabel=rf"parameter $\theta_{{{row}}}$")
        shown = f"{min(_REPLICAS, chosen[0].ds.sizes['replica'])} replicas"
        panel.set_title(f"{shown} each" if len(chosen) > 1 else shown, loc="right")
        legend(panel)

    return draw


def _loss(chosen: list[Point], noise: xr.Dataset | None) -> Draw | None:
    """Loss on all data over the ensemble, mean and standard deviation; on the minibatch where nothing else is known."""
    if noise is None:
        return learning_panels.loss(chosen[0])
    normalised = chosen[0].machine.model.normalised

    def draw(panel: Axes) -> None:
        for colour, point in zip(style.COLOURS, chosen):
            here = noise[["loss", "loss_variance"]].isel(point.index)
            step, mean, spread = here["step"].values, here["loss"].values, np.sqrt(here["loss_variance"].values)
            panel.fill_between(step, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
            panel.plot(step, mean, color=colour, lw=1.0, label=point.label)
        label = "loss on all data $U_B$ (nat)" if normalised else r"$U_B$ without $\ln Z$ (kT)"
        panel.set(xlabel="step", ylabel=label)
        words = _late_heights(panel, noise["loss"].transpose("step", ...).values)
        panel.set_title(words or "mean and standard deviation", loc="right")
        legend(panel)

    return draw


def _late_heights(panel: Axes, values: np.ndarray) -> str:
    """Heights of the axis for what comes after the first drop; a word on where it began."""
    late = values[len(values) // 20 + 1 :]
    if not len(late) or not values[0].max() > late.max() + 2.0 * np.ptp(late):
        return ""
    panel.set_ylim(top=late.max() + 0.3 * np.ptp(late))
    return f"mean and deviation; {values[0].max():.3g} at the start"


def _variance(chosen: list[Point], noise: xr.Dataset) -> Draw:
    """C_ii(t, 0), mean over parameters, the size of the gradient it competes with, and the law 1/B."""
    temperatures = noise["noise_temperature"].mean(["step", "theta_dim"])
    batches = [int(point.machine.settings.theta.batch) for point in chosen]

    def draw(panel: Axes) -> None:
        reference = noise["mean_variance"].isel(chosen[0].index)
        for k, (colour, point, batch) in enumerate(zip(style.COLOURS, chosen, batches)):
            here = noise.isel(point.index)
            label = point.label or "$C_{ii}(t,0)$, mean over $i$"
            marks(panel, here["mean_variance"], here["mean_variance_error"], colour, label, ms=3)
            if batch != batches[0]:
                law = f"$1/B$, from batch {batches[0]}" if k == 1 else ""
                style.theory(panel, here["step"], reference * batches[0] / batch, label=law)
            style.theory(panel, here["step"], here["gradient"], color=colour, ls="--", lw=1.0)
            style.theory(panel, here["step"], here["largest_gradient"], color=colour, ls=":", lw=1.0)
        panel.plot([], [], color="0.3", ls="--", lw=1.0, label=r"mean $|\partial_i U_B|$")
        panel.plot([], [], color="0.3", ls=":", lw=1.0, label=r"largest $|\partial_i U_B|$")
        panel.set(xlabel="step", ylabel="variance $C_{ii}(t,0)$; gradient", yscale="log")
        values = ", ".join(f"{float(temperatures.isel(point.index)):.2g}" for point in chosen)
        panel.set_title(f"$T = rC/2$: {values} kT", loc="right", fontsize=8)
        legend(panel)

    return draw


def _autocorrelation(chosen: list[Point], noise: xr.Dataset) -> Draw:
    """C(l)/C(0) against the lag, all parameters together, with the zero of white noise."""

    def draw(panel: Axes) -> None:
        panel.axhline(0.0, color=style.GREY, lw=1.0, zorder=1)
        lags = noise["lag"].values
        width = 0.15 * (lags[1] - lags[0] if len(lags) > 1 else 1.0)
        for k, (colour, point) in enumerate(zip(style.COLOURS, chosen)):
            here = noise.isel(point.index)
            shift = width * (k - 0.5 * (len(chosen) - 1))
            error = here["mean_autocorrelation_error"].values
            style.data(panel, lags + shift, here["mean_autocorrelation"].values, error, color=colour, label=point.label)
        values, errors = noise["mean_autocorrelation"], noise["mean_autocorrelation_error"]
        worst = float(abs(values / errors).where(errors > 0.0).max())
        panel.set(xlabel="lag $l$ (steps)", ylabel=r"$\langle\eta(t)\,\eta(t+l)\rangle/\langle\eta^2\rangle$")
        panel.set_title(f"1 at lag 0; farthest from 0: {worst:.1f} errors", loc="right")
        height = float((abs(values) + 2.0 * errors).max())
        if np.isfinite(height) and height > 0.0:
            panel.set_ylim(-1.2 * height, 1.2 * height)
        legend(panel)

    return draw
