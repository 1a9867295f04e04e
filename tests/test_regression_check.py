"""Linear regression is compared with its exact recursion: right runs pass, small mistakes do not."""

import json

import numpy as np
import pytest
from scipy import stats

import thermosim
from scripts.validation.false_alarms import tally
from scripts.validation.random_cases import random_case
from thermosim.analysis.settings import settings
from thermosim.data.sources import data_of

CASE = """
[model]
name = "linear-regression"
inputs = 2
bias = "yes"
[theta]
dynamics = "sgd"
learning_rate = 0.03
batch = 4
weight_decay = 0.1
[data]
source = "linear"
matrix = [[1.0, -2.0]]
mean = [0.5, -0.2]
covariance = [[1.0, 0.4], [0.4, 0.5]]
noise = 0.3
[ensemble]
replicas = 6000
seed = 2
[run]
steps = 60
[record]
every = 5
variables = ["theta", "loss_sum", "gradient_square", "displacement_square", "minibatch_loss"]
"""
KEPT, FRESH = {"data__rows": 12}, {"data__fresh": True}


def run(**changes):
    return thermosim.simulate(thermosim.load_case(CASE, {key.replace("__", "."): to for key, to in changes.items()}))


def said_to_be(ds, **values):
    """The ensemble with other settings than it was made with."""
    told = json.dumps(settings(ds).at({key.replace("__", "."): to for key, to in values.items()}).as_dict())
    return ds.drop_vars("origin").assign_attrs(settings=told)


def quantities(report):
    return {row.quantity for row in report.comparisons if "exact recursion of linear regression" in row.reference}


@pytest.fixture(scope="module")
def kept():
    return run(**KEPT)


@pytest.fixture(scope="module")
def fresh():
    return run(**FRESH)


@pytest.mark.parametrize("name", ["kept", "fresh"])
def test_moments_and_books_are_compared_and_right(name, request):
    report = thermosim.check(request.getfixturevalue(name))
    assert report.consistent, [(row.quantity, row.z) for row in report.comparisons]
    expected = {f"mean of theta at step {step}" for step in (15, 30, 60)}
    expected |= {f"covariance of theta at step {step} in units of its own" for step in (15, 30, 60)}
    expected |= {f"mean {what} to step 60" for what in ("loss sum", "gradient square", "displacement square")}
    assert quantities(report) == expected | {"mean minibatch loss at step 60"}


@pytest.mark.parametrize(
    "mistake",
    [
        {"theta__learning_rate": 1.02 * 0.03},
        {"theta__batch": 5},
        {"theta__batch": 3},
        {"theta__weight_decay": 0.11},
        {"theta__momentum": 0.02},
        {"theta__dynamics": "nesterov", "theta__momentum": 0.02},
        {"theta__spread": 0.05},
    ],
)
@pytest.mark.parametrize("name", ["kept", "fresh"])
def test_a_small_mistake_is_a_deviation(name, mistake, request):
    """Two per cent of the rate, a row more or less in the batch, a tenth of the decay."""
    report = thermosim.check(said_to_be(request.getfixturevalue(name), **mistake))
    assert not report.consistent
    assert report.verdict.smallest < 1e-3 * report.verdict.threshold


@pytest.mark.parametrize(
    "mistake",
    [
        {"data__noise": 0.33},
        {"data__mean": [0.5, -0.16]},
        {"data__covariance": [[1.0, 0.36], [0.36, 0.5]]},
        {"data__matrix": [[1.0, -1.96]]},
    ],
)
def test_another_law_of_rows_is_a_deviation(mistake, fresh):
    """A tenth of the noise or the correlation, 0.04 of a mean or a weight."""
    report = thermosim.check(said_to_be(fresh, **mistake))
    assert not report.consistent
    assert report.verdict.smallest < 1e-3 * report.verdict.threshold


def test_rows_without_replacement_are_a_deviation(kept):
    """In plain numpy, with replacement as it should be, and without: 4 of 12 rows, whose noise is then 8/11."""
    case = thermosim.load_case(CASE, {"data.rows": 12})
    rows = data_of(case.model, case.settings.model.constants, case.settings.data, case.folder).values
    inputs = np.column_stack([rows[:, :2], np.ones(12)])
    random, replicas = np.random.default_rng(3), 6000
    for replace in (True, False):
        theta, path = np.zeros((replicas, 3)), [np.zeros((replicas, 3))]
        for _ in range(60):
            order = random.integers(12, size=(replicas, 4)) if replace else random.random((replicas, 12)).argsort(1)
            z, y = inputs[order[:, :4]], rows[order[:, :4], 2]
            errors = np.einsum("rbp,rp->rb", z, theta) - y
            theta = theta - 0.03 * (2.0 * np.einsum("rb,rbp->rp", errors, z) / 4 + 0.1 * theta)
            path.append(theta)
        ds = kept[["theta"]].assign(theta=(("step", "replica", "theta_dim"), np.array(path)[::5]))
        report = thermosim.check(ds)
        assert report.consistent is replace
        assert replace or report.verdict.smallest < 1e-20


@pytest.mark.parametrize(
    "changes",
    [
        {"theta__momentum": 0.5, "theta__spread": 0.2, **FRESH},
        {"theta__dynamics": "nesterov", "theta__momentum": 0.5, **KEPT},
        {"theta__batch": "all", **KEPT},
        {"theta__batch": "all", "theta__spread": 0.2, "data__rows": 2},
        {"theta__dynamics": "sgld", "theta__temperature": {"kind": "linear", "initial": 0.5, "final": 0.1}, **KEPT},
        {"theta__learning_rate": {"kind": "cosine", "initial": 0.04, "final": 0.001}, "model__bias": "no", **FRESH},
        {"theta__weight_decay": {"kind": "linear", "initial": 0.5, "final": 0.0}, "data__sets": 3, **KEPT},
        {"record__storage": "float32", **KEPT},
    ],
)
def test_what_the_recursion_allows(changes):
    report = thermosim.check(run(ensemble__replicas=1000, **changes))
    assert report.consistent, [(row.quantity, row.z) for row in report.comparisons]
    assert len(quantities(report)) >= 7


def test_replicas_of_other_data_sets_have_laws_of_their_own():
    """Taken in another order, replicas are still those of their sets; those of the next set are not."""
    ds = run(data__sets=3, **KEPT)
    assert thermosim.check(ds.isel(replica=np.random.default_rng(0).permutation(6000)[:3000])).consistent
    assert not thermosim.check(ds.assign(theta=ds.theta.roll(replica=2000))).consistent


def test_adam_has_no_such_recursion():
    assert not quantities(thermosim.check(run(theta__dynamics="adam", ensemble__replicas=200, **KEPT)))


def test_a_run_that_is_too_long_says_so():
    long = {"run__steps": 300_000, "record__every": 100_000, "ensemble__replicas": 120}
    report = thermosim.check(run(**long, **KEPT))
    assert not quantities(report)
    assert any("would take" in note for note in report.notes)


@pytest.mark.parametrize("rows", [KEPT, FRESH])
def test_averages_that_rare_replicas_carry_are_not_compared(rows):
    """Near the rate at which the mean square grows, and where nothing is left but a start that minibatches spread."""
    report = thermosim.check(run(theta__batch=1, theta__learning_rate=0.3, ensemble__replicas=300, **rows))
    assert not quantities(report)
    assert any("rare replicas carry the averages" in note for note in report.notes)
    spread = {"data__noise": 0.0, "theta__batch": 1, "theta__weight_decay": 0.0, "run__steps": 1600}
    late = thermosim.check(run(**spread, record__every=50, ensemble__replicas=1000, **rows))
    assert late.consistent
    assert "mean loss sum to step 1600" in quantities(late)
    assert not any("step 1600" in one for one in quantities(late) if "theta" in one)


def test_no_right_run_is_called_wrong():
    """A part of what was measured: 1,060 random cases, 540 compared, no alarm, p-values uniform."""
    found = tally(random_case(np.random.default_rng([8, i]), "linear-regression") for i in range(20))
    assert found.faults == []
    assert found.alarms == []
    assert stats.kstest(found.everything(), "uniform").statistic < 0.25
