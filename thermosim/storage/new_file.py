"""A new HDF5 file that is whole or an error, also on a disk that fills up.

When a write fails, HDF5 keeps what it could not write, loses the error as objects are closed, and may crash as the file
is. So it writes through a file object that only pretends to after the first failure, and raises it at the end.
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

_PAGE = 4096
_LIBVER = ("v110", "v110")  # older formats have no checksums of metadata


class Written(io.RawIOBase):
    """A file at a path. `error` is that of the first write that failed; what comes after it is kept in memory only.

    HDF5 reads back what it has written, and crashes on anything else: so it is given that to the end. There is little
    of it, for whoever writes much looks with `check` whether it still makes sense.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        self._at = self._end = 0
        self._pages: dict[int, bytearray] = {}  # what could not be written, by number
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any, /) -> int:
        view, done = memoryview(data).cast("B"), 0
        try:
            while self.error is None and done < len(view):
                done += os.pwrite(self._handle, view[done:], self._at + done)
        except OSError as error:
            self.error = error
        if done < len(view):
            self._keep(view[done:], self._at + done)
        self._at += len(view)
        self._end = max(self._end, self._at)
        return len(view)

    def _keep(self, data: memoryview, at: int) -> None:
        for start, stop, number, offset in _cut(at, len(data)):
            if number not in self._pages:
                page = bytearray(os.pread(self._handle, _PAGE, number * _PAGE))
                self._pages[number] = page.ljust(_PAGE, b"\0")
            self._pages[number][offset : offset + stop - start] = data[start:stop]

    def readinto(self, space: Any, /) -> int:
        view = memoryview(space).cast("B")
        count = os.preadv(self._handle, [view], self._at)
        view[count:] = bytes(len(view) - count)
        for start, stop, number, offset in _cut(self._at, len(view)) if self._pages else ():
            if number in self._pages:
                view[start:stop] = self._pages[number][offset : offset + stop - start]
        self._at += len(view)
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        self._end = self._at if size is None else size
        try:
            if self.error is None:
                os.ftruncate(self._handle, self._end)
        except OSError as error:
            self.error = error
        return self._end

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


def _cut(at: int, size: int) -> Iterator[tuple[int, int, int, int]]:
    """A run of bytes by pages: where each part starts and stops in it, the page, and the place in the page."""
    start = 0
    while start < size:
        number, offset = divmod(at + start, _PAGE)
        stop = min(size, start + _PAGE - offset)
        yield start, stop, number, offset
        start = stop


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
