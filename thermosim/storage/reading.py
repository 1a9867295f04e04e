"""Reading an ensemble out of its segments: arrays that xarray indexes lazily, and what follows from the states."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from thermosim import cohorts
from thermosim.addresses import ADDRESS, ATTRIBUTES, ORIGIN, Numbering, origin_of, series, strides
from thermosim.storage.coverage import latest
from thermosim.storage.layout import Layout, axis_values
from thermosim.storage.manifest import Axis, SealedFile
from thermosim.storage.segments import Source, state_of
from thermosim.storage.summaries import finals

__all__ = ["StoredFrames", "add_replicas", "dataset", "final_pieces", "states"]

_STATE_BYTES = 64_000_000  # of a state that is held at one time
_BYTES_PER_READ = 500_000  # are read in the time that opening a file takes


@dataclass(frozen=True)
class _Piece:
    """Frames of a run of lanes or cohorts: numbers start to stop of the variable, from one file, or from the base."""

    block: int
    start: int
    stop: int
    first: int  # lane or cohort of the block
    count: int
    file: SealedFile
    of_base: bool
    file_start: int  # number of the file's first frame
    file_first: int  # its first lane or cohort
    file_shape: tuple[int, ...]  # of the array in the file


class StoredFrames(BackendArray):
    """The frames of one variable, (frames, *axes, replica or cohort, ...). What no segment has is NaN or 0.

    Files are opened for each read, so the run may go on meanwhile.
    """

    def __init__(self, layout: Layout, source: Source, name: str) -> None:
        dims, self.dtype, _ = layout.variables()[name]
        self.shape = layout.shape(dims)
        self._layout, self._source, self._name, self._over = layout, source, name, layout.over(name)
        self._lane_dims = len(layout.axis_names) + 1
        self.pieces = list(self._all_pieces(dims[0]))
        self._starts = np.array([piece.start for piece in self.pieces], np.int64)
        self._stops = np.array([piece.stop for piece in self.pieces], np.int64)

    def _all_pieces(self, dimension: str) -> Iterator[_Piece]:
        manifest, layout = self._layout.manifest, self._layout
        cadence, tail = manifest.cadences[dimension], self.shape[1 + self._lane_dims :]
        for block, rectangles in enumerate(layout.partitions):
            for rectangle in rectangles:
                start, stop = cadence.between(rectangle.first_step, rectangle.step)
                if start == stop:
                    continue
                first, count = layout.span(block, self._over, rectangle.first_lane, rectangle.lanes)
                segment = rectangle.segment
                if segment is None:
                    assert manifest.base is not None
                    shape = (stop, *self.shape[1 : self._lane_dims], layout.held_by_base(self._over), *tail)
                    yield _Piece(block, start, stop, first, count, manifest.base.file, True, 0, 0, shape)
                elif segment.frames is not None:
                    ends = cadence.between(segment.first_step, segment.step)
                    whole = layout.span(block, self._over, segment.first_lane, segment.lanes)
                    shape = (ends[1] - ends[0], whole[1], *tail)
                    yield _Piece(block, start, stop, first, count, segment.frames, False, ends[0], whole[0], shape)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self.read)

    def read(self, key: tuple[int | slice, ...], space: np.ndarray | None = None) -> np.ndarray:
        """The values at an index of numbers and slices with positive steps; made in `space`, flat, if that is given."""
        single = tuple(0 if isinstance(k, (int, np.integer)) else slice(None) for k in key)
        wanted = [
            range(*k.indices(n)) if isinstance(k, slice) else range(int(k) % n, int(k) % n + 1)
            for k, n in zip(key, self.shape)
        ]
        shape = tuple(map(len, wanted))
        out = np.empty(shape, self.dtype) if space is None else space[: math.prod(shape)].reshape(shape)
        out.fill(np.nan if self.dtype.kind == "f" else 0)
        if out.size:
            near = (self._stops > wanted[0][0]) & (self._starts <= wanted[0][-1])
            for number in np.flatnonzero(near):
                self._fill(out, wanted, self.pieces[number])
        return np.asarray(out[single])

    def _fill(self, out: np.ndarray, wanted: list[range], piece: _Piece) -> None:
        """Copy what is wanted of one piece to its place."""
        frames = _common(wanted[0], piece.start, piece.stop)
        if frames is None:
            return
        tail = tuple(slice(r.start, r.stop, r.step) for r in wanted[1 + self._lane_dims :])
        in_file = _shifted(frames[0], piece.start - piece.file_start)
        for index, lanes in self._layout.pieces(piece.block, piece.first, piece.count, self._over):
            ends = [(i, i + 1) if isinstance(i, int) else (i.start, i.stop) for i in index]
            common = [_common(want, *end) for want, end in zip(wanted[1:], ends)]
            cuts, places = [c[0] for c in common if c], tuple(c[1] for c in common if c)
            if len(cuts) < len(common):
                continue
            if piece.of_base:
                at = (frames[0], *(_shifted(cut, end[0]) for cut, end in zip(cuts, ends)), *tail)
                out[(frames[1], *places)] = self._source.read(piece.file, "/", [self._name], at)[self._name]
                continue
            first = piece.first + lanes.start - piece.file_first
            for where, target in self._reads(cuts, [b - a for a, b in ends], first, math.prod(out.shape[:1])):
                taken = self._source.read(piece.file, "frames", [self._name], (in_file, where[0], *tail))[self._name]
                taken = taken if where[1] is None else taken[:, where[1]]
                view = out[(frames[1], *places)][(slice(None), *target)]
                view[...] = taken.reshape(view.shape)

    def _reads(self, cuts: list[slice], sizes: list[int], first: int, frames: int) -> Iterator[tuple[Any, Any]]:
        """How to read lanes that are a grid of a hyperslab, whose first lane in the file is `first`.

        Each: the lanes in the file, which of these are taken (None: all), and where they go in the grid. Lanes far
        apart are read row by row, unless it is faster to read what lies between them too.
        """
        ranges = [range(cut.start, cut.stop, cut.step) for cut in cuts]
        low = np.ravel_multi_index([r[0] for r in ranges], sizes)
        high = np.ravel_multi_index([r[-1] for r in ranges], sizes)
        span, rows = int(high - low + 1), math.prod(map(len, ranges[:-1]))
        bytes_of_lane = self.dtype.itemsize * math.prod(self.shape[1 + self._lane_dims :]) * frames
        if span * bytes_of_lane <= max(1, rows) * _BYTES_PER_READ or span == math.prod(map(len, ranges)):
            chosen = None
            if span != math.prod(map(len, ranges)):
                chosen = (np.ravel_multi_index(np.ix_(*ranges), sizes) - low).reshape(-1)
            start = first + int(low)
            yield (slice(start, start + span), chosen), ()
            return
        for row in np.ndindex(*map(len, ranges[:-1])):
            start = first + int(np.ravel_multi_index([*(r[i] for r, i in zip(ranges, row)), 0], sizes))
            last = ranges[-1]
            yield (slice(start + last.start, start + last[-1] + 1, last.step), None), row


def _common(wanted: range, start: int, stop: int) -> tuple[slice, slice] | None:
    """What is wanted of numbers start to stop: counted from `start`, and where in `wanted`. None if nothing."""
    low = max(0, -(-(start - wanted.start) // wanted.step))
    high = min(len(wanted), -(-(stop - wanted.start) // wanted.step))
    if low >= high:
        return None
    return slice(wanted[low] - start, wanted[high - 1] - start + 1, wanted.step), slice(low, high)


def _shifted(cut: slice, by: int) -> slice:
    return slice(cut.start + by, cut.stop + by, cut.step)


def states(
    layout: Layout, source: Source, block: int, names: Iterable[str] | None = None
) -> Iterator[tuple[int, int, int, dict[str, np.ndarray]]]:
    """The newest states of a block: first lane, lanes, step, arrays, in order and of bounded size.

    Of a complete run it does not depend on how that was cut.
    """
    manifest, replicas = layout.manifest, len(layout.manifest.replicas_of(block))
    for first, lanes, step in latest(manifest, block, layout.lanes(block)):
        if step < 0:
            continue
        mine = cohorts.slice_of(replicas, first, lanes)
        start, stop = cohorts.lanes_of(replicas, mine.start, mine.start + 1)
        one = state_of(source, manifest, block, start, stop - start, step, names)
        most = max(1, _STATE_BYTES // max(1, sum(array.nbytes for array in one.values())))
        for cohort in range(mine.start, mine.stop, most):
            start, stop = cohorts.lanes_of(replicas, cohort, min(cohort + most, mine.stop))
            yield start, stop - start, step, state_of(source, manifest, block, start, stop - start, step, names)


def final_pieces(
    layout: Layout, block: int, first: int, lanes: int, step: int, state: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, tuple[int | slice, ...], np.ndarray]]:
    """Variables with one value per run, from the state of some lanes: name, place in the variable, values there."""
    values = {name: state[name] for name in ("status", "diverged_step")} | finals(layout.manifest, state, step)
    for name, array in values.items():
        over = layout.over(name)
        for index, part in layout.pieces(block, *layout.span(block, over, first, lanes), over):
            sizes = [i.stop - i.start for i in index if isinstance(i, slice)]
            yield name, index, array[part].reshape(*sizes, *array.shape[1:])


def dataset(layout: Layout, source: Source, completed: bool = False) -> xr.Dataset:
    """All frames of the segments, lazily, and what follows from the newest states.

    Raises StorageError when a state cannot be read.
    """
    variables = {}
    for name, (dims, dtype, attributes) in layout.variables().items():
        if layout.is_framed(name):
            lazy: Any = indexing.LazilyIndexedArray(StoredFrames(layout, source, name))
            data: Any = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy))  # type: ignore[no-untyped-call]
        else:
            unreached = np.nan if dtype.kind == "f" else -1 if name == "diverged_step" else 0
            data = np.full(layout.shape(dims), unreached, dtype)
        variables[name] = xr.Variable(dims, data, attributes)
    final = not all(map(layout.is_framed, layout.manifest.variables))
    names = None if final else ("status", "diverged_step")
    for block in layout.blocks:
        for first, lanes, step, state in states(layout, source, block, names):
            for name, index, values in final_pieces(layout, block, first, lanes, step, state):
                variables[name].values[index] = values
    manifest = layout.manifest
    coordinates = layout.coordinates() | _replicas(manifest.axes, manifest.series, manifest.origin.settings)
    return xr.Dataset(variables, coordinates, layout.attributes(completed))


def add_replicas(ds: xr.Dataset) -> None:
    """Give the ensemble of a file its coordinates, unless it has them or is only a part, of which nobody can tell."""
    if {ADDRESS, ORIGIN} & set(ds.variables) or "structural" not in ds.attrs:
        return
    settings, structural = json.loads(ds.attrs["settings"]), json.loads(ds.attrs["structural"])
    axes = [Axis(key, tuple(values), key in structural) for key, values in settings.get("sweep", {}).items()]
    replicas, added = int(settings["ensemble"]["replicas"]), settings["ensemble"].get("added", ())
    wanted = {axis.name: axis_values(axis.values) for axis in axes} | {"replica": np.arange(replicas)}
    if all(name in ds.variables and np.array_equal(ds[name].values, wanted[name]) for name in wanted):
        for name, variable in _replicas(axes, series(replicas, added), settings).items():
            ds.coords[name] = variable


def _replicas(axes: Sequence[Axis], each: tuple[int, ...], settings: Mapping[str, Any]) -> dict[str, xr.Variable]:
    """The coordinates that say whose numbers those of a whole ensemble are; they are derived, and never stored."""
    dims = (*(axis.name for axis in axes), "replica")
    shape = (*(len(axis.values) for axis in axes), sum(each))
    steps, numbering = strides(shape[:-1], [axis.structural for axis in axes]), Numbering(math.prod(shape[:-1]), each)
    address: Any = indexing.LazilyIndexedArray(_Addresses(shape, steps, numbering))
    origin = np.broadcast_to(np.int64(origin_of(settings)), shape)
    values = {ADDRESS: address, ORIGIN: origin}
    return {name: xr.Variable(dims, values[name], dict(ATTRIBUTES[name])) for name in values}


class _Addresses(BackendArray):
    """Addresses (axes..., replica) of a whole ensemble, computed as they are read."""

    def __init__(self, shape: tuple[int, ...], steps: Sequence[int], numbering: Numbering) -> None:
        self.shape, self.dtype, self._steps, self._numbering = shape, np.dtype(np.int64), steps, numbering

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._at)

    def _at(self, key: tuple[Any, ...]) -> np.ndarray:
        *places, replicas = (np.arange(size, dtype=np.int64)[index] for index, size in zip(key, self.shape))
        point: Any = np.int64(0)
        for place, step in zip(places, self._steps, strict=True):
            point = np.add.outer(point, step * place)
        return self._numbering.address(point[..., None] if np.ndim(replicas) else point, replicas)
