"""Loss, the parts of the gradient's square, sharpness and curvature in frames, against exact values."""

import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.assertions import assert_within
from thermosim.analysis import curvature, training
from thermosim.analysis.machine import machines
from thermosim.exact import entropic_forces
from thermosim.models.multilayer_perceptron import layers

REGRESSION = """
[model]
name = "linear-regression"
inputs = 3
outputs = 2
[theta]
dynamics = "sgd"
learning_rate = 0.02
batch = 3
spread = 1.0
[data]
source = "linear"
matrix = [[1.0, -2.0, 0.5], [0.3, 0.0, 4.0]]
covariance = [2.0, 1.0, 0.5]
noise = 0.4
rows = 20
sets = 2
[ensemble]
replicas = 6
seed = 3
[run]
steps = 4
[record]
every = 2
"""
TWO_LAYERS = """
[model]
name = "multilayer-perceptron"
widths = [3, 4, 2]
activation = "linear"
[theta]
dynamics = "sgd"
learning_rate = 0.001
batch = 2
initial = "lecun"
[data]
source = "linear"
fresh = true
matrix = [[1.0, -2.0, 0.5], [0.3, 0.0, 1.0]]
covariance = [2.0, 1.0, 0.5]
noise = [0.4, 0.1]
[ensemble]
replicas = 400
seed = 3
[run]
steps = 2
[record]
every = 2
variables = ["theta"]
"""
DEEP = """
[model]
name = "multilayer-perceptron"
widths = [5, 9, 5]
activation = "tanh"
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = "all"
initial = "lecun"
[data]
source = "linear"
matrix = [[1,0,0,0,0.5],[0,2,0,0,0],[0,0,1,0,0],[0,1,0,1,0],[0,0,0,0,1]]
noise = 0.1
rows = 30
[ensemble]
replicas = 3
seed = 4
[run]
steps = 40
[record]
every = 20
"""


def run(text, changes=None):
    return thermosim.simulate(thermosim.load_case(text, changes or {}))


def test_regression_is_that_of_plain_numpy():
    """L, |grad L|^2 and Tr Cov/B over each replica's own set; H = 2 E zz' for every output."""
    ds = run(REGRESSION)
    found, curved = training(ds), curvature(ds, eigenvalues=3)
    (machine,) = machines(ds)
    theta, numbers = ds.theta.transpose("step", "replica", "theta_dim").values, machine.data_set()
    expected, traces, largest = np.empty((3, 6, 3)), np.empty(6), np.empty((6, 3))
    for replica in range(6):
        rows = machine.data.of_set(int(numbers[replica]))
        z, y = rows[:, :3], rows[:, 3:]
        second = 2.0 * np.kron(np.eye(2), z.T @ z / 20)
        traces[replica], largest[replica] = np.trace(second), np.linalg.eigvalsh(second)[::-1][:3]
        for frame in range(3):
            error = z @ theta[frame, replica].reshape(2, 3).T - y
            slopes = 2.0 * (error[:, :, None] * z[:, None, :]).reshape(20, 6)
            mean = slopes.mean(0)
            expected[frame, replica] = (error**2).sum(1).mean(), mean @ mean, slopes.var(0).sum() / 3
    assert set(numbers) == {0, 1}
    for name, exact in zip(("loss", "gradient_square", "minibatch_noise"), expected.mean(1).T, strict=True):
        assert np.allclose(found[name], exact, rtol=1e-10)
    total = expected[..., 1:].sum(-1)
    assert np.allclose(found.minibatch_gradient_square, total.mean(1))
    assert np.allclose(found.minibatch_gradient_square_error, total.std(1, ddof=1) / np.sqrt(6))
    assert np.allclose(curved.trace, traces.mean(), rtol=1e-8)
    assert np.allclose(curved.largest_eigenvalue, largest.mean(0), rtol=1e-8)
    assert float(curved.residual.max()) < 1e-8
    assert np.array_equal(curved.stability.values[:2], [100.0, 100.0])
    assert np.isnan(curved.stability.values[2])


def test_minibatches_are_those_of_the_run():
    """g'Hg/|g|^2 of the step that follows the frame: of one row it is 2 |z|^2, and the step along it tells z."""
    ds = run(REGRESSION, {"theta.batch": 1, "record.every": 1, "model.outputs": 1, "data.matrix": [[1.0, -2.0, 0.5]]})
    (machine,), sharpness = machines(ds), training(ds).batch_sharpness
    theta = ds.theta.transpose("step", "replica", "theta_dim").values
    moved = np.diff(theta, axis=0)
    z = machine.data.values[:, :3]
    cosine = np.abs(np.einsum("trm,km->trk", moved, z)) / np.linalg.norm(moved, axis=2)[..., None]
    cosine /= np.linalg.norm(z, axis=1)
    assert (cosine.max(2) > 1.0 - 1e-9).all()
    exact = 2.0 * (z[cosine.argmax(2)] ** 2).sum(-1)
    assert np.allclose(sharpness[:-1], exact.mean(1), rtol=1e-7)


@pytest.fixture(scope="module")
def online():
    return run(TWO_LAYERS)


def test_fresh_rows_give_expectations_of_their_law(online):
    """Of two linear layers L, |grad L|^2, E|g_B|^2 and Tr H are known in closed form, at any weights."""
    found, curved = training(online, rows=4), curvature(online, rows=4000)  # few, so that a bias of 1/rows would show
    (machine,) = machines(online)
    data, theta = machine.settings.data, online.theta.isel(step=0).values
    matrix, inputs, noise = np.array(data.matrix), np.diag(data.covariance), np.diag(data.noise)
    exact = []
    for one in theta:
        first, second = layers(one, machine.constants)
        misfit = second @ first - matrix
        loss = np.trace(misfit @ inputs @ misfit.T) + np.trace(noise)
        slope, total = (
            entropic_forces.mean_square_gradient(first, second, matrix, inputs, noise, batch) for batch in (np.inf, 2)
        )
        exact.append((loss, slope, total, np.trace(entropic_forces.hessian(first, second, matrix, inputs))))
    exact = np.array(exact).T
    names = ("loss", "gradient_square", "minibatch_gradient_square")
    for name, wanted in zip(names, exact[:3], strict=True):
        difference = (found[name][0] - wanted.mean()).values
        assert_within(
            difference, _own_error(found[name + "_error"][0], wanted), 0.0, catches="a factor 1/2 of the noise"
        )
    trace = curved.trace[0]
    assert abs(float(trace) / exact[3].mean() - 1.0) < 0.1  # 4000 rows, the same for all


def test_sharpness_of_a_large_minibatch_of_fresh_rows_is_that_of_its_rows():
    """Of many rows g'Hg/|g|^2 at theta = 0, where g ~ -2 Sx V', is that of the law; of few rows it is far above."""
    dimension = 12
    changes = {"model.inputs": dimension, "model.outputs": 1, "theta.batch": 600, "theta.spread": 0.0, "run.steps": 1}
    law = {"source": "linear", "fresh": True, "matrix": [[1.0] * dimension], "noise": 0.1}
    ds = run(REGRESSION, changes | {"data": law, "record.every": 1})
    sharpness = training(ds, rows=8).batch_sharpness
    few = training(
        run(REGRESSION, changes | {"data": law, "record.every": 1, "theta.batch": 8}), rows=8
    ).batch_sharpness
    assert abs(float(sharpness[0]) - 2.0 * (1.0 + (dimension + 2.0) / 600.0)) < 0.15
    assert float(few[0]) > 3.0


def test_intervals_know_how_skewed_squares_of_gradients_are(online):
    """Ensembles of 60 of 400 replicas show less than half of the tail, and are not called reliable; all of them are."""
    found, few = training(online, rows=8), training(online.isel(replica=slice(60)), rows=8)
    name = "minibatch_gradient_square"
    assert not bool(few.reliable[0])
    assert bool(found.reliable[0])
    assert bool(few.loss_reliable.all())
    assert not bool(training(online.isel(replica=slice(40)), rows=8).loss_reliable.any())
    low, high = few[name + "_interval"][0].values
    value, error = float(few[name][0]), float(few[name + "_error"][0])
    assert high - value > 2.5 * error
    assert value - low < 2.0 * error


def _own_error(error: xr.DataArray, exact: np.ndarray) -> float:
    """Of the difference to the mean of exact values at the same weights, whose scatter is no part of it."""
    return float(np.sqrt(max(float(error) ** 2 - exact.var(ddof=1) / len(exact), 0.1 * float(error) ** 2)))


def test_lanczos_and_the_whole_matrix_agree():
    """Above 64 parameters eigenvalues are those of Lanczos; the matrix of differences is made here."""
    ds = run(DEEP)
    (machine,), curved = machines(ds), curvature(ds, eigenvalues=2)
    assert ds.sizes["theta_dim"] == 90
    rows = machine.data.values
    for frame in (0, 2):
        values = []
        for one in machine.theta(frame):
            step = 1e-5 * np.eye(90)
            slopes = [machine.evaluator.data_gradient(rows, one + sign * step)[1] for sign in (1, -1)]
            values.append(np.linalg.eigvalsh((slopes[0] - slopes[1]) / 2e-5)[::-1])
        values = np.array(values)
        assert np.allclose(curved.largest_eigenvalue[frame], values[:, :2].mean(0), rtol=1e-4)
        traces = values.sum(1)
        assert abs(float(curved.trace[frame]) - traces.mean()) < 0.2 * traces.mean()
    assert float(curved.residual.max()) < 0.02
    assert float(training(ds).minibatch_noise.max()) == 0.0


@pytest.mark.parametrize(
    ("changes", "bound"),
    [
        ({}, 100.0),
        ({"theta.weight_decay": 3.0}, 97.0),
        ({"theta.momentum": 0.5, "theta.weight_decay": 3.0}, 147.0),
        ({"theta.dynamics": "nesterov", "theta.momentum": 0.5}, np.nan),
        ({"theta.learning_rate_factors": {"weights": 2.0}}, np.nan),
    ],
)
def test_the_curvature_that_a_step_can_bear(changes, bound):
    """r (h + lambda) < 2 (1 + beta) of the heavy ball (B. T. Polyak, 1964); of other moves nothing is said."""
    assert np.array_equal(curvature(run(REGRESSION, changes)).stability[:2], [bound, bound], equal_nan=True)


def test_what_has_no_loss_of_data_is_refused():
    ds = run(REGRESSION)
    with pytest.raises(ValueError, match="a covariance needs 2 rows"):
        training(ds, rows=1)
    with pytest.raises(ValueError, match="expected at least 1"):
        curvature(ds, rows=0)
    with pytest.raises(ValueError, match="expected 1 to 6"):
        curvature(ds, eigenvalues=7)
    with pytest.raises(ValueError, match="theta"):
        training(ds.drop_vars("theta"))
