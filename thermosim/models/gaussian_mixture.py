"""A mixture of G Gaussians with independent components; weights, means and precisions are learned.

    phi(x) = -ln sum_g w_g N(x; m_g, 1/k_g),     w = softmax(a),  k = exp(l),  theta = (a (G), m (G, n), l (G, n))
    N(x; m, 1/k) = prod_i (k_i/2 pi)^(1/2) exp(-k_i (x_i - m_i)^2/2)

Several valleys for one surprisal: relaxation between them is slow, and what is learned depends on the start. The
likelihood has no upper bound (a Gaussian that shrinks onto one data point), so watch the largest precision.

Sources: S. S. Parsi, Entropy 26, 112 (2024), Eq. 1, for the surprisal; C. M. Bishop, Pattern Recognition and Machine
Learning, ch. 9.2, for the gradients: r_g = w_g N_g(x)/sum_h w_h N_h(x) are its responsibilities.
"""

from __future__ import annotations

import math

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import exp, fma, log
from thermosim.model import Constant, Derived, Model, Observable, Parameter, Values

# bound when a function is compiled: n, rows of theta (a, m, l), rows of derived
# (w, ln w + ln N at its maximum, m, k); G is the number of rows of a
COMPONENTS = 1
LOGIT, MEAN, LOG_PRECISION = 0, 1, 2
WEIGHT, PEAK, CENTER, PRECISION = 0, 1, 2, 3
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_NODES = {1: 1601, 2: 161}  # points of the support along each axis


def prepare(theta, constants, shared, derived, scratch):  # type: ignore[no-untyped-def]
    """w, ln w_g + sum_i (l_gi - ln 2 pi)/2, m and k."""
    top, total = scratch[0], scratch[1]
    first = theta[LOGIT]
    for lane in range(theta.shape[1]):
        top[lane] = first[lane]
        total[lane] = 0.0
    for g in range(1, MEAN - LOGIT):
        logit = theta[LOGIT + g]
        for lane in range(theta.shape[1]):
            top[lane] = max(top[lane], logit[lane])
    for g in range(MEAN - LOGIT):
        logit, weight = theta[LOGIT + g], derived[WEIGHT + g]
        for lane in range(theta.shape[1]):
            weight[lane] = exp(logit[lane] - top[lane])
            total[lane] += weight[lane]
    for lane in range(theta.shape[1]):
        top[lane] += log(total[lane])
    for g in range(MEAN - LOGIT):
        logit, weight, peak = theta[LOGIT + g], derived[WEIGHT + g], derived[PEAK + g]
        for lane in range(theta.shape[1]):
            weight[lane] /= total[lane]
            peak[lane] = logit[lane] - top[lane] - COMPONENTS * _HALF_LOG_TWO_PI
        for i in range(COMPONENTS):
            logarithm = theta[LOG_PRECISION + g * COMPONENTS + i]
            for lane in range(theta.shape[1]):
                peak[lane] = fma(0.5, logarithm[lane], peak[lane])
    for k in range(LOG_PRECISION - MEAN):
        mean, logarithm = theta[MEAN + k], theta[LOG_PRECISION + k]
        center, precision = derived[CENTER + k], derived[PRECISION + k]
        for lane in range(theta.shape[1]):
            center[lane] = mean[lane]
            precision[lane] = exp(logarithm[lane])


def surprisal_and_force(x, derived, constants, shared, phi, force, scratch):  # type: ignore[no-untyped-def]
    """phi and sum_g r_g k_g (m_g - x)."""
    total = scratch[MEAN - LOGIT]
    _terms(x, derived[PEAK:CENTER], derived[CENTER:PRECISION], derived[PRECISION:], scratch, phi, total)
    for lane in range(x.shape[1]):
        phi[lane] = -phi[lane] - log(total[lane])
        total[lane] = 1.0 / total[lane]
    for i in range(COMPONENTS):
        row, pull, share, center, precision = x[i], force[i], scratch[0], derived[CENTER + i], derived[PRECISION + i]
        for lane in range(x.shape[1]):
            pull[lane] = share[lane] * precision[lane] * (center[lane] - row[lane])
        for g in range(1, MEAN - LOGIT):
            share = scratch[g]
            center, precision = derived[CENTER + g * COMPONENTS + i], derived[PRECISION + g * COMPONENTS + i]
            for lane in range(x.shape[1]):
                slope = precision[lane] * (center[lane] - row[lane])
                pull[lane] = fma(share[lane], slope, pull[lane])
        for lane in range(x.shape[1]):
            pull[lane] *= total[lane]


def parameter_gradient(  # type: ignore[no-untyped-def]
    x, derived, constants, shared, factor, loss, gradient, scratch
):
    """d phi/da = w - r, d phi/dm_g = r_g k_g (m_g - x), d phi/dl_g = r_g (k_g (x - m_g)^2 - 1)/2."""
    total, top = scratch[MEAN - LOGIT], scratch[MEAN - LOGIT + 1]
    _terms(x, derived[PEAK:CENTER], derived[CENTER:PRECISION], derived[PRECISION:], scratch, top, total)
    for lane in range(x.shape[1]):
        loss[lane] = fma(-factor, top[lane] + log(total[lane]), loss[lane])
        total[lane] = factor / total[lane]
    for g in range(MEAN - LOGIT):
        share, weight, of_logit = scratch[g], derived[WEIGHT + g], gradient[LOGIT + g]
        for lane in range(x.shape[1]):
            share[lane] *= total[lane]
            of_logit[lane] += fma(factor, weight[lane], -share[lane])
        for i in range(COMPONENTS):
            row, k = x[i], g * COMPONENTS + i
            center, precision = derived[CENTER + k], derived[PRECISION + k]
            of_mean, of_logarithm = gradient[MEAN + k], gradient[LOG_PRECISION + k]
            for lane in range(x.shape[1]):
                distance = center[lane] - row[lane]
                slope = precision[lane] * distance
                of_mean[lane] = fma(share[lane], slope, of_mean[lane])
                of_logarithm[lane] = fma(0.5 * share[lane], fma(distance, slope, -1.0), of_logarithm[lane])


def fresh(x, derived, constants, shared, normal, uniform, scratch):  # type: ignore[no-untyped-def]
    """m_g + xi/sqrt(k_g), g the first whose cumulated weight reaches the uniform."""
    chance, cumulated = uniform[0], scratch[0]
    for lane in range(x.shape[1]):
        cumulated[lane] = 0.0
    for i in range(COMPONENTS):
        row, chosen, center, precision = x[i], scratch[1 + i], derived[CENTER + i], derived[PRECISION + i]
        for lane in range(x.shape[1]):
            row[lane] = center[lane]
            chosen[lane] = precision[lane]
    for g in range(1, MEAN - LOGIT):
        weight = derived[WEIGHT + g - 1]
        for lane in range(x.shape[1]):
            cumulated[lane] += weight[lane]
        for i in range(COMPONENTS):
            row, chosen = x[i], scratch[1 + i]
            center, precision = derived[CENTER + g * COMPONENTS + i], derived[PRECISION + g * COMPONENTS + i]
            for lane in range(x.shape[1]):
                beyond = chance[lane] > cumulated[lane]
                m, k, earlier_m, earlier_k = center[lane], precision[lane], row[lane], chosen[lane]
                row[lane] = m if beyond else earlier_m
                chosen[lane] = k if beyond else earlier_k
    for i in range(COMPONENTS):
        row, chosen, noise = x[i], scratch[1 + i], normal[i]
        for lane in range(x.shape[1]):
            row[lane] += noise[lane] / math.sqrt(chosen[lane])


def support(constants: Values) -> tuple[np.ndarray, np.ndarray] | None:
    """The trapezoidal rule on [-range, range]^n for n <= 2: accurate while no Gaussian is narrower than its cells."""
    n, edge = int(constants["dimension"]), float(constants["range"])
    if n not in _NODES:
        return None
    axis = np.linspace(-edge, edge, _NODES[n])
    weight = np.full(axis.size, axis[1] - axis[0])
    weight[[0, -1]] *= 0.5
    points = np.stack([side.ravel() for side in np.meshgrid(*[axis] * n, indexing="ij")], axis=-1)
    log_weights = sum(np.meshgrid(*[np.log(weight)] * n, indexing="ij"), np.zeros(())).ravel()
    return points, log_weights


@inlined
def _terms(x, peaks, centers, precisions, terms, top, total):  # type: ignore[no-untyped-def]
    """Rows g of terms: w_g N_g(x) exp(-top), top the logarithm of the largest w_g N_g(x); their sum in total."""
    n = x.shape[0]
    for g in range(peaks.shape[0]):
        term, peak = terms[g], peaks[g]
        for lane in range(x.shape[1]):
            term[lane] = peak[lane]
        for i in range(n):
            row, center, precision = x[i], centers[g * n + i], precisions[g * n + i]
            for lane in range(x.shape[1]):
                distance = center[lane] - row[lane]
                term[lane] = fma(-0.5 * distance, precision[lane] * distance, term[lane])
        if g == 0:
            for lane in range(x.shape[1]):
                top[lane] = term[lane]
        else:
            for lane in range(x.shape[1]):
                top[lane] = max(top[lane], term[lane])
    for lane in range(x.shape[1]):
        total[lane] = 0.0
    for g in range(peaks.shape[0]):
        term = terms[g]
        for lane in range(x.shape[1]):
            term[lane] = exp(term[lane] - top[lane])
            total[lane] += term[lane]


def _weights(theta: np.ndarray, constants: Values) -> np.ndarray:
    logit = theta[..., : int(constants["mixtures"])]
    weight = np.exp(logit - logit.max(axis=-1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True))


def _effective_number(theta: np.ndarray, constants: Values) -> np.ndarray:
    weight = _weights(theta, constants)
    return np.asarray(np.exp(-np.sum(weight * np.log(np.maximum(weight, 1e-300)), axis=-1)))


def _narrowest(theta: np.ndarray, constants: Values) -> np.ndarray:
    count = int(constants["mixtures"]) * (1 + int(constants["dimension"]))
    return np.asarray(np.exp(-0.5 * theta[..., count:].max(axis=-1)))


def _spread_out(constants: Values) -> np.ndarray:
    """Means on the diagonal of the cube [-1, 1]^n, equally spaced."""
    g, n = int(constants["mixtures"]), int(constants["dimension"])
    along = np.linspace(-1.0, 1.0, g) if g > 1 else np.zeros(1)
    return np.repeat(along[:, None], n, axis=1)


def _vectors(constants: Values) -> tuple[int, ...]:
    return (int(constants["mixtures"]), int(constants["dimension"]))


def _scalars(constants: Values) -> tuple[int, ...]:
    return (int(constants["mixtures"]),)


MODEL = Model(
    name="gaussian-mixture",
    summary="mixture of Gaussians with independent components; learns weights, means and log-precisions",
    source="S. S. Parsi, Entropy 26, 112 (2024)",
    constants=(
        Constant("dimension", 1, "number of components n of x", minimum=1, integer=True),
        Constant("mixtures", 3, "number of Gaussians G", minimum=1, integer=True),
        Constant("range", 8.0, "half the width of the box for integrals over x", minimum=0.0, exclusive=True),
    ),
    components=lambda constants: int(constants["dimension"]),
    parameters=(
        Parameter("logit", "weights up to softmax, a", _scalars, lambda c: np.zeros(_scalars(c))),
        Parameter("mean", "means m, one Gaussian after the other", _vectors, _spread_out, spread=0.5),
        Parameter(
            "log_precision", "logarithms l of the precisions", _vectors, lambda c: np.zeros(_vectors(c)), logarithm=True
        ),
    ),
    derived=(
        Derived("weight", _scalars),
        Derived("peak", _scalars),
        Derived("center", _vectors),
        Derived("precision", _vectors),
    ),
    prepare=prepare,
    scratch_rows=lambda constants: int(constants["mixtures"]) + int(constants["dimension"]) + 1,
    normalised=True,
    surprisal_and_force=surprisal_and_force,
    parameter_gradient=parameter_gradient,
    fresh=fresh,
    fresh_normals=lambda constants: int(constants["dimension"]),
    fresh_uniforms=lambda constants: 1,
    support=support,
    observables={
        "effective_mixtures": Observable(
            "theta", _effective_number, "1", "effective number of Gaussians", "exp(-sum_g w_g ln w_g)"
        ),
        "narrowest": Observable(
            "theta", _narrowest, "1", "smallest standard deviation of a Gaussian", "min_gi exp(-l_gi/2)"
        ),
    },
)
