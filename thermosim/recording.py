"""Frames on their way from the kernels' buffers to stored variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.case import Case
from thermosim.kernels.ledger import THETA_ROWS, X_ROWS
from thermosim.kernels.tiles import Tile
from thermosim.plan import Block
from thermosim.rules import recordable
from thermosim.variables import VARIABLES

__all__ = ["Frames", "recorded_variables"]

_SOURCES = ("theta", "x", "phi", "theta_path", "x_path")


def recorded_variables(case: Case, block: Block) -> dict[str, dict[str, Any]]:
    """Name, dimensions after the replica, their sizes and attributes of every variable the case records."""
    names = case.settings["record"]["variables"] or recordable(case.model, case.settings)
    sizes = {"theta_dim": block.parameters, "x_dim": block.components, "sample": block.samples}
    variables = {}
    for name in names:
        if name in {axis.name for axis in case.axes}:
            continue  # a swept radius is the coordinate of that name
        if name in VARIABLES:
            variable = VARIABLES[name]
            dims = [d for d in variable.dims if d != "sample" or block.samples > 1]
            attributes = variable.attributes
        else:
            observable = case.model.observables[name]
            dims = ["sample"] if observable.of == "x" and block.samples > 1 else []
            attributes = {
                "units": observable.units, "long_name": observable.long_name, "equation": observable.equation
            }  # fmt: skip
        variables[name] = {"dims": dims, "shape": [sizes[d] for d in dims], "attributes": attributes}
    return variables


class Frames:
    """Which steps of a block are recorded, and how buffers (frames, rows, L) become variables (frames, lanes, ...)."""

    def __init__(self, case: Case, block: Block, variables: Mapping[str, Any]) -> None:
        self._block, self._variables, self._model = block, variables, case.model
        self._steps = case.frame_steps()
        self.every = int(case.settings["record"]["every"])
        sources = {VARIABLES[v].source if v in VARIABLES else case.model.observables[v].of for v in variables}
        guarded = set() if block.theta_dynamics in ("protocol", "frozen") else {"theta", "theta_path"}
        self._wanted = sources | guarded | ({"x", "phi", "x_path"} if block.samples else set())
        m, n, s = block.parameters, block.components, block.samples
        self._shapes = {"theta": (m,), "x": (s, n), "phi": (s,), "theta_path": (THETA_ROWS,), "x_path": (s, X_ROWS)}
        numbers = sum(int(np.prod(self._shapes[name])) for name in self._wanted)
        stored = sum(int(np.prod(v["shape"])) for v in variables.values())
        self.bytes_per_frame = 8 * block.lanes * (numbers + stored)
        self._buffers: dict[int, tuple[np.ndarray, ...]] = {}

    def due_before(self, step: int) -> int:
        """Number of frames at steps below `step`."""
        return int(np.searchsorted(self._steps, step))

    def between(self, start: int, stop: int) -> tuple[np.ndarray, int]:
        """Recorded steps in (start, stop], and the next one due, -1 if there is none."""
        first = self.due_before(start + 1)
        steps = self._steps[first : self.due_before(stop + 1)]
        return steps, int(self._steps[first]) if first < len(self._steps) else -1

    def last_step_within(self, start: int, stop: int, room: int) -> int:
        """The largest step up to `stop` that adds at most `room` frames after `start`."""
        first = self.due_before(start + 1)
        if first + room >= len(self._steps):
            return stop
        return min(stop, int(self._steps[first + room]) - 1)

    def buffers(self, position: int, tile: Tile, frames: int) -> tuple[np.ndarray, ...]:
        """Frame buffers of one tile, as the kernel takes them; none for what nobody wants."""
        held = self._buffers.get(position)
        if held is None or max(len(b) for b in held) < frames:
            held = tuple(
                np.empty((frames if name in self._wanted else 0, *self._shapes[name], tile.width)) for name in _SOURCES
            )
            self._buffers[position] = held
        return tuple(buffer[:frames] for buffer in held)

    def empty(self, frames: int) -> dict[str, np.ndarray]:
        """Arrays for one chunk of frames."""
        lanes = self._block.lanes
        return {name: np.empty((frames, lanes, *v["shape"])) for name, v in self._variables.items()}

    def gather(
        self,
        tile: Tile,
        buffers: tuple[np.ndarray, ...],
        frames: int,
        bad: np.ndarray,
        gathered: Mapping[str, np.ndarray],
    ) -> None:
        """Copy a tile's frames to its lanes of `gathered`, NaN from the first bad frame of a lane on."""
        if not frames:
            return
        source = dict(zip(_SOURCES, buffers, strict=True))
        lanes = slice(tile.first, tile.first + tile.used)
        for name, target in gathered.items():
            if name in VARIABLES:
                variable = VARIABLES[name]
                values = source[variable.source]
                if variable.rows:
                    values = np.sum([values[..., row, :] for row in variable.rows], axis=0)
            else:
                values = self._observe(name, source, lanes, tile.used)
            target[:, lanes] = np.moveaxis(values[..., : tile.used], -1, 1).reshape(target[:, lanes].shape)
            for lane in np.flatnonzero(bad < frames):
                target[bad[lane] :, tile.first + lane] = np.nan

    def _observe(self, name: str, source: Mapping[str, np.ndarray], lanes: slice, used: int) -> np.ndarray:
        """An observable of the frames, lanes last."""
        observable = self._model.observables[name]
        frames = np.moveaxis(source[observable.of][..., :used], -1, 1)
        with np.errstate(all="ignore"):  # a diverged lane, which the guard names
            constants = self._block.constants_of_lanes(lanes)
            if observable.of == "x":  # frames are (F, L, S, n): a swept constant (L) must meet the lanes
                constants = {k: v[:, None] if isinstance(v, np.ndarray) else v for k, v in constants.items()}
            values = observable.function(frames, constants)
        return np.moveaxis(np.asarray(values, float), 1, -1)
