"""Pictures of ensembles of networks: the first kind that a run is of; of any other, what is recorded."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr
from matplotlib.figure import Figure

from thermosim.analysis.machine import ensemble_model
from thermosim.checks.admission import at_common_steps
from thermosim.plots import network_gas, network_maps, network_noise, recorded
from thermosim.plots.adam_updates import adam_updates
from thermosim.plots.generative import generative

__all__ = ["KINDS", "figure"]

# each gives None where the run is of another kind; the second also see variables that have steps of their own
KINDS: tuple[Callable[[xr.Dataset], Figure | None], ...] = (
    network_maps.kind,
    network_gas.kind,
    adam_updates,
    generative,
)
FIRST_AT_ALL_STEPS: tuple[Callable[[xr.Dataset], Figure | None], ...] = (network_maps.kind,)
AT_ALL_STEPS: tuple[Callable[[xr.Dataset], Figure | None], ...] = (network_noise.figure,)


def figure(ds: xr.Dataset) -> Figure:
    """The picture of an ensemble, with variables at all their steps."""
    common = at_common_steps(ds)
    for kinds, seen in ((FIRST_AT_ALL_STEPS, ds), (KINDS, common), (AT_ALL_STEPS, ds)):
        for kind in kinds:
            if (made := kind(seen)) is not None:
                return made
    return recorded.any_model(ds, ensemble_model(ds)) or Figure()
