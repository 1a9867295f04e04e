"""Spread over replicas beside every mean (Eq. 24): exact variances, sampling noise taken off, coverage."""

from __future__ import annotations

import numpy as np
import xarray as xr

from tests.assertions import assert_within
from tests.learning_paths import PROTOCOL, SPINS, run
from thermosim.analysis.estimates import interval
from thermosim.analysis.learning import learning_ledger
from thermosim.analysis.partial_averages import averaged_work_and_heat, partial_entropies
from thermosim.analysis.spreads import put_spread, replica_spread, square_deviations


def test_spread_of_paths() -> None:
    """One jump of a Gaussian with fresh samples: var w = sum over squares; sigma = w; the error is not the spread."""
    ds = run(PROTOCOL, {"run.steps": 1, "theta.protocol.mean": {"kind": "linear", "initial": [0.0], "final": [0.1]}})
    ledger = learning_ledger(ds).isel(step=-1)
    k, jump = np.exp(ds.theta.values[:, 0, 1]), 0.1
    # w = (k1 (x - m1)^2 - k0 (x - m0)^2)/2 + constant, x - m0 normal of variance 1/k0
    square, slope = 0.5 * (k[1] - k[0]), -k[1] * jump
    exact = float(np.sqrt(2.0 * square**2 / k[0] ** 2 + slope**2 / k[0]))
    for name in ("work", "entropy_production"):
        spread, error = ledger[f"{name}_spread"], ledger[f"{name}_spread_error"]
        assert_within(spread, error, exact, catches="a standard error for a spread", mistake=exact / 2.0)
    assert float(ledger.work_spread) > 50.0 * float(ledger.work_error)


def test_spread_of_replicas() -> None:
    """W_X given the path of theta: exact from theta, and from chains with their own noise taken off."""
    ds = run(SPINS, {"x.dynamics": "exact", "x.samples": 3})
    closed, chains = (averaged_work_and_heat(ds, method).isel(step=-1) for method in ("closed-form", "chains"))
    np.testing.assert_allclose(closed.work_spread, closed.work.std(ddof=1), rtol=1e-12)
    raw = float(chains.work.std(ddof=1))
    exact, error = float(closed.work_spread), np.hypot(chains.work_spread_error, closed.work_spread_error)
    assert_within(chains.work_spread, error, exact, catches="noise of the samples left in", mistake=raw - exact)
    few = run(SPINS, {"ensemble.replicas": 300})
    result = partial_entropies(few, frames=3).isel(step=-1)
    np.testing.assert_allclose(result.information_spread, result.information.std(ddof=1), rtol=1e-12)
    assert 0.0 < float(result.information_spread_error) < float(result.information_spread)


def test_spread_of_one_path() -> None:
    """The same theta in every replica: no spread, and no error of it."""
    averaged = averaged_work_and_heat(run(PROTOCOL)).isel(step=-1)
    assert float(averaged.work_spread) < 1e-12
    assert float(averaged.work_spread_error) < 1e-8


def test_coverage_of_the_spread() -> None:
    """Intervals of 4,000 ensembles: 95 of 100 cover, for a skewed law too; where replicas are few there is none."""
    generator = np.random.default_rng(1)
    for size, law in ((100, "normal"), (200, "normal"), (100, "gamma"), (400, "gamma")):
        shape = (4000, size)
        values = generator.standard_normal(shape) if law == "normal" else generator.gamma(4.0, 0.5, shape)
        result = xr.Dataset()
        put_spread(result, "x", xr.DataArray(values, dims=("ensemble", "replica")), "1", "x", "always")
        ends = interval(result, "x_spread")
        covered = ((ends.sel(bound="low") <= 1.0) & (ends.sel(bound="high") >= 1.0)).mean()
        assert 0.93 < float(covered) < 0.97, (size, law, float(covered))
    same = xr.DataArray(np.array([1.0, 1.0, 1.0]), dims="replica")
    assert [float(v) for v in replica_spread(square_deviations(same))] == [0.0, 0.0]
    few = xr.Dataset()
    put_spread(few, "x", xr.DataArray(np.arange(50.0), dims="replica"), "1", "x", "always")
    assert bool(np.isnan(interval(few, "x_spread")).all())
    alone = learning_ledger(run(PROTOCOL, {"ensemble.replicas": 50}).isel(replica=slice(1)))
    assert np.isnan([float(alone.work_spread[-1]), float(alone.work_spread_error[-1])]).all()
