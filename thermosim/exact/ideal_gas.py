"""Scale-invariant learning as an ideal gas: the dictionary, to leading order in the step.

    T = eta_eff sigma^2/2    V = r^2/2    R = (d-1)/2    p = lambda (on the sphere (d-1) T/r^2)    p V = R T
    fixed-elr     T = eta_eff sigma^2/2                   r^2 = (d-1) T/lambda
    fixed-lr      T = sqrt(eta lambda sigma^2/(2 (d-1)))  r^4 = eta sigma^2 (d-1)/(2 lambda)    eta_eff = eta/r^2
    fixed-sphere  T = eta_eff sigma^2/2                   r given

U and the entropy of the direction are those of the von Mises-Fisher law, S = S(direction) + (d-1) ln r. The steps of a
run shift all of this by a relative amount of about eta_eff/2: `sphere_chain` has the law at finite step.

Source: I. Sadrtdinov et al., arXiv 2511.07308. Symbols: eta, eta_eff -> learning_rate, lambda -> weight_decay,
sigma -> noise. One unit of time is one step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thermosim.exact import von_mises_fisher

__all__ = [
    "MAXWELL_SLOPES",
    "PROTOCOLS",
    "IdealGas",
    "gibbs_map",
    "helmholtz_map",
    "low_temperature_energy",
    "low_temperature_entropy",
    "maxwell_slopes",
    "radius_fluctuation",
    "radius_relaxation_rate",
    "radius_transient",
    "state",
]

PROTOCOLS = ("fixed-elr", "fixed-lr", "fixed-sphere")

# dS/d ln(axis) in units of R = (d-1)/2, the other axes held; "relation" is the combination a Maxwell relation fixes
MAXWELL_SLOPES = {
    "fixed-elr": {"learning_rate": 2.0, "weight_decay": -1.0, "relation": -1.0},
    "fixed-lr": {"learning_rate": 1.0, "weight_decay": 0.0, "relation": 1.0},
    "fixed-sphere": {"learning_rate": 1.0, "radius": 2.0, "relation": 2.0},
}


@dataclass(frozen=True)
class IdealGas:
    """A stationary state; the arrays broadcast. Energies in units of the loss, entropies in nats."""

    protocol: str
    dimension: int
    temperature: np.ndarray
    radius: np.ndarray
    effective_learning_rate: np.ndarray
    pressure: np.ndarray

    @property
    def gas_constant(self) -> float:
        """R = (d-1)/2."""
        return (self.dimension - 1) / 2

    @property
    def volume(self) -> np.ndarray:
        """V = r^2/2, conjugate to the weight decay."""
        return self.radius**2 / 2

    @property
    def energy(self) -> np.ndarray:
        """U = E L, exact von Mises-Fisher."""
        return von_mises_fisher.energy(self.dimension, 1 / self.temperature)

    @property
    def heat_capacity(self) -> np.ndarray:
        """C_V = dU/dT, exact von Mises-Fisher."""
        return von_mises_fisher.heat_capacity(self.dimension, 1 / self.temperature)

    @property
    def direction_entropy(self) -> np.ndarray:
        """Entropy of w/|w| on the unit sphere, exact von Mises-Fisher."""
        return von_mises_fisher.entropy(self.dimension, 1 / self.temperature)

    @property
    def entropy(self) -> np.ndarray:
        """S = S(direction) + (d-1) ln r; the spread of the radius is neglected."""
        return self.direction_entropy + (self.dimension - 1) * np.log(self.radius)

    @property
    def gradient_square(self) -> np.ndarray:
        """E |w|^2 |g|^2 = (d-1) sigma^2 + |grad L|^2, with sigma^2 = 2 T/eta_eff."""
        slope = von_mises_fisher.variance_identity(self.dimension, 1 / self.temperature)
        return 4 * self.gas_constant * self.temperature / self.effective_learning_rate + slope

    @property
    def enthalpy(self) -> np.ndarray:
        """H = U + p V."""
        return self.energy + self.pressure * self.volume

    @property
    def helmholtz(self) -> np.ndarray:
        """F = U - T S."""
        return self.energy - self.temperature * self.entropy

    @property
    def gibbs(self) -> np.ndarray:
        """G = U - T S + p V."""
        return self.helmholtz + self.pressure * self.volume


def state(
    protocol: str,
    dimension: int,
    noise: ArrayLike,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    radius: ArrayLike = 1.0,
    *,
    gradient: bool = False,
) -> IdealGas:
    """The stationary state; with `gradient`, the radius (pressure) counts |grad L|^2 besides the noise.

    Raises KeyError for an unknown protocol. learning_rate is eta for "fixed-lr" and eta_eff otherwise.
    """
    noise, learning_rate = np.asarray(noise, float), np.asarray(learning_rate, float)
    weight_decay, radius = np.asarray(weight_decay, float), np.asarray(radius, float)
    degrees = dimension - 1
    if protocol == "fixed-lr":
        temperature = np.sqrt(learning_rate * weight_decay * noise**2 / (2 * degrees))
    else:
        temperature = {"fixed-elr": learning_rate, "fixed-sphere": learning_rate}[protocol] * noise**2 / 2
    growth = degrees * noise**2
    if gradient:
        growth = growth + von_mises_fisher.variance_identity(dimension, 1 / temperature)
    if protocol == "fixed-lr":
        length = (learning_rate * growth / (2 * weight_decay)) ** 0.25
        effective, pressure = learning_rate / length**2, weight_decay
    elif protocol == "fixed-elr":
        length = np.sqrt(learning_rate * growth / (2 * weight_decay))
        effective, pressure = learning_rate, weight_decay
    else:
        length, effective, pressure = radius, learning_rate, learning_rate * growth / (2 * radius**2)
    if gradient and protocol == "fixed-lr":
        temperature = effective * noise**2 / 2
    return IdealGas(protocol, dimension, *np.broadcast_arrays(temperature, length, effective, pressure))


def low_temperature_energy(dimension: int, temperature: ArrayLike) -> np.ndarray:
    """U = R T, for (d-1) T << 1."""
    return (dimension - 1) / 2 * np.asarray(temperature, float)


def low_temperature_entropy(dimension: int, temperature: ArrayLike, volume: ArrayLike = 0.5) -> np.ndarray:
    """S = R ln T + R ln V + R ln(4 pi e), for (d-1) T << 1; V = 1/2 (r = 1) gives the entropy of the direction."""
    return (dimension - 1) / 2 * np.log(4 * np.pi * math.e * np.asarray(temperature, float) * np.asarray(volume, float))


def maxwell_slopes(protocol: str, dimension: int) -> dict[str, float]:
    """dS/d ln(axis) at low temperature, and under "relation" the value a Maxwell relation fixes at any temperature.

    fixed-elr: dS/d ln lambda; fixed-lr: dS/d ln eta - dS/d ln lambda; fixed-sphere: dS/d ln r.
    """
    return {axis: slope * (dimension - 1) / 2 for axis, slope in MAXWELL_SLOPES[protocol].items()}


def radius_relaxation_rate(
    protocol: str, dimension: int, noise: ArrayLike, learning_rate: ArrayLike, weight_decay: ArrayLike
) -> np.ndarray:
    """Rate per step at which a small deviation of ln r decays: 4 eta lambda, or eta_eff^2 (d-1) sigma^2."""
    learning_rate = np.asarray(learning_rate, float)
    if protocol == "fixed-lr":
        return 4 * learning_rate * np.asarray(weight_decay, float)
    return learning_rate**2 * (dimension - 1) * np.square(noise)


def radius_transient(
    protocol: str,
    dimension: int,
    noise: ArrayLike,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    initial_radius: ArrayLike,
    steps: ArrayLike,
) -> np.ndarray:
    """r(t) from r(0): v = r^4 relaxes exponentially at fixed-lr, u = r^2 is logistic at fixed-elr. All broadcast."""
    gas = state(protocol, dimension, noise, learning_rate, weight_decay, initial_radius)
    rate = radius_relaxation_rate(protocol, dimension, noise, learning_rate, weight_decay)
    remaining = np.exp(-rate * np.asarray(steps, float))
    if protocol == "fixed-lr":
        return (gas.radius**4 + (np.asarray(initial_radius, float) ** 4 - gas.radius**4) * remaining) ** 0.25
    if protocol == "fixed-elr":
        return gas.radius / np.sqrt(1 + ((gas.radius / initial_radius) ** 2 - 1) * remaining)
    return np.broadcast_to(initial_radius, remaining.shape) + 0.0


def radius_fluctuation(
    protocol: str, dimension: int, noise: ArrayLike, learning_rate: ArrayLike, weight_decay: ArrayLike = 0.0
) -> np.ndarray:
    """Standard deviation of ln r^2: eta_eff sigma, or sqrt(eta lambda/(d-1)); 0 on the sphere."""
    noise, learning_rate = np.broadcast_arrays(np.asarray(noise, float), np.asarray(learning_rate, float))
    if protocol == "fixed-lr":
        return np.sqrt(learning_rate * np.asarray(weight_decay, float) / (dimension - 1))
    return learning_rate * noise if protocol == "fixed-elr" else np.zeros(noise.shape)


def helmholtz_map(dimension: int, temperature: ArrayLike, target: ArrayLike, volume: ArrayLike) -> np.ndarray:
    """F(T; T*, V) = U(T) - T* S(T, V), smallest at T = T*. All broadcast."""
    kappa = 1 / np.asarray(temperature, float)
    entropy = von_mises_fisher.entropy(dimension, kappa) + (dimension - 1) / 2 * np.log(2 * np.asarray(volume, float))
    return von_mises_fisher.energy(dimension, kappa) - target * entropy


def gibbs_map(
    dimension: int, temperature: ArrayLike, volume: ArrayLike, target: ArrayLike, pressure: ArrayLike
) -> np.ndarray:
    """G(T, V; T*, p) = U(T) - T* S(T, V) + p V, smallest at T = T*, V = R T*/p. All broadcast."""
    return helmholtz_map(dimension, temperature, target, volume) + np.asarray(pressure, float) * volume
