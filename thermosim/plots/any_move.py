"""The picture of a driven system whose moves have no exact moments: what is measured, and what holds for any move."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis import work
from thermosim.analysis.settings import each_point, settings
from thermosim.checks.driven import linear_protocol
from thermosim.exact import driven
from thermosim.plots import style
from thermosim.plots.energies import FREE, MARKS, distribution, label_of, ledger, look_of, maps_of, replicas
from thermosim.plots.labels import label, named, temperature_of
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw, page

__all__ = ["figure"]


def figure(ds: xr.Dataset) -> Figure:
    """Distributions of work and heat, the mean ledger, and Jarzynski's free energy; of a sweep, at its first point."""
    index, resolved = next(each_point(ds))
    here, point = ds.isel(index), named(ds, index)
    draws: list[Draw] = [partial(_distribution, ds=here, name=name, point=point) for name in ("work", "heat")]
    draws.append(ledger(here, float(work.first_law_residual(ds).max()), point))
    bath = resolved.of_x.temperature
    if isinstance(bath, (int, float)):
        stiffness = linear_protocol(resolved).stiffness
        draws.append(partial(_free_energy, ds=ds, index=index, stiffness=stiffness, bath=float(bath)))
    draws += maps_of(ds, ["work"])
    with style.style():
        return page(settings(ds).title or str(resolved.model.name), draws, over=replicas(ds))


def _distribution(panel: Axes, ds: xr.Dataset, name: str, point: str) -> None:
    last = ds[name].isel(step=-1)
    title = ", ".join(part for part in (f"to step {int(last['step'])}", point) if part)
    distribution(panel, np.ravel(last.values), look_of(name), label_of(ds, name), title)


def _free_energy(panel: Axes, ds: xr.Dataset, index: dict[str, int], stiffness: np.ndarray, bath: float) -> None:
    """What Jarzynski's equality makes of the work, and the free energy of the stiffness."""
    frames, estimate = style.pick(ds.sizes["step"], MARKS), work.jarzynski(ds).isel(index)
    value, error = (estimate[f"free_energy_difference{end}"].values[frames] for end in ("", "_error"))
    exact = driven.free_energy_difference(stiffness, bath)
    style.theory(panel, np.arange(len(exact)), exact, color=FREE.color)
    words = r"$-T\,\ln\langle e^{-w/T}\rangle$"
    style.data(panel, ds["step"].values[frames], value, error, look=FREE, label=words)
    panel.set(
        xlabel="step", ylabel=label(r"free energy difference $\Delta F$", "energy", temperature_of(ds.isel(index)))
    )
    panel.set_title(named(ds, index), loc="right")
    legend(panel)
