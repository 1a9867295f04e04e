"""The variational autoencoder: its loss and its law against plain numpy, its samples, and the noise of its steps."""

import numpy as np
import pytest
from scipy import stats

import thermosim
from thermosim.analysis import machines
from thermosim.analysis.gradient_noise import minibatch
from thermosim.kernels.evaluate_network import evaluator_of
from thermosim.models.latent_rules import layer_shapes
from thermosim.models.vae import MODEL
from thermosim.streams import DATA, ROW_NOISE

pytest.importorskip("jax")

N = 4
CONSTANTS = {"dimension": N, "latent": 1, "nodes": 64, "activation": "tanh", "hidden": [5]}
POINTS, _ = MODEL.support(CONSTANTS)


@pytest.fixture(scope="module")
def machine():
    return evaluator_of(MODEL, CONSTANTS)


@pytest.fixture(scope="module")
def theta(machine):
    return np.random.default_rng(5).normal(size=(2, machine.parameters))


def parts(theta, constants=CONSTANTS):
    """Matrices of encoder and decoder."""
    found, first = [], 0
    for part in ("encoder", "decoder"):
        matrices = []
        for shape in layer_shapes(constants, part):
            matrices.append(theta[first : first + shape[0] * shape[1]].reshape(shape))
            first += shape[0] * shape[1]
        found.append(matrices)
    assert first == len(theta)
    return found


def through(matrices, h):
    for number, w in enumerate(matrices, start=1):
        h = h @ w[:, :-1].T + w[:, -1]
        h = np.tanh(h) if number < len(matrices) else h
    return h


def likelihood(decoder, x, z):
    chance = 1.0 / (1.0 + np.exp(-through(decoder, z)))
    return np.log(np.where(x == 1.0, chance, 1.0 - chance)).sum(axis=-1)


def loss_of_rows(theta, x, noise):
    encoder, decoder = parts(theta)
    mean, logarithm = np.split(through(encoder, x), 2, axis=-1)
    z = mean + np.exp(0.5 * logarithm) * noise
    normal = stats.norm(mean, np.exp(0.5 * logarithm))
    divergence = -normal.entropy() + 0.5 * (mean**2 + np.exp(logarithm) + np.log(2.0 * np.pi))  # of q from N(0, 1)
    return divergence.sum(axis=-1) - likelihood(decoder, x, z)


def test_ln_p_is_its_integral_and_the_law_is_normalised(machine, theta):
    z = np.linspace(-9.0, 9.0, 20001)
    phi = machine.surprisals(POINTS, theta)
    for one, row in zip(theta, phi, strict=True):
        decoder = parts(one)[1]
        for x, value in zip(POINTS[::5], row[::5], strict=True):
            density = np.exp(likelihood(decoder, x, z[:, None])) * stats.norm.pdf(z)
            assert value == pytest.approx(-np.log(np.trapezoid(density, z)), abs=1e-6)
    np.testing.assert_allclose(np.exp(-phi).sum(axis=1), 1.0, rtol=1e-12)


def test_a_loss_without_noise_is_its_average_and_bounds_the_surprisal(machine, theta):
    loss = machine.data_gradient(POINTS, theta[:1])[0][0]
    for nodes, tolerance in ((16, 1e-11), (60, 1e-4)):  # its own rule, and one that is exact: it lacks some 1e-5 nat
        noise, weight = np.polynomial.hermite_e.hermegauss(nodes)
        expected = weight @ np.array([loss_of_rows(theta[0], POINTS, e) for e in noise]) / weight.sum()
        assert loss == pytest.approx(expected.mean(), abs=tolerance)
    assert (expected > machine.surprisals(POINTS, theta[:1])[0]).all()


def test_samples_have_the_law(machine, theta):
    x = machine.draws(theta[:1], 4000, 7, DATA, 3)[0]
    expected = 4000 * np.exp(-machine.surprisals(POINTS, theta[:1])[0])
    seen = np.bincount((x @ (1 << np.arange(N))).astype(int), minlength=len(POINTS))
    rare = expected < 5.0
    seen, expected = (np.append(v[~rare], v[rare].sum()) for v in (seen, expected))
    assert stats.chi2.sf(((seen - expected) ** 2 / np.maximum(expected, 1.0)).sum(), len(seen) - 1) > 1e-4


CASE = """
title = "a vae"
[model]
name = "vae"
dimension = 4
nodes = 64
hidden = [5]
[theta]
dynamics = "sgd"
learning_rate = 0.1
batch = 3
[data]
source = "teacher"
rows = 32
test = 20
[data.teacher]
decoder_2 = 0.7
decoder_1 = 1.0
[ensemble]
replicas = 3
seed = 5
[engine]
precision = "float64"
[run]
steps = 2
[record]
every = 1
variables = ["theta", "minibatch_loss", "full_loss", "data_surprisal", "test_loss", "test_surprisal"]
"""


def test_steps_take_noise_at_its_addresses(tmp_path):
    from thermosim.engines.networks.normals import normals_of_steps

    path = tmp_path / "case.toml"
    path.write_text(CASE)
    ds = thermosim.simulate(thermosim.load_case(path))
    (one,) = machines(ds)
    noise = normals_of_steps(5, ROW_NOISE, np.array([1, 2]), 0, 3, 3)
    for step in (1, 2):
        rows = minibatch(one, step)
        for replica in range(3):
            expected = loss_of_rows(one.theta(step - 1)[replica], rows[replica], noise[step - 1, replica][:, None])
            assert float(ds.minibatch_loss[step, replica]) == pytest.approx(expected.mean(), rel=1e-10)
    assert (ds.full_loss > ds.data_surprisal).all()
    rows = one.data.of_set(0)
    np.testing.assert_allclose(
        ds.data_surprisal[2], one.evaluator.surprisals(rows, one.theta(2)).mean(axis=1), rtol=1e-9
    )
    test = one.test_rows
    assert test.shape == (20, 4)
    assert np.abs(test[None] - rows[:20]).max() == 1.0  # other draws of the same law
    expected = one.evaluator.surprisals(test, one.theta(2)).mean(axis=1)
    np.testing.assert_allclose(ds.test_surprisal[2], expected, rtol=1e-9)
    np.testing.assert_allclose(ds.test_loss[2], one.evaluator.data_gradient(test, one.theta(2))[0], rtol=1e-9)


def test_larger_latents_have_no_surprisal_to_record(tmp_path):
    path = tmp_path / "case.toml"
    path.write_text(CASE)
    with pytest.raises(thermosim.CaseError, match="3 dimensions is known between bounds only"):
        thermosim.load_case(path, {"model.latent": 3})
