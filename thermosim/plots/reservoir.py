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
from thermosim.plots import (
    alignment_panels,
    entropic_loss,
    entropic_parts,
    generalisation,
    learning_panels,
    network_panels,
    replica_panels,
    rotations,
    style,
    update_energies,
)
from thermosim.plots.labels import label, power
from thermosim.plots.learning_panels import collected, marks
from thermosim.plots.learning_points import Point, left_out
from thermosim.plots.legends import legend
from thermosim.plots.maps import map_of
from thermosim.plots.page import Draw
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
    """The four panels of Fig. 5.1 for a few points of a sweep, maps over two axes, and why some are not there."""
    chosen = [everything[k] for k in style.pick(len(everything), _CURVES)]
    if ds.sizes["step"] < 2:
        return [], ["One frame is no course in time."]
    try:
        along, late = _noise(ds, everything)
        why = []
    except (ValueError, CaseError, DataError) as error:
        along, late, why = None, None, [learning_panels.why_not("noise of minibatches", error)]
    makers = dict(generalisation.panels(chosen))
    apart = replica_panels.makers(ds, everything)
    draws, reasons = collected(
        [
            *alignment_panels.makers(ds, everything[0]),
            *entropic_parts.makers(ds, everything),
            *(apart or [("realisations", partial(_realisations, chosen))]),
            ("loss", makers.pop("loss", partial(_loss, chosen, along))),
            *makers.items(),
            ("layers", partial(network_panels.gradients, chosen[0])),
            ("charges", partial(network_panels.charges, chosen[0])),
            ("sharpness", partial(network_panels.sharpness, ds, everything)),
            ("entropic loss", partial(entropic_loss.entropic_loss, chosen[0])),
            ("angles", partial(rotations.angles, chosen)),
            ("lengths", partial(rotations.lengths, chosen)),
            ("update energy", partial(update_energies.update_energies, chosen)),
            ("update energy of a few", partial(update_energies.update_energies, chosen, update_energies.FEW)),
        ]
    )
    if along is not None and late is not None:
        draws += [_variance(chosen, along), _autocorrelation(chosen, late), *_maps(ds, along, chosen[0])]
    return draws, [*reasons, *why, *left_out(ds, chosen, everything)]


def _maps(ds: xr.Dataset, noise: xr.Dataset, point: Point) -> list[Draw]:
    """Temperature of the noise, mean over the run and the parameters, and the last loss, over two axes of a sweep."""
    temperature, last = noise["noise_temperature"].mean(["step", "theta_dim"]), noise["loss"].isel(step=-1)
    maps = [
        map_of(ds, temperature, "temperature of noise $rC/2$"),
        map_of(ds, last, _loss_label(point), f"step {int(last['step'])}"),
    ]
    return [draw for draw in maps if draw is not None]


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
    stride = max(1, -(-(count - 1) // (_MARKS - 1)))  # correlations in time want frames equally far apart
    return statistics(list(range(0, count, stride))), statistics(list(range(count))[-_WINDOW:])


def _realisations(chosen: list[Point]) -> Draw | None:
    """One parameter of a few replicas of each point."""
    if "theta" not in chosen[0].ds:
        return None
    row = moved_most(chosen[0])

    def draw(panel: Axes) -> None:
        for look, point in zip(_looks(chosen), chosen):
            theta = point.ds["theta"].isel(theta_dim=row).transpose("step", "replica").values
            for k in range(min(_REPLICAS, theta.shape[1])):
                words = point.label if k == 0 else None
                panel.plot(point.machine.steps, theta[:, k], color=look.color, lw=0.7, label=words, zorder=2)
        panel.set(xlabel="step", ylabel=rf"parameter $\theta_{{{row}}}$")
        told = f"{min(_REPLICAS, chosen[0].ds.sizes['replica'])} single replicas"
        panel.set_title(f"{told} each" if len(chosen) > 1 else told, loc="right")
        legend(panel)

    return draw


def _loss(chosen: list[Point], noise: xr.Dataset | None) -> Draw | None:
    """Loss on all data over the ensemble, mean and standard deviation; on the minibatch where nothing else is known."""
    if noise is None:
        return learning_panels.loss(chosen[0])

    def draw(panel: Axes) -> None:
        least, most = np.inf, -np.inf
        for look, point in zip(_looks(chosen), chosen):
            here = noise[["loss", "loss_variance"]].isel(point.index)
            step, mean, spread = here["step"].values, here["loss"].values, np.sqrt(here["loss_variance"].values)
            panel.fill_between(step, mean - spread, mean + spread, color=look.color, alpha=0.2, lw=0)
            panel.plot(step, mean, color=look.color, ls=look.dashes, label=point.label)
            least, most = min(least, np.nanmin(mean - spread)), max(most, np.nanmax(mean + spread))
        panel.set(xlabel="step", ylabel=_loss_label(chosen[0]))
        panel.set_title("bands: one standard deviation", loc="right")
        if least > 0.0 and most > 2.0 * least:  # the fall at the start would flatten what follows
            style.log_ticks(panel, "y")
        legend(panel)

    return draw


def _looks(chosen: list[Point]) -> list[style.Look]:
    """Of the points drawn, in their order."""
    return style.looks(len(chosen))


def _loss_label(point: Point) -> str:
    name = "loss on all data $U_B$"
    if point.machine.model.is_loss:
        return label(name, "energy")
    return label(name, "nat") if point.machine.model.normalised else label(rf"{name}, without $\ln Z$", "energy", 1.0)


def _variance(chosen: list[Point], noise: xr.Dataset) -> Draw:
    """C_ii(t, 0), mean over parameters, the size of the gradient it competes with, and the law 1/B."""
    temperatures = noise["noise_temperature"].mean(["step", "theta_dim"])
    batches = [int(point.machine.settings.theta.batch) for point in chosen]

    def draw(panel: Axes) -> None:
        reference, law = noise["mean_variance"].isel(chosen[0].index), f"$1/B$, from batch {batches[0]}"
        for look, point, batch in zip(_looks(chosen), chosen, batches):
            here = noise.isel(point.index)
            words = point.label or "$C_{ii}(t,0)$, mean over $i$"
            marks(panel, here["mean_variance"], here["mean_variance_error"], look, words, ms=3)
            if batch != batches[0]:
                style.theory(panel, here["step"], reference * batches[0] / batch, label=law)
            panel.plot(here["step"], here["gradient"], color=look.color, ls="--", lw=1.0)
            panel.plot(here["step"], here["largest_gradient"], color=look.color, ls=":", lw=1.0)
        panel.plot([], [], color="0.3", ls="--", lw=1.0, label=r"mean $|\partial_i U_B|$")
        panel.plot([], [], color="0.3", ls=":", lw=1.0, label=r"largest $|\partial_i U_B|$")
        panel.set(xlabel="step", ylabel="variance $C_{ii}(t,0)$ of noise;\ngradient $|\\partial_i U_B|$", yscale="log")
        if len(chosen) < _CURVES:
            values = ", ".join(power(float(temperatures.isel(point.index))) for point in chosen)
            panel.set_title(f"$rC/2$: {values}", loc="right")
        legend(panel)

    return draw


def _autocorrelation(chosen: list[Point], noise: xr.Dataset) -> Draw:
    """C(l)/C(0) against the lag, all parameters together, with the zero of white noise."""

    def draw(panel: Axes) -> None:
        panel.axhline(0.0, color=style.GREY, lw=1.0, zorder=1)
        lags = noise["lag"].values
        width = 0.15 * (lags[1] - lags[0] if len(lags) > 1 else 1.0)
        for k, (look, point) in enumerate(zip(_looks(chosen), chosen)):
            here = noise.isel(point.index)
            shift = width * (k - 0.5 * (len(chosen) - 1))
            error = here["mean_autocorrelation_error"].values
            style.data(panel, lags + shift, here["mean_autocorrelation"].values, error, look=look, label=point.label)
        values, errors = noise["mean_autocorrelation"], noise["mean_autocorrelation_error"]
        worst = float(abs(values / errors).where(errors > 0.0).max())
        panel.set(
            xlabel="lag $l$ (steps)",
            ylabel="autocorrelation of noise\n$\\langle\\eta(t)\\,\\eta(t+l)\\rangle/\\langle\\eta^2\\rangle$",
        )
        panel.set_title(f"1 at lag 0; at most {worst:.1f} errors from 0", loc="right")
        legend(panel)

    return draw
