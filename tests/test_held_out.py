"""Rows that no replica learns from: which they are, where they are found again, and what is said of wrong ones."""

import json

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within
from thermosim.analysis import learning_curves
from thermosim.analysis.machine import machines
from thermosim.analysis.settings import settings
from thermosim.case.settings import Settings
from thermosim.data import DataError, DataSection, load
from thermosim.data.targets import Targets

RANDOM = np.random.default_rng(8)
LABELS = np.array([3, 5, 9])
TRAIN, TEST = RANDOM.integers(3, size=60), np.array([2, 2, 0, 2, 0])  # places of labels; 5 does not occur in the test
INPUTS, TEST_INPUTS = RANDOM.normal(2.0, 3.0, (60, 4)), RANDOM.normal(2.0, 3.0, (5, 4))
CLASSES = Targets(1, classes=3)
MATRIX, COVARIANCE, NOISE = [[1.0, -2.0], [0.3, 4.0]], [[2.0, 0.6], [0.6, 1.0]], [[0.4, -0.3], [-0.3, 0.9]]
LINEAR = {"source": "linear", "matrix": MATRIX, "covariance": COVARIANCE, "noise": NOISE, "mean": [0.5, -1.0]}
SOFTMAX = """
[model]
name = "softmax-regression"
inputs = 4
classes = 3
[theta]
dynamics = "sgd"
learning_rate = 0.1
batch = 3
[data]
file = "train.npz"
test = "test.npz"
[ensemble]
replicas = 6
seed = 3
[run]
steps = 8
[record]
every = 4
variables = ["theta"]
"""


@pytest.fixture
def folder(tmp_path):
    np.savez(tmp_path / "train.npz", inputs=INPUTS, targets=LABELS[TRAIN])
    np.savez(tmp_path / "test.npz", inputs=TEST_INPUTS, targets=LABELS[TEST])
    np.savez(tmp_path / "strange.npz", inputs=TEST_INPUTS, targets=[3, 3, 7, 9, 9])
    np.savez(tmp_path / "wide.npz", inputs=np.ones((5, 6)), targets=LABELS[TEST])
    np.save(tmp_path / "columns.npy", np.column_stack([INPUTS, TRAIN]))
    np.save(tmp_path / "more.npy", np.column_stack([TEST_INPUTS, TEST]))
    np.save(tmp_path / "off.npy", np.column_stack([TEST_INPUTS, TEST + 1]))
    np.save(tmp_path / "classes.npy", TRAIN)
    np.save(tmp_path / "inputs.npy", INPUTS)
    (tmp_path / "images").mkdir()
    return tmp_path


def data(folder, targets=CLASSES, inputs=4, **keys):
    return load(DataSection(**keys), inputs, folder, targets=targets)


def as_set(rows):
    return {tuple(row) for row in rows}


@pytest.mark.parametrize(("test", "count"), [(0.3, 18), (11, 11), (1, 1), (59, 59)])
def test_a_share_is_held_out_of_all_sets(folder, test, count):
    whole = data(folder, file="train.npz")
    part = data(folder, file="train.npz", test=test)
    assert (len(part.values), len(part.test)) == (60 - count, count)
    assert part.description == f"train.npz: {60 - count} rows of 4 inputs and 1 targets, {count} to test with"
    assert as_set(part.values) | as_set(part.test) == as_set(whole.values)
    assert part.labels is not None
    assert np.array_equal(LABELS[part.values[:, -1].astype(int)], part.labels)
    assert whole.test is None


def test_which_rows_are_held_out_depends_on_the_seed_and_on_all_rows_only(folder):
    """Not on the rows and sets to learn from; a larger part holds the smaller; other seeds hold out others."""
    small, large = (data(folder, file="train.npz", test=test).test for test in (6, 20))
    assert as_set(small) < as_set(large)
    sets = data(folder, file="train.npz", test=20, rows=7, sets=3)
    assert np.array_equal(sets.test, large)
    assert sets.values.shape == (21, 5)
    assert not as_set(sets.values) & as_set(large)
    assert len(as_set(large) & as_set(data(folder, file="train.npz", test=20, seed=1).test)) < 15
    # nor the first rows of the order in which sets are drawn
    assert as_set(data(folder, file="train.npz", rows=20).values) != as_set(large)


def test_rows_held_out_are_on_the_scale_of_those_learned_from(folder):
    for test in (0.4, "test.npz"):
        part = data(folder, file="train.npz", test=test, encoding="standard")
        plain = data(folder, file="train.npz", test=test)
        mean, deviation = plain.values[:, :4].mean(0), plain.values[:, :4].std(0)
        assert np.allclose(part.test[:, :4], (plain.test[:, :4] - mean) / deviation, rtol=1e-12)
        assert np.allclose(part.values[:, :4].mean(0), 0.0, atol=1e-14)
        assert np.abs(part.test[:, :4].mean(0)).max() > 1e-2
        unit = data(folder, file="train.npz", test=test, encoding="unit").test
        assert np.allclose(unit[:, :4], (plain.test[:, :4] - INPUTS.min()) / np.ptp(INPUTS), rtol=1e-12)


def test_classes_of_a_file_are_numbered_as_those_learned_from(folder):
    assert np.array_equal(data(folder, file="train.npz", test="test.npz").test, np.column_stack([TEST_INPUTS, TEST]))
    one_hot = data(folder, Targets(3), file="train.npz", test="test.npz").test
    assert np.array_equal(one_hot, np.column_stack([TEST_INPUTS, np.eye(3)[TEST]]))
    columns = data(folder, file="columns.npy", test="more.npy", targets=CLASSES)
    assert np.array_equal(columns.test, np.column_stack([TEST_INPUTS, TEST]))
    some = data(folder, Targets(1, classes=2), file="train.npz", test="test.npz", digits=[3, 9])
    assert np.array_equal(some.test[:, -1], [1, 1, 0, 1, 0])
    only = data(folder, Targets(1, classes=2), file="train.npz", test="test.npz", digits=[5, 9])
    assert np.array_equal(only.test, np.column_stack([TEST_INPUTS[TEST == 2], np.ones(3)]))


@pytest.mark.parametrize("fresh", [False, True])
def test_a_generated_source_is_tested_with_further_rows_of_its_law(tmp_path, fresh):
    changes = {"data": LINEAR | {"test": 20_000} | ({"fresh": True} if fresh else {"rows": 50})}
    changes |= {"model": {"name": "linear-regression", "inputs": 2, "outputs": 2}, "run.steps": 1, "record.every": 1}
    ds = thermosim.simulate(thermosim.load_case(SOFTMAX, changes))
    (machine,) = machines(ds)
    rows = machine.test_rows
    assert rows.shape == (20_000, 4)
    residual = rows[:, 2:] - rows[:, :2] @ np.transpose(MATRIX)
    products = residual[:, :, None] * residual[:, None, :]
    assert_within(products.mean(0), products.std(0) / np.sqrt(20_000), NOISE, catches="noise", mistake=0.2)
    inputs = rows[:, :2] - [0.5, -1.0]
    products = inputs[:, :, None] * inputs[:, None, :]
    assert_within(products.mean(0), products.std(0) / np.sqrt(20_000), COVARIANCE, catches="its square", mistake=0.3)
    if not fresh:
        assert not as_set(machine.data.values) & as_set(rows)
        more = data(tmp_path, Targets(2), 2, **LINEAR, rows=50, test=20)
        assert np.array_equal(more.test, rows[:20])
        assert np.array_equal(more.values, machine.data.values)


def test_learning_is_that_of_the_other_rows_alone(folder):
    """theta is the same to the bit as from a file that holds nothing but the rows learned from."""
    own = {"data.file": "columns.npy", "data.test": 0.25}
    rows = data(folder, file="columns.npy", test=0.25, targets=CLASSES)
    np.save(folder / "alone.npy", rows.values)
    case = thermosim.load_case(SOFTMAX.replace('test = "test.npz"\n', ""), {"data.file": "alone.npy"}, folder)
    alone = thermosim.simulate(case)
    assert np.array_equal(thermosim.simulate(thermosim.load_case(SOFTMAX, own, folder)).theta, alone.theta)


def test_test_rows_go_with_the_ensemble(folder, tmp_path):
    path = tmp_path / "elsewhere" / "out.h5"
    path.parent.mkdir()
    expected = learning_curves(thermosim.simulate(thermosim.load_case(SOFTMAX, folder=folder)))
    thermosim.simulate(thermosim.load_case(SOFTMAX, folder=folder), path).close()
    np.savez(folder / "test.npz", inputs=TEST_INPUTS[::-1], targets=LABELS[TEST])
    (folder / "train.npz").unlink()
    with thermosim.open_ensemble(path) as ds:
        assert learning_curves(ds).identical(expected)
    longer = thermosim.extend(path, steps=4)
    assert longer.step[-1] == 12
    assert np.array_equal(learning_curves(longer).test_loss[:3], expected.test_loss)


def test_a_packaged_set_keeps_its_file_of_test_rows(tmp_path):
    rows = RANDOM.integers(17, size=(7, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "own.npz", inputs=rows, targets=np.arange(7))
    changes = {"data": {"source": "digits", "test": "own.npz", "encoding": "unit"}}
    changes |= {"model.inputs": 64, "model.classes": 10}
    path = tmp_path / "out.h5"
    thermosim.simulate(thermosim.load_case(SOFTMAX, changes, tmp_path), path).close()
    (tmp_path / "own.npz").unlink()
    with thermosim.open_ensemble(path) as ds:
        assert np.allclose(machines(ds)[0].test_rows[:, :64] * 16.0, rows.reshape(7, -1))
        assert np.array_equal(machines(ds)[0].test_rows[:, 64], np.arange(7))


def test_images_to_test_with_lie_beside_those_to_learn_from(tmp_path):
    """Each with its classes beside it, all of them kept with the ensemble."""
    (tmp_path / "raw").mkdir()
    pixels, classes = RANDOM.integers(256, size=(30, 2, 2)), np.arange(30) % 3
    for stem, part in (("train", slice(20)), ("t10k", slice(20, 30))):
        for what, array in (("images-idx3", pixels[part]), ("labels-idx1", classes[part])):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            (tmp_path / "raw" / f"{stem}-{what}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    changes = {"data": {"file": "raw", "test": "raw/t10k-images-idx3-ubyte", "encoding": "unit"}}
    path = tmp_path / "out.h5"
    thermosim.simulate(thermosim.load_case(SOFTMAX, changes, tmp_path), path).close()
    (tmp_path / "raw").rename(tmp_path / "gone")
    with thermosim.open_ensemble(path) as ds:
        (machine,) = machines(ds)
        rows = np.column_stack([pixels.reshape(30, -1) / 255.0, classes])
        assert np.array_equal(machine.test_rows, rows[20:])
        assert np.array_equal(machine.data.values, rows[:20])


def test_a_file_of_test_rows_that_changed_is_not_used(folder):
    ds = thermosim.simulate(thermosim.load_case(SOFTMAX, folder=folder))
    np.savez(folder / "test.npz", inputs=TEST_INPUTS[::-1], targets=LABELS[TEST])
    with pytest.raises(DataError, match="have changed since the run"):
        learning_curves(ds)


def test_an_older_case_has_no_test_rows(folder):
    """Neither does it say so, as files written before there were any."""
    ds = thermosim.simulate(thermosim.load_case(SOFTMAX.replace('test = "test.npz"\n', ""), folder=folder))
    stored = json.loads(ds.attrs["settings"])
    assert stored["data"].pop("test") is None
    assert Settings.from_dict(stored) == settings(ds)
    found = learning_curves(ds)
    assert {"loss", "accuracy"} < set(found)
    assert not {"test_loss", "generalisation_gap"} & set(found)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.test": 0.0}, "0 is no share"),
        ({"data.test": 1.0}, "1 is no share"),
        ({"data.test": -0.2}, "a share of the rows between 0 and 1"),
        ({"data.test": 0}, "give at least one row"),
        ({"data.test": True}, "expected a share"),
        ({"data.test": [1, 2]}, "expected a share"),
        ({"data.test": 60}, "of 60 rows that leaves no row to learn from; make it smaller"),
        ({"data.test": 0.001}, "leaves no row to test with; make it larger"),
        ({"data.test": 0.5, "data.rows": 31}, "there are only 30 rows to choose from"),
        ({"data.test": "tests.npz"}, "data.test = 'tests.npz': no such file next to the case"),
        ({"data.test": "train.npz"}, "is the file to learn from; hold out a share of it"),
        ({"data.test": "images"}, "is a folder; name the file of images in it, such as t10k-images-idx3-ubyte"),
        ({"data.test": "wide.npz"}, "rows have 6 inputs, those to learn from 4"),
        ({"data.test": "strange.npz"}, "holds the class 7, the rows to learn from only 3, 5, 9"),
        ({"data.test": "more.npy"}, "have classes stored beside them, it has not"),
        ({"data.file": "columns.npy", "data.test": "off.npy"}, "holds the class 3; this model has the classes 0 to 2"),
        ({"data.file": "columns.npy", "data.test": "test.npz"}, "has classes stored beside them"),
        (
            {"data.file": "inputs.npy", "data.targets": "classes.npy", "data.test": "more.npy"},
            "save both files with their targets, or hold out a share",
        ),
        ({"data": {"source": "mixture", "centers": [[0.0] * 4] * 3, "test": 0.5}}, "give their number, such as 1000"),
        (
            {"model": {"name": "gaussian"}, "data": {"source": "gaussian", "test": 9}, "x.dynamics": "exact"},
            "is for losses of inputs and targets, and for networks",
        ),
    ],
)
def test_what_is_wrong_with_test_rows_is_said(folder, changes, said):
    with pytest.raises(thermosim.CaseError) as error:
        thermosim.load_case(SOFTMAX, changes, folder)
    assert said in str(error.value)
    assert "the case has 1 fault:" in str(error.value)


def test_columns_of_a_file_of_test_rows_go_by_their_names(tmp_path):
    """In another order they are put in that of the rows to learn from; other names are refused."""
    rows = RANDOM.normal(size=(12, 3))
    case = {"model": {"name": "linear-regression", "inputs": 2}, "run": {"steps": 2}, "ensemble": {"replicas": 2}}
    case |= {"theta": {"dynamics": "sgd", "learning_rate": 0.1, "batch": 1}}
    order = [2, 0, 1]
    for name, columns, header in (("a", [0, 1, 2], "x,y,z"), ("b", order, "z,x,y"), ("c", [0, 1, 2], "x,w,z")):
        np.savetxt(tmp_path / f"{name}.csv", rows[:, columns], delimiter=",", header=header, comments="", fmt="%.17g")
    data = {"file": "a.csv", "targets": "y"}
    found = load(DataSection(**data, test="b.csv"), 2, tmp_path, targets=Targets(1))
    assert np.array_equal(found.test, found.values)
    with pytest.raises(thermosim.CaseError, match="its columns are not those of the rows to learn from: 'y'"):
        thermosim.load_case(case | {"data": data | {"test": "c.csv"}}, folder=tmp_path)
