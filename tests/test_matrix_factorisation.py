"""Matrix factorisation against plain numpy and central differences, and a matrix that is completed."""

import numpy as np
import pytest

import thermosim
from thermosim.case.faults import CaseError
from thermosim.kernels.evaluate import Evaluator
from thermosim.models.matrix_factorisation import MODEL, factors

RANDOM = np.random.default_rng(11)
CASE = """
[model]
name = "matrix-factorisation"
rows = 6
columns = 5
rank = 2
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = 4
initial = "normal"
[data]
file = "entries.npy"
[ensemble]
replicas = 32
[run]
steps = 20_000
[record]
variables = ["theta"]
"""


@pytest.mark.parametrize("lanes", [1, 7, 130])
@pytest.mark.parametrize(("rows", "columns", "rank"), [(3, 5, 2), (4, 2, 1), (1, 6, 1), (5, 5, 4)])
def test_loss_and_gradient_are_those_of_numpy(rows, columns, rank, lanes):
    values = {"rows": rows, "columns": columns, "rank": rank}
    index = np.stack([RANDOM.integers(rows, size=lanes), RANDOM.integers(columns, size=lanes)], axis=1)
    data = np.concatenate([index, RANDOM.normal(size=(lanes, 1))], axis=1)
    theta = RANDOM.normal(size=(lanes, rank * (rows + columns)))

    def exact(at):
        left, right = factors(at, values)
        product = left @ right
        return (product[np.arange(lanes), index[:, 0], index[:, 1]] - data[:, 2]) ** 2

    loss, gradient = Evaluator(MODEL, values).data_gradient(data[:, None], theta)
    np.testing.assert_allclose(loss, exact(theta), rtol=1e-11, atol=1e-14)
    for i in range(theta.shape[1]):
        step = 1e-5 * np.eye(theta.shape[1])[i]
        slope = (exact(theta + step) - exact(theta - step)) / 2e-5
        np.testing.assert_allclose(gradient[:, i], slope, rtol=1e-6, atol=1e-7)


def test_entries_that_are_not_known_are_found(tmp_path):
    """A matrix of rank 2 with five entries left out, each determined by the others."""
    matrix = RANDOM.normal(size=(6, 2)) @ RANDOM.normal(size=(2, 5))
    known = np.ones((6, 5), bool)
    known[np.arange(5), np.arange(5)] = False
    np.save(tmp_path / "entries.npy", np.column_stack([*np.nonzero(known), matrix[known]]))
    ds = thermosim.simulate(thermosim.load_case(CASE, folder=tmp_path))
    left, right = factors(ds["theta"].isel(step=-1).transpose("replica", "theta_dim").values, CASE_CONSTANTS)
    error = np.abs(left @ right - matrix).max((1, 2))
    assert np.median(error) < 1e-3
    start = np.abs(np.matmul(*factors(ds["theta"].isel(step=0).values, CASE_CONSTANTS)) - matrix)
    assert start.max() > 1.0


CASE_CONSTANTS = {"rows": 6, "columns": 5, "rank": 2}


def test_starts_have_their_deviation(tmp_path):
    np.save(tmp_path / "entries.npy", [[0, 0, 1.0]])
    many = {"ensemble.replicas": 4000, "run.steps": 1}
    normal = thermosim.simulate(thermosim.load_case(CASE, many, folder=tmp_path))
    left, right = factors(normal["theta"].isel(step=0).values, CASE_CONSTANTS)
    assert np.var(left @ right) == pytest.approx(1.0, abs=0.06)
    text = CASE.replace('initial = "normal"\n', "")
    unsaid = thermosim.simulate(thermosim.load_case(text, many, folder=tmp_path))
    np.testing.assert_array_equal(unsaid["theta"].isel(step=0), normal["theta"].isel(step=0))


@pytest.mark.parametrize(
    ("entries", "changes", "told"),
    [
        ([[0, 0, 1.0], [6, 1, 1.0]], {}, "row 1 of the data names row 6 of the matrix, which has 6: rows are"),
        ([[0, 5, 1.0]], {}, "names column 5 of the matrix, which has 5"),
        ([[0.5, 1, 1.0]], {}, "names row 0.5"),
        ([[1, -1, 1.0]], {}, "names column -1"),
        ([[1, 1]], {}, "rows have 1 inputs, beside 1 of targets, this model has 2"),
        ([[1, 1, 1.0]], {"model.rank": 6}, "model.rank = 6: a matrix of this size has a rank of 5 at most"),
    ],
)
def test_what_is_no_entry_is_refused(tmp_path, entries, changes, told):
    np.save(tmp_path / "entries.npy", entries)
    with pytest.raises(CaseError, match=told):
        thermosim.load_case(CASE, changes, folder=tmp_path)


def test_a_source_without_entries_is_refused():
    text = CASE.replace('file = "entries.npy"', 'source = "linear"\nmatrix = [[1.0, 1.0]]')
    with pytest.raises(CaseError, match="has no entries of a matrix"):
        thermosim.load_case(text)
