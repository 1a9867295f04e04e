"""The graphics cards of this machine: which there are, what they can do, and why one cannot be used."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from thermosim.engines.cuda.obstacles import hidden, oldest_capability, said_of_failure, why_no_card, why_no_compiler

__all__ = ["Card", "cards_of", "current", "device_faults", "free_dropped", "free_memory", "is_device"]

_DEVICE = re.compile(r"cuda(:\d+)?")
SIMULATED_CARDS = 1  # where the simulator is on
_WORTH = 4  # times that float64 may be slower than float32 for a card to be chosen without being asked for


@dataclass(frozen=True)
class Card:
    """One card."""

    number: int
    name: str
    capability: tuple[int, int]
    memory: float  # bytes, in all
    processors: int  # streaming multiprocessors
    resident: int  # threads that one of these holds at a time
    slower: int  # times that float64 is slower than float32

    @property
    def worthy(self) -> bool:
        """Whether its float64 is worth having: cards for games make it at 1/32 or 1/64 of the speed of float32."""
        return self.slower <= _WORTH


def is_device(device: str) -> bool:
    """Whether this names a device, there or not: "cpu", "cuda", "cuda:1" or "auto"."""
    return device in ("cpu", "auto") or _DEVICE.fullmatch(device) is not None


def device_faults(device: str) -> list[str]:
    """Why the cards of this name, such as "cuda" or "cuda:1", cannot be used here, each with the remedy."""
    why = why_no_card() or _why_not_this(_number(device)) or why_no_compiler() or _why_too_old(_number(device))
    return [f"device = {device!r}: {why}"] if why else []


def _why_not_this(number: str) -> str:
    """Why there is no card of this number."""
    count = _count()
    if not number or int(number) < count:
        return ""
    there = f"cards cuda:0 to cuda:{count - 1}" if count > 1 else "one card, cuda:0"
    few = f" ({said})" if (said := hidden()) else ""
    return f"there is no such card; this process sees {there}{few}."


def _why_too_old(number: str) -> str:
    """Why kernels cannot be compiled for any of these cards, or why they do not let themselves be opened."""
    try:
        asked = _found(number)
    except Exception as error:  # whatever the driver says of a card that it has counted
        return f"{said_of_failure(error)}; or use --device cpu."
    oldest = oldest_capability()
    if any(card.capability >= oldest for card in asked):
        return ""
    version, least = (".".join(map(str, capability)) for capability in (asked[0].capability, oldest))
    has = f"{asked[0].name} has compute capability {version}"
    return f"{has}, and the libraries of CUDA installed here compile for {least} and later; use --device cpu."


def cards_of(device: str) -> tuple[Card, ...]:
    """The cards of this name: one with a number, all there are with none; they have no faults."""
    oldest = oldest_capability()
    return tuple(card for card in _found(_number(device)) if card.capability >= oldest)


def free_memory(card: Card) -> float:
    """Bytes that are free on a card now."""
    from numba import config, cuda

    if config.ENABLE_CUDASIM:  # which says that there is no end of it
        return card.memory
    with current(card):
        return float(cuda.current_context().get_memory_info().free)


def free_dropped() -> None:
    """Free now what nobody holds of the memory of the card that is current: numba waits until there is more of it."""
    from numba import cuda

    pending = getattr(cuda.current_context(), "deallocations", None)  # the simulator has none
    if pending is not None:
        pending.clear()


@contextmanager
def current(card: Card) -> Iterator[None]:
    """Let this thread talk to the card."""
    from numba import config, cuda

    with cuda.gpus[0 if config.ENABLE_CUDASIM else card.number]:
        yield


def _number(device: str) -> str:
    return device.partition(":")[2]


def _count() -> int:
    from numba import config, cuda

    return SIMULATED_CARDS if config.ENABLE_CUDASIM else len(cuda.gpus)


def _found(number: str) -> tuple[Card, ...]:
    """The card of this number, or all that the driver shows, in its order."""
    return tuple(_card(each) for each in ([int(number)] if number else range(_count())))


@functools.cache
def _card(number: int) -> Card:
    from numba import config, cuda

    if config.ENABLE_CUDASIM:
        return Card(number, "a simulated card", (9, 0), 8e9, 1, 1024, 2)
    with cuda.gpus[number]:
        context = cuda.current_context()
        device = context.device
        return Card(
            number,
            device.name.decode() if isinstance(device.name, bytes) else str(device.name),
            (int(device.compute_capability[0]), int(device.compute_capability[1])),
            float(context.get_memory_info().total),
            int(device.MULTIPROCESSOR_COUNT),
            int(device.MAX_THREADS_PER_MULTIPROCESSOR),
            int(device.SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO),
        )
