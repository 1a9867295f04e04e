"""Four potentials of irreversibility against closed forms of linear fields, orders in the learning rate, refusals."""

import importlib.util

import numpy as np
import pytest

from thermosim.analysis.irreversibility import (
    asymmetry,
    critical_points,
    field_of_loss,
    fields_of_minibatches,
    potentials,
)
from thermosim.case.faults import CaseError
from thermosim.case.load import load_case
from thermosim.exact.irreversibility import linear_mismatches, quadratic_potentials
from thermosim.models import MODELS

SCALARS = ("de", "tr", "ta", "st")
RATES = np.array([1e-4, 1e-2, 0.3, 0.9])


def _random(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def _curvatures(condition=6.3, size=6):
    basis = np.linalg.qr(_random(size, size))[0]
    return basis @ np.diag(2.01 * np.geomspace(1.0 / condition, 1.0, size)) @ basis.T


def _quartic(theta):
    """The gradient of theta'A theta/2 + |theta|^4/4 with a cubic term: no symmetry, no quadratic."""
    return theta @ _curvatures(size=4).T + (theta**2).sum(1, keepdims=True) * theta + 0.3 * theta**2


@pytest.mark.parametrize("condition", [1.0, 6.3, 1e4])
def test_of_a_quadratic_all_four_are_their_closed_forms(condition):
    matrix, theta = _curvatures(condition), _random(3, 6, seed=2)
    found = potentials(lambda there: there @ matrix.T, theta, RATES)
    assert found["phi_de"].dims == ("replica", "learning_rate")
    for k, rate in enumerate(RATES):
        exact = quadratic_potentials(matrix, theta, rate)
        for name in SCALARS:
            np.testing.assert_allclose(found[f"phi_{name}"][:, k], exact[name], rtol=1e-10)
        np.testing.assert_allclose(found["leading_order"][:, k], exact["leading"], rtol=1e-13)


def test_closed_forms_are_the_definitions_in_differences_of_theta():
    """The definitions B8, G3, G11, G27 word for word, by matrices; the back-error potential by its flow."""
    from scipy.linalg import expm, logm

    matrix, theta, rate = _curvatures(), _random(3, 6, seed=3), 0.2
    step, half, flow = (np.eye(6) - rate * matrix, np.eye(6) - 0.5 * rate * matrix, expm(-rate * matrix))
    coarse = theta @ step.T
    mismatch = {
        "de": (theta @ flow.T - coarse) / rate,
        "tr": 2.0 * (theta @ half.T @ half.T - coarse) / rate,
        "ta": (theta - (coarse + rate * coarse @ matrix.T)) / (2.0 * rate),
    }
    exact = quadratic_potentials(matrix, theta, rate)
    for name, vector in mismatch.items():  # of a quadratic the ray's integral is theta.g/2
        np.testing.assert_allclose(exact[name], 0.5 * (theta * vector).sum(1), rtol=1e-12)
        np.testing.assert_allclose(linear_mismatches(matrix, theta, rate)[name], vector, atol=1e-13)
    sigma, there = 0.7, coarse

    def log_density(to, start):
        return -((to - start + rate * start @ matrix.T) ** 2).sum(1) / (2.0 * sigma**2)

    shed = log_density(there, theta) - log_density(theta, there)
    np.testing.assert_allclose(exact["st"], sigma**2 * shed / (8.0 * rate), rtol=1e-12)
    grown = np.stack([quadratic_potentials(matrix, theta + 1e-6 * e, rate)["be"] for e in np.eye(6)], 1)
    slope = (
        grown - np.stack([quadratic_potentials(matrix, theta - 1e-6 * e, rate)["be"] for e in np.eye(6)], 1)
    ) / 2e-6
    hessian = -logm(step) / rate  # of the modified loss, whose flow over r is the step
    np.testing.assert_allclose(slope + theta @ matrix.T, theta @ hessian.T, rtol=1e-6)


def test_a_field_with_rotation_has_vectors_and_no_scalars():
    turn = _random(6, 6, seed=4)
    matrix = _curvatures() + 0.5 * (turn - turn.T)
    theta = _random(3, 6, seed=2)

    def field(there):
        return there @ matrix.T

    with pytest.raises(ValueError, match=r"no gradient.*is 0\.\d+ at theta.*scalars=False"):
        potentials(field, theta, 0.1)
    found = potentials(field, theta, 0.1, scalars=False)
    assert "phi_de" not in found
    assert found.attrs["learning_rate"] == 0.1
    exact = linear_mismatches(matrix, theta, 0.1)
    for name, values in exact.items():
        np.testing.assert_allclose(found[f"mismatch_{name}"], values, atol=1e-10)
    there = theta - 0.1 * field(theta)
    np.testing.assert_allclose(found["phi_st"], 0.1 / 16.0 * ((field(theta) + field(there)) ** 2).sum(1))
    odd, even = np.linalg.norm(matrix - matrix.T), np.linalg.norm(matrix + matrix.T)
    many = asymmetry(field, np.repeat(theta, 40, axis=0))
    assert abs(many.mean() / (odd / np.hypot(odd, even)) - 1.0) < 0.2  # of 120 estimates 30 % off each


def test_momentum_has_a_jacobian_that_is_not_symmetric():
    """theta' = theta + v', v' = .9 v - r A theta, as one field of (theta, v)."""
    matrix = _curvatures(size=3)

    def field(state):
        theta, velocity = state[:, :3], state[:, 3:]
        new = 0.9 * velocity - 0.1 * theta @ matrix.T
        return -np.concatenate([new, new - velocity], axis=1)

    with pytest.raises(ValueError, match="no gradient"):
        potentials(field, _random(2, 6), 1.0)


def test_orders_of_a_field_that_is_no_quadratic():
    """phi_i/(r|U|^2/4) - 1 goes as r, and the vector mismatches less r J U/2 as r^2: slopes of a fit in log r."""
    theta = _random(5, 4, seed=5)
    rates = np.array([4e-3, 2e-3, 1e-3])
    found = potentials(_quartic, theta, rates)
    for name in SCALARS:
        off = np.abs(found[f"phi_{name}"] / found["leading_order"] - 1.0).values
        slopes = np.log(off[:, 0] / off[:, 2]) / np.log(4.0)
        assert np.all(off[:, 0] > 1e-4)
        np.testing.assert_allclose(slopes, 1.0, atol=0.15, err_msg=name)
    for name in ("de", "tr", "ta"):
        rest = np.linalg.norm(found[f"mismatch_{name}"] - found["mismatch_leading"], axis=-1)
        np.testing.assert_allclose(np.log(rest[:, 0] / rest[:, 2]) / np.log(4.0), 2.0, atol=0.15, err_msg=name)


def test_mismatches_are_the_definitions_of_a_field_that_is_no_quadratic():
    from scipy.integrate import solve_ivp

    theta, rate = _random(1, 4, seed=6), 0.05
    found = potentials(_quartic, theta, rate)
    flow = solve_ivp(lambda t, y: -rate * _quartic(y[None])[0], (0, 1), theta[0], "DOP853", rtol=1e-13, atol=1e-13)
    coarse = theta - rate * _quartic(theta)
    half = theta - 0.5 * rate * _quartic(theta)
    wanted = {
        "de": (flow.y[:, -1] - coarse) / rate,
        "tr": 2.0 * (half - 0.5 * rate * _quartic(half) - coarse) / rate,
        "ta": (theta - coarse - rate * _quartic(coarse)) / (2.0 * rate),
    }
    for name, vector in wanted.items():
        np.testing.assert_allclose(found[f"mismatch_{name}"], vector, rtol=1e-9)


def test_sharpness_comes_from_the_way_back():
    matrix, theta = _curvatures(), _random(3, 6, seed=2)
    slope = theta @ matrix
    exact = np.einsum("ri,ij,rj->r", slope, matrix, slope) / (slope**2).sum(1)
    found = potentials(lambda there: there @ matrix, theta, [1e-3, 0.7])
    np.testing.assert_allclose(found["sharpness"][:, 0], exact, rtol=1e-10)
    np.testing.assert_allclose(found["sharpness"][:, 1], exact, rtol=1e-10)


def _constants(name, **given):
    values = {}
    for constant in MODELS[name].constants:
        default = constant.default(values) if callable(constant.default) else constant.default
        values[constant.name] = given.get(constant.name, default)
    return values


def test_minibatches_are_each_reversed_on_themselves():
    """Of linear regression, batch 2: the mean over minibatches of (r/4)|U_b|^2, far from that of the mean field."""
    model, constants = MODELS["linear-regression"], _constants("linear-regression", inputs=3)
    rows, theta = _random(12, 4), _random(2, 3, seed=7)
    fields = fields_of_minibatches(model, constants, rows, 2)
    assert len(fields) == 6
    found = potentials(fields, theta, 0.01)
    errors = np.einsum("kbi,ri->rkb", rows.reshape(6, 2, 4)[..., :3], theta) - rows.reshape(6, 2, 4)[..., 3]
    gradients = np.einsum("rkb,kbi->rki", errors, rows.reshape(6, 2, 4)[..., :3])  # 2 e x over a batch of 2
    mean = 0.01 / 4.0 * (gradients**2).sum(-1).mean(1)
    for name in ("tr", "ta"):  # a quadratic each
        np.testing.assert_allclose(found[f"phi_{name}"], mean, rtol=1e-5)
    whole = potentials(field_of_loss(model, constants, rows), theta, 0.01)
    assert np.all(whole["phi_ta"] < 0.7 * found["phi_ta"])


def test_of_a_network_the_four_agree_to_leading_order():
    model = MODELS["multilayer-perceptron"]
    constants = _constants("multilayer-perceptron", widths=[3, 4, 1], activation="tanh")
    field = field_of_loss(model, constants, _random(20, 4))
    found = potentials(field, 0.5 * _random(3, 16, seed=8), [2e-3, 1e-3], origin=np.zeros(16))
    for name in SCALARS:
        off = found[f"phi_{name}"] / found["leading_order"] - 1.0
        extrapolated = 2.0 * off[:, 1] - off[:, 0]
        assert np.all(np.abs(off[:, 1]) < 0.02)
        assert np.all(np.abs(extrapolated) < 1e-4)


def test_a_critical_point_is_found_downhill():
    matrix, at = _curvatures(1e4), _random(1, 6, seed=9)

    def field(there):
        return (there - at) @ matrix.T

    theta = _random(3, 6)
    rest = np.abs(field(critical_points(field, theta))).max(1)
    assert np.all(rest <= 1e-8 * np.abs(field(theta)).max(1))
    exact = quadratic_potentials(matrix, theta - at, 0.1)
    found = potentials(field, theta, 0.1)
    given = potentials(field, theta, 0.1, origin=at[0])
    for name in SCALARS:
        np.testing.assert_allclose(found[f"phi_{name}"], exact[name], rtol=1e-5)
        np.testing.assert_allclose(given[f"phi_{name}"], exact[name], rtol=1e-10)
    with pytest.raises(ValueError, match="critical point is sought"):
        potentials(field, theta, 0.1, origin=at[0] + 1.0)
    with pytest.raises(ValueError, match=r"no critical point.*origin"):
        potentials(lambda there: 1.0 + there**2, theta, 0.1)


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (lambda theta: theta[:, :2], r"answers theta \(2, 3\) by an array \(2, 2\)"),
        (lambda theta: theta.sum(), r"by an array \(\)"),
        (lambda theta: theta / (theta[:, :1] > 10), "not finite at theta of replica 0, 1"),
        (lambda theta: theta.astype(np.float32), "double precision"),
        (lambda theta: theta + 0j, "real ones"),
        (lambda theta: theta + 1e-9 * np.random.default_rng().normal(size=theta.shape), "not deterministic.*apart"),
        (lambda theta: np.multiply(theta, 2.0, out=theta), "changes the theta"),
        (lambda theta: theta - theta.mean(0), "mixes replicas"),
        ([], "no field"),
        ([lambda theta: theta, 3.0], "field 1 of 2 is 3.0"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_callable_is_looked_at(field, told):
    with pytest.raises(ValueError, match=told):
        potentials(field, np.ones((2, 3)), 0.1)


def test_an_answer_may_always_be_the_same_array():
    buffer = np.empty((2, 3))
    found = potentials(lambda theta: np.multiply(theta, 2.0, out=buffer), np.ones((2, 3)), 0.1)
    np.testing.assert_allclose(found["phi_ta"], 0.1 / 4.0 * 12.0)


@pytest.mark.parametrize("rate", [0.0, -0.1, np.nan, [], [[0.1]]])
def test_learning_rates_are_positive(rate):
    with pytest.raises(ValueError, match="expected a positive number"):
        potentials(lambda theta: theta, np.ones((2, 3)), rate)
    with pytest.raises(ValueError, match="replicas, parameters"):
        potentials(lambda theta: theta, np.ones(3), 0.1)


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_a_gradient_of_jax_serves():
    import jax

    jax.config.update("jax_enable_x64", True)
    slope = jax.jit(jax.vmap(jax.grad(lambda theta: (theta**4).sum())))
    _matches_quartic(lambda theta: np.asarray(slope(theta)))


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_a_gradient_of_pytorch_serves():
    import torch

    slope = torch.func.vmap(torch.func.grad(lambda theta: (theta**4).sum()))
    _matches_quartic(lambda theta: slope(torch.from_numpy(theta)).numpy())


def _matches_quartic(field):
    theta = _random(3, 4)
    found = potentials(field, theta, 1e-3)
    wanted = potentials(lambda there: 4.0 * there**3, theta, 1e-3)
    for name in SCALARS:
        np.testing.assert_allclose(found[f"phi_{name}"], wanted[f"phi_{name}"], rtol=1e-9)


def test_a_stiff_flow_is_resolved_or_told_to_be_none():
    """(e^-n - 1 + n) theta of one curvature r n: chance agreement of two coarse rules is not convergence."""
    for n in (1.0, 3.0, 4.0, 8.0, 20.0, 60.0):
        found = potentials(lambda theta, n=n: n * theta, np.ones((1, 1)), 1.0, scalars=False)
        np.testing.assert_allclose(found["mismatch_de"], np.expm1(-n) + n, rtol=1e-8)
    beside = potentials(lambda theta: theta * [10.0, 1.0], np.ones((1, 2)), 1.0, scalars=False)["mismatch_de"]
    np.testing.assert_allclose(beside, [[np.expm1(-10.0) + 10.0, np.exp(-1.0)]], rtol=1e-8)
    assert np.isnan(potentials(lambda theta: 1e8 * theta, np.ones((1, 1)), 1.0, scalars=False)["mismatch_de"]).all()


def test_zero_is_no_origin_by_convention():
    """A field that is 0 left of a kink at 0 and theta - 1 right of it: its minimum is at 1."""
    found = potentials(lambda theta: np.where(theta > 0.0, theta - 1.0, 0.0), np.array([[1.5]]), 0.01)
    np.testing.assert_allclose(found["phi_ta"], 0.01 / 4.0 * 0.25, rtol=1e-6)
    well = potentials(lambda theta: theta**3 - theta, np.array([[1.05]]), 0.9)  # of the wells at -1 and 1, not of 0
    assert 0.8 < (well["phi_ta"] / well["leading_order"]).item() < 1.1


def test_every_replica_has_an_origin_of_its_own():
    with pytest.raises(ValueError, match="of replica 1 is 1 at origin"):
        potentials(lambda theta: theta - 1.0, np.array([[1e4], [1.5]]), 0.1, origin=np.zeros(1))


def test_a_turn_beside_a_stiff_direction_is_seen():
    matrix = np.zeros((3, 3))
    matrix[0, 0], matrix[1:, 1:] = 1e6, [[1.0, -5.0], [5.0, 1.0]]
    with pytest.raises(ValueError, match="no gradient"):
        potentials(lambda theta: theta @ matrix.T, np.array([[0.0, 1.0, 1.0]]), 1e-7)


@pytest.mark.parametrize("size", [1e-8, 1e-4, 1.0, 1e4])
def test_leading_order_at_any_size_of_theta(size):
    """Of U = |theta|^2 theta, whose scale is that of theta: J U = 3 |theta|^4 theta."""
    theta = size * np.array([[0.6, -0.8]])
    found = potentials(lambda there: (there**2).sum(1, keepdims=True) * there, theta, 0.1 / size**2, scalars=False)
    np.testing.assert_allclose(found["mismatch_leading"], 0.05 / size**2 * 3.0 * size**4 * theta, rtol=1e-7)
    shifted = potentials(lambda there: there + 1.0, theta, 0.1, scalars=False)  # its scale is 1
    np.testing.assert_allclose(shifted["mismatch_leading"], 0.05 * (theta + 1.0), rtol=1e-7)


def test_a_field_that_is_not_finite_on_the_way_is_told():
    def gap(theta):
        return np.where(np.abs(theta - 0.5) < 0.1, np.nan, theta)

    with pytest.raises(ValueError, match="not finite on the ray"), np.errstate(invalid="ignore"):
        potentials(gap, np.array([[1.0]]), 0.01, origin=np.zeros(1))


def test_closed_forms_keep_their_digits_at_small_rates():
    matrix, theta = _curvatures(), _random(2, 6)
    for rate in (1e-12, 1e-5, 0.0099, 0.0101):
        exact = quadratic_potentials(matrix, theta, rate)
        third = np.einsum("ri,ij,rj->r", theta, matrix @ matrix @ matrix, theta)
        bound = 2.0 * rate**3 * (theta**2).sum(1) * 2.01**4 + 1e-14 * exact["leading"]
        assert np.all(np.abs(exact["de"] - exact["leading"] + rate**2 / 12.0 * third) < bound)
        assert np.all(np.abs(exact["be"] - exact["leading"] - rate**2 / 6.0 * third) < bound)


CASE = """
[model]
name = "linear-regression"
inputs = 2
[theta]
dynamics = "sgd"
learning_rate = 0.01
batch = "all"
[data]
source = "linear"
rows = 24
matrix = [[1.0, -0.5]]
[ensemble]
replicas = 4
[run]
steps = 2
[irreversibility]
sigma = 0.1
"""


def test_the_section_of_a_case():
    assert load_case(CASE).settings.irreversibility.sigma == 0.1
    assert load_case(CASE.partition("[irrev")[0]).settings.irreversibility is None
    with pytest.raises(CaseError, match=r"irreversibility\.sigma"):
        load_case(CASE, {"irreversibility.sigma": 0.0})
    with pytest.raises(CaseError, match=r"irreversibility.scalars = true.*memory.*set it to false"):
        load_case(CASE, {"theta.momentum": 0.9})
    assert not load_case(
        CASE, {"theta.momentum": 0.9, "irreversibility.scalars": False}
    ).settings.irreversibility.scalars
    with pytest.raises(CaseError, match="does not descend"):
        load_case("driven/dragged_trap", {"irreversibility.scalars": True})
