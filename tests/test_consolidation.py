"""The one file of a complete run: the same bytes however the run was cut, whole after any kill, and damage is found."""

import os
import resource
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import xarray as xr

from tests import synthetic_run as run
from thermosim.storage import MANIFEST, Parts, StorageError, chunks, consolidation
from thermosim.storage.consolidation import consolidate, settle
from thermosim.storage.integrity import examine
from thermosim.storage.layout import Layout
from thermosim.storage.manifest import Base, SealedFile, Stretch
from thermosim.storage.open import open_ensemble
from thermosim.storage.reading import dataset
from thermosim.storage.segments import Folder, read_state
from thermosim.storage.verification import verify_file


def rectangles(rng=None):
    """Of both blocks."""
    return [r for block in range(2) for r in (run.ragged(rng, block) if rng else run.one_rectangle(block))]


def made(output, cut=None, virtual=False, **changes):
    """The file of a run."""
    parts = run.sealed(output, rectangles(cut), **changes)
    consolidate(parts, virtual)
    parts.release()
    return output


def assert_complete(path):
    """Plain xarray sees the truth."""
    with xr.open_dataset(path, engine="h5netcdf") as ds:
        for name in "xym":
            assert np.array_equal(ds[name].values, run.truth(name)), name
            assert ds[name].dtype == run.truth(name).dtype
        assert ds.x.dims == ("step", "tau", "kind", "replica", "sample", "x_dim")
        assert ds.m.dims == ("step", "tau", "kind", "cohort", "x_dim")
        assert ds.kind.values.tolist() == ["a", "bé", "c"]
        assert ds.y_step.values.tolist() == list(range(5, 48, 7))
        for block in range(2):
            state = run.state_of(block, run.STEPS)
            values = run.finals(state)
            for name in values:
                assert np.array_equal(ds[name].values[block].reshape(values[name].shape), values[name]), name
            for name in ("status", "diverged_step"):
                assert np.array_equal(ds[name].values[block].reshape(-1), state[name])
        assert ds.attrs["completed"] == 1
        assert (ds.attrs["format"], ds.attrs["run"], ds.attrs["steps"]) == (3, run.RUN, run.STEPS)
        assert ds.attrs["case"] == 'title = "ü"'


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The file of a run in two rectangles; not to be changed."""
    return made(tmp_path_factory.mktemp("whole") / "out.h5")


def test_the_file_is_what_was_recorded(whole):
    assert_complete(whole)
    assert [p.name for p in whole.parent.iterdir()] == ["out.h5"]
    assert verify_file(whole) == []
    with h5py.File(whole) as file:
        for block in range(2):
            for name, array in run.state_of(block, run.STEPS).items():
                assert np.array_equal(file[f"state/{block}/{name}"][()], array)
                assert file[f"state/{block}/{name}"].dtype == array.dtype
        for name in [*"xym", "x_mean", "x_histogram", "status", "step", "replica", "state/0/theta"]:
            assert file[name].fletcher32, name


@pytest.mark.parametrize("seed", range(4))
def test_the_bytes_do_not_depend_on_the_rectangles(seed, whole, tmp_path, monkeypatch):
    path = made(tmp_path / "out.h5", np.random.default_rng(seed))
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("slab", [3000, 30_000])
def test_slabs_of_any_size_give_the_same_values(slab, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "_SLAB_BYTES", slab)
    monkeypatch.setattr(chunks, "_CHUNK_BYTES", 2000)
    monkeypatch.setattr(consolidation, "_FLUSH_BYTES", 10_000)
    monkeypatch.setattr("thermosim.storage.reading._STATE_BYTES", slab)
    done = []
    parts = run.sealed(tmp_path / "out.h5", rectangles(np.random.default_rng(1)))
    consolidate(parts, report=lambda *progress: done.append(progress))
    assert_complete(tmp_path / "out.h5")
    total = sum(run.truth(name).nbytes for name in "xym")
    assert done == sorted(done)
    assert done[-1] == (total, total)
    with h5py.File(tmp_path / "out.h5") as file:
        assert all(np.prod(file[n].chunks) * file[n].dtype.itemsize <= 2000 for n in [*"xym", "x_mean", "x_histogram"])


@pytest.mark.parametrize("seed", range(30))
def test_slabs_are_the_array_and_bounded(seed):
    rng = np.random.default_rng(seed)
    dims = rng.integers(1, 5)
    shape = rng.integers(1, 40, dims).tolist()
    roles = [*["step"] * int(rng.integers(2)), *["axis"] * dims, "replica", "tail"][:dims]
    cut = chunks.chunks_of(roles, [n * 50 for n in shape], 8)
    assert np.prod(cut) * 8 <= chunks._CHUNK_BYTES
    cut, seen = [min(n, int(rng.integers(1, 9))) for n in shape], np.zeros(shape, int)
    for slab in chunks.slabs(shape, cut, 8):
        seen[slab] += 1
        assert all(s.start % c == 0 for s, c in zip(slab, cut))  # no chunk is written twice
        assert all(s.stop % c == 0 or s.stop == n for s, c, n in zip(slab, cut, shape))
    assert np.all(seen == 1)


def test_a_run_with_nothing_over_cohorts_and_empty_frames(tmp_path):
    """Variables without components, or without frames, are in the file too."""
    recorded = run.manifest().variables
    variables = {"y": recorded["y"], "x": replace(recorded["x"], dims=("none",), shape=(0,))}
    parts = run.sealed(tmp_path / "out.h5", [], variables=variables, coordinates={}, summaries=())
    for rectangle in rectangles():
        frames, state = run.contents(*rectangle)
        frames = {"y": frames["y"], "x": frames["x"][..., 0, :0]}
        parts.seal(Stretch(*rectangle), frames, state)
    consolidate(parts)
    with xr.open_dataset(tmp_path / "out.h5", engine="h5netcdf") as ds:
        assert "cohort" not in ds.dims
        assert ds.x.shape == (24, 2, 3, run.REPLICAS, 0)
        assert np.array_equal(ds.y.values, run.truth("y"))
    assert verify_file(tmp_path / "out.h5") == []


def test_what_is_missing_is_said(tmp_path):
    parts = run.sealed(tmp_path / "out.h5", rectangles()[:1])
    with pytest.raises(StorageError, match="not all of it is sealed yet"):
        consolidate(parts)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.h5.parts"]


def test_inputs_are_kept(tmp_path):
    parts = run.sealed(tmp_path / "out.h5", rectangles())
    (parts.folder / "inputs" / "deep").mkdir(parents=True)
    (parts.folder / "inputs" / "deep" / "rows.npy").write_bytes(bytes(range(256)))
    (parts.folder / "inputs" / "empty.npy").touch()
    names = ("inputs/deep/rows.npy", "inputs/empty.npy")
    parts.update(inputs=tuple(SealedFile.of(parts.folder / name, name) for name in names))
    assert examine(parts.folder, parts.manifest) == []
    consolidate(parts)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["inputs/deep/rows.npy"][()].tobytes() == bytes(range(256))
        assert file["inputs/empty.npy"].size == 0
    assert verify_file(tmp_path / "out.h5") == []


@pytest.mark.parametrize("virtual", [False, True])
def test_a_flipped_byte_in_the_file_is_found_or_does_no_harm(virtual, tmp_path):
    path, rng = (
        made(tmp_path / "out.h5", np.random.default_rng(2) if virtual else None, virtual),
        np.random.default_rng(8),
    )
    good, found = path.read_bytes(), 0
    with xr.open_dataset(path, engine="h5netcdf") as ds:
        expected = ds.load()
    for position in [*rng.integers(0, len(good), 30), *rng.integers(0, 3000, 10)]:
        bad = bytearray(good)
        bad[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        if verify_file(path):
            found += 1
            continue
        with xr.open_dataset(path, engine="h5netcdf") as ds:
            assert ds.load().identical(expected), position
    assert found > (39 if virtual else 25)  # the rest was space that holds nothing


def test_a_flipped_number_stops_any_reader_and_is_named(whole, tmp_path):
    path = tmp_path / "out.h5"
    data = bytearray(whole.read_bytes())
    data[data.index(run.truth("x")[0, 0, 0].tobytes()) + 11] ^= 16
    path.write_bytes(data)
    assert verify_file(path) == [f"{path}: x is damaged (checksum differs) within numbers 0 to 23 along step"]
    with xr.open_dataset(path, engine="h5netcdf") as ds, pytest.raises(OSError, match=r"Fletcher32|filter"):
        ds.x.load()
    data = bytearray(whole.read_bytes())
    data[data.index(b"text text")] ^= 1  # settings: HDF5 itself would not notice
    path.write_bytes(data)
    assert verify_file(path) == [
        f"{path}: the attributes, dimensions or text of the file are damaged (checksum differs)"
    ]
    path.write_bytes(whole.read_bytes()[:-100])
    assert "cannot be read" in verify_file(path)[0]


@pytest.mark.parametrize("seed", range(2))
def test_a_virtual_file_reads_as_a_real_one_and_can_be_moved(seed, tmp_path):
    path = made(tmp_path / "a %b" / "o %d.h5", np.random.default_rng(seed), virtual=True)
    assert path.stat().st_size < run.truth("x").nbytes
    assert_complete(path)
    assert verify_file(path) == []
    shutil.move(path.parent, tmp_path / "elsewhere")
    path = tmp_path / "elsewhere" / path.name
    assert_complete(path)
    segment = next(path.with_name(path.name + ".parts").glob("frames-b1*"))
    segment.write_bytes(b"x" + segment.read_bytes()[1:])
    assert [f"/{segment.name}: damaged (checksum differs)" in line for line in verify_file(path)] == [True]


def test_the_parts_of_a_virtual_file_are_its_data(tmp_path, whole):
    path = made(tmp_path / "out.h5", virtual=True)
    with pytest.raises(StorageError, match=r"is a virtual file, out.h5.parts has its data.*Delete both"):
        Parts.create(path, run.manifest(), overwrite=True)
    parts = Parts.reopen(path)
    assert settle(parts)
    assert_complete(path)
    consolidate(parts)  # into a real one
    assert path.read_bytes() == whole.read_bytes()
    assert not parts.folder.exists()


def an_older_result(path):
    """The bytes of a file that says it is an ensemble."""
    with h5py.File(path, "w") as file:
        file.attrs.update(format=1, settings="{}", case="")
    return path.read_bytes()


class _Kill(BaseException):
    pass


@pytest.mark.parametrize(
    ("virtual", "over", "stride"),
    [(False, True, 3), (True, True, 1), pytest.param(False, True, 1, marks=pytest.mark.exhaustive)],
)
def test_killed_at_any_instant_it_is_made_in_the_end(virtual, over, stride, tmp_path, monkeypatch, whole):
    """Every call that changes the folders, or every third, is the last one once; then another process goes on."""
    calls = ("replace", "unlink", "rmdir", "link")
    killed = 0
    for instant in range(0, 200, stride):
        folder = tmp_path / str(instant)
        path = folder / "out.h5"
        folder.mkdir()
        if over:
            older = an_older_result(path)
        parts = Parts.create(path, run.manifest(), overwrite=over)
        for rectangle in rectangles():
            parts.seal(Stretch(*rectangle), *run.contents(*rectangle))
        count = iter(range(10**6))

        def dying(original, count=count, instant=instant):
            def call(*args, **options):
                if next(count) == instant:
                    raise _Kill
                return original(*args, **options)

            return call

        with monkeypatch.context() as patch:
            for name in calls:
                patch.setattr(os, name, dying(getattr(os, name)))
            try:
                consolidate(parts, virtual)
                ended = True
            except _Kill:
                ended, killed = False, killed + 1
        parts.release()
        if not ended:
            if path.exists() and path.read_bytes() != older:
                assert_complete(path)
            if not (parts.folder / MANIFEST).exists():
                assert not list(parts.folder.glob("*.h5"))
            else:
                again = Parts.reopen(path)
                if not settle(again):
                    assert all(np.array_equal(open_of(again)[n], run.truth(n)) for n in "xym")
                    consolidate(again, virtual)
                again.release()
        assert_complete(path)
        assert virtual or path.read_bytes() == whole.read_bytes()
        if ended:
            break
    assert killed >= 3


def open_of(parts):
    """What a reader sees of parts."""
    return dataset(Layout(parts.manifest), Folder(parts.folder, run.RUN))


@pytest.mark.parametrize("bytes_left", [3000, 20_000, 100_000, 300_000, 600_000])
def test_a_disk_that_fills_up_at_any_point_loses_nothing(bytes_left, whole, tmp_path, capfd):
    """The limit of the size of a file stands for it. HDF5 by itself loses such errors, or crashes."""
    parts = run.sealed(tmp_path / "out.h5", rectangles())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"could not be written: File too large. All segments are whole"):
            consolidate(parts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == ["out.h5.parts"]
    assert capfd.readouterr().err == ""
    consolidate(parts)
    assert (tmp_path / "out.h5").read_bytes() == whole.read_bytes()


def test_an_older_result_of_the_same_case_is_not_taken_for_the_new_one(whole, tmp_path):
    path = tmp_path / "out.h5"
    shutil.copy(whole, path)
    parts = Parts.create(path, run.manifest(), overwrite=True)
    assert not settle(parts)
    assert parts.folder.exists()


def test_a_run_that_goes_on_from_a_finished_file(whole, tmp_path):
    """The first 30 steps come from a file, the rest from segments: the file is that of the whole run."""
    path = tmp_path / "out.h5"
    parts = run.sealed(path, [(b, 0, run.LANES, -1, 30) for b in range(2)], steps=30)
    consolidate(parts)
    parts = Parts.create(path, run.manifest(), overwrite=True)
    shutil.copy(path, parts.folder / "base.h5")
    parts.update(base=Base(SealedFile.of(parts.folder / "base.h5"), 30))
    state = read_state(parts.folder, parts.manifest, 1, 45, 45, 30)
    assert all(np.array_equal(state[n], a) for n, a in run.state_of(1, 30, 45, 45).items())
    parts.release()
    shutil.copytree(parts.folder, tmp_path / "copy.h5.parts")
    ds = open_ensemble(tmp_path / "copy.h5")
    assert ds.sizes["step"] == 16
    assert np.array_equal(ds.x[::3, 1, 1:, 40:2:-1, 1].values, run.truth("x")[:16:3, 1, 1:, 40:2:-1, 1])
    for output, virtual in ((path, False), (tmp_path / "copy.h5", True)):
        parts = Parts.reopen(output)
        for rectangle in [
            (0, 0, run.LANES, 30, 47),
            (1, 0, 60 // 2 + 15, 30, 40),
            (1, 45, 90, 30, 47),
            (1, 0, 45, 40, 47),
        ]:
            parts.seal(Stretch(*rectangle), *run.contents(*rectangle))
        consolidate(parts, virtual)
        assert_complete(output)
        assert verify_file(output) == []
    assert path.read_bytes() == whole.read_bytes()
