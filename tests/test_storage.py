"""Sealed segments, reading while a run goes on, going on after a stop, and outputs that must not be touched."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
import xarray as xr

import thermosim
from thermosim.run.execution import Interrupted
from thermosim.storage import Parts, StorageError, parts_folder


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
        assert ds.attrs["seed"] == case.settings.ensemble.seed
        for variable in ds.data_vars.values():
            assert {"long_name", "equation"} <= variable.attrs.keys()
            assert "units" in variable.attrs or variable.name == "status"
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
    thermosim.simulate(thermosim.load_case(trap, {"ensemble.replicas": 3}), path).close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="exists already; nothing was changed"):
        thermosim.simulate(case, path)
    assert path.read_bytes() == before
    thermosim.simulate(case, path, overwrite=True).close()
    assert thermosim.open_ensemble(path).sizes["replica"] == 200


def test_a_damaged_segment_is_named_and_made_anew_when_asked(trap, tmp_path):
    """Refused with the name of the file and what it held; `repair` computes it again, to the same bytes."""
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    whole = thermosim.simulate(case)
    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=stop_after(8000), segment_frames=2)
    segment = sorted(parts_folder(path).glob("frames-*"))[1]
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    with pytest.raises(
        StorageError, match=rf"{segment.name}: damaged .*steps 14 to 27 of replicas 0 to 199(.|\n)*--repair"
    ):
        thermosim.resume(path)
    with pytest.warns(UserWarning, match=segment.name):
        left = thermosim.open_ensemble(path).load()
    good = [0, 7, *range(28, int(left.step[-1]) + 1, 7)]
    assert np.array_equal(left.x.sel(step=good), whole.x.sel(step=good))
    assert np.isnan(left.x.sel(step=[14, 21])).all()
    assert_same(thermosim.resume(path, repair=True), whole)


def test_a_damaged_last_state_goes_back_one(trap, tmp_path):
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=stop_after(8000), segment_frames=2)
    states = sorted(parts_folder(path).glob("state-*"))
    assert len(states) == 3  # of all that were sealed: two, and one for the manifest before the last
    states[-1].write_bytes(states[-1].read_bytes()[:-100])
    with pytest.raises(StorageError, match=rf"{states[-1].name}: truncated"):
        thermosim.resume(path)
    assert_same(thermosim.resume(path, repair=True), thermosim.simulate(case))


def test_a_damaged_manifest_is_named_and_the_one_before_taken(trap, tmp_path):
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=stop_after(8000), segment_frames=2)
    manifest = parts_folder(path) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 3', '"seed": 4'))
    with pytest.raises(StorageError, match=r"manifest.json: damaged") as refusal:
        thermosim.resume(path)
    assert "missing" not in str(refusal.value)
    assert_same(thermosim.resume(path, repair=True), thermosim.simulate(case))


def test_kernels_that_changed_are_refused(trap, tmp_path):
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=stop_after(8000), segment_frames=2)
    parts = Parts.reopen(path)
    origin = parts.manifest.origin
    other = {**origin.fingerprint, "numpy": "0.1.2", "move of x": "0" * 24}
    parts.update(origin=replace(origin, fingerprint=other))
    parts.release()
    with pytest.raises(StorageError, match=r"there have changed: the move of x; numpy 0.1.2, now [\d.]+"):
        thermosim.resume(path)


def test_another_case_is_refused_with_the_difference(trap, tmp_path):
    path = tmp_path / "out.h5"
    with pytest.raises(Interrupted):
        thermosim.simulate(thermosim.load_case(trap), path, report=stop_after(8000), segment_frames=2)
    with pytest.raises(StorageError, match=r"of this same case(.|\n)*thermosim resume"):
        thermosim.simulate(thermosim.load_case(trap), path)
    other = thermosim.load_case(trap, {"ensemble.seed": 9, "x.tau": 2})
    with pytest.raises(StorageError, match=r"x.tau: 3, now 2\n(.|\n)*ensemble.seed: 3, now 9\n(.|\n)*thermosim resume"):
        thermosim.simulate(other, path)


@pytest.mark.parametrize("virtual", [False, True])
@pytest.mark.parametrize("name", ["trap", "sphere"])
def test_extended_is_the_longer_run(name, virtual, request, tmp_path):
    """Past the end, to the bit: schedules end where the first run ended, and hold."""
    text, path = request.getfixturevalue(name), tmp_path / "out.h5"
    first = thermosim.load_case(text)
    steps = first.settings.run.steps
    thermosim.simulate(first, path, virtual=virtual).close()
    thermosim.extend(path, 50, threads=1, segment_frames=3).close()
    extended = thermosim.extend(path, 30)
    changes = {"run.steps": steps + 80}
    if name == "trap":
        changes |= {f"theta.protocol.{group}.end": steps for group in ("center", "stiffness")}
    longer = thermosim.simulate(thermosim.load_case(text, changes))
    assert_same(extended, longer)
    assert extended.attrs["completed"] == 1
    assert json.loads(extended.attrs["overrides"])["run.steps"] == steps + 80
    assert parts_folder(path).exists() == virtual


def test_an_extension_that_is_interrupted_goes_on(trap, tmp_path):
    """Until it is complete the ensemble so far stays in its place."""
    path = tmp_path / "out.h5"
    thermosim.simulate(thermosim.load_case(trap), path).close()
    before = path.read_bytes()
    with pytest.raises(Interrupted):
        thermosim.extend(path, 200, report=stop_after(200 * 150), segment_frames=2)
    assert path.read_bytes() == before
    with pytest.raises(StorageError, match="resume"):
        thermosim.extend(path, 10)
    changes = {"run.steps": 301, "theta.protocol.center.end": 101, "theta.protocol.stiffness.end": 101}
    assert_same(thermosim.resume(path), thermosim.simulate(thermosim.load_case(trap, changes)))


def test_what_cannot_be_extended_says_why(trap, tmp_path):
    path = tmp_path / "out.h5"
    thermosim.simulate(thermosim.load_case(trap, {"run.direction": "reversed"}), path).close()
    with pytest.raises(StorageError, match=r"run.direction = 'reversed'"):
        thermosim.extend(path, 10)
    with pytest.raises(StorageError, match="no such ensemble"):
        thermosim.extend(tmp_path / "nothing.h5", 10)


def test_lanes_one_after_the_other_when_memory_is_short(sphere, tmp_path):
    case = thermosim.load_case(sphere)
    result = thermosim.simulate(case, tmp_path / "out.h5", lanes_at_once=9)
    assert_same(result, thermosim.simulate(case))


def test_a_run_can_be_read_while_it_is_written_and_moved(sphere, tmp_path):
    """All sealed frames, lazily; the parts are read at another place, too."""
    case, path, seen = thermosim.load_case(sphere), tmp_path / "out.h5", []
    whole = thermosim.simulate(case)

    def look(progress):
        if parts_folder(path).exists() and any(parts_folder(path).glob("frames-*")) and len(seen) < 3:
            with thermosim.open_ensemble(path) as running:
                assert running.attrs["completed"] == 0
                assert not running.theta._in_memory
                assert np.array_equal(running.theta, whole.theta.isel(step=slice(running.sizes["step"])))
                seen.append(running.sizes["step"])
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=look, segment_frames=2)
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "renamed.h5"
    parts_folder(path).rename(parts_folder(moved))
    assert str(tmp_path).encode() not in b"".join(p.read_bytes() for p in parts_folder(moved).iterdir())
    assert_same(thermosim.resume(moved), whole)


def test_unwritable_folder_is_a_clear_message(trap, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot be written.*-o"):
        thermosim.simulate(thermosim.load_case(trap), tmp_path / "file" / "out.h5")


def test_full_disk_keeps_sealed_segments(trap, tmp_path, monkeypatch):
    """The third segment meets a full disk: the first two stay whole, and the run goes on when there is room."""
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    create, count = h5py.Group.create_dataset, iter(range(1000))

    def full(self, name, *args, **options):
        if name == "frames/x" and next(count) == 2:
            raise OSError(28, "No space left on device")
        return create(self, name, *args, **options)

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
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
        (tmp_path / "x.h5.parts" / "precious").write_text("")
        with pytest.raises(StorageError, match="not ours to delete"):
            thermosim.simulate(case, output, overwrite=True)
    assert (folder / "precious").exists()


def test_a_run_that_fails_before_anything_is_sealed_leaves_nothing(trap, tmp_path):
    case = thermosim.load_case(trap, {"x.samples": 10**6, "ensemble.replicas": 10**6})
    with pytest.raises(thermosim.CaseError, match="of memory while it runs, this machine has"):
        thermosim.simulate(case, tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_is_named(tmp_path):
    xr.Dataset({"a": ("x", [1.0, 2.0])}).to_netcdf(tmp_path / "foreign.h5", engine="h5netcdf")
    with pytest.raises(StorageError, match="not an ensemble of thermosim"):
        thermosim.open_ensemble(tmp_path / "foreign.h5")
