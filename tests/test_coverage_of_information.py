"""Intervals of entropies and informations hold the exact value 93 to 97 times in 100, or the estimate says why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import thermosim
from scripts.validation import coverage_of_information as cases
from scripts.validation.coverage import Scenario, coverage
from tests.information_ensembles import CASE, ensemble, gaussian_settings
from thermosim.analysis import entropy
from thermosim.analysis.information import learned_information
from thermosim.analysis.information_balance import information_balance, routes
from thermosim.analysis.memorised_information import dataset_information, memory
from thermosim.analysis.neighbours import neighbour_entropy
from thermosim.analysis.partial_averages import averaged_work_and_heat
from thermosim.analysis.sphere_entropy import sphere_entropy

SCENARIOS = [
    pytest.param(cases.of_law("gaussian", "correlated normal", 2, 200), 150, marks=pytest.mark.exhaustive),
    (cases.of_law("nearest-neighbour", "uniform", 2, 200), 150),
    (cases.on_sphere(4, 20.0, 160), 300),
    (cases.of_states(8, 0.0, 400), 300),
    (cases.of_sets(6, 10), 150),
    pytest.param(cases.of_which_set("classifier", 40), 100, marks=pytest.mark.exhaustive),
    pytest.param(cases.of_learning(2, 1.0, 40), 80, marks=pytest.mark.exhaustive),
    pytest.param(cases.of_balance("nearest-neighbour", 1, 200), 60, marks=pytest.mark.exhaustive),
]


@pytest.mark.parametrize(("scenario", "repeats"), SCENARIOS, ids=lambda v: getattr(v, "estimator", str(v)))
def test_coverage(scenario: Scenario, repeats: int) -> None:
    """Most of them sound, and no more misses than 1 in 10,000 tests has by chance."""
    result = coverage(scenario, repeats)
    assert result.sound > 0.7 * repeats
    assert result.allowed(), result
    assert abs(result.bias) < 0.5 * result.spread


def test_a_normal_interval_of_few_sets_would_fail() -> None:
    """Two errors of the jackknife are too short for six sets: what the interval is there for."""
    scenario = cases.of_sets(6, 10)
    found = [scenario.draw(generator) for generator in np.random.default_rng(1).spawn(60)]
    spread = np.std([estimate.value for estimate in found])
    above = np.mean([estimate.high - estimate.value for estimate in found])
    assert above > 2.5 * spread


@pytest.mark.parametrize(
    ("law", "n", "number", "reason"),
    [
        ("gamma(4)", 10, 2000, "10 dimensions are too many"),
        ("lattice of 10^n points", 3, 400, "of a component repeat"),
        ("turned uniform", 3, 1500, "the bias of neighbours shows"),
        ("bimodal", 5, 300, "too few for neighbours"),
    ],
)
def test_neighbours_that_are_not_to_be_trusted(law: str, n: int, number: int, reason: str) -> None:
    """Dimension, ties, edges at an angle, few samples."""
    samples = cases.LAWS[law][0](np.random.default_rng(0), number, n)
    assert reason in neighbour_entropy(samples).reason


def test_lattice_at_an_angle() -> None:
    """No value repeats, but distances do."""
    random = np.random.default_rng(8)
    sites, axes = random.choice(1600, 400, replace=False), np.linalg.qr(random.standard_normal((2, 2)))[0]
    turned = np.stack([sites % 40, sites // 40], axis=1) @ axes
    assert neighbour_entropy(turned).reason == "samples lie on a lattice"


def test_scores_see_edges_and_clusters() -> None:
    """What neighbours alone are off by several errors for: uniform in three dimensions, bimodal in five."""
    for law, n, number in (("uniform", 3, 1000), ("bimodal", 5, 500)):
        sample, exact = cases.LAWS[law]
        found = neighbour_entropy(sample(np.random.default_rng(3), number, n))
        assert found.reason == ""
        assert abs(found.surprisals.mean() - exact(n)) < 4.0 * found.error


def test_components_that_are_normal_and_not_together() -> None:
    """A sign that two normal components share: no component tells, the joint cumulants do."""
    random = np.random.default_rng(4)
    first = random.standard_normal(2000)
    theta = np.stack([first, first * random.choice([-1.0, 1.0], 2000)], axis=1)
    assert abs(np.corrcoef(theta.T)[0, 1]) < 0.1
    assert "not normal" in str(memory(_means(theta[None]))["reason"].values[0])
    assert str(memory(_means(random.standard_normal((1, 2000, 2))))["reason"].values[0]) == ""
    few = memory(_means(random.standard_normal((1, 20, 5))))
    assert "too few to tell a normal" in str(few["reason"].values[0])


def test_another_law_on_the_sphere() -> None:
    """Samples about two poles have no known bias."""
    random = np.random.default_rng(5)
    x = 0.3 * random.standard_normal((1000, 4))
    x[:, 0] += random.choice([-1.0, 1.0], 1000)
    assert "this is another" in sphere_entropy(x / np.linalg.norm(x, axis=1, keepdims=True)).reason


def test_sets_that_are_not_normals_of_one_covariance() -> None:
    """Where their covariances differ, pooling is not valid; where fitting costs much, the classifier is a bound."""
    random = np.random.default_rng(6)
    width = np.repeat([0.1, 1.0], 10)[:, None, None]
    ds = cases._in_sets(random.standard_normal((20, 1, 2)) + width * random.standard_normal((20, 30, 2)))
    assert "different covariances" in str(dataset_information(ds)["reason"].values[0])
    few = cases._in_sets(random.standard_normal((40, 1, 4)) + random.standard_normal((40, 3, 4)))
    assert "a lower bound" in str(dataset_information(few, "classifier")["reason"].values[0])


def test_a_reference_that_has_not_relaxed() -> None:
    """Samples that start from another law than that of their theta: how they forget it is not learned."""
    ds = _machine(**{"x.dynamics": "ula", "x.time_step": 0.1, "x.tau": 200, "x.initial": "normal"})
    balance, both = information_balance(ds, "gaussian"), routes(ds, marginal="gaussian")
    assert not bool(balance["valid"].any())
    assert "the first frame is no reference" in str(balance["reason"].values[-1])
    np.testing.assert_array_equal(both["reason"], balance["reason"])
    later = information_balance(ds.isel(step=slice(1, None)), "gaussian")
    assert "no reference" not in str(later["reason"].values[-1])


def test_feedback() -> None:
    """Where theta follows the samples, p(x|theta) is not their law, unless they are drawn anew."""
    changes = {"theta.gradient": "contrast", "theta.dynamics": "sgld", "theta.batch": "all"}
    chains = _machine(**changes, **{"x.dynamics": "ula", "x.time_step": 0.1})
    reasons = routes(chains, marginal="gaussian")["reason"].values
    assert all("theta follows the samples" in str(reason) for reason in reasons[1:])
    assert "theta follows" in str(learned_information(chains, "chains")["reason"].values[-1])


def test_work_of_chains_that_had_not_relaxed_once() -> None:
    """The ledger keeps what chains lacked on the way: relaxed again, they do not make it right."""
    changes = {"x.dynamics": "ula", "x.time_step": 0.2, "x.samples": 2, "ensemble.replicas": 4000, "record.every": 1}
    result = averaged_work_and_heat(_machine(**changes), "chains")
    valid = result["valid"].values
    assert not valid[-1]
    assert np.all(np.diff(valid.astype(int)) <= 0)
    assert "not relaxed" in str(result["reason"].values[-1])


def test_states_not_met() -> None:
    """Frequencies of many states are flagged by what they miss."""
    random = np.random.default_rng(7)
    assert "not met" in entropy.empirical_reason(random.integers(0, 2000, (1000, 1, 1)).astype(float))
    assert entropy.empirical_reason(random.integers(0, 4, (1000, 1, 1)).astype(float)) == ""


def _machine(**changes: Any) -> xr.Dataset:
    return thermosim.simulate(thermosim.load_case(CASE, changes))


def _means(theta: np.ndarray) -> xr.Dataset:
    """Learned means theta (F, R, n) at precision 1."""
    given = gaussian_settings(theta.shape[2], theta__learn=["mean"])
    return ensemble(np.concatenate([theta, np.zeros_like(theta)], axis=2), given)
