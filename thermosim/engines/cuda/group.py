"""Lanes that one launch advances: their state on the card, and the frames that come back of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numba import cuda

from thermosim.engines.cuda.kernel import ARGUMENTS, OF_LANE
from thermosim.engines.cuda.watching import Watching
from thermosim.engines.engine import Seen, Watch
from thermosim.engines.lanes.frames import Delivery, FrameShapes, arrays_of
from thermosim.engines.lanes.tiles import STATE, shapes_of_tile
from thermosim.plan.block import Block

__all__ = ["Group"]

_THREADS = 64  # of a card's block: a lane takes many registers
_PIECE = 1 << 13  # lanes that one thread of the host takes at a time


class Group:
    """Lanes first to first + lanes - 1 of a block. The card is that which is current."""

    def __init__(self, block: Block, first: int, lanes: int, watch: Watch | None, card: int) -> None:
        self._block, self.first, self.lanes = block, first, lanes
        edges = range(first, first + lanes, _PIECE)
        self.pieces = tuple(slice(edge, min(edge + _PIECE, first + lanes)) for edge in edges)
        self.stream = cuda.stream()
        shapes = shapes_of_tile(block)
        self._arrays = {name: cuda.to_device(np.zeros((*shapes[name], lanes))) for name in STATE}
        for name in (*OF_LANE, "first_row"):
            own = getattr(block, "first_rows" if name == "first_row" else name)[..., first : first + lanes]
            self._arrays[name] = cuda.to_device(np.ascontiguousarray(own))
        self._watching = None if watch is None else Watching(block, watch, first, lanes, self.stream, card)
        wanted = frozenset(block.delivered) if watch is None else watch.on_host
        self._copied, self._delivery = arrays_of(block, wanted), Delivery(block, wanted)
        self._room = -1  # frames
        self._frames: dict[str, Any] = {}
        self._host: dict[str, np.ndarray] = {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up the lanes of a state; what is missing of it is 0."""
        for name in STATE:
            array = self._arrays[name]
            held = state[name][..., self.first : self.first + self.lanes] if name in state else np.zeros(array.shape)
            array.copy_to_device(np.ascontiguousarray(held, np.float64))

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the state."""
        return {name: np.array(self._arrays[name].copy_to_host()) for name in STATE}

    def launch(self, kernel: Any, given: Mapping[str, Any], frames: int) -> None:
        """Send the lanes on their way, and what they copy of so many frames on its way back."""
        if frames > self._room:
            self._make_room(frames)
        buffers = {name: array[:frames] for name, array in self._frames.items()}
        of_call = {**given, **self._arrays, **{f"frame_{name}": array for name, array in buffers.items()}}
        of_call["first_replica"] = self._block.first_replica + self.first
        blocks = -(-self.lanes // _THREADS)
        kernel[blocks, min(_THREADS, self.lanes), self.stream](*(of_call[name] for name in ARGUMENTS))
        if self._watching is not None:
            self._watching.look(buffers, given["first_frame"], given["every"], frames)
        for name in self._copied:
            if buffers[name].size:
                buffers[name].copy_to_host(self._host[name][:frames], stream=self.stream)

    def delivered(self, frames: int) -> Iterator[tuple[slice, dict[str, np.ndarray], Seen | None]]:
        """What came back of the lanes of each piece, once the stream is done."""
        arrays = {name: array[:frames] for name, array in self._host.items()}
        seen = None if self._watching is None else self._watching.seen(frames)
        for piece in self.pieces:
            here = slice(piece.start - self.first, piece.stop - self.first)
            named = self._delivery.of(arrays, here)
            if seen is None:
                yield piece, named, None
            else:
                beyond = {name: first[here] for name, first in seen.beyond.items()}
                yield piece, named, replace(seen, beyond=beyond, ensembles={} if here.start else seen.ensembles)

    def sums(self) -> dict[str, np.ndarray]:
        """A copy of the running sums."""
        assert self._watching is not None
        return self._watching.sums()

    def restore_sums(self, sums: Mapping[str, np.ndarray], lost: np.ndarray) -> None:
        """Take up those of these lanes and cohorts."""
        if self._watching is not None:
            self._watching.restore(sums, lost, slice(self.first, self.first + self.lanes))

    def _make_room(self, frames: int) -> None:
        """Memory for so many frames, on the card and, locked in its place, on the host: copies need not wait then."""
        self._frames, self._host = {}, {}
        for name, shape in FrameShapes(self._block).of(frames, self.lanes).items():
            self._frames[name] = cuda.device_array(shape)
            if name in self._copied:
                self._host[name] = cuda.pinned_array(shape) if 0 not in shape else np.empty(shape)
        self._room = frames
