"""Ideal learning and joint entropy against the closed forms of normal machines, and against sums over all spins."""

from __future__ import annotations

import numpy as np
import pytest

from tests.assertions import assert_within
from tests.learning_paths import LEARNER, SPINS, run
from thermosim.analysis.canonical_law import canonical_law
from thermosim.analysis.free_energy import free_energy
from thermosim.analysis.ideal_learning import ideal_learning, joint_entropy
from thermosim.analysis.machine import machines
from thermosim.analysis.partial_averages import partial_entropies
from thermosim.analysis.theta_entropy import pathwise_clausius, theta_fluctuation_theorem
from thermosim.exact import gaussian_information
from thermosim.exact.learning_machine import LearningMachine, Moments, Start, moments

K, RATE, WARM = np.exp([0.4, 1.1]), 0.15, 0.5
SPREAD = np.array([0.2, 0.15])
# all of the data and normal noise, so that theta and the pair are normal
NORMAL = {
    "theta.dynamics": "langevin",
    "theta.batch": "all",
    "theta.temperature": WARM,
    "theta.learning_rate": RATE,
    "theta.spread": {"mean": SPREAD.tolist()},
    "x.dynamics": "exact",
    "x.time_step": None,
    "ensemble.replicas": 2000,
}


def _law(machine_data: np.ndarray, covariance: np.ndarray, steps: int) -> Moments:
    machine = LearningMachine(K, machine_data, covariance, steps, RATE, temperature=WARM, x_dynamics="exact", tau=3)
    return moments(machine, Start(np.array([1.0, -0.5]), SPREAD))


def test_normal_machine() -> None:
    """dI, -Q_X, dS_Theta and what is missing between them, all of them exact functions of the covariance."""
    ds = run(LEARNER, NORMAL)
    data = machines(ds)[0].data
    law = _law(data.mean(), data.covariance(), 6)
    information = gaussian_information.learned_information(K, law.theta_covariance)
    stored = gaussian_information.entropy(law.theta_covariance)
    dI, dS, released = information[-1] - information[0], stored[-1] - stored[0], -law.heat[-1]
    last = ideal_learning(ds, frames=3).isel(step=-1)
    assert bool(last.valid)
    exact = {
        "learned_information": dI,
        "released_heat": released,
        "memory": dS,
        "marginal_entropy": dI,  # p(x|theta) keeps its entropy
        "conditional_entropy_production": released,
        "dissipated_deficit": released - dI,
        "stored_deficit": dS - released,
        "memory_deficit": dS - dI,
    }
    for name, value in exact.items():
        assert_within(last[name], last[f"{name}_error"], value, catches=f"a sign in {name}", mistake=2.0 * abs(value))
    np.testing.assert_allclose(last.conditional_entropy, 0.0, atol=1e-12)
    np.testing.assert_allclose(last.memory_deficit, last.dissipated_deficit + last.stored_deficit, atol=1e-12)
    assert float(last.memory_deficit_error) < np.hypot(last.memory_error, last.learned_information_error)


def test_joint_entropy_of_a_normal_machine() -> None:
    """dS_{X,Theta} by the chain rule and of the pair itself; Sigma of Eq. 27 exceeds dI by it."""
    ds = run(LEARNER, NORMAL)
    data = machines(ds)[0].data
    law = _law(data.mean(), data.covariance(), 6)
    stored = gaussian_information.entropy(law.theta_covariance)
    dS = stored[-1] - stored[0]
    last = joint_entropy(ds, frames=3).isel(step=-1)
    for name in ("joint_entropy", "pair_entropy"):
        assert_within(last[name], last[f"{name}_error"], dS, catches="S_X + S_Theta for the pair", mistake=dS / 2.0)
    information = gaussian_information.learned_information(K, law.theta_covariance)
    total = dS + information[-1] - information[0]
    estimate, error = last.sum_of_entropies, last.sum_of_entropies_error
    assert_within(estimate, error, total, catches="the information subtracted", mistake=total - dS)
    np.testing.assert_allclose(last.sum_of_entropies - last.learned_information, last.joint_entropy, atol=1e-12)


def test_spins() -> None:
    """Entropies of samples are those of the sums; Eq. 44 links the deficit to dissipation; a late first frame."""
    ds = run(SPINS, {"theta.spread": 0.2, "ensemble.replicas": 300, "x.dynamics": "exact"})
    table = ideal_learning(ds, frames=3)
    sums = partial_entropies(ds, frames=3)
    assert table.attrs["first"] == 0
    change = sums.mean_conditional_entropy - sums.mean_conditional_entropy.isel(step=0)
    np.testing.assert_allclose(table.conditional_entropy, change, atol=1e-10)
    link = table.conditional_entropy_production - table.marginal_entropy
    np.testing.assert_allclose(table.dissipated_deficit, link, atol=1e-10)
    change = sums.mean_information - sums.mean_information.isel(step=0)
    gap = table.learned_information - change
    assert float(abs(gap).max()) < 0.2 * float(abs(change).max()) + 0.05  # of the mixture with themselves, order 1/R
    assert "pair_entropy" not in joint_entropy(ds, frames=3)
    point = run(SPINS, {"theta.spread": 0.0, "ensemble.replicas": 300, "x.dynamics": "exact"})
    assert ideal_learning(point, frames=6).attrs["first"] > 0


def test_sweeps_keep_their_axes() -> None:
    """A lane axis and a structural one: the heat of theta in closed form at each point, and axes of all results."""
    text = LEARNER + '[sweep]\n"theta.learning_rate" = { values = [0.1, 0.2] }\n"x.tau" = { values = [1, 2] }\n'
    ds = run(text, NORMAL | {"ensemble.replicas": 200, "run.steps": 2})
    theorem = theta_fluctuation_theorem(ds)
    assert theorem.average.dims == ("theorem", "step", "learning_rate", "tau")
    for place, machine in zip(np.ndindex(2, 2), machines(ds)):
        stiff = K * (1.0 - 0.5 * float(machine.settings.theta.learning_rate) * K)
        square = (machine.frames.theta.values[..., :2] - machine.data.mean()) ** 2
        energy = 0.5 * (stiff * square).sum(-1).mean(axis=1) / WARM
        np.testing.assert_allclose(theorem.heat[-1, place[0], place[1]], energy[-1] - energy[0], rtol=1e-9)
    assert pathwise_clausius(ds).residual.dims == ("relation", "step", "learning_rate", "tau")
    assert ideal_learning(ds).memory.dims == ("step", "learning_rate", "tau")
    assert joint_entropy(ds).joint_entropy.dims == ("step", "learning_rate", "tau")
    assert free_energy(ds).target_divergence.dims == ("step", "learning_rate", "tau", "replica")
    assert canonical_law(ds).divergence.dims == ("law", "learning_rate", "tau")


def test_refusals() -> None:
    ds = run(LEARNER, NORMAL)
    with pytest.raises(ValueError, match="heat"):
        ideal_learning(ds.drop_vars("heat"))
    with pytest.raises(ValueError, match=r"theta\.spread"):
        joint_entropy(run(LEARNER, NORMAL | {"theta.dynamics": "sgd", "theta.temperature": None, "theta.spread": 0.0}))
