"""A restricted Boltzmann machine: binary visible units, and hidden units that are summed over.

    phi(v) = F(v) = -sum_i a_i v_i - sum_j ln(1 + exp(z_j)),    z_j = b_j + sum_i v_i W_ij,    v_i in {0, 1}
    theta = (a, b, W),    sum_h exp(-E(v, h)) = exp(-F(v)),    E = -a.v - b.h - v.W h

ln Z is left out of phi. A Gibbs sweep draws all hidden units given the visible ones, then all visible units given the
hidden: P(h_j = 1 | v) = 1/(1 + exp(-z_j)), P(v_i = 1 | h) = 1/(1 + exp(-a_i - sum_j W_ij h_j)). Seen from v alone the
sweep is in detailed balance with exp(-F): exp(-F(v)) sum_h P(h | v) P(v' | h) = sum_h P(v, h) P(v', h) Z/P(h) is
symmetric in v and v'. Its log path ratio is exactly -dF.

Sources: P. Smolensky, in Parallel Distributed Processing 1, ch. 6 (1986); G. E. Hinton, Neural Comput. 14, 1771 (2002);
G. E. Hinton, UTML TR 2010-003, section 8, for the spread of the first weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from thermosim.exact import partition_functions
from thermosim.kernels import dense
from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import exp, fma, log
from thermosim.kernels.lanes import dot
from thermosim.model import Constant, Model, Observable, Parameter, Values

# bound when a function is compiled: n, rows of theta (a, b, W row after row), m; there is nothing to derive from theta
COMPONENTS = 1
VISIBLE_BIAS, HIDDEN_BIAS, WEIGHTS, PARAMETERS = 0, 1, 2, 3
_FACTORS = 512  # in (1, 2], whose product is surely finite
Function = Callable[..., Any]
_sums = dense.for_rows(1).sums
_ENUMERABLE = 16  # visible units up to which all states are listed


def surprisal(x, derived, constants, shared, phi, scratch):  # type: ignore[no-untyped-def]
    """F."""
    inputs, product = scratch[: WEIGHTS - HIDDEN_BIAS], scratch[WEIGHTS - HIDDEN_BIAS]
    _inputs(derived[HIDDEN_BIAS:WEIGHTS], derived[WEIGHTS:PARAMETERS], x, inputs)
    dot(x, derived[VISIBLE_BIAS:HIDDEN_BIAS], phi)
    for lane in range(x.shape[1]):
        phi[lane] = -phi[lane]
        product[lane] = 1.0
    for j in range(inputs.shape[0]):
        row = inputs[j]
        for lane in range(x.shape[1]):
            z = row[lane]
            phi[lane] -= max(z, 0.0)
            product[lane] *= 1.0 + exp(-abs(z))
        if (j + 1) % _FACTORS == 0:
            _take_logarithm(product, phi)
    _take_logarithm(product, phi)


def gradient_of_rows(rows: int) -> Function:
    """For so many rows of x: dF/da_i = -v_i, dF/db_j = -P(h_j = 1 | v), dF/dW_ij = -v_i P(h_j = 1 | v)."""
    sums, outer = dense.for_rows(rows).sums, dense.for_rows(rows).outer

    def gradient_of_rows(x, derived, constants, shared, factor, loss, gradient, scratch):  # type: ignore[no-untyped-def]
        n, hidden = COMPONENTS, WEIGHTS - HIDDEN_BIAS
        inputs, rest = scratch[: rows * hidden], scratch[rows * hidden :]
        bias, weights = derived[HIDDEN_BIAS:WEIGHTS], derived[WEIGHTS:PARAMETERS]
        sums(weights, 1, hidden, bias, 1, x, n, inputs, hidden, hidden, n, 0)
        a, of_a, of_b = (
            derived[VISIBLE_BIAS:HIDDEN_BIAS],
            gradient[VISIBLE_BIAS:HIDDEN_BIAS],
            gradient[HIDDEN_BIAS:WEIGHTS],
        )
        for b in range(rows):
            visible, of_row = x[b * n : (b + 1) * n], inputs[b * hidden : (b + 1) * hidden]
            _of_biases(visible, a, factor, of_row, loss, of_a, of_b, rest[0], rest[1])
        outer(x, n, inputs, hidden, gradient[WEIGHTS:PARAMETERS], hidden, n, hidden)

    return gradient_of_rows


def resample(x, x_new, derived, constants, shared, uniform, scratch):  # type: ignore[no-untyped-def]
    """h given v, then v given h; the first H rows of uniform are for h."""
    n, hidden = COMPONENTS, WEIGHTS - HIDDEN_BIAS
    units, none = scratch[:hidden], scratch[hidden : hidden + 1]
    weights = derived[WEIGHTS:PARAMETERS]
    _inputs(derived[HIDDEN_BIAS:WEIGHTS], weights, x, units)
    for j in range(hidden):
        _draw(units[j], uniform[j], units[j])
    for lane in range(x.shape[1]):
        none[0, lane] = -0.0  # which leaves the first product as it is, its sign too
    _sums(weights, hidden, 1, none, 0, units, hidden, x_new, n, n, hidden, min(3, hidden))
    for i in range(n):
        total, bias = x_new[i], derived[VISIBLE_BIAS + i]
        for lane in range(x.shape[1]):
            total[lane] += bias[lane]
        _draw(total, uniform[hidden + i], total)


@inlined
def _inputs(bias, weights, visible, inputs):  # type: ignore[no-untyped-def]
    """inputs (H, L): b_j + sum_i v_i W_ij."""
    n, hidden = visible.shape[0], bias.shape[0]
    _sums(weights, 1, hidden, bias, 1, visible, n, inputs, hidden, hidden, n, 0)


@inlined
def _of_biases(visible, bias, factor, inputs, loss, of_visible, of_hidden, phi, product):  # type: ignore[no-untyped-def]
    """Add factor F to loss, and its slopes to those of the biases; inputs become -factor P(h_j = 1 | v)."""
    dot(visible, bias, phi)
    for lane in range(visible.shape[1]):
        phi[lane] = -phi[lane]
        product[lane] = 1.0
    for j in range(inputs.shape[0]):
        row, slope = inputs[j], of_hidden[j]
        for lane in range(visible.shape[1]):
            z = row[lane]
            small = exp(-abs(z))
            share = factor / (1.0 + small)
            probability = share if z > 0.0 else small * share
            phi[lane] -= max(z, 0.0)
            product[lane] *= 1.0 + small
            slope[lane] -= probability
            row[lane] = -probability
        if (j + 1) % _FACTORS == 0:
            _take_logarithm(product, phi)
    _take_logarithm(product, phi)
    for lane in range(visible.shape[1]):
        loss[lane] = fma(factor, phi[lane], loss[lane])
    for i in range(visible.shape[0]):
        unit, slope = visible[i], of_visible[i]
        for lane in range(visible.shape[1]):
            slope[lane] = fma(-factor, unit[lane], slope[lane])


@inlined
def _take_logarithm(product, phi):  # type: ignore[no-untyped-def]
    """Subtract from phi the logarithm of the product so far, and start a new one."""
    for lane in range(phi.shape[0]):
        phi[lane] -= log(product[lane])
        product[lane] = 1.0


@inlined
def _draw(inputs, uniform, units):  # type: ignore[no-untyped-def]
    """1 with probability 1/(1 + exp(-z)), which is that of u (1 + exp(-z)) <= 1; else 0."""
    for lane in range(inputs.shape[0]):
        u = uniform[lane]
        units[lane] = 1.0 if fma(u, exp(-inputs[lane]), u) <= 1.0 else 0.0


def support(constants: Values) -> tuple[np.ndarray, np.ndarray] | None:
    """All 2^n visible states, each of weight one, where they are few."""
    n = _visible(constants)
    if n > _ENUMERABLE:
        return None
    points = ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1).astype(float)
    return points, np.zeros(len(points))


def log_normaliser(theta: np.ndarray, constants: Values) -> tuple[np.ndarray, np.ndarray]:
    """ln Z and its standard error, (...), for theta (..., m): zero error where min(n, H) <= 20, else by annealing."""
    estimates = _estimates(theta, constants)
    return estimates[..., 0], estimates[..., 1]


def effective_runs(theta: np.ndarray, constants: Values) -> np.ndarray:
    """How many of the annealing runs of `log_normaliser` count; below about ten its error is not to be believed."""
    return _estimates(theta, constants)[..., 2]


def _estimates(theta: np.ndarray, constants: Values) -> np.ndarray:
    n, hidden = _visible(constants), _hidden(constants)
    rows = np.reshape(np.asarray(theta, float), (-1, np.shape(theta)[-1]))
    estimates = np.empty((len(rows), 3))
    for k, row in enumerate(rows):
        visible_bias, hidden_bias, weights = np.split(row, [n, n + hidden])
        estimates[k] = partition_functions.log_normaliser(visible_bias, hidden_bias, weights.reshape(n, hidden))
    return estimates.reshape(*np.shape(theta)[:-1], 3)


def _visible(constants: Values) -> int:
    return int(constants["dimension"])


def _hidden(constants: Values) -> int:
    return int(constants["hidden"])


def _per_visible(constants: Values) -> tuple[int, ...]:
    return (_visible(constants),)


def _per_hidden(constants: Values) -> tuple[int, ...]:
    return (_hidden(constants),)


def _activity(x: np.ndarray, constants: Values) -> np.ndarray:
    return np.asarray(x.mean(axis=-1))


def _weight_norm(theta: np.ndarray, constants: Values) -> np.ndarray:
    return np.asarray(np.linalg.norm(theta[..., _visible(constants) + _hidden(constants) :], axis=-1))


MODEL = Model(
    name="rbm",
    summary="restricted Boltzmann machine on {0, 1}^n, hidden units summed over; learns biases and weights",
    source="P. Smolensky, in Parallel Distributed Processing 1, ch. 6 (1986)",
    constants=(
        Constant("dimension", 16, "number of visible units n", minimum=1, integer=True),
        Constant("hidden", 8, "number of hidden units H", minimum=1, integer=True),
    ),
    components=_visible,
    parameters=(
        Parameter("visible_bias", "biases a of the visible units", _per_visible, lambda c: np.zeros(_per_visible(c))),
        Parameter("hidden_bias", "biases b of the hidden units", _per_hidden, lambda c: np.zeros(_per_hidden(c))),
        Parameter(
            "weights",
            "weights W, visible by hidden",
            lambda constants: _per_visible(constants) + _per_hidden(constants),
            lambda constants: np.zeros(_per_visible(constants) + _per_hidden(constants)),
            spread=0.01,
        ),
    ),
    scratch_rows=lambda constants: _hidden(constants) + 2,
    normalised=False,
    discrete=True,
    surprisal=surprisal,
    parameter_gradient=gradient_of_rows(1),
    gradient_of_rows=gradient_of_rows,
    rows_share=lambda constants: _visible(constants) * _hidden(constants) >= dense.FEWEST,
    resample=resample,
    resample_uniforms=lambda constants: _visible(constants) + _hidden(constants),
    support=support,
    log_normaliser=log_normaliser,
    observables={
        "activity": Observable("x", _activity, "1", "fraction of visible units that are on", "sum_i v_i/n"),
        "weight_norm": Observable("theta", _weight_norm, "1", "norm of the weights", "|W| = (sum_ij W_ij^2)^(1/2)"),
    },
)
