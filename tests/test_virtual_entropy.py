"""The entropy of a step with virtual noise: Monte Carlo against closed forms, its bias, and the order of its limits."""

import numpy as np
import pytest

from thermosim.analysis.irreversibility import potentials, regularised_entropy_production, virtual_entropy
from thermosim.exact.irreversibility import step_entropies

RATE = 0.2
MATRIX = np.array([[1.0, 0.4, 0.0], [-0.3, 0.7, 0.2], [0.1, 0.0, 1.6]])  # not symmetric
MEAN = np.array([1.0, -0.5, 0.8])


def _linear(theta):
    return theta @ MATRIX.T


def _quartic(theta):
    return theta @ (MATRIX + MATRIX.T) + (theta**2).sum(1, keepdims=True) * theta


def test_draws_of_a_linear_field_meet_the_closed_form_with_its_bias():
    theta, sigma = np.random.default_rng(1).normal(size=(4, 3)), 0.5
    found = virtual_entropy(_linear, theta, RATE, sigma, draws=4000)
    bias = sigma**2 * (RATE / 16.0 * (MATRIX**2).sum() - np.trace(MATRIX) / 8.0)
    z = (found["phi_st"] - found["exact"] - bias) / found["phi_st_error"]
    assert np.all(np.abs(z) < 4.0)
    assert np.all(np.abs(bias / found["phi_st_error"]) > 40.0)
    exact = potentials(_linear, theta, RATE, scalars=False)["phi_st"]
    np.testing.assert_allclose(found["exact"], exact, rtol=1e-13)


def test_the_bias_of_any_field_is_of_second_order():
    """(r/16)[|J|^2 + (U + U+).lap U] - tr J/8 at the end of the step, by finite differences, at two sigmas."""
    theta = 0.5 * np.random.default_rng(2).normal(size=(3, 3))
    end, unit, width = theta - RATE * _quartic(theta), np.eye(3), 1e-4
    around = [(_quartic(end + width * e), _quartic(end - width * e)) for e in unit]
    jacobian = np.stack([(up - down) / (2.0 * width) for up, down in around], 2)
    laplacian = sum(up + down - 2.0 * _quartic(end) for up, down in around) / width**2
    both = _quartic(theta) + _quartic(end)
    slope = RATE / 16.0 * ((jacobian**2).sum((1, 2)) + (both * laplacian).sum(1)) - np.einsum("rii->r", jacobian) / 8.0
    for sigma, tolerance in ((0.04, 5e-3), (0.02, 2e-3)):
        found = virtual_entropy(_quartic, theta, RATE, sigma, draws=3000)
        measured = (found["phi_st"] - found["exact"]) / sigma**2
        error = found["phi_st_error"] / sigma**2
        assert np.all(np.abs(measured - slope) < 4.0 * error + tolerance * np.abs(slope))
        assert np.all(np.abs(slope) > 15.0 * error)


def test_entropy_production_of_a_linear_field():
    taus, sigmas = [0.3, 0.03], [0.5, 0.1, 0.01]
    found = regularised_entropy_production(_linear, MEAN, RATE, taus, sigmas, draws=4000)
    for t in taus:
        for s in sigmas:
            here = found.sel(tau=t, sigma=s)
            bath, system = step_entropies(MATRIX, MEAN, RATE, t, s)
            assert abs(here["bath_entropy"] - bath) < 4.0 * here["bath_entropy_error"]
            np.testing.assert_allclose(here["system_entropy"], system, rtol=1e-8)
            assert bath + system > 0.0


def test_the_closed_form_is_that_of_samples():
    """Every path drawn, its densities forward and back written out; entropies of the system by covariances."""
    random, tau, sigma = np.random.default_rng(3), 0.3, 0.2
    theta = MEAN + tau * random.normal(size=(400_000, 3))
    there = theta - RATE * _linear(theta) + sigma * random.normal(size=theta.shape)
    back = ((theta - there + RATE * _linear(there)) ** 2).sum(1)
    shed = (back - ((there - theta + RATE * _linear(theta)) ** 2).sum(1)) / (2.0 * sigma**2)
    bath, system = step_entropies(MATRIX, MEAN, RATE, tau, sigma)
    assert abs(shed.mean() - bath) < 4.0 * shed.std() / np.sqrt(len(shed))
    grown = 0.5 * (np.linalg.slogdet(np.cov(there.T))[1] - np.linalg.slogdet(np.cov(theta.T))[1])
    assert abs(grown - system) < 4.0 * np.sqrt(3 / len(shed)) < 0.02 < abs(system)  # of two halves of ln det


def test_limits_in_both_orders():
    """sigma far below tau, then both to 0: 8 r phi_ST. tau to 0 at a given sigma: without bound."""
    inner = regularised_entropy_production(_quartic, 0.5 * MEAN, RATE, [1e-4], [1e-8], draws=400)["ratio"].squeeze()
    assert abs(inner - 1.0) < 4.0 * float(inner.attrs.get("error", 0.0)) + 1e-3
    outer = regularised_entropy_production(_quartic, 0.5 * MEAN, RATE, [1e-2, 1e-4, 1e-6], [1e-1], draws=400)
    rise = np.diff(outer["entropy_production"].squeeze().values)
    np.testing.assert_allclose(rise[-1], 3.0 * np.log(100.0), rtol=1e-2)


def test_a_symmetric_step_has_the_ratio_of_its_closed_form():
    """|(2 A - r A^2) mu|^2/(4 mu'A^2 mu) is sigma^2 Sigma over 8 r times the leading order."""
    matrix, mean = MATRIX + MATRIX.T, MEAN
    bath, system = step_entropies(matrix, mean, RATE, 1e-4, 1e-8)
    leading = 2.0 * RATE**2 * ((matrix @ mean) ** 2).sum()
    wanted = ((2.0 * matrix @ mean - RATE * matrix @ matrix @ mean) ** 2).sum() / (4.0 * ((matrix @ mean) ** 2).sum())
    np.testing.assert_allclose(1e-16 * (bath + system) / leading, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "told"), [({"sigma": 0.0}, "sigma"), ({"draws": 1}, "draws"), ({"rate": -1.0}, "rate")]
)
def test_refusals(change, told):
    given = {"rate": RATE, "sigma": 0.1, "draws": 10} | change
    with pytest.raises(ValueError, match=told):
        virtual_entropy(_linear, MEAN[None], given["rate"], given["sigma"], given["draws"])
    with pytest.raises(ValueError, match="tau"):
        regularised_entropy_production(_linear, MEAN, RATE, [-1.0], [0.1])
