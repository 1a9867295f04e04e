"""Rectangles of lanes and steps: what they cover, what is missing, which states are kept, and how files are read."""

import errno
import itertools
import os
import threading
import time

import h5py
import numpy as np
import pytest

from tests import synthetic_run as run
from thermosim import cohorts
from thermosim.storage import Parts, StorageError, read_manifest
from thermosim.storage.coverage import frontier, latest, partition, surplus
from thermosim.storage.layout import Layout
from thermosim.storage.manifest import Axis, Base, SealedFile, Segment, Stretch
from thermosim.storage.open import open_ensemble
from thermosim.storage.reading import dataset
from thermosim.storage.segments import RamSegments, read_state, write

_LANES, _STEPS = 12, 15


def random_segments(rng):
    """A manifest of rectangles without files: some missing, some overlapping, some without a state."""
    segments, nothing = [], SealedFile("s", 0, "")
    for _ in range(rng.integers(0, 14)):
        first, lanes = rng.integers(0, _LANES - 1), rng.integers(1, _LANES)
        begin = rng.integers(-1, _STEPS - 1) if rng.random() < 0.6 else -1
        stretch = 0, int(first), int(min(lanes, _LANES - first)), int(begin), int(rng.integers(begin, _STEPS))
        segments.append(Segment(*stretch, frames=None, state=nothing if rng.random() < 0.7 else None))
    base = Base(nothing, int(rng.integers(0, 5))) if rng.random() < 0.3 else None
    return run.manifest(segments=tuple(segments), base=base)


def by_lane(manifest, lane):
    """Gap-free reach of a lane, the steps whose state it has, and those of them that it can go on from."""
    mine = [s for s in manifest.segments if s.first_lane <= lane < s.end_lane]
    start = manifest.base.step if manifest.base else -1
    covered = {step for s in mine for step in range(s.first_step + 1, s.step + 1)} | set(range(start + 1))
    reach = next(step for step in range(_STEPS + 2) if step not in covered) - 1
    states = {s.step for s in mine if s.state} | {start}
    return covered, reach, states, {step for step in states if start <= step <= reach}


@pytest.mark.parametrize("seed", range(100))
def test_coverage_against_a_count_of_every_lane_and_step(seed):
    manifest = random_segments(np.random.default_rng(seed))
    found = np.full(_LANES, -9)
    runs = frontier(manifest, 0, _LANES)
    for first, lanes, step in runs:
        found[first : first + lanes] = step
    assert [r[0] for r in runs] == np.cumsum([0, *(r[1] for r in runs[:-1])]).tolist()
    assert all(a[2] != b[2] for a, b in itertools.pairwise(runs))  # merged
    times = np.zeros((_LANES, _STEPS + 1), int)
    for rectangle in partition(manifest, 0, _LANES):
        times[
            rectangle.first_lane : rectangle.first_lane + rectangle.lanes, rectangle.first_step + 1 : rectangle.step + 1
        ] += 1
        if segment := rectangle.segment:
            assert segment.first_lane <= rectangle.first_lane
            assert rectangle.first_lane + rectangle.lanes <= segment.end_lane
            assert segment.first_step <= rectangle.first_step < rectangle.step == segment.step
    newest = {lane: step for first, lanes, step in latest(manifest, 0, _LANES) for lane in range(first, first + lanes)}
    for lane in range(_LANES):
        covered, _, states, resumable = by_lane(manifest, lane)
        assert found[lane] == max(resumable)
        assert newest[lane] == max(states)
        assert np.array_equal(np.flatnonzero(times[lane]), sorted(covered))
    assert times.max() <= 1


@pytest.mark.parametrize("seed", range(100))
def test_the_states_that_are_let_go_are_those_that_no_lane_needs(seed):
    manifest = random_segments(np.random.default_rng(seed))
    surplus_now = [id(segment) for segment in surplus(manifest, 0)]
    for segment in manifest.segments:
        needed = False
        for lane in range(segment.first_lane, segment.end_lane):
            resumable = sorted(by_lane(manifest, lane)[3])
            needed |= segment.step >= (resumable[-2] if len(resumable) > 1 else resumable[-1])
        assert (id(segment) in surplus_now) == (segment.state is not None and not needed)


@pytest.mark.parametrize("axes", [[], [3], [2, 3], [1, 4, 2]])
@pytest.mark.parametrize("over", ["replica", "cohort"])
def test_lanes_to_hyperslabs(axes, over):
    others = tuple(Axis(f"a{i}", tuple(range(n)), False) for i, n in enumerate(axes))
    axes_in_all = (*others[:1], Axis("s", (0, 1), True), *others[1:])
    manifest = run.manifest(axes=axes_in_all, blocks=((0,), (1,)), replicas=40)
    layout, size = Layout(manifest), {"replica": 40, "cohort": 32}[over]
    flat = np.arange(np.prod([*axes, size], dtype=int)).reshape(*axes, size)
    where = np.stack([-flat - 1, flat], axis=min(1, len(axes)))  # block 0 is negative
    rng = np.random.default_rng(len(axes))
    for _ in range(60):
        first, stop = np.sort(rng.integers(0, flat.size + 1, 2)).tolist()
        taken = []
        pieces = layout.pieces(1, first, stop - first, over)
        for index, part in pieces:
            assert part.start == len(taken)
            taken += where[index].reshape(-1).tolist()
            assert len(taken) == part.stop
        assert taken == list(range(first, stop))
        assert len(pieces) <= 2 * len(axes) + 1


def test_a_state_is_put_together_from_any_segments(tmp_path):
    rng = np.random.default_rng(3)
    parts = run.sealed(tmp_path / "out.h5", run.ragged(rng, 0))
    for _ in range(20):
        low, high = np.sort(rng.choice(run.EDGES, 2, replace=False)).tolist()
        found = read_state(parts.folder, parts.manifest, 0, low, high - low, run.STEPS)
        expected = run.state_of(0, run.STEPS, low, high - low)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[n], expected[n]) and found[n].dtype == expected[n].dtype for n in found)
    with pytest.raises(StorageError, match=r"no segment has the state of lane \d+ after step 46"):
        read_state(parts.folder, parts.manifest, 0, 0, run.LANES, run.STEPS - 1)


@pytest.mark.parametrize("seed", range(2))
def test_random_slices_of_segments_equal_numpy(seed, tmp_path):
    """Lazily, from a ragged run of which a part is missing."""
    rng = np.random.default_rng(seed)
    rectangles = [*run.ragged(rng, 0), *run.ragged(rng, 1)]
    rectangles = [r for r in rectangles if rng.random() < 0.8]
    parts = run.sealed(tmp_path / "out.h5", rectangles)
    ds = open_ensemble(parts.output)
    reached = max(r[-1] for r in rectangles)
    for name in "xym":
        expected, steps = run.truth(name), run.steps_of(name)
        missing = np.ones((2, run.LANES, len(expected)), bool)
        for block, first, lanes, begin, end in rectangles:
            missing[block, first : first + lanes, (steps > begin) & (steps <= end)] = False
        if name == "m":
            starts = [run.EDGES[c] for c in range(3 * run.COHORTS)]
            missing = missing[:, starts]
        missing = np.moveaxis(missing, -1, 0).reshape(len(expected), 2, 3, -1)
        expected[missing] = np.nan
        expected = expected[steps <= reached]
        assert ds[name].dtype == expected.dtype
        for _ in range(8):
            key = tuple(_random_key(rng, n) for n in expected.shape)
            lazy = open_ensemble(parts.output, verify=False)[name]
            assert np.array_equal(lazy[key].values, _orthogonal(expected, key), equal_nan=True), key
        assert np.array_equal(ds[name].values, expected, equal_nan=True)
    for block in range(2):
        for first, lanes, step in latest(parts.manifest, block, run.LANES):
            if step >= 0:
                state = run.state_of(block, step, first, lanes)
                for name, values in run.finals(state).items():
                    cut = slice(first, first + lanes) if name == "x_mean" else cohorts.slice_of(45, first, lanes)
                    assert np.array_equal(ds[name].values[block].reshape(-1, *values.shape[1:])[cut], values)
                assert np.array_equal(ds.status.values[block].reshape(-1)[first : first + lanes], state["status"])


def _random_key(rng, size):
    kind = rng.integers(4)
    if kind == 0:
        return int(rng.integers(-size, size))
    if kind == 1:
        return np.sort(rng.integers(0, size, rng.integers(1, 4)))
    a, b = np.sort(rng.integers(0, size + 1, 2)).tolist()
    return slice(a, b, int(rng.integers(1, 4))) if kind == 2 else slice(None, None, -1 if rng.random() < 0.3 else None)


def _orthogonal(array, key):
    for axis in reversed(range(len(key))):
        array = array[(slice(None),) * axis + (key[axis],)]
    return array


def test_one_replica_of_a_wide_run_is_read_row_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr("thermosim.storage.reading._BYTES_PER_READ", 1)
    parts = run.sealed(tmp_path / "out.h5", [*run.one_rectangle(0), *run.one_rectangle(1)])
    ds = open_ensemble(parts.output)
    assert np.array_equal(ds.x[:, :, :, 4], run.truth("x")[:, :, :, 4])
    assert np.array_equal(ds.x[3:9:2, 1, ::2, 5:40:7, 1], run.truth("x")[3:9:2, 1, ::2, 5:40:7, 1])


def test_states_are_pruned_and_the_run_goes_on_from_the_last(tmp_path):
    parts = Parts.create(tmp_path / "out.h5", run.manifest(), overwrite=False)
    whole, half = (0, run.LANES), (0, run.REPLICAS)
    for (first, lanes), begin, end in [(whole, -1, 9), (whole, 9, 19), (whole, 19, 29), (half, 29, 39), (half, 39, 47)]:
        parts.seal(Stretch(0, first, lanes, begin, end), *run.contents(0, first, lanes, begin, end))
    held = [s.step for s in parts.manifest.segments if s.state]
    assert held == [19, 29, 39, 47]  # other lanes still need the two that were made of all
    assert len(list(parts.folder.glob("state-*"))) == 4
    assert len(list(parts.folder.glob("frames-*"))) == 5
    assert frontier(parts.manifest, 0, run.LANES) == [(0, run.REPLICAS, 47), (run.REPLICAS, 2 * run.REPLICAS, 29)]
    rest = (0, run.REPLICAS, 2 * run.REPLICAS)
    for begin, end in [(29, 39), (39, 47)]:
        parts.seal(Stretch(*rest, begin, end), *run.contents(*rest, begin, end))
    assert sorted(s.step for s in parts.manifest.segments if s.state) == [39, 39, 47, 47]
    assert len(list(parts.folder.glob("state-*"))) == 5  # those of the manifest before stay for as long as it does
    parts.release()
    again = Parts.reopen(parts.output)
    again.update()
    assert len(list(parts.folder.glob("state-*"))) == 4
    assert read_manifest(parts.folder) == parts.manifest


def test_the_same_rectangle_twice_is_one_segment(tmp_path):
    parts = run.sealed(tmp_path / "out.h5", run.one_rectangle(0))
    before = {p.name: p.read_bytes() for p in parts.folder.glob("*.h5")}
    again = write(parts.folder, run.RUN, Stretch(*run.one_rectangle(0)[0]), *run.contents(*run.one_rectangle(0)[0]))
    parts.record([again, again])
    assert len(parts.manifest.segments) == 1
    assert {p.name: p.read_bytes() for p in parts.folder.glob("*.h5")} == before


def test_only_what_a_kill_left_is_removed(tmp_path):
    parts = run.sealed(tmp_path / "out.h5", run.one_rectangle(0))
    before = {p.name for p in parts.folder.iterdir()}
    orphan = write(parts.folder, run.RUN, Stretch(0, 0, 45, 47, 48), {}, run.state_of(0, 48, 0, 45)).state.name
    left = [orphan, "frames-b0-l0000000000-0000000001-s0000000000-0000000001.h5.0a1b.tmp", "manifest.json.0a.tmp"]
    kept = ["model.py", "data.tmp", "frames.h5", "notes.txt", "base.h5"]
    for name in left + kept:
        (parts.folder / name).touch()
    parts.release()
    assert {p.name for p in Parts.reopen(tmp_path / "out.h5").folder.iterdir()} == before | set(kept)


def test_a_full_disk_leaves_no_trace_of_the_segment(tmp_path, monkeypatch):
    parts = run.sealed(tmp_path / "out.h5", [(0, 0, run.LANES, -1, 20)])
    before = {p.name: p.read_bytes() for p in parts.folder.iterdir()}

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full if name == "fsync" else lambda a, b: full(0))
            with pytest.raises(
                StorageError,
                match=r"a segment could not be written: No space left on device. The 1 sealed before it are whole; "
                r"make room, then: thermosim resume .*out.h5",
            ):
                parts.seal(Stretch(0, 0, run.LANES, 20, 47), *run.contents(0, 0, run.LANES, 20, 47))
        assert {p.name: p.read_bytes() for p in parts.folder.iterdir()} == before
    assert len(parts.manifest.segments) == 1


def test_a_manifest_that_cannot_be_written_changes_nothing(tmp_path, monkeypatch):
    parts = run.sealed(tmp_path / "out.h5", [(0, 0, run.LANES, -1, 20)])
    monkeypatch.setattr(
        "thermosim.storage.manifest_file.write_whole", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(StorageError, match="the manifest could not be written: No space left"):
        parts.seal(Stretch(0, 0, run.LANES, 20, 47), *run.contents(0, 0, run.LANES, 20, 47))
    assert read_manifest(parts.folder) == parts.manifest
    assert len(parts.manifest.segments) == 1


def test_waiting_for_a_file_of_another_machine(tmp_path):
    parts = run.sealed(tmp_path / "out.h5", run.one_rectangle(0))
    path = parts.folder / parts.manifest.segments[0].state.name
    data = path.read_bytes()
    path.write_bytes(data[:100])
    with pytest.raises(StorageError, match="it has 100 bytes of"):
        read_state(parts.folder, parts.manifest, 0, 0, 45, 47)
    threading.Timer(0.3, lambda: path.write_bytes(data)).start()
    begin = time.monotonic()
    assert read_state(parts.folder, parts.manifest, 0, 0, 45, 47, wait=20)["theta"].shape == (3, 45)
    assert 0.2 < time.monotonic() - begin < 10


def test_a_reader_that_is_overtaken_says_so(tmp_path):
    parts = run.sealed(tmp_path / "out.h5", run.one_rectangle(0))
    ds = open_ensemble(parts.output)
    parts.output.write_text("")
    parts.remove()
    with pytest.raises(StorageError, match=r"the run has finished since, or begun anew; open it again"):
        ds.x.load()


def test_locks_where_there_are_none(tmp_path, monkeypatch):
    run.sealed(tmp_path / "out.h5", []).release()
    for code, refused in ((errno.ENOLCK, False), (errno.EOPNOTSUPP, False), (errno.EWOULDBLOCK, True)):

        def flock(*_, code=code):
            raise OSError(code, "")

        monkeypatch.setattr("fcntl.flock", flock)
        if refused:
            with pytest.raises(StorageError, match="another process is writing it"):
                Parts.reopen(tmp_path / "out.h5")
        else:
            Parts.reopen(tmp_path / "out.h5").release()


def test_removal_that_was_killed_can_be_gone_on_with(tmp_path, monkeypatch):
    """The manifest goes last; a folder with nothing but a lock is in nobody's way."""
    parts = run.sealed(tmp_path / "out.h5", run.one_rectangle(0))
    monkeypatch.setattr(type(parts.folder), "rmdir", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    (parts.folder / "lock2").touch()
    with pytest.raises(KeyboardInterrupt):
        parts.remove()
    monkeypatch.undo()
    parts.release()
    (parts.folder / "lock").touch()
    run.sealed(tmp_path / "out.h5", run.one_rectangle(0))


def test_memory_is_read_as_parts_are():
    memory = RamSegments(run.manifest())
    for block in range(2):
        for begin, end in ((-1, 20), (20, 47)):
            memory.seal(Stretch(block, 0, run.LANES, begin, end), *run.contents(block, 0, run.LANES, begin, end))
    ds = dataset(Layout(memory.manifest), memory, completed=True).load()
    assert all(np.array_equal(ds[name], run.truth(name)) for name in "xym")
    assert ds.attrs["completed"] == 1
    assert [bool(s.state) for s in memory.manifest.segments] == [False, True, False, True]


def test_a_segment_says_whose_it_is(tmp_path):
    parts = run.sealed(tmp_path / "out.h5", [(1, 45, 90, -1, 20)])
    for group in ("frames", "state"):
        name = f"{group}-b1-l0000000045-0000000134-s0000000000-0000000020.h5"
        with h5py.File(parts.folder / name) as file:
            told = {key: value if isinstance(value, str) else int(value) for key, value in file.attrs.items()}
        assert told == {"run": run.RUN, "block": 1, "first_lane": 45, "lanes": 90, "first_step": -1, "step": 20}
    assert read_manifest(parts.folder) == parts.manifest
