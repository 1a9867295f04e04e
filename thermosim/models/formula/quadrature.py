"""The law exp(-phi/T)/Z of one or two components by quadrature: its normaliser, and samples of it.

The trapezoidal rule on a box outside of which exp(-phi/T) is below e^-40 of its top converges faster than any power of
the spacing for an analytic integrand that has died out at the ends (L. N. Trefethen, J. A. C. Weideman, SIAM Rev. 56,
385 (2014)); where phi has kinks it is of second order. Samples: x_0 by its cumulative probability, then x_1 given x_0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

__all__ = ["Law", "NoNormaliser", "law"]

Energy = Callable[[np.ndarray], np.ndarray]  # phi/T of x (n, ...): (...)

_DEEP = 40.0  # exp(-phi/T) at the edge, as a power of 1/e of its top
_POINTS = {1: 4097, 2: 385}  # along each axis
_COARSE = {1: 2049, 2: 129}
_WIDEST = 1e8
_CONVERGED = 1e-3  # that half of the points may change of the integral; of a smooth phi it is rounding


class NoNormaliser(ValueError):
    """An energy whose exp(-phi/T) has no finite integral that quadrature can find."""


class Law:
    """exp(-u)/Z on a grid; u = phi/T."""

    def __init__(self, energy: Energy, axes: list[np.ndarray]) -> None:
        self._energy, self.axes = energy, axes
        values = energy(np.stack(np.meshgrid(*axes, indexing="ij")))
        values = np.where(np.isnan(values), np.inf, values)
        self._lowest = float(values.min())
        self.density = np.exp(self._lowest - values)  # not normalised
        self._cell = float(np.prod([axis[1] - axis[0] for axis in axes]))

    @property
    def log_normaliser(self) -> float:
        """ln Int exp(-u) dx."""
        return float(np.log(self.density.sum() * self._cell) - self._lowest)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Of x (n, ...): (...)."""
        return np.asarray(-self._energy(x) - self.log_normaliser)

    def mean(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """<f(x)> of a function of the grid's points (n, ...), whose last axes are those of the grid."""
        points = np.stack(np.meshgrid(*self.axes, indexing="ij"))
        ends = tuple(range(-len(self.axes), 0))
        return np.asarray((function(points) * self.density).sum(axis=ends) / self.density.sum())

    def samples(self, normal: np.ndarray) -> np.ndarray:
        """x (n, R) from standard normals (n, R)."""
        uniform = special.ndtr(normal)
        first = self.density if self.density.ndim == 1 else self.density.sum(axis=1)
        x = [_inverse(self.axes[0], first[:, None], uniform[0])]
        if len(self.axes) == 2:
            x.append(self._second(x[0], uniform[1]))
        return np.stack(x)

    def _second(self, first: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """x_1 given x_0, some at a time."""
        out, axis = np.empty_like(first), self.axes[1]
        for begin in range(0, len(first), 512):
            here = slice(begin, begin + 512)
            points = np.broadcast_arrays(first[here][None, :], axis[:, None])
            values = self._energy(np.stack(points))
            values = np.where(np.isnan(values), np.inf, values)
            out[here] = _inverse(axis, np.exp(values.min(axis=0) - values), uniform[here])
        return out


def law(energy: Energy, components: int) -> Law:
    """The law of an energy of one or two components. Raises NoNormaliser."""
    low, high = np.full(components, -1.0), np.full(components, 1.0)
    for _ in range(200):
        grown, (low, high) = _grown(energy, low, high)
        if not grown:
            break
        if (high - low).max() > _WIDEST:
            raise NoNormaliser("exp(-phi/T) does not die out: it has no finite integral over x")
    low, high = _shrunk(energy, low, high)
    found = Law(energy, [np.linspace(a, b, _POINTS[components]) for a, b in zip(low, high)])
    every_second = found.density[(slice(None, None, 2),) * components].sum() * 2**components
    if not abs(every_second - found.density.sum()) < _CONVERGED * found.density.sum():
        raise NoNormaliser("the integral of exp(-phi/T) depends on the grid: phi has a pole, or is too rough")
    return found


def _grown(energy: Energy, low: np.ndarray, high: np.ndarray) -> tuple[bool, tuple[np.ndarray, np.ndarray]]:
    """Wider where exp(-u) has not died out at a face of the box."""
    values, lowest = _coarse(energy, low, high)
    low, high, grown = low.copy(), high.copy(), False
    for axis in range(len(low)):
        width = high[axis] - low[axis]
        for end, place in ((0, low), (-1, high)):
            if np.take(values, end, axis=axis).min() < lowest + _DEEP:
                place[axis] += width / 2.0 if end else -width / 2.0
                grown = True
    return grown, (low, high)


def _shrunk(energy: Energy, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """To where exp(-u) is alive, a few times."""
    for _ in range(4):
        values, lowest = _coarse(energy, low, high)
        alive = values < lowest + _DEEP
        edges = []
        for axis in range(len(low)):
            others = tuple(other for other in range(len(low)) if other != axis)
            there = np.flatnonzero(alive.any(axis=others))
            points = np.linspace(low[axis], high[axis], values.shape[axis])
            edges.append((points[max(there[0] - 1, 0)], points[min(there[-1] + 1, len(points) - 1)]))
        low, high = np.array([edge[0] for edge in edges]), np.array([edge[1] for edge in edges])
    return low, high


def _coarse(energy: Energy, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, float]:
    axes = [np.linspace(a, b, _COARSE[len(low)]) for a, b in zip(low, high)]
    values = energy(np.stack(np.meshgrid(*axes, indexing="ij")))
    values = np.where(np.isnan(values), np.inf, values)
    lowest = float(values.min())
    if not np.isfinite(lowest):
        raise NoNormaliser("phi has no finite value near 0, or none from below")
    return values, lowest


def _inverse(axis: np.ndarray, density: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Where the cumulative probability of a density (N, R) or (N, 1), linear between the points, is uniform (R)."""
    h = axis[1] - axis[0]
    mass = np.cumsum(0.5 * h * (density[1:] + density[:-1]), axis=0)
    wanted = uniform * mass[-1]
    if density.shape[1] == 1:
        cell = np.searchsorted(mass[:, 0], wanted)
    else:
        cell = (mass < wanted).sum(axis=0)
    cell = np.minimum(cell, len(mass) - 1)
    column = np.zeros(len(uniform), int) if density.shape[1] == 1 else np.arange(len(uniform))
    before = np.where(cell > 0, mass[cell - 1, column], 0.0)
    a, b = density[cell, column], density[cell + 1, column]
    need = (wanted - before) / h  # a t + (b - a) t^2/2
    root = np.sqrt(np.maximum(a * a + 2.0 * (b - a) * need, 0.0))
    t = 2.0 * need / np.maximum(a + root, 1e-300)
    return np.asarray(axis[cell] + h * np.clip(t, 0.0, 1.0))
