"""Models of spins and binary units against the enumeration of all their states."""

import itertools

import numpy as np
import pytest
from scipy.special import expit

from tests.assertions import assert_within, mean_and_error
from thermosim.exact import partition_functions
from thermosim.kernels import types
from thermosim.kernels.compile import compiled
from thermosim.kernels.evaluate import Evaluator, energy_bindings
from thermosim.kernels.noise import uniform_array
from thermosim.models import boltzmann_machine, restricted_boltzmann_machine
from thermosim.streams import DATA, X_NOISE

SPINS = boltzmann_machine.MODEL
UNITS = restricted_boltzmann_machine.MODEL
REPLICAS = 40_000
PREPARED = True
prepare = resample = None

# theta of three spins, and of three visible and two hidden units: no symmetry, and no moment near 0
THREE_SPINS = np.array([0.5, -0.3, 0.2, -0.7, 0.4, -0.6])
FIVE_UNITS = np.array([0.4, -0.9, 0.8, -0.5, 1.1, 1.5, -1.2, -0.7, 2.0, 1.3, -1.6])


def sweep(theta, derived, constants, shared, scratch, x, x_new, uniform):
    prepare(theta, constants, shared, derived, scratch)
    resample(x, x_new, derived if PREPARED else theta, constants, shared, uniform, scratch)


def gibbs(model, values, theta, x, sweeps=1):
    """States (R, n) after so many sweeps from x (R, n), all under the same theta (m,)."""
    tile, vector = types.float64[:, ::1], types.float64[::1]
    signature = types.void(tile, tile, tile, vector, tile, tile, tile, tile)
    kernel = compiled(sweep, signature, **energy_bindings(model, values), resample=model.resample)
    lanes, names = len(x), model.names(values)
    rows = {"derived": names["DERIVED"], "constants": len(model.constants), "scratch": model.scratch_rows(values)}
    derived, constants, scratch = (np.zeros((count, lanes)) for count in rows.values())
    parameters, old = np.repeat(theta[:, None], lanes, axis=1), np.ascontiguousarray(x.T, float)
    for k in range(sweeps):
        new = np.full_like(old, np.nan)
        uniform = uniform_array(7, X_NOISE, k, 0, (model.resample_uniforms(values), lanes))
        kernel(parameters, derived, constants, np.zeros(0), scratch, old, new, uniform)
        old = new
    return old.T


def spin_statistics(x):
    """x_i, and x_i x_j for i < j: (..., m)."""
    n = x.shape[-1]
    pairs = [x[..., i] * x[..., j] for i, j in itertools.combinations(range(n), 2)]
    return np.concatenate([x, np.reshape(pairs, (-1, *x.shape[:-1])).transpose(*range(1, x.ndim), 0)], axis=-1)


def spin_probabilities(theta):
    """States (8, 3) and their probabilities under theta (6,)."""
    states = np.array(list(itertools.product((1.0, -1.0), repeat=3)))
    weights = np.exp(spin_statistics(states) @ theta)
    return states, weights / weights.sum()


def spin_matrix(theta, order=(0, 1, 2), slope=2.0):
    """P(x -> x') of a sweep over the sites in this order, (8, 8)."""
    states, _ = spin_probabilities(theta)
    interaction = np.zeros((3, 3))
    interaction[np.triu_indices(3, 1)] = theta[3:]
    interaction += interaction.T
    matrix = np.eye(8)
    for site in order:
        up = expit(slope * (theta[site] + states @ interaction[site]))
        rest = np.all(np.delete(states, site, 1)[:, None] == np.delete(states, site, 1)[None], axis=-1)
        matrix = matrix @ (rest * np.where(states[None, :, site] > 0.0, up[:, None], 1.0 - up[:, None]))
    return states, matrix


def unit_parts(theta, n):
    hidden = (len(theta) - n) // (n + 1)
    return theta[:n], theta[n : n + hidden], theta[n + hidden :].reshape(n, hidden)


def unit_matrix(theta, n, scale=1.0):
    """States (2^n, n), their probabilities, P(v -> v') of a sweep; by enumeration of the hidden states too."""
    a, b, weights = unit_parts(theta, n)
    visible = np.array(list(itertools.product((0.0, 1.0), repeat=n)))
    hidden = np.array(list(itertools.product((0.0, 1.0), repeat=len(b))))
    joint = np.exp((visible @ a)[:, None] + hidden @ b + visible @ weights @ hidden.T)
    to_hidden = expit(scale * (b + visible @ weights))
    to_visible = expit(scale * (a + hidden @ weights.T))
    up = np.prod(np.where(hidden[None] > 0.0, to_hidden[:, None], 1.0 - to_hidden[:, None]), axis=-1)
    down = np.prod(np.where(visible[None] > 0.0, to_visible[:, None], 1.0 - to_visible[:, None]), axis=-1)
    return visible, joint.sum(1) / joint.sum(), up @ down


@pytest.mark.parametrize("n", [1, 5, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (2, 3, 8))])
@pytest.mark.parametrize("size", [0.7, 60.0])
def test_spins_have_the_surprisal_of_the_definition_normaliser_included(n, size):
    """Catches a pair counted twice, a misplaced coupling, and overflow where the couplings are large."""
    rng = np.random.default_rng(n)
    values = {"dimension": n}
    points, log_weights = SPINS.support(values)
    theta = size * rng.normal(size=(37, n + n * (n - 1) // 2))
    phi = Evaluator(SPINS, values).surprisals(points, theta)
    np.testing.assert_allclose((np.exp(log_weights) * np.exp(-phi)).sum(1), 1.0, rtol=1e-11)
    exponents = theta @ spin_statistics(points).T
    top = exponents.max(1, keepdims=True)
    exact = top + np.log(np.exp(exponents - top).sum(1, keepdims=True)) - exponents
    np.testing.assert_allclose(phi, exact, rtol=1e-12, atol=1e-12 * size)
    assert len(np.unique(points, axis=0)) == 2**n


@pytest.mark.parametrize(
    ("n", "hidden"),
    [(1, 1), (5, 3), *(pytest.param(*sizes, marks=pytest.mark.exhaustive) for sizes in ((2, 5), (6, 4), (9, 2)))],
)
def test_hidden_units_are_summed_over(n, hidden):
    """Catches weights read in the wrong order, a hidden unit left out, and rows beyond the last block of four."""
    rng = np.random.default_rng(10 * n + hidden)
    values = {"dimension": n, "hidden": hidden}
    theta = 1.5 * rng.normal(size=(21, n + hidden + n * hidden))
    points, _ = UNITS.support(values)
    phi = Evaluator(UNITS, values).surprisals(points, theta)
    states = np.array(list(itertools.product((0.0, 1.0), repeat=hidden)))
    for row, free_energy in zip(theta, phi):
        a, b, weights = unit_parts(row, n)
        joint = np.exp((points @ a)[:, None] + states @ b + points @ weights @ states.T)
        np.testing.assert_allclose(free_energy, -np.log(joint.sum(1)), rtol=1e-12, atol=1e-12)
    log_normaliser, error = UNITS.log_normaliser(theta, values)
    np.testing.assert_allclose(np.exp(-phi - log_normaliser[:, None]).sum(1), 1.0, rtol=1e-12)
    assert not error.any()


def test_many_hidden_units_and_strong_inputs_do_not_overflow():
    """Catches a product of factors never brought back to a logarithm, and ln(1 + exp(z)) taken literally."""
    values = {"dimension": 2, "hidden": 1300}
    machine, on = Evaluator(UNITS, values), np.ones((1, 2))
    weak, strong = np.zeros((1, 2 + 3 * 1300)), np.full((1, 2 + 3 * 1300), 1000.0)
    np.testing.assert_allclose(machine.surprisal(on, weak), -1300 * np.log(2.0), rtol=1e-14)
    np.testing.assert_allclose(machine.surprisal(on, strong), -(2000.0 + 1300 * 3000.0), rtol=1e-14)
    np.testing.assert_allclose(machine.surprisal(0.0 * on, -strong), 0.0, atol=1e-12)
    slope = machine.gradient(on, weak)[0]
    np.testing.assert_allclose(slope, np.repeat([-1.0, -0.5], [2, 3 * 1300]), rtol=1e-14)
    np.testing.assert_allclose(machine.gradient(on, strong), -1.0, rtol=1e-14)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        pytest.param(SPINS, {"dimension": 1}, marks=pytest.mark.exhaustive),
        (SPINS, {"dimension": 6}),
        (UNITS, {"dimension": 5, "hidden": 3}),
        pytest.param(UNITS, {"dimension": 4, "hidden": 7}, marks=pytest.mark.exhaustive),
    ],
)
def test_the_gradient_is_that_of_the_surprisal(model, values):
    """Catches a sign, a factor 2, and a moment left out of d ln Z/d theta."""
    rng = np.random.default_rng(3)
    machine = Evaluator(model, values)
    points, _ = model.support(values)
    theta = rng.normal(size=(50, machine.parameters))
    x = points[rng.integers(len(points), size=50)]
    differences = np.empty_like(theta)
    for k in range(machine.parameters):
        step = 1e-5 * np.eye(machine.parameters)[k]
        differences[:, k] = (machine.surprisal(x, theta + step) - machine.surprisal(x, theta - step)) / 2e-5
    np.testing.assert_allclose(machine.gradient(x, theta), differences, atol=2e-9)
    loss, slope = machine.data_gradient(points[:7], theta)
    rows = points[:7]
    each = np.mean([machine.gradient(np.tile(row, (50, 1)), theta) for row in rows], axis=0)
    np.testing.assert_allclose(slope, each, atol=1e-13)
    np.testing.assert_allclose(loss, machine.surprisals(rows, theta).mean(1), rtol=1e-13)


def test_the_mean_gradient_of_spins_vanishes_in_their_own_law():
    """Catches any moment that is not that of the states: sum_x p d phi/d theta = 0 to rounding."""
    rng = np.random.default_rng(4)
    values = {"dimension": 7}
    machine, (points, _) = Evaluator(SPINS, values), SPINS.support(values)
    theta = rng.normal(size=(5, machine.parameters))
    probability = np.exp(-machine.surprisals(points, theta))
    slopes = np.stack([machine.gradient(np.tile(point, (5, 1)), theta) for point in points])
    np.testing.assert_allclose(np.einsum("rp,prk->rk", probability, slopes), 0.0, atol=1e-13)


def test_fresh_spins_have_the_exact_moments_and_frequencies():
    """Catches states numbered differently by the sampler and by the energies, and a shifted running sum."""
    x = Evaluator(SPINS, {"dimension": 3}).draw(np.tile(THREE_SPINS, (REPLICAS, 1)), 1, DATA, 0)
    states, probability = spin_probabilities(THREE_SPINS)
    exact = probability @ spin_statistics(states)
    estimate, error = mean_and_error(spin_statistics(x), axis=0)
    assert_within(estimate, error, exact, catches="a flipped sign of all spins or couplings", mistake=2.0 * exact)
    backwards = np.abs(probability - spin_probabilities(THREE_SPINS[[2, 1, 0, 5, 4, 3]])[1]).max()
    frequency = np.all(x[:, None] == states, axis=-1).mean(0)
    spread = np.sqrt(probability * (1.0 - probability) / REPLICAS)
    assert_within(frequency, spread, probability, catches="sites in reverse order", mistake=backwards)


def test_a_sweep_of_spins_in_theory():
    """The claims of the docstring: p is invariant, and the sweep in reverse order is the way back."""
    _, matrix = spin_matrix(THREE_SPINS)
    _, probability = spin_probabilities(THREE_SPINS)
    _, back = spin_matrix(THREE_SPINS, order=(2, 1, 0))
    np.testing.assert_allclose(probability @ matrix, probability, rtol=1e-13)
    np.testing.assert_allclose(probability[:, None] * matrix, (probability[:, None] * back).T, rtol=1e-13)
    assert np.abs(probability[:, None] * matrix - (probability[:, None] * matrix).T).max() > 0.01


def test_a_sweep_of_spins_has_its_transition_probabilities():
    """Catches exp(-f) taken for exp(-2 f), old neighbours taken for new ones, another order of the sites."""
    states, matrix = spin_matrix(THREE_SPINS)
    for start in range(8):
        x = gibbs(SPINS, {"dimension": 3}, THREE_SPINS, np.tile(states[start], (REPLICAS, 1)))
        frequency = np.all(x[:, None] == states, axis=-1).mean(0)
        error = np.sqrt(matrix[start] * (1.0 - matrix[start]) / REPLICAS)
        wrong = spin_matrix(THREE_SPINS, slope=1.0)[1], spin_matrix(THREE_SPINS, order=(2, 1, 0))[1]
        sizes = [np.abs(other[start] - matrix[start]).max() for other in wrong]
        assert_within(frequency, error, matrix[start], catches="a wrong field or order", mistake=min(sizes))


def test_a_sweep_of_units_in_theory():
    """The claim of the docstring: seen from v, a sweep is in detailed balance with exp(-F)."""
    _, probability, matrix = unit_matrix(FIVE_UNITS, 3)
    np.testing.assert_allclose(matrix.sum(1), 1.0, rtol=1e-13)
    flow = probability[:, None] * matrix
    np.testing.assert_allclose(flow, flow.T, rtol=1e-12)


def test_a_sweep_of_units_has_its_transition_probabilities():
    """Catches the weights transposed, a bias left out, a slope of 2."""
    states, _, matrix = unit_matrix(FIVE_UNITS, 3)
    wrong = unit_matrix(FIVE_UNITS, 3, scale=2.0)[2]
    for start in range(8):
        x = gibbs(UNITS, {"dimension": 3, "hidden": 2}, FIVE_UNITS, np.tile(states[start], (REPLICAS, 1)))
        frequency = np.all(x[:, None] == states, axis=-1).mean(0)
        error = np.sqrt(matrix[start] * (1.0 - matrix[start]) / REPLICAS)
        size = np.abs(wrong[start] - matrix[start]).max()
        assert_within(frequency, error, matrix[start], catches="a wrong input", mistake=size)


@pytest.mark.parametrize("sweeps", [1, 40])
@pytest.mark.parametrize("model", [SPINS, UNITS])
def test_sweeps_keep_the_exact_law_and_lead_to_it(model, sweeps):
    """One sweep from the exact law, and forty from one state. Catches any law that is not exp(-phi)/Z."""
    if model is SPINS:
        values, theta, (states, probability) = {"dimension": 3}, THREE_SPINS, spin_probabilities(THREE_SPINS)
    else:
        values, theta = {"dimension": 3, "hidden": 2}, FIVE_UNITS
        states, probability, _ = unit_matrix(FIVE_UNITS, 3)
    start = np.random.default_rng(8).choice(8, size=REPLICAS, p=probability) if sweeps == 1 else np.zeros(REPLICAS, int)
    x = gibbs(model, values, theta, states[start], sweeps)
    moments = probability @ spin_statistics(states)
    estimate, error = mean_and_error(spin_statistics(x), axis=0)
    assert_within(estimate, error, moments, catches="a law with twice or half these moments", mistake=0.5 * moments)


def test_cross_entropy_of_spins_is_the_sum_over_states():
    """Catches a and b exchanged, and the normaliser of the wrong one: the kernel's phi_b summed with p_a."""
    rng = np.random.default_rng(6)
    values = {"dimension": 5}
    machine, (points, _) = Evaluator(SPINS, values), SPINS.support(values)
    theta_a, theta_b = rng.normal(size=(2, 4, 3, machine.parameters))
    flat_a, flat_b = theta_a.reshape(12, -1), theta_b.reshape(12, -1)
    exact = (np.exp(-machine.surprisals(points, flat_a)) * machine.surprisals(points, flat_b)).sum(1)
    np.testing.assert_allclose(SPINS.cross_entropy(theta_a, theta_b, values), exact.reshape(4, 3), rtol=1e-12)
    entropy = SPINS.cross_entropy(theta_a, theta_a, values)
    divergence = SPINS.cross_entropy(theta_a[0, 0], theta_b, values) - entropy[0, 0]
    assert np.all(divergence > 0.0)
    x = machine.draw(np.tile(flat_a[0], (REPLICAS, 1)), 2, DATA, 0)
    estimate, error = mean_and_error(machine.surprisal(x, np.tile(flat_b[0], (REPLICAS, 1))))
    exchanged = np.abs(SPINS.cross_entropy(flat_b[0], flat_a[0], values) - exact[0])
    assert_within(estimate, error, exact[0], catches="a and b exchanged", mistake=exchanged)


@pytest.mark.parametrize(("n", "hidden"), [(14, 13), (13, 15), pytest.param(3, 40, marks=pytest.mark.exhaustive)])
def test_partition_function_by_enumeration_of_either_layer(n, hidden):
    """Catches blocks of states that miss each other: the sum over all visible states of the kernel's exp(-F)."""
    theta = np.random.default_rng(n).normal(size=(2, n + hidden + n * hidden))
    values = {"dimension": n, "hidden": hidden}
    points, _ = UNITS.support(values)
    phi = Evaluator(UNITS, values).surprisals(points, theta)
    exact = np.logaddexp.reduce(-phi, axis=1)
    np.testing.assert_allclose(UNITS.log_normaliser(theta, values)[0], exact, rtol=1e-13)


@pytest.mark.parametrize("size", [1.0, 2.0])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in (1, 2))])
def test_annealing_agrees_with_enumeration(seed, size):
    """Catches a factor 2 in Z, a step of the path left out, weights of the state after the sweep."""
    rng = np.random.default_rng(seed)
    a, b, weights = rng.normal(size=16), rng.normal(size=8), size * rng.normal(size=(16, 8))
    estimate = partition_functions.annealed(partition_functions.annealed_log_weights(a, b, weights))
    exact = partition_functions.enumerated(a, b, weights)
    assert_within(estimate.value, estimate.error, exact, catches="a factor 2 in Z", mistake=np.log(2.0))
    assert estimate.effective_runs > 80


def test_the_error_of_annealing_is_the_spread_of_its_results():
    """Catches half or twice the standard error: the scatter of ln Z over 200 groups of 100 runs each."""
    rng = np.random.default_rng(1)
    a, b, weights = rng.normal(size=9), rng.normal(size=6), rng.normal(size=(9, 6))
    runs = partition_functions.annealed_log_weights(a, b, weights, runs=20_000, temperatures=30)
    value, error, _ = np.transpose([partition_functions.annealed(group) for group in runs.reshape(200, 100)])
    scatter = value.std(ddof=1)
    assert_within(scatter, scatter / np.sqrt(398), error.mean(), catches="half the error", mistake=0.5 * error.mean())


def test_annealing_is_exact_without_couplings_and_depends_on_the_parameters_alone():
    """Catches a base whose partition function is not Z_0, and noise that depends on the order of the calls."""
    rng = np.random.default_rng(2)
    a, b, weights = rng.normal(size=30), rng.normal(size=25), 0.3 * rng.normal(size=(30, 25))
    free = partition_functions.annealed_log_weights(a, b, 0.0 * weights, runs=5, temperatures=3)
    np.testing.assert_allclose(free, np.logaddexp(0.0, a).sum() + np.logaddexp(0.0, b).sum(), rtol=1e-13)
    first = partition_functions.annealed_log_weights(a, b, weights, runs=5, temperatures=20)
    other = partition_functions.annealed_log_weights(a, b, 1.0001 * weights, runs=5, temperatures=20)
    np.testing.assert_array_equal(
        first, partition_functions.annealed_log_weights(a, b, weights, runs=5, temperatures=20)
    )
    assert np.abs(first - other).min() > 1e-6


def test_a_machine_too_large_to_enumerate_is_annealed():
    """Three machines side by side that do not interact: ln Z is the sum of theirs. Catches weights out of order."""
    rng = np.random.default_rng(9)
    values, a, b = {"dimension": 24, "hidden": 21}, rng.normal(size=24), rng.normal(size=21)
    weights, exact = np.zeros((24, 21)), 0.0
    for k in range(3):
        rows, columns = slice(8 * k, 8 * k + 8), slice(7 * k, 7 * k + 7)
        weights[rows, columns] = 1.5 * rng.normal(size=(8, 7))
        exact += partition_functions.enumerated(a[rows], b[columns], weights[rows, columns])
    theta = np.concatenate([a, b, weights.ravel()])[None]
    value, error = UNITS.log_normaliser(theta, values)
    assert_within(value, error, exact, catches="a factor 2 in Z", mistake=np.log(2.0))
    assert value.shape == error.shape == (1,)
    assert restricted_boltzmann_machine.effective_runs(theta, values) > 50.0
    assert UNITS.support(values) is None


def test_a_path_taken_too_fast_is_seen_in_the_effective_runs():
    """Catches a count of runs that does not fall when few of them carry the estimate."""
    rng = np.random.default_rng(5)
    weights = 3.0 * rng.normal(size=(16, 8))
    a, b = -0.5 * weights.sum(1), -0.5 * weights.sum(0)
    hasty = partition_functions.annealed_log_weights(a, b, weights, temperatures=3)
    patient = partition_functions.annealed_log_weights(a, b, weights)
    assert partition_functions.annealed(hasty).effective_runs < 10.0
    assert partition_functions.annealed(patient).effective_runs > 60.0


def test_observables_of_frames():
    """Catches a reduction over the wrong axis, and biases counted among the couplings."""
    spins, units = {"dimension": 3}, {"dimension": 3, "hidden": 2}
    theta, x = np.tile(THREE_SPINS, (4, 2, 1)), np.tile([1.0, 1.0, -1.0], (4, 2, 1))
    np.testing.assert_allclose(SPINS.observables["magnetisation"].function(x, spins), np.full((4, 2), 1 / 3))
    strength = SPINS.observables["coupling_strength"].function(theta, spins)
    np.testing.assert_allclose(strength, np.full((4, 2), np.linalg.norm(THREE_SPINS[3:])))
    norm = UNITS.observables["weight_norm"].function(np.tile(FIVE_UNITS, (4, 2, 1)), units)
    np.testing.assert_allclose(norm, np.full((4, 2), np.linalg.norm(FIVE_UNITS[5:])))
    activity = UNITS.observables["activity"].function(np.tile([1.0, 0.0, 1.0], (4, 2, 1)), units)
    np.testing.assert_allclose(activity, np.full((4, 2), 2 / 3))
