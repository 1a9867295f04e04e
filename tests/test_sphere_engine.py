"""The scale-invariant moves against the paper's discrete updates, step by step, and against exact identities."""

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within, mean_and_error
from thermosim.exact import ideal_gas
from thermosim.kernels import types
from thermosim.kernels.compile import compiled
from thermosim.kernels.noise import fill_normal_pair
from thermosim.models.isotropic_sphere import stationary_square
from thermosim.streams import THETA_NOISE

RATE, DECAY, RADIUS, NOISE, SEED, REPLICAS = 0.13, 0.21, 1.7, 0.8, 5, 40
MU = np.array([0.6, 0.0, -0.8, 0.0])

TEXT = f"""
[model]
name = "isotropic-sphere"
dimension = 4
noise = {NOISE}
direction = {MU.tolist()}
[theta]
dynamics = "sgd"
learning_rate = {RATE}
radius = {RADIUS}
[ensemble]
replicas = {REPLICAS}
seed = {SEED}
[run]
steps = 30
[record]
every = 1
"""


def _run(constraint, **overrides):
    decay = {} if constraint == "fixed-sphere" else {"theta.weight_decay": DECAY}
    return thermosim.simulate(thermosim.load_case(TEXT, {"theta.constraint": constraint, **decay, **overrides}))


def _noise(step):
    """The engine's own normals of a step, (d, R): move `step` is the even or odd half of block step // 2."""
    halves = np.empty((2, 4, REPLICAS))
    signature = types.void(*[types.int64] * 5, *[types.float64[:, ::1]] * 2)
    compiled(fill_normal_pair, signature)(SEED, THETA_NOISE, step // 2, 0, 0, halves[0], halves[1])
    return halves[step % 2]


def _update(constraint, w, xi):
    """The paper's update of w (d, R), written independently: project with the matrix 1 - w w'/|w|^2."""
    out = np.empty_like(w)
    stretch = np.empty(w.shape[1])
    for r in range(w.shape[1]):
        v, length = w[:, r], np.linalg.norm(w[:, r])
        projector = np.eye(4) - np.outer(v, v) / length**2
        g = projector @ (MU + NOISE * xi[:, r]) / length
        if constraint == "fixed-lr":
            out[:, r] = v - RATE * (g + DECAY * v)
        elif constraint == "fixed-elr":
            out[:, r] = v - RATE * length**2 * (g + DECAY * v)
        else:
            free = v - RATE * RADIUS**2 * g
            stretch[r] = np.linalg.norm(free) / RADIUS - 1
            out[:, r] = RADIUS * free / np.linalg.norm(free)
    return out, stretch


@pytest.mark.parametrize("constraint", ["fixed-lr", "fixed-elr", "fixed-sphere"])
def test_every_step_is_the_papers_update(constraint):
    """Same noise, independent arithmetic: any wrong factor, sign or shifted step shows in the second digit."""
    ds = _run(constraint)
    theta = np.moveaxis(ds.theta.values, -1, 1)
    for step in range(1, 31):
        expected, stretch = _update(constraint, theta[step - 1], _noise(step))
        assert np.allclose(theta[step], expected, rtol=1e-12, atol=1e-13), step
        if constraint == "fixed-sphere":
            booked = ds.stretch.values[step] - ds.stretch.values[step - 1]
            assert np.allclose(booked, stretch, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("constraint", ["fixed-lr", "fixed-elr"])
def test_squared_norm_identity(constraint):
    """|w'|^2 = |w|^2 (1 - eta lambda)^2 + eta^2 |g|^2 with |g|^2 = gradient_square/|w|^2, exactly, at any step size."""
    ds = _run(constraint)
    square = ds.radius.values**2
    eta = RATE if constraint == "fixed-lr" else RATE * square[:-1]
    slope = np.diff(ds.gradient_square.values, axis=0) / square[:-1]
    expected = square[:-1] * (1 - eta * DECAY) ** 2 + eta**2 * slope
    assert np.allclose(square[1:], expected, rtol=1e-12)
    assert not np.allclose(square[1:], square[:-1] * (1 - eta * DECAY) + eta**2 * slope, rtol=1e-4)


def test_sphere_identity():
    """|v| = r sqrt(1 + eta_eff^2 gradient_square), and the radius stays."""
    ds = _run("fixed-sphere")
    slope = np.diff(ds.gradient_square.values, axis=0)
    assert np.allclose(np.diff(ds.stretch.values, axis=0), np.sqrt(1 + RATE**2 * slope) - 1, rtol=1e-10)
    assert np.allclose(ds.radius, RADIUS, rtol=1e-14)


def test_long_vectors():
    """Eleven dimensions, where sums are taken several components at a time: orthogonal to w, and the paper's loss."""
    mu = np.cos(1.0 + np.arange(11.0))
    mu /= np.linalg.norm(mu)
    long = {"model.dimension": 11, "model.direction": mu.tolist(), "run.steps": 1, "model.noise": 1e-12}
    ds = _run("fixed-lr", **long, **{"theta.initial": "random"})
    w, new = ds.theta.values
    length = np.linalg.norm(w, axis=1, keepdims=True)
    gradient = (mu - (w @ mu)[:, None] * w / length**2) / length
    np.testing.assert_allclose(new, w - RATE * (gradient + DECAY * w), atol=1e-9)
    np.testing.assert_allclose(ds.gradient_square[1], (length[:, 0] * np.linalg.norm(gradient, axis=1)) ** 2, rtol=1e-6)
    np.testing.assert_allclose(ds.loss_sum[1], 1.0 + w @ mu / length[:, 0], rtol=1e-9)


@pytest.mark.parametrize("constraint", ["fixed-lr", "fixed-elr"])
def test_a_stationary_start_stays_where_it_is(constraint):
    """Sixty dimensions, where fluctuations of the radius hardly count, at a decay of 0.3 a step: <r^2> and <L>."""
    rate, decay = (0.6, 0.5) if constraint == "fixed-lr" else (0.02, 0.2)
    mu = np.cos(1.0 + np.arange(60.0))
    changes = {"theta.learning_rate": rate, "theta.weight_decay": decay, "ensemble.replicas": 4000}
    changes |= {"model.dimension": 60, "model.direction": (mu / np.linalg.norm(mu)).tolist(), "record.every": 15}
    ds = _run(constraint, **changes, **{"theta.initial": "stationary"})
    radius, loss = ds["radius"].values, ds["loss"].values
    assert (radius[-1] ** 2).mean() == pytest.approx((radius[0] ** 2).mean(), rel=0.01)
    assert loss[-1].mean() == pytest.approx(loss[0].mean(), rel=0.1)
    assert loss[0].mean() < 0.95


@pytest.mark.parametrize(("constraint", "rate", "decay"), [("fixed-lr", 0.6, 0.5), ("fixed-elr", 0.4, 0.2)])
def test_a_stationary_start_spreads_about_its_mean_square(constraint, rate, decay):
    """<r^2> is what it is said to be, ln r^2 has the deviation of the theory."""
    changes = {"theta.learning_rate": rate, "theta.weight_decay": decay, "ensemble.replicas": 20_000}
    ds = _run(constraint, **changes, **{"theta.initial": "stationary", "run.steps": 1})
    square = (ds["theta"].values[0] ** 2).sum(axis=1)
    hyper = {"constraint": constraint, "learning_rate": rate, "weight_decay": decay}
    exact = stationary_square(hyper, {"dimension": 4, "noise": NOISE})
    deviation = float(ideal_gas.radius_fluctuation(constraint, 4, NOISE, rate, decay))
    assert_within(*mean_and_error(square), exact, catches="the mean of a log-normal", mistake=exact * deviation**2 / 2)
    assert_within(*mean_and_error((np.log(square) - np.log(square).mean()) ** 2), deviation**2, catches="d for d - 1")


def test_random_start_is_uniform_at_the_radius():
    ds = _run("fixed-elr", **{"ensemble.replicas": 4000, "run.steps": 1})
    start = ds.theta.isel(step=0).values
    assert np.allclose(np.linalg.norm(start, axis=-1), RADIUS, rtol=1e-14)
    directions = start / RADIUS
    assert np.all(np.abs(directions.mean(0)) < 4 * 0.5 / np.sqrt(4000))
    second = directions.T @ directions / 4000
    assert np.all(np.abs(second - np.eye(4) / 4) < 4 * 0.25 / np.sqrt(4000))
