"""The engines, by name. One makes the steps of every case so far."""

from __future__ import annotations

from thermosim.engines.engine import Engine
from thermosim.engines.lanes.engine import LanesEngine

__all__ = ["ENGINES", "engine_of"]

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (LanesEngine(),)}


def engine_of() -> Engine:
    """The engine that runs a case."""
    return ENGINES["lanes"]
