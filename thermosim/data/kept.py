"""Files of data that are kept with an output: where, and how they are read again from there.

A file of a relative path is kept under that path, one of an absolute path below a folder `absolute`. Packaged sets are
kept only where the case says in which folder they are: others are published, and known by their checksums.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from thermosim.data.formats import contents_of, files_of
from thermosim.data.section import DataSection
from thermosim.data.tables import data_folder, packaged_files
from thermosim.data.targets import array_of_targets, names_column

__all__ = [
    "copies",
    "depth",
    "file_of_targets",
    "file_of_test",
    "is_absolute",
    "kept_section",
    "place",
    "sizes",
]

_ABSOLUTE = "absolute"  # folder of copies of files that are named by absolute paths


def copies(section: DataSection, folder: Path) -> Iterator[tuple[str, Path, bytes]]:
    """The files that a [data] names in a case in this folder: name there, path, and bytes that need no other file."""
    own, inside = file_of_targets(section), array_of_targets(section)
    for name, path in _files(section, folder):
        datasets = [None] if name == own else [section.dataset, *([inside] if inside else [])]
        yield name, path, contents_of(path, datasets)


def sizes(section: DataSection, folder: Path) -> list[int]:
    """The bytes of these files as they are: of HDF5 it may be a part that is kept."""
    return [path.stat().st_size for _, path in _files(section, folder)]


def _files(section: DataSection, folder: Path) -> Iterator[tuple[str, Path]]:
    if section.file is not None:
        yield from _below_name(section.file, files_of(section.file, folder), folder)
    elif section.folder is not None and section.source is not None and not is_absolute(section.folder):
        home = data_folder(section.folder, folder)
        yield from _below_name(section.folder, packaged_files(section.source, home), folder)
    if (targets := file_of_targets(section)) is not None:
        yield targets, files_of(targets, folder)[0]
    if (test := file_of_test(section)) is not None:
        yield from _below_name(test, files_of(test, folder), folder)


def _below_name(name: str, paths: Iterable[Path], folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a name in a case, each with a name of its own: the classes of images lie beside them."""
    base = Path(name) if (folder / name).is_dir() else Path(name).parent
    for path in paths:
        yield str(base / path.relative_to(folder / base)), path


def file_of_targets(section: DataSection) -> str | None:
    """The file that data.targets names, where it names one of its own."""
    given = section.targets
    inside = array_of_targets(section) is not None or names_column(section)
    return given if isinstance(given, str) and not inside else None


def file_of_test(section: DataSection) -> str | None:
    """The file that data.test names, where it names one."""
    return section.test if isinstance(section.test, str) else None


def depth(names: Iterable[str]) -> int:
    """How many folders up the highest of some files is."""
    paths = [Path(os.path.normpath(name)) for name in names if not is_absolute(name)]
    return max((path.parts.count("..") for path in paths), default=0)


def place(name: str, home: Path) -> str:
    """Where the copy of a file goes among the inputs of an output; `home` is where the case would be there."""
    if not is_absolute(name):
        return Path(os.path.normpath(home / name)).as_posix()
    return Path(home.parts[0], _below(name)).as_posix()


def kept_section(section: DataSection, home: Path) -> DataSection:
    """A [data] that reads the copies, for a case in the folder that holds the inputs; `home` as for `place`."""
    keys = {"file": section.file, "folder": section.folder, "targets": file_of_targets(section)}
    keys["test"] = file_of_test(section)
    if section.folder is not None and is_absolute(section.folder):
        del keys["folder"]
    return section.model_copy(update={key: place(name, home) for key, name in keys.items() if name is not None})


def is_absolute(name: str) -> bool:
    """Whether a name leads to the same file from any folder."""
    return Path(name).expanduser().is_absolute()


def _below(name: str) -> Path:
    """The place of a file that is named by an absolute path, among the inputs."""
    path = Path(os.path.normpath(name))
    return Path(_ABSOLUTE, path.relative_to(path.anchor))
