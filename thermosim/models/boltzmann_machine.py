"""A Boltzmann machine without hidden units: few spins, all states enumerated, so that everything about it is exact.

    phi(x) = -sum_i b_i x_i - sum_{i<j} J_ij x_i x_j + ln Z,    x_i in {-1, +1},  theta = (b, J)

A Gibbs sweep draws the sites 0, 1, ..., n - 1 in turn from P(x_i = +1 | rest) = 1/(1 + exp(-2 f_i)),
f_i = b_i + sum_j J_ij x_j. Each draw is in detailed balance with exp(-phi), so the logarithm of the probability of a
sweep's draws over that of the draws back, made in the reverse order of the sites, is exactly -d phi.

State s of the enumeration has x_i = -1 where bit i of s is set. With two spins to a term at most, the field that one
more site feels from the sites before it follows by doubling, and with it the energies of twice as many states: all 2^n
in some 2^n steps. The same steps in reverse order sum the weights of all states to all <x_i> and <x_i x_j>. This is a
Walsh-Hadamard transform without its zeros; the whole one takes n 2^(n-1) steps.

Sources: D. H. Ackley, G. E. Hinton, T. J. Sejnowski, Cognitive Science 9, 147 (1985); S. Geman, D. Geman, IEEE Trans.
Pattern Anal. Mach. Intell. 6, 721 (1984), for the sweep; S. S. Parsi, Entropy 26, 112 (2024), Eq. 1, for the surprisal.
"""

from __future__ import annotations

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import exp, fma, log
from thermosim.kernels.lanes import dot
from thermosim.model import Constant, Derived, Model, Observable, Parameter, Values

# bound when a function is compiled: whether sweeps go backward, n, rows of theta (b, J), rows of derived (b, the
# symmetric matrix J, ln Z, the means of what b and J multiply in the order of theta, running sums of the weights
# exp(-phi) of all states)
BACKWARD = False
COMPONENTS = 1
BIAS, COUPLING = 0, 1
FIELD, INTERACTION, LOG_NORMALISER, MOMENT, CUMULATIVE, DERIVED = 0, 1, 2, 3, 4, 6
_ENTRIES = 1 << 22  # numbers that an enumeration in numpy holds at a time


def prepare(theta, constants, shared, derived, scratch):  # type: ignore[no-untyped-def]
    """Energies of all states, ln Z, moments, running sums; the largest exponent is taken out of the weights."""
    field, interaction = derived[FIELD:INTERACTION], derived[INTERACTION:LOG_NORMALISER]
    states = DERIVED - CUMULATIVE
    weights, top, total = scratch[:states], scratch[states], scratch[states + 1]
    _square(theta[BIAS:COUPLING], theta[COUPLING:], field, interaction)
    _exponents(field, interaction, weights, top)
    total[:] = 0.0
    for s in range(weights.shape[0]):
        weight, running = weights[s], derived[CUMULATIVE + s]
        for lane in range(theta.shape[1]):
            value = exp(weight[lane] - top[lane])
            weight[lane] = value
            total[lane] += value
            running[lane] = total[lane]
    moments, logarithm, normaliser = derived[MOMENT:CUMULATIVE], derived[LOG_NORMALISER], weights[0]
    _moments(weights, moments)
    for lane in range(theta.shape[1]):
        logarithm[lane] = top[lane] + log(normaliser[lane])
        total[lane] = 1.0 / normaliser[lane]
    for k in range(moments.shape[0]):
        moment = moments[k]
        for lane in range(theta.shape[1]):
            moment[lane] *= total[lane]


def surprisal(x, derived, constants, shared, phi, scratch):  # type: ignore[no-untyped-def]
    """phi."""
    field, interaction = derived[FIELD:INTERACTION], derived[INTERACTION:LOG_NORMALISER]
    _surprisal(x, field, interaction, derived[LOG_NORMALISER], phi, scratch[0])


def parameter_gradient(  # type: ignore[no-untyped-def]
    x, derived, constants, shared, factor, loss, gradient, scratch
):
    """d phi/db_i = <x_i> - x_i, d phi/dJ_ij = <x_i x_j> - x_i x_j."""
    phi, work = scratch[0], scratch[1]
    field, interaction = derived[FIELD:INTERACTION], derived[INTERACTION:LOG_NORMALISER]
    _surprisal(x, field, interaction, derived[LOG_NORMALISER], phi, work)
    for lane in range(x.shape[1]):
        loss[lane] = fma(factor, phi[lane], loss[lane])
    pair = COUPLING
    for i in range(COMPONENTS):
        spin, moment, slope = x[i], derived[MOMENT + BIAS + i], gradient[BIAS + i]
        for lane in range(x.shape[1]):
            slope[lane] = fma(factor, moment[lane] - spin[lane], slope[lane])
        for j in range(i + 1, COMPONENTS):
            other, moment, slope = x[j], derived[MOMENT + pair], gradient[pair]
            for lane in range(x.shape[1]):
                slope[lane] = fma(factor, fma(-spin[lane], other[lane], moment[lane]), slope[lane])
            pair += 1


def fresh(x, derived, constants, shared, normal, uniform, scratch):  # type: ignore[no-untyped-def]
    """The first state whose running sum reaches the uniform part of the total, found bit by bit."""
    states = DERIVED - CUMULATIVE
    for lane in range(x.shape[1]):
        goal = uniform[0, lane] * derived[DERIVED - 1, lane]
        below = 0  # states known to lie below the goal
        for bit in range(COMPONENTS):
            half = states >> (bit + 1)
            down = derived[CUMULATIVE + below + half - 1, lane] < goal
            x[COMPONENTS - 1 - bit, lane] = -1.0 if down else 1.0
            below += half if down else 0


def resample(x, x_new, derived, constants, shared, uniform, scratch):  # type: ignore[no-untyped-def]
    """One systematic sweep; u (1 + exp(-2 f)) <= 1 has the probability 1/(1 + exp(-2 f))."""
    total = scratch[0]
    for i in range(COMPONENTS):
        _copy(x[i], x_new[i])
    for place in range(COMPONENTS):
        i = COMPONENTS - 1 - place if BACKWARD else place
        first = INTERACTION + i * COMPONENTS
        spin, bias, u = x_new[i], derived[FIELD + i], uniform[i]
        dot(derived[first : first + COMPONENTS], x_new, total)
        for lane in range(x.shape[1]):
            odds = exp(-2.0 * (total[lane] + bias[lane]))
            spin[lane] = 1.0 if fma(u[lane], odds, u[lane]) <= 1.0 else -1.0


@inlined
def _copy(source, target):  # type: ignore[no-untyped-def]
    for lane in range(target.shape[0]):
        target[lane] = source[lane]


@inlined
def _square(bias, coupling, field, interaction):  # type: ignore[no-untyped-def]
    """Copy b, and unpack J into a symmetric matrix with a diagonal of zeros."""
    components, pair = bias.shape[0], 0
    for i in range(components):
        _copy(bias[i], field[i])
        interaction[i * components + i, :] = 0.0
        for j in range(i + 1, components):
            value, upper, lower = coupling[pair], interaction[i * components + j], interaction[j * components + i]
            for lane in range(bias.shape[1]):
                upper[lane] = value[lane]
                lower[lane] = value[lane]
            pair += 1


@inlined
def _exponents(field, interaction, states, top):  # type: ignore[no-untyped-def]
    """states (2^n, L): sum_i b_i x_i + sum_{i<j} J_ij x_i x_j of every state; top (L): the largest.

    Before site k the first 2^k rows hold the exponents of the sites below k; the next 2^k take the field at k.
    """
    components, lanes = field.shape
    first, second, bias = states[0], states[1], field[0]
    for lane in range(lanes):
        first[lane] = bias[lane]
        second[lane] = -bias[lane]
    for k in range(1, components):
        fields, quarter = states[1 << k : 2 << k], 1 << (k - 1)
        _copy(field[k], fields[0])
        for i in range(k - 1):
            coupling = interaction[k * components + i]
            for s in range(1 << i):
                up, down = fields[s], fields[s + (1 << i)]
                for lane in range(lanes):
                    value = up[lane]
                    up[lane] = value + coupling[lane]
                    down[lane] = value - coupling[lane]
        coupling = interaction[k * components + k - 1]
        for s in range(quarter):
            a, b, c, d = states[s], states[s + quarter], fields[s], fields[s + quarter]
            for lane in range(lanes):
                up, down = c[lane] + coupling[lane], c[lane] - coupling[lane]
                above, below = a[lane], b[lane]
                a[lane] = above + up
                b[lane] = below + down
                c[lane] = above - up
                d[lane] = below - down
    _copy(states[0], top)
    for s in range(0, states.shape[0], 2):
        a, b = states[s], states[s + 1]
        for lane in range(lanes):
            top[lane] = max(top[lane], max(a[lane], b[lane]))


@inlined
def _moments(states, moments):  # type: ignore[no-untyped-def]
    """Fold weights (2^n, L): moments to sums of x_i and x_i x_j over states, states[0] to the sum of all.

    At site k rows above 2^k become the weights of x_k = +1 less those of x_k = -1, rows below their sum.
    """
    lanes = states.shape[1]
    components = 0
    while (1 << components) < states.shape[0]:
        components += 1
    moments[:] = 0.0
    for k in range(components - 1, 0, -1):
        quarter, excess = 1 << (k - 1), states[1 << k : 2 << k]
        pair = moments[_pair(k - 1, k, components)]
        for s in range(quarter):
            a, b, c, d = states[s], states[s + quarter], excess[s], excess[s + quarter]
            for lane in range(lanes):
                up, down = a[lane] - c[lane], b[lane] - d[lane]
                a[lane] += c[lane]
                b[lane] += d[lane]
                c[lane] = up + down
                pair[lane] += up - down
        for i in range(k - 2, -1, -1):
            pair = moments[_pair(i, k, components)]
            for s in range(1 << i):
                a, b = excess[s], excess[s + (1 << i)]
                for lane in range(lanes):
                    up, down = a[lane], b[lane]
                    a[lane] = up + down
                    pair[lane] += up - down
        _copy(excess[0], moments[k])
    first, second, mean = states[0], states[1], moments[0]
    for lane in range(lanes):
        up, down = first[lane], second[lane]
        first[lane] = up + down
        mean[lane] = up - down


@inlined
def _pair(i, j, components):  # type: ignore[no-untyped-def]
    """Row of the pair i < j among biases and couplings."""
    return components + i * components - i * (i + 1) // 2 + j - i - 1


@inlined
def _surprisal(x, field, interaction, logarithm, phi, total):  # type: ignore[no-untyped-def]
    components, lanes = x.shape
    last, bias = x[components - 1], field[components - 1]
    for lane in range(lanes):
        phi[lane] = fma(-last[lane], bias[lane], logarithm[lane])
    for i in range(components - 1):
        spin, bias, first = x[i], field[i], i * components
        dot(interaction[first + i + 1 : first + components], x[i + 1 :], total)
        for lane in range(lanes):
            phi[lane] = fma(-spin[lane], total[lane] + bias[lane], phi[lane])


def cross_entropy(theta_a: np.ndarray, theta_b: np.ndarray, constants: Values) -> np.ndarray:
    """<phi_b> in exp(-phi_a) by enumeration, for theta (..., m): ln Z_b - sum_k theta_b,k <f_k>_a."""
    statistics = _statistics(int(constants["dimension"]))
    log_normaliser = _enumerated(theta_b, statistics)[0]
    moments = _enumerated(theta_a, statistics)[1]
    return np.asarray(log_normaliser - (theta_b * moments).sum(axis=-1))


def support(constants: Values) -> tuple[np.ndarray, np.ndarray]:
    """All 2^n states, each of weight one."""
    points = _states(int(constants["dimension"]))
    return points, np.zeros(len(points))


def _states(n: int) -> np.ndarray:
    bits = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
    return 1.0 - 2.0 * bits


def _statistics(n: int) -> np.ndarray:
    """What theta multiplies in every state, x_i and x_i x_j: (2^n, m)."""
    states = _states(n)
    first, second = np.triu_indices(n, 1)
    return np.concatenate([states, states[:, first] * states[:, second]], axis=1)


def _enumerated(theta: np.ndarray, statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln Z (...) and moments (..., m) of theta (..., m)."""
    rows = np.reshape(np.asarray(theta, float), (-1, statistics.shape[1]))
    log_normaliser, moments = np.empty(len(rows)), np.empty_like(rows)
    count = max(1, _ENTRIES // len(statistics))
    for first in range(0, len(rows), count):
        part = slice(first, first + count)
        exponents = rows[part] @ statistics.T
        top = exponents.max(axis=1, keepdims=True)
        weights = np.exp(exponents - top)
        total = weights.sum(axis=1, keepdims=True)
        log_normaliser[part] = (top + np.log(total))[:, 0]
        moments[part] = weights @ statistics / total
    return log_normaliser.reshape(np.shape(theta)[:-1]), moments.reshape(np.shape(theta))


def _pairs(constants: Values) -> int:
    n = int(constants["dimension"])
    return n * (n - 1) // 2


def _count(constants: Values) -> int:
    return int(constants["dimension"])


def _vector(constants: Values) -> tuple[int, ...]:
    return (_count(constants),)


def _magnetisation(x: np.ndarray, constants: Values) -> np.ndarray:
    return np.asarray(x.mean(axis=-1))


def _coupling_strength(theta: np.ndarray, constants: Values) -> np.ndarray:
    return np.asarray(np.linalg.norm(theta[..., _count(constants) :], axis=-1))


MODEL = Model(
    name="boltzmann-machine",
    summary="up to 16 spins with pair couplings, all states enumerated; learns biases and couplings",
    source="D. H. Ackley, G. E. Hinton, T. J. Sejnowski, Cognitive Science 9, 147 (1985)",
    constants=(Constant("dimension", 8, "number of spins n", minimum=1, maximum=16, integer=True),),
    components=_count,
    parameters=(
        Parameter("bias", "biases b", _vector, lambda constants: np.zeros(_count(constants))),
        Parameter(
            "coupling",
            "couplings J_ij, i < j, row after row",
            lambda constants: (_pairs(constants),),
            lambda constants: np.zeros(_pairs(constants)),
        ),
    ),
    derived=(
        Derived("field", _vector),
        Derived("interaction", lambda constants: (_count(constants), _count(constants))),
        Derived("log_normaliser", lambda constants: (1,)),
        Derived("moment", lambda constants: (_count(constants) + _pairs(constants),)),
        Derived("cumulative", lambda constants: (1 << _count(constants),)),
    ),
    prepare=prepare,
    scratch_rows=lambda constants: (1 << _count(constants)) + 2,
    normalised=True,
    discrete=True,
    levels=(-1.0, 1.0),
    surprisal=surprisal,
    parameter_gradient=parameter_gradient,
    fresh=fresh,
    fresh_uniforms=lambda constants: 1,
    resample=resample,
    resample_uniforms=_count,
    support=support,
    cross_entropy=cross_entropy,
    observables={
        "magnetisation": Observable("x", _magnetisation, "1", "magnetisation per spin", "m = sum_i x_i/n"),
        "coupling_strength": Observable(
            "theta", _coupling_strength, "1", "norm of the couplings", "|J|, each pair once"
        ),
    },
)
