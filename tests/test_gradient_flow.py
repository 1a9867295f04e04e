"""Gradient flow by Runge-Kutta steps: order 4 against DOP853, charges conserved to that order, books, refusals."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import thermosim
from thermosim.analysis.machine import machines

NETWORK = """
[model]
name = "multilayer-perceptron"
widths = [3, 4, 2]
activation = "tanh"
bias = "yes"
[theta]
dynamics = "gradient-flow"
learning_rate = 0.1
weight_decay = 0.2
initial = "he"
[data]
source = "linear"
rows = 12
matrix = [[1.0, -0.5, 0.3], [0.2, 0.4, -1.0]]
covariance = [2.0, 1.0, 0.5]
noise = 0.25
[ensemble]
replicas = 3
seed = 4
[run]
steps = 20
[record]
every = 1
variables = ["theta", "loss_sum", "gradient_square"]
"""
TIME = 2.0


def run(**changes):
    changes = {key.replace("__", "."): to for key, to in changes.items()}
    return thermosim.simulate(thermosim.load_case(NETWORK, changes))


def at_step(steps, **changes):
    return run(theta__learning_rate=TIME / steps, run__steps=steps, record__every=steps, **changes)


def exact(ds, scale=1.0):
    """theta (R, m) after TIME, by DOP853 at the tightest tolerance."""
    machine = machines(ds)[0]
    decay, start = float(machine.settings.theta.weight_decay), machine.theta(0)

    def slope(_, flat):
        theta = flat.reshape(start.shape)
        return (-scale * (machine.evaluator.data_gradient(machine.data.values, theta)[1] + decay * theta)).ravel()

    return solve_ivp(slope, (0.0, TIME), start.ravel(), "DOP853", rtol=1e-13, atol=1e-13).y[:, -1].reshape(start.shape)


def slopes(steps, errors):
    return -np.diff(np.log(errors)) / np.diff(np.log(steps))


def test_it_converges_at_order_4():
    """Weight decay, biases, tanh: a wrong weight of a stage is of order 1 or 2; gradient descent is of order 1."""
    steps, errors = (20, 40, 80), []
    for count in steps:
        ds = at_step(count)
        errors.append(np.abs(machines(ds)[0].theta(-1) - exact(ds)).max())
    assert np.allclose(slopes(steps, errors), 4.0, atol=0.25)
    assert errors[-1] < 1e-5
    descent = []
    for count in (160, 320):
        ds = at_step(count, theta__dynamics="sgd", theta__batch="all")
        descent.append(np.abs(machines(ds)[0].theta(-1) - exact(ds)).max())
    assert np.allclose(slopes((160, 320), descent), 1.0, atol=0.15)


def test_rates_of_groups_are_rates_of_flow():
    factors = {"layer_1": 0.5, "layer_2": 1.5}
    ds = at_step(160, theta__learning_rate_factors=factors)
    scale = np.repeat([0.5, 1.5], [16, 10])
    assert np.allclose(machines(ds)[0].theta(-1), exact(ds, scale), atol=1e-6)
    assert np.abs(machines(ds)[0].theta(-1) - exact(ds)).max() > 1e-2


def test_books_are_those_of_theta_before_the_step():
    ds = run()
    machine = machines(ds)[0]
    found = [machine.evaluator.data_gradient(machine.data.values, machine.theta(frame)) for frame in range(20)]
    loss, square = np.sum([value for value, _ in found], 0), np.sum([(g**2).sum(1) for _, g in found], 0)
    assert np.allclose(ds.loss_sum.isel(step=-1), loss, rtol=1e-11)
    assert np.allclose(ds.gradient_square.isel(step=-1), square, rtol=1e-11)


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ({"name": "scalar-chain", "depth": 2}, (1, 1)),
        ({"name": "multilayer-perceptron", "widths": [3, 4, 2], "activation": "linear"}, (12, 8)),
    ],
)
def test_charges_are_conserved_to_its_order(model, sizes):
    """W1 W1' - W2'W2 of linear layers: an error of order 4, where gradient descent has one of order 1."""
    chain = model["name"] == "scalar-chain"
    data = {"source": "linear", "rows": 12, "noise": 0.25}
    data["matrix"] = [[1.2]] if chain else [[1.0, -0.5, 0.3], [0.2, 0.4, -1.0]]
    of_theta = {"dynamics": "gradient-flow", "initial": {"weight": [1.5, 0.3]} if chain else "he"}

    def flow(count):
        theta = of_theta | {"learning_rate": TIME / count}
        return run(model=model, data=data, theta=theta, run__steps=count, record__every=count)

    errors = []
    for count in (40, 80, 160):
        path = machines(flow(count))[0].frames["theta"].transpose("step", "replica", "theta_dim").values
        first = path[..., : sizes[0]].reshape(*path.shape[:2], -1, 1 if chain else 3)
        second = path[..., sizes[0] :].reshape(*path.shape[:2], 1 if chain else 2, -1)
        charge = first @ np.swapaxes(first, -1, -2) - np.swapaxes(second, -1, -2) @ second
        errors.append(np.abs(charge[-1] - charge[0]).max())
    assert np.all(slopes((40, 80, 160), errors) > 3.6)
    assert errors[-1] < 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"theta__batch": 4}, "feels all of the data"),
        ({"theta__momentum": 0.5}, "only used with theta.dynamics = 'sgd'"),
        ({"theta__preconditioner": np.eye(26).tolist()}, "not 'gradient-flow'"),
        ({"data__fresh": True, "data__rows": None}, "feels all of the data"),
    ],
)
def test_what_a_flow_does_not_have_is_refused(changes, message):
    with pytest.raises(thermosim.CaseError, match=message):
        run(**changes)
