"""The exact laws of scale-invariant learning: von Mises-Fisher, ideal gas, and the chain at finite step."""

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats

from tests.assertions import assert_within, mean_and_error
from tests.sphere_ensemble import sphere_ensemble
from thermosim.exact import ideal_gas, sphere_chain, von_mises_fisher

DIMENSIONS = (2, 3, 4, 10, 100, 1000)
KAPPAS = (1e-4, 0.3, 5.0, 80.0, 3e3, 1e5)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_von_mises_fisher_against_forty_digits(dimension):
    """Catches under- and overflow of Bessel functions and cancellation in 1 - A and in C_V."""
    order = mpmath.mpf(dimension) / 2 - 1
    with mpmath.workdps(40):
        for number in KAPPAS if dimension <= 10 else KAPPAS[:-2]:
            kappa = mpmath.mpf(number)
            bessel = mpmath.besseli(order, kappa)
            ratio = mpmath.besseli(order + 1, kappa) / bessel
            logarithm = order * mpmath.log(2 * mpmath.pi) + mpmath.log(2 * mpmath.pi) + mpmath.log(bessel)
            entropy = logarithm - order * mpmath.log(kappa) - kappa * ratio
            capacity = kappa**2 * (1 - ratio**2 - (dimension - 1) * ratio / kappa)
            assert float(von_mises_fisher.energy(dimension, number) / (1 - ratio)) == pytest.approx(1, abs=1e-11)
            assert float(von_mises_fisher.entropy(dimension, number)) == pytest.approx(float(entropy), abs=1e-8)
            assert float(von_mises_fisher.heat_capacity(dimension, number) / capacity) == pytest.approx(1, abs=1e-8)


def test_three_dimensions_in_closed_form():
    """Catches a wrong constant in the entropy: U = 1 + T - coth(1/T), S = ln(4 pi T sinh(1/T)) + 1 - coth(1/T)/T."""
    t = np.array([0.02, 0.1, 0.7, 5.0])
    coth = 1 / np.tanh(1 / t)
    np.testing.assert_allclose(von_mises_fisher.energy(3, 1 / t), 1 + t - coth, rtol=1e-10)
    log_sinh = 1 / t + np.log(-np.expm1(-2 / t) / 2)
    np.testing.assert_allclose(
        von_mises_fisher.entropy(3, 1 / t), np.log(4 * np.pi * t) + log_sinh + 1 - coth / t, rtol=1e-10
    )
    slope = (von_mises_fisher.energy(3, 1 / (t * 1.0001)) - von_mises_fisher.energy(3, 1 / (t * 0.9999))) / (2e-4 * t)
    np.testing.assert_allclose(von_mises_fisher.heat_capacity(3, 1 / t), slope, rtol=1e-6)


@pytest.mark.parametrize("dimension", [2, 3, 10])
def test_density_is_normalised_and_obeys_the_variance_identity(dimension):
    """Catches the exponent (d-3)/2 taken for (d-2)/2, and the identity's d - 1 taken for d."""
    kappa = 4.0

    def average(function):
        # z = cos theta removes the end-point singularity of d = 2
        return integrate.quad(
            lambda a: (
                function(np.cos(a))
                * np.exp(von_mises_fisher.log_density(dimension, kappa, np.cos(a)) + np.log(np.sin(a)))
            ),
            1e-9,
            np.pi - 1e-9,
        )[0]

    assert average(lambda z: 1.0) == pytest.approx(1, abs=1e-6)
    identity = float(von_mises_fisher.variance_identity(dimension, kappa))
    assert average(lambda z: 1 - z**2) == pytest.approx(identity, abs=1e-6)


@pytest.mark.parametrize(("dimension", "kappa"), [(2, 3.0), (3, 0.5), (4, 60.0), (10, 2e3), (100, 50.0)])
def test_samples_follow_the_density(dimension, kappa):
    """Kolmogorov-Smirnov against the integrated density. Catches a wrong Jacobian of the angle, and a mirrored law."""
    random = np.random.default_rng(3)
    cosine = von_mises_fisher.sample_cosine(dimension, kappa, random.random(20000))
    low, high = von_mises_fisher.angle_range(dimension, kappa)
    angle = np.linspace(max(low, 1e-6), min(high, np.pi - 1e-6), 20001)
    density = np.exp(von_mises_fisher.log_density(dimension, kappa, np.cos(angle)) + np.log(np.sin(angle)))
    cumulative = integrate.cumulative_trapezoid(density, angle, initial=0)
    result = stats.kstest(np.arccos(cosine), lambda a: np.interp(a, angle, cumulative))
    assert result.pvalue > 1e-4


def test_directions_are_centred_on_the_mean_direction_and_isotropic_about_it():
    """Catches a sign of the mean direction, and a tangent that is not orthogonal to it."""
    random = np.random.default_rng(5)
    mean = np.array([0.36, -0.48, 0.8])
    sample = von_mises_fisher.directions(
        np.full(4000, 8.0), mean, random.random(4000), random.standard_normal((3, 4000))
    )
    np.testing.assert_allclose(np.linalg.norm(sample, axis=0), 1, atol=1e-12)
    estimate, error = mean_and_error(sample)
    assert_within(estimate, error, mean * von_mises_fisher.mean_cosine(3, 8.0), catches="sign of the mean direction")
    across = np.cross(mean, [0.0, 0.0, 1.0]) / np.linalg.norm(np.cross(mean, [0.0, 0.0, 1.0]))
    wanted = float(von_mises_fisher.variance_identity(3, 8.0)) / 2
    estimate, error = mean_and_error((across @ sample) ** 2)
    assert_within(estimate, error, wanted, catches="a tangent of the wrong length: factor 2", mistake=wanted)


@pytest.mark.parametrize("protocol", ideal_gas.PROTOCOLS)
def test_dictionary_is_consistent(protocol):
    """pV = RT, H = 2RT, adiabats and Maxwell slopes; catches any factor 2 or exponent of the dictionary."""
    d, sigma, eta, decay = 4, 1.3, np.array([1e-4, 2e-4, 4e-4]), 3e-3
    gas = ideal_gas.state(protocol, d, sigma, eta, decay, 2.0)
    np.testing.assert_allclose(gas.pressure * gas.volume, gas.gas_constant * gas.temperature)
    np.testing.assert_allclose(gas.temperature, gas.effective_learning_rate * sigma**2 / 2)
    np.testing.assert_allclose(gas.enthalpy, (d - 1) * gas.temperature, rtol=1e-3)
    np.testing.assert_allclose(
        gas.entropy, ideal_gas.low_temperature_entropy(d, gas.temperature, gas.volume), atol=2e-3
    )
    if protocol == "fixed-lr":
        np.testing.assert_allclose(gas.temperature * gas.volume, eta * sigma**2 / 4)
    tiny = 1e-4
    arguments = {"learning_rate": eta, "weight_decay": decay, "radius": 2.0}
    for axis, slope in ideal_gas.maxwell_slopes(protocol, d).items():
        if axis != "relation":
            up = ideal_gas.state(protocol, d, sigma, **(arguments | {axis: arguments[axis] * np.exp(tiny)}))
            np.testing.assert_allclose((up.entropy - gas.entropy) / tiny, slope, atol=3e-3)


@pytest.mark.parametrize("protocol", ["fixed-lr", "fixed-elr"])
def test_radius_transient_solves_its_equation(protocol):
    """dr/dt of the closed form against the drift. Catches a rate of relaxation wrong by a factor 2."""
    d, sigma, eta, decay, start = 3, 0.8, 0.02, 0.05, 0.4
    t, tiny = np.array([0.0, 50.0, 400.0]), 1e-3
    course = [ideal_gas.radius_transient(protocol, d, sigma, eta, decay, start, t + s) for s in (-tiny, 0, tiny)]
    r, rate = course[1], (course[2] - course[0]) / (2 * tiny)
    trace = (d - 1) * sigma**2
    drift = -eta * decay * r + eta**2 * trace / (2 * r**3)
    if protocol == "fixed-elr":
        drift = -eta * decay * r**3 + eta**2 * r * trace / 2
    np.testing.assert_allclose(rate, drift, rtol=1e-6)
    assert course[1][0] == pytest.approx(start)


@pytest.mark.parametrize("protocol", ["fixed-lr", "fixed-elr"])
@pytest.mark.parametrize("dimension", [2, 3, 10])
def test_radius_fluctuation_is_the_limit_of_the_chain(protocol, dimension):
    """Spread of ln r^2 at small steps, from the Galerkin law. Catches d for d - 1: 5 % in ten dimensions."""
    for rate, tolerance in ((4e-3, 4e-3), (2e-3, 2e-3)):
        step = rate if protocol == "fixed-elr" else rate**2 * 0.8**2 * (dimension - 1) / 2
        law = sphere_chain.stationary_law(protocol, dimension, 0.8, step)
        leading = float(ideal_gas.radius_fluctuation(protocol, dimension, 0.8, step, 1.0))
        assert law.log_square_deviation == pytest.approx(leading, rel=tolerance)


def test_potentials_are_smallest_at_the_target():
    """Catches a sign of T S or p V: F at T = T*, G at T = T*, V = R T*/p."""
    t = np.geomspace(1e-3, 1e-1, 201)
    target, pressure, d = t[90], 0.02, 5
    assert t[np.argmin(ideal_gas.helmholtz_map(d, t, target, 0.7))] == pytest.approx(target, rel=0.03)
    v = np.geomspace(0.01, 100, 401)
    surface = ideal_gas.gibbs_map(d, t[:, None], v, target, pressure)
    i, j = np.unravel_index(np.argmin(surface), surface.shape)
    assert t[i] == pytest.approx(target, rel=0.03)
    assert v[j] == pytest.approx(2 * target / pressure, rel=0.03)


@pytest.mark.parametrize("protocol", ideal_gas.PROTOCOLS)
@pytest.mark.parametrize("dimension", [2, 3, 10, 100])
def test_chain_tends_to_von_mises_fisher_at_first_order(protocol, dimension):
    """U(step)/U(vMF) - 1 = eta_eff/2 - O(d eta_eff^2). Catches a wrong noise law or order of the update."""
    for rate in (1e-4, 2e-4):
        step = rate if protocol != "fixed-lr" else rate**2 * (dimension - 1) / 2
        law = sphere_chain.stationary_law(protocol, dimension, 1.0, step)
        temperature = law.effective_learning_rate / 2
        excess = law.loss / float(von_mises_fisher.energy(dimension, 1 / temperature)) - 1
        assert excess == pytest.approx(rate / 2, rel=0.15 * max(1, dimension / 10) * 0.5 + 1e-2)


def test_chain_identities_and_truncation():
    """Exact identities of the updates, not used by the solver; catches an index slip in the Galerkin matrix."""
    gap = sphere_chain.stationary("fixed-lr", 3, 1.0, 0.1, 0.1)
    law = sphere_chain.stationary_law("fixed-lr", 3, 1.0, 0.01)
    assert law.truncation.loss < 1e-8 * law.loss
    d, q = 3, 0.01  # lambda (2 - eta lambda) E r^2 = eta E[g^2/r^2], g^2 and r nearly independent
    left = 0.1 * (2 - q) * float(gap["radius_square"][0])
    right = float(gap["effective_learning_rate"][0]) * float(gap["gradient_square"][0])
    assert left == pytest.approx(right, rel=2e-3)
    gas = ideal_gas.state("fixed-lr", d, 1.0, 0.1, 0.1, gradient=True)
    assert float(gap["radius"][0]) == pytest.approx(float(gas.radius), rel=0.01)


LARGE_STEPS = [
    ("fixed-sphere", 2, 1.0, 0.3, 0.0),
    ("fixed-sphere", 3, 1.0, 1.0, 0.0),
    ("fixed-sphere", 100, 1.0, 0.1, 0.0),
    ("fixed-elr", 3, 1.0, 0.3, 0.1),
    ("fixed-elr", 10, 0.8, 0.1, 0.05),
    ("fixed-lr", 2, 1.0, 0.1, 0.1),
    ("fixed-lr", 3, 1.0, 0.3, 0.3),
    ("fixed-lr", 10, 1.5, 0.1, 0.1),
]


@pytest.mark.parametrize(("protocol", "dimension", "noise", "rate", "decay"), LARGE_STEPS)
def test_chain_against_brute_force_at_large_steps(protocol, dimension, noise, rate, decay):
    """Catches anything wrong at order eta_eff: the leading-order law misses by many standard errors."""
    replicas = 600 if dimension < 50 else 150
    ds = sphere_ensemble(
        protocol,
        dimension=dimension,
        noise=noise,
        learning_rate=rate,
        weight_decay=decay,
        replicas=replicas,
        steps=1200,
        every=200,
        seed=8,
    )
    exact = sphere_chain.stationary(protocol, dimension, noise, rate, decay)
    settled = ds.isel(step=slice(1, None))
    elapsed = float(settled.step[-1] - settled.step[0])
    for name, key in (("loss_sum", "loss"), ("gradient_square", "gradient_square"), ("stretch", "stretch")):
        if name in ds:
            value, error = mean_and_error((settled[name][-1] - settled[name][0]).to_numpy() / elapsed)
            assert_within(value, error, float(exact[key][0]), catches="finite-step law of the direction")
    if protocol != "fixed-sphere":
        radius = np.sqrt(np.square(settled["theta"]).sum("theta_dim")).mean("step")
        value, error = mean_and_error(radius.to_numpy())
        leading = float(ideal_gas.state(protocol, dimension, noise, rate, decay).radius)
        mistake = abs(leading - float(exact["radius"][0]))
        power = mistake if mistake > 8.5 * error else None
        assert_within(value, error, float(exact["radius"][0]), catches="radius to leading order only", mistake=power)


def test_density_of_the_chain():
    """Normalised, and its mean is the mean loss. Catches polynomials evaluated in the wrong variable."""
    law = sphere_chain.stationary_law("fixed-elr", 3, 1.0, 0.1)
    z, weight = np.polynomial.legendre.leggauss(400)
    density = sphere_chain.cosine_density(law, 3, z)
    assert weight @ density == pytest.approx(1, abs=1e-8)
    assert weight @ (density * (1 - z)) == pytest.approx(law.loss, rel=1e-8)
    entropy = -weight @ (density * np.log(np.maximum(density, 1e-300) / (2 * np.pi)))
    assert entropy == pytest.approx(law.direction_entropy, abs=1e-6)
