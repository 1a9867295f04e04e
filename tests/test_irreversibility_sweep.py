"""Sweeps of the learning rate at fixed theta: closed forms, orders, bounds by brute force, check and picture."""

import importlib

import numpy as np
import pytest

import thermosim
from thermosim.analysis.irreversibility import potentials, sweep
from thermosim.analysis.irreversibility.bounds import scalar_bounds, vector_bounds
from thermosim.analysis.irreversibility.ensemble_sweep import quadratic_of
from thermosim.analysis.machine import machines
from thermosim.case.faults import CaseError
from thermosim.checks.irreversibility_sweep import sweep_advice, sweep_comparisons
from thermosim.exact.irreversibility import quadratic_potentials
from thermosim.kernels.evaluate import Evaluator
from thermosim.models import MODELS
from thermosim.plots.picture import picture

CASES = "cases/irreversibility/"
RATES = np.geomspace(1e-3, 1.9, 17)


def random(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def spectral(condition, size=6):
    basis = np.linalg.qr(random(size, size))[0]
    return (basis * np.geomspace(1.0 / condition, 1.0, size)) @ basis.T


def run(name, **changes):
    return thermosim.simulate(thermosim.load_case(CASES + name, {k.replace("__", "."): v for k, v in changes.items()}))


MATRIX = spectral(10.0, 4)


def quartic(theta):
    """Of theta'A theta/2 + |theta|^4/4 + a cubic: anisotropic, no symmetry."""
    return theta @ MATRIX + (theta**2).sum(1, keepdims=True) * theta + 0.3 * theta**2


@pytest.mark.parametrize("condition", [1.0, 10.0, 1e4])
def test_of_a_quadratic_ratios_orders_and_departures_are_closed_forms(condition):
    matrix, theta = spectral(condition), random(3, 6, seed=2)
    found = sweep(lambda t: t @ matrix, theta, RATES)
    exact = [quadratic_potentials(matrix, theta, rate) for rate in RATES]
    for name in ("de", "tr", "ta", "st"):
        ratio = np.stack([one[name] / one["leading"] for one in exact], axis=-1)
        np.testing.assert_allclose(found.ratio.sel(potential=name), ratio, rtol=1e-9)
    u = theta @ matrix
    sharpness = np.einsum("ri,ij,rj->r", u, matrix, u) / (u**2).sum(1)
    np.testing.assert_allclose(found.rate_sharpness, np.outer(sharpness, RATES), rtol=1e-9)
    assert np.isnan(found.departure.sel(potential=["tr", "ta"])).all()
    st = found.departure.sel(potential="st").values
    if condition == 1.0:  # (1 - r h/2)^2 and 2 (exp(-x) - 1 + x)/x^2 are 0.9
        np.testing.assert_allclose(st, 2.0 * (1.0 - np.sqrt(0.9)), rtol=2e-3)
        np.testing.assert_allclose(found.departure.sel(potential="de"), 0.3250, rtol=2e-3)
        np.testing.assert_allclose(found.cosine, 1.0, atol=1e-9)
    assert np.all((st > 0.09) & (st < 0.13))
    np.testing.assert_allclose(found.order.sel(potential=["tr", "ta"]), 1.0, atol=1e-9)
    np.testing.assert_allclose(found.remainder_order.sel(potential=["de", "st"]), 2.0, atol=0.05)
    assert np.isnan(found.remainder_order.sel(potential="tr"))  # nothing is left but rounding


def test_orders_of_a_quartic_have_error_bars():
    found = sweep(quartic, random(6, 4, seed=5), np.geomspace(1e-4, 1e-3, 4))
    for name, order in (("order", 1.0), ("remainder_order", 2.0), ("vector_remainder_order", 2.0)):
        np.testing.assert_allclose(found[name], order, atol=0.02)
        assert np.all(found[f"{name}_error"] < 0.01)


def test_bounds_hold_and_two_thirds_of_them_do_not():
    """On a quartic at small rates they are nearly reached, along the worst of many starts; at large ones they hold."""
    theta = np.concatenate([random(20, 4, seed=6), 3.0 * np.outer([1.0, -1.0], np.eye(4)[0])])
    for rate in (1e-4, 1e-2, 0.1):
        found = potentials(quartic, theta, rate)
        vector, scalar = vector_bounds(quartic, theta, rate), scalar_bounds(quartic, theta, rate, np.zeros_like(theta))
        for name, bound in vector.items():
            share = np.linalg.norm(found[f"mismatch_{name}"] - found.mismatch_leading, axis=1) / bound
            assert np.all(share < 1.02), name
            assert rate > 1e-3 or share.max() > 2.0 / 3.0, name
        for name, bound in scalar.items():
            share = abs(found[f"phi_{name}"] - found.leading_order) / bound
            assert np.all(share < 1.02), name
            assert rate > 1e-3 or share.max() > 2.0 / 3.0, name


def test_bounds_are_those_of_constants_by_hand():
    """U = a x + c x^2: L1 = |a + 2 c x| and L2 = 2 c, on one path after the other; TA and TR reach their bound."""
    a, c, x, rate = 0.7, 0.2, 1.5, 0.3
    theta = np.array([[x]])

    def field(t):
        return a * t + c * t**2

    u = a * x + c * x**2
    found, bounds = potentials(field, theta, rate, scalars=False), vector_bounds(field, theta, rate)
    np.testing.assert_allclose(bounds["ta"], rate**2 / 4.0 * 2.0 * c * u**2, rtol=1e-6)
    np.testing.assert_allclose(bounds["tr"], rate**2 / 8.0 * 2.0 * c * u**2, rtol=1e-6)
    np.testing.assert_allclose(bounds["de"], rate**2 / 6.0 * ((a + 2.0 * c * x) ** 2 * u + 2.0 * c * u**2), rtol=1e-6)
    for name in ("ta", "tr"):
        np.testing.assert_allclose(
            abs(found[f"mismatch_{name}"] - found.mismatch_leading)[:, 0], bounds[name], rtol=1e-6
        )
    slope = a + 2.0 * c * x
    st = rate / 16.0 * (4.0 * rate * slope + (rate * slope) ** 2) * u**2
    np.testing.assert_allclose(scalar_bounds(field, theta, rate, None)["st"], st, rtol=1e-6)


def test_minibatches_are_averaged_before_they_are_divided():
    matrices, theta = (spectral(10.0), 3.0 * spectral(5.0)[::-1, ::-1]), random(3, 6, seed=3)
    found = sweep([lambda t, a=a: t @ a for a in matrices], theta, RATES[:16:5])
    each = [[quadratic_potentials(a, theta, r) for r in RATES[:16:5]] for a in matrices]
    total = {name: sum(np.stack([one[name] for one in some], -1) for some in each) for name in ("st", "leading")}
    np.testing.assert_allclose(found.ratio.sel(potential="st"), total["st"] / total["leading"], rtol=1e-9)


def test_a_field_with_rotation_has_vectors_and_the_entropy_only():
    turned = spectral(10.0) + np.triu(random(6, 6), 1)
    with pytest.raises(ValueError, match="no gradient"):
        sweep(lambda t: t @ turned, random(2, 6), RATES)
    found = sweep(lambda t: t @ turned, random(2, 6), RATES, scalars=False)
    assert list(found.potential) == ["st"]
    assert np.all(found.vector_remainder <= found.vector_remainder_bound * 1.02 + 1e-8 / RATES**2)
    with pytest.raises(ValueError, match="three or more"):
        sweep(lambda t: t, random(2, 6), [0.1, 0.2])


def test_the_quadratic_is_its_formula():
    """Gradient and loss by plain numpy, A anisotropic in another basis than the wall."""
    constants = {"dimension": 4, "condition": 30.0, "rotation": 3, "curvature": None, "quartic": 0.7}
    model = MODELS["quadratic"]
    matrix = np.asarray(model.constants[3].default(constants))
    np.testing.assert_allclose(np.linalg.eigvalsh(matrix), np.geomspace(1.0 / 30.0, 1.0, 4))
    constants["curvature"] = matrix
    theta, rows = random(3, 4), random(5, 4, seed=2)
    loss, gradient = Evaluator(model, constants).data_gradient(rows, theta)
    off = theta[:, None] - rows
    np.testing.assert_allclose(gradient, off.mean(1) @ matrix + 0.7 * theta**3, rtol=1e-12)
    value = 0.5 * np.einsum("rki,ij,rkj->rk", off, matrix, off).mean(1) + 0.25 * 0.7 * (theta**4).sum(1)
    np.testing.assert_allclose(loss, value, rtol=1e-12)
    assert quadratic_of(model, constants, rows) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model.curvature": [[1.0, 0.5], [0.0, 1.0]]}, r"not symmetric.*\(A \+ A'\)/2"),
        ({"model.curvature": [[1.0, 2.0], [2.0, 1.0]]}, "eigenvalue -1.*none below 0"),
        ({"model.curvature": [[1.0, 0.5], [0.5, 1.0]], "model.condition": 7}, "remove them, or model.curvature"),
    ],
)
def test_a_curvature_that_is_none_is_refused(given, words):
    with pytest.raises(CaseError, match=words):
        thermosim.load_case(
            CASES + "potentials.toml", {"model.dimension": 2, "model.rotation": 0} | {"model.condition": 1} | given
        )


@pytest.mark.parametrize("bias", ["yes", "no"])
def test_linear_regression_is_a_quadratic_about_its_minimum(bias):
    model = MODELS["linear-regression"]
    constants, rows = {"inputs": 2, "outputs": 2, "bias": bias}, random(7, 4)
    matrix, least = quadratic_of(model, constants, rows)
    theta = random(3, len(least), seed=4)
    gradient = Evaluator(model, constants).data_gradient(rows, theta)[1]
    np.testing.assert_allclose(gradient, (theta - least) @ matrix, atol=1e-12)


def test_the_check_of_a_quadratic_sees_a_wrong_step():
    ds = run("potentials.toml", ensemble__replicas=4).isel(learning_rate=[0, 4, 7])
    found = sweep_comparisons(ds, machines(ds))
    assert len(found) == 5
    assert all(np.all(one.p_value > 0.5) for one in found)
    wrong = ds.copy(deep=True)
    wrong["theta"][{"step": 1}] = ds.theta.isel(step=0) + 1.001 * (ds.theta.isel(step=1) - ds.theta.isel(step=0))
    assert np.all(sweep_comparisons(wrong, machines(wrong))[0].p_value == 0.0)


def test_the_check_and_the_picture_of_a_network(monkeypatch):
    ds = run("tanh_network.toml", ensemble__replicas=2).isel(learning_rate=[0, 3, 5])
    found = sweep_comparisons(ds, machines(ds))
    assert len(found) == 8
    assert all(np.all(one.p_value > 0.5) for one in found)
    assert len(picture(ds).axes) == 4
    module = importlib.import_module("thermosim.analysis.irreversibility.potentials")
    right = module.stochastic
    monkeypatch.setattr(module, "stochastic", lambda *given: 1.01 * right(*given))
    again = sweep_comparisons(ds, machines(ds))[4]
    assert again.quantity.startswith("phi_ST")
    assert again.p_value[0] == 0.0  # where the bound is narrow


def test_what_is_left_out_is_said():
    ds = run("relu_network.toml", ensemble__replicas=2, irreversibility__scalars=False).isel(learning_rate=[0, 3, 6])
    assert len(sweep_comparisons(ds, machines(ds))) == 1
    said = " ".join(sweep_advice(ds, machines(ds)))
    assert "phi_DE, phi_TR and phi_TA are left out: irreversibility.scalars = false" in said
    assert "ReLU, or a model of your own, may have kinks" in said


def test_recorded_minibatches_have_leading_order_on_average():
    ds = run("minibatches.toml", irreversibility__replicas=1).isel(learning_rate=[0, 3, 6])
    first = sweep_comparisons(ds, machines(ds))[0]
    assert "drawn with replacement" in first.reference
    assert np.all(first.p_value > 1e-4)
    assert np.all(first.standard_error < 0.1)  # a factor 2 is ten errors off
