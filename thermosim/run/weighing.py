"""What is asked for, weighed against the memory and the disk there are, before anything is compiled, made or written.

Where it does not fit, what is told is the largest size that does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from thermosim.case.load import Case
from thermosim.case.settings import SECTIONS
from thermosim.engines import engine_of
from thermosim.plan.outline import Outline
from thermosim.run import inputs, machine
from thermosim.run.describe import sketch
from thermosim.run.fold import shapes_of_sums
from thermosim.run.footprint import Footprint, footprint, largest
from thermosim.run.kept import kept_of
from thermosim.storage.chunks import State, States, size_of_file, size_of_segments
from thermosim.storage.layout import Layout
from thermosim.storage.manifest import Manifest

__all__ = [
    "BYTES_OF_KERNELS",
    "BYTES_OF_WORKER",
    "Weight",
    "bytes_text",
    "disk_faults",
    "memory_faults",
    "refusal",
    "weight_of",
]

BYTES_OF_KERNELS = 120e6  # compiling, and libraries that are imported on the way
BYTES_OF_WORKER = 200e6  # before it has any replicas
_FINISHING = 40.0  # bytes of a replica of a point while the file is made and opened: its coordinates
_FORCE = "--force (force=True) runs it all the same."


@dataclass(frozen=True)
class Weight:
    """A case with so many replicas of each point, in bytes."""

    replicas: int
    points: int  # of the sweep, in each block
    takes: tuple[Footprint, ...]  # of each kind of block
    manifest: Manifest  # a sketch, whose cohorts are not told
    states: States
    inputs: tuple[int, ...]

    def with_replicas(self, replicas: int) -> Weight:
        """The same with so many replicas of each point."""
        takes = tuple(each.with_replicas(replicas) for each in self.takes)
        return replace(self, replicas=replicas, takes=takes, manifest=replace(self.manifest, replicas=replicas))

    @property
    def lanes(self) -> int:
        """Of each block."""
        return self.points * self.replicas

    @property
    def file(self) -> float:
        """The finished file."""
        return size_of_file(self.manifest, self.states, self.inputs)

    @property
    def state(self) -> float:
        """Of every lane, sealed once."""
        return size_of_segments(self.manifest, self.states)[1]

    def disk(self, virtual: bool = False, reached: int = -1, added: int = 0) -> float:
        """The most that lies on the disk at one time: what is sealed after step `reached`, and the file made of it.

        Of replicas that are `added` to each point everything is sealed.
        """
        frames, state = size_of_segments(self.manifest, self.states, reached)
        frames += size_of_segments(replace(self.manifest, replicas=added), self.states)[0] if added else 0.0
        copies = float(sum(self.inputs))
        return frames + 2.0 * state + copies + size_of_file(self.manifest, self.states, self.inputs, kept=not virtual)

    def memory(self, threads: int | None = None) -> float:
        """Of a run to a file that has no more lanes at a time than it must: a cohort."""
        least = max(each.running(math.ceil(each.cohort), threads) for each in self.takes)
        return max(least, _FINISHING * self.replicas + max(self.inputs, default=0))

    def memory_of_dataset(self, threads: int | None = None) -> float:
        """Of a run without a file: all lanes of one block after another, and what is kept of all of them."""
        arrays = Layout(self.manifest, reached=self.manifest.steps).arrays()
        framed = [array.nbytes for array in arrays if array.framed]
        frames, states = sum(framed), size_of_segments(self.manifest, self.states)[1]
        of_block = frames / len(self.manifest.blocks)
        running = max(each.running(self.lanes, threads, most_bytes=math.inf) for each in self.takes)
        coordinates = _FINISHING * self.replicas
        made = sum(array.nbytes for array in arrays) + max(framed, default=0.0) + coordinates
        return states + max(frames - of_block + running, made)


def weight_of(case: Case, blocks: list[Outline], device: str = "cpu") -> Weight:
    """Of a case whose blocks are planned; replicas that were added weigh as others do.

    The memory that is told is of the machine, with a device of this name making the steps.
    """
    blocks = blocks[: len(blocks) // (1 + len(case.settings.ensemble.added))]
    kinds = _kinds(blocks)
    takes = tuple(footprint(block, device) for block, _ in kinds)
    states = tuple((_state_of(block), number) for block, number in kinds)
    points = math.prod(len(axis.values) for axis in blocks[0].lane_axes)
    files = tuple(inputs.sizes_of_kept(case, blocks))
    whole = Weight(1, points, takes, sketch(case, blocks), states, files)
    return whole.with_replicas(case.settings.ensemble.replicas)


def _kinds(blocks: list[Outline]) -> list[tuple[Outline, int]]:
    """Blocks whose lanes take the same: one of each kind, and how many blocks are of it."""
    if len(blocks) == 1:
        return [(blocks[0], 1)]
    of_parts: dict[int, Any] = {}  # blocks share the sections in which they do not differ
    found: dict[Any, list[Outline]] = {}
    for block in blocks:
        settings = block.settings
        parts = [settings.model, *(getattr(settings, name) for name in SECTIONS)]
        for part in parts:
            if id(part) not in of_parts:
                of_parts[id(part)] = _kind(part.model_dump() if isinstance(part, BaseModel) else part and vars(part))
        found.setdefault(tuple(of_parts[id(part)] for part in parts), []).append(block)
    return [(several[0], len(several)) for several in found.values()]


def memory_faults(weight: Weight, in_memory: bool, threads: int | None = None, workers: int | None = None) -> list[str]:
    """A paragraph when a run takes more memory than is free.

    Here, or in so many processes with so many threads each.
    """

    def needed(weight: Weight) -> float:
        if in_memory:
            return weight.memory_of_dataset(threads) + BYTES_OF_KERNELS
        if workers is None:
            return weight.memory(threads) + BYTES_OF_KERNELS
        return workers * (weight.memory(threads) + BYTES_OF_WORKER)

    here, takes = machine.memory(), needed(weight)
    if takes <= here.free:
        return []
    has = f"this machine has {bytes_text(here.free)} free of {bytes_text(here.total)}"
    told = f"takes {bytes_text(takes)} of memory while it runs, {has}"
    remedies = [_largest_told(weight, lambda other: needed(other) <= here.free)]
    if workers is not None and workers > 1:
        each = takes / workers
        told = f"takes {bytes_text(takes)} of memory with {workers} workers, {bytes_text(each)} each; {has}"
        remedies.insert(0, f"--workers {max(1, int(here.free // each))}" if here.free >= each else "")
    if in_memory and weight.memory(threads) + BYTES_OF_KERNELS <= here.free:
        remedies.append("with an output, -o or simulate(case, output), it fits")
    return [_sentence(told, remedies)]


def disk_faults(
    weight: Weight, output: Path, virtual: bool, reached: int = -1, there: float = 0.0, added: int = 0
) -> list[str]:
    """A paragraph when the disk of the output cannot hold what is sealed and the file at the same time.

    `there` are bytes that lie there by now, `reached` is the last step of an ensemble that is extended, perhaps by so
    many replicas `added` to each point.
    """
    needed, free = weight.disk(virtual, reached, added) - there, machine.free_disk(output)
    if needed <= free:
        return []
    told = f"takes {bytes_text(needed)} on the disk of {output}, parts and finished file at once; {bytes_text(free)}"
    told += " are free there"
    remedies = [] if there or reached >= 0 else [_largest_told(weight, lambda other: other.disk(virtual) <= free)]
    if not virtual and (viewed := weight.disk(True, reached, added) - there) <= free:
        remedies.append(f"--virtual takes {bytes_text(viewed)}")
    return [_sentence(told, remedies)]


def refusal(weight: Weight, told: str, fits: Callable[[Weight], bool], remedies: list[str]) -> str:
    """A paragraph for what does not fit: what is told, the largest that fits, other remedies."""
    return _sentence(told, [_largest_told(weight, fits), *remedies])


def _sentence(told: str, remedies: list[str]) -> str:
    remedies = [one for one in remedies if one] or ["choose fewer replicas, points or samples, or record less"]
    return f"{told}; {'; '.join(remedies)}. {_FORCE}"


def _largest_told(weight: Weight, fits: Callable[[Weight], bool]) -> str:
    """The largest number of replicas, or of steps between frames the smallest, that fits."""
    replicas = largest(weight.replicas, lambda number: fits(weight.with_replicas(number)))
    if replicas:
        return f"the largest that fits is ensemble.replicas = {rounded_down(replicas):,}"
    one = weight.with_replicas(1)
    steps = weight.manifest.steps
    if fewer := largest(steps, lambda fewer: fits(_recorded_every(one, steps + 1 - fewer))):
        return f"a single replica of each point fits with record.every = {steps + 1 - fewer:,}"
    return "not even a single replica of each point fits: choose fewer points, samples or components"


def _recorded_every(weight: Weight, every: int) -> Weight:
    """The same with so many steps between frames of the grid, if there were fewer."""
    cadences = {name: replace(one, every=max(one.every, every)) for name, one in weight.manifest.cadences.items()}
    takes = tuple(replace(each, frames=min(each.frames, weight.manifest.steps // every + 1)) for each in weight.takes)
    return replace(weight, manifest=replace(weight.manifest, cadences=cadences), takes=takes)


def rounded_down(number: int) -> int:
    """To two digits, so that it can be read and still fits."""
    digits = max(0, len(str(number)) - 2)
    return number // 10**digits * 10**digits


def bytes_text(size: float) -> str:
    """A size in words."""
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.3g} {name}" if size < 1e18 else f"{size / unit:.3g} {name}"
    return f"{size / 1e3:.3g} kB"


def _kind(value: Any, key: str = "") -> Any:
    """What settings have in common whose lanes take the same: all but the values of numbers that are no sizes."""
    if isinstance(value, Mapping):
        return tuple((name, _kind(part, name)) for name, part in value.items())
    if isinstance(value, list):
        return len(value), len({str(part) for part in value}) > 1
    return (value == 0.0, value == 1.0) if isinstance(value, float) or key in ("tau", "seed") else value


def _state_of(outline: Outline) -> State:
    """The arrays that are sealed of a block to go on from."""
    state: dict[str, tuple[tuple[int, ...], int]] = {"status": ((), 1), "diverged_step": ((), 8)}
    state |= {name: (shape, 8) for name, shape in engine_of(name=outline.engine).state_shapes(outline.lane).items()}
    for one in kept_of(outline):
        if one.summary is not None:
            of_lane, of_cohort = shapes_of_sums(one.summary, math.prod(one.shape))
            state |= {f"summary/{one.name}/{name}": (shape, 8) for name, shape in of_lane.items()}
            state |= {f"cohorts/{one.name}/{name}": (shape, 8) for name, shape in of_cohort.items()}
    return state
