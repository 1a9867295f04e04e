"""The linear-Gaussian learning machine, exactly: against a simulation and an enumeration that share no formula."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.assertions import assert_within, mean_and_error
from tests.plain_learning_machine import MACHINE, PRECISION, RATES, ROWS, START, TIME_STEPS, Run, simulate
from thermosim.exact.learning_machine import (
    LearningMachine,
    Moments,
    Start,
    moments,
    partial_averages,
    row_cumulants,
    theta_cumulants,
)

UP = np.abs(RATES)
CASES: dict[str, tuple[LearningMachine, Start]] = {
    "sgd": (MACHINE, START),
    "momentum": (replace(MACHINE, batch=3, momentum=0.6, weight_decay=0.2), replace(START, x=None)),
    "sgld": (
        replace(
            MACHINE, learning_rate=UP, momentum=0.3, temperature=np.array([0.5, 1.5]), x_dynamics="exact-ou", tau=3
        ),
        START,
    ),
    "langevin": (
        replace(MACHINE, learning_rate=0.3, batch=None, temperature=0.7, x_dynamics="exact", tau=1, weight_decay=0.1),
        START,
    ),
    "reversed": (replace(MACHINE, learning_rate=-0.5 * UP, x_first=True), replace(START, theta_spread=0.0)),
}


def _measure(run: Run, exact: Moments, name: str, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and error of one entry of `Moments` at a step."""
    deviation = {"theta": (run.theta[step].T - exact.theta_mean[step]).T, "x": (run.x[step].T - exact.x_mean[step]).T}
    pairs = {
        "theta_covariance": ("theta", "theta"),
        "x_covariance": ("x", "x"),
        "cross_covariance": ("theta", "x"),
    }
    if name in pairs:
        a, b = (deviation[which] for which in pairs[name])
        return mean_and_error(a[:, None] * b[None, :])
    if name in ("theta_mean", "x_mean"):
        return mean_and_error(getattr(run, name.removesuffix("_mean"))[step])
    k = MACHINE.precision[:, None]
    phi = [(0.5 * k * (run.x[t] - run.theta[t]) ** 2).sum(axis=0) for t in (0, step)]
    if name == "energy_change":
        return mean_and_error(phi[1] - phi[0])
    if name == "entropy_production":
        return mean_and_error(run.log_ratio[step] + phi[1] - phi[0])
    return mean_and_error(getattr(run, name)[step])


LEDGER = ("work", "heat", "log_ratio", "energy_change", "entropy_production")
ENTRIES = ("theta_mean", "x_mean", "theta_covariance", "x_covariance", "cross_covariance", *LEDGER)
RUNS: dict[str, Run] = {}


def _case(name: str) -> tuple[LearningMachine, Start, Moments, Run]:
    machine, start = CASES[name]
    if name not in RUNS:
        RUNS[name] = simulate(machine, start, ROWS, seed=list(CASES).index(name))
    return machine, start, moments(machine, start), RUNS[name]


@pytest.mark.parametrize("name", CASES)
def test_moments_and_books_against_simulation(name: str) -> None:
    """All entries at steps 2 and N; the rows are no normal sample, so nothing rests on normal minibatch noise."""
    _, _, exact, run = _case(name)
    for entry, step in product(ENTRIES, (2, 5)):
        mean, error = _measure(run, exact, entry, step)
        value = getattr(exact, entry)[step]
        size = np.abs(value) if entry in LEDGER else None
        assert_within(mean, error, value, catches=f"a factor 2 or a sign in {entry} of {name}", mistake=size)


MISTAKES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "minibatch noise without 1/B": ("sgd", {"batch": 1}, ("theta_covariance", "work")),
    "covariance of the rows divided by K - 1": ("sgd", {"data_covariance": np.cov(ROWS.T)}, ("theta_covariance",)),
    "sign of the learning rate": ("sgd", {"learning_rate": -RATES}, ("theta_mean", "work", "heat")),
    "a learning rate one step late": ("sgd", {"learning_rate": RATES[[0, 0, 1, 2, 3]]}, ("theta_mean", "work")),
    "a time step one step late": ("sgd", {"time_step": TIME_STEPS[[0, 0, 1, 2, 3]]}, ("x_covariance", "log_ratio")),
    "theta moves after x": ("sgd", {"x_first": True}, ("work", "heat", "cross_covariance")),
    "x moves after theta": ("reversed", {"x_first": False}, ("work", "heat", "cross_covariance")),
    "one x move too many": ("sgd", {"tau": 3}, ("x_mean", "work", "heat")),
    "one x move too few": ("sgd", {"tau": 1}, ("x_mean", "work", "heat")),
    "time step twice as long": ("sgd", {"time_step": 2.0 * TIME_STEPS}, ("x_covariance", "heat")),
    "sample in continuous time": ("sgd", {"x_dynamics": "exact-ou"}, ("x_covariance", "log_ratio")),
    "no momentum": ("momentum", {"momentum": 0.0}, ("theta_mean", "theta_covariance", "work")),
    "no weight decay": ("momentum", {"weight_decay": 0.0}, ("theta_mean",)),
    "noise of theta twice as strong": ("sgld", {"temperature": np.array([1.0, 3.0])}, ("theta_covariance", "work")),
    "minibatch noise left out": ("sgld", {"batch": None}, ("theta_covariance", "heat")),
    "minibatch noise put in": ("langevin", {"batch": 2}, ("theta_covariance", "work")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_simulation_would_show(mistake: str) -> None:
    """Each mistake moves what it touches by more than eight standard errors, and the exact value stays within four."""
    name, changes, entries = MISTAKES[mistake]
    machine, start, exact, run = _case(name)
    wrong = moments(replace(machine, **changes), start)
    for entry in entries:
        mean, error = _measure(run, exact, entry, 5)
        size = np.abs(getattr(wrong, entry)[5] - getattr(exact, entry)[5])
        worst = np.unravel_index(np.argmax(size / error), size.shape)
        assert_within(mean[worst], error[worst], getattr(exact, entry)[5][worst], catches=mistake, mistake=size[worst])


def test_books_keep_theta_of_the_move() -> None:
    """Heat booked with theta of before the jump, and a log ratio without its shadow term, are both far off."""
    for name in ("sgd", "momentum"):
        _, _, exact, run = _case(name)
        mean, error = _measure(run, exact, "heat", 5)
        late = abs(run.old_theta_heat[5].mean() - exact.heat[5])
        assert_within(mean, error, exact.heat[5], catches="theta one step late in heat", mistake=late)
        mean, error = _measure(run, exact, "log_ratio", 5)
        shadow = abs(exact.shadow[5])
        assert_within(mean, error, exact.log_ratio[5], catches="no shadow term", mistake=shadow)


def test_theta_by_enumeration() -> None:
    """Two steps of two rows out of three: all 81 paths, equally likely, give every cumulant of theta to rounding."""
    rows = np.array([[1.0, -0.5], [0.1, 2.0], [-0.6, 0.3]])
    rates = np.array([0.9, 0.4])
    machine = LearningMachine(
        PRECISION, rows.mean(axis=0), np.cov(rows.T, ddof=0), 2, rates, batch=2, weight_decay=0.3, momentum=0.5
    )
    start = Start(np.array([0.3, -0.2]))

    def paths(momentum: float) -> np.ndarray:
        ends = []
        for choice in product(range(3), repeat=4):
            m, v = start.theta_mean, np.zeros(2)
            for rate, batch in zip(rates, (choice[:2], choice[2:])):
                v = momentum * v - rate * (PRECISION * (m - rows[list(batch)].mean(axis=0)) + 0.3 * m)
                m = m + v
            ends.append(m)
        return np.array(ends)

    ends, exact = paths(0.5), moments(machine, start)
    np.testing.assert_allclose(exact.theta_mean[2], ends.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(exact.theta_covariance[2], np.cov(ends.T, ddof=0), rtol=1e-13)
    third, fourth = theta_cumulants(replace(machine, momentum=0.0), *row_cumulants(rows))
    ends = paths(0.0)
    deviation = ends - ends.mean(axis=0)
    np.testing.assert_allclose(third[2], np.mean(deviation**3, axis=0), rtol=1e-12)
    square = np.mean(deviation**2, axis=0)
    np.testing.assert_allclose(fourth[2], np.mean(deviation**4, axis=0) - 3.0 * square**2, rtol=1e-12)


def test_stationary_sgd() -> None:
    """Var theta = (r C/2)/k/(1 - r k/2) with C = k^2 C_rows/B the variance of the gradient; it is rC/2 as r -> 0."""
    rate, batch = 0.3, 4
    machine = replace(MACHINE, steps=400, learning_rate=rate, time_step=0.1, batch=batch, tau=0)
    variance = np.diag(moments(machine, START, record=[400]).theta_covariance[0])
    gradient = PRECISION**2 * ROWS.var(axis=0) / batch
    np.testing.assert_allclose(variance, 0.5 * rate * gradient / PRECISION / (1.0 - 0.5 * rate * PRECISION), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_identities(name: str) -> None:
    """First law at every step; recording some steps changes nothing; sigma is the work where moves are in balance."""
    machine, start, exact, _ = _case(name)
    np.testing.assert_allclose(exact.work + exact.heat, exact.energy_change, rtol=0, atol=1e-13)
    some = moments(machine, start, record=[1, 4])
    np.testing.assert_allclose(some.theta_covariance, exact.theta_covariance[[1, 4]], rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(some.heat, exact.heat[[1, 4]], rtol=1e-13, atol=1e-15)
    if machine.x_dynamics != "ula":
        np.testing.assert_allclose(exact.entropy_production, exact.work, rtol=0, atol=1e-13)
    still = moments(replace(machine, learning_rate=0.0), start)
    if machine.momentum == 0.0:
        np.testing.assert_allclose(still.theta_mean, np.tile(start.theta_mean, (6, 1)), rtol=1e-14)
        np.testing.assert_allclose(still.work, 0.0, atol=1e-13)


def test_fresh_samples_make_work_the_sum_of_divergences() -> None:
    """tau -> inf: W = sum D(p_{t-1} || p_t) along one path of theta, and on average over noisy paths."""
    machine = replace(MACHINE, x_dynamics="exact", batch=None)
    start = Start(START.theta_mean)
    exact = moments(machine, start)
    averages = partial_averages(exact.theta_mean, np.tile(PRECISION, (6, 1)))
    np.testing.assert_allclose(exact.work, averages.work, rtol=1e-12)
    np.testing.assert_allclose(exact.heat, averages.heat, rtol=1e-12)
    np.testing.assert_allclose(averages.work, averages.divergence, rtol=1e-12, atol=1e-14)
    slow = moments(replace(machine, x_dynamics="ula", time_step=1e-3, tau=20_000), start)
    np.testing.assert_allclose(slow.work, exact.work, rtol=3e-3)
    run = RUNS.get("sgd") or _case("sgd")[3]
    noisy = moments(replace(MACHINE, x_dynamics="exact"), replace(START, x=None))
    theta = np.swapaxes(run.theta, 1, 2)
    mean, error = mean_and_error(partial_averages(theta, np.broadcast_to(PRECISION, theta.shape)).work[5])
    less = moments(replace(MACHINE, x_dynamics="exact", batch=4), replace(START, x=None)).work[5]
    assert_within(mean, error, noisy.work[5], catches="noise in the divergence", mistake=abs(less - noisy.work[5]))


def test_published_numbers() -> None:
    """One component, m from 0 to 1 and k from 1 to 4 in ten equal jumps of both."""
    t = np.linspace(0.0, 1.0, 11)[:, None]
    averages = partial_averages(t, 1.0 + 3.0 * t)
    np.testing.assert_allclose(averages.work[-1], 0.19223333, atol=5e-9)
    np.testing.assert_allclose(averages.heat[-1], -0.88538051, atol=5e-9)
    np.testing.assert_allclose(averages.work[-1] + averages.heat[-1], -0.5 * np.log(4.0), rtol=1e-13)
    assert averages.work[0] == 0.0


@pytest.mark.parametrize("name", CASES)
def test_response_is_the_slope_of_the_mean(name: str) -> None:
    """d<m_i>/d mu_j by differences, which are exact for linear moves: weight decay and momentum act on it too."""
    machine, start = CASES[name]
    machine = replace(machine, weight_decay=0.3)
    response = moments(machine, start).response
    for j in range(2):
        ends = [moments(replace(machine, data_mean=machine.data_mean + s * np.eye(2)[j]), start) for s in (-1.0, 1.0)]
        slope = 0.5 * (ends[1].theta_mean - ends[0].theta_mean)
        np.testing.assert_allclose(response[..., j], slope, atol=1e-12)
    assert np.abs(response[-1]).max() > 0.1


def test_refusals() -> None:
    """What has no exact moments says so."""
    with pytest.raises(ValueError, match="no exact moments of the move 'mala'"):
        replace(MACHINE, x_dynamics="mala")
    with pytest.raises(ValueError, match="learning_rate of shape"):
        replace(MACHINE, learning_rate=[0.1, 0.2])
    with pytest.raises(ValueError, match="r >= 0"):
        replace(MACHINE, temperature=1.0)
    with pytest.raises(ValueError, match=r"among 0\.\.5"):
        moments(MACHINE, START, record=[6])
    with pytest.raises(ValueError, match="momentum"):
        theta_cumulants(replace(MACHINE, momentum=0.9), *row_cumulants(ROWS))
