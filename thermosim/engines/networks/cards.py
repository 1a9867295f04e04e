"""The graphics cards that JAX finds, and what is said where the memory of one is not enough."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thermosim.engines.networks import platform

__all__ = ["Card", "cards_of", "is_exhausted", "said_of_exhausted"]


@dataclass(frozen=True)
class Card:
    """One card; its memory is what JAX may take of it, in bytes, infinite where it does not tell."""

    number: int
    name: str
    memory: float
    free: float


def cards_of(device: str) -> tuple[Card, ...]:
    """The cards of a name that has no faults: one of "cuda:1", all of "cuda"."""
    import jax

    number = device.partition(":")[2]
    there = range(len(jax.devices("cuda"))) if not number else (int(number),)
    return tuple(_card(each) for each in there)


def _card(number: int) -> Card:
    found = platform.device_of(f"cuda:{number}")
    told = found.memory_stats() or {}
    memory = float(told.get("bytes_limit", float("inf")))
    return Card(number, str(found.device_kind), memory, memory - float(told.get("bytes_in_use", 0.0)))


def is_exhausted(error: Exception) -> bool:
    """Whether this is JAX's error of a memory that is not enough."""
    return "RESOURCE_EXHAUSTED" in str(error)


def said_of_exhausted(error: Exception, kind: str, width: int, compiled: Callable[[], Any], free: float) -> str:
    """A sentence with the widest tile that fits, as far as the compiled program tells what it takes."""
    wanted = re.search(r"allocate ([\d.]+ ?[KMGT]?i?B|\d+ bytes)", str(error))
    told = f"the memory of {kind} is not enough for a tile of engine.tile_width = {width} replicas"
    told += f" ({wanted[1]} more were wanted)" if wanted else ""
    try:
        takes = compiled().memory_analysis()
        each = (takes.temp_size_in_bytes + takes.argument_size_in_bytes) / width
        fits = int(free / each)
    except Exception:  # what cannot even be compiled, or a build that does not tell
        fits = 0
    if 0 < fits < width:
        return f"{told}; about {fits} would fit: set engine.tile_width = {fits}, or a smaller theta.batch."
    return f"{told}; make engine.tile_width or theta.batch smaller."
