"""The engine of lanes on a graphics card: the kernels of `engines.lanes`, one thread to a lane, to the same bits.

A block's lanes go in groups, each large enough to fill the card: while one group makes its steps, the frames of those
before it are on their way to the host, and are taken there by threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from thermosim.engines.cuda.cards import Card, current
from thermosim.engines.cuda.memory import GROUP, bytes_of_thread, most_lanes, most_of_thread
from thermosim.engines.cuda.obstacles import is_of_cuda, said_of_failure
from thermosim.engines.engine import DeviceError, Engine, Take
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
        """A lane that a thread cannot hold, a function that does not compile for the card."""
        from numba.core.errors import NumbaError

        needs, most = bytes_of_thread(block), most_of_thread(self.card)
        if needs > most:
            has = f"a thread of {self.card.name} can have {most:,.0f} bytes of local memory"
            return [f"device: a lane of this run takes {needs:,} bytes, and {has}; use --device cpu."]
        try:
            kernel_of(block, self.card)
        except NumbaError as error:
            line = " ".join(str(error).split())[:500]
            what = f"a function of {block.model_name!r} cannot be compiled for {self.card.name}"
            return [f"device: {what}; use --device cpu. The compiler says: {line}"]
        except Exception as error:
            if not is_of_cuda(error):
                raise
            return [
                f"device: {self.card.name} does not take the kernel: {said_of_failure(error)}; or use --device cpu."
            ]
        return []

    def lanes_taken(self, block: Block, lanes: int, threads: int) -> int:
        """No more than are asked for."""
        return lanes

    def bytes_per_lane(self, block: Block) -> float:
        """Of the host: what the start and the state take on their way."""
        return 8.0 * (rows_of_block(block) + _rows(self.state_shapes(block)))

    def most_lanes(self, block: Block) -> int:
        """Lanes that fit the card, with a frame of each."""
        return most_lanes(block, self._lanes, self.card)

    def open(self, block: Block, threads: int = 1, width: int | None = None) -> LanesOnCard:
        """Groups of `width` lanes, by default as many as fill the card."""
        return LanesOnCard(block, self.card, threads, width or GROUP)


def _rows(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


def _failure(card: Card, error: Exception) -> str:
    """What a card's failure means to a user."""
    return (
        f"{card.name} (cuda:{card.number}) failed: {said_of_failure(error)}. What was sealed until then, if "
        "anything was, is whole: `thermosim resume` goes on from there to the same numbers, here or with --device cpu."
    )


_kernels: dict[tuple[str, int], Any] = {}  # by what is compiled and the card, once for a process


def kernel_of(block: Block, card: Card) -> Any:
    """The compiled kernel of a block."""
    from thermosim.engines.cuda.kernel import identity, signature, template_of
    from thermosim.kernels.device_code import device_kernel

    key = identity(block), card.number
    if key not in _kernels:
        with current(card):
            _kernels[key] = device_kernel(template_of(block), signature())
    return _kernels[key]


class LanesOnCard:
    """See `engines.engine.Lanes`. The results do not depend on groups, pieces or threads."""

    def __init__(self, block: Block, card: Card, threads: int, width: int) -> None:
        from thermosim.engines.cuda.group import Group

        self._block, self._card, self._step = block, card, 0
        self._kernel = kernel_of(block, card)
        with self._talking():
            self._groups = [
                Group(block, first, min(width, block.lanes - first)) for first in range(0, block.lanes, width)
            ]
            self._constant = self._made_once()
        self.pieces = tuple(piece for group in self._groups for piece in group.pieces)
        self.shortest = _CALL_SECONDS
        self._lost: list[np.ndarray] = []
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
        self._step, self._lost = step, []

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the state of all lanes: theta, memory, x, and the ledgers of both."""
        with self._talking():
            parts = [group.state() for group in self._groups]
        whole = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
        for lanes in self._lost:
            for array in whole.values():
                array[..., lanes] = np.nan
        return whole

    def quarantine(self, lanes: np.ndarray) -> None:
        """Make these lanes NaN wherever they are told; on the card they go on, which nobody sees."""
        self._lost.append(np.array(lanes))

    def advance(self, stop: int, first: int, every: int, take: Take) -> None:
        """Go on to step `stop`: all groups are sent on their way, and taken as they come back."""
        from numba import cuda

        start, timetable = self._step, self._block.timetable
        frames = max(0, (stop - first) // every + 1)
        theta_factor, x_factor = timetable.factors(start + 1, max(stop, start + 1))
        theta_table, x_table = timetable.tables(start + 1, max(stop, start + 1))
        tables = {"theta_factor": theta_factor, "x_factor": x_factor, "theta_table": theta_table, "x_table": x_table}
        with self._talking():
            given = self._constant | {name: cuda.to_device(table) for name, table in tables.items()}
            given |= {"first_step": start, "steps": stop - start, "first_frame": first, "every": every}
            for group in self._groups:
                group.launch(self._kernel, given, frames)
            waiting = []
            for group in self._groups:
                group.stream.synchronize()
                for piece in group.pieces:
                    delivered = group.delivered(piece, frames)
                    if self._pool is None:
                        take(piece, delivered)
                    else:
                        waiting.append(self._pool.submit(take, piece, delivered))
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
        self._groups, self._constant = [], {}
