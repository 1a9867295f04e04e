"""Frames of one launch that stay on the card: the guard looks at them there, and they are summed there."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import cuda

from thermosim.engines.cuda import frame_kernels as on_card
from thermosim.engines.engine import Seen, Sum, Watch
from thermosim.engines.lanes.link import rows_of_theta
from thermosim.kernels.declare import Part
from thermosim.kernels.device_code import device_kernel
from thermosim.kernels.identity import identity_of
from thermosim.kernels.types import Signature
from thermosim.plan.block import Block

__all__ = ["Watching"]

_THREADS = 128


@functools.cache
def _kernel(name: str, card: int) -> Any:
    """Compiled for the card that is current, whose number is given."""
    signature: Signature = getattr(on_card, name.upper())
    part = Part(getattr(on_card, name), {})
    return device_kernel(part, signature, identity_of(signature, part).digest)


class Watching:
    """Of lanes first to first + lanes - 1, whole cohorts of a block. The card is that which is current."""

    def __init__(self, block: Block, watch: Watch, first: int, lanes: int, stream: Any, card: int) -> None:
        self._block, self._watch, self._lanes, self._stream, self._card = block, watch, lanes, stream, card
        begin, end = np.searchsorted(watch.edges, (first, first + lanes))
        self.cohorts = slice(int(begin), int(end))
        edges = np.ascontiguousarray(watch.edges[begin : end + 1] - first, np.int64)
        cohort_of_lane = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        self._edges, self._cohort_of_lane = cuda.to_device(edges), cuda.to_device(cohort_of_lane.astype(np.int64))
        self._places = {name: place for place, name in enumerate(block.delivered)}
        self._sources = self._rows_of_sources()
        self._looked = {source: self._limits(source) for source in ("theta", "x", "phi", "theta_path", "x_path")}
        self._lost = cuda.to_device(np.zeros(lanes, np.int64))
        self._bad = cuda.to_device(np.zeros(lanes, np.int64))
        self._first = cuda.to_device(np.zeros((max(1, len(self._places)), lanes), np.int64))
        self._sums = {one.name: self._made_for(one) for one in watch.sums}
        self._ensembles: dict[str, tuple[Any, Any]] = {}
        self._buffers: dict[str, Any] = {}

    def _rows_of_sources(self) -> dict[str, tuple[str, int, int]]:
        """Where each delivered variable is: the array that frames are copied to, its first row and their distance."""
        block = self._block
        found = {name: (name, 0, 1) for name in ("theta", "x", "phi")}
        for name, rows in rows_of_theta(block).items():
            found[name] = ("theta_path", rows.start if isinstance(rows, slice) else rows, 1)
        per_sample = max(1, len(block.x_rows))
        return found | {name: ("x_path", row, per_sample) for row, name in enumerate(block.x_rows)}

    def _limits(self, source: str) -> tuple[Any, Any]:
        """Of every row of an array its limit, and the variable that it belongs to; without limit where to none."""
        names = [name for name in self._places if self._sources[name][0] == source]
        size = 0
        rows: dict[int, tuple[float, int]] = {}
        for name in names:
            _, offset, step = self._sources[name]
            count = math.prod(self._block.shape(name))
            limits = np.broadcast_to(self._watch.limits[name], (count,))
            for row in range(count):
                rows[offset + step * row] = float(limits[row]), self._places[name]
            size = max(rows) + 1
        table = [rows.get(row, (math.inf, 0)) for row in range(size)]
        limits = np.array([limit for limit, _ in table], np.float64)
        return cuda.to_device(limits), cuda.to_device(np.array([place for _, place in table], np.int64))

    def _made_for(self, one: Sum) -> dict[str, Any]:
        """Running sums of zeros."""
        arrays = {name: cuda.to_device(np.zeros((*shape, self._lanes))) for name, shape in one.of_lane.items()}
        if one.bins is not None:
            shape = (one.rows, len(one.bins) + 1, self.cohorts.stop - self.cohorts.start)
            arrays["counts"], arrays["bins"] = cuda.to_device(np.zeros(shape, np.int64)), cuda.to_device(one.bins)
        return arrays

    def look(self, frames: Mapping[str, Any], first: int, every: int, count: int) -> None:
        """At frames on the card, of steps first, first + every, ...: what diverged becomes NaN, the rest is summed."""
        if not count:
            return
        flat = {name: _flat(array) for name, array in frames.items() if array.size}
        self._launch("begin", self._first, count)
        for name, values in flat.items():
            self._launch("beyond", values, *self._looked[name], self._first)
        self._launch("judge", self._first, count, self._lost, self._bad)
        for values in flat.values():
            self._launch("lose", values, self._bad)
        for one in self._watch.sums:
            begin = max(0, -(-(one.first - first) // every))
            positions = range(begin, count)
            stride = one.every // every
            while positions and (first + every * positions[0] - one.first) % one.every:
                positions = positions[1:]
            positions = positions[::stride]
            if positions:
                self._sum(one, flat, positions, (first + every * positions[0] - one.first) // one.every)

    def _sum(self, one: Sum, flat: Mapping[str, Any], positions: range, before: int) -> None:
        """Bring the sums of a variable up to date by frames at these positions; `before` were summed until then."""
        values = self._buffer("values", (len(positions), one.rows, self._lanes))
        for number, term in enumerate(one.terms):
            source, offset, step = self._sources[term]
            self._launch("add", values, flat[source], positions.start, positions.step, offset, step, number > 0)
        sums = self._sums[one.name]
        if "mean" in sums:
            self._launch("moments", values, before, sums["mean"], sums["square"])
        if "last" in sums:
            self._launch("last", values, sums["last"])
        if "products" in sums:
            names = ("reference", "total", "head", "ring", "products")
            self._launch("products", values, before, *(sums[name] for name in names))
        if "counts" in sums:
            self._launch("count", values, self._cohort_of_lane, sums["bins"], sums["counts"])
        if one.ensemble:
            shape = (len(positions), self.cohorts.stop - self.cohorts.start, one.rows)
            mean, variance = (self._buffer(f"{one.name} {what}", shape) for what in ("mean", "variance"))
            self._launch("group", values, self._edges, mean, variance, threads=math.prod(shape))
            self._ensembles[one.name] = mean, variance

    def _buffer(self, name: str, shape: tuple[int, ...]) -> Any:
        """Memory for one launch after the other, made once for the largest of them."""
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = cuda.device_array(size)
        return self._buffers[name][:size].reshape(*shape)

    def _launch(self, name: str, *arguments: Any, threads: int | None = None) -> None:
        threads = self._lanes if threads is None else threads
        if threads:
            _kernel(name, self._card)[-(-threads // _THREADS), min(_THREADS, threads), self._stream](*arguments)

    def seen(self, count: int) -> Seen:
        """What was found in the last frames, of which there were so many; the stream is done."""
        beyond = dict.fromkeys(self._places, np.full(self._lanes, count))
        if count and (self._on_host(self._bad) < count).any():  # seldom: then it matters which went first
            first = self._on_host(self._first)
            beyond = {name: first[place] for name, place in self._places.items()}
        ensembles = {name: (self._on_host(m), self._on_host(v)) for name, (m, v) in self._ensembles.items()}
        self._ensembles = {}
        return Seen(beyond, self.cohorts, ensembles)

    def _on_host(self, array: Any) -> np.ndarray:
        """A copy, by the own stream: by the default one it would wait until all others are done with their lanes."""
        copied = array.copy_to_host(stream=self._stream)
        self._stream.synchronize()
        return np.asarray(copied)

    def sums(self) -> dict[str, np.ndarray]:
        """A copy of the running sums, of lanes and of cohorts."""
        return {key: np.array(array.copy_to_host()) for key, array in self._by_key().items()}

    def restore(self, sums: Mapping[str, np.ndarray], lost: np.ndarray, lanes: slice) -> None:
        """Take up those of these lanes, of which some were `lost`, and of the cohorts in them."""
        self._lost.copy_to_device(lost[lanes].astype(np.int64))
        for key, array in self._by_key().items():
            held = sums[key][..., self.cohorts if key.startswith("cohorts/") else lanes]
            array.copy_to_device(np.ascontiguousarray(held))

    def _by_key(self) -> dict[str, Any]:
        return {
            f"{'cohorts' if name == 'counts' else 'summary'}/{variable}/{name}": array
            for variable, arrays in self._sums.items()
            for name, array in arrays.items()
            if name != "bins"
        }


def _flat(array: Any) -> Any:
    """Frames (F, ..., L) with all rows on one axis."""
    frames, *rows, lanes = array.shape
    return array.reshape(frames, math.prod(rows), lanes)
