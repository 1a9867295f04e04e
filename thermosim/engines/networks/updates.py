"""The moves of theta for networks, of one replica: the formulas of `kernels.theta_moves`, group by group.

An update takes its parameters, their gradients g and what it remembers, as dicts of groups, the hyper-parameters by
name, and of each group what multiplies its learning rate and its temperature. It returns new parameters and memory, and
whatever else of a step is booked. Rates are applied as the lanes do: r (g + lambda theta), the decay coupled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

__all__ = ["UPDATES", "Step", "log_ratio", "square"]

Groups = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """What an update is told of one step of one replica."""

    hyper: Mapping[str, Any]  # numbers by name
    rates: Mapping[str, float]  # of every group, what multiplies its learning rate; 0 where it is not learned
    warmth: Mapping[str, float]  # what multiplies its temperature
    noise: Groups | None  # standard normals, of moves that take them


def square(groups: Mapping[str, Any]) -> Any:
    """The sum of squares of all numbers of some groups, in float64."""
    return sum(_square_of(values) for values in groups.values())


def _square_of(values: Any) -> Any:
    flat = values.reshape(-1).astype(jnp.float64)
    return jnp.dot(flat, flat)


def sgd(theta: Groups, memory: Groups, g: Groups, of: Step) -> tuple[Groups, Groups, dict[str, Any]]:
    """v' = beta v - r (g + lambda theta), theta' = theta + v'."""
    rate, decay = of.hyper["learning_rate"], of.hyper["weight_decay"]
    kick = {name: -of.rates[name] * rate * (g[name] + decay * w) for name, w in theta.items()}
    if memory:
        beta = of.hyper["momentum"]
        kick = {name: beta * memory[f"velocity/{name}"] + kick[name] for name in theta}
        memory = {f"velocity/{name}": kick[name] for name in theta}
    return {name: w + kick[name] for name, w in theta.items()}, memory, {}


def nesterov(theta: Groups, memory: Groups, g: Groups, of: Step) -> tuple[Groups, Groups, dict[str, Any]]:
    """v' = beta v - r (g + lambda theta), theta' = theta + beta v' - r (g + lambda theta)."""
    rate, decay, beta = of.hyper["learning_rate"], of.hyper["weight_decay"], of.hyper["momentum"]
    kick = {name: -of.rates[name] * rate * (g[name] + decay * w) for name, w in theta.items()}
    velocity = {name: beta * memory[f"velocity/{name}"] + kick[name] for name in theta}
    moved = {name: w + (beta * velocity[name] + kick[name]) for name, w in theta.items()}
    return moved, {f"velocity/{name}": value for name, value in velocity.items()}, {}


def _adam(decoupled: bool) -> Callable[..., tuple[Groups, Groups, dict[str, Any]]]:
    def adam(theta: Groups, memory: Groups, g: Groups, of: Step) -> tuple[Groups, Groups, dict[str, Any]]:
        rate, decay, epsilon = of.hyper["learning_rate"], of.hyper["weight_decay"], of.hyper["epsilon"]
        beta1, beta2 = of.hyper["beta1"], of.hyper["beta2"]
        share1 = beta1 * memory["share1"] + (1.0 - beta1)
        share2 = beta2 * memory["share2"] + (1.0 - beta2)
        moved, kept, pulls = {}, dict[str, Any](), Groups()
        for name, w in theta.items():
            slope = g[name] if decoupled else g[name] + decay * w
            mean = beta1 * memory[f"mean/{name}"] + (1.0 - beta1) * slope
            squares = beta2 * memory[f"square/{name}"] + (1.0 - beta2) * slope * slope
            pull = mean / share1 / (jnp.sqrt(squares / share2) + epsilon)
            pull = pull + decay * w if decoupled else pull
            moved[name] = w - of.rates[name] * rate * pull
            pulls[name] = of.rates[name] * pull
            kept |= {f"mean/{name}": mean, f"square/{name}": squares}
        return moved, kept | {"share1": share1, "share2": share2}, {"update_square": square(pulls)}

    return adam


def langevin(theta: Groups, memory: Groups, g: Groups, of: Step) -> tuple[Groups, Groups, dict[str, Any]]:
    """theta' = theta - r (g + lambda theta) + sqrt(2 r T) xi."""
    rate, decay, temperature = (of.hyper[key] for key in ("learning_rate", "weight_decay", "temperature"))
    assert of.noise is not None
    moved = {}
    for name, w in theta.items():
        r, t = of.rates[name] * rate, of.warmth[name] * temperature
        moved[name] = w - r * (g[name] + decay * w) + jnp.sqrt(2.0 * r * t) * of.noise[name]
    return moved, memory, {}


def log_ratio(theta: Groups, moved: Groups, g: Groups, after: Groups, of: Step) -> Any:
    """ln p(theta'|theta, b) - ln p(theta|theta', b) of `langevin`, from the gradients at both ends."""
    rate, decay, temperature = (of.hyper[key] for key in ("learning_rate", "weight_decay", "temperature"))
    assert of.noise is not None
    total = jnp.zeros((), jnp.float64)
    for name, w in theta.items():
        if of.rates[name] == 0.0:
            continue
        slope = g[name] + decay * w + after[name] + decay * moved[name]
        v = -jnp.sqrt(0.5 * of.rates[name] * rate / (of.warmth[name] * temperature)) * slope
        total += jnp.sum((v * (of.noise[name] + 0.5 * v)).astype(jnp.float64))
    return total


UPDATES: dict[str, Callable[..., tuple[Groups, Groups, dict[str, Any]]]] = {
    "sgd": sgd,
    "nesterov": nesterov,
    "adam": _adam(decoupled=False),
    "adamw": _adam(decoupled=True),
    "sgld": langevin,
    "langevin": langevin,
}
