"""Three weights on rows of data, on a sphere: their law under real noise, and under isotropic noise of equal trace.

Source: I. Sadrtdinov et al., arXiv:2511.07308; `analysis.direction_law`.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis.direction_law import chains, direction_law, late, why_no_law
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.settings import settings
from thermosim.plots import learning, style
from thermosim.plots.labels import label
from thermosim.plots.legends import legend
from thermosim.plots.maps import swept_axes
from thermosim.plots.page import Draw, page

__all__ = ["figure"]

_ETA = r"effective learning rate $\eta_{\rm eff}$"
_LOOKS = {
    "rows": (style.WORK.color, "-", "rows"),
    "covariance": (style.ENERGY.color, (0, (5, 1.5)), r"normal, covariance $\Sigma(u)$"),
    "local": (style.ENTROPY.color, (0, (3, 1, 1, 1)), r"isotropic, trace of $\Sigma(u)$"),
    "constant": (style.HEAT.color, (0, (1.2, 1.2)), "isotropic, constant"),
}
_NOTE = "Lines: exact, for noise of the rows and for normal noise of equal trace; 1 is equipartition, of an ideal gas."
_BINS = 40


def figure(ds: xr.Dataset) -> Figure:
    """The picture; that of any model that learns where the law is not known."""
    everyone = machines(ds)
    try:
        known = "theta" in ds and not why_no_law(everyone) and all(_has_late(machine) for machine in everyone)
    except ValueError:
        known = False
    if not known or [axis.name for axis in swept_axes(ds)] not in ([], ["learning_rate"]):
        return learning.figure(ds)
    with style.style():
        law, swept = direction_law(ds), bool(swept_axes(ds))
        draws: list[Draw] = []
        if swept:
            draws.append(lambda area: _spread(area, law, 1))
            draws.append(lambda area: _spread(area, law, 2))
            draws.append(lambda area: _misfit(area, law))
        machine = everyone[0]
        draws.append(lambda area: _histogram(area, machine))
        return page(settings(ds).title or "Three weights on rows of data", draws, [_NOTE] if swept else [])


def _has_late(machine: Machine) -> bool:
    return len(late(machine, chains(machine)[0])) > 0


def _spread(area: Axes, law: xr.Dataset, number: int) -> None:
    name, words = f"spread_{number}", rf"$\langle u_{number}^2\rangle$ over that at $T$"
    rate = law["learning_rate"].values
    for noise, (color, dashes, title) in _LOOKS.items():
        exact = law[f"{name}_exact"].sel(noise=noise).values
        style.theory(area, rate, exact, color=color, ls=dashes, label=title)
    style.data(area, rate, law[name].values, law[f"{name}_error"].values, label="SGD")
    area.axhline(1.0, color=style.GREY, lw=0.8)
    area.set(xlabel=_ETA, ylabel=label(words))
    style.log_ticks(area, "x")
    legend(area)


def _misfit(area: Axes, law: xr.Dataset) -> None:
    rate = law["learning_rate"].values
    for noise, (color, dashes, title) in _LOOKS.items():
        values = law["relative_entropy"].sel(noise=noise).values
        style.theory(area, rate, values, color=color, ls=dashes, label=title, marker=".")
    area.set(xlabel=_ETA, ylabel=label(r"divergence from $e^{-L/T}$", "nat"))
    style.log_ticks(area, "xy")


def _histogram(area: Axes, machine: Machine) -> None:
    """Of u_1/u_3 at the smallest learning rate, with the canonical law."""
    law = chains(machine)[0]
    temperature = law.rate * float(law.average(law.trace)) / 4.0
    w = np.concatenate([machine.theta(int(frame)) for frame in late(machine, law)]) @ law.frame.T
    y = w[:, 0] / w[:, 2]
    width = np.sqrt(temperature / law.curvatures[0])
    edges = np.linspace(-4.5, 4.5, _BINS + 1) * width
    count = np.histogram(y, edges)[0]
    density = count / len(y) / np.diff(edges)
    area.stairs(density, edges, color=_LOOKS["rows"][0], label="SGD")
    fine = np.linspace(edges[0], edges[-1], 301)
    area.plot(fine, law.marginal(temperature, fine), color=_LOOKS["constant"][0], ls="--", lw=1.2, label=r"$e^{-L/T}$")
    rate = f"{law.rate:.3g}"
    area.set(xlabel=r"$u_1/u_3$", ylabel="density", title="")
    area.set_title(rf"$\eta_{{\rm eff}} = {rate}$", loc="right")
    legend(area)
