"""Rows from HDF5 and netCDF files, decoded as xarray does: scale_factor, add_offset, _FillValue, missing_value.

HDF5 reads what is missing as zeros: a virtual data set without its sources, raw data in another file that is gone. Such
a data set is refused by name. The scales of dimensions are no rows and are not offered.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thermosim.data.rows import LARGEST_FILE, DataError

if TYPE_CHECKING:
    import h5py

__all__ = ["not_its_own", "read_hdf5", "read_netcdf", "self_contained"]

_DECODED = ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned")
_DEEPEST = 8  # links or views in a row
_COPY = "copy the rows into one file of their own"


def read_netcdf(key: str, path: Path, dataset: str | None) -> np.ndarray:
    """The variable of a netCDF file: version 4 is HDF5, versions 1 and 2 are not. Raises DataError."""
    import h5py

    if h5py.is_hdf5(path):
        return read_hdf5(key, path, dataset)
    from scipy.io import netcdf_file

    with open(path, "rb") as file:
        if file.read(4) not in (b"CDF\x01", b"CDF\x02"):
            raise DataError(f"{key}: is no netCDF file of version 1, 2 or 4; save it as netCDF-4.")
    with netcdf_file(str(path), mmap=False) as file:
        names = [name for name, variable in file.variables.items() if variable.dimensions != (name,)]
        chosen = _chosen(key, path, names, dataset)
        variable = file.variables[chosen]
        return _decoded(np.array(variable.data), vars(variable))


def read_hdf5(key: str, path: Path, dataset: str | None) -> np.ndarray:
    """A data set of an HDF5 file. Raises DataError."""
    import h5py

    if not h5py.is_hdf5(path):
        raise DataError(f"{key}: is no HDF5 file; save the rows with h5py, or as .npy with numpy.save.")
    with h5py.File(path, "r") as file:
        stored = _stored(key, path, file, dataset)
        if stored.size is not None and stored.size * stored.dtype.itemsize > LARGEST_FILE:
            raise DataError(f"{key}: its dataset {stored.name[1:]} takes more than 8 GiB; save fewer rows.")
        if fault := _fault(stored, path):
            raise DataError(f"{key}: its dataset {stored.name[1:]} {fault}.")
        return _decoded(np.asarray(stored[()]), dict(stored.attrs))


def self_contained(path: Path, datasets: Sequence[str | None]) -> bytes:
    """The bytes of a file that can be read without others: of one whose data sets are views of others, a copy."""
    import h5py

    if not h5py.is_hdf5(path):
        return path.read_bytes()
    with h5py.File(path, "r") as file:
        wanted = {stored.name: stored for stored in (_stored(path.name, path, file, name) for name in datasets)}
        if not any(stored.is_virtual for stored in wanted.values()):
            return path.read_bytes()
        target = io.BytesIO()
        with h5py.File(target, "w") as copy:
            for place, stored in wanted.items():
                copied = copy.create_dataset(place, data=stored[()])
                for name in _DECODED:
                    if name in stored.attrs:
                        copied.attrs[name] = stored.attrs[name]
        return target.getvalue()


def not_its_own(path: Path, name: str) -> str:
    """Why the numbers of a data set are not all to be had from its file, or empty. Raises OSError."""
    import h5py

    with h5py.File(path, "r") as file:
        if other := _other_file(file, name):
            return f"is a link to another file, {other}; name that file instead"
        stored = file.get(name)
        return _fault(stored, path) if isinstance(stored, h5py.Dataset) else ""


def _stored(key: str, path: Path, file: h5py.File, dataset: str | None) -> h5py.Dataset:
    import h5py

    names: list[str] = []

    def offer(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not item.is_scale:
            names.append(name)

    file.visititems(offer)
    if dataset is not None and (other := _other_file(file, dataset.strip("/"))):
        raise DataError(f"data.dataset = {dataset!r}: is a link to another file, {other}; name that file instead.")
    return file[_chosen(key, path, names, dataset)]


def _chosen(key: str, path: Path, names: list[str], dataset: str | None) -> str:
    if not names:
        raise DataError(f"{key}: has no dataset in it; save the rows as one.")
    if dataset is None and len(names) > 1:
        raise DataError(f"{key}: has several datasets; choose one with data.dataset: {', '.join(names)}.")
    chosen = names[0] if dataset is None else dataset.strip("/")
    if chosen not in names:
        raise DataError(f"data.dataset = {dataset!r}: is not in {path.name}; choose one of: {', '.join(names)}.")
    return chosen


def _other_file(file: h5py.File, name: str) -> str:
    """The file that a link on the way to a name leads to; empty where there is none."""
    import h5py

    parts = name.split("/")
    for end in range(1, len(parts) + 1):
        try:
            link = file.get("/".join(parts[:end]), getlink=True)
        except (KeyError, RuntimeError):
            return ""
        if isinstance(link, h5py.ExternalLink):
            return str(link.filename)
        if not isinstance(link, h5py.HardLink):
            return ""
    return ""


def _fault(stored: h5py.Dataset, path: Path, depth: int = 0) -> str:
    """Why HDF5 would read zeros that are not in the data set, or empty."""
    if stored.external:
        return f"has its raw data in another file, {stored.external[0][0]}; {_COPY}"
    if not stored.is_virtual:
        return ""
    if depth == _DEEPEST:
        return f"is a view of a view of a view; {_COPY}"
    covered = 0
    for source in stored.virtual_sources():
        if fault := _source_fault(stored, source, path, depth):
            return fault
        covered += source.vspace.get_select_npoints()
    if covered < stored.size:
        return f"is a view, and {stored.size - covered} of its {stored.size} numbers have no source; {_COPY}"
    return ""


def _source_fault(stored: h5py.Dataset, source: Any, path: Path, depth: int) -> str:
    """Why a source of a view does not have the numbers that are viewed."""
    import h5py

    name = source.file_name.replace("%%", "%")
    where = path if name == "." else path.parent / name
    missing = f"is a view of {source.dset_name} in {name}, which is not there (looked for {where}); put it back"
    if not where.is_file() or not h5py.is_hdf5(where):
        return missing
    with h5py.File(where, "r") as file:
        viewed = file.get(source.dset_name)
        if not isinstance(viewed, h5py.Dataset):
            return missing
        if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:  # its extent is then not told
            held = viewed.size == source.vspace.get_select_npoints()
        else:
            last = source.src_space.get_select_bounds()[1]
            held = viewed.ndim == len(last) and all(int(end) < size for end, size in zip(last, viewed.shape))
        if not held:
            return f"is a view of another shape than {source.dset_name} in {name} has now; {_COPY}"
        return _fault(viewed, where, depth + 1)


def _decoded(array: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
    """Numbers as xarray decodes them, NaN where a value is missing; without such attributes, as they are."""
    told = {name: attributes[name] for name in _DECODED if name in attributes}
    if not told:
        return array
    import xarray as xr

    plain = {name: value.decode() if isinstance(value, bytes) else _single(value) for name, value in told.items()}
    stored = xr.Dataset({"rows": ([f"dim{i}" for i in range(array.ndim)], array, plain)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several marks of what is missing: all of them are
        return np.asarray(xr.decode_cf(stored, decode_times=False, decode_coords=False)["rows"].values)


def _single(value: Any) -> Any:
    return np.ravel(value)[0] if np.size(value) == 1 else value
