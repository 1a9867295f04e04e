"""The parts of a run while it goes on: a folder of sealed segments, and the manifest that says what is whole.

`out.h5.parts/` has segments (see `segments`) and `manifest.json`, which is replaced atomically and carries its own
checksum; the one before it is kept for the case that the disk damages it. At the end the parts become `out.h5` (see
`consolidation`). A killed run leaves readable parts; a file is never appended to.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from thermosim.storage.claim import INPUTS, LOCK, SEALED, Claim, is_remnant, refuse_what_is_there
from thermosim.storage.coverage import surplus
from thermosim.storage.durable import StorageError, command, reason, remedy, sync
from thermosim.storage.manifest import Manifest, Segment, Stretch
from thermosim.storage.manifest_file import (
    MANIFEST,
    PREVIOUS,
    output_of,
    parse_manifest,
    parts_folder,
    previous_manifest,
    read_manifest,
    write_manifest,
)
from thermosim.storage.segments import write

__all__ = ["INPUTS", "Parts", "clear_remnant"]

_OF_THE_FIRST = re.compile(r"Those sealed before it are whole; (.*), then: .*", re.DOTALL)

Fill = Callable[[Path], Mapping[str, Any]]


class Parts:
    """The segments of one output, claimed by this process."""

    def __init__(self, folder: Path, claim: Claim, manifest: Manifest, new: bool) -> None:
        self.folder = folder
        self.manifest = manifest
        self.new = new  # made by this process
        self._claim = claim
        # what is on the disk: whether manifest.json is damaged, so that the one before it was read
        self._damaged = not new and not _is_whole(folder)
        # files of segments that only the manifest before this one knows
        previous = None if new else previous_manifest(folder)
        self._dropped = (previous.files if previous else set()) - manifest.files

    @classmethod
    def create(
        cls,
        output: Path,
        manifest: Manifest,
        overwrite: bool,
        fill: Fill | None = None,
        reads: Iterable[Path] = (),
    ) -> Parts:
        """Claim an output. An existing result stays until the new one is whole.

        `fill` puts files in the folder before there is a manifest, and returns what that should say of them; `reads`
        are files that the run reads. Raises StorageError when something is there that may not be replaced, or the
        folder cannot be written.
        """
        folder = parts_folder(output)
        refuse_what_is_there(output, overwrite, reads)
        try:
            if folder.exists():
                with closing(Claim(folder)):
                    _remove(folder)
            folder.mkdir(parents=True)
            sync(folder.parent)
            claim = Claim(folder)
            manifest = replace(manifest, replaces=output.exists(), **(fill(folder) if fill is not None else {}))
            write_manifest(folder, manifest)
        except OSError as error:
            raise StorageError(
                f"{folder}: cannot be written: {error.strerror}. Choose another place with -o."
            ) from None
        return cls(folder, claim, manifest, new=True)

    @classmethod
    def reopen(cls, output: Path) -> Parts:
        """Claim the parts of an output, to go on with them. What a kill left unfinished in the folder is removed.

        Raises StorageError when another process has them, or their manifest cannot be read.
        """
        folder = parts_folder(output)
        read_manifest(folder)  # a lock is left in no folder but ours
        claim = Claim(folder)
        try:
            parts = cls(folder, claim, read_manifest(folder), new=False)
            if not parts._damaged:  # or what only the damaged manifest knows would go
                parts.tidy()
        except BaseException:
            claim.close()
            raise
        return parts

    @property
    def output(self) -> Path:
        """The file these parts will become."""
        return output_of(self.folder)

    def release(self) -> None:
        """Let other processes write here."""
        self._claim.close()

    def tidy(self) -> None:
        """Remove segments that the manifest does not know, and temporary files: what a kill left. Nothing else."""
        previous = previous_manifest(self.folder)
        known = self.manifest.files | (previous.files if previous else set())
        for path in self.folder.iterdir():
            if SEALED.fullmatch(path.name) and path.name not in known:
                path.unlink(missing_ok=True)

    def seal(self, stretch: Stretch, frames: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> None:
        """Make a segment durable and record it, or raise StorageError: earlier ones stay. See `segments.write`."""
        try:
            segment = write(self.folder, self.manifest.run, stretch, frames, state)
        except StorageError as error:
            said, count = str(error), len(self.manifest.segments)
            if not count and self.new:
                said = _OF_THE_FIRST.sub(r"Nothing was sealed yet: \1, then run it again.", said)
            raise StorageError(said.replace("Those sealed", f"The {count} sealed")) from None
        self.record([segment])

    def record(self, sealed: Iterable[Segment]) -> None:
        """Enter sealed segments in the manifest, all at once; one of the very same rectangle is replaced.

        Every lane keeps its last two states; older ones are removed. Raises StorageError.
        """
        segments = {segment.rectangle: segment for segment in [*self.manifest.segments, *sealed]}
        manifest = replace(self.manifest, segments=tuple(segments.values()))
        for block in {segment.block for segment in manifest.segments}:
            for segment in surplus(manifest, block):
                segments[segment.rectangle] = replace(segment, state=None)
        self.adopt(replace(manifest, segments=tuple(segments.values())))

    def update(self, **changes: Any) -> None:
        """Change fields of the manifest, all at once: as `adopt`."""
        self.adopt(replace(self.manifest, **changes))

    def adopt(self, manifest: Manifest) -> None:
        """Replace the manifest, and then remove files of segments that only the old one knows. Raises StorageError."""
        try:
            write_manifest(self.folder, manifest, keep=not self._damaged)
            self._damaged = False
            before, self.manifest = self.manifest, manifest
            # What the manifest before this one knows stays, should the disk damage this one.
            for name in self._dropped - manifest.files:
                (self.folder / name).unlink(missing_ok=True)
            self._dropped = before.files - manifest.files
        except OSError as error:
            raise StorageError(
                f"{self.folder}: the manifest could not be written: {reason(error)}. What was sealed before "
                f"is whole; {remedy(error)}, then: {command('resume', self.output)}"
            ) from None

    def remove(self) -> None:
        """Delete the parts."""
        _remove(self.folder)
        self.release()


def _remove(folder: Path) -> None:
    """Delete parts, the manifest last: a kill meanwhile leaves what is known to be parts. Raises OSError."""
    last = (PREVIOUS, MANIFEST, LOCK)
    for path in [path for path in folder.iterdir() if path.name not in last]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name in last:
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def clear_remnant(folder: Path) -> bool:
    """Remove parts that a kill left without a manifest. Returns whether there was such a thing.

    Raises StorageError when another process is just making them.
    """
    if not is_remnant(folder):
        return False
    with closing(Claim(folder)):
        _remove(folder)
    return True


def _is_whole(folder: Path) -> bool:
    """Whether manifest.json is as it was written."""
    try:
        return bool(parse_manifest(folder / MANIFEST))
    except (OSError, ValueError):
        return False
