"""The entropic solution of a linear network of two layers, against minimisation and finite differences."""

import numpy as np
import pytest
from scipy.optimize import minimize

from tests.assertions import assert_within
from thermosim.exact import two_layer_linear as theory

RANDOM = np.random.default_rng(4)


def spd(n):
    root = RANDOM.normal(size=(n, n))
    return root @ root.T + 0.2 * np.eye(n)


MATRIX, INPUTS, NOISE = RANDOM.normal(size=(3, 4)), spd(4), spd(3)  # nothing commutes, nothing is square
WIDTH = 5


def on_manifold(flat):
    """W1 and W2 with W2 W1 = V, moved along it by an invertible matrix A: W1 = A F, W2 = G A^-1."""
    moved = flat.reshape(WIDTH, WIDTH)
    left, values, right = np.linalg.svd(MATRIX, full_matrices=False)
    first = np.zeros((WIDTH, 4))
    first[:3] = np.sqrt(values)[:, None] * right
    second = np.zeros((3, WIDTH))
    second[:, :3] = left * np.sqrt(values)
    return moved @ first, second @ np.linalg.inv(moved)


@pytest.fixture(scope="module")
def least():
    start = (np.eye(WIDTH) + 0.2 * RANDOM.normal(size=(WIDTH, WIDTH))).ravel()
    found = minimize(lambda a: float(theory.mean_square(*on_manifold(a), INPUTS, NOISE)), start, tol=1e-12)
    return on_manifold(found.x)


def test_the_least_square_gradient_is_that_of_a_minimiser(least):
    first, second = least
    assert np.allclose(second @ first, MATRIX)
    assert np.isclose(theory.mean_square(first, second, INPUTS, NOISE), theory.least_square(MATRIX, INPUTS, NOISE))
    assert np.allclose(first.T @ first, theory.input_kernel(MATRIX, INPUTS, NOISE), rtol=1e-3, atol=1e-3)
    assert np.allclose(second @ second.T, theory.output_kernel(MATRIX, INPUTS, NOISE), rtol=1e-3, atol=1e-3)


def test_both_layers_are_in_balance(least):
    """Tr Se W1 Sx W1' = Tr Sx W2' Se W2, matrix by matrix."""
    first, second = least
    ours, other = np.trace(NOISE) * first @ INPUTS @ first.T, np.trace(INPUTS) * second.T @ NOISE @ second
    assert np.allclose(ours, other, atol=2e-3 * np.abs(ours).max())


def test_mean_square_is_that_of_rows():
    """The mean over rows of |dl/dW1|^2 + |dl/dW2|^2 on the manifold, by differentiation by hand."""
    first, second = on_manifold((np.eye(WIDTH) + 0.3 * RANDOM.normal(size=(WIDTH, WIDTH))).ravel())
    x = RANDOM.multivariate_normal(np.zeros(4), INPUTS, size=200000)
    error = -RANDOM.multivariate_normal(np.zeros(3), NOISE, size=200000)
    hidden = x @ first.T
    squares = 4.0 * (error**2).sum(1) * (hidden**2).sum(1) + 4.0 * ((error @ second) ** 2).sum(1) * (x**2).sum(1)
    exact = theory.mean_square(first, second, INPUTS, NOISE)
    assert_within(squares.mean(), squares.std() / 447.0, exact, catches="a factor 2", mistake=exact)


def test_hessian_trace_is_that_of_finite_differences():
    """Away from the manifold too: second differences of E l = Tr((W2 W1 - V) Sx (W2 W1 - V)') + Tr Se."""
    flat = RANDOM.normal(size=WIDTH * 7)

    def loss(w):
        gap = w[WIDTH * 4 :].reshape(3, WIDTH) @ w[: WIDTH * 4].reshape(WIDTH, 4) - MATRIX
        return np.trace(gap @ INPUTS @ gap.T)

    second = [(loss(flat + 1e-3 * e) - 2.0 * loss(flat) + loss(flat - 1e-3 * e)) / 1e-6 for e in np.eye(len(flat))]
    first, last = flat[: WIDTH * 4].reshape(WIDTH, 4), flat[WIDTH * 4 :].reshape(3, WIDTH)
    assert np.isclose(theory.hessian_trace(first, last, INPUTS), sum(second), rtol=1e-6)


def test_the_flattest_network():
    start = np.eye(WIDTH).ravel()
    found = minimize(lambda a: float(theory.hessian_trace(*on_manifold(a), INPUTS)), start, tol=1e-12)
    assert np.isclose(found.fun, theory.flattest_trace(MATRIX, INPUTS), rtol=1e-6)


@pytest.mark.parametrize(("noise", "trace"), [([1.0, 1.0], 16.0), ([0.25, 1.0], 17.0763), ([0.01, 1.0], 37.4609)])
def test_equal_noise_flattens_and_unequal_noise_sharpens(noise, trace):
    """V = Sx = 1: Tr H = 4 [sqrt(2/Tr Se) sum s + sqrt(Tr Se/2) sum 1/s]; the flattest is 16, reached for s equal."""
    one, noise = np.eye(2), np.diag(noise)
    deviation = np.sqrt(np.diag(noise))
    scale = np.sqrt(2.0 / np.trace(noise))
    expected = 4.0 * (scale * deviation.sum() + (1.0 / deviation).sum() / scale)
    found = (
        2.0 * 2.0 * (np.trace(theory.input_kernel(one, one, noise)) + np.trace(theory.output_kernel(one, one, noise)))
    )
    assert np.isclose(found, expected)
    assert abs(found - trace) < 1e-2 * trace
    assert theory.flattest_trace(one, one) == pytest.approx(16.0)
