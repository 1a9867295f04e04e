"""Maps of a scale-invariant network as a gas over two axes of a sweep, its entropy by three definitions among them.

Drawn where theta and the noise of its gradient are recorded (`analysis.network_entropy`).

Source: I. Sadrtdinov et al., arXiv:2511.07308, whose figures show the same quantities.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis.network_entropy import DEFINITIONS, network_entropy
from thermosim.analysis.network_gas import gases
from thermosim.analysis.settings import axes, settings
from thermosim.plots import style
from thermosim.plots.labels import label
from thermosim.plots.legends import legend
from thermosim.plots.maps import map_of, swept_axes
from thermosim.plots.page import page

__all__ = ["kind"]

_MAPS = {
    "U": ("internal energy $U$", "energy"),
    "S": ("published entropy $S$", "nat"),
    "temperature": ("temperature $T$", "energy"),
    "volume": ("volume $V = r^2/2$", "1"),
    "pressure": ("pressure $p$", "energy"),
    "pV_over_RT": ("$pV/RT$", "1"),
}
_LOOKS = dict(zip(DEFINITIONS, (style.WORK, style.OTHER, style.HEAT), strict=True))
_TITLES = {"published": "published", "displacement": "displacement of a frame", "clausius": r"$\int dU/T$"}
_TOLD = "(e): without $(D-1)\\ln r$, at the first weight decay or radius, from the first point on."


def kind(ds: xr.Dataset) -> Figure | None:
    """The picture, of a sweep over the learning rate and another axis with theta and the noise of its gradient."""
    swept = [axis.name for axis in swept_axes(ds)]
    recorded = "theta" in ds and "gradient_noise_trace" in ds
    if len(swept) < 2 or "learning_rate" not in swept or not recorded or ds.sizes["replica"] < 2 or not gases(ds):
        return None
    with style.style():
        found = network_entropy(ds)
        held = settings(ds).theta.constraint == "fixed-sphere"
        names = [name for name in _MAPS if held or name != "pressure"]
        draws = [draw for name in names if (draw := map_of(ds, found[name], label(*_MAPS[name])))]
        if "S_clausius" in found:
            draws.insert(min(len(draws), 4), lambda area: _definitions(area, ds, found))
        size, drifting = int(found.attrs["parameters"]), int((~found["stationary"]).sum())
        drifts = f" {drifting} of {found['stationary'].size} points drift." if drifting else ""
        about = f"{settings(ds).model.name}, D = {size:,}. Largest standard errors: {_errors(found, names)}.{drifts}"
        notes = [about, str(found.attrs["verdict"]), _TOLD]
        return page(settings(ds).title or "Maps of a scale-invariant network", draws, notes)


def _errors(found: xr.Dataset, names: list[str]) -> str:
    """The largest of each map."""
    short = {"temperature": "T", "volume": "V", "pressure": "p", "pV_over_RT": "pV/RT"}
    told = []
    for name in names:
        error = float(found[f"{name}_error"].max())
        told.append(f"{short.get(name, name)} {error:.2g}")
    return ", ".join(told)


def _definitions(area: Axes, ds: xr.Dataset, found: xr.Dataset) -> None:
    rest = {name: 0 for name in axes(ds) if name != "learning_rate"}
    rate, size = found["learning_rate"].values, int(found.attrs["parameters"]) - 1
    titles = {"published": "S", "displacement": "S_displacement", "clausius": "S_clausius"}
    for name, title in titles.items():
        values = ((found[title] - found["radius_entropy"]).isel(rest).values) / size
        look = _LOOKS[name]
        more = {"lw": 1.2, "ls": look.dashes, "marker": look.mark, "mfc": "white", "ms": 4}
        area.plot(rate, values - values[0], color=look.color, label=_TITLES[name], **more)
    area.plot(rate, 0.5 * np.log(rate / rate[0]), color=style.GREY, ls="--", lw=1.0, label=r"gas, constant $\sigma$")
    area.set(xlabel=r"learning rate", ylabel=label("change of $S/(D-1)$", "nat"))
    style.log_ticks(area, "x")
    legend(area)
