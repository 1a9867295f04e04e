"""Panels of learning by contrast: the efficacy of its feedback, and the second laws for its work.

Source: T. Sagawa, M. Ueda, Phys. Rev. Lett. 104, 090602 (2010); what is exact where stands in `analysis.feedback`.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from thermosim.analysis.feedback_paths import has_feedback
from thermosim.plots import style
from thermosim.plots.labels import label, temperature_of
from thermosim.plots.learning_panels import judged, marks
from thermosim.plots.learning_points import Point, spread
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw
from thermosim.plots.style import ENTROPY, INFORMATION, WORK

__all__ = ["efficacy", "second_laws"]

_MARKS = 12
_LINES = {
    "efficacy": (ENTROPY, r"$-\langle\Sigma\,\ln\gamma_i\rangle$, fresh samples"),
    "information": (INFORMATION, r"$-\langle i\rangle$, what $\theta$ knows"),
}


def efficacy(point: Point) -> Draw | None:
    """<exp(-w)> with gamma as its line, or corrected by that of every step, and with the information, which are 1."""
    if not has_feedback(point.machine):
        return None
    found = point.feedback
    some = found.isel(step=spread(found.sizes["step"], _MARKS))
    gamma = found["expected"].sel(theorem="work")
    known = bool(np.isfinite(gamma[1:]).any())

    def draw(panel: Axes) -> None:
        style.theory(panel, found["step"], np.ones(found.sizes["step"]), ls=":", label="without feedback")
        if known:
            style.theory(panel, gamma["step"], gamma, color=WORK.color)
        for name, look, words in (
            ("work", WORK, r"$\langle e^{-w}\rangle$"),
            ("efficacy", ENTROPY, r"$\langle e^{-w-\Sigma\,\ln\gamma_i}\rangle$"),
            ("information", INFORMATION._replace(mark="D"), r"$\langle e^{-w-i}\rangle$"),
        ):
            if name in some["theorem"] and not (known and name == "efficacy"):
                here = some.sel(theorem=name)
                judged(panel, here["average"], here["average_error"], here["reliable"], look, words)
        panel.set(xlabel="step", ylabel="exponential average")
        panel.set_title(r"theory: $\gamma$ and 1" if known else "theory: 1", loc="right")
        legend(panel)

    return draw


def second_laws(point: Point) -> Draw | None:
    """Mean work of a chain, and what it is not below."""
    if not has_feedback(point.machine):
        return None
    found = point.feedback
    some = found.isel(step=spread(found.sizes["step"], _MARKS))

    def draw(panel: Axes) -> None:
        panel.axhline(0.0, color="0.85", lw=0.8, zorder=0)
        for name, (look, words) in _LINES.items():
            if name in found["theorem"]:
                bound = found["bound"].sel(theorem=name)
                bound = bound.where(found["exact"].sel(theorem=name))
                style.theory(panel, bound["step"], bound, color=look.color, ls=look.dashes, label=words)
        marks(panel, some["mean_work"], some["mean_work_error"], WORK, r"work $\langle w\rangle$")
        panel.set(xlabel="step", ylabel=label("mean since step 0, and its bounds", "energy", temperature_of(point.ds)))
        legend(panel)

    return draw
