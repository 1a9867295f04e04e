"""The layout of an ensemble: dimensions, coordinates and variables, whether in memory, in parts or in one file."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from thermosim import cohorts
from thermosim.ledger import SETTINGS, told_temperature
from thermosim.storage.coverage import Rectangle, frontier, partition
from thermosim.storage.manifest import Axis, Manifest

__all__ = ["Array", "Layout", "axis_values"]

_STATUS = {
    "status": (np.int8, {}, "0 fine; diverged in 1 theta, 2 x, 3 phi, 4 sums of theta, 5 ledger "),
    "diverged_step": (
        np.int64,
        {"units": "1"},
        "first recorded step with a value that is not finite or has exploded, or -1",
    ),
}


class Array(NamedTuple):
    """A variable as storage sees it."""

    name: str
    shape: tuple[int, ...]
    roles: list[str]  # of each dimension
    itemsize: int
    framed: bool  # whether it has frames

    @property
    def nbytes(self) -> float:
        """Without chunks."""
        return float(math.prod(self.shape)) * self.itemsize


class Layout:
    """Where every number of an ensemble belongs. Built from a manifest alone.

    `reached` is the last step that there are frames of, by default that of the segments.
    """

    def __init__(self, manifest: Manifest, reached: int | None = None) -> None:
        self.manifest = manifest
        self.axis_names = tuple(axis.name for axis in manifest.axes)
        self._lane_axes = [len(axis.values) for axis in manifest.axes if not axis.structural]
        self._reached = manifest.reached if reached is None else reached

    def lanes(self, block: int) -> int:
        """Lanes of a block: points of the axes that are not structural, times its replicas."""
        return math.prod([*self._lane_axes, len(self._last["replica"][block])])

    @functools.cached_property
    def _last(self) -> dict[str, list[range]]:
        """For replicas and cohorts: where those of each block are along the last axis."""
        series = self.manifest.series
        each = {"replica": series, "cohort": [cohorts.per_point(replicas) for replicas in series]}
        numbers = [self.manifest.series_of(block) for block in self.blocks]
        return {over: [range(sum(of[:n]), sum(of[: n + 1])) for n in numbers] for over, of in each.items()}

    @property
    def blocks(self) -> range:
        """Numbers of the blocks."""
        return range(len(self.manifest.blocks))

    @property
    def is_complete(self) -> bool:
        """Whether every step of every lane is sealed, with the state after the last."""
        reached = (step for block in self.blocks for _, _, step in frontier(self.manifest, block, self.lanes(block)))
        return all(step >= self.manifest.steps for step in reached)

    @functools.cached_property
    def partitions(self) -> list[list[Rectangle]]:
        """For each block what the segments cover, each lane and step once."""
        return [partition(self.manifest, block, self.lanes(block)) for block in self.blocks]

    def dimension_sizes(self) -> dict[str, int]:
        """Sizes of all dimensions. Those of steps end where the run is."""
        return dict(self._sizes)

    @functools.cached_property
    def _sizes(self) -> dict[str, int]:
        variables = self.manifest.variables.values()
        sizes = {name: cadence.until(self._reached) for name, cadence in self.manifest.cadences.items()}
        sizes |= {axis.name: len(axis.values) for axis in self.manifest.axes}
        sizes["replica"] = self.manifest.replicas
        if any(variable.over == "cohort" for variable in variables):
            sizes["cohort"] = self._last["cohort"][-1].stop
        for variable in variables:
            sizes |= dict(zip(variable.dims, variable.shape, strict=True))
        return sizes

    def held_by_base(self, over: str) -> int:
        """How many replicas, or cohorts, of a point are in the ensemble that is being extended."""
        blocks = (block for block in self.blocks if self.manifest.base_of(block))
        return max((self._last[over][block].stop for block in blocks), default=0)

    def shape(self, dims: Iterable[str]) -> tuple[int, ...]:
        """The shape of an array with these dimensions."""
        return tuple(self._sizes[dim] for dim in dims)

    def arrays(self) -> list[Array]:
        """All variables, by their shapes."""
        sizes = self.dimension_sizes()
        return [
            Array(name, tuple(sizes[dim] for dim in dims), self.roles(dims), dtype.itemsize, self.is_framed(name))
            for name, (dims, dtype, _) in self.variables().items()
        ]

    def frame_bytes(self) -> float:
        """Of all that has frames, without chunks."""
        return sum(array.nbytes for array in self.arrays() if array.framed)

    def roles(self, dims: Sequence[str]) -> list[str]:
        """What each dimension is: step, axis, replica or tail."""
        names = {"replica": "replica", "cohort": "replica"} | dict.fromkeys(self.axis_names, "axis")
        names |= dict.fromkeys(self.manifest.cadences, "step")
        return [names.get(dim, "tail") for dim in dims]

    def coordinates(self) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]:
        """Dimensions, values and attributes of the coordinates."""
        sizes = self.dimension_sizes()

        def numbered(name: str, values: np.ndarray, long_name: str, **more: str) -> Any:
            return (name,), values, {"units": "1", "long_name": long_name} | more

        result = {}
        for name, cadence in self.manifest.cadences.items():
            result[name] = numbered(name, cadence.first + cadence.every * np.arange(sizes[name]), "step of theta")
        for axis in self.manifest.axes:
            named = {"long_name": axis.key, "key": axis.key}
            result[axis.name] = (axis.name,), axis_values(axis.values), _unit(axis) | named
        result["replica"] = numbered("replica", np.arange(sizes["replica"]), "replica of each point of the sweep")
        if "cohort" in sizes:
            meaning = "cohort: replicas of a point that are summed together"
            result["cohort"] = numbered("cohort", np.arange(sizes["cohort"]), meaning)
        for name, given in self.manifest.coordinates.items():
            result[name] = given.dims, axis_values(given.values), dict(given.attributes)
        return result

    def variables(self) -> dict[str, tuple[tuple[str, ...], np.dtype, dict[str, Any]]]:
        """Dimensions, type and attributes of the variables."""
        result: dict[str, tuple[tuple[str, ...], np.dtype, dict[str, Any]]] = {}
        for name, variable in self.manifest.variables.items():
            steps = (variable.cadence,) if variable.cadence else ()
            dims = (*steps, *self.axis_names, variable.over, *variable.dims)
            result[name] = (dims, np.dtype(variable.dtype), dict(variable.attributes))
        for name, (kind, units, meaning) in _STATUS.items():
            attributes = {**units, "long_name": meaning, "equation": ""}
            result[name] = ((*self.axis_names, "replica"), np.dtype(kind), attributes)
        return result

    def attributes(self, completed: bool) -> dict[str, Any]:
        """What the ensemble says of itself; xarray takes strings and numbers only."""
        manifest, x = self.manifest, self.manifest.origin.settings.get("x")
        swept = any(axis.key == "x.temperature" for axis in manifest.axes)
        known = {"temperature": told_temperature(x["temperature"], swept)} if x else {}
        return (
            manifest.origin.attributes()
            | known
            | {
                "format": manifest.format,
                "run": manifest.run,
                "steps": manifest.steps,
                "structural": json.dumps([axis.key for axis in manifest.axes if axis.structural]),
                "completed": int(completed),
            }
        )

    def is_framed(self, name: str) -> bool:
        """Whether a variable has frames, and not one value of the whole run."""
        variable = self.manifest.variables.get(name)
        return variable is not None and variable.cadence is not None

    def over(self, name: str) -> str:
        """Whether a variable is kept for every replica or every cohort."""
        variable = self.manifest.variables.get(name)
        return variable.over if variable is not None else "replica"

    def span(self, block: int, over: str, first_lane: int, lanes: int) -> tuple[int, int]:
        """First and number of the lanes of a block, or of the cohorts that they are."""
        if over == "replica":
            return first_lane, lanes
        mine = cohorts.slice_of(len(self._last["replica"][block]), first_lane, lanes)
        return mine.start, mine.stop - mine.start

    def pieces(self, block: int, first: int, count: int, over: str) -> list[tuple[tuple[int | slice, ...], slice]]:
        """Where lanes first, first + 1, ... of a block are along (*axes, replica), or cohorts along (*axes, cohort).

        A run of lanes over several axes is a few hyperslabs: each with its index, and which of the lanes it takes,
        counted from `first`, in the order of the hyperslab.
        """
        last = self._last[over][block]
        sizes = [*self._lane_axes, len(last)]
        found: list[tuple[tuple[int | slice, ...], slice]] = []
        at, stop = first, first + count
        while at < stop:
            # the most trailing axes that can be taken whole from here, then as many steps of the axis before them
            inner, axis = 1, len(sizes) - 1
            while axis > 0 and at % (inner * sizes[axis]) == 0 and at + inner * sizes[axis] <= stop:
                inner *= sizes[axis]
                axis -= 1
            position = at // inner % sizes[axis]
            steps = min(sizes[axis] - position, (stop - at) // inner)
            outer = np.unravel_index(at // (inner * sizes[axis]), sizes[:axis]) if axis else ()
            lane_index = [
                *map(int, outer),
                slice(position, position + steps),
                *[slice(0, n) for n in sizes[axis + 1 :]],
            ]
            index = self._with_structural(block, lane_index, last.start)
            found.append((index, slice(at - first, at - first + steps * inner)))
            at += steps * inner
        return found

    def _with_structural(self, block: int, lane_index: list[Any], start: int) -> tuple[int | slice, ...]:
        """An index along lane axes and the last one, counted from `start`, with the block's place on the others."""
        structural, others = iter(self.manifest.blocks[block]), iter(lane_index)
        index = [next(structural) if axis.structural else next(others) for axis in self.manifest.axes]
        last = next(others)
        return (*index, slice(last.start + start, last.stop + start))


def _unit(axis: Axis) -> dict[str, str]:
    """The unit of the coordinate of an axis; none for words and for what is true or false."""
    if any(isinstance(value, (str, bool)) for value in axis.values):
        return {}
    counted = any(isinstance(value, (list, dict)) for value in axis.values)
    return {"units": "1" if counted else SETTINGS.get(axis.key, "1")}


def axis_values(values: Sequence[Any]) -> np.ndarray:
    """Values as netCDF takes them: numbers and strings."""
    if any(isinstance(value, (list, dict)) for value in values):
        return np.arange(len(values))
    array = np.array(values)
    array = array.astype(object) if array.dtype.kind == "U" else array
    return array.astype(np.int8) if array.dtype.kind == "b" else array  # netCDF has no booleans
