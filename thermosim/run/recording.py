"""Frames on their way from the kernels' buffers to stored variables and running summaries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from thermosim import cohorts
from thermosim.case.load import Case
from thermosim.engines.lanes.tiles import Tile, lanes_of_tile, of_tile
from thermosim.ledger import THETA_ROWS, VARIABLES, X_ROWS
from thermosim.plan.block import Block
from thermosim.run.fold import TileSummary, fold_cohorts
from thermosim.storage.manifest import Cadence, StoredCoordinate, StoredVariable, Summary
from thermosim.storage.summaries import RESULTS, declared

__all__ = ["Recorder", "recorded"]

_SOURCES = ("theta", "x", "phi", "theta_path", "x_path")
_ENSEMBLE = ("ensemble_mean", "ensemble_variance")


@dataclass(frozen=True)
class _Kept:
    """One variable of the case, and what is kept of it."""

    name: str
    shape: tuple[int, ...]  # after the replica
    frames: Cadence | None
    storage: str
    table: Cadence | None  # of what its own table keeps
    ensemble: tuple[str, ...]  # which of _ENSEMBLE
    summary: Summary | None


def recorded(case: Case, block: Block) -> dict[str, Any]:
    """What a manifest says of the recorded variables: `cadences`, `variables`, `coordinates` and `summaries`."""
    record = case.settings["record"]
    cadences = {"step": Cadence(record["first"], record["every"])}
    variables: dict[str, StoredVariable] = {}
    coordinates: dict[str, StoredCoordinate] = {}
    summaries = []
    for kept in _kept(case, block):
        dims, attributes = _meaning(case, block, kept.name)
        of_one = StoredVariable(tuple(dims), kept.shape, kept.storage, "replica", None, attributes)
        if kept.frames is not None:
            variables[kept.name] = replace(of_one, cadence=_dimension(cadences, kept.name, kept.frames))
        if kept.summary is None:
            continue
        dimension = _dimension(cadences, kept.name, kept.summary.cadence) if kept.ensemble else None
        of_summary, its_coordinates = declared(kept.summary, of_one, dimension)
        variables |= of_summary
        coordinates |= its_coordinates
        if any(variable.over == "cohort" for variable in of_summary.values()):
            coordinates["cohort_replicas"] = _cohort_sizes(block.replicas)
        summaries.append(kept.summary)
    return {"cadences": cadences, "variables": variables, "coordinates": coordinates, "summaries": tuple(summaries)}


def _cohort_sizes(replicas: int) -> StoredCoordinate:
    attributes = {"units": "1", "long_name": "replicas of each cohort"}
    return StoredCoordinate(("cohort",), tuple(np.diff(cohorts.bounds(replicas)).tolist()), attributes)


def _dimension(cadences: dict[str, Cadence], variable: str, cadence: Cadence) -> str:
    """The dimension of frames at this cadence: `step`, or one of the variable's own."""
    name = "step" if cadence == cadences["step"] else f"{variable}_step"
    cadences[name] = cadence
    return name


def _kept(case: Case, block: Block) -> list[_Kept]:
    record = case.settings["record"]
    axes, tables = {axis.name for axis in case.axes}, record["tables"]
    kept = []
    for name in dict.fromkeys([*record["variables"], *tables]):
        if name in axes:
            continue  # a swept radius is the coordinate of that name
        table = tables.get(name)
        own = Cadence(table["first"], table["every"]) if table else None
        frames = Cadence(record["first"], record["every"]) if name in record["variables"] else None
        storage = record["storage"]
        if table and "frames" in table["keep"]:
            frames, storage = own, table["storage"]
        ensemble = tuple(what for what in _ENSEMBLE if table and what in table["keep"])
        shape = tuple(block.sizes[dim] for dim in _meaning(case, block, name)[0])
        summary = _summary(name, shape, table) if table else None
        kept.append(_Kept(name, shape, frames, storage, own, ensemble, summary))
    return kept


def _summary(name: str, shape: tuple[int, ...], table: Mapping[str, Any]) -> Summary | None:
    """What a table keeps besides frames, if anything."""
    keep = tuple(kind for kind in table["keep"] if kind in RESULTS)
    ends = tuple(table["range"]) if table["range"] else None
    cadence = Cadence(table["first"], table["every"])
    return Summary(name, shape, cadence, keep, ends, table["bins"], table["lags"]) if keep else None


def _meaning(case: Case, block: Block, name: str) -> tuple[list[str], dict[str, str]]:
    """Dimensions after the replica, and attributes."""
    if name in VARIABLES:
        variable = VARIABLES[name]
        return [d for d in variable.dims if d != "sample" or block.samples > 1], variable.attributes
    observable = case.model.observables[name]
    attributes = {"units": observable.units, "long_name": observable.long_name, "equation": observable.equation}
    return ["sample"] if observable.of == "x" and block.samples > 1 else [], attributes


@dataclass
class Chunk:
    """What one call of the kernels records."""

    steps: np.ndarray  # at which frames were copied
    next_frame: int  # the first of them, or the next one due
    stored: dict[str, np.ndarray] = field(default_factory=dict)  # variable: (frames, lanes or cohorts, ...)
    whole: dict[str, np.ndarray] = field(default_factory=dict)  # variables to be summed over cohorts (frames, lanes, K)


class Recorder:
    """Everything that is recorded of some lanes of a block.

    Kernels copy frames at the steps of one grid, the coarsest that holds all cadences; each variable picks its own.
    """

    def __init__(self, case: Case, block: Block, tiles: list[Tile]) -> None:
        self._block, self._model, self._tiles = block, case.model, tiles
        self._kept = _kept(case, block)
        names = [kept.name for kept in self._kept]
        sources = {VARIABLES[v].source if v in VARIABLES else case.model.observables[v].of for v in names}
        guarded = set() if block.theta_dynamics in ("protocol", "frozen") else {"theta", "theta_path"}
        self._wanted = sources | guarded | ({"x", "phi", "x_path"} if block.samples else set())
        m, n, s = block.parameters, block.components, block.samples
        self._shapes = {"theta": (m,), "x": (s, n), "phi": (s,), "theta_path": (THETA_ROWS,), "x_path": (s, X_ROWS)}
        self._buffers: dict[int, tuple[np.ndarray, ...]] = {}
        self.grid = _grid([c for kept in self._kept for c in (kept.frames, kept.table) if c is not None])
        self._edges = cohorts.bounds(block.replicas)
        self._cohorts = cohorts.slice_of(block.replicas, block.first_lane, block.lanes)
        self._summaries = [self._tile_summaries(tile) for tile in tiles]

    def _tile_summaries(self, tile: Tile) -> dict[str, tuple[int, TileSummary]]:
        """For each summarised variable its first cohort in the tile, counted from the block part's, and its sums."""
        numbers = cohorts.numbers(self._block.replicas, self._block.first_lane + lanes_of_tile(tile, self._block.lanes))
        first = int(numbers[0])
        return {
            kept.name: (
                first - self._cohorts.start,
                TileSummary(kept.summary, math.prod(kept.shape), tile.width, numbers - first),
            )
            for kept in self._kept
            if kept.summary is not None
        }

    @property
    def bytes_per_frame(self) -> int:
        """Memory that one frame of the grid takes on its way."""
        numbers = sum(math.prod(self._shapes[name]) for name in self._wanted)
        return 8 * self._block.lanes * (numbers + sum(math.prod(kept.shape) for kept in self._kept))

    def last_step_within(self, start: int, stop: int, room: int) -> int:
        """The largest step up to `stop` that adds at most `room` frames of the grid after `start`."""
        return min(stop, self.grid.first + (self.grid.until(start) + room) * self.grid.every - 1)

    @property
    def stored_bytes_per_frame(self) -> float:
        """Bytes that are stored for each frame of the grid, those of slower variables shared out."""
        return sum(
            math.prod(shape) * np.dtype(kind).itemsize * self.grid.every / cadence.every
            for _, cadence, shape, kind in self._stored()
        )

    def _stored(self) -> Iterator[tuple[str, Cadence, tuple[int, ...], str]]:
        """Name, cadence, shape of a frame and type of everything stored frame by frame."""
        count = self._cohorts.stop - self._cohorts.start
        for kept in self._kept:
            if kept.frames is not None:
                yield kept.name, kept.frames, (self._block.lanes, *kept.shape), kept.storage
            if kept.table is not None:
                for what in kept.ensemble:
                    yield f"{kept.name}_{what}", kept.table, (count, *kept.shape), "float64"

    def store(self, frames: int) -> dict[str, np.ndarray]:
        """Memory for so many frames of the grid in a row: variable: (frames, lanes or cohorts, ...)."""
        arrays = {}
        for name, cadence, shape, kind in self._stored():
            most = min(cadence.until(self._block.steps), frames * self.grid.every // cadence.every + 1)
            arrays[name] = np.empty((most, *shape), kind)
        return arrays

    def chunk(self, start: int, stop: int, store: Mapping[str, np.ndarray], filled: Mapping[str, int]) -> Chunk:
        """What is recorded at steps in (start, stop], to be put in the store behind what is there."""
        first, last = self.grid.until(start), self.grid.until(stop)
        steps = self.grid.first + self.grid.every * np.arange(first, last)
        chunk = Chunk(steps, self.grid.first + self.grid.every * first)
        for name, cadence, _, _ in self._stored():
            begin = filled.get(name, 0)
            chunk.stored[name] = store[name][begin : begin + len(cadence.within(steps))]
        for kept in self._kept:
            if kept.ensemble and kept.table is not None:
                shape = (len(kept.table.within(steps)), self._block.lanes, math.prod(kept.shape))
                chunk.whole[kept.name] = np.empty(shape)
        return chunk

    def buffers(self, position: int, tile: Tile, frames: int) -> tuple[np.ndarray, ...]:
        """Frame buffers of one tile, as the kernel takes them; none for what nobody wants."""
        held = self._buffers.get(position)
        if held is None or max(len(b) for b in held) < frames:
            held = tuple(
                np.empty((frames if name in self._wanted else 0, *self._shapes[name], tile.width)) for name in _SOURCES
            )
            self._buffers[position] = held
        return tuple(buffer[:frames] for buffer in held)

    def gather(self, position: int, buffers: tuple[np.ndarray, ...], bad: np.ndarray, chunk: Chunk) -> None:
        """Take a tile's frames to where they are kept, NaN from the first bad frame of a lane on."""
        if not len(chunk.steps):
            return
        tile = self._tiles[position]
        source = dict(zip(_SOURCES, buffers, strict=True))
        lanes = slice(tile.first, tile.first + tile.used)
        for kept in self._kept:
            values = self._values(kept.name, source, tile)
            values = values.reshape(len(chunk.steps), -1, tile.width)
            diverged = np.flatnonzero(bad < len(chunk.steps))
            if len(diverged):
                values = values.copy()
                for lane in diverged:
                    values[bad[lane] :, :, lane] = np.nan
            by_lane = np.moveaxis(values[..., : tile.used], -1, 1)
            if kept.frames is not None:
                target = chunk.stored[kept.name]
                with np.errstate(over="ignore"):  # beyond float32: infinite
                    target[:, lanes] = _picked(by_lane, kept.frames, chunk.steps).reshape(target[:, lanes].shape)
            if kept.ensemble and kept.table is not None:
                chunk.whole[kept.name][:, lanes] = _picked(by_lane, kept.table, chunk.steps)
            if kept.summary is not None and kept.table is not None:
                picked = _picked(values, kept.table, chunk.steps)
                before = kept.table.until(int(chunk.steps[0]) - 1)
                _, summary = self._summaries[position][kept.name]
                summary.fold(np.ascontiguousarray(picked), before, tile.used)

    def finish(self, chunk: Chunk) -> None:
        """Sum over cohorts, once every tile has been gathered."""
        replicas = self._block.replicas
        for kept in self._kept:
            if kept.name not in chunk.whole:
                continue
            numbers = np.arange(self._cohorts.start, self._cohorts.stop + 1)
            points, cohort = np.divmod(numbers, len(self._edges) - 1)
            edges = (points * replicas + self._edges[cohort]) - self._block.first_lane
            mean, variance = fold_cohorts(chunk.whole[kept.name], edges)
            for what, values in zip(_ENSEMBLE, (mean, variance), strict=True):
                if what in kept.ensemble:
                    target = chunk.stored[f"{kept.name}_{what}"]
                    target[:] = values.reshape(target.shape)

    def snapshot(self) -> dict[str, np.ndarray]:
        """The running sums of all lanes: part of the state."""
        arrays: dict[str, np.ndarray] = {}
        count = self._cohorts.stop - self._cohorts.start
        for kept in self._kept:
            if kept.summary is None:
                continue
            tiles = [summaries[kept.name] for summaries in self._summaries]
            for name in tiles[0][1].lanes:
                parts = [s.lanes[name][..., : t.used] for (_, s), t in zip(tiles, self._tiles, strict=True)]
                arrays[f"summary/{kept.name}/{name}"] = np.concatenate(parts, axis=-1)
            for name, array in tiles[0][1].cohorts.items():
                total = np.zeros((*array.shape[:-1], count), array.dtype)
                for first, summary in tiles:
                    part = summary.cohorts[name]
                    total[..., first : first + part.shape[-1]] += part
                arrays[f"cohorts/{kept.name}/{name}"] = total
        return arrays

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up a snapshot."""
        taken = 0  # cohorts that an earlier tile has taken up: a cohort may lie in two
        for tile, summaries in zip(self._tiles, self._summaries, strict=True):
            end = taken
            for name, (first, summary) in summaries.items():
                for part, held in summary.lanes.items():
                    held[:] = of_tile(arrays[f"summary/{name}/{part}"], tile)
                for part, held in summary.cohorts.items():
                    begin, end = max(first, taken), first + held.shape[-1]
                    held[:] = 0
                    held[..., begin - first :] = arrays[f"cohorts/{name}/{part}"][..., begin:end]
            taken = end

    def _values(self, name: str, source: Mapping[str, np.ndarray], tile: Tile) -> np.ndarray:
        """A variable in every frame, lanes last."""
        if name not in VARIABLES:
            return self._observe(name, source, tile)
        variable = VARIABLES[name]
        values = source[variable.source]
        return np.sum([values[..., row, :] for row in variable.rows], axis=0) if variable.rows else values

    def _observe(self, name: str, source: Mapping[str, np.ndarray], tile: Tile) -> np.ndarray:
        """An observable of the frames, lanes last; of all lanes of the tile, so that no bit depends on its width."""
        observable = self._model.observables[name]
        frames = np.moveaxis(source[observable.of], -1, 1)
        with np.errstate(all="ignore"):  # a diverged lane, which the guard names
            constants = self._block.constants_of_lanes(lanes_of_tile(tile, self._block.lanes))
            if observable.of == "x":  # frames are (F, L, S, n): a swept constant (L) must meet the lanes
                constants = {k: v[:, None] if isinstance(v, np.ndarray) else v for k, v in constants.items()}
            values = observable.function(frames, constants)
        return np.ascontiguousarray(np.moveaxis(np.asarray(values, float), 1, -1))


def _grid(cadences: list[Cadence]) -> Cadence:
    first = min(cadence.first for cadence in cadences)
    every = math.gcd(*(cadence.every for cadence in cadences), *(cadence.first - first for cadence in cadences))
    return Cadence(first, every)


def _picked(values: np.ndarray, cadence: Cadence, steps: np.ndarray) -> np.ndarray:
    """The frames at a cadence; all of them without a copy."""
    positions = cadence.within(steps)
    return values if len(positions) == len(steps) else values[positions]
