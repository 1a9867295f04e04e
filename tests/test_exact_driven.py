"""Exact results of driven linear systems: against identities, limits, and a simulation that shares no formula."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests import driven_ensembles
from tests.assertions import assert_within, mean_and_error
from tests.driven_ensembles import trap
from thermosim.case.settings import Settings
from thermosim.checks.driven import linear_protocol, start_state
from thermosim.exact import driven, linear_langevin
from thermosim.exact.linear_langevin import Gaussian, LinearForce
from thermosim.exact.path_weights import log_theorem_average
from thermosim.exact.stretches import LinearProtocol
from thermosim.exact.work_moments import work_moments

STIFF = np.array([[2.0, 0.7, 0.0], [0.7, 1.2, -0.4], [0.0, -0.4, 0.9]])
TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def _shifted(protocol: LinearProtocol) -> LinearProtocol:
    """The mistake of reading theta one step late."""
    late = np.maximum(np.arange(protocol.steps + 1) - 1, 0)
    return replace(protocol, stiffness=protocol.stiffness[late], center=protocol.center[late])


def _both(settings: dict[str, Any]) -> tuple[LinearProtocol, Gaussian]:
    protocol = linear_protocol(Settings.from_dict(settings))
    return protocol, start_state(protocol, settings["x"]["initial"])


CASES = [(dynamics, direction) for dynamics in ("ula", "exact-ou") for direction in ("forward", "reversed")]


@pytest.mark.parametrize(("dynamics", "direction"), CASES)
def test_ledger_against_simulation(dynamics: str, direction: str) -> None:
    """Means of the books at every step, non-commuting stiffness, moving center, tau = 2."""
    settings = trap(x__dynamics=dynamics, run__direction=direction, ensemble__replicas=20_000)
    protocol, start = _both(settings)
    exact, late = driven.ledger(protocol, start), driven.ledger(_shifted(protocol), start)
    ds = driven_ensembles.simulate(settings)
    for name, of in (("work", "work"), ("heat", "heat"), ("log_ratio_x", "log_ratio")):
        mean, error = mean_and_error(ds[name].values[1:])
        assert_within(mean, error, getattr(exact, of)[1:], catches=f"wrong sign or factor in the mean {of}")
    mean, error = mean_and_error(ds["work"].values[1:])
    mistakes = np.abs(late.work - exact.work)[1:]
    worst = np.argmax(mistakes / error)
    assert_within(
        mean[worst], error[worst], exact.work[worst + 1], catches="theta read a step late", mistake=mistakes[worst]
    )
    x = ds["x"].values[-1]
    mean, error = mean_and_error(x.T)
    assert_within(mean, error, exact.mean[-1], catches="a center that lags by one step")
    products = (x - exact.mean[-1])[:, :, None] * (x - exact.mean[-1])[:, None, :]
    mean, error = mean_and_error(products.T)
    assert_within(mean, error, exact.covariance[-1], catches="M S M instead of M S M'")


@pytest.mark.parametrize(("dynamics", "direction"), CASES)
def test_work_moments_against_simulation(dynamics: str, direction: str) -> None:
    """Variance and exponential average of the work."""
    settings = trap(x__dynamics=dynamics, run__direction=direction, ensemble__replicas=20_000)
    protocol, start = _both(settings)
    moments = work_moments(protocol, start)
    work = driven_ensembles.simulate(settings, seed=1)["work"].values[-1]
    mean, error = mean_and_error((work - moments.mean[-1]) ** 2)
    assert_within(mean, error, moments.variance[-1], catches="a factor 2 in Isserlis' theorem", mistake=0.3 * mean)
    mean, error = mean_and_error(np.exp(-work / 0.8))
    assert_within(mean, error, np.exp(moments.log_average[-1]), catches="exp(-w) instead of exp(-w/T)")


def test_ula_breaks_jarzynski_by_the_exact_amount() -> None:
    """At a large time step the average differs from exp(-dF/T), by what the Gaussian integral says."""
    stiff = {"kind": "linear", "initial": [[1.6, 0.5], [0.5, 1.0]], "final": [[2.4, -0.5], [-0.5, 1.2]]}
    settings = trap(x__time_step=0.4, x__tau=1, run__steps=20, ensemble__replicas=20_000)
    settings["theta"]["protocol"]["stiffness"] = stiff
    protocol, start = _both(settings)
    expected = np.exp(work_moments(protocol, start).log_average[-1])
    naive = np.exp(-driven.free_energy_difference(protocol.stiffness, 0.8)[-1] / 0.8)
    mean, error = mean_and_error(np.exp(-driven_ensembles.simulate(settings)["work"].values[-1] / 0.8))
    assert_within(mean, error, expected, catches="Jarzynski taken as exact for ula", mistake=abs(naive - expected))


@pytest.mark.parametrize("direction", ["forward", "reversed"])
def test_identities_of_the_exact_results(direction: str) -> None:
    """Three independent routes agree to rounding; each is broken by a theta index shifted by one."""
    protocol, start = _both(trap(x__dynamics="exact-ou", run__direction=direction))
    ledger, moments = driven.ledger(protocol, start), work_moments(protocol, start)
    free_energy = driven.free_energy_difference(protocol.stiffness, 0.8)
    np.testing.assert_allclose(moments.mean, ledger.work, atol=1e-13)
    np.testing.assert_allclose(ledger.energy - ledger.energy[0], ledger.work + ledger.heat, atol=1e-13)
    np.testing.assert_allclose(ledger.shadow(0.8), 0.0, atol=1e-13)
    np.testing.assert_allclose(-0.8 * moments.log_average, free_energy, atol=1e-13)
    late = work_moments(_shifted(protocol), start)
    assert abs(-0.8 * late.log_average[-1] - free_energy[-1]) > 0.01


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"x__dynamics": "exact-ou"},
        {"run__direction": "reversed"},
        {"model": {"name": "rotational-trap", "dimension": 2, "stiffness": 1.3, "rotation": 0.9}},
        {"model": {"name": "two-beads", "stiffness": 1.0, "coupling": 1.5}, "x__temperature": [2.5, 1.0]},
    ],
)
def test_fluctuation_theorem_is_an_identity(change: dict[str, Any]) -> None:
    """<exp(-Sigma)> = 1 exactly, for any move, drive, temperatures and any normalised p_end."""
    protocol, start = _both(trap(**change))
    states = driven.ledger(protocol, start)
    size = protocol.steps + 1
    other = Gaussian(np.tile([0.3, -0.2], (size, 1)), np.tile([[0.6, 0.1], [0.1, 0.5]], (size, 1, 1)))
    for ends in (Gaussian(states.mean, states.covariance), other):
        np.testing.assert_allclose(log_theorem_average(protocol, start, ends, 1.0)[1:], 0.0, atol=1e-12)


@pytest.mark.parametrize("direction", ["forward", "reversed"])
def test_powers_of_the_fluctuation_theorem(direction: str) -> None:
    """<exp(-b Sigma)> of a simulation; b = 2 gives the expected effective sample size, others have smaller errors."""
    settings = trap(ensemble__replicas=20_000, run__direction=direction)
    protocol, start = _both(settings)
    exact = driven.ledger(protocol, start)
    ds = driven_ensembles.simulate(settings, seed=2)
    x, ratio = ds["x"].values, ds["log_ratio_x"].values[-1]
    weight = np.exp(-(ratio + start.log_density(x[0]) - exact.state(-1).log_density(x[-1])))
    for power in (2.0, 0.5, -0.5):
        mean, error = mean_and_error(weight**power)
        expected = np.exp(log_theorem_average(protocol, start, Gaussian(exact.mean, exact.covariance), power)[-1])
        mistake = expected - 1.0 if power < 1.0 else None
        assert_within(mean, error, expected, catches="a factor 2 in the exponent, another theta", mistake=mistake)


def test_one_move_against_a_cubature() -> None:
    """Nine points of x by nine of the noise have exact second moments: all books of a move that is not symmetric."""
    h, temperature = 0.23, np.array([0.6, 1.7])
    force = LinearForce(np.array([[1.4, 0.5], [0.5, 0.8]]), np.array([0.3, -0.7]), np.array([[0.2, -1.1], [0.6, 0.1]]))
    state = Gaussian(np.array([0.4, 0.9]), np.array([[1.1, -0.6], [-0.6, 0.9]]))
    node, weight = np.polynomial.hermite_e.hermegauss(3)
    grid = np.stack(np.meshgrid(*[node] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    share = np.prod(np.stack(np.meshgrid(*[weight] * 4, indexing="ij"), axis=-1), axis=-1).ravel() / (2.0 * np.pi) ** 2
    x = state.mean + grid[:, :2] @ np.linalg.cholesky(state.covariance).T

    def pull(at: np.ndarray) -> np.ndarray:
        return -(at - force.center) @ force.stiffness + at @ force.drive.T

    def energy(at: np.ndarray) -> np.ndarray:
        return np.asarray(0.5 * np.einsum("ri,ij,rj->r", at - force.center, force.stiffness, at - force.center))

    new = x + h * pull(x) + np.sqrt(2.0 * h * temperature) * grid[:, 2:]
    forth, back = new - x - h * pull(x), x - new - h * pull(new)
    ratio = ((back**2 - forth**2) / (4.0 * h * temperature)).sum(axis=1)
    work = (0.5 * (x + new) @ force.drive.T * (new - x)).sum(axis=1)
    heats = -0.5 * (new - x) * (pull(x) + pull(new))
    moved, books = linear_langevin.mean_books(state, force, "ula", h, temperature)
    mean = share @ new
    np.testing.assert_allclose(moved.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(moved.covariance, (share[:, None] * (new - mean)).T @ (new - mean), rtol=1e-12)
    np.testing.assert_allclose([books.work, books.heat], [share @ work, share @ (energy(new) - energy(x) - work)])
    np.testing.assert_allclose(books.heat_of_component, share @ heats, rtol=1e-11)
    np.testing.assert_allclose(books.log_ratio, share @ ratio, rtol=1e-11)


def test_work_of_one_jump_against_a_cubature() -> None:
    """Mean, variance and exponential average of a quadratic form that does not commute with the covariance of x."""
    node, weight = np.polynomial.hermite_e.hermegauss(40)
    grid = np.stack(np.meshgrid(node, node, indexing="ij"), axis=-1).reshape(-1, 2)
    share = np.outer(weight, weight).ravel() / (2.0 * np.pi)
    start = Gaussian(np.array([0.5, -0.8]), np.array([[1.3, 0.9], [0.9, 0.8]]))
    stiffness = np.array([[[1.0, 0.3], [0.3, 2.0]], [[2.2, -0.4], [-0.4, 1.1]]])
    center = np.array([[0.1, 0.2], [0.7, -0.5]])
    protocol = LinearProtocol(stiffness, center, np.zeros((2, 2)), "ula", 0.1, 0, 1.6)
    x = start.mean + grid @ np.linalg.cholesky(start.covariance).T
    before, after = (0.5 * np.einsum("ri,ij,rj->r", x - c, k, x - c) for k, c in zip(stiffness, center))
    work = after - before
    moments, mean = work_moments(protocol, start), share @ work
    np.testing.assert_allclose(moments.mean[1], mean, rtol=1e-12)
    np.testing.assert_allclose(moments.variance[1], share @ (work - mean) ** 2, rtol=1e-12)
    np.testing.assert_allclose(moments.log_average[1], np.log(share @ np.exp(-work / 1.6)), rtol=1e-6)


def test_dragging_at_constant_speed() -> None:
    """First order in h towards Mazonka and Jarzynski; exactly Gaussian work with variance 2 T <w> under exact-ou."""
    velocity, time, temperature = np.array([0.5, -0.3, 0.8]), 2.0, 0.7
    errors = []
    for steps in (100, 200):
        center = velocity * time * np.linspace(0.0, 1.0, steps + 1)[:, None]
        stiffness = np.tile(STIFF, (steps + 1, 1, 1))
        protocol = LinearProtocol(stiffness, center, np.zeros((3, 3)), "ula", time / steps, 1, temperature)
        start = driven.equilibrium(STIFF, center[0], temperature)
        errors.append(driven.ledger(protocol, start).work[-1] - driven.dragging_work(STIFF, velocity, time))
        exact_move = work_moments(replace(protocol, dynamics="exact-ou"), start)
        np.testing.assert_allclose(exact_move.variance, 2.0 * temperature * exact_move.mean, atol=1e-12)
        assert exact_move.gaussian
        np.testing.assert_allclose(exact_move.log_average, 0.0, atol=1e-12)
    assert 1.9 < errors[0] / errors[1] < 2.1
    assert abs(errors[1]) < 0.01 * driven.dragging_work(STIFF, velocity, time)


@pytest.mark.parametrize("dimension", [2, 4])
def test_rotational_trap(dimension: int) -> None:
    """n eps^2/(k - h (k^2 + eps^2)/2) from the Lyapunov equation, at any temperature; n eps^2/k as h -> 0."""
    k, e, h = 1.3, 0.9, 0.1
    drive = e * np.kron(np.eye(dimension // 2), TURN)
    for temperature in (0.5, 2.0):
        force = LinearForce(k * np.eye(dimension), np.zeros(dimension), drive)
        books = linear_langevin.stationary_books(force, "ula", h, temperature)
        rate = driven.rotational_trap_rate(k, e, dimension, h)
        np.testing.assert_allclose(books.log_ratio / h, rate, rtol=1e-12)
        np.testing.assert_allclose([books.work, -books.heat], rate * h * temperature, rtol=1e-12)
    np.testing.assert_allclose(driven.rotational_trap_rate(k, e, dimension), dimension * e**2 / k)


def test_two_beads() -> None:
    """Currents tend to the known ones to first order in h; the log ratio is -sum Q_i/T_i at any h."""
    k, c, hot, cold = 1.3, 0.8, 2.5, 0.9
    force = LinearForce(np.array([[k + c, -c], [-c, k + c]]), np.zeros(2), np.zeros((2, 2)))
    temperature = np.array([hot, cold])
    gaps = []
    for h in (0.02, 0.01):
        books = linear_langevin.stationary_books(force, "ula", h, temperature)
        current = books.heat_of_component / h
        np.testing.assert_allclose(books.log_ratio / h, -np.sum(current / temperature), rtol=1e-11)
        np.testing.assert_allclose(current.sum(), 0.0, atol=1e-11)
        gaps.append(current[0] - driven.two_bead_current(k, c, hot, cold))
    assert 1.9 < gaps[0] / gaps[1] < 2.1
    assert current[0] > 0.0  # the hot bath gives
    # J. Li et al. give k (T_h - T_c)^2/(4 T_h T_c) for equal springs
    np.testing.assert_allclose(driven.two_bead_rate(k, k, hot, cold), k * (hot - cold) ** 2 / (4.0 * hot * cold))


def test_stationary_variance_of_ula() -> None:
    """(T/k)/(1 - h k/2) along each eigenvector: first order in h, with this coefficient."""
    h, temperature = 0.3, 0.7
    force = LinearForce(STIFF, np.array([0.1, -0.2, 0.3]), np.zeros((3, 3)))
    state = linear_langevin.stationary_state(force, "ula", h, temperature)
    expected = temperature * np.linalg.inv(STIFF @ (np.eye(3) - 0.5 * h * STIFF))
    np.testing.assert_allclose(state.covariance, expected, rtol=1e-11)
    np.testing.assert_allclose(state.mean, force.center, rtol=1e-11)
    exact = linear_langevin.stationary_state(force, "exact-ou", h, temperature)
    np.testing.assert_allclose(exact.covariance, temperature * np.linalg.inv(STIFF), rtol=1e-11)


def test_stationary_samples() -> None:
    """Samples at two temperatures have the Lyapunov covariance, each replica its own temperature."""
    rng = np.random.default_rng(3)
    matrix = np.array([[-1.5, 0.8], [0.3, -0.9]])
    temperature = np.tile([[2.0, 0.5], [0.4, 0.4]], (1, 20_000))
    x = linear_langevin.stationary_samples(matrix.reshape(4, 1), temperature, rng.standard_normal((2, 40_000)))
    for which in range(2):
        exact = linear_langevin.stationary_covariance(matrix, temperature[:, which])
        residual = matrix @ exact + exact @ matrix.T + 2.0 * np.diag(temperature[:, which])
        np.testing.assert_allclose(residual, 0.0, atol=1e-13)
        chosen = x[:, which::2]
        mean, error = mean_and_error(chosen[:, None] * chosen[None])
        assert_within(mean, error, exact, catches="a transposed force matrix or the other temperature")


def test_gaussian_log_density() -> None:
    """Against the textbook formula."""
    from scipy import stats

    state = Gaussian(np.array([0.2, -0.1, 0.5]), np.linalg.inv(STIFF))
    x = np.random.default_rng(0).standard_normal((4, 5, 3))
    np.testing.assert_allclose(
        state.log_density(x), stats.multivariate_normal(state.mean, state.covariance).logpdf(x), rtol=1e-12
    )


def test_refusals() -> None:
    """What cannot be had is said, not returned as a number."""
    force = LinearForce(STIFF, np.zeros(3), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="no stationary state"):
        linear_langevin.stationary_state(force, "ula", 1.0, 1.0)
    with pytest.raises(ValueError, match="one temperature"):
        linear_langevin.transition(force, "exact-ou", 0.1, [1.0, 2.0, 1.0])
    with pytest.raises(ValueError, match="'mala'"):
        linear_langevin.transition(force, "mala", 0.1, 1.0)
    with pytest.raises(ValueError, match="driven"):
        linear_langevin.transition(replace(force, drive=np.eye(3)), "exact-ou", 0.1, 1.0)
    protocol, start = _both(trap(x__temperature=[1.0, 2.0]))
    with pytest.raises(ValueError, match="one temperature"):
        work_moments(protocol, start)


def test_nothing_that_stands_still_does_work() -> None:
    """The short cut for a trap that does not move gives what the recursion gives when it barely does."""
    protocol, start = _both(trap())
    still = replace(
        protocol,
        stiffness=np.repeat(protocol.stiffness[:1], protocol.steps + 1, axis=0),
        center=np.repeat(protocol.center[:1], protocol.steps + 1, axis=0),
    )
    moved = still.center.copy()
    moved[-1] += 1e-9
    barely, exact = (work_moments(p, start) for p in (replace(still, center=moved), still))
    for name in ("mean", "variance", "log_average", "log_square"):
        np.testing.assert_allclose(getattr(exact, name), 0.0)
        np.testing.assert_allclose(getattr(barely, name), 0.0, atol=1e-7)
