"""Entropy of the parameters and their information about data sets, against normals, exponentials and quadrature."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from scipy import special

import thermosim
from tests.assertions import assert_within, mean_and_error
from tests.information_ensembles import CASE, ensemble, gaussian_settings, sets_information
from thermosim.analysis.information import learned_information
from thermosim.analysis.memorised_information import data_processing, dataset_information, memory
from thermosim.analysis.neighbours import calibration
from thermosim.exact import gaussian_information as exact
from thermosim.exact.learning_machine import LearningMachine, Start, moments

COVARIANCE = np.array([[0.9, 0.4, -0.2], [0.4, 0.5, 0.1], [-0.2, 0.1, 0.3]])
WITHIN, RESPONSE, SETS = (
    np.array([[0.5, 0.2], [0.2, 0.3]]),
    np.array([[0.9, 0.6], [-0.2, 0.4]]),
    np.array([[1.6, -0.9], [-0.9, 1.1]]),
)


def _means(theta: np.ndarray, **changes: object) -> xr.Dataset:
    """An ensemble whose learned means are theta (F, R, n), at precision 1."""
    given = gaussian_settings(theta.shape[2], theta__learn=["mean"], **changes)
    return ensemble(np.concatenate([theta, np.zeros_like(theta)], axis=2), given)


@pytest.mark.parametrize("method", ["gaussian", "nearest-neighbour"])
def test_entropy_of_normal_parameters(method: str) -> None:
    """Few replicas, many frames: the bias of the plug-in, and of raw neighbours, would show by far."""
    replicas, frames = (50, 750) if method == "gaussian" else (300, 700)
    theta = np.random.default_rng(1).multivariate_normal([1.0, 2.0, -3.0], COVARIANCE, (frames, replicas))
    result = memory(_means(theta), method)
    value, error = mean_and_error(result["entropy"])
    plug_in = 0.5 * (sum(special.digamma((replicas - i) / 2) for i in (1, 2, 3)) - 3 * np.log((replicas - 1) / 2))
    mistake = plug_in if method == "gaussian" else calibration(replicas, 3).bias[1]
    assert_within(value, error, exact.entropy(COVARIANCE), catches="bias not removed", mistake=mistake)
    spread = float(result["entropy"].std(ddof=1))
    assert 0.9 < float(result["entropy_error"].mean()) / spread < 1.4
    assert float(result["valid"].mean()) > 0.8  # so few replicas look like those of another law now and then


def test_entropy_of_other_densities() -> None:
    """Exponentials have one nat each: neighbours see it, the normal is too large and says so."""
    theta = np.random.default_rng(2).exponential(size=(1, 4000, 2)) * np.array([1.0, 3.0])
    true = 2.0 + np.log(3.0)
    near, normal = memory(_means(theta), "nearest-neighbour"), memory(_means(theta))
    assert_within(near["entropy"], near["entropy_error"], true, catches="scale of a parameter", mistake=np.log(3.0))
    assert bool(near["valid"][0])
    assert not bool(normal["valid"][0])
    assert float(normal["entropy"][0]) > true + 0.5
    wide = np.random.default_rng(3).standard_normal((1, 1000, 16))
    assert not bool(memory(_means(wide), "nearest-neighbour")["valid"][0])
    repeated = np.repeat(wide[:, :500, :2], 2, axis=1)
    assert not bool(memory(_means(repeated))["valid"][0])


def test_memory_of_a_run() -> None:
    """From one point: the entropy is -inf at first; later its change, and -Q_X beside it with the residual."""
    case = thermosim.load_case(CASE, {"theta.spread": 0.0, "record.every": 1, "ensemble.replicas": 4000})
    ds = thermosim.simulate(case)
    result = memory(ds)
    assert result["entropy"][0] == -np.inf
    assert not bool(result["valid"][0])
    assert float(result["valid"][1:].mean()) > 0.8  # a frame may look like one of another law by chance
    assert np.all(result["reference_step"] == 1)
    variance = np.stack([3.0 * (1 - (1 - 0.2 * k) ** (2 * np.arange(1, 7))) / (k - 0.1 * k**2) for k in PRECISION])
    true = 0.5 * np.log(2.0 * np.pi * np.e * variance).sum(axis=0)
    estimate, error = result["entropy"][1:], result["entropy_error"][1:]
    assert_within(estimate, error, true, catches="one factor 2 in a variance", mistake=0.5 * np.log(2.0))
    estimate, error = result["entropy_change"][2:], result["entropy_change_error"][2:]
    assert_within(estimate, error, true[1:] - true[0], catches="sign", mistake=2.0 * (true[1:] - true[0]))
    heat = ds["heat"].mean("replica")
    np.testing.assert_allclose(result["clausius_entropy_change"][1:], heat[1] - heat[1:], atol=1e-12)
    residual = result["entropy_change"] - result["clausius_entropy_change"]
    np.testing.assert_allclose(result["clausius_residual"][1:], residual[1:], atol=1e-12)
    for name, variable in result.data_vars.items():
        labels = {"long_name", "method", "condition"} | ({"units"} if variable.dtype.kind in "fi" else set())
        assert labels <= variable.attrs.keys(), name


PRECISION = np.exp([0.0, 1.2])


def _with_sets(sets: int, replicas: int, frames: int, seed: int) -> xr.Dataset:
    """theta | mu ~ N(A mu, W), mu ~ N(0, C) for every set; every frame anew."""
    rng = np.random.default_rng(seed)
    mu = rng.multivariate_normal([0.0, 0.0], SETS, (frames, sets))
    noise = rng.multivariate_normal([0.0, 0.0], WITHIN, (frames, sets, replicas))
    theta = (mu @ RESPONSE.T)[:, :, None] + noise
    return _means(theta.reshape(frames, sets * replicas, 2), data__sets=sets, ensemble__replicas=sets * replicas)


@pytest.mark.parametrize("pooled", [True, False])
def test_information_about_new_sets(pooled: bool) -> None:
    """Twelve sets of ten replicas, many frames: closed form, and an error that covers the scatter."""
    ds = _with_sets(12, 10, 500, seed=4)
    result = dataset_information(ds, pooled=pooled)
    true = exact.data_information(WITHIN, RESPONSE, SETS)
    value, error = mean_and_error(result["information"])
    theta = ds["theta"].values[:, :, :2].reshape(500, 12, 10, 2)
    residual = (theta - theta.mean(axis=2, keepdims=True)).reshape(500, 120, 2)
    centered = (theta - theta.mean(axis=(1, 2), keepdims=True)).reshape(500, 120, 2)
    scatters = [np.linalg.slogdet(c.swapaxes(1, 2) @ c / f)[1].mean() for c, f in ((centered, 119), (residual, 108))]
    mistake = 0.5 * (scatters[0] - scatters[1]) - true
    assert_within(value, error, true, catches="bias of few sets not removed", mistake=mistake)
    spread = float(result["information"].std(ddof=1))
    assert 0.8 < float(result["information_error"].mean()) / spread < 1.3
    assert bool(result["valid"].mean() > 0.9)


def test_information_about_the_sets_of_a_run() -> None:
    """Sixty data sets, learned by the engine: response and covariances of the exact machine."""
    changes = {"data.sets": 60, "data.rows": 2, "ensemble.replicas": 3000, "theta.temperature": 0.3, "run.steps": 9}
    ds = thermosim.simulate(thermosim.load_case(CASE, changes))
    result = dataset_information(ds).isel(step=-1)
    covariance = np.array([[0.8, 0.5], [0.5, 0.6]])
    machine = LearningMachine(PRECISION, np.array([1.0, -0.5]), covariance, 9, 0.2, temperature=0.3, x_dynamics="exact")
    state = moments(machine, Start(np.zeros(2), np.array([0.2, 0.1])))
    true = exact.data_information(state.theta_covariance[9], state.response[9], covariance / 2)
    assert_within(result["information"], result["information_error"], true, catches="a factor 2", mistake=true)
    rows = exact.data_information(state.theta_covariance[9], state.response[9], covariance)
    assert rows - true > 2.0 * float(result["information_error"])
    assert abs(dataset_information(ds)["information"][0]) < 0.1  # at the start nothing is known


def test_which_set_of_the_run() -> None:
    """Four sets: neighbours and classifier against quadrature; the classifier is a bound from below."""
    sets, replicas = np.array([-1.5, -0.2, 0.4, 2.0]), 1500
    rng = np.random.default_rng(5)
    theta = np.repeat(sets, replicas)[None, :, None] + 0.6 * rng.standard_normal((1, 4 * replicas, 1))
    ds = _means(theta, data__sets=4, ensemble__replicas=4 * replicas)
    true = sets_information(sets, 0.36)
    for method in ("nearest-neighbour", "classifier"):
        result = dataset_information(ds, method).isel(step=0)
        assert bool(result["valid"])
        assert_within(
            result["information"], result["information_error"], true, catches="ln D", mistake=np.log(4) - true
        )
    few = dataset_information(_with_sets(30, 4, 200, seed=6), "classifier")["information"]
    discrete = exact.data_information(WITHIN, RESPONSE, SETS)
    assert float(few.mean()) < discrete
    nothing = np.random.default_rng(7).standard_normal((200, 60, 2))
    value, error = mean_and_error(
        dataset_information(_means(nothing, data__sets=20, ensemble__replicas=60), "classifier")["information"]
    )
    assert value < -4.0 * error  # three replicas a set, and nothing to tell: fitted normals may not claim anything


def test_classifier_leaves_the_replica_out() -> None:
    """The formula for all replicas at once against refitting without each."""
    ds = _with_sets(5, 7, 1, seed=8)
    theta, label = ds["theta"].values[0, :, :2], np.repeat(np.arange(5), 7)
    values = np.empty(35)
    for r in range(35):
        rest = np.arange(35) != r
        means = np.stack([theta[rest & (label == d)].mean(axis=0) for d in range(5)])
        residual = (theta - means[label])[rest]
        within, score = residual.T @ residual / (34 - 5), np.empty(5)
        for d in range(5):
            covariance = within * (1.0 + 1.0 / np.sum(rest & (label == d)))
            gap = theta[r] - means[d]
            score[d] = -0.5 * (gap @ np.linalg.solve(covariance, gap) + np.linalg.slogdet(covariance)[1])
        values[r] = np.log(5) + score[label[r]] - np.logaddexp.reduce(score)
    np.testing.assert_allclose(dataset_information(ds, "classifier")["information"][0], values.mean(), rtol=1e-9)


def test_data_processing() -> None:
    """B -> Theta -> X: three informations against quadrature, in the right order."""
    sets, replicas, deviation = np.array([-1.5, -0.2, 0.4, 2.0]), 500, 0.5
    rng = np.random.default_rng(9)
    theta = np.repeat(sets, replicas)[None, :, None] + deviation * rng.standard_normal((1, 4 * replicas, 1))
    ds = _means(theta, data__sets=4, ensemble__replicas=4 * replicas)
    result = data_processing(ds, samples=4).isel(step=0)
    of_x, of_theta = sets_information(sets, 1.0 + deviation**2), sets_information(sets, deviation**2)
    whole = of_x + 0.5 * np.log(1.0 + deviation**2)  # I(X; Theta) = I(X; B) + I(X; Theta | B)
    estimates = {"x_set": of_x, "x_theta": whole, "theta_set": of_theta}
    estimates |= {"theta_margin": of_theta - of_x, "x_margin": whole - of_x}
    for name, true in estimates.items():
        catches, mistake = "one of the three for another", min(whole - of_x, of_theta - whole)
        assert_within(result[name], result[f"{name}_error"], true, catches=catches, mistake=mistake)
    assert bool(result["valid"])
    few = data_processing(_with_sets(40, 3, 1, seed=10))
    assert not bool(few["valid"][0])


def test_bias_of_mixtures_of_sets() -> None:
    """Eight replicas a set, many frames: the mixture of a set, too, is an estimate."""
    sets, frames = np.array([-1.0, 0.3, 1.4]), 350
    rng = np.random.default_rng(11)
    theta = np.repeat(sets, 8)[None, :, None] + 0.7 * rng.standard_normal((frames, 24, 1))
    result = data_processing(_means(theta, data__sets=3, ensemble__replicas=24), samples=60)
    true = sets_information(sets, 1.49)
    value, error = mean_and_error(result["x_set"])
    assert_within(value, error, true, catches="bias of few replicas a set not removed", mistake=0.49 / 16)


def _in_a_row(distance: float, deviation: float, replicas: int, frames: int, seed: int) -> xr.Dataset:
    """Sixteen sets at equal distances, theta normal about each."""
    noise = np.random.default_rng(seed).standard_normal((frames, replicas, 1))
    theta = np.repeat(distance * np.arange(16.0), replicas // 16)[None, :, None] + deviation * noise
    return _means(theta, data__sets=16, ensemble__replicas=replicas)


def test_sets_far_apart() -> None:
    """A sample tells its set: ln D to rounding, with three replicas a set; and ln D is never exceeded."""
    result = data_processing(_in_a_row(100.0, 0.1, 48, 3, seed=16))
    np.testing.assert_allclose(result["x_set"], np.log(16), rtol=1e-12)
    np.testing.assert_allclose(result["x_set_error"], 0.0, atol=1e-12)
    assert bool(result["valid"].all())
    for distance in (0.0, 1.0, 5.0, 8.0):
        ds = _in_a_row(distance, 0.5, 48, 10, seed=17)
        result, information = data_processing(ds), learned_information(ds)
        assert np.all(result["x_set"] <= np.log(16) + 1e-12)
        np.testing.assert_allclose(information["learned_information"], result["x_theta"], rtol=1e-12)
        np.testing.assert_allclose(information["learned_information_error"], result["x_theta_error"], rtol=1e-12)


@pytest.mark.parametrize("replicas", [48, 96, 1024])
def test_sets_of_few_replicas(replicas: int) -> None:
    """Replicas that are dealt to the sets in fixed numbers: what is left out must not make its own set smaller."""
    frames, deviation = 3000 // replicas + 10, 0.3
    ds = _in_a_row(4.0, deviation, replicas, frames, seed=18)
    result, information = data_processing(ds), learned_information(ds)
    of_x = sets_information(4.0 * np.arange(16.0), 1.0 + deviation**2)
    whole = of_x + 0.5 * np.log(1.0 + deviation**2)
    few = replicas < 100  # with more, the mistake is too small to see, and frames too few for the scatter
    smaller = 0.7 * 15 / (2 * replicas) if few else None
    estimates = ((result, "x_set", of_x), (result, "x_theta", whole), (information, "learned_information", whole))
    for source, name, true in estimates:
        value, error = mean_and_error(source[name])
        assert_within(value, error, true, catches="own set smaller without the replica", mistake=smaller)
        spread = float(source[name].std(ddof=1))
        assert not few or 0.75 < float(source[f"{name}_error"].mean()) / spread < 1.35, name
        assert float(source["valid"].mean()) > 0.9


def test_refusals() -> None:
    """What the ensemble cannot give is refused, with the remedy."""
    ds = _with_sets(6, 5, 1, seed=12)
    with pytest.raises(ValueError, match="nothing of theta differs between replicas"):
        memory(_means(np.zeros((2, 50, 2))))
    with pytest.raises(ValueError, match="do not span"):
        memory(_means(np.random.default_rng(0).standard_normal((1, 4, 3))))
    with pytest.raises(ValueError, match="expected one of"):
        memory(ds, "histogram")
    with pytest.raises(ValueError, match=r"set data\.sets"):
        dataset_information(_means(np.random.default_rng(0).standard_normal((1, 40, 2))))
    with pytest.raises(ValueError, match="three are needed"):
        dataset_information(_with_sets(20, 2, 1, seed=13))
    with pytest.raises(ValueError, match="pooled=True"):
        dataset_information(
            _means(np.random.default_rng(0).standard_normal((1, 40, 4)), data__sets=10, ensemble__replicas=40),
            pooled=False,
        )
    settings = json.loads(ds.attrs["settings"])
    settings["data"]["sets"] = 1
    with pytest.raises(ValueError, match="needs 2 data sets"):
        data_processing(ds.drop_vars("origin").assign_attrs(settings=json.dumps(settings)))


def test_parameters_that_are_functions_of_the_set() -> None:
    """No spread within sets: infinite about a new set, ln D about those of the run; no spread at all: nothing."""
    theta = np.repeat(np.random.default_rng(14).standard_normal((1, 5, 2)), 6, axis=1)
    ds = _means(np.concatenate([np.zeros_like(theta), theta]), data__sets=5, ensemble__replicas=30)
    result = dataset_information(ds)
    assert result["information"].values.tolist() == [0.0, np.inf]
    assert result["valid"].values.tolist() == [True, False]
    np.testing.assert_allclose(dataset_information(ds, "classifier")["information"], [0.0, np.log(5)])
