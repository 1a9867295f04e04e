"""Whether an output may be written: what is there is ours to replace, and nobody else is writing it.

A file is replaced only where it is known to be ours, and never when the case reads it. A lock in the folder of the
parts, which ends with the process that holds it, keeps others away.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterable
from pathlib import Path
from shlex import quote

from thermosim.storage.durable import StorageError, command
from thermosim.storage.finished import open_finished
from thermosim.storage.manifest_file import BASE, MANIFEST, PREVIOUS, has_frames_of_output, output_of, parts_folder

__all__ = ["INPUTS", "LOCK", "SEALED", "WHOLE", "Claim", "free_name", "is_remnant", "refuse_what_is_there"]

LOCK = "lock"
INPUTS = "inputs"
WHOLE = "whole.h5.tmp"  # the one file, while it is being written: beside the output the name might be the user's
SEALED = re.compile(
    r"(frames|state)-b\d+-l\d+-\d+-s\d+-\d+\.h5(\.[0-9a-f]+\.tmp)?|manifest.*\.json\.[0-9a-f]+\.tmp|whole\.h5\.tmp"
)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class Claim:
    """Keeps other processes from writing in a folder until it is closed, or this process ends."""

    def __init__(self, folder: Path) -> None:
        """Raises StorageError when another process is writing there, or nobody can."""
        try:
            self._file = open(folder / LOCK, "a")  # noqa: SIM115  held open as long as this object lives
        except OSError as error:
            raise StorageError(f"{folder}: cannot be written: {error.strerror}.") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:  # a file system without locks: nothing can be promised there
                return
            self.close()
            raise StorageError(
                f"{output_of(folder)}: another process is writing it; wait for it, or choose another -o."
            ) from None

    def close(self) -> None:
        """Let other processes write there."""
        self._file.close()


def refuse_what_is_there(output: Path, overwrite: bool, reads: Iterable[Path] = ()) -> None:
    """Raises StorageError where a new run may not write, naming a place where it may.

    reads: the files of the case, none of which is ever replaced, whatever it is called.
    """
    folder = parts_folder(output)
    if fault := _name_fault(output.name):
        raise StorageError(f"{str(output)!r}: {fault}. Name another output, such as -o out.h5.")
    remnant = is_remnant(folder)
    instead = f"Choose another output, such as -o {quote(str(free_name(output)))}."
    for path in reads:
        if _is_same(path, output) or _real(path).is_relative_to(_real(folder)):
            raise StorageError(f"{output}: the case reads {path}; nothing was changed. {instead}")
    if output.is_symlink() and not output.exists():
        raise StorageError(f"{output}: is a link to {os.readlink(output)}, which leads nowhere. Remove it. {instead}")
    foreign = folder.exists() and not (folder / MANIFEST).is_file() and not remnant
    if output.is_dir() or foreign:
        there = output if output.is_dir() else folder
        raise StorageError(f"{there}: is in the way and not ours to delete. {instead}")
    if output.exists() and not output.is_file():
        raise StorageError(f"{output}: is no file that could be replaced (a device, a pipe or a socket). {instead}")
    if output.exists() and not _is_ours(output):
        raise StorageError(
            f"{output}: is not an ensemble of thermosim, so it is never replaced; nothing was changed. {instead}"
        )
    existing = [path for path in (output, folder) if path.exists() and not (path == folder and remnant)]
    if existing and not overwrite:
        resume = f" To go on with an interrupted run: {command('resume', output)}" if folder in existing else ""
        raise StorageError(
            f"{existing[0]} exists already; nothing was changed. Use --overwrite, or another -o.{resume}"
        )
    if output.exists() and has_frames_of_output(folder):
        raise StorageError(
            f"{output}: is a virtual file, {folder.name} has its data; nothing was changed. Delete both to run "
            f"again, or choose another -o."
        )


def _name_fault(name: str) -> str:
    """Why no file can be written under a name."""
    if name.endswith(".parts"):
        return "is the name of the parts of a run, not of its file"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "is no name in UTF-8, which HDF5 needs"
    return "is a name with a NUL" if "\0" in name else ""


def free_name(output: Path) -> Path:
    """A path beside `output` where nothing is yet."""
    names = (output.with_name(f"{output.stem}-{i}.h5") for i in range(2, 1000))
    return next((path for path in names if not os.path.lexists(path)), output.with_name("another.h5"))


def _is_same(path: Path, output: Path) -> bool:
    """Whether two paths are one file, by links or by another name."""
    if path.exists() and output.exists():
        return path.samefile(output)
    return _real(path) == _real(output)


def _real(path: Path) -> Path:
    """Where links lead to; those that lead in a circle, to themselves."""
    return Path(os.path.realpath(path))


def _is_ours(output: Path) -> bool:
    """Whether a file says that it is an ensemble of thermosim, of whatever version."""
    try:
        with open_finished(output) as file:
            return {"format", "settings", "case"} <= set(file.attrs)
    except Exception:  # whatever is damaged says nothing
        return False


def is_remnant(folder: Path) -> bool:
    """Whether a kill left parts without a manifest: they had none yet, or everything else was gone."""
    if not folder.is_dir() or (folder / MANIFEST).exists():
        return False
    names = [path.name for path in folder.iterdir()]
    return all(name in (LOCK, PREVIOUS, INPUTS, BASE) or SEALED.fullmatch(name) for name in names)
