"""Pictures of driven linear systems: distributions of work and heat, means in time against theory, the first law.

Marks are measured (bars: one standard error), lines are theory, exact at the time step of the run unless it says so.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis import work
from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.settings import settings
from thermosim.checks import driven
from thermosim.checks.driven import Exact
from thermosim.moves import THETA_MOVES
from thermosim.plots import any_move, style
from thermosim.plots.currents import has_precision, precision_along_axis
from thermosim.plots.energies import (
    FREE,
    distribution,
    label_of,
    largest_residual,
    ledger,
    look_of,
    maps_of,
    marks,
    replicas,
)
from thermosim.plots.labels import label, named, shown, temperature_of
from thermosim.plots.legends import legend
from thermosim.plots.maps import swept_axes
from thermosim.plots.page import Draw, page
from thermosim.plots.style import ENTROPY, HEAT, WORK

__all__ = ["figure"]

_BLACK = "#222222"
_POINTS = 1000  # of a curve of theory in time, between the frames


def figure(ds: xr.Dataset) -> Figure:
    """Four panels, and a map where two axes are swept. Of a sweep, distributions and ledger are of its first point."""
    ds["heat"]  # raises KeyError where it is not recorded, before theory is worked out
    if not (driven.has_linear_moves(ds) and driven.starts_from_a_known_law(ds)):
        return any_move.figure(ds)
    steps = np.unique(np.linspace(0, settings(ds).run.steps, _POINTS + 1).round().astype(int))
    exact = driven.exact_results(ds, np.union1d(steps, ds["step"].values))
    resolved, first = settings(ds), exact[0]
    prescribed = THETA_MOVES[resolved.theta.dynamics].prescribed
    driven_by_work = prescribed or bool(np.any(first.protocol.drive))
    names = ["work" if driven_by_work else "heat", "heat" if prescribed else "log_ratio_x"]
    draws: list[Draw] = [partial(_distribution, ds=ds, cell=first, name=name) for name in names]
    if prescribed:
        draws.append(partial(_work_in_time, ds=ds, exact=exact))
    elif _is_line(ds) and all(np.ndim(cell.protocol.time_step) == 0 for cell in exact):
        draws.append(partial(_rate_along_axis, ds=ds, exact=exact))
        if has_precision(ds, exact):  # in the place of the distribution of the log ratio
            draws[1] = partial(precision_along_axis, ds=ds, exact=exact)
    else:
        draws.append(partial(_entropy_in_time, ds=ds, exact=exact))
    worst = float(work.first_law_residual(ds).max())
    if len(np.unique(first.protocol.bath(0)[1])) == 2:
        draws.append(partial(_heat_from_baths, ds=ds, cell=first, worst=worst))
    else:
        draws.append(ledger(ds.isel(first.index), worst, named(ds, first.index), first))
    draws += maps_of(ds, names[:1] if prescribed else names[1:])
    with style.style():
        return page(resolved.title or str(resolved.model.name), draws, over=replicas(ds))


def _distribution(panel: Axes, ds: xr.Dataset, cell: Exact, name: str) -> None:
    """Histogram over replicas in the last frame, with the exact mean and, where it is known, the exact normal law."""
    step, here = int(ds["step"][-1]), ds.isel(cell.index)
    title = ", ".join(part for part in (f"to step {step}", named(ds, cell.index)) if part)
    values = np.ravel(here[name].sel(step=step).values)
    reach = distribution(panel, values, look_of(name), label_of(here, name), title)
    if reach is None:
        return
    mean = getattr(cell.ledger, {"log_ratio_x": "log_ratio"}.get(name, name))[cell.rows(step)]
    panel.axvline(mean, color=_BLACK, lw=1.2, label=f"exact mean, {mean:.4g}")
    if name == "work" and cell.in_one_bath and cell.moments.gaussian:
        variance = cell.moments.variance[cell.rows(step)]
        w = np.linspace(*reach, 300)
        normal = np.exp(-0.5 * (w - mean) ** 2 / variance) / np.sqrt(2.0 * np.pi * variance)
        style.theory(panel, w, normal, color=_BLACK, ls="--", label="exact normal law")
    legend(panel)


def _chosen(ds: xr.Dataset, exact: list[Exact]) -> tuple[list[Exact], list[str], str, str]:
    """Points along the main axis, at the first value of any other; their values, the axis, and what is left out."""
    swept = swept_axes(ds)
    if not swept:
        return exact[:1], [""], "", ""
    main, rest = swept[0], {axis.name: 0 for axis in swept[1:]}
    line = [cell for cell in exact if all(cell.index[name] == 0 for name in rest)]
    some = [line[k] for k in style.pick(len(line))]
    told = f"{len(some)} of {len(line)} values drawn" if len(some) < len(line) else ""
    names = [shown(main.values[cell.index[main.name]]) for cell in some]
    return some, names, main.words, ", ".join(part for part in (told, named(ds, rest)) if part)


def _work_in_time(panel: Axes, ds: xr.Dataset, exact: list[Exact]) -> None:
    """Mean work, and the exponential average that Jarzynski's equality turns into a free energy."""
    mean, error = replica_mean(ds["work"])
    cells, names, heading, title = _chosen(ds, exact)
    single = len(exact) == 1
    for look, cell, name in zip(style.looks(len(cells)), cells, names, strict=True):
        style.theory(panel, cell.steps, cell.ledger.work, color=look.color, ls=look.dashes)
        words = r"mean work $\langle w\rangle$" if single else name
        marks(panel, ds, mean.isel(cell.index), error.isel(cell.index), look, words)
    if single and exact[0].in_one_bath:
        steps, temperature, moments = exact[0].steps, exact[0].temperature, exact[0].moments
        estimate = work.jarzynski(ds)
        free_energy = driven.free_energy_of(exact[0])[steps]
        style.theory(panel, steps, free_energy, color=_BLACK, ls=":", label=r"free energy difference $\Delta F$")
        style.theory(panel, steps, -temperature * moments.log_average, color=FREE.color)
        value, spread = estimate["free_energy_difference"], estimate["free_energy_difference_error"]
        marks(panel, ds, value, spread, FREE, r"$-T\,\ln\langle e^{-w/T}\rangle$")
    words = "energy" if single else r"mean work $\langle w\rangle$"
    panel.set(xlabel="step", ylabel=label(words, "energy", temperature_of(ds)))
    panel.set_title(title, loc="right")
    legend(panel, heading)


def _entropy_in_time(panel: Axes, ds: xr.Dataset, exact: list[Exact]) -> None:
    """Entropy given to the baths, its exact mean, and the rate of continuous time."""
    mean, error = replica_mean(ds["log_ratio_x"])
    cells, names, heading, title = _chosen(ds, exact)
    several = style.looks(len(cells)) if len(cells) > 1 else [ENTROPY]
    for k, (look, cell, name) in enumerate(zip(several, cells, names, strict=True)):
        steps, rate = cell.steps, driven.continuous_rate(cell)
        time_steps = np.broadcast_to(np.asarray(cell.protocol.time_step, float), cell.protocol.steps + 1)
        time = cell.protocol.tau * np.concatenate([[0.0], np.cumsum(time_steps[1:])])[steps]
        words = rf"continuous time, rate {rate:.4g}" if len(cells) == 1 else "continuous time"
        style.theory(panel, steps, rate * time, color=style.GREY, ls=":", label=words if k == 0 else "")
        style.theory(panel, steps, cell.ledger.log_ratio, color=look.color, ls=look.dashes)
        marks(panel, ds, mean.isel(cell.index), error.isel(cell.index), look, name or "measured")
    panel.set(xlabel="step", ylabel=label_of(ds, "log_ratio_x"))
    panel.set_title(title, loc="right")
    legend(panel, heading)


def _rate_along_axis(panel: Axes, ds: xr.Dataset, exact: list[Exact]) -> None:
    """Entropy production rate along the only axis of a sweep."""
    first, last = driven.steady_frames(ds, exact)
    result = work.entropy_production(ds, first, last)
    axis = swept_axes(ds)[0]
    rate, error = result["entropy_production_rate"].values, result["entropy_production_rate_error"].values
    finite = [driven.mean_rate(cell, first, last) for cell in exact]
    style.theory(panel, axis.places, finite, color=ENTROPY.color)
    limits = [driven.continuous_rate(cell) for cell in exact]
    style.theory(panel, axis.places, limits, ls=":", label="continuous time")
    style.data(panel, axis.places, rate, error, look=ENTROPY, label=f"measured, steps {first} to {last}")
    panel.set(ylabel="entropy production rate\n(nats per unit of time)")
    axis.along(panel)
    legend(panel)


def _heat_from_baths(panel: Axes, ds: xr.Dataset, cell: Exact, worst: float) -> None:
    """Heat absorbed from each of two baths since step 0, from the total heat and the log ratio."""
    cold, hot = np.unique(cell.protocol.bath(0)[1])
    steps = cell.steps
    panel.axhline(0.0, color="0.85", lw=0.8, zorder=0)
    for look, own, other in ((HEAT, hot, cold), (HEAT._replace(color=WORK.color, mark="v"), cold, hot)):
        weight = 1.0 / other - 1.0 / own
        line = (cell.ledger.heat / other + cell.ledger.log_ratio) / weight
        style.theory(panel, steps, line, color=look.color)
        heat = (ds["heat"].isel(cell.index) / other + ds["log_ratio_x"].isel(cell.index)) / weight
        marks(panel, ds, *replica_mean(heat), look, f"from the bath at $T = {own:.3g}$")
    title = [named(ds, cell.index), largest_residual(worst)]
    panel.set_title("\n".join(part for part in title if part), loc="right")
    panel.set(xlabel="step", ylabel=label("heat absorbed", "energy"))
    legend(panel)


def _is_line(ds: xr.Dataset) -> bool:
    """Whether the sweep has one axis of numbers."""
    swept = swept_axes(ds)
    return len(swept) == 1 and swept[0].numeric
