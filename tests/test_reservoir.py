"""Theta as a heat reservoir: noise, temperature, canonical law and Clausius' relation against exact values."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import special

import thermosim
from tests.assertions import assert_within
from thermosim.analysis import gradient_noise as noise_module
from thermosim.analysis import reservoir
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.reservoir import clausius, naive_reservoir, noise_statistics
from thermosim.exact.gaussian_information import entropy
from thermosim.exact.learning_machine import LearningMachine, Moments, Start, moments

PRECISION = np.exp([-0.5, 1.0])
MEAN = np.array([0.4, 0.1])
SPREAD, RATE, STEPS = 0.3, 0.3, 40
CASE = f"""
title = "means of a Gaussian as a reservoir"
[model]
name = "gaussian"
dimension = 2
[theta]
dynamics = "sgd"
learning_rate = {RATE}
batch = 4
learn = ["mean"]
initial = {{ mean = {MEAN.tolist()}, log_precision = [-0.5, 1.0] }}
spread = {{ mean = {SPREAD} }}
[x]
dynamics = "exact"
[data]
source = "gaussian"
mean = [1.0, -1.0]
covariance = [[1.0, 0.6], [0.6, 0.8]]
rows = 64
[ensemble]
replicas = 1000
seed = 1
[run]
steps = {STEPS}
[record]
every = 1
"""
BATCHES = CASE + '[sweep]\n"theta.learning_rate" = { values = [0.1, 0.3] }\n"theta.batch" = { values = [1, 4, 16] }\n'


@functools.cache
def _run(text: str, overrides: str) -> xr.Dataset:
    return thermosim.simulate(thermosim.load_case(text, json.loads(overrides)))


def run(text: str = CASE, **overrides: Any) -> xr.Dataset:
    return _run(text, json.dumps({key.replace("__", "."): value for key, value in overrides.items()}))


def gradient_covariance(ds: xr.Dataset) -> np.ndarray:
    """Covariance of one row's gradient of the means, k_i k_j C_ij of the rows with divisor K, (n, n)."""
    return np.asarray(np.outer(PRECISION, PRECISION) * machines(ds)[0].data.covariance())


def exact(ds: xr.Dataset, **changes: Any) -> Moments:
    data = machines(ds)[0].data
    settings = {"batch": 4, "learning_rate": RATE, "x_dynamics": "exact"} | changes
    return moments(
        LearningMachine(PRECISION, data.mean(), data.covariance(), steps=STEPS, **settings), Start(MEAN, SPREAD)
    )


def test_minibatches_are_replayed() -> None:
    """theta' = theta - r g at every step, replica and point of a sweep over lanes and blocks, at no other address."""
    ds = run(BATCHES, ensemble__replicas=40, theta__weight_decay=0.2)
    assert float(noise_statistics(ds).replay_residual.max()) < 1e-12
    places = [int(machine.addresses[0]) for machine in machines(ds)]
    assert places == [0, 80, 160, 40, 120, 200]  # blocks by batch, lanes by learning rate
    assert [40 * machine.place for machine in machines(ds)] == places
    for machine in machines(ds):
        moved = machine.frames.assign_coords(address=machine.frames.address + 1)
        wrong = noise_module.gradient_noise(replace(machine, frames=moved))
        right = noise_module.gradient_noise(machine)
        assert np.abs(wrong.noise - right.noise).mean() > 0.1 * np.abs(right.noise).mean()
        rate = float(machine.settings.theta.learning_rate)
        theta = machine.frames.theta.values[..., :2]
        step = theta[1:] - theta[:-1] + 0.2 * rate * theta[:-1]
        np.testing.assert_allclose(step, rate * (right.noise - right.pull), atol=1e-12)
        mean = machine.data.mean()
        np.testing.assert_allclose(right.pull, PRECISION * (theta[:-1] - mean), atol=1e-12)


def test_selections_and_schedules_are_replayed() -> None:
    """Some replicas, some frames, a falling learning rate, every replica group its own data: the same noise."""
    ds = run(ensemble__replicas=30, data__sets=3, theta__learning_rate={"kind": "linear", "initial": 0.4, "final": 0.1})
    whole = noise_module.gradient_noise(machines(ds)[0])
    some = ds.isel(replica=slice(7, 25, 3), step=slice(3, None, 5))
    part = noise_module.gradient_noise(machines(some)[0])
    np.testing.assert_array_equal(part.noise, whole.noise[3::5, 7:25:3])
    np.testing.assert_allclose(whole.rate, np.linspace(0.4, 0.1, STEPS + 1)[1:])
    assert float(noise_statistics(ds).replay_residual) < 1e-12
    result = noise_statistics(ds)
    np.testing.assert_allclose(result.noise_temperature[:, 0], 0.5 * whole.rate * result.variance[:, 0], rtol=1e-12)


def test_variance_and_temperature() -> None:
    """C_ii = k_i^2 Var_i/B at any theta, T_i = r C_ii/2, whatever the batch and the learning rate."""
    ds = run(BATCHES)
    result = noise_statistics(ds)
    variance = np.diag(gradient_covariance(ds))
    for i, rate in enumerate((0.1, 0.3)):
        for j, batch in enumerate((1, 4, 16)):
            here = result.isel(learning_rate=i, batch=j)
            estimate = here.variance.mean("step")
            error = np.sqrt((here.variance_error**2).sum("step")) / STEPS  # noise of different steps is independent
            assert_within(
                estimate, error, variance / batch, catches="a factor 2, k, or the batch", mistake=variance / batch / 2
            )
            mean, error = here.mean_variance, here.mean_variance_error
            assert_within(mean, error, variance.mean() / batch, catches="a trace in the place of a mean")
            warm = here.noise_temperature.mean("step")
            error = np.sqrt((here.noise_temperature_error**2).sum("step")) / STEPS
            temperature = 0.5 * rate * variance / batch
            assert_within(warm, error, temperature, catches="r C in the place of r C/2", mistake=temperature)
            np.testing.assert_allclose(
                here.group_temperature[:, 0], here.noise_temperature.mean("theta_dim"), rtol=1e-12
            )
    scaled, error = result.variance_times_batch.mean("step"), result.variance_times_batch_error.mean("step")
    assert_within(scaled, error, variance.mean(), catches="noise that does not fall as 1/B", mistake=variance.mean())
    assert bool(result.white.all())


def test_variance_for_precisions() -> None:
    """The gradient of ln k, (k (x - m)^2 - 1)/2, is no linear function of the rows."""
    ds = run(theta__learn=None, theta__spread=0.0, theta__batch=2, run__steps=2, ensemble__replicas=20000)
    result = noise_statistics(ds, max_lag=1).isel(step=0)
    rows = machines(ds)[0].data.values
    slopes = np.concatenate([PRECISION * (MEAN - rows), 0.5 * (PRECISION * (rows - MEAN) ** 2 - 1.0)], axis=1)
    variance = slopes.var(axis=0) / 2
    assert_within(result.variance, result.variance_error, variance, catches="a wrong gradient", mistake=variance / 2)
    np.testing.assert_allclose(result.gradient, np.abs(slopes.mean(axis=0)).mean(), rtol=1e-12)
    np.testing.assert_allclose(result.largest_gradient, np.abs(slopes.mean(axis=0)).max(), rtol=1e-12)
    assert list(result.parameter_group.values) == ["log_precision", "mean"]
    assert list(result.variance.group.values) == ["mean", "mean", "log_precision", "log_precision"]


def test_autocorrelation_sees_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minibatches used twice: C(1) = C(0)/2 for every other step, and the noise is not white."""
    original = noise_module.minibatch

    def twice(machine: Machine, step: int) -> np.ndarray:
        return original(machine, step // 2)

    assert bool(noise_statistics(run()).white)
    monkeypatch.setattr(noise_module, "minibatch", twice)
    coloured = noise_statistics(run())
    assert not bool(coloured.white)
    assert float(coloured.replay_residual) > 0.01
    lag = coloured.sel(lag=1)
    share = float(np.mean(np.arange(1, STEPS) % 2 == 0))  # frames t and t + 1 share a minibatch if t + 1 is even
    assert_within(
        lag.mean_autocorrelation, lag.mean_autocorrelation_error, share, catches="a lag one step off", mistake=share
    )
    rest = coloured.sel(lag=slice(2, None))
    assert_within(rest.mean_autocorrelation, rest.mean_autocorrelation_error, 0.0, catches="a lag one step off")


def test_loss_over_the_ensemble() -> None:
    """Mean and variance of U_B at the start: a quadratic form of normal theta."""
    ds = run(ensemble__replicas=4000, run__steps=2)
    result = noise_statistics(ds, max_lag=1).isel(step=0)
    data = machines(ds)[0].data
    gap, k = MEAN - data.mean(), PRECISION
    constant = 0.5 * (k @ np.diag(data.covariance()) + 2.0 * np.log(2.0 * np.pi) - np.log(k).sum())
    mean = constant + 0.5 * k @ (gap**2 + SPREAD**2)
    variance = np.sum(k**2 * (SPREAD**4 / 2.0 + gap**2 * SPREAD**2))
    assert_within(result.loss, result.loss_error, mean, catches="a minibatch in the place of all rows", mistake=0.3)
    assert_within(
        result.loss_variance, result.loss_variance_error, variance, catches="a factor 2", mistake=variance / 2
    )


def test_canonical_law() -> None:
    """Anisotropic, correlated noise: only the linear law holds, one temperature or one for each parameter do not."""
    ds = run(ensemble__replicas=2000, run__steps=80)
    result = naive_reservoir(ds)
    rate, h = RATE, PRECISION
    covariance = gradient_covariance(ds) / 4
    keep = 1.0 - rate * h
    stationary = rate**2 * covariance / (1.0 - np.outer(keep, keep))
    one = 0.5 * rate * np.diag(covariance) / h / (1.0 - 0.5 * rate * h)
    np.testing.assert_allclose(np.diag(stationary), one, rtol=1e-12)
    np.testing.assert_allclose(result.hessian, np.diag(h), atol=1e-8)
    assert bool(result.minimum)
    assert bool(result.stationary)
    assert_within(
        result.covariance, result.covariance_error, stationary, catches="T in the place of T/H", mistake=one.min()
    )
    linear = result.sel(prediction="linear")
    assert_within(linear.predicted, linear.predicted_error, stationary, catches="noise of another batch")
    size = np.abs(stationary).min()
    assert_within(linear.residual, linear.residual_error, 0.0, catches="no law at all", mistake=size)
    temperature = 0.5 * rate * np.diag(covariance)
    assert_within(
        result.noise_temperature, result.noise_temperature_error, temperature, catches="T = r C", mistake=temperature
    )
    naive = result.sel(prediction="naive")
    for i in range(2):  # the mean temperature over the parameter's own curvature
        assert_within(
            naive.predicted[i, i], naive.predicted_error[i, i], temperature.mean() / h[i], catches="T = 1", mistake=0.1
        )
        assert abs(float(naive.residual[i, i])) > 8.0 * float(naive.residual_error[i, i])
    own = result.sel(prediction="own-temperatures")
    np.testing.assert_allclose(np.diag(own.predicted), result.noise_temperature / h, rtol=1e-6)
    correlation = abs(float(own.residual[0, 1])) / float(own.residual_error[0, 1])
    assert correlation > 8.0  # the rows are correlated, the canonical law of a diagonal H is not


def test_small_steps_at_one_temperature_are_canonical() -> None:
    """Langevin dynamics on all data at small r is the reservoir of Eq. 22; a coarse step is off by 1/(1 - r h/2)."""
    bath = {"theta__dynamics": "langevin", "theta__batch": "all", "theta__temperature": 0.5}
    fine = naive_reservoir(run(**bath, theta__learning_rate=0.02, run__steps=600, record__every=60), first=300)
    naive = fine.sel(prediction="naive")
    assert_within(naive.residual, naive.residual_error, 0.0, catches="a factor 2 in T")
    assert_within(
        np.diag(fine.covariance), np.diag(fine.covariance_error), 0.5 / PRECISION, catches="T", mistake=0.25 / PRECISION
    )
    coarse = naive_reservoir(run(**bath, theta__learning_rate=0.5, run__steps=60, ensemble__replicas=4000), first=30)
    exact_variance = 0.5 / PRECISION / (1.0 - 0.25 * PRECISION)
    variance, error = np.diag(coarse.covariance), np.diag(coarse.covariance_error)
    mistake = np.abs(exact_variance - 0.5 / PRECISION)
    assert_within(variance, error, exact_variance, catches="the limit of small r", mistake=mistake)
    np.testing.assert_allclose(np.diag(coarse.sel(prediction="linear").predicted), exact_variance, rtol=1e-6)


def test_weight_decay_stiffens_the_reservoir() -> None:
    """H is that of U_B and of lambda |theta|^2/2, which lets the linear law hold."""
    result = naive_reservoir(run(ensemble__replicas=5000, run__steps=80, theta__weight_decay=0.6))
    np.testing.assert_allclose(result.hessian, np.diag(PRECISION + 0.6), atol=1e-8)
    linear = result.sel(prediction="linear")
    assert_within(linear.residual, linear.residual_error, 0.0, catches="weight decay left out")
    keep = 1.0 - RATE * (PRECISION + 0.6)
    exactly = RATE**2 * np.diag(gradient_covariance(run())) / 4.0 / (1.0 - keep**2)
    mistake = np.abs(exactly - RATE**2 * np.diag(gradient_covariance(run())) / 4.0 / (1.0 - (keep + 0.6 * RATE) ** 2))
    variance, error = np.diag(result.covariance), np.diag(result.covariance_error)
    assert_within(variance, error, exactly, catches="weight decay left out", mistake=mistake)


def test_jackknife_of_an_autocorrelation() -> None:
    """Each of six replicas left out in turn, of every parameter and of all together."""
    noise = np.random.default_rng(5).standard_normal((30, 6, 2)).cumsum(axis=0)
    (own, own_error), (mean, mean_error) = noise_module.autocorrelation(noise, np.array([1, 4]))

    def ratio(some: np.ndarray, lag: int) -> list[np.ndarray]:
        top, below = (some[:-lag] * some[lag:]).mean(axis=0).sum(axis=0), (some**2).mean(axis=0).sum(axis=0)
        return [*(top / below), top.sum() / below.sum()]

    for k, lag in enumerate((1, 4)):
        without = np.array([ratio(np.delete(noise, r, axis=1), lag) for r in range(6)])
        error = np.sqrt(5.0 / 6.0 * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
        np.testing.assert_allclose([*own[k], mean[k]], ratio(noise, lag), rtol=1e-12)
        np.testing.assert_allclose([*own_error[k], mean_error[k]], error, rtol=1e-10)


def test_law_flags() -> None:
    """A run that still drifts, and steps that are too long, are told apart from a stationary law."""
    early = naive_reservoir(run(theta__learning_rate=0.02), first=1)
    assert not bool(early.stationary)
    long = naive_reservoir(run(theta__learning_rate=0.8, run__steps=4, theta__spread=0.1), first=0)
    assert not bool(long.minimum)
    assert bool(np.isnan(long.predicted).all())


def test_clausius() -> None:
    """dS_Theta of normals with the exact covariance, -Q_X exactly: they are not equal, and said not to be."""
    ds = run(ensemble__replicas=4000)
    result, law = clausius(ds), exact(ds)
    assert result.attrs["first"] == 0
    late = result.isel(step=slice(1, None, 3))
    entropies = entropy(law.theta_covariance)
    change = (entropies - entropies[0])[1::3]
    assert_within(late.entropy_change, late.entropy_change_error, change, catches="a covariance of other replicas")
    last = result.isel(step=-1)
    assert_within(
        last.entropy_change,
        last.entropy_change_error,
        entropies[-1] - entropies[0],
        catches="ln det without its half",
        mistake=abs(entropies[-1] - entropies[0]),
    )
    released = -law.heat[-1]
    assert_within(
        last.released_heat, last.released_heat_error, released, catches="heat of the other sign", mistake=2.0 * released
    )
    residual = entropies[-1] - entropies[0] - released
    assert_within(last.residual, last.residual_error, residual, catches="dS - Q", mistake=2.0 * released)
    assert abs(float(last.residual)) > 8.0 * float(last.residual_error)
    unspread = clausius(run(theta__spread=0.0, ensemble__replicas=300))
    assert unspread.attrs["first"] == 1


def test_entropy_of_few_replicas() -> None:
    """Eight replicas of three parameters: no bias, and a jackknife error that is about right."""
    rng = np.random.default_rng(3)
    factor = np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.4, 2.0]])
    values = np.array([reservoir._entropy(rng.standard_normal((8, 3)) @ factor.T)[0] for _ in range(4000)])
    law = float(entropy(factor @ factor.T))
    bias = 0.5 * (special.digamma((7 - np.arange(3)) / 2).sum() - 3.0 * np.log(3.5))
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert_within(values.mean(), error, law, catches="the bias of ln det", mistake=abs(bias))
    theta = rng.standard_normal((9, 3)) @ factor.T
    whole, without = reservoir._entropy(theta)
    again = [reservoir._entropy(np.delete(theta, r, axis=0))[0] for r in range(9)]
    np.testing.assert_allclose(without, again, rtol=1e-10)
    assert np.isfinite(whole)


REFUSALS: dict[str, tuple[Any, str]] = {
    "all of the data": (lambda: noise_statistics(run(theta__batch="all", run__steps=4)), "every step took all rows"),
    "there and back": (
        lambda: noise_statistics(run(run__direction="there-and-back", run__steps=4)),
        "every minibatch comes twice",
    ),
    "one frame": (lambda: noise_statistics(run().isel(step=slice(0, 1))), "two frames"),
    "momentum": (lambda: naive_reservoir(run(theta__momentum=0.5, run__steps=4)), "plain SGD"),
    "schedule": (
        lambda: naive_reservoir(
            run(theta__learning_rate={"kind": "linear", "initial": 0.1, "final": 0.2}, run__steps=4)
        ),
        "constant learning rate",
    ),
    "sets": (lambda: naive_reservoir(run(data__sets=2, run__steps=4)), "minimum of its own"),
    "contrast": (lambda: naive_reservoir(run(theta__gradient="contrast", run__steps=4)), "contrast"),
    "late": (lambda: naive_reservoir(run(), first=STEPS), "two recorded frames"),
    "few replicas": (lambda: clausius(run().isel(replica=slice(0, 4))), "more than 4 replicas"),
    "no spread": (lambda: clausius(run(theta__spread=0.0, ensemble__replicas=300), first=0), "has no entropy"),
    "no heat": (lambda: clausius(run().drop_vars("heat")), "needs heat"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    attempt, words = REFUSALS[name]
    with pytest.raises(ValueError, match=words):
        attempt()


def test_estimates_are_labelled() -> None:
    """Every estimate has units, a name, a condition and an error of the same shape."""
    for result in (noise_statistics(run()), naive_reservoir(run()), clausius(run())):
        for name, variable in result.data_vars.items():
            assert variable.attrs.get("long_name"), name
            assert variable.attrs.get("condition"), name
            if f"{name}_error" in result:
                assert result[f"{name}_error"].dims == variable.dims
                assert variable.attrs["units"] == result[f"{name}_error"].attrs["units"]
