"""How far the start of a run on the sphere still shows: averages of its start law, less those of the stationary one.

A start called "stationary" is a von Mises-Fisher law and a lognormal radius, right to first order in the step; a random
one has uniform directions and one radius. Of the difference to the exact stationary law a share exp(-t/tau) is left at
step t, tau the slowest relaxation time of the chain: a bound for what decays without a sign change.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from thermosim.analysis.sphere_frames import Cells
from thermosim.exact import von_mises_fisher
from thermosim.models.isotropic_sphere import stationary_square

__all__ = ["start_excess"]

Exact = Mapping[str, tuple[np.ndarray, np.ndarray]]


def start_excess(there: Cells, initial: str, exact: Exact) -> dict[str, np.ndarray]:
    """|start less stationary| of each quantity of `checks.ideal_gas.finite_step`, arrays over the cells."""
    start = _random(there) if initial == "random" else _stationary(there)
    value = {name: v for name, (v, _) in exact.items()}
    gap = {name: np.abs(start[name] - value[name]) for name in ("U", "S_direction", "gradient_square")}
    temperature = gap_of_log(start["T"], value["T"])
    volume = gap_of_log(start["V"], value["V"])
    variance = gap_of_log(start["loss_variance"], value["heat_capacity"] * value["T"] ** 2)
    pressure = np.zeros_like(volume)
    if there.protocol == "fixed-sphere":  # the stretch of a step is half its square, to first order
        pressure = gap_of_log(start["gradient_square"], value["gradient_square"])
    half = (there.dimension - 1) / 2
    logarithm = 2.0 * np.abs(start["log_radius"] - value["log_radius"])
    return gap | {
        "U_frames": gap["U"],
        "pV_over_RT": value["pV_over_RT"] * (pressure + volume + temperature),
        "heat_capacity": value["heat_capacity"] * (variance + 2.0 * temperature),
        "radius": np.abs(start["radius"] - value["radius"]),
        "log_radius_square": logarithm,
        "S": gap["S_direction"] + half * logarithm,
        "log_radius_square_deviation": np.abs(start["deviation"] - value["log_radius_square_deviation"]),
    }


def gap_of_log(value: np.ndarray, other: np.ndarray) -> np.ndarray:
    """|value/other - 1|."""
    return np.asarray(np.abs(value / other - 1.0))


def _stationary(there: Cells) -> dict[str, np.ndarray]:
    d, noise, rate, decay = there.dimension, there.noise, there.learning_rate, there.weight_decay
    hyper = {"learning_rate": rate, "weight_decay": decay, "radius": there.radius, "constraint": there.protocol}
    square = np.broadcast_to(stationary_square(hyper, {"dimension": d, "noise": noise}), noise.shape)
    effective, spread = rate, rate * noise
    if there.protocol == "fixed-lr":
        effective, spread = rate / square, np.sqrt(rate * decay / (d - 1))
    kappa = 2.0 / (effective * noise**2)
    if there.protocol == "fixed-sphere":
        spread = np.zeros_like(noise)
    if there.protocol == "fixed-lr":
        effective = effective * np.exp(spread**2)  # the mean of 1/r^2
    return {
        "U": von_mises_fisher.energy(d, kappa),
        "loss_variance": von_mises_fisher.heat_capacity(d, kappa) / kappa**2,
        "S_direction": von_mises_fisher.entropy(d, kappa),
        "gradient_square": (d - 1) * noise**2 + von_mises_fisher.variance_identity(d, kappa),
        "T": effective * noise**2 / 2,
        "V": square / 2,
        "radius": np.sqrt(square) * np.exp(-(spread**2) / 8),
        "log_radius": np.log(square) / 2 - spread**2 / 4,
        "deviation": spread,
    }


def _random(there: Cells) -> dict[str, np.ndarray]:
    d, noise, radius = there.dimension, there.noise, there.radius
    effective = there.learning_rate / (radius**2 if there.protocol == "fixed-lr" else 1.0)
    one = np.ones_like(noise)
    return {
        "U": one,
        "loss_variance": one / d,
        "S_direction": von_mises_fisher.entropy(d, 1e-6 * one),
        "gradient_square": (d - 1) * (noise**2 + 1.0 / d),
        "T": effective * noise**2 / 2,
        "V": radius**2 / 2,
        "radius": radius,
        "log_radius": np.log(radius),
        "deviation": 0.0 * one,
    }
