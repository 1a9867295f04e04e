"""ln p(x|z) of the models with a latent, and x of it, in plain numpy: of many replicas and their x at once.

    vae    x_d = 1 with probability 1/(1 + exp(-a_d)), or 0       ln p(x|z) = sum_d x_d a_d - ln(1 + exp(a_d))
    gan    x = a + s xi,  xi ~ N(0, 1)                            ln p(x|z) = -|x - a|^2/(2 s^2) - (n/2) ln(2 pi s^2)

a(z) is the last layer of the decoder or the generator, whose weights come last in theta. Sources: those of the models.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from thermosim.analysis.annealed_sampling import Likelihood
from thermosim.analysis.machine import Machine
from thermosim.models.latent_rules import layer_shapes, rule

__all__ = ["likelihood_of", "moments_by_rule", "require_latent", "simulated"]

_PARTS = {"vae": "decoder", "gan": "generator"}  # that makes x of z


def require_latent(machine: Machine) -> None:
    """Raise ValueError where the model has none."""
    if machine.model.name not in _PARTS:
        raise ValueError(f"model {machine.model.name!r} has no latent to anneal: these bounds are of 'vae' and 'gan'")


def simulated(machine: Machine, theta: np.ndarray, z: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """x (R, K, n) from p(x|z) at z (R, K, latent), those of a replica under its own theta (R, m)."""
    a = _through(*_weights(machine, theta), z)[0]
    if machine.model.discrete:
        return 1.0 * (random.random(a.shape) < expit(a))
    return np.asarray(a + float(machine.constants["pixel_noise"]) * random.standard_normal(a.shape))


def likelihood_of(machine: Machine, theta: np.ndarray, x: np.ndarray) -> Likelihood:
    """l(z) = ln p(x|z) and its gradient, for x (R, K, n), those of a replica under its own theta (R, m)."""
    weights, rectified = _weights(machine, theta)
    bits, noise = machine.model.discrete, float(machine.constants.get("pixel_noise", 1.0))
    constant = x.shape[-1] * np.log(np.sqrt(2.0 * np.pi) * noise)

    def likelihood(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, slopes = _through(weights, rectified, z)
        if bits:
            value = np.sum(x * a - np.logaddexp(0.0, a), axis=-1)
            back = x - expit(a)
        else:
            value = -0.5 * np.sum((x - a) ** 2, axis=-1) / noise**2 - constant
            back = (x - a) / noise**2
        for w, slope in zip(weights[:0:-1], slopes[::-1]):
            back = (back @ w[:, :, :-1]) * slope
        return value, back @ weights[0][:, :, :-1]

    return likelihood


def moments_by_rule(machine: Machine, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """<sum_d x_d> and <|x|^2> of each theta (R, m), by the rule for the latent: (R,), (R,)."""
    nodes, log_weights = rule(machine.constants)
    z = np.broadcast_to(nodes, (len(theta), *nodes.shape))
    a, weights = _through(*_weights(machine, theta), z)[0], np.exp(log_weights)
    if machine.model.discrete:
        mean = expit(a)
        variance = mean * (1.0 - mean)
    else:
        mean, variance = a, np.full_like(a, float(machine.constants["pixel_noise"]) ** 2)
    return mean.sum(axis=-1) @ weights, np.sum(mean**2 + variance, axis=-1) @ weights


def _weights(machine: Machine, theta: np.ndarray) -> tuple[list[np.ndarray], bool]:
    """Weights (R, out, in + 1) of every layer that makes x of z, and whether its units are rectified."""
    shapes = layer_shapes(machine.constants, _PARTS[machine.model.name])
    sizes = [b * a for b, a in shapes]
    flat = np.split(theta[:, theta.shape[1] - sum(sizes) :], np.cumsum(sizes)[:-1], axis=1)
    weights = [part.reshape(len(theta), *shape) for part, shape in zip(flat, shapes)]
    return weights, machine.constants["activation"] == "relu"


def _through(weights: list[np.ndarray], rectified: bool, z: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """a (..., R, K, n) at z (..., R, K, latent), and the slopes of the units of each hidden layer."""
    h, slopes = z, []
    for number, w in enumerate(weights, start=1):
        h = h @ np.swapaxes(w[:, :, :-1], 1, 2) + w[:, None, :, -1]
        if number < len(weights):
            h = np.maximum(h, 0.0) if rectified else np.tanh(h)
            slopes.append(1.0 * (h > 0.0) if rectified else 1.0 - h**2)
    return h, slopes
