"""The engine of lanes on a graphics card: the kernels of `engines.lanes`, one thread to a lane, to the same bits.

A block's lanes go in groups, each large enough to fill the card: while one group makes its steps, the frames of those
before it are on their way to the host, and are taken there by threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from thermosim.engines.cuda.cards import Card, current, free_dropped
from thermosim.engines.cuda.memory import bytes_of_thread, group_width, most_frames, most_lanes, most_of_thread
from thermosim.engines.cuda.obstacles import is_of_cuda, said_of_failure
from thermosim.engines.engine import DeviceError, Engine, Take, Watch
from thermosim.kernels.declare import CompileError
from thermosim.plan.block import Block, rows_of_block

__all__ = ["CudaEngine"]

_CALL_SECONDS = 0.01  # of one launch and what it delivers, for its overhead not to count


class CudaEngine:
    """See `engines.engine.Engine`. What decides the bits is told, and sealed, as the engine of lanes does."""

    name = "cuda"

    def __init__(self, card: Card, lanes: Engine) -> None:
        """On this card; `lanes` is the engine of the processor, whose bits these are."""
        self.card, self._lanes = card, lanes

    def fingerprint(self, block: Block) -> dict[str, str]:
        """That of the lanes of the processor."""
        return self._lanes.fingerprint(block)

    def versions(self) -> dict[str, str]:
        """Those of the lanes of the processor."""
        return self._lanes.versions()

    def state_shapes(self, block: Block) -> dict[str, tuple[int, ...]]:
        """The same arrays: a run may change its engine between two stretches."""
        return self._lanes.state_shapes(block)

    def faults(self, block: Block) -> list[str]:
        """A lane that a thread cannot hold, a function that does not compile for the card or has other bits there."""
        needs, most = bytes_of_thread(block), most_of_thread(self.card)
        if needs > most:
            has = f"a thread of {self.card.name} can have {most:,.0f} bytes of local memory"
            return [f"device: a lane of this run takes {needs:,} bytes, and {has}; use --device cpu."]
        try:
            kernel_of(block, self.card)
        except CompileError as error:
            return [f"device: {block.model_name!r}: {error}"]
        except Exception as error:  # whatever the compiler says: of some functions it knows nothing, not even a name
            line = " ".join(str(error).split())[:500]
            what = f"a function of {block.model_name!r} cannot be compiled for {self.card.name}"
            said = f"{self.card.name} does not take the kernel: {said_of_failure(error)}"
            if not is_of_cuda(error) or ".core." in type(error).__module__:  # its compiler, not its driver
                said = f"{what}: {line}"
            return [f"device: {said}; use --device cpu."]
        return []

    def lanes_taken(self, block: Block, lanes: int, threads: int) -> int:
        """No more than are asked for."""
        return lanes

    def bytes_per_lane(self, block: Block) -> float:
        """Of the host: what the start and the state take on their way."""
        return 8.0 * (rows_of_block(block) + _rows(self.state_shapes(block)))

    def most_lanes(self, block: Block, sums: float = 0.0) -> int:
        """Lanes that fit the card, with a frame of each, and so many bytes of running sums."""
        return most_lanes(block, self._lanes, self.card, sums)

    def open(self, block: Block, threads: int = 1, width: int | None = None, watch: Watch | None = None) -> LanesOnCard:
        """Groups of about `width` lanes, by default as many as fill the card."""
        return LanesOnCard(block, self.card, threads, width or group_width(block.lanes), watch)


def _runs(lanes: int, width: int, edges: np.ndarray) -> list[tuple[int, int]]:
    """Lanes in runs of about `width`, cut at edges: first lane and end of each."""
    wanted = np.searchsorted(edges, np.arange(width, lanes, width))
    return list(itertools.pairwise(np.unique([0, *edges[wanted], lanes]).tolist()))


def _rows(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


def _failure(card: Card, error: Exception) -> str:
    """What a card's failure means to a user."""
    return (
        f"{card.name} (cuda:{card.number}) failed: {said_of_failure(error)}. What was sealed until then, if "
        "anything was, is whole: `thermosim resume` goes on from there to the same numbers, here or with --device cpu."
    )


_kernels: dict[
    tuple[str, int], tuple[Any, Any]
] = {}  # by what is compiled and the card, with the model, by its address


def kernel_of(block: Block, card: Card) -> Any:
    """The compiled kernel of a block, once for a process, and where all of its source is known once for the disk."""
    from thermosim.engines.cuda.kernel import identity, signature, template_of
    from thermosim.kernels.device_code import device_kernel

    code, complete = identity(block)
    if (code, card.number) not in _kernels:
        with current(card):
            kernel = device_kernel(template_of(block), signature(), code if complete else None)
        _kernels[code, card.number] = kernel, block.model
    return _kernels[code, card.number][0]


class LanesOnCard:
    """See `engines.engine.Lanes`. The results do not depend on groups, pieces or threads."""

    def __init__(self, block: Block, card: Card, threads: int, width: int, watch: Watch | None) -> None:
        from thermosim.engines.cuda.group import Group
        from thermosim.engines.cuda.kernel import columns_of

        self._block, self._card, self._step = block, card, 0
        self.watches = watch is not None
        runs = _runs(block.lanes, width, np.arange(block.lanes + 1) if watch is None else watch.edges)
        self._kernel, self._columns = kernel_of(block, card), columns_of(block)
        with self._talking():
            self._groups = [Group(block, first, last - first, watch, card.number) for first, last in runs]
            self._constant = self._made_once()
        self.most_frames = most_frames(block, card)  # in what is left
        self.pieces = tuple(piece for group in self._groups for piece in group.pieces)
        self.shortest = _CALL_SECONDS
        self._lost = np.zeros(block.lanes, bool)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def _made_once(self) -> dict[str, Any]:
        from numba import cuda

        return {"seed": self._block.seed} | {
            name: cuda.to_device(np.ascontiguousarray(getattr(self._block, name))) for name in ("shared", "data")
        }

    def restore(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Take up a state made after `step`; what is missing of it is 0, as at the start."""
        with self._talking():
            for group in self._groups:
                group.restore(state)
        self._step, self._lost = step, np.zeros(self._block.lanes, bool)

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the state of all lanes: theta, memory, x, and the ledgers of both."""
        with self._talking():
            parts = [group.state() for group in self._groups]
        whole = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
        for array in whole.values():
            array[..., self._lost] = np.nan
        return whole

    def sums(self) -> dict[str, np.ndarray]:
        """A copy of the running sums of all lanes and cohorts."""
        if not self.watches:
            return {}
        with self._talking():
            parts = [group.sums() for group in self._groups]
        return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}

    def restore_sums(self, sums: Mapping[str, np.ndarray], lost: np.ndarray) -> None:
        """Take them up, of lanes of which some were lost."""
        with self._talking():
            for group in self._groups:
                group.restore_sums(sums, lost)

    def quarantine(self, lanes: np.ndarray) -> None:
        """Make these lanes NaN wherever they are told; on the card they go on, which nobody sees."""
        self._lost[lanes] = True

    def advance(self, stop: int, first: int, every: int, take: Take) -> None:
        """Go on to step `stop`: all groups are sent on their way, and taken as they come back."""
        from numba import cuda

        start, timetable = self._step, self._block.timetable
        frames = max(0, (stop - first) // every + 1)
        theta_factor, x_factor = timetable.factors(start + 1, max(stop, start + 1))
        theta_table, x_table = timetable.tables(start + 1, max(stop, start + 1))
        tables = {"theta_factor": theta_factor, "x_factor": x_factor, "theta_table": theta_table, "x_table": x_table}
        if wrong := [name for name, count in self._columns.items() if tables[name].shape[1] != count]:
            raise ValueError(f"{', '.join(wrong)}: not as many columns as the kernel was compiled for")
        with self._talking():
            given = self._constant | {name: cuda.to_device(table) for name, table in tables.items()}
            given |= {"first_step": start, "steps": stop - start, "first_frame": first, "every": every}
            for group in self._groups:
                group.launch(self._kernel, given, frames)
            waiting = []
            for group in self._groups:
                group.stream.synchronize()
                for piece, delivered, seen in group.delivered(frames):
                    if self._pool is None:
                        take(piece, delivered, seen)
                    else:
                        waiting.append(self._pool.submit(take, piece, delivered, seen))
        for taken in waiting:
            taken.result()
        self._step = stop

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """The card is current; what it says of its failures becomes a DeviceError."""
        try:
            with current(self._card):
                yield
        except Exception as error:
            if not is_of_cuda(error):
                raise
            raise DeviceError(_failure(self._card, error)) from error

    def close(self) -> None:
        """End the threads, and free the card's memory."""
        if self._pool is not None:
            self._pool.shutdown()
        with suppress(Exception), current(self._card):  # one that failed has nothing to free
            self._groups, self._constant = [], {}
            free_dropped()
