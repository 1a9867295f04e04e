"""Loss and accuracy at frames against plain numpy on the recorded theta, and against theory."""

import sys

import numpy as np
import pytest
from scipy import special

import thermosim
from tests.assertions import assert_within
from thermosim.analysis import learning_curves
from thermosim.analysis.machine import machines
from thermosim.kernels.evaluate import Evaluator
from thermosim.models import MODELS
from thermosim.plots.picture import picture

CASE = """
[model]
name = "softmax-regression"
inputs = 3
classes = 4
bias = "yes"
[theta]
dynamics = "sgd"
learning_rate = 0.3
batch = 5
[data]
source = "mixture"
centers = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, -1.0], [1.0, 1.0, 1.0]]
weights = [1.0, 2.0, 3.0, 1.0]
rows = 40
test = 70
[ensemble]
replicas = 12
seed = 4
[run]
steps = 20
[record]
every = 10
variables = ["theta"]
"""
RANDOM = np.random.default_rng(2)
V, S, E = np.array([[1.0, -2.0], [0.3, 4.0]]), np.array([[2.0, 0.6], [0.6, 1.0]]), np.array([[0.4, -0.3], [-0.3, 0.9]])
LINEAR = {
    "model": {"name": "linear-regression", "inputs": 2, "outputs": 2},
    "data": {"source": "linear", "fresh": True, "matrix": V.tolist(), "covariance": S.tolist(), "noise": E.tolist()},
    "theta.learning_rate": 0.02,
}
NETWORK = {
    "model": {"name": "multilayer-perceptron", "widths": [3, 5, 4], "activation": "tanh", "loss": "cross-entropy"},
    "theta.initial": "lecun",
}
LOGISTIC = {"model": {"name": "logistic-regression", "inputs": 3}, "data.centers": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.5]]}


def ensemble(changes=None):
    case = dict(changes or {})
    if "model" in case and case["model"]["name"] == "logistic-regression":
        case["data.weights"] = [1.0, 2.0]
    return thermosim.simulate(thermosim.load_case(CASE, case))


def outputs(ds, theta, inputs):
    """f (R, K, C) of theta (R, m), written anew for each model."""
    name = machines(ds)[0].model.name
    if name == "softmax-regression":
        weights = theta.reshape(len(theta), 4, 4)
        return np.einsum("rci,ki->rkc", weights[..., :3], inputs) + weights[:, None, :, 3]
    if name == "logistic-regression":
        f = np.einsum("ri,ki->rk", theta, inputs)
        return np.stack([np.zeros_like(f), f], -1)
    first, second = theta[:, :15].reshape(-1, 5, 3), theta[:, 15:].reshape(-1, 4, 5)
    return np.einsum("rcj,rkj->rkc", second, np.tanh(np.einsum("rji,ki->rkj", first, inputs)))


def plain(ds, theta, rows):
    """Loss and correctness of every row, (R, K)."""
    f, y = outputs(ds, theta, rows[:, :3]), rows[:, 3].astype(int)
    own = np.take_along_axis(f, y[None, :, None], 2)[..., 0]
    return np.log(np.exp(f).sum(-1)) - own, f.argmax(-1) == y


@pytest.mark.parametrize(
    "changes", [{}, NETWORK, LOGISTIC, {"data.sets": 3}], ids=["softmax", "net", "logistic", "sets"]
)
def test_curves_are_those_of_plain_numpy(changes):
    ds = ensemble(changes)
    found, (machine,) = learning_curves(ds), machines(ds)
    assert (found.rows, found.test_rows) == (40, 70)
    sets = ds.sizes["replica"] // machine.data.sets
    for step in (10, 20):
        theta, here = ds.theta.sel(step=step).values, found.sel(step=step)
        loss, right = plain(ds, theta, machine.test_rows)
        kept = [plain(ds, theta[[r]], machine.data.of_set(r // sets)) for r in range(len(theta))]
        own = {"loss": [one.mean() for one, _ in kept], "accuracy": [one.mean() for _, one in kept]}
        own |= {"test_loss": loss.mean(1), "test_accuracy": right.mean(1)}
        own["generalisation_gap"] = own["test_loss"] - own["loss"]
        for name, each in own.items():
            assert np.allclose(here[name], np.mean(each), rtol=1e-11), name
            assert np.allclose(here[f"{name}_error"], np.std(each, ddof=1) / np.sqrt(12), rtol=1e-9), name
            if name != "generalisation_gap":
                assert np.allclose(here[f"{name}_of_replica"], each, rtol=1e-11), name
        for name, rows in (("test_loss", loss), ("test_accuracy", right)):
            error = rows.mean(0).std(ddof=1) / np.sqrt(70)
            assert np.allclose(here[f"{name}_error_of_rows"], error, rtol=1e-9)
        assert 0.3 < here.test_accuracy < 0.95
        assert here.test_accuracy != here.accuracy


def test_a_network_that_sees_nothing_has_the_accuracy_of_chance():
    """At theta = 0 all classes have the same loss, of which each counts a quarter."""
    first = learning_curves(ensemble().isel(step=[0]))
    assert np.allclose(first.accuracy, 0.25, rtol=1e-15)
    assert np.allclose(first.test_accuracy, 0.25, rtol=1e-15)
    assert np.allclose(first.loss, np.log(4.0), rtol=1e-12)


@pytest.mark.parametrize("bias", ["no", "yes"])
@pytest.mark.parametrize(
    ("name", "values", "classes"),
    [
        ("softmax-regression", {"inputs": 3, "classes": 4}, 4),
        ("logistic-regression", {"inputs": 3}, 2),
        *[
            ("multilayer-perceptron", {"widths": [3, 5, 6, 4], "activation": one, "loss": "cross-entropy"}, 4)
            for one in ("linear", "relu", "tanh", "gelu")
        ],
    ],
)
def test_outputs_predict_the_class_of_least_loss(name, values, classes, bias):
    """Softmax of the outputs is exp(-l), class by class; so both ways of prediction agree, at every row and replica."""
    model, values = MODELS[name], values | {"bias": bias}
    evaluator = Evaluator(model, values)
    theta, inputs = RANDOM.normal(size=(7, evaluator.parameters)), RANDOM.normal(size=(30, 3))
    outputs = model.outputs(theta, values, inputs)
    best = outputs == outputs.max(-1, keepdims=True)
    each = np.stack([np.full((7, 30), np.nan)] * classes, -1)
    for c in range(classes):
        rows = np.column_stack([inputs, np.full(30, float(c))])
        each[..., c], right = evaluator.row_losses(rows, theta, classes)
        assert np.array_equal(right, best[..., c] / best.sum(-1))  # a network all of whose units died has equal outputs
    assert np.allclose(special.log_softmax(outputs, axis=-1), -each, rtol=1e-9, atol=1e-12)


USER = """
import numpy as np
from thermosim import Model, Parameter

def parameter_gradient(row, theta, constants, shared, factor, loss, gradient, scratch):
    for lane in range(theta.shape[1]):
        error = theta[0, lane] * row[0, lane] - row[1, lane]
        loss[lane] += factor * error * error
        gradient[0, lane] += factor * 2.0 * error * row[0, lane]

def outputs(theta, constants, inputs):
    return -((theta[:, None, :] * inputs[None] - np.arange(3.0)) ** 2)

MODEL = Model(
    name="levels", summary="the nearest of three levels", source="this test",
    inputs=lambda c: 1, targets=lambda c: 1, classes=lambda c: 3,
    parameters=(Parameter("weight", "weight", lambda c: (1,), lambda c: np.ones(1)),),
    parameter_gradient=parameter_gradient, outputs=outputs,
)
"""


def test_outputs_of_a_user_are_compared_with_the_loss(tmp_path):
    """And a user's loss of classes has an accuracy without them, the same."""
    np.save(tmp_path / "rows.npy", np.column_stack([RANDOM.uniform(0.0, 3.0, 50), RANDOM.integers(3, size=50)]))
    changes = {"model": {"file": "levels.py"}, "data": {"file": "rows.npy", "test": 0.4}, "theta.learning_rate": 0.02}

    def case(text):
        (tmp_path / "levels.py").write_text(text)
        return thermosim.load_case(CASE, changes, tmp_path)

    found = [learning_curves(thermosim.simulate(case(t))) for t in (USER, USER.replace(", outputs=outputs", ""))]
    assert np.allclose(found[0].test_accuracy, found[1].test_accuracy, rtol=1e-12)
    assert 0.1 < float(found[0].test_accuracy[-1]) < 0.9
    for old, new, said in (
        ("return -((", "return ((", "the one of larger output has the larger loss too"),
        ("np.arange(3.0)", "np.arange(2.0)", "outputs"),
        (", classes=lambda c: 3", "", "outputs"),
    ):
        with pytest.raises(thermosim.CaseError, match=said):
            case(USER.replace(old, new))


def test_some_classes_that_share_the_least_loss_count_in_part():
    model, values = MODELS["softmax-regression"], {"inputs": 1, "classes": 3, "bias": "no"}
    theta = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    right = Evaluator(model, values).row_losses([[1.0, 0.0], [1.0, 2.0], [-1.0, 1.0]], theta, 3)[1]
    assert np.array_equal(right, [[0.5, 0.0, 0.0], [1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])


def test_many_rows_are_taken_in_parts(monkeypatch):
    ds = ensemble()
    whole = learning_curves(ds)
    monkeypatch.setattr(sys.modules["thermosim.analysis.learning_curves"], "_CHUNK", 12 * 9 * 11)  # nine rows
    parts = learning_curves(ds)
    for name in whole:
        assert np.allclose(parts[name], whole[name], rtol=1e-12, atol=1e-14), name


def test_test_loss_of_linear_regression_is_that_of_the_law():
    """E |W z - y|^2 = Tr (W - V) S (W - V)' + Tr E, within the error that the rows make."""
    ds = ensemble(LINEAR | {"data.test": 20_000, "data.centers": None, "data.weights": None, "data.rows": None})
    found = learning_curves(ds)
    assert not {"loss", "accuracy", "test_accuracy", "generalisation_gap"} & set(found)
    weights = ds.theta.values.reshape(3, 12, 2, 2)
    exact = (np.einsum("frij,jk,frik->fr", weights - V, S, weights - V) + np.trace(E)).mean(1)
    error = found.test_loss_error_of_rows.values
    assert_within(found.test_loss, error, exact, catches="a factor 2", mistake=0.5 * exact)
    assert_within(found.test_loss[1:], error[1:], exact[1:], catches="no noise", mistake=np.trace(E))


def test_the_error_of_rows_is_that_of_other_rows():
    """Test losses of the same theta on 300 other sets of test rows scatter as it says; each set scatters by 4 %."""
    ds = ensemble({"run.steps": 10})
    (machine,), theta = machines(ds), ds.theta.isel(step=-1).values
    said = learning_curves(ds.isel(step=[-1])).test_loss_error_of_rows
    from thermosim.data.generators import generated

    rows, centers = generated(machine.settings.data, 3, 300 * 70, 7)
    losses = plain(ds, theta, np.column_stack([rows, centers]))[0].mean(0).reshape(300, 70)
    spread = losses.mean(1).std(ddof=1)
    own = (losses.std(1, ddof=1) / np.sqrt(70)).std()
    assert_within(
        said, np.hypot(own, spread / np.sqrt(600)), spread, catches="errors over replicas", mistake=0.9 * spread
    )


def test_a_part_of_a_sweep_has_the_curves_of_the_whole():
    """Points whose numbers of test rows differ, and a replica that diverged."""
    ds = ensemble({"sweep": {"theta.learning_rate": {"values": [0.1, 0.3]}, "data.test": {"values": [70, 20]}}})
    whole = learning_curves(ds)
    assert whole.test_loss.dims == ("step", "learning_rate", "test")
    part = learning_curves(ds.isel(learning_rate=1, test=[1], step=[2]))
    for name in ("loss", "test_accuracy", "test_loss_error_of_rows", "generalisation_gap_error"):
        assert np.array_equal(part[name].squeeze(), whole[name].isel(learning_rate=1, test=1, step=2)), name
    single = ensemble()
    lost = single.assign(status=("replica", np.arange(12) == 4))
    lost["theta"] = single.theta.where(~lost.status)
    left = learning_curves(lost)
    assert np.allclose(
        left.test_loss, learning_curves(single).test_loss_of_replica.drop_isel(replica=4).mean("replica")
    )
    assert left.replicas == 11


def test_what_has_no_curves_says_why():
    fresh = {**LINEAR, "data": LINEAR["data"] | {"fresh": True}}
    fresh |= {f"data.{key}": None for key in ("centers", "weights", "rows", "test")}
    with pytest.raises(ValueError, match=r"run with data.test = 1000"):
        learning_curves(ensemble(fresh))
    with pytest.raises(ValueError, match=r"record.variables"):
        learning_curves(ensemble({"record.variables": ["minibatch_loss"]}))


def test_the_picture_has_both_kinds_of_rows():
    """Loss and accuracy, of a point and of a sweep; without rows held out the loss is that of all rows, as it was."""
    one = picture(ensemble())
    titles = [panel.get_ylabel() for panel in one.axes]
    assert titles[1].startswith("loss (")
    assert titles[2] == "accuracy"
    for panel in one.axes[1:3]:
        assert panel.get_legend_handles_labels()[1] == ["rows learned from", "rows held out"]
    found = learning_curves(ensemble())
    for panel, name in zip(one.axes[1:3], ("loss", "accuracy")):
        drawn = [line.get_ydata() for line in panel.lines[:2]]
        assert np.allclose(drawn, [found[name], found[f"test_{name}"]], rtol=1e-12)
    several = picture(ensemble({"sweep": {"theta.learning_rate": {"values": [0.1, 0.3]}}}))
    assert several.axes[2].get_legend_handles_labels()[1][-1] == "rows held out"
    assert len(several.axes[2].lines) == 5
    without = picture(ensemble({"data.test": None}))
    assert without.axes[1].get_ylabel().startswith("loss on all data")
    assert without.axes[2].get_legend_handles_labels()[1] == ["rows learned from"]
