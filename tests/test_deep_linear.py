"""Deep linear networks between fixed matrices against plain numpy, central differences, their charges and starts."""

import itertools

import numpy as np
import pytest

import thermosim
from thermosim.case.faults import CaseError
from thermosim.kernels.evaluate import Evaluator
from thermosim.models.deep_linear import MODEL, activations, layers

RANDOM = np.random.default_rng(3)
# one layer to three, widths on both sides of a block of four, rectangular matrices before and after
NETS = [([2, 3], 2, 3), ([3, 5, 2], 4, 3), ([4, 7, 5, 3], 2, 2), ([1, 6, 2, 9, 4], 3, 5)]


def constants(widths, inputs, outputs):
    shapes = (widths[0], inputs), (outputs, widths[-1])
    embedding, unembedding = (RANDOM.normal(size=shape).tolist() for shape in shapes)
    return {"widths": widths, "embedding": embedding, "unembedding": unembedding}


def plain(values, rows, theta):
    """Loss (R,) by matrices."""
    embedding, unembedding = np.array(values["embedding"]), np.array(values["unembedding"])
    inputs = embedding.shape[1]
    h, first = rows[:, :inputs] @ embedding.T, 0
    for a, b in zip(values["widths"], values["widths"][1:], strict=False):
        h = np.einsum("rji,ri->rj", theta[:, first : first + a * b].reshape(-1, b, a), h)
        first += a * b
    return ((h @ unembedding.T - rows[:, inputs:]) ** 2).sum(1)


@pytest.mark.parametrize(("widths", "inputs", "outputs"), NETS)
def test_loss_and_gradient_are_those_of_numpy(widths, inputs, outputs):
    values = constants(widths, inputs, outputs)
    evaluator = Evaluator(MODEL, values)
    for lanes in (1, 130):
        rows = RANDOM.normal(size=(lanes, inputs + outputs))
        theta = RANDOM.normal(size=(lanes, evaluator.parameters))
        found, gradient = evaluator.data_gradient(rows[:, None], theta)
        np.testing.assert_allclose(found, plain(values, rows, theta), rtol=1e-11)
        for i in range(theta.shape[1]):
            step = 1e-6 * np.eye(theta.shape[1])[i]
            slope = (plain(values, rows, theta + step) - plain(values, rows, theta - step)) / 2e-6
            scale = np.abs(gradient).max()
            np.testing.assert_allclose(gradient[:, i], slope, rtol=1e-5, atol=1e-6 * scale)


def test_activations_are_those_of_the_hidden_layers():
    values = constants([4, 7, 5, 3], 2, 2)
    theta, probes = RANDOM.normal(size=(6, 4 * 7 + 7 * 5 + 5 * 3)), RANDOM.normal(size=(9, 2))
    found = activations(theta, values, probes)
    assert list(found) == ["layer_1", "layer_2"]
    first, second, last = (matrix[3] for matrix in layers(theta, values))
    hidden = [probes @ np.array(values["embedding"]).T @ first.T]
    hidden.append(hidden[0] @ second.T)
    np.testing.assert_allclose(found["layer_1"][3], hidden[0])
    np.testing.assert_allclose(found["layer_2"][3], hidden[1])
    # and they are those of the loss
    f = hidden[1] @ last.T @ np.array(values["unembedding"]).T
    rows = np.concatenate([probes, np.zeros((9, 2))], axis=1)
    np.testing.assert_allclose((f**2).sum(1), plain(values, rows, np.repeat(theta[3:4], 9, 0)))


def test_starts_are_those_of_their_name():
    values = constants([4, 7, 5, 3], 2, 2)
    count = 4 * 7 + 7 * 5 + 5 * 3
    normal = RANDOM.normal(size=(count + 1, 2000))
    for name, gain in (("he", 2.0), ("lecun", 1.0)):
        for weights, width in zip(layers(MODEL.initial_theta[name](values, None, normal, None).T, values), (4, 7, 5)):
            assert weights.var() * width / gain == pytest.approx(1.0, abs=4 * np.sqrt(2 / weights.size))
    balanced = layers(MODEL.initial_theta["balanced"](values, None, normal[:, :50], None).T, values)
    for before, after in itertools.pairwise(balanced):
        np.testing.assert_allclose(before @ before.swapaxes(1, 2), after.swapaxes(1, 2) @ after, atol=1e-12)
    for weights in balanced:  # three ones in every layer, in random directions
        np.testing.assert_allclose(np.linalg.svd(weights)[1][:, :3], 1.0)
        assert weights[:, 0, 0].std() > 0.1


CASE = """
[model]
name = "deep-linear"
widths = [3, 5, 4, 2]
embedding = [[1.0, 0.5], [-0.3, 1.2], [0.7, 0.1]]
unembedding = [[1.0, 0.4], [0.0, 0.8], [0.5, -0.6]]
[theta]
dynamics = "sgd"
learning_rate = 0.01
batch = 2
initial = "lecun"
[data]
source = "linear"
fresh = true
matrix = [[1.0, -0.5], [0.3, 0.8], [0.1, 0.2]]
covariance = [[1.0, 0.3], [0.3, 0.5]]
noise = [0.1, 0.2, 0.3]
[ensemble]
replicas = 8
seed = 2
[run]
steps = 40
[record]
every = 10
variables = ["theta", "layer_gradient_square", "incoming_gradient_square", "outgoing_gradient_square"]
"""


def test_charges_between_layers_and_of_units_are_those_of_the_step():
    report = thermosim.check(thermosim.simulate(thermosim.load_case(CASE)))
    assert report.consistent
    assert [c.quantity for c in report.comparisons] == [
        "largest residual of a charge between layers",
        "largest residual of a charge of a hidden unit",
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("widths = [3,", "widths = [4,", "model.embedding: has 3 rows, and model.widths starts with 4; give"),
        ("4, 2]\n", "4, 3]\n", "model.unembedding: has 2 columns, and model.widths ends with 3; give"),
        ("[3, 5, 4, 2]", "[3, 1, 1, 1, 1, 1, 1, 1, 1, 2]", "two at least, for 8 layers"),
        ("[3, 5, 4, 2]", "[3, 0, 2]", "widths"),
        ("[0.7, 0.1]]", "[0.7]]", "model.embedding"),
    ],
)
def test_what_does_not_fit_is_refused(old, new, told):
    with pytest.raises(CaseError, match=told.replace("[", r"\[")):
        thermosim.load_case(CASE.replace(old, new, 1))
