"""The two parts of the entropic loss, discretisation and noise, told apart by what each does to a path.

    F = L + c r (|grad L|^2 + Tr Cov(g_1)/B),   c = 1/4,   <|g_B|^2> = |grad L|^2 + Tr Cov(g_1)/B

A step of r along g_B, the gradient of a minibatch of B rows, is compared with the flow of the minibatch for a time r:
it ends r^2 H_B g_B/2 away, on average over minibatches r grad(r <|g_B|^2>/4). Made as n steps of r/n on the same
minibatch it ends 1/n as far away. On all rows Tr Cov is not there. So theta after a time t is, to order r, on average

    theta - theta of the flows = c_d r D_d + c_n r D_n,     D' = -H D - grad X along the flow of L, D = 0 at the start

with X = |grad L|^2 in D_d and Tr Cov(g_1)/B in D_n:

                                                     c_d      c_n
    gradient descent                                 1/4      0
    SGD                                              1/4      1/4
    n steps of r/n along the mean gradient           1/(4n)   0
    n steps of r/n on the same minibatch             1/(4n)   1/(4n)

The noise part is told by flows of minibatches and not by that of L: it is what an integral of Ito has less than one of
Stratonovich, r grad Tr Cov/(4 B), and an average over paths of SGD alone has no force of noise to order r but that of
the third derivatives of L. A charge that flows keep shows both parts without any flow: it changes by r^2 g_B'A g_B.

Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), for F; D. G. T. Barrett, B. Dherin, ICLR 2021, and S. L.
Smith et al., ICLR 2021, for flows of minibatches; the table by hand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

from thermosim.exact.entropic_loss import COEFFICIENT, Gradient, descend

__all__ = ["PARTS", "coefficients", "flow_step", "pseudo_values", "responses", "steps_of"]

PARTS = ("discretisation", "noise")
_ACCURACY = 1e-4  # of the responses
_DISTANCE = np.finfo(float).eps ** (1.0 / 3.0)  # of a finite difference, in units of theta


def coefficients(number: int, noisy: bool) -> np.ndarray:
    """c of both parts (2,) for steps made as `number` ones, on minibatches or on all rows."""
    return np.array([COEFFICIENT, COEFFICIENT if noisy else 0.0]) / number


def steps_of(gradient: Gradient, theta: np.ndarray, rate: float, number: int) -> np.ndarray:
    """theta (R, m) after one step of the rate made as `number` ones along a gradient, that of one minibatch."""
    return descend(gradient, theta, rate / number, number)


def flow_step(gradient: Gradient, theta: np.ndarray, time: float) -> np.ndarray:
    """theta (R, m) after a time of the flow along a gradient, by one Runge-Kutta step: off by order time^5."""
    first = gradient(theta)
    second = gradient(theta - 0.5 * time * first)
    third = gradient(theta - 0.5 * time * second)
    fourth = gradient(theta - time * third)
    return np.asarray(theta - time / 6.0 * (first + 2.0 * second + 2.0 * third + fourth))


def responses(gradient: Gradient, each: Callable[..., np.ndarray], theta: np.ndarray, times: np.ndarray) -> np.ndarray:
    """D_d and D_n for B = 1 from theta (R, m) at increasing times (F,), the first 0: (F, 2, R, m).

    gradient: that of L at theta (R, m). each: those of K single rows, row k at theta[k] (K, R, m), or at one theta for
    all (R, m): (K, R, m). Raises ValueError where the flow does not arrive.
    """
    shape = (3, *theta.shape)

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        here, *moved = flat.reshape(shape)
        slope, of_rows = gradient(here), each(here)
        own = 2.0 * _product(gradient, here, slope)  # grad |grad L|^2
        every = 2.0 * _product(each, here, of_rows).mean(0)  # grad <|g_1|^2>
        pulled = [-_product(gradient, here, one) - pull for one, pull in zip(moved, (own, every - own), strict=True)]
        return np.ravel(np.stack([-slope, *pulled]))

    start = np.ravel(np.stack([theta, np.zeros_like(theta), np.zeros_like(theta)]))
    path = solve_ivp(velocity, (0.0, times[-1]), start, "RK45", times, rtol=_ACCURACY, atol=0.01 * _ACCURACY)
    if not path.success or not np.isfinite(path.y).all():
        raise ValueError(f"the flow of the loss does not arrive: {path.message}")
    return np.asarray(path.y.T.reshape(len(times), *shape)[:, 1:])


def _product(gradient: Callable[[np.ndarray], np.ndarray], theta: np.ndarray, along: np.ndarray) -> np.ndarray:
    """H v at theta (R, m) for v (..., R, m): central differences of the gradient."""
    size = np.sqrt((along**2).sum(-1, keepdims=True))
    away = _DISTANCE * (1.0 + np.sqrt((theta**2).mean(-1, keepdims=True))) / np.where(size > 0.0, size, 1.0)
    return np.asarray((gradient(theta + away * along) - gradient(theta - away * along)) / (2.0 * away))


def pseudo_values(displacement: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Jackknife pseudo-values of the coefficients that make response (2, R, m) a displacement (R, m): (R, 2).

    Least squares over all components and replicas, each replica weighted by the inverse square of its responses; the
    mean of pseudo-values is the estimate, their spread its error. R >= 2.
    """
    weight = 1.0 / (response**2).sum((0, 2))  # (R,)
    matrix = np.einsum("r,arm,brm->rab", weight, response, response)
    vector = np.einsum("r,arm,rm->ra", weight, response, displacement)
    count = len(weight)
    whole = np.linalg.solve(matrix.sum(0), vector.sum(0))
    without = np.linalg.solve(matrix.sum(0) - matrix, (vector.sum(0) - vector)[..., None])[..., 0]
    return np.asarray(count * whole - (count - 1) * without)
