"""Theorems 6 and 7: rates of the four potentials along orbits of a symmetry, and what orthogonal ones leave alone."""

import numpy as np
import pytest
from scipy.linalg import expm

from thermosim.analysis.irreversibility import (
    potentials,
    symmetry_breaking,
    symmetry_breaking_of_loss,
    under_transformation,
)
from thermosim.models import MODELS

RANDOM = np.random.default_rng(1)
ROWS = RANDOM.normal(size=(6, 3))  # x1, x2, y
MEASURES = ("de", "tr", "ta", "st")


def _factors(theta, rows=ROWS):
    """Gradient of mean (u1 x1 w + u2 x2 w - y)^2, theta = (u1, u2, w): a rescaling of u against w changes nothing."""
    u, w = theta[:, :2], theta[:, 2]
    error = 2.0 * (w[:, None] * (u @ rows[:, :2].T) - rows[:, 2]) / len(rows)
    return np.column_stack([w[:, None] * (error @ rows[:, :2]), (error * (u @ rows[:, :2].T)).sum(1)])


RESCALING = np.array([1.0, 1.0, -1.0])


def _matrices(theta):
    """Gradient of |U W - Y|^2, U and W 2 x 2."""
    u, w = theta[:, :4].reshape(-1, 2, 2), theta[:, 4:].reshape(-1, 2, 2)
    error = 2.0 * (u @ w - np.array([[1.0, 0.3], [-0.5, 0.8]]))
    return np.concatenate([error @ w.transpose(0, 2, 1), u.transpose(0, 2, 1) @ error], 1).reshape(len(theta), 8)


def _double(matrix):
    """A of U -> U B, W -> B^-1 W with B = exp(s matrix), any matrix."""
    return np.block(
        [
            [np.kron(np.eye(2), matrix.T), np.zeros((4, 4))],
            [np.zeros((4, 4)), -np.kron(matrix, np.eye(2))],
        ]
    )


def _scale(theta):
    """Of a loss of the direction only, c.theta/|theta|: scale invariant."""
    length = np.linalg.norm(theta, axis=1, keepdims=True)
    c = np.array([1.0, -0.4, 0.2])
    return c / length - theta * (theta @ c)[:, None] / length**3


def _extrapolated(field, theta, generator, rate=1e-3):
    """Rates over r as r goes to 0, by three rates: off by the third power of r."""
    each = [symmetry_breaking(field, theta, r, generator) for r in (rate, rate / 2, rate / 4)]
    weights = np.array([1.0 / 3.0, -2.0, 8.0 / 3.0])
    found = {
        name: sum(w * here[f"rate_{name}"].values / here.attrs["learning_rate"] for w, here in zip(weights, each))
        for name in MEASURES
    }
    return found, each[0]["predicted"].values / rate, each


@pytest.mark.parametrize(
    ("field", "size", "generator"),
    [
        (_factors, 3, RESCALING),
        (_matrices, 8, _double(np.diag([1.0, -0.6]))),
        (_matrices, 8, _double(np.array([[0.3, 1.0], [0.1, -0.7]]))),  # its generator is not symmetric
        (_scale, 3, np.ones(3)),
    ],
)
def test_theorem_6(field, size, generator):
    theta = np.random.default_rng(2).normal(size=(5, size))
    found, predicted, _ = _extrapolated(field, theta, generator)
    matrix = np.diag(generator) if generator.ndim == 1 else generator
    slope = field(theta)
    np.testing.assert_allclose(predicted, -0.25 * np.einsum("ri,ij,rj->r", slope, matrix + matrix.T, slope), rtol=1e-9)
    size = np.abs(predicted)
    assert np.sum(size > 0.01) >= 3
    for name in MEASURES:
        np.testing.assert_allclose(found[name], predicted, rtol=2e-5, atol=2e-7 * size.max(), err_msg=name)


def test_rates_are_those_of_potentials_moved_along_the_orbit():
    theta = np.random.default_rng(3).normal(size=(2, 8))
    generator = _double(np.array([[0.3, 1.0], [0.1, -0.7]]))
    found, width = symmetry_breaking(_matrices, theta, 0.02, generator), 1e-4
    up, down = (potentials(_matrices, theta @ expm(s * width * generator).T, 0.02) for s in (1.0, -1.0))
    slope = (up["phi_st"] - down["phi_st"]) / (2.0 * width)
    np.testing.assert_allclose(found["rate_st"], slope, rtol=1e-6)


def test_translations_and_rotations_are_kept():
    """Q = z, J_Q = 0, of a field of the difference of two parameters; a rotation of a field of |theta|."""

    def difference(theta):
        slope = np.sin(theta[:, :1] - theta[:, 1:])
        return np.concatenate([slope, -slope], 1)

    theta = np.random.default_rng(4).normal(size=(4, 2))
    moved = symmetry_breaking(difference, theta, 0.1, lambda there: np.ones_like(there))
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    turned = symmetry_breaking(lambda there: there * (there**2).sum(1, keepdims=True), theta, 0.1, turn)
    for found in (moved, turned):
        np.testing.assert_allclose(found["predicted"], 0.0, atol=1e-15)
        for name in MEASURES:
            np.testing.assert_allclose(found[f"rate_{name}"], 0.0, atol=1e-10)  # rounding over the step of 1e-5


def test_scaling_pushes_outwards():
    found = symmetry_breaking(_scale, np.random.default_rng(5).normal(size=(6, 3)), 1e-3, np.ones(3))
    for name in MEASURES:
        assert np.all(found[f"rate_{name}"] < 0.0)  # phi falls outwards


def test_minibatches_are_averaged_and_break_what_their_mean_does_not():
    """At the balance of the full gradient |g_u| = |g_w| the mean field has no rate, its minibatches have."""
    theta = np.random.default_rng(6).normal(size=(3, 3))
    fields = [lambda there, k=k: _factors(there, ROWS[k : k + 1]) for k in range(6)]
    found = symmetry_breaking(fields, theta, 1e-4, RESCALING)
    slopes = np.stack([field(theta) for field in fields])
    exact = -0.5e-4 * (slopes**2 @ RESCALING).mean(0)
    np.testing.assert_allclose(found["predicted"], exact, rtol=1e-9)
    np.testing.assert_allclose(found["rate_ta"], exact, rtol=1e-2)
    whole = -0.5e-4 * (slopes.mean(0) ** 2 @ RESCALING)
    assert np.all(np.abs(exact / whole - 1.0) > 0.1)


def test_theorem_7_orthogonal_transformations_change_nothing():
    theta = np.random.default_rng(7).normal(size=(4, 8))
    turn = expm(_double(np.array([[0.0, 0.7], [-0.7, 0.0]])))
    swap = np.kron(np.eye(2), np.array([[0.0, 1.0], [1.0, 0.0]]))  # of the columns of U, with the rows of W
    permutation = np.block([[swap, np.zeros((4, 4))], [np.zeros((4, 4)), np.kron(np.eye(2)[::-1], np.eye(2))]])
    flip = np.diag([1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    for matrix in (turn, permutation, flip, -np.eye(8)):
        found = under_transformation(_matrices, theta, lambda there, matrix=matrix: there @ matrix.T, 0.2)
        for name in MEASURES:
            assert np.all(found[f"change_{name}"] < 1e-10), name
    wrong = under_transformation(_matrices, theta, lambda there: there[:, ::-1], 0.2)
    assert np.all(wrong["change_ta"] > 1e-3)
    with pytest.raises(ValueError, match="not orthogonal"):
        under_transformation(_matrices, theta, lambda there: 1.1 * there, 0.2)


def _constants(model, **given):
    values = {}
    for constant in model.constants:
        default = constant.default(values) if callable(constant.default) else constant.default
        values[constant.name] = given.get(constant.name, default)
    return values


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("scalar-chain", {}, False),  # rescaling
        ("multilayer-perceptron", {"widths": [2, 3, 1], "activation": "relu"}, False),  # of layers, and of units
        (
            "multilayer-perceptron",
            {"widths": [2, 2, 2], "activation": "linear"},
            False,
        ),  # double rotation, and its turns
        ("softmax-regression", {"inputs": 2, "classes": 3}, True),  # translation
    ],
)
def test_theorem_6_of_every_symmetry_that_a_model_declares(name, given, kept):
    model = MODELS[name]
    constants = _constants(model, **given)
    parameters, length = model.names(constants)["PARAMETERS"], model.row_length(constants)
    rows = np.random.default_rng(9).normal(size=(8, length))
    if model.classes is not None and model.classes(constants):
        rows[:, -1] = np.arange(8) % 3
    theta = np.random.default_rng(10).normal(size=(2, parameters))
    each = [
        symmetry_breaking_of_loss(model, constants, theta, rows, symmetry.name, 1e-6, generator=number, batch=2)
        for symmetry in model.symmetries
        for number in range(min(symmetry.generators(constants).shape[0], 6))
    ]
    size = max(float(np.abs(found["predicted"]).max()) for found in each)
    assert (size < 1e-12) == kept  # turns among a double rotation are kept, the rest is not
    for found in each:  # the next order of a mismatch is 1e-6 of it, also along turns, which keep potentials
        np.testing.assert_allclose(found["rate_ta"], found["predicted"], rtol=1e-3, atol=1e-4 * size + 1e-12)
    with pytest.raises(ValueError, match="no symmetry 'other'"):
        symmetry_breaking_of_loss(model, constants, theta, rows, "other", 1e-6)


def test_refusals():
    theta = np.random.default_rng(8).normal(size=(4, 3))
    with pytest.raises(ValueError, match=r"has not this symmetry: \d.*left over at theta of replica"):
        symmetry_breaking(_factors, theta, 0.1, np.array([1.0, -1.0, 1.0]))
    with pytest.raises(ValueError, match=r"generator of shape \(2,\)"):
        symmetry_breaking(_factors, theta, 0.1, np.ones(2))
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    with pytest.raises(ValueError, match="no gradient"):
        symmetry_breaking(lambda there: there @ (np.eye(2) + 2.0 * turn).T, theta[:, :2], 0.1, turn)
    with pytest.raises(ValueError, match="expected a positive number"):
        symmetry_breaking(_factors, theta, -0.1, RESCALING)
    with pytest.raises(ValueError, match="one callable"):
        under_transformation([_factors], theta, lambda there: -there, 0.1)
    beside = np.array([[1e4, 0.0], [1.0, 0.5]])  # a large replica does not hide what another breaks
    with pytest.raises(ValueError, match="replica 1"):
        symmetry_breaking(lambda there: there * np.where(there[:, :1] > 100.0, 1.0, [1.0, 3.0]), beside, 0.1, turn)


PERCEPTRON = MODELS["multilayer-perceptron"]
SIZES = {"widths": [3, 2, 2], "activation": "linear", "bias": "no", "loss": "squared"}


@pytest.mark.parametrize("batch", [1, 4, 12])
def test_declared_symmetries_of_a_loss_by_name(batch):
    """Charges between layers and of each hidden unit, against numpy: minibatches in order, sign and generator."""
    random = np.random.default_rng(9)
    rows, theta, rate = random.normal(size=(12, 5)), random.normal(size=(3, 10)), 1e-6
    for symmetry, number in (("layers", 0), ("units", 0), ("units", 1)):
        found = symmetry_breaking_of_loss(PERCEPTRON, SIZES, theta, rows, symmetry, rate, number, batch)
        exact = [_between(row, rows, batch, slice(None) if symmetry == "layers" else number) for row in theta]
        np.testing.assert_allclose(found["predicted"] / rate, exact, rtol=1e-9, err_msg=f"{symmetry} {number}")
        for name in ("st", "ta"):
            np.testing.assert_allclose(found[f"rate_{name}"] / rate, exact, rtol=0.05, atol=2e-3 * np.abs(exact).max())
        assert found.attrs["symmetry"] == symmetry


def _between(theta, rows, batch, units):
    """-(1/2) E(|g_out|^2 - |g_in|^2) of hidden units, of the loss |W2 W1 z - y|^2."""
    first, second = theta[:6].reshape(2, 3), theta[6:].reshape(2, 2)
    error = 2.0 * (rows[:, :3] @ (second @ first).T - rows[:, 3:])
    incoming = np.einsum("kj,kn->kjn", error @ second, rows[:, :3]).reshape(-1, batch, 2, 3).mean(1)
    outgoing = np.einsum("kd,kj->kdj", error, rows[:, :3] @ first.T).reshape(-1, batch, 2, 2).mean(1)
    return -0.5 * ((outgoing[:, :, units] ** 2).sum() - (incoming[:, units] ** 2).sum()) / len(incoming)


def test_a_translation_by_name_and_refusals_of_names():
    softmax, sizes = MODELS["softmax-regression"], {"inputs": 2, "classes": 3, "bias": "no"}
    random = np.random.default_rng(10)
    rows = np.column_stack([random.normal(size=(9, 2)), np.arange(9) % 3])
    found = symmetry_breaking_of_loss(softmax, sizes, random.normal(size=6), rows, "classes", 0.1, 1)
    assert found.sizes["replica"] == 1
    assert found["predicted"].item() == 0.0
    np.testing.assert_allclose([found[f"rate_{name}"].item() for name in MEASURES], 0.0, atol=1e-10)
    with pytest.raises(ValueError, match="no symmetry 'layer'; it has classes"):
        symmetry_breaking_of_loss(softmax, sizes, np.ones(6), rows, "layer", 0.1)
    with pytest.raises(ValueError, match="generators here, none of number 7"):
        symmetry_breaking_of_loss(softmax, sizes, np.ones(6), rows, "classes", 0.1, 7)
    with pytest.raises(ValueError, match="is no loss"):
        symmetry_breaking_of_loss(MODELS["gaussian"], {}, np.ones(6), rows, "classes", 0.1)
