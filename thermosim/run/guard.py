"""The guard: lanes with a value that is not finite in a frame, or has exploded, are quarantined; the others go on.

A value has exploded when it is finite but nothing can be told of it any more. Analysis takes fourth powers of states,
for the error of a variance, and squares of energies and sums: of states below `ledger.EXPLODED` = 1e75, and of energies
and sums below its square, these stay below 1e300, so that 1e8 of them can be summed before the largest float, 1.8e308.
A parameter that is the logarithm of what it stands for has exploded, or left a singular model behind, beyond the
logarithm of that number on either side.

Frames are examined at every step of the grid of frames, which is the same however the run is cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import numpy as np

from thermosim.ledger import EXPLODED
from thermosim.model import Parameter, Values

__all__ = ["Guard", "limits_of_theta"]

_NUMBERS = {"theta": 1, "x": 2, "phi": 3}  # then 4, the sums of theta, and 5, the ledger


def limits_of_theta(parameters: Collection[Parameter], constants: Values) -> np.ndarray:
    """The magnitude beyond which each component of theta has exploded, (m,)."""
    limits = [
        np.full(math.prod(group.shape(constants)), math.log(EXPLODED) if group.logarithm else EXPLODED)
        for group in parameters
    ]
    return np.concatenate([*limits, np.zeros(0)])


class Guard:
    """Status of the lanes of a block: 0 fine, else what went first, and at which recorded step."""

    def __init__(self, lanes: int, theta_rows: Collection[str], theta_limits: np.ndarray) -> None:
        self._theta_rows = theta_rows
        self._limits: dict[str, float | np.ndarray] = {"theta": theta_limits, "x": EXPLODED}
        self.status = np.zeros(lanes, np.int8)
        self.diverged_step = np.full(lanes, -1, np.int64)

    def examine(
        self,
        lanes: slice,
        frames: Mapping[str, np.ndarray],
        steps: np.ndarray,
        quarantine: Callable[[np.ndarray], None],
        beyond: Mapping[str, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Look at frames {variable: (F, lanes, ...)} made at `steps`, and quarantine the lanes that diverged.

        Or take what somebody saw in them, `beyond` {variable: (lanes,)} the first frame beyond its limit. Returns the
        first bad frame of each of these lanes, F where there is none.
        """
        count = len(steps)
        bad = np.full(lanes.stop - lanes.start, count)
        bad[self.status[lanes] != 0] = 0
        code = np.zeros(len(bad), np.int8)
        for name in sorted(frames if beyond is None else beyond, key=self._code):
            first = beyond[name] if beyond is not None else _first_beyond(frames[name], self.limit(name))
            if first is None:
                continue
            code[first < bad] = self._code(name)
            bad = np.minimum(bad, first)
        new = (bad < count) & (self.status[lanes] == 0)
        self.diverged_step[lanes][new] = steps[bad[new]]
        self.status[lanes][new] = code[new]
        if len(diverged := np.flatnonzero(bad < count)):
            quarantine(diverged + lanes.start)
        return bad

    def limit(self, name: str) -> float | np.ndarray:
        """The magnitude beyond which a delivered variable has exploded, of theta for each component."""
        return self._limits.get(name, EXPLODED**2)

    def _code(self, name: str) -> int:
        return _NUMBERS.get(name, 4 if name in self._theta_rows else 5)

    def snapshot(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A state with its status; a move may have written into quarantined lanes since the guard came by."""
        for array in state.values():
            array[..., self.status != 0] = np.nan
        return {**state, "status": self.status.copy(), "diverged_step": self.diverged_step.copy()}

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Take up a snapshot."""
        self.status[:] = snapshot["status"]
        self.diverged_step[:] = snapshot["diverged_step"]


def _first_beyond(values: np.ndarray, limit: float | np.ndarray) -> np.ndarray | None:
    """The first frame of (F, lanes, ...) that is beyond its limit, or F, in every lane; None where there is none."""
    with np.errstate(invalid="ignore"):
        if not values.size or _all_within(values, limit):
            return None
        fine = (abs(values) <= limit).reshape(*values.shape[:2], -1).all(axis=2)
    return np.where(fine.all(axis=0), len(values), np.argmin(fine, axis=0))


def _all_within(values: np.ndarray, limit: float | np.ndarray) -> bool:
    """Whether no value of (F, lanes, ...) is beyond its limit; NaN is. Mostly none is beyond the lowest limit."""
    lowest = np.min(limit)
    if values.max() <= lowest and values.min() >= -lowest:
        return True
    return isinstance(limit, np.ndarray) and bool(np.all(abs(values).max(axis=(0, 1)) <= limit))
