"""The memory of one tile: the state of its lanes and the work space of the step loop, laid out for vector loads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from thermosim.kernels.ledger import THETA_ROWS, X_ROWS

__all__ = ["Rows", "Tile", "aligned_zeros", "tile_width"]

LANES = 32  # widths are multiples of four vector registers, so that no loop has a remainder
_CACHE_LINE = 64
_PAGE = 4096
_STATE_BYTES = 400_000  # of a tile: it should stay in the second-level cache
_WIDEST = 1024
_stagger = 0


def aligned_zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros starting on a cache line, each array on another line of its page.

    Vectors that straddle cache lines, and rows at equal offsets in their pages (which the processor takes for the
    same address), cost up to a factor of two.
    """
    global _stagger
    _stagger = (_stagger + 3) % (_PAGE // _CACHE_LINE)
    size = math.prod(shape) * 8
    raw = np.zeros(size + _CACHE_LINE + _PAGE, np.uint8)
    start = -raw.ctypes.data % _CACHE_LINE + _stagger * _CACHE_LINE
    return raw[start : start + size].view(np.float64).reshape(shape)


def tile_width(lanes: int, rows: int, threads: int) -> int:
    """Lanes per tile for a run of `lanes` replicas: as wide as the cache allows, and work for every thread.

    `rows` are the numbers that one lane's state and work space take. The results do not depend on the width.
    """
    fitting = max(_STATE_BYTES // (8 * rows), LANES)
    width = min(lanes / threads, fitting, _WIDEST)
    tiles = threads * math.ceil(lanes / (width * threads))
    return LANES * math.ceil(lanes / tiles / LANES)


@dataclass(frozen=True)
class Rows:
    """Numbers of each kind that one lane takes."""

    parameters: int
    derived: int
    memory: int
    samples: int
    components: int
    theta_hyper: int
    x_hyper: int
    theta_normals: int
    gradient: int
    after: int
    row: int
    normals: int  # of one chain
    uniforms: int
    force: int
    scratch: int

    @property
    def total(self) -> int:
        """All of them together."""
        chain = 3 * self.components + 2 * self.normals + self.uniforms + 2 * self.force + X_ROWS + 1
        theta = self.parameters + self.derived + self.memory + 2 * self.theta_normals + self.gradient + self.after
        return theta + self.row + self.scratch + self.samples * chain + THETA_ROWS + 8


@dataclass
class Tile:
    """Lanes first to first + width - 1 of a block; those past the end are computed and thrown away."""

    first: int
    width: int
    used: int
    theta: np.ndarray  # (m, L)
    memory: np.ndarray  # (M, L)
    x: np.ndarray  # (S, n, L)
    theta_path: np.ndarray  # (Q, L)
    x_path: np.ndarray  # (S, P, L)
    scratch: tuple[np.ndarray, ...]

    @classmethod
    def empty(cls, first: int, width: int, used: int, size: Rows) -> Tile:
        """A tile of zeros."""

        def rows(*shape: int) -> np.ndarray:
            return aligned_zeros((*shape, width))

        scratch = (
            rows(2, size.theta_normals),
            rows(size.gradient),
            rows(size.after),
            rows(),  # loss
            rows(size.row),
            rows(size.theta_hyper),  # theta_hyper_now
            rows(size.x_hyper),  # x_hyper_now
            rows(max(2 * size.x_hyper - 1, 0)),  # langevin
            rows(4),  # work
            rows(2, size.samples * size.normals),  # x_normal
            rows(size.samples * size.uniforms),  # uniform
            rows(2, size.samples, size.components),  # states
            rows(2, size.samples, size.force),  # forces
            rows(size.samples),  # phi
            rows(size.derived),
            rows(size.scratch),
        )
        return cls(
            first,
            width,
            used,
            theta=rows(size.parameters),
            memory=rows(size.memory),
            x=rows(size.samples, size.components),
            theta_path=rows(THETA_ROWS),
            x_path=rows(size.samples, X_ROWS),
            scratch=scratch,
        )
