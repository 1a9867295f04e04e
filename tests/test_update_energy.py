"""Update energy |dtheta|^2/r: that of the steps made, Adam's on pure noise, under schedules of the learning rate."""

import itertools
import json

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within
from thermosim.analysis.settings import settings
from thermosim.exact import adam_noise
from thermosim.plots.picture import picture

CASE = "cases/training/adam_update_energy.toml"
QUANTITY = "update energy"
WARM = {"kind": "constant", "value": 0.001, "warm_up": 100}
COSINE = {"kind": "cosine", "initial": 0.001, "final": 1e-5}
RATES = {"theta.learning_rate": {"values": [0.001, COSINE, WARM]}}
SHORT = {"run.steps": 400, "ensemble.replicas": 200, "sweep": RATES}


def run(changes=None):
    return thermosim.simulate(thermosim.load_case(CASE, SHORT | (changes or {})))


def found(ds):
    return [one for one in thermosim.check(ds).comparisons if one.quantity.endswith("over that of noise")]


def by_hand(law, beta1, beta2, steps, size):
    """Squares (steps, size) of Adam's normalised step on noise, in plain numpy."""
    random = np.random.default_rng(8)
    mean, square, result = np.zeros(size), np.zeros(size), []
    for step in range(1, steps + 1):
        gradient = law(random, size)
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        result.append((mean / (1 - beta1**step)) ** 2 / (square / (1 - beta2**step)))
    return np.array(result)


@pytest.mark.parametrize(
    ("law", "kurtosis"),
    [
        (lambda random, size: random.normal(size=size), 3.0),
        (lambda random, size: random.normal(size=size) * random.normal(size=size), 9.0),
    ],
)
def test_the_mean_square_of_adam_on_noise(law, kurtosis):
    """To first order in 1 - beta2: the correction at kurtosis 9 is eight standard errors, a factor 2 hundreds."""
    square = by_hand(law, 0.9, 0.99, 900, 3000)
    late = square[300:].mean(0)
    expected = adam_noise.mean_square(np.arange(301, 901), 0.9, 0.99, kurtosis).mean()
    error = late.std(ddof=1) / np.sqrt(late.size)
    second_order = float(adam_noise.spread_of_square(600, 0.99, kurtosis)) ** 2
    assert abs(late.mean() - expected) < 4 * error + second_order * expected
    assert error < 0.005 * expected
    if kurtosis == 9.0:
        assert abs(late.mean() - 0.1 / 1.9) > 8 * error
    if kurtosis == 3.0:
        early = square[19]
        exact, limit = adam_noise.mean_square(20, 0.9, 0.99), 0.1 / 1.9
        error = early.std() / np.sqrt(early.size)
        assert_within(early.mean(), error, exact, catches="twice the bias of the start", mistake=2 * (exact - limit))
    assert np.allclose(square[0], 1.0)
    assert adam_noise.mean_square(1, 0.9, 0.99, kurtosis) == 1.0


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_kurtosis_of_a_mean_is_that_of_all_its_draws(batch):
    """Of rows that are -2, 0 or 2 with weights 1/8, 3/4, 1/8: kurtosis 4, all batches of them counted out."""
    draws = list(itertools.product([(-2.0, 0.125), (0.0, 0.75), (2.0, 0.125)], repeat=batch))
    mean = np.array([np.mean([value for value, _ in draw]) for draw in draws])
    weight = np.array([np.prod([chance for _, chance in draw]) for draw in draws])
    exact = weight @ mean**4 / (weight @ mean**2) ** 2
    assert np.isclose(adam_noise.batch_kurtosis(4.0, batch), exact, rtol=1e-12)


def test_it_is_that_of_the_steps_made():
    """|theta' - theta|^2 over the rate of that very step, and sums over sums between frames that are further apart."""
    fine = run({"ensemble.replicas": 3, "record.every": 1})
    theta = fine.theta.transpose("learning_rate", "step", "replica", "theta_dim").values
    square = (np.diff(theta, axis=1) ** 2).sum(-1).mean(-1)
    step = np.arange(1, 401)
    cosine = 1e-5 + 0.000495 * (1 + np.cos(np.pi * step / 400))
    rates = np.array([np.full(400, 0.001), cosine, np.minimum(step / 1e5, 1e-3)])
    energy = thermosim.analysis.update_energy(fine)
    assert np.allclose(energy.update_energy.transpose("learning_rate", "step"), square / rates, rtol=1e-9)
    assert np.allclose(energy.mean_learning_rate.transpose("learning_rate", "step"), rates, rtol=1e-12)
    coarse = thermosim.analysis.update_energy(fine.isel(step=slice(0, None, 20)))
    summed = square.reshape(3, 20, 20).sum(-1) / rates.reshape(3, 20, 20).sum(-1)
    assert np.allclose(coarse.update_energy.transpose("learning_rate", "step"), summed, rtol=1e-9)


def test_adam_on_noise_follows_the_schedule():
    ds = run()
    (one,) = found(ds)
    assert thermosim.check(ds).consistent
    assert one.measured.shape == (3, 4)
    assert np.max(one.standard_error) < 0.02
    assert np.max(one.tolerance) <= 0.005
    assert not thermosim.check(ds.assign(displacement_square=1.1 * ds.displacement_square)).consistent


def test_a_schedule_that_was_not_followed_is_a_deviation():
    """The books of a constant rate in the place of those of a cosine."""
    ds = run()
    books = ds.displacement_square.transpose("learning_rate", "step", ...).copy()
    books[1] = books[0]
    assert not thermosim.check(ds.assign(displacement_square=books)).consistent


@pytest.mark.parametrize(
    "changes",
    [
        {"theta.initial": {"weights": [[300.0] + 7 * [0.0]]}},
        {"data.noise": 0.01},
        {"theta.weight_decay": 0.1},
        {"theta.epsilon": 10.0},
        {"theta.learning_rate_factors": {"weights": 2.0}},
        {"record.variables": ["displacement_square"]},
        {"theta.beta2": 0.9},
    ],
)
def test_other_gradients_are_not_compared(changes):
    """A mean gradient, decay, another move, a large epsilon, a second moment that forgets soon."""
    assert not found(run({"ensemble.replicas": 120} | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"record.variables": ["theta"]}, "displacement_square"),
        ({"theta.learning_rate_factors": {"weights": 2.0}}, "one learning rate"),
    ],
)
def test_what_has_no_update_energy_says_why(changes, message):
    with pytest.raises(ValueError, match=message):
        thermosim.analysis.update_energy(run({"ensemble.replicas": 3, "run.steps": 100} | changes))


def test_the_picture_has_all_replicas_and_three():
    figure = picture(run({"ensemble.replicas": 20}))
    titles = [panel.get_title(loc="right") for panel in figure.axes if "update energy" in panel.get_ylabel()]
    assert titles == ["20 replicas", "3 replicas, bands from least to most"]
    words = [text.get_text() for panel in figure.axes if panel.get_legend() for text in panel.get_legend().get_texts()]
    assert any("constant with warm-up" in text for text in words)


REGRESSION = """
[model]
name = "linear-regression"
inputs = 3
[theta]
dynamics = "sgd"
learning_rate = 0.01
batch = 4
weight_decay = 0.05
initial = { weights = [[0.5, -1.0, 0.5]] }
[data]
source = "linear"
fresh = true
matrix = [[1.0, -0.5, 0.3]]
covariance = [[1.0, 0.5, 0.0], [0.5, 0.5, 0.1], [0.0, 0.1, 0.8]]
noise = 0.3
[ensemble]
replicas = 1000
seed = 3
[run]
steps = 120
[record]
every = 1
variables = ["theta", "displacement_square"]
"""
SCHEDULES = [
    0.01,
    {"kind": "cosine", "initial": 0.01, "final": 0.001, "warm_up": 30},
    {"kind": "step", "value": 0.01, "factor": 0.3, "at": [60]},
    {"kind": "exponential", "initial": 0.01, "final": 0.002},
]


def regression(**changes):
    return thermosim.simulate(thermosim.load_case(REGRESSION, {k.replace("__", "."): v for k, v in changes.items()}))


@pytest.mark.parametrize(
    ("dynamics", "own"),
    [
        ("sgd", {"momentum": 0.0}),
        ("sgd", {"momentum": 0.8}),
        ("nesterov", {"momentum": 0.8}),
        ("sgld", {"temperature": 0.001}),
    ],
)
def test_updates_of_regression_are_exact_at_every_step_of_every_schedule(dynamics, own):
    """Within the errors of 1000 replicas at all of 120 steps; the other schedules are off by ten errors and more."""
    ds = regression(
        theta__dynamics=dynamics,
        sweep={"theta.learning_rate": {"values": SCHEDULES}},
        **{f"theta__{key}": value for key, value in own.items()},
    )
    energy = thermosim.analysis.update_energy(ds).transpose("learning_rate", "step")
    z = (energy.update_energy - energy.exact) / energy.update_energy_error
    assert abs(z).max() < 5.0
    assert 0.8 < float((z**2).mean() ** 0.5) < 1.2
    wrong = (energy.update_energy.values[1:] - energy.exact.values[:1]) / energy.update_energy_error.values[1:]
    assert np.all(np.abs(wrong).max(1) > 10.0)
    rows = [one for one in thermosim.check(ds).comparisons if one.quantity.startswith(QUANTITY)]
    assert [one.quantity[len(QUANTITY) :] for one in rows] == [
        f" of steps {first} to {first + 29}" for first in (1, 31, 61, 91)
    ]
    assert thermosim.check(ds).consistent
    books = ds.displacement_square.transpose("learning_rate", ...).copy()
    books[1] = books[0]
    assert not thermosim.check(ds.assign(displacement_square=books)).consistent


def test_optimisers_differ_in_their_update_energies():
    """Momentum a spends (1 - a)^-2 times that of SGD on a slope, and 1/(1 - a^2) on noise, at the same rate."""
    noise = {"data__noise": 100.0, "data__matrix": [[0.0, 0.0, 0.0]], "theta__initial": {"weights": [[0.0, 0.0, 0.0]]}}
    at = {"theta__weight_decay": 0.0, "theta__learning_rate": 1e-4} | noise
    slope = {"theta__batch": 2000, "data__noise": 1e-4, "theta__learning_rate": 1e-6, "theta__weight_decay": 0.0}
    slope |= {"theta__initial": {"weights": [[40.0, 0.0, 0.0]]}, "ensemble__replicas": 4}
    for changes, ratio in ((at, 1.0 / (1.0 - 0.64)), (slope, 25.0)):
        one, other = (regression(theta__momentum=a, **changes) for a in (0.0, 0.8))
        first, second = (thermosim.analysis.update_energy(ds) for ds in (one, other))
        assert np.allclose((second.exact / first.exact)[-30:], ratio, rtol=0.02)
        assert np.isclose(float(second.update_energy[-30:].mean() / first.update_energy[-30:].mean()), ratio, rtol=0.03)


def test_regression_on_sets_of_their_own_is_checked_and_not_drawn():
    ds = regression(data__fresh=False, data__rows=20, data__sets=4, ensemble__replicas=1000)
    assert np.isnan(thermosim.analysis.update_energy(ds).exact).all()
    assert sum(one.quantity.startswith(QUANTITY) for one in thermosim.check(ds).comparisons) == 4
    assert thermosim.check(ds).consistent


ADAM = {"theta__momentum": 0.0, "theta__learning_rate": 0.01, "data__noise": 1.0, "run__steps": 1200}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"theta__dynamics": "adamw", "theta__weight_decay": 1.0}, {"theta__weight_decay": 0.0}),
        ({"theta__dynamics": "adam", "theta__weight_decay": 1.0}, {"theta__dynamics": "adamw"}),
        ({"theta__dynamics": "adam", "theta__beta1": 0.5}, {"theta__beta1": 0.9}),
        ({"theta__dynamics": "adam", "theta__epsilon": 0.5}, {"theta__epsilon": 0.3}),
        ({"theta__dynamics": "adamw", "theta__batch": 8}, {"theta__learning_rate": 0.0105}),
    ],
)
def test_adam_in_regression_as_its_second_moment_forgets_nothing(changes, wrong):
    """From a start far off, with decay, epsilon and signal: to two per cent from the tenth step on, where the doubt is
    larger by far; a mistake in one number is noticed.
    """
    at = ADAM | changes
    ds = regression(record__every=20, ensemble__replicas=600, **at)
    energy = thermosim.analysis.update_energy(ds)
    ratio = energy.update_energy / energy.adam_limit
    error = energy.update_energy_error / energy.adam_limit
    assert np.all(abs(ratio - 1.0)[1:] < 4.5 * error[1:] + np.minimum(energy.adam_doubt, 0.02)[1:])
    assert float(energy.adam_doubt[-1]) < 0.03
    assert np.isnan(energy.exact).all()
    late = slice(30, None)
    mean, spread = float(ratio[late].mean()), float(error[late].mean())
    other = regression(record__every=20, **at | wrong | {"ensemble__replicas": 2})
    mistaken = thermosim.analysis.update_energy(other).adam_limit
    moved = float((energy.update_energy / mistaken)[late].mean())
    assert abs(moved - 1.0) > 2.0 * abs(mean - 1.0) + spread


def test_adam_beside_sgd_is_checked_by_the_theory_of_each():
    """Ten per cent of an energy, or another beta1, are deviations by far."""
    at = ADAM | {"theta__learning_rate": SCHEDULES[1] | {"warm_up": 100}, "theta__batch": 16, "data__noise": 0.5}
    start = {"weights": [[0.9, -0.6, 0.3]]}
    sweep = {"theta.dynamics": {"values": ["sgd", "adam", "adamw"]}}
    ds = regression(record__every=20, sweep=sweep, theta__initial=start, theta__weight_decay=0.2, **at)
    report = thermosim.check(ds)
    (row,) = [one for one in report.comparisons if one.quantity.endswith("over that of theory")]
    assert row.measured.shape == (3, 4)
    assert np.all(row.tolerance[0] == 0.0)
    assert np.all(row.tolerance < 0.02)
    assert report.consistent
    books = ds.displacement_square.transpose("dynamics", ...).copy()
    for k in range(3):
        wrong = books.copy()
        wrong[k] *= 1.1
        assert not thermosim.check(ds.assign(displacement_square=wrong)).consistent
    told = json.dumps(settings(ds).at({"theta.beta1": 0.85}).as_dict())
    assert not thermosim.check(ds.drop_vars("origin").assign_attrs(settings=told)).consistent
