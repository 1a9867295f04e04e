"""What the parts of a run say of themselves: everything needed to go on with it, or to read it.

A manifest is made by `run/describe.py`, and replaced as a whole when something is sealed (see `manifest_file`). What
the settings of the case are is nothing to storage: they are kept as plain JSON values, and never looked into.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from thermosim import addresses
from thermosim.storage.durable import digest

__all__ = [
    "FORMAT", "Axis", "Base", "Cadence", "Manifest", "Origin", "Output", "SealedFile", "Segment",
    "StoredCoordinate", "StoredVariable", "Stretch", "Summary",
]  # fmt: skip

FORMAT = 3  # of the parts, and of the one file made of them


@dataclass(frozen=True)
class Origin:
    """What was asked for and what answered it: the case, and everything that its numbers depend on."""

    title: str
    case: str  # TOML as run
    overrides: Mapping[str, Any]  # dotted keys of the case that were given anew
    settings: Mapping[str, Any]
    model_source: str  # text of a user's model; empty for one of thermosim
    seed: int
    thermosim_version: str
    python: str
    packages: Mapping[str, str]
    fingerprint: Mapping[str, str]  # digests and versions of what decides the bits, by a name for readers
    data_sha256: str  # of the rows that are learned; empty without data

    def attributes(self) -> dict[str, Any]:
        """The same as strings and numbers, which is all that netCDF and xarray take."""
        return dict(self._told)

    @functools.cached_property
    def _told(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: json.dumps(value) if name in _TABLES else value for name, value in named.items()}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Origin:
        """What the attributes of a finished file tell. Raises KeyError or ValueError where they do not."""
        told = {name: attributes[name] for name in cls.__dataclass_fields__}
        return cls(**told | {name: json.loads(told[name]) for name in _TABLES})


_TABLES = ("overrides", "settings", "packages", "fingerprint")


@dataclass(frozen=True)
class Axis:
    """An axis of the sweep. Points of a structural one are blocks, of any other one lanes of each block."""

    key: str
    values: tuple[Any, ...]
    structural: bool

    @property
    def name(self) -> str:
        """The name of the dimension: the last part of the key."""
        return self.key.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class Cadence:
    """Steps first, first + every, ..."""

    first: int
    every: int

    def until(self, step: int) -> int:
        """How many of them are at most `step`."""
        return 0 if step < self.first else (step - self.first) // self.every + 1

    def between(self, first_step: int, step: int) -> tuple[int, int]:
        """Numbers of those in (first_step, step]: start and stop."""
        return self.until(first_step), self.until(step)

    def within(self, steps: np.ndarray) -> np.ndarray:
        """Positions of those among `steps`."""
        return np.flatnonzero((steps >= self.first) & ((steps - self.first) % self.every == 0))


@dataclass(frozen=True)
class StoredVariable:
    """A variable; `dims` and `shape` are those after the replica or cohort."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    over: str  # "replica" or "cohort"
    cadence: str | None  # dimension of its frames; None: one value of the whole run
    attributes: Mapping[str, Any]  # units, long_name, equation


@dataclass(frozen=True)
class StoredCoordinate:
    """A coordinate that neither cadences nor axes give."""

    dims: tuple[str, ...]
    values: tuple[Any, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Summary:
    """What is kept of one variable apart from its frames. `range` and `bins` are of the histogram, `lags` of the
    correlation, in units of the cadence; they mean nothing where these are not kept."""

    variable: str
    shape: tuple[int, ...]  # of the variable in one lane
    cadence: Cadence
    keep: tuple[str, ...]
    range: tuple[float, float] | None
    bins: int
    lags: int


@dataclass(frozen=True)
class SealedFile:
    """A file in the folder of the parts, as it was when it was sealed."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path, name: str | None = None) -> SealedFile:
        """Of a file that is to be known by this name, or has it. Raises OSError."""
        return cls(name or path.name, path.stat().st_size, digest(path))


@dataclass(frozen=True)
class Stretch:
    """A rectangle of a block: its lanes, and the steps (first_step, step]; from -1, the frame of step 0 included."""

    block: int
    first_lane: int
    lanes: int
    first_step: int
    step: int

    @property
    def end_lane(self) -> int:
        """The first lane after it."""
        return self.first_lane + self.lanes

    @property
    def name(self) -> str:
        """What the names of its files say: first and last lane, first and last step. No other rectangle has it."""
        lanes = f"l{self.first_lane:010d}-{self.end_lane - 1:010d}"
        return f"b{self.block}-{lanes}-s{self.first_step + 1:010d}-{self.step:010d}"


@dataclass(frozen=True)
class Segment(Stretch):
    """A sealed rectangle: where its frames are, and the state after its last step. None: there are none, or no more."""

    frames: SealedFile | None
    state: SealedFile | None

    @property
    def rectangle(self) -> Stretch:
        """The rectangle alone: two segments of the same one hold the same."""
        return Stretch(self.block, self.first_lane, self.lanes, self.first_step, self.step)

    @property
    def files(self) -> tuple[SealedFile, ...]:
        """Those that there are."""
        return tuple(file for file in (self.frames, self.state) if file is not None)


@dataclass(frozen=True)
class Base:
    """The ensemble that is being extended: a finished file with everything up to a step of some replicas."""

    file: SealedFile
    step: int
    replicas: int | None = None  # of every point, the first ones; None: all that the manifest has


@dataclass(frozen=True)
class Output:
    """The file made of the parts: known by its checksum where it is small, else by what any other file has not."""

    inode: int
    modified: int  # nanoseconds
    bytes: int
    sha256: str | None


@dataclass(frozen=True)
class Manifest:
    """A run: where it comes from, what is recorded of it, and what of that is sealed."""

    run: str  # which computation it is, whatever its length
    origin: Origin
    steps: int
    replicas: int  # of every point of the sweep
    axes: tuple[Axis, ...]
    blocks: tuple[tuple[int, ...], ...]  # of each its place along the structural axes, those of every series in a row
    cadences: Mapping[str, Cadence]  # by the names of their dimensions
    variables: Mapping[str, StoredVariable]
    coordinates: Mapping[str, StoredCoordinate]
    summaries: tuple[Summary, ...]
    inputs: tuple[SealedFile, ...] = ()  # files of the case, by their paths in the parts
    external: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of files that it names by absolute paths
    segments: tuple[Segment, ...] = ()
    base: Base | None = None
    output: Output | None = None
    replaces: bool = False  # whether there was an output when the run began
    completed: bool = False
    virtual: bool = False  # the output has views of the frames, which stay in the segments
    format: int = FORMAT
    case_folder: str = ""  # where the case lay when the run was begun
    added: tuple[int, ...] = ()  # how many of the replicas were added to the first ones, each time

    def to_json(self) -> dict[str, Any]:
        """The manifest in values that JSON knows, and tuples."""
        plain: dict[str, Any] = _ADAPTER.dump_python(self)
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Manifest:
        """The manifest that became this. Raises ValueError when it is none."""
        return _ADAPTER.validate_python(plain)

    @functools.cached_property
    def series(self) -> tuple[int, ...]:
        """Replicas of every point in each series of addresses."""
        return addresses.series(self.replicas, self.added)

    def series_of(self, block: int) -> int:
        """The number of a block's series."""
        return block * len(self.series) // len(self.blocks)

    def replicas_of(self, block: int) -> range:
        """The replicas of every point that a block has."""
        number = self.series_of(block)
        first = sum(self.series[:number])
        return range(first, first + self.series[number])

    def base_of(self, block: int) -> Base | None:
        """The ensemble that is being extended, where it has the replicas of this block."""
        held = self.base is not None and self.replicas_of(block).start < (self.base.replicas or self.replicas)
        return self.base if held else None

    @property
    def reached(self) -> int:
        """The last step that any lanes have reached; -1 before there are frames."""
        return max([self.base.step if self.base else -1, *(segment.step for segment in self.segments)])

    @property
    def files(self) -> set[str]:
        """Names of the segments' files."""
        return {file.name for segment in self.segments for file in segment.files}


_ADAPTER = TypeAdapter(Manifest)
