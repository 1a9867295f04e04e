"""Steps of Adam in networks: the bound on them, what measured gradients say of them, and moves of single groups."""

import numpy as np
import pytest

import thermosim
from thermosim.analysis import adam_updates
from thermosim.analysis.machine import machines
from thermosim.exact import adam_noise
from thermosim.plots.picture import picture

pytest.importorskip("jax")

CASE = """
[model]
name = "gru"
vocabulary = 8
context = 3
width = 4
layers = 1
[engine]
precision = "float64"
tile_width = 4
[theta]
dynamics = "adam"
learning_rate = 1e-3
beta2 = 0.99
epsilon = 1e-14
batch = 4
[data]
source = "modular-addition"
modulus = 7
[ensemble]
replicas = 4
seed = 3
[run]
steps = 60
[record]
every = 1
variables = ["theta", "displacement_square", "gradient_square", "signal_share", "loss_sum", "full_loss"]
[measure]
batches = 4
"""


@pytest.fixture(scope="module")
def ds():
    return thermosim.simulate(thermosim.load_case(CASE))


def by_hand(gradients, beta1, beta2):
    """m^2/v after every step, of gradients (steps, ...)."""
    mean, square, found = 0.0, 0.0, []
    for step, g in enumerate(gradients, 1):
        mean, square = beta1 * mean + (1 - beta1) * g, beta2 * square + (1 - beta2) * g * g
        found.append((mean / (1 - beta1**step)) ** 2 / (square / (1 - beta2**step)))
    return np.array(found)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.9, 0.81), (0.5, 0.9), (0.9, 0.6)])
def test_no_gradients_make_a_longer_step(beta1, beta2):
    """And those that grow as a_k/c_k of the last step make one that is as long."""
    steps = np.arange(1, 41)
    most = adam_noise.largest_square(steps, beta1, beta2)
    random = by_hand(np.random.default_rng(1).standard_t(2, size=(40, 2000)), beta1, beta2)
    assert (random <= most[:, None] * (1 + 1e-12)).all()
    for last in (1, 2, 10, 40):
        past = np.arange(last)[::-1]
        a = (1 - beta1) * beta1**past / (1 - beta1**last)
        c = (1 - beta2) * beta2**past / (1 - beta2**last)
        assert np.isclose(by_hand(a / c, beta1, beta2)[-1], most[last - 1], rtol=1e-10)
    assert most[0] == 1.0


def test_the_first_step_of_adam_has_one_length(ds):
    """r for every parameter with a gradient: those of tokens that a minibatch holds, and of all biases and matrices."""
    theta = ds.theta.transpose("step", "replica", "theta_dim").values
    moved = theta[1] != theta[0]
    assert np.allclose(np.abs(theta[1] - theta[0])[moved], 1e-3, rtol=1e-8)
    square = ds.displacement_square.transpose("step", "replica").values[1]
    assert np.allclose(square, 1e-6 * moved.sum(1), rtol=1e-8)
    energy = thermosim.analysis.update_energy(ds)
    assert np.isclose(energy.update_energy[0], square.mean() / 1e-3, rtol=1e-12)
    (machine,) = machines(ds)
    assert adam_updates.learned_numbers(machine) == theta.shape[-1]
    assert np.isclose(adam_updates.most_of_updates(machine)[0], 1e-6 * theta.shape[-1])


def test_a_bound_that_is_broken_is_a_deviation(ds):
    (one,) = thermosim.check(ds).comparisons
    assert "excess" in one.quantity
    assert thermosim.check(ds).consistent
    assert not thermosim.check(ds.assign(displacement_square=1.5 * ds.displacement_square)).consistent


def test_the_share_of_signal_of_a_gradient(ds):
    """Of the first frame, against the gradients of all rows: squares of means of 4 batches would be 0.2 too much."""
    from thermosim.models import MODELS

    constants = {"vocabulary": 8, "context": 3, "width": 4, "layers": 1, "predict": "all"}
    import jax

    from thermosim.engines.networks.platform import traced

    (machine,) = machines(ds)
    network, rows = MODELS["gru"].network(constants), machine.data.values
    shapes = {group.name: group.shape(constants) for group in MODELS["gru"].groups(constants)}

    def loss(theta, x):
        p, first = {}, 0
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            p[name], first = theta[first : first + size].reshape(shape), first + size
        return network.loss(p, x, None)

    with traced():
        slopes = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))
        each = np.array([slopes(theta, rows[:, None]) for theta in machine.theta(0)])  # (R, rows, m)
    mean, variance = each.mean(1), each.var(1) / 4  # of minibatches of 4, drawn one by one
    exact = (mean**2 / (mean**2 + variance + 1e-300)).mean(1)
    measured = ds.signal_share.transpose("step", "replica").values[0]
    assert abs(measured.mean() - exact.mean()) < 0.08
    assert exact.mean() > 0.1


def test_measured_gradients_tell_the_update_energy():
    """Where theta hardly moves, so that gradients have one law: within a tenth, where pure noise is off by a factor."""
    slow = {"theta.learning_rate": 1e-7, "run.steps": 200, "record.every": 20, "measure.batches": 16}
    (machine,) = machines(thermosim.simulate(thermosim.load_case(CASE, slow)))
    moved = np.diff(machine.frames["displacement_square"].values, axis=0).mean(1)
    said = adam_updates.of_signal(machine)
    assert np.abs(moved[5:].sum() / said[5:].sum() - 1) < 0.1
    assert (moved / adam_updates.of_one_size(machine) > 3 * 0.1 / 1.9).all()


def test_groups_that_rest_and_groups_that_are_slower(ds):
    """theta.learn leaves others where they were, and a factor of 1/2 halves the first step of its group alone."""
    (machine,) = machines(ds)
    sizes = {
        group.name: int(np.prod(group.shape(machine.constants))) for group in machine.model.groups(machine.constants)
    }
    edges = np.cumsum([0, *sizes.values()])
    part = {name: slice(a, b) for name, a, b in zip(sizes, edges[:-1], edges[1:], strict=True)}
    start = machine.theta(0)
    short = {"run.steps": 2, "record.variables": ["theta", "displacement_square"]}
    some = thermosim.simulate(thermosim.load_case(CASE, short | {"theta.learn": ["readout", "recurrent_1"]}))
    after = machines(some)[0].theta(2)
    for name, where in part.items():
        assert (after[:, where] == start[:, where]).all() == (name not in ("readout", "recurrent_1")), name
    assert adam_updates.learned_numbers(machines(some)[0]) == sizes["readout"] + sizes["recurrent_1"]
    assert thermosim.check(some).consistent
    halved = thermosim.load_case(CASE, short | {"theta.learning_rate_factors": {"readout": 0.5}})
    step = machines(thermosim.simulate(halved))[0].theta(1) - start
    usual = machine.theta(1) - start
    assert np.allclose(step[:, part["readout"]], 0.5 * usual[:, part["readout"]], rtol=1e-8)
    assert np.array_equal(step[:, part["recurrent_1"]], usual[:, part["recurrent_1"]])


def test_the_picture_of_a_network_under_adam(ds):
    words = [panel.get_ylabel() for panel in picture(ds).axes]
    assert len(words) == 4
    assert any("over" in word for word in words)
    assert "loss" in words[-1]
