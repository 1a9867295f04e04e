"""Irreversibility along recorded runs: each frame with the minibatch, rate and decay of the step that follows it."""

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within
from thermosim.analysis.gradient_noise import minibatch
from thermosim.analysis.irreversibility import field_of_loss, potentials, potentials_in_time
from thermosim.analysis.irreversibility.in_time import field_of_steps
from thermosim.analysis.machine import machines
from thermosim.exact.irreversibility import quadratic_potentials

NETWORK = """
[model]
name = "multilayer-perceptron"
widths = [3, 4, 2]
activation = "tanh"
[theta]
dynamics = "sgd"
learning_rate = { kind = "linear", initial = 0.4, final = 0.1 }
weight_decay = 0.3
batch = 3
initial = "lecun"
[data]
source = "linear"
matrix = [[1.0, -2.0, 0.5], [0.3, 0.0, 1.0]]
noise = [0.4, 1.0]
rows = 20
sets = 2
[ensemble]
replicas = 6
seed = 3
[run]
steps = 6
[record]
every = 1
"""
REGRESSION = """
[model]
name = "linear-regression"
inputs = 3
outputs = 1
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = "all"
spread = 1.0
[data]
source = "linear"
matrix = [[1.0, -2.0, 0.5]]
covariance = [2.0, 1.0, 0.5]
noise = 0.4
rows = 20
[ensemble]
replicas = 4
seed = 3
[run]
steps = 4
[record]
every = 2
"""


def run(text, changes=None):
    return thermosim.simulate(thermosim.load_case(text, changes or {}))


@pytest.fixture(scope="module")
def network():
    return run(NETWORK)


@pytest.mark.parametrize("changes", [{}, {"theta.batch": "all"}, {"theta.learn": ["layer_2"]}])
def test_a_step_is_the_rate_times_the_field_of_its_frame(changes):
    """theta' = theta - r U to rounding: the minibatch, rate and decay are of the step after. Others miss by far."""
    (machine,) = machines(run(NETWORK, changes))
    rates = np.linspace(0.4, 0.1, 7)
    learned = slice(12, 20) if "theta.learn" in changes else slice(0, 20)
    for frame in range(6):
        theta, after = machine.theta(frame), machine.theta(frame + 1)
        field = field_of_steps(machine, [frame], 0.3, None)
        step = theta[:, learned] - rates[frame + 1] * field(theta[:, learned])
        np.testing.assert_allclose(step, after[:, learned], rtol=0.0, atol=3e-15)
        late = theta[:, learned] - rates[frame] * field(theta[:, learned])
        assert np.abs(late - after[:, learned]).max() > 1e-3
        if not changes:
            other = field_of_steps(machine, [frame + 1], 0.3, None)
            assert np.abs(theta - rates[frame + 1] * other(theta) - after).max() > 1e-3


def test_numbers_are_those_of_potentials_on_the_same_minibatch(network):
    """All of them, by hand: rows drawn by their address, decay added, two data sets, mean and error over replicas."""
    found = potentials_in_time(network, replicas=5)
    (machine,) = machines(network)
    assert found.step.values.tolist() == [0, 1, 2, 3, 4, 5]
    for frame in range(6):
        rows = minibatch(machine, frame + 1)[:5]
        gradient = field_of_loss(machine.model, machine.constants, rows)
        rate, theta = np.linspace(0.4, 0.1, 7)[frame + 1], machine.theta(frame)[:5]
        exact = potentials(lambda there, g=gradient: g(there) + 0.3 * there, theta, rate, scalars=False)
        first = exact.mismatch_leading.values
        expected = {
            "phi_st": exact.phi_st.values,
            "leading_order": exact.leading_order.values,
            "ratio_st": (exact.phi_st / exact.leading_order).values,
            "sharpness": exact.sharpness.values,
            "rate_sharpness": rate * exact.sharpness.values,
        }
        for name in ("de", "tr", "ta"):
            vector = exact[f"mismatch_{name}"].values
            product = (vector * first).sum(1)
            expected[f"projection_{name}"] = product / (first**2).sum(1)
            expected[f"cosine_{name}"] = product / np.linalg.norm(vector, axis=1) / np.linalg.norm(first, axis=1)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name][frame], values.mean(), rtol=1e-9)
            np.testing.assert_allclose(found[f"{name}_error"][frame], values.std(ddof=1) / np.sqrt(5), rtol=1e-8)
        h, weight = expected["rate_sharpness"], expected["leading_order"]
        ratio = h @ weight / weight.sum()
        np.testing.assert_allclose(found.weighted_rate_sharpness[frame], ratio, rtol=1e-9)
        error = np.std(weight * (h - ratio), ddof=1) / np.sqrt(5) / weight.mean()
        np.testing.assert_allclose(found.weighted_rate_sharpness_error[frame], error, rtol=1e-8)
        assert float(found.rate_of_step[frame]) == pytest.approx(rate)
    assert float(abs(found.projection_de - found.projection_ta).max()) > 0.1  # far from leading order: names matter


def test_frames_far_apart_keep_their_own_steps(network):
    """Every third frame alone gives the numbers of all frames, and the last of the run none."""
    whole, some = potentials_in_time(network), potentials_in_time(network.isel(step=[0, 3, 6]))
    assert some.step.values.tolist() == [0, 3]
    for name in ("phi_st", "projection_de", "rate_sharpness_error"):
        np.testing.assert_allclose(some[name], whole[name].sel(step=[0, 3]), rtol=1e-12)


def test_scalars_of_regression_are_their_closed_forms():
    """On all rows U = H (theta - theta*), H = 2 E zz': in every frame and at every rate of a sweep."""
    ds = run(REGRESSION, {"sweep": {"theta.learning_rate": {"values": [0.05, 0.2]}}})
    found = potentials_in_time(ds, scalars=True)
    assert found.phi_de.dims == ("step", "learning_rate")
    for k, machine in enumerate(machines(ds)):
        rows = machine.data.of_set(0)
        z, y = rows[:, :3], rows[:, 3]
        best = np.linalg.lstsq(z, y, rcond=None)[0]
        for frame in range(2):
            exact = quadratic_potentials(2.0 * z.T @ z / 20, machine.theta(frame) - best, (0.05, 0.2)[k])
            for name in ("de", "tr", "ta", "st"):
                np.testing.assert_allclose(found[f"phi_{name}"][frame, k], exact[name].mean(), rtol=1e-6)
            ratio = (exact["st"] / exact["leading"]).mean()
            np.testing.assert_allclose(found.ratio_st[frame, k], ratio, rtol=1e-6)
            assert ratio < 0.95


def test_fresh_rows_are_of_the_same_law():
    """<r |g_B|^2/4> at theta, two rows of Gaussian z and e: |g|^2 + Tr Cov/2 by Isserlis' theorem."""
    ds = run(REGRESSION, {"data.fresh": True, "data.rows": None, "theta.batch": 2, "ensemble.replicas": 2000})
    found, (machine,) = potentials_in_time(ds, replicas=2000), machines(ds)
    theta = machine.theta(1)
    covariance, gap = np.diag([2.0, 1.0, 0.5]), theta - np.array([1.0, -2.0, 0.5])
    pull = gap @ covariance
    error = (gap * pull).sum(1)
    one = 4.0 * (2.0 * (pull**2).sum(1) + (error + 0.16) * 3.5)  # E|2 z (z'gap - e)|^2
    mean = 4.0 * (pull**2).sum(1)
    expected = 0.05 / 4.0 * (mean + (one - mean) / 2.0)
    excess = float(found.leading_order[1]) - expected.mean()
    assert_within(
        excess,
        float(found.leading_order_error[1]),
        0.0,
        catches="one row or all rows for the minibatch of two",
        mistake=0.05 / 4.0 * ((one - mean) / 2.0).mean(),
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"theta.momentum": 0.5}, "theta.momentum = 0.5"),
        ({"theta.dynamics": "adam", "theta.learning_rate": 0.01}, "'adam'"),
        ({"theta.dynamics": "sgld", "theta.temperature": 0.1}, "'sgld'"),
        ({"theta.learning_rate_factors": {"weights": 2.0}}, "rates of each parameter"),
    ],
)
def test_other_moves_are_refused_with_a_remedy(changes, words):
    with pytest.raises(ValueError, match=f"told of plain descent, not of .*{words}.*run theta.dynamics = 'sgd'"):
        potentials_in_time(run(REGRESSION, changes))


def test_what_is_missing_is_said():
    ds = run(REGRESSION)
    with pytest.raises(ValueError, match="no step follows"):
        potentials_in_time(ds.isel(step=[-1]))
    with pytest.raises(ValueError, match="replicas = 0"):
        potentials_in_time(ds, replicas=0)
    with pytest.raises(ValueError, match="theta"):
        potentials_in_time(ds.drop_vars("theta"))
