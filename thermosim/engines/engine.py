"""What a run asks of an engine, and all that it knows of one: the contract.

An engine makes the steps of some lanes of a block and hands over named variables of frames as plain arrays. It knows
nothing of files, summaries, progress or clusters; whatever runs, records, seals, resumes or distributes knows nothing
of tiles, kernels or devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from thermosim.plan.block import Block

__all__ = ["DeviceError", "Engine", "Lanes", "Take"]

# take(lanes, {variable: (frames, lanes, *shape)}): what is delivered of a run of lanes; good until it returns
Take = Callable[[slice, Mapping[str, np.ndarray]], None]


class DeviceError(Exception):
    """A device that fails on the way: which, why, and what to do, in a sentence or two."""


class Lanes(Protocol):
    """Some lanes of a block on their way through the steps."""

    pieces: tuple[slice, ...]  # the runs of lanes in which frames are delivered, always the same
    shortest: float  # seconds that one call of `advance` should take at least, for its overhead not to count

    def restore(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Take up a state made after `step`; what is missing of it is 0, as at the start."""

    def state(self) -> dict[str, np.ndarray]:
        """A copy of all that going on takes: {name: (..., lanes)}."""

    def advance(self, stop: int, first: int, every: int, take: Take) -> None:
        """Go on to step `stop`, and deliver the frames at steps first, first + every, ... that are met on the way.

        The first frame may be at the step the lanes are at. `take` is called once for every piece, by several threads
        at a time, each with the variables that the block says are `delivered`.
        """

    def quarantine(self, lanes: np.ndarray) -> None:
        """Make these lanes NaN; `take` may call it for lanes that it was given."""

    def close(self) -> None:
        """Free threads, memory, devices."""


class Engine(Protocol):
    """A way of making steps."""

    name: str

    def faults(self, block: Block) -> list[str]:
        """Why it cannot run a block, each with the remedy; compiles what the block needs."""

    def fingerprint(self, block: Block) -> dict[str, str]:
        """What decides the bits of a block's numbers, each part by a name for readers; nothing is compiled."""

    def versions(self) -> dict[str, str]:
        """The part of a fingerprint that is the same for every block."""

    def lanes_taken(self, block: Block, lanes: int, threads: int) -> int:
        """How many lanes have memory when so many of a block are open: there may be more than are asked for."""

    def bytes_per_lane(self, block: Block) -> float:
        """Memory that each of these takes from `open` to `close`, apart from frames."""

    def most_lanes(self, block: Block) -> int:
        """How many lanes of a block fit the memory that the engine has of its own."""

    def state_shapes(self, block: Block) -> dict[str, tuple[int, ...]]:
        """The arrays of `state`, without their last axis, the lanes; float64."""

    def open(self, block: Block, threads: int = 1, width: int | None = None) -> Lanes:
        """The lanes of a block, at step 0 with a state of zeros. `width` is a hint for tests: lanes at a time."""
