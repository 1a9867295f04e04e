"""An ensemble as a dataset: from its one file, or from the parts of a run that goes on or was interrupted."""

from __future__ import annotations

import itertools
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from thermosim.storage import MANIFEST, StorageError, parts_folder, read_manifest
from thermosim.storage.layout import Finals, Layout
from thermosim.storage.segments import Folder
from thermosim.storage.summaries import finals as finals_of_run

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["open_ensemble"]


def open_ensemble(path: str | Path, verify: bool = True, finals: Finals = finals_of_run) -> xr.Dataset:
    """The ensemble of a finished file, or everything sealed of a run that goes on or was interrupted. Both are lazy.

    Of a run that is not finished, frames that are damaged or not reached are NaN, and one warning names the damaged
    files; `verify=False` only compares their sizes. Raises StorageError when there is nothing to open.
    """
    path = Path(path)
    if path.name.endswith(".parts"):
        path = path.with_name(path.name.removesuffix(".parts"))
    folder = parts_folder(path)
    for attempt in itertools.count():
        if path.is_file() and not _has_frames_of(folder):
            return _open_file(path)
        if not folder.is_dir():
            raise StorageError(f"{path}: no such ensemble. `thermosim run CASE -o {path}` makes one.")
        try:
            return _open_parts(folder, verify, finals)
        except _Changed as changed:
            if attempt == 10:
                raise StorageError(f"{path}: changes while it is being opened ({changed}); try again.") from None
    raise AssertionError


class _Changed(Exception):
    """The run has gone on meanwhile."""


def _has_frames_of(folder: Path) -> bool:
    """Whether these are the parts of a virtual file. They are read themselves: its views say nothing of damage."""
    try:
        return bool(read_manifest(folder)["virtual"])
    except StorageError:
        return False


def _open_file(path: Path) -> xr.Dataset:
    import xarray as xr

    try:
        ds = xr.open_dataset(path, engine="h5netcdf", phony_dims="access")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise StorageError(f"{path}: is not a readable ensemble file ({error}).") from None
    if "settings" not in ds.attrs:
        ds.close()
        raise StorageError(f"{path}: is not an ensemble of thermosim, though xarray can open it.")
    if ds.attrs.get("virtual"):
        ds.close()
        raise StorageError(f"{path}: is a virtual file, and {parts_folder(path).name} with its frames is not here.")
    return ds


def _open_parts(folder: Path, verify: bool, finals: Finals) -> xr.Dataset:
    """Raises _Changed when files that the manifest had named were replaced or removed by the run meanwhile."""
    from thermosim.storage.integrity import examine, without
    from thermosim.storage.reading import dataset

    try:
        manifest = read_manifest(folder)
    except StorageError as error:
        if (folder / MANIFEST).exists():
            raise
        time.sleep(0.02)  # it is not yet made, or gone since
        raise _Changed(str(error)) from None
    faults = examine(folder, manifest, checksums=verify)
    sound = without(manifest, faults)
    try:
        ds = dataset(
            Layout(manifest),
            Folder(folder.absolute(), manifest["run"]),
            finals,
            sound,
            manifest["completed"] and manifest["virtual"],
        )
    except StorageError as error:
        if not folder.is_dir() or read_manifest(folder) != manifest:
            raise _Changed(str(error)) from None
        raise
    if faults:
        if not folder.is_dir() or read_manifest(folder) != manifest:
            raise _Changed(str(faults[0]))
        named = "\n".join(f"  {fault}" for fault in faults)
        warnings.warn(f"{folder}: not all of it is what was sealed; damaged frames are NaN:\n{named}", stacklevel=3)
    return ds
