"""ln p(x) and L-info of `vae` and `gan` with a latent of any dimension, between bounds (`annealed_sampling`).

Every replica simulates x with their latents z, exact samples of p(z|x), so that ln p_r(x_r) under its own theta has
both bounds; under other replicas' theta z is unknown, and only the lower one is to be had. With P_s(x) = mean exp(-W)
of forward chains under theta_s, an unbiased estimate of p_s(x), and averages over replicas r and their x,

    < ln P_r(x_r) - ln (1/R) sum_s P_s(x_r) >  <=  L-info
    L-info  <=  < -ln mean exp(-W_reverse) - ln mean_{s != r} P_s(x_r) >

on average over ensembles: in the first the classifier q(r|x) = P_r/sum P_s, which draws its chains without knowing r,
tells no more of r than x does (I >= ln R + <ln q>), and no more than the ensemble that the R replicas are drawn from;
in the second the first term is above ln p_r, and by Jensen's inequality ln of the mean over others is below ln of the
mixture. Of rows held out (data.test) no z is known either, so that -ln p of them has an upper bound alone. With a
density of real x surprisals may be negative.

Sources: those of `annealed_sampling`; Y. Wu et al., ICLR 2017, arXiv:1611.04273, for rows held out of a generator with
pixel noise; D. Barber, F. Agakov, NIPS 2003, for the classifier; S. S. Parsi, Entropy 26, 112 (2024), Eq. 25, for
L-info.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.annealed_sampling import forward_bound, reverse_bound
from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.information import assembled, mean_and_error, parameters_of
from thermosim.analysis.latent_likelihoods import likelihood_of, require_latent, simulated
from thermosim.analysis.machine import Machine, machines

__all__ = ["latent_bounds"]


@of_survivors
def latent_bounds(
    ds: xr.Dataset, step: int = -1, replicas: int = 16, samples: int = 16, chains: int = 4, jumps: int = 100
) -> xr.Dataset:
    """Bounds at one frame, of the first `replicas`, each with `samples` simulated x: the sweep axes, and a step.

    surprisal_upper, surprisal_lower: above and below <-ln p_r(x_r)>, the entropy of x given theta; information_lower,
    information_upper: of L-info; test_surprisal_upper, where the case has data.test: above the mean of -ln p_r over
    `samples` of its rows, evenly spaced, or all. Every bound holds on average, and has its error over replicas. More
    `jumps`, or chains, bring bounds together. Raises ValueError for another model than `vae` and `gan`, fewer than two
    replicas, or where theta was not recorded, DataError where the rows are not to be had.
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
    if "test_surprisal_upper" in rows[0]:
        meanings["test_surprisal_upper"] = ("nat", "upper bound of <-ln p(x)> on rows held out, protocol forward")
    condition = "on average over chains and ensembles, at any number of jumps"
    return assembled(last, rows, meanings, "annealed importance sampling", condition)


def _of_point(machine: Machine, replicas: int, samples: int, chains: int, jumps: int) -> dict[str, np.ndarray]:
    require_latent(machine)
    theta = parameters_of(machine, 0)[:replicas]
    count, latent = len(theta), int(machine.constants["latent"])
    address = (int(machine.settings.ensemble.seed), machine.place, int(machine.steps[0]))
    random = np.random.default_rng(address)
    z = random.standard_normal((count, samples, latent))
    x = simulated(machine, theta, z, random)
    above = reverse_bound(likelihood_of(machine, theta, x), z, chains, jumps, random)
    below = np.empty((count, count, samples))  # of the theta of s, at the x of r
    for s in range(count):
        own = np.broadcast_to(theta[s], theta.shape)
        below[s] = forward_bound(likelihood_of(machine, own, x), z.shape, chains, jumps, random)
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
    if (rows := machine.test_rows) is not None:
        some = rows[np.linspace(0, len(rows) - 1, min(samples, len(rows))).round().astype(int)]
        x = np.broadcast_to(some, (count, *some.shape))
        found["test_surprisal_upper"] = -forward_bound(
            likelihood_of(machine, theta, x), (*x.shape[:2], latent), chains, jumps, random
        )
    result: dict[str, np.ndarray] = {}
    for name, values in found.items():
        mean, error = mean_and_error(values.mean(axis=1))
        result |= {name: np.array([mean]), f"{name}_error": np.array([error])}
    return result
