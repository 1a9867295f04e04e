"""The engines, by name: lanes on the processor, and the same lanes on a graphics card, to the same bits."""

from __future__ import annotations

from thermosim.engines.engine import Engine
from thermosim.engines.lanes.engine import LanesEngine

__all__ = ["ENGINES", "engine_of"]

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (LanesEngine(),)}


def engine_of(device: str = "cpu") -> Engine:
    """The engine that runs a case on a device that is there: "cpu", "cuda" (the first card) or "cuda:1"."""
    if device == "cpu":
        return ENGINES["lanes"]
    from thermosim.engines.cuda.cards import cards_of
    from thermosim.engines.cuda.engine import CudaEngine

    return CudaEngine(cards_of(device)[0], ENGINES["lanes"])
