"""The graphics cards of this machine: which there are, what they can do, and why one cannot be used."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["Card", "cards_of", "current", "device_faults", "free_dropped", "free_memory", "is_device"]

_DEVICE = re.compile(r"cuda(:\d+)?")
_OLDEST = (6, 0)  # compute capability of the first cards that numba's compiler still knows
SIMULATED_CARDS = 1  # where the simulator is on
_WORTH = 4  # times that float64 may be slower than float32 for a card to be chosen without being asked for
_INSTALL = 'pip install "thermosim-engine[cuda]"'


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
    if why := _why_none():
        return [f"device = {device!r}: {why}"]
    found = _found()
    if number := _number(device):
        if int(number) >= len(found):
            there = f"cards 0 to {len(found) - 1}" if len(found) > 1 else "one card, cuda:0"
            return [f"device = {device!r}: there is no such card; this machine has {there}."]
        found = (found[int(number)],)
    if not [card for card in found if card.capability >= _OLDEST]:
        old = found[0]
        version = ".".join(map(str, old.capability))
        least = ".".join(map(str, _OLDEST))
        said = f"{old.name} has compute capability {version}, and kernels are compiled for {least} and later"
        return [f"device = {device!r}: {said}; use --device cpu."]
    return []


def cards_of(device: str) -> tuple[Card, ...]:
    """The cards of this name: one with a number, all there are with none; they have no faults."""
    found = tuple(card for card in _found() if card.capability >= _OLDEST)
    number = _number(device)
    return tuple(card for card in found if not number or card.number == int(number))


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


def _why_none() -> str:
    """Why this machine has no card to use; empty where it has one."""
    if importlib.util.find_spec("numba_cuda") is None:
        return f"kernels for cards are compiled by numba-cuda, which is not installed: {_INSTALL}; or use --device cpu."
    from numba import config, cuda

    if config.ENABLE_CUDASIM:
        return ""
    try:
        count = len(cuda.gpus)
    except Exception as error:  # whatever the driver, or what looks for it, says
        return f"{_said_by_driver(error)} Use --device cpu."
    return "" if count else "no card is visible to this process (is CUDA_VISIBLE_DEVICES empty?); use --device cpu."


def _said_by_driver(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "cannot be found" in text or "not found" in text.lower():
        return "no driver of NVIDIA is installed here, so there is no card to use."
    if "insufficient" in text.lower() or "older" in text.lower() or "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" in text:
        return f"the driver is too old for this toolkit ({text[:200]}); update it, which needs the administrator."
    return f"the driver does not answer: {text[:200]}."


def _found() -> tuple[Card, ...]:
    """All cards that the driver shows, in its order."""
    from numba import config, cuda

    if config.ENABLE_CUDASIM:
        return tuple(Card(number, "a simulated card", (9, 0), 8e9, 1, 1024, 2) for number in range(SIMULATED_CARDS))
    return tuple(_card(number, gpu) for number, gpu in enumerate(cuda.gpus))


def _card(number: int, gpu: Any) -> Card:
    with gpu:
        device = gpu.device
        name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
        return Card(
            number,
            name,
            tuple(device.compute_capability)[:2],
            float(gpu.get_memory_info().total),
            int(device.MULTIPROCESSOR_COUNT),
            int(device.MAX_THREADS_PER_MULTIPROCESSOR),
            int(device.SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO),
        )
