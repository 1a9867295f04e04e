"""Random right cases of every kind of model: each table compares or says why not, and nothing is called wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import thermosim
from scripts.validation.false_alarms import Tally, kind_of, tally
from scripts.validation.random_cases import random_case
from tests.conftest import SPHERE, TRAP
from tests.learning_cases import GAUSSIAN
from tests.test_cli import run
from thermosim.analysis.comparison import SKEWEST, Comparison, judge
from thermosim.analysis.settings import settings
from thermosim.checks.means import LEAST_REPLICAS, mean_comparison
from thermosim.data import DataError

CASES = {
    "isotropic-sphere": 8,
    "harmonic-trap": 8,
    "rotational-trap": 3,
    "two-beads": 4,
    "gaussian": 4,
}


@pytest.fixture(scope="module")
def found() -> Tally:
    """A part of what scripts/validation/false_alarms.py runs, of models whose kernels other tests compile as well."""
    return tally(
        random_case(np.random.default_rng([7, place, i]), model)
        for place, (model, number) in enumerate(CASES.items())
        for i in range(number)
    )


def test_no_right_run_is_called_wrong(found: Tally) -> None:
    """Catches any comparison with the theory of another case, and error bars that are too short."""
    assert found.faults == []
    assert found.alarms == []
    assert found.compared >= 0.9 * found.cases
    p = found.everything()
    assert p.size > 300
    assert p.min() * p.size > 1e-3
    assert stats.kstest(p, "uniform").statistic < 0.25  # numbers of one table are correlated


def said_to_be(ds: xr.Dataset, values: dict[str, object]) -> xr.Dataset:
    """The ensemble with other settings than it was made with."""
    told = json.dumps(settings(ds).at(values).as_dict())
    return ds.drop_vars("origin").assign_attrs(settings=told)


def test_a_start_from_the_normal_law_is_no_point() -> None:
    """Catches the covariance at step 0 taken for 0, which makes the heat off by a kT or so."""
    ds = thermosim.simulate(thermosim.load_case(TRAP, {"x.initial": "normal"}))
    report = thermosim.check(ds)
    assert report.consistent, [(row.quantity, row.z) for row in report.comparisons]
    assert not thermosim.check(said_to_be(ds, {"x.initial": "zero"})).consistent


@pytest.mark.parametrize("spread", [0.4, {"mean": 0.4, "log_precision": [0.4, 0.0]}])
def test_replicas_with_precisions_of_their_own(spread: object) -> None:
    """Catches the recursion of the mean precision, and books of the last step taken for those of the steps before."""
    changes = {"theta.spread": spread, "ensemble.replicas": 6000, "theta.learning_rate": 0.1}
    changes |= {"theta.initial": {"mean": 1.0, "log_precision": 0.0}}
    ds = thermosim.simulate(thermosim.load_case(GAUSSIAN, changes))
    report = thermosim.check(ds)
    assert report.consistent, [(row.quantity, row.z) for row in report.comparisons]
    assert any(row.quantity.startswith("mean work") for row in report.comparisons)
    assert not thermosim.check(said_to_be(ds, {"theta.spread": {"mean": 0.4}})).consistent
    notes = thermosim.check(ds.drop_vars("theta")).notes
    assert any("precisions of their own" in note for note in notes)


def test_feedback_is_said_and_not_compared() -> None:
    report = thermosim.check(
        thermosim.simulate(thermosim.load_case(GAUSSIAN, {"theta.gradient": "contrast", "ensemble.replicas": 400}))
    )
    assert report.consistent
    assert any("feedback" in note for note in report.notes)
    assert not any("L-info" in row.quantity or "exp(" in row.quantity for row in report.comparisons)


def test_a_sphere_that_has_not_forgotten_its_start() -> None:
    """Random directions on a fixed sphere, axes over protocols, no decay: each has a law; catches 30 % of the loss."""
    base = {"theta.initial": "random", "theta.learning_rate": 0.05, "ensemble.replicas": 400, "run.steps": 60}
    base |= {"sweep": {}, "record.first": 0}
    for more in (
        {"theta.constraint": "fixed-sphere", "theta.weight_decay": 0.0},
        {"sweep": {"theta.constraint": {"values": ["fixed-elr", "fixed-lr"]}}},
        {"theta.weight_decay": 0.0},
    ):
        ds = thermosim.simulate(thermosim.load_case(SPHERE, base | more))
        report = thermosim.check(ds)
        assert report.consistent, [(row.quantity, row.z) for row in report.comparisons]
        assert any("mean loss sum" in row.quantity for row in report.comparisons)
        assert not thermosim.check(ds.assign(loss_sum=1.3 * ds.loss_sum)).consistent


def test_a_schedule_is_said() -> None:
    changes = {"sweep": {}, "theta.learning_rate": {"kind": "constant", "value": 0.05}, "theta.initial": "random"}
    report = thermosim.check(thermosim.simulate(thermosim.load_case(SPHERE, changes)))
    assert report.verdict is None
    assert "schedule" in report.notes[0]
    changes = {"record.variables": ["loss_sum"], "ensemble.replicas": 20}
    report = thermosim.check(thermosim.simulate(thermosim.load_case(SPHERE, changes)))
    assert "needs the variable 'loss'" in report.why_nothing


@pytest.mark.parametrize("law", ["chi-squared", "exponential"])
def test_skewed_means_keep_their_rate_of_false_alarms(law: str) -> None:
    """Catches Student's law alone, by which one in a hundred of these means has p < 0.002."""
    random, number = np.random.default_rng(4), 40_000
    draw = random.standard_exponential if law == "exponential" else lambda shape: random.standard_normal(shape) ** 2
    values = draw((200, number)) - 1.0
    mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(200)
    deviation = values - mean
    skewness = (deviation**3).mean(0) / (deviation**2).mean(0) ** 1.5 / np.sqrt(200)
    p = Comparison("q", mean, error, 0.0 * mean, 199, "r", skewness=skewness).p_value
    bare = Comparison("q", mean, error, 0.0 * mean, 199, "r").p_value
    for level in (0.01, 0.001):
        expected = level * number
        assert abs((p < level).sum() - expected) < 5 * np.sqrt(expected)
        assert (bare < level).sum() > 1.25 * expected
    assert np.median(skewness) < SKEWEST


def test_rounding_is_no_deviation() -> None:
    """A zero that comes out of large numbers; and a deviation far above rounding, which must fail."""
    zero = np.zeros(())
    assert judge([Comparison("q", np.array(3e-13), zero, zero, 99, "r", scale=40.0)]).consistent
    assert judge([Comparison("q", np.array(1.0 + 1e-15), np.array(1e-20), np.array(1.0), 99, "r")]).consistent
    assert not judge([Comparison("q", np.array(1e-8), zero, zero, 99, "r", scale=40.0)]).consistent
    assert judge([Comparison("q", zero, zero, zero, 99, "r")]).consistent is True


def test_data_that_changed_are_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the rows are not kept with the ensemble: one in memory. A file has its own."""
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(30, 2)))
    text = GAUSSIAN.split("[data]")[0] + '[data]\nfile = "rows.npy"\n[ensemble]\nreplicas = 200\n[run]\nsteps = 12\n'
    (tmp_path / "case.toml").write_text(text)
    case = thermosim.load_case(tmp_path / "case.toml")
    thermosim.simulate(case, tmp_path / "out.h5").close()
    ds = thermosim.simulate(case)
    np.save(tmp_path / "rows.npy", np.zeros((30, 2)))
    with pytest.raises(DataError, match="the data have changed since the run"):
        thermosim.check(ds)
    code, _, _ = run(capsys, "check", tmp_path / "out.h5")
    assert code == 0


def test_kinds_have_no_numbers() -> None:
    case = thermosim.load_case(TRAP)
    row = Comparison("mean heat to step 3, 7", np.zeros(2), np.ones(2), np.zeros(2), 9, "r")
    assert kind_of(case, row) == "driven: mean heat"
    ds = thermosim.simulate(case)
    assert mean_comparison(ds, "q", ds.x.isel(step=-1), 0.0, "r", "x_dim").measured.shape == (2,)
    assert ds.sizes["replica"] >= LEAST_REPLICAS
