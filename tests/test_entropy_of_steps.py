"""Entropy of recorded steps: from the path there and back alone, from all minibatches at once, and what is refused."""

import itertools

import numpy as np
import pytest

from thermosim import simulate
from thermosim.analysis import machines
from thermosim.analysis.irreversibility import entropy_of_steps
from thermosim.analysis.irreversibility import steps as module
from thermosim.analysis.irreversibility.mismatches import reversal
from thermosim.case.load import load_case
from thermosim.checks.irreversibility import irreversibility_advice, irreversibility_comparisons
from thermosim.checks.report import check

CASE = """
[model]
name = "linear-regression"
inputs = 2
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = 2
spread = 0.7
[data]
source = "linear"
rows = 6
matrix = [[1.0, -0.5]]
covariance = [1.5, 0.5]
noise = 0.5
[ensemble]
replicas = 4000
[run]
steps = 6
[record]
variables = ["theta"]
[irreversibility]
sigma = 0.1
"""


@pytest.fixture(scope="module")
def ensembles(tmp_path_factory):
    """One run forward, one there and back, one with weight decay and all rows."""
    folder = tmp_path_factory.mktemp("steps")
    runs = {
        "forward": {},
        "back": {"run.direction": "there-and-back"},
        "decay": {"run.direction": "there-and-back", "theta.batch": "all", "theta.weight_decay": 0.3},
    }
    return {name: simulate(load_case(CASE, more), folder / f"{name}.h5") for name, more in runs.items()}


@pytest.mark.parametrize("name", ["back", "decay"])
def test_entropy_is_that_of_the_recorded_path(ensembles, name):
    """r (U + U') = (theta - theta') + (theta~ - theta') of the one step at the turn, whose way back was run."""
    ds = ensembles[name]
    theta = ds["theta"].transpose("step", "replica", "theta_dim").values
    both = (theta[2] - theta[3]) + (theta[4] - theta[3])
    found = entropy_of_steps(ds)
    assert found.sizes["step"] == 3
    np.testing.assert_allclose(found["same_batch"][2], (both**2).sum(-1).mean() / (2.0 * 0.1**2), rtol=1e-10)
    np.testing.assert_allclose(found["phi_st"][2], (both**2).sum(-1).mean() / (16.0 * 0.05), rtol=1e-10)
    returned = module.steps_of(machines(ds)[0]).returned[2]
    np.testing.assert_allclose(returned, theta[4] - theta[2], atol=1e-13)
    assert np.abs(returned).max() > 1e-3
    np.testing.assert_allclose(found["total"][2], found["same_batch"].sum(), rtol=1e-12)


def test_the_way_back_of_a_step_is_twice_the_rate_times_the_mismatch(ensembles):
    """Appendix A of the learning machine: theta~ - theta = -2 r g_TA, of the same minibatch."""
    ds = ensembles["back"]
    machine = machines(ds)[0]
    rows = module.minibatch(machine, 3)
    mismatch = reversal(lambda theta: machine.evaluator.data_gradient(rows, theta)[1], machine.theta(2), 0.05)
    np.testing.assert_allclose(machine.theta(4) - machine.theta(2), -2.0 * 0.05 * mismatch, atol=1e-13)
    (comparison,) = [one for one in irreversibility_comparisons(ds, [machine]) if "g_TA" in one.quantity]
    assert comparison.measured < comparison.standard_error


def test_the_mean_over_fresh_minibatches_is_that_of_all_pairs_of_rows(ensembles):
    machine = machines(ensembles["forward"])[0]
    found = module.steps_of(machine)
    theta, rows = machine.theta(0), machine.data.of_set(0)
    here = machine.theta(0) - machine.theta(1)  # r U_b
    there = machine.theta(1)
    slopes = 2.0 * (there @ rows[:, :2].T - rows[:, 2])[..., None] * rows[:, :2]  # (R, rows, 2), of each row
    pairs = [0.5 * (slopes[:, i] + slopes[:, j]) for i in range(6) for j in range(6)]
    mean = np.mean([((here / 0.05 + pair) ** 2).sum(-1) for pair in pairs], axis=0)
    np.testing.assert_allclose(found.fresh_mean[0], mean, rtol=1e-9)
    assert np.all(np.abs(found.fresh_mean[0] / found.same[0] - 1.0).mean() > 0.1)
    assert theta.shape == (4000, 2)


def test_check_compares_fresh_minibatches_and_would_see_the_same_one(ensembles, monkeypatch):
    ds = ensembles["forward"]
    (right,) = irreversibility_comparisons(ds, machines(ds))
    assert abs(right.measured / right.standard_error) < 4.0
    drawn, calls = module.minibatch, itertools.count()
    monkeypatch.setattr(module, "minibatch", lambda machine, step: drawn(machine, step - next(calls) % 2))
    (wrong,) = irreversibility_comparisons(ds, machines(ds))  # every second call is of the way back
    assert abs(wrong.measured / wrong.standard_error) > 6.0
    monkeypatch.undo()
    assert "way back" in " ".join(comparison.quantity for comparison in check(ds).comparisons)


def test_what_has_no_entropy_of_steps_is_told(ensembles, tmp_path):
    ds = ensembles["forward"]
    with pytest.raises(ValueError, match="give sigma"):
        entropy_of_steps(ds, sigma=0.0)
    momentum = {"theta.momentum": 0.9, "irreversibility.scalars": False}
    case = load_case(CASE, momentum)
    other = simulate(case, tmp_path / "momentum.h5")
    with pytest.raises(ValueError, match="plain gradient descent"):
        entropy_of_steps(other)
    (said,) = irreversibility_advice(other, machines(other))
    assert "plain gradient descent" in said


def test_another_noise_than_the_virtual_one_is_told(tmp_path):
    noisy = {"theta.dynamics": "sgld", "theta.temperature": 0.4, "ensemble.replicas": 4, "run.steps": 3}
    for sigma, told in ((0.2, 0), (0.1, 1)):  # (2 x 0.05 x 0.4)^(1/2) = 0.2
        ds = simulate(load_case(CASE, noisy | {"irreversibility.sigma": sigma}), tmp_path / f"{sigma}.h5")
        said = irreversibility_advice(ds, machines(ds))
        assert len(said) == told
    assert "deviation 0.2, irreversibility.sigma is 0.1" in said[0]
