"""Losses of theta and a data row, without x: where the rows come from, and that SGD takes them as it should."""

import h5py
import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within
from thermosim.kernels.noise import uniform_array
from thermosim.plan.outline import plan
from thermosim.streams import MINIBATCH

# the gradient is minus the row, so that at learning rate 1 theta adds up the rows that it met
COUNTER = """
import numpy as np
from thermosim.model import Constant, Model, Parameter

PARAMETERS = 5

def parameter_gradient(row, theta, constants, shared, factor, loss, gradient, scratch):
    for i in range(PARAMETERS):
        for lane in range(theta.shape[1]):
            loss[lane] -= factor * row[i, lane] * theta[i, lane]
            gradient[i, lane] -= factor * row[i, lane]

MODEL = Model(
    name="sum-of-rows", summary="theta adds up the rows", source="this test",
    inputs=lambda c: 3, targets=lambda c: 2,
    parameters=(Parameter("total", "sum of rows", lambda c: (5,), lambda c: np.zeros(5)),),
    parameter_gradient=parameter_gradient,
)
"""
REGRESSION = """
import numpy as np
from thermosim.model import Constant, Model, Parameter

def parameter_gradient(row, theta, constants, shared, factor, loss, gradient, scratch):
    inputs = theta.shape[0]
    for lane in range(theta.shape[1]):
        error = -row[inputs, lane]
        for i in range(inputs):
            error += theta[i, lane] * row[i, lane]
        loss[lane] += factor * error * error
        for i in range(inputs):
            gradient[i, lane] += factor * 2.0 * error * row[i, lane]

MODEL = Model(
    name="regression", summary="least squares", source="this test",
    constants=(Constant("inputs", 3, "number of inputs", minimum=1, integer=True),),
    inputs=lambda c: c["inputs"], targets=lambda c: 1,
    parameters=(Parameter("weights", "weights", lambda c: (c["inputs"],), lambda c: np.zeros(c["inputs"])),),
    parameter_gradient=parameter_gradient,
)
"""
CASE = """
[model]
file = "loss.py"
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = 2
[data]
file = "rows.npy"
[ensemble]
replicas = 40
seed = 3
[run]
steps = 6
[record]
every = 1
"""
MATRIX = [[1.0, -2.0, 0.5], [0.3, 0.0, 4.0]]
COVARIANCE = [[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 0.5]]
NOISE = [[0.4, -0.3], [-0.3, 0.9]]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "loss.py").write_text(REGRESSION)
    random = np.random.default_rng(5)
    inputs = random.normal(size=(20, 3))
    targets = inputs @ [1.0, -2.0, 0.5] + 0.1 * random.normal(size=20)
    np.save(tmp_path / "rows.npy", np.column_stack([inputs, targets]))
    np.save(tmp_path / "inputs.npy", inputs)
    np.save(tmp_path / "targets.npy", targets)
    np.save(tmp_path / "first.npy", np.column_stack([targets, inputs]))
    np.savez(tmp_path / "both.npz", inputs=inputs, targets=targets)
    header = "age,price,size,b.m.i"
    columns = np.column_stack([inputs[:, 0], targets, inputs[:, 1:]])
    np.savetxt(tmp_path / "named.csv", columns, delimiter=",", header=header, comments="", fmt="%.17g")
    with h5py.File(tmp_path / "both.h5", "w") as file:
        file["inputs"], file["targets"] = inputs, targets
    with h5py.File(tmp_path / "targets.h5", "w") as file:
        file["aims"] = targets
    return tmp_path


def run(folder, changes=None, path=None):
    return thermosim.simulate(thermosim.load_case(CASE, changes or {}, folder=folder), path)


def faults(folder, changes):
    with pytest.raises(thermosim.CaseError) as error:
        thermosim.load_case(CASE, changes, folder=folder)
    return str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"data.targets": -1},
        {"data.targets": [3]},
        {"data.file": "first.npy", "data.targets": 0},
        {"data.file": "inputs.npy", "data.targets": "targets.npy"},
        {"data.file": "both.npz", "data.targets": "targets"},
        {"data.file": "both.h5", "data.dataset": "inputs", "data.targets": "targets"},
        {"data.file": "named.csv", "data.targets": "price"},
        {"data.file": "named.csv", "data.targets": ["price"]},
    ],
)
def test_targets_are_found_wherever_they_are(folder, changes):
    assert np.array_equal(run(folder, changes).theta, run(folder).theta)


def test_sgd_takes_the_steps_of_plain_numpy(folder):
    """Rows by their addresses, l = (w.z - y)^2, theta' = theta - r (g + lambda theta): to rounding; the loss too."""
    ds = run(folder, {"theta.weight_decay": 0.2})
    rows, theta = np.load(folder / "rows.npy"), np.zeros((40, 3))
    for step in range(1, 7):
        picks = [uniform_array(3, MINIBATCH, step, 0, (2, 40))[place] for place in range(2)]
        chosen = rows[np.stack([np.floor((1.0 - pick) * 20).astype(int) for pick in picks])]  # (place, replica, column)
        errors = (chosen[..., :3] * theta).sum(-1) - chosen[..., 3]
        loss = (errors**2).mean(0)
        theta = theta - 0.05 * ((2.0 * errors[..., None] * chosen[..., :3]).mean(0) + 0.2 * theta)
        assert np.allclose(ds.theta.sel(step=step), theta, rtol=1e-12, atol=1e-13)
        assert np.allclose(ds.minibatch_loss.sel(step=step), loss, rtol=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_fresh_rows_have_the_law_of_the_linear_source(tmp_path, batch):
    """Mean and covariance of (z, y), y = V z + e, of every place of a batch: increments of theta are means of rows."""
    (tmp_path / "loss.py").write_text(COUNTER)
    changes = {
        "data": {"source": "linear", "fresh": True, "matrix": MATRIX, "covariance": COVARIANCE, "noise": NOISE}
        | {"mean": [0.5, -1.0, 2.0]},
        "theta.learning_rate": 1.0,
        "theta.batch": batch,
        "ensemble.replicas": 4000,
        "run.steps": 4,
    }
    case = thermosim.load_case(CASE.replace('[data]\nfile = "rows.npy"\n', ""), changes, folder=tmp_path)
    rows = np.diff(thermosim.simulate(case).theta.values, axis=0)  # (step, replica, component)
    matrix, covariance = np.array(MATRIX), np.array(COVARIANCE)
    mean = np.concatenate([[0.5, -1.0, 2.0], matrix @ [0.5, -1.0, 2.0]])
    joint = np.block([[covariance, covariance @ matrix.T], [matrix @ covariance, matrix @ covariance @ matrix.T]])
    joint[3:, 3:] += NOISE
    flat = rows.reshape(-1, 5) - mean
    products = batch * flat[:, :, None] * flat[:, None, :]
    count = len(flat)
    assert_within(flat.mean(0), np.sqrt(np.diag(joint) / batch / count), 0.0, catches="a mean of targets without V")
    error = products.std(0) / np.sqrt(count)
    assert_within(products.mean(0), error, joint, catches="V transposed, noise left out, a batch not averaged")
    later = (rows[1:] - mean).reshape(-1, 5)[:, :, None] * (rows[:-1] - mean).reshape(-1, 5)[:, None, :]
    assert_within(later.mean(0), later.std(0) / np.sqrt(len(later)), 0.0, catches="rows that are met twice")


def test_a_mean_over_a_batch_of_fresh_rows_has_the_variance_of_independent_rows(tmp_path):
    """The two rows that come from one pair of normals are independent of each other, so nothing is met twice."""
    (tmp_path / "loss.py").write_text(COUNTER)
    data = {"source": "linear", "fresh": True, "matrix": MATRIX}
    text = CASE.replace('[data]\nfile = "rows.npy"\n', "")
    each = []
    for batch in (1, 2):
        changes = {"data": data, "theta.learning_rate": 1.0, "theta.batch": batch, "ensemble.replicas": 4000}
        ds = thermosim.simulate(thermosim.load_case(text, changes, folder=tmp_path))
        each.append(np.diff(ds.theta.values[:, :, :3], axis=0))
    squares = each[1] ** 2
    error = squares.mean(-1).std() / np.sqrt(squares[..., 0].size)
    assert_within(squares.mean(), error, 0.5, catches="both rows of a pair the same", mistake=0.5)
    assert len(np.unique(each[0][..., 0])) == each[0][..., 0].size


def test_kept_rows_of_the_linear_source_obey_their_law(tmp_path):
    (tmp_path / "loss.py").write_text(COUNTER)
    data = {"source": "linear", "matrix": MATRIX, "covariance": COVARIANCE, "noise": NOISE, "rows": 20000}
    text = CASE.replace('[data]\nfile = "rows.npy"\n', "")
    case = thermosim.load_case(text, {"data": data}, folder=tmp_path)
    from thermosim.data.sources import data_of

    rows = data_of(case.model, case.settings.model.constants, case.settings.data, tmp_path).values
    residual = rows[:, 3:] - rows[:, :3] @ np.array(MATRIX).T
    products = residual[:, :, None] * residual[:, None, :]
    assert_within(products.mean(0), products.std(0) / np.sqrt(20000), NOISE, catches="a factor of the noise")
    crossed = residual[:, :, None] * rows[:, None, :3]
    assert_within(crossed.mean(0), crossed.std(0) / np.sqrt(20000), 0.0, catches="V transposed")


@pytest.mark.parametrize(
    "changes",
    [
        {"data.file": "inputs.npy", "data.targets": "targets.npy"},
        {"data.file": "both.npz", "data.targets": "targets"},
        {"data.file": "both.h5", "data.dataset": "inputs", "data.targets": "targets"},
        {"data.file": "both.h5", "data.dataset": "inputs", "data.targets": "targets.h5"},
    ],
)
def test_a_run_goes_on_without_the_file_of_its_targets(folder, changes):
    path = folder / "out.h5"
    run(folder, changes, path).close()
    for name in ("data.file", "data.targets"):
        (folder / changes[name]).unlink(missing_ok=True)
    longer = thermosim.extend(path, steps=4)
    assert np.array_equal(longer.theta, run(folder, {"run.steps": 10}).theta)
    assert thermosim.check(longer).comparisons is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.targets": 4}, "rows have 4 columns, 0 to 3"),
        ({"data.targets": [0, 1]}, "2 columns, this model has 1 target"),
        ({"data.targets": [3, -1]}, "names a column twice"),
        ({"data.targets": "target.npy"}, "did you mean 'targets.npy'"),
        ({"data.targets": 1.5}, "expected the number of a column"),
        ({"data.file": "named.csv", "data.targets": "prize"}, "did you mean 'price'?"),
        ({"data.file": "named.csv", "data.targets": "weight"}, "there are: age, price, size, b.m.i."),
        ({"data.targets": ["price"]}, "its columns have no names; give their numbers"),
        ({"data.file": "named.csv", "data.targets": ["b.m.i", -1]}, "names a column twice"),
        ({"data.digits": [3], "data.targets": None}, "has no classes"),
        ({"data.file": "inputs.npy"}, "rows have 2 inputs, beside 1 of targets, this model has 3"),
        ({"model.inputs": 4}, "rows have 3 inputs, beside 1 of targets, this model has 4; give the model 3"),
        ({"theta.gradient": "contrast"}, "is a loss, without samples x; remove it"),
        ({"x.dynamics": "ula"}, "has no samples x, only parameters theta; remove"),
        ({"data": {"source": "gaussian"}}, "its rows have no targets; use 'linear', 'mixture', or a file"),
        ({"data": {"source": "linear"}}, "data.matrix: missing"),
        ({"data": {"source": "linear", "matrix": [[1, 2]]}}, "a row of 3 numbers for each of 1 targets"),
        ({"data": {"source": "linear", "matrix": [[1, 2, 3]], "noise": -1.0}}, "no variance can be below 0"),
        ({"data": {"source": "linear", "matrix": [[1, 2, 3]], "fresh": True, "rows": 9}}, "no row is kept"),
        ({"data": {"source": "linear", "matrix": [[1, 2, 3]], "fresh": True, "seed": 9}}, "drawn with ensemble.seed"),
    ],
)
def test_what_is_wrong_with_targets_is_said(folder, changes, said):
    assert said in faults(folder, changes)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("factor * 2.0 * error", "factor * error", "where the slope of what it adds to loss is"),
        ("gradient[i, lane] +=", "gradient[i, lane] =", "writes to gradient what it must add"),
        ("factor * error * error", "error * error", "does not multiply what it adds to loss by factor"),
        ("error * row[i, lane]\n", "error * row[i, 0]\n", "a lane depends on other lanes"),
        ('inputs=lambda c: c["inputs"], ', "", "say how many inputs a row of data has"),
        ('lambda c: c["inputs"], targets', "lambda c: 0, targets", "expected a whole number, at least 1"),
    ],
)
def test_a_wrong_loss_of_a_user_is_refused(folder, old, new, said):
    assert old in REGRESSION
    (folder / "loss.py").write_text(REGRESSION.replace(old, new))
    assert said in faults(folder, {})


def test_a_center_that_is_never_drawn_is_a_class_all_the_same(tmp_path):
    """Classes are the numbers of the centers; without a row of the second, the third stays class 2."""
    centers = [[-5.0], [0.0], [5.0]]
    data = {"source": "mixture", "centers": centers, "weights": [1.0, 0.0, 1.0], "deviation": 0.1, "rows": 50}
    case = {"model": {"name": "softmax-regression", "inputs": 1, "classes": 3}, "data": data}
    case |= {
        "theta": {"dynamics": "sgd", "learning_rate": 0.1, "batch": 1},
        "ensemble": {"replicas": 1},
        "run": {"steps": 1},
    }
    rows = plan(thermosim.load_case(case, folder=tmp_path))[0].data.values
    assert np.array_equal(np.unique(rows[:, 1]), [0.0, 2.0])
    assert np.array_equal(rows[:, 1], np.where(rows[:, 0] > 0.0, 2.0, 0.0))
