"""How far weights turn in a step where their length has no effect and weight decay holds it: exact laws of SGD.

Of weights w by themselves with l(s w) = l(w) the gradient g of any batch has w.g = 0. For v' = a v - r (g + lambda w),
w' = w + v', SGD with momentum a, the product of neighbours C_t = w_t.w_(t+1) obeys, with v_t = w_t - w_(t-1),

    C_t + a C_(t-1) = (1 + a - r lambda) |w_t|^2                                                                  (1)

at every step: whatever the batch, the noise, the network, the schedule. Its mean in a stationary state is

    <|w' - w|^2> = 2 r lambda <|w|^2>/(1 + a)                                                                     (2)

without an expansion: the update energy |w' - w|^2/r is 4/(1 + a) times the energy lambda |w|^2/2 of the decay. Where
the length does not fluctuate either, the angle phi of a step has cos phi = 1 - r lambda/(1 + a), tan^2 phi =
(2 r lambda - (r lambda)^2)/(1 - r lambda)^2 of plain SGD, and phi^2 = 2 r lambda/(1 + a) for small r lambda. Of plain
SGD <-ln cos phi> = -ln(1 - r lambda) however it fluctuates, since -ln cos phi = -ln(1 - r lambda) + ln(|w'|/|w|).

Other moves have no such identity. In a noise that is the same in every component, without memory and far larger than
the mean gradient, linear recursions give, k = 1 - r lambda,

    nesterov  <|w' - w|^2>/<|w|^2> = 2 r lambda (1 + 2a - 2a^3)/(1 + a) [1 + O(r lambda/(1 - a))]
    adamw     <|w' - w|^2>/<|w|^2> = 2 r lambda (1 - beta1)/(1 + k beta1), beta2 -> 1, epsilon -> 0

Sources: A. Kosson, B. Messmer, M. Jaggi, ICML 2024, arXiv:2305.17212, for the angles at small r lambda; (1), (2) and
the finite steps by hand.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["EXACT", "adamw_square", "angle", "nesterov_square", "residual", "sgd_square", "stationary_square"]

EXACT = ("sgd",)  # moves that obey (1) and (2)


def sgd_square(rate: float, decay: float, momentum: float = 0.0) -> float:
    """<|w' - w|^2>/<|w|^2> of SGD in a stationary state, exact (2)."""
    return 2.0 * rate * decay / (1.0 + momentum)


def nesterov_square(rate: float, decay: float, momentum: float) -> float:
    """The same of Nesterov's momentum on pure noise, to leading order."""
    return sgd_square(rate, decay, momentum) * (1.0 + 2.0 * momentum - 2.0 * momentum**3)


def adamw_square(rate: float, decay: float, beta1: float) -> float:
    """The same of AdamW on pure noise, as beta2 -> 1 and epsilon -> 0."""
    return 2.0 * rate * decay * (1.0 - beta1) / (1.0 + (1.0 - rate * decay) * beta1)


def stationary_square(move: str, rate: float, decay: float, momentum: float, beta1: float) -> float:
    """The one of these of a move by its name, with those of its numbers that it has; NaN of a move without a law."""
    if move == "sgd":
        return sgd_square(rate, decay, momentum)
    if move == "nesterov":
        return nesterov_square(rate, decay, momentum)
    return adamw_square(rate, decay, beta1) if move == "adamw" else math.nan


def angle(square: np.ndarray | float) -> np.ndarray:
    """The angle, in radians, of a step of this squared length over |w|^2 that leaves the length as it is."""
    return 2.0 * np.arcsin(0.5 * np.sqrt(np.asarray(square, float)))


def residual(weights: np.ndarray, shrink: np.ndarray, momentum: float) -> np.ndarray:
    """(1), left less right over |w_t|^2, of w (F, ..., n) at neighbouring steps: (F - 2, ...), 0 to rounding.

    shrink (F - 1, ...) is r lambda of the steps between the frames.
    """
    square = (weights[1:-1] ** 2).sum(-1)
    before, after = (weights[:-2] * weights[1:-1]).sum(-1), (weights[1:-1] * weights[2:]).sum(-1)
    return np.asarray((after + momentum * before) / square - (1.0 + momentum - shrink[1:]))
