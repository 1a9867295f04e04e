"""Alignment of recorded networks, and the check of where SGD leaves deep linear ones, with its conditions and power."""

import numpy as np
import pytest

import thermosim
from thermosim.analysis import alignment, alignment_in_time, gram_cosine, network_alignment, probe_inputs
from thermosim.analysis.machine import machines
from thermosim.checks import platonic_alignment
from thermosim.checks.platonic_alignment import why_no_universal_kernel
from thermosim.exact import universal_kernel
from thermosim.models.multilayer_perceptron import MODEL as PERCEPTRON

# noise that is not the same in all targets, in the bases of V Sx V'; inputs and the embedding commute with nothing
MATRIX, INPUTS = np.array([[0.9, -0.5], [0.3, 0.7]]), np.array([[1.0, 0.3], [0.3, 0.6]])
BASES = np.linalg.eigh(MATRIX @ INPUTS @ MATRIX.T)[1]
NOISE = BASES @ np.diag([0.3, 0.6]) @ BASES.T
NOISE = 0.5 * (NOISE + NOISE.T)
UNEQUAL = BASES @ np.diag([0.1, 0.9]) @ BASES.T
UNEQUAL = 0.5 * (UNEQUAL + UNEQUAL.T)
EMBEDDING = np.array([[1.0, 0.5], [-0.3, 1.1]])
CASE = f"""
[model]
name = "deep-linear"
widths = [2, 4, 2]
embedding = {EMBEDDING.tolist()}
[theta]
dynamics = "sgd"
batch = 1
initial = "lecun"
[data]
source = "linear"
fresh = true
matrix = {MATRIX.tolist()}
covariance = {INPUTS.tolist()}
noise = {NOISE.tolist()}
[ensemble]
replicas = 128
seed = 3
[run]
steps = 100_000
[record]
every = 1000
variables = ["theta"]
[sweep]
"theta.learning_rate" = {{ values = [0.008, 0.014, 0.02] }}
"""
SHORT = {"run.steps": 40, "record.every": 2, "ensemble.replicas": 16}
NET = """
[model]
name = "multilayer-perceptron"
widths = [3, 12, 10, 2]
activation = "tanh"
[theta]
dynamics = "sgd"
learning_rate = 0.02
batch = 4
initial = "he"
[data]
source = "linear"
fresh = true
matrix = [[1.0, -0.5, 0.3], [0.2, 0.4, -1.0]]
[ensemble]
replicas = 24
seed = 5
[run]
steps = 400
"""

IMAGES = 'source = "digits"\ndigits = [0, 1]\nshrink = 2\nrows = 24\nencoding = "unit"'


@pytest.fixture(scope="module")
def sweep():
    return thermosim.simulate(thermosim.load_case(CASE)).load()


def kernels(report):
    return [one for one in report.comparisons if "at learning rate 0" in one.quantity]


def test_sgd_comes_to_the_universal_kernel(sweep):
    report = thermosim.check(sweep)
    assert report.consistent
    assert [one.quantity for one in report.comparisons] == [
        "kernel of hidden layer 1 at learning rate 0",
        "cosine of hidden layer 1 and the universal kernel",
    ]
    assert not any("universal kernel" in note for note in report.notes)


@pytest.mark.parametrize("mistake", ["factor", "noise left out", "noise inside out", "views the wrong way round"])
def test_a_wrong_kernel_is_told(sweep, monkeypatch, mistake):
    """1.5 in place of 1, 1 for Se, Se^-1 for Se, and outputs for inputs."""
    right = universal_kernel.universal_kernel
    root = universal_kernel.square_root
    wrong = {
        "factor": lambda v, sx, se: 1.5 * right(v, sx, se),
        "noise left out": lambda v, sx, se: right(v, sx, np.eye(2)),
        "noise inside out": lambda v, sx, se: right(v, sx, np.linalg.inv(se)),
        "views the wrong way round": lambda v, sx, se: root(v @ sx @ v.T),
    }[mistake]
    monkeypatch.setattr(platonic_alignment.theory, "universal_kernel", wrong)
    report = thermosim.check(sweep)
    assert kernels(report)
    assert not report.consistent


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"theta.weight_decay": 0.01}, "weight decay"),
        ({"model.widths": [2, 1, 2]}, "width 1 cannot make the matrix of the data, of rank 2"),
        ({"model.embedding": [[1.0, 0.5], [2.0, 1.0]]}, "leave out a part"),
        ({"data.noise": [0.5, 0.0]}, "do not vary in every direction"),
        ({"data.noise": [0.2, 0.5]}, "does not commute with V Sx V'"),
        ({"model.unembedding": [[1.0, 0.0], [0.0, 2.0]]}, "does not commute with V Sx V'"),
        ({"ensemble.replicas": 8}, "16 replicas are needed"),
        ({}, "come to rest"),
    ],
)
def test_where_theory_has_nothing_to_say_nothing_is_compared(changes, told):
    ds = thermosim.simulate(thermosim.load_case(CASE, SHORT | changes)).load()
    report = thermosim.check(ds)
    assert not report.comparisons
    assert any("The universal kernel is not compared" in note and told in note for note in report.notes)


def stationary_kernel(changes):
    """How far the kernel of hidden layer 2 is from theory at rate 0, over its size, by a straight line, and the error.

    Runs start at the state of theory.
    """
    changes = {"model.widths": [2, 4, 4, 2], "data.noise": UNEQUAL.tolist(), **changes}
    out = np.array(thermosim.load_case(CASE, changes).settings.model.constants["unembedding"])
    weights = universal_kernel.least_deep_weights(MATRIX, INPUTS, UNEQUAL, [4, 4], EMBEDDING, out)
    start = {f"layer_{k}": w.tolist() for k, w in enumerate(weights, start=1)}
    ds = thermosim.simulate(thermosim.load_case(CASE, changes | {"theta.initial": start}))
    assert not ds["status"].any()
    theta = ds["theta"].isel(step=slice(30, None)).transpose("learning_rate", "step", "replica", "theta_dim").values
    first, second = theta[..., :8].reshape(*theta.shape[:-1], 4, 2), theta[..., 8:24].reshape(*theta.shape[:-1], 4, 4)
    upper = (..., *np.triu_indices(2))
    into, expected = second @ first @ EMBEDDING, weights[1] @ weights[0] @ EMBEDDING
    each, expected = (into.swapaxes(-1, -2) @ into)[upper].mean(1), (expected.T @ expected)[upper]  # (rates, R, 3)
    line = np.linalg.pinv(np.vander(ds["learning_rate"].values, 2))[1]
    mean, error = each.mean(1), each.std(1, ddof=1) / np.sqrt(each.shape[1])
    size = np.linalg.norm(expected)
    return (line @ mean - expected) / size, np.sqrt(line**2 @ error**2) / size


def test_noise_that_does_not_commute_with_the_unembedding_turns_hidden_units():
    """SGD leaves the state of least mean squared gradient by some per cent there, and not where noise commutes."""
    rates = {"sweep": {"theta.learning_rate": {"values": [0.004, 0.007, 0.01]}}, "run.steps": 70_000}
    rates |= {"record.every": 700, "ensemble.replicas": 96}
    off, error = stationary_kernel(rates)
    assert np.all(np.abs(off) < 4.0 * error + 0.005)
    off, error = stationary_kernel(rates | {"model.unembedding": [[1.5, 0.0], [0.0, 0.6]]})
    assert np.abs(off / error).max() > 10.0
    assert np.abs(off).max() > 0.02


def test_equal_noise_commutes_with_every_unembedding():
    changes = {"data.noise": 0.5, "model.unembedding": [[1.0, 0.4], [0.0, 2.0]]}
    ds = thermosim.simulate(thermosim.load_case(CASE, SHORT | changes)).load()
    assert not why_no_universal_kernel(machines(ds))


def test_layers_of_a_sweep_are_compared_pair_by_pair(sweep):
    probes = np.random.default_rng(0).normal(size=(14, 2))
    found = network_alignment(sweep, probes=probes, permutations=20, neighbours=4)
    assert list(found["layer"].values) == [f"learning_rate {rate}, layer_1" for rate in (0.008, 0.014, 0.02)]
    hidden = []
    for k in (0, 2):
        theta = sweep["theta"].isel(learning_rate=k, step=-1).transpose("replica", "theta_dim").values
        hidden.append(probes @ EMBEDDING.T @ theta[:, :8].reshape(-1, 4, 2).swapaxes(1, 2))
    assert np.isclose(found["gram_cosine"][0, 2], gram_cosine(*hidden).mean())
    direct = alignment({"a": hidden[0]}, {"b": hidden[1]}, permutations=20, neighbours=4)
    assert np.isclose(found["unbiased_cka"][0, 2], direct["unbiased_cka"][0, 0])
    exact = universal_kernel.gram(universal_kernel.universal_kernel(MATRIX, INPUTS, NOISE), probes)
    cosines = [universal_kernel.gram_cosine(h @ h.T, exact) for h in hidden[1]]
    assert np.isclose(found["universal_cosine"][2], np.mean(cosines))
    assert np.isclose(found["universal_cosine_error"][2], np.std(cosines, ddof=1) / np.sqrt(128))
    course = alignment_in_time(sweep, probes=probes, frames=[0, 100])
    assert np.allclose(course["gram_cosine"][1], found["gram_cosine"])
    assert np.allclose(course["universal_cosine"][1], found["universal_cosine"])
    assert np.all(course["universal_cosine"][0] < course["universal_cosine"][1] - 0.02)


def test_two_ensembles_whose_inputs_are_other_views():
    """x for one, Z x for the other, from the same weights: the same layers, at probes and their views."""
    probes, view = np.random.default_rng(1).normal(size=(14, 2)), np.array([[0.5, 1.0], [-1.0, 0.3]])
    back = {"model.embedding": (EMBEDDING @ np.linalg.inv(view)).tolist()}
    one, other = (
        thermosim.simulate(thermosim.load_case(CASE, SHORT | change)).isel(learning_rate=0) for change in ({}, back)
    )
    how = {"probes": probes, "frame": 0, "permutations": 5, "neighbours": None}
    assert np.allclose(network_alignment(one, other, other_probes=probes @ view.T, **how)["gram_cosine"], 1.0)
    assert network_alignment(one, other, **how)["gram_cosine"] < 0.99
    crossed = network_alignment(one, other.isel(replica=slice(9)), pairs="different", **how)
    assert (crossed.attrs["replicas"], crossed.attrs["other_replicas"]) == (16, 9)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", "gelu"])
@pytest.mark.parametrize("bias", ["no", "yes"])
def test_activations_of_a_perceptron_give_its_loss(activation, bias):
    from thermosim.kernels.evaluate import Evaluator

    values = {"activation": activation, "loss": "squared", "bias": bias, "widths": [3, 5, 4, 2]}
    evaluator, random = Evaluator(PERCEPTRON, values), np.random.default_rng(2)
    theta, rows = random.normal(size=(6, evaluator.parameters)), random.normal(size=(6, 5))
    loss, _ = evaluator.data_gradient(rows[:, None], theta)
    for k in range(6):
        hidden = PERCEPTRON.activations(theta[k], values, rows[k : k + 1, :3])
        assert [h.shape for h in hidden.values()] == [(1, 5), (1, 4)]
        last = theta[k, -(2 * (4 + (bias == "yes"))) :].reshape(2, -1)
        f = hidden["layer_2"] @ last[:, :4].T + (last[:, 4] if bias == "yes" else 0.0)
        assert np.isclose(loss[k], ((f - rows[k, 3:]) ** 2).sum(), rtol=1e-10)


def test_networks_that_are_not_linear_have_estimators_and_their_null():
    """Two ensembles with other seeds see the same data; independent probes would give the null."""
    first, second = (thermosim.simulate(thermosim.load_case(NET, {"ensemble.seed": s})).load() for s in (5, 6))
    found = network_alignment(first, second, probes=40, pairs="different", neighbours=5, permutations=100)
    for name in ("gram_cosine", "unbiased_cka", "mutual_nearest_neighbours"):
        assert found[name].dims == ("layer", "other_layer")
        assert np.all(found[f"{name}_p_value"] < 0.02)
        assert np.all(found[name] > found[f"{name}_null"] + 5.0 * found[f"{name}_null_deviation"])
    assert np.all(np.abs(found["unbiased_cka_null"]) < 0.1)
    assert np.allclose(found["mutual_nearest_neighbours_null"], 5 / 39, atol=0.03)
    assert "universal_cosine" not in found


def test_probes_of_a_data_set_are_its_first_rows():
    ds = thermosim.simulate(thermosim.load_case(NET, {"data.rows": 20, "run.steps": 4, "data.fresh": False})).load()
    machine = machines(ds)[0]
    np.testing.assert_array_equal(probe_inputs(machine, np.ones((5, 3))), np.ones((5, 3)))
    drawn = probe_inputs(machine, 4000, seed=1)
    assert np.allclose(np.cov(drawn.T), np.eye(3), atol=0.1)
    digits = NET.replace('source = "linear"\nfresh = true\nmatrix = [[1.0, -0.5, 0.3], [0.2, 0.4, -1.0]]', IMAGES)
    digits = thermosim.simulate(thermosim.load_case(digits, {"run.steps": 2, "model.widths": [16, 5, 2]})).load()
    machine = machines(digits)[0]
    np.testing.assert_array_equal(probe_inputs(machine, 7), machine.data.values[:7, :16])
    assert network_alignment(digits, probes=7, permutations=2, neighbours=2)["gram_cosine"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="30 probes are more than the 24 rows"):
        network_alignment(digits, probes=30)


def test_what_cannot_be_compared_is_told(sweep):
    one = sweep.isel(learning_rate=0)
    with pytest.raises(ValueError, match=r"model takes 2 inputs: \(P, 2\)"):
        network_alignment(one, probes=np.zeros((9, 3)))
    with pytest.raises(ValueError, match="3 probes are too few"):
        network_alignment(one, probes=3)
    with pytest.raises(ValueError, match="theta among the recorded"):
        network_alignment(one.drop_vars("theta"))
    flat = thermosim.load_case(CASE, SHORT | {"model.widths": [2, 2]})
    with pytest.raises(ValueError, match="no hidden layer"):
        network_alignment(thermosim.simulate(flat).isel(learning_rate=0))
    other = NET.replace("multilayer-perceptron", "linear-regression").replace("widths = [3, 12, 10, 2]", "inputs = 3")
    other = other.replace('activation = "tanh"', "outputs = 2").replace('initial = "he"\n', "")
    with pytest.raises(ValueError, match="has no activations"):
        network_alignment(thermosim.simulate(thermosim.load_case(other)))
