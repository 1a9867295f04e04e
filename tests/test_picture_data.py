"""CIFAR in its binary version, and a stand-in for it: made-up files of the format, and what is said of wrong ones."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from thermosim.data import DataSection, load
from thermosim.data.rows import DataError, sealed
from thermosim.data.targets import Targets

loading = importlib.import_module("thermosim.data.load")  # a function has the same name


@pytest.fixture
def few(monkeypatch):
    """Sets of 200 images, as many of each class."""
    monkeypatch.setattr("thermosim.data.cifar.IMAGES", 200)


def _write(folder, names, labels, classes):
    """Files of records: labels, then pixels without a pattern."""
    random = np.random.default_rng(0)
    each = 200 // len(names)
    order = random.permutation(200) % classes
    pixels = random.integers(0, 256, (200, 3072), dtype=np.uint8)
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        part = slice(number * each, (number + 1) * each)
        first = [order[part, None] % 20] * (labels - 1)
        np.hstack([*first, order[part, None], pixels[part]]).astype(np.uint8).tofile(folder / name)
    return order, pixels


TEN = [f"data_batch_{number}.bin" for number in range(1, 6)]


@pytest.mark.parametrize(("name", "files", "labels"), [("cifar-10", TEN, 1), ("cifar-100", ["train.bin"], 2)])
def test_records_become_rows(tmp_path, few, name, files, labels):
    classes = 10 if labels == 1 else 100
    order, pixels = _write(tmp_path / "somewhere" / "batches", files, labels, classes)
    section = DataSection(source=name, folder=".", encoding="unit")
    data = load(section, 3072, tmp_path, targets=Targets(1, classes))
    np.testing.assert_array_equal(data.values[:, -1], order)
    of_pixels = pixels.reshape(200, 3, 1024).transpose(0, 2, 1).reshape(200, -1)  # the colours of a pixel together
    np.testing.assert_array_equal(data.values[:, :-1], of_pixels / 255.0)
    some = load(section.model_copy(update={"rows": 20}), 3072, tmp_path, targets=Targets(1, classes))
    assert some.values.shape == (20, 3073)
    assert {tuple(row) for row in some.values} < {tuple(row) for row in data.values}


def test_what_is_said_of_files(tmp_path, few):
    section = DataSection(source="cifar-10", folder=".")

    def said():
        with pytest.raises(DataError) as error:
            load(section, 3072, tmp_path, targets=Targets(1, 10))
        return str(error.value)

    assert said().startswith(
        f"data.source = 'cifar-10': no file data_batch_1.bin in {tmp_path}, or in a folder below it"
    )
    (tmp_path / "data_batch_1").write_bytes(b"pickle")
    assert "only the files of the Python version" in said()
    _write(tmp_path / "ten", TEN, 1, 10)
    content = (tmp_path / "ten" / TEN[2]).read_bytes()
    (tmp_path / "ten" / TEN[2]).write_bytes(content[:-1])
    assert "data_batch_3.bin is not the published file, it has 122,919 bytes, where 40 images take 122,920" in said()
    (tmp_path / "ten" / TEN[2]).write_bytes(b"\x0b" + content[1:])
    assert "their classes are not 0 to 9 with 20 images each" in said()


def test_a_stand_in_is_called_one():
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_sample_images

    from thermosim.data.stand_in import on_photos

    images = np.zeros((3, 784), np.uint8)
    images[1] = 255
    table = on_photos(sealed(images, np.arange(3), 0.0, 255.0, 28))
    assert table.values.shape == (3, 3072)
    pictures = table.values.reshape(3, 32, 32, 3)
    photos = load_sample_images().images
    windows = [np.lib.stride_tricks.sliding_window_view(photo[..., 0], (32, 32)) for photo in photos]
    assert any((window == pictures[0, ..., 0]).all(axis=(2, 3)).any() for window in windows)  # black: the photo itself
    inside = pictures[1, 2:-2, 2:-2].astype(int)
    assert any(
        (255 - window[:, :, 2:-2, 2:-2].astype(int) == inside[..., 0]).all(axis=(2, 3)).any() for window in windows
    )
    section = DataSection(source="fashion-on-photos")
    assert "stand-in for CIFAR-10" in loading._described(section, 10, 3072, None)


def test_moments_of_large_sets_are_those_of_small_ones(monkeypatch):
    bytes_ = np.random.default_rng(1).integers(0, 256, (500, 37), dtype=np.uint8)
    whole = loading._moments(bytes_)
    monkeypatch.setattr(loading, "_AT_ONCE", 500 * 5)
    for few, all_ in zip(loading._moments(bytes_), whole, strict=True):
        np.testing.assert_array_equal(few, all_)
