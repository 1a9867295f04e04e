"""Whether a finished file is still what was written: every checksum in it is compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from thermosim.storage.durable import StorageError, digest
from thermosim.storage.finished import open_finished
from thermosim.storage.inputs import kept_files
from thermosim.storage.integrity import examine
from thermosim.storage.manifest_file import parts_folder, read_manifest
from thermosim.storage.parts import INPUTS

__all__ = ["blamed", "checksums_of", "is_described", "verify_file"]

_SLAB_BYTES = 64_000_000
_REFERENCES = ("DIMENSION_LIST", "REFERENCE_LIST", "sha256")  # addresses in the file, and the checksums themselves
_DAMAGED = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, UnicodeError, SystemError)


def checksums_of(file: h5py.File) -> dict[str, str]:
    """A checksum of what each object is: shape, type, dimensions, attributes, text, and what a virtual one views.

    Numbers have checksums of their own in HDF5. Raises one of several errors when the file is damaged.
    """
    objects = {"/": file["/"]} | dict(_all_of(file))
    return {name: hashlib.sha256(repr(_description(item)).encode()).hexdigest()[:32] for name, item in objects.items()}


def _all_of(file: h5py.File) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    file.visititems(lambda name, item: found.append((name, item)))
    return sorted(found, key=lambda pair: pair[0])


def _description(item: Any) -> list[Any]:
    names = [name for name in _in_order(item) if name not in _REFERENCES]
    described: list[Any] = [(name, _plain(item.attrs[name])) for name in sorted(names)]
    if isinstance(item, h5py.Dataset):
        dims = [[scale.name for scale in dim.values()] for dim in item.dims]
        described += [item.shape, item.dtype.str, dims]
        if item.dtype.kind == "O":
            described.append(item[()].tolist())
        if item.is_virtual:
            described += [
                (m.file_name, m.dset_name, m.vspace.get_select_bounds(), m.src_space.get_select_bounds())
                for m in item.virtual_sources()
            ]
    return described


def _in_order(item: Any) -> list[str]:
    """Names of all attributes. HDF5 finds them, and the members of a group, by name or by creation: both are read."""
    made = item.id.get_create_plist()
    indices = [h5py.h5.INDEX_NAME] + [h5py.h5.INDEX_CRT_ORDER] * bool(made.get_attr_creation_order())
    names: list[list[str]] = []
    for index in indices:
        names.append([])
        h5py.h5a.iterate(item.id, lambda name, *_: names[-1].append(name.decode()), index_type=index)
    if isinstance(item, h5py.Group) and made.get_link_creation_order():
        item.id.links.iterate(lambda _: None, idx_type=h5py.h5.INDEX_CRT_ORDER)
    return names[-1]


def _plain(value: Any) -> Any:
    return (str(value.dtype), value.tolist()) if isinstance(value, (np.ndarray, np.generic)) else value


def verify_file(path: Path) -> list[str]:
    """What is damaged in a finished file, in words; nothing when it is whole. Everything in it is read.

    Of a virtual file also the segments that it views.
    """
    try:
        if path.is_file() and (faults := _against_parts(path)):
            return faults
        with open_finished(path) as file:
            return list(_damages(path, file))
    except Exception as error:  # it can be damaged in any way
        return [f"{path}: damaged, cannot be read ({error})"]


def is_described(path: Path) -> bool:
    """Whether a finished file, whatever else is damaged in it, still tells its case and has the files of that."""
    try:
        with open_finished(path) as file:
            for _ in kept_files(file):
                pass
            expected = json.loads(file.attrs["sha256"])
            told = [name for name in checksums_of(file).items() if name[0] == "/" or name[0].startswith(INPUTS)]
            return all(expected.get(name) == found for name, found in told)
    except _DAMAGED:
        return False


def blamed(path: Path, error: Exception) -> Exception:
    """What to raise for an error that a finished file led to: that it is damaged where it is, else the error itself."""
    if not path.is_file() or not (faults := verify_file(path)):
        return error
    return StorageError("\n".join(faults) + "\nIt cannot be used: put it back from a copy, or run it again.")


def _against_parts(path: Path) -> list[str]:
    """Compare a virtual file with the manifest beside it: HDF5 may crash on views that are damaged."""
    try:
        output = read_manifest(parts_folder(path)).output
    except StorageError:
        return []
    expected = output.sha256 if output else None
    return [] if expected in (None, digest(path)) else [f"{path}: damaged (checksum differs)"]


def _damages(path: Path, file: h5py.File) -> Iterator[str]:
    if "sha256" not in _in_order(file["/"]):
        yield f"{path}: is not an ensemble of thermosim, or its checksums are damaged"
        return
    expected, found = json.loads(file.attrs["sha256"]), checksums_of(file)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            what = "the file" if name == "/" else name
            yield f"{path}: the attributes, dimensions or text of {what} are damaged (checksum differs)"
    folders = set()
    for name, item in _all_of(file):
        if isinstance(item, h5py.Dataset) and item.is_virtual:
            folders |= {path.parent / Path(m.file_name.replace("%%", "%")).parent for m in item.virtual_sources()}
        elif expected.get(name) != found.get(name):
            continue  # told above, and of any size
        elif isinstance(item, h5py.Dataset) and item.chunks and item.size:
            yield from _damaged_slabs(path, name, item)
    for folder in sorted(folders):
        try:
            faults = examine(folder, read_manifest(folder))
        except StorageError as error:
            yield str(error)
            continue
        yield from (f"{folder}/{fault}" for fault in faults)


def _damaged_slabs(path: Path, name: str, item: h5py.Dataset) -> Iterator[str]:
    """Read an array a few rows of chunks at a time."""
    rows = item.chunks[0] * max(1, _SLAB_BYTES // max(1, item.nbytes // item.shape[0] * item.chunks[0]))
    dim = item.dims[0].values()
    along = Path(dim[0].name).name if dim else "row"
    for start in range(0, item.shape[0], rows):
        stop = min(start + rows, item.shape[0])
        try:
            item[start:stop]
        except _DAMAGED:
            yield f"{path}: {name} is damaged (checksum differs) within numbers {start} to {stop - 1} along {along}"
