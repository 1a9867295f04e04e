"""The entropic loss: order 2 of gradient descent at c = 1/4 and 1 elsewhere, n steps for one, a user's own model."""

import numpy as np
import pytest

import thermosim
from thermosim.exact import entropic_loss as theory
from thermosim.plots.picture import picture

CASE = "cases/training/entropic_loss.toml"


def run(**changes):
    return thermosim.simulate(thermosim.load_case(CASE, {key.replace("__", "."): to for key, to in changes.items()}))


def gradient(theta):
    """Of l = (u^2 w - 1)^2 + 0.1 u^4 + u w/2: anisotropic, not quadratic."""
    u, w = theta[..., 0], theta[..., 1]
    off = 2.0 * (u**2 * w - 1.0)
    return np.stack([2.0 * off * u * w + 0.4 * u**3 + 0.5 * w, off * u**2 + 0.5 * u], axis=-1)


def hessian_product(theta):
    """H g by hand."""
    u, w = theta[..., 0], theta[..., 1]
    g, off = gradient(theta), 2.0 * (u**2 * w - 1.0)
    uu = 8.0 * u**2 * w**2 + 2.0 * off * w + 1.2 * u**2
    uw = 4.0 * u**3 * w + 2.0 * off * u + 0.5
    return np.stack([uu * g[..., 0] + uw * g[..., 1], uw * g[..., 0] + 2.0 * u**4 * g[..., 1]], axis=-1)


THETA = np.array([[0.8, 0.6], [1.1, -0.4], [-0.5, 0.9]])


def test_its_gradient_is_that_by_hand():
    expected = gradient(THETA) + 2.0 * 0.3 * hessian_product(THETA)
    assert np.allclose(theory.slope(gradient, THETA, 0.3), expected, rtol=1e-8)
    each = theory.slope(gradient, THETA, np.array([0.0, 0.3, 0.6]))
    assert np.allclose(each[0], gradient(THETA[0]), rtol=1e-12)
    assert np.allclose(each[1], expected[1], rtol=1e-8)


def test_a_quadratic_has_its_flow_in_closed_form():
    """l = theta'A theta/2: the flow of l + c |grad l|^2 is exp(-t (A + 2 c A^2)); descent is (1 - r A)^N."""
    matrix = np.array([[1.0, 0.4], [0.4, 0.5]])
    values, vectors = np.linalg.eigh(matrix)
    decay = vectors @ np.diag(np.exp(-1.3 * (values + 0.2 * values**2))) @ vectors.T
    assert np.allclose(theory.flow(lambda t: t @ matrix, THETA, 1.3, 0.1), THETA @ decay, rtol=1e-8)
    power = np.linalg.matrix_power(np.eye(2) - 0.1 * matrix, 7)
    assert np.allclose(theory.descend(lambda t: t @ matrix, THETA, 0.1, 7), THETA @ power, rtol=1e-12)


@pytest.mark.parametrize(("coefficient", "order"), [(0.0, 1.0), (0.25, 2.0), (0.5, 1.0), (1.0, 1.0)])
def test_descent_follows_the_flow_of_the_entropic_loss(coefficient, order):
    distances = []
    for steps in (400, 800):
        rate = 1.0 / steps
        there = theory.flow(gradient, THETA, 1.0, coefficient * rate)
        distances.append(np.linalg.norm(theory.descend(gradient, THETA, rate, steps) - there, axis=-1))
    assert np.allclose(np.log2(distances[0] / distances[1]), order, atol=0.1)


@pytest.mark.parametrize("number", [2, 4, 64])
def test_n_steps_of_the_entropic_loss_are_one_of_the_loss(number):
    """|one - n steps| is of order 3 at c_n, 2 at c_n 10 per cent off: the factor 1 - 1/n is seen at n = 64 too."""
    right, wrong = [], []
    for rate in (0.002, 0.001):
        c = theory.step_coefficient(number)
        right.append(theory.mismatch_of_steps(gradient, THETA, rate, number, c))
        wrong.append(theory.mismatch_of_steps(gradient, THETA, rate, number, 0.25 if number < 64 else 0.9 * c))
    assert np.allclose(np.log2(right[0] / right[1]), 3.0, atol=0.15)
    assert np.allclose(np.log2(wrong[0] / wrong[1]), 2.0, atol=0.2)
    assert np.all(wrong[1] > 5.0 * right[1])


def test_the_case_is_of_order_1_and_2():
    ds = run(ensemble__replicas=8)
    found = thermosim.analysis.entropic_loss_order(ds)
    assert np.allclose(found.order, [1.0, 2.0, 1.0, 1.0], atol=0.08)
    report = thermosim.check(ds)
    assert [float(one.exact) for one in report.comparisons] == [1.0, 2.0]
    assert report.consistent
    assert max(float(one.tolerance) for one in report.comparisons) < 0.1


def test_a_descent_that_was_another_is_a_deviation():
    """theta of one step fewer at the end, 160: its distance is of order 1, from the entropic flow too."""
    ds = run(record__every=1, ensemble__replicas=4)
    late = ds.theta.copy()
    late[{"step": -1}] = ds.theta.isel(step=-2).values
    assert not thermosim.check(ds.assign(theta=late)).consistent


def test_a_sweep_keeps_its_axes():
    ds = run(ensemble__replicas=2, run__steps=40, sweep={"theta.learning_rate": {"values": [0.01, 0.02]}})
    found = thermosim.analysis.entropic_loss_order(ds, [0.25])
    assert found.order.dims == ("learning_rate", "coefficient")
    assert np.all(found.distance.isel(parts=0) > found.distance.isel(parts=1))


OWN = '''
"""Logistic loss of one weight and one of a cubic, l = ln(1 + exp(-w z)) + w^4/20."""
import math
from thermosim import Model, Parameter

def parameter_gradient(row, theta, constants, shared, factor, loss, gradient, scratch):
    for lane in range(theta.shape[1]):
        w, z = theta[0, lane], row[0, lane]
        p = 1.0 / (1.0 + math.exp(w * z))
        loss[lane] += factor * (math.log(1.0 + math.exp(-w * z)) + w**4 / 20.0)
        gradient[0, lane] += factor * (-z * p + w**3 / 5.0)

MODEL = Model(
    name="own",
    summary="own",
    source="own",
    constants=(),
    inputs=lambda c: 1,
    parameters=(Parameter("weight", "w", lambda c: (1,), lambda c: [0.0]),),
    parameter_gradient=parameter_gradient,
)
'''


def test_a_model_of_a_users_file(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    np.savetxt(tmp_path / "rows.csv", [[1.0], [2.5], [-0.5], [1.7]])
    theta = {"dynamics": "sgd", "batch": "all", "learning_rate": 0.05, "spread": 1.0}
    case = {
        "model": {"file": str(tmp_path / "own.py")},
        "theta": theta,
        "data": {"file": str(tmp_path / "rows.csv")},
        "ensemble": {"replicas": 4},
        "run": {"steps": 40},
        "record": {"variables": ["theta"], "every": 40},
    }
    found = thermosim.analysis.entropic_loss_order(thermosim.simulate(thermosim.load_case(case)), [0.0, 0.25])
    assert np.allclose(found.order, [1.0, 2.0], atol=0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"theta__batch": 4},
        {"theta__momentum": 0.5},
        {"theta__weight_decay": 0.1},
        {"theta__dynamics": "gradient-flow"},
        {"theta__learning_rate": {"kind": "linear", "initial": 0.02, "final": 0.01}},
        {"theta__learning_rate_factors": {"layer_1": 2.0}},
    ],
)
def test_what_is_not_plain_descent_is_refused(changes):
    ds = run(ensemble__replicas=2, run__steps=10, **changes)
    with pytest.raises(ValueError, match="plain gradient descent"):
        thermosim.analysis.entropic_loss_order(ds)
    assert not [one for one in thermosim.check(ds).comparisons if one.quantity.startswith("order of")]


def test_the_picture_shows_orders():
    figure = picture(run(ensemble__replicas=4, run__steps=80))
    words = [text.get_text() for panel in figure.axes if panel.get_legend() for text in panel.get_legend().get_texts()]
    assert "$c = 0.25$: order 2.00" in words or "$c = 0.25$: order 1.99" in words
