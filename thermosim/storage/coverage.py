"""What the segments of a run cover, and so what is missing: rectangles of lanes x steps, ragged, even overlapping."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from thermosim.storage.manifest import Manifest, Segment

__all__ = ["Rectangle", "frontier", "latest", "partition", "surplus"]


@dataclass(frozen=True)
class Rectangle:
    """A part of a segment, or of the base where that is None, that no other rectangle covers."""

    segment: Segment | None
    first_lane: int
    lanes: int
    first_step: int
    step: int


class _Sweep:
    """The segments of a block in order of their first steps, over the runs of lanes between all their edges."""

    def __init__(self, manifest: Manifest, block: int, lanes: int | None = None) -> None:
        base = manifest.base and manifest.base_of(block)
        self.base = base.step if base else -1
        mine = [segment for segment in manifest.segments if segment.block == block]
        self._segments = sorted(mine, key=lambda s: (s.first_step, s.step, s.first_lane, s.lanes))
        ends = {s.first_lane for s in mine} | {s.end_lane for s in mine} | {0, lanes or 0}
        self.edges = np.array(sorted(ends))
        self.covered = np.full(len(self.edges) - 1, self.base)

    def each(self, gapless: bool) -> Iterator[tuple[Segment, slice, np.ndarray]]:
        """Each segment, its runs of lanes, and the step up to which each run was covered before it.

        With `gapless`, what lies after a gap does not count as covered.
        """
        for segment in self._segments:
            start, stop = np.searchsorted(self.edges, (segment.first_lane, segment.end_lane))
            runs = slice(int(start), int(stop))
            before = self.covered[runs].copy()
            yield segment, runs, before
            reached = np.maximum(before, segment.step)
            self.covered[runs] = np.where(before >= segment.first_step, reached, before) if gapless else reached

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
    for segment, runs, before in sweep.each(gapless):
        if segment.state:
            counts = (before >= segment.first_step) | (not gapless)
            found[runs] = np.where(counts, np.maximum(found[runs], segment.step), found[runs])
    return sweep.merged(found)


def partition(manifest: Manifest, block: int, lanes: int) -> list[Rectangle]:
    """What the segments and the base cover, each lane and step once."""
    sweep = _Sweep(manifest, block, lanes)
    rectangles = [Rectangle(None, 0, lanes, -1, sweep.base)] if sweep.base >= 0 else []
    for segment, runs, before in sweep.each(gapless=False):
        for first, width, begin in sweep.merged(np.maximum(before, segment.first_step), runs):
            if begin < segment.step:
                rectangles.append(Rectangle(segment, first, width, begin, segment.step))
    return rectangles


def surplus(manifest: Manifest, block: int) -> list[Segment]:
    """Segments whose state no lane needs: each keeps the last two that it can go on from, and those after a gap."""
    sweep = _Sweep(manifest, block)
    newest, second = sweep.covered.copy(), sweep.covered.copy()
    held = []
    for segment, runs, before in sweep.each(gapless=True):
        if not segment.state:
            continue
        held.append((segment, runs))
        counts = before >= segment.first_step
        low, high = np.minimum(newest[runs], segment.step), np.maximum(newest[runs], segment.step)
        low = np.where(low == high, second[runs], np.maximum(second[runs], low))
        newest[runs], second[runs] = np.where(counts, high, newest[runs]), np.where(counts, low, second[runs])
    return [segment for segment, runs in held if np.all(segment.step < second[runs])]
