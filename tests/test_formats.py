"""Files of older versions still open, and those of newer ones are refused in words."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from thermosim.storage import Parts, parts_folder, read_manifest
from thermosim.storage.integrity import examine
from thermosim.storage.open import open_ensemble
from thermosim.storage.segments import StorageError, read_state
from thermosim.storage.verification import verify_file

FORMATS = Path(__file__).parent / "formats"


def test_a_finished_file_of_format_1():
    with open_ensemble(FORMATS / "format-1.h5") as ds:
        assert dict(ds.sizes) == {"step": 5, "tau": 2, "temperature": 2, "replica": 8, "x_dim": 2}
        assert ds.attrs["format"] == 1
        first_law = ds.phi.diff("step") - (ds.work + ds.heat).diff("step")
        assert float(abs(first_law).max()) < 1e-12
    assert verify_file(FORMATS / "format-1.h5") == []


def test_interrupted_parts_of_format_1(tmp_path):
    """They are the beginning of the finished run."""
    output = tmp_path / "format-1-interrupted.h5"
    shutil.copytree(FORMATS / "format-1-interrupted.h5.parts", parts_folder(output))
    ds, manifest = open_ensemble(output), read_manifest(parts_folder(output))
    steps = {block: [s["step"] for s in manifest["segments"] if s["block"] == block] for block in range(2)}
    assert all(steps.values())
    with xr.open_dataset(FORMATS / "format-1.h5", engine="h5netcdf") as whole:
        for name in ("x", "work", "heat", "phi"):
            for block in range(2):
                reached = int((whole.step.values <= max(steps[block])).sum())
                assert reached > 0
                found = ds[name].isel(tau=block).values
                assert np.array_equal(found[:reached], whole[name].isel(tau=block, step=slice(reached)).values)
                assert np.isnan(found[reached:]).all()
        assert np.array_equal(ds.step, whole.step[: ds.sizes["step"]])
    assert ds.attrs["completed"] == 0
    assert ds.status.shape == (2, 2, 8)
    assert not ds.status.any()
    state = read_state(parts_folder(output), manifest, 0, 3, 10, max(steps[0]))
    assert state["x"].shape[-1] == 10
    with h5py.File(parts_folder(output) / "segment-000000.h5") as file:
        assert sorted(file) == ["frames", "state"]
    parts = Parts.reopen(output)  # nothing of an older version is taken for something that a kill left
    assert len(list(parts.folder.glob("segment-*.h5"))) == len(manifest["segments"])


def test_damage_in_parts_of_format_1_is_named(tmp_path):
    folder = tmp_path / "out.h5.parts"
    shutil.copytree(FORMATS / "format-1-interrupted.h5.parts", folder)
    path = folder / "segment-000001.h5"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    faults = examine(folder, read_manifest(folder))
    assert [f.file for f in faults] == [path.name]
    assert "damaged (checksum differs); it held steps" in faults[0].what
    with pytest.warns(UserWarning, match="segment-000001.h5: damaged"):
        ds = open_ensemble(tmp_path / "out.h5")
    assert np.isnan(ds.x.values).any()


def test_a_newer_format_says_so(tmp_path):
    folder = tmp_path / "out.h5.parts"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"format": 3, "segments": []}))
    with pytest.raises(StorageError, match=r"format 3, this version .* reads 1 to 2\. It was written by a newer"):
        read_manifest(folder)
    (folder / "manifest.json").write_text(json.dumps({"format": 0, "segments": []}))
    with pytest.raises(StorageError, match=r"format 0, this version of thermosim reads 1 to 2\.$"):
        open_ensemble(tmp_path / "out.h5")
