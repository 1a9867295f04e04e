"""What the updates of networks remember, told without JAX: in the order of the rows of a state."""

from __future__ import annotations

from thermosim.network import MOVES
from thermosim.plan.block import Block

__all__ = ["MOVES", "remembered"]

# of every group, and then single numbers
_MEMORY: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sgd": (("velocity",), ()),
    "nesterov": (("velocity",), ()),
    "adam": (("mean", "square"), ("share1", "share2")),
    "adamw": (("mean", "square"), ("share1", "share2")),
}


def remembered(block: Block) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of what is remembered of every group, and of single numbers."""
    return _MEMORY[block.theta_dynamics] if block.theta.memory(1, block.used) else ((), ())
