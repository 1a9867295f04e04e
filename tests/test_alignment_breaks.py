"""What breaks platonic alignment, each by the amount that theory gives, far below the unbroken run."""

import numpy as np
import pytest
from scipy.optimize import minimize

import thermosim
from thermosim.analysis import network_alignment
from thermosim.exact import entropic_forces
from thermosim.exact.universal_kernel import universal_kernel

CASE = "training/alignment_breaks"
# probes of second moment 1: Gram cosines are those of the kernels
PROBES = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 2)))[0] * np.sqrt(32)
V, SX, SE, EMBEDDING = np.array([[0.96, 0.72], [-0.36, 0.48]]), np.eye(2), 0.4 * np.eye(2), [[1.4, -0.6], [0.2, 0.4]]
T = np.diag([0.5, 2.0])


def run(**changes):
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    return thermosim.simulate(thermosim.load_case(CASE, changes)).load()


def cosine(a, b):
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))


def between(one, other=None, place=(0, 1)):
    """Gram cosine of two layers, networks 0 and 1 of a run or network 0 of two runs, and its error."""
    found = network_alignment(one, other, probes=PROBES, permutations=1, neighbours=None)
    return tuple(float(found[name][place]) for name in ("gram_cosine", "gram_cosine_error"))


@pytest.fixture(scope="module")
def unbroken():
    return run()


def broken_by(found, expected, unbroken, off=0.02):
    """Whether a cosine is that of theory but for the finite step, and below the unbroken one by many errors."""
    (value, error), (whole, of_whole) = found, between(unbroken)
    assert whole > 0.985
    assert abs(value - expected) < off, (value, expected)
    return whole - value > 15.0 * np.hypot(error, of_whole) and whole - value > 3.0 * off


def decayed_kernel(embedding, decay):
    """W1'W1 in the inputs at the least entropic loss with weight decay, by BFGS: it is off the manifold too."""
    matrix, inputs = V @ np.linalg.inv(embedding), embedding @ SX @ embedding.T
    how = {"learning_rate": 0.01, "decay": 0.5 * decay}

    def loss(flat):
        weights = flat[:8].reshape(4, 2), flat[8:].reshape(2, 4)
        return entropic_forces.entropic_loss(*weights, matrix, inputs, SE, **how)

    start = np.concatenate([w.ravel() for w in entropic_forces.entropic_weights(matrix, inputs, SE, 4, **how)])
    into = minimize(loss, start, tol=1e-10).x[:8].reshape(4, 2) @ embedding
    return into.T @ into


def test_nothing_is_broken_at_first(unbroken):
    found = network_alignment(unbroken, probes=PROBES, permutations=50, neighbours=None)
    assert np.all(found["universal_cosine"] > 0.99)
    assert np.all(found["gram_cosine_p_value"] < 0.03)
    start = network_alignment(unbroken, probes=PROBES, permutations=1, neighbours=None, frame=0)
    assert start["gram_cosine"][0, 1] < 0.8


def test_weight_decay(unbroken):
    expected = cosine(decayed_kernel(np.eye(2), 0.05), decayed_kernel(np.array(EMBEDDING), 0.05))
    assert cosine(decayed_kernel(np.eye(2), 0.0), decayed_kernel(np.array(EMBEDDING), 0.0)) > 1.0 - 1e-6
    assert broken_by(between(run(theta__weight_decay=0.05)), expected, unbroken)


def test_labels_that_are_transformed_and_not_turned(unbroken):
    expected = cosine(universal_kernel(V, SX, SE), universal_kernel(T @ V, SX, T @ SE @ T.T))
    changed = run(data__matrix=(T @ V).tolist(), data__noise=np.diag(T @ SE @ T.T).tolist(), ensemble__seed=4)
    assert broken_by(between(unbroken, changed, (0, 0)), expected, unbroken)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    whole, _ = between(unbroken, run(data__matrix=(turn @ V).tolist(), ensemble__seed=4), (0, 0))
    assert whole > 0.985


def test_inputs_of_another_law(unbroken):
    expected = cosine(universal_kernel(V, SX, SE), universal_kernel(V, np.diag([0.1, 2.0]), SE))
    changed = run(data__covariance=[0.1, 2.0], ensemble__seed=4)
    assert broken_by(between(unbroken, changed, (0, 0)), expected, unbroken)


def test_a_saddle(unbroken):
    start = {"layer_1": [[0.9, 0.3], [0, 0], [0, 0], [0, 0]], "layer_2": [[0.7, 0, 0, 0], [-0.2, 0, 0, 0]]}
    changed = run(theta__initial=start, ensemble__seed=4)
    left = network_alignment(changed, probes=PROBES, permutations=1, neighbours=None)["universal_cosine"]
    direction = np.linalg.svd(V)[2][0]
    expected = cosine(universal_kernel(V, SX, SE), np.outer(direction, direction))
    assert broken_by(between(unbroken, changed, (0, 0)), expected, unbroken)
    assert np.all(np.abs(left - expected) < 0.01)


def test_gradient_flow_has_no_entropic_force(unbroken):
    changed = run(data__fresh=False, data__rows=64, theta__batch="all", run__steps=5_000)
    value, error = between(changed)
    whole, _ = between(unbroken)
    assert whole - value > 8.0 * error > 0.08
    # what the force would move stays: |W_2|^2 - |W_1|^2 of each replica, here and in the unbroken run
    moved = []
    for ds in (changed, unbroken):
        theta = ds["theta"].isel(embedding=0).transpose("step", "replica", "theta_dim").values
        charge = (theta[..., 8:] ** 2).sum(-1) - (theta[..., :8] ** 2).sum(-1)
        moved.append(np.abs(charge[-1] - charge[0]).mean())
    assert moved[0] < 0.05 * moved[1]


def test_a_finite_step(unbroken):
    fast = run(theta__learning_rate=0.03)
    (whole, _), (value, error) = between(unbroken), between(fast)
    assert whole - value > 4.0 * error
    assert 2.0 < (1.0 - value) / (1.0 - whole) < 5.0
