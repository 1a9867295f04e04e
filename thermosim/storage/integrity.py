"""Whether the files of a run are what was sealed: sizes and checksums against the manifest, faults in words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from thermosim.storage.durable import digest, reason
from thermosim.storage.manifest import Manifest, SealedFile, Segment
from thermosim.storage.manifest_file import MANIFEST, parse_manifest

__all__ = ["Fault", "examine", "without"]


@dataclass(frozen=True)
class Fault:
    """A file that is not what the manifest says, and in what way."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def examine(folder: Path, manifest: Manifest, checksums: bool = True) -> list[Fault]:
    """All files that are missing, cut short, damaged or another run's; without `checksums` only sizes are compared.

    Covers segments and their states, files the case names, the ensemble that is extended, and manifest.json itself.
    """
    held = list(_held(manifest))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda pair: _fault(folder / pair[0].name, pair[0], manifest.run, checksums), held)
        faults = [Fault(file.name, f"{what}; it {lost}") for (file, lost), what in zip(held, found) if what]
    try:
        parse_manifest(folder / MANIFEST)
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else error
        faults.insert(0, Fault(MANIFEST, f"{why}; the one before it is used, which may not know the newest segments"))
    return faults


def _held(manifest: Manifest) -> Iterator[tuple[SealedFile, str]]:
    """All files, and in words what is lost without each."""
    for segment in manifest.segments:
        lanes = _lanes(manifest, segment)
        if segment.frames:
            yield segment.frames, f"held steps {segment.first_step + 1} to {segment.step} of {lanes}"
        if segment.state:
            yield segment.state, f"held the state after step {segment.step} of {lanes}"
    for file in manifest.inputs:
        yield file, "is an input of the case"
    if manifest.base:
        whose = f" of the first {manifest.base.replicas} replicas" if manifest.base.replicas else ""
        yield manifest.base.file, f"held all frames up to step {manifest.base.step}{whose}"


def _fault(path: Path, file: SealedFile, run: str, checksums: bool) -> str:
    """What is wrong with a file, or nothing."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            return "a folder in its place, to be moved away"
        if size == file.bytes and not (checksums and digest(path) != file.sha256):
            return ""
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({reason(error)})"
    if other := _other_run(path, run):
        return f"foreign (it is of run {other}, this is {run})"
    if size < file.bytes:
        return f"truncated ({size:,} bytes of {file.bytes:,})"
    return "damaged (it has grown)" if size > file.bytes else "damaged (checksum differs)"


def _other_run(path: Path, run: str) -> str:
    """The run that a segment belongs to, if it is clearly another. Not asked of HDF5, which damage can make hang."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    found = [text.decode() for text in re.findall(rb"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])", content)]
    alike = [sum(a == b for a, b in zip(text, run)) for text in found]
    return found[0] if found and max(alike) < 12 else ""  # more alike than that: its own, a little damaged


def _lanes(manifest: Manifest, segment: Segment) -> str:
    """Replicas of one point of the sweep, or the points that the lanes run over."""
    replicas = manifest.replicas_of(segment.block)
    places = [divmod(lane, len(replicas)) for lane in (segment.first_lane, segment.end_lane - 1)]
    ends = [(point, replicas[place]) for point, place in places]
    first, last = (_point(manifest, segment.block, point) for point, _ in ends)
    where = f" at {first}" if manifest.axes else ""
    if ends[0][0] == ends[1][0]:
        return f"replicas {ends[0][1]} to {ends[1][1]}{where}"
    return f"replicas from {ends[0][1]}{where} to {ends[1][1]} at {last}"


def _point(manifest: Manifest, block: int, point: int) -> str:
    """The values of all axes at a point of a block."""
    structural, values = list(manifest.blocks[block]), []
    for axis in reversed(manifest.axes):
        if axis.structural:
            position = structural.pop()
        else:
            point, position = divmod(point, len(axis.values))
        values.append(f"{axis.name} = {axis.values[position]}")
    return ", ".join(reversed(values))


def without(manifest: Manifest, faults: Iterable[Fault]) -> Manifest:
    """The manifest of what is still good, to read it or to go on with.

    A segment whose frames are bad is left out, but its good state stays as a segment of no steps; a bad state, and a
    bad ensemble that was to be extended, are dropped. Files that the case names are left for the caller to refuse.
    """
    bad, segments = {fault.file for fault in faults}, []
    for segment in manifest.segments:
        if segment.state and segment.state.name in bad:
            segment = replace(segment, state=None)
        if segment.frames and segment.frames.name in bad:
            if not segment.state:
                continue
            segment = replace(segment, frames=None, first_step=segment.step)
        segments.append(segment)
    base = manifest.base if manifest.base and manifest.base.file.name not in bad else None
    return replace(manifest, segments=tuple(segments), base=base)
