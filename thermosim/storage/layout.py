"""The layout of an ensemble: dimensions, coordinates and variables, whether in memory, in parts or in one file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from thermosim import cohorts
from thermosim.storage.coverage import due

__all__ = ["Coordinate", "Finals", "Layout"]

# manifest, state of any lanes, its step -> variables with one value per run: (lanes or cohorts, ...)
Finals = Callable[[Mapping[str, Any], Mapping[str, np.ndarray], int], dict[str, np.ndarray]]
Coordinate = tuple[tuple[str, ...], np.ndarray, dict[str, str]]

_STATUS = {
    "status": (np.int8, "0 fine; diverged in 1 theta, 2 x, 3 phi, 4 sums of theta, 5 ledger "),
    "diverged_step": (np.int64, "first recorded step with a value that is not finite, or -1"),
}


class Layout:
    """Where every number of an ensemble belongs. Built from a manifest alone."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self.manifest = manifest
        self.axes = manifest["axes"]
        self.axis_names = tuple(axis["name"] for axis in self.axes)
        self.blocks = len(manifest["blocks"])
        self._lane_axes = [len(axis["values"]) for axis in self.axes if not axis["structural"]]
        self._last = {"replica": manifest["replicas"], "cohort": cohorts.per_point(manifest["replicas"])}
        base = manifest["base"]["step"] if manifest["base"] else -1
        self.reached: int = max([base, *(segment["step"] for segment in manifest["segments"])])

    @property
    def lanes(self) -> int:
        """Lanes of each block: points of the axes that are not structural, times replicas."""
        return math.prod([*self._lane_axes, self._last["replica"]])

    def frames(self, cadence: str) -> int:
        """Frames up to the last step that any lanes have reached."""
        return due(self.manifest["cadences"][cadence], -1, self.reached)[1]

    def dimension_sizes(self) -> dict[str, int]:
        """Sizes of all dimensions. Those of steps end where the run is."""
        variables = self.manifest["variables"].values()
        sizes = {cadence: self.frames(cadence) for cadence in self.manifest["cadences"]}
        sizes |= {axis["name"]: len(axis["values"]) for axis in self.axes}
        sizes["replica"] = self._last["replica"]
        if any(variable["over"] == "cohort" for variable in variables):
            sizes["cohort"] = self._last["cohort"]
        for variable in variables:
            sizes |= dict(zip(variable["dims"], variable["shape"], strict=True))
        return sizes

    def coordinates(self) -> dict[str, Coordinate]:
        """Dimensions, values and attributes of the coordinates."""
        sizes = self.dimension_sizes()
        result: dict[str, Coordinate] = {}
        for name, (first, every, _) in self.manifest["cadences"].items():
            labels = {"units": "1", "long_name": "step of theta"}
            result[name] = ((name,), first + every * np.arange(sizes[name]), labels)
        for axis in self.axes:
            labels = {"units": "1", "long_name": axis["key"], "key": axis["key"]}
            result[axis["name"]] = ((axis["name"],), _axis_values(axis["values"]), labels)
        labels = {"units": "1", "long_name": "replica of each point of the sweep"}
        result["replica"] = (("replica",), np.arange(sizes["replica"]), labels)
        if "cohort" in sizes:
            labels = {"units": "1", "long_name": "cohort: replicas of a point that are summed together"}
            result["cohort"] = (("cohort",), np.arange(sizes["cohort"]), labels)
        for name, given in self.manifest["coordinates"].items():
            result[name] = (tuple(given["dims"]), _axis_values(given["values"]), dict(given["attributes"]))
        return result

    def variables(self) -> dict[str, tuple[tuple[str, ...], np.dtype, dict[str, str]]]:
        """Dimensions, type and attributes of the variables."""
        result: dict[str, tuple[tuple[str, ...], np.dtype, dict[str, str]]] = {}
        for name, variable in self.manifest["variables"].items():
            steps = (variable["cadence"],) if variable["cadence"] else ()
            dims = (*steps, *self.axis_names, variable["over"], *variable["dims"])
            result[name] = (dims, np.dtype(variable["dtype"]), dict(variable["attributes"]))
        for name, (kind, meaning) in _STATUS.items():
            attributes = {"units": "1", "long_name": meaning, "equation": ""}
            result[name] = ((*self.axis_names, "replica"), np.dtype(kind), attributes)
        return result

    def attributes(self, completed: bool) -> dict[str, Any]:
        """What the ensemble says of itself; xarray takes strings and numbers only."""
        keys = ("title", "case", "model_source", "seed", "thermosim_version", "python", "format", "run", "steps")
        return {key: self.manifest[key] for key in keys} | {
            "fingerprint": json.dumps(self.manifest["fingerprint"]),
            "data_sha256": self.manifest["data_sha256"],
            "structural": json.dumps([axis["key"] for axis in self.axes if axis["structural"]]),
            "settings": json.dumps(self.manifest["settings"]),
            "overrides": json.dumps(self.manifest["overrides"]),
            "packages": json.dumps(self.manifest["packages"]),
            "completed": int(completed),
        }

    def over(self, name: str) -> str:
        """Whether a variable is kept for every replica or every cohort."""
        return str(self.manifest["variables"][name]["over"]) if name in self.manifest["variables"] else "replica"

    def span(self, over: str, first_lane: int, lanes: int) -> tuple[int, int]:
        """First and number of the lanes, or of the cohorts that they are."""
        if over == "replica":
            return first_lane, lanes
        mine = cohorts.slice_of(self.manifest["replicas"], first_lane, lanes)
        return mine.start, mine.stop - mine.start

    def pieces(self, block: int, first: int, count: int, over: str) -> list[tuple[tuple[int | slice, ...], slice]]:
        """Where lanes first, first + 1, ... of a block are along (*axes, replica), or cohorts along (*axes, cohort).

        A run of lanes over several axes is a few hyperslabs: each with its index, and which of the lanes it takes,
        counted from `first`, in the order of the hyperslab.
        """
        sizes = [*self._lane_axes, self._last[over]]
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
            found.append((self._with_structural(block, lane_index), slice(at - first, at - first + steps * inner)))
            at += steps * inner
        return found

    def _with_structural(self, block: int, lane_index: list[Any]) -> tuple[int | slice, ...]:
        structural, others = iter(self.manifest["blocks"][block]), iter(lane_index)
        index = [next(structural) if axis["structural"] else next(others) for axis in self.axes]
        return (*index, next(others))


def _axis_values(values: list[Any]) -> np.ndarray:
    """Values as netCDF takes them: numbers and strings."""
    if any(isinstance(value, (list, dict)) for value in values):
        return np.arange(len(values))
    array = np.array(values)
    array = array.astype(object) if array.dtype.kind == "U" else array
    return array.astype(np.int8) if array.dtype.kind == "b" else array  # netCDF has no booleans
