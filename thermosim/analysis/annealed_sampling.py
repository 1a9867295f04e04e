"""Annealed importance sampling of an integral over a latent: ln p(x) between a bound from below and one from above.

    p(x) = int dz N(z; 0, 1) exp(l(z)),   l(z) = ln p(x|z);   p_b(z) ~ N(z; 0, 1) exp(b l(z)),   0 = b_0 < ... < b_n = 1

The protocol b drives z in the energy -ln N(z) - b l(z) at temperature 1: jumps of b do the work
W = -sum (b_k - b_(k-1)) l(z_(k-1)), each followed by a move that leaves p_(b_k) invariant. The equality
of Jarzynski, with dF = -ln p(x), reads

    <exp(-W)> = p(x),            z_0 from the prior             E ln mean exp(-W)  <=  ln p(x)       (mean of chains)
    <exp(-W_reverse)> = 1/p(x),  z_n from p(z|x), b backwards   E -ln mean exp(-W_reverse)  >=  ln p(x)

exactly, however fast the protocol, and the bounds close in as it slows down: their distance is at most the dissipated
work of both ways. An x that was simulated comes with an exact z from p(z|x), which all reverse chains of it start from.
A move is a Metropolis-adjusted path of leapfrog steps (hybrid Monte Carlo), of a length drawn anew for each.

Sources: R. M. Neal, Stat. Comput. 11, 125 (2001); R. B. Grosse, Z. Ghahramani, R. P. Adams, arXiv:1511.02543, for the
bounds; C. Jarzynski, Phys. Rev. Lett. 78, 2690 (1997); S. Duane et al., Phys. Lett. B 195, 216 (1987), for the move.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

__all__ = ["Likelihood", "forward_bound", "reverse_bound"]

# z (..., d) -> l (...) and its gradient (..., d)
Likelihood = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_LEAPS = 3  # leapfrog steps of a move
_LENGTHS = (0.1, 1.0)  # of one of them, drawn log-uniformly between: the width of the prior is 1


def forward_bound(
    likelihood: Likelihood, shape: tuple[int, ...], chains: int, jumps: int, random: np.random.Generator
) -> np.ndarray:
    """ln of the mean of exp(-W) over `chains` from the prior: shape[:-1], of latents z of this shape.

    z has the shape (chains, *shape), its last axis the latent; the likelihood is called with such.
    """
    z = random.standard_normal((chains, *shape))
    levels, work = _protocol(jumps), np.zeros(z.shape[:-1])
    state = likelihood(z)
    for before, level in itertools.pairwise(levels):
        work -= (level - before) * state[0]
        z, state = _moved(likelihood, z, state, level, random)
    return _log_mean(-work)


def reverse_bound(
    likelihood: Likelihood, posterior: np.ndarray, chains: int, jumps: int, random: np.random.Generator
) -> np.ndarray:
    """-ln of the mean of exp(-W) over `chains`, b backwards, from exact samples of p(z|x), (..., d): (...)."""
    z = np.broadcast_to(posterior, (chains, *posterior.shape)).copy()
    levels, work = _protocol(jumps), np.zeros(z.shape[:-1])
    state = likelihood(z)
    for after, level in zip(levels[-2::-1], levels[:0:-1]):
        z, state = _moved(likelihood, z, state, level, random)
        work += (level - after) * state[0]
    return -_log_mean(-work)


def _protocol(jumps: int) -> np.ndarray:
    """b from 0 to 1, slower near 0, where p_b changes most."""
    return np.linspace(0.0, 1.0, jumps + 1) ** 2


def _log_mean(exponents: np.ndarray) -> np.ndarray:
    """ln of the mean of exp over the first axis."""
    return np.asarray(np.logaddexp.reduce(exponents, axis=0) - np.log(len(exponents)))


def _moved(
    likelihood: Likelihood,
    z: np.ndarray,
    state: tuple[np.ndarray, np.ndarray],
    level: float,
    random: np.random.Generator,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """z and l with its gradient after a move that leaves p_b invariant, b = level."""
    low, high = np.log(_LENGTHS)
    length = np.exp(random.uniform(low, high, z.shape[:-1]))[..., None]
    speed, place, (value, slope) = random.standard_normal(z.shape), z, state
    energy = 0.5 * np.sum(speed**2 + z**2, axis=-1) - level * value
    for _ in range(_LEAPS):
        speed = speed + 0.5 * length * (level * slope - place)
        place = place + length * speed
        value, slope = likelihood(place)
        speed = speed + 0.5 * length * (level * slope - place)
    gain = 0.5 * np.sum(speed**2 + place**2, axis=-1) - level * value - energy
    accepted = -np.log1p(-random.random(gain.shape)) > gain
    kept = accepted[..., None]
    return np.where(kept, place, z), (np.where(accepted, value, state[0]), np.where(kept, slope, state[1]))
