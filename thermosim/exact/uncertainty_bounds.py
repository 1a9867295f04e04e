"""What entropy production Sigma allows of the precision <J>^2/Var(J) of a current J, and under which conditions.

    continuous   Sigma/2                       overdamped steady states in continuous time, any duration; at
                                               any time step quadratic currents of Gaussian chains (below)
    discrete     sinh^2(g(Sigma/2))            any stationary Markov chain, any number n of steps, any odd current;
                                               g is the inverse of x tanh x
    exponential  (e^Sigma - 1)/2               the same, weaker
    additive     n (e^{Sigma/n} - 1)/2         stationary chains as n -> oo, J the sum of one antisymmetric d(x, x')
    moves        n sum_i p_i q_i/(1 - q_i)     the same J at any n; q_i the chance to leave state i, p_i its law

The discrete bound. A stationary chain with law p_st obeys P(-sigma, -J) = e^{-sigma} P(sigma, J) for any J odd under
reversal of the path and sigma = sum ln p(x'|x)/p(x|x') + ln p_st(x_0)/p_st(x_n); without the last term it does not. The
mean of that term is 0, so Sigma is the mean of the log ratios alone. Since J is odd, <J> = <J tanh(sigma/2)>, and by
Cauchy-Schwarz <J>^2/<J^2> <= t = <tanh^2(sigma/2)>, which J = tanh(sigma/2) attains. On sigma > 0 with the weight
(1 + e^{-sigma}) P(sigma), tanh^2 is a concave function of sigma tanh(sigma/2), whose mean is Sigma; so
t <= tanh^2(g(Sigma/2)), and t/(1 - t) is the bound. It grows like e^Sigma/4 and is that weak over many steps.

Gaussian chains. In a stationary chain x' = M x + noise the path y is normal with covariance C, that of the reversed
path is P C P. With E, O their half sum and difference, and +-l_i the eigenvalues of E^{-1/2} O E^{-1/2}, odd quadratic
J = y'B y have <J>^2/Var(J) <= sum_i l_i^2/(1 + l_i^2), while Sigma/2 = sum_i l_i^2/(1 - l_i^2): heat, work, log ratio
and swept areas never exceed the continuous bound, at any time step. Others may: the number of steps in which the work
was positive, less those in which it was negative, is such a current.

Moves. With f_ij = p_i p_ij, the chain f_ij (1 + a), i != j, keeps p and makes <J> larger by 1 + a; the bound is that of
Cramer and Rao. A diffusion of finite steps leaves its state always, q = 1: the bound is infinite and says nothing.

Sources: A. C. Barato, U. Seifert, Phys. Rev. Lett. 114, 158101 (2015), and J. M. Horowitz, T. R. Gingrich, Phys. Rev. E
96, 020103 (2017), at finite time, for `continuous_bound`; A. M. Timpanaro, G. Guarnieri, J. Goold, G. T. Landi, Phys.
Rev. Lett. 123, 090604 (2019), for `discrete_bound`; Y. Hasegawa, T. Van Vu, Phys. Rev. Lett. 123, 110602 (2019), for
`exponential_bound`; K. Proesmans, C. Van den Broeck, EPL 119, 20001 (2017), for `additive_bound`; I. Di Terlizzi, M.
Baiesi, J. Phys. A 52, 02LT03 (2019), for the activity in the place of entropy, in continuous time. All hold for the
precision of every linear combination, hence for <J>' C^{-1} <J> of several: A. Dechant, J. Phys. A 52, 035001 (2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["additive_bound", "continuous_bound", "discrete_bound", "exponential_bound", "moves_bound"]


def continuous_bound(entropy: ArrayLike) -> np.ndarray:
    """Sigma/2."""
    return np.asarray(0.5 * np.asarray(entropy, float))


def discrete_bound(entropy: ArrayLike) -> np.ndarray:
    """sinh^2(g(Sigma/2)); nan where Sigma is negative."""
    with np.errstate(over="ignore"):
        return np.asarray(np.sinh(_inverse(0.5 * np.asarray(entropy, float))) ** 2)


def exponential_bound(entropy: ArrayLike) -> np.ndarray:
    """(e^Sigma - 1)/2."""
    with np.errstate(over="ignore"):
        return np.asarray(0.5 * np.expm1(np.asarray(entropy, float)))


def additive_bound(entropy: ArrayLike, steps: ArrayLike) -> np.ndarray:
    """n (e^{Sigma/n} - 1)/2 of n steps that produce Sigma together."""
    count = np.asarray(steps, float)
    return np.asarray(count * exponential_bound(np.asarray(entropy, float) / count))


def moves_bound(transition: np.ndarray, law: np.ndarray, steps: int) -> float:
    """n sum_i p_i q_i/(1 - q_i) of a chain of states with transition p_ij (k, k), rows to columns, and law p (k)."""
    leaves = 1.0 - np.diag(transition)
    with np.errstate(divide="ignore"):
        return float(steps * np.sum(law * leaves / np.diag(transition)))


def _inverse(y: np.ndarray) -> np.ndarray:
    """g(y): x >= 0 with x tanh x = y, by Newton's method from above sqrt(y) and y, which are below it."""
    x = np.maximum(np.sqrt(np.where(y >= 0.0, y, np.nan)), y)
    for _ in range(20):
        slope = np.tanh(x) + x / np.cosh(np.minimum(x, 300.0)) ** 2
        x = x - np.where(slope > 0.0, (x * np.tanh(x) - y) / np.where(slope > 0.0, slope, 1.0), 0.0)
    return np.asarray(x)
