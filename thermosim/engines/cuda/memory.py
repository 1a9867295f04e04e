"""What lanes take of a card: its own memory, and that which one thread may have for itself."""

from __future__ import annotations

import math

from thermosim.engines.cuda.cards import Card, free_memory
from thermosim.engines.engine import Engine
from thermosim.engines.lanes.tiles import rows_of_lane
from thermosim.plan.block import Block, rows_of_block

__all__ = ["GROUP", "LOCAL", "bytes_of_lane", "bytes_of_thread", "most_lanes", "most_of_thread"]

GROUP = 1 << 17  # lanes of one launch: they fill any card, a few times over
LOCAL = 512 * 1024  # bytes that a thread of any card may have (CUDA C++ Programming Guide, technical specifications)
_SHARE = 0.8  # of a card's free memory, for what runs
_SHARE_OF_THREADS = 0.5  # of it, for what threads have for themselves


def bytes_of_lane(block: Block, lanes: Engine) -> float:
    """Of a card's memory: hyper-parameters, state and a frame of one lane. `lanes` is the engine of the processor."""
    state = sum(math.prod(shape) for shape in lanes.state_shapes(block).values())
    return 8.0 * (rows_of_block(block) + state + block.frame_size)


def most_lanes(block: Block, lanes: Engine, card: Card) -> int:
    """Lanes that fit what is free of the card beside what its threads have for themselves."""
    beside = min(_SHARE_OF_THREADS * free_memory(card), float(bytes_of_thread(block)) * _threads(card))
    return max(0, int((_SHARE * free_memory(card) - beside) / bytes_of_lane(block, lanes)))


def bytes_of_thread(block: Block) -> int:
    """Local memory that the thread of a lane takes at most, were none of it in registers: `kernel.shapes_of_lane`."""
    return 8 * (rows_of_lane(block) + rows_of_block(block) - 1)


def most_of_thread(card: Card) -> float:
    """Local memory that a thread can have: the driver sets it aside for every thread the card holds at a time."""
    return min(LOCAL, _SHARE_OF_THREADS * free_memory(card) / _threads(card))


def _threads(card: Card) -> int:
    return card.processors * card.resident
