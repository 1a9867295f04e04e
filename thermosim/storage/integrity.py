"""Whether the files of a run are what was sealed: sizes and checksums against the manifest, faults in words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thermosim.storage.parts import MANIFEST, parse_manifest
from thermosim.storage.segments import digest

__all__ = ["Fault", "examine", "without"]


@dataclass(frozen=True)
class Fault:
    """A file that is not what the manifest says, and in what way."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def examine(folder: Path, manifest: Mapping[str, Any], checksums: bool = True) -> list[Fault]:
    """All files that are missing, cut short, damaged or another run's; without `checksums` only sizes are compared.

    Covers segments and their states, files the case names, the ensemble that is extended, and manifest.json itself.
    """
    held: dict[str, list[str]] = {}  # a file of format 1 holds both frames and state
    files: dict[str, Mapping[str, Any]] = {}
    for record in manifest["segments"]:
        for group in ("frames", "state"):
            if record[group]:
                files[record[group]["file"]] = record[group]
                held.setdefault(record[group]["file"], []).append(_contents(manifest, record, group))
    for name, sha256 in manifest["inputs"].items():
        files[name] = {"file": name, "bytes": None, "sha256": sha256}
        held[name] = ["it is an input of the case"]
    if base := manifest["base"]:
        files[base["file"]] = base
        held[base["file"]] = [f"it held all frames up to step {base['step']}"]

    def look(name: str) -> Fault | None:
        what = _fault(folder / name, files[name], manifest["run"], checksums)
        return Fault(name, f"{what}; {' and '.join(held[name])}") if what else None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        faults = [fault for fault in pool.map(look, files) if fault is not None]
    try:
        parse_manifest(folder / MANIFEST)
    except (OSError, ValueError) as error:
        faults.insert(0, Fault(MANIFEST, f"{error}; the one before it is used, which may not know the newest segments"))
    return faults


def _fault(path: Path, file: Mapping[str, Any], run: str, checksums: bool) -> str:
    """What is wrong with a file, or nothing."""
    try:
        size = path.stat().st_size
        short = file["bytes"] is not None and size != file["bytes"]
        if not short and not (checksums and digest(path) != file["sha256"]):
            return ""
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if other := _other_run(path, run):
        return f"foreign (it is of run {other}, this is {run})"
    if short:
        return f"truncated ({size:,} bytes of {file['bytes']:,})" if size < file["bytes"] else "damaged (it has grown)"
    return "damaged (checksum differs)"


def _other_run(path: Path, run: str) -> str:
    """The run that a segment belongs to, if it is clearly another. Not asked of HDF5, which damage can make hang."""
    if not run:
        return ""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    found = [text.decode() for text in re.findall(rb"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])", content)]
    alike = [sum(a == b for a, b in zip(text, run)) for text in found]
    return found[0] if found and max(alike) < 12 else ""  # more alike than that: its own, a little damaged


def _contents(manifest: Mapping[str, Any], record: Mapping[str, Any], group: str) -> str:
    """What a file of a segment held, in words."""
    what = f"steps {record['first_step'] + 1} to {record['step']}"
    what = what if group == "frames" else f"the state after step {record['step']}"
    return f"it held {what} of {_lanes(manifest, record)}"


def _lanes(manifest: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Replicas of one point of the sweep, or the points that the lanes run over."""
    replicas, axes = manifest["replicas"], manifest["axes"]
    ends = [divmod(lane, replicas) for lane in (record["first_lane"], record["first_lane"] + record["lanes"] - 1)]
    first, last = (_point(manifest, record["block"], point) for point, _ in ends)
    where = f" at {first}" if axes else ""
    if ends[0][0] == ends[1][0]:
        return f"replicas {ends[0][1]} to {ends[1][1]}{where}"
    return f"replicas from {ends[0][1]}{where} to {ends[1][1]} at {last}"


def _point(manifest: Mapping[str, Any], block: int, point: int) -> str:
    """The values of all axes at a point of a block."""
    structural, values = list(manifest["blocks"][block]), []
    for axis in reversed(manifest["axes"]):
        if axis["structural"]:
            position = structural.pop()
        else:
            point, position = divmod(point, len(axis["values"]))
        values.append(f"{axis['name']} = {axis['values'][position]}")
    return ", ".join(reversed(values))


def without(manifest: Mapping[str, Any], faults: Iterable[Fault]) -> dict[str, Any]:
    """The manifest of what is still good, to read it or to go on with.

    A segment whose frames are bad is left out, but its good state stays as a segment of no steps; a bad state, and a
    bad ensemble that was to be extended, are dropped. Files that the case names are left for the caller to refuse.
    """
    bad, segments = {fault.file for fault in faults}, []
    for record in manifest["segments"]:
        kept = dict(record)
        if kept["state"] and kept["state"]["file"] in bad:
            kept["state"] = None
        if kept["frames"] and kept["frames"]["file"] in bad:
            kept |= {"frames": None, "first_step": kept["step"]}
            if not kept["state"]:
                continue
        segments.append(kept)
    base = manifest["base"]
    return dict(manifest) | {"segments": segments, "base": None if base and base["file"] in bad else base}
