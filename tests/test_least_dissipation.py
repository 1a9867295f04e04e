"""The schedule of least dissipation against a search over all protocols, and the work of learning by contrast."""

import numpy as np
import pytest
from scipy import optimize

import thermosim
from thermosim.case.numbers import schedule_faults
from thermosim.exact.least_dissipation import least_work, mean_work
from thermosim.schedules import schedule_values

DISTANCE = 1.7


def rates(steps, contraction, curvature=1.0):
    table = {"kind": "least-dissipation", "contraction": contraction, "curvature": curvature}
    return schedule_values(table, steps)[1:]


def work_of_protocol(theta, contraction, curvature):
    """Of many chains, which start at rest at 0, along any theta of steps 1..N."""
    before = mean = total = 0.0
    for value in theta:
        total += 0.5 * curvature * ((mean - value) ** 2 - (mean - before) ** 2)
        before, mean = value, value + contraction * (mean - value)
    return total


@pytest.mark.parametrize(("steps", "contraction", "curvature"), [(1, 0.3, 2.0), (2, 0.9, 1.0), (9, 0.8, 0.5)])
def test_no_protocol_takes_less_work(steps, contraction, curvature):
    own = mean_work(rates(steps, contraction, curvature), DISTANCE, contraction, curvature)[-1]
    assert own == pytest.approx(float(least_work(DISTANCE, steps, contraction, curvature)), rel=1e-12)
    found = optimize.minimize(
        lambda inner: work_of_protocol([*inner, DISTANCE], contraction, curvature), np.linspace(0.1, 1.0, steps)[:-1]
    ) if steps > 1 else None  # fmt: skip
    least = found.fun if found is not None else work_of_protocol([DISTANCE], contraction, curvature)
    assert own == pytest.approx(least, rel=1e-6)


def test_it_ends_at_the_mean_and_lags_as_much_at_every_step():
    theta, mean, lags = 0.0, 0.0, []
    for rate in rates(30, 0.9, 2.0):
        theta += rate * 2.0 * (DISTANCE - mean)
        lags.append(theta - mean)
        mean = theta + 0.9 * (mean - theta)
    assert theta == pytest.approx(DISTANCE, rel=1e-12)
    assert np.ptp(lags[:-1]) < 1e-12
    assert lags[-1] == pytest.approx(1.9 * lags[0])


def test_small_steps_make_the_continuous_law():
    """mu^2/(t_f + 2), and the rate 1/(t_f + 2 - t)."""
    step, time = 1e-3, 5.0
    count = round(time / step)
    assert least_work(2.0, count, 1.0 - step) == pytest.approx(4.0 / (time + 2.0), rel=1e-3)
    inner = rates(count, 1.0 - step)[1:-1] / step
    assert inner == pytest.approx(1.0 / (time + 2.0 - step * np.arange(2, count)), rel=2e-3)
    assert rates(count, 1.0 - step)[[0, -1]] == pytest.approx([1.0 / (time + 2.0), 0.5], rel=1e-3)


def test_it_is_no_rate_outside_of_its_time():
    table = {"kind": "least-dissipation", "contraction": 0.5, "begin": 3, "end": 7}
    values = schedule_values(table, 10)
    assert np.flatnonzero(values).tolist() == [4, 5, 6, 7]
    assert values[4:8].tolist() == rates(4, 0.5).tolist()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"contraction": 1.0}, "contraction = 1.0: expected a share from 0 to below 1"),
        ({"contraction": -0.1}, "expected a share from 0 to below 1"),
        ({"curvature": 0.0}, "curvature = 0.0: expected more than 0"),
        ({"contraction": "half"}, "expected a number"),
        ({"begin": 9, "end": 4}, "end it later"),
    ],
)
def test_what_it_refuses(changes, told):
    table = {"kind": "least-dissipation", "contraction": 0.5} | changes
    assert told in " ".join(schedule_faults("theta.learning_rate", table, 10, "learning rate"))


CASE = {
    "model": {"name": "gaussian", "dimension": 2},
    "theta": {
        "dynamics": "sgd", "gradient": "contrast", "batch": 2, "learn": ["mean"],
        "initial": {"mean": 0.3, "log_precision": [0.0, 0.7]},
    },
    "x": {"dynamics": "ula", "time_step": 0.2, "tau": 2, "samples": 3},
    "data": {"source": "gaussian", "rows": 20, "mean": [2.0, -1.0], "covariance": [[1.0, 0.3], [0.3, 0.5]]},
    "ensemble": {"replicas": 4000, "seed": 1},
    "run": {"steps": 12},
    "record": {"every": 1, "variables": ["theta", "work"]},
    "sweep": {"theta.learning_rate": {"values": [0.2, {"kind": "least-dissipation", "contraction": 0.64}]}},
}  # fmt: skip


@pytest.fixture(scope="module")
def ensemble():
    return thermosim.simulate(thermosim.load_case(CASE))


def row(ds):
    return next(one for one in thermosim.check(ds).comparisons if one.quantity.startswith("mean work of a chain"))


def test_work_of_learning_by_contrast(ensemble):
    """Of few chains, minibatches, two curvatures and coarse moves: chains, minibatches and the law of ula all count."""
    found = row(ensemble)
    assert found.exact.shape == (2, 2)
    assert np.all(np.abs(found.z) < 4.0)
    assert np.all(found.standard_error < 0.02 * found.exact)


@pytest.mark.parametrize(
    "change", [{"samples": np.inf}, {"of_minibatch": 0.0}, {"variance": None}, {"contraction": 0.6}, {"curvature": 1.2}]
)
def test_what_is_left_out_of_the_recursion_is_seen(ensemble, change, monkeypatch):
    from thermosim.checks import contrast_work

    def wrong(rates, distance, contraction, curvature, samples, variance, of_minibatch):
        told = {"contraction": contraction, "curvature": curvature, "samples": samples}
        told |= {"variance": variance, "of_minibatch": of_minibatch} | change
        return mean_work(rates, distance, **told)

    monkeypatch.setattr(contrast_work, "mean_work", wrong)
    assert np.abs(row(ensemble).z).max() > 4.0
