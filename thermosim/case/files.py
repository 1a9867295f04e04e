"""The files that a case names: where they lie among the inputs of its output, and where they are found again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thermosim.case.data import names_files
from thermosim.case.settings import Settings
from thermosim.case.start import OtherRun
from thermosim.data import DataSection
from thermosim.data.kept import depth, file_of_targets, kept_section
from thermosim.storage.inputs import inputs_folder
from thermosim.storage.parts import INPUTS

__all__ = ["CASE_FOLDER", "folder_outside", "home_of", "places_of_data"]

_UP = "up"  # the folder below which lies what is above it for the case
_DEEPEST = 8
CASE_FOLDER = "case_folder"  # in the encoding of an ensemble in memory


def home_of(settings: Settings) -> Path:
    """Where the case would be in the parts of its output: so deep that "../data.npy" is still inside."""
    return Path(INPUTS, *(_UP,) * depth(_named(settings)))


def _named(settings: Settings) -> list[str]:
    """The files and folders in the settings of a case."""
    swept, data = settings.sweep, settings.data
    files = [data.file, data.folder] if data else []
    files += [*swept.get("data.file", ()), *swept.get("data.folder", ())]
    files += [test for test in swept.get("data.test", (data and data.test,)) if isinstance(test, str)]
    if data is not None and data.file is not None:
        aims = swept.get("data.targets", (data.targets,))
        files += [file_of_targets(data.model_copy(update={"targets": given})) for given in aims]
    recordings = [settings.theta.recording, *swept.get("theta.recording", ())]
    starts = [settings.theta.initial, *swept.get("theta.initial", ()), *swept.get("x.initial", ())]
    starts += [settings.x.initial] if settings.x else []
    starts += [{"from": file} for part in ("theta", "x") for file in swept.get(f"{part}.initial.from", ())]
    files += [other.file for other in map(OtherRun.of, starts) if other is not None]
    return [name for name in [*files, *(recording.get("file") for recording in recordings)] if name]


def places_of_data(
    settings: Settings, section: DataSection, encoding: Mapping[str, Any]
) -> Iterator[tuple[DataSection, Path]]:
    """A [data] and the folder of its case, for every place where an ensemble of this encoding may have its rows.

    The copy in the ensemble comes first, then the files outside: beside the ensemble, and beside the case where it was
    run in this process. So neither moving the ensemble nor changing or losing a file of the case matters.
    """
    source = Path(encoding["source"]) if "source" in encoding else None
    if source is not None and names_files(section) and (inputs := inputs_folder(source)) is not None:
        home = home_of(settings)
        for _ in range(_DEEPEST):  # of a part of a sweep the settings may not say how deep the whole reached
            kept = kept_section(section, home)
            if (inputs.parent / str(kept.file or kept.folder or kept.test)).exists():
                yield kept, inputs.parent
            home /= _UP
    yield section, folder_outside(encoding)


def folder_outside(encoding: Mapping[str, Any]) -> Path:
    """Where files that are not kept are looked for: beside the ensemble, or of one in memory beside its case."""
    return Path(encoding["source"]).parent if "source" in encoding else Path(encoding.get(CASE_FOLDER, "."))
