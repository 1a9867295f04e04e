"""Partition functions of restricted Boltzmann machines: by enumeration, or by annealed importance sampling.

    Z = sum_{v, h} exp(a.v + b.h + v.W h),    v in {0, 1}^n, h in {0, 1}^H

Enumeration sums over all states of the smaller layer; given these, the units of the other are independent:
Z = sum_v exp(a.v) prod_j (1 + exp(b_j + (v W)_j)).

Annealing draws v from independent units, whose partition function is known, and follows a path to the machine by one
sweep of Gibbs sampling at each temperature. Along the path W_s = s W, a_s = a + (1 - s) sum_j W_ij/2,
b_s = b + (1 - s) sum_i W_ij/2 with 0 <= s <= 1: written for units -1 and +1, the couplings grow and the fields stay.
The weight of a run is w = Z_0 prod_k f_{s_k}(v_k)/f_{s_{k-1}}(v_k) with f_s(v) = sum_h exp(...), and <w> = Z. A run
counts fully only if it reaches the typical states of the machine: where the effective number of runs
(sum w)^2/sum w^2 is small, the error is an underestimate.

Sources: R. M. Neal, Stat. Comput. 11, 125 (2001), for the weights; R. Salakhutdinov, I. Murray, Proc. ICML 25, 872
(2008), section 4, for the machine.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

__all__ = ["Estimate", "annealed", "annealed_log_weights", "enumerated", "log_normaliser"]

ENUMERABLE = 20  # units of the smaller layer that are still enumerated
_BLOCK = 12  # units enumerated at a time, in one array


class Estimate(NamedTuple):
    """ln Z, its standard error, and the number of runs that count: infinitely many where ln Z is exact."""

    value: float
    error: float
    effective_runs: float


def log_normaliser(visible_bias: np.ndarray, hidden_bias: np.ndarray, weights: np.ndarray) -> Estimate:
    """ln Z for a (n,), b (H,), W (n, H): enumerated where one layer is small enough, annealed otherwise."""
    if min(weights.shape) <= ENUMERABLE:
        return Estimate(enumerated(visible_bias, hidden_bias, weights), 0.0, np.inf)
    return annealed(annealed_log_weights(visible_bias, hidden_bias, weights))


def enumerated(visible_bias: np.ndarray, hidden_bias: np.ndarray, weights: np.ndarray) -> float:
    """ln Z for a (n,), b (H,), W (n, H), exact; takes 2^min(n, H) max(n, H) exponentials."""
    if weights.shape[0] > weights.shape[1]:
        visible_bias, hidden_bias, weights = hidden_bias, visible_bias, weights.T
    low, high = _states(min(len(visible_bias), _BLOCK)), _states(max(len(visible_bias) - _BLOCK, 0))
    split = low.shape[1]
    field, inputs = low @ visible_bias[:split], hidden_bias + low @ weights[:split]
    sums = np.empty(len(high))
    for k, state in enumerate(high):
        exponents = field + _softplus_sum(inputs + state @ weights[split:])
        sums[k] = _log_sum(exponents) + state @ visible_bias[split:]
    return _log_sum(sums)


def annealed_log_weights(
    visible_bias: np.ndarray, hidden_bias: np.ndarray, weights: np.ndarray, runs: int = 100, temperatures: int = 1000
) -> np.ndarray:
    """ln w of independent runs, (runs,), for a (n,), b (H,), W (n, H).

    The noise is seeded by the parameters: equal parameters give equal weights, different ones independent weights.
    """
    generator = _generator(visible_bias, hidden_bias, weights)
    visible_shift, hidden_shift = 0.5 * weights.sum(axis=1), 0.5 * weights.sum(axis=0)
    visible_field, hidden_field = visible_bias + visible_shift, hidden_bias + hidden_shift
    log_weights = np.full(runs, _softplus_sum(visible_field) + _softplus_sum(hidden_field))
    visible = _draw(generator, np.broadcast_to(visible_field, (runs, len(visible_field))))
    inputs = np.broadcast_to(hidden_field, (runs, len(hidden_field)))  # of the hidden units, at the temperature before
    for k in range(1, temperatures + 1):
        s = k / temperatures
        reached = hidden_field + s * (visible @ weights - hidden_shift)
        log_weights += _softplus_sum(reached) - _softplus_sum(inputs) - visible @ visible_shift / temperatures
        hidden = _draw(generator, reached)
        visible = _draw(generator, visible_field + s * (hidden @ weights.T - visible_shift))
        inputs = hidden_field + s * (visible @ weights - hidden_shift)
    return log_weights


def annealed(log_weights: np.ndarray) -> Estimate:
    """ln <w> of ln w (runs,), with its error to first order in that of <w>."""
    top = log_weights.max()
    weights = np.exp(log_weights - top)
    mean, spread = weights.mean(), weights.std(ddof=1)
    effective = weights.sum() ** 2 / (weights**2).sum()
    return Estimate(float(top + np.log(mean)), float(spread / mean / np.sqrt(len(weights))), float(effective))


def _states(n: int) -> np.ndarray:
    """All states of n units, (2^n, n)."""
    return ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1).astype(float)


def _softplus_sum(inputs: np.ndarray) -> np.ndarray:
    """sum_j ln(1 + exp(z_j)) for z (..., H)."""
    return np.asarray((np.maximum(inputs, 0.0) + np.log1p(np.exp(-np.abs(inputs)))).sum(axis=-1))


def _log_sum(exponents: np.ndarray) -> float:
    top = exponents.max()
    return float(top + np.log(np.exp(exponents - top).sum()))


def _draw(generator: np.random.Generator, inputs: np.ndarray) -> np.ndarray:
    """Units that are 1 with probability 1/(1 + exp(-z)): where z exceeds a logistic variable."""
    return (inputs > generator.logistic(size=inputs.shape)).astype(float)


def _generator(*parameters: np.ndarray) -> np.random.Generator:
    digest = hashlib.sha256()
    for part in parameters:
        digest.update(np.ascontiguousarray(part, float).tobytes())
    return np.random.default_rng(np.frombuffer(digest.digest(), np.uint32))
