"""Irreversibility over a sweep of the learning rate r at fixed theta (`analysis.irreversibility.sweep`).

Potentials against r; over leading order r |U|^2/4 against r h, the learning rate times the curvature along the step;
what is left beyond leading order, over r^2, below its bound; the angle between mismatches and r J U/2. Lines of a
quadratic are closed forms.
Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), G33 to G36.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.diverged import survivors
from thermosim.analysis.irreversibility.ensemble_sweep import (
    EnsembleSweep,
    ensemble_sweep,
    exact_potentials,
    why_no_sweep,
)
from thermosim.analysis.irreversibility.sweep import DEPARTED
from thermosim.analysis.machine import machines
from thermosim.analysis.settings import settings
from thermosim.data.tables import DataError
from thermosim.plots import style
from thermosim.plots.learning_panels import why_not
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw

__all__ = ["panels"]

_NAMES = {"de": r"\mathrm{DE}", "tr": r"\mathrm{TR}", "ta": r"\mathrm{TA}", "st": r"\mathrm{ST}"}
_LOOKS = {"de": style.WORK, "tr": style.HEAT, "ta": style.ENERGY, "st": style.ENTROPY}
_FLOOR = 1e-9  # of the field: remainders below are rounding
_FINE = 60  # rates of a line


def panels(ds: xr.Dataset) -> tuple[list[Draw], list[str], str] | None:
    """Four panels, what is to be said of them, and what points are means of; None where the run is no such sweep."""
    if settings(ds).irreversibility is None or why_no_sweep(ds, machines(ds)):
        return None
    try:
        here = ensemble_sweep(survivors(ds).ds)
    except (ValueError, DataError) as error:
        return [], [why_not("irreversibility", error)], ""
    draws: list[Draw] = [partial(draw, here) for draw in (_potentials, _ratios, _remainders, _angles)]
    told = [_departures(here, "potential"), _departures(here, "vector"), *_said(here)]
    return draws, told, f"{len(here.theta)} replicas, at the starts of the smallest learning rate"


def _said(here: EnsembleSweep) -> list[str]:
    said = []
    if here.batches > 1:
        said.append(f"Averaged over {here.batches} minibatches, each reversed on itself.")
    if here.no_scalars:
        said.append(rf"No $\phi_{{DE}}$, $\phi_{{TR}}$, $\phi_{{TA}}$: {here.no_scalars}.")
    said.append(
        "Bounds by constants measured at points of the path, which are lower than the true ones."
        if here.smooth
        else "No bounds of what is left: ReLU, or a model of your own, may have kinks, where the field jumps."
    )
    return said


def _departures(here: EnsembleSweep, kind: str) -> str:
    """At which r h each potential, or mismatch, leaves leading order by a tenth."""
    told, letter = [], r"\phi" if kind == "potential" else "g"
    every = here.found["departure" if kind == "potential" else "vector_departure"]
    for name in every[kind].values:
        values = every.sel({kind: name}).values
        known = values[np.isfinite(values)]
        most = f"{known.mean():.2g}" if known.size else "nowhere"
        told.append(rf"${letter}_{{{_NAMES[name]}}}$ {most}" + ("" if known.size in (0, values.size) else "*"))
    partly = " *: of the replicas that do." if any(words.endswith("*") for words in told) else ""
    along = "" if kind == "potential" else ", along it,"
    return f"{DEPARTED:.0%} off leading order{along} at $rh$ = " + ", ".join(told) + f".{partly}"


def _with_order(here: EnsembleSweep, name: str, order: str) -> str:
    """A potential with its order in r, where that is known."""
    value = float(here.found[order].sel(potential=name))
    return rf"$\phi_{{{_NAMES[name]}}}$" + (f": order {value:.2f}" if np.isfinite(value) else "")


def _mean(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray | None]:
    count = values.sizes["replica"]
    error = values.std("replica", ddof=1).values / np.sqrt(count) if count > 1 else None
    return values.mean("replica").values, error


def _potentials(here: EnsembleSweep, panel: Axes) -> None:
    found, rates = here.found, here.rates
    fine = np.geomspace(rates[0], rates[-1], _FINE)
    square = float((found["leading_order"] / found["learning_rate"]).mean())
    style.theory(panel, fine, fine * square, label=r"$r|U|^2/4$", ls=(0, (2, 2)))
    exact = exact_potentials(here.quadratics, here.theta, fine) if here.quadratics else {}
    for name in found["potential"].values:
        mean, error = _mean(found["phi"].sel(potential=name))
        style.data(panel, rates, mean, error, look=_LOOKS[name], label=_with_order(here, name, "order"))
        if exact:
            style.theory(panel, fine, exact[name].mean(0), color=_LOOKS[name].color)
    panel.set(xlabel="learning rate $r$", ylabel=r"potential $\phi$ (energy)")
    style.log_ticks(panel)
    legend(panel)


def _ratios(here: EnsembleSweep, panel: Axes) -> None:
    found = here.found
    place = found["rate_sharpness"].mean("replica").values
    fine = np.geomspace(here.rates[0], here.rates[-1], _FINE)
    exact = exact_potentials(here.quadratics, here.theta, fine) if here.quadratics else {}
    panel.axhspan(1.0 - DEPARTED, 1.0 + DEPARTED, color="0.93", lw=0, zorder=0)
    panel.axhline(1.0, color=style.GREY, lw=0.8, ls=(0, (2, 2)), zorder=1)
    for name in found["potential"].values:
        mean, error = _mean(found["ratio"].sel(potential=name))
        style.data(panel, place, mean, error, look=_LOOKS[name], label=rf"$\phi_{{{_NAMES[name]}}}$")
        if exact:  # the curvature along the step of a quadratic is the same at any rate
            style.theory(
                panel,
                fine * place[0] / here.rates[0],
                (exact[name] / exact["leading"]).mean(0),
                color=_LOOKS[name].color,
            )
    panel.set(xlabel=r"$rh$, learning rate times curvature along the step", ylabel=r"$\phi\,/\,(r|U|^2/4)$")
    panel.set_title("grey: within a tenth", loc="right")
    style.log_ticks(panel, "x")
    legend(panel)


def _remainders(here: EnsembleSweep, panel: Axes) -> None:
    found, rates = here.found, here.rates
    size = float(np.sqrt(4.0 * found["leading_order"] / found["learning_rate"]).mean())
    for name in found["potential"].values:
        mean, error = _mean(found["remainder"].sel(potential=name))
        known = mean * rates**2 > _FLOOR * size**2 * rates
        if not known.any():
            continue
        error = None if error is None else error[known]
        look = _LOOKS[name]
        words = _with_order(here, name, "remainder_order")
        style.data(panel, rates[known], mean[known], error, look=look, label=words)
        if here.smooth:
            bound = found["remainder_bound"].sel(potential=name).mean("replica").values
            panel.plot(rates, bound, color=look.color, lw=0.9, ls=(0, (4, 2)), zorder=1)
    if here.smooth:
        panel.plot([], [], color="0.3", lw=0.9, ls=(0, (4, 2)), label="bounds, by colour")
    panel.set(xlabel="learning rate $r$", ylabel=r"$|\phi - r|U|^2/4|\,/\,r^2$ (energy$^3$)")
    style.log_ticks(panel)
    legend(panel)


def _angles(here: EnsembleSweep, panel: Axes) -> None:
    found = here.found
    place = found["rate_sharpness"].mean("replica").values
    for name in found["vector"].values:
        mean, error = _mean(found["cosine"].sel(vector=name))
        style.data(panel, place, mean, error, look=_LOOKS[name], label=rf"$g_{{{_NAMES[name]}}}$")
    panel.set(xlabel=r"$rh$, learning rate times curvature along the step", ylabel=r"cosine of $g$ and $rJU/2$")
    style.log_ticks(panel, "x")
    low, high = panel.get_ylim()
    if high - low < 1e-6:  # rounding
        panel.set_ylim(0.9, 1.02)
    legend(panel)
