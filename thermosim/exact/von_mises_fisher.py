"""The von Mises-Fisher law on the sphere S^(d-1): the equilibrium of a loss linear in the direction.

    rho(n) = exp(kappa m.n)/C,   ln C = (d/2) ln 2 pi + ln I_nu(kappa) - nu ln kappa,   nu = d/2 - 1
    A = E[m.n] = I_(nu+1)(kappa)/I_nu(kappa),   dA/dkappa = 1 - A^2 - (d-1) A/kappa

With L = 1 - m.n and kappa = 1/T: U = 1 - A, S = ln C - kappa A, C_V = kappa^2 dA/dkappa. z = m.n.

Source: K. V. Mardia and P. E. Jupp, Directional Statistics (2000), section 9.3; arXiv 2511.07308, stationary law.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy.interpolate import CubicSpline

__all__ = [
    "angle",
    "angle_range",
    "directions",
    "energy",
    "entropy",
    "free_energy",
    "heat_capacity",
    "log_density",
    "log_normalisation",
    "mean_cosine",
    "sample_cosine",
    "variance_identity",
]

SERIES_TERMS = 16
TABLE_POINTS = 4001


def mean_cosine(dimension: int, kappa: ArrayLike) -> np.ndarray:
    """A_d(kappa) = E z, to about 1e-14 for any dimension >= 2 and kappa >= 0. Shape of kappa."""
    return 1.0 - energy(dimension, kappa)


def energy(dimension: int, kappa: ArrayLike) -> np.ndarray:
    """U = 1 - A_d(kappa), without cancellation when kappa is large. Shape of kappa."""
    kappa = np.asarray(kappa, float)
    far = _is_far(dimension, kappa)
    powers = 1.0 / np.where(far, kappa, np.inf)[..., None] ** np.arange(1, SERIES_TERMS)
    series = -(powers * _series(dimension)[1:]).sum(-1)
    return np.where(far, series, 1.0 - _ratio(dimension, np.where(far, 1.0, kappa)))


def heat_capacity(dimension: int, kappa: ArrayLike) -> np.ndarray:
    """C_V = dU/dT = kappa^2 (1 - A^2 - (d-1) A/kappa) = kappa^2 Var z; (d-1)/2 when kappa is large. Shape of kappa."""
    kappa = np.asarray(kappa, float)
    far = _is_far(dimension, kappa)
    order = np.arange(1, SERIES_TERMS)
    powers = np.where(far, kappa, np.inf)[..., None] ** (1.0 - order)
    series = -(order * powers * _series(dimension)[1:]).sum(-1)
    near = np.where(far, 1.0, kappa)
    ratio = _ratio(dimension, near)
    return np.where(far, series, near**2 * (1.0 - ratio**2) - (dimension - 1) * near * ratio)


def log_normalisation(dimension: int, kappa: ArrayLike) -> np.ndarray:
    """ln C, the logarithm of the integral of exp(kappa z) over the sphere. Shape of kappa."""
    kappa = np.asarray(kappa, float)
    order = dimension / 2 - 1
    small = kappa < 1e-6
    safe = np.where(small, 1.0, kappa)
    bessel = _log_bessel(order, safe) - order * np.log(safe)
    uniform = -order * np.log(2.0) - special.gammaln(order + 1) + kappa**2 / (4 * order + 4)
    return dimension / 2 * np.log(2 * np.pi) + np.where(small, uniform, bessel)


def entropy(dimension: int, kappa: ArrayLike) -> np.ndarray:
    """S = -int rho ln rho over the sphere = ln C - kappa A, nats. Shape of kappa."""
    kappa = np.asarray(kappa, float)
    return log_normalisation(dimension, kappa) - kappa * mean_cosine(dimension, kappa)


def free_energy(dimension: int, kappa: ArrayLike) -> np.ndarray:
    """F = U - T S with T = 1/kappa; equal to 1 - T ln C. Shape of kappa."""
    return 1.0 - log_normalisation(dimension, kappa) / np.asarray(kappa, float)


def variance_identity(dimension: int, kappa: ArrayLike) -> np.ndarray:
    """E[1 - z^2] = (d-1) T E z: the mean squared slope of the loss on the unit sphere. Shape of kappa."""
    kappa = np.asarray(kappa, float)
    return (dimension - 1) * mean_cosine(dimension, kappa) / kappa


def log_density(dimension: int, kappa: ArrayLike, cosine: ArrayLike) -> np.ndarray:
    """ln f(z) with f ~ exp(kappa z)(1 - z^2)^((d-3)/2) normalised on [-1, 1]. Broadcasts kappa with z."""
    cosine = np.asarray(cosine, float)
    area = np.log(2.0) + (dimension - 1) / 2 * np.log(np.pi) - special.gammaln((dimension - 1) / 2)
    bulk = special.xlog1py((dimension - 3) / 2, -(cosine**2))
    return area + bulk + kappa * cosine - log_normalisation(dimension, kappa)


def angle_range(dimension: int, kappa: float) -> tuple[float, float]:
    """The angles to the mean direction that hold all but about 1e-16 of the law."""
    width, mode = np.pi, 0.0
    if kappa > 0.0:
        middle = 2 * kappa / (dimension - 2 + np.hypot(dimension - 2, 2 * kappa))
        mode = float(np.arccos(middle)) if dimension > 2 else 0.0
        curvature = kappa * middle + ((dimension - 2) / np.sin(mode) ** 2 if dimension > 2 else 0.0)
        width = 12.0 / np.sqrt(curvature)
    elif dimension > 2:
        mode, width = np.pi / 2, 12.0 / np.sqrt(dimension - 2)
    return max(0.0, mode - width), min(np.pi, mode + width)


def angle(dimension: int, kappa: ArrayLike, uniform: ArrayLike) -> np.ndarray:
    """Angles to the mean direction by inversion: uniform is P(z' < z). Broadcasts kappa with uniform."""
    kappa, uniform = np.broadcast_arrays(np.asarray(kappa, float), np.asarray(uniform, float))
    if dimension == 3:
        safe = np.maximum(kappa, 1e-12)
        depth = -np.log1p((1.0 - uniform) * np.expm1(-2.0 * safe)) / safe
        return 2.0 * np.arcsin(np.sqrt(np.clip(depth / 2.0, 0.0, 1.0)))
    result = np.empty(kappa.shape)
    for value in np.unique(kappa):
        chosen = kappa == value
        result[chosen] = _invert(dimension, float(value), 1.0 - uniform[chosen])
    return result


def sample_cosine(dimension: int, kappa: ArrayLike, uniform: ArrayLike) -> np.ndarray:
    """Samples of z, increasing in uniform. Broadcasts kappa with uniform."""
    return np.cos(angle(dimension, kappa, uniform))


def directions(kappa: np.ndarray, mean_direction: np.ndarray, uniform: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Samples on the sphere, (d, R): kappa (R,), unit mean_direction (d,), uniform (R,) in (0, 1), normal (d, R)."""
    mean = np.asarray(mean_direction, float)[:, None]
    tilt = angle(mean.shape[0], kappa, uniform)
    tangent = normal - mean * (mean * normal).sum(0)
    tangent /= np.linalg.norm(tangent, axis=0)
    return np.cos(tilt) * mean + np.sin(tilt) * tangent


def _is_far(dimension: int, kappa: np.ndarray) -> np.ndarray:
    """Where the series of A in 1/kappa converges to rounding."""
    return kappa > 50.0 + 2.0 * dimension**2


@lru_cache(maxsize=64)
def _series(dimension: int) -> np.ndarray:
    """Coefficients a_n of A = sum a_n kappa^-n, from its Riccati equation."""
    a = np.zeros(SERIES_TERMS)
    a[0] = 1.0
    for n in range(1, SERIES_TERMS):
        a[n] = 0.5 * ((n - dimension) * a[n - 1] - a[1:n] @ a[n - 1 : 0 : -1])
    return a


def _ratio(dimension: int, kappa: np.ndarray) -> np.ndarray:
    """I_(nu+1)/I_nu: the continued fraction where it is short, scaled Bessel functions where kappa is larger."""
    order = dimension / 2 - 1
    edge = 2.0 * order + 30.0
    inner = np.minimum(kappa, edge)
    fraction = np.zeros(kappa.shape)
    for k in range(int(edge) + 40, 0, -1):
        fraction = inner / (2.0 * (order + k) + inner * fraction)
    outer = np.maximum(kappa, edge)
    return np.where(kappa < edge, fraction, special.ive(order + 1, outer) / special.ive(order, outer))


def _log_bessel(order: float, x: np.ndarray) -> np.ndarray:
    """ln I_order(x) for x > 0; Debye's expansion (DLMF 10.41.3) where the scaled function underflows."""
    scaled = special.ive(order, x)
    direct = np.log(np.maximum(scaled, 1e-300)) + x
    if order < 20:
        return direct
    root = np.hypot(order, x)
    p = order / root
    sums = (
        1.0
        + (3 * p - 5 * p**3) / (24 * order)
        + (81 * p**2 - 462 * p**4 + 385 * p**6) / (1152 * order**2)
        + (30375 * p**3 - 369603 * p**5 + 765765 * p**7 - 425425 * p**9) / (414720 * order**3)
    )
    debye = root + order * np.log(x / (order + root)) - 0.5 * np.log(2 * np.pi * root) + np.log(sums)
    return np.where(scaled > 1e-280, direct, debye)


def _invert(dimension: int, kappa: float, tail: np.ndarray) -> np.ndarray:
    """Angles below which the law holds the probability `tail`, from a splined cumulative."""
    low, high = angle_range(dimension, kappa)
    grid = np.linspace(low, high, TABLE_POINTS)
    log_weight = special.xlogy(dimension - 2, np.sin(grid)) - 2.0 * kappa * np.sin(grid / 2) ** 2
    density = CubicSpline(grid, np.exp(log_weight - log_weight.max()))
    cumulative = density.antiderivative()
    target = tail * cumulative(high)
    values = np.maximum.accumulate(cumulative(grid))
    result = np.interp(target, values, grid)
    for _ in range(3):
        slope = np.maximum(density(result), 1e-30)
        result = np.clip(result - np.clip((cumulative(result) - target) / slope, -grid[1], grid[1]), low, high)
    return result
