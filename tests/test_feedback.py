"""Learning by contrast as feedback: efficacies in closed form, enumerated, and by plain numpy; theorems with power."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.assertions import assert_within, mean_and_error
from tests.learning_paths import LEARNER, SPINS, run
from thermosim.analysis import feedback_efficacy
from thermosim.analysis.settings import settings
from thermosim.exact.feedback import enumerated_efficacy, gaussian_information, gaussian_log_efficacy

CONTRAST = {"theta.gradient": "contrast", "theta.learning_rate": 0.05}
FRESH = CONTRAST | {"x.dynamics": "exact", "x.time_step": None, "x.tau": 1}
FEW_SPINS = {"model.dimension": 3, "data.teacher": {"bias": [0.6, -0.4, 0.2], "coupling": 0.3}}
SPINS_FRESH = CONTRAST | FEW_SPINS | {"x.dynamics": "exact", "run.steps": 3, "ensemble.replicas": 4000}
K, RATE, STEPS = np.array([1.5, 3.0]), 0.07, 3


def said_to_be(ds: xr.Dataset, values: dict[str, Any]) -> xr.Dataset:
    """The ensemble with other settings than it was made with."""
    told = json.dumps(settings(ds).at(values).as_dict())
    return ds.drop_vars("origin").assign_attrs(settings=told)


def plain_machine(samples: int, temperature: float, momentum: float, seed: int) -> np.ndarray:
    """Work of every chain of a Gaussian that learns its means by contrast, two components, in numpy: (R, S)."""
    rng, replicas = np.random.default_rng(seed), 100_000
    rows = rng.normal([1.0, -2.0], 1.5, (7, 2))
    mean, velocity = np.tile([0.3, -0.8], (replicas, 1)), np.zeros((replicas, 2))
    work = np.zeros((replicas, samples))
    for _ in range(STEPS):
        x = mean[:, None] + rng.normal(size=(replicas, samples, 2)) / np.sqrt(K)
        gradient = K * (mean - rows[rng.integers(7, size=replicas)]) - (K * (mean[:, None] - x)).mean(axis=1)
        noise = rng.normal(size=mean.shape) * np.sqrt(2.0 * RATE * temperature)
        velocity = momentum * velocity - RATE * (gradient + 0.4 * mean)
        after = mean + velocity + noise
        work += 0.5 * (K * ((x - after[:, None]) ** 2 - (x - mean[:, None]) ** 2)).sum(axis=2)
        mean = after
    return work


@pytest.mark.parametrize(("samples", "temperature", "momentum"), [(1, 0.1, 0.0), (3, 0.0, 0.5)])
def test_closed_form(samples: int, temperature: float, momentum: float) -> None:
    """Any data, noise, decay and velocity; one chain of several, and all of them together."""
    work = plain_machine(samples, temperature, momentum, 3)
    exact = float(np.exp(gaussian_log_efficacy(K, np.full(STEPS, RATE), samples)[-1]))
    average, error = mean_and_error(np.exp(-work).mean(axis=1))
    twice = float(np.exp(gaussian_log_efficacy(K, np.full(STEPS, 2.0 * RATE), samples)[-1]))
    assert_within(average, error, exact, catches="a factor 2 in the rate", mistake=exact - twice)
    average, error = mean_and_error(np.exp(-work.sum(axis=1)))
    together = float(np.exp(gaussian_log_efficacy(K, np.full(STEPS, RATE))[-1]))
    assert_within(average, error, together, catches="chains that share theta taken for independent ones")
    if samples > 1:
        independent = abs(together - exact**samples)
        assert independent < abs(together - exact)  # 1 + r k against (1 + r k/S)^S
    schedule = np.array([0.1, 0.0, 0.2])
    by_hand = -np.log([[1.0], [1.15 * 1.3], [1.15 * 1.3], [1.15 * 1.3 * 1.3 * 1.6]])[:, 0]
    np.testing.assert_allclose(gaussian_log_efficacy(K, schedule), by_hand, rtol=1e-12)
    with pytest.raises(ValueError, match="carries theta onto x"):
        gaussian_log_efficacy(K, [-0.5])


def spin_functions(data: np.ndarray) -> tuple[Any, Any, Any]:
    """Surprisal, slope and slopes of data of two spins with biases and a coupling, by hand."""
    states = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])

    def statistics(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, x[..., :1] * x[..., 1:]], axis=-1)

    def surprisal(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        energy = (statistics(x) * theta).sum(axis=-1)
        return np.asarray(np.log(np.exp(theta @ statistics(states).T).sum(axis=-1)) - energy)

    def slope(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        weights = np.exp(theta @ statistics(states).T)
        moments = weights @ statistics(states) / weights.sum(axis=-1, keepdims=True)
        return np.asarray(moments - statistics(x))

    def data_slopes(theta: np.ndarray) -> np.ndarray:
        return np.stack([slope(np.broadcast_to(row, (len(theta), 2)), theta) for row in data])

    return surprisal, slope, data_slopes


def test_enumeration() -> None:
    """All paths of two spins and minibatches of one of three rows, against draws; at the old theta the sum is 1."""
    data = np.array([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    surprisal, slope, data_slopes = spin_functions(data)
    states = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    start, rates = np.array([0.2, -0.3, 0.5]), np.array([0.1, 0.25])
    exact = enumerated_efficacy(states, np.zeros(4), surprisal, slope, data_slopes, start, rates, 0.3)
    rng, replicas = np.random.default_rng(4), 50_000
    theta, weight = np.tile(start, (replicas, 1)), np.ones(replicas)
    for rate in rates:
        p = np.exp(-np.stack([surprisal(np.broadcast_to(s, (replicas, 2)), theta) for s in states]))
        x = states[(rng.random(replicas) > p.cumsum(axis=0)).sum(axis=0).clip(max=3)]
        drawn = data_slopes(theta)[rng.integers(3, size=replicas), np.arange(replicas)]
        after = theta - rate * (drawn - slope(x, theta) + 0.3 * theta)
        weight *= np.exp(surprisal(x, theta) - surprisal(x, after))
        theta = after
    catches = "the old theta in the place of the new one"
    assert_within(*mean_and_error(weight), exact, catches=catches, mistake=1.0 - exact)
    doubled = enumerated_efficacy(states, np.zeros(4), surprisal, slope, data_slopes, start, 2.0 * rates, 0.3)
    assert abs(doubled - exact) > 8.0 * mean_and_error(weight)[1]
    with pytest.raises(ValueError, match="too many paths"):
        enumerated_efficacy(states, np.zeros(4), surprisal, slope, data_slopes, start, np.ones(9))


def assert_theorem(ds: xr.Dataset, name: str, **wrong: Any) -> None:
    """<exp(-a)> is what is expected, mean work obeys the second law, and other settings fail by far."""
    found = feedback_efficacy(ds).sel(theorem=name).isel(step=slice(1, None))
    assert bool(found.exact.all())
    assert bool(found.reliable.all())
    assert_within(found.average, found.average_error, found.expected, catches="feedback at the wrong theta")
    margin = found.mean_work - found.bound
    assert bool((margin > -4.0 * np.hypot(found.mean_work_error, found.bound_error)).all())
    for key, value in wrong.items():
        lie = feedback_efficacy(said_to_be(ds, {f"theta.{key}": value})).sel(theorem=name).isel(step=-1)
        assert abs(float(lie.average - lie.expected)) > 8.0 * float(lie.average_error), key


@pytest.fixture(scope="module")
def chains() -> xr.Dataset:
    """Three chains of fresh samples for each theta, with noise."""
    return run(
        LEARNER,
        FRESH
        | {"theta.dynamics": "sgld", "theta.temperature": 1.0}
        | {"x.samples": 3, "run.steps": 3, "ensemble.replicas": 30_000},
    )


def test_gaussian_chains(chains: xr.Dataset) -> None:
    """1 + r k/S, a factor 2 and the sign of r; the information, of which the mean is known."""
    for name in ("work", "efficacy"):
        assert_theorem(chains, name, learning_rate=0.1)
    assert_theorem(chains, "information")
    found = feedback_efficacy(chains)
    k = np.exp([0.4, 1.1])
    exact = -gaussian_information(k, np.full(3, 0.05), 1.0, 3)[1:]
    late = found.sel(theorem="information").isel(step=slice(1, None))
    assert_within(late.bound, late.bound_error, exact, catches="the information of one chain", mistake=abs(exact) / 2)
    turned = feedback_efficacy(chains.assign(work=-chains.work)).sel(theorem="work").isel(step=-1)
    assert float(turned.mean_work - turned.bound) < -8.0 * float(turned.mean_work_error)  # against the second law
    forgotten = found.sel(theorem="work").isel(step=-1)
    assert 1.0 - float(forgotten.expected) > 8.0 * float(forgotten.average_error)  # gamma = 1, of the old theta


def test_mean_information() -> None:
    """Any density of theta' makes <exp(-w - i)> = 1; that it is the right one is seen in the mean of i."""
    cold = {"theta.dynamics": "sgld", "theta.temperature": 0.02, "theta.learning_rate": 0.15, "run.steps": 2}
    late = feedback_efficacy(run(LEARNER, FRESH | cold)).sel(theorem="information").isel(step=slice(1, None))
    exact = -gaussian_information(np.exp([0.4, 1.1]), np.full(2, 0.15), 0.02)[1:]
    assert_within(late.bound, late.bound_error, exact, catches="twice the variance of x", mistake=[0.13, 0.26])


def test_chains_that_lag() -> None:
    """Moves of small tau: the information tells all at any of them, the efficacy of fresh samples in the first step."""
    lag = CONTRAST | {"x.dynamics": "mala", "x.time_step": 0.1, "x.tau": 1, "run.steps": 3}
    few = run(LEARNER, lag | {"theta.learning_rate": 0.15})
    found = feedback_efficacy(few)
    assert found.exact.sel(theorem="efficacy").values.tolist() == [True, True, False, False]
    assert np.isnan(found.expected.sel(theorem="work").values).tolist() == [False, False, True, True]
    missed = found.isel(step=-1).sel(theorem="efficacy")
    assert abs(float(missed.average) - 1.0) > 8.0 * float(missed.average_error)
    noise = {"theta.dynamics": "sgld", "theta.temperature": 0.3, "theta.learning_rate": 0.02}
    many = run(LEARNER, lag | noise | {"ensemble.replicas": 40_000})
    assert_theorem(many, "information")
    found = feedback_efficacy(many).isel(step=-1)
    error = found.average_error.sel(theorem="information")
    assert abs(float(found.average.sel(theorem="work")) - 1.0) > 8.0 * float(error)  # had theta known nothing of x


@pytest.mark.parametrize(("batch", "samples"), [("all", 1), (2, 2)])
def test_spins(batch: Any, samples: int) -> None:
    """Sums over x, given minibatches that need not be known; gamma itself where all paths can be added up."""
    ds = run(SPINS, SPINS_FRESH | {"theta.batch": batch, "theta.spread": 0.0, "x.samples": samples})
    assert_theorem(ds, "efficacy", learning_rate=0.1)
    if batch == "all":
        assert_theorem(ds, "work", learning_rate=0.1)
        found = feedback_efficacy(ds).isel(step=1)
        bound = found.bound.sel(theorem="efficacy"), found.bound.sel(theorem="work")
        np.testing.assert_allclose(*bound, rtol=1e-12)  # two ways to one sum


@pytest.mark.parametrize(("dynamics", "batch"), [("exact", 2), ("gibbs", "all")])
def test_information_of_spins(dynamics: str, batch: Any) -> None:
    """By sums over x at the minibatch of the step; Gibbs sweeps keep a memory of x. Half the temperature fails."""
    changes = {"x.dynamics": dynamics, "theta.batch": batch, "run.steps": 2, "ensemble.replicas": 10_000}
    noise = {"theta.dynamics": "sgld", "theta.temperature": 0.3, "theta.learning_rate": 0.02}
    ds = run(SPINS, SPINS_FRESH | noise | changes)
    assert_theorem(ds, "information", **({"temperature": 0.15} if batch == "all" else {}))
    found = feedback_efficacy(ds).isel(step=-1)
    error = found.average_error.sel(theorem="information")
    assert abs(float(found.average.sel(theorem="work")) - 1.0) > 8.0 * float(error)  # had theta known nothing of x


def test_check() -> None:
    """gamma is compared with its number, chains together too; a lie about the rate is found, and reasons are said."""
    rows = {"<exp(-work)> under feedback", "<exp(-work of all chains)>"}
    sharp = FRESH | {"x.samples": 2, "run.steps": 2, "ensemble.replicas": 6000, "theta.learning_rate": 0.03}
    ds = run(LEARNER, sharp)
    report = thermosim.check(ds)
    assert report.consistent, [(row.quantity, row.z) for row in report.comparisons]
    found = {row.quantity.partition(" to step")[0]: row for row in report.comparisons}
    assert set(found) >= rows
    assert float(found["<exp(-work)> under feedback"].exact) < 0.95
    assert any("efficacy of the feedback is" in note for note in report.notes)
    assert not thermosim.check(said_to_be(ds, {"theta.learning_rate": 0.1})).consistent
    several = run(LEARNER, sharp | {"theta.spread": {"log_precision": 0.5}, "x.samples": 1})
    rows = [row.quantity for row in thermosim.check(several).comparisons]
    assert any(row.startswith("<exp(-work)>/efficacy") for row in rows)
    notes = thermosim.check(run(LEARNER, CONTRAST | {"ensemble.replicas": 200, "record.every": 2})).notes
    assert any("nor is the efficacy" in note and "fresh samples" in note for note in notes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"theta.gradient": "likelihood"}, "x does not steer theta"),
        ({"theta.learn": ["mean", "log_precision"], "theta.dynamics": "sgd"}, "no sum over x"),
        ({"x.initial": "zero"}, "does not start in equilibrium"),
        ({"record.first": 2}, "step 0"),
    ],
)
def test_reasons(changes: dict[str, Any], why: str) -> None:
    ds = run(LEARNER, FRESH | {"ensemble.replicas": 20, "run.steps": 4, "record.every": 2} | changes)
    with pytest.raises(ValueError, match=why):
        feedback_efficacy(ds)
