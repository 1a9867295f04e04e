"""The warm-up of some lanes: moves of x before step 0, by the engine that makes the steps.

It is part of the state at step 0: nothing of it is sealed, and a run that was stopped in it makes it anew, to the same
bits, for its noise has addresses of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.engines import engine_of
from thermosim.plan.block import Block
from thermosim.plan.warm_up import warming
from thermosim.streams import WARM_UP

__all__ = ["WarmUp"]

_FIRST_CHUNK = 2e7  # moved components


class WarmUp:
    """Lanes of a block on their way to step 0."""

    def __init__(
        self,
        block: Block,
        moves: int,
        state: Mapping[str, np.ndarray],
        threads: int,
        width: int | None,
        device: str = "cpu",
    ) -> None:
        """From a state of theta and x, which is not changed."""
        self._lanes = engine_of(device, block.engine).open(warming(block), threads, width)
        self._lanes.restore(state, WARM_UP)
        self._made, self._moves = 0, moves
        self._chunk = max(1, int(_FIRST_CHUNK / (block.lanes * block.samples * block.components)))

    @property
    def done(self) -> bool:
        """Whether all moves are made."""
        return self._made == self._moves

    def __str__(self) -> str:
        """How far it is, for a progress line."""
        return f"warm-up: {self._made:,} of {self._moves:,} moves"

    def advance_chunk(self, seconds: float) -> None:
        """Go on for about so long."""
        begin, made = time.perf_counter(), min(self._chunk, self._moves - self._made)
        self._lanes.advance(WARM_UP + self._made + made, 2 * WARM_UP, 1, _nothing)
        self._made += made
        elapsed = max(time.perf_counter() - begin, 1e-6)
        self._chunk = max(1, int(made * min(4.0, max(0.25, seconds / elapsed))))

    def state(self) -> dict[str, np.ndarray]:
        """theta as it was, and x."""
        state = self._lanes.state()
        return {name: state[name] for name in ("theta", "x")}

    def close(self) -> None:
        """Free what the engine holds."""
        self._lanes.close()


def _nothing(lanes: slice, frames: Any, seen: Any) -> None:
    """There are no frames before step 0."""
