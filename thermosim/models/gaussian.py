"""A Gaussian with independent components, whose mean and log-precision are learned. Everything about it is exact.

    phi(x) = sum_i [ k_i (x_i - m_i)^2/2 - l_i/2 + ln(2 pi)/2 ],     theta = (m, l),  k_i = exp(l_i)

Sources: S. S. Parsi, Entropy 26, 112 (2024), Eq. 1, for the surprisal; T. M. Cover, J. A. Thomas, Elements of
Information Theory, ch. 8, for cross-entropies.
"""

from __future__ import annotations

import math

import numpy as np

from thermosim.kernels.elementary import exp, fma
from thermosim.model import Constant, Derived, Model, Parameter, Values

# bound when a function is compiled: n, rows of theta (m, l), rows of derived (m, k, half the log-normaliser)
COMPONENTS = 1
MEAN, LOG_PRECISION = 0, 1
CENTER, PRECISION, OFFSET = 0, 1, 2
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def prepare(theta, constants, shared, derived, scratch):  # type: ignore[no-untyped-def]
    """m, k = exp(l), and sum_i (ln(2 pi) - l_i)/2."""
    offset = derived[OFFSET]
    offset[:] = COMPONENTS * _HALF_LOG_TWO_PI
    for i in range(COMPONENTS):
        mean, logarithm = theta[MEAN + i], theta[LOG_PRECISION + i]
        center, precision = derived[CENTER + i], derived[PRECISION + i]
        for lane in range(theta.shape[1]):
            center[lane] = mean[lane]
            precision[lane] = exp(logarithm[lane])
            offset[lane] = fma(-0.5, logarithm[lane], offset[lane])


def surprisal_and_force(x, derived, constants, shared, phi, force, scratch):  # type: ignore[no-untyped-def]
    """phi and -k (x - m)."""
    offset = derived[OFFSET]
    for lane in range(x.shape[1]):
        phi[lane] = offset[lane]
    for i in range(COMPONENTS):
        row, pull, center, precision = x[i], force[i], derived[CENTER + i], derived[PRECISION + i]
        for lane in range(x.shape[1]):
            distance = center[lane] - row[lane]
            slope = precision[lane] * distance
            pull[lane] = slope
            phi[lane] = fma(0.5 * distance, slope, phi[lane])


def parameter_gradient(  # type: ignore[no-untyped-def]
    x, derived, constants, shared, factor, loss, gradient, scratch
):
    """d phi/dm = k (m - x), d phi/dl = (k (x - m)^2 - 1)/2."""
    offset = derived[OFFSET]
    for lane in range(x.shape[1]):
        loss[lane] = fma(factor, offset[lane], loss[lane])
    for i in range(COMPONENTS):
        row, center, precision = x[i], derived[CENTER + i], derived[PRECISION + i]
        of_mean, of_logarithm = gradient[MEAN + i], gradient[LOG_PRECISION + i]
        for lane in range(x.shape[1]):
            distance = center[lane] - row[lane]
            slope = precision[lane] * distance
            energy = 0.5 * distance * slope
            loss[lane] = fma(factor, energy, loss[lane])
            of_mean[lane] = fma(factor, slope, of_mean[lane])
            of_logarithm[lane] = fma(factor, energy - 0.5, of_logarithm[lane])


def fresh(x, derived, constants, shared, normal, uniform, scratch):  # type: ignore[no-untyped-def]
    """m + xi/sqrt(k)."""
    for i in range(COMPONENTS):
        row, center, precision, noise = x[i], derived[CENTER + i], derived[PRECISION + i], normal[i]
        for lane in range(x.shape[1]):
            row[lane] = center[lane] + noise[lane] / math.sqrt(precision[lane])


def cross_entropy(theta_a: np.ndarray, theta_b: np.ndarray, constants: Values) -> np.ndarray:
    """<phi_b> in exp(-phi_a): sum_i [k_b (1/k_a + (m_a - m_b)^2) - l_b + ln 2 pi]/2, for theta (..., 2 n)."""
    n = int(constants["dimension"])
    mean_a, log_a = theta_a[..., :n], theta_a[..., n:]
    mean_b, log_b = theta_b[..., :n], theta_b[..., n:]
    terms = np.exp(log_b) * (np.exp(-log_a) + (mean_a - mean_b) ** 2) - log_b + np.log(2.0 * np.pi)
    return 0.5 * np.asarray(terms.sum(axis=-1))


def _vector(constants: Values) -> tuple[int, ...]:
    return (int(constants["dimension"]),)


MODEL = Model(
    name="gaussian",
    summary="Gaussian with independent components; learns means and log-precisions",
    source="S. S. Parsi, Entropy 26, 112 (2024)",
    constants=(Constant("dimension", 1, "number of components n of x", minimum=1, integer=True),),
    components=lambda constants: int(constants["dimension"]),
    parameters=(
        Parameter("mean", "mean m", _vector, lambda constants: np.zeros(_vector(constants))),
        Parameter(
            "log_precision", "logarithm l of the precision", _vector, lambda c: np.zeros(_vector(c)), logarithm=True
        ),
    ),
    derived=(Derived("center", _vector), Derived("precision", _vector), Derived("offset", lambda constants: (1,))),
    prepare=prepare,
    normalised=True,
    surprisal_and_force=surprisal_and_force,
    parameter_gradient=parameter_gradient,
    fresh=fresh,
    fresh_normals=lambda constants: int(constants["dimension"]),
    cross_entropy=cross_entropy,
)
