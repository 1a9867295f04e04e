"""What of an ensemble there is to report: what is damaged, what a run has not reached, and the numbers left."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from thermosim.checks.admission import Unfit, in_memory
from thermosim.storage import StorageError, integrity, parts_folder, read_manifest, verification
from thermosim.storage.durable import command, digest
from thermosim.storage.finished import open_finished
from thermosim.storage.manifest_file import output_of
from thermosim.storage.open import open_ensemble

__all__ = ["Found", "faults_of", "found_in"]


@dataclass
class Found:
    """What an ensemble says of itself, its numbers where they can be had, and what is missing, in sentences."""

    attributes: dict[str, Any] = field(default_factory=dict)
    ds: xr.Dataset | None = None  # in memory
    sizes: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    file: str = ""  # its name, without folders
    bytes: int = 0
    sha256: str = ""  # of the file
    whole: bool = True  # every checksum agrees, or there are none


def faults_of(target: Path) -> list[str]:
    """Everything in the file, or in the parts of a run, that is not what was sealed."""
    parts_folder(target)  # refuses what is no name of a file
    target = target.with_name(target.name.removesuffix(".parts"))
    faults = verification.verify_file(target) if target.is_file() else []
    folder = parts_folder(target)
    if folder.is_dir():
        faults += [str(fault) for fault in integrity.examine(folder, read_manifest(folder))]
    return faults


def found_in(ensemble: xr.Dataset | str | Path) -> Found:
    """What there is of an ensemble. Raises StorageError where there is no file of this name at all."""
    if isinstance(ensemble, xr.Dataset):
        return _numbers(Found(), ensemble)
    path = output_of(Path(ensemble))
    if not path.is_file() and not parts_folder(path).is_dir():
        raise StorageError(f"{path}: no such ensemble. `{command('run', 'CASE', '-o', path)}` makes one.")
    found = Found(file=path.name)
    if path.is_file():
        found.bytes, found.sha256 = path.stat().st_size, digest(path)
    try:
        faults = faults_of(path)
    except StorageError as error:
        faults = [str(error)]
    found.whole = not faults
    folder = f"{path.parent}/"
    found.missing += [fault.replace(folder, "") for fault in faults]  # a page is read on other machines
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the faults are told already
            ds = open_ensemble(path)
    except StorageError as error:
        if not faults:
            found.missing.append(str(error).replace(folder, ""))
        found.whole, found.attributes = False, _attributes(path)
        return found
    with ds:
        return _numbers(found, ds)


def _numbers(found: Found, ds: xr.Dataset) -> Found:
    """With the numbers that can be read, at the steps that all replicas have reached."""
    found.attributes, found.sizes = dict(ds.attrs), {str(dim): size for dim, size in ds.sizes.items()}
    try:
        found.ds = in_memory(ds)
    except Unfit as why:
        found.missing.append(str(why))
        return found
    except StorageError:
        found.ds, lost = _readable(ds)
        found.missing.append(f"Cannot be read, and is left out: {', '.join(lost)}.")
    if not ds.attrs.get("completed", 1):
        found.missing.append(
            f"The run is not complete: it goes on, or was interrupted. Sealed up to step {_last(ds):,} of "
            f"{int(ds.attrs.get('steps', 0)):,}, of which this is a report."
        )
    if not found.whole or not ds.attrs.get("completed", 1):
        found.ds = _whole_frames(found)
    return found


def _readable(ds: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """The variables that can be read, and the names of those that cannot."""
    kept, lost = {}, []
    for name, variable in ds.data_vars.items():
        try:
            kept[name] = variable.compute()
        except (OSError, RuntimeError):
            lost.append(str(name))
    rest = ds.drop_vars(lost).assign(kept)
    return rest, lost


def _whole_frames(found: Found) -> xr.Dataset:
    """The frames that every replica which did not diverge has; says how many are left out."""
    ds = found.ds
    assert ds is not None
    if "step" not in ds.dims:
        return ds
    lost = ds["status"] != 0 if "status" in ds else xr.DataArray(False)
    whole = np.ones(ds.sizes["step"], bool)
    for variable in ds.data_vars.values():
        if {"step", "replica"} <= set(variable.dims) and variable.dtype.kind == "f":
            good = variable.notnull() | lost
            whole &= good.all([dim for dim in good.dims if dim != "step"]).values
    if not whole.all():
        count = int((~whole).sum())
        found.missing.append(f"{count:,} of {whole.size:,} frames are not there for every replica, and are left out.")
    return ds.isel(step=np.flatnonzero(whole))


def _last(ds: xr.Dataset) -> int:
    """The last recorded step; 0 where there is none."""
    return int(ds["step"].values[-1]) if ds.sizes.get("step") and "step" in ds.coords else 0


def _attributes(path: Path) -> dict[str, Any]:
    """What a file that is no whole ensemble may still say of its case."""
    try:
        with open_finished(path) as file:
            return {name: value for name, value in file.attrs.items() if isinstance(value, (str, int, float))}
    except Exception:  # it can be damaged in any way
        return {}
