"""ln p(x) between annealed bounds: against an exact linear Gaussian decoder, and a quadrature of the autoencoder."""

import numpy as np
import pytest
from scipy import stats

import thermosim
from thermosim.analysis import latent_bounds, learned_information, machines
from thermosim.analysis.annealed_sampling import forward_bound, reverse_bound
from thermosim.analysis.latent_likelihoods import likelihood_of

RANDOM = np.random.default_rng(11)
D, N, ROWS, NOISE = 5, 7, 400, 0.5
MATRIX = RANDOM.normal(size=(N, D))


@pytest.fixture(scope="module")
def linear():
    """x = A z + s xi: both simulated, and exact ln p(x) = ln N(x; 0, A A' + s^2)."""
    z = RANDOM.normal(size=(ROWS, D))
    x = z @ MATRIX.T + NOISE * RANDOM.normal(size=(ROWS, N))
    exact = stats.multivariate_normal(np.zeros(N), MATRIX @ MATRIX.T + NOISE**2 * np.eye(N)).logpdf(x)

    def likelihood(at):
        left = x - at @ MATRIX.T
        value = -0.5 * np.sum(left**2, axis=-1) / NOISE**2 - 0.5 * N * np.log(2.0 * np.pi * NOISE**2)
        return value, left @ MATRIX / NOISE**2

    return z, exact, likelihood


def mean(values):
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


def test_bounds_hold_and_close_in_on_the_exact_value(linear):
    """Twenty times slower, both are closer; a factor 2 in W, or a jump too many, is nats off."""
    z, exact, likelihood = linear
    gaps = []
    for jumps in (20, 400):
        below, error = mean(forward_bound(likelihood, (ROWS, D), 4, jumps, RANDOM) - exact)
        above, other = mean(reverse_bound(likelihood, z, 4, jumps, RANDOM) - exact)
        assert below < 4.0 * error
        assert above > -4.0 * other
        gaps.append(above - below)
    assert gaps[1] < 0.5 * gaps[0]
    assert gaps[1] < 0.25


def test_both_work_theorems_are_exact_at_any_speed(linear):
    """<exp(-W)> = p(x), and of the reverse 1/p(x): 30 jumps, four standard errors of a few per cent."""
    z, exact, likelihood = linear
    forward = np.exp(forward_bound(likelihood, (ROWS, D), 4, 30, RANDOM) - exact)
    reverse = np.exp(exact - reverse_bound(likelihood, z, 4, 30, RANDOM))
    for ratio in (forward, reverse):
        value, error = mean(ratio)
        assert abs(value - 1.0) < 4.0 * error
        assert error < 0.15


CASE = """
title = "a vae"
[model]
name = "vae"
dimension = 5
latent = 2
nodes = 24
hidden = [6]
[theta]
dynamics = "sgd"
learning_rate = 0.01
batch = 3
initial = "he"
[data]
source = "teacher"
rows = 32
[data.teacher]
decoder_2 = 0.7
decoder_1 = 1.0
[ensemble]
replicas = 24
seed = 5
[engine]
precision = "float64"
[run]
steps = 1
[record]
variables = ["theta"]
"""


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    pytest.importorskip("jax")
    path = tmp_path_factory.mktemp("vae") / "case.toml"
    path.write_text(CASE)
    return thermosim.simulate(thermosim.load_case(path))


def test_slope_of_a_decoder_is_its_finite_difference(ensemble):
    (machine,) = machines(ensemble.isel(step=[-1]))
    theta, z = machine.theta(0)[:3], np.random.default_rng(3).normal(size=(3, 4, 2))
    likelihood = likelihood_of(machine, theta, 1.0 * (np.random.default_rng(4).random((3, 4, 5)) < 0.5))
    slope = likelihood(z)[1]
    for d in range(2):
        shift = 1e-5 * np.eye(2)[d]
        difference = (likelihood(z + shift)[0] - likelihood(z - shift)[0]) / 2e-5
        np.testing.assert_allclose(slope[..., d], difference, atol=1e-8)


def test_bounds_hold_what_the_rule_for_the_integral_gives(ensemble):
    """Entropy of x and L-info, of a latent of two dimensions, by sums over all x; the next test has a larger L-info."""
    last = ensemble.isel(step=[-1])
    (machine,) = machines(last)
    found = latent_bounds(ensemble, replicas=24, samples=32, chains=4, jumps=30)
    points, _ = machine.model.support(machine.constants)
    phi = machine.evaluator.surprisals(points, machine.theta(0))
    entropy = np.sum(np.exp(-phi) * phi, axis=1).mean()
    exact = float(learned_information(last, "exact").lower_bound[0])
    above = float(learned_information(last, "exact").upper_bound[0])
    for low, value, high, name in (
        ("surprisal_lower", entropy, entropy, "surprisal_upper"),
        ("information_lower", exact, above, "information_upper"),
    ):
        assert float(found[low][0]) - value < 4.0 * float(found[f"{low}_error"][0])
        assert float(found[name][0]) - high > -4.0 * float(found[f"{name}_error"][0])
    assert float((found.surprisal_upper - found.surprisal_lower)[0]) < 0.1


def test_bounds_of_information_know_a_factor(ensemble):
    """Replicas whose decoders differ much: I of the equal mixture of them, summed over all x, is between the bounds.

    Both are near enough that half of it, or twice, would be outside.
    """
    strong = ensemble.isel(step=[-1]).copy()
    strong["theta"] = 4.0 * strong["theta"]
    (machine,) = machines(strong)
    points, _ = machine.model.support(machine.constants)
    log_p = -machine.evaluator.surprisals(points, machine.theta(0))  # (R, X)
    mixture = np.logaddexp.reduce(log_p, axis=0) - np.log(len(log_p))
    exact = float(np.mean(np.sum(np.exp(log_p) * (log_p - mixture), axis=1)))
    found = latent_bounds(strong, replicas=24, samples=64, chains=4, jumps=40)
    low, high = (float(found[f"information_{end}"][0]) for end in ("lower", "upper"))
    errors = [float(found[f"information_{end}_error"][0]) for end in ("lower", "upper")]
    assert low - exact < 4.0 * errors[0]
    assert high - exact > -4.0 * errors[1]
    assert low > 0.5 * exact + 4.0 * errors[0]
    assert high < 2.0 * exact - 4.0 * errors[1]
