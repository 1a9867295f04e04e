"""ln p(x) and L-info of variational autoencoders with a latent of any dimension, between bounds (`annealed_sampling`).

Every replica simulates x with their latents z, exact samples of p(z|x), so that ln p_r(x_r) under its own theta has
both bounds; under other replicas' theta z is unknown, and only the lower one is to be had. With P_s(x) = mean exp(-W)
of forward chains under theta_s, an unbiased estimate of p_s(x), and averages over replicas r and their x,

    < ln P_r(x_r) - ln (1/R) sum_s P_s(x_r) >  <=  L-info
    L-info  <=  < -ln mean exp(-W_reverse) - ln mean_{s != r} P_s(x_r) >

on average over ensembles: in the first the classifier q(r|x) = P_r/sum P_s, which draws its chains without knowing r,
tells no more of r than x does (I >= ln R + <ln q>), and no more than the ensemble that the R replicas are drawn from;
in the second the first term is above ln p_r, and by Jensen's inequality ln of the mean over others is below ln of the
mixture. Sources: those of `annealed_sampling`; D. Barber, F. Agakov, NIPS 2003, for the classifier; S. S. Parsi,
Entropy 26, 112 (2024), Eq. 25, for L-info.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import expit

from thermosim.analysis.annealed_sampling import Likelihood, forward_bound, reverse_bound
from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.information import assembled, mean_and_error, parameters_of
from thermosim.analysis.machine import Machine, machines
from thermosim.models.latent_rules import layer_shapes

__all__ = ["bit_likelihood", "latent_bounds"]


@of_survivors
def latent_bounds(
    ds: xr.Dataset, step: int = -1, replicas: int = 16, samples: int = 16, chains: int = 4, jumps: int = 100
) -> xr.Dataset:
    """Bounds at one frame, of the first `replicas`, each with `samples` simulated x: the sweep axes, and a step.

    surprisal_upper, surprisal_lower: above and below <-ln p_r(x_r)>, the entropy of x given theta; information_lower,
    information_upper: of L-info. Every bound holds on average, and has its error over replicas. More `jumps`, or
    chains, bring bounds together. Raises ValueError for another model than `vae`, fewer than two replicas, or where
    theta was not recorded.
    """
    if min(samples, chains, jumps) < 1 or replicas < 2:
        raise ValueError("samples, chains and jumps are at least 1 each, replicas at least 2")
    last = ds.isel(step=[step])
    rows = [_of_point(machine, replicas, samples, chains, jumps) for machine in machines(last)]
    meanings = {
        "surprisal_lower": ("nat", "lower bound of <-ln p(x)> on simulated x, protocol backwards"),
        "surprisal_upper": ("nat", "upper bound of <-ln p(x)> on simulated x, protocol forward"),
        "information_lower": ("nat", "lower bound of L-info, by a classifier of replicas"),
        "information_upper": ("nat", "upper bound of L-info, mixture without the replica itself"),
    }
    condition = "on average over chains and ensembles, at any number of jumps"
    return assembled(last, rows, meanings, "annealed importance sampling", condition)


def bit_likelihood(machine: Machine, theta: np.ndarray, x: np.ndarray) -> Likelihood:
    """l(z) = ln p(x|z) and its gradient, for x (R, K, n), those of a replica under its own theta (R, m)."""
    weights, rectified = _decoder(machine, theta)

    def likelihood(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, slopes = _through(weights, rectified, z)
        value = np.sum(x * logits - np.logaddexp(0.0, logits), axis=-1)
        back = x - expit(logits)
        for w, slope in zip(weights[:0:-1], slopes[::-1]):
            back = (back @ w[:, :, :-1]) * slope
        return value, back @ weights[0][:, :, :-1]

    return likelihood


def _decoder(machine: Machine, theta: np.ndarray) -> tuple[list[np.ndarray], bool]:
    """Weights (R, out, in + 1) of every layer of the decoder, and whether its units are rectified."""
    shapes = layer_shapes(machine.constants, "decoder")
    sizes = [b * a for b, a in shapes]
    flat = np.split(theta[:, theta.shape[1] - sum(sizes) :], np.cumsum(sizes)[:-1], axis=1)
    weights = [part.reshape(len(theta), *shape) for part, shape in zip(flat, shapes)]
    return weights, machine.constants["activation"] == "relu"


def _through(weights: list[np.ndarray], rectified: bool, z: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits (..., R, K, n) at z (..., R, K, latent), and the slopes of the units of each hidden layer."""
    h, slopes = z, []
    for number, w in enumerate(weights, start=1):
        h = h @ np.swapaxes(w[:, :, :-1], 1, 2) + w[:, None, :, -1]
        if number < len(weights):
            h = np.maximum(h, 0.0) if rectified else np.tanh(h)
            slopes.append(1.0 * (h > 0.0) if rectified else 1.0 - h**2)
    return h, slopes


def _of_point(machine: Machine, replicas: int, samples: int, chains: int, jumps: int) -> dict[str, np.ndarray]:
    if machine.model.name != "vae":
        raise ValueError(f"model {machine.model.name!r} has no latent to anneal: these bounds are of 'vae'")
    theta = parameters_of(machine, 0)[:replicas]
    count, latent = len(theta), int(machine.constants["latent"])
    address = (int(machine.settings.ensemble.seed), machine.place, int(machine.steps[0]))
    random = np.random.default_rng(address)
    z = random.standard_normal((count, samples, latent))
    chance = expit(_through(*_decoder(machine, theta), z)[0])
    x = 1.0 * (random.random(chance.shape) < chance)
    above = reverse_bound(bit_likelihood(machine, theta, x), z, chains, jumps, random)
    below = np.empty((count, count, samples))  # of the theta of s, at the x of r
    for s in range(count):
        own = np.broadcast_to(theta[s], theta.shape)
        below[s] = forward_bound(bit_likelihood(machine, own, x), z.shape, chains, jumps, random)
    of_own = below[np.arange(count), np.arange(count)]
    mixture = np.logaddexp.reduce(below, axis=0) - np.log(count)
    others = np.where(np.eye(count, dtype=bool)[:, :, None], -np.inf, below)
    without = np.logaddexp.reduce(others, axis=0) - np.log(count - 1)
    found = {
        "surprisal_lower": -above,
        "surprisal_upper": -of_own,
        "information_lower": of_own - mixture,
        "information_upper": above - without,
    }
    result: dict[str, np.ndarray] = {}
    for name, values in found.items():
        mean, error = mean_and_error(values.mean(axis=1))
        result |= {name: np.array([mean]), f"{name}_error": np.array([error])}
    return result
