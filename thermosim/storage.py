"""Sealed segments, a manifest that says what is whole, and consolidation to one HDF5 file that xarray opens.

While a run goes on, `out.h5.parts/` holds segments (each written under a temporary name, synced, renamed) and
`manifest.json`, replaced atomically. A segment has frames of one block and the complete state after its last step: a
run goes on from there. At the end the segments become `out.h5` (temporary name, then renamed) and the parts go.
A killed run leaves readable parts; an HDF5 file is never appended to.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = ["FORMAT", "Parts", "StorageError", "consolidate", "parts_folder", "read_manifest"]

FORMAT = 1
_CHUNK_STEPS, _CHUNK_REPLICAS = 16, 512


class StorageError(Exception):
    """An output that cannot be written or read; the message says what to do."""


def parts_folder(output: Path) -> Path:
    """Where the segments of an output lie while it is being made. Raises StorageError for a path that names no file."""
    if not output.name or output.name == "..":
        raise StorageError(f"{str(output)!r}: names a folder, not an ensemble file such as out.h5.")
    return output.with_name(output.name + ".parts")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a parts folder."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{folder}: no readable manifest.json ({error}); this is not an output of thermosim."
        ) from None
    if not isinstance(manifest, dict) or "segments" not in manifest:
        raise StorageError(f"{folder}: its manifest.json is not one of thermosim.")
    if manifest.get("format") != FORMAT:
        raise StorageError(f"{folder}: format {manifest.get('format')}, this version of thermosim reads {FORMAT}.")
    return manifest


def _replace(target: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary name, sync, rename, sync of the folder."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(target.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Parts:
    """The segments of one output."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self._lock: Any = None
        self._own: set[str] = set()  # segments this process sealed: not checked again when it reads them back

    @classmethod
    def create(cls, output: Path, manifest: dict[str, Any], overwrite: bool) -> Parts:
        """Claim an output. An existing result stays until the new one is whole.

        Raises StorageError when something is there that may not be replaced, or the folder cannot be written.
        """
        folder = parts_folder(output)
        if output.is_dir() or (folder.exists() and not (folder / "manifest.json").is_file()):
            raise StorageError(
                f"{output if output.is_dir() else folder}: is in the way and not ours to delete; choose another -o."
            )
        existing = [path for path in (output, folder) if path.exists()]
        if existing and not overwrite:
            resume = f" To go on with an interrupted run: thermosim resume {output}." if folder.exists() else ""
            raise StorageError(
                f"{existing[0]} exists already; nothing was changed. Use --overwrite, or another -o.{resume}"
            )
        try:
            if folder.exists():
                cls(folder, {}).claim().remove()
            folder.mkdir(parents=True)
            parts = cls(folder, manifest | {"replaces": output.exists()}).claim()
            parts._write_manifest()
        except OSError as error:
            raise StorageError(
                f"{folder}: cannot be written: {error.strerror}. Choose another place with -o."
            ) from None
        return parts

    def claim(self) -> Parts:
        """Keep other processes from writing here until this one ends. Raises StorageError when one already is."""
        self._lock = open(self.folder / "lock", "a")  # noqa: SIM115  held open as long as this object lives
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(
                f"{self.output}: another process is writing it; wait for it, or choose another -o."
            ) from None
        return self

    def release(self) -> None:
        """Let other processes write here."""
        if self._lock is not None:
            self._lock.close()

    def _write_manifest(self) -> None:
        _replace(self.folder / "manifest.json", json.dumps(self.manifest, indent=1).encode())

    def seal(
        self, block: int, step: int, first_frame: int, frames: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]
    ) -> None:
        """Make frames (F, lanes, ...) and the state after `step` durable, or raise StorageError: earlier ones stay."""
        number = len(self.manifest["segments"])
        name = f"segment-{number:06d}.h5"
        temporary = self.folder / (name + ".tmp")
        count = len(next(iter(frames.values()), ()))
        try:
            with h5py.File(temporary, "w") as file:
                for group, arrays in (("frames", frames), ("state", state)):
                    for variable, array in arrays.items():
                        file.create_dataset(f"{group}/{variable}", data=array)
            _sync(temporary)
            digest = _digest(temporary)
            os.replace(temporary, self.folder / name)
            self.manifest["segments"].append(
                {
                    "file": name,
                    "block": block,
                    "step": step,
                    "first_frame": first_frame,
                    "frames": count,
                    "sha256": digest,
                }
            )
            self._write_manifest()
            self._own.add(name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if len(self.manifest["segments"]) > number:
                self.manifest["segments"].pop()
            raise StorageError(
                f"{self.folder}: a segment could not be written: {error.strerror or error}. The {number} sealed "
                f"before it are whole; make room, then: thermosim resume {self.output}"
            ) from None

    @property
    def output(self) -> Path:
        """The file these parts will become."""
        return self.folder.with_name(self.folder.name.removesuffix(".parts"))

    def read(self, segment: Mapping[str, Any], group: str) -> dict[str, np.ndarray]:
        """Arrays of one segment: its "frames" or its "state". Raises StorageError when it is missing or damaged."""
        path = self.folder / segment["file"]
        try:
            if segment["file"] not in self._own and _digest(path) != segment["sha256"]:
                raise StorageError(f"{path}: damaged (its checksum differs from the manifest's).")
            with h5py.File(path, "r") as file:
                return {name: dataset[()] for name, dataset in file.get(group, {}).items()}
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error}") from None

    def last_segment(self) -> dict[str, Any] | None:
        """The newest segment."""
        segments: list[dict[str, Any]] = self.manifest["segments"]
        return segments[-1] if segments else None

    def remove(self) -> None:
        """Delete the parts."""
        shutil.rmtree(self.folder)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def consolidate(parts: Parts, layout: Any) -> Path:
    """Write the one file of a finished run, and remove the parts. `layout` is the `ensemble.Layout` of the manifest."""
    import h5netcdf

    output = parts.output
    temporary = output.with_name(output.name + ".tmp")
    try:
        with h5netcdf.File(temporary, "w") as file:
            file.dimensions = layout.dimension_sizes()
            for name, (dims, values, attributes) in layout.coordinates().items():
                kind = h5py.string_dtype() if values.dtype == object else values.dtype
                variable = file.create_variable(name, dims, kind, data=values)
                variable.attrs.update(attributes)
            for name, (dims, dtype, attributes) in layout.variables().items():
                shape = [file.dimensions[dim].size for dim in dims]
                caps = {"step": _CHUNK_STEPS, "replica": _CHUNK_REPLICAS}
                chunks = tuple(max(1, min(n, caps.get(d, n))) for d, n in zip(dims, shape, strict=True))
                variable = file.create_variable(name, dims, dtype, chunks=chunks)
                variable.attrs.update(attributes)
            for segment in parts.manifest["segments"]:
                for name, array in parts.read(segment, "frames").items():
                    where, block = layout.place(name, array, segment)
                    file[name][where] = block
            for name, where, values in layout.final_state(parts):
                file[name][where] = values
            file.attrs.update(layout.attributes(completed=True))
        _sync(temporary)
        os.replace(temporary, output)
        _sync(output.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"{output}: could not be written: {error}. All segments are whole in {parts.folder}; make room, then: "
            f"thermosim resume {output}"
        ) from None
    parts.remove()
    return output
