"""Pictures of learning machines: a run, a sweep, the noise of minibatches, a run there and back.

Marks are measured, with bars of one standard error over independent replicas; lines are theory, exact at the run's own
learning rate, time step, tau and batch unless they say otherwise. Grey marks do not pass the estimator's own test.
Panels show what the run has recorded and the model can tell; what is left out is named, with the reason, at the bottom.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import xarray as xr
from matplotlib.figure import Figure

from thermosim.analysis.settings import settings, without_single_axes
from thermosim.plots import (
    feedback_panels,
    irreversibility,
    irreversibility_sweep,
    learning_panels,
    learning_sweep,
    reservoir,
    retrace,
    samples,
    style,
)
from thermosim.plots.energies import replicas
from thermosim.plots.learning_points import Point, points
from thermosim.plots.page import Draw, page

__all__ = ["figure"]

_MOST = 8  # panels

# the panels of one run, in order; each gives None where the run is not about it, and raises where it cannot be told
_RUN: dict[str, Callable[[Point], Draw | None]] = {
    "ledger": learning_panels.ledger,
    "efficacy of feedback": feedback_panels.efficacy,
    "second laws with feedback": feedback_panels.second_laws,
    "learned information": learning_panels.information,
    "memory": learning_panels.memory,
    "balance of entropy productions": learning_panels.entropies,
    "loss": learning_panels.loss,
    "samples": samples.panel,
}


def figure(ds: xr.Dataset) -> Figure:
    """The figure that suits the run. Never fails for what is missing: it says what and why."""
    ds = without_single_axes(ds)
    resolved = settings(ds)
    title = resolved.title or resolved.model.name
    with style.style():
        everything = points(ds)
        size = ds.sizes["replica"] * len(everything)
        lost = size - sum(point.ds.sizes["replica"] for point in everything)
        notes = [f"{lost} of {size} replicas diverged and are left out."] if lost else []
        everything = [point for point in everything if point.ds.sizes["replica"]]
        if not everything:
            return page(title, [], notes)
        if resolved.run.direction == "there-and-back":
            draws, why = retrace.panels(ds, everything)
        elif made := irreversibility_sweep.panels(ds):
            return page(title, made[0], notes + made[1], made[2])
        elif resolved.irreversibility is not None:
            draws, why = irreversibility.panels(ds, everything)
        elif not resolved.x:
            draws, why = reservoir.panels(ds, everything)
        elif resolved.sweep:
            draws, why = learning_sweep.panels(ds, everything)
        else:
            draws, why = _run(everything[0])
        return page(title, draws, notes + why, replicas(ds))


def _run(point: Point) -> tuple[list[Draw], list[str]]:
    """What can be drawn of one run, and why the rest cannot."""
    draws, why = learning_panels.collected([(name, partial(make, point)) for name, make in _RUN.items()])
    own = learning_panels.observables(point)[: _MOST - len(draws)]
    return (draws[:-1] + own + draws[-1:] if draws else own), why
