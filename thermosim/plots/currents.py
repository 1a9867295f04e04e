"""Precision of currents in steady states along a sweep, over half the entropy production, with what bounds it.

1 is the bound of continuous time, which finite steps may exceed; the line above it holds at any step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.settings import each_point
from thermosim.analysis.uncertainty import forward_steps, uncertainty
from thermosim.checks.currents import NO_CURRENT, ExactCurrent, exact_currents, is_central
from thermosim.checks.driven_theory import Exact
from thermosim.exact.currents import rotational_trap_sign
from thermosim.exact.linear_langevin import stationary_state
from thermosim.exact.uncertainty_bounds import continuous_bound, discrete_bound
from thermosim.plots import style
from thermosim.plots.legends import legend
from thermosim.plots.maps import swept_axes
from thermosim.plots.style import ENTROPY, HEAT, OTHER, WORK

__all__ = ["has_precision", "precision_along_axis"]

_MAIN = {
    "work": ("work", WORK),
    "heat_from_hot": ("heat from the hot bath", HEAT),
    "log_ratio_x": ("log ratio", ENTROPY),
}
_ABOVE = 30.0  # times what is measured, the end of the axis: the discrete bound grows exponentially


def has_precision(ds: xr.Dataset, exact: list[Exact]) -> bool:
    """Whether there are two frames of a steady state with a current, and theory knows it."""
    if ds.sizes["step"] < 2 or ds.sizes["replica"] < 2 or not {"work", "heat", "log_ratio_x"} <= set(ds):
        return False
    begin, end = (int(step) for step in ds["step"][-2:])
    return all(is_central(cell, begin) for cell in exact) and bool(
        _main([exact_currents(cell, begin, end) for cell in exact])
    )


def precision_along_axis(panel: Axes, ds: xr.Dataset, exact: list[Exact]) -> None:
    """Between the last two frames, along the only axis of a sweep; exact: what is known at both of them."""
    last = ds.isel(step=slice(-2, None))
    begin, end = (int(step) for step in last["step"])
    known = [exact_currents(cell, begin, end) for cell in exact]
    name = _main(known)
    entropy = np.array([point[name].entropy for point in known])
    found = uncertainty(last)
    counted = uncertainty(last, {"count": forward_steps(last, "work" if name == "work" else "log_ratio_x")})
    axis = swept_axes(ds)[0]
    if exact_of_count := _exact_of_count(ds, exact, begin, end):
        style.theory(panel, axis.places, exact_of_count, color=OTHER.color)
    words, look = _MAIN[name]
    style.theory(panel, axis.places, [point[name].efficiency for point in known], color=look.color)
    style.theory(
        panel, axis.places, discrete_bound(entropy) / continuous_bound(entropy), label="bound at any time step"
    )
    panel.axhline(1.0, color=style.GREY, ls=":", lw=1.2, label="bound of continuous time")
    highest = 1.0
    for result, current, mark, label in (
        (found, name, look, words),
        (
            counted,
            "count",
            OTHER._replace(mark="^"),
            f"steps of {'work' if name == 'work' else 'entropy'} > 0, less others",
        ),
    ):
        here = result.isel(step=0).sel(current=current)
        value, error = here["continuous_efficiency"].values, here["continuous_efficiency_error"].values
        highest = max(highest, float(np.nanmax(value)))
        style.data(panel, axis.places, value, error, look=mark, label=label)
    panel.set_yscale("log")
    panel.set(ylabel="precision over\nhalf the entropy production")
    panel.set_ylim(top=min(panel.get_ylim()[1], _ABOVE * highest))
    panel.set_title(f"steps {begin} to {end}", loc="right")
    axis.along(panel)
    legend(panel)


def _exact_of_count(ds: xr.Dataset, exact: list[Exact], begin: int, end: int) -> list[float]:
    """Of single moves of the stationary rotational trap; nothing of others."""
    ratios = []
    for (_, resolved), cell in zip(each_point(ds), exact, strict=True):
        h, temperature, mobility = cell.protocol.bath(0)
        one_move = end - begin == 1 and cell.protocol.tau == 1 and bool(np.all(mobility == 1.0))
        if resolved.model.name != "rotational-trap" or not one_move:
            return []
        state = stationary_state(cell.protocol.force(0), cell.protocol.dynamics, h, temperature).covariance
        if not np.allclose(cell.ledger.covariance[cell.rows(begin)], state, rtol=1e-6, atol=1e-9):
            return []
        of_model = resolved.model.constants
        precision, half = rotational_trap_sign(of_model["stiffness"], of_model["rotation"], of_model["dimension"], h)
        ratios.append(precision / half)
    return ratios


def _main(known: Sequence[Mapping[str, ExactCurrent]]) -> str:
    """The current that is drawn, or nothing where there is none: an equilibrium."""
    there = (name for name in _MAIN if all(name in point and point[name].precision > NO_CURRENT for point in known))
    return next(there, "")
