"""Files that a case names, kept with its output: going on with a run needs nothing but the output itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from thermosim.case.data import names_files
from thermosim.case.files import home_of
from thermosim.case.load import Case, load_case
from thermosim.case.other_run import kept_starts
from thermosim.case.settings import Settings
from thermosim.case.start import others
from thermosim.data.kept import copies, file_of_targets, is_absolute, place, sizes
from thermosim.plan.outline import Outline, plan
from thermosim.storage import StorageError
from thermosim.storage.durable import digest, sync, write_whole
from thermosim.storage.finished import open_finished
from thermosim.storage.inputs import kept_files
from thermosim.storage.manifest import FORMAT, Manifest, Origin, SealedFile
from thermosim.storage.manifest_file import format_fault
from thermosim.storage.parts import INPUTS

__all__ = ["case_of", "keep", "read_by", "restore", "sizes_of_kept", "unpack"]

_MODEL = "model.py"


def keep(case: Case, blocks: Iterable[Outline], parts: Path) -> dict[str, Any]:
    """Copy data, recordings, states to start from and a user's model into the parts, all of it on the disk.

    Returns what the manifest says of it: `inputs`, and `external`, files named by absolute paths: going on reads them
    where they are, and analysis reads the copies.
    """
    external: dict[str, str] = {}
    kept: dict[str, SealedFile] = {}
    blocks = list(blocks)
    starting = [block.settings for block in blocks if others(block.settings)]
    for name, states in kept_starts(starting, case.folder).items() if starting else ():
        target = place(name, home_of(case.settings))
        kept[target] = _sealed(parts, target, states)
    for block in blocks:
        for name, path, content in _copies(block.settings, case.folder):
            if is_absolute(name):
                external[name] = digest(path)
            if content is not None:
                target = place(name, home_of(case.settings))
                kept[target] = _sealed(parts, target, content)
    if source := _source_of_file(case):
        target = (home_of(case.settings) / _MODEL).as_posix()
        kept[target] = _sealed(parts, target, source.encode())
    for folder in {parent for name in kept for parent in (parts / name).parents if parent.is_relative_to(parts)}:
        sync(folder)
    return {"inputs": tuple(kept.values()), "external": external}


def _source_of_file(case: Case) -> str:
    """The text of a user's model; a formula stands in the case."""
    return case.model_source() if case.settings.model.file else ""


def sizes_of_kept(case: Case, blocks: Iterable[Outline]) -> list[int]:
    """Bytes of the files that `keep` copies, each of them once; of HDF5 it may be a part."""
    found: dict[str, list[int]] = {}
    for block in blocks:
        data, recording = block.settings.data, block.settings.theta.recording
        if data is not None and names_files(data):
            named = (data.file, data.folder, data.targets, data.test)
            found.setdefault(str(named), sizes(data, case.folder))
        if recording and not is_absolute(str(recording["file"])):
            path = case.folder / str(recording["file"])
            found.setdefault(str(path), [path.stat().st_size])
    return [size for each in found.values() for size in each] + [len(_source_of_file(case).encode())]


def read_by(case: Case, blocks: Iterable[Outline]) -> list[Path]:
    """The files that a run of this case reads."""
    names = set()
    for block in blocks:
        data, recording = block.settings.data, block.settings.theta.recording
        if data is not None and data.file is not None:
            names |= {data.file, file_of_targets(data) or data.file}
        names |= {data.test} if data is not None and isinstance(data.test, str) else set()
        names |= {str(recording["file"])} if recording else set()
        names |= {other.file for other in others(block.settings).values()}
    if case.settings.model.file is not None:
        names.add(case.settings.model.file)
    return [case.folder / name for name in sorted(names)]


def _copies(settings: Settings, folder: Path) -> Iterator[tuple[str, Path, bytes | None]]:
    """The files that a block names: name, path, and what is kept of it; nothing of a recording of an absolute path."""
    if settings.data is not None and names_files(settings.data):
        yield from copies(settings.data, folder)
    if settings.theta.recording:
        name = str(settings.theta.recording["file"])
        yield name, folder / name, None if is_absolute(name) else (folder / name).read_bytes()


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
    with open_finished(output) as file:
        attributes = {name: told if isinstance(told, str) else told.item() for name, told in file.attrs.items()}
        if attributes["format"] != FORMAT:
            raise StorageError(f"{output}: {format_fault(attributes['format'])}")
        if attributes["virtual"]:
            parts = f"{output.name}.parts"
            raise StorageError(
                f"{output}: is a virtual file, and {parts} with its frames is not here; put it beside it."
            )
        for name, content in kept_files(file):
            _sealed(folder / INPUTS, name, content)
        return Origin.from_attributes(attributes)


def case_of(origin: Origin, parts: Path, external: Mapping[str, str], changes: Mapping[str, Any] | None = None) -> Case:
    """The case of a run, its files taken from the parts; `changes` are dotted keys that override it.

    Raises StorageError when the data it learned from, or files it names by absolute paths, are no longer to be had.
    """
    overrides = dict(origin.overrides) | dict(changes or {})
    if origin.settings["model"].get("file"):  # the user's model as it was, whatever became of its file
        overrides["model.file"] = _MODEL
    for name, expected in external.items():
        if not Path(name).is_file() or digest(Path(name)) != expected:
            raise StorageError(f"{name}: has changed since this was begun, or is gone; going on would mix two runs.")
    home = parts / home_of(Settings.from_dict(origin.settings))
    if home.name != INPUTS:  # "../" leads nowhere from a folder that is not there
        home.mkdir(parents=True, exist_ok=True)
    text = origin.case if "\n" in origin.case else origin.case + "\n"  # or it would be taken for a path
    case = load_case(text, overrides, home)
    data = plan(case)[0].data
    if data is not None and data.sha256 != origin.data_sha256:
        raise StorageError(f"{data.description} have changed since this was begun; going on would mix two data sets.")
    return case
