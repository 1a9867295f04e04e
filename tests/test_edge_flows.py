"""Flows beyond the edge of stability, against matrix exponentials, eigenvalues by numpy, and descent itself."""

import numpy as np
from scipy.linalg import expm

from thermosim.exact.edge_flows import central_path, flow_path, gradient_of_sharpness, sharpest

RATE, PUSH = 0.1, 0.05


def _valley(theta):
    """The gradient of y x^2/2 - 0.05 y: a valley along y whose curvature y grows as theta goes down it."""
    x, y = theta.T
    return np.stack([y * x, 0.5 * x**2 - PUSH], 1)


def _network(theta):
    """The gradient of sum tanh(a_i'theta)^2/2: all third derivatives, no symmetry."""
    a = np.random.default_rng(1).normal(size=(7, 5))
    t = np.tanh(theta @ a.T)
    return (t * (1.0 - t**2)) @ a


def _hessian(theta):
    a = np.random.default_rng(1).normal(size=(7, 5))
    t = np.tanh(a @ theta)
    return (a * ((1.0 - t**2) * (1.0 - 3.0 * t**2))[:, None]).T @ a


def test_flows_of_a_quadratic_are_exponentials():
    """exp(-A t) of L, exp(-(A + r A^2/2) t) of L + r |g|^2/4; a half or a double of r/4 misses by 100 times this."""
    a = np.random.default_rng(0).normal(size=(4, 4))
    a = a @ a.T / 4.0
    theta, steps = np.random.default_rng(2).normal(size=(2, 4)), np.array([0.5, 3.0, 40.0])
    found = flow_path(lambda there: there @ a.T, theta, RATE, steps, np.array([0.0, 1.0]))
    for k, step in enumerate(steps):
        for row, matrix in enumerate((a, a + 0.5 * RATE * a @ a)):
            exact = expm(-matrix * RATE * step) @ theta[row]
            np.testing.assert_allclose(found[k, row], exact, atol=2e-6)
    other = expm(-(a + RATE * a @ a) * RATE * steps[1]) @ theta[1]
    assert np.abs(other - found[1, 1]).max() > 2e-4


def test_sharpness_and_its_gradient_are_those_of_the_hessian():
    theta = 0.3 * np.random.default_rng(3).normal(size=(3, 5))
    vector = sharpest(_network, theta, None, 5)
    _, sharpness, slope = gradient_of_sharpness(_network, theta, vector)
    for row in range(3):
        assert abs(sharpness[row] - np.linalg.eigvalsh(_hessian(theta[row]))[-1]) < 1e-5
        for i in range(5):
            step = 1e-5 * np.eye(5)[i]
            ends = [np.linalg.eigvalsh(_hessian(theta[row] + sign * step))[-1] for sign in (1.0, -1.0)]
            assert abs(slope[row, i] - (ends[0] - ends[1]) / 2e-5) < 1e-4 * np.abs(slope[row]).max()


def test_central_flow_is_held_at_the_edge_where_descent_is():
    """S = y comes to 2/r and stays; then s = <x^2> of descent, 2 PUSH: half or twice the force would be seen."""
    start, steps = np.array([[1e-3, 19.5]]), np.arange(0.0, 600.0, 10.0)
    path, sharpness, variance = central_path(_valley, start, RATE, steps)
    assert np.allclose(sharpness[-20:], 2.0, atol=2e-2)
    assert np.allclose(variance[-20:], 2.0 * PUSH, rtol=1e-6)
    theta, course = np.array([[0.4, 20.0]]), []  # past its first excursion
    for _ in range(5000):
        theta = theta - RATE * _valley(theta)
        course.append(theta[0])
    x, y = np.array(course).T
    assert np.ptp(y) > 0.1  # it oscillates
    assert abs((x**2).mean() - variance[-1, 0]) < 0.03 * variance[-1, 0]
    assert abs(y.mean() * RATE - 2.0) < 0.05
    assert abs(path[-1, 0, 1] - y.mean()) < 0.3


def test_other_flows_go_past_the_edge():
    """Both go on at the push: y = 19.5 + PUSH r k, where descent stays near 20."""
    start = np.array([[1e-3, 19.5], [1e-3, 19.5]])
    found = flow_path(_valley, start, RATE, np.array([1000.0]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(found[0, :, 1], 19.5 + PUSH * RATE * 1000.0, rtol=1e-4)
