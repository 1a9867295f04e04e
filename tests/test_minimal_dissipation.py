"""The principle of minimal dissipation on chains: formulas by samples, drift at any rate, and what never rises."""

from pathlib import Path

import numpy as np
import pytest

from thermosim import load_case, simulate
from thermosim.analysis import machines
from thermosim.analysis.irreversibility import dissipation
from thermosim.analysis.irreversibility import dissipation as function
from thermosim.analysis.irreversibility.dissipation import drift_residual
from thermosim.checks.irreversibility import irreversibility_advice, irreversibility_comparisons
from thermosim.exact.chain_dissipation import Chain
from thermosim.plots.picture import picture

CASE = Path(__file__).parent.parent / "cases/irreversibility/minimal_dissipation.toml"
CHAIN = Chain(0.8, 1.5, 0.6, 2, 0.05)


def _gradients(u, w, count=400_000):
    """Of minibatches of two rows, at one state: (count, 2)."""
    random = np.random.default_rng(1)
    z = np.sqrt(1.5) * random.normal(size=(count, 2))
    error = u * w * z - 0.8 * z - np.sqrt(0.6) * random.normal(size=z.shape)
    m = (error * z).mean(1)
    return 2.0 * np.stack([w * m, u * m], 1)


@pytest.fixture(scope="module")
def ensemble():
    return simulate(load_case(CASE, {"ensemble.replicas": 150, "run.steps": 900}))


def test_dissipation_on_the_orbit_is_that_of_samples():
    for s in (0.0, 0.7, -1.1):
        u, w = np.sqrt(0.8) * np.exp([s, -s])
        square = (_gradients(u, w) ** 2).sum(1)
        error = square.std() / np.sqrt(len(square))
        assert abs(0.25 * 0.05 * square.mean() - CHAIN.dissipation(s)) < 0.25 * 0.05 * 4.0 * error
        assert error < 0.01 * square.mean()
        np.testing.assert_allclose(CHAIN.place((w**2 - u**2) / 2.0), s, atol=1e-12)


def test_drift_off_the_orbit_is_that_of_samples():
    u, w = 1.7, 0.9  # a misfit of .73
    g = _gradients(u, w)
    change = 0.5 * ((w - 0.05 * g[:, 1]) ** 2 - (u - 0.05 * g[:, 0]) ** 2)
    charge = 0.5 * (w**2 - u**2)
    change = change - charge
    error = change.std() / np.sqrt(len(change))
    assert abs(change.mean() - CHAIN.drift(charge, u * w)) < 4.0 * error
    assert abs(change.mean()) > 50.0 * error


def test_drift_is_minus_the_slope_of_the_potential_along_the_orbit():
    """dC/dt = (dC/ds) ds/dt, ds/dt = -phi'(s)/|d theta/ds|^2 with phi = r E|g|^2/4 in time r t: to leading order."""
    s = 0.4
    charge = -0.8 * np.sinh(2.0 * s)
    slope = (CHAIN.dissipation(s + 1e-6) - CHAIN.dissipation(s - 1e-6)) / 2e-6
    velocity = -slope / (2.0 * 0.8 * np.cosh(2.0 * s))
    np.testing.assert_allclose(CHAIN.drift(charge, 0.8), 0.05 * velocity * -1.6 * np.cosh(2.0 * s), rtol=1e-6)


def test_a_run_falls_to_the_least_from_every_start(ensemble):
    found = dissipation(ensemble, 8)
    first, last = found.isel(step=0), found.isel(step=-1)
    assert np.all(np.abs(last["place"]) < 0.35)
    np.testing.assert_allclose(found["least"], 2.0 * 0.02)
    assert first["dissipation"][0] > 2.0 * last["dissipation"][0]
    assert np.all(np.abs(first["expected"] / first["least"] - np.cosh(2.0 * first["place"])) < 1e-12)


def test_check_sees_twice_the_drift_and_a_rise(ensemble, monkeypatch):
    right = irreversibility_comparisons(ensemble, machines(ensemble))
    assert [one.quantity.split()[0] for one in right] == ["change", "rises"]
    assert all(np.all(one.p_value > 1e-4) for one in right)
    drift = Chain.drift
    monkeypatch.setattr(Chain, "drift", lambda *given: 2.0 * drift(*given))
    wrong = irreversibility_comparisons(ensemble, machines(ensemble))[0]
    assert np.max(np.abs(wrong.measured / wrong.standard_error)) > 8.0
    monkeypatch.undo()
    books = ensemble["layer_gradient_square"].transpose("step", ...)
    backward = ensemble.assign(layer_gradient_square=books.copy(data=books.values[-1] - books.values[::-1]))
    assert irreversibility_comparisons(backward, machines(backward))[1].p_value.min() < 1e-6


def test_the_picture_and_refusals(ensemble):
    assert len(picture(ensemble).axes) == 2
    with pytest.raises(ValueError, match="every = 1"):
        drift_residual(machines(ensemble.isel(step=[0, 10, 20]))[0])
    with pytest.raises(ValueError, match="u w = v"):
        function(ensemble.isel(step=slice(0, 3)).assign(product=ensemble["product"] + 0.1))


def test_short_runs_and_few_frames():
    """The misfit comes to rest over several windows of a short run; without every step there is no drift, said so."""
    ds = simulate(load_case(CASE, {"ensemble.replicas": 2000, "run.steps": 32, "ensemble.seed": 3}))
    drift, rises = irreversibility_comparisons(ds, machines(ds))
    assert drift.p_value.min() > 1e-4
    assert rises.p_value.min() > 1e-4
    few = ds.isel(step=slice(0, None, 16))
    (one,) = irreversibility_comparisons(few, machines(few))
    assert "between 2 windows" in one.quantity
    assert "record.every = 1" in irreversibility_advice(few, machines(few))[0]
    assert irreversibility_advice(ds, machines(ds)) == []
