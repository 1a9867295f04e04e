"""A manifest is read back as it was written; what another version of thermosim wrote is refused in words, or opens."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

import thermosim
from tests import synthetic_run as run
from thermosim.storage import Manifest, StorageError, parts_folder, read_manifest
from thermosim.storage.manifest import Base, Output, SealedFile, Segment
from thermosim.storage.manifest_file import write_manifest
from thermosim.storage.open import open_ensemble
from thermosim.storage.verification import checksums_of


def full_manifest():
    """With something in every field."""
    frames, state = SealedFile("frames.h5", 3, "a"), SealedFile("state.h5", 5, "b")
    segments = Segment(0, 0, 45, -1, 20, frames, state), Segment(1, 45, 90, 20, 47, None, state)
    origin = replace(run.manifest().origin, overrides={"x.tau": [1, {"kind": "linear"}]}, packages={"numpy": "2"})
    return run.manifest(
        origin=origin, segments=segments, base=Base(frames, 7), output=Output(1, 2, 3, None), inputs=(frames,),
        external={"/data.npy": "c"}, replaces=True, completed=True, virtual=True,
    )  # fmt: skip


@pytest.mark.parametrize("manifest", [run.manifest(), full_manifest()])
def test_a_manifest_and_back(manifest, tmp_path):
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize("found", [4, 2, 1])
def test_parts_of_another_format_say_so(found, tmp_path):
    folder = tmp_path / "out.h5.parts"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"format": found, "segments": []}))
    expected = rf"out.h5.parts: format {found}, this version of thermosim reads 3\. Use the version that wrote it\."
    for attempt in (lambda: read_manifest(folder), lambda: open_ensemble(tmp_path / "out.h5")):
        with pytest.raises(StorageError, match=expected):
            attempt()
    with pytest.raises(StorageError, match=expected):
        thermosim.resume(tmp_path / "out.h5")


def test_a_file_of_format_2_opens_but_is_not_extended(trap, tmp_path):
    """Its frames are where they are today; how it would go on is another matter."""
    path = tmp_path / "out.h5"
    case = thermosim.load_case(trap)
    thermosim.simulate(case, path).close()
    for found, message in ((2, ""), (1, "format 1, .* reads 3"), (4, "format 4, .* reads 3")):
        with h5py.File(path, "r+") as file:
            file.attrs["format"] = np.array([found])
            file.attrs["sha256"] = json.dumps(checksums_of(file))
        if message:
            with pytest.raises(StorageError, match=message):
                open_ensemble(path)
            continue
        with open_ensemble(path) as ds:
            assert np.array_equal(ds.x, thermosim.simulate(case).x)
        with pytest.raises(StorageError, match=r"format 2, .* reads 3"):
            thermosim.extend(path, 10)
    assert not parts_folder(path).exists()
