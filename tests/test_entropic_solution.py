"""The noise of SGD leads a linear network of two layers to the entropic solution, where it has one."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.assertions import assert_within
from thermosim.exact import entropic_forces as theory
from thermosim.plots.picture import picture

CASE = (Path(__file__).parent.parent / "cases" / "training" / "sharpening.toml").read_text("utf-8")
RATES = {"theta.learning_rate": {"values": [0.008, 0.012, 0.016, 0.02]}}
SMALL = {"run.steps": 100_000, "record.every": 1000, "ensemble.replicas": 128, "sweep": RATES}
MATRIX, INPUTS, NOISE = np.diag([1.0, 0.8]), np.diag([1.0, 0.6]), np.diag([0.25, 1.0])


def run(**changes):
    return thermosim.simulate(
        thermosim.load_case(CASE, SMALL | {key.replace("__", "."): to for key, to in changes.items()})
    )


@pytest.fixture(scope="module")
def sharpened():
    return run()


@pytest.fixture(scope="module")
def report(sharpened):
    return thermosim.check(sharpened)


def test_the_limit_is_the_entropic_solution_and_not_the_flattest(report):
    found = {one.quantity: one for one in report.comparisons}
    assert len(found) == 3
    assert report.consistent
    for one in found.values():
        assert_within(one.measured, one.standard_error, one.exact, catches="another balance of layers")
        assert np.max(one.tolerance) < 0.05 * np.abs(one.exact).max()
    trace = found["trace of the Hessian at learning rate 0"]
    flattest = theory.flattest_trace(MATRIX, INPUTS)
    assert float(trace.measured[0]) - flattest > 8.0 * float(trace.standard_error[0]) + float(trace.tolerance[0])


def test_another_batch_has_the_same_limit():
    """The mean squared gradient of a batch is that of a row over its size: the least is in the same place."""
    rates = {"theta.learning_rate": {"values": [0.01, 0.015, 0.02, 0.025]}}
    report = thermosim.check(run(theta__batch=2, sweep=rates, run__steps=120_000, record__every=1200))
    assert report.consistent
    assert len(report.comparisons) == 3


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"data__noise": [[0.3, 0.1], [0.1, 1.0]]}, "not diagonal in common bases"),
        ({"data__covariance": [[1.0, 0.2], [0.2, 0.6]]}, "not diagonal in common bases"),
        ({"data__noise": [0.0, 1.0]}, "do not vary in every direction"),
        ({"model__widths": [2, 1, 2]}, "1 hidden units cannot make the matrix of the data, of rank 2"),
        ({"record__every": 100}, "16 frames and 16 replicas are needed"),
    ],
)
def test_where_there_is_no_such_limit_the_reason_is_told(changes, why):
    report = thermosim.check(run(run__steps=1000, **{"record__every": 50, **changes}))
    assert not report.comparisons
    assert any(why in note for note in report.notes)


DECAY = (Path(__file__).parent.parent / "cases" / "training" / "decay_balance.toml").read_text("utf-8")


@pytest.fixture(scope="module")
def decayed():
    rates = [0.006, 0.012, 0.024]
    sweep = {"theta.learning_rate": {"values": rates}, "theta.weight_decay": {"values": rates}}
    changes = {"run.steps": 50_000, "record.every": 500, "ensemble.replicas": 96, "record.variables": ["theta"]}
    return thermosim.simulate(thermosim.load_case(DECAY, changes | {"sweep": sweep}))


def test_with_weight_decay_the_limit_is_that_of_its_ratio_to_the_rate(decayed):
    """On the one ray of the grid, lambda = r, gamma = r/2: twice or half the decay, or none, is far away."""
    report = thermosim.check(decayed)
    assert report.consistent
    assert [one.quantity for one in report.comparisons] == [
        f"{name} at learning rate 0, weight decay/rate = 1" for name in ("trace of the Hessian", "W1'W1", "W2 W2'")
    ]
    problem = MATRIX, np.diag([1.0, 0.4]), np.diag([0.1, 1.0])
    for one, place in zip(report.comparisons[1:], (0, 1), strict=True):
        allowed = 4.0 * one.standard_error + one.tolerance
        assert np.all(np.abs(one.measured - one.exact) < allowed)
        assert np.allclose(np.diag(theory.entropic_kernels(*problem, decay=0.5)[place]), one.exact[[0, 2]])
        for decay in (0.0, 0.25, 1.0):
            other = np.diag(theory.entropic_kernels(*problem, decay=decay)[place])
            assert np.any(np.abs(one.measured[[0, 2]] - other) > 2.0 * allowed[[0, 2]])


def test_other_weights_than_those_of_the_ratio_are_a_deviation(decayed):
    """Layers that are balanced a tenth differently, W2 W1 being the same."""
    factors = np.repeat([1.1, 1.0 / 1.1], 8)
    assert not thermosim.check(decayed.assign(theta=decayed.theta * xr.DataArray(factors, dims="theta_dim"))).consistent


def test_rates_that_share_no_ratio_are_told():
    report = thermosim.check(run(run__steps=1000, record__every=50, theta__weight_decay=0.01))
    assert not report.comparisons
    assert any("3 learning rates at the same ratio of weight decay" in note for note in report.notes)


def test_schedules_among_the_rates_are_no_sweep_of_rates():
    ramp = {"kind": "linear", "initial": 0.02, "final": 0.001}
    rates = {"theta.learning_rate": {"values": [0.01, 0.02, ramp]}}
    report = thermosim.check(run(run__steps=1000, record__every=50, sweep=rates))
    assert not report.comparisons
    assert not any("entropic" in note for note in report.notes)


def test_a_network_of_a_file_of_its_own_is_compared_too(tmp_path):
    """The model is known by what it books and by its constants, not by its name."""
    (tmp_path / "own.py").write_text(
        "from dataclasses import replace\nfrom thermosim.models import multilayer_perceptron\n"
        'MODEL = replace(multilayer_perceptron.MODEL, name="own")\n'
    )
    (tmp_path / "case.toml").write_text(CASE.replace('name = "multilayer-perceptron"', 'file = "own.py"'))
    small = {**SMALL, "run.steps": 1000, "record.every": 50, "model.widths": [2, 1, 2]}
    report = thermosim.check(thermosim.simulate(thermosim.load_case(tmp_path / "case.toml", small)))
    assert any("1 hidden units cannot make the matrix" in note for note in report.notes)


def test_a_record_that_has_not_settled_is_not_compared_and_told():
    report = thermosim.check(run(run__steps=2000, record__every=20))
    assert not report.comparisons
    assert any("have not settled" in note for note in report.notes)


def test_the_picture_shows_the_limit_and_the_line_of_theory(sharpened):
    panel = next(axes for axes in picture(sharpened).axes if axes.get_ylabel() == "trace of the Hessian")
    labels = panel.get_legend_handles_labels()[1]
    assert {"measured", "extrapolated", "entropic solution", "flattest"} <= set(labels)


def test_the_picture_of_a_grid_has_a_series_for_each_ray(decayed):
    panel = next(axes for axes in picture(decayed).axes if axes.get_ylabel() == "trace of the Hessian")
    assert {"$\\lambda/r$ = 1", "measured"} & set(panel.get_legend_handles_labels()[1])


def test_the_picture_of_a_network_shows_its_layers():
    case = Path(__file__).parent.parent / "cases" / "training" / "balance.toml"
    ds = thermosim.simulate(thermosim.load_case(case, {"run.steps": 400, "record.every": 20, "ensemble.replicas": 32}))
    words = [axes.get_ylabel() for axes in picture(ds).axes]
    assert any("|g_k|^2" in word for word in words)
    assert any("charge" in word for word in words)
