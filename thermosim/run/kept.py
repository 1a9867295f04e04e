"""What is kept of the variables of a case, and what an engine is told of it that keeps frames to itself."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thermosim import cohorts
from thermosim.case.record import RecordTable
from thermosim.engines.engine import Sum, Watch
from thermosim.ledger import variables_of
from thermosim.plan.block import Block
from thermosim.plan.outline import Outline
from thermosim.run.fold import shapes_of_sums
from thermosim.storage.manifest import Cadence, Summary
from thermosim.storage.summaries import RESULTS, bin_edges

__all__ = [
    "ENSEMBLE",
    "Kept",
    "bytes_of_sums",
    "dims_of",
    "edges_of",
    "grid_of",
    "kept_of",
    "sums_of",
    "wanted_of",
    "watch_of",
]

ENSEMBLE = ("ensemble_mean", "ensemble_variance")


@dataclass(frozen=True)
class Kept:
    """One variable of the case, and what is kept of it."""

    name: str
    shape: tuple[int, ...]  # after the replica
    frames: Cadence | None
    storage: str
    table: Cadence | None  # of what its own table keeps
    ensemble: tuple[str, ...]  # which of ENSEMBLE
    summary: Summary | None


@functools.lru_cache(maxsize=64)
def kept_of(outline: Outline) -> list[Kept]:
    record = outline.settings.record
    axes, tables, sizes = {axis.name for axis in outline.axes}, record.tables, outline.sizes
    frame_names = record.variables or ()
    kept = []
    for name in outline.variables:
        if name in axes:
            continue  # a swept radius is the coordinate of that name
        table = tables.get(name)
        own = Cadence(table.first or 0, table.every or 1) if table else None
        frames = Cadence(record.first, record.every or 1) if name in frame_names else None
        storage: str = record.storage
        if table and "frames" in table.keep:
            frames, storage = own, table.storage or storage
        ensemble = tuple(what for what in ENSEMBLE if table and what in table.keep)
        shape = tuple(sizes[dim] for dim in dims_of(outline, name))
        summary = _summary(name, shape, table) if table else None
        kept.append(Kept(name, shape, frames, storage, own, ensemble, summary))
    return kept


@functools.lru_cache(maxsize=64)
def sums_of(outline: Outline) -> tuple[Sum, ...]:
    """What an engine can sum up where its lanes are: variables that are made of what it delivers."""
    variables = variables_of(outline.model.rows)
    found = []
    for kept in kept_of(outline):
        if kept.table is None or kept.name not in variables or (kept.summary is None and not kept.ensemble):
            continue
        rows, lags = math.prod(kept.shape), 0
        of_lane: dict[str, tuple[int, ...]] = {}
        bins = None
        if kept.summary is not None:
            (of_lane, of_cohort), lags = shapes_of_sums(kept.summary, rows), kept.summary.lags
            bins = bin_edges(kept.summary) if of_cohort else None
        terms = variables[kept.name].terms or (kept.name,)
        first, every = kept.table.first, kept.table.every
        found.append(Sum(kept.name, terms, rows, first, every, of_lane, lags, bins, bool(kept.ensemble)))
    return tuple(found)


def bytes_of_sums(outline: Outline) -> float:
    """Of these sums, for each lane; those of cohorts shared out."""
    share = cohorts.per_point(outline.replicas) / outline.replicas
    numbers = 0.0
    for one in sums_of(outline):
        numbers += sum(map(math.prod, one.of_lane.values()))
        numbers += 0.0 if one.bins is None else one.rows * (len(one.bins) + 1) * share
    return 8.0 * numbers


@functools.lru_cache(maxsize=64)
def wanted_of(outline: Outline) -> frozenset[str]:
    """The delivered variables of which frames are needed even where an engine makes the sums."""
    variables, wanted = variables_of(outline.model.rows), set[str]()
    for kept in kept_of(outline):
        if kept.name not in variables:
            wanted.add(outline.model.observables[kept.name].of)
        elif kept.frames is not None:
            wanted.update(variables[kept.name].terms or (kept.name,))
    return frozenset(wanted)


def watch_of(outline: Outline, block: Block, limit: Callable[[str], float | np.ndarray]) -> Watch:
    """What an engine is to do with the frames of a block, beyond which `limit` a variable has diverged."""
    return Watch({name: limit(name) for name in block.delivered}, edges_of(block), sums_of(outline), wanted_of(outline))


def edges_of(block: Block) -> np.ndarray:
    """Lanes of a block at which cohorts begin and end."""
    bounds, here = cohorts.bounds(block.replicas), cohorts.slice_of(block.replicas, block.first_lane, block.lanes)
    points, cohort = np.divmod(np.arange(here.start, here.stop + 1), len(bounds) - 1)
    return np.asarray(points * block.replicas + bounds[cohort]) - block.first_lane


def _summary(name: str, shape: tuple[int, ...], table: RecordTable) -> Summary | None:
    """What a table keeps besides frames, if anything."""
    keep = tuple(kind for kind in table.keep if kind in RESULTS)
    ends = (table.range[0], table.range[1]) if table.range else None
    cadence = Cadence(table.first or 0, table.every or 1)
    return Summary(name, shape, cadence, keep, ends, table.bins or 0, table.lags or 0) if keep else None


def dims_of(outline: Outline, name: str) -> list[str]:
    """Dimensions after the replica."""
    several = outline.sizes["sample"] > 1
    variable = variables_of(outline.model.rows).get(name)
    if variable is not None:
        return [d for d in variable.dims if d != "sample" or several]
    return ["sample"] if outline.model.observables[name].of == "x" and several else []


def grid_of(cadences: list[Cadence]) -> Cadence:
    """The coarsest that holds all of these."""
    first = min(cadence.first for cadence in cadences)
    every = math.gcd(*(cadence.every for cadence in cadences), *(cadence.first - first for cadence in cadences))
    return Cadence(first, every)
