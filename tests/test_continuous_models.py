"""Models of continuous samples against their formulas written out in numpy, integrals, and exact moments."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from tests.assertions import assert_within, mean_and_error
from thermosim.kernels import apply
from thermosim.kernels.compile import compiled
from thermosim.kernels.evaluate import Evaluator, energy_bindings
from thermosim.models import double_well, full_gaussian, gaussian, gaussian_mixture, network_energy
from thermosim.streams import X_NOISE

GAUSSIAN, FULL, MIXTURE = gaussian.MODEL, full_gaussian.MODEL, gaussian_mixture.MODEL
WELL, NETWORK = double_well.MODEL, network_energy.MODEL
REPLICAS = 100_000
STEP = 1e-5  # of central differences

# sizes on both sides of every block of four
CASES = [
    (GAUSSIAN, {"dimension": 3}),
    (FULL, {"dimension": 1}),
    (FULL, {"dimension": 2}),
    (FULL, {"dimension": 7}),
    (MIXTURE, {"dimension": 1, "mixtures": 1}),
    (MIXTURE, {"dimension": 1, "mixtures": 3}),
    (MIXTURE, {"dimension": 4, "mixtures": 2}),
    (WELL, {}),
    (WELL, {"range": 5.0, "cells": 160}),
    (NETWORK, {"dimension": 1, "hidden": 3}),
    (NETWORK, {"dimension": 2, "hidden": 4, "width": 0.7}),
    (NETWORK, {"dimension": 5, "hidden": 10}),
]
NAMES = [f"{model.name}-{'-'.join(map(str, values.values()))}" for model, values in CASES]
each_model = pytest.mark.parametrize(("model", "values"), CASES, ids=NAMES)


def complete(model, values):
    """All constants, the defaults among them."""
    return {constant.name: constant.default for constant in model.constants} | values


def random_theta(model, values, replicas, seed=0):
    """The default start and a generic displacement for each replica, (R, m); wells stay inside the range."""
    start = np.concatenate([np.ravel(group.default(values)) for group in model.parameters])
    scale = np.array([0.5, 0.3, 0.05, 0.1]) if model is WELL else 0.5
    return start + scale * np.random.default_rng(seed).normal(size=(replicas, start.size))


def random_state(model, values, replicas=40):
    values = complete(model, values)
    x = np.random.default_rng(1).normal(size=(replicas, model.components(values)))
    return Evaluator(model, values), x, random_theta(model, values, replicas), values


def slopes(function, at):
    """Central differences of function (R,) along every column of `at`, (R, columns)."""
    columns = []
    for step in STEP * np.eye(at.shape[1]):
        columns.append((function(at + step) - function(at - step)) / (2.0 * STEP))
    return np.stack(columns, axis=-1)


def assert_slopes(computed, function, at):
    """Equal to central differences, and every column large enough that a factor of 2 or a sign would show."""
    numerical = slopes(function, at)
    np.testing.assert_allclose(computed, numerical, rtol=1e-6, atol=1e-7)
    assert np.abs(numerical).max(axis=0).min() > 1e-3


@each_model
def test_force_is_minus_the_slope_of_the_surprisal(model, values):
    evaluator, x, theta, _ = random_state(model, values)
    assert_slopes(-evaluator.force(x, theta), lambda moved: evaluator.surprisal(moved, theta), x)


@each_model
def test_parameter_gradient_is_the_slope_of_the_surprisal(model, values):
    evaluator, x, theta, _ = random_state(model, values)
    if model is MIXTURE and values["mixtures"] == 1:
        theta = theta[:, 1:]  # one weight, which is 1
        with_weight = np.insert(theta, 0, 0.3, axis=1)
        gradient = evaluator.gradient(x, with_weight)
        assert np.abs(gradient[:, 0]).max() < 1e-15
        assert_slopes(gradient[:, 1:], lambda moved: evaluator.surprisal(x, np.insert(moved, 0, 0.3, axis=1)), theta)
        return
    assert_slopes(evaluator.gradient(x, theta), lambda moved: evaluator.surprisal(x, moved), theta)


@each_model
def test_gradients_over_data_are_means(model, values):
    """Added up row by row with the weight 1/K, into what was there before."""
    evaluator, x, theta, _ = random_state(model, values)
    rows = x[:5]
    loss, gradient = evaluator.data_gradient(rows, theta)
    np.testing.assert_allclose(loss, evaluator.surprisals(rows, theta).mean(axis=1), rtol=1e-12, atol=1e-12)
    each = [evaluator.gradient(np.repeat(row[None], len(theta), axis=0), theta) for row in rows]
    np.testing.assert_allclose(gradient, np.mean(each, axis=0), rtol=1e-10, atol=1e-12)


def test_moments_of_gradients_over_rows():
    """Mean and variance, divisor K, of the gradient of one row."""
    evaluator, rows, theta, _ = random_state(GAUSSIAN, {"dimension": 2}, replicas=7)
    each = np.array([evaluator.gradient(np.repeat(row[None], len(theta), axis=0), theta) for row in rows])
    _, mean, variance = evaluator.gradient_moments(rows, theta)
    np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, each.var(axis=0), rtol=1e-9)


def test_sums_over_many_replicas():
    """ln sum exp(-phi) over three tiles of replicas, the lowest energies in the last."""
    evaluator, points, theta, _ = random_state(GAUSSIAN, {"dimension": 2}, replicas=300)
    theta[:250, :2] += 12.0
    expected = special.logsumexp(-evaluator.surprisals(points[:9], theta), axis=0)
    np.testing.assert_allclose(evaluator.log_sum(points[:9], theta), expected, rtol=1e-12)


def precision_of(theta, n):
    """P = A A' of one theta of the full Gaussian, entry by entry."""
    factor, entries = np.diag(np.exp(theta[n : 2 * n])), iter(theta[2 * n :])
    for i in range(n):
        for j in range(i):
            factor[i, j] = next(entries)
    return factor @ factor.T


def mixture_parts(theta, values):
    """Weights (G,), means (G, n) and standard deviations (G, n) of one theta."""
    g, n = values["mixtures"], values["dimension"]
    means, logarithms = theta[g : g + g * n].reshape(g, n), theta[g + g * n :].reshape(g, n)
    return special.softmax(theta[:g]), means, np.exp(-0.5 * logarithms)


def well_energy(x, theta):
    return theta[0] * x + theta[1] * x**2 + theta[2] * x**3 + np.exp(theta[3]) * x**4


def well_moment(theta, power, extent=np.inf):
    """<x^power> of exp(-E) on [-extent, extent], and Z, by adaptive quadrature."""
    weights = [
        integrate.quad(
            lambda x, k=k: x**k * np.exp(-well_energy(x, theta)), -extent, extent, epsabs=1e-13, epsrel=1e-12, limit=400
        )[0]
        for k in (power, 0)
    ]
    return weights[0] / weights[1], weights[1]


def plain_surprisal(model, values, x, theta):
    """phi of one x under one theta, straight from the model's equation."""
    n = model.components(values)
    if model is GAUSSIAN:
        return -stats.norm.logpdf(x, theta[:n], np.exp(-0.5 * theta[n:])).sum()
    if model is FULL:
        covariance = np.linalg.inv(precision_of(theta, n))
        return -stats.multivariate_normal.logpdf(x, theta[:n], covariance)
    if model is MIXTURE:
        weights, means, deviations = mixture_parts(theta, values)
        return -np.log(np.sum(weights * stats.norm.pdf(x, means, deviations).prod(axis=1)))
    if model is WELL:
        return well_energy(x[0], theta) + np.log(well_moment(theta, 0)[1])
    hidden, energy = values["hidden"], 0.5 * np.sum(x**2) / values["width"] ** 2
    for j in range(hidden):
        field = theta[j * n : (j + 1) * n] @ x + theta[hidden * n + j]
        energy += theta[hidden * (n + 1) + j] * np.tanh(field)
    return energy


@each_model
def test_surprisal_is_the_equation_of_the_model(model, values):
    evaluator, x, theta, values = random_state(model, values)
    expected = [plain_surprisal(model, values, *pair) for pair in zip(x, theta)]
    np.testing.assert_allclose(evaluator.surprisal(x, theta), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (GAUSSIAN, {"dimension": 2}),
        (FULL, {"dimension": 2}),
        (MIXTURE, {"dimension": 1, "mixtures": 3, "range": 16.0}),
        (MIXTURE, {"dimension": 2, "mixtures": 3, "range": 16.0}),
        (WELL, {}),
    ],
)
def test_surprisals_are_normalised(model, values):
    evaluator, _, theta, values = random_state(model, values, replicas=4)
    rule = model.support(values) or MIXTURE.support({"dimension": 2, "range": 30.0})
    mass = np.exp(rule[1] - evaluator.surprisals(rule[0], theta)).sum(axis=1)
    np.testing.assert_allclose(mass, 1.0, rtol=0.0, atol=1e-10)


def samples_of(model, values, theta):
    """One sample in each of many replicas with the same theta, (R, n)."""
    return Evaluator(model, values).draw(np.repeat(theta[None], REPLICAS, axis=0), 3, X_NOISE, 0)


def assert_moments(samples, mean, covariance):
    """Means and all second moments; a factor of 2, a sign and a transposed factor would each show."""
    value, error = mean_and_error(samples, axis=0)
    assert_within(value, error, mean, catches="wrong sign or scale of the mean", mistake=0.5 * np.abs(mean))
    distance = samples - mean
    value, error = mean_and_error(distance[:, :, None] * distance[:, None, :], axis=0)
    assert_within(value, error, covariance, catches="precision and its inverse", mistake=0.5 * np.abs(covariance))


def test_fresh_samples_of_the_gaussian():
    theta = np.array([0.7, -1.2, 0.4, 1.1, -0.8, 0.3])
    samples = samples_of(GAUSSIAN, {"dimension": 3}, theta)
    value, error = mean_and_error(samples, axis=0)
    assert_within(value, error, theta[:3], catches="the mean with the wrong sign", mistake=2.0 * np.abs(theta[:3]))
    value, error = mean_and_error((samples - theta[:3]) ** 2, axis=0)
    variance = np.exp(-theta[3:])
    assert_within(value, error, variance, catches="precision for its root", mistake=np.abs(variance - variance**2))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_fresh_samples_of_the_full_gaussian(n):
    """The lower triangle is large enough that all covariances are."""
    random = np.random.default_rng(3)
    mean, logarithm = 0.8 + random.random(n), 0.3 * random.normal(size=n)
    theta = np.concatenate([mean, logarithm, -0.6 - 0.3 * random.random(n * (n - 1) // 2)])
    covariance = np.linalg.inv(precision_of(theta, n))
    assert n == 1 or not np.allclose(covariance, np.linalg.inv(precision_of(theta, n).T[::-1, ::-1]), rtol=0.1)
    assert_moments(samples_of(FULL, {"dimension": n}, theta), mean, covariance)


@pytest.mark.parametrize("n", [1, 2])
def test_fresh_samples_of_the_mixture(n):
    """Moments of the whole, and the fraction in each of three Gaussians that hardly overlap."""
    values = {"dimension": n, "mixtures": 3, "range": 8.0}
    means = np.array([[-4.0, 1.0], [0.5, 3.0], [5.0, -1.5]])[:, :n]
    deviations = np.array([[0.4, 0.9], [0.6, 0.3], [0.8, 0.5]])[:, :n]
    weights = np.array([0.2, 0.5, 0.3])
    theta = np.concatenate([1.7 + np.log(weights), means.ravel(), -2.0 * np.log(deviations).ravel()])
    samples = samples_of(MIXTURE, values, theta)
    nearest = np.argmin(np.sum((samples[:, None, :] - means) ** 2, axis=-1), axis=1)
    for g in range(3):
        value, error = mean_and_error(nearest == g)
        assert_within(value, error, weights[g], sigmas=5.0, catches="weights of their neighbours", mistake=0.1)
        mine = samples[nearest == g]
        value, error = mean_and_error((mine - means[g]) ** 2, axis=0)
        assert_within(value, error, deviations[g] ** 2, catches="precision for its root", mistake=0.1 * deviations[g])
    mean = weights @ means
    second = np.einsum("g,gi,gj->ij", weights, means, means) + np.diag(weights @ deviations**2)
    assert_moments(samples, mean, second - np.outer(mean, mean))


WELLS = [
    np.array([0.0, 0.5, 0.0, -1.0]),  # the start
    np.array([0.3, -2.0, 0.2, -0.5]),  # two wells, neither the same
    np.array([5.0, -20.0, 1.0, 1.0]),  # the one well 0.1 wide, 14 kT below the other
]


def draw_at(uniform, theta, values):
    """Samples of the double well at given uniforms, (R,)."""
    lanes, names = len(uniform), WELL.names(values)
    rows = (names["DERIVED"], len(WELL.constants), WELL.scratch_rows(values))
    derived, constants, scratch = (np.zeros((count, lanes)) for count in rows)
    constants[names["RANGE"]] = values["range"]
    x = np.full((1, lanes), np.nan)
    kernel = compiled(apply.draw, apply.DRAW, **energy_bindings(WELL, values), fresh=WELL.fresh)
    parameters = np.repeat(theta[:, None], lanes, axis=1)
    kernel(parameters, derived, constants, np.zeros(0), scratch, x, np.zeros((0, lanes)), uniform[None])
    return x[0]


@pytest.mark.parametrize(("theta", "extent", "cells"), [*((theta, 4.0, 128) for theta in WELLS), (WELLS[1], 0.8, 16)])
def test_fresh_samples_of_the_double_well_invert_the_distribution_function(theta, extent, cells):
    """To the error that the model states; 1e-4 is what 1e6 samples could show. The last box cuts both wells."""
    uniform = np.concatenate([[2.0**-52, 1e-9], np.linspace(0.0, 1.0, 5000)[1:]])
    x = draw_at(uniform, theta, complete(WELL, {"range": extent, "cells": cells}))
    axis = np.linspace(-extent, extent, round(50_000 * extent) + 1)
    energy = well_energy(axis, theta)
    density = np.exp(energy.min() - energy)
    cumulated = integrate.cumulative_simpson(density, x=axis, initial=0.0)
    third = np.gradient(np.gradient(np.gradient(density, axis), axis), axis)[9:-9]  # one-sided at the ends
    stated = (2.0 * extent / cells) ** 4 * np.abs(third).max() / cumulated[-1] / 720.0
    reached = np.interp(x, axis, cumulated / cumulated[-1])
    assert np.abs(reached - uniform).max() < 1.2 * stated + 1e-8
    assert stated < (2e-4 if theta[1] < -10.0 else 1e-5)
    assert np.all(np.diff(x) > 0.0)


@pytest.mark.parametrize("theta", WELLS)
def test_fresh_samples_of_the_double_well(theta):
    samples = samples_of(WELL, complete(WELL, {}), theta)[:, 0]
    for power in (2, 4):
        value, error = mean_and_error(samples**power)
        exact = well_moment(theta, power, extent=4.0)[0]
        assert_within(value, error, exact, catches="a factor of 2 in the energy", mistake=0.3 * exact)
    value, error = mean_and_error(samples)
    exact = well_moment(theta, 1, extent=4.0)[0]
    assert_within(value, error, exact, catches="the tilt with the wrong sign")
    assert theta[0] == 0.0 or abs(exact) > 100.0 * error


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (GAUSSIAN, {"dimension": 3}),
        (FULL, {"dimension": 7}),
        (MIXTURE, {"dimension": 2, "mixtures": 3}),
        (WELL, {}),
    ],
)
def test_scores_vanish_on_average(model, values):
    """<d phi/d theta> = 0 in exp(-phi): the part of the normaliser, each theta being typical for itself."""
    values = complete(model, values)
    theta = random_theta(model, values, 2, seed=5)
    for row in theta:
        repeated = np.repeat(row[None], REPLICAS, axis=0)
        evaluator = Evaluator(model, values)
        value, error = mean_and_error(evaluator.gradient(evaluator.draw(repeated, 4, X_NOISE, 1), repeated), axis=0)
        assert_within(value, error, 0.0, sigmas=5.0, catches="the slope of the normaliser", mistake=0.1)


@pytest.mark.parametrize(("model", "values"), [(GAUSSIAN, {"dimension": 3}), (FULL, {"dimension": 7}), (WELL, {})])
def test_cross_entropy_is_a_mean_over_samples(model, values):
    """Not symmetric in its arguments, so exchanging them would show."""
    values = complete(model, values)
    theta_a, theta_b = WELLS[:2] if model is WELL else random_theta(model, values, 2, seed=6)
    evaluator = Evaluator(model, values)
    samples = samples_of(model, values, theta_a)
    phi = evaluator.surprisal(samples, np.repeat(theta_b[None], REPLICAS, axis=0))
    value, error = mean_and_error(phi)
    exact = model.cross_entropy(theta_a, theta_b, values)
    swapped = model.cross_entropy(theta_b, theta_a, values)
    assert_within(value, error, exact, catches="exchanged arguments", mistake=swapped - exact)
    both = model.cross_entropy(np.stack([theta_a, theta_b]), np.stack([theta_b, theta_a]), values)
    np.testing.assert_allclose(both, [exact, swapped], rtol=1e-12)
    pairs = model.cross_entropy(np.stack([theta_a, theta_b])[:, None], np.stack([theta_b, theta_a])[None], values)
    np.testing.assert_allclose(np.diag(pairs), [exact, swapped], rtol=1e-12)
    assert np.all(np.diag(pairs) > pairs[[0, 1], [1, 0]])  # Gibbs: none is larger than that with oneself


def test_full_gaussian_without_correlations_is_the_gaussian():
    values = {"dimension": 3}
    plain = random_theta(GAUSSIAN, values, 2, seed=7)
    full = np.concatenate([plain[:, :3], 0.5 * plain[:, 3:], np.zeros((2, 3))], axis=1)
    x = np.random.default_rng(8).normal(size=(2, 3))
    one, other = Evaluator(GAUSSIAN, values), Evaluator(FULL, values)
    np.testing.assert_allclose(other.surprisal(x, full), one.surprisal(x, plain), rtol=1e-13)
    np.testing.assert_allclose(
        FULL.cross_entropy(full[0], full[1], values), GAUSSIAN.cross_entropy(plain[0], plain[1], values), rtol=1e-13
    )


def test_observables_of_the_full_gaussian():
    values = {"dimension": 3}
    theta = random_theta(FULL, values, 4, seed=9)
    entropy, condition = (FULL.observables[name].function(theta, values) for name in FULL.observables)
    np.testing.assert_allclose(entropy, FULL.cross_entropy(theta, theta, values), rtol=1e-12)
    np.testing.assert_allclose(condition, [np.linalg.cond(precision_of(row, 3)) for row in theta], rtol=1e-10)


def test_mixture_far_from_all_its_gaussians():
    """Every term underflows, and phi must still be the parabola of the nearest."""
    values = complete(MIXTURE, {"dimension": 1, "mixtures": 2})
    theta = np.array([[0.4, -0.3, -1.0, 2.0, 0.5, 1.5]])
    x = np.array([[-150.0]])
    evaluator = Evaluator(MIXTURE, values)
    weights, means, deviations = mixture_parts(theta[0], values)
    expected = -np.log(weights[0]) - stats.norm.logpdf(x[0, 0], means[0, 0], deviations[0, 0])
    np.testing.assert_allclose(evaluator.surprisal(x, theta), expected, rtol=1e-13)
    np.testing.assert_allclose(evaluator.force(x, theta), (means[0] - x) / deviations[0] ** 2, rtol=1e-13)


def test_mixture_shifts_of_the_logits_change_nothing():
    evaluator, x, theta, _ = random_state(MIXTURE, {"dimension": 1, "mixtures": 3})
    shifted = theta + np.array([700.0] * 3 + [0.0] * 6)
    np.testing.assert_allclose(evaluator.surprisal(x, shifted), evaluator.surprisal(x, theta), rtol=0.0, atol=1e-11)


def test_observables_and_start_of_the_mixture():
    values = complete(MIXTURE, {"dimension": 2, "mixtures": 4})
    start = np.concatenate([np.ravel(group.default(values)) for group in MIXTURE.parameters])
    means = mixture_parts(start, values)[1]
    assert len(np.unique(means, axis=0)) == 4
    effective, narrowest = (MIXTURE.observables[name].function for name in MIXTURE.observables)
    np.testing.assert_allclose(effective(start, values), 4.0, rtol=1e-14)
    start[:4], start[-3] = [0.0, 0.0, -2000.0, -2000.0], 2.0
    np.testing.assert_allclose(effective(np.stack([start, start]), values), 2.0, rtol=1e-14)
    np.testing.assert_allclose(narrowest(start, values), np.exp(-1.0), rtol=1e-14)
    assert MIXTURE.support(complete(MIXTURE, {"dimension": 3})) is None


def test_double_well_moments_are_exact():
    """The gradient at x = 0 is minus the moments; the rule is exact to rounding where a well is 0.1 wide."""
    for theta in WELLS:
        gradient = Evaluator(WELL, complete(WELL, {})).gradient(np.zeros((1, 1)), theta[None])[0]
        exact = np.array([well_moment(theta, power, extent=4.0)[0] for power in (1, 2, 3, 4)])
        exact[3] *= np.exp(theta[3])
        np.testing.assert_allclose(-gradient, exact, rtol=1e-9, atol=1e-12)


def test_double_well_deeper_than_the_exponential_reaches():
    """E = -2500 at the bottom, where exp(-E) is beyond the largest number."""
    theta, values = np.array([[0.0, -100.0, 0.0, 0.0]]), complete(WELL, {"range": 10.0, "cells": 2000})
    phi = Evaluator(WELL, values).surprisal(np.array([[50.0**0.5]]), theta)
    # two Gaussians of curvature E'' = 4*100, and the next term of Laplace's expansion of the integral
    width = 1.0 / np.sqrt(400.0)
    quartic, cubic = 24.0, 24.0 * 50.0**0.5
    corrected = 1.0 - quartic * width**4 / 8.0 + 5.0 * cubic**2 * width**6 / 24.0
    np.testing.assert_allclose(phi, np.log(2.0 * width * np.sqrt(2.0 * np.pi) * corrected), atol=1e-6)


def test_barrier_of_the_double_well():
    barrier = WELL.observables["barrier"].function
    theta = np.array([[0.0, -3.0, 0.0, np.log(0.5)], [0.0, 0.5, 0.3, -2.0], [0.7, -3.0, -0.4, 0.2]])
    found = barrier(theta, complete(WELL, {}))
    axis = np.linspace(-4.0, 4.0, 800_001)
    energy = well_energy(axis, theta[2])
    turning = np.flatnonzero(np.diff(np.sign(np.diff(energy)))) + 1
    assert len(turning) == 3
    expected = energy[turning[1]] - max(energy[turning[0]], energy[turning[2]])
    np.testing.assert_allclose(found, [3.0**2 / (4.0 * 0.5), 0.0, expected], rtol=1e-8)


def test_cells_of_the_double_well_come_in_blocks():
    assert WELL.validate(complete(WELL, {}), {}) == []
    assert WELL.validate(complete(WELL, {"cells": 100}), {}) == [
        "model.cells = 100: expected a multiple of 8, such as 96 or 104."
    ]


@pytest.mark.parametrize("n", [1, 2])
def test_normaliser_of_the_network(n):
    """Against quadrature on another grid; the bound by the strength; minus its slope is the mean gradient of E."""
    values = complete(NETWORK, {"dimension": n, "hidden": 5, "width": 1.3})
    theta = random_theta(NETWORK, values, 3, seed=11)
    value, error = NETWORK.log_normaliser(theta, values)
    axis = np.linspace(-8.3, 9.1, 501)
    grid = np.stack([side.ravel() for side in np.meshgrid(*[axis] * n)], axis=-1)
    evaluator = Evaluator(NETWORK, values)
    other = special.logsumexp(-evaluator.surprisals(grid, theta), axis=1) + n * np.log(axis[1] - axis[0])
    np.testing.assert_allclose(value, other, rtol=0.0, atol=1e-8)
    assert np.all(error < 1e-8)
    trap, strength = 0.5 * n * np.log(2.0 * np.pi * 1.3**2), NETWORK.observables["strength"].function(theta, values)
    assert np.all(np.abs(value - trap) <= strength)
    assert np.all(np.abs(value - trap) > 1e-3)
    points, log_weights = NETWORK.support(values)
    for row, normaliser in zip(theta, value):
        probabilities = np.exp(log_weights - evaluator.surprisals(points, row[None])[0] - normaliser)
        np.testing.assert_allclose(probabilities.sum(), 1.0, atol=1e-12)
        gradient = probabilities @ evaluator.gradient(points, np.repeat(row[None], len(points), axis=0))
        slope = slopes(lambda moved: NETWORK.log_normaliser(moved, values)[0], row[None])[0]
        np.testing.assert_allclose(gradient, -slope, rtol=1e-6, atol=1e-8)


def test_network_starts_in_the_trap():
    """All replicas with the same distribution, and no two hidden units alike."""
    values = complete(NETWORK, {"dimension": 2, "hidden": 32})
    groups = {group.name: group for group in NETWORK.parameters}
    start = np.concatenate([np.ravel(group.default(values)) for group in NETWORK.parameters])
    value, error = NETWORK.log_normaliser(start, values)
    np.testing.assert_allclose(value, np.log(2.0 * np.pi * 4.0), rtol=0.0, atol=1e-10)
    assert error.shape == ()
    assert groups["amplitude"].spread == 0.0
    assert len(np.unique(groups["weight"].default(values), axis=0)) == 32
    x = np.array([[1.0, -0.5]])
    np.testing.assert_allclose(Evaluator(NETWORK, values).surprisal(x, start[None]), (1.0 + 0.25) / 8.0, rtol=1e-14)


def test_network_of_saturated_units():
    """tanh of large arguments is 1, without overflow."""
    values = complete(NETWORK, {"dimension": 1, "hidden": 5})
    theta = np.concatenate([np.zeros(5), [1e3, -1e3, 400.0, -400.0, 1e6], [1.0, 2.0, 4.0, 8.0, 16.0]])[None]
    evaluator = Evaluator(NETWORK, values)
    np.testing.assert_allclose(evaluator.surprisal(np.zeros((1, 1)), theta), [1.0 - 2.0 + 4.0 - 8.0 + 16.0])
    np.testing.assert_allclose(evaluator.force(np.ones((1, 1)), theta), [[-0.25]])


def test_normaliser_of_the_network_in_many_dimensions_is_refused():
    values = complete(NETWORK, {"dimension": 3})
    assert NETWORK.support(values) is None
    with pytest.raises(ValueError, match=r"model\.dimension = 3: .* use a smaller dimension"):
        NETWORK.log_normaliser(random_theta(NETWORK, values, 1), values)
    theta = random_theta(NETWORK, values, 2)
    largest = NETWORK.observables["sharpness"].function(theta, values)
    weights = theta[:, : 3 * 32].reshape(2, 32, 3)
    np.testing.assert_allclose(largest, np.sqrt((weights**2).sum(-1)).max(-1), rtol=1e-12)
