"""Segments: sealed rectangles of a run, lanes x steps. How their files are written, read, and put together.

A segment has the frames of its lanes at the recorded steps in (first_step, step], and their whole state after `step`.
A run may be cut by lanes, at the edges of cohorts, and by steps, in any way; what it gives does not depend on it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from thermosim import cohorts
from thermosim.storage.durable import StorageError, command, digest, reason, remedy, sync, temporary_name
from thermosim.storage.finished import open_finished
from thermosim.storage.manifest import Manifest, SealedFile, Segment, Stretch
from thermosim.storage.manifest_file import output_of
from thermosim.storage.new_file import new_file

__all__ = ["Folder", "RamSegments", "Source", "read_state", "state_of", "write"]

Arrays = dict[str, np.ndarray]
At = Any  # an index into an array, or a function from the array's name to one


def write(
    folder: Path, run: str, stretch: Stretch, frames: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]
) -> Segment:
    """Make the files of one segment durable. It may be written twice, to the same bytes.

    `frames` (F, lanes or cohorts, ...) and `state` (..., lanes or cohorts); where there are none there is no file.
    Raises StorageError when they cannot be written; nothing is left then.
    """
    groups = {"frames": {name: array for name, array in frames.items() if len(array)}, "state": state}
    sealed: dict[str, SealedFile | None] = dict.fromkeys(groups)
    written: list[tuple[Path, Path]] = []
    try:
        for group, arrays in groups.items():
            if not arrays:
                continue
            target = folder / f"{group}-{stretch.name}.h5"
            temporary = temporary_name(target)
            written.append((temporary, target))
            with new_file(temporary) as (file, _):
                file.attrs.update({"run": run, **asdict(stretch)})
                for name in sorted(arrays):
                    file.create_dataset(f"{group}/{name}", data=arrays[name])
            # its pages are still in memory: the checksum costs no reading from disk
            sealed[group] = SealedFile.of(temporary, target.name)
        for temporary, target in written:
            os.replace(temporary, target)
        sync(folder)
    except OSError as error:
        raise StorageError(
            f"{folder}: a segment could not be written: {reason(error)}. Those sealed before it are whole; "
            f"{remedy(error)}, then: {command('resume', output_of(folder))}"
        ) from None
    finally:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)
    return Segment(**asdict(stretch), frames=sealed["frames"], state=sealed["state"])


class Source(Protocol):
    """Where the arrays of segments are: a folder, or the memory of this process."""

    def read(self, file: SealedFile, group: str, names: Iterable[str] | None = None, at: At = ()) -> Arrays:
        """Arrays of one file of a segment, all or those of `names` that it has, each indexed by `at`, or by
        at(name) if that is a function.

        `group` is "frames", arrays (F, lanes or cohorts, ...), or "state", (..., lanes or cohorts); of an ensemble that
        is being extended "/" or "state/" and a block.
        """


@dataclass(frozen=True)
class Folder:
    """The parts of a run, for reading. Nothing is kept open: meanwhile the run may replace and remove files.

    `verify` compares the checksum of a file, not only its size; `wait` is how many seconds one of another machine may
    take to come.
    """

    path: Path
    run: str
    verify: bool = False
    wait: float = 0.0

    def read(self, file: SealedFile, group: str, names: Iterable[str] | None = None, at: At = ()) -> Arrays:
        """As `Source.read`. Raises StorageError for a file that is missing, damaged or another run's."""
        path = self.path / file.name
        try:
            of_base = group not in ("frames", "state")
            with self._whole(path, file, of_base) as opened:
                # an earlier ensemble that is being extended may be of another run
                if not of_base and opened.attrs.get("run") != self.run:
                    raise StorageError(f"{path}: belongs to another run.")
                held = opened.get(group, {})
                return _chosen(held if names is not None else _datasets(held), names, at)
        except (OSError, KeyError, RuntimeError) as error:
            output = output_of(self.path)
            if output.is_file() and not path.exists():
                raise StorageError(f"{output}: the run has finished since, or begun anew; open it again.") from None
            raise StorageError(f"{path}: cannot be read: {error}") from None

    @contextmanager
    def _whole(self, path: Path, file: SealedFile, of_base: bool) -> Iterator[h5py.File]:
        """The open file, if its size is right."""
        deadline = time.monotonic() + self.wait
        while (found := path.stat().st_size if path.exists() else None) != file.bytes:
            if time.monotonic() >= deadline:
                raise OSError("no such file" if found is None else f"it has {found} bytes of {file.bytes}")
            time.sleep(0.2)
            if path.parent.is_dir():
                os.listdir(path.parent)  # has a network file system look again
        if self.verify and digest(path) != file.sha256:
            raise StorageError(f"{path}: damaged (its checksum differs from the manifest's).")
        with open_finished(path) if of_base else h5py.File(path, "r", locking=False) as opened:
            yield opened


class RamSegments:
    """Segments kept in the memory of this process, for a run without an output. Of the states it keeps the newest."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._arrays: dict[str, Mapping[str, np.ndarray]] = {}

    def seal(self, stretch: Stretch, frames: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> None:
        """Keep one segment; the arrays must not change any more. It replaces the states of the very same lanes."""
        of_frames, of_state = (SealedFile(f"{group}-{stretch.name}", 0, "") for group in ("frames", "state"))
        self._arrays |= {of_frames.name: frames, of_state.name: state}
        segments = []
        for segment in self.manifest.segments:
            same = segment.block == stretch.block and segment.first_lane == stretch.first_lane
            if segment.state and same and segment.lanes == stretch.lanes:
                del self._arrays[segment.state.name]
                segment = replace(segment, state=None)
            segments.append(segment)
        segments.append(Segment(**asdict(stretch), frames=of_frames, state=of_state))
        self.manifest = replace(self.manifest, segments=tuple(segments))

    def forget(self, name: str) -> None:
        """Let the frames of a variable go."""
        self._arrays = {
            file: {kept: array for kept, array in arrays.items() if kept != name}
            for file, arrays in self._arrays.items()
        }

    def read(self, file: SealedFile, group: str, names: Iterable[str] | None = None, at: At = ()) -> Arrays:
        """As `Source.read`."""
        return _chosen(self._arrays[file.name], names, at)


def read_state(
    folder: Path, manifest: Manifest, block: int, first_lane: int, lanes: int, step: int, wait: float = 0.0
) -> Arrays:
    """The state of these lanes after `step`, checksums checked: as `state_of`. Waits for files as `Folder`."""
    source = Folder(folder, manifest.run, verify=True, wait=wait)
    return state_of(source, manifest, block, first_lane, lanes, step)


def state_of(
    source: Source,
    manifest: Manifest,
    block: int,
    first_lane: int,
    lanes: int,
    step: int,
    names: Iterable[str] | None = None,
) -> Arrays:
    """The state of these lanes after `step`, put together from any segments: name -> (..., lanes) or (..., cohorts).

    Names that begin with "cohorts/" are by cohort; the lanes must then begin and end at the edge of one. Raises
    StorageError when no segment has the state of a lane at that step.
    """
    names, parts, at, end = None if names is None else list(names), [], first_lane, first_lane + lanes
    base, replicas = manifest.base_of(block), len(manifest.replicas_of(block))
    held = [s for s in manifest.segments if s.block == block and s.step == step and s.state]
    while at < end:
        if base and base.step == step:
            file, group, start, stop = base.file, f"state/{block}", 0, end
        else:
            here = [segment for segment in held if segment.first_lane <= at < segment.end_lane]
            if not here:
                raise StorageError(f"block {block}: no segment has the state of lane {at} after step {step}.")
            segment = max(here, key=lambda s: s.end_lane)
            assert segment.state is not None
            file, group, start, stop = segment.state, "state", segment.first_lane, min(segment.end_lane, end)
        parts.append(_lanes_of(source, file, group, names, replicas, start, at, stop))
        at = stop
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def _lanes_of(
    source: Source, file: SealedFile, group: str, names: Any, replicas: int, start: int, at: int, stop: int
) -> Arrays:
    """Lanes at..stop of a state file whose lanes begin with `start`."""

    def cut(name: str) -> tuple[Any, ...]:
        if not name.startswith("cohorts/"):
            return (..., slice(at - start, stop - start))
        mine, first = cohorts.slice_of(replicas, at, stop - at), cohorts.slice_of(replicas, start, 0).start
        return (..., slice(mine.start - first, mine.stop - first))

    return source.read(file, group, names, cut)


def _datasets(group: Any) -> dict[str, Any]:
    """All datasets of a group and its groups."""
    found: dict[str, Any] = {}
    if group:
        group.visititems(lambda name, item: found.update({name: item}) if hasattr(item, "shape") else None)
    return found


def _chosen(held: Mapping[str, Any], names: Iterable[str] | None, at: At) -> Arrays:
    chosen = held if names is None else [name for name in names if name in held]
    arrays = {name: held[name] for name in chosen}
    for name, array in arrays.items():
        if getattr(array, "external", None) or getattr(array, "is_virtual", False):
            raise OSError(f"{name} has its numbers in another file, which is not read")
    return {name: array[at(name) if callable(at) else at] for name, array in arrays.items()}
