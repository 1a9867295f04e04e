"""Files that a case names, kept with its output: going on with a run needs nothing but the output itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from thermosim.case.load import Case, load_case
from thermosim.case.settings import Settings
from thermosim.plan.outline import Outline, plan
from thermosim.storage import StorageError
from thermosim.storage.durable import digest, sync, write_whole
from thermosim.storage.manifest import FORMAT, Manifest, Origin, SealedFile
from thermosim.storage.manifest_file import format_fault
from thermosim.storage.parts import INPUTS

__all__ = ["case_of", "keep", "read_by", "restore", "unpack"]

_MODEL = "model.py"


def keep(case: Case, blocks: Iterable[Outline], parts: Path) -> dict[str, Any]:
    """Copy data, recordings and a user's model into the parts, all of it on the disk.

    Returns what the manifest says of it: `inputs`, and `external`, files named by absolute paths, which are read where
    they are.
    """
    home, external, kept = _home(case.settings), {}, {}
    for block in blocks:
        for name in _named(block.settings):
            if Path(name).is_absolute():
                external[name] = digest(Path(name))
            else:
                target = Path(os.path.normpath(home / name)).as_posix()
                kept[target] = _sealed(parts, target, (case.folder / name).read_bytes())
    if source := case.model_source():
        target = (home / _MODEL).as_posix()
        kept[target] = _sealed(parts, target, source.encode())
    for folder in {parent for name in kept for parent in (parts / name).parents if parent.is_relative_to(parts)}:
        sync(folder)
    return {"inputs": tuple(kept.values()), "external": external}


def read_by(case: Case, blocks: Iterable[Outline]) -> list[Path]:
    """The files that a run of this case reads."""
    names = {name for block in blocks for name in _named(block.settings)}
    if case.settings.model.file is not None:
        names.add(case.settings.model.file)
    return [case.folder / name for name in sorted(names)]


def _named(settings: Settings) -> list[str]:
    """The files of data and recordings in the settings of a case or of one of its blocks."""
    swept = settings.sweep
    data = [settings.data.file if settings.data else None, *swept.get("data.file", ())]
    recordings = [settings.theta.recording, *swept.get("theta.recording", ())]
    return [name for name in [*data, *(recording.get("file") for recording in recordings)] if name]


def _home(settings: Settings) -> Path:
    """Where the case is in the parts: so deep that "../data.npy" is still inside."""
    relative = [Path(os.path.normpath(name)) for name in _named(settings) if not Path(name).is_absolute()]
    return Path(INPUTS, *("up",) * max((path.parts.count("..") for path in relative), default=0))


def _sealed(folder: Path, name: str, data: bytes) -> SealedFile:
    """Put a file in a folder, whatever folders its name has."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_whole(folder / name, data)
    return SealedFile.of(folder / name, name)


def restore(parts: Path, manifest: Manifest, damaged: Iterable[str]) -> None:
    """Write the user's model anew; raises StorageError for a damaged file that the manifest has no copy of."""
    for name in damaged:
        if name.endswith(f"/{_MODEL}") and manifest.origin.model_source:
            _sealed(parts, name, manifest.origin.model_source.encode())
        elif name in {file.name for file in manifest.inputs}:
            raise StorageError(
                f"{parts / name}: damaged, and there is no other copy here: put back the file of the case."
            )


def unpack(output: Path, folder: Path) -> Origin:
    """What a complete ensemble says of its origin; the files of its case go to `folder`.

    Raises StorageError for a file of another format, and for a virtual one without its frames.
    """
    with h5py.File(output, "r") as file:
        attributes = {name: told if isinstance(told, str) else told.item() for name, told in file.attrs.items()}
        if attributes["format"] != FORMAT:
            raise StorageError(f"{output}: {format_fault(attributes['format'])}")
        if attributes["virtual"]:
            parts = f"{output.name}.parts"
            raise StorageError(f"{output}: is a virtual file, and {parts} with its frames is not here.")
        if INPUTS in file:
            file[INPUTS].visititems(partial(_unpack, folder / INPUTS))
        return Origin.from_attributes(attributes)


def _unpack(folder: Path, name: str, item: Any) -> None:
    if isinstance(item, h5py.Dataset):
        _sealed(folder, name, item[()].tobytes())


def case_of(origin: Origin, parts: Path, external: Mapping[str, str], changes: Mapping[str, Any] | None = None) -> Case:
    """The case of a run, its files taken from the parts; `changes` are dotted keys that override it.

    Raises StorageError when the data it learned from, or files it names by absolute paths, are no longer to be had.
    """
    overrides = dict(origin.overrides) | dict(changes or {})
    if origin.model_source:  # the user's model as it was, whatever became of its file
        overrides["model.file"] = _MODEL
    for name, expected in external.items():
        if not Path(name).is_file() or digest(Path(name)) != expected:
            raise StorageError(f"{name}: has changed since this was begun, or is gone; going on would mix two runs.")
    home = parts / _home(Settings.from_dict(origin.settings))
    if home.name != INPUTS:  # "../" leads nowhere from a folder that is not there
        home.mkdir(parents=True, exist_ok=True)
    case = load_case(origin.case + "\n", overrides, home)
    data = plan(case)[0].data
    if data is not None and data.sha256 != origin.data_sha256:
        raise StorageError(f"{data.description} have changed since this was begun; going on would mix two data sets.")
    return case
