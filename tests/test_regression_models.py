"""Linear, logistic and softmax regression against plain numpy and finite differences, and where SGD takes them."""

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within, mean_and_error
from thermosim.kernels.evaluate import Evaluator
from thermosim.models import MODELS

RANDOM = np.random.default_rng(7)


def outputs(theta, inputs, count, bias):
    weights = theta.reshape(len(theta), count, -1)
    f = np.einsum("rki,ri->rk", weights[..., : inputs.shape[1]], inputs)
    return f + weights[..., -1] if bias else f


def linear(f, targets):
    return ((f - targets) ** 2).sum(1)


def softmax(f, targets):
    return np.log(np.exp(f).sum(1)) - f[np.arange(len(f)), targets[:, 0].astype(int)]


def logistic(f, targets):
    p = 1.0 / (1.0 + np.exp(-f[:, 0]))
    return -np.where(targets[:, 0] == 1.0, np.log(p), np.log(1.0 - p))


@pytest.mark.parametrize("bias", ["no", "yes"])
@pytest.mark.parametrize("lanes", [1, 130])
@pytest.mark.parametrize(
    ("name", "constants", "loss", "count"),
    [
        ("linear-regression", {"inputs": 6, "outputs": 3}, linear, 3),
        ("logistic-regression", {"inputs": 5}, logistic, 1),
        ("softmax-regression", {"inputs": 5, "classes": 4}, softmax, 4),
    ],
)
def test_loss_and_gradient_are_those_of_numpy(name, constants, loss, count, bias, lanes):
    model, values = MODELS[name], constants | {"bias": bias}
    inputs, size = values["inputs"], count * (values["inputs"] + (bias == "yes"))
    rows = RANDOM.normal(size=(lanes, model.row_length(values)))
    if model.classes is not None:
        rows[:, -1] = RANDOM.integers(model.classes(values), size=lanes)
    theta = RANDOM.normal(size=(lanes, size))

    def exact(at):
        return loss(outputs(at, rows[:, :inputs], count, bias == "yes"), rows[:, inputs:])

    found, gradient = Evaluator(model, values).data_gradient(rows[:, None], theta)
    assert np.allclose(found, exact(theta), rtol=1e-11)
    for i in range(size):
        step = 1e-6 * np.eye(size)[i]
        slope = (exact(theta + step) - exact(theta - step)) / 2e-6
        assert np.allclose(gradient[:, i], slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("far", [40.0, 800.0])
def test_the_logistic_loss_of_far_rows_is_stable(far):
    model, values = MODELS["logistic-regression"], {"inputs": 1, "bias": "no"}
    rows, theta = np.array([[1.0, 1.0], [1.0, 0.0], [-1.0, 1.0]]), np.full((3, 1), far)
    loss, gradient = Evaluator(model, values).data_gradient(rows[:, None], theta)
    assert np.allclose(loss, [np.exp(-far), far, far], rtol=1e-12, atol=0.0 if far < 100 else 1e-300)
    assert np.allclose(gradient[:, 0], [-np.exp(-far), 1.0, 1.0], rtol=1e-12, atol=0.0 if far < 100 else 1e-300)


CASE = """
[model]
name = "linear-regression"
inputs = 2
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = 2
[data]
source = "linear"
fresh = true
matrix = [[1.0, -2.0]]
covariance = [[1.0, 0.4], [0.4, 0.5]]
noise = 0.3
[ensemble]
replicas = 4000
seed = 2
[run]
steps = 40
[record]
every = 10
variables = ["theta"]
"""


def test_online_regression_obeys_its_exact_recursion():
    """Mean and second moments of theta - w* at every step, Gaussian rows by Isserlis, batch and noise included."""
    ds = thermosim.simulate(thermosim.load_case(CASE))
    truth, covariance = np.array([1.0, -2.0]), np.array([[1.0, 0.4], [0.4, 0.5]])
    rate, batch, noise = 0.05, 2, 0.3
    mean, second = -truth, np.outer(truth, truth)
    for step in range(1, 41):
        mean = mean - 2.0 * rate * covariance @ mean
        one = 2.0 * covariance @ second @ covariance + np.trace(second @ covariance) * covariance  # E z z' M z z'
        fourth = one / batch + (1.0 - 1.0 / batch) * covariance @ second @ covariance
        drift = covariance @ second
        second = second - 2.0 * rate * (drift + drift.T) + 4.0 * rate**2 * (fourth + noise * covariance / batch)
        if step % 10:
            continue
        gap = ds.theta.sel(step=step).values - truth
        found, error = mean_and_error(gap, axis=0)
        assert_within(found, error, mean, catches="a factor 2 of the rate")
        found, error = mean_and_error(gap[:, :, None] * gap[:, None, :], axis=0)
        assert_within(found, error, second, catches="noise that is not averaged over the batch")


@pytest.mark.parametrize(
    ("name", "more"),
    [("logistic-regression", {"data.digits": [3, 8]}), ("softmax-regression", {"model.classes": 10})],
)
def test_classes_of_digits_are_learned(name, more):
    changes = {
        "model": {"name": name, "inputs": 64},
        "data": {"source": "digits", "encoding": "unit"},
        "theta.batch": 10,
        "theta.learning_rate": 0.3,
        "ensemble.replicas": 8,
        "run.steps": 300,
        "record": {"every": 300, "variables": ["theta", "minibatch_loss"]},
        **more,
    }
    case = thermosim.load_case(CASE, changes)
    last = thermosim.simulate(case).isel(step=-1)
    from thermosim.data.sources import data_of

    rows = data_of(case.model, case.settings.model.constants, case.settings.data, case.folder).values
    count = 1 if name.startswith("logistic") else 10
    f = rows[:, :64] @ last.theta.values.reshape(8, count, 64).transpose(0, 2, 1)
    guess = f.argmax(-1) if count > 1 else (f[..., 0] > 0.0)
    assert np.all((guess == rows[:, 64]).mean(1) > 0.9)
