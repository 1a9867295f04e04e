"""The file of a manifest: replaced atomically, with a checksum of its own, the one before it kept in case of damage."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thermosim.storage.durable import StorageError, write_whole
from thermosim.storage.manifest import FORMAT, Manifest

__all__ = [
    "BASE", "MANIFEST", "PREVIOUS", "format_fault", "has_frames_of_output", "output_of", "parse_manifest",
    "parts_folder", "previous_manifest", "read_manifest", "write_manifest",
]  # fmt: skip

MANIFEST, PREVIOUS = "manifest.json", "manifest-previous.json"
BASE = "base.h5"  # the ensemble that is being extended


def parts_folder(output: Path) -> Path:
    """Where the segments of an output lie while it is being made. Raises StorageError for a path that names no file."""
    if not output.name or output.name == "..":
        raise StorageError(f"{str(output)!r}: names a folder; give an ensemble file, such as out.h5.")
    return output.with_name(output.name + ".parts")


def output_of(path: Path) -> Path:
    """The file that a folder of parts will become; any other path as it is."""
    name = path.name.removesuffix(".parts")
    return path.with_name(name) if name else path


def parse_manifest(path: Path) -> Manifest:
    """The manifest in a file.

    Raises ValueError saying what is wrong with it, OSError when it cannot be read, StorageError for another format.
    """
    plain = json.loads(path.read_text("utf-8"))
    if not isinstance(plain, dict) or "segments" not in plain:
        raise ValueError("it is not one of thermosim")
    sha256, found = plain.pop("sha256", None), plain.get("format")
    checked = sha256 is not None or found == FORMAT  # whatever a flipped bit made of the format
    if checked and sha256 != _digest(plain):
        raise ValueError("damaged: its checksum differs")
    if found != FORMAT:
        raise StorageError(f"{path.parent}: {format_fault(found)}")
    return Manifest.from_json(plain)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a parts folder; the one before it where the disk has damaged it.

    Raises StorageError when there is none that can be read.
    """
    try:
        return parse_manifest(folder / MANIFEST)
    except (OSError, ValueError) as error:
        if (previous := previous_manifest(folder)) is not None:
            return previous
        raise StorageError(
            f"{folder}: no readable manifest.json ({error}); this is not an output of thermosim. Put it back from a "
            "copy, or name another."
        ) from None


def previous_manifest(folder: Path) -> Manifest | None:
    """The manifest before the current one, if there is a whole one. Raises StorageError for another format."""
    try:
        return parse_manifest(folder / PREVIOUS)
    except (OSError, ValueError):
        return None


def has_frames_of_output(folder: Path) -> bool:
    """Whether these are the parts of a virtual file, which is nothing without them."""
    try:
        return read_manifest(folder).virtual
    except StorageError:
        return False


def format_fault(found: Any) -> str:
    """Why a format is not read, and what to do."""
    return f"format {found}, this version of thermosim reads {FORMAT}. Use the version that wrote it."


def write_manifest(folder: Path, manifest: Manifest, keep: bool = True) -> None:
    """Replace manifest.json, each segment on a line of its own; `keep` the one before. Raises OSError."""
    plain = manifest.to_json()
    plain["sha256"] = _digest(plain)
    rows = ",\n ".join(map(json.dumps, plain.pop("segments")))
    entries = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in plain.items()]
    current = folder / MANIFEST
    if keep and current.exists():
        temporary = folder / (PREVIOUS + ".0.tmp")
        temporary.unlink(missing_ok=True)
        try:
            os.link(current, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(current, temporary)
        os.replace(temporary, folder / PREVIOUS)
    write_whole(current, ("{" + ",\n".join([*entries, f'"segments": [\n {rows}]']) + "}\n").encode())


def _digest(plain: Mapping[str, Any]) -> str:
    """The sha256 of a manifest's values as canonical JSON."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
