"""Pictures of driven linear systems: distributions of work and heat, means in time against theory, the first law.

Marks are measured (bars: one standard error), lines are theory, exact at the time step of the run unless it says so.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis import work
from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.settings import axes, settings
from thermosim.checks import driven
from thermosim.checks.driven import Exact
from thermosim.moves import THETA_MOVES
from thermosim.plots import any_move, style

__all__ = ["figure"]

_PANEL = (4.2, 2.9)  # inches
_POINTS = 1000  # of a curve of theory in time, between the frames
_MARKS = 12  # marks along a curve in time
_BLACK = "#222222"


def figure(ds: xr.Dataset) -> Figure:
    """Four panels. Of a sweep, distributions and ledger are those of its first point."""
    ds["heat"]  # raises KeyError where it is not recorded, before theory is worked out
    if not (driven.has_linear_moves(ds) and driven.starts_from_a_known_law(ds)):
        return any_move.figure(ds)
    steps = np.unique(np.linspace(0, settings(ds).run.steps, _POINTS + 1).round().astype(int))
    exact = driven.exact_results(ds, np.union1d(steps, ds["step"].values))
    resolved, first = settings(ds), exact[0]
    with style.style():
        title = resolved.title or resolved.model.name
        result, panels = style.new_figure(2, 2, title=title, panel=_PANEL)
        if THETA_MOVES[resolved.theta.dynamics].prescribed:
            _distribution(panels[0, 0], ds, first, "work", "work $w$ (kT)")
            _distribution(panels[0, 1], ds, first, "heat", "heat absorbed $q$ (kT)")
            _work_in_time(panels[1, 0], ds, exact)
        else:
            if np.any(first.protocol.drive):
                _distribution(panels[0, 0], ds, first, "work", "work $w$ (kT)")
            else:
                _distribution(panels[0, 0], ds, first, "heat", "heat absorbed $q$ (kT)")
            _distribution(panels[0, 1], ds, first, "log_ratio_x", r"entropy to the baths, $\sum\ln p(x'|x)/p(x|x')$")
            if _is_line(ds) and all(np.ndim(cell.protocol.time_step) == 0 for cell in exact):
                _rate_along_axis(panels[1, 0], ds, exact)
            else:
                _entropy_in_time(panels[1, 0], ds, exact)
        if len(np.unique(first.protocol.bath(0)[1])) == 2:
            _heat_from_baths(panels[1, 1], ds, first)
        else:
            _ledger(panels[1, 1], ds, first)
        style.label_panels(list(panels.flat))
        return result


def _distribution(panel: Axes, ds: xr.Dataset, cell: Exact, name: str, label: str) -> None:
    """Histogram over replicas in the last frame, with the exact mean and, where it is known, the exact normal law."""
    step = int(ds["step"][-1])
    values = np.ravel(ds[name].isel(cell.index).sel(step=step).values)
    values = values[np.isfinite(values)]
    panel.set(xlabel=label, ylabel="density")
    if values.size == 0 or np.ptp(values) == 0.0:
        panel.text(0.5, 0.5, "nothing varies", ha="center", transform=panel.transAxes)
        return
    low, high = np.quantile(values, [0.001, 0.999])
    edges = np.linspace(low, high, int(np.clip(np.sqrt(values.size) / 2.0, 10, 50)))
    density, _ = np.histogram(values, edges)
    panel.stairs(density / values.size / np.diff(edges), edges, fill=True, color=style.COLOURS[0], alpha=0.35)
    mean = getattr(cell.ledger, {"log_ratio_x": "log_ratio"}.get(name, name))[cell.rows(step)]
    panel.axvline(mean, color=_BLACK, lw=1.2, label=f"exact mean {mean:.4g}")
    if name == "work" and cell.in_one_bath and cell.moments.gaussian:
        variance = cell.moments.variance[cell.rows(step)]
        w = np.linspace(low, high, 300)
        normal = np.exp(-0.5 * (w - mean) ** 2 / variance) / np.sqrt(2.0 * np.pi * variance)
        style.theory(panel, w, normal, color=style.COLOURS[1], label="exact normal law")
    panel.set_title(f"to step {step}{_where(ds, cell)}", loc="right")
    panel.set_ylim(0.0, 1.3 * panel.get_ylim()[1])  # room for the legend
    panel.legend(loc="upper right")


def _work_in_time(panel: Axes, ds: xr.Dataset, exact: list[Exact]) -> None:
    """Mean work, and the exponential average that Jarzynski's equality turns into a free energy."""
    mean, error = replica_mean(ds["work"])
    chosen = style.pick(len(exact))
    colours = [style.COLOURS[0]] if len(chosen) == 1 else style.sequence(len(chosen))
    for colour, cell in zip(colours, (exact[i] for i in chosen), strict=True):
        style.theory(panel, cell.steps, cell.ledger.work, color=colour)
        label = r"$\langle w\rangle$" + _where(ds, cell)
        _marks(panel, ds, mean.isel(cell.index), error.isel(cell.index), colour, label)
    if len(exact) == 1 and exact[0].in_one_bath:
        steps, temperature, moments = exact[0].steps, exact[0].temperature, exact[0].moments
        estimate = work.jarzynski(ds)
        free_energy = driven.free_energy_of(exact[0])[steps]
        style.theory(panel, steps, free_energy, color=_BLACK, ls=":", label=r"free energy difference $\Delta F$")
        style.theory(panel, steps, -temperature * moments.log_average, color=style.COLOURS[1])
        value, spread = estimate["free_energy_difference"], estimate["free_energy_difference_error"]
        _marks(panel, ds, value, spread, style.COLOURS[1], r"$-T\ln\langle e^{-w/T}\rangle$")
    panel.set(xlabel="step", ylabel="energy (kT)")
    panel.legend()


def _entropy_in_time(panel: Axes, ds: xr.Dataset, exact: list[Exact]) -> None:
    """Entropy given to the baths, its exact mean, and the rate of continuous time."""
    mean, error = replica_mean(ds["log_ratio_x"])
    chosen = style.pick(len(exact))
    colours = [style.COLOURS[0]] if len(chosen) == 1 else style.sequence(len(chosen))
    for colour, cell in zip(colours, (exact[i] for i in chosen), strict=True):
        steps, rate = cell.steps, driven.continuous_rate(cell)
        time_steps = np.broadcast_to(np.asarray(cell.protocol.time_step, float), cell.protocol.steps + 1)
        time = cell.protocol.tau * np.concatenate([[0.0], np.cumsum(time_steps[1:])])[steps]
        label = rf"continuous time, rate {rate:.4g}" if len(chosen) == 1 else ""
        style.theory(panel, steps, rate * time, color=style.GREY, ls=":", label=label)
        label = "exact, this time step" if len(chosen) == 1 else ""
        style.theory(panel, steps, cell.ledger.log_ratio, color=colour, label=label)
        _marks(panel, ds, mean.isel(cell.index), error.isel(cell.index), colour, "measured" + _where(ds, cell))
    panel.set(xlabel="step", ylabel="entropy produced")
    panel.legend()


def _rate_along_axis(panel: Axes, ds: xr.Dataset, exact: list[Exact]) -> None:
    """Entropy production rate along the only axis of a sweep."""
    first, last = driven.steady_frames(ds, exact)
    result = work.entropy_production(ds, first, last)
    values = ds[axes(ds)[0]].values
    rate, error = result["entropy_production_rate"].values, result["entropy_production_rate_error"].values
    finite = [driven.mean_rate(cell, first, last) for cell in exact]
    style.theory(panel, values, finite, color=style.COLOURS[0], label="exact, this time step")
    limits = [driven.continuous_rate(cell) for cell in exact]
    style.theory(panel, values, limits, ls=":", label="continuous time")
    style.data(panel, values, rate, error, label=f"measured, steps {first} to {last}")
    panel.set(xlabel=axes(ds)[0].replace("_", " "), ylabel="entropy production rate")
    if np.all(values > 0.0) and values.max() > 10.0 * values.min():
        style.log_ticks(panel, "x")
    low, high = panel.get_ylim()
    panel.set_ylim(low, high + 0.5 * (high - low))  # room for the legend
    panel.legend()


def _ledger(panel: Axes, ds: xr.Dataset, cell: Exact) -> None:
    """Mean work, heat and change of energy since the first frame, and the worst first-law residual of any replica."""
    begin = int(ds["step"][0])
    steps, since = cell.steps, cell.rows(begin)
    rows = (("work", "work", "work"), ("heat", "heat", "heat"), ("phi", "energy", r"$\Delta\varphi$"))
    panel.axhline(0.0, color="0.85", lw=0.8, zorder=0)
    for colour, (name, of, label) in zip((style.COLOURS[0], style.COLOURS[1], style.COLOURS[2]), rows, strict=True):
        theory = getattr(cell.ledger, of)
        style.theory(panel, steps[since:], theory[since:] - theory[since], color=colour)
        values = ds[name].isel(cell.index)
        mean, error = replica_mean(values - values.isel(step=0))
        _marks(panel, ds, mean, error, colour, label)
    worst = float(work.first_law_residual(ds).max())
    panel.set_title(rf"largest $|\Delta\varphi - w - q|$: {worst:.0e} kT", loc="right")
    panel.set(xlabel="step" + _where(ds, cell), ylabel="mean ledger (kT)")
    panel.legend()


def _heat_from_baths(panel: Axes, ds: xr.Dataset, cell: Exact) -> None:
    """Heat absorbed from each of two baths since step 0, from the total heat and the log ratio."""
    cold, hot = np.unique(cell.protocol.bath(0)[1])
    steps = cell.steps
    panel.axhline(0.0, color="0.85", lw=0.8, zorder=0)
    for colour, own, other in ((style.COLOURS[1], hot, cold), (style.COLOURS[0], cold, hot)):
        weight = 1.0 / other - 1.0 / own
        style.theory(panel, steps, (cell.ledger.heat / other + cell.ledger.log_ratio) / weight, color=colour)
        heat = (ds["heat"].isel(cell.index) / other + ds["log_ratio_x"].isel(cell.index)) / weight
        mean, error = replica_mean(heat)
        _marks(panel, ds, mean, error, colour, f"from the bath at $T = {own:.3g}$")
    worst = float(work.first_law_residual(ds).max())
    panel.set_title(rf"largest $|\Delta\varphi - w - q|$: {worst:.0e} kT", loc="right")
    panel.set(xlabel="step" + _where(ds, cell), ylabel="heat absorbed (kT)")
    panel.legend()


def _marks(panel: Axes, ds: xr.Dataset, mean: xr.DataArray, error: xr.DataArray, colour: str, label: str) -> None:
    """Measured values at a dozen frames, the last one among them."""
    frames = style.pick(ds.sizes["step"], _MARKS)
    style.data(panel, ds["step"].values[frames], mean.values[frames], error.values[frames], color=colour, label=label)


def _is_line(ds: xr.Dataset) -> bool:
    """Whether the sweep has one axis of numbers."""
    sweep = list(settings(ds).sweep.values())
    return len(sweep) == 1 and len(sweep[0]) > 1 and all(isinstance(value, (int, float)) for value in sweep[0])


def _where(ds: xr.Dataset, cell: Exact) -> str:
    """The point of the sweep, or nothing."""
    parts = []
    for (key, values), name in zip(settings(ds).sweep.items(), axes(ds), strict=True):
        value = values[cell.index[name]]
        shown = f"{value:.3g}" if isinstance(value, (int, float)) else str(value)
        parts.append(f"{key.rsplit('.', 1)[-1].replace('_', ' ')} {shown}")
    return f", {', '.join(parts)}" if parts else ""
