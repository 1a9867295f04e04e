"""Entropic forces of linear networks: closed forms against minimisation, finite differences and rows of data."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

from tests.assertions import assert_within, mean_and_error
from thermosim.exact import entropic_forces as theory
from thermosim.exact import symmetry_charges as charges
from thermosim.exact import universal_kernel

OUTPUTS, INPUT_SIZE, WIDTH = 3, 4, 5  # nothing is square
RANDOM = np.random.default_rng(7)


def spd(n, random=RANDOM):
    root = random.normal(size=(n, n))
    return root @ root.T / n + 0.2 * np.eye(n)


V, SX, SE = RANDOM.normal(size=(OUTPUTS, INPUT_SIZE)), spd(INPUT_SIZE), spd(OUTPUTS)  # nothing commutes
PROBLEM = (V, SX, SE)
ANYWHERE = RANDOM.normal(size=(WIDTH, INPUT_SIZE)), RANDOM.normal(size=(OUTPUTS, WIDTH))


def frame(width, rank, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, rank)))[0]


def unflatten(theta, width=WIDTH):
    return theta[: width * INPUT_SIZE].reshape(width, -1), theta[width * INPUT_SIZE :].reshape(OUTPUTS, -1)


def flat(pair):
    return np.concatenate([part.ravel() for part in pair])


def square_on_manifold(first, second):
    """E|g|^2 of one row, of any law of x and e."""
    of_first, of_second = np.trace(first @ SX @ first.T), np.trace(second.T @ SE @ second)
    return 4.0 * (np.trace(SE) * of_first + np.trace(SX) * of_second)


def least_square(matrix, inputs, noise):
    """8 (Tr Sx Tr Se)^(1/2) |Se^(1/2) V Sx^(1/2)|_*; singular values of L'V M, Se = L L', Sx = M M', are the same."""
    left, right = np.linalg.cholesky(noise), np.linalg.cholesky(inputs)
    return 8.0 * np.sqrt(np.trace(inputs) * np.trace(noise)) * np.linalg.norm(left.T @ matrix @ right, "nuc")


def on_manifold(move):
    """A pair with W2 W1 = V, moved along the manifold by an invertible matrix (h, h)."""
    first, second = theory.balanced_factors(V, np.eye(INPUT_SIZE), np.eye(OUTPUTS), WIDTH, frame(WIDTH, OUTPUTS))
    return move @ first, second @ np.linalg.inv(move)


SHEARED = on_manifold(np.eye(WIDTH) + 0.3 * RANDOM.normal(size=(WIDTH, WIDTH)))


def least_on_manifold(cost):
    start = np.eye(WIDTH) + 0.1 * np.random.default_rng(3).normal(size=(WIDTH, WIDTH))
    found = minimize(lambda a: cost(*on_manifold(a.reshape(WIDTH, WIDTH))), start.ravel(), tol=1e-9)
    return on_manifold(found.x.reshape(WIDTH, WIDTH)), found.fun


def rows(count, batch=1):
    """Inputs (count, batch, n) and noises (count, batch, d)."""
    random = np.random.default_rng(11)
    x = random.normal(size=(count, batch, INPUT_SIZE)) @ np.linalg.cholesky(SX).T
    return x, random.normal(size=(count, batch, OUTPUTS)) @ np.linalg.cholesky(SE).T


def gradients(first, second, x, noise):
    """Gradients (count, h, n), (count, d, h) of the mean over a batch of |W2 W1 x - V x - e|^2."""
    hidden, error = x @ first.T, x @ (second @ first - V).T - noise
    of_first = 2.0 * np.einsum("cbo,oh,cbi->chi", error, second, x, optimize=True) / x.shape[1]
    return of_first, 2.0 * np.einsum("cbo,cbh->coh", error, hidden) / x.shape[1]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("weights", [SHEARED, ANYWHERE])
def test_mean_square_gradient_is_that_of_rows(weights, batch):
    """Off the manifold fourth moments of x enter: they are seen, and so is the full batch in that of a few rows."""
    squares = sum((g**2).sum((1, 2)) for g in gradients(*weights, *rows(200_000, batch)))
    exact = theory.mean_square_gradient(*weights, *PROBLEM, batch)
    mistake = abs(exact - theory.mean_square_gradient(*weights, *PROBLEM, 1 + batch))
    assert_within(*mean_and_error(squares), exact, catches="a batch of one row more", mistake=mistake)


def test_off_the_manifold_the_fourth_moments_of_inputs_enter():
    """By far more than the error of the rows above: what a law of x without its kurtosis would give is another."""
    gap = ANYWHERE[1] @ ANYWHERE[0] - V
    right, left = theory.gradient_moments(gap, SX, SE)
    without = right - 8.0 * SX @ gap.T @ gap @ SX, left - 8.0 * gap @ SX @ SX @ gap.T
    squares = sum((g**2).sum((1, 2)) for g in gradients(*ANYWHERE, *rows(200_000)))
    mean, error = mean_and_error(squares)
    wrong = np.trace(ANYWHERE[0] @ without[0] @ ANYWHERE[0].T) + np.trace(ANYWHERE[1].T @ without[1] @ ANYWHERE[1])
    assert abs(mean - wrong) > 30.0 * error


def test_moments_of_the_gradient_are_those_of_rows_entry_by_entry():
    """E[G'G] and E[GG'], whose transposes and factors 2 the traces above may hide."""
    gap = ANYWHERE[1] @ ANYWHERE[0] - V
    x, noise = (part[:, 0] for part in rows(200_000))
    error = x @ gap.T - noise
    right = 4.0 * (error**2).sum(1)[:, None, None] * x[:, :, None] * x[:, None, :]
    left = 4.0 * (x**2).sum(1)[:, None, None] * error[:, :, None] * error[:, None, :]
    for samples, exact in zip((right, left), theory.gradient_moments(gap, SX, SE)):
        assert_within(*mean_and_error(samples, 0), exact, sigmas=4.5, catches="a contraction of Isserlis' theorem")


def test_on_the_manifold_it_is_the_form_that_needs_no_normal_law():
    exact = square_on_manifold(*SHEARED)
    assert np.isclose(theory.mean_square_gradient(*SHEARED, *PROBLEM), exact, rtol=1e-12)
    assert np.isclose(theory.mean_square_gradient(*SHEARED, *PROBLEM, 8), exact / 8.0, rtol=1e-12)
    assert theory.mean_square_gradient(*SHEARED, *PROBLEM, math.inf) < 1e-20


def numerical_gradient(function, theta, step=1e-5):
    return np.array(
        [(function(theta + step * e) - function(theta - step * e)) / (2 * step) for e in np.eye(theta.size)]
    )


@pytest.mark.parametrize("batch", [1, 4, math.inf])
def test_the_force_is_the_gradient_of_the_entropic_part_of_the_loss(batch):
    def entropic(theta):
        with_rate, without = (
            theory.entropic_loss(*unflatten(theta), *PROBLEM, learning_rate=rate, batch=batch) for rate in (0.3, 0.0)
        )
        return with_rate - without

    theta = flat(ANYWHERE)
    force = flat(theory.entropic_force(*ANYWHERE, *PROBLEM, learning_rate=0.3, batch=batch))
    assert np.allclose(force, -numerical_gradient(entropic, theta), rtol=1e-6, atol=1e-6 * np.abs(force).max())


def test_the_flow_of_the_entropic_loss_is_the_step_of_learning_to_third_order():
    """Which only the prefactor 1/4 does: the rest is of the third order in eta; with 1/2 or 1/8 it is of the second."""

    def slope(theta):
        first, second = unflatten(theta)
        gap = 2.0 * (second @ first - V) @ SX
        return np.concatenate([(second.T @ gap).ravel(), (gap @ first.T).ravel()])

    theta = 0.5 * flat(ANYWHERE)

    def rest(eta, factor):
        def flow(_, now):
            force = theory.entropic_force(*unflatten(now), *PROBLEM, learning_rate=eta, batch=math.inf)
            return factor * flat(force) - slope(now)

        end = solve_ivp(flow, (0.0, eta), theta, rtol=1e-12, atol=1e-14).y[:, -1]
        return np.linalg.norm(end - theta + eta * slope(theta))

    orders = {factor: np.log2(rest(2e-3, factor) / rest(1e-3, factor)) for factor in (0.5, 1.0, 2.0)}
    assert abs(orders[1.0] - 3.0) < 0.1
    assert abs(orders[0.5] - 2.0) < 0.1
    assert abs(orders[2.0] - 2.0) < 0.1
    assert rest(1e-3, 1.0) < 0.05 * rest(1e-3, 2.0)


def test_the_entropic_solution_is_that_of_a_minimiser():
    found, least = least_on_manifold(lambda *pair: theory.mean_square_gradient(*pair, *PROBLEM))
    first, second = theory.entropic_weights(*PROBLEM, WIDTH, frame=frame(WIDTH, OUTPUTS))
    exact = least_square(*PROBLEM)
    assert np.isclose(least, exact, rtol=1e-8)
    assert np.allclose(second @ first, V, atol=1e-12)
    assert np.isclose(theory.mean_square_gradient(first, second, *PROBLEM), exact, rtol=1e-12)
    assert np.isclose(theory.least_penalty(*PROBLEM, learning_rate=0.4, batch=2), 0.4 / 8.0 * exact, rtol=1e-12)
    kernels = theory.entropic_kernels(*PROBLEM)
    assert np.allclose(kernels[0], first.T @ first, rtol=1e-10)
    assert np.allclose(kernels[1], second @ second.T, rtol=1e-10)
    assert np.allclose(found[0].T @ found[0], first.T @ first, atol=1e-4)
    assert np.allclose(found[1] @ found[1].T, second @ second.T, atol=1e-4)


@pytest.mark.parametrize(("rate", "decay", "batch"), [(0.1, 0.2, 1), (0.1, 0.01, 4), (0.02, 1.0, 1)])
def test_weight_decay_leads_from_the_entropic_solution_to_that_of_least_norm(rate, decay, batch):
    """The cost is written out here, with its own 1/4; a factor 2 between decay and noise moves the state by far."""

    def cost(first, second, rate=rate):
        square = square_on_manifold(first, second) / batch
        return decay * ((first**2).sum() + (second**2).sum()) + rate / 4.0 * square

    settings = {"learning_rate": rate, "decay": decay, "batch": batch}
    found, least = least_on_manifold(cost)
    first, second = theory.entropic_weights(*PROBLEM, WIDTH, **settings, frame=frame(WIDTH, OUTPUTS))
    assert np.isclose(least, theory.least_penalty(*PROBLEM, **settings), rtol=1e-8)
    assert np.isclose(cost(first, second), least, rtol=1e-8)
    assert np.allclose(found[0].T @ found[0], first.T @ first, atol=2e-4)
    assert np.abs(theory.balance(first, second, *PROBLEM, **settings)).max() < 1e-12
    assert np.allclose(theory.entropic_kernels(*PROBLEM, **settings)[1], second @ second.T, rtol=1e-10)
    twice = theory.entropic_weights(*PROBLEM, WIDTH, learning_rate=2.0 * rate, decay=decay, batch=batch)[0]
    assert np.abs(twice.T @ twice - first.T @ first).max() > 1e-2


def test_at_the_ends_weight_decay_gives_both_solutions():
    entropic = theory.entropic_weights(*PROBLEM, WIDTH)[0]
    weak = theory.entropic_weights(*PROBLEM, WIDTH, learning_rate=0.1, decay=1e-9)[0]
    strong = theory.entropic_weights(*PROBLEM, WIDTH, learning_rate=1e-9, decay=1.0)[0]
    _, values, right = np.linalg.svd(V, full_matrices=False)
    assert np.allclose(weak.T @ weak, entropic.T @ entropic, rtol=1e-6)
    assert np.allclose(strong.T @ strong, (right.T * values) @ right, rtol=1e-6, atol=1e-7)


def test_the_least_entropic_loss_tends_to_the_closed_form_with_the_learning_rate():
    """Unconstrained minima of F: their distance from the closed form is of first order in eta and gamma together."""

    def distance(eta):
        settings = {"learning_rate": eta, "decay": 0.3 * eta}

        def cost(theta):
            first, second = unflatten(theta)
            gap = 2.0 * (second @ first - V) @ SX
            slope = np.concatenate([(second.T @ gap).ravel(), (gap @ first.T).ravel()]) + 0.6 * eta * theta
            force = flat(theory.entropic_force(first, second, *PROBLEM, learning_rate=eta))
            return theory.entropic_loss(first, second, *PROBLEM, **settings) - np.trace(SE), slope - force

        exact = theory.entropic_weights(*PROBLEM, WIDTH, **settings)
        found = minimize(cost, flat(exact), jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 2000})
        first, second = unflatten(found.x)
        assert np.abs(theory.balance(first, second, *PROBLEM, **settings)).max() < 1e-8 * eta / 1e-3
        return np.abs(first.T @ first - exact[0].T @ exact[0]).max()

    assert 1.8 < distance(2e-3) / distance(1e-3) < 2.2
    assert distance(1e-3) < 0.05


def test_balance_is_the_slope_of_the_entropic_loss_along_its_symmetry():
    """W1 -> exp(-s B) W1, W2 -> W2 exp(s B) off the manifold, entry by entry of B; E l does not change."""
    settings = {"learning_rate": 0.2, "decay": 0.07, "batch": 2}
    residual = theory.balance(*ANYWHERE, *PROBLEM, **settings)

    def along(b):
        move = np.eye(WIDTH) + b.reshape(WIDTH, WIDTH)
        first, second = ANYWHERE
        return theory.entropic_loss(np.linalg.inv(move) @ first, second @ move, *PROBLEM, **settings)

    slope = numerical_gradient(along, np.zeros(WIDTH * WIDTH)).reshape(WIDTH, WIDTH)
    assert np.allclose(slope, -2.0 * residual, rtol=1e-6, atol=1e-6)
    assert np.abs(residual).max() > 1.0


def test_matrix_balance_has_its_transposes():
    """W1 E[G'G] W1' = W2' E[GG'] W2 in the entropic solution; where all is square, a transposed layer has none."""
    first, second = theory.entropic_weights(*PROBLEM, WIDTH, frame=frame(WIDTH, OUTPUTS))
    right, left = theory.gradient_moments(second @ first - V, SX, SE)
    size = np.abs(first @ right @ first.T).max()
    assert np.abs(theory.matrix_balance(first, second, right, left)).max() < 1e-12 * size
    assert np.abs(theory.matrix_balance(*SHEARED, right, left)).max() > 0.1 * size
    square, inputs, noise = RANDOM.normal(size=(3, 3)), spd(3), spd(3)
    first, second = theory.entropic_weights(square, inputs, noise, 3, frame=frame(3, 3))
    moments = theory.gradient_moments(np.zeros((3, 3)), inputs, noise)
    size = np.abs(first @ moments[0] @ first.T).max()
    assert np.abs(theory.matrix_balance(first, second, *moments)).max() < 1e-12 * size
    assert np.abs(theory.matrix_balance(first, second.T, *moments)).max() > 0.1 * size
    assert np.abs(theory.matrix_balance(first.T, second, *moments)).max() > 0.1 * size


def test_a_width_of_the_rank_suffices_and_less_is_refused():
    low = V[:, :2] @ RANDOM.normal(size=(2, INPUT_SIZE))
    first, second = theory.entropic_weights(low, SX, SE, 2, frame=frame(2, 2))
    assert np.allclose(second @ first, low)
    assert np.isclose(theory.mean_square_gradient(first, second, low, SX, SE), least_square(low, SX, SE))
    with pytest.raises(ValueError, match="a width of 1 cannot make a matrix of rank 2"):
        theory.entropic_weights(low, SX, SE, 1)
    with pytest.raises(ValueError, match="orthonormal"):
        theory.entropic_weights(low, SX, SE, 2, frame=2.0 * np.eye(2))
    with pytest.raises(ValueError, match="not positive definite"):
        theory.entropic_weights(V, SX, np.diag([1.0, 1.0, 0.0]), 3)
    with pytest.raises(ValueError, match=r"widths \[2, 1\] cannot make a matrix of rank 2"):
        universal_kernel.least_deep_weights(low, SX, SE, [2, 1])


@pytest.mark.parametrize("weights", [SHEARED, ANYWHERE])
def test_the_hessian_is_that_of_finite_differences(weights):
    def loss(theta):
        first, second = unflatten(theta)
        gap = second @ first - V
        return np.trace(gap @ SX @ gap.T)

    def slope(theta):
        return numerical_gradient(loss, theta, 1e-3)

    numerical = numerical_gradient(slope, flat(weights), 1e-3)
    exact = theory.hessian(*weights, V, SX)
    assert np.allclose(exact, numerical, atol=1e-4 * np.abs(exact).max())
    assert np.isclose(np.trace(exact), theory.hessian_trace(*weights, SX))
    assert np.isclose(np.trace(numerical), theory.hessian_trace(*weights, SX), rtol=1e-6)
    assert np.isclose(theory.largest_curvature(*weights, V, SX), np.linalg.eigvalsh(exact)[-1])


def test_the_flattest_network_and_the_trace_of_the_entropic_solution():
    flattest = theory.flattest_weights(V, SX, WIDTH, frame(WIDTH, OUTPUTS))
    _, least = least_on_manifold(lambda *pair: float(theory.hessian_trace(*pair, SX)))
    exact = theory.flattest_trace(V, SX)
    assert np.isclose(least, exact, rtol=1e-8)
    assert np.isclose(np.trace(theory.hessian(*flattest, V, SX)), exact, rtol=1e-12)
    entropic = theory.entropic_weights(*PROBLEM, WIDTH)
    assert np.isclose(theory.entropic_trace(*PROBLEM), np.trace(theory.hessian(*entropic, V, SX)), rtol=1e-12)
    weak = SE - 0.999 * np.linalg.eigvalsh(SE)[0] * np.eye(OUTPUTS)  # noise that all but spares one direction
    assert exact < theory.entropic_trace(*PROBLEM) < theory.entropic_trace(V, SX, weak)
    assert theory.entropic_trace(V, SX, weak) > 3.0 * exact
    assert np.isclose(theory.entropic_trace(V, SX, 0.3 * np.eye(OUTPUTS)), exact, rtol=1e-12)


@pytest.mark.parametrize(("noise", "trace"), [([1.0, 1.0], 16.0), ([0.25, 1.0], 17.0763), ([0.01, 1.0], 37.4609)])
def test_equal_noise_flattens_and_unequal_noise_sharpens(noise, trace):
    """V = Sx = 1: Tr H = 4 [sqrt(2/Tr Se) sum s + sqrt(Tr Se/2) sum 1/s]; the flattest is 16, reached for s equal."""
    one, deviation = np.eye(2), np.sqrt(noise)
    scale = np.sqrt(2.0 / np.sum(noise))
    expected = 4.0 * (scale * deviation.sum() + (1.0 / deviation).sum() / scale)
    found = theory.entropic_trace(one, one, np.diag(noise))
    assert np.isclose(found, expected)
    assert abs(found - trace) < 1e-2 * trace
    assert theory.flattest_trace(one, one) == pytest.approx(16.0)


def test_curvatures_of_the_identity_with_unequal_noise():
    """V = Sx = 1: all of them are 2 (a_j^2 + b_i^2)."""
    deviation, one = np.array([0.2, 0.7, 1.5]), np.eye(3)
    scale = np.sqrt(3.0 / (deviation**2).sum())
    pairs = 2.0 * np.add.outer(scale * deviation, 1.0 / (scale * deviation))
    weights = theory.entropic_weights(one, one, np.diag(deviation**2), 3, frame=frame(3, 3))
    found = np.linalg.eigvalsh(theory.hessian(*weights, one, one))
    assert np.allclose(found[-9:], np.sort(pairs.ravel()))
    assert np.allclose(found[:-9], 0.0, atol=1e-12)
    largest = 2.0 * (scale * 1.5 + 1.0 / (scale * 0.2))
    assert np.isclose(theory.largest_curvature(*weights, one, one), largest)


SIZE, WIDTHS = 4, (5, 6, 5)
DEEP = np.random.default_rng(5)
DEEP_V, DEEP_SX, DEEP_SE = DEEP.normal(size=(3, SIZE)), spd(SIZE, DEEP), spd(3, DEEP)
EMBEDDING, UNEMBEDDING = DEEP.normal(size=(SIZE, SIZE)), DEEP.normal(size=(3, 3))
ENDS = (EMBEDDING, UNEMBEDDING)
MOMENTS = (DEEP_SX, DEEP_SE)
PROBES = DEEP.normal(size=(12, SIZE))


def deep_on_manifold(flat_moves):
    """W_1, ..., W_4 with M_O W_4 .. W_1 M_I = V, from a state of no balance, and its moves of every hidden layer."""
    weights, at = [np.eye(n, m) for n, m in zip((*WIDTHS, 3), (SIZE, *WIDTHS))], 0
    weights[0] = np.eye(WIDTHS[0], 3) @ np.linalg.inv(UNEMBEDDING) @ DEEP_V @ np.linalg.inv(EMBEDDING)
    for i, h in enumerate(WIDTHS):
        move = np.eye(h) + flat_moves[at : at + h * h].reshape(h, h)
        at += h * h
        weights[i] = move @ weights[i]
        weights[i + 1] = weights[i + 1] @ np.linalg.inv(move)
    return weights


@pytest.fixture(scope="module")
def deep():
    """A minimum over all moves, by BFGS."""
    start = 0.1 * np.random.default_rng(8).normal(size=sum(h * h for h in WIDTHS))

    def cost(moves):
        return float(np.log(universal_kernel.layer_squares(deep_on_manifold(moves), *ENDS, *MOMENTS).sum()))

    found = minimize(cost, start, method="BFGS", options={"gtol": 1e-5, "maxiter": 400})
    return deep_on_manifold(found.x)


def test_layer_squares_are_those_of_rows():
    weights = deep_on_manifold(0.2 * np.random.default_rng(9).normal(size=sum(h * h for h in WIDTHS)))
    random = np.random.default_rng(10)
    x = random.normal(size=(200_000, SIZE)) @ np.linalg.cholesky(DEEP_SX).T
    back = 2.0 * random.normal(size=(200_000, 3)) @ np.linalg.cholesky(DEEP_SE).T @ UNEMBEDDING
    hidden, squares = [x @ EMBEDDING.T], []
    for layer in weights[:-1]:
        hidden.append(hidden[-1] @ layer.T)
    for layer, before in zip(weights[::-1], hidden[::-1]):
        squares.append((back**2).sum(1) * (before**2).sum(1))
        back = back @ layer
    exact = universal_kernel.layer_squares(weights, *ENDS, *MOMENTS)
    assert_within(
        *mean_and_error(np.array(squares[::-1])),
        exact,
        catches="a layer that is another",
        mistake=np.abs(exact - np.roll(exact, 1)),
    )


def test_every_hidden_layer_of_a_deep_minimiser_has_the_universal_kernel(deep):
    exact = universal_kernel.universal_kernel(DEEP_V, *MOMENTS)
    target = universal_kernel.gram(exact, PROBES)
    squares = universal_kernel.layer_squares(deep, *ENDS, *MOMENTS)
    assert np.isclose(squares.sum(), universal_kernel.least_deep_square(DEEP_V, *MOMENTS, 4, *ENDS), rtol=1e-7)
    assert np.allclose(squares, squares.mean(), rtol=1e-3)
    grams = universal_kernel.hidden_grams(deep, EMBEDDING, PROBES)
    assert len(grams) == 3
    assert all(universal_kernel.gram_cosine(target, one) > 1.0 - 1e-6 for one in grams)
    # powers: a state of no balance, and kernels without noise or with 1/2 left out, are far away
    other = universal_kernel.hidden_grams(deep_on_manifold(np.zeros(sum(h * h for h in WIDTHS))), EMBEDDING, PROBES)
    blind = universal_kernel.gram(universal_kernel.universal_kernel(DEEP_V, DEEP_SX, np.eye(3)), PROBES)
    square = universal_kernel.gram(DEEP_V.T @ DEEP_SE @ DEEP_V, PROBES)
    assert max(universal_kernel.gram_cosine(target, one) for one in [*other, blind, square]) < 0.999


def test_the_deep_state_in_closed_form():
    weights = universal_kernel.least_deep_weights(DEEP_V, *MOMENTS, WIDTHS, *ENDS)
    product = UNEMBEDDING @ weights[3] @ weights[2] @ weights[1] @ weights[0] @ EMBEDDING
    squares = universal_kernel.layer_squares(weights, *ENDS, *MOMENTS)
    assert [one.shape for one in weights] == [(5, 4), (6, 5), (5, 6), (3, 5)]
    assert np.allclose(product, DEEP_V, atol=1e-10)
    assert np.allclose(squares, squares[0], rtol=1e-10)
    assert np.isclose(squares.sum(), universal_kernel.least_deep_square(DEEP_V, *MOMENTS, 4, *ENDS), rtol=1e-10)
    size = squares[0]
    assert all(np.abs(one).max() < 1e-10 * size for one in universal_kernel.stationarity(weights, *ENDS, *MOMENTS))
    target = universal_kernel.gram(universal_kernel.universal_kernel(DEEP_V, *MOMENTS), PROBES)
    grams = universal_kernel.hidden_grams(weights, EMBEDDING, PROBES)
    assert all(universal_kernel.gram_cosine(target, one) > 1.0 - 1e-12 for one in grams)


def test_of_two_layers_it_is_the_entropic_solution():
    weights = universal_kernel.least_deep_weights(*PROBLEM, [WIDTH])
    for ours, other in zip(weights, theory.entropic_weights(*PROBLEM, WIDTH)):
        assert np.allclose(ours, other, atol=1e-10)
    least = least_square(*PROBLEM)
    assert np.isclose(universal_kernel.least_deep_square(*PROBLEM, 2), least, rtol=1e-12)
    kernel = np.sqrt(np.trace(SX) / np.trace(SE)) * universal_kernel.universal_kernel(*PROBLEM)
    assert np.allclose(kernel, theory.entropic_kernels(*PROBLEM)[0], rtol=1e-10)


def test_stationarity_is_the_slope_along_moves_of_every_hidden_layer():
    """Of E|g|^2/4 under W_i -> B^-1 W_i, W_(i+1) -> W_(i+1) B, entry by entry: 2 (the residual)'."""
    weights = deep_on_manifold(0.2 * np.random.default_rng(9).normal(size=sum(h * h for h in WIDTHS)))
    residuals = universal_kernel.stationarity(weights, *ENDS, *MOMENTS)
    for i, h in enumerate(WIDTHS):

        def along(b, i=i, h=h):
            move, moved = np.eye(h) + b.reshape(h, h), list(weights)
            moved[i], moved[i + 1] = np.linalg.inv(move) @ weights[i], weights[i + 1] @ move
            return universal_kernel.layer_squares(moved, *ENDS, *MOMENTS).sum() / 4.0

        slope = numerical_gradient(along, np.zeros(h * h)).reshape(h, h)
        assert np.allclose(slope, 2.0 * residuals[i], rtol=1e-5, atol=1e-5 * np.abs(slope).max())


def test_the_universal_kernel_of_views_and_labels():
    """The same inner products for every view; for labels that are turned, but not for labels that are stretched."""
    view = RANDOM.normal(size=(INPUT_SIZE, INPUT_SIZE))
    probes = RANDOM.normal(size=(9, INPUT_SIZE))
    ours = universal_kernel.gram(universal_kernel.universal_kernel(*PROBLEM), probes)
    fed = universal_kernel.universal_kernel(V @ np.linalg.inv(view), view @ SX @ view.T, SE)
    assert np.allclose(universal_kernel.gram(fed, probes @ view.T), ours)
    turn, stretch = frame(OUTPUTS, OUTPUTS), np.diag([1.0, 3.0, 0.2])
    turned, stretched = (
        universal_kernel.gram(universal_kernel.universal_kernel(z @ V, SX, z @ SE @ z.T), probes)
        for z in (turn, stretch)
    )
    assert np.allclose(turned, ours)
    assert universal_kernel.gram_cosine(stretched, ours) < 0.99


def lone_step(first, second, x, noise, rate, decay):
    of_first, of_second = gradients(first, second, x, noise)
    keep = 1.0 - 2.0 * rate * decay
    return (of_first[0], of_second[0]), (keep * first - rate * of_first[0], keep * second - rate * of_second[0])


def test_charges_after_one_step_are_exact():
    """One large step with decay at a batch of 3: rescalings of one unit, of two together, and the matrix of them."""
    rate, decay = 0.3, 0.4
    x, noise = rows(1, 3)
    grads, after = lone_step(*ANYWHERE, x, noise, rate, decay)
    settings = {"learning_rate": rate, "decay": decay}
    expected = charges.next_layer_charge(charges.layer_charge(*ANYWHERE), *grads, **settings)
    size = np.abs(expected).max()
    assert np.abs(charges.layer_charge(*after) - expected).max() < 1e-13 * size
    assert np.abs(charges.layer_charge(*grads)).max() * rate**2 > 0.1 * size
    mixing = spd(WIDTH)
    zeros = np.zeros((WIDTH * INPUT_SIZE, OUTPUTS * WIDTH))
    generator = np.block([[np.kron(mixing, np.eye(INPUT_SIZE)), zeros], [zeros.T, -np.kron(np.eye(OUTPUTS), mixing)]])
    before = charges.charge(flat(ANYWHERE), generator)
    expected = charges.next_charge(before, flat(grads), generator, **settings)
    assert np.isclose(charges.charge(flat(after), generator), expected, rtol=1e-12)
    assert np.isclose(before, 0.5 * np.trace(mixing @ charges.layer_charge(*ANYWHERE)))
    # at rest C = (1 - 2 eta gamma)^2 C + (eta^2/2) g'A g: what the balance lacks is 2/eta^2 of what the step adds
    lacking = charges.master_balance(flat(grads), flat(ANYWHERE), generator, **settings)
    assert np.isclose(lacking, 2.0 / rate**2 * (expected - before), rtol=1e-12)


def test_scale_invariant_and_scalar_charges():
    """|w|^2 += eta^2 |g|^2 for l(w/|w|); C (1 - 4 eta^2 e^2 x^2) for f = u w x."""
    w, target = np.array([0.5, -1.2, 0.8]), np.array([0.3, 0.1, -0.7])
    radius = np.linalg.norm(w)
    gradient = (target - w * (w @ target) / radius**2) / radius
    after = charges.next_charge(charges.charge(w, np.eye(3)), gradient, np.eye(3), learning_rate=0.7)
    assert np.isclose(2.0 * after, ((w - 0.7 * gradient) ** 2).sum(), rtol=1e-14)
    (u, v), x, y, rate = (0.9, -0.4), 1.3, 0.6, 0.2
    error = u * v * x - y
    theta, sign = np.array([u, v]), np.diag([1.0, -1.0])
    before = charges.charge(theta, sign)
    after = charges.next_charge(before, 2.0 * error * x * np.array([v, u]), sign, learning_rate=rate)
    assert np.isclose(after, before * (1.0 - 4.0 * rate**2 * error**2 * x**2), rtol=1e-14)


def test_the_master_balance_has_its_factor_of_a_finite_step():
    """Stationary SGD with decay, both layers of unequal size: (1 - eta gamma) is seen with power, and so is 4."""
    rate, decay, replicas, steps = 0.02, 1.5, 64, 2500
    random = np.random.default_rng(12)
    matrix = 4.0 * np.eye(2, 3)
    first, second = random.normal(size=(replicas, 2, 3)), random.normal(size=(replicas, 2, 2))
    generator = np.diag([1.0] * 6 + [-1.0] * 4)
    mean, sizes = np.zeros(replicas), np.zeros(replicas)
    for step in range(steps):
        x = random.normal(size=(replicas, 3, 1)) * np.array([[1.0], [0.8], [0.6]])
        error = (second @ first - matrix) @ x - random.normal(size=(replicas, 2, 1)) * np.array([[0.5], [2.0]])
        of_first, of_second = 2.0 * second.mT @ error @ x.mT, 2.0 * error @ (first @ x).mT
        theta = np.concatenate([first.reshape(replicas, -1), second.reshape(replicas, -1)], 1)
        if step >= 500:
            gradient = np.concatenate([of_first.reshape(replicas, -1), of_second.reshape(replicas, -1)], 1)
            mean += charges.master_balance(gradient, theta, generator, learning_rate=rate, decay=decay)
            sizes += 2.0 * charges.charge(gradient, generator)
        keep = 1.0 - 2.0 * rate * decay
        first, second = keep * first - rate * of_first, keep * second - rate * of_second
    mean, sizes = mean / (steps - 500), sizes / (steps - 500)
    mistake = rate * decay * abs(sizes.mean())
    assert_within(*mean_and_error(mean), 0.0, catches="1 - eta gamma left out", mistake=mistake)
