"""Charges of the continuous symmetries of a loss: what one step of SGD makes of them, exactly, and when they rest.

Where l(exp(s A) theta) = l(theta) for a symmetric A, the gradient g of any batch has theta'A g = 0. One step of
theta <- (1 - 2 eta gamma) theta - eta g, that is SGD on l + gamma |theta|^2, thus makes of C = theta'A theta/2

    C <- (1 - 2 eta gamma)^2 C + (eta^2/2) g'A g

without any other term, at every step. Adjacent linear layers give a matrix of charges, without the 1/2:

    W_i W_i' - W_{i+1}'W_{i+1} <- (1 - 2 eta gamma)^2 (the same) + eta^2 (g_i g_i' - g_{i+1}'g_{i+1})

In a stationary state the means balance, with the exact factor of a finite step:

    E[g'A g] = (4 gamma/eta)(1 - eta gamma) E[theta'A theta]

With a symmetric matrix of learning rates, theta <- theta - Lambda g, there is such a charge where A and Lambda commute:
C = theta'Lambda^-1 A theta/2 is conserved by the flow, and one step makes of it

    C <- C + (1/2) g'A Lambda g

exactly. Where they do not, no quadratic form of theta is conserved: A theta is orthogonal to g, so the gradient of the
charge would have to be Lambda^-1 A theta, which is one only if Lambda^-1 A is symmetric. Weight decay inside Lambda
breaks the exact step: its cross term g'A Lambda theta is not 0.

gamma is half of the weight decay of a case. Sources: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), for the
balance to leading order; L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), for the charges; exact steps
by hand.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "charge",
    "layer_charge",
    "master_balance",
    "next_charge",
    "next_layer_charge",
    "next_preconditioned_charge",
    "preconditioned_charge",
]

_COMMUTE = 1e-12  # relative size of a commutator that is rounding


def charge(theta: np.ndarray, generator: np.ndarray) -> np.ndarray:
    """theta'A theta/2 of theta (..., m), for A (m, m): (...)."""
    return np.asarray(0.5 * np.einsum("...i,ij,...j->...", theta, generator, theta))


def next_charge(
    before: np.ndarray, gradient: np.ndarray, generator: np.ndarray, *, learning_rate: float, decay: float = 0.0
) -> np.ndarray:
    """The charge (...) after one step at the gradient (..., m) of l, decay not in it."""
    gained = learning_rate**2 * charge(gradient, generator)
    return np.asarray((1.0 - 2.0 * learning_rate * decay) ** 2 * before + gained)


def preconditioned_charge(theta: np.ndarray, generator: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """theta'Lambda^-1 A theta/2 (...) of theta (..., m), Lambda (m, m). Raises ValueError where none is conserved."""
    _require_commuting(generator, rates)
    return charge(theta, np.linalg.solve(rates, generator))


def next_preconditioned_charge(
    before: np.ndarray, gradient: np.ndarray, generator: np.ndarray, rates: np.ndarray
) -> np.ndarray:
    """The same after theta <- theta - Lambda g, g (..., m). Raises ValueError where none is conserved."""
    _require_commuting(generator, rates)
    return np.asarray(before + charge(gradient, generator @ rates))


def _require_commuting(generator: np.ndarray, rates: np.ndarray) -> None:
    product = generator @ rates
    if np.abs(product - product.T).max() > _COMMUTE * np.abs(product).max():
        raise ValueError("generator and learning rates do not commute: this symmetry has no conserved charge then")


def layer_charge(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """W_i W_i' - W_{i+1}'W_{i+1} (..., h, h) of W_i (..., h, n) and W_{i+1} (..., d, h)."""
    return np.asarray(first @ np.swapaxes(first, -1, -2) - np.swapaxes(second, -1, -2) @ second)


def next_layer_charge(
    before: np.ndarray,
    of_first: np.ndarray,
    of_second: np.ndarray,
    *,
    learning_rate: float,
    decay: float = 0.0,
) -> np.ndarray:
    """The charges (..., h, h) after one step at the gradients of l in W_i (..., h, n) and W_{i+1} (..., d, h)."""
    gained = learning_rate**2 * layer_charge(of_first, of_second)
    return np.asarray((1.0 - 2.0 * learning_rate * decay) ** 2 * before + gained)


def master_balance(
    gradient: np.ndarray, theta: np.ndarray, generator: np.ndarray, *, learning_rate: float, decay: float
) -> np.ndarray:
    """g'A g - (4 gamma/eta)(1 - eta gamma) theta'A theta (...), of mean 0 in a stationary state."""
    factor = 4.0 * decay / learning_rate * (1.0 - learning_rate * decay)
    return np.asarray(2.0 * (charge(gradient, generator) - factor * charge(theta, generator)))
