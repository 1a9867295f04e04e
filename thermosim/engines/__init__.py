"""The engines: lanes on the processor, the same lanes on a graphics card, to the same bits; and networks in JAX."""

from __future__ import annotations

from typing import Any

from thermosim.engines.dense.engine import DenseEngine
from thermosim.engines.engine import Engine
from thermosim.engines.lanes.engine import LanesEngine
from thermosim.engines.networks.engine import NetworksEngine

__all__ = ["ENGINES", "card_of", "engine_of", "faults_of_cards", "numbers_of_cards"]

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (LanesEngine(), NetworksEngine(), DenseEngine())}


def faults_of_cards(device: str, name: str = "lanes") -> list[str]:
    """Why the cards of this name, "cuda" or "cuda:1", cannot be used by an engine here, each with the remedy."""
    if name == "networks":
        from thermosim.engines.networks import platform

        return platform.device_faults(device)
    if name == "dense":
        other = "use --device cpu, or engine.name = 'networks'"
        return [f"device = {device!r}: the engine of dense layers runs on processors; {other}."]
    from thermosim.engines.cuda import cards

    return cards.device_faults(device)


def numbers_of_cards(device: str, name: str = "lanes") -> tuple[int, ...]:
    """The cards of this name that an engine finds; they have no faults."""
    return tuple(card.number for card in _cards_of(device, name))


def card_of(device: str, name: str = "lanes") -> tuple[str, float, float]:
    """What the first card of this name is called, and how many bytes it has free, and in all."""
    card = _cards_of(device, name)[0]
    if name == "networks":
        return card.name, card.free, card.memory
    from thermosim.engines.cuda.cards import free_memory

    return card.name, free_memory(card), card.memory


def _cards_of(device: str, name: str) -> tuple[Any, ...]:
    if name == "networks":
        from thermosim.engines.networks import cards

        return cards.cards_of(device)
    from thermosim.engines.cuda import cards as of_lanes

    return of_lanes.cards_of(device)


def engine_of(device: str = "cpu", name: str = "lanes") -> Engine:
    """The engine of this name on a device that is there: "cpu", "cuda" (the first card) or "cuda:1"."""
    if name == "networks":
        return ENGINES[name] if device == "cpu" else NetworksEngine(device)
    if name == "dense":
        return ENGINES[name]
    if device == "cpu":
        return ENGINES["lanes"]
    from thermosim.engines.cuda.cards import cards_of
    from thermosim.engines.cuda.engine import CudaEngine

    return CudaEngine(cards_of(device)[0], ENGINES["lanes"])
