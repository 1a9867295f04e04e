"""Pictures of ensembles of networks: the first kind that a run is of; of any other, what is recorded."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr
from matplotlib.figure import Figure

from thermosim.analysis.machine import ensemble_model
from thermosim.plots import recorded
from thermosim.plots.generative import generative

__all__ = ["KINDS", "figure"]

# each gives None where the run is of another kind
KINDS: tuple[Callable[[xr.Dataset], Figure | None], ...] = (generative,)


def figure(ds: xr.Dataset) -> Figure:
    """The picture of an ensemble."""
    for kind in KINDS:
        if (made := kind(ds)) is not None:
            return made
    return recorded.any_model(ds, ensemble_model(ds)) or Figure()
