"""Frames on their way from an engine to stored variables and running summaries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from thermosim import cohorts
from thermosim.data.sources import theta_of
from thermosim.engines.engine import Seen
from thermosim.ledger import variables_of
from thermosim.plan.block import Block
from thermosim.plan.outline import Outline
from thermosim.run.fold import TileSummary, fold_cohorts
from thermosim.run.kept import ENSEMBLE, Kept, dims_of, edges_of, grid_of, kept_of, sums_of, wanted_of
from thermosim.storage.manifest import Cadence, StoredCoordinate, StoredVariable
from thermosim.storage.summaries import declared

__all__ = ["Recorder", "recorded"]

_FEW = 8  # numbers of a lane that are copied one by one: numpy's loops would be as short
_MULTIPLE = 32  # lanes: observables are numpy's, whose last bits can depend on where a lane is in its array


def recorded(outline: Outline, replicas: Sequence[int]) -> dict[str, Any]:
    """What a manifest says of the recorded variables: `cadences`, `variables`, `coordinates` and `summaries`.

    `replicas` are those of each series of addresses.
    """
    record, meanings = outline.settings.record, _meanings(outline)
    cadences = {"step": Cadence(record.first, record.every or 1)}
    variables: dict[str, StoredVariable] = {}
    coordinates: dict[str, StoredCoordinate] = {}
    summaries = []
    for kept in kept_of(outline):
        dims, attributes = tuple(dims_of(outline, kept.name)), meanings[kept.name]
        of_one = StoredVariable(dims, kept.shape, kept.storage, "replica", None, attributes)
        if kept.frames is not None:
            variables[kept.name] = replace(of_one, cadence=_dimension(cadences, kept.name, kept.frames))
        if kept.summary is None:
            continue
        dimension = _dimension(cadences, kept.name, kept.summary.cadence) if kept.ensemble else None
        of_summary, its_coordinates = declared(kept.summary, of_one, dimension)
        variables |= of_summary
        coordinates |= its_coordinates
        if any(variable.over == "cohort" for variable in of_summary.values()):
            coordinates["cohort_replicas"] = _cohort_sizes(replicas)
        summaries.append(kept.summary)
    return {"cadences": cadences, "variables": variables, "coordinates": coordinates, "summaries": tuple(summaries)}


def _cohort_sizes(replicas: Sequence[int]) -> StoredCoordinate:
    attributes = {"units": "1", "long_name": "replicas of each cohort"}
    sizes = np.concatenate([np.diff(cohorts.bounds(each)) for each in replicas])
    return StoredCoordinate(("cohort",), tuple(sizes.tolist()), attributes)


def _dimension(cadences: dict[str, Cadence], variable: str, cadence: Cadence) -> str:
    """The dimension of frames at this cadence: `step`, or one of the variable's own."""
    name = "step" if cadence == cadences["step"] else f"{variable}_step"
    cadences[name] = cadence
    return name


def _meanings(outline: Outline) -> dict[str, dict[str, str]]:
    """Attributes of all that is recorded."""
    names, known = set(outline.variables), variables_of(outline.model.rows)
    observables = {name: one for name, one in outline.model.observables.items() if name in names and name not in known}
    return {name: variable.attributes for name, variable in known.items() if name in names} | {
        name: {"units": one.units, "long_name": one.long_name, "equation": one.equation}
        for name, one in observables.items()
    }


@dataclass
class Chunk:
    """What one call of the kernels records."""

    steps: np.ndarray  # at which frames were copied
    next_frame: int  # the first of them, or the next one due
    picked: dict[Cadence, slice | np.ndarray] = field(default_factory=dict)  # which of them each cadence takes
    stored: dict[str, np.ndarray] = field(default_factory=dict)  # variable: (frames, lanes or cohorts, ...)
    whole: dict[str, np.ndarray] = field(default_factory=dict)  # variables to be summed over cohorts (frames, K, lanes)


class Recorder:
    """Everything that is recorded of some lanes of a block.

    Kernels copy frames at the steps of one grid, the coarsest that holds all cadences; each variable picks its own.
    """

    def __init__(self, outline: Outline, block: Block, pieces: Sequence[slice], watched: bool = False) -> None:
        """Of the lanes of a block that come in these pieces; `watched` by an engine that makes the sums itself."""
        self._block, self._outline, self._model = block, outline, outline.model
        self._pieces = list(pieces)
        self._variables = variables_of(outline.model.rows)
        self._kept = kept_of(outline)
        self.grid = grid_of([c for kept in self._kept for c in (kept.frames, kept.table) if c is not None])
        self._summed = {one.name for one in sums_of(outline)} if watched else set()
        numbers = block.frame_size + sum(math.prod(kept.shape) for kept in self._kept)
        if watched:  # only what goes to the host
            wanted = wanted_of(outline)
            numbers = sum(math.prod(block.shape(name)) for name in wanted if name in block.delivered)
            numbers += sum(math.prod(kept.shape) for kept in self._kept if self._on_host(kept))
        self.bytes_per_frame = 8 * block.lanes * numbers  # memory that one frame of the grid takes on its way
        self._cohorts = cohorts.slice_of(block.replicas, block.first_lane, block.lanes)
        self._summaries = {piece.start: self._piece_summaries(piece) for piece in self._pieces}

    def _piece_summaries(self, piece: slice) -> dict[str, tuple[int, TileSummary]]:
        """For each summarised variable its first cohort in the piece, counted from the block's, and its sums."""
        if not any(kept.summary for kept in self._kept):
            return {}
        lanes = _padded(np.arange(piece.start, piece.stop))
        numbers = cohorts.numbers(self._block.replicas, self._block.first_lane + lanes)
        first = int(numbers[0])
        return {
            kept.name: (
                first - self._cohorts.start,
                TileSummary(kept.summary, math.prod(kept.shape), len(lanes), numbers - first),
            )
            for kept in self._kept
            if kept.summary is not None and kept.name not in self._summed
        }

    def _on_host(self, kept: Kept) -> bool:
        """Whether its values are needed here: as frames, or for sums that are made here."""
        return kept.frames is not None or kept.name not in self._summed

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
        chunk, counts = Chunk(steps, self.grid.first + self.grid.every * first), {}
        for cadence in {cadence for kept in self._kept for cadence in (kept.frames, kept.table) if cadence}:
            positions = cadence.within(steps)
            counts[cadence] = len(positions)
            # all of them without a copy
            chunk.picked[cadence] = slice(None) if len(positions) == len(steps) else positions
        for name, cadence, _, _ in self._stored():
            begin = filled.get(name, 0)
            chunk.stored[name] = store[name][begin : begin + counts[cadence]]
        for kept in self._kept:
            if kept.ensemble and kept.table is not None and kept.name not in self._summed:
                chunk.whole[kept.name] = np.empty((counts[kept.table], math.prod(kept.shape), self._block.lanes))
        return chunk

    def take_ensembles(self, seen: Seen, chunk: Chunk) -> None:
        """Take sums over cohorts that an engine has made."""
        for name, (mean, variance) in seen.ensembles.items():
            for what, values in zip(ENSEMBLE, (mean, variance), strict=True):
                if f"{name}_{what}" in chunk.stored:
                    target = chunk.stored[f"{name}_{what}"][:, seen.cohorts]
                    target[:] = values.reshape(target.shape)

    def gather(self, lanes: slice, frames: Mapping[str, np.ndarray], bad: np.ndarray, chunk: Chunk) -> None:
        """Take a piece's frames to where they are kept, NaN from the first bad frame of a lane on."""
        if not len(chunk.steps):
            return
        for kept in filter(self._on_host, self._kept):
            values = self._values(kept.name, frames, lanes, bad)  # (F, ..., lanes)
            values = values.reshape(len(chunk.steps), -1, values.shape[-1])
            diverged = np.flatnonzero(bad < len(chunk.steps))
            if len(diverged):
                values = values.copy()
                for lane in diverged:
                    values[bad[lane] :, :, lane] = np.nan
            if kept.frames is not None:
                with np.errstate(over="ignore"):  # beyond float32: infinite
                    _put(values[chunk.picked[kept.frames]], chunk.stored[kept.name][:, lanes])
            if kept.name in chunk.whole and kept.table is not None:
                chunk.whole[kept.name][..., lanes] = values[chunk.picked[kept.table]]
            if kept.summary is not None and kept.table is not None and kept.name not in self._summed:
                picked = _padded(values[chunk.picked[kept.table]])
                before = kept.table.until(int(chunk.steps[0]) - 1)
                _, summary = self._summaries[lanes.start][kept.name]
                summary.fold(np.ascontiguousarray(picked), before, lanes.stop - lanes.start)

    def finish(self, chunk: Chunk) -> None:
        """Sum over cohorts, once every tile has been gathered."""
        for kept in self._kept:
            if kept.name not in chunk.whole:
                continue
            mean, variance = fold_cohorts(chunk.whole[kept.name], edges_of(self._block))
            for what, values in zip(ENSEMBLE, (mean, variance), strict=True):
                if what in kept.ensemble:
                    target = chunk.stored[f"{kept.name}_{what}"]
                    target[:] = values.reshape(target.shape)

    def snapshot(self) -> dict[str, np.ndarray]:
        """The running sums of all lanes: part of the state."""
        arrays: dict[str, np.ndarray] = {}
        count = self._cohorts.stop - self._cohorts.start
        for kept in self._kept:
            if kept.summary is None or kept.name in self._summed:
                continue
            of_pieces = [(piece, *self._summaries[piece.start][kept.name]) for piece in self._pieces]
            for name in of_pieces[0][2].lanes:
                parts = [sums.lanes[name][..., : piece.stop - piece.start] for piece, _, sums in of_pieces]
                arrays[f"summary/{kept.name}/{name}"] = np.concatenate(parts, axis=-1)
            for name, array in of_pieces[0][2].cohorts.items():
                total = np.zeros((*array.shape[:-1], count), array.dtype)
                for _, first, sums in of_pieces:
                    part = sums.cohorts[name]
                    total[..., first : first + part.shape[-1]] += part
                arrays[f"cohorts/{kept.name}/{name}"] = total
        return arrays

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up a snapshot."""
        taken = 0  # cohorts that an earlier piece has taken up: a cohort may lie in two
        for piece in self._pieces:
            end = taken
            for name, (first, sums) in self._summaries[piece.start].items():
                for part, held in sums.lanes.items():
                    held[:] = _padded(arrays[f"summary/{name}/{part}"][..., piece])
                for part, held in sums.cohorts.items():
                    begin, end = max(first, taken), first + held.shape[-1]
                    held[:] = 0
                    held[..., begin - first :] = arrays[f"cohorts/{name}/{part}"][..., begin:end]
            taken = end

    def _values(self, name: str, frames: Mapping[str, np.ndarray], lanes: slice, bad: np.ndarray) -> np.ndarray:
        """A variable in every frame, lanes last."""
        if name not in self._variables:
            return self._observe(name, frames, lanes, bad)
        terms = [_lanes_last(frames[term]) for term in self._variables[name].terms or (name,)]
        return np.sum(terms, axis=0) if len(terms) > 1 else terms[0]

    def _observe(self, name: str, frames: Mapping[str, np.ndarray], lanes: slice, bad: np.ndarray) -> np.ndarray:
        """An observable of the frames, lanes last; of a multiple of lanes, so that no bit depends on their number.

        Lanes that diverged have the model's start or x = 0 instead: some functions fail for all at what is not finite.
        """
        observable = self._model.observables[name]
        states = np.moveaxis(_padded(_lanes_last(frames[observable.of])), -1, 1)
        bad = _padded(bad)
        if len(diverged := np.flatnonzero(bad < len(states))):
            states = states.copy(order="K")  # the order of sums goes with that in memory
            start = theta_of(self._model, self._outline.settings.model.constants, {}) if observable.of == "theta" else 0
            for lane in diverged:
                states[bad[lane] :, lane] = start
        numbers = self._block.first_lane + _padded(np.arange(lanes.start, lanes.stop))
        with np.errstate(all="ignore"):  # a diverged lane, which the guard names
            constants = self._outline.constants_of(numbers)
            if observable.of == "x":  # frames are (F, L, S, n): a swept constant (L) must meet the lanes
                constants = {k: v[:, None] if isinstance(v, np.ndarray) else v for k, v in constants.items()}
            values = np.asarray(observable.function(states, constants), float)
        return np.ascontiguousarray(np.moveaxis(values, 1, -1)[..., : lanes.stop - lanes.start])


def _padded(array: np.ndarray) -> np.ndarray:
    """Lanes (..., L) with the last one repeated up to a multiple; the same array where there is nothing to add."""
    missing = -array.shape[-1] % _MULTIPLE
    return np.concatenate([array, np.repeat(array[..., -1:], missing, axis=-1)], axis=-1) if missing else array


def _lanes_last(array: np.ndarray) -> np.ndarray:
    """Of frames (F, lanes, ...), a view."""
    return array.transpose(0, *range(2, array.ndim), 1)


def _put(values: np.ndarray, target: np.ndarray) -> None:
    """Values (F, K, lanes) to their place (F, lanes, ...)."""
    frames, count, lanes = values.shape
    flat = target.reshape(frames, lanes, count, copy=False)
    if count > _FEW:
        flat[...] = values.transpose(0, 2, 1)
        return
    for number in range(count):
        flat[:, :, number] = values[:, number]
