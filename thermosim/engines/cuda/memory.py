"""What lanes take of a card: its own memory, and that which one thread may have for itself."""

from __future__ import annotations

import math

from thermosim.engines.cuda.cards import Card, free_memory
from thermosim.engines.engine import Engine
from thermosim.engines.lanes.tiles import rows_of_lane
from thermosim.plan.block import Block, rows_of_block

__all__ = ["LOCAL", "bytes_of_lane", "bytes_of_thread", "group_width", "most_frames", "most_lanes", "most_of_thread"]

_GROUPS = 3  # at least, where there are lanes enough, for one to step while the frames of others are on their way
_FEWEST, _MOST = 1 << 15, 1 << 17  # lanes of a group: what fills a card, and what fills any card a few times over
LOCAL = 512 * 1024  # bytes that a thread of any card may have (CUDA C++ Programming Guide, technical specifications)
_SHARE = 0.8  # of a card's free memory, for what runs
_FRAME_BYTES = 2e9  # of frames on a card, at most
_SHARE_OF_FRAMES = 0.2  # of its free memory
_SHARE_OF_THREADS = 0.5  # of it, for what threads have for themselves


def group_width(lanes: int) -> int:
    """Lanes of one launch."""
    return min(_MOST, max(_FEWEST, -(-lanes // _GROUPS)))


def most_frames(block: Block, card: Card) -> int:
    """Frames of all lanes of a block that there is room for on the card at one time."""
    room = min(_FRAME_BYTES, _SHARE_OF_FRAMES * free_memory(card))
    return max(1, int(room / (8.0 * block.lanes * max(1, block.frame_size))))


def bytes_of_lane(block: Block, lanes: Engine) -> float:
    """Of a card's memory: hyper-parameters, state and a frame of one lane, without running sums.

    `lanes` is the engine of the processor.
    """
    state = sum(math.prod(shape) for shape in lanes.state_shapes(block).values())
    return 8.0 * (rows_of_block(block) + state + block.frame_size)


def most_lanes(block: Block, lanes: Engine, card: Card, sums: float) -> int:
    """Lanes that fit what is free of the card beside what its threads have for themselves; `sums` as of the engine."""
    beside = min(_SHARE_OF_THREADS * free_memory(card), float(bytes_of_thread(block)) * _threads(card))
    return max(0, int((_SHARE * free_memory(card) - beside) / (bytes_of_lane(block, lanes) + sums)))


def bytes_of_thread(block: Block) -> int:
    """Local memory that the thread of a lane takes at most, were none of it in registers: `kernel.shapes_of_lane`."""
    return 8 * (rows_of_lane(block) + rows_of_block(block) - 1)


def most_of_thread(card: Card) -> float:
    """Local memory that a thread can have: the driver sets it aside for every thread the card holds at a time."""
    return min(LOCAL, _SHARE_OF_THREADS * free_memory(card) / _threads(card))


def _threads(card: Card) -> int:
    return card.processors * card.resident
