"""D(p*||p_theta) and D(p_theta||p*): closed forms, sums and samples against each other and against exact recursions."""

from __future__ import annotations

import numpy as np
import pytest

from tests.assertions import assert_within
from tests.learning_paths import LEARNER, SPINS, linear_machine, run
from thermosim.analysis.free_energy import free_energy
from thermosim.analysis.machine import machines
from thermosim.checks.free_energy import free_energy_comparisons
from thermosim.data import DataSection
from thermosim.data.densities import log_density
from thermosim.data.generators import generated
from thermosim.exact.gaussian_information import relative_entropy
from thermosim.exact.linear_langevin import Gaussian

COVARIANCE, MEAN, K = np.array([[1.0, 0.5], [0.5, 0.7]]), np.array([0.2, 0.6]), np.exp([0.4, 1.1])
WELL = """
title = "a double well learns a mixture"
[model]
name = "double-well"
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = 8
spread = 0.05
[data]
source = "mixture"
centers = [[-1.0], [1.2]]
deviation = 0.5
[ensemble]
replicas = 200
seed = 2
[run]
steps = 40
[record]
every = 10
"""


def test_gaussian_machine() -> None:
    """Correlated target, independent model: replicas by the formula of normals, the mean by exact moments of theta."""
    ds = run(LEARNER)
    result = free_energy(ds, frames=4)
    assert result.attrs["method"] == "closed-form"
    theta = machines(ds)[0].theta(-1)
    aim = Gaussian(MEAN, COVARIANCE)
    for replica in (0, 17):
        own = Gaussian(theta[replica, :2], np.diag(1.0 / K))
        here = result.isel(step=-1, replica=replica)
        np.testing.assert_allclose(here.target_divergence, relative_entropy(aim, own), rtol=1e-10)
        np.testing.assert_allclose(here.free_energy, relative_entropy(own, aim), rtol=1e-10)
    law = linear_machine(ds)
    inverse, last = np.linalg.inv(COVARIANCE), result.isel(step=-1)
    gap = law.theta_mean[-1] - MEAN
    volumes = np.linalg.slogdet(COVARIANCE)[1] + np.log(K).sum()
    square = law.theta_covariance[-1] + np.outer(gap, gap)
    forth = 0.5 * ((K * np.diag(COVARIANCE)).sum() - 2.0 - volumes + (K * np.diag(square)).sum())
    back = 0.5 * ((np.diag(inverse) / K).sum() - 2.0 + volumes + (inverse * square).sum())
    for name, exact in (("target_divergence", forth), ("free_energy", back)):
        noise = 0.5 * float((K * np.diag(law.theta_covariance[-1])).sum())
        estimate, error = last[f"mean_{name}"], last[f"mean_{name}_error"]
        assert_within(estimate, error, exact, catches="the spread of theta left out", mistake=noise / 2.0)
    assert abs(forth - back) > 20.0 * float(last.mean_free_energy_error)  # they are not each other
    np.testing.assert_allclose(last.free_energy_change, last.mean_free_energy - result.mean_free_energy[0], atol=1e-12)


def test_check_compares_it() -> None:
    """The rows agree with the recursion; theta that moved a little too far does not."""
    ds = run(LEARNER)
    for theta, right in ((ds.theta, True), (1.05 * ds.theta - 0.05 * ds.theta[0], False)):
        here = ds.assign(theta=theta)
        comparisons = free_energy_comparisons(here, machines(here))
        assert len(comparisons) == 2
        assert all((float(np.abs(c.z).max()) < 4.0) == right for c in comparisons)


def test_samples() -> None:
    """Few rows for each replica: right on average, with the error that they have; a law given as a function."""
    ds = run(LEARNER, {"ensemble.replicas": 1500})
    exact, sampled = free_energy(ds, frames=2), free_energy(ds, frames=2, method="samples", draws=8)
    section = machines(ds)[0].settings.data
    given = free_energy(ds, lambda x: log_density(section, x), frames=2)
    assert given.attrs["method"] == "samples"
    assert "target_divergence" not in given  # nobody can draw from a function
    for name, other in (("target_divergence", sampled), ("free_energy", sampled), ("free_energy", given)):
        gap = (other[name] - exact[name]).isel(step=-1)
        mean, error = float(gap.mean()), float(gap.std(ddof=1)) / np.sqrt(gap.size)
        size = float(exact[f"mean_{name}"][-1])
        assert_within(mean, error, 0.0, catches="rows of the other law", mistake=size / 2.0)
        scores = gap / other[f"{name}_error"].isel(step=-1)
        assert 0.7 < float(np.sqrt((scores**2).median() / 0.506)) < 1.4  # t of seven degrees of freedom
        spread, wide = (float(d[f"{name}_spread"][-1]) for d in (exact, other))
        noise = float(other[f"{name}_spread_error"][-1])
        assert abs(wide - spread) < 4.0 * noise + 0.05 * spread


def test_spins_and_their_teacher() -> None:
    """Cross-entropies, the sum over all states, and the sum written out."""
    ds = run(SPINS, {"ensemble.replicas": 300})
    closed, summed = (free_energy(ds, frames=2, method=method) for method in ("closed-form", "support"))
    machine = machines(ds)[0]
    points = np.array([[1.0 - 2.0 * ((s >> i) & 1) for i in range(4)] for s in range(16)])
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    features = np.concatenate([points, np.stack([points[:, i] * points[:, j] for i, j in pairs], axis=1)], axis=1)

    def law(theta: np.ndarray) -> np.ndarray:
        weights = np.exp(theta @ features.T)
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True))

    p, aim = law(machine.theta(-1)), law(np.array([0.6, -0.4, 0.2, 0.0, *[0.3] * 6]))
    for result in (closed, summed):
        last = result.isel(step=-1)
        assert bool(result.valid)
        np.testing.assert_allclose(last.target_divergence, (aim * np.log(aim / p)).sum(axis=1), atol=1e-9)
        np.testing.assert_allclose(last.free_energy, (p * np.log(p / aim)).sum(axis=1), atol=1e-9)
    own = free_energy(ds, machine.theta(0)[5], frames=2).isel(step=0, replica=5)
    np.testing.assert_allclose([own.target_divergence, own.free_energy], 0.0, atol=1e-12)


def test_double_well_by_quadrature() -> None:
    """A mixture that is not of the family, against another rule for the integral; learning lowers the excess loss."""
    ds = run(WELL)
    result = free_energy(ds, frames=3)
    assert result.attrs["method"] == "support"
    assert bool(result.valid)
    machine = machines(ds)[0]
    nodes, weights = np.polynomial.legendre.leggauss(400)
    x, weights = 4.0 * nodes, 4.0 * weights
    own = -machine.evaluator.surprisals(x[:, None], machine.theta(-1))
    normal = np.exp(-0.5 * ((x - np.array([[-1.0], [1.2]])) / 0.5) ** 2).mean(axis=0) / (0.5 * np.sqrt(2.0 * np.pi))
    last = result.isel(step=-1)
    np.testing.assert_allclose(last.target_divergence, (weights * normal * (np.log(normal) - own)).sum(1), atol=1e-6)
    np.testing.assert_allclose(last.free_energy, (weights * np.exp(own) * (own - np.log(normal))).sum(1), atol=1e-6)
    assert float(last.target_divergence_change) < -8.0 * float(last.target_divergence_change_error)
    narrow = free_energy(run(WELL, {"data.centers": [[-1.0], [3.9]], "run.steps": 10}), frames=2)
    assert not bool(narrow.valid)  # the well ends at 4


def test_densities_of_generated_rows() -> None:
    """Each integrates to one and has the entropy of its rows."""
    axis = np.linspace(-6.0, 6.0, 601)
    grid = np.stack([side.ravel() for side in np.meshgrid(axis, axis)], axis=-1)
    area = (axis[1] - axis[0]) ** 2
    sections = (
        DataSection(source="ring", radius=1.4, deviation=0.3),
        DataSection(source="mixture", centers=[[0.0, 1.0], [-1.0, 0.5]], weights=[1.0, 3.0], deviation=[0.4, 0.8]),
        DataSection(source="gaussian", mean=[0.2, 0.6], covariance=COVARIANCE.tolist()),
    )
    for section in sections:
        logarithm = log_density(section, grid)
        density = np.exp(logarithm) * area
        np.testing.assert_allclose(density.sum(), 1.0, rtol=1e-6)
        values = -log_density(section, generated(section, 2, 20000, 3)[0])
        entropy = -(density * logarithm).sum()
        error = values.std(ddof=1) / np.sqrt(values.size)
        assert_within(values.mean(), error, entropy, catches="another deviation or weight", mistake=0.1)


def test_refusals() -> None:
    ds = run(LEARNER)
    with pytest.raises(ValueError, match="expected one of"):
        free_energy(ds, method="guess")
    with pytest.raises(ValueError, match="4 parameters"):
        free_energy(ds, np.zeros(3))
    with pytest.raises(ValueError, match="no support"):
        free_energy(ds, method="support")
    with pytest.raises(ValueError, match="not known"):
        log_density(DataSection(source="digits"), np.zeros((1, 2)))
