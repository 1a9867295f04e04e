"""The engines: lanes on the processor, the same lanes on a graphics card, to the same bits; and networks in JAX."""

from __future__ import annotations

from thermosim.engines.dense.engine import DenseEngine
from thermosim.engines.engine import Engine
from thermosim.engines.lanes.engine import LanesEngine
from thermosim.engines.networks.engine import NetworksEngine

__all__ = ["ENGINES", "engine_of"]

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (LanesEngine(), NetworksEngine(), DenseEngine())}


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
