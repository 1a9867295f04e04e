"""Segments: sealed rectangles of a run, lanes x steps. How their files are written, read, and put together.

A segment has the frames of its lanes at the recorded steps in (first_step, step], and their whole state after `step`.
A run may be cut by lanes, at the edges of cohorts, and by steps, in any way; what it gives does not depend on it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from thermosim import cohorts
from thermosim.storage.new_file import new_file

__all__ = [
    "Folder", "Memory", "Source", "StorageError", "Stretch", "described", "digest", "key", "read", "read_state",
    "replace", "state_of", "sync", "write",
]  # fmt: skip

Arrays = dict[str, np.ndarray]
At = Any  # an index into an array, or a function from the array's name to one


class StorageError(Exception):
    """An output that cannot be written or read; the message says what to do."""


@dataclass(frozen=True)
class Stretch:
    """A rectangle of a block: its lanes, and the steps (first_step, step]; from -1, the frame of step 0 included."""

    block: int
    first_lane: int
    lanes: int
    first_step: int
    step: int

    @property
    def name(self) -> str:
        """What the names of its files say: first and last lane, first and last step. No other rectangle has it."""
        last = self.first_lane + self.lanes - 1
        return f"b{self.block}-l{self.first_lane:010d}-{last:010d}-s{self.first_step + 1:010d}-{self.step:010d}"


def key(record: Mapping[str, Any]) -> tuple[int, ...]:
    """The rectangle of a segment's record."""
    return tuple(record[name] for name in Stretch.__dataclass_fields__)


def write(
    folder: Path, run: str, stretch: Stretch, frames: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Make the files of one segment durable and return its record. It may be written twice, to the same bytes.

    `frames` (F, lanes or cohorts, ...) and `state` (..., lanes or cohorts); where there are none there is no file.
    Raises StorageError when they cannot be written; nothing is left then.
    """
    record: dict[str, Any] = asdict(stretch) | {"frames": None, "state": None}
    frames = {name: array for name, array in frames.items() if len(array)}
    written: list[tuple[Path, Path]] = []
    try:
        for group, arrays in (("frames", frames), ("state", state)):
            if not arrays:
                continue
            target = folder / f"{group}-{stretch.name}.h5"
            temporary = _temporary(target)
            written.append((temporary, target))
            with new_file(temporary) as (file, _):
                file.attrs.update({"run": run, **asdict(stretch)})
                for name in sorted(arrays):
                    file.create_dataset(f"{group}/{name}", data=arrays[name])
            # its pages are still in memory: the checksum costs no reading from disk
            record[group] = described(temporary) | {"file": target.name}
        for temporary, target in written:
            os.replace(temporary, target)
        sync(folder)
    except OSError as error:
        output = folder.with_name(folder.name.removesuffix(".parts"))
        raise StorageError(
            f"{folder}: a segment could not be written: {_reason(error)}. Those sealed before it are whole; make room, "
            f"then: thermosim resume {output}"
        ) from None
    finally:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)
    return record


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error)


def read(
    folder: Path,
    file: Mapping[str, Any],
    group: str,
    names: Iterable[str] | None = None,
    at: At = (),
    *,
    run: str = "",
    verify: bool = False,
    wait: float = 0.0,
) -> Arrays:
    """Arrays of one file of a segment, all or those of `names` that it has, each indexed by `at`, or by
    at(name) if that is a function.

    `group` is "frames", arrays (F, lanes or cohorts, ...), or "state", (..., lanes or cohorts). `run`: whose it has to
    be. `verify` checks its checksum, not only its size. Waits up to `wait` seconds for a file that another machine
    wrote. Raises StorageError for a file that is missing, damaged or another run's.
    """
    path = folder / file["file"]
    try:
        with _whole(path, file, verify, wait) as opened:
            if run and opened.attrs.get("run") != run:
                raise StorageError(f"{path}: belongs to another run.")
            held = opened.get(group, {})
            return _chosen(held if names is not None else _datasets(held), names, at)
    except (OSError, KeyError, RuntimeError) as error:
        raise StorageError(f"{path}: cannot be read: {error}") from None


@contextmanager
def _whole(path: Path, file: Mapping[str, Any], verify: bool, wait: float) -> Iterator[h5py.File]:
    """The open file, if its size is right. A size of None is not known."""
    deadline = time.monotonic() + wait
    while True:
        found = path.stat().st_size if path.exists() else None
        if found is not None and file["bytes"] in (None, found):
            break
        if time.monotonic() >= deadline:
            raise OSError("no such file" if found is None else f"it has {found} bytes of {file['bytes']}")
        time.sleep(0.2)
        if path.parent.is_dir():
            os.listdir(path.parent)  # has a network file system look again
    if verify and digest(path) != file["sha256"]:
        raise StorageError(f"{path}: damaged (its checksum differs from the manifest's).")
    with h5py.File(path, "r", locking=False) as opened:
        yield opened


class Source(Protocol):
    """Where the arrays of segments are: a folder, or memory."""

    def read(self, file: Mapping[str, Any], group: str, names: Iterable[str] | None = None, at: At = ()) -> Arrays:
        """As `read`."""


@dataclass(frozen=True)
class Folder:
    """The parts of a run, for reading. Nothing is kept open: meanwhile the run may replace and remove files."""

    path: Path
    run: str = ""
    verify: bool = False
    wait: float = 0.0

    def read(self, file: Mapping[str, Any], group: str, names: Iterable[str] | None = None, at: At = ()) -> Arrays:
        """As `read`; an earlier ensemble that is being extended may be of another run."""
        run = self.run if group in ("frames", "state") else ""
        try:
            return read(self.path, file, group, names, at, run=run, verify=self.verify, wait=self.wait)
        except StorageError:
            output = self.path.with_name(self.path.name.removesuffix(".parts"))
            if output.is_file() and not (self.path / file["file"]).exists():
                raise StorageError(f"{output}: the run has finished since, or begun anew; open it again.") from None
            raise


class Memory:
    """Segments kept in memory, for a run without an output file. Of the states it keeps the newest."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        self._arrays: dict[str, Mapping[str, np.ndarray]] = {}

    def seal(self, stretch: Stretch, frames: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> None:
        """Keep one segment; the arrays must not change any more. It replaces the states of the very same lanes."""
        record: dict[str, Any] = asdict(stretch) | {"frames": None, "state": None}
        for group, arrays in (("frames", frames), ("state", state)):
            record[group] = {"file": f"{group}-{stretch.name}"}
            self._arrays[record[group]["file"]] = arrays
        for earlier in self.manifest["segments"]:
            if earlier["state"] and key(earlier)[:3] == key(record)[:3]:
                del self._arrays[earlier["state"]["file"]]
                earlier["state"] = None
        self.manifest["segments"].append(record)

    def read(self, file: Mapping[str, Any], group: str, names: Iterable[str] | None = None, at: At = ()) -> Arrays:
        """As `read`."""
        return _chosen(self._arrays[file["file"]], names, at)


def read_state(
    folder: Path, manifest: Mapping[str, Any], block: int, first_lane: int, lanes: int, step: int, wait: float = 0.0
) -> Arrays:
    """The state of these lanes after `step`, checksums checked: as `state_of`. Waits for files as `read`."""
    source = Folder(folder, manifest["run"], verify=True, wait=wait)
    return state_of(source, manifest, block, first_lane, lanes, step)


def state_of(
    source: Source,
    manifest: Mapping[str, Any],
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
    names, parts, at = None if names is None else list(names), [], first_lane
    base = manifest.get("base")
    held = [r for r in manifest["segments"] if r["block"] == block and r["step"] == step and r["state"]]
    while at < first_lane + lanes:
        if base and base["step"] == step:
            file, group, start, stop = base, f"state/{block}", 0, first_lane + lanes
        else:
            here = [r for r in held if r["first_lane"] <= at < r["first_lane"] + r["lanes"]]
            if not here:
                raise StorageError(f"block {block}: no segment has the state of lane {at} after step {step}.")
            record = max(here, key=lambda r: int(r["first_lane"] + r["lanes"]))
            file, group, start = record["state"], "state", record["first_lane"]
            stop = min(start + record["lanes"], first_lane + lanes)
        parts.append(_lanes_of(source, file, group, names, manifest["replicas"], start, at, stop))
        at = stop
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def _lanes_of(
    source: Source, file: Any, group: str, names: Any, replicas: int, start: int, at: int, stop: int
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
    return {name: held[name][at(name) if callable(at) else at] for name in chosen}


def _temporary(target: Path) -> Path:
    return target.with_name(f"{target.name}.{secrets.token_hex(6)}.tmp")


def replace(target: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary name, sync, rename, sync of the folder. Raises OSError."""
    temporary = _temporary(target)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync(target.parent)


def sync(path: Path) -> None:
    """Have a file or folder on disk, not on its way there. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def described(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: its name, size and checksum. Raises OSError."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest(path)}


def digest(path: Path) -> str:
    """The sha256 of a file. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
