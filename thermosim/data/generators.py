"""Generated rows. Row j of set s depends on the seed, s and j only, not on how many rows or sets there are.

gaussian    x = m + A xi                      A A^T the covariance, A lower triangular
mixture     x = c_k + d_k xi                  center k with probability w_k / sum w
ring        x = R xi / |xi| + d xi'           two components
linear      (z, y), z as gaussian, y = V z + e  inputs and targets, e Gaussian with its own covariance

xi are standard normals at the addresses (seed, DATA, address(role, s), j, component). Rows are put together component
by component, without sums that a library may reorder: their bits are the same for any number of rows and threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thermosim.data.section import DataSection

__all__ = ["CHOICE", "NORMAL", "ORDER", "TEST", "UNIFORM", "address", "generated", "linear_law", "order", "triangular"]

NORMAL = 0  # normals of a row
UNIFORM = 1  # uniforms of a row
CHOICE = 2  # which center a row belongs to
ORDER = 3  # order of the rows of a file
_ROLES = 8
TEST = -1  # the "set" of rows to test with, whose roles stand after those of set 0


def address(role: int, number: int) -> int:
    """The step of the stream DATA at which set `number`, or TEST, finds its random numbers of one role."""
    return _ROLES // 2 + role if number == TEST else _ROLES * number + role


def generated(
    section: DataSection, components: int, rows: int, number: int, targets: int = 0
) -> tuple[np.ndarray, Any]:
    """Rows (K, n) of set `number`, of the linear source with their targets beside them; centers (K,) of a mixture."""
    source, seed = section.source, section.seed
    if source == "gaussian":
        return _gaussian(section, _normals(seed, components, rows, number)), None
    if source == "mixture":
        labels = _choices(section, rows, number)
        return _mixture(section, labels, _normals(seed, components, rows, number)), labels
    if source == "linear":
        mean, factor = linear_law(section, components, targets)
        return _mapped(mean, factor, _normals(seed, components + targets, rows, number)), None
    return _ring(section, _normals(seed, 4, rows, number)), None


def linear_law(section: DataSection, inputs: int, targets: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and lower triangular factor (D, D) of the normal law of a row (z, y) with y = V z + e."""
    matrix = np.asarray(section.matrix, float).reshape(targets, inputs)
    mean = np.broadcast_to(_or(section.mean, 0.0), inputs)
    variances = _or(section.covariance, _or(section.deviation, 1.0) ** 2)
    own = triangular(_square(variances, inputs))
    factor = np.zeros((inputs + targets, inputs + targets))
    factor[:inputs, :inputs], factor[inputs:, :inputs] = own, matrix @ own
    factor[inputs:, inputs:] = triangular(_square(_or(section.noise, 0.0), targets))
    return np.concatenate([mean, matrix @ mean]), factor


def order(seed: int, total: int, number: int) -> np.ndarray:
    """A random order of the rows 0 ... total - 1 of a file, for set `number`, or TEST."""
    from thermosim.kernels.noise import uniform_array
    from thermosim.streams import DATA

    return np.argsort(uniform_array(seed, DATA, address(ORDER, number), 0, (1, total))[0], kind="stable")


def triangular(covariance: np.ndarray) -> np.ndarray:
    """Lower triangular A (n, n) with A A^T = covariance, for a symmetric matrix without negative eigenvalues.

    Column by column; a column whose pivot is lost in rounding is zero, as it is in a singular matrix.
    """
    rest, factor = np.array(covariance, float), np.zeros_like(covariance, float)
    lost = len(rest) * np.finfo(float).eps * np.max(np.diag(rest), initial=0.0)
    for k in range(len(rest)):
        if rest[k, k] > lost:
            factor[k:, k] = rest[k:, k] / np.sqrt(rest[k, k])
            rest[k:, k:] -= factor[k:, k, None] * factor[None, k:, k]
    return factor


def _normals(seed: int, components: int, rows: int, number: int) -> np.ndarray:
    """Standard normals (n, K)."""
    from thermosim.kernels.noise import normal_array
    from thermosim.streams import DATA

    return normal_array(seed, DATA, address(NORMAL, number), 0, (components, rows))


def _gaussian(section: DataSection, normals: np.ndarray) -> np.ndarray:
    mean, covariance = _or(section.mean, 0.0), _or(section.covariance, 1.0)
    if covariance.ndim < 2:
        deviation = _or(section.deviation, np.sqrt(covariance))
        return np.ascontiguousarray(mean + deviation * normals.T)
    return _mapped(mean, triangular(covariance), normals)


def _mapped(mean: np.ndarray, factor: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """mean + factor xi, column by column, for normals (n, K): (K, n)."""
    rows = np.zeros(normals.T.shape)
    for k in range(len(normals)):
        rows += normals[k, :, None] * factor[None, :, k]
    return mean + rows


def _square(covariance: np.ndarray, n: int) -> np.ndarray:
    """A covariance (n, n) from a number, its diagonal, or itself."""
    return covariance if covariance.ndim == 2 else np.diag(np.broadcast_to(covariance, n))


def _choices(section: DataSection, rows: int, number: int) -> np.ndarray:
    from thermosim.kernels.noise import uniform_array
    from thermosim.streams import DATA

    weights = _or(section.weights, np.ones(len(section.centers)))
    shares = np.cumsum(weights)
    uniforms = uniform_array(section.seed, DATA, address(CHOICE, number), 0, (1, rows))[0]
    return np.searchsorted(shares / shares[-1], uniforms)


def _mixture(section: DataSection, labels: np.ndarray, normals: np.ndarray) -> np.ndarray:
    centers = np.asarray(section.centers, float).reshape(len(section.centers), -1)
    deviations = np.broadcast_to(_or(section.deviation, 1.0), len(centers))
    return np.ascontiguousarray(centers[labels] + deviations[labels, None] * normals.T)


def _ring(section: DataSection, normals: np.ndarray) -> np.ndarray:
    """The direction of a pair of normals is uniform, and needs no cosine."""
    radius, deviation = float(_or(section.radius, 1.0)), float(_or(section.deviation, 0.1))
    length = np.sqrt(normals[0] * normals[0] + normals[1] * normals[1])
    direction = normals[:2] / np.maximum(length, np.finfo(float).tiny)
    return np.ascontiguousarray((radius * direction + deviation * normals[2:]).T)


def _or(value: Any, default: Any) -> np.ndarray:
    return np.asarray(default if value is None else value, float)
