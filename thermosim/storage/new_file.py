"""A new HDF5 file that is whole or an error, also on a disk that fills up.

When a write fails, HDF5 keeps what it could not write, loses the error as objects are closed, and may crash as the file
is. So it writes through a file object that after the first failure only pretends to, and raises it at the end.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

__all__ = ["Written", "new_file"]

_LIBVER = ("v110", "v110")  # older formats have no checksums of metadata


class Written(io.RawIOBase):
    """A file at a path. `error` is that of the first write that failed; nothing is written after it."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        self._at = 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: os.fstat(self._handle).st_size}[whence]
        self._at = begin + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any, /) -> int:
        try:
            done = 0
            while self.error is None and done < len(data):
                done += os.pwrite(self._handle, data[done:], self._at + done)
        except OSError as error:
            self.error = error
        self._at += len(data)
        return len(data)

    def readinto(self, space: Any, /) -> int:
        count = os.preadv(self._handle, [space], self._at)
        self._at += count
        return count

    def truncate(self, size: int | None = None, /) -> int:
        size = self._at if size is None else size
        try:
            if self.error is None:
                os.ftruncate(self._handle, size)
        except OSError as error:
            self.error = error
        return size

    def fileno(self) -> int:
        return self._handle

    def check(self) -> None:
        """Raise the error of a write that failed."""
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()


@contextmanager
def new_file(path: Path, track_order: bool = False) -> Iterator[tuple[h5py.File, Written]]:
    """The HDF5 file, and the file object it is written through, to `check()` meanwhile. Replaces what is there.

    `track_order` keeps the order in which its members are made, as netCDF does. At the end everything is on the disk.
    Raises OSError when something could not be written.
    """
    with Written(path) as output:
        try:
            with h5py.File(output, "w", libver=_LIBVER, track_order=track_order) as file:
                yield file, output
        except Exception:
            output.check()  # what followed from it says less
            raise
        output.check()
        os.fsync(output.fileno())
