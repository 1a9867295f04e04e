"""Charges between layers of a network: SGD changes them by an exact amount, and their force ends in balance."""

from pathlib import Path

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within, mean_and_error
from thermosim.analysis.machine import machines
from thermosim.checks.network_charges import LAYERS, charges_of

CASE = """
[model]
name = "multilayer-perceptron"
widths = [4, 6, 5, 2]
activation = "relu"
[theta]
dynamics = "sgd"
learning_rate = 0.02
batch = 2
initial = "lecun"
[data]
source = "linear"
fresh = true
matrix = [[1.0, -0.5, 0.3, 0.0], [0.2, 0.4, -1.0, 0.6]]
covariance = [2.0, 1.0, 1.0, 0.5]
noise = 0.25
[ensemble]
replicas = 64
seed = 5
[run]
steps = 200
[record]
variables = ["theta", "layer_gradient_square", "incoming_gradient_square", "outgoing_gradient_square"]
"""
WEIGHTS = ["layer_weight_square", "incoming_weight_square", "outgoing_weight_square"]
BOOKS = ["theta", "layer_gradient_square", "incoming_gradient_square", "outgoing_gradient_square", *WEIGHTS]
QUANTITIES = ("largest residual of a charge between layers", "largest residual of a charge of a hidden unit")


def run(**changes):
    return thermosim.simulate(thermosim.load_case(CASE, {key.replace("__", "."): to for key, to in changes.items()}))


def residuals(ds):
    return [one for one in thermosim.check(ds).comparisons if one.quantity in QUANTITIES]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__activation": "linear"},
        {"theta__batch": 1, "run__steps": 3000},
        {"theta__weight_decay": 0.3, "record__every": 1},
        {"theta__weight_decay": 0.3, "record__every": 40, "record__variables": BOOKS},
        {"theta__weight_decay": 0.3, "record__every": 1, "record__variables": BOOKS},
        {"record__storage": "float32", "record__every": 50},
        {"sweep": {"theta.learning_rate": {"values": [0.001, 0.03]}}},
        {"model__widths": [4, 3, 3, 3, 3, 2]},
    ],
)
def test_the_recursion_of_charges_holds_to_rounding(changes):
    found = residuals(run(**changes))
    assert len(found) == 2
    for one in found:
        assert float(np.max(one.measured)) < 0.5 * one.tolerance
        assert one.tolerance < (1e-4 if "record__storage" in changes else 1e-10)


LINEAR = {"model__activation": "linear", "record__every": 1, "record__variables": ["theta"]}


def matrices(ds):
    return [row for row in thermosim.check(ds).comparisons if row.quantity.endswith("of two hidden units")]


@pytest.mark.parametrize(
    "changes",
    [
        {"run__steps": 40},
        {"theta__weight_decay": 0.3, "theta__batch": 5},
        {"model__widths": [4, 3, 7, 2, 2]},
        {"theta__batch": "all", "data__fresh": False, "data__rows": 9, "run__steps": 30},
        {"record__storage": "float32", "theta__learning_rate": 0.001},
        {"theta__learning_rate": 1e-6},
    ],
)
def test_linear_layers_have_a_charge_for_every_pair_of_units(changes):
    """Of layers that are not square; gradients are told by the frames, and cross terms cancel to rounding."""
    found = matrices(run(**LINEAR | changes))
    assert [row.quantity.split()[4] for row in found] == ["charge", "step"]  # symmetric generators, and rotations
    for one in found:
        assert float(one.measured) < 0.5 * one.tolerance
        assert one.tolerance < (1e-4 if "record__storage" in changes else 1e-10)


def test_gradients_of_other_layers_have_cross_terms():
    """One layer a ten-millionth off its step, ReLU layers, tanh layers: none of them has these charges."""
    ds = run(**LINEAR)
    moved = ds.theta.copy()
    moved[{"step": slice(1, None), "theta_dim": slice(24)}] += 1e-7 * (ds.theta[1:, :, :24] - ds.theta[0, :, :24])
    assert not thermosim.check(ds.assign(theta=moved)).consistent
    for activation in ("relu", "tanh"):
        assert not matrices(run(**LINEAR | {"model__activation": activation}))
    assert not matrices(run(**LINEAR | {"record__every": 2}))


@pytest.mark.parametrize("name", BOOKS[1:])
def test_every_book_of_a_run_with_decay_is_needed(name):
    ds = run(theta__weight_decay=0.3, record__every=40, record__variables=BOOKS)
    assert thermosim.check(ds).consistent
    assert not thermosim.check(ds.assign({name: ds[name] * (1.0 + 1e-6)})).consistent


@pytest.mark.parametrize("factor", [2.0, 1.0 + 1e-6])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_a_charge_that_does_not_obey_is_a_deviation(decay, factor):
    """A factor 2 in the force, or a millionth: the books of gradients are those of the steps that were made."""
    ds = run(theta__weight_decay=decay, record__every=1)
    for name in ("layer_gradient_square", "incoming_gradient_square", "outgoing_gradient_square"):
        assert not thermosim.check(ds.assign({name: ds[name] * factor})).consistent
    with_other_decay = run(theta__weight_decay=0.3, record__every=1)
    shifted = with_other_decay.assign(
        layer_gradient_square=with_other_decay.layer_gradient_square.shift(step=1, fill_value=0.0)
    )
    assert not thermosim.check(shifted).consistent


@pytest.mark.parametrize(
    "changes",
    [
        {"model__activation": "tanh"},
        {"model__bias": "yes"},
        {"model__widths": [4, 2]},
        {"theta__momentum": 0.5},
        {"theta__dynamics": "adam"},
        {"theta__weight_decay": 0.3},
        {"theta__weight_decay": {"kind": "linear", "initial": 0.1, "final": 0.0}, "record__every": 1},
        {"theta__learn": ["layer_1", "layer_2"]},
        {"theta__learning_rate": {"kind": "linear", "initial": 0.02, "final": 0.01}},
    ],
)
def test_where_the_recursion_does_not_hold_nothing_is_compared(changes):
    """Other activations, biases, moves, layers that rest, decay between frames that are far apart."""
    ds = run(**{"record__variables": ["theta", "layer_gradient_square"], **changes})
    assert not residuals(ds)
    told = any("they need layer_weight_square in record.variables" in note for note in thermosim.check(ds).notes)
    assert told == (changes == {"theta__weight_decay": 0.3})


def test_at_rest_every_sum_is_rounded_the_same_way():
    """The full batch with weight decay: errors of 100,000 steps add up, 18 times what independent ones would make."""
    still = {"model__widths": [2, 3, 2], "data__matrix": [[1.0, -0.5], [0.2, 0.4]], "data__covariance": [2.0, 0.5]}
    still |= {"data__fresh": False, "data__rows": 10, "theta__batch": "all", "theta__learning_rate": 0.05}
    still |= {"run__steps": 200_000, "record__every": 100_000, "ensemble__replicas": 16}
    ds = run(theta__weight_decay=0.1, model__activation="linear", record__variables=BOOKS, **still)
    for one in residuals(ds):
        assert 1e-3 * one.tolerance < float(np.max(one.measured)) < 0.6 * one.tolerance
        assert one.tolerance < 1e-10 * one.scale
        assert float(np.max(one.measured)) > 2.0 * 8.0 * np.sqrt(1e5) * np.finfo(float).eps * one.scale
    assert not thermosim.check(ds.assign(layer_weight_square=ds.layer_weight_square * (1.0 + 1e-6))).consistent


@pytest.mark.parametrize("decay", [0.02, 0.1])
def test_the_balance_with_weight_decay_is_that_of_a_finite_step(decay):
    """At rest the sums balance with (4 gamma/r)(1 - r gamma) of the weights; before, with the change of the charge.

    A factor 2 between gamma and the weight decay, or a sign, is far away; so is a charge that still drifts.
    """
    ds = run(theta__weight_decay=decay, record__variables=BOOKS, run__steps=8000, record__every=2000)
    rate, gamma = 0.02, 0.5 * decay
    sums = ds.transpose("step", "replica", "layer", ...)
    of_gradients, of_weights = (
        np.diff(sums[name].values, axis=-1) for name in ("layer_gradient_square", "layer_weight_square")
    )
    assert thermosim.check(ds).consistent
    slope = 4.0 * gamma / rate * (1.0 - rate * gamma)
    for first, last, rests in ((0, 1, False), (3, 4, True)):
        force, pull = ((one[last] - one[first]) / 2000.0 for one in (of_gradients, slope * of_weights))
        mean, error = mean_and_error(force - pull, axis=0)
        size = np.abs(pull.mean(0)).max()
        assert (np.abs(mean).max() < 0.02 * size + 4.0 * error.max()) is np.bool_(rests)
        if rests:
            assert np.abs((force - 2.0 * pull).mean(0)).max() > 8.0 * error.max() + 0.2 * size


def test_gradients_of_layers_add_up_to_that_of_all():
    ds = run(record__variables=["theta", "layer_gradient_square", "gradient_square"])
    assert np.allclose(ds.layer_gradient_square.sum("layer"), ds.gradient_square, rtol=1e-12)


def test_books_of_units_are_those_of_the_step_that_was_made():
    """g = -(theta' - theta)/r of the first step: rows with the bias come into a unit, columns without it go out."""
    ds = run(model__bias="yes", run__steps=1, record__every=1)
    gradient = -np.diff(ds.theta.transpose("step", "replica", "theta_dim").values, axis=0)[0] / 0.02
    first, second, last = gradient[:, :30], gradient[:, 30:65], gradient[:, 65:]
    first, second, last = first.reshape(-1, 6, 5), second.reshape(-1, 5, 7), last.reshape(-1, 2, 6)
    into = np.concatenate([(g**2).sum(2) for g in (first, second)], axis=1)
    out = np.concatenate([(g[:, :, :-1] ** 2).sum(1) for g in (second, last)], axis=1)
    booked = ds.isel(step=-1).transpose("replica", "hidden_unit", ...)
    assert np.allclose(booked.incoming_gradient_square, into, rtol=1e-9, atol=1e-12)
    assert np.allclose(booked.outgoing_gradient_square, out, rtol=1e-9, atol=1e-12)


def test_books_of_weights_are_those_before_the_step():
    """The sums of all frames but the last, rows with the bias, columns without it."""
    ds = run(model__bias="yes", run__steps=30, record__every=1, record__variables=["theta", *WEIGHTS])
    path = ds.theta.transpose("step", "replica", "theta_dim").values[:-1]
    first, second, last = path[..., :30], path[..., 30:65], path[..., 65:]
    matrices = [first.reshape(30, -1, 6, 5), second.reshape(30, -1, 5, 7), last.reshape(30, -1, 2, 6)]
    into = np.concatenate([(w**2).sum((0, 3)) for w in matrices[:2]], axis=1)
    out = np.concatenate([(w[..., :-1] ** 2).sum((0, 2)) for w in matrices[1:]], axis=1)
    booked = ds.isel(step=-1).transpose("replica", ...)
    assert np.allclose(booked.layer_weight_square, np.stack([(w**2).sum((0, 2, 3)) for w in matrices], axis=1))
    assert np.allclose(booked.incoming_weight_square, into)
    assert np.allclose(booked.outgoing_weight_square, out)


def test_a_network_without_hidden_units_has_no_books_of_them():
    with pytest.raises(thermosim.CaseError, match=r"incoming_gradient_square.*This case can record"):
        run(model__widths=[4, 2])


def test_layers_come_to_balance():
    """E|g_k|^2 of all layers becomes the same, T3 of arXiv 2505.12387, from a start where they differ by half.

    To two per cent: what is left is (2/r^2) dC/dt of charges that still drift, as slowly as units of a layer come to
    balance among themselves.
    """
    ds = run(run__steps=30000, record__every=300, ensemble__replicas=128)
    each = np.diff(ds.layer_gradient_square.transpose("replica", "step", "layer"), axis=1) / 300.0
    ratio, error = mean_and_error(each[:, 0, 2] / each[:, 0, 0])
    assert ratio - 1.0 > 8.0 * error > 0.0
    late = each[:, -30:].mean(1)
    path = charges_of(machines(ds)[0], LAYERS)[0]
    drift = 2.0 / 0.02**2 * (path[-1] - path[-31]) / 9000.0
    for k in (0, 1):
        difference, error = mean_and_error((late[:, k + 1] - late[:, k]) / late.mean())
        assert abs(difference) < 4.0 * error + 0.02 < 0.1
        assert_within(difference, 1e-8, drift[:, k].mean() / late.mean(), catches="another force", mistake=0.002)


def test_layers_come_to_balance_on_digits():
    """The shipped case with fewer replicas: from squared gradients 1.8 times apart to the same, with exact charges."""
    case = Path(__file__).parent.parent / "cases" / "training" / "balance_digits.toml"
    ds = thermosim.simulate(thermosim.load_case(case, {"ensemble.replicas": 8, "run.steps": 60_000}))
    found = residuals(ds)
    assert len(found) == 2
    assert all(float(np.max(one.measured)) < 0.5 * one.tolerance for one in found)
    each = np.diff(ds.layer_gradient_square.transpose("replica", "step", "layer"), axis=1)
    begin, end = (mean_and_error(part[..., 0].mean(1) / part[..., 1].mean(1)) for part in (each[:, :1], each[:, -20:]))
    assert abs(end[0] - 1.0) < 4.0 * end[1] + 0.02 < 0.1
    assert abs(begin[0] - 1.0) > 0.3


def test_functionals_of_a_layer_are_kept_as_summaries_too():
    """Mean and last over steps, and over replicas, have the dimension of the layers."""
    table = {"keep": ["last", "ensemble_mean"], "every": 10}
    ds = run(record__variables=["theta"], record__layer_gradient_square=table)
    whole = run(record__every=10)
    assert ds.layer_gradient_square_last.dims == ("replica", "layer")
    assert np.array_equal(ds.layer_gradient_square_last, whole.layer_gradient_square.isel(step=-1))
    mean = whole.layer_gradient_square.mean("replica")
    weights = ds.cohort_replicas / ds.cohort_replicas.sum()
    found = (ds.layer_gradient_square_ensemble_mean * weights).sum("cohort")
    assert np.allclose(found, mean, rtol=1e-12)
