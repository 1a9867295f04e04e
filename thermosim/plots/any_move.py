"""The picture of a driven system whose moves have no exact moments: what is measured, and what holds for any move."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis import work
from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.settings import each_point, settings
from thermosim.checks.driven import linear_protocol
from thermosim.exact import driven
from thermosim.plots import style

__all__ = ["figure"]

_PANEL = (4.2, 2.9)  # inches
_MARKS = 12  # marks along a curve in time


def figure(ds: xr.Dataset) -> Figure:
    """Distributions of work and heat, the mean ledger, and Jarzynski's free energy; of a sweep, at its first point."""
    index, resolved = next(each_point(ds))
    point = ", ".join(f"{name.replace('_', ' ')} {ds[name].values[i]}" for name, i in index.items())
    title = (settings(ds).title or resolved.model.name) + (f", {point}" if point else "")
    with style.style():
        result, panels = style.new_figure(2, 2, title=title, panel=_PANEL)
        here = ds.isel(index)
        for panel, name, label in zip(panels[0], ("work", "heat"), ("work $w$ (kT)", "heat absorbed $q$ (kT)")):
            _distribution(panel, here[name].isel(step=-1), label)
        _ledger(panels[1, 0], here)
        _free_energy(panels[1, 1], ds, index, linear_protocol(resolved).stiffness, resolved.of_x.temperature)
        style.label_panels(list(panels.flat))
        return result


def _distribution(panel: Axes, last: xr.DataArray, label: str) -> None:
    values = np.ravel(last.values)
    values = values[np.isfinite(values)]
    panel.set(xlabel=label, ylabel="density")
    if values.size == 0 or np.ptp(values) == 0.0:
        panel.text(0.5, 0.5, "nothing varies", ha="center", transform=panel.transAxes)
        return
    low, high = np.quantile(values, [0.001, 0.999])
    edges = np.linspace(low, high, int(np.clip(np.sqrt(values.size) / 2.0, 10, 50)))
    density, _ = np.histogram(values, edges)
    height = density / values.size / np.diff(edges)
    panel.stairs(height, edges, fill=True, color=style.COLOURS[0], alpha=0.35)
    panel.set_title(f"to step {int(last['step'])}", loc="right")


def _ledger(panel: Axes, ds: xr.Dataset) -> None:
    """Mean work, heat and change of energy since the first frame."""
    frames = style.pick(ds.sizes["step"], _MARKS)
    panel.axhline(0.0, color="0.85", lw=0.8, zorder=0)
    rows = (("work", "work"), ("heat", "heat"), ("phi", r"$\Delta\varphi$"))
    for colour, (name, label) in zip(style.COLOURS, [row for row in rows if row[0] in ds]):
        mean, error = (v.values[frames] for v in replica_mean(ds[name] - ds[name].isel(step=0)))
        style.data(panel, ds["step"].values[frames], mean, error, color=colour, label=label)
    panel.set(xlabel="step", ylabel="mean ledger (kT)")
    panel.legend()


def _free_energy(panel: Axes, ds: xr.Dataset, index: dict[str, int], stiffness: np.ndarray, bath: object) -> None:
    """What Jarzynski's equality makes of the work, and the free energy of the stiffness."""
    panel.set(xlabel="step", ylabel="free energy (kT)")
    if not isinstance(bath, (int, float)):
        panel.text(0.5, 0.5, "no single temperature", ha="center", transform=panel.transAxes)
        return
    frames, estimate = style.pick(ds.sizes["step"], _MARKS), work.jarzynski(ds).isel(index)
    value, error = (estimate[f"free_energy_difference{end}"].values[frames] for end in ("", "_error"))
    exact = driven.free_energy_difference(stiffness, float(bath))
    style.theory(panel, np.arange(len(exact)), exact, color=style.COLOURS[1], label=r"$\Delta F$ of the stiffness")
    style.data(panel, ds["step"].values[frames], value, error, label=r"$-T\ln\langle e^{-w/T}\rangle$")
    low, high = panel.get_ylim()
    panel.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
    panel.legend(loc="upper left")
