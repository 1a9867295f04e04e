"""Angles by which weights turn in a step: exact laws of SGD and momentum, those of AdamW and Nesterov on noise."""

import json
from dataclasses import replace

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within
from thermosim.analysis.machine import machines
from thermosim.analysis.rotation import parts
from thermosim.analysis.settings import settings
from thermosim.exact import rotations as theory
from thermosim.models.networks import dense, network, normalised, relu, residual, squared_error
from thermosim.plots.picture import picture

CASE = """
[model]
file = "cases/training/symmetries/normalised_regression.py"
inputs = 5
[theta]
dynamics = "sgd"
learning_rate = 0.2
weight_decay = 0.1
batch = 2
initial = { weight = [0.6, 0.4, -0.6, 0.8, 1.0] }
[data]
source = "linear"
fresh = true
matrix = [[0.5, -0.25, 0.15, 0.0, 0.3]]
covariance = [2.0, 1.0, 1.0, 0.5, 0.25]
noise = 0.5
[ensemble]
replicas = 120
seed = 5
[run]
steps = 700
[record]
every = 1
first = 300
variables = ["theta"]
"""
NOISE = {"data.matrix": [[0.0] * 5], "data.covariance": [1.0] * 5, "data.noise": 30.0, "theta.batch": 8}
PRODUCTS, STATIONARY = "largest residual of w.w' over |w|^2", "mean |w' - w|^2 over that of a stationary state"


def run(changes=None, case=CASE):
    return thermosim.simulate(thermosim.load_case(case, changes or {}))


def found(ds):
    return {row.quantity: row for row in thermosim.check(ds).comparisons if row.quantity in (PRODUCTS, STATIONARY)}


def settled(ds, name="settled_update_square"):
    result = thermosim.analysis.rotation(ds)
    assert bool(result.stationary.all())
    return float(result[name].squeeze()), float(result[f"{name}_error"].squeeze()), result


def by_hand(step, rate, decay, steps=3000, dimension=12, replicas=200):
    """<|w' - w|^2>/<|w|^2> in the later half of a walk on noise across w; `step` makes w' and memory."""
    random, memory = np.random.default_rng(4), None
    w, moved, square = random.normal(size=(replicas, dimension)), 0.0, 0.0
    for t in range(1, steps + 1):
        g = random.normal(size=w.shape)
        g -= (g * w).sum(-1, keepdims=True) * w / (w**2).sum(-1, keepdims=True)
        new, memory = step(w, g / np.linalg.norm(w, axis=-1, keepdims=True), memory, t, rate, decay)
        if t > steps // 2:
            moved, square = moved + ((new - w) ** 2).sum(), square + (w**2).sum()
        w = new
    return moved / square


def nesterov(w, g, v, t, rate, decay):
    pull = -rate * (g + decay * w)
    v = (0.0 if v is None else 0.7 * v) + pull
    return w + 0.7 * v + pull, v


def momentum(w, g, v, t, rate, decay):
    v = (0.0 if v is None else 0.7 * v) - rate * (g + decay * w)
    return w + v, v


def adamw(w, g, memory, t, rate, decay):
    m, v = (0.0, 0.0) if memory is None else memory
    m, v = 0.8 * m + 0.2 * g, 0.998 * v + 0.002 * g**2
    pull = m / (1 - 0.8**t) / np.sqrt(v / (1 - 0.998**t))
    return w - rate * (pull + decay * w), (m, v)


@pytest.mark.parametrize(
    ("step", "rate", "decay", "exact", "others"),
    [
        (momentum, 0.1, 0.05, theory.sgd_square(0.1, 0.05, 0.7), [2 * 0.005, 2 * 0.005 * 0.3, 2 * 0.005 / 0.3]),
        (nesterov, 0.1, 0.02, theory.nesterov_square(0.1, 0.02, 0.7), [2 * 0.002 / 1.7, 2 * 0.002 * 1.7]),
        (adamw, 0.01, 0.4, theory.adamw_square(0.01, 0.4, 0.8), [2 * 0.004, 2 * 0.004 * 0.002, 2 * 0.004 * 0.2]),
    ],
)
def test_squared_steps_of_a_walk_in_plain_numpy(step, rate, decay, exact, others):
    """Within two per cent; plain SGD, 1 - a for 1 + a, the second beta for the first: all off by forty and more."""
    measured = by_hand(step, rate, decay)
    assert np.isclose(measured, exact, rtol=0.02)
    assert all(abs(np.log(measured / other)) > 0.33 for other in others)


def test_the_angle_of_a_length_that_rests():
    """tan^2 of SGD (K. et al.), and cos = 1 - r lambda/(1 + a), at a large step."""
    for a in (0.0, 0.6):
        turned = theory.angle(theory.sgd_square(0.5, 0.4, a))
        assert np.isclose(np.cos(turned), 1 - 0.2 / (1 + a), rtol=1e-12)
    turned = theory.angle(theory.sgd_square(0.5, 0.4))
    assert np.isclose(np.tan(turned) ** 2, (2 * 0.2 - 0.2**2) / 0.8**2, rtol=1e-12)


@pytest.mark.parametrize("a", [0.0, 0.5])
def test_sgd_turns_by_the_exact_law(a):
    """Of anisotropic noise with a mean gradient; the two factors 1 + a and 2 would be many errors off."""
    ds = run({"theta.momentum": a})
    measured, error, result = settled(ds)
    exact = theory.sgd_square(0.2, 0.1, a)
    assert_within(measured, error, exact, catches="a factor 2", mistake=exact)
    assert error < 0.012 * exact
    assert float(result.expected_square.squeeze()) == exact
    rows = found(ds)
    assert set(rows) == {PRODUCTS, STATIONARY}
    assert thermosim.check(ds).consistent
    assert float(rows[PRODUCTS].measured) < 1e-13
    assert np.all(rows[STATIONARY].tolerance < 0.02)


@pytest.mark.parametrize(
    ("dynamics", "own", "exact"),
    [
        ("adamw", {"beta1": 0.0}, lambda: theory.adamw_square(0.01, 0.4, 0.0)),
        ("adamw", {"beta1": 0.9}, lambda: theory.adamw_square(0.01, 0.4, 0.9)),
        ("nesterov", {"momentum": 0.5}, lambda: theory.nesterov_square(1e-4, 40.0, 0.5)),
    ],
)
def test_other_moves_turn_by_their_laws_on_noise(dynamics, own, exact):
    """To three per cent, what their limits leave out; nothing is checked of what is not exact."""
    numbers = (0.01, 0.4) if dynamics == "adamw" else (1e-4, 40.0)
    changes = {"theta.dynamics": dynamics, "theta.learning_rate": numbers[0], "theta.weight_decay": numbers[1]}
    steps = {"run.steps": 3400, "record.first": 3000} | {f"theta.{key}": value for key, value in own.items()}
    ds = run(NOISE | changes | steps)
    measured, error, result = settled(ds)
    assert abs(measured - exact()) < 4 * error + 0.02 * exact()
    assert error < 0.02 * exact()
    assert np.isclose(float(result.settled_angle.squeeze()), float(result.expected_angle.squeeze()), rtol=0.02)
    assert not found(ds)


def test_angles_are_those_of_theta_and_schedules_obey():
    """Every frame by plain numpy; the product of neighbours holds under schedules too, and not for another momentum."""
    changes = {"theta.momentum": 0.5, "record.first": 0, "run.steps": 40, "ensemble.replicas": 6}
    schedule = {"kind": "cosine", "initial": 0.2, "final": 0.01, "warm_up": 10}
    ds = run(changes | {"theta.learning_rate": schedule})
    w = ds.theta.transpose("step", "replica", "theta_dim").values
    cosine = (w[1:] * w[:-1]).sum(-1) / np.linalg.norm(w[1:], axis=-1) / np.linalg.norm(w[:-1], axis=-1)
    result = thermosim.analysis.rotation(ds)
    assert np.allclose(result.angle.squeeze() ** 2, (np.arccos(cosine) ** 2).mean(1), rtol=1e-9)
    ratio = ((w[1:] - w[:-1]) ** 2).sum(-1).mean(1) / (w[:-1] ** 2).sum(-1).mean(1)
    assert np.allclose(result.update_square.squeeze(), ratio, rtol=1e-12)
    assert np.isnan(result.expected_square).all()
    assert set(found(ds)) == {PRODUCTS}
    assert thermosim.check(ds).consistent
    moved = ds.assign(theta=ds.theta.copy())
    moved["theta"][20] = moved["theta"][20] * (1.0 + 1e-9)
    assert not thermosim.check(moved).consistent


@pytest.mark.parametrize(
    "wrong", [{"theta.momentum": 0.0}, {"theta.momentum": 0.51}, {"theta.weight_decay": 0.101}, {"theta.batch": 3}]
)
def test_a_run_with_other_numbers_is_a_deviation(wrong):
    """But for the batch, which drops out."""
    ds = run({"theta.momentum": 0.5, "run.steps": 400})
    changed = ds.drop_vars("origin").assign_attrs(settings=json.dumps(settings(ds).at(wrong).as_dict()))
    assert thermosim.check(changed).consistent == ("theta.batch" in wrong)


def test_the_noise_model_on_the_sphere_turns_by_the_same_angle():
    case = """
[model]
name = "isotropic-sphere"
dimension = 4
[theta]
dynamics = "sgd"
constraint = "fixed-lr"
initial = "random"
learning_rate = 0.1
weight_decay = 0.1
[ensemble]
replicas = 200
[run]
steps = 240
[record]
every = 1
"""
    ds = run(case=case)
    measured, error, _ = settled(ds)
    assert_within(measured, error, 0.02, catches="a factor 2", mistake=0.02)
    assert {PRODUCTS, STATIONARY} <= set(found(ds))
    assert thermosim.check(ds).consistent
    elr = run({"theta.constraint": "fixed-elr", "run.steps": 50}, case)
    assert set(found(elr)) == {PRODUCTS}
    assert thermosim.check(elr).consistent
    assert not found(run({"theta.constraint": "fixed-sphere", "theta.weight_decay": 0.0, "run.steps": 50}, case))


def test_rows_of_normalised_layers_turn_by_themselves():
    """Others as groups, of which nothing is expected; gains are left out."""
    layers = [normalised(2, gain=True), relu, residual(normalised(2), relu), dense(1)]
    machine = machines(run({"run.steps": 2, "record.first": 0, "ensemble.replicas": 2}))[0]
    assert [(part.name, part.free) for part in parts(machine)] == [("weight", True)]
    model = network("mine", inputs=3, layers=layers, loss=squared_error)
    there = parts(replace(machine, model=model))
    told = [(part.name, part.places.tolist(), part.free) for part in there]
    assert told == [
        ("layer_1[0]", [0, 1, 2], True),
        ("layer_1[1]", [4, 5, 6], True),
        ("layer_2[0]", [8, 9], True),
        ("layer_2[1]", [10, 11], True),
        ("layer_3", [12, 13], False),
    ]


@pytest.mark.parametrize(
    ("changes", "message"), [({"record.every": 20}, "record.every = 1"), ({"run.steps": 303}, "there are 3")]
)
def test_what_has_no_rotation_says_why(changes, message):
    with pytest.raises(ValueError, match=message):
        thermosim.analysis.rotation(run({"ensemble.replicas": 3} | changes))


def test_the_picture_shows_turns_and_lengths():
    figure = picture(
        run({"ensemble.replicas": 10, "run.steps": 340, "sweep": {"theta.momentum": {"values": [0, 0.5]}}})
    )
    labels = [panel.get_ylabel() for panel in figure.axes]
    assert any("turn of a step" in label for label in labels)
    assert any("length" in label for label in labels)
