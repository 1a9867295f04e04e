"""The mean squared gradient along orbits against losses that are moved along them and differentiated anew."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from tests.assertions import assert_within, mean_and_error
from thermosim.exact import symmetry_orbits as theory

RANDOM = np.random.default_rng(3)
INPUTS, HIDDEN, OUTPUTS = 4, 3, 2  # nothing is square
FIRST, SECOND = RANDOM.normal(size=(HIDDEN, INPUTS)), RANDOM.normal(size=(OUTPUTS, HIDDEN))
X = RANDOM.normal(size=(200, INPUTS)) @ RANDOM.normal(size=(INPUTS, INPUTS))
Y = RANDOM.normal(size=(200, OUTPUTS)) * [0.4, 2.0]
SYMMETRIC = np.array([[1.0, 0.4, 0.0], [0.4, -0.6, 0.3], [0.0, 0.3, -0.5]])
TURN = np.array([[0.0, 1.5, 0.0], [-1.5, 0.0, 0.5], [0.0, -0.5, 0.0]])
GRID = np.linspace(-0.8, 0.9, 7)


def gradients(theta):
    """Of |W2 W1 x - y|^2, every row: (K, m)."""
    first, second = theta[: HIDDEN * INPUTS].reshape(HIDDEN, -1), theta[HIDDEN * INPUTS :].reshape(OUTPUTS, -1)
    error = X @ (second @ first).T - Y
    of_first = 2.0 * np.einsum("ko,oh,ki->khi", error, second, X)
    of_second = 2.0 * np.einsum("ko,kh->koh", error, X @ first.T)
    return np.concatenate([of_first.reshape(len(X), -1), of_second.reshape(len(X), -1)], axis=1)


THETA = np.concatenate([FIRST.ravel(), SECOND.ravel()])


def generator(mixing):
    return theory.double_rotation(INPUTS, HIDDEN, OUTPUTS, mixing)


def direct(mixing, along=GRID):
    return np.stack([(gradients(at) ** 2).sum(1) for at in theory.moved(THETA, generator(mixing), along)])


@pytest.mark.parametrize("mixing", [SYMMETRIC, SYMMETRIC + TURN, np.triu(np.ones((3, 3)))])
def test_along_the_orbit_it_is_that_of_gradients_there(mixing):
    """Row by row; a factor 2, a sign and a transpose of A are other curves by far."""
    a, exact = generator(mixing), direct(mixing)
    assert np.allclose(theory.square_along(gradients(THETA), a, GRID), exact, rtol=1e-10)
    wrong = [2.0 * a, -a] + ([] if np.allclose(a, a.T) else [a.T])
    for other in wrong:
        found = theory.square_along(gradients(THETA), other, GRID).mean(1)
        assert np.abs(found / exact.mean(1) - 1.0).max() > 0.1


def test_slope_and_curvature_are_those_of_the_curve():
    mixing = SYMMETRIC + TURN
    step, at = 1e-4, 0.3
    low, middle, high = direct(mixing, at + step * np.array([-1.0, 0.0, 1.0])).mean(1)
    a, g = generator(mixing), gradients(THETA)
    assert np.isclose(theory.slope_along(g, a, at).mean(), (high - low) / (2 * step), rtol=1e-6)
    assert np.isclose(theory.curvature_along(g, a, at).mean(), (high - 2 * middle + low) / step**2, rtol=1e-4)


def test_symmetric_generators_are_strictly_convex_with_balance_at_one_minimum():
    a, g = generator(SYMMETRIC), gradients(THETA)
    least = theory.least_along(g, a)
    found = minimize_scalar(lambda s: direct(SYMMETRIC, [s]).mean(), bounds=(-3, 3), options={"xatol": 1e-10})
    assert abs(least - found.x) < 1e-6 < 0.05 < abs(least)
    assert abs(theory.slope_along(g, a, least).mean()) < 1e-9 * theory.curvature_along(g, a, least).mean()
    assert (theory.curvature_along(g, a, 0.7) > 0.0).all()
    assert np.isclose(theory.least_along(g, -a), -least, rtol=1e-9)
    assert np.isclose(theory.least_along(g, 2.0 * a), least / 2.0, rtol=1e-9)


def test_two_eigenvalues_have_their_minimum_in_closed_form():
    """Rescaling: s* = ln(E|g_u|^2/E|g_w|^2)/4."""
    a = np.diag([1.0] * 12 + [-1.0] * 6)
    g = gradients(THETA)
    ratio = (g[:, :12] ** 2).sum() / (g[:, 12:] ** 2).sum()
    assert np.isclose(theory.least_along(g, a), np.log(ratio) / 4.0, rtol=1e-10)


def test_an_elliptic_symmetry_of_two_layers_has_no_unique_minimum():
    """It turns theta round and round without keeping its norm: S is periodic, so concave somewhere."""
    turn = np.array([[0.0, 2.0, 0.0], [-0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])  # exp(s B) has the period 2 pi
    curve = direct(turn, np.linspace(0.0, 2.0 * np.pi, 41)).mean(1)
    assert np.isclose(curve[-1], curve[0], rtol=1e-8)
    assert np.ptp(curve) > 0.1 * curve.mean()
    curvature = [theory.curvature_along(gradients(THETA), generator(turn), s).mean() for s in np.linspace(0, np.pi, 9)]
    assert min(curvature) < 0.0 < max(curvature)
    with pytest.raises(ValueError, match="commute"):
        theory.least_along(gradients(THETA), generator(turn))


def test_rotations_are_flat_and_definite_generators_have_no_minimum():
    rotation = generator(np.array([[0.0, 1.0, 0.4], [-1.0, 0.0, 0.2], [-0.4, -0.2, 0.0]]))
    flat = theory.square_along(gradients(THETA), rotation, GRID).mean(1)
    assert np.ptp(flat) < 1e-10 * flat[0]
    assert np.isnan(theory.least_along(gradients(THETA), rotation))
    scale = np.diag([1.0, 3.0, 0.0, 2.0])
    g = RANDOM.normal(size=(50, 4))
    assert theory.least_along(g, scale) == np.inf
    assert theory.least_along(g, -scale) == -np.inf
    assert np.isnan(theory.least_along(g * [0, 0, 1, 0], scale))  # A g = 0 in every row


@pytest.mark.parametrize(("rate", "bound"), [(0.01, False), (0.1, True)])
def test_noise_binds_sgd_to_a_saddle(rate, bound):
    """u w x of width one about u = w = 0: u + w grows by 1 + 2 r x y; E x y > 0 makes 0 a saddle of the loss."""
    random = np.random.default_rng(8)
    steps, chains = 400, 300
    x = random.normal(size=(steps, chains))
    y = 0.3 * x + 3.0 * random.normal(size=(steps, chains))
    u, w = 1e-90 * random.normal(size=(2, chains)), np.zeros((2, chains))
    u, w = u[0], u[1]
    start = np.log(np.abs(u + w))
    for row, target in zip(x, y):
        error = u * w * row - target
        u, w = u - 2 * rate * error * w * row, w - 2 * rate * error * u * row
    rates = (np.log(np.abs(u + w)) - start) / steps
    samples = theory.collapse_exponent(-2.0 * (x * y).ravel(), rate)
    assert_within(
        *mean_and_error(rates), samples.mean(), catches="a sign of h, a factor 2", mistake=0.5 * abs(samples.mean())
    )
    assert bool(samples.mean() < 0.0) is bound
