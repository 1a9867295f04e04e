"""Reading arrays that lie in their file as in memory: straight to where they belong, without HDF5 and its lock."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

__all__ = ["Place", "place_of"]

_SHORTEST = 4096  # bytes in a row that are worth it
_MOST_RUNS = 512  # of one call: systems allow 1024


@dataclass(frozen=True)
class Place:
    """Where in its file an array (F, lanes, ...) is, in C order."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, handle: int, at: tuple[slice, ...], out: np.ndarray) -> bool:
        """Read to `out` (F, ...) what is `at` (frames, lanes), without steps, number by number in the same order.

        Returns whether that was done: not where they would come in many small pieces, or are to be converted. Raises
        OSError when the file ends before.
        """
        if out.dtype != self.dtype or _bytes_in_a_row(out) < _SHORTEST:
            return False
        frames, lanes = at
        of_lane = math.prod(self.shape[2:]) * out.itemsize
        of_frame = self.shape[1] * of_lane
        start = self.offset + frames.start * of_frame + lanes.start * of_lane
        if lanes.stop - lanes.start == self.shape[1]:
            _read(handle, start, _runs(out))
        else:
            for number, frame in enumerate(out):
                _read(handle, start + number * of_frame, _runs(frame))
        return True


def place_of(array: h5py.Dataset) -> Place | None:
    """The place of an array; None for one that is in pieces, in another file, empty, or not as memory has it."""
    if array.chunks is not None or array.external or array.is_virtual or array.ndim < 2 or not array.dtype.isnative:
        return None
    offset = array.id.get_offset()
    return None if offset is None or array.dtype.hasobject else Place(offset, array.shape, array.dtype)


def _bytes_in_a_row(array: np.ndarray) -> int:
    """How many at least of an array are in a row in memory."""
    size = array.itemsize
    for length, stride in zip(reversed(array.shape), reversed(array.strides), strict=True):
        if length > 1 and stride != size:
            break
        size *= length
    return size


def _runs(array: np.ndarray) -> Iterator[memoryview]:
    """An array as runs of bytes that are in a row in memory."""
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8).data
    else:
        for part in array:
            yield from _runs(part)


def _read(handle: int, at: int, runs: Iterator[memoryview]) -> None:
    """Fill these runs with what is in the file from `at` on."""
    while several := list(itertools.islice(runs, _MOST_RUNS)):
        while several:
            if not (count := os.preadv(handle, several, at)):
                raise OSError("it ends before its numbers do")
            at += count
            while several and count >= len(several[0]):
                count -= len(several.pop(0))
            if count:
                several[0] = several[0][count:]
