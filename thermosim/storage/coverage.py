"""What the segments of a run cover, and so what is missing: rectangles of lanes x steps, ragged, even overlapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Rectangle", "due", "frontier", "latest", "partition", "surplus"]

Manifest = Mapping[str, Any]
Record = Mapping[str, Any]


def due(cadence: Iterable[int], first_step: int, step: int) -> tuple[int, int]:
    """Numbers of the frames at steps in (first_step, step], of those at first + every i, i < count: start and stop."""
    first, every, count = cadence
    start, stop = (min(max((s - first) // every + 1, 0), count) for s in (first_step, step))
    return start, stop


@dataclass(frozen=True)
class Rectangle:
    """A part of a segment, or of the base where the record is None, that no other rectangle covers."""

    record: Record | None
    first_lane: int
    lanes: int
    first_step: int
    step: int


class _Sweep:
    """The segments of a block in order of their first steps, over the runs of lanes between all their edges."""

    def __init__(self, manifest: Manifest, block: int, lanes: int | None = None) -> None:
        self.base: int = manifest["base"]["step"] if manifest.get("base") else -1
        mine = [record for record in manifest["segments"] if record["block"] == block]
        self._records = sorted(mine, key=lambda r: (r["first_step"], r["step"], r["first_lane"], r["lanes"]))
        ends = {r["first_lane"] for r in mine} | {r["first_lane"] + r["lanes"] for r in mine} | {0, lanes or 0}
        self.edges = np.array(sorted(ends))
        self.covered = np.full(len(self.edges) - 1, self.base)

    def each(self, gapless: bool) -> Iterator[tuple[Record, slice, np.ndarray]]:
        """Each segment, its runs of lanes, and the step up to which each run was covered before it.

        With `gapless`, what lies after a gap does not count as covered.
        """
        for record in self._records:
            start, stop = np.searchsorted(self.edges, (record["first_lane"], record["first_lane"] + record["lanes"]))
            runs = slice(int(start), int(stop))
            before = self.covered[runs].copy()
            yield record, runs, before
            reached = np.maximum(before, record["step"])
            self.covered[runs] = np.where(before >= record["first_step"], reached, before) if gapless else reached

    def merged(self, values: np.ndarray, runs: slice = slice(None)) -> list[tuple[int, int, int]]:
        """First lane, lanes and value of the longest stretches of these runs of lanes that have equal values."""
        edges = self.edges[runs.start : None if runs.stop is None else runs.stop + 1]
        starts = [i for i in range(len(values)) if i == 0 or values[i] != values[i - 1]]
        stops = [*starts[1:], len(values)]
        return [(int(edges[a]), int(edges[b] - edges[a]), int(values[a])) for a, b in zip(starts, stops)]


def frontier(manifest: Manifest, block: int, lanes: int) -> list[tuple[int, int, int]]:
    """From which step each run of the block's lanes goes on: first lane, lanes, step, in order of lanes.

    That is the last step that has its state and is covered without a gap; where there is none, -1, or that of the base.
    """
    return _newest(_Sweep(manifest, block, lanes), gapless=True)


def latest(manifest: Manifest, block: int, lanes: int) -> list[tuple[int, int, int]]:
    """The step of the newest state of each run of the block's lanes, gaps or not: as `frontier`."""
    return _newest(_Sweep(manifest, block, lanes), gapless=False)


def _newest(sweep: _Sweep, gapless: bool) -> list[tuple[int, int, int]]:
    found = sweep.covered.copy()
    for record, runs, before in sweep.each(gapless):
        if record["state"]:
            counts = (before >= record["first_step"]) | (not gapless)
            found[runs] = np.where(counts, np.maximum(found[runs], record["step"]), found[runs])
    return sweep.merged(found)


def partition(manifest: Manifest, block: int, lanes: int) -> list[Rectangle]:
    """What the segments and the base cover, each lane and step once."""
    sweep = _Sweep(manifest, block, lanes)
    rectangles = [Rectangle(None, 0, lanes, -1, sweep.base)] if sweep.base >= 0 else []
    for record, runs, before in sweep.each(gapless=False):
        for first, width, begin in sweep.merged(np.maximum(before, record["first_step"]), runs):
            if begin < record["step"]:
                rectangles.append(Rectangle(record, first, width, begin, record["step"]))
    return rectangles


def surplus(manifest: Manifest, block: int) -> list[Record]:
    """Segments whose state no lane needs: each keeps the last two that it can go on from, and those after a gap."""
    sweep = _Sweep(manifest, block)
    newest, second = sweep.covered.copy(), sweep.covered.copy()
    held = []
    for record, runs, before in sweep.each(gapless=True):
        if not record["state"]:
            continue
        held.append((record, runs))
        counts = before >= record["first_step"]
        low, high = np.minimum(newest[runs], record["step"]), np.maximum(newest[runs], record["step"])
        low = np.where(low == high, second[runs], np.maximum(second[runs], low))
        newest[runs], second[runs] = np.where(counts, high, newest[runs]), np.where(counts, low, second[runs])
    return [record for record, runs in held if np.all(record["step"] < second[runs])]
