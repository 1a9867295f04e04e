"""The parts of a run while it goes on: a folder of sealed segments, and the manifest that says what is whole.

`out.h5.parts/` has segments (see `segments`) and `manifest.json`, which is replaced atomically and carries its own
checksum; the one before it is kept for the case that the disk damages it. At the end the parts become `out.h5` (see
`consolidation`). A killed run leaves readable parts; a file is never appended to.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thermosim.storage.coverage import surplus
from thermosim.storage.segments import Folder, StorageError, Stretch, key, replace, state_of, sync, write

__all__ = [
    "FORMAT",
    "MANIFEST",
    "PREVIOUS",
    "Parts",
    "StorageError",
    "clear_remnant",
    "parse_manifest",
    "parts_folder",
    "read_manifest",
]

FORMAT = 2
MANIFEST, PREVIOUS, INPUTS = "manifest.json", "manifest-previous.json", "inputs"
_LOCK = "lock"
_OURS = re.compile(r"(frames|state)-b\d+-l\d+-\d+-s\d+-\d+\.h5(\.[0-9a-f]+\.tmp)?|manifest.*\.json\.[0-9a-f]+\.tmp")
Fill = Callable[[Path], Mapping[str, Any]]
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def parts_folder(output: Path) -> Path:
    """Where the segments of an output lie while it is being made. Raises StorageError for a path that names no file."""
    if not output.name or output.name == "..":
        raise StorageError(f"{str(output)!r}: names a folder, not an ensemble file such as out.h5.")
    return output.with_name(output.name + ".parts")


def _digest(manifest: Mapping[str, Any]) -> str:
    """The sha256 of everything in a manifest but itself, as canonical JSON."""
    others = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def parse_manifest(path: Path) -> dict[str, Any]:
    """The manifest in a file. Raises ValueError saying what is wrong with it, OSError when it cannot be read."""
    manifest = json.loads(path.read_text("utf-8"))
    if not isinstance(manifest, dict) or "segments" not in manifest:
        raise ValueError("it is not one of thermosim")
    checked = "sha256" in manifest or manifest.get("format") == FORMAT  # whatever a flipped bit made of the format
    if checked and manifest.get("sha256") != _digest(manifest):
        raise ValueError("damaged: its checksum differs")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a parts folder; the one before it where the disk has damaged it. One of format 1 is translated.

    Raises StorageError when there is none that can be read.
    """
    problem = ""
    for name in (MANIFEST, PREVIOUS):
        try:
            manifest = parse_manifest(folder / name)
            break
        except (OSError, ValueError) as error:
            problem = problem or str(error)
    else:
        raise StorageError(f"{folder}: no readable manifest.json ({problem}); this is not an output of thermosim.")
    found = manifest.get("format")
    if found == 1:
        return _translated(folder, manifest)
    if found != FORMAT:
        newer = isinstance(found, int) and found > FORMAT
        remedy = " It was written by a newer version of thermosim: use that one." if newer else ""
        raise StorageError(f"{folder}: format {found}, this version of thermosim reads 1 to {FORMAT}.{remedy}")
    return manifest


def _translated(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest of format 1 in the terms of this one: its segments have all lanes of a block, and hold their state."""
    lanes = manifest["replicas"]
    for axis in manifest["axes"]:
        lanes *= 1 if axis["structural"] else len(axis["values"])
    segments: list[dict[str, Any]] = []
    for segment in manifest["segments"]:
        before = [s["step"] for s in segments if s["block"] == segment["block"]]
        file = {"file": segment["file"], "bytes": None, "sha256": segment["sha256"]}
        stretch = Stretch(segment["block"], 0, lanes, max(before, default=-1), segment["step"])
        segments.append(stretch.__dict__ | {"frames": file if segment["frames"] else None, "state": file})
    record, steps = manifest["settings"]["record"], manifest["steps"]
    declared = {"dtype": "float64", "over": "replica", "cadence": "step"}
    return manifest | {
        "run": "",
        "steps": manifest["settings"]["run"]["steps"],
        "cadences": {"step": [record["first"], record["every"], len(steps)]},
        "variables": {name: variable | declared for name, variable in manifest["variables"].items()},
        "coordinates": {},
        "summaries": [],
        "inputs": {},
        "segments": segments,
        "base": None,
        "completed": False,
        "virtual": False,
    }


class Parts:
    """The segments of one output."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.new = False  # made by this process
        self._lock: Any = None
        self._damaged = False  # manifest.json on the disk: the one before it was read
        self._dropped: set[str] = set()  # files of segments that only the manifest before this one knows

    @classmethod
    def create(cls, output: Path, manifest: dict[str, Any], overwrite: bool, fill: Fill | None = None) -> Parts:
        """Claim an output. An existing result stays until the new one is whole.

        `fill` puts files in the folder before there is a manifest, and returns what that should say of them. Raises
        StorageError when something is there that may not be replaced, or the folder cannot be written.
        """
        folder = parts_folder(output)
        foreign = folder.exists() and not (folder / MANIFEST).is_file() and not _is_remnant(folder)
        if output.is_dir() or foreign:
            raise StorageError(
                f"{output if output.is_dir() else folder}: is in the way and not ours to delete; choose another -o."
            )
        existing = [path for path in (output, folder) if path.exists() and not (path == folder and _is_remnant(folder))]
        if existing and not overwrite:
            resume = f" To go on with an interrupted run: thermosim resume {output}." if folder in existing else ""
            raise StorageError(
                f"{existing[0]} exists already; nothing was changed. Use --overwrite, or another -o.{resume}"
            )
        if output.exists() and _holds_data_of_output(folder):
            raise StorageError(
                f"{output}: is a virtual file, {folder.name} has its data; nothing was changed. Delete both to run "
                f"again, or choose another -o."
            )
        try:
            if folder.exists():
                cls(folder, {}).claim().remove()
            folder.mkdir(parents=True)
            sync(folder.parent)
            parts = cls(folder, manifest | {"replaces": output.exists()}).claim()
            parts.new = True
            parts.manifest |= fill(folder) if fill is not None else {}
            parts._write_manifest(parts.manifest)
        except OSError as error:
            raise StorageError(
                f"{folder}: cannot be written: {error.strerror}. Choose another place with -o."
            ) from None
        return parts

    @classmethod
    def reopen(cls, output: Path) -> Parts:
        """Claim the parts of an output, to go on with them. What a kill left unfinished in the folder is removed.

        Raises StorageError when another process has them, or their manifest cannot be read.
        """
        parts = cls(parts_folder(output), {}).claim()
        try:
            parts.manifest = read_manifest(parts.folder)
            parts._damaged = not _is_whole(parts.folder / MANIFEST)
            parts._dropped = _files(_previous(parts.folder)) - _files(parts.manifest)
            if not parts._damaged:  # or what only the damaged manifest knows would go
                parts.tidy()
        except BaseException:
            parts.release()
            raise
        return parts

    @property
    def output(self) -> Path:
        """The file these parts will become."""
        return self.folder.with_name(self.folder.name.removesuffix(".parts"))

    @property
    def run(self) -> str:
        """Which computation this is."""
        return str(self.manifest["run"])

    def claim(self) -> Parts:
        """Keep other processes from writing here until this one ends. Raises StorageError when one already is."""
        try:
            self._lock = open(self.folder / _LOCK, "a")  # noqa: SIM115  held open as long as this object lives
        except OSError as error:
            raise StorageError(f"{self.folder}: cannot be written: {error.strerror}.") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:  # a file system without locks: nothing can be promised there
                return self
            self.release()
            raise StorageError(
                f"{self.output}: another process is writing it; wait for it, or choose another -o."
            ) from None
        return self

    def release(self) -> None:
        """Let other processes write here."""
        if self._lock is not None:
            self._lock.close()

    def tidy(self) -> None:
        """Remove segments that the manifest does not know, and temporary files: what a kill left. Nothing else."""
        known = _files(self.manifest) | _files(_previous(self.folder))
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in known:
                path.unlink(missing_ok=True)

    def seal(
        self, stretch: Stretch, frames: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Make a segment durable and record it, or raise StorageError: earlier ones stay. See `segments.write`."""
        try:
            record = write(self.folder, self.run, stretch, frames, state)
        except StorageError as error:
            said, count = str(error), len(self.manifest["segments"])
            if not count and self.new:
                said = said.partition(". Those sealed")[0] + ". Nothing was sealed yet: make room, then run it again."
            raise StorageError(said.replace("Those sealed", f"The {count} sealed")) from None
        self.record([record])
        return record

    def record(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Enter sealed segments in the manifest, all at once; one of the very same rectangle is replaced.

        Every lane keeps its last two states; older ones are removed. Raises StorageError.
        """
        segments = {key(record): dict(record) for record in [*self.manifest["segments"], *records]}
        manifest = self.manifest | {"segments": list(segments.values())}
        for block in {record["block"] for record in segments.values()}:
            for record in surplus(manifest, block):
                segments[key(record)]["state"] = None
        self._adopt(manifest)

    def update(self, **changes: Any) -> None:
        """Change entries of the manifest, all at once. Files it no longer knows are removed. Raises StorageError."""
        self._adopt(self.manifest | changes)

    def _adopt(self, manifest: dict[str, Any]) -> None:
        """Replace the manifest, and then remove the segments' files that only the old one knows."""
        try:
            self._write_manifest(manifest)
            before, self.manifest = self.manifest, manifest
            # What the manifest before this one knows stays, should the disk damage this one.
            for name in self._dropped - _files(manifest):
                (self.folder / name).unlink(missing_ok=True)
            self._dropped = _files(before) - _files(manifest)
        except OSError as error:
            raise StorageError(
                f"{self.folder}: the manifest could not be written: {error.strerror or error}. What was sealed before "
                f"is whole; make room, then: thermosim resume {self.output}"
            ) from None

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace manifest.json, and keep the one before."""
        manifest["sha256"] = _digest(manifest)
        entries = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in manifest.items() if name != "segments"]
        rows = ",\n ".join(map(json.dumps, manifest["segments"]))
        current = self.folder / MANIFEST
        if current.exists() and not self._damaged:
            previous = self.folder / (PREVIOUS + ".0.tmp")
            previous.unlink(missing_ok=True)
            try:
                os.link(current, previous)
            except OSError:  # a file system without links
                shutil.copyfile(current, previous)
            os.replace(previous, self.folder / PREVIOUS)
        replace(current, ("{" + ",\n".join([*entries, f'"segments": [\n {rows}]']) + "}\n").encode())
        self._damaged = False

    def read(self, file: Mapping[str, Any], group: str, names: Iterable[str] | None = None, at: Any = ()) -> Any:
        """As `segments.read`."""
        return Folder(self.folder, self.run).read(file, group, names, at)

    def read_state(self, block: int, first_lane: int, lanes: int, step: int) -> dict[str, np.ndarray]:
        """As `segments.read_state`."""
        return state_of(Folder(self.folder, self.run, verify=True), self.manifest, block, first_lane, lanes, step)

    def remove(self) -> None:
        """Delete the parts, the manifest last: a kill meanwhile leaves what is known to be parts."""
        last = (PREVIOUS, MANIFEST, _LOCK)
        for path in [path for path in self.folder.iterdir() if path.name not in last]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for name in last:
            (self.folder / name).unlink(missing_ok=True)
        self.folder.rmdir()
        self.release()


def _files(manifest: Mapping[str, Any]) -> set[str]:
    """Files of the segments that a manifest knows."""
    segments = manifest.get("segments", ())
    return {record[group]["file"] for record in segments for group in ("frames", "state") if record[group]}


def _is_remnant(folder: Path) -> bool:
    """Whether a kill left parts without a manifest: they had none yet, or everything else was gone."""
    if not folder.is_dir() or (folder / MANIFEST).exists():
        return False
    names = [path.name for path in folder.iterdir()]
    return all(name in (_LOCK, PREVIOUS, INPUTS) or _OURS.fullmatch(name) for name in names)


def clear_remnant(folder: Path) -> bool:
    """Remove parts that a kill left without a manifest. Returns whether there was such a thing.

    Raises StorageError when another process is just making them.
    """
    if not _is_remnant(folder):
        return False
    Parts(folder, {}).claim().remove()
    return True


def _holds_data_of_output(folder: Path) -> bool:
    """Whether the frames of a virtual file are in these parts."""
    try:
        return bool(read_manifest(folder)["virtual"])
    except StorageError:
        return False


def _previous(folder: Path) -> dict[str, Any]:
    """The manifest before the current one, or nothing."""
    try:
        return parse_manifest(folder / PREVIOUS)
    except (OSError, ValueError):
        return {}


def _is_whole(path: Path) -> bool:
    try:
        return bool(parse_manifest(path))
    except (OSError, ValueError):
        return False
