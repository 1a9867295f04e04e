"""Products for several rows at a time: the numbers of einsum, and the bits of one product after another.

A sum in another order, or a row in another place, differs in its bits; a transpose or a factor in its first digits.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from thermosim.kernels import apply, types
from thermosim.kernels.compile import compiled
from thermosim.kernels.dense import for_rows, rows_at_once
from thermosim.kernels.elementary import fma
from thermosim.kernels.evaluate import energy_bindings
from thermosim.kernels.lanes import dot
from thermosim.kernels.minibatch import from_data
from thermosim.models import model_of
from thermosim.models.networks import dense, fixed, gelu, network, normalised, relu, residual, squared_error, tanh
from thermosim.models.user_file.examine import examine

TILE, INTEGER = types.float64[:, ::1], types.int64
SUMS = types.void(TILE, INTEGER, INTEGER, TILE, INTEGER, TILE, INTEGER, TILE, INTEGER, *[INTEGER] * 3)
OUTER = types.void(TILE, INTEGER, TILE, INTEGER, TILE, INTEGER, INTEGER, INTEGER)
ROWS = (1, 4, 5)
# units (whole blocks, one block and some, fewer than a block), inputs, lanes (whole vectors, some, and single ones)
SIZES = ((8, 12, 16), (13, 7, 11), (3, 6, 9), (6, 1, 8))


def one_by_one(w, x, start, order, z):
    for k in range(z.shape[0]):
        for lane in range(z.shape[1]):
            total = start[k, lane]
            for place in range(order.shape[0]):
                total = fma(w[k, order[place], lane], x[k, order[place], lane], total)
            z[k, lane] = total


def in_order(w, x, start, order):
    """start (K, L) + sum_i w[:, i] x[:, i], (K, I, L) each, product after product."""
    stack = types.float64[:, :, ::1]
    z = np.empty_like(start)
    arrays = [np.ascontiguousarray(array) for array in (w, x, start)]
    compiled(one_by_one, types.void(stack, stack, TILE, types.int64[::1], TILE))(*arrays, np.array(order, np.int64), z)
    return z


def documented_order(inputs, opening):
    rest = list(range(opening, inputs))
    fours = [rest[k : k + 4] for k in range(0, len(rest) // 4 * 4, 4)]
    return [*range(opening)][::-1] + [four[k] for four in fours for k in (1, 0, 3, 2)] + rest[len(fours) * 4 :]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("units", "inputs", "lanes"), SIZES)
def test_sums_are_those_of_einsum_with_the_bits_of_their_order(rows, units, inputs, lanes):
    rng = np.random.default_rng(units)
    x, start = rng.normal(size=(rows, inputs + 2, lanes)), rng.normal(size=(units, lanes))
    weights = rng.normal(size=(units, inputs, lanes))
    kernel = compiled(for_rows(rows).sums, SUMS)
    for opening, across in itertools.product({0, inputs % 4, min(3, inputs)}, (False, True)):
        w = np.ascontiguousarray(weights.swapaxes(0, 1) if across else weights).reshape(-1, lanes)
        steps = (1, units) if across else (inputs, 1)
        z, apart = np.full((rows, units + 3, lanes), np.nan), units + 3
        flat_x, flat_z = x.reshape(-1, lanes), z.reshape(-1, lanes)
        kernel(w, *steps, start, 1, flat_x, inputs + 2, flat_z, apart, units, inputs, opening)
        assert np.isnan(z[:, units:]).all()
        exact = start + np.einsum("jil,bil->bjl", weights, x[:, :inputs])
        np.testing.assert_allclose(z[:, :units], exact, rtol=0.0, atol=1e-13)
        for b in range(rows):
            same = np.repeat(x[b, None, :inputs], units, axis=0)
            assert (z[b, :units] == in_order(weights, same, start, documented_order(inputs, opening))).all()


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("units", "inputs", "lanes"), SIZES)
def test_outer_products_add_one_row_after_another(rows, units, inputs, lanes):
    rng = np.random.default_rng(inputs)
    u, v = rng.normal(size=(rows, units + 1, lanes)), rng.normal(size=(rows, inputs + 2, lanes))
    before = rng.normal(size=(units, inputs + 3, lanes))
    g = before.copy()
    flat = [array.reshape(-1, lanes) for array in (u, v, g)]
    compiled(for_rows(rows).outer, OUTER)(flat[0], units + 1, flat[1], inputs + 2, flat[2], inputs + 3, units, inputs)
    assert (g[:, inputs:] == before[:, inputs:]).all()
    pairs = [(j, i) for j in range(units) for i in range(inputs)]
    left, right = np.array([u[:, j] for j, _ in pairs]), np.array([v[:, i] for _, i in pairs])
    exact = in_order(left, right, before[:, :inputs].reshape(-1, lanes), range(rows))
    assert (g[:, :inputs].reshape(-1, lanes) == exact).all()
    close = before[:, :inputs] + np.einsum("bjl,bil->jil", u[:, :units], v[:, :inputs])
    np.testing.assert_allclose(g[:, :inputs], close, rtol=0.0, atol=1e-13)


def test_a_sum_that_opens_with_three_has_the_bits_of_dot():
    rng = np.random.default_rng(0)
    w, x, lanes = rng.normal(size=(14, 16)), rng.normal(size=(14, 16)), 16
    total, z = np.empty(lanes), np.full((1, lanes), np.nan)
    compiled(dot, types.void(TILE, TILE, types.float64[::1]))(w, x, total)
    compiled(for_rows(1).sums, SUMS)(w, 14, 1, np.full((1, lanes), -0.0), 0, x, 14, z, 1, 1, 14, 3)
    assert (z[0] == total).all()


def test_rows_left_over_are_few():
    assert [rows_at_once(count) for count in (1, 3, 4, 5, 8, 10, 20, 64, 100)] == [1, 1, 4, 5, 4, 5, 5, 4, 5]
    assert all(rows_at_once(count) in ROWS for count in range(1, 200))


def gradients(model, values, function, columns, theta, rows):
    """Loss (L,) and gradient (m, L) of columns (K, R n, L), R rows at a time, in a scratch of NaN."""
    kernel = compiled(apply.gradients, apply.GRADIENTS, **energy_bindings(model, values), parameter_gradient=function)
    scalars, shared = model.packed(values)
    lanes = theta.shape[1]
    loss, gradient = np.full(lanes, 0.5), np.full(theta.shape, -0.25)
    scratch = np.full((rows * model.scratch_rows(values), lanes), np.nan)
    constants, nothing = np.repeat(scalars[:, None], lanes, axis=1), np.zeros((0, lanes))
    none = np.zeros((0, columns.shape[1]))
    kernel(theta, nothing, constants, shared, scratch, none, columns, 0.3, loss, gradient)
    return loss, gradient


NETS = [
    {"widths": [7, 9, 4, 6], "activation": "gelu", "loss": "squared", "bias": "yes"},
    {"widths": [5, 3, 11, 2], "activation": "tanh", "loss": "cross-entropy", "bias": "no"},
    {"widths": [8, 5], "activation": "relu", "loss": "squared", "bias": "yes"},
    {"widths": [3, 10, 1], "activation": "relu", "loss": "squared", "bias": "no"},
]
COMPOSED = [
    [fixed(np.arange(49.0).reshape(7, 7) / 90.0 - 0.2), dense(9, bias=True), gelu, residual(dense(9), tanh),
     normalised(5, gain=True), dense(2, bias=True)],
    [dense(17, bias=True), relu, dense(20, bias=True), tanh, dense(2)],
]  # fmt: skip
MODELS = [(model_of("rbm"), {"dimension": 13, "hidden": 10})]
MODELS += [(model_of("multilayer-perceptron"), net) for net in NETS]
# of every network one number of rows each time
CASES = [
    pytest.param(*one, rows, marks=() if (k + j) % 2 == 0 else pytest.mark.exhaustive)
    for k, one in enumerate(MODELS)
    for j, rows in enumerate(ROWS[1:])
]
CASES += [
    pytest.param(network("mine", inputs=7, layers=layers, loss=squared_error), {}, 4, marks=marks)
    for layers, marks in zip(COMPOSED, (pytest.mark.exhaustive, ()))  # the first takes as long as all others
]


@pytest.mark.parametrize(("model", "values", "rows"), CASES)
def test_rows_together_give_the_bits_of_rows_one_by_one(model, values, rows):
    rng, lanes = np.random.default_rng(1), 19
    data = rng.normal(size=(2 * rows, model.row_length(values), lanes))
    if model.discrete:
        data = (data > 0.0).astype(float)
    if model.classes is not None and (classes := model.classes(values)):
        data[:, -1] = rng.integers(classes, size=(2 * rows, lanes))
    theta = 0.6 * rng.normal(size=(model.names(values)["PARAMETERS"], lanes))
    one = gradients(model, values, model.parameter_gradient, data, theta, 1)
    together = data.reshape(2, -1, lanes)
    several = gradients(model, values, model.gradient_of_rows(rows), together, theta, rows)
    assert np.isfinite(one[1]).all()
    assert np.ptp(one[1]) > 0.1
    for a, b in zip(one, several, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("batch", [12, 0])
def test_minibatches_hand_over_rows_together_and_those_left_over(batch):
    """As when they come one by one: every row is drawn at its own place, and counts once."""
    model, values, lanes, count, rng = (
        model_of("rbm"),
        {"dimension": 13, "hidden": 10},
        19,
        36,
        np.random.default_rng(2),
    )
    vector, stack = types.float64[::1], types.float64[:, :, ::1]
    signature = types.void(
        *[INTEGER] * 3, TILE, TILE, TILE, stack, TILE, vector, TILE, types.int64[::1], INTEGER, vector, *[TILE] * 4
    )
    theta = 0.6 * rng.normal(size=(153, lanes))
    data = (rng.random((2 * count, 13)) > 0.5).astype(float)
    found = []
    for rows in (1, 5):
        bindings = energy_bindings(model, values) | {"BATCH": batch, "CONTRAST": False, "ROWS_TOGETHER": rows}
        bindings |= {
            "ROWS_LEFT": (batch or count) % rows if rows > 1 else 1,
            "gradient_of_rows": model.gradient_of_rows(rows),
        }
        kernel = compiled(from_data, signature, **bindings, parameter_gradient=model.parameter_gradient)
        loss, gradient = np.full(lanes, np.nan), np.full(theta.shape, np.nan)
        work = np.full((13 * rows, lanes), np.nan), np.zeros((4, lanes)), np.full((12 * rows, lanes), np.nan)
        constants, none = np.repeat(model.packed(values)[0][:, None], lanes, axis=1), np.zeros((0, lanes))
        kernel(3, 8, 5, theta, theta, none, np.zeros((0, 13, lanes)), constants, np.zeros(0), data,
               np.arange(lanes, dtype=np.int64) % 2 * count, count, loss, gradient, *work)  # fmt: skip
        found.append((loss, gradient))
    assert np.isfinite(found[0][1]).all()
    for a, b in zip(*found, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", ["rbm", "multilayer-perceptron"])
def test_rows_together_that_are_not_single_rows_are_refused(name):
    """Of a user's model: here only the first of the rows is taken."""
    model = replace(model_of(name), rows_share=lambda constants: True)
    values = {constant.name: constant.default for constant in model.constants}
    assert not examine(model, [values], compile_too=False).faults
    wrong = replace(model, gradient_of_rows=lambda rows: model.gradient_of_rows(1))
    faults = examine(wrong, [values], compile_too=False).faults
    assert len(faults) == 1
    assert faults[0].startswith("gradient_of_rows(4) adds ")
