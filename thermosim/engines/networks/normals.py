"""Standard normals for programs, made on the host by the kernel of the lanes: logarithms are nowhere alike."""

from __future__ import annotations

import numpy as np

from thermosim.kernels import types
from thermosim.kernels.compile import compiled
from thermosim.kernels.noise import fill_normal_pair

__all__ = ["normals_of_steps"]


def normals_of_steps(
    seed: int, stream: int, steps: np.ndarray, first_replica: int, count: int, lanes: int
) -> np.ndarray:
    """Those of moves `steps`, (steps, lanes, count): of lane l and number i the ones that lanes have there."""
    out = np.empty((len(steps), lanes, count))
    even, odd = np.empty((count, lanes)), np.empty((count, lanes))
    signature = types.void(*[types.int64] * 5, types.float64[:, ::1], types.float64[:, ::1])
    fill, block = compiled(fill_normal_pair, signature), -1
    for place, step in enumerate(steps.tolist()):
        if step >> 1 != block:
            block = step >> 1
            fill(seed, stream, block, first_replica, 0, even, odd)
        out[place] = (odd if step & 1 else even).T
    return out
