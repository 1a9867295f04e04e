"""Distance of gradient descent from flows of l + c r |grad l|^2 at one time, against the learning rate r.

Grey lines are of order 1 and 2 (`analysis.entropic_loss`). Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025).
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from thermosim.analysis.entropic_loss import entropic_loss_order, why_no_entropic_loss
from thermosim.plots import style
from thermosim.plots.learning_points import Point
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw

__all__ = ["entropic_loss"]

_LONGEST, _WIDEST = 500, 100  # steps and parameters: seconds

_OF_ORDER = {1: (0, (1.2, 1.2)), 2: (0, (5, 1.5))}  # dashes of grey lines


def entropic_loss(point: Point) -> Draw | None:
    """Distances of all coefficients at the rate of the run, half and a quarter of it, with their orders."""
    machine = point.machine
    if why_no_entropic_loss(machine) or machine.steps[-1] > _LONGEST or point.ds.sizes["theta_dim"] > _WIDEST:
        return None
    found = entropic_loss_order(point.ds)
    rates = float(machine.settings.theta.learning_rate) / found["parts"].values

    def draw(panel: Axes) -> None:
        for look, c in zip(style.looks(found.sizes["coefficient"]), found["coefficient"].values, strict=True):
            here = found.sel(coefficient=c)
            words = f"$c = {c:g}$: order {float(here['order']):.2f}"
            style.data(panel, rates, here["distance"], here["distance_error"], look=look, label=words)
        for power, c in ((1, 0.0), (2, 0.25)):
            largest = float(found["distance"].sel(coefficient=c)[0])
            style.theory(
                panel, rates, largest * (rates / rates[0]) ** power, label=f"order {power}", ls=_OF_ORDER[power]
            )
        panel.set(xlabel="learning rate $r$", ylabel=r"distance from flow of $l + c\,r|\nabla l|^2$")
        time = rates[0] * machine.steps[-1]
        panel.set_title(f"{found.attrs['replicas']} replicas at time $rt = {time:.3g}$", loc="right")
        style.log_ticks(panel)
        legend(panel)

    return draw if np.all(found["distance"] > 0.0) else None
