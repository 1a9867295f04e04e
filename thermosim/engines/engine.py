"""What a run asks of an engine, and all that it knows of one: the contract.

An engine makes the steps of some lanes of a block and hands over named variables of frames as plain arrays. It knows
nothing of files, summaries, progress or clusters; whatever runs, records, seals, resumes or distributes knows nothing
of tiles, kernels or devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from thermosim.plan.block import Block

__all__ = ["DeviceError", "Engine", "Lanes", "Seen", "Sum", "Take", "Watch"]


@dataclass(frozen=True)
class Sum:
    """A variable of frames that may stay where its lanes are: what is told of it are sums."""

    name: str
    terms: tuple[str, ...]  # delivered variables that are added
    rows: int  # R, its components
    first: int  # at steps first, first + every, ...
    every: int
    of_lane: Mapping[str, tuple[int, ...]]  # the arrays of its running sums, without lanes: see `kernels.folding`
    lags: int  # of its autocovariance
    bins: np.ndarray | None  # edges of bins, in which values are counted, cohort by cohort
    ensemble: bool  # mean and variance over every cohort, of every frame


@dataclass(frozen=True, eq=False)
class Watch:
    """What becomes of frames. An engine that keeps them to itself does all of this, others nothing."""

    limits: Mapping[str, float | np.ndarray]  # of a delivered variable, beyond which a lane has diverged
    edges: np.ndarray  # lanes at which cohorts begin and end, (C + 1,)
    sums: tuple[Sum, ...]
    on_host: frozenset[str]  # delivered variables of which frames are wanted


@dataclass(frozen=True, eq=False)
class Seen:
    """What an engine found in frames that it keeps to itself."""

    beyond: Mapping[str, np.ndarray]  # by variable, (lanes,) the first frame beyond a limit, or how many there are
    cohorts: slice  # those in these lanes, counted from the first of `Watch.edges`
    ensembles: Mapping[str, tuple[np.ndarray, np.ndarray]]  # mean and variance over these cohorts, (F, C, K) each


# take(lanes, {variable: (frames, lanes, *shape)}, seen): what is delivered of a run of lanes; good until it returns
Take = Callable[[slice, Mapping[str, np.ndarray], Seen | None], None]


class DeviceError(Exception):
    """A device that fails on the way: which, why, and what to do, in a sentence or two."""


class Lanes(Protocol):
    """Some lanes of a block on their way through the steps."""

    pieces: tuple[slice, ...]  # the runs of lanes in which frames are delivered, always the same
    watches: bool  # whether frames stay where they are: only those wanted are delivered, and what was seen in all
    most_frames: int  # that one call of `advance` has room for
    shortest: float  # seconds that one call of `advance` should take at least, for its overhead not to count

    def restore(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Take up a state made after `step`; what is missing of it is 0, as at the start."""

    def state(self) -> dict[str, np.ndarray]:
        """A copy of all that going on takes: {name: (..., lanes)}."""

    def advance(self, stop: int, first: int, every: int, take: Take) -> None:
        """Go on to step `stop`, and deliver the frames at steps first, first + every, ... that are met on the way.

        The first frame may be at the step the lanes are at. `take` is called once for every piece, by several threads
        at a time, each with the variables that the block says are `delivered`; of an engine that watches, those wanted.
        """

    def sums(self) -> dict[str, np.ndarray]:
        """A copy of the running sums of an engine that watches: {"summary/x/mean": (..., lanes or cohorts)}."""

    def restore_sums(self, sums: Mapping[str, np.ndarray], lost: np.ndarray) -> None:
        """Take them up; and which lanes were `lost` (lanes,): what they come to later is nobody's."""

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

    def most_lanes(self, block: Block, sums: float = 0.0) -> int:
        """How many lanes of a block fit the memory that the engine has of its own, each with `sums` bytes of sums."""

    def state_shapes(self, block: Block) -> dict[str, tuple[int, ...]]:
        """The arrays of `state`, without their last axis, the lanes; float64."""

    def open(self, block: Block, threads: int = 1, width: int | None = None, watch: Watch | None = None) -> Lanes:
        """The lanes of a block, at step 0 with a state of zeros. `width` is a hint for tests: lanes at a time."""
