"""A Gaussian with correlated components, whose mean and precision matrix are learned. Everything about it is exact.

    phi(x) = |A'(x - m)|^2/2 - sum_i l_i + (n/2) ln(2 pi),     precision P = A A'

A is lower triangular with diagonal A_ii = exp(l_i), so that P is positive definite whatever the parameters
theta = (m, l, A_ij for i > j, row after row).

Sources: S. S. Parsi, Entropy 26, 112 (2024), Eq. 1, for the surprisal; C. M. Bishop, Pattern Recognition and Machine
Learning, ch. 2.3, for the Gaussian; J. C. Pinheiro, D. M. Bates, Stat. Comput. 6, 289 (1996), for the factor.
"""

from __future__ import annotations

import math

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import exp, fma
from thermosim.model import Constant, Derived, Model, Observable, Parameter, Values

# bound when a function is compiled: n, rows of theta (m, l, A below), rows of derived (m, A_ii, A below, normaliser)
COMPONENTS = 1
MEAN, LOG_DIAGONAL, LOWER = 0, 1, 2
CENTER, DIAGONAL, BELOW, OFFSET = 0, 1, 2, 2
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def prepare(theta, constants, shared, derived, scratch):  # type: ignore[no-untyped-def]
    """m, A with exp(l) on its diagonal, and (n/2) ln(2 pi) - sum_i l_i."""
    offset = derived[OFFSET]
    offset[:] = COMPONENTS * _HALF_LOG_TWO_PI
    for i in range(COMPONENTS):
        mean, logarithm = theta[MEAN + i], theta[LOG_DIAGONAL + i]
        center, diagonal = derived[CENTER + i], derived[DIAGONAL + i]
        for lane in range(theta.shape[1]):
            center[lane] = mean[lane]
            diagonal[lane] = exp(logarithm[lane])
            offset[lane] -= logarithm[lane]
    for k in range(COMPONENTS * (COMPONENTS - 1) // 2):
        entry, copy = theta[LOWER + k], derived[BELOW + k]
        for lane in range(theta.shape[1]):
            copy[lane] = entry[lane]


def surprisal_and_force(x, derived, constants, shared, phi, force, scratch):  # type: ignore[no-untyped-def]
    """phi and -A y with y = A'(x - m); x - m waits in the rows of force."""
    offset, diagonal, below = derived[OFFSET], derived[DIAGONAL:], derived[BELOW:]
    for i in range(COMPONENTS):
        row, center, distance = x[i], derived[CENTER + i], force[i]
        for lane in range(x.shape[1]):
            distance[lane] = row[lane] - center[lane]
    for lane in range(x.shape[1]):
        phi[lane] = offset[lane]
    for j in range(COMPONENTS):
        y = scratch[j]
        _column_sum(diagonal, below, j, force, y)
        for lane in range(x.shape[1]):
            phi[lane] = fma(0.5 * y[lane], y[lane], phi[lane])
    for i in range(COMPONENTS):
        _row_sum(diagonal, below, i, scratch, force[i])


def parameter_gradient(  # type: ignore[no-untyped-def]
    x, derived, constants, shared, factor, loss, gradient, scratch
):
    """d phi/dm = -A y, d phi/dl_i = A_ii (x - m)_i y_i - 1, d phi/dA_ij = (x - m)_i y_j, with y = A'(x - m)."""
    offset, diagonal, below = derived[OFFSET], derived[DIAGONAL:], derived[BELOW:]
    distances, projections = scratch[:COMPONENTS], scratch[COMPONENTS : 2 * COMPONENTS]
    for lane in range(x.shape[1]):
        loss[lane] = fma(factor, offset[lane], loss[lane])
    for i in range(COMPONENTS):
        row, center, distance = x[i], derived[CENTER + i], distances[i]
        for lane in range(x.shape[1]):
            distance[lane] = row[lane] - center[lane]
    for j in range(COMPONENTS):
        y, distance, corner, of_logarithm = projections[j], distances[j], diagonal[j], gradient[LOG_DIAGONAL + j]
        _column_sum(diagonal, below, j, distances, y)
        for lane in range(x.shape[1]):
            loss[lane] = fma(0.5 * factor * y[lane], y[lane], loss[lane])
            slope = fma(corner[lane] * distance[lane], y[lane], -1.0)
            of_logarithm[lane] = fma(factor, slope, of_logarithm[lane])
    for i in range(COMPONENTS):
        of_mean, distance, corner, last = gradient[MEAN + i], distances[i], diagonal[i], projections[i]
        for lane in range(x.shape[1]):
            of_mean[lane] = fma(-factor * corner[lane], last[lane], of_mean[lane])
        for j in range(i):
            k = i * (i - 1) // 2 + j
            of_entry, entry, y = gradient[LOWER + k], below[k], projections[j]
            for lane in range(x.shape[1]):
                scaled = factor * y[lane]
                of_mean[lane] = fma(-entry[lane], scaled, of_mean[lane])
                of_entry[lane] = fma(distance[lane], scaled, of_entry[lane])


def fresh(x, derived, constants, shared, normal, uniform, scratch):  # type: ignore[no-untyped-def]
    """m + d with A'd = xi, solved from the last component backwards."""
    diagonal, below = derived[DIAGONAL:], derived[BELOW:]
    for i in range(COMPONENTS):
        row, noise = x[i], normal[i]
        for lane in range(x.shape[1]):
            row[lane] = noise[lane]
    for k in range(COMPONENTS):
        i = COMPONENTS - 1 - k
        row, corner = x[i], diagonal[i]
        for lane in range(x.shape[1]):
            row[lane] /= corner[lane]
        for j in range(i):
            entry, before = below[i * (i - 1) // 2 + j], x[j]
            for lane in range(x.shape[1]):
                before[lane] = fma(-entry[lane], row[lane], before[lane])
    for i in range(COMPONENTS):
        row, center = x[i], derived[CENTER + i]
        for lane in range(x.shape[1]):
            row[lane] += center[lane]


def factor_matrix(theta: np.ndarray, constants: Values) -> np.ndarray:
    """A (..., n, n) of theta (..., m)."""
    n = int(constants["dimension"])
    factor = np.zeros((*theta.shape[:-1], n, n))
    diagonal = np.arange(n)
    factor[..., diagonal, diagonal] = np.exp(theta[..., n : 2 * n])
    rows, columns = np.tril_indices(n, -1)
    factor[..., rows, columns] = theta[..., 2 * n :]
    return factor


def cross_entropy(theta_a: np.ndarray, theta_b: np.ndarray, constants: Values) -> np.ndarray:
    """<phi_b> in exp(-phi_a): [|A_a^-1 A_b|^2 + |A_b'(m_a - m_b)|^2 + n ln 2 pi]/2 - sum l_b, for theta (..., m)."""
    n = int(constants["dimension"])
    factor_a, factor_b = factor_matrix(theta_a, constants), factor_matrix(theta_b, constants)
    spread = np.sum(np.linalg.solve(factor_a, factor_b) ** 2, axis=(-2, -1))
    shift = np.einsum("...ij,...i->...j", factor_b, theta_a[..., :n] - theta_b[..., :n])
    quadratic = spread + np.sum(shift**2, axis=-1) + n * np.log(2.0 * np.pi)
    return np.asarray(0.5 * quadratic - np.sum(theta_b[..., n : 2 * n], axis=-1))


@inlined
def _column_sum(diagonal, below, j, d, total):  # type: ignore[no-untyped-def]
    """total[l] = (A'd)_j = sum over i >= j of A_ij d_i, for d (n, L) and the diagonal of A and its rows below."""
    components, lanes = d.shape
    first, corner = d[j], diagonal[j]
    for lane in range(lanes):
        total[lane] = corner[lane] * first[lane]
    i = j + 1
    while i + 4 <= components:
        k = i * (i - 1) // 2 + j
        a0, a1, a2, a3 = below[k], below[k + i], below[k + 2 * i + 1], below[k + 3 * i + 3]
        d0, d1, d2, d3 = d[i], d[i + 1], d[i + 2], d[i + 3]
        for lane in range(lanes):
            s = fma(a0[lane], d0[lane], fma(a1[lane], d1[lane], total[lane]))
            total[lane] = fma(a2[lane], d2[lane], fma(a3[lane], d3[lane], s))
        i += 4
    while i < components:
        a0, d0 = below[i * (i - 1) // 2 + j], d[i]
        for lane in range(lanes):
            total[lane] = fma(a0[lane], d0[lane], total[lane])
        i += 1


@inlined
def _row_sum(diagonal, below, i, y, total):  # type: ignore[no-untyped-def]
    """total[l] = -(A y)_i = -sum over j <= i of A_ij y_j, for y (n, L)."""
    lanes, start, j = y.shape[1], i * (i - 1) // 2, 0
    last, corner = y[i], diagonal[i]
    for lane in range(lanes):
        total[lane] = -corner[lane] * last[lane]
    while j + 4 <= i:
        a0, a1, a2, a3 = below[start + j], below[start + j + 1], below[start + j + 2], below[start + j + 3]
        y0, y1, y2, y3 = y[j], y[j + 1], y[j + 2], y[j + 3]
        for lane in range(lanes):
            s = fma(-a0[lane], y0[lane], fma(-a1[lane], y1[lane], total[lane]))
            total[lane] = fma(-a2[lane], y2[lane], fma(-a3[lane], y3[lane], s))
        j += 4
    while j < i:
        a0, y0 = below[start + j], y[j]
        for lane in range(lanes):
            total[lane] = fma(-a0[lane], y0[lane], total[lane])
        j += 1


def _entropy(theta: np.ndarray, constants: Values) -> np.ndarray:
    n = int(constants["dimension"])
    return np.asarray(0.5 * n * np.log(2.0 * np.pi * math.e) - np.sum(theta[..., n : 2 * n], axis=-1))


def _condition(theta: np.ndarray, constants: Values) -> np.ndarray:
    factor = factor_matrix(theta, constants)
    finite = np.isfinite(factor).all(axis=(-2, -1))  # a diverged replica is none
    values = np.linalg.svd(np.where(finite[..., None, None], factor, 0.0), compute_uv=False)
    return np.where(finite, (values[..., 0] / values[..., -1]) ** 2, np.nan)


def _vector(constants: Values) -> tuple[int, ...]:
    return (int(constants["dimension"]),)


def _triangle(constants: Values) -> tuple[int, ...]:
    n = int(constants["dimension"])
    return (n * (n - 1) // 2,)


MODEL = Model(
    name="full-gaussian",
    summary="Gaussian with correlated components; learns means and a triangular factor of the precision matrix",
    source="S. S. Parsi, Entropy 26, 112 (2024)",
    constants=(Constant("dimension", 2, "number of components n of x", minimum=1, maximum=100, integer=True),),
    components=lambda constants: int(constants["dimension"]),
    parameters=(
        Parameter("mean", "mean m", _vector, lambda c: np.zeros(_vector(c))),
        Parameter(
            "log_diagonal", "logarithm l of the diagonal of A", _vector, lambda c: np.zeros(_vector(c)), logarithm=True
        ),
        Parameter("lower", "A below its diagonal, row after row", _triangle, lambda c: np.zeros(_triangle(c))),
    ),
    derived=(
        Derived("center", _vector),
        Derived("diagonal", _vector),
        Derived("below", _triangle),
        Derived("offset", lambda constants: (1,)),
    ),
    prepare=prepare,
    scratch_rows=lambda constants: 2 * int(constants["dimension"]),
    normalised=True,
    surprisal_and_force=surprisal_and_force,
    parameter_gradient=parameter_gradient,
    fresh=fresh,
    fresh_normals=lambda constants: int(constants["dimension"]),
    cross_entropy=cross_entropy,
    observables={
        "sample_entropy": Observable(
            "theta", _entropy, "nat", "entropy of the samples", "(n/2) ln(2 pi e) - sum_i l_i"
        ),
        "condition_number": Observable("theta", _condition, "1", "condition number of the precision", "cond(A A')"),
    },
)
