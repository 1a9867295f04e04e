"""One writer at a time: a lock in the folder of the parts, which ends with the process that holds it."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

from thermosim.storage.durable import StorageError
from thermosim.storage.manifest_file import output_of

__all__ = ["LOCK", "Claim"]

LOCK = "lock"
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
