"""Sealed segments, reading while a run goes on, going on after a stop, and outputs that must not be touched."""

import json
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import xarray as xr

import thermosim
from thermosim.simulation import Interrupted
from thermosim.storage import StorageError, parts_folder


def assert_same(a, b):
    for name in a.data_vars:
        assert np.array_equal(a[name].values, b[name].values, equal_nan=True), name


def stop_after(replica_steps):
    """A progress report that behaves as Ctrl-C would, once so many replica-steps are done."""

    def report(progress):
        if progress.done >= replica_steps:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("name", ["trap", "sphere"])
def test_plain_xarray_opens_the_file(name, request, tmp_path):
    case = thermosim.load_case(request.getfixturevalue(name))
    path = tmp_path / "out.h5"
    thermosim.simulate(case, path).close()
    with xr.open_dataset(path, engine="h5netcdf") as ds:
        assert_same(ds, thermosim.simulate(case))
        assert ds.attrs["case"] == request.getfixturevalue(name)
        assert ds.attrs["completed"] == 1
        assert ds.attrs["seed"] == case.settings["ensemble"]["seed"]
        for variable in ds.data_vars.values():
            assert {"units", "long_name", "equation"} <= variable.attrs.keys()
    assert not parts_folder(path).exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.h5"]


def test_no_absolute_path_in_the_file(trap, tmp_path):
    path = tmp_path / "out.h5"
    thermosim.simulate(thermosim.load_case(trap), path).close()
    assert str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.parametrize("name", ["trap", "sphere"])
@pytest.mark.parametrize("after", [1, 4000, 12000])
def test_interrupted_then_resumed_is_the_uninterrupted_run(name, after, request, tmp_path):
    case = thermosim.load_case(request.getfixturevalue(name))
    path = tmp_path / "out.h5"
    try:
        thermosim.simulate(case, path, report=stop_after(after), segment_frames=2).close()
    except Interrupted:
        sealed = thermosim.open_ensemble(path)
        assert sealed.attrs["completed"] == 0
        whole = thermosim.simulate(case)
        for variable in sealed.data_vars:
            if "step" in sealed[variable].dims:
                assert np.array_equal(sealed[variable], whole[variable].sel(step=sealed.step)), variable
    assert_same(thermosim.resume(path, threads=1), thermosim.simulate(case))
    assert not parts_folder(path).exists()


def test_resume_inside_a_structural_sweep(trap, tmp_path):
    case = thermosim.load_case(trap + '[sweep]\n"x.tau" = { values = [1, 2, 3] }\n')
    path = tmp_path / "out.h5"
    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=stop_after(30_000), segment_frames=4)
    assert_same(thermosim.resume(path), thermosim.simulate(case))


def test_ctrl_c_on_the_command_line(sphere, tmp_path):
    """SIGINT to a real process: exit 130, the sentence that says how to go on, and a resumable output."""
    path, source = tmp_path / "out.h5", tmp_path / "case.toml"
    source.write_text(sphere.replace("steps = 120", "steps = 50_000_000").replace("every = 10", "every = 1000"))
    command = [sys.executable, "-m", "thermosim", "run", str(source), "-o", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not parts_folder(path).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)  # impatience must not cost the run
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f"thermosim resume {path}" in " ".join(output.split())
    sealed = thermosim.open_ensemble(path)
    assert sealed.sizes["step"] > 0
    again = thermosim.simulate(thermosim.load_case(source, {"run.steps": int(sealed.step[-1])}))
    assert np.array_equal(again.theta, sealed.theta)


def test_an_existing_output_is_never_replaced(trap, tmp_path):
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    path.write_text("precious")
    with pytest.raises(StorageError, match="exists already; nothing was changed"):
        thermosim.simulate(case, path)
    assert path.read_text() == "precious"
    thermosim.simulate(case, path, overwrite=True).close()
    assert thermosim.open_ensemble(path).sizes["replica"] == 200


def test_a_damaged_segment_is_named(trap, tmp_path):
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=stop_after(8000), segment_frames=2)
    segment = parts_folder(path) / "segment-000000.h5"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    with pytest.raises(StorageError, match=r"segment-000000.h5: damaged"):
        thermosim.resume(path)


def test_kernels_that_changed_are_refused(trap, tmp_path):
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=stop_after(8000), segment_frames=2)
    manifest = parts_folder(path) / "manifest.json"
    changed = json.loads(manifest.read_text()) | {"fingerprint": "another"}
    manifest.write_text(json.dumps(changed))
    with pytest.raises(StorageError, match="begun by other kernels"):
        thermosim.resume(path)


def test_unwritable_folder_is_a_clear_message(trap, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot be written.*-o"):
        thermosim.simulate(thermosim.load_case(trap), tmp_path / "file" / "out.h5")


def test_full_disk_keeps_sealed_segments(trap, tmp_path, monkeypatch):
    """The third segment meets a full disk: the first two stay whole, and the run goes on when there is room."""
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    create, count = h5py.File.create_dataset, iter(range(1000))

    def full(self, name, *args, **options):
        if name == "frames/x" and next(count) == 2:
            raise OSError(28, "No space left on device")
        return create(self, name, *args, **options)

    monkeypatch.setattr(h5py.File, "create_dataset", full)
    with pytest.raises(StorageError, match=r"No space left on device. The 2 sealed before it are whole"):
        thermosim.simulate(case, path, segment_frames=2)
    assert thermosim.open_ensemble(path).sizes["step"] == 4
    assert_same(thermosim.resume(path), thermosim.simulate(case))


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(StorageError, match="no such ensemble"):
        thermosim.open_ensemble(tmp_path / "nothing.h5")
    with pytest.raises(StorageError, match="no interrupted run"):
        thermosim.resume(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("not an ensemble")
    with pytest.raises(StorageError, match="not a readable ensemble"):
        thermosim.open_ensemble(tmp_path / "text.h5")


def test_two_runs_never_write_one_output(sphere, tmp_path):
    """The second is refused while the first lives, also with --overwrite and as a resume."""
    case, path = thermosim.load_case(sphere), tmp_path / "out.h5"
    seen = []

    def meddle(progress):
        if progress.done and not seen:
            for attempt in (
                lambda: thermosim.simulate(case, path),
                lambda: thermosim.simulate(case, path, overwrite=True),
                lambda: thermosim.resume(path),
            ):
                with pytest.raises(StorageError) as refusal:
                    attempt()
                seen.append(str(refusal.value))

    result = thermosim.simulate(case, path, report=meddle, segment_frames=2)
    assert_same(result, thermosim.simulate(case))
    assert "exists already" in seen[0]
    assert "another process is writing it" in seen[1]
    assert "another process is writing it" in seen[2]


def test_overwrite_keeps_the_old_result_until_the_new_one_is_whole(trap, tmp_path):
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    thermosim.simulate(case, path).close()
    other = thermosim.load_case(trap, {"ensemble.seed": 99})
    with pytest.raises(Interrupted):
        thermosim.simulate(other, path, overwrite=True, report=stop_after(8000), segment_frames=2)
    assert_same(xr.open_dataset(path, engine="h5netcdf"), thermosim.simulate(case))
    assert_same(thermosim.resume(path), thermosim.simulate(other))


def test_what_is_not_ours_is_not_deleted(trap, tmp_path):
    case = thermosim.load_case(trap)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "precious").write_text("")
    for output in (folder, tmp_path / "x.h5"):
        (tmp_path / "x.h5.parts").mkdir(exist_ok=True)
        with pytest.raises(StorageError, match="not ours to delete"):
            thermosim.simulate(case, output, overwrite=True)
    assert (folder / "precious").exists()


def test_a_run_that_fails_before_anything_is_sealed_leaves_nothing(trap, tmp_path):
    case = thermosim.load_case(trap, {"x.samples": 10**6, "ensemble.replicas": 10**6})
    with pytest.raises(thermosim.CaseError, match="more than the"):
        thermosim.simulate(case, tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_is_named(tmp_path):
    xr.Dataset({"a": ("x", [1.0, 2.0])}).to_netcdf(tmp_path / "foreign.h5", engine="h5netcdf")
    with pytest.raises(StorageError, match="not an ensemble of thermosim"):
        thermosim.open_ensemble(tmp_path / "foreign.h5")
