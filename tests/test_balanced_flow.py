"""Kernels that gradient flow leaves: closed forms against flows of plain numpy and of the engine; what is not fixed."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import thermosim
from thermosim.analysis import network_alignment
from thermosim.analysis.machine import machines
from thermosim.exact.balanced_flow import balanced_kernel, charged_kernels, same_charge
from thermosim.exact.universal_kernel import gram_cosine
from thermosim.models.deep_linear import layers

INPUTS = np.array([[1.0, 0.4, 0.0], [0.4, 0.7, -0.2], [0.0, -0.2, 0.3]])
MATRIX = np.array([[0.9, -0.5, 0.2], [0.3, 0.7, -0.4]])


def root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values)) @ vectors.T


def flow(first, second, matrix, time=400.0):
    """W_1 and W_2 after d W_i/dt = -dl/dW_i, l = Tr[(W_2 W_1 - V) Sx (W_2 W_1 - V)'], by DOP853."""
    size = first.size

    def slope(_, flat):
        one, two = flat[:size].reshape(first.shape), flat[size:].reshape(second.shape)
        off = 2.0 * (two @ one - matrix) @ INPUTS
        return -np.concatenate([(two.T @ off).ravel(), (off @ one.T).ravel()])

    start = np.concatenate([first.ravel(), second.ravel()])
    flat = solve_ivp(slope, (0.0, time), start, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    return flat[:size].reshape(first.shape), flat[size:].reshape(second.shape)


@pytest.mark.parametrize(("charge", "width"), [(0.8, 2), (-0.6, 2), (0.8, 3), (0.0, 3)])
def test_kernels_of_a_charge_are_those_of_the_flow(charge, width):
    """Two layers of other shapes; charges of the wrong sign, or none, are off by far."""
    random = np.random.default_rng(3)
    second = 0.7 * random.normal(size=(2, width))
    if charge < 0.0:
        first = 0.7 * random.normal(size=(width, 3))
        left = np.linalg.qr(random.normal(size=(2, width)))[0]
        second = left @ root(first @ first.T - charge * np.eye(width))
    else:
        u, s, _ = np.linalg.svd(second.T @ second + charge * np.eye(width))
        first = (u * np.sqrt(s)) @ np.linalg.qr(random.normal(size=(3, 3)))[0][:width]
    assert np.allclose(first @ first.T - second.T @ second, charge * np.eye(width))
    first, second = flow(first, second, MATRIX)
    assert np.allclose(second @ first, MATRIX, atol=1e-7)
    into, out = charged_kernels(MATRIX, charge, width)
    assert np.allclose(first.T @ first, into, atol=1e-6)
    assert np.allclose(second @ second.T, out, atol=1e-6)
    if charge and width == 2:
        for wrong in (-charge, 0.0, 2.0 * charge):
            assert np.abs(charged_kernels(MATRIX, wrong, width)[0] - into).max() > 0.1


def test_other_charges_do_not_fix_the_kernel():
    """Weights of the same M and Q whose kernels differ: the charges of a flow do not say where it ends."""
    random = np.random.default_rng(0)
    first, second = random.normal(size=(3, 4)), random.normal(size=(5, 3))
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    one, two = same_charge(first, second, rotation)
    assert np.allclose(two @ one, second @ first, atol=1e-11)
    assert np.allclose(one @ one.T - two.T @ two, first @ first.T - second.T @ second, atol=1e-11)
    assert np.abs(one.T @ one - first.T @ first).max() > 0.5


def test_charges_that_fix_nothing_are_refused():
    with pytest.raises(ValueError, match="width 1 cannot make a matrix of rank 2"):
        charged_kernels(MATRIX, 0.5, 1)
    with pytest.raises(ValueError, match="no layers have it"):
        charged_kernels(MATRIX, 0.5, 4)
    with pytest.raises(ValueError, match="many have it between"):
        charged_kernels(MATRIX[:1], 0.5, 2)


CASE = """
[model]
name = "deep-linear"
widths = [2, 4, 3, 2]
embedding = [[1.4, -0.6], [0.2, 0.4]]
unembedding = [[1.0, 0.4], [-0.3, 0.9]]
[theta]
dynamics = "gradient-flow"
learning_rate = 0.01
initial = "balanced"
[data]
source = "linear"
rows = 24
matrix = [[0.96, 0.72], [-0.36, 0.48]]
covariance = [[1.0, 0.3], [0.3, 0.6]]
noise = 0.2
[ensemble]
replicas = 8
seed = 3
[run]
steps = 8000
[record]
every = 200
variables = ["theta"]
"""


def kernels(machine, frame):
    """Of both hidden layers, and M = W_3 W_2 W_1: (R, 2, 2) each."""
    one, two, three = layers(machine.theta(frame), machine.constants)
    into = np.array(machine.constants["embedding"])
    hidden = [one @ into, two @ one @ into]
    return [h.swapaxes(1, 2) @ h for h in hidden], three @ two @ one


def test_balanced_layers_have_one_kernel_at_every_moment_and_end_where_theory_says():
    ds = thermosim.simulate(thermosim.load_case(CASE)).load()
    machine = machines(ds)[0]
    into, out = (np.array(machine.constants[name]) for name in ("embedding", "unembedding"))
    for frame in (0, 3, 10, -1):
        found, matrix = kernels(machine, frame)
        for k, kernel in enumerate(found, start=1):
            exact = into.T @ balanced_kernel(matrix, k, 3) @ into
            assert np.abs(kernel - exact).max() < 1e-5 * np.abs(exact).max()
            other = into.T @ balanced_kernel(matrix, 3 - k, 3) @ into  # that of the other layer; at first they are one
            assert frame == 0 or np.abs(kernel - other).max() > 0.05
    x, y = machine.data.values[:, :2], machine.data.values[:, 2:]
    fitted = np.linalg.inv(out) @ np.linalg.lstsq(x, y)[0].T @ np.linalg.inv(into)
    right = np.linalg.det(kernels(machine, 0)[1]) * np.linalg.det(fitted) > 0.0
    assert 0 < right.sum() < 8
    found, matrix = kernels(machine, -1)
    assert np.allclose(matrix[right], fitted, atol=1e-5)
    off = np.abs(kernels(machine, 20)[1] - fitted).max((1, 2))  # the determinant keeps its sign: a saddle
    assert off[~right].min() > 0.1 > 10.0 * off[right].max()
    for k, kernel in enumerate(found, start=1):
        assert np.allclose(kernel[right], into.T @ balanced_kernel(fitted, k, 3) @ into, atol=1e-4)


def test_alignment_stops_at_the_value_of_balanced_layers():
    """Two embeddings, the case of what breaks alignment: the Gram cosine is that of theory, not 1 as with noise."""
    flow_of = {"theta.dynamics": "gradient-flow", "theta.batch": "all", "theta.initial": "balanced"}
    flow_of |= {"theta.learning_rate": 0.03, "data.fresh": False, "data.rows": 64, "run.steps": 1500}
    flow_of |= {"record.every": 1500, "ensemble.replicas": 32, "record.variables": ["theta"]}
    ds = thermosim.simulate(thermosim.load_case("training/alignment_breaks", flow_of)).load()
    exact, right = [], np.ones(32, bool)
    for machine in machines(ds):
        rows, into = machine.data.values, np.array(machine.constants["embedding"])
        fitted = np.linalg.lstsq(rows[:, :2], rows[:, 2:])[0].T @ np.linalg.inv(into)
        exact.append(into.T @ balanced_kernel(fitted, 1, 2) @ into)
        one, two = layers(machine.theta(0), machine.constants)
        right &= np.linalg.det(two @ one) * np.linalg.det(fitted) > 0.0
    probes = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 2)))[0] * np.sqrt(32)
    some = ds.isel(replica=np.flatnonzero(right))
    assert 3 < right.sum() < 20
    found = network_alignment(some, probes=probes, permutations=1, neighbours=None)["gram_cosine"][0, 1]
    assert found == pytest.approx(gram_cosine(*exact), abs=1e-5)
    assert 0.85 < found < 0.86  # as the case says
