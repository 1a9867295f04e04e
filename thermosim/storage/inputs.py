"""The files of a case that are kept with its output, as a folder: of the parts, or unpacked from the finished file."""

from __future__ import annotations

import functools
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import h5py

from thermosim.storage.finished import open_finished
from thermosim.storage.manifest_file import parts_folder
from thermosim.storage.parts import INPUTS

__all__ = ["inputs_folder", "kept_files"]


def kept_files(file: h5py.File) -> Iterator[tuple[str, bytes]]:
    """Name among the inputs and content of every file that is kept in a finished one."""
    names: list[str] = []
    if INPUTS in file:
        file[INPUTS].visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    for name in names:
        yield name, file[INPUTS][name][()].tobytes()


def inputs_folder(output: Path) -> Path | None:
    """The folder of what is kept with an output, finished or not; None where there is nothing. It is not changed."""
    beside = parts_folder(output) / INPUTS
    if beside.is_dir() or not output.is_file():
        return beside if beside.is_dir() else None
    status = output.stat()
    folder = _unpacked(output, (status.st_ino, status.st_size, status.st_mtime_ns))
    return None if folder is None else folder.path / INPUTS


class _Folder:
    """A folder that is deleted when it is forgotten, or at the end of the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="thermosim-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@functools.lru_cache(maxsize=4)
def _unpacked(output: Path, stamp: tuple[int, int, int]) -> _Folder | None:
    try:
        with open_finished(output) as file:
            if INPUTS not in file:
                return None
            temporary = _Folder()
            for name, content in kept_files(file):
                target = temporary.path / INPUTS / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            return temporary
    except OSError:
        return None  # whoever reads the frames says what is wrong with the file
