"""SGD of linear regression: exact moments against enumeration, quadrature, plain numpy and the engine."""

import itertools

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within, mean_and_error
from thermosim.data.sources import data_of
from thermosim.exact.linear_langevin import Gaussian
from thermosim.exact.linear_regression import Descent, moments, noiseless, normal_rows, rows_of_set, steepness

CLOSE = {"rtol": 1e-11, "atol": 1e-11}


def gradients(theta, inputs, targets):
    """Of every row (n, m), by hand."""
    errors = inputs @ theta.reshape(targets.shape[1], -1).T - targets
    return np.stack([2.0 * np.outer(e, z).ravel() for e, z in zip(errors, inputs, strict=True)])


def full_loss(theta, inputs, targets):
    return ((inputs @ theta.reshape(targets.shape[1], -1).T - targets) ** 2).sum(1).mean()


def law_of(states):
    """Of states that are as likely."""
    return Gaussian(np.mean(states, 0), np.cov(np.transpose(states), bias=True))


@pytest.mark.parametrize(("momentum", "ahead"), [(0.0, False), (0.6, False), (0.6, True)])
@pytest.mark.parametrize("decay", [0.0, (0.3, 0.1)])
def test_all_minibatches_of_three_rows(decay, momentum, ahead):
    """Two outputs, three starts, 9 batches at each of two steps of different rates: 243 paths, each as likely."""
    random = np.random.default_rng(11)
    inputs, targets, rates = random.normal(size=(3, 2)), random.normal(size=(3, 2)), (0.1, 0.25)
    theta, decays = random.normal(size=(3, 4)), np.broadcast_to(decay, 2)
    law = moments(
        rows_of_set(inputs, targets),
        law_of(theta),
        Descent(2, rates, 2, decay, momentum, ahead),
        [0, 1, 2],
    )
    batches = list(itertools.product(range(3), repeat=2))
    velocity, sums = np.zeros_like(theta), np.zeros(3)
    for t in range(3):
        assert np.allclose(law.mean[t], law_of(theta).mean, **CLOSE)
        assert np.allclose(law.covariance[t], law_of(theta).covariance, **CLOSE)
        assert np.allclose([law.loss_sum[t], law.gradient_square[t], law.displacement_square[t]], sums, **CLOSE)
        if t == 2:
            break
        loss = np.mean([full_loss(one, inputs, targets) for one in theta])
        each = np.array([gradients(one, inputs, targets)[list(b)].mean(0) for one in theta for b in batches])
        before = np.repeat(theta, len(batches), axis=0)
        kick = -rates[t] * (each + decays[t] * before)
        velocity = momentum * np.repeat(velocity, len(batches), axis=0) + kick
        theta = before + (momentum * velocity + kick if ahead else velocity)
        sums = sums + (loss, (each**2).sum(1).mean(), ((theta - before) ** 2).sum(1).mean())
        assert np.isclose(law.minibatch_loss[t + 1], loss, **CLOSE)


@pytest.mark.parametrize("bias", [False, True])
def test_a_normal_law_of_rows_is_that_of_its_quadrature(bias):
    """Fourth moments by Gauss-Hermite points of three normals, exact to degree 7: rows of a set, and their weights."""
    random = np.random.default_rng(12)
    mean, factor = np.array([0.5, -1.0]), np.array([[1.0, 0.0], [0.7, 0.5]])
    matrix, deviation = np.array([[1.0, -2.0]]), 0.6
    points, weights = np.polynomial.hermite_e.hermegauss(5)
    nodes = np.array(list(itertools.product(points, repeat=3)))
    of_node = np.array([np.prod(w) for w in itertools.product(weights / weights.sum(), repeat=3)])
    inputs = mean + nodes[:, :2] @ factor.T
    targets = inputs @ matrix.T + deviation * nodes[:, 2:]
    covariance = factor @ factor.T
    if bias:
        inputs, matrix = np.column_stack([inputs, np.ones(len(inputs))]), np.array([[1.0, -2.0, 0.0]])
        mean, covariance = np.append(mean, 1.0), np.pad(covariance, (0, 1))
    size = inputs.shape[1]
    start, rate, decay, batch = random.normal(size=size), 0.07, 0.2, 3
    law = moments(
        normal_rows(mean, covariance, matrix, np.array([[deviation**2]])),
        Gaussian(start, np.zeros((size, size))),
        Descent(2, rate, batch, decay),
        [1],
    )
    each = gradients(start, inputs, targets)
    slope = of_node @ each
    assert np.allclose(law.mean[0], start - rate * (slope + decay * start), **CLOSE)
    noise = np.einsum("n,ni,nj->ij", of_node, each, each) - np.outer(slope, slope)
    assert np.allclose(law.covariance[0], rate**2 * noise / batch, **CLOSE)
    assert np.isclose(law.gradient_square[0], slope @ slope + np.trace(noise) / batch, **CLOSE)
    assert np.isclose(law.loss_sum[0], of_node @ ((inputs @ start[:, None] - targets) ** 2)[:, 0], **CLOSE)


def test_the_full_batch_follows_plain_gradient_descent():
    random = np.random.default_rng(13)
    inputs, targets, theta = random.normal(size=(20, 3)), random.normal(size=(20, 2)), random.normal(size=6)
    start = Gaussian(theta, np.zeros((6, 6)))
    law = moments(rows_of_set(inputs, targets), start, Descent(9, 0.1, None, 0.2), range(10))
    assert not law.covariance.any()
    total = 0.0
    for t in range(10):
        assert np.allclose(law.mean[t], theta, rtol=1e-12)
        assert np.isclose(law.gradient_square[t], total, rtol=1e-12)
        slope = gradients(theta, inputs, targets).mean(0)
        total += slope @ slope
        theta = theta - 0.1 * (slope + 0.2 * theta)


def test_without_noise_of_targets_only_the_start_is_left():
    """The difference of two paths with the same minibatches is such a path: its law, from two laws and a start."""
    random = np.random.default_rng(16)
    inputs, targets = random.normal(size=(6, 2)), random.normal(size=(6, 1))
    rows, none, start = rows_of_set(inputs, targets), np.zeros((2, 2)), np.array([1.0, -0.5])
    fate = noiseless(rows)
    exact = moments(fate, Gaussian(start, none), Descent(40, 0.05, 1), [40])
    by_hand = moments(rows_of_set(inputs, 0.0 * targets), Gaussian(start, none), Descent(40, 0.05, 1), [40])
    assert np.allclose(exact.covariance, by_hand.covariance, **CLOSE)
    assert np.allclose(exact.mean, by_hand.mean, **CLOSE)
    square = inputs**2 @ np.ones(2)
    assert np.isclose(steepness(rows), (square**2).mean() / square.mean())


def test_the_mean_square_grows_from_the_rate_of_the_steepness_on():
    """Isotropic inputs, batch 1, no noise: the exact edge, (p + 2) S in the normal law of variance S."""
    rows = normal_rows(np.zeros(3), 0.5 * np.eye(3), np.zeros((1, 3)), np.zeros((1, 1)))
    assert np.isclose(steepness(rows), 2.5)
    start = Gaussian(np.array([1.0, 0.0, 0.0]), np.zeros((3, 3)))
    for part, grows in ((0.98, False), (1.02, True)):
        law = moments(rows, start, Descent(400, part / 2.5, 1), [200, 400])
        square = np.trace(law.covariance, axis1=1, axis2=2) + (law.mean**2).sum(1)
        assert (square[1] > square[0]) is np.True_ if grows else square[1] < square[0]


def test_thermal_noise_at_full_batch_ends_in_the_law_of_langevin():
    """Of the quadratic loss with Hessian H: covariance T [H (1 - r H/2)]^-1, the exact one of a finite step."""
    random = np.random.default_rng(14)
    inputs, targets = random.normal(size=(8, 2)), random.normal(size=(8, 1))
    law = moments(
        rows_of_set(inputs, targets),
        Gaussian(np.zeros(2), np.zeros((2, 2))),
        Descent(4000, 0.1, None, temperature=0.3),
        [4000],
    )
    hessian = 2.0 * inputs.T @ inputs / 8
    assert np.allclose(law.covariance[0], 0.3 * np.linalg.inv(hessian @ (np.eye(2) - 0.05 * hessian)), rtol=1e-9)


def test_what_does_not_fit_is_refused():
    rows = rows_of_set(np.ones((4, 3)), np.ones((4, 2)))
    with pytest.raises(ValueError, match="start of shapes"):
        moments(rows, Gaussian(np.zeros(3), np.eye(3)), Descent(1, 0.1, 1), [1])
    with pytest.raises(ValueError, match=r"learning_rate of shape \(3,\): a number or 4 values"):
        Descent(4, [0.1, 0.1, 0.1], 1)


PATHS, STEPS, BATCH, RATE, DECAY = 6000, 30, 3, 0.04, 0.5


def sampled(inputs, targets, start, random):
    """theta (T+1, paths, m), |g_b|^2 (T, paths) and |theta' - theta|^2 (T, paths) of SGD in plain numpy."""
    k = targets.shape[1]
    theta = start.mean + random.normal(size=(PATHS, len(start.mean))) @ np.linalg.cholesky(start.covariance).T
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
    """Correlated inputs of different sizes, two outputs, a wide start, weight decay.

    About 190 numbers at 4 standard errors, whose errors were measured to be right (z has the mean square 1.0 over 300
    draws of data and paths): one draw in 80 would fail, so the draw is this test's own, whatever runs before it.
    """
    random = np.random.default_rng(15)
    inputs = random.normal(size=(12, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 0.7, -0.4], [0.0, 0.0, 0.4]])
    targets = inputs @ random.normal(size=(3, 2)) + 0.5 * random.normal(size=(12, 2))
    root = 0.5 * np.tril(random.normal(size=(6, 6)))
    start = Gaussian(random.normal(size=6), root @ root.T)
    law, single = (
        moments(rows_of_set(inputs, targets), start, Descent(STEPS, RATE, batch, DECAY), range(STEPS + 1))
        for batch in (BATCH, 1)
    )
    path, squares, moves = sampled(inputs, targets, start, random)
    for t in (1, 5, STEPS):
        found, error = mean_and_error(path[t], axis=0)
        assert_within(found, error, law.mean[t], catches="a sign, or a factor 2 of the rate")
        gap = path[t] - law.mean[t]
        found, error = mean_and_error(gap[:, :, None] * gap[:, None, :], axis=0)
        assert_within(found, error, law.covariance[t], catches="a batch that is not averaged, a transpose")
    for sampled_squares, sums in ((squares, law.gradient_square), (moves, law.displacement_square)):
        exact = np.diff(sums)
        found, error = mean_and_error(sampled_squares, axis=1)
        assert_within(found, error, exact, catches="a factor 2", mistake=exact)
        found, error = mean_and_error(sampled_squares.sum(0))
        late = exact[-1] - exact[0]
        assert_within(found, error, sums[-1], catches="a step that is one late", mistake=late)
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
        rows_of_set(inputs, rows[:, 2:]), Gaussian(start[0], np.zeros((3, 3))), Descent(20, 0.1, 2, 0.1), range(21)
    )
    gap = ds.theta.sel(step=20).values - law.mean[20]
    found, error = mean_and_error(gap, axis=0)
    assert_within(found, error, 0.0, catches="a factor 2 of the rate")
    found, error = mean_and_error(gap[:, :, None] * gap[:, None, :], axis=0)
    assert_within(found, error, law.covariance[20], catches="noise that is not averaged over the batch")
    for name in ("loss_sum", "gradient_square", "displacement_square"):
        sums = getattr(law, name)
        found, error = mean_and_error(ds[name].sel(step=20).values)
        late = sums[20] - sums[19] - sums[1]
        assert_within(found, error, sums[20], catches="a sum that is one step late", mistake=late)
