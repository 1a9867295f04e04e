"""Heat and entropy production of theta: closed forms of linear moves, theorems with minibatches and with feedback."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.assertions import assert_within
from tests.learning_paths import LEARNER, SPINS, run
from thermosim.analysis.machine import machines
from thermosim.analysis.reservoir import clausius
from thermosim.analysis.theta_entropy import pathwise_clausius, potential, theta_fluctuation_theorem
from thermosim.checks.theta_entropy import theta_comparisons

K, RATE, WARM, STEPS = np.exp([0.4, 1.1]), 0.1, 1.0, 6
SPREAD = np.array([0.7, 0.6])
NOISY = {
    "theta.dynamics": "sgld",
    "theta.temperature": WARM,
    "theta.learning_rate": RATE,
    "theta.spread": {"mean": SPREAD.tolist()},
    "theta.weight_decay": 0.3,
    "theta.batch": 8,
    "theta.initial": {"mean": [0.5, 0.2], "log_precision": [0.4, 1.1]},
}
WHOLE = NOISY | {"theta.dynamics": "langevin", "theta.batch": "all"}


def _center(ds: xr.Dataset) -> np.ndarray:
    return K * machines(ds)[0].data.mean() / (K + 0.3)


def _laws(ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Exact mean and variance of theta less the minimum, (F, 2) each: y' = (1 - r (k + lambda)) y + noise."""
    keep = 1.0 - RATE * (K + 0.3)
    mean, variance = [np.array([0.5, 0.2]) - _center(ds)], [SPREAD**2]
    for _ in range(STEPS):
        mean.append(keep * mean[-1])
        variance.append(keep**2 * variance[-1] + 2.0 * RATE * WARM)
    return np.array(mean), np.array(variance)


def test_linear_moves_in_closed_form() -> None:
    """q_theta = dU~/T path by path with the finite-step energy, k (1 - r k/2) y^2/2; sigma is that of exact normals."""
    ds = run(LEARNER, WHOLE)
    result = theta_fluctuation_theorem(ds)
    stiff = (K + 0.3) * (1.0 - 0.5 * RATE * (K + 0.3))
    y = ds.theta.values[..., :2] - _center(ds)
    energy = 0.5 * (stiff * y**2).sum(-1) / WARM
    np.testing.assert_allclose(-ds.log_ratio_theta, energy - energy[0], atol=1e-11)
    mean, variance = _laws(ds)
    square = mean**2 + variance
    heat = 0.5 * (stiff * (square[-1] - square[0])).sum() / WARM
    last = result.isel(step=-1)
    assert_within(last.heat, last.heat_error, heat, catches="heat given off, not absorbed", mistake=2.0 * abs(heat))
    sigma = -heat + 0.5 * np.log(variance[-1] / variance[0]).sum()
    own = last.sel(theorem="theta")
    estimate, error = own.entropy_production, own.entropy_production_error
    size = abs(0.5 * np.log(variance[-1] / variance[0]).sum())
    assert_within(estimate, error, sigma, catches="the entropy of theta left out or halved", mistake=size / 2.0)
    stochastic = energy[-1] - energy[0]
    spread = last.heat_spread
    np.testing.assert_allclose(spread, stochastic.std(ddof=1), rtol=1e-12)
    # variance of a quadratic form of the jointly normal (y_n, y_0), whose covariance is keep^n v_0
    cross = (1.0 - RATE * (K + 0.3)) ** STEPS * variance[0]
    quadratic = 0.5 * (variance[-1] ** 2 + variance[0] ** 2 - 2.0 * cross**2)
    linear = mean[-1] ** 2 * variance[-1] + mean[0] ** 2 * variance[0] - 2.0 * mean[-1] * mean[0] * cross
    exact = np.sqrt((stiff**2 * (quadratic + linear)).sum()) / WARM
    assert_within(spread, last.heat_spread_error, exact, catches="a standard error for a spread", mistake=exact / 2.0)


def test_theorems_with_the_whole_of_the_data() -> None:
    """Any normalised end; theta, and theta with its samples; a density that is not normalised is noticed."""
    ds = run(LEARNER, WHOLE)

    def broad(theta: np.ndarray, step: int) -> np.ndarray:
        return np.asarray(-0.5 * ((theta[:, :2] / 0.9) ** 2 + np.log(2.0 * np.pi * 0.81)).sum(-1))

    for end in ("normal", "start", broad):
        result = theta_fluctuation_theorem(ds, end).isel(step=slice(1, None))
        assert bool(result.exact.all())
        good = result.sel(theorem="theta")
        good = good.where(good.reliable, drop=True)
        assert good.sizes["step"]
        assert_within(good.average, good.average_error, 1.0, catches="heat of the wrong sign")
    joint = theta_fluctuation_theorem(ds).sel(theorem="joint").isel(step=1)
    assert bool(joint.reliable)
    assert_within(joint.average, joint.average_error, 1.0, catches="the books of x left out")
    own = theta_fluctuation_theorem(ds).sel(theorem="theta").isel(step=1)
    assert float(joint.entropy_production) > float(own.entropy_production) + 8.0 * float(own.entropy_production_error)
    doubled = theta_fluctuation_theorem(ds, lambda theta, step: broad(theta, step) + np.log(2.0))
    wrong = doubled.sel(theorem="theta").isel(step=-1)
    assert_within(wrong.average, wrong.average_error, 2.0, catches="a factor in the end", mistake=1.0)


def test_minibatches() -> None:
    """Exact with the ratio at the minibatch that both directions use; not with the energy of all the data."""
    ds = run(LEARNER, NOISY | {"theta.batch": 2}).isel(step=slice(0, 3))
    result = theta_fluctuation_theorem(ds).sel(theorem="theta").isel(step=slice(1, None))
    assert bool(result.exact)
    assert bool(result.reliable.all())
    assert_within(result.average, result.average_error, 1.0, catches="the ratio at another minibatch")
    machine = machines(ds)[0]
    energy = np.stack([potential(machine, frame) for frame in range(ds.sizes["step"])]) / WARM
    naive = ds.assign(log_ratio_theta=(("step", "replica"), energy[0] - energy))
    wrong = theta_fluctuation_theorem(naive).sel(theorem="theta").isel(step=-1)
    assert abs(float(wrong.average) - 1.0) > 8.0 * float(wrong.average_error)


def test_feedback() -> None:
    """Learning by contrast: theta alone has no theorem, theta with all its samples has."""
    slow = {"theta.gradient": "contrast", "theta.learning_rate": 0.04, "theta.temperature": 0.5, "run.steps": 1}
    for changes in (slow, slow | {"x.samples": 2, "theta.learning_rate": 0.02}):
        result = theta_fluctuation_theorem(run(LEARNER, NOISY | changes))
        assert result.exact.values.tolist() == [False, True]
        last = result.isel(step=-1)
        assert bool(last.reliable.all())
        both, own = last.sel(theorem="joint"), last.sel(theorem="theta")
        assert_within(both.average, both.average_error, 1.0, catches="a theorem that forgets feedback")
        assert abs(float(own.average) - 1.0) > 8.0 * float(own.average_error)


def test_detailed_balance_path_by_path() -> None:
    """Metropolis: q_theta = dU/T to rounding; Langevin with a residual of first order in the step."""
    changes = {
        "theta.dynamics": "metropolis",
        "theta.batch": "all",
        "theta.temperature": 0.5,
        "theta.learning_rate": 0.1,
    }
    ds = run(SPINS, changes | {"ensemble.replicas": 500, "theta.weight_decay": 0.2, "x.dynamics": "exact"})
    result = pathwise_clausius(ds)
    assert result.relation.values.tolist() == ["detailed-balance", "reservoir", "closed", "clausius"]
    np.testing.assert_allclose(result.residual.sel(relation="detailed-balance"), 0.0, atol=1e-11)
    np.testing.assert_allclose(result.residual_spread.sel(relation="detailed-balance"), 0.0, atol=1e-11)
    total = result.residual.sel(relation="reservoir") + result.residual.sel(relation="closed")
    np.testing.assert_allclose(result.residual.sel(relation="clausius"), total, atol=1e-12)
    shadows = []
    for rate, steps in ((0.02, 24), (0.01, 48)):
        fine = {"theta.learning_rate": rate, "run.steps": steps, "record.every": steps, "x.dynamics": "exact"}
        one = run(LEARNER, WHOLE | fine | {"x.time_step": None, "ensemble.replicas": 2000})
        shadows.append(float(pathwise_clausius(one).residual_spread.sel(relation="detailed-balance")[-1]))
    assert 0.4 < shadows[1] / shadows[0] < 0.6


def test_pathwise_clausius_of_sgd() -> None:
    """No density, so Eq. 48 alone; its mean is that of the ensembles, its spread that of independent s and q_x."""
    ds = run(LEARNER, {"theta.spread": {"mean": SPREAD.tolist()}})
    result = pathwise_clausius(ds)
    assert result.relation.values.tolist() == ["clausius"]
    whole = clausius(ds)
    np.testing.assert_allclose(result.residual[0], whole.residual, atol=1e-3)
    assert float(result.residual_spread[0, -1]) > 8.0 * float(result.residual_spread_error[0, -1])


def test_comparisons() -> None:
    """A Metropolis path, and sgld where most replicas carry the average; books that are a little off are seen."""
    walk = {"theta.dynamics": "metropolis", "theta.batch": "all", "theta.temperature": 0.5, "x.dynamics": "exact"}
    for text, changes, row in (
        (SPINS, walk | {"ensemble.replicas": 500, "theta.weight_decay": 0.2, "theta.learning_rate": 0.1}, "dU/T"),
        (LEARNER, NOISY | {"theta.learning_rate": 0.02}, "sigma of theta)"),
    ):
        ds = run(text, changes)
        for books, wrong in ((ds, False), (ds.assign(log_ratio_theta=ds.log_ratio_theta + 0.05 * (ds.step > 0)), True)):
            (mine,) = [c for c in theta_comparisons(books, machines(books)) if row in c.quantity]
            assert (np.abs(mine.z).max() > 8.0) == wrong


def test_check_compares_the_law() -> None:
    """Normal theta of a linear machine passes; a law with the same mean and variance but another shape does not."""
    ds = run(LEARNER, WHOLE)
    sign = xr.DataArray(np.random.default_rng(1).choice([-1.0, 1.0], ds.sizes["replica"]), dims="replica")
    law = _laws(ds)
    center, width = law[0][-1] + _center(ds), np.sqrt(law[1][-1])
    two_points = ds.copy(deep=True)
    noise = (ds.theta[-1, :, :2] - center) / width
    shape = 0.9 * sign + np.sqrt(1.0 - 0.81) * noise
    two_points["theta"][-1, :, :2] = (center + width * shape).transpose("replica", "theta_dim")
    for books, right in ((ds, True), (two_points, False)):
        (mine,) = [c for c in theta_comparisons(books, machines(books)) if "law of theta" in c.quantity]
        assert (float(np.abs(mine.z)) < 4.0) == right


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"theta\.spread"):
        theta_fluctuation_theorem(run(LEARNER, WHOLE | {"theta.spread": {"mean": [0.5, 0.0]}, "run.steps": 1}))
    with pytest.raises(ValueError, match="log_ratio_theta"):
        theta_fluctuation_theorem(run(LEARNER, {"theta.spread": {"mean": SPREAD.tolist()}}))
    with pytest.raises(ValueError, match="too few"):
        theta_fluctuation_theorem(run(LEARNER, WHOLE).isel(replica=slice(0, 6)))
