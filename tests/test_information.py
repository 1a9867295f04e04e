"""L-info by both routes: right within its error for exactly known ensembles, and far off on a mistake."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.assertions import assert_within, mean_and_error
from tests.information_ensembles import CASE, SPINS, discrete_settings, ensemble, gaussian_settings
from tests.learning_paths import RBM, run
from thermosim.analysis import entropy
from thermosim.analysis.information import learned_information, low_variance, strata, surprisals
from thermosim.analysis.information import mean_and_error as mean_over_sets
from thermosim.analysis.information_balance import information_balance, routes
from thermosim.analysis.learning import learning_ledger, relaxation
from thermosim.analysis.machine import machines
from thermosim.analysis.partial_averages import partial_entropies
from thermosim.data import load
from thermosim.exact import gaussian_information as exact
from thermosim.exact.learning_machine import LearningMachine, Moments, Start, moments
from thermosim.kernels.evaluate import Evaluator

ANISOTROPIC = (np.array([0.5, 2.0, 6.0]), np.array([[0.9, 0.4, -0.2], [0.4, 0.5, 0.1], [-0.2, 0.1, 0.3]]))
SYSTEMS = {"one component": (np.array([1.7]), np.array([[0.6]])), "anisotropic": ANISOTROPIC}


def _gaussians(precision: np.ndarray, covariance: np.ndarray, replicas: int, frames: int, seed: int) -> xr.Dataset:
    """theta ~ N(m*, Cov) over replicas, every frame anew, at fixed precisions."""
    n = len(precision)
    mean = np.random.default_rng(seed).multivariate_normal(np.arange(n), covariance, (frames, replicas))
    logarithm = np.broadcast_to(np.log(precision), mean.shape)
    return ensemble(np.concatenate([mean, logarithm], axis=2), gaussian_settings(n))


@pytest.mark.parametrize("name", SYSTEMS)
def test_learned_information(name: str) -> None:
    """L-info of the ensemble and of every replica, with correlated theta, against closed forms."""
    precision, covariance = SYSTEMS[name]
    ds = _gaussians(precision, covariance, 2000, 1, seed=1)
    result = learned_information(ds, samples=8).isel(step=0)
    information = exact.learned_information(precision, covariance)
    estimate, error = result["learned_information"], result["learned_information_error"]
    transposed = exact.learned_information(precision[::-1], covariance) if len(precision) > 1 else 2.0 * information
    mistake = abs(transposed - information)
    assert_within(estimate, error, information, catches="precisions of other components, or 2", mistake=mistake)
    of_replica = exact.replica_information(
        ds["theta"].values[0, :, : len(precision)], precision, np.arange(len(precision)), covariance
    )
    gap, error = mean_and_error(result["replica_information"] - of_replica)
    assert_within(gap, error, 0.0, catches="mean over replicas off by the sampling of theta", mistake=information)
    assert bool(result["valid"])
    noise, error = mean_and_error(
        (result["replica_information"] - of_replica) ** 2 - result["replica_information_error"] ** 2
    )
    size = float(np.mean(result["replica_information_error"] ** 2))
    assert_within(noise, error, 0.0, catches="error of a replica's L-info twice too large", mistake=3.0 * size)


def test_bias_of_few_replicas() -> None:
    """Sixteen replicas: the mixture with the replica itself and the one without it are off, one low, one high."""
    precision, covariance = np.array([1.0, 3.0]), np.array([[0.8, 0.3], [0.3, 0.4]])
    result = learned_information(_gaussians(precision, covariance, 16, 400, seed=2), samples=64)
    information = exact.learned_information(precision, covariance)
    estimate, error = mean_and_error(result["learned_information"])
    low, high = float(result["lower_bound"].mean()), float(result["upper_bound"].mean())
    assert_within(estimate, error, information, catches="the replica itself counted", mistake=information - low)
    assert_within(estimate, error, information, catches="the replica itself left out", mistake=high - information)
    spread = float(result["learned_information"].std(ddof=1))
    assert 0.8 < float(result["learned_information_error"].mean()) / spread < 1.25


def test_too_much_information_is_flagged() -> None:
    """An ensemble of R replicas shows no more than about ln R nats: more is not valid, less is."""
    covariance = np.diag(np.full(8, 1.0))
    for scale, fine in ((0.3, True), (30.0, False)):
        result = learned_information(_gaussians(np.full(8, scale), covariance, 300, 1, seed=3))
        assert bool(result["valid"][0]) is fine
        assert float(result["lower_bound"][0]) < np.log(300)
    assert float(result["lower_bound"][0]) < exact.learned_information(np.full(8, 30.0), covariance) - 4.0


def test_low_variance() -> None:
    """Spread of the replicas' L-info; the noise of their estimates would make it larger."""
    precision, covariance = ANISOTROPIC
    ds = _gaussians(precision, covariance, 3000, 1, seed=4)
    information = learned_information(ds, samples=2)
    result = low_variance(ds, information).isel(step=0)
    spread = np.sqrt(exact.replica_information_variance(precision, covariance))
    noise = float(np.mean(information["replica_information_error"] ** 2))
    mistake = np.sqrt(spread**2 + noise) - spread
    assert_within(result["spread"], result["spread_error"], spread, catches="noise counted", mistake=mistake)
    mean = exact.learned_information(precision, covariance)
    ratio = spread / mean
    assert_within(result["ratio"], result["ratio_error"], ratio, catches="noise counted", mistake=mistake / mean)


def _spins(n: int) -> np.ndarray:
    return 1.0 - 2.0 * ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1)


def _divergences(density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative entropies of densities (R, states) and their mean, and the mean of the others."""
    total, count = density.sum(axis=0), len(density)
    with_it = np.sum(density * np.log(density / (total / count)), axis=1)
    return with_it, np.sum(density * np.log(density / ((total - density) / (count - 1))), axis=1)


def test_exact_sum_over_spins() -> None:
    """Enumeration against plain numpy to rounding, and against the nested estimate from exact samples."""
    replicas, x = 300, _spins(3)
    theta = 0.8 * np.random.default_rng(5).standard_normal((1, replicas, 6))
    ds = ensemble(theta, discrete_settings("boltzmann-machine", dimension=3))
    pairs = np.stack([x[:, 0] * x[:, 1], x[:, 0] * x[:, 2], x[:, 1] * x[:, 2]], axis=1)
    weight = np.exp(theta[0] @ np.concatenate([x, pairs], axis=1).T)
    with_it, without = _divergences(weight / weight.sum(axis=1, keepdims=True))
    result = learned_information(ds, "exact").isel(step=0)
    np.testing.assert_allclose(result["lower_bound"], with_it.mean(), rtol=1e-11)
    np.testing.assert_allclose(result["upper_bound"], without.mean(), rtol=1e-11)
    middle = without - 0.5 * np.mean(without - with_it)
    np.testing.assert_allclose(result["replica_information"], middle, rtol=1e-9, atol=1e-12)
    assert bool(result["valid"])
    nested = learned_information(ds, "nested", samples=64).isel(step=0)
    gap, error = mean_and_error(nested["replica_information"] - result["replica_information"])
    assert_within(gap, error, 0.0, catches="samples of another replica", mistake=with_it.mean())


def test_exact_sum_over_several_sets() -> None:
    """Without a replica, the others of its set stand for it: against mixtures written out one by one."""
    x, sizes = _spins(2), [3, 2, 5]
    label = np.repeat(np.arange(3), sizes)
    theta = 0.5 * np.random.default_rng(15).standard_normal((1, 10, 3)) + np.array([-1.0, 0.2, 1.3])[label, None]
    ds = ensemble(theta, discrete_settings("boltzmann-machine", dimension=2))
    weight = np.exp(theta[0] @ np.stack([x[:, 0], x[:, 1], x[:, 0] * x[:, 1]]))
    density = weight / weight.sum(axis=1, keepdims=True)
    everyone, of_set = np.empty(10), np.empty(10)
    for r in range(10):
        mine = np.flatnonzero((label == label[r]) & (np.arange(10) != r))
        stand_in = density[mine].mean(axis=0)
        without = (density.sum(axis=0) - density[r] + stand_in) / 10
        everyone[r], of_set[r] = -density[r] @ np.log(without), -density[r] @ np.log(stand_in)
    starts = np.array([0, 3, 5])
    parts = surprisals(machines(ds)[0], 0, "exact", None, starts)[0]
    np.testing.assert_allclose(parts.excluded[:, 0], everyone, rtol=1e-11)
    np.testing.assert_allclose(parts.excluded_of_set[:, 0], of_set, rtol=1e-11)
    np.testing.assert_allclose(parts.included[:, 0], -density @ np.log(density.mean(axis=0)), rtol=1e-11)
    nested = surprisals(machines(ds)[0], 0, "nested", 4000, starts)[0]
    for name in ("included", "excluded", "included_of_set", "excluded_of_set"):
        value, error = mean_and_error(getattr(nested, name))
        assert_within(value, error, getattr(parts, name)[:, 0], catches="the set of another replica")


def test_sets_of_one_replica() -> None:
    """They have no spread of their own: they are one with their neighbour; the others stay apart."""
    given = gaussian_settings(1, data__sets=4)
    machine = machines(ensemble(np.zeros((1, 12, 2)), given))[0]
    for chosen, starts in (
        (range(12), [0, 3, 6, 9]),
        ([0, 3, 4, 6, 9, 10, 11], [0, 4]),
        ([0, 1, 3, 6, 7], [0, 3]),
        ([0, 3, 6, 9], [0]),
    ):
        some = replace(machine, frames=machine.frames.isel(replica=list(chosen)))
        np.testing.assert_array_equal(strata(some), starts)


def test_every_use_has_its_own_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sample of one analysis, or of one point of a sweep, is made from the random numbers of another."""
    changes = {"x.samples": 2, "sweep": {"theta.temperature": {"values": [1.0, 3.0]}}, "ensemble.replicas": 40}
    changes |= {"x.dynamics": "ula", "x.time_step": 0.2}
    ds = thermosim.simulate(thermosim.load_case(CASE, changes))
    gaussian = thermosim.MODELS["gaussian"]
    monkeypatch.setitem(thermosim.MODELS, "gaussian", replace(gaussian, cross_entropy=None))
    draw, used = Evaluator.draw, list[tuple[int, ...]]()

    def recorded(self: Evaluator, theta: np.ndarray, seed: int, stream: int, block: int, first: int = 0) -> np.ndarray:
        used.extend((seed, stream, block, first + lane) for lane in range(len(theta)))
        return draw(self, theta, seed, stream, block, first)

    monkeypatch.setattr(Evaluator, "draw", recorded)
    points, frames = 2, ds.sizes["step"]
    learned_information(ds, "nested", samples=3)
    learned_information(ds, "chains")
    partial_entropies(ds, frames, "chains", draws=5)  # asks for the relaxation of the chains
    assert len(used) == 40 * points * (frames * (3 + 1 + 5) + (frames - 1) * 4)  # the start is known to be relaxed
    assert len(set(used)) == len(used)


def _units(replicas: int) -> tuple[xr.Dataset, np.ndarray]:
    """A restricted Boltzmann machine, 4 visible and 2 hidden units, and its densities over visible states."""
    n, hidden = 4, 2
    theta = 0.9 * np.random.default_rng(6).standard_normal((1, replicas, n + hidden + n * hidden))
    v = ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1).astype(float)
    b, c = theta[0, :, :n], theta[0, :, n : n + hidden]
    weights = theta[0, :, n + hidden :].reshape(replicas, n, hidden)
    fields = np.einsum("pi,rij->rpj", v, weights) + c[:, None, :]
    weight = np.exp(b @ v.T) * np.prod(1.0 + np.exp(fields), axis=2)
    return ensemble(theta, discrete_settings("rbm", dimension=n, hidden=hidden)), weight / weight.sum(
        axis=1, keepdims=True
    )


def test_energies_without_normaliser() -> None:
    """The normaliser is put in: from the sum over all x, or from the model; without it all is wrong."""
    ds, density = _units(200)
    with_it, without = _divergences(density)
    result = learned_information(ds).isel(step=0)
    assert result.attrs["method"] == "exact"
    np.testing.assert_allclose(result["lower_bound"], with_it.mean(), rtol=1e-10)
    np.testing.assert_allclose(result["upper_bound"], without.mean(), rtol=1e-10)
    machine = machines(ds)[0]
    bare = replace(machine, model=replace(machine.model, normalised=True))
    parts, _, reason = surprisals(bare, 0, "exact", None, np.zeros(1, int))
    assert "misses" in reason
    wrong = float(np.mean(parts.mixture() - parts.own.mean(axis=1)))
    assert abs(wrong - result["learned_information"]) > 30.0 * result["learned_information_error"]


def test_error_of_normalisers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A normaliser with an error makes the L-info of a replica uncertain, and that of all only to second order."""
    ds, density = _units(1500)
    rng, deviation = np.random.default_rng(7), 0.3
    uniform = rng.random((1500, 20, 1))
    states = (uniform > np.cumsum(density, axis=1)[:, None, :-1]).sum(axis=2)
    x = ((states[..., None] >> np.arange(4)) & 1).astype(float)[None]
    ds = ds.assign(x=(("step", "replica", "sample", "x_dim"), x), phi=ds["theta"].isel(theta_dim=0))
    true = learned_information(ds, "chains").isel(step=0)
    exactly = learned_information(ds, "exact").isel(step=0)
    gap, error = mean_and_error(true["replica_information"] - exactly["replica_information"])
    assert_within(gap, error, 0.0, catches="samples of others", mistake=exactly["learned_information"])
    model, noise = machines(ds)[0].model, deviation * rng.standard_normal(1500)
    assert model.log_normaliser is not None
    right = model.log_normaliser

    def wrong(theta: np.ndarray, constants: Any) -> tuple[np.ndarray, np.ndarray]:
        return right(theta, constants)[0] + noise, np.full(1500, deviation)

    unsummed = replace(model, log_normaliser=wrong, support=lambda constants: None)
    monkeypatch.setitem(thermosim.MODELS, model.name, unsummed)
    noisy = learned_information(ds, "chains").isel(step=0)
    scores = (noisy["replica_information"] - true["replica_information"]) / deviation
    np.testing.assert_allclose(scores.std(), 1.0, rtol=0.1)
    assert np.all(noisy["replica_information_error"] > deviation)
    shift, limit = float(noisy["learned_information"] - true["learned_information"]), 0.5 * deviation**2
    chance = 4.0 * deviation / np.sqrt(1500)
    assert -limit - chance < shift < chance
    assert float(noisy["learned_information_error"]) > limit
    monkeypatch.setitem(thermosim.MODELS, model.name, replace(model, log_normaliser=wrong))
    summed = learned_information(ds, "exact").isel(step=0)
    np.testing.assert_array_equal(summed["replica_information"], exactly["replica_information"])


def _exact_moments(ds: xr.Dataset, x_dynamics: str) -> Moments:
    """Moments of the case's machine on the rows it learned from."""
    resolved = machines(ds)[0].settings
    data = load(resolved.data, 2, machines(ds)[0].folder)
    machine = LearningMachine(
        precision=np.exp([0.0, 1.2]),
        data_mean=data.mean(),
        data_covariance=data.covariance(),
        steps=6,
        learning_rate=0.2,
        temperature=3.0,
        x_dynamics=x_dynamics,
        time_step=resolved.x.time_step or 0.0,
        tau=resolved.x.tau,
    )
    return moments(machine, Start(np.zeros(2), np.array([0.2, 0.1])), ds["step"].values)


@pytest.fixture(scope="module")
def equilibrated() -> xr.Dataset:
    """Langevin learning with exact samples at every step: every density is normal."""
    return thermosim.simulate(thermosim.load_case(CASE))


@pytest.mark.parametrize("marginal", ["nearest-neighbour", "gaussian", "mixture"])
def test_two_routes(equilibrated: xr.Dataset, marginal: str) -> None:
    """Change of the L-info from densities and from Eq. 44 against each other and the closed form."""
    result = routes(equilibrated, marginal=marginal)
    assert bool(result["agree"].all())
    assert bool(result["valid"].all())
    state = _exact_moments(equilibrated, "exact")
    information = exact.learned_information(np.exp([0.0, 1.2]), state.theta_covariance)
    change = (information - information[0])[1:]
    for name in ("direct", "fluctuation"):
        estimate, error = result[name][1:], result[f"{name}_error"][1:]
        assert_within(estimate, error, change, catches="sign", mistake=2.0 * change)
    late = routes(equilibrated.assign(x=equilibrated["x"].roll(step=1)), marginal=marginal)
    assert not late["agree"][1:].any()


def test_both_sides_of_the_balance(equilibrated: xr.Dataset) -> None:
    """S_X, Sigma_X and Sigma_{X|Theta} against closed forms; samples of another step make it fail by far."""
    result = information_balance(equilibrated, "gaussian")
    state = _exact_moments(equilibrated, "exact")
    marginal = exact.entropy(state.x_covariance)
    estimate, error = result["marginal_entropy"][1:], result["marginal_entropy_error"][1:]
    conditional = exact.diagonal_entropy(np.exp([0.0, 1.2]))
    mistake = marginal[1:] - conditional
    assert_within(estimate, error, marginal[1:], catches="entropy at given theta", mistake=mistake)
    flow, production = state.log_ratio[1:], (marginal - marginal[0] + state.log_ratio)[1:]
    estimate, error = result["marginal_entropy_production"][1:], result["marginal_entropy_production_error"][1:]
    assert_within(estimate, error, production, catches="sign of the heat", mistake=2.0 * flow)
    estimate, error = result["conditional_entropy_production"][1:], result["conditional_entropy_production_error"][1:]
    assert_within(estimate, error, state.entropy_production[1:], catches="sign of the heat", mistake=2.0 * flow)
    np.testing.assert_allclose(result["shadow"], 0.0, atol=1e-12)
    late = information_balance(equilibrated.assign(log_ratio_x=equilibrated["log_ratio_x"].roll(step=1)), "gaussian")
    gap = late["conditional_entropy_production"] - state.entropy_production
    assert np.all(np.abs(gap[1:]) > 8.0 * late["conditional_entropy_production_error"][1:])


def test_chains_that_lag() -> None:
    """One Langevin move a step: Eq. 44 gives I(X; Theta) less the distance from equilibrium, and the lag is seen."""
    case = thermosim.load_case(CASE, {"x.dynamics": "ula", "x.time_step": 0.2, "x.samples": 2})
    ds = thermosim.simulate(case)
    state = _exact_moments(ds, "ula")
    marginal = exact.entropy(state.x_covariance)
    result = information_balance(ds, "gaussian")
    exact_change = (marginal - marginal[0] - state.energy_change)[1:]
    estimate, error = result["learned_information_change"][1:], result["learned_information_change_error"][1:]
    fresh = exact.learned_information(np.exp([0.0, 1.2]), state.theta_covariance)
    lost = (fresh - fresh[0])[1:] - exact_change
    assert_within(estimate, error, exact_change, catches="samples taken for fresh ones", mistake=lost)
    joint = exact.mutual_information(state.theta_covariance, state.x_covariance, state.cross_covariance)
    assert np.all(exact_change < (joint - joint[0])[1:])
    estimate, error = result["shadow"][1:], result["shadow_error"][1:]
    assert_within(estimate, error, state.shadow[1:], catches="heat in place of the ratio", mistake=state.shadow[1:])
    productions = {
        "marginal": marginal - marginal[0] + state.log_ratio,
        "conditional": state.energy_change + state.log_ratio,
    }
    for what, production in productions.items():
        estimate = result[f"{what}_entropy_production"][1:]
        error = result[f"{what}_entropy_production_error"][1:]
        assert_within(estimate, error, production[1:], catches=f"heat for the ratio in Sigma of {what} law")
    last = -1
    error = result["marginal_entropy_production_error"][last]
    estimate, exactly = result["marginal_entropy_production"][last], productions["marginal"][last]
    assert_within(estimate, error, exactly, catches="heat for the ratio in Sigma_X", mistake=state.shadow[last])
    lag = relaxation(ds)
    estimate, error = lag["gap"][1:], lag["gap_error"][1:]
    assert_within(estimate, error, state.energy_change[1:], catches="phi of the step before")
    assert (abs(lag["score"][1:]) > 4.0).all()
    assert abs(lag["score"][0]) < 4.0
    assert not routes(ds, marginal="gaussian")["agree"][-1]
    from_chains = learned_information(ds, "chains")
    assert not from_chains["valid"][-1]
    assert bool(from_chains["valid"][0])


def test_balance_of_an_energy_without_normaliser() -> None:
    """The conditional entropy production has ln Z of theta_t in it: that of the ledger, by another way."""
    rbm = run(RBM)
    result = information_balance(rbm)
    expected = learning_ledger(rbm)["entropy_production"]
    np.testing.assert_allclose(result["conditional_entropy_production"], expected, rtol=1e-9, atol=1e-12)
    assert float(abs(learning_ledger(rbm)["energy_change"] + learning_ledger(rbm)["log_ratio"] - expected).max()) > 0.1


def test_error_of_a_mean_over_sets_of_few_replicas() -> None:
    """Four sets of three replicas, of fixed numbers: the square of the error has the mean that it should."""
    values = np.repeat([0.0, 5.0, -2.0, 9.0], 3) + np.random.default_rng(21).standard_normal((4000, 12))
    errors = [mean_over_sets(row, np.arange(0, 12, 3))[1] ** 2 for row in values]
    assert_within(*mean_and_error(errors), 1.0 / 12.0, catches="R for R - D", mistake=1.0 / 36.0)


def test_routes_of_spins() -> None:
    """Discrete x: frequencies of the states against the exact sum; without the entropy's change they differ."""
    ds = thermosim.simulate(thermosim.load_case(SPINS))
    result = routes(ds)
    assert result.attrs["method"] == "exact against empirical marginal entropy"
    assert bool(result["valid"].all())
    estimate, error = result["fluctuation"][1:], result["difference_error"][1:]
    assert_within(estimate, error, result["direct"][1:], catches="no change", mistake=result["direct"][1:])
    assert bool(result["agree"].all())


def test_entropy_of_few_states() -> None:
    """Forty replicas with three dependent samples each, many times: without bias, and with an honest error."""
    rng, share, repeats = np.random.default_rng(12), np.array([0.4, 0.3, 0.2, 0.1]), 1500
    values, errors, plug_in = np.empty((3, repeats))
    for k in range(repeats):
        own = rng.choice(4, size=(40, 1), p=share)
        states = np.where(rng.random((40, 3)) < 0.8, own, rng.choice(4, size=(40, 3), p=share))
        values[k], errors[k] = mean_and_error(entropy.empirical_entropy(states[..., None].astype(float)))
        frequency = np.bincount(states.ravel(), minlength=4) / 120
        plug_in[k] = -np.sum(frequency * np.log(np.maximum(frequency, 1e-300)))
    true = -float(np.sum(share * np.log(share)))
    value, error = mean_and_error(values)
    mistake = true - plug_in.mean()
    assert_within(value, error, true, catches="bias of frequencies, or samples independent", mistake=mistake)
    independent = 0.5 * 3 / 120
    assert mistake - independent > 8.0 * error
    assert 0.9 < errors.mean() / values.std(ddof=1) < 1.1
    met = np.array([[[0.0]], [[0.0]], [[1.0]], [[2.0]]])
    assert entropy.singleton_fraction(met) == 0.5


def test_sweep_and_attributes() -> None:
    """Dimensions follow the sweep; every number has its unit, meaning, method and condition."""
    text = (
        CASE.replace("replicas = 3000", "replicas = 300") + '[sweep]\n"theta.temperature" = { values = [0.1, 3.0] }\n'
    )
    ds = thermosim.simulate(thermosim.load_case(text))
    information = learned_information(ds)
    results = [information, low_variance(ds, information), information_balance(ds)]
    results.append(routes(ds, information=information))
    for result in results:
        for name, variable in result.data_vars.items():
            assert variable.dims[:2] == ("step", "temperature"), name
            labels = {"long_name", "method", "condition"} | ({"units"} if variable.dtype.kind in "fi" else set())
            assert labels <= variable.attrs.keys() or name.startswith("replica_")
    assert information["replica_information"].dims == ("step", "temperature", "replica")
    growth = information["learned_information"].isel(step=-1)
    assert float(growth[1] - growth[0]) > 4.0 * float(information["learned_information_error"].max())
    alone = learned_information(ds.isel(step=[2]))["learned_information"]
    np.testing.assert_array_equal(alone[0], information["learned_information"][2])


def test_refusals(equilibrated: xr.Dataset) -> None:
    """What the ensemble cannot give is refused, with the remedy."""
    small = equilibrated.isel(replica=slice(0, 20))

    def with_setting(section: str, **values: Any) -> xr.Dataset:
        import json

        resolved = json.loads(small.attrs["settings"])
        resolved[section] = resolved[section] | values
        return small.drop_vars("origin").assign_attrs(settings=json.dumps(resolved))

    with pytest.raises(ValueError, match=r"raise ensemble\.replicas"):
        learned_information(small.isel(replica=[0]))
    with pytest.raises(ValueError, match=r"record\.variables"):
        learned_information(small.drop_vars("theta"))
    with pytest.raises(ValueError, match="not finite at step 3"):
        learned_information(small.assign(theta=small["theta"].where((small.step != 3) | (small.replica != 4))))
    with pytest.raises(ValueError, match="no sum over all x"):
        learned_information(small, "exact")
    with pytest.raises(ValueError, match="expected auto"):
        learned_information(small, "magic")
    with pytest.raises(ValueError, match=r"x\.restart"):
        information_balance(with_setting("x", restart=True))
    with pytest.raises(ValueError, match="continuous"):
        information_balance(small, "empirical")
    with pytest.raises(ValueError, match="heat among the recorded"):
        information_balance(small.drop_vars("heat"))
