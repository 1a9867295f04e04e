"""The isotropic noise model of scale-invariant learning: a loss linear in the direction of w, isotropic noise.

    L(w) = 1 + mu.w/|w|,   |mu| = 1                       minimum at w/|w| = -mu, range [0, 2]
    g = P (mu + sigma xi)/|w|,   P = 1 - w w'/|w|^2,   xi ~ N(0, 1)

The gradient is orthogonal to w and scales as 1/|w|. Under SGD the direction becomes von Mises-Fisher distributed;
temperature, radius and weight decay obey the laws of an ideal gas.

Source: I. Sadrtdinov et al., arXiv 2511.07308, isotropic noise model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.kernels.elementary import fma
from thermosim.kernels.lanes import dot, weighted_sum
from thermosim.model import Constant, Model, Observable, Parameter

NOISE = DIRECTION = 0  # bound when the function is compiled

Values = Mapping[str, Any]


def stochastic_gradient(theta, normal, constants, shared, loss, gradient, work):  # type: ignore[no-untyped-def]
    """g_i = (u_i - (u.w) w_i/|w|^2)/|w| with u = mu + sigma xi; loss = 1 + mu.w/|w|."""
    parameters, lanes = theta.shape
    mu, noise = shared[DIRECTION : DIRECTION + parameters], constants[NOISE]
    square, along, across, scale = work[0], work[1], work[2], work[3]
    dot(theta, theta, square)
    weighted_sum(mu, theta, along)
    dot(normal, theta, across)
    for lane in range(lanes):
        inverse = 1.0 / math.sqrt(square[lane])
        loss[lane] = fma(along[lane], inverse, 1.0)
        across[lane] = fma(noise[lane], across[lane], along[lane]) * inverse * inverse * inverse
        along[lane] = noise[lane] * inverse
        scale[lane] = inverse
    for i in range(parameters):
        g, w, xi, mu_i = gradient[i], theta[i], normal[i], mu[i]
        for lane in range(lanes):
            g[lane] = fma(along[lane], xi[lane], fma(scale[lane], mu_i, -across[lane] * w[lane]))


def stationary_square(hyper: Values, constants: Values) -> np.ndarray:
    """Stationary |w|^2 of each replica, the mean slope of the loss included (physics of arXiv 2511.07308, Eq. 48)."""
    d, noise = constants["dimension"], constants["noise"]
    rate, decay = hyper["learning_rate"], hyper["weight_decay"]
    if hyper["constraint"] == "fixed-sphere":
        return hyper["radius"] ** 2
    if hyper["constraint"] == "fixed-elr":
        return rate * _slope_square(d, noise, rate) / (2.0 * decay)
    effective = np.sqrt(2.0 * rate * decay / (d - 1)) / noise
    return np.sqrt(rate * _slope_square(d, noise, effective) / (decay * (2.0 - rate * decay)))


def _slope_square(d: int, noise: np.ndarray, effective_rate: np.ndarray) -> np.ndarray:
    """E |w|^2 |g|^2 = (d - 1) sigma^2 + E|grad L|^2, the latter (d - 1) T A_d(1/T)."""
    from thermosim.exact import von_mises_fisher

    temperature = 0.5 * effective_rate * noise**2
    return (d - 1) * (noise**2 + temperature * von_mises_fisher.mean_cosine(d, 1.0 / temperature))


def start_random(constants: Values, hyper: Values, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Uniformly random directions at the case's radius."""
    direction = normal[: constants["dimension"]]
    return hyper["radius"] * direction / np.linalg.norm(direction, axis=0)


def start_stationary(constants: Values, hyper: Values, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Von Mises-Fisher directions, and radii with the stationary mean and spread of ln |w|^2."""
    from thermosim.exact import von_mises_fisher

    d, noise, rate, decay = constants["dimension"], constants["noise"], hyper["learning_rate"], hyper["weight_decay"]
    square = stationary_square(hyper, constants)
    if hyper["constraint"] == "fixed-lr":
        effective, spread = rate / square, np.sqrt(rate * decay / (d - 1))
    else:
        effective, spread = rate, rate * noise
    if hyper["constraint"] != "fixed-sphere":
        square = square * np.exp(spread * normal[d] - 0.5 * spread**2)
    kappa = 2.0 / (effective * noise**2)
    directions = von_mises_fisher.directions(kappa, -np.asarray(constants["direction"]), uniform, normal[:d])
    return np.asarray(np.sqrt(square) * directions)


def _generic_direction(constants: Values) -> np.ndarray:
    """A fixed unit vector away from all coordinate axes and planes."""
    vector = np.cos(1.0 + np.arange(constants["dimension"]) ** 2)
    return np.asarray(vector / np.linalg.norm(vector))


def _validate(constants: Values, settings: Any) -> list[str]:
    theta, d = settings.theta, constants["dimension"]
    if theta.constraint == "fixed-elr" and theta.initial == "stationary":
        limit = 1.0 / (constants["noise"] * np.sqrt(d - 1))
        if theta.learning_rate >= limit:
            message = (
                f"theta.learning_rate = {theta.learning_rate:g}: no stationary radius; at fixed-elr it must stay "
                f"below 1/(noise sqrt(d - 1)) = {limit:.4g}, beyond which every step lengthens w."
            )
            return [message]
    length = float(np.linalg.norm(constants["direction"]))
    if abs(length - 1.0) > 1e-9:
        return [f"model.direction has length {length:.6g}, expected a unit vector: divide it by its length"]
    return []


def _loss(theta: np.ndarray, constants: Values) -> np.ndarray:
    slope = np.einsum("...i,i->...", theta, np.asarray(constants["direction"]))
    return np.asarray(1.0 + slope / np.linalg.norm(theta, axis=-1))


def _radius(theta: np.ndarray, constants: Values) -> np.ndarray:
    return np.asarray(np.linalg.norm(theta, axis=-1))


MODEL = Model(
    name="isotropic-sphere",
    summary="scale-invariant loss 1 + mu.w/|w| with isotropic gradient noise: the ideal gas of SGD",
    source="Sadrtdinov et al., arXiv 2511.07308",
    constants=(
        Constant("dimension", 3, "length d of w", minimum=2, maximum=1000, integer=True),
        Constant(
            "noise", 1.0, "standard deviation sigma of the gradient noise at |w| = 1", minimum=0.0, exclusive=True
        ),
        Constant("direction", _generic_direction, "unit vector mu", shape=lambda c: (c["dimension"],)),
    ),
    parameters=(Parameter("w", "weights", lambda c: (c["dimension"],), lambda c: -_generic_direction(c)),),
    stochastic_gradient=stochastic_gradient,
    scale_invariant=True,
    initial_theta={"random": start_random, "stationary": start_stationary},
    validate=_validate,
    observables={
        "loss": Observable("theta", _loss, "energy", "loss of the frame", "L = 1 + mu.w/|w|"),
        "radius": Observable("theta", _radius, "1", "radius", "r = |w|"),
    },
)
