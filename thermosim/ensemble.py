"""The layout of an ensemble: dimensions, coordinates and variables, whether in memory, in parts or in one file."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thermosim.storage import FORMAT, Parts, StorageError, parts_folder, read_manifest

if TYPE_CHECKING:
    import xarray as xr

    from thermosim.case import Case
    from thermosim.plan import Block

__all__ = ["Layout", "make_manifest", "open_ensemble"]


def make_manifest(case: Case, blocks: list[Block], variables: Mapping[str, Any], fingerprint: str) -> dict[str, Any]:
    """What the parts of a run say of themselves. Everything in it is needed to go on, or to read the result."""
    return {
        "format": FORMAT,
        "case": case.source,
        "overrides": dict(case.overrides),
        "settings": case.settings,
        "model_source": case.model_source(),
        "title": case.title,
        "seed": case.settings["ensemble"]["seed"],
        "thermosim_version": _package_versions()["thermosim"],
        "python": platform.python_version(),
        "packages": _package_versions(),
        "fingerprint": fingerprint,
        "steps": case.frame_steps().tolist(),
        "axes": [
            {"name": a.name, "key": a.key, "values": list(a.values), "structural": a.structural} for a in case.axes
        ],
        "replicas": case.settings["ensemble"]["replicas"],
        "blocks": [list(block.index) for block in blocks],
        "variables": dict(variables),
        "data_sha256": "" if blocks[0].data is None else blocks[0].data.sha256,
        "segments": [],
    }


@functools.cache
def _package_versions() -> dict[str, str]:
    packages = ("thermosim", "numpy", "numba", "llvmlite", "scipy", "h5py", "xarray")
    return {name: importlib.metadata.version(name) for name in packages}


class Layout:
    """Where every number of an ensemble belongs. Built from a manifest alone."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self.manifest = manifest
        self.axes = manifest["axes"]
        self.axis_names = tuple(axis["name"] for axis in self.axes)

    def dimension_sizes(self) -> dict[str, int]:
        """Sizes of all dimensions."""
        sizes = {"step": len(self.manifest["steps"])}
        sizes |= {axis["name"]: len(axis["values"]) for axis in self.axes}
        sizes["replica"] = self.manifest["replicas"]
        for variable in self.manifest["variables"].values():
            sizes |= dict(zip(variable["dims"], variable["shape"], strict=True))
        return sizes

    def coordinates(self) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
        """Dimensions, values and attributes of the coordinates."""
        labels = {"units": "1", "long_name": "step of theta"}
        result: dict[str, Any] = {"step": (("step",), np.array(self.manifest["steps"]), labels)}
        for axis in self.axes:
            labels = {"units": "1", "long_name": axis["key"], "key": axis["key"]}
            if any(isinstance(value, (list, dict)) for value in axis["values"]):
                values = np.arange(len(axis["values"]))
            else:
                values = np.array(axis["values"])
                values = values.astype(object) if values.dtype.kind == "U" else values
                values = values.astype(np.int8) if values.dtype.kind == "b" else values  # netCDF has no booleans
            result[axis["name"]] = ((axis["name"],), values, labels)
        replicas = np.arange(self.manifest["replicas"])
        result["replica"] = (("replica",), replicas, {"units": "1", "long_name": "replica of each point of the sweep"})
        return result

    def variables(self) -> dict[str, tuple[tuple[str, ...], Any, dict[str, str]]]:
        """Dimensions, type and attributes of the variables."""
        result: dict[str, Any] = {}
        for name, variable in self.manifest["variables"].items():
            dims = ("step", *self.axis_names, "replica", *variable["dims"])
            result[name] = (dims, np.float64, variable["attributes"])
        dims = (*self.axis_names, "replica")
        meaning = {
            "units": "1",
            "long_name": "0 fine; diverged in 1 theta, 2 x, 3 phi, 4 sums of theta, 5 ledger ",
            "equation": "",
        }
        result["status"] = (dims, np.int8, meaning)
        step = {"units": "1", "long_name": "first recorded step with a value that is not finite, or -1", "equation": ""}
        result["diverged_step"] = (dims, np.int64, step)
        return result

    def attributes(self, completed: bool) -> dict[str, Any]:
        """What the ensemble says of itself; xarray takes strings and numbers only."""
        keys = ("title", "case", "model_source", "seed", "thermosim_version", "python", "format")
        return {key: self.manifest[key] for key in keys} | {
            "data_sha256": self.manifest["data_sha256"],
            "structural": json.dumps([axis["key"] for axis in self.axes if axis["structural"]]),
            "settings": json.dumps(self.manifest["settings"]),
            "overrides": json.dumps(self.manifest["overrides"]),
            "packages": json.dumps(self.manifest["packages"]),
            "completed": int(completed),
        }

    def _index(self, block: int) -> tuple[Any, ...]:
        """Where a block lies along the axes: a number on structural ones, everything on the others."""
        positions = iter(self.manifest["blocks"][block])
        return tuple(next(positions) if axis["structural"] else slice(None) for axis in self.axes)

    def _lane_shape(self) -> tuple[int, ...]:
        lanes = [len(axis["values"]) for axis in self.axes if not axis["structural"]]
        return (*lanes, self.manifest["replicas"])

    def place(self, name: str, array: np.ndarray, segment: Mapping[str, Any]) -> tuple[tuple[Any, ...], np.ndarray]:
        """Index and values of frames (F, lanes, ...) in the variable."""
        first = segment["first_frame"]
        where = (slice(first, first + len(array)), *self._index(segment["block"]))
        tail = tuple(self.manifest["variables"][name]["shape"])
        return (*where, ...), array.reshape(len(array), *self._lane_shape(), *tail)

    def final_state(self, parts: Any) -> Iterator[tuple[str, tuple[Any, ...], np.ndarray]]:
        """Status of every block, from its last segment."""
        last = {segment["block"]: segment for segment in self.manifest["segments"]}
        for block, segment in last.items():
            state = parts.read(segment, "state")
            for name in ("status", "diverged_step"):
                yield name, (*self._index(block), ...), state[name].reshape(self._lane_shape())

    def dataset(self, parts: Any, completed: bool) -> xr.Dataset:
        """All sealed frames as an xarray Dataset in memory; steps that no block has reached are left out."""
        import xarray as xr

        sizes = self.dimension_sizes()
        segments = self.manifest["segments"]
        sizes["step"] = max((s["first_frame"] + s["frames"] for s in segments), default=0)
        arrays = {}
        for name, (dims, dtype, attributes) in self.variables().items():
            shape = [sizes[dim] for dim in dims]
            empty = np.full(shape, np.nan) if dtype == np.float64 else np.zeros(shape, dtype)
            arrays[name] = (dims, empty, attributes)
        for segment in segments:
            for name, array in parts.read(segment, "frames").items():
                where, block = self.place(name, array, segment)
                arrays[name][1][where] = block
        for name, where, values in self.final_state(parts):
            arrays[name][1][where] = values
        coordinates = self.coordinates()
        dims, steps, attributes = coordinates["step"]
        coordinates["step"] = (dims, steps[: sizes["step"]], attributes)
        return xr.Dataset(arrays, coordinates, self.attributes(completed))


def open_ensemble(path: str | Path) -> xr.Dataset:
    """The ensemble of a finished file (lazily), or all sealed frames of a run that goes on or was interrupted.

    Raises StorageError when there is neither.
    """
    import xarray as xr

    path = Path(path)
    if path.name.endswith(".parts"):
        path = path.with_name(path.name.removesuffix(".parts"))
    if path.is_file():
        try:
            ds = xr.open_dataset(path, engine="h5netcdf", phony_dims="access")
        except (OSError, ValueError) as error:
            raise StorageError(f"{path}: is not a readable ensemble file ({error}).") from None
        if "settings" not in ds.attrs:
            raise StorageError(f"{path}: is not an ensemble of thermosim, though xarray can open it.")
        return ds
    folder = parts_folder(path)
    if not folder.is_dir():
        raise StorageError(f"{path}: no such ensemble. `thermosim run CASE -o {path}` makes one.")
    manifest = read_manifest(folder)
    return Layout(manifest).dataset(Parts(folder, manifest), completed=False)
