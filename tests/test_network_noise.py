"""The noise of minibatches of a network from its measures: temperature, whiteness, and how a mistake would look."""

import numpy as np
import pytest

import thermosim
from thermosim import analysis
from thermosim.analysis.machine import machines
from thermosim.checks.network_noise import noise
from thermosim.checks.report import check
from thermosim.plots.picture import picture

pytest.importorskip("jax")

SMALL = {
    "model.widths": [64, 12, 10],
    "theta.learning_rate": 0.05,
    "data.source": "digits",
    "data.test": 0.2,
    "ensemble.replicas": 16,
    "run.steps": 60,
    "measure.batches": 6,
    "measure.components": [-95, 0],
    "record.every": 4,
    "record.components.every": 10,
    "record.noise_projections.first": 20,
    "sweep": {},
}


@pytest.fixture(scope="module")
def ensemble():
    """The case of Fig. 5.1 on 8 x 8 digits, batch 10."""
    return thermosim.simulate(thermosim.load_case("networks/mnist_perceptron", SMALL))


def deviation(ds):
    """The largest |z| of each comparison."""
    return {row.quantity.partition(",")[0]: float(np.abs(row.z).max()) for row in noise(ds, machines(ds))}


def test_the_check_agrees_and_the_picture_has_four_panels(ensemble):
    report = check(ensemble)
    assert report.consistent
    assert [row.quantity.partition(",")[0] for row in report.comparisons] == [
        "autocorrelation of the noise",
        "squared gradient of the next step",
    ]
    assert len(picture(ensemble).axes) == 4


def test_a_coloured_noise_and_a_wrong_trace_are_seen(ensemble):
    """Noise of which half is that of the step before, and Tr Sigma of half the batch."""
    eta = ensemble["noise_projections"]
    before = eta.shift(noise_projections_step=1, fill_value=0.0)
    coloured = ensemble.assign(noise_projections=((eta + before) / np.sqrt(2.0)).assign_attrs(eta.attrs))
    assert deviation(coloured)["autocorrelation of the noise"] > 8.0
    twice = ensemble.assign(gradient_noise_trace=2.0 * ensemble["gradient_noise_trace"])
    assert deviation(twice)["squared gradient of the next step"] > 8.0
    assert max(deviation(ensemble).values()) < 4.0


def test_temperature_is_half_the_rate_times_the_variance(ensemble):
    found = analysis.network_noise(ensemble)
    trace = ensemble["gradient_noise_trace"].transpose("step", "replica").values
    count = 64 * 12 + 12 * 10
    assert np.allclose(found["mean_variance"], trace.mean(1) / count)
    assert np.allclose(found["noise_temperature"], 0.05 * trace.mean(1) / count / 2.0)
    assert np.allclose(found["variance_times_batch"], 10.0 * trace.mean(1) / count)
    assert np.allclose(found["mean_variance_error"], trace.std(1, ddof=1) / count / 4.0)
    eta = ensemble["noise_projections"].transpose(..., "replica", "projection").values
    ratio = (eta[:-3] * eta[3:]).mean() / (eta**2).mean()
    assert np.isclose(found["mean_autocorrelation"].sel(lag=3), ratio)
    assert bool(found["white"])


def test_what_is_missing_is_said(ensemble):
    with pytest.raises(ValueError, match="record gradient_noise_trace, noise_projections, or both"):
        analysis.network_noise(ensemble[["test_accuracy", "status", "diverged_step"]])
    with pytest.raises(ValueError, match="kernel"):
        analysis.kernel_alignment(ensemble)


def test_momentum_is_a_larger_rate():
    """A quadratic under heavy-ball steps has the variance r C/(h (1 - beta)(2 - r h/(1 + beta))), T/h for small r h."""
    rate, beta, curvature, spread = 0.05, 0.8, 1.5, 0.7
    random = np.random.default_rng(5)
    w, v = np.zeros(20_000), np.zeros(20_000)
    for _ in range(600):
        v = beta * v - rate * (curvature * w + spread * random.standard_normal(len(w)))
        w = w + v
    exact = rate * spread**2 / (curvature * (1 - beta) * (2 - rate * curvature / (1 + beta)))
    assert abs(w.var() / exact - 1.0) < 4.0 * np.sqrt(2.0 / len(w))
    temperature = rate * spread**2 / (2.0 * (1 - beta))  # as `network_noise` has it
    assert temperature / curvature == pytest.approx(exact, rel=0.03)


def test_the_noise_of_networks_knows_momentum_and_a_dimension():
    case = {
        "model": {"name": "multilayer-perceptron", "widths": [64, 8, 10], "loss": "cross-entropy"},
        "theta": {"dynamics": "sgd", "learning_rate": 0.05, "batch": 16, "momentum": 0.5, "initial": "he"},
        "engine": {"name": "networks", "tile_width": 4},
        "data": {"source": "digits"},
        "ensemble": {"replicas": 4},
        "run": {"steps": 2},
        "measure": {"batches": 8},
        "record": {"every": 2},
    }
    names = ("gradient_noise_trace", "gradient_noise_square", "gradient_noise_trace_square")
    ds = thermosim.simulate(thermosim.load_case(case, {"record.variables": list(names)}))
    found = thermosim.analysis.network_noise(ds)
    trace, square, trace_square = (ds[name].mean("replica").values for name in names)
    parameters = 64 * 8 + 8 * 10
    np.testing.assert_allclose(found.noise_temperature, 0.05 * trace / (2.0 * parameters * (1.0 - 0.5)), rtol=1e-10)
    np.testing.assert_allclose(found.effective_dimension, trace_square / square, rtol=0.1)  # less a bias of the ratio
