"""The entropic loss of gradient descent, l + c r |grad l|^2: flows of it, and steps that it explains.

    theta' = theta - r g,   g = grad l                follows to order r^2, at a fixed time r t, the flow
    d theta/ds = -grad(l + r |grad l|^2/4) = -(g + (r/2) H g)

and to order r the flow of l alone, or of any other c. One step of r on l is, to order r^3, n steps of r/n on
l + c_n r |grad l|^2 with c_n = (1 - 1/n)/4, which defines the entropic loss as n -> infinity; with any other c they
differ at order r^2. Nothing is assumed of l but its gradient: H g is the difference of two gradients along g.

Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), for the definition; D. G. T. Barrett, B. Dherin, ICLR
2021, for the flow; c_n by hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

__all__ = ["COEFFICIENT", "descend", "flow", "mismatch_of_steps", "slope", "step_coefficient"]

COEFFICIENT = 0.25
Gradient = Callable[[np.ndarray], np.ndarray]  # of theta (R, m), a replica in every row: (R, m)
_ACCURACY = 1e-10  # of the flow
_EVALUATIONS = 3000  # at most
_DISTANCE = np.finfo(float).eps ** (1.0 / 3.0)  # of a finite difference, in units of theta


def slope(gradient: Gradient, theta: np.ndarray, coefficient: ArrayLike) -> np.ndarray:
    """grad(l + coefficient |grad l|^2) = g + 2 coefficient H g at theta (R, m), one number or one each (R): (R, m)."""
    g, factor = gradient(theta), np.asarray(coefficient, float)[..., None]
    if not factor.any():
        return g
    size = np.sqrt((g**2).sum(-1, keepdims=True))
    away = _DISTANCE * (1.0 + np.sqrt((theta**2).sum(-1, keepdims=True))) / np.where(size > 0.0, size, 1.0)
    turned = (gradient(theta + away * g) - gradient(theta - away * g)) / (2.0 * away)
    return np.asarray(g + 2.0 * factor * turned)


def flow(gradient: Gradient, theta: np.ndarray, time: float, coefficient: ArrayLike = 0.0) -> np.ndarray:
    """theta (R, m) after a time of the flow of l + coefficient |grad l|^2. Raises ValueError if it does not arrive."""
    start, calls = np.asarray(theta, float), itertools.count(1)

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        if next(calls) > _EVALUATIONS:
            raise ValueError("the flow of the entropic loss is stiff, or its gradient jumps: it does not arrive")
        return np.ravel(-slope(gradient, flat.reshape(start.shape), coefficient))

    path = solve_ivp(velocity, (0.0, time), start.ravel(), "DOP853", rtol=_ACCURACY, atol=_ACCURACY)
    if not path.success or not np.isfinite(path.y[:, -1]).all():
        raise ValueError(f"the flow of the entropic loss does not arrive: {path.message}")
    return np.asarray(path.y[:, -1].reshape(start.shape))


def descend(gradient: Gradient, theta: np.ndarray, rate: float, steps: int, coefficient: ArrayLike = 0.0) -> np.ndarray:
    """theta (R, m) after steps of gradient descent on l + coefficient |grad l|^2."""
    theta = np.array(theta, float)
    for _ in range(steps):
        theta = theta - rate * slope(gradient, theta, coefficient)
    return theta


def step_coefficient(number: int) -> float:
    """c_n: so many steps of r/n on l + c_n r |grad l|^2 are one step of r on l, to order r^3."""
    return COEFFICIENT * (1.0 - 1.0 / number)


def mismatch_of_steps(
    gradient: Gradient, theta: np.ndarray, rate: float, number: int, coefficient: float
) -> np.ndarray:
    """|theta of one step on l - theta of n steps of r/n on l + coefficient r |grad l|^2|: (R,)."""
    one = descend(gradient, theta, rate, 1)
    several = descend(gradient, theta, rate / number, number, coefficient * rate)
    return np.asarray(np.linalg.norm(one - several, axis=-1))
