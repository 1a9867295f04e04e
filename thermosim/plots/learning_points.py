"""The points of a sweep as ensembles of their own, without diverged replicas, and what pictures need of each once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis import feedback_paths
from thermosim.analysis.diverged import survivors
from thermosim.analysis.feedback import feedback_efficacy
from thermosim.analysis.information import learned_information
from thermosim.analysis.information_balance import information_balance
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.mixtures import support_size
from thermosim.analysis.settings import axes, each_point
from thermosim.checks.gaussian_machine import exact_moments
from thermosim.data.tables import DataError
from thermosim.exact.learning_machine import Moments
from thermosim.plots import style
from thermosim.plots.labels import named
from thermosim.plots.maps import swept_axes

__all__ = ["Point", "left_out", "over_sweep", "points", "spread"]

MARKS = 12  # frames of a curve in time
SLOW_MARKS = 7  # where every frame needs the normaliser of the energy
_REPLICAS = 4096  # at most, for a picture
_PAIRS = 1024  # at most, where all replicas are compared with all
_FEWEST = 128
_SUMMED = 1 << 23  # numbers of a sum over all x
_SUMS = 1 << 28  # the same at every step and for every theta that x might have made
_LONGEST = 20_000  # steps of an exact recursion, of few components
_LARGE = 30  # components whose matrices take as long as the rest of a step


@dataclass(frozen=True, eq=False)
class Point:
    """One point of a sweep. `ds` has no axes and no diverged replicas."""

    index: Mapping[str, int]
    label: str
    ds: xr.Dataset

    @functools.cached_property
    def machine(self) -> Machine:
        """Model, data and frames."""
        return machines(self.ds)[0]

    @property
    def price_of_moments(self) -> float:
        """How long exact moments take, in steps of a machine of few components."""
        return int(self.machine.settings.run.steps) * (1.0 + (self.machine.evaluator.components / _LARGE) ** 3)

    @functools.cached_property
    def moments(self) -> Moments | None:
        """Exact moments at the recorded steps of a machine that is linear, and not too long, else None."""
        if self.price_of_moments > _LONGEST:
            return None
        try:
            return exact_moments(self.machine)
        except (ValueError, DataError):  # the data are not to be had any more
            return None

    @functools.cached_property
    def few(self) -> xr.Dataset:
        """About a dozen frames, first and last included, of all replicas."""
        return self.ds.isel(step=spread(self.ds.sizes["step"], MARKS if self.machine.model.normalised else SLOW_MARKS))

    @functools.cached_property
    def some(self) -> xr.Dataset:
        """The same frames of replicas few enough for entropies."""
        return self.few.isel(replica=style.pick(self.few.sizes["replica"], _REPLICAS))

    @functools.cached_property
    def information(self) -> xr.Dataset:
        """L-info by densities at the few frames. Raises ValueError where it is not to be had within seconds."""
        return self.information_of(self.few)

    def information_of(self, frames: xr.Dataset) -> xr.Dataset:
        """The same at some frames of this point."""
        size = support_size(self.machine)
        if not self.machine.model.normalised and size == 0:
            raise ValueError("ln Z of this energy can only be estimated, which takes minutes")
        most = min(_PAIRS, max(_FEWEST, _SUMMED // max(size, 1)))
        return learned_information(frames.isel(replica=style.pick(frames.sizes["replica"], most)))

    @functools.cached_property
    def feedback(self) -> xr.Dataset:
        """Efficacy of the feedback of learning by contrast. Raises ValueError where it has none that is known."""
        price = feedback_paths.price(self.machine) * self.ds.sizes["step"]
        most = int(_SUMS / max(price, 1.0))
        if most < min(_FEWEST, self.ds.sizes["replica"]):
            raise ValueError("sums over all x at every step take minutes")
        return feedback_efficacy(self.ds.isel(replica=style.pick(self.ds.sizes["replica"], most)))

    @functools.cached_property
    def balance(self) -> xr.Dataset:
        """Both sides of Eq. 44. Raises ValueError where they are not to be had, or mean something else."""
        x = self.machine.settings.of_x
        if not x.starts_in_equilibrium:
            raise ValueError(f"chains start from {x.start}: until they relax it is not the L-info that changes")
        if not self.machine.model.normalised and self.machine.model.log_normaliser is not None:
            raise ValueError("ln Z of every replica takes minutes")
        return information_balance(self.some)


def points(ds: xr.Dataset) -> list[Point]:
    """Every point of the sweep, in order."""
    result = []
    for index, _ in each_point(ds):
        here = survivors(ds.isel(index)).ds
        result.append(Point(index, named(ds, index), here))
    return result


def over_sweep(ds: xr.Dataset, everything: list[Point], number: Callable[[Point], float]) -> xr.DataArray:
    """A number of each point over the axes of the sweep, NaN where there is none."""
    names = axes(ds)
    result = xr.DataArray(np.full([ds.sizes[name] for name in names], np.nan), dims=names)
    for point in everything:
        result[dict(point.index)] = number(point)
    return result


def left_out(ds: xr.Dataset, chosen: list[Point], everything: list[Point]) -> list[str]:
    """A sentence on how many points of the sweep are drawn, where not all are."""
    if len(chosen) == len(everything):
        return []
    over = " and ".join(axis.words for axis in swept_axes(ds))
    return [f"{len(chosen)} of {len(everything)} points drawn as curves, of the sweep over {over}."]


def spread(length: int, most: int) -> list[int]:
    """Indices of about `most` members, first and last included, equally far apart where their number allows it."""
    for stride in range(max(1, -(-(length - 1) // (most - 1))), max(2, 2 * (length - 1) // most)):
        if (length - 1) % stride == 0:
            return list(range(0, length, stride))
    return style.pick(length, most)
