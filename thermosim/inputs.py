"""Files that a case names, kept with its output: going on with a run needs nothing but the output itself."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from thermosim.case import Case, load_case
from thermosim.plan import Block, plan
from thermosim.storage import StorageError

__all__ = ["FOLDER", "case_of", "keep"]

FOLDER = "inputs"  # in the parts
_MODEL = "model.py"


def keep(case: Case, blocks: Iterable[Block], parts: Path) -> dict[str, str]:
    """Copy data, recordings and a user's model into the parts. Returns each path, from there, and its SHA-256."""
    digests = {}
    for block in blocks:
        named = (block.settings.get("data") or {}).get("file"), block.settings["theta"]["recording"].get("file")
        for name in filter(None, named):
            if not Path(name).is_absolute() and ".." not in Path(name).parts:  # others are read where they are
                digests[f"{FOLDER}/{Path(name).as_posix()}"] = _copy(case.folder / name, parts / FOLDER / name)
    if source := case.model_source():
        digests[f"{FOLDER}/{_MODEL}"] = _write(parts / FOLDER / _MODEL, source.encode())
    return digests


def _copy(source: Path, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def _write(target: Path, data: bytes) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def restore(parts: Path, manifest: Mapping[str, Any], damaged: Iterable[str]) -> None:
    """Write the user's model anew; raises StorageError for a damaged file that the manifest has no copy of."""
    for name in damaged:
        if name == f"{FOLDER}/{_MODEL}":
            _write(parts / name, manifest["model_source"].encode())
        elif name in manifest["inputs"]:
            raise StorageError(
                f"{parts / name}: damaged, and there is no other copy here: put back the file of the case."
            )


def unpack(output: Path, folder: Path) -> dict[str, Any]:
    """What a complete ensemble says of its run, as a manifest does; the files of its case go to `folder`.

    Raises StorageError when it was made by an older version that did not keep what going on takes.
    """
    with h5py.File(output, "r") as file:
        if "state" not in file:
            raise StorageError(f"{output}: holds no state to go on from; it was made by an older version of thermosim.")
        attributes = {name: str(value) for name, value in file.attrs.items()}
        file.get(FOLDER, file["state"]).visititems(partial(_unpack, folder) if FOLDER in file else lambda *_: None)
    parsed = {name: json.loads(attributes[name]) for name in ("settings", "overrides", "packages")}
    return attributes | parsed


def _unpack(folder: Path, name: str, item: Any) -> None:
    if isinstance(item, h5py.Dataset):
        _write(folder / FOLDER / name, item[()].tobytes())


def case_of(manifest: Mapping[str, Any], parts: Path, changes: Mapping[str, Any] | None = None) -> Case:
    """The case of a manifest, its files taken from the parts; `changes` are dotted keys that override it.

    Raises StorageError when the data it learned from are no longer to be had.
    """
    overrides = dict(manifest["overrides"]) | dict(changes or {})
    if manifest["model_source"]:  # the user's model as it was, whatever became of its file
        overrides["model.file"] = _MODEL
    case = load_case(manifest["case"] + "\n", overrides, parts / FOLDER)
    data = plan(case)[0].data
    if data is not None and data.sha256 != manifest["data_sha256"]:
        raise StorageError(f"{data.description} have changed since this was begun; going on would mix two data sets.")
    return case
