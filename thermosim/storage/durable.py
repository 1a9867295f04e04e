"""Files that are whole on the disk or not there: atomic replacement, syncs, checksums, and the error of this room."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shlex
from pathlib import Path

__all__ = ["StorageError", "command", "digest", "reason", "remedy", "sync", "temporary_name", "write_whole"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StorageError(Exception):
    """An output that cannot be written or read; the message says what to do."""


def command(*words: str | Path) -> str:
    """A command of thermosim to be copied from a message: a name with spaces is quoted, one with a dash no option."""
    plain = [f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words]
    return " ".join(("thermosim", *map(shlex.quote, plain)))


def write_whole(target: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary name, sync, rename, sync of the folder. Raises OSError."""
    temporary = temporary_name(target)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync(target.parent)


def temporary_name(target: Path) -> Path:
    """Beside the target, as no other process names it."""
    return target.with_name(f"{target.name}.{secrets.token_hex(6)}.tmp")


def sync(path: Path) -> None:
    """Have a file or folder on disk, not on its way there. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    """The sha256 of a file. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(error: OSError) -> str:
    """Why it failed, without the path, which the message has already."""
    return os.strerror(error.errno) if error.errno else str(error)


def remedy(error: OSError) -> str:
    """What to do before it is tried again, without a stop."""
    if error.errno == errno.EISDIR and (folder := error.filename2 or error.filename):
        return f"move the folder {folder} away"
    return "mend that" if error.errno and error.errno not in _FULL else "make room"
