"""Mobilities, one per component: the exact ratio of a move, steady currents of unlike beads, invariant laws, rules."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import linalg

import thermosim
from tests.assertions import assert_within
from tests.learning_paths import LEARNER
from tests.learning_paths import run as learn
from thermosim.analysis import work
from thermosim.case.faults import CaseError
from thermosim.exact import driven, linear_langevin

BEADS = """
title = "beads of different friction"
[model]
name = "two-beads"
stiffness = 1.0
coupling = 1.5
[x]
dynamics = "ula"
time_step = 0.02
tau = 5
temperature = [2.5, 1.0]
mobility = [2.0, 0.4]
initial = "normal"
[ensemble]
replicas = 4096
seed = 7
[run]
steps = 200
[record]
every = 4
"""
TRAP = """
title = "a correlated trap"
[model]
name = "harmonic-trap"
dimension = 2
[theta]
dynamics = "protocol"
[theta.protocol]
stiffness = [[1.6, 0.7], [0.7, 1.0]]
[x]
dynamics = "mala"
time_step = 0.3
tau = 20
temperature = 0.8
mobility = [2.0, 0.3]
initial = "zero"
[ensemble]
replicas = 4096
seed = 3
[run]
steps = 3
[record]
every = 1
"""


@functools.cache
def _run(text: str, overrides: str) -> xr.Dataset:
    return thermosim.simulate(thermosim.load_case(text, json.loads(overrides)))


def run(text: str, changes: dict[str, Any] | None = None) -> xr.Dataset:
    return _run(text, json.dumps(changes or {}))


def _log_normal(x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.asarray(-0.5 * ((x - mean) ** 2 / variance + np.log(variance)).sum(-1))


def _ratio(x: np.ndarray, new: np.ndarray, force: Any, h: np.ndarray, temperature: Any) -> np.ndarray:
    """ln p(new|x) - ln p(x|new) from the two Gaussian densities."""
    variance = 2.0 * h * np.asarray(temperature)
    forward = _log_normal(new, x + h * force(x), variance)
    return np.asarray(forward - _log_normal(x, new + h * force(new), variance))


def test_exact_ratio_of_one_move() -> None:
    """In the form for one lane, at two temperatures, and in that for a tile."""
    ds = run(BEADS, {"x.tau": 1, "run.steps": 1, "record.every": 1, "x.time_step": 0.1, "ensemble.replicas": 200})
    x, mu = ds.x.values, np.array([2.0, 0.4])
    pull = np.array([[-2.5, 1.5], [1.5, -2.5]])
    expected = _ratio(x[0], x[1], lambda y: y @ pull, 0.1 * mu, [2.5, 1.0])
    np.testing.assert_allclose(ds.log_ratio_x[1], expected, atol=1e-12)
    tile = learn(LEARNER, {"x.mobility": mu.tolist(), "x.tau": 1, "run.steps": 1, "ensemble.replicas": 200})
    x, theta = tile.x.values, tile.theta.values[1]
    k, m = np.exp(theta[:, 2:]), theta[:, :2]
    expected = _ratio(x[0], x[1], lambda y: -k * (y - m), 0.2 * mu, 1.0)
    np.testing.assert_allclose(tile.log_ratio_x[1], expected, atol=1e-12)
    noise = (x[1] - x[0] + 0.2 * mu * k * (x[0] - m)) / np.sqrt(0.4 * mu)
    assert 0.7 < float(noise.std(axis=0).min()) < float(noise.std(axis=0).max()) < 1.3


def test_currents_of_unlike_beads() -> None:
    """Heat and entropy production of the run, of the finite-step chain, and as h -> 0 by the Lyapunov equation."""
    ds = run(BEADS)
    report = thermosim.check(ds)
    assert report.consistent, [(c.quantity, c.z) for c in report.comparisons]
    assert any("cold bath" in c.quantity for c in report.comparisons)
    alike = 1.5**2 * 1.5 / (2.0 * 2.5)
    exact = driven.two_bead_current(1.0, 1.5, 2.5, 1.0, (2.0, 0.4))
    currents = work.heat_currents(ds, 40, 200).sel(bath="hot")
    estimate, error = currents.heat_current, currents.heat_current_error
    assert_within(estimate, error, exact, catches="mobilities left out", mistake=abs(alike - exact))
    rate = work.entropy_production(ds, 40, 200)
    estimate, error = rate.entropy_production_rate, rate.entropy_production_rate_error
    exact = driven.two_bead_rate(1.0, 1.5, 2.5, 1.0, (2.0, 0.4))
    assert_within(estimate, error, exact, catches="another time", mistake=0.3 * exact)


def test_exact_currents() -> None:
    """Closed form, Lyapunov equation, and finite-step chain at small h; and the chain's own limit of stability."""
    mu, t = np.array([3.0, 0.25]), np.array([2.0, 0.7])
    matrix = np.array([[-2.2, 0.9], [0.9, -2.2]])
    rate = linear_langevin.entropy_production_rate(matrix, t, mu)
    np.testing.assert_allclose(rate, driven.two_bead_rate(1.3, 0.9, 2.0, 0.7, (3.0, 0.25)), rtol=1e-12)
    force = linear_langevin.LinearForce(-matrix, np.zeros(2), np.zeros((2, 2)))
    gaps = []
    for h in (2e-3, 1e-3):
        books = linear_langevin.stationary_books(force, "ula", h, t, mu)
        gaps.append(books.log_ratio / h - rate)
        np.testing.assert_allclose(books.log_ratio, -(books.heat_of_component / t).sum(), rtol=1e-9)
    assert 0.45 < gaps[1] / gaps[0] < 0.55
    limit = linear_langevin.largest_time_step(matrix, mu)
    largest = np.abs(linalg.eigvals(np.eye(2) + limit * mu[:, None] * matrix)).max()
    np.testing.assert_allclose(largest, 1.0, rtol=1e-12)


@pytest.mark.parametrize("dynamics", ["mala", "metropolis"])
def test_moves_in_balance(dynamics: str) -> None:
    """The law of x does not know the mobilities; how many proposals are accepted does."""
    ds = run(TRAP, {"x.dynamics": dynamics, "x.tau": 40})
    x = ds.x.values[-1]
    products = np.stack([x[:, 0] ** 2, x[:, 0] * x[:, 1], x[:, 1] ** 2])
    covariance = 0.8 * np.linalg.inv([[1.6, 0.7], [0.7, 1.0]])
    exact = np.array([covariance[0, 0], covariance[0, 1], covariance[1, 1]])
    mean, error = products.mean(axis=1), products.std(axis=1, ddof=1) / np.sqrt(products.shape[1])
    assert_within(mean, error, exact, catches="a ratio with one mobility for both", mistake=0.3 * np.abs(exact))
    accepted = float(ds.accepted[-1].mean())
    alike = float(run(TRAP, {"x.dynamics": dynamics, "x.tau": 40, "x.mobility": 1.0}).accepted[-1].mean())
    assert abs(accepted - alike) > 1.0
    np.testing.assert_allclose(ds.log_ratio_x, -ds.heat / 0.8, atol=1e-11)


def test_a_number_is_a_longer_step() -> None:
    """To the last bit, and in the theory of a learning machine; one in a list of equal numbers too."""
    for changes in ({"x.dynamics": "ula"}, {"x.dynamics": "mala"}, {"x.dynamics": "exact-ou"}):
        short = run(TRAP, changes | {"x.time_step": 0.125, "x.mobility": 2.0, "ensemble.replicas": 100})
        long = run(TRAP, changes | {"x.time_step": 0.25, "x.mobility": 1.0, "ensemble.replicas": 100})
        np.testing.assert_array_equal(short.x, long.x)
        np.testing.assert_array_equal(short.log_ratio_x, long.log_ratio_x)
    few = {"x.dynamics": "ula", "ensemble.replicas": 100}
    alike = run(TRAP, few | {"x.time_step": 0.125, "x.mobility": [2.0, 2.0]})
    np.testing.assert_array_equal(alike.x, run(TRAP, few | {"x.time_step": 0.25, "x.mobility": 1.0}).x)
    machine = learn(LEARNER, {"x.mobility": 0.5, "ensemble.replicas": 2000})
    report = thermosim.check(machine)
    assert report.consistent, [(c.quantity, c.z) for c in report.comparisons]
    assert any("mean heat" in c.quantity for c in report.comparisons)


def test_sweep_of_mobilities() -> None:
    """An axis of lists: each point is compared with the theory of its own."""
    text = BEADS + '[sweep]\n"x.mobility" = { values = [[1.0, 1.0], [0.3, 2.0]] }\n'
    ds = run(text, {"ensemble.replicas": 1024, "run.steps": 60, "record.every": 12})
    report = thermosim.check(ds)
    assert report.consistent, [(c.quantity, c.z) for c in report.comparisons]


def test_rules() -> None:
    for text, changes, words in (
        (TRAP, {"x.dynamics": "exact-ou"}, "give one number"),
        (BEADS, {"x.mobility": [1.0, 2.0, 3.0]}, "x.mobility"),
        (BEADS, {"x.mobility": [1.0, -2.0]}, "more than 0"),
        (BEADS, {"x.mobility": {"kind": "linear", "initial": 1.0, "final": 2.0}}, "schedule x.time_step"),
        (BEADS, {"x.initial": "equilibrium"}, "mobility 1"),
        (BEADS, {"x.mobility": [20.0, 1.0], "x.time_step": 0.05}, "unstable"),
        (LEARNER, {"x.dynamics": "exact", "x.time_step": None, "x.mobility": 2.0}, "no meaning"),
    ):
        with pytest.raises(CaseError, match=words):
            thermosim.load_case(text, changes)
    assert thermosim.load_case(TRAP, {"x.initial": "equilibrium"}).settings.of_x.mobility == [2.0, 0.3]
