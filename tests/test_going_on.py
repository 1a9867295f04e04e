"""Going on must lose nothing, use nothing damaged, and read the files the case was begun with."""

import json
import shutil
import subprocess

import h5py
import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.test_user_model import MODEL, write
from thermosim.plan.outline import plan
from thermosim.run.execution import Interrupted
from thermosim.run.fingerprint import fingerprint
from thermosim.storage import StorageError, parts_folder


def interrupt(case, path, after=8000, **how):
    def report(progress):
        if progress.done >= after:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=report, segment_frames=2, **how)


def flip(path, where=0.5, bit=1):
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= bit
    path.write_bytes(data)


def assert_same(a, b):
    for name in a.data_vars:
        assert np.array_equal(a[name].values, b[name].values, equal_nan=True), name


@pytest.mark.parametrize("after", [1, 4000])
def test_a_refused_resume_removes_nothing(trap, tmp_path, after):
    """With a damaged manifest neither the folder nor what only that manifest knows may go."""
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    interrupt(case, path, after)
    folder = parts_folder(path)
    good = (folder / "manifest.json").read_bytes()
    flip(folder / "manifest.json")
    before = sorted(p.name for p in folder.iterdir())
    for _ in range(2):
        with pytest.raises(StorageError, match=r"manifest.json"):
            thermosim.resume(path)
    assert sorted(p.name for p in folder.iterdir()) == before
    (folder / "manifest.json").write_bytes(good)  # put back from a copy, as the message says
    assert_same(thermosim.resume(path), thermosim.simulate(case))


@pytest.mark.parametrize(
    ("old", "new"), [('"format": 3', '"format": 2'), ('"format": 3', '"format": 7'), ("orma", "oqma")]
)
def test_a_flip_in_the_format_of_a_manifest_is_damage(trap, tmp_path, old, new):
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    interrupt(case, path)
    manifest = parts_folder(path) / "manifest.json"
    manifest.write_text(manifest.read_text().replace(old, new, 1))
    with pytest.raises(StorageError, match=r"manifest.json: damaged"):
        thermosim.resume(path)
    assert_same(thermosim.resume(path, repair=True), thermosim.simulate(case))


def test_damage_under_a_virtual_file(trap, tmp_path):
    """It is named when the file is opened, its frames are NaN, and `repair` makes them anew."""
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    thermosim.simulate(case, path, virtual=True, segment_frames=3).close()
    whole = thermosim.simulate(case)
    segment = sorted(parts_folder(path).glob("frames-*"))[1]
    flip(segment)
    with pytest.warns(UserWarning, match=segment.name):
        left = thermosim.open_ensemble(path).load()
    assert np.isnan(left.x.isel(step=slice(3, 6))).all()
    assert np.array_equal(left.x.isel(step=slice(6, None)), whole.x.isel(step=slice(6, None)))
    segment.unlink()
    with pytest.raises(StorageError, match="--repair"):
        thermosim.extend(path, 10)
    with pytest.raises(StorageError, match=f"{segment.name}: missing"):
        thermosim.resume(path)
    assert_same(thermosim.resume(path, repair=True), whole)
    with xr.open_dataset(path, engine="h5netcdf") as plain:
        assert_same(plain, whole)


def test_a_virtual_file_without_its_parts_says_so(trap, tmp_path):
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    thermosim.simulate(case, path, virtual=True, segment_frames=3).close()
    renamed = tmp_path / "new.h5"
    path.rename(renamed)
    parts_folder(path).rename(parts_folder(renamed))
    assert_same(thermosim.open_ensemble(renamed), thermosim.simulate(case))
    shutil.rmtree(parts_folder(renamed))
    for attempt in (thermosim.open_ensemble, lambda p: thermosim.extend(p, 5)):
        with pytest.raises(StorageError, match=r"virtual file, and new.h5.parts"):
            attempt(renamed)


def test_an_older_file_of_the_same_case_is_not_taken_for_the_result(trap, tmp_path, monkeypatch):
    """Killed before the new file is there: resume makes it, though a file of the same case and length exists."""
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    thermosim.simulate(case, path).close()
    whole = path.read_bytes()
    flip(path)
    with monkeypatch.context() as patched:
        patched.setattr("thermosim.storage.consolidation._declare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(Interrupted):
            thermosim.simulate(case, path, overwrite=True)
    thermosim.resume(path).close()
    assert path.read_bytes() == whole


def test_an_extension_of_a_virtual_file_that_is_sealed_but_not_yet_a_file(trap, tmp_path, monkeypatch):
    """The file beside the parts is the shorter one still: resume makes the longer one."""
    path = tmp_path / "out.h5"
    thermosim.simulate(thermosim.load_case(trap), path, virtual=True).close()
    with monkeypatch.context() as patched:
        patched.setattr("thermosim.storage.consolidation._declare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(Interrupted):
            thermosim.extend(path, 60)
    thermosim.resume(path).close()
    with xr.open_dataset(path, engine="h5netcdf") as plain:
        assert (plain.attrs["steps"], plain.attrs["completed"], int(plain.step[-1])) == (161, 1, 161)


def test_extend_refuses_other_kernels(trap, tmp_path, monkeypatch):
    case, path = thermosim.load_case(trap), tmp_path / "out.h5"
    thermosim.simulate(case, path).close()
    now = dict(fingerprint(case, plan(case)))
    monkeypatch.setattr("thermosim.run.resume.fingerprint", lambda *_: now | {"starts": "0" * 24})
    with pytest.raises(StorageError, match="there have changed: the starts"):
        thermosim.extend(path, 5)


DATA = """
[model]
name = "gaussian"
dimension = 2
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = 3
[x]
dynamics = "ula"
time_step = 0.1
[data]
file = "{file}"
[ensemble]
replicas = 40
[run]
steps = 60
[record]
every = 10
"""


@pytest.mark.parametrize("name", ["rows.npy", "deep/rows.npy", "../rows.npy", "../../other/rows.npy"])
def test_files_of_the_case_go_with_the_parts(name, tmp_path):
    """Resumed and extended though the files are gone, wherever they were."""
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    (home / name).parent.mkdir(exist_ok=True)
    np.save(home / name, np.random.default_rng(1).normal(size=(30, 2)))
    (home / "case.toml").write_text(DATA.format(file=name))
    case, path = thermosim.load_case(home / "case.toml"), tmp_path / "out.h5"
    whole = thermosim.simulate(case)
    longer = thermosim.simulate(thermosim.load_case(home / "case.toml", {"run.steps": 80}))
    interrupt(case, path, after=1000)
    shutil.rmtree(tmp_path / "a")
    assert_same(thermosim.resume(path), whole)
    assert_same(thermosim.extend(path, 20), longer)


def test_a_file_of_an_absolute_path_that_changed_is_refused(tmp_path):
    rows = tmp_path / "rows.npy"
    np.save(rows, np.random.default_rng(1).normal(size=(30, 2)))
    path = tmp_path / "out.h5"
    interrupt(thermosim.load_case(DATA.format(file=rows)), path, after=1000)
    np.save(rows, np.zeros((30, 2)))
    with pytest.raises(StorageError, match=r"rows.npy: has changed since"):
        thermosim.resume(path)


def test_the_state_of_quarantined_replicas_does_not_depend_on_the_cut(tmp_path):
    """Moves may write into lanes that have diverged until the guard comes by: the sealed state has none of it."""
    text = """
[model]
name = "isotropic-sphere"
[theta]
dynamics = "sgd"
constraint = "fixed-elr"
learning_rate = 0.05
radius = 10.0
[ensemble]
replicas = 70
[run]
steps = 1999
[record]
every = 1000
[sweep]
"theta.weight_decay" = { values = [0.01, 5.0] }
"""
    case = thermosim.load_case(text)
    for name, how in (("a", {}), ("b", {"lanes_at_once": 33, "segment_frames": 1, "tile_width": 32})):
        thermosim.simulate(case, tmp_path / f"{name}.h5", **how).close()
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_kill_before_the_first_manifest_leaves_nothing_in_the_way(trap, tmp_path):
    path = tmp_path / "out.h5"
    (parts_folder(path) / "inputs").mkdir(parents=True)
    with pytest.raises(StorageError, match="no interrupted run"):
        thermosim.resume(path)
    (parts_folder(path)).mkdir()
    (parts_folder(path) / "lock").touch()
    thermosim.simulate(thermosim.load_case(trap), path).close()
    assert not parts_folder(path).exists()


def test_a_disk_that_is_full_from_the_beginning(trap, tmp_path, monkeypatch):
    def full(*_, **__):
        why = "No space left on device. Those sealed before it are whole; make room, then: thermosim resume out.h5"
        raise StorageError(f"out.h5.parts: a segment could not be written: {why}")

    monkeypatch.setattr("thermosim.storage.parts.write", full)
    with pytest.raises(StorageError, match="Nothing was sealed yet: make room, then run it again"):
        thermosim.simulate(thermosim.load_case(trap), tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == []


def test_settings_of_an_extension_are_in_the_file(trap, tmp_path):
    path = tmp_path / "out.h5"
    thermosim.simulate(thermosim.load_case(trap), path).close()
    extended = thermosim.extend(path, 10)
    assert json.loads(extended.attrs["settings"])["run"]["steps"] == 111
    assert not parts_folder(path).exists()


def test_a_complete_file_that_is_damaged_is_not_called_complete(trap, tmp_path, capsys):
    """What is damaged is named, and computed anew from the case in the file; a file without its case is refused."""
    from thermosim.cli import terminal

    path = tmp_path / "out.h5"
    thermosim.simulate(thermosim.load_case(trap), path).close()
    assert terminal.resume(path, False, {}) == 0
    assert "nothing to go on with" in capsys.readouterr().out
    whole = path.read_bytes()
    with h5py.File(path) as file:
        chunk = file["x"].id.get_chunk_info(0)
    path.write_bytes(whole[: chunk.byte_offset] + bytes(8) + whole[chunk.byte_offset + 8 :])
    for attempt in (lambda: terminal.resume(path, False, {}), lambda: thermosim.resume(path)):
        with pytest.raises(StorageError, match=r"x is damaged .*\n.*resume .*out.h5 --repair"):
            attempt()
    thermosim.resume(path, repair=True).close()
    assert path.read_bytes() == whole
    title = whole.index(b"a small dragged trap")
    path.write_bytes(whole[:title] + b"A" + whole[title + 1 :])
    with pytest.raises(StorageError, match=r"run the case again|not a readable"):
        thermosim.resume(path, repair=True)


def test_a_model_that_was_edited_since_is_told(tmp_path):
    """Beside its case, wherever the output is."""
    smaller = {"ensemble.replicas": 20, "run.steps": 300, "record.first": 0, "record.every": 10}
    case, path = thermosim.load_case(write(tmp_path), smaller), tmp_path / "elsewhere" / "out.h5"
    path.parent.mkdir()
    interrupt(case, path, after=100)
    (tmp_path / "quartic.py").write_text(MODEL + "# better\n")
    with pytest.warns(UserWarning, match=r"quartic.py: has been edited since the run was begun; it goes on with the t"):
        thermosim.resume(path).close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of so many megabytes; it can be enlarged."""
    place = tmp_path / "small"
    place.mkdir()

    def mount(megabytes):
        options = f"size={int(1024 * megabytes)}k" + (",remount" if place.is_mount() else "")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("a small file system needs the rights to mount one")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


@pytest.mark.parametrize("megabytes", [0.4, 3, 5])
def test_a_full_disk(trap, small_disk, tmp_path, megabytes):
    """In the first seal, a later one, or the file at the end: said so, and with more room it comes out the same."""
    case = thermosim.load_case(trap, {"ensemble.replicas": 1000, "run.steps": 300})
    thermosim.simulate(case, tmp_path / "whole.h5").close()
    path = small_disk(megabytes) / "out.h5"
    with pytest.raises(StorageError, match=r"No space left on device.*make room"):
        thermosim.simulate(case, path, segment_frames=5, force=True)
    small_disk(40)
    if parts_folder(path).exists():
        thermosim.resume(path).close()
    else:  # nothing was sealed
        thermosim.simulate(case, path).close()
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()
