"""Damage to the parts of a run: found, named in words, left out when reading and done anew when going on."""

import numpy as np
import pytest

from tests import synthetic_run as run
from thermosim.storage import MANIFEST, PREVIOUS, Parts, StorageError, read_manifest
from thermosim.storage.coverage import frontier
from thermosim.storage.integrity import examine, without
from thermosim.storage.manifest import SealedFile, Stretch
from thermosim.storage.manifest_file import parse_manifest
from thermosim.storage.open import open_ensemble
from thermosim.storage.segments import Folder, read_state


def damaged_parts(tmp_path):
    rectangles = [(0, 0, 45, -1, 20), (0, 45, 90, -1, 20), (0, 0, run.LANES, 20, 47), *run.one_rectangle(1)]
    parts = run.sealed(tmp_path / "out.h5", rectangles)
    (parts.folder / "inputs").mkdir()
    (parts.folder / "inputs" / "data.npy").write_bytes(b"rows")
    parts.update(inputs=(SealedFile.of(parts.folder / "inputs/data.npy", "inputs/data.npy"),))
    assert examine(parts.folder, parts.manifest) == []
    return parts


def test_a_flipped_byte_is_found_in_every_file_and_the_right_one_is_named(tmp_path):
    parts, rng = damaged_parts(tmp_path), np.random.default_rng(0)
    files = [p for p in parts.folder.rglob("*") if p.is_file() and p.name not in ("lock", PREVIOUS)]
    assert len(files) == 4 + 4 + 1 + 1
    for path in files:
        good = path.read_bytes()
        for position in rng.integers(0, len(good), 20):
            bad = bytearray(good)
            bad[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(bad)
            manifest = read_manifest(parts.folder)
            faults = [f.file for f in examine(parts.folder, manifest)]
            assert faults == [str(path.relative_to(parts.folder))], position
            assert (manifest == parts.manifest) == (path.name != MANIFEST)
        path.write_bytes(good)


def test_faults_in_words(tmp_path):
    parts = damaged_parts(tmp_path)
    first, second, third, other = (parts.folder / s.frames.name for s in parts.manifest.segments)
    state = parts.folder / parts.manifest.segments[2].state.name
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    state.write_bytes(other.read_bytes())
    foreign = Parts.create(tmp_path / "foreign.h5", run.manifest(run="f" * 16), overwrite=False)
    foreign.seal(Stretch(0, 0, run.LANES, 20, 47), *run.contents(0, 0, run.LANES, 20, 47))
    third.write_bytes((foreign.folder / third.name).read_bytes())
    (parts.folder / "inputs" / "data.npy").unlink()
    told = {fault.file: fault.what for fault in examine(parts.folder, parts.manifest)}
    size = parts.manifest.segments[0].frames.bytes
    a, b, c = (f"tau = 1, kind = {kind}" for kind in ("a", "bé", "c"))
    short = f"truncated ({size - 1:,} bytes of {size:,})"
    assert told == {
        first.name: f"{short}; it held steps 0 to 20 of replicas 0 to 44 at {a}",
        second.name: f"missing; it held steps 0 to 20 of replicas from 0 at {b} to 44 at {c}",
        third.name: f"foreign (it is of run {'f' * 16}, this is {run.RUN}); it held steps 21 to 47 of replicas from "
        f"0 at {a} to 44 at {c}",
        state.name: f"damaged (it has grown); it held the state after step 47 of replicas from 0 at {a} to 44 at {c}",
        "inputs/data.npy": "missing; it is an input of the case",
    }
    with pytest.raises(StorageError, match="belongs to another run"):
        Folder(parts.folder, run.RUN).read(parts.manifest.segments[2].frames, "frames", ["y"])


def test_what_is_damaged_is_nan_for_reading_and_missing_for_going_on(tmp_path):
    parts = damaged_parts(tmp_path)
    segments = parts.manifest.segments
    path = parts.folder / segments[1].frames.name
    bad = bytearray(path.read_bytes())
    bad[-5] ^= 1
    path.write_bytes(bad)
    with pytest.warns(
        UserWarning, match=rf"(?s)damaged frames are NaN.*{path.name}: damaged \(checksum differs\)"
    ) as told:
        ds = open_ensemble(parts.output)
    assert [warning.category for warning in told].count(UserWarning) == 1
    expected = run.truth("x")
    expected[:11, 0, 1:] = np.nan
    assert np.array_equal(ds.x.values, expected, equal_nan=True)
    assert np.array_equal(ds.status[0], run.state_of(0, 47)["status"].reshape(3, -1))
    sound = without(parts.manifest, examine(parts.folder, parts.manifest))
    assert frontier(sound, 0, run.LANES) == [(0, 45, 47), (45, 90, -1)]
    parts.update(segments=sound.segments, base=sound.base)
    parts.seal(Stretch(0, 45, 90, -1, 20), *run.contents(0, 45, 90, -1, 20))
    assert frontier(parts.manifest, 0, run.LANES) == [(0, run.LANES, 47)]  # the rest had been whole
    assert examine(parts.folder, parts.manifest) == []
    assert np.array_equal(open_ensemble(parts.output).x.values, run.truth("x"))


def test_a_damaged_state_means_going_on_from_the_one_before(tmp_path):
    parts = damaged_parts(tmp_path)
    state = parts.folder / parts.manifest.segments[2].state.name
    state.write_bytes(b"")
    sound = without(parts.manifest, examine(parts.folder, parts.manifest, checksums=False))
    assert frontier(sound, 0, run.LANES) == [(0, run.LANES, 20)]
    with pytest.raises(StorageError, match="it has 0 bytes of"):
        read_state(parts.folder, parts.manifest, 0, 0, run.LANES, 47)


def test_a_damaged_manifest_is_replaced_by_the_one_before(tmp_path):
    parts = run.sealed(tmp_path / "out.h5", [(0, 0, run.LANES, -1, 20), (0, 0, run.LANES, 20, 47)])
    parts.release()
    path = parts.folder / MANIFEST
    text = path.read_text()
    path.write_text(text.replace('"seed": 1', '"seed": 2'))
    faults = examine(parts.folder, read_manifest(parts.folder))
    assert [f.file for f in faults] == [MANIFEST]
    assert "checksum differs; the one before it is used" in faults[0].what
    again = Parts.reopen(tmp_path / "out.h5")
    assert len(again.manifest.segments) == 1
    assert again.manifest.origin.seed == 1
    assert [f.file for f in examine(again.folder, again.manifest)] == [MANIFEST]  # still, until it is written anew
    again.update()
    assert examine(again.folder, again.manifest) == []
    assert parse_manifest(again.folder / PREVIOUS) == again.manifest  # the damaged one was not kept
    assert frontier(again.manifest, 0, run.LANES) == [(0, run.LANES, 20)]
    path.write_text("")
    (parts.folder / PREVIOUS).unlink()
    with pytest.raises(StorageError, match=r"no readable manifest.json .*not an output of thermosim"):
        read_manifest(parts.folder)


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    """Of a sealed file by `examine`, and of any that is to be written by what could not write it."""
    parts = run.sealed(tmp_path / "out.h5", [(0, 0, run.LANES, -1, 20)])
    segment = parts.manifest.segments[0]
    path = parts.folder / segment.frames.name
    path.unlink()
    path.mkdir()
    [fault] = examine(parts.folder, parts.manifest)
    assert str(fault).startswith(f"{path.name}: a folder in its place, to be moved away; it held")
    stretch = Stretch(segment.block, segment.first_lane, segment.lanes, segment.first_step, segment.step)
    with pytest.raises(StorageError, match=rf"move the folder {path} away, then: thermosim resume"):
        parts.seal(stretch, {"x": np.zeros((1, 2))}, {})
    previous = parts.folder / PREVIOUS
    previous.unlink(missing_ok=True)
    previous.mkdir()
    with pytest.raises(StorageError, match=rf"move the folder {previous} away, then: thermosim resume"):
        parts.update()
    parts.release()
