"""What has no entropy is told by the direction that never moves, and every remedy that is named leads out."""

import re

import numpy as np
import pytest

import thermosim
from thermosim import analysis
from thermosim.analysis.still_directions import still_directions

MIXTURE = """
[model]
name = "gaussian-mixture"
dimension = 1
mixtures = 3
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = 2
[x]
dynamics = "exact"
[data]
source = "mixture"
centers = [[-1.5], [0.0], [1.5]]
deviation = 0.5
rows = 30
[ensemble]
replicas = 60
seed = 4
[run]
steps = 24
[record]
every = 12
variables = ["theta", "heat"]
"""
FUNCTIONS = (
    analysis.memory,
    lambda ds: analysis.memory(ds, "nearest-neighbour"),
    analysis.clausius,
    analysis.pathwise_clausius,
    analysis.ideal_learning,
    analysis.joint_entropy,
)


def test_directions_of_known_samples():
    """Of a constant, and of two sums that are kept; a direction that moves at any frame is none."""
    random = np.random.default_rng(0)
    theta = random.normal(size=(2, 40, 6)) * [1.0, 1e3, 1.0, 1e-3, 1.0, 1.0]
    theta[..., 4] = 0.7
    theta[..., 2] = 3.0 - theta[..., 0] - 2.0 * theta[..., 1]
    theta[..., 5] = theta[..., 3]
    found = still_directions(theta)
    expected = [[0, 0, 0, 0, 1, 0], [1, 2, 1, 0, 0, 0], [0, 0, 0, 1, 0, -1]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    theta[1, :, 2] = random.normal(size=40)
    np.testing.assert_allclose(still_directions(theta), [expected[0], expected[2]], atol=1e-6)
    assert still_directions(random.normal(size=(1, 40, 6))).shape == (0, 6)


def test_logits_of_a_mixture():
    """The softmax does not see the sum of its arguments, so no minibatch ever moves it."""
    ds = thermosim.simulate(thermosim.load_case(MIXTURE))
    np.testing.assert_allclose(ds.theta[..., :3].sum("theta_dim"), 0.0, atol=1e-12)
    for of in FUNCTIONS:
        with pytest.raises(ValueError, match=re.escape("logit[0] + logit[1] + logit[2] does not differ")) as said:
            of(ds)
        assert "theta.spread.logit" in str(said.value)
        assert "minibatch" not in str(said.value)


@pytest.mark.parametrize(
    "remedy", [{"theta.spread": {"logit": 0.1}}, {"theta.dynamics": "sgld", "theta.temperature": 0.01}]
)
def test_each_remedy_leads_out(remedy):
    ds = thermosim.simulate(thermosim.load_case(MIXTURE, remedy))
    for of in FUNCTIONS:
        of(ds)
    assert np.isfinite(analysis.memory(ds).entropy[-1])


def test_other_reasons():
    """Nothing that moves, one group that does not, and one path for all."""
    still = thermosim.load_case(MIXTURE, {"theta.batch": "all", "theta.spread": 0.0})
    with pytest.raises(ValueError, match=r"nothing of theta differs between replicas .*theta.spread = 0.1"):
        analysis.memory(thermosim.simulate(still))
    spread = {"theta.batch": "all", "theta.spread": {"mean": 0.3, "logit": 0.2, "log_precision": 0.0}}
    with pytest.raises(ValueError, match=r"log_precision\[0, 0\], log_precision.* do not differ .* at step 0|at any"):
        analysis.clausius(thermosim.simulate(thermosim.load_case(MIXTURE, spread | {"run.steps": 1})), first=0)
