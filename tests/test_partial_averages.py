"""Work, heat and entropies averaged over samples: closed forms, enumerations and chains against each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.assertions import assert_within
from tests.learning_paths import LEARNER, RBM, SPINS, run
from thermosim.analysis import learning
from thermosim.analysis.machine import machines
from thermosim.analysis.partial_averages import averaged_work_and_heat, partial_entropies


def _rbm_energy(theta: np.ndarray) -> np.ndarray:
    """Energy of all eight states, hidden units summed out one by one: (8,)."""
    states = np.array([[(s >> i) & 1 for i in range(3)] for s in range(8)], float)
    a, b, w = theta[:3], theta[3:5], theta[5:].reshape(3, 2)
    total = np.zeros(8)
    for s, v in enumerate(states):
        total[s] = sum(
            np.exp(a @ v + h0 * (b[0] + v @ w[:, 0]) + h1 * (b[1] + v @ w[:, 1])) for h0 in (0, 1) for h1 in (0, 1)
        )
    return np.asarray(-np.log(total))


def test_energies_without_normaliser() -> None:
    """dF enters the theorem, and W_X - dF is the sum of divergences: against an enumeration of visible and hidden."""
    rbm = run(RBM)
    theorems = learning.fluctuation_theorems(rbm)
    assert theorems.exact.values.tolist() == [False, False, True]
    late = theorems.isel(theorem=2, step=slice(1, None))
    energies = [_rbm_energy(theta) for theta in rbm.theta.isel(replica=0).values]
    logarithms = np.array([np.log(np.exp(-energy).sum()) for energy in energies])
    assert_within(
        late.average, late.average_error, 1.0, catches="ln Z left out", mistake=np.abs(np.expm1(logarithms[1:]))
    )
    probabilities = [np.exp(-energy - ln_z) for energy, ln_z in zip(energies, logarithms)]
    work = sum(p @ (after - before) for p, before, after in zip(probabilities, energies, energies[1:]))
    heat = sum((q - p) @ after for p, q, after in zip(probabilities, probabilities[1:], energies[1:]))
    divergence = sum(p @ np.log(p / q) for p, q in itertools.pairwise(probabilities))
    averaged = averaged_work_and_heat(rbm).isel(replica=7, step=-1)
    assert averaged.attrs["method"] == "support"
    np.testing.assert_allclose(averaged.work, work, rtol=1e-10)
    np.testing.assert_allclose(averaged.heat, heat, rtol=1e-10)
    np.testing.assert_allclose(averaged.divergence, divergence, rtol=1e-10)
    entropy = -sum(p * np.log(p) for p in probabilities[-1])
    np.testing.assert_allclose(averaged.conditional_entropy, entropy, rtol=1e-10)


def test_free_energy_enters_the_theorems_of_the_work() -> None:
    """All states alike at the start, so that random spins are in equilibrium: <exp(-w + dF)> = 1, dF far from 0."""
    zero = {
        "theta.protocol.visible_bias.initial": [0.0] * 3,
        "theta.protocol.hidden_bias.initial": [0.0] * 2,
        "theta.protocol.weights.initial": [[0.0] * 2] * 3,
    }
    rbm = run(RBM, zero | {"ensemble.replicas": 20_000})
    energies = [_rbm_energy(theta) for theta in rbm.theta.isel(replica=0).values]
    gain = np.array([np.log(np.exp(-energy).sum()) for energy in energies])
    gain -= gain[0]
    late = learning.fluctuation_theorems(rbm).isel(step=slice(1, None))
    mistake = np.broadcast_to(np.abs(np.expm1(gain[1:])), late.average.shape)
    assert_within(late.average, late.average_error, 1.0, catches="dF left out, or its sign", mistake=mistake)
    ledger = learning.learning_ledger(rbm).isel(step=-1)
    np.testing.assert_allclose(ledger.entropy_production, ledger.log_ratio + ledger.energy_change + gain[-1])


def test_averages_by_closed_form_support_and_chains() -> None:
    """Three routes for one ensemble of spins: two exact ones agree, chains within error on the same paths of theta."""
    ds = run(SPINS, {"x.dynamics": "exact", "x.samples": 3})
    closed, summed, chains = (averaged_work_and_heat(ds, method) for method in ("closed-form", "support", "chains"))
    for name in ("work", "heat", "divergence", "conditional_entropy"):
        np.testing.assert_allclose(closed[name], summed[name], atol=1e-9)
    np.testing.assert_allclose(closed.work, closed.divergence, atol=1e-12)
    change = closed.conditional_entropy - closed.conditional_entropy.isel(step=0)
    np.testing.assert_allclose(closed.work + closed.heat, change, atol=1e-12)
    assert bool(chains.valid.all())
    assert bool(summed.valid)
    for name in ("work", "heat"):
        gap = (chains[name] - closed[name]).isel(step=-1)
        mean, error = float(gap.mean()), float(gap.std(ddof=1)) / np.sqrt(gap.size)
        size = abs(float(closed[f"mean_{name}"].isel(step=-1)))
        assert_within(mean, error, 0.0, catches=f"theta one step off in {name}", mistake=size)
    late = closed.isel(step=slice(0, None, 2))
    with pytest.raises(ValueError, match=r"record\.every = 1"):
        averaged_work_and_heat(ds.isel(step=slice(0, None, 2)))
    coarse = averaged_work_and_heat(ds.isel(step=slice(0, None, 2)), "chains")
    np.testing.assert_allclose(coarse.work, chains.work.isel(step=slice(0, None, 2)))
    assert late.sizes["step"] == coarse.sizes["step"]
    with pytest.raises(ValueError, match="expected one of"):
        averaged_work_and_heat(ds, "guess")


def test_entropies_by_enumeration() -> None:
    """S_X and I of spins against sums written out; Eq. 44 holds, and Sigma_{X|Theta} is the sum of divergences."""
    ds = run(SPINS, {"ensemble.replicas": 300})
    result = partial_entropies(ds, frames=6)
    machine = machines(ds)[0]
    points = np.array([[1.0 - 2.0 * ((s >> i) & 1) for i in range(4)] for s in range(16)])
    theta = machine.theta(5)
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    features = np.concatenate([points, np.stack([points[:, i] * points[:, j] for i, j in pairs], axis=1)], axis=1)
    weights = np.exp(theta @ features.T)
    p = weights / weights.sum(axis=1, keepdims=True)
    last = result.isel(step=-1)
    np.testing.assert_allclose(last.conditional_entropy, -(p * np.log(p)).sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(last.marginal_entropy, -(p @ np.log(p.mean(axis=0))), rtol=1e-10)
    averaged = averaged_work_and_heat(ds)
    np.testing.assert_allclose(result.conditional_entropy_production, averaged.divergence, atol=1e-12)
    gain = result.information - result.information.isel(step=0)
    np.testing.assert_allclose(result.ignorance_entropy_production, gain, atol=1e-13)
    difference = result.marginal_entropy_production - result.conditional_entropy_production
    np.testing.assert_allclose(difference, gain, atol=1e-12)
    np.testing.assert_allclose(last.overlap, 300.0 * np.exp(-float(last.mean_information)), rtol=1e-12)


def test_entropies_by_samples() -> None:
    """One Gaussian component: sampled S_X against quadrature over the same mixture of replicas."""
    changes = {"model.dimension": 1, "theta.initial": {"mean": 1.0, "log_precision": 0.8}, "ensemble.replicas": 400}
    text = LEARNER.replace("covariance = [[1.0, 0.5], [0.5, 0.7]]\nmean = [0.2, 0.6]", "deviation = 0.9\nmean = 0.3")
    ds = run(text, changes | {"theta.spread": {"mean": 0.8}, "theta.batch": 1})
    result = partial_entropies(ds, frames=3, draws=8)
    theta = machines(ds)[0].theta(-1)[:, 0]
    grid = np.linspace(-9.0, 10.0, 4001)
    k = np.exp(0.8)
    p = np.sqrt(k / (2.0 * np.pi)) * np.exp(-0.5 * k * (grid - theta[:, None]) ** 2)
    exact = -(p @ np.log(p.mean(axis=0))) * (grid[1] - grid[0])
    last = result.isel(step=-1)
    gap = last.marginal_entropy - exact
    error = np.sqrt(float((last.marginal_entropy_error**2).mean()) / gap.size)
    size = abs(float(exact.mean()) - 0.5 * (1.0 + np.log(2.0 * np.pi / k)))
    assert_within(gap.mean(), error, 0.0, catches="S_{X|Theta} in the place of S_X", mistake=size)
    scores = gap / last.marginal_entropy_error
    assert 0.8 < float(np.sqrt((scores**2).median() / 0.52)) < 1.3  # t of seven degrees of freedom: median of t^2 0.51
    information = 0.5 * np.log1p(k * theta.var(ddof=1))
    estimate, error = float(last.mean_information), float(last.mean_information_error)
    assert_within(estimate, error, information, catches="a factor 2 in the information", mistake=information)
    assert bool(last.reliable)
    three, machine = ds.isel(replica=slice(0, 3)), machines(ds.isel(replica=slice(0, 3)))[0]
    x = learning.exact_samples(machine, ds.sizes["step"] - 1, learning.ENTROPIES, 8)[..., 0]
    density = np.sqrt(k / (2.0 * np.pi)) * np.exp(-0.5 * k * (x[..., None] - machine.theta(-1)[:, 0]) ** 2)
    of_three = partial_entropies(three, frames=2, draws=8).isel(step=-1)
    conditional = 0.5 * (1.0 + np.log(2.0 * np.pi / k))
    sampled = -0.5 * k * (x - machine.theta(-1)[:, :1]) ** 2 + 0.5 * np.log(k / (2.0 * np.pi))
    expected = conditional + (sampled - np.log(density.mean(axis=-1))).mean(axis=1)
    np.testing.assert_allclose(of_three.marginal_entropy, expected, rtol=1e-9)
    few = partial_entropies(ds.isel(replica=slice(0, 60)), frames=2)
    assert not bool(few.reliable.any())
