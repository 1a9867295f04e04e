"""The guard: lanes with a value that is not finite in a frame are named and quarantined, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

__all__ = ["STATUS", "Guard"]

# what a status says was not finite first
STATUS = {1: "theta", 2: "x", 3: "phi", 4: "the sums of theta", 5: "the ledger"}
_NUMBERS = {"theta": 1, "x": 2, "phi": 3}


class Guard:
    """Status of the lanes of a block: 0 fine, else what was not finite, and at which recorded step first."""

    def __init__(self, lanes: int, theta_rows: Collection[str]) -> None:
        self._theta_rows = theta_rows
        self.status = np.zeros(lanes, np.int8)
        self.diverged_step = np.full(lanes, -1, np.int64)

    def examine(
        self,
        lanes: slice,
        frames: Mapping[str, np.ndarray],
        steps: np.ndarray,
        quarantine: Callable[[np.ndarray], None],
    ) -> np.ndarray:
        """Look at frames {variable: (F, lanes, ...)} made at `steps`, and quarantine the lanes that diverged.

        Returns the first bad frame of each of these lanes, F where there is none.
        """
        count = len(steps)
        bad = np.full(lanes.stop - lanes.start, count)
        bad[self.status[lanes] != 0] = 0
        code = np.zeros(len(bad), np.int8)
        for name in sorted(frames, key=self._code):
            values = frames[name]
            with np.errstate(all="ignore"):
                if np.isfinite(values.sum()):
                    continue
            finite = np.isfinite(values).reshape(count, len(bad), -1).all(axis=2)
            first = np.where(finite.all(axis=0), count, np.argmin(finite, axis=0))
            code[first < bad] = self._code(name)
            bad = np.minimum(bad, first)
        new = (bad < count) & (self.status[lanes] == 0)
        self.diverged_step[lanes][new] = steps[bad[new]]
        self.status[lanes][new] = code[new]
        if len(diverged := np.flatnonzero(bad < count)):
            quarantine(diverged + lanes.start)
        return bad

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
