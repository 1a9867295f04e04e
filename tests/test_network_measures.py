"""What is measured of networks at frames against theory: closed forms, all choices written out, finite differences."""

import itertools

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within, mean_and_error
from thermosim.case.faults import CaseError
from thermosim.kernels.noise import uniform_array
from thermosim.models import MODELS
from thermosim.models.multilayer_perceptron import MODEL
from thermosim.streams import DIRECTIONS, MEASURE, MINIBATCH

pytest.importorskip("jax")

ROWS, BATCH, BATCHES, SEED = 12, 2, 5, 11
WEIGHTS = np.array([[0.5, -1.0, 0.25], [1.0, 0.75, -0.5]])
NUMBERS = np.random.default_rng(5).normal(size=(ROWS, 5)) * [1.0, 2.0, 0.5, 1.0, 3.0] + [0.5, 0.0, 1.0, 0.0, 0.0]
NOISE = ["gradient_noise_trace", "mean_gradient_square", "gradient_noise_square", "gradient_noise_dimension"]
NOISE += ["gradient_noise_spectrum", "layer_gradient_noise_trace", "noise_projections"]
CURVATURE = ["sharpness", "sharpness_residual", "hessian_spectrum", "hessian_spectrum_residual", "batch_sharpness"]


def case_of(folder, replicas, variables, rate=1e-6, more=""):
    """A linear network of one layer on 12 rows, all replicas at the same weights at step 0."""
    rows = "".join(",".join(map(repr, map(float, row))) + "\n" for row in NUMBERS)
    (folder / "rows.csv").write_text(rows)
    (folder / "case.toml").write_text(f"""
[model]
name = "multilayer-perceptron"
widths = [3, 2]
activation = "linear"
[theta]
dynamics = "sgd"
learning_rate = {rate}
batch = {BATCH}
initial = {{ layer_1 = {WEIGHTS.tolist()} }}
[engine]
name = "networks"
precision = "float64"
tile_width = 64
[data]
file = "rows.csv"
[ensemble]
replicas = {replicas}
seed = {SEED}
[run]
steps = 2
[measure]
batches = {BATCHES}
eigenvalues = 6
components = [0, -1]
[record]
every = 1
variables = {variables!r}
{more}
""")
    return folder / "case.toml"


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression")
    names = [*NOISE, *CURVATURE, "full_loss", "gradient_square", "components", "projections", "layer_rotation", "theta"]
    case = thermosim.load_case(case_of(folder, 1024, names))
    return thermosim.simulate(case)


def row_gradients():
    """2 (W x - y) x' of every row, (N, 6)."""
    x, y = NUMBERS[:, :3], NUMBERS[:, 3:]
    return (2.0 * (x @ WEIGHTS.T - y)[:, :, None] * x[:, None, :]).reshape(ROWS, 6)


def covariance():
    """Of the gradient of a minibatch whose rows are drawn with replacement."""
    gradients = row_gradients()
    centred = gradients - gradients.mean(0)
    return centred.T @ centred / ROWS / BATCH


def minibatches(replicas, step=0):
    """Gradients (R, K, 6) of the minibatches that measures see, by the addresses of their rows."""
    address = step * 2**16 + np.arange(BATCHES)
    rows = np.stack([drawn(MEASURE, int(one), replicas) for one in address])
    return row_gradients()[rows].mean(axis=1).transpose(1, 0, 2)


def drawn(stream, step, replicas):
    """Numbers of rows (B, R)."""
    return np.floor((1.0 - uniform_array(SEED, stream, step, 0, (BATCH, replicas))) * ROWS).astype(int)


def at_start(ds, name):
    return ds[name].isel(step=0).transpose("replica", ...).values


def test_noise_is_without_bias(regression):
    """Closed forms of a linear network; the plain estimates from 5 minibatches would be far off."""
    sigma = covariance()
    trace, square = np.trace(sigma), np.trace(sigma @ sigma)
    mean = float((row_gradients().mean(0) ** 2).sum())
    seen = minibatches(1024)
    centred = seen - seen.mean(1, keepdims=True)
    gram = centred @ centred.transpose(0, 2, 1)
    naive = {
        "gradient_noise_trace": -trace / BATCHES,  # over K in place of K - 1
        "mean_gradient_square": trace / BATCHES,
        "gradient_noise_square": float((gram**2).sum((1, 2)).mean()) / (BATCHES - 1) ** 2 - square,
    }
    for (name, mistake), exact in zip(naive.items(), (trace, mean, square), strict=True):
        value, error = mean_and_error(at_start(regression, name))
        assert_within(value, error, exact, catches=f"a biased {name}", mistake=mistake)


def test_noise_of_one_replica_is_that_of_its_minibatches(regression):
    """Every number anew from the rows of the minibatches, found by their addresses; all choices of four written out."""
    seen = minibatches(4)
    for replica, gradients in enumerate(seen):
        centred = gradients - gradients.mean(0)
        gram = centred @ centred.T
        assert np.isclose(at_start(regression, "gradient_noise_trace")[replica], np.trace(gram) / (BATCHES - 1))
        layers = at_start(regression, "layer_gradient_noise_trace")[replica]
        assert np.allclose(layers, [np.trace(gram) / (BATCHES - 1)])
        spectrum = np.sort(np.linalg.eigvalsh(gram))[::-1][: BATCHES - 1] / (BATCHES - 1)
        assert np.allclose(at_start(regression, "gradient_noise_spectrum")[replica], spectrum)
        squares, traces = [], []
        for a, b, c, d in itertools.permutations(gradients, 4):
            squares.append(((a - b) @ (c - d)) ** 2 / 4.0)
            traces.append(((a - b) @ (a - b)) * ((c - d) @ (c - d)) / 4.0)
        assert np.isclose(at_start(regression, "gradient_noise_square")[replica], np.mean(squares))
        ratio = np.mean(traces) / np.mean(squares)
        assert np.isclose(at_start(regression, "gradient_noise_dimension")[replica], max(ratio, 0.0))


def test_minibatches_of_another_frame_are_others(regression):
    trace = regression["gradient_noise_trace"].transpose("step", "replica").values
    assert len(np.unique(trace)) == trace.size


def test_the_hessian_of_a_linear_network_is_exact(regression):
    """H = 2 <x x'> for each of two outputs: every eigenvalue twice, which a start alone would see once."""
    x = NUMBERS[:, :3]
    exact = np.repeat(2.0 * np.linalg.eigvalsh(x.T @ x / ROWS)[::-1], 2)
    assert np.allclose(at_start(regression, "hessian_spectrum"), exact, rtol=1e-10)
    assert np.allclose(at_start(regression, "sharpness"), exact[0], rtol=1e-12)
    assert at_start(regression, "sharpness_residual").max() < 1e-11
    assert at_start(regression, "hessian_spectrum_residual").max() < 1e-11


def test_batch_sharpness_is_the_mean_over_all_minibatches(regression):
    """g'H g/|g|^2, both of the same two rows, of all 144 pairs of rows."""
    gradients, x = row_gradients(), NUMBERS[:, :3]
    ratios, apart = [], []
    whole = 2.0 * x.T @ x / ROWS
    for pair in itertools.product(range(ROWS), repeat=2):
        g = gradients[list(pair)].mean(0).reshape(2, 3)
        own = 2.0 * x[list(pair)].T @ x[list(pair)] / BATCH
        ratios.append(np.einsum("oi,ij,oj->", g, own, g) / (g**2).sum())
        apart.append(np.einsum("oi,ij,oj->", g, whole, g) / (g**2).sum())
    value, error = mean_and_error(at_start(regression, "batch_sharpness"))
    mistake = np.mean(ratios) - np.mean(apart)
    assert_within(value, error, np.mean(ratios), catches="the Hessian of all rows", mistake=mistake)


def test_projections_are_along_signs_by_address(regression):
    """The noise is that of the minibatch of the next step, and theta goes along the same directions at every frame."""
    words = np.array([uniform_array(SEED, MEASURE, DIRECTIONS + k, 0, (6, 1))[:, 0] for k in range(4)])
    directions = np.where(words <= 0.5, -1.0, 1.0) / np.sqrt(6.0)
    assert len(np.unique(np.abs(directions @ directions.T).round(12))) > 1  # four different ones
    along = regression["projections"].transpose("step", "replica", ...).values
    theta = regression["theta"].transpose("step", "replica", ...).values
    assert np.allclose(along, theta @ directions.T, atol=1e-14)
    assert np.array_equal(regression["components"].transpose("step", "replica", ...).values, theta[..., [0, -1]])
    for step in (0, 1):
        other = row_gradients()[drawn(MEASURE, step * 2**16, 8)].mean(0)
        following = row_gradients()[drawn(MINIBATCH, step + 1, 8)].mean(0)
        eta = (following - other) @ directions.T / np.sqrt(2.0)
        found = regression["noise_projections"].isel(step=step, replica=slice(8)).transpose("replica", ...)
        assert np.allclose(found, eta, rtol=1e-3)  # theta moves by 1e-6 of a gradient


def test_noise_moves_theta(regression):
    """E|g|^2 of the next step, which the ledger books, is |E g|^2 + Tr Sigma, and rotations are those of theta."""
    booked = regression["gradient_square"].diff("step").isel(step=0).values
    seen = at_start(regression, "gradient_noise_trace") + at_start(regression, "mean_gradient_square")
    value, error = mean_and_error(booked - seen)
    assert_within(value, error, 0.0, catches="noise of another size of minibatch", mistake=np.trace(covariance()) / 2)
    before, after = regression["theta"].transpose("step", "replica", ...).values[:2]
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    crossed = before[:, :, None] * after[:, None, :] - before[:, None, :] * after[:, :, None]
    sine = np.sqrt((crossed**2).sum((1, 2)) / 2.0)
    turned = regression["layer_rotation"].isel(step=1, layer=0).values
    assert np.allclose(turned, 2.0 * np.sin(0.5 * np.arcsin(sine / lengths)) ** 2, rtol=1e-6)
    assert turned.max() < 1e-8


NETWORK = """
[model]
name = "multilayer-perceptron"
widths = [2, 3, 3]
activation = "tanh"
loss = "cross-entropy"
bias = "yes"
[theta]
dynamics = "sgd"
learning_rate = 0.5
batch = "all"
initial = "lecun"
[engine]
name = "networks"
precision = "float64"
[data]
file = "classes.csv"
[ensemble]
replicas = 3
seed = 2
[run]
steps = 4
[measure]
probes = 4
layers = ["layer_1"]
eigenvalues = 21
[record]
every = 1
variables = ["theta", "full_loss", "accuracy", "batch_sharpness"]
[record.kernel]
every = 2
first = 2
[record.hessian_spectrum]
every = 4
[sweep]
"theta.learning_rate" = { values = [0.5, 1e200] }
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network whose steps take all rows; at the second learning rate theta diverges in the same tile."""
    folder = tmp_path_factory.mktemp("network")
    x = np.random.default_rng(3).normal(size=(10, 2))
    rows = np.column_stack([x, np.arange(10) % 3])
    (folder / "classes.csv").write_text("".join(f"{a!r},{b!r},{int(c)}\n" for a, b, c in rows.tolist()))
    (folder / "case.toml").write_text(NETWORK)
    return rows, folder / "case.toml", thermosim.simulate(thermosim.load_case(folder / "case.toml"))


def loss_of(theta, rows):
    constants = {"widths": [2, 3, 3], "activation": "tanh", "bias": "yes", "loss": "cross-entropy"}
    f = MODEL.outputs(theta, constants, rows[:, :2])
    return float((np.log(np.exp(f).sum(-1)) - f[np.arange(len(rows)), rows[:, 2].astype(int)]).mean())


def test_a_network_against_finite_differences(network):
    """Hessian, curvature along the gradient, loss, accuracy and kernel of a plain numpy network."""
    rows, _, ds = network
    one = ds.isel(learning_rate=0)
    theta = one["theta"].transpose("step", "replica", ...).values
    h, m = 1e-4, theta.shape[-1]
    unit = h * np.eye(m)
    for replica in range(2):
        at = theta[4, replica]
        centre = loss_of(at, rows)
        up, down = (np.array([loss_of(at + sign * unit[i], rows) for i in range(m)]) for sign in (1.0, -1.0))
        hessian = np.diag((up + down - 2.0 * centre) / h**2)
        for i, j in itertools.combinations(range(m), 2):
            both = [loss_of(at + a * unit[i] + b * unit[j], rows) for a, b in ((1, 1), (-1, -1), (1, -1), (-1, 1))]
            hessian[i, j] = hessian[j, i] = (both[0] + both[1] - both[2] - both[3]) / (4.0 * h**2)
        exact = np.linalg.eigvalsh(hessian)[::-1]
        found = one["hessian_spectrum"].isel(hessian_spectrum_step=-1, replica=replica)
        assert np.allclose(found, exact, atol=1e-6)
        gradient = (up - down) / (2.0 * h)
        along = one["batch_sharpness"].isel(step=4, replica=replica)
        assert np.isclose(along, gradient @ hessian @ gradient / (gradient @ gradient), atol=1e-5)
        assert np.isclose(one["full_loss"].isel(step=4, replica=replica), centre, rtol=1e-12)


def test_kernels_and_cadences(network):
    """Probes are rows spread evenly over the data; what is measured at its own steps is there at these."""
    rows, _, ds = network
    one = ds.isel(learning_rate=0)
    assert ds["kernel_step"].values.tolist() == [2, 4]
    assert ds["hessian_spectrum_step"].values.tolist() == [0, 4]
    constants = {"widths": [2, 3, 3], "activation": "tanh", "bias": "yes", "loss": "cross-entropy"}
    theta = one["theta"].transpose("step", "replica", ...).values[[2, 4]]
    hidden = MODEL.activations(theta, constants, rows[[0, 2, 5, 7], :2])["layer_1"]
    exact = (hidden @ hidden.swapaxes(-1, -2))[..., *np.triu_indices(4)]
    assert np.allclose(one["kernel"].transpose("kernel_step", "replica", ...), exact, rtol=1e-12)
    right = MODEL.outputs(theta, constants, rows[:, :2]).argmax(-1) == rows[:, 2]
    assert np.allclose(one["accuracy"].sel(step=[2, 4]).transpose("step", "replica"), right.mean(-1), rtol=1e-6)


def test_a_replica_that_diverged_spoils_no_other(network):
    _, path, ds = network
    assert (ds["status"].transpose("learning_rate", "replica").values != 0).tolist() == [[False] * 3, [True] * 3]
    alone = thermosim.simulate(thermosim.load_case(path, {"sweep": {}}))
    for name in ("theta", "full_loss", "batch_sharpness", "kernel", "hessian_spectrum"):
        assert np.array_equal(ds[name].isel(learning_rate=0).transpose(*alone[name].dims), alone[name]), name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"record.variables": ["gradient_noise_trace"]}, "every step takes all rows"),
        ({"record.variables": ["test_loss"]}, "no data.test is kept from learning"),
        ({"record.variables": ["components"]}, "measure.components names the components, and it is empty"),
        ({"measure.components": [21]}, "theta has 21 components; name some from -21 to 20"),
        ({"measure.layers": ["layer_2"]}, "measure.layers = \\['layer_2'\\]: .* 'multilayer-perceptron' has layer_1"),
        ({"measure.probes": 11}, "measure: 11 rows of data are asked for"),
        ({"measure.eigenvalues": 22}, "measure.eigenvalues = 22: 21 numbers of theta learn"),
    ],
)
def test_refusals(network, changes, said):
    _, path, _ = network
    with pytest.raises(CaseError, match=said):
        thermosim.simulate(thermosim.load_case(path, {"sweep": {}, **changes}))


def test_a_network_that_normalises_sees_minibatches():
    """Its loss is that of parts as large as a minibatch, rows beyond them left out: 2 parts of 4 of 10 rows."""
    from types import SimpleNamespace

    import jax
    import jax.numpy as jnp

    from thermosim.engines.networks.probe import Probe
    from thermosim.network import Network

    x = np.random.default_rng(7).normal(size=(10, 3))
    block = SimpleNamespace(batch=4, data_rows=10)
    data = {"x": jnp.asarray(x, jnp.float32), "y": jnp.zeros((10, 0))}

    def variance(theta, x, y):
        return x.var(axis=0).sum()

    for by_row, parts in ((False, (slice(0, 4), slice(4, 8))), (True, (slice(0, 10),))):
        probe = Probe(block, Network(variance, by_row=by_row), {}, data, 0)
        with jax.enable_x64(True):
            found = float(probe.over_rows(lambda x, y, probe=probe: probe.loss({}, x, y)))
        assert np.isclose(found, np.mean([x[part].var(axis=0).sum() for part in parts]), rtol=1e-6)


def test_recorded_kernels_align_as_activations_do(network):
    """The same estimates from kernels in the file as from theta at the same rows, replica with replica of another."""
    rows, _, ds = network
    one = ds.isel(learning_rate=[0])
    how = {"pairs": "different", "neighbours": 2, "permutations": 5}
    from_theta = thermosim.analysis.network_alignment(one, one, probes=rows[[0, 2, 5, 7], :2], **how)
    from_kernels = thermosim.analysis.kernel_alignment(one, one, **how)
    for name in ("gram_cosine", "unbiased_cka", "mutual_nearest_neighbours"):
        assert np.allclose(from_theta[name].values, from_kernels[name].values, rtol=1e-6), name
    assert from_kernels["gram_cosine"].sizes == {"layer": 1, "other_layer": 1}


def test_layers_are_measured_in_the_order_of_the_model():
    """Of a model whose order is not the alphabet's: in a layer noise is less than the squared gradient of one row."""
    case = {
        "model": {"name": "made", "dimension": 4, "hidden": [6]},
        "theta": {"dynamics": "sgd", "learning_rate": 1e-6, "batch": 1},
        "data": {"source": "digits", "shrink": 4, "encoding": "binary", "rows": 40},
        "ensemble": {"replicas": 64},
        "run": {"steps": 8},
        "record": {"first": 8, "every": 1, "variables": ["layer_gradient_square", "layer_gradient_noise_trace"]},
        "engine": {"tile_width": 64, "precision": "float64"},
    }
    ds = thermosim.simulate(thermosim.load_case(case)).isel(step=-1)
    names = [group.name for group in MODELS["made"].groups({"dimension": 4, "hidden": [6]})]
    assert names != sorted(names)
    squares = (ds["layer_gradient_square"] / 8).mean("replica").values
    noise = ds["layer_gradient_noise_trace"].mean("replica").values
    assert (noise < 1.2 * squares).all()
    assert (noise[[2, 0, 3, 1]] > 1.2 * squares).any()  # another order would be seen
    assert (noise[[1, 3, 0, 2]] > 1.2 * squares).any()
