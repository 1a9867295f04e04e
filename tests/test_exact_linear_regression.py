"""SGD of linear regression on a fixed data set: exact moments against enumeration, plain numpy and the engine."""

import itertools

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within, mean_and_error
from thermosim.data.sources import data_of
from thermosim.exact.linear_regression import moments

RANDOM = np.random.default_rng(11)


def gradients(theta, inputs, targets):
    """Of every row (n, m), by hand."""
    errors = inputs @ theta.reshape(targets.shape[1], -1).T - targets
    return np.stack([2.0 * np.outer(e, z).ravel() for e, z in zip(errors, inputs, strict=True)])


def full_loss(theta, inputs, targets):
    return ((inputs @ theta.reshape(targets.shape[1], -1).T - targets) ** 2).sum(1).mean()


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_all_minibatches_of_three_rows(decay):
    """Two outputs, three starts, 9 batches at each of two steps of different rates: 243 paths, each as likely."""
    inputs, targets, rates = RANDOM.normal(size=(3, 2)), RANDOM.normal(size=(3, 2)), (0.1, 0.25)
    starts = RANDOM.normal(size=(3, 4))
    batches = list(itertools.product(range(3), repeat=2))
    paths, squares, moves = [starts], [], []
    for t in range(3):
        each = [gradients(theta, inputs, targets)[list(b)].mean(0) for theta in paths[-1] for b in batches]
        squares.append(np.mean([g @ g for g in each]))
        if t < 2:
            before = np.repeat(paths[-1], len(batches), axis=0)
            paths.append(before - rates[t] * (np.array(each) + decay * before))
            moves.append(((paths[-1] - before) ** 2).sum(1).mean())
    law = moments(
        inputs,
        targets,
        starts.mean(0),
        np.cov(starts.T, bias=True),
        steps=2,
        learning_rate=rates,
        batch=2,
        weight_decay=decay,
    )
    close = {"rtol": 1e-12, "atol": 1e-12}
    assert np.allclose(law.mean, [p.mean(0) for p in paths], **close)
    assert np.allclose(law.covariance, [np.cov(p.T, bias=True) for p in paths], **close)
    assert np.allclose(law.loss, [np.mean([full_loss(theta, inputs, targets) for theta in p]) for p in paths], **close)
    assert np.allclose(law.gradient_square, squares, **close)
    assert np.allclose(law.displacement_square, moves, **close)


def test_the_full_batch_follows_plain_gradient_descent():
    inputs, targets, theta = RANDOM.normal(size=(20, 3)), RANDOM.normal(size=(20, 2)), RANDOM.normal(size=6)
    law = moments(inputs, targets, theta, np.zeros((6, 6)), steps=9, learning_rate=0.1, batch=None, weight_decay=0.2)
    assert not law.covariance.any()
    for t in range(10):
        slope = gradients(theta, inputs, targets).mean(0)
        assert np.allclose(law.mean[t], theta, rtol=1e-12)
        assert np.isclose(law.gradient_square[t], slope @ slope, rtol=1e-12)
        theta = theta - 0.1 * (slope + 0.2 * theta)


def test_a_start_of_another_size_is_refused():
    with pytest.raises(ValueError, match="start of shapes"):
        moments(np.ones((4, 3)), np.ones((4, 2)), np.zeros(3), np.eye(3), steps=1, learning_rate=0.1, batch=1)


PATHS, STEPS, BATCH, RATE, DECAY = 6000, 30, 3, 0.04, 0.5


def sampled(inputs, targets, mean, root):
    """theta (T+1, paths, m), |g_b|^2 (T, paths) and |theta' - theta|^2 (T, paths) of SGD in plain numpy."""
    random, k = np.random.default_rng(5), targets.shape[1]
    theta = mean + random.normal(size=(PATHS, len(mean))) @ root.T
    path, squares, moves = [theta], [], []
    for _ in range(STEPS):
        rows = random.integers(len(inputs), size=(PATHS, BATCH))
        z, y = inputs[rows], targets[rows]
        errors = np.einsum("skp,sbp->sbk", theta.reshape(PATHS, k, -1), z) - y
        slope = 2.0 * np.einsum("sbk,sbp->skp", errors, z).reshape(PATHS, -1) / BATCH
        change = -RATE * (slope + DECAY * theta)
        theta = theta + change
        path.append(theta)
        squares.append((slope**2).sum(1))
        moves.append((change**2).sum(1))
    return np.array(path), np.array(squares), np.array(moves)


def test_paths_of_plain_numpy():
    """Correlated inputs of different sizes, two outputs, a wide start, weight decay."""
    inputs = RANDOM.normal(size=(12, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 0.7, -0.4], [0.0, 0.0, 0.4]])
    targets = inputs @ RANDOM.normal(size=(3, 2)) + 0.5 * RANDOM.normal(size=(12, 2))
    mean, root = RANDOM.normal(size=6), 0.5 * np.tril(RANDOM.normal(size=(6, 6)))
    setting = {"steps": STEPS, "weight_decay": DECAY}
    law = moments(inputs, targets, mean, root @ root.T, learning_rate=RATE, batch=BATCH, **setting)
    path, squares, moves = sampled(inputs, targets, mean, root)
    single = moments(inputs, targets, mean, root @ root.T, learning_rate=RATE, batch=1, **setting)
    for t in (1, 5, STEPS):
        found, error = mean_and_error(path[t], axis=0)
        assert_within(found, error, law.mean[t], catches="a sign, or a factor 2 of the rate")
        gap = path[t] - law.mean[t]
        found, error = mean_and_error(gap[:, :, None] * gap[:, None, :], axis=0)
        assert_within(found, error, law.covariance[t], catches="a batch that is not averaged, a transpose")
    for sampled_squares, exact in ((squares, law.gradient_square), (moves, law.displacement_square)):
        found, error = mean_and_error(sampled_squares, axis=1)
        assert_within(found, error, exact[:STEPS], catches="a factor 2", mistake=exact[:STEPS])
        found, error = mean_and_error(sampled_squares.sum(0))
        late = exact[STEPS - 1] - exact[0]
        assert_within(found, error, exact[:STEPS].sum(), catches="a step that is one late", mistake=late)
    found, error = mean_and_error((gap**2).sum(1))
    exact, mistaken = (np.trace(one.covariance[-1]) for one in (law, single))
    assert_within(found, error, exact, catches="noise that is not averaged over the batch", mistake=mistaken - exact)


CASE = """
[model]
name = "linear-regression"
inputs = 2
bias = "yes"
[theta]
dynamics = "sgd"
learning_rate = 0.1
weight_decay = 0.1
batch = 2
[data]
source = "linear"
rows = 15
matrix = [[1.0, -2.0]]
covariance = [[1.0, 0.4], [0.4, 0.5]]
noise = 0.3
[ensemble]
replicas = 20000
seed = 3
[run]
steps = 20
[record]
every = 20
variables = ["theta", "gradient_square", "displacement_square", "loss_sum"]
"""


def test_the_engine_on_a_fixed_data_set():
    case = thermosim.load_case(CASE)
    ds = thermosim.simulate(case)
    settings = case.settings
    rows = data_of(case.model, settings.model.constants, settings.data, case.folder).values
    inputs = np.column_stack([rows[:, :2], np.ones(len(rows))])
    start = ds.theta.sel(step=0).values
    assert not np.ptp(start, axis=0).any()
    law = moments(
        inputs, rows[:, 2:], start[0], np.zeros((3, 3)), steps=20, learning_rate=0.1, batch=2, weight_decay=0.1
    )
    gap = ds.theta.sel(step=20).values - law.mean[20]
    found, error = mean_and_error(gap, axis=0)
    assert_within(found, error, 0.0, catches="a factor 2 of the rate")
    found, error = mean_and_error(gap[:, :, None] * gap[:, None, :], axis=0)
    assert_within(found, error, law.covariance[20], catches="noise that is not averaged over the batch")
    booked = {
        "loss_sum": law.loss,
        "gradient_square": law.gradient_square,
        "displacement_square": law.displacement_square,
    }
    for name, exact in booked.items():
        found, error = mean_and_error(ds[name].sel(step=20).values)
        late = exact[19] - exact[0]
        assert_within(found, error, exact[:20].sum(), catches="a sum that is one step late", mistake=late)
