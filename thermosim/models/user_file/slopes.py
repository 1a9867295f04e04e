"""A model's slopes against finite differences of its energy, at random states.

A slope along v is D(h) = (4 g(h/2) - g(h))/3 of central differences g(h) = (phi(+h v) - phi(-h v))/2h, whose error is
of order h^4 (L. F. Richardson, Phil. Trans. R. Soc. A 210, 307 (1911)). Of a ladder of steps that pair of neighbours is
taken which agree best: large steps fail where phi bends, small ones where phi is large and its digits few. What they
differ by, and the rounding of phi, is the error that a right slope may show; where no pair agrees, as across a kink,
nothing is decided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thermosim.models.user_file.plain import ModelFault

__all__ = ["Slope", "compared", "finite_difference"]

_STEPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_TOLERANCE, _ERRORS = 1e-6, 20.0
_DECIDED = 1e-3  # an estimate with a larger relative error decides nothing
_FEW, _DIRECTIONS, _NAMED = 12, 6, 256

Phi = Callable[[np.ndarray], np.ndarray]  # points (P, k) -> phi (P)


@dataclass(frozen=True)
class Slope:
    """The slope of phi along a direction, and its error; `decided` is whether it says anything."""

    value: float
    error: float
    decided: bool


def finite_difference(phi: Phi, point: np.ndarray, direction: np.ndarray, size: float) -> Slope:
    """The slope of phi at a point (k) along a direction (k), whose steps are scaled with the size of phi's slope."""
    steps = np.array([[h, 0.5 * h] for h in _STEPS]).ravel()
    ends = np.concatenate([steps, -steps])
    with np.errstate(all="ignore"):
        values = phi(point + ends[:, None] * direction)
        up, down = values[: len(steps)], values[len(steps) :]
        central = ((up - down) / (2.0 * steps)).reshape(-1, 2)
        better = (4.0 * central[:, 1] - central[:, 0]) / 3.0
        rounding = 4.0 * np.finfo(float).eps * np.maximum(np.abs(up), np.abs(down))[1::2] / np.array(_STEPS)
        errors = np.abs(np.diff(better)) + rounding[:-1]
    if not np.isfinite(errors).any():
        return Slope(np.nan, np.inf, False)
    best = int(np.nanargmin(np.where(np.isfinite(errors), errors, np.inf)))
    value, error = float(better[best]), float(errors[best])
    return Slope(value, error, error <= _DECIDED * (abs(value) + size + _DECIDED))


def compared(
    given: Callable[[np.ndarray], np.ndarray], phi: Phi, points: np.ndarray, scales: np.ndarray
) -> tuple[int, tuple[int, float, float] | None]:
    """How many slopes were decided, and component, given and measured slope of the first that is wrong.

    `given` is the gradient (k) at a point (k); points (S, k), of whose components scales (S, k) are the sizes.

    Raises ModelFault where a gradient is not finite though phi is.
    """
    random, decided = np.random.default_rng(3), 0
    for point, scale in zip(points, scales, strict=True):
        gradient = given(point)
        if not np.isfinite(gradient).all():
            i = int(np.flatnonzero(~np.isfinite(gradient))[0])
            raise ModelFault(f"is {gradient[i]} for component {i} at a random state where phi is finite")
        k = len(point)
        if k <= _FEW:
            directions = np.eye(k)
        else:
            directions = random.choice([-1.0, 1.0], size=(_DIRECTIONS, k)) / np.sqrt(k)
        for direction in directions * scale:
            slope = _judged(gradient, phi, point, direction)
            decided += slope.decided
            if not slope.decided or not _differs(gradient, direction, slope):
                continue
            for i in random.permutation(k)[:_NAMED]:
                alone = np.eye(k)[i] * scale
                single = _judged(gradient, phi, point, alone)
                if single.decided and _differs(gradient, alone, single):
                    return decided, (int(i), float(gradient[i]), single.value / scale[i])
            return decided, (-1, float(gradient @ direction), slope.value)
    return decided, None


def _judged(gradient: np.ndarray, phi: Phi, point: np.ndarray, direction: np.ndarray) -> Slope:
    return finite_difference(phi, point, direction, float(np.abs(gradient * direction).sum()))


def _differs(gradient: np.ndarray, direction: np.ndarray, slope: Slope) -> bool:
    terms = gradient * direction
    size = abs(slope.value) + float(np.abs(terms).sum())
    return not abs(float(terms.sum()) - slope.value) <= _TOLERANCE * size + _ERRORS * slope.error
