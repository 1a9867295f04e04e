"""Composed networks against numpy, finite differences and the perceptron; what a normalised row obeys; refusals."""

import re

import numpy as np
import pytest
from scipy import special

import thermosim
from thermosim.kernels import apply
from thermosim.kernels.compile import compiled
from thermosim.kernels.elementary import exp
from thermosim.kernels.evaluate import energy_bindings
from thermosim.kernels.identity import kernel_identity
from thermosim.models.multilayer_perceptron import MODEL as PERCEPTRON
from thermosim.models.networks import (
    absolute_error,
    activation,
    cross_entropy,
    dense,
    fixed,
    gelu,
    huber,
    linear,
    logistic,
    network,
    normalised,
    relu,
    residual,
    sigmoid,
    softplus,
    squared_error,
    tanh,
)
from thermosim.models.user_file.losses import loss_faults
from thermosim.models.user_file.plain import Plain

STEP = 1e-5
INTO = np.random.default_rng(7).normal(size=(4, 3))  # neither square nor symmetric
OUT_OF = np.random.default_rng(8).normal(size=(2, 6))


def swish(z):
    p = 1.0 / (1.0 + exp(-z))
    return z * p, p * (1.0 + z * (1.0 - p))


KINDS = (relu, tanh, gelu, sigmoid, softplus, linear)
# every layer, first, in the middle and last, at widths on both sides of the blocks of 8 and 16
STACKS = {
    "dense": [dense(9), dense(2, bias=True)],
    "biased": [dense(4, bias=True), dense(10, bias=True), dense(2)],
    "fixed": [fixed(INTO), dense(6), fixed(OUT_OF)],
    "only a fixed end": [normalised(6), fixed(OUT_OF)],
    "normalised": [normalised(5), tanh, normalised(2)],
    "gains": [dense(5), normalised(4, gain=True), dense(2)],
    "residual": [residual(dense(5), tanh, dense(3)), residual(fixed(np.diag([1.0, -2.0, 0.5])), dense(3)), dense(2)],
    "residual of a normalised layer": [dense(4), residual(normalised(4), gelu), normalised(2, gain=True)],
    **{one.name: [one, dense(3, bias=True), one, dense(2), one] for one in KINDS},
    "of one's own": [dense(4), activation("swish", swish), dense(2)],
    "wide": [dense(17), relu, dense(18), dense(2)],
}  # fmt: skip
LOSSES = {
    "squared": (squared_error, lambda f, y: np.sum((f - y) ** 2, axis=-1)),
    "absolute": (absolute_error, lambda f, y: np.sum(np.abs(f - y), axis=-1)),
    "huber": (huber(0.7), lambda f, y: np.sum(2.0 * special.huber(0.7, f - y), axis=-1)),
    "cross_entropy": (cross_entropy, lambda f, y: special.logsumexp(f, axis=-1) - f[..., int(y[0])]),
    "logistic": (logistic, lambda f, y: np.logaddexp(0.0, -(2.0 * y[0] - 1.0) * f[..., -1])),
}


def state(model, lanes, seed=0):
    """Rows (k, L), and theta (m, L) of the start."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(model.row_length({}), lanes))
    if classes := model.classes({}):
        rows[model.inputs({}) :] = rng.integers(classes, size=(1, lanes))
    m = model.names({})["PARAMETERS"]
    theta = model.initial_theta["he"]({}, {}, rng.normal(size=(m + 1, lanes)), np.zeros(lanes))
    return rows, theta + 0.1 * rng.normal(size=(m, lanes))


def in_python(model, rows, theta):
    """Loss (L) and gradient (m, L) by the functions themselves, on arrays whose scratch holds NaN."""
    plain = Plain(model, {})
    loss, gradient = np.zeros(theta.shape[1]), np.zeros(theta.shape)
    plain.add_gradient(rows, theta, plain.columns(theta.shape[1]), 1.0, loss, gradient)
    return loss, gradient


def in_machine_code(model, rows, theta):
    """The same compiled."""
    lanes = rows.shape[1]
    bindings = energy_bindings(model, {}) | {"parameter_gradient": model.parameter_gradient}
    kernel = compiled(apply.gradients, apply.GRADIENTS, **bindings)
    loss, gradient, none = np.zeros(lanes), np.zeros(theta.shape), np.zeros((0, lanes))
    scratch, columns = np.full((model.scratch_rows({}), lanes), np.nan), np.ascontiguousarray(rows)[None]
    points = np.zeros((0, len(rows)))
    kernel(np.ascontiguousarray(theta), none, none, np.zeros(0), scratch, points, columns, 1.0, loss, gradient)
    return loss, gradient


def slopes(model, loss, row, theta):
    """Loss and its central differences in numpy, by what the layers are in matrices."""
    x, y = row[: model.inputs({})], row[model.inputs({}) :]

    def of(points):
        return loss(model.outputs(points, {}, x[None])[..., 0, :], y)

    steps = STEP * np.eye(len(theta))
    return of(theta), (of(theta + steps) - of(theta - steps)) / (2.0 * STEP)


def agree(model, loss):
    rows, theta = state(model, 3)
    values, gradient = in_python(model, rows, theta)
    steep = 0.0
    for lane in range(3):
        value, slope = slopes(model, loss, rows[:, lane], theta[:, lane])
        steep = max(steep, np.abs(slope).max())
        assert values[lane] == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(gradient[:, lane], slope, rtol=1e-6, atol=1e-7)
    assert steep > 0.1


def test_gradients_are_the_slopes_of_the_loss_in_numpy():
    for name, layers in STACKS.items():
        agree(network(name, inputs=3, layers=layers, loss=squared_error), LOSSES["squared"][1])


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_slopes_are_those_of_numpy(name):
    loss, in_numpy = LOSSES[name]
    model = network(name, inputs=3, layers=[dense(4), tanh, dense(1 if name == "logistic" else 3)], loss=loss)
    agree(model, in_numpy)
    assert loss_faults(Plain(model, {})) == []
    assert model.is_loss
    assert (model.classes({}), model.targets({})) == {"cross_entropy": (3, 1), "logistic": (2, 1)}.get(name, (0, 3))


def test_machine_code_does_what_the_functions_say():
    """One network with a layer of every kind, on tiles with and without a remainder."""
    layers = [fixed(INTO), dense(9, bias=True), gelu, residual(normalised(9, gain=True), relu), dense(2)]
    model = network("everything", inputs=3, layers=layers, loss=cross_entropy)
    for lanes in (1, 7, 130):
        rows, theta = state(model, lanes)
        for found, exact in zip(in_machine_code(model, rows, theta), in_python(model, rows, theta), strict=True):
            np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-12 * np.abs(exact).max())


def test_rows_of_normalised_layers_are_pushed_across_themselves():
    """<v_i, g_i> = 0, so |v_i|^2 grows by r^2 |g_i|^2 in a step at the rate r, exactly."""
    model, rate = (
        network("n", inputs=5, layers=[normalised(6, gain=True), tanh, normalised(2)], loss=squared_error),
        0.3,
    )
    rows, theta = state(model, 4)
    gradient = in_python(model, rows, theta)[1]
    before, after, slope = (model.layers(rows.T, {}) for rows in (theta, theta - rate * gradient, gradient))
    for k, inputs in ((0, 5), (1, 6)):
        v, new, g = (part[k][..., :inputs] for part in (before, after, slope))
        grown = (new**2 - v**2).sum(-1)
        assert np.abs((v * g).sum(-1)).max() < 1e-12 < 1e-3 < rate**2 * (g**2).sum(-1).max()
        np.testing.assert_allclose(grown, rate**2 * (g**2).sum(-1), rtol=1e-9, atol=1e-11)


def test_a_composition_is_the_perceptron(tmp_path):
    """Trajectories and the books of layers and units, from the same start by the same minibatches."""
    (tmp_path / "mine.py").write_text(
        "from thermosim.models.networks import dense, network, relu, squared_error\n"
        "LAYERS = [dense(4), relu, dense(5), relu, dense(2)]\n"
        "MODEL = network('mine', inputs=3, layers=LAYERS, loss=squared_error)\n"
    )
    books = ("layer_gradient_square", "incoming_gradient_square", "outgoing_gradient_square")
    names = ("theta", "loss_sum", "displacement_square", *books)
    runs = []
    for model in ('file = "mine.py"', 'name = "multilayer-perceptron"\nwidths = [3, 4, 5, 2]'):
        (tmp_path / "case.toml").write_text(
            f"[model]\n{model}\n"
            '[theta]\ndynamics = "sgd"\nlearning_rate = 0.05\nbatch = 3\ninitial = "he"\n'
            '[data]\nsource = "linear"\nmatrix = [[1.0, 0.5, -1.0], [0.0, 2.0, 0.3]]\nnoise = 0.1\nrows = 20\n'
            "[ensemble]\nreplicas = 6\n[run]\nsteps = 40\n[record]\nevery = 20\n"
            f"variables = {list(names)}\n"
        )
        runs.append(thermosim.simulate(thermosim.load_case(tmp_path / "case.toml")))
    for name in names:
        mine, perceptron = (ds[name].values for ds in runs)
        assert np.abs(mine).max() > 0.1
        np.testing.assert_allclose(mine, perceptron, rtol=1e-9, atol=1e-10)
    mine, perceptron = ([row.quantity for row in thermosim.check(ds).comparisons] for ds in runs)
    assert [name for name in mine if "charge" in name] == [name for name in perceptron if "charge" in name] != []
    assert thermosim.check(runs[0]).consistent
    wrong = runs[0].assign(layer_gradient_square=runs[0].layer_gradient_square * (1.0 + 1e-6))
    assert not thermosim.check(wrong).consistent


def test_networks_have_the_symmetries_of_their_layers():
    """Of the perceptron where layers are dense, without biases, linear or ReLU; lengths divided out; none."""
    for layers, kinds in (
        ([dense(4), relu, dense(2)], 2),
        ([dense(4), dense(2)], 4),
        ([dense(4, bias=True), relu, dense(2)], 0),
        ([dense(4), tanh, dense(2)], 0),
        ([normalised(4), relu, dense(2)], 1),
        ([normalised(4, gain=True), tanh, normalised(2)], 1),
    ):
        model = network("mine", inputs=3, layers=layers, loss=squared_error)
        assert sum(one.generators({}).shape[0] > 0 for one in model.symmetries) == kinds
        assert loss_faults(Plain(model, {})) == []


def test_activations_of_the_perceptron_are_those_of_its_layers():
    values = {"activation": "tanh", "loss": "squared", "bias": "yes", "widths": [3, 4, 2]}
    model = network("same", inputs=3, layers=[dense(4, bias=True), tanh, dense(2, bias=True)], loss=squared_error)
    theta, x = np.random.default_rng(0).normal(size=(5, 26)), np.random.default_rng(1).normal(size=(7, 3))
    hidden, other = PERCEPTRON.activations(theta, values, x), model.activations(theta, {}, x)
    assert hidden.keys() == other.keys() == {"layer_1"}
    pairs = [(hidden["layer_1"], other["layer_1"]), (PERCEPTRON.outputs(theta, values, x), model.outputs(theta, {}, x))]
    for found, exact in pairs:
        assert found.shape == (5, 7, exact.shape[-1])
        np.testing.assert_array_equal(found, exact)


def _digest(model):
    bindings = energy_bindings(model, {}) | {"parameter_gradient": model.parameter_gradient}
    identity = kernel_identity(apply.gradients, apply.GRADIENTS, bindings)
    assert identity.complete
    return identity.digest


def test_no_two_compositions_share_a_digest():
    """Nor do those that differ in one number; the same one, made twice, has the same."""
    changed = INTO.copy()
    changed[1, 2] += 1e-9
    one = [fixed(INTO), dense(6), gelu, dense(2)]
    others = [
        [fixed(changed), dense(6), gelu, dense(2)],
        [fixed(INTO), dense(7), gelu, dense(2)],
        [fixed(INTO), dense(6), tanh, dense(2)],
        [fixed(INTO), dense(6, bias=True), gelu, dense(2)],
        [fixed(INTO), dense(6), dense(2), gelu],
        [fixed(INTO), normalised(6), gelu, dense(2)],
        *STACKS.values(),
    ]
    losses = (squared_error, absolute_error, huber(1.0), huber(2.0), cross_entropy)
    digests = [_digest(network("n", inputs=3, layers=layers, loss=squared_error)) for layers in (one, *others)]
    digests += [_digest(network("n", inputs=3, layers=one, loss=loss)) for loss in losses[1:]]
    assert len(set(digests)) == len(digests)
    assert _digest(network("another name", inputs=3, layers=list(one), loss=squared_error)) == digests[0]


@pytest.mark.parametrize(
    ("layers", "loss", "told"),
    [
        ([fixed(INTO.T), dense(2)], squared_error, "layer 1 is fixed by a matrix of shape (3, 4), but 3 numbers come"),
        ([residual(dense(4)), dense(2)], squared_error, "layer 1 is residual: 3 numbers come in and 4 out"),
        ([dense(4), "relu", dense(2)], squared_error, "layer 2 is 'relu', no layer"),
        ([dense, dense(2)], squared_error, "write dense(...)"),
        ([], squared_error, "expected a list"),
        ([fixed(INTO), tanh], squared_error, "none of its layers learns"),
        ([dense(1)], cross_entropy, "an output for each class, two at least, and the last layer has 1"),
        ([dense(2)], logistic, "by one output; use cross_entropy for more, and the last layer has 2"),
        ([dense(2)], huber, "loss is huber; expected squared_error"),
    ],
)
def test_networks_that_do_not_fit_are_refused(layers, loss, told):
    with pytest.raises(ValueError, match=r"^network 'n': ") as refusal:
        network("n", inputs=3, layers=layers, loss=loss)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: dense(2.5), "dense(2.5): expected the number of its units"),
        (lambda: normalised(0), "normalised(0): expected the number"),
        (lambda: fixed([[1.0, 2.0], [3.0]]), "rows of equal lengths"),
        (lambda: fixed([1.0, 2.0]), "shape (2,); expected finite numbers, outputs by inputs"),
        (lambda: huber(-1.0), "expected a positive width"),
        (lambda: activation("swish", 3.0), "a function of z that returns (s, slope)"),
        (lambda: residual("relu"), "residual: layer 1 is 'relu', no layer"),
        (lambda: network("n", inputs=2.5, layers=[dense(2)], loss=squared_error), "inputs is 2.5"),
    ],
)
def test_parts_that_are_refused(make, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        make()
