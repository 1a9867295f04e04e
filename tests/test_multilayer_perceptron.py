"""Networks against plain numpy, central differences, and the charges that a step of SGD changes by a known amount."""

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy import special

import thermosim
from thermosim.case.model import resolved_model
from thermosim.case.resolve import resolve
from thermosim.kernels import apply, elementary
from thermosim.kernels.compile import compiled
from thermosim.kernels.evaluate import Evaluator, energy_bindings
from thermosim.models import multilayer_perceptron, network_energy, scalar_chain
from thermosim.models.multilayer_perceptron import layer_shapes, layers

NET, CHAIN = multilayer_perceptron.MODEL, scalar_chain.MODEL
ACTIVATIONS = {
    "linear": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0.0).astype(float)),
    "tanh": (np.tanh, lambda z: 1.0 / np.cosh(z) ** 2),
    "gelu": (
        lambda z: 0.5 * z * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (z + 0.044715 * z**3))),
        lambda z: (
            0.5 * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (z + 0.044715 * z**3)))
            + 0.5 * z / np.cosh(np.sqrt(2.0 / np.pi) * (z + 0.044715 * z**3)) ** 2
            * np.sqrt(2.0 / np.pi) * (1.0 + 3.0 * 0.044715 * z**2)
        ),
    ),
}  # fmt: skip
# depths 1 to 4, with widths on both sides of every block of four, and three blocks between hidden layers
WIDTHS = [[3, 2], [5, 7, 3], [4, 10, 9, 2], [1, 8, 3, 5, 4]]
NET_LOSSES = ("squared", "cross-entropy")
STEP = 1e-5  # of central differences


def net(widths, activation="relu", loss="squared", bias="no"):
    return {"activation": activation, "loss": loss, "bias": bias, "widths": widths}


def random_state(model, values, replicas, seed=0, scale=0.8):
    """Rows (R, n), a class where the loss wants one, and theta (R, m)."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(replicas, model.row_length(values)))
    if model.classes is not None and (classes := model.classes(values)):
        rows[:, -1] = rng.integers(classes, size=replicas)
    return rows, scale * rng.normal(size=(replicas, Evaluator(model, values).parameters))


def kernel_gradient(model, values, rows, theta, factor=1.0, add=0.0):
    """Loss (R,) and gradient (R, m) of the compiled function on a tile of exactly R lanes; scratch holds NaN."""
    bindings = energy_bindings(model, values) | {"parameter_gradient": model.parameter_gradient}
    kernel = compiled(apply.gradients, apply.GRADIENTS, **bindings)
    scalars, shared = model.packed(values)
    lanes, width = len(theta), rows.shape[1]
    loss, gradient = np.full(lanes, add), np.full(theta.T.shape, add)
    scratch = np.full((model.scratch_rows(values), lanes), np.nan)
    constants = np.repeat(scalars[:, None], lanes, axis=1)
    columns = np.ascontiguousarray(rows.T)[None]
    none = np.zeros((0, width)), np.zeros((0, lanes))
    kernel(np.ascontiguousarray(theta.T), none[1], constants, shared, scratch, none[0], columns, factor, loss, gradient)
    return loss, gradient.T


def plain(values, rows, theta):
    """The same by matrices: loss (R,), gradient (R, m)."""
    s, slope = ACTIVATIONS[values["activation"]]
    matrices, biased = layers(theta, values), values["bias"] == "yes"
    h, inputs, before = rows[:, : values["widths"][0]], [], []
    for k, matrix in enumerate(matrices):
        h = np.concatenate([h, np.ones((len(h), 1))], axis=1) if biased else h
        z = np.einsum("rji,ri->rj", matrix, h)
        inputs.append(h)
        before.append(z)
        h = s(z) if k + 1 < len(matrices) else z
    targets = rows[:, values["widths"][0] :]
    if values["loss"] == "squared":
        loss, delta = np.sum((h - targets) ** 2, axis=1), 2.0 * (h - targets)
    else:
        one_hot = np.eye(h.shape[1])[targets[:, 0].astype(int)]
        loss = special.logsumexp(h, axis=1) - np.sum(h * one_hot, axis=1)
        delta = special.softmax(h, axis=1) - one_hot
    parts = []
    for k in reversed(range(len(matrices))):
        parts.append(np.einsum("rj,ri->rji", delta, inputs[k]).reshape(len(theta), -1))
        if k:
            back = np.einsum("rji,rj->ri", matrices[k], delta)
            delta = back[:, : values["widths"][k]] * slope(before[k - 1])
    return loss, np.concatenate(parts[::-1], axis=1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_loss_and_gradient_of_networks_are_those_of_numpy(activation):
    for widths, loss, bias, lanes in itertools.product(WIDTHS, NET_LOSSES, ("no", "yes"), (1, 7, 130)):
        values = net(widths, activation, loss, bias)
        rows, theta = random_state(NET, values, lanes)
        expected = plain(values, rows, theta)
        for found, exact in zip(kernel_gradient(NET, values, rows, theta), expected, strict=True):
            np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-12 * np.abs(exact).max())
        # a factor, and what was there before
        loss_too, gradient = kernel_gradient(NET, values, rows, theta, factor=-0.3, add=2.0)
        np.testing.assert_allclose(loss_too, 2.0 - 0.3 * expected[0], rtol=1e-12, atol=1e-12)
        scale = np.abs(expected[1]).max()
        np.testing.assert_allclose(gradient, 2.0 - 0.3 * expected[1], rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_of_networks_is_the_slope_of_their_loss(activation):
    for widths, loss, bias in itertools.product(WIDTHS, NET_LOSSES, ("no", "yes")):
        values = net(widths, activation, loss, bias)
        rows, theta = random_state(NET, values, 5, seed=1)
        gradient = kernel_gradient(NET, values, rows, theta)[1]
        for i in range(theta.shape[1]):
            step = STEP * np.eye(theta.shape[1])[i]
            up, down = (kernel_gradient(NET, values, rows, theta + sign * step)[0] for sign in (1.0, -1.0))
            np.testing.assert_allclose(gradient[:, i], (up - down) / (2.0 * STEP), rtol=1e-6, atol=3e-7)


@pytest.mark.parametrize("lanes", [1, 7, 130])
def test_the_scalar_chain(lanes):
    for depth in (1, 2, 5):
        values = {"depth": depth}
        rows, theta = random_state(CHAIN, values, lanes, scale=1.0)
        loss, gradient = kernel_gradient(CHAIN, values, rows, theta)
        error = np.prod(theta, axis=1) * rows[:, 0] - rows[:, 1]
        np.testing.assert_allclose(loss, error**2, rtol=1e-11, atol=1e-13)
        others = np.stack([np.prod(np.delete(theta, k, axis=1), axis=1) for k in range(depth)], axis=1)
        exact = (2.0 * error * rows[:, 0])[:, None] * others
        np.testing.assert_allclose(gradient, exact, rtol=1e-11, atol=1e-12)


def test_cross_entropy_of_far_outputs_is_stable():
    values = net([2, 3], "linear", "cross-entropy")
    theta = np.array([[900.0, 0.0, -900.0, 0.0, 0.0, 900.0]])
    for target, expected in ((0, 0.0), (1, 1800.0), (2, 900.0)):
        loss, gradient = kernel_gradient(NET, values, np.array([[1.0, 0.0, target]]), theta)
        assert loss[0] == pytest.approx(expected, abs=1e-12)
        probability = np.eye(3)[0] - np.eye(3)[target]
        np.testing.assert_allclose(gradient.reshape(3, 2)[:, 0], probability, atol=1e-12)


def test_a_lane_that_is_not_finite_stays_so_and_alone():
    others = np.arange(9) != 4
    for activation, error in itertools.product(ACTIVATIONS, NET_LOSSES):
        values = net([3, 6, 5, 2], activation, error)
        rows, theta = random_state(NET, values, 9)
        whole = kernel_gradient(NET, values, rows, theta)
        theta[4, :18] = np.nan
        loss, gradient = kernel_gradient(NET, values, rows, theta)
        assert np.isnan(loss[4])
        assert np.isnan(gradient[4]).any()
        assert np.array_equal(loss[others], whole[0][others])
        assert np.array_equal(gradient[others], whole[1][others])


def test_rescaling_layers_of_a_rectified_network_leaves_the_loss():
    """The generator of the symmetry: <W_i, g_i> is the same for all layers without biases (Euler's theorem)."""
    for activation in ("linear", "relu"):
        values = net([4, 6, 9, 2], activation)
        rows, theta = random_state(NET, values, 50)
        gradient = kernel_gradient(NET, values, rows, theta)[1]
        products = [
            np.sum(w * g, axis=(1, 2)) for w, g in zip(layers(theta, values), layers(gradient, values), strict=True)
        ]
        assert np.abs(products[0]).max() > 10.0
        np.testing.assert_allclose(products[1], products[0], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(products[2], products[0], rtol=1e-10, atol=1e-10)


def test_charges_of_rectified_networks_after_a_step():
    """|W_i|^2 - |W_j|^2 grows by eta^2 (|g_i|^2 - |g_j|^2) exactly, of each hidden unit too, whatever the batch."""
    values, rate = net([4, 6, 9, 2]), 0.01
    theta = random_state(NET, values, 20)[1]
    batch = np.random.default_rng(5).normal(size=(8, 6))
    gradient = Evaluator(NET, values).data_gradient(batch, theta)[1]
    before, after, slopes = (layers(rows, values) for rows in (theta, theta - rate * gradient, gradient))
    for k in range(2):
        charge = [np.sum(w[k] ** 2, axis=2) - np.sum(w[k + 1] ** 2, axis=1) for w in (before, after, slopes)]
        assert np.abs(charge[1] - charge[0]).max() > 1e-2
        np.testing.assert_allclose(charge[1], charge[0] + rate**2 * charge[2], rtol=1e-11, atol=1e-11)


def test_matrix_charges_of_linear_networks_after_a_step():
    """W_i W_i' - W_(i+1)' W_(i+1) grows by eta^2 (g_i g_i' - g_(i+1)' g_(i+1)) exactly."""
    values, rate = net([3, 5, 4, 2], "linear"), 0.01
    theta = random_state(NET, values, 20)[1]
    batch = np.random.default_rng(5).normal(size=(8, 5))
    gradient = Evaluator(NET, values).data_gradient(batch, theta)[1]

    def charges(rows):
        w = layers(rows, values)
        return [w[k] @ w[k].transpose(0, 2, 1) - w[k + 1].transpose(0, 2, 1) @ w[k + 1] for k in range(2)]

    for old, new, change in zip(charges(theta), charges(theta - rate * gradient), charges(gradient), strict=True):
        assert np.abs(new - old).max() > 1e-2
        np.testing.assert_allclose(new, old + rate**2 * change, rtol=1e-11, atol=1e-11)


def test_the_charge_of_a_chain_of_two_shrinks_by_its_exact_factor():
    values, rate = {"depth": 2}, 0.05
    rows, theta = random_state(CHAIN, values, 30, scale=1.0)
    gradient = kernel_gradient(CHAIN, values, rows, theta)[1]
    charge = CHAIN.observables["charge"].function
    error = CHAIN.observables["product"].function(theta, values) * rows[:, 0] - rows[:, 1]
    factor = 1.0 - 4.0 * rate**2 * error**2 * rows[:, 0] ** 2
    assert factor.min() < 0.9
    np.testing.assert_allclose(charge(theta - rate * gradient, values), charge(theta, values) * factor, rtol=1e-10)


def test_starts_have_the_deviation_of_their_name():
    values, replicas = net([50, 20, 3], bias="yes"), 2000
    m = sum(a * b for a, b in layer_shapes(values))
    normal = np.random.default_rng(3).normal(size=(m + 1, replicas))
    for name, gain in (("he", 2.0), ("lecun", 1.0)):
        theta = NET.initial_theta[name](values, {}, normal, np.zeros(replicas))
        for matrix, inputs in zip(layers(theta.T, values), (50, 20), strict=True):
            assert not matrix[..., -1].any()
            variance, count = np.mean(matrix[..., :-1] ** 2), matrix[..., :-1].size
            assert abs(variance * inputs / gain - 1.0) < 4.0 * np.sqrt(2.0 / count)


def test_what_a_row_holds():
    assert (NET.inputs(net([3, 4, 2])), NET.targets(net([3, 4, 2])), NET.classes(net([3, 4, 2]))) == (3, 2, 0)
    classes = net([3, 4, 2], loss="cross-entropy")
    assert (NET.row_length(classes), NET.targets(classes), NET.classes(classes)) == (4, 1, 2)
    assert CHAIN.row_length({"depth": 3}) == 2
    assert [model.is_loss for model in (NET, CHAIN, network_energy.MODEL)] == [True, True, False]
    shapes = [group.shape(net([3, 4, 2], bias="yes")) for group in NET.parameters]
    assert shapes == [(4, 4), (2, 5), *[(0,)] * 6]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"activation": "sigmoid"}, "expected 'linear' or 'relu' or 'tanh' or 'gelu'"),
        ({"bias": True}, "expected 'no' or 'yes'"),
        ({"widths": [3, 2.5, 1]}, "expected whole numbers"),
        ({"widths": [3, 0, 1]}, "expected at least 1"),
        ({"widths": []}, "has no numbers"),
        ({"widths": 3}, "expected (any length,)"),
    ],
)
def test_constants_that_are_refused(given, told):
    assert told in " ".join(resolved_model(given, NET)[1])


def test_choices_are_numbers_in_kernels_and_words_in_cases():
    settings, faults = resolved_model({"activation": "gelu", "widths": [2, 3.0, 1]}, NET)
    assert not faults
    assert settings.constants == net([2, 3, 1], "gelu")
    scalars, arrays = NET.packed(settings.constants)
    assert scalars.tolist() == [3.0, 0.0, 0.0]
    assert arrays.tolist() == [2.0, 3.0, 1.0]
    assert "8 layers" in NET.validate(net([1] * 10), None)[0]
    assert "expected inputs" in NET.validate(net([3]), None)[0]
    assert "each class" in NET.validate(net([3, 1], loss="cross-entropy"), None)[0]


def test_tanh():
    z = np.concatenate([np.linspace(-30.0, 30.0, 2001), [-1e9, 0.0, 1e9]])
    with np.errstate(over="ignore"):  # of integers that wrap
        assert np.abs([elementary.tanh(value) for value in z] - np.tanh(z)).max() < 5e-16


def _theta_faults(text):
    """What [theta] is told, of a case without data."""
    raw = tomllib.loads(
        f'[model]\nname = "multilayer-perceptron"\nwidths = [2, 3, 1]\n[ensemble]\nreplicas = 2\n[run]\nsteps = 2\n'
        f"[theta]\nlearning_rate = 0.1\nbatch = 1\n{text}"
    )
    return [fault for fault in resolve(raw, NET, Path())[1] if fault.startswith("theta.")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('dynamics = "sgld"\ntemperature = { layer_1 = 1.0 }', "theta.temperature.layer_2: missing"),
        (
            'dynamics = "sgd"\nlearn = ["layer_1", "layer_3"]',
            "'layer_3' is no parameter group; there are layer_1, layer_2",
        ),
        ('dynamics = "sgd"\nspread = 0.5', "the start 'he' has its own"),
        ('dynamics = "sgd"\ninitial = "lecun"\nspread = 0.5', "the start 'lecun' has its own"),
        ('dynamics = "sgd"\ninitial = "kaiming"', "or use 'he', 'lecun'"),
    ],
)
def test_layers_beyond_the_depth_and_starts_in_a_case(text, told):
    assert told in " ".join(_theta_faults(text))


def test_a_temperature_for_each_layer_that_there_is():
    text = 'dynamics = "sgld"\ntemperature = { layer_1 = 1.0, layer_2 = 2.0 }\ninitial = { layer_1 = 0.3 }'
    assert not [fault for fault in _theta_faults(text) if "gradient" not in fault]


@pytest.mark.parametrize("bias", ["no", "yes"])
def test_books_of_a_step_are_those_of_its_gradient(bias):
    """g = (theta_0 - theta_1)/r, layer by layer and unit by unit; a bias comes into its unit and goes out of none."""
    names = ["layer_gradient_square", "incoming_gradient_square", "outgoing_gradient_square"]
    ds = thermosim.simulate(thermosim.load_case(BOOKED, {"model.bias": bias, "record.variables": ["theta", *names]}))
    theta = ds["theta"].transpose("step", "replica", "theta_dim").values
    values = net([3, 5, 4, 2], "relu", "squared", bias)
    gradients = layers((theta[0] - theta[1]) / 0.01, values)
    found = [ds[name].isel(step=1).transpose("replica", ...).values for name in names]
    into = [(g**2).sum(-1) for g in gradients[:-1]]
    out = [(g[..., :width] ** 2).sum(-2) for g, width in zip(gradients[1:], (5, 4), strict=True)]
    np.testing.assert_allclose(found[0], np.stack([(g**2).sum((1, 2)) for g in gradients], axis=1), rtol=1e-9)
    np.testing.assert_allclose(found[1], np.concatenate(into, axis=1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[2], np.concatenate(out, axis=1), rtol=1e-9, atol=1e-9)


BOOKED = """
[model]
name = "multilayer-perceptron"
widths = [3, 5, 4, 2]
[theta]
dynamics = "sgd"
learning_rate = 0.01
batch = 3
initial = "he"
[data]
source = "linear"
fresh = true
matrix = [[1.0, -0.5, 0.3], [0.2, 0.4, -1.0]]
noise = 0.2
[ensemble]
replicas = 40
[run]
steps = 1
[record]
every = 1
"""


SGD = {"dynamics": "sgd", "learning_rate": 0.1, "batch": 1}


@pytest.mark.parametrize(
    "theta",
    [
        {"dynamics": "protocol", "protocol": {"layer_7": {"kind": "linear", "initial": 0.0, "final": 1.0}}},
        SGD | {"learn": ["layer_1", "layer_7"]},
        SGD | {"initial": {"layer_7": 0.0}},
        SGD | {"spread": {"layer_7": 1.0}},
        SGD | {"learning_rate_factors": {"layer_7": 1.0}},
        {"dynamics": "sgld", "learning_rate": 0.1, "batch": 1, "temperature": {"layer_1": 1.0, "layer_7": 1.0}},
    ],
)
def test_a_layer_beyond_the_depth_is_no_group(theta):
    case = {"model": {"name": "multilayer-perceptron", "widths": [2, 3, 1]}, "theta": theta, "run": {"steps": 9}}
    case |= {"ensemble": {"replicas": 2}}
    if theta["dynamics"] != "protocol":
        case["data"] = {"source": "linear", "matrix": [[1.0, 2.0]]}
    with pytest.raises(thermosim.CaseError) as error:
        thermosim.load_case(case)
    assert "layer_7" in str(error.value)
    assert "layer_1, layer_2" in str(error.value)
