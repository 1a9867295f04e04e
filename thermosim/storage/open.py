"""An ensemble as a dataset: from its one file, or from the parts of a run that goes on or was interrupted."""

from __future__ import annotations

import itertools
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from thermosim.storage.durable import StorageError, command
from thermosim.storage.finished import elsewhere
from thermosim.storage.layout import Layout
from thermosim.storage.manifest import FORMAT
from thermosim.storage.manifest_file import (
    MANIFEST,
    format_fault,
    has_frames_of_output,
    output_of,
    parts_folder,
    read_manifest,
)
from thermosim.storage.segments import Folder
from thermosim.storage.verification import blamed

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["open_ensemble"]

_READ = (2, FORMAT)  # files of format 2 differ from today's in their parts only


def open_ensemble(path: str | Path, verify: bool = True) -> xr.Dataset:
    """The ensemble of a finished file, or everything sealed of a run that goes on or was interrupted. Both are lazy.

    Of a run that is not finished, frames that are damaged or not reached are NaN, and one warning names the damaged
    files; `verify=False` only compares their sizes. Raises StorageError when there is nothing to open.
    """
    path = output_of(Path(path))
    folder = parts_folder(path)
    for attempt in itertools.count():
        if path.is_file() and not has_frames_of_output(folder):
            return _open_file(path)
        if not folder.is_dir():
            raise StorageError(f"{path}: no such ensemble. `{command('run', 'CASE', '-o', path)}` makes one.")
        try:
            return _open_parts(folder, verify)
        except _Changed as changed:
            if attempt == 10:
                raise StorageError(f"{path}: changes while it is being opened ({changed}); try again.") from None
    raise AssertionError


class _Changed(Exception):
    """The run has gone on meanwhile."""


def _open_file(path: Path) -> xr.Dataset:
    import xarray as xr

    from thermosim.storage.reading import add_replicas

    try:
        if other := elsewhere(path):
            raise StorageError(f"{path}: {other}, which is not read. Copy the numbers into it, or make it again.")
        ds = xr.open_dataset(path, engine="h5netcdf", phony_dims="access")
    except StorageError:
        raise
    except Exception as error:  # a file can be broken in any way
        if "locking flag" in str(error):
            raise StorageError(
                f"{path}: is open in this process without a lock (locking=False); close it there."
            ) from None
        raise StorageError(
            f"{path}: is not a readable ensemble file ({error}). Name another, or put it back from a copy."
        ) from error
    if not isinstance(ds.attrs.get("settings"), str):
        ds.close()
        raise StorageError(
            f"{path}: is not an ensemble of thermosim, though xarray can open it. Name one that `thermosim run` made."
        )
    virtual, found = ds.attrs.get("virtual"), ds.attrs.get("format")
    if found not in _READ or (virtual and found != FORMAT):
        ds.close()
        raise StorageError(f"{path}: {format_fault(found)}")
    if virtual:
        ds.close()
        raise StorageError(
            f"{path}: is a virtual file, and {parts_folder(path).name} with its frames is not here; put it beside it."
        )
    try:
        add_replicas(ds)
    except Exception as error:
        ds.close()
        raise blamed(path, error) from error
    return ds


def _open_parts(folder: Path, verify: bool) -> xr.Dataset:
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
    layout = Layout(without(manifest, faults), manifest.reached)
    try:
        ds = dataset(layout, Folder(folder.absolute(), manifest.run), manifest.completed and manifest.virtual)
    except StorageError as error:
        if not folder.is_dir() or read_manifest(folder) != manifest:
            raise _Changed(str(error)) from None
        raise
    ds.encoding["source"] = str(output_of(folder).absolute())
    if faults:
        if not folder.is_dir() or read_manifest(folder) != manifest:
            raise _Changed(str(faults[0]))
        named = "\n".join(f"  {fault}" for fault in faults)
        warnings.warn(f"{folder}: not all of it is what was sealed; damaged frames are NaN:\n{named}", stacklevel=3)
    return ds
