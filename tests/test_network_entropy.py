"""The published entropy of networks: right for independent weights of few dimensions, of one run the displacement's."""

import numpy as np
import pytest

import thermosim
from thermosim.analysis.network_entropy import (
    clausius_integral,
    displacement_entropy,
    network_entropy,
    published_entropy,
)
from thermosim.exact import von_mises_fisher

CASE = """
[model]
name = "normalised-perceptron"
widths = [64, 4, 4, 10]
[data]
source = "digits"
[theta]
dynamics = "sgd"
constraint = "fixed-elr"
learning_rate = 0.02
weight_decay = 0.04
batch = 32
[ensemble]
replicas = 4
seed = 1
[run]
steps = 160
[record]
first = 80
every = 4
variables = ["loss_sum", "gradient_square", "layer_weight_square", "theta"]
[record.gradient_noise_trace]
every = 80
[sweep]
"theta.learning_rate" = { values = [0.02, 0.06] }
"theta.weight_decay" = { values = [0.02, 0.08] }
"""


def one_run(size, rate, gap, number, random):
    """Weights of the isotropic noise model on the unit sphere, sigma = 1."""
    mu = np.full(size, size**-0.5)
    u, found = -mu, []
    for _ in range(number):
        for noise in random.normal(size=(gap, size)):
            g = mu + noise
            u = u - rate * (g - (g @ u) * u)
            u /= np.linalg.norm(u)
        found.append(u)
    return np.array(found)


def test_independent_weights_of_few_dimensions():
    """Of the sphere away from poles and cut, and with (D-1) ln r."""
    random, size, kappa, number = np.random.default_rng(0), 4, 20.0, 2000
    mean = np.full(size, size**-0.5)
    u = von_mises_fisher.directions(
        np.full(number, kappa), mean, random.random(number), random.normal(size=(size, number))
    ).T
    exact = float(von_mises_fisher.entropy(size, kappa))
    found, of_radius, adjacent = published_entropy(3.0 * u)
    assert of_radius == pytest.approx(3 * np.log(3.0))
    assert found - of_radius == pytest.approx(exact, abs=0.1)
    assert adjacent < 0.01


def test_one_run_of_many_dimensions_gives_its_displacement_and_not_its_entropy():
    """To the constant of the chart; a factor 2 in gap, rate or sigma^2 is 0.35 and more for each weight."""
    size, rate, gap = 200, 0.002, 10
    w = one_run(size, rate, gap, 500, np.random.default_rng(1))[50:]
    found, _, adjacent = published_entropy(w)
    law = float(displacement_entropy(size - 1, gap, np.array(rate), np.array(1.0)))
    truth = float(von_mises_fisher.entropy(size, 2.0 / rate))
    assert adjacent > 0.9
    chart = 0.5 * (np.log(np.log(size) + np.euler_gamma) - 1.0)
    assert (found - law) / (size - 1) == pytest.approx(chart, abs=0.1)
    assert (found - truth) / (size - 1) < -1.0


def test_clausius_integral_of_a_gas():
    temperature = np.geomspace(1.0, 4.0, 200)
    found = clausius_integral(np.array([5.0 * temperature, 3.0 * temperature]), np.array([temperature, temperature]))
    assert found[:, -1] == pytest.approx(np.array([5.0, 3.0]) * np.log(4.0), rel=1e-4)


def test_too_few_weights_are_told():
    with pytest.raises(ValueError, match="too few"):
        published_entropy(np.ones((4, 9)))


def test_maps_of_a_network(tmp_path):
    pytest.importorskip("jax")
    (tmp_path / "case.toml").write_text(CASE)
    ds = thermosim.simulate(thermosim.load_case(tmp_path / "case.toml"), tmp_path / "run.h5")
    found = network_entropy(ds)
    one = ds.isel(learning_rate=1, weight_decay=0)
    theta = one["theta"].transpose("replica", "step", "theta_dim").values
    values = [published_entropy(w) for w in theta]
    assert float(found["S"][1, 0]) == pytest.approx(np.mean([value[0] for value in values]))
    # T = (eta_eff/2) r^2 Tr Sigma/(D - 1) at D = 272, and what the displacement law makes of it
    rate, size, gap = 0.06, 271, 4.0
    sigma = np.sqrt(2.0 * float(found["temperature"][1, 0]) / rate)
    law = float(displacement_entropy(size, gap, np.array(rate), np.array(sigma)))
    radius = np.mean([value[1] for value in values])
    assert float(found["S_displacement"][1, 0]) == pytest.approx(law + radius, abs=0.02 * size)
    assert abs(float(found["S"][1, 0]) - law - radius) < 0.3 * size
    change = found["U"][1] - found["U"][0]
    mean = 0.5 * (1.0 / found["temperature"][1] + 1.0 / found["temperature"][0])
    told = (found["S_clausius"] - found["radius_entropy"])[1] - (found["S"] - found["radius_entropy"])[0]
    assert told.values == pytest.approx((change * mean).values, rel=0.1)
    assert "slopes published" in found.attrs["verdict"]
    with pytest.raises(ValueError, match="theta"):
        network_entropy(ds.drop_vars("theta"))
