"""Information and length of Gaussians: against integrals, sampled densities and samples of the learning machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import integrate, special, stats

from tests.assertions import assert_within, mean_and_error
from tests.plain_learning_machine import MACHINE, OWN_X, PRECISION, REPLICAS, ROWS, START, simulate
from thermosim.exact import gaussian_information as information
from thermosim.exact.learning_machine import Moments, moments, partial_averages
from thermosim.exact.linear_langevin import Gaussian


def test_quasistatic_work() -> None:
    """n jumps of equal Fisher length cost L^2/(2 n) up to 1/n^2; length against quadrature and closed forms."""

    def path(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([2.0 * t, -t], axis=-1), np.exp(np.stack([3.0 * t, np.log(2.0) - t], axis=-1))

    def speed(t: float) -> float:
        return float(np.sqrt(4.0 * np.exp(3.0 * t) + 2.0 * np.exp(-t) + 0.5 * (9.0 + 1.0)))

    fine = np.linspace(0.0, 1.0, 4001)
    lengths = information.fisher_length(*path(fine))
    np.testing.assert_allclose(lengths[-1], integrate.quad(speed, 0.0, 1.0)[0], rtol=1e-12)
    np.testing.assert_allclose(information.fisher_length(*path(np.array([0.0, 1.0])))[-1], lengths[-1], rtol=1e-9)
    excess = []
    for jumps in (100, 200, 400):
        t = np.interp(np.linspace(0.0, lengths[-1], jumps + 1), lengths, fine)
        work = partial_averages(*path(t)).work[-1]
        excess.append(work / information.quasistatic_work(lengths[-1], jumps) - 1.0)
    assert abs(excess[0]) < 0.05
    np.testing.assert_allclose([excess[0] / excess[1], excess[1] / excess[2]], 2.0, rtol=0.02)


def test_entropies_against_integrals() -> None:
    """Relative, cross- and plain entropy: diagonal against full, and a full one against sampled densities."""
    mean, precision = np.array([[0.3, -1.0], [1.1, 0.2]]), np.array([[0.5, 2.0], [1.7, 0.8]])
    a, b = (Gaussian(m, np.diag(1.0 / k)) for m, k in zip(mean, precision))
    diagonal = (mean[0], precision[0], mean[1], precision[1])
    np.testing.assert_allclose(information.diagonal_relative_entropy(*diagonal), information.relative_entropy(a, b))
    np.testing.assert_allclose(information.diagonal_cross_entropy(*diagonal), information.cross_entropy(a, b))
    np.testing.assert_allclose(information.diagonal_entropy(precision[0]), information.entropy(a.covariance))
    one = stats.norm(0.3, np.sqrt(2.0))
    cross = -one.expect(lambda y: stats.norm.logpdf(y, 1.1, np.sqrt(1.0 / 1.7)))
    first = (mean[0, :1], precision[0, :1], mean[1, :1], precision[1, :1])
    np.testing.assert_allclose(information.diagonal_cross_entropy(*first), cross, rtol=1e-8)
    full = Gaussian(b.mean, np.array([[0.9, -0.5], [-0.5, 1.3]]))
    x = np.random.default_rng(7).multivariate_normal(OWN_X.mean, OWN_X.covariance, REPLICAS)
    own, other = (stats.multivariate_normal(g.mean, g.covariance).logpdf(x) for g in (OWN_X, full))
    back = abs(information.relative_entropy(full, OWN_X) - information.relative_entropy(OWN_X, full))
    mean_log, error = mean_and_error(own - other)
    assert_within(
        mean_log, error, information.relative_entropy(OWN_X, full), catches="arguments exchanged", mistake=back
    )
    mean_log, error = mean_and_error(-own)
    assert_within(mean_log, error, information.entropy(OWN_X.covariance), catches="a factor", mistake=0.5)


def test_learned_information() -> None:
    """L-info of ensemble and replicas against sampled log densities, with correlated theta."""
    rng = np.random.default_rng(8)
    center, covariance = np.array([0.4, -0.3]), np.array([[0.8, 0.5], [0.5, 0.6]])
    theta = rng.multivariate_normal(center, covariance, REPLICAS)
    x = theta + rng.standard_normal(theta.shape) / np.sqrt(PRECISION)
    everyone = stats.multivariate_normal(center, covariance + np.diag(1.0 / PRECISION))

    def log_ratio(x: np.ndarray, theta: ArrayLike) -> np.ndarray:
        own = stats.norm.logpdf(x, theta, 1.0 / np.sqrt(PRECISION)).sum(axis=1)
        return np.asarray(own - everyone.logpdf(x))

    whole = information.learned_information(PRECISION, covariance)
    mean, error = mean_and_error(log_ratio(x, theta))
    unrelated = information.learned_information(PRECISION, np.diag(np.diag(covariance)))
    assert_within(mean, error, whole, catches="correlations of theta dropped", mistake=abs(unrelated - whole))
    of_replica = information.replica_information(theta, PRECISION, center, covariance)
    single = np.array([1.7, 0.9])
    sample = single + rng.standard_normal(theta.shape) / np.sqrt(PRECISION)
    exact = information.replica_information(single, PRECISION, center, covariance)
    assert_within(*mean_and_error(log_ratio(sample, single)), exact, catches="a factor 2", mistake=exact)
    mean, error = mean_and_error(of_replica)
    assert_within(mean, error, whole, catches="a factor 2", mistake=whole)
    variance = information.replica_information_variance(PRECISION, covariance)
    mean, error = mean_and_error((of_replica - whole) ** 2)
    assert_within(mean, error, variance, catches="a factor 2 in the variance", mistake=variance)


def _sampled_information(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """I of the normals with the covariances of samples (n, R), (m, R): mean and error over ten groups."""
    n, joint = len(first), np.concatenate([first, second])
    groups = [np.cov(group) for group in np.array_split(joint, 10, axis=1)]
    parts = [(np.linalg.det(c[:n, :n]), np.linalg.det(c[n:, n:]), np.linalg.det(c)) for c in groups]
    return mean_and_error([0.5 * np.log(a * b / both) for a, b, both in parts])


def _joint_information(state: Moments) -> np.ndarray:
    return information.mutual_information(state.theta_covariance, state.x_covariance, state.cross_covariance)


def test_information_of_the_joint_state() -> None:
    """A fresh sample carries the L-info; one that lags carries less. Nothing is known when theta is certain."""
    start, machine = replace(START, x=None), replace(MACHINE, x_dynamics="exact-ou", tau=1)
    fresh = moments(replace(MACHINE, x_dynamics="exact"), start)
    full = information.learned_information(PRECISION, fresh.theta_covariance)
    np.testing.assert_allclose(_joint_information(fresh), full, rtol=1e-12)
    late = moments(machine, start)
    lagging = _joint_information(late)
    assert np.all(lagging[1:] < full[1:] - 0.1)
    run = simulate(machine, start, ROWS, seed=11)
    mean, error = _sampled_information(run.theta[2], run.x[2])
    transposed = np.swapaxes(late.cross_covariance, 1, 2)
    wrong = information.mutual_information(late.theta_covariance, late.x_covariance, transposed)[2]
    assert_within(mean, error, lagging[2], catches="cross covariance transposed", mistake=abs(wrong - lagging[2]))
    certain = moments(replace(MACHINE, batch=None), replace(START, theta_spread=0.0))
    np.testing.assert_allclose(_joint_information(certain), 0.0, atol=1e-13)


def test_information_about_data_sets() -> None:
    """Every replica with a set of K rows of its own: response, total covariance and I(theta; set) from samples."""
    rng, rows = np.random.default_rng(9), 4
    center, covariance = np.array([1.0, -0.5]), np.array([[1.6, -0.9], [-0.9, 1.1]])
    sets = rng.multivariate_normal(center, covariance, (REPLICAS, rows))
    machine = replace(
        MACHINE,
        data_mean=center,
        data_covariance=(1.0 - 1.0 / rows) * covariance,
        tau=0,
        momentum=0.4,
        weight_decay=0.2,
    )
    exact, run = moments(machine, START), simulate(machine, START, sets, seed=10)
    within, response, spread = exact.theta_covariance[5], exact.response[5], covariance / rows
    deviation, of_set = run.theta[5].T - exact.theta_mean[5], sets.mean(axis=1) - center
    mean, error = mean_and_error((deviation[:, :, None] * of_set[:, None, :]).T)
    size = np.abs(response @ covariance - response @ spread).T
    assert_within(mean, error, (response @ spread).T, catches="the set's mean without 1/K", mistake=size.min())
    mean, error = mean_and_error((deviation[:, :, None] * deviation[:, None, :]).T)
    assert_within(mean, error, within + response @ spread @ response.T, catches="spread between sets missing")
    exact_information = information.data_information(within, response, spread)
    mixing = np.array([[0.9, 0.6], [-0.2, 0.4]])
    for linear in (response, mixing):
        total = within + linear @ spread @ linear.T
        other_way = information.mutual_information(total, spread, linear @ spread)
        np.testing.assert_allclose(other_way, information.data_information(within, linear, spread), rtol=1e-12)
    mean, error = _sampled_information(deviation.T, of_set.T)
    assert_within(mean, error, exact_information, catches="a factor 2", mistake=exact_information)
    assert information.data_information(within, np.zeros((2, 2)), spread) == 0.0
    assert information.data_information(np.zeros((2, 2)), response, spread) == np.inf


def test_negentropy_near_the_normal() -> None:
    """Gamma of shape a (skewness 2/sqrt(a), excess 6/a) and Student's t (no skewness, excess 6/(a - 4)), a large.

    The formula is relatively off by 1/a.
    """
    excess = []
    for a in (100.0, 1000.0):
        normal = 0.5 * np.log(2.0 * np.pi * np.e * np.array([a, a / (a - 2.0)]))
        exact = normal - [stats.gamma(a).entropy(), _student_entropy(a)]
        variance, third = np.array([a, a / (a - 2.0)]), np.array([2.0 * a, 0.0])
        fourth = np.array([6.0 * a, 6.0 / (a - 4.0) * (a / (a - 2.0)) ** 2])
        excess.append(information.negentropy(variance, third, fourth) / exact - 1.0)
    assert np.all(np.abs(excess[1]) < 0.01)
    np.testing.assert_allclose(excess[0] / excess[1], 10.0, rtol=0.15)


def _student_entropy(a: float) -> float:
    """Of Student's t with `a` degrees of freedom, in closed form."""
    half = 0.5 * (a + 1.0) * (special.digamma(0.5 * (a + 1.0)) - special.digamma(0.5 * a))
    return float(half + 0.5 * np.log(a) + special.betaln(0.5 * a, 0.5))
