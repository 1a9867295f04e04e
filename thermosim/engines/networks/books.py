"""What is booked of a step of one replica, in JAX: rows of the ledger by name, each as the lanes book it.

book(told) -> what is added to the row; a row in LAST takes the value instead. Sums are those of float64. What an update
says of a row by its name comes before the book here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from thermosim.engines.networks.updates import square

__all__ = ["BOOKS", "LAST", "Told"]


@dataclass(frozen=True)
class Told:
    """One step: theta before and after it, loss and gradient of the minibatch before it, and what its update says."""

    theta: Mapping[str, Any]
    moved: Mapping[str, Any]
    loss: Any
    gradient: Mapping[str, Any]
    said: Mapping[str, Any]
    scales: tuple[tuple[str, ...], ...] = ()  # groups that share a scale, of a scale-invariant network


def _displacement(told: Told) -> Any:
    return square({name: told.moved[name] - before for name, before in told.theta.items()})


def _of_layers(groups: Mapping[str, Any]) -> Any:
    return jnp.stack([square({name: values}) for name, values in groups.items()])


def _rotation(told: Told) -> Any:
    return jnp.stack([_turn(before, told.moved[name]) for name, before in told.theta.items()])


def _turn(before: Any, after: Any) -> Any:
    """1 - cos of the angle between two weights: (|d|^2 - (|w'| - |w|)^2)/(2 |w| |w'|), d = w' - w; 0 of no weight.

    Sums of products with d keep the digits that 1 - w.w'/(|w||w'|) loses at small angles.
    """
    w, d = (values.reshape(-1).astype(jnp.float64) for values in (before, after - before))
    own, along, square = (jnp.dot(a, b) for a, b in ((w, w), (w, d), (d, d)))
    length = jnp.sqrt(own)
    moved = jnp.sqrt(jnp.maximum(own + 2.0 * along + square, 0.0))
    whole = length * moved
    growth = jnp.where(whole > 0.0, (2.0 * along + square) / jnp.where(whole > 0.0, length + moved, 1.0), 0.0)
    return jnp.where(whole == 0.0, 0.0, (square - growth * growth) / jnp.where(whole == 0.0, 2.0, 2.0 * whole))


def _radial_cosine_square(told: Told) -> Any:
    """Of each scale; products in float64, so that it is the gradient that is told and not the sum."""
    found = []
    for names in told.scales:
        pairs = [
            [groups[name].reshape(-1).astype(jnp.float64) for name in names] for groups in (told.theta, told.gradient)
        ]
        w, g = (jnp.concatenate(parts) for parts in pairs)
        lengths = jnp.dot(w, w) * jnp.dot(g, g)
        found.append(jnp.where(lengths > 0.0, jnp.dot(w, g) ** 2 / jnp.where(lengths > 0.0, lengths, 1.0), 0.0))
    return jnp.stack(found)


BOOKS: dict[str, Callable[[Told], Any]] = {
    "loss_sum": lambda told: told.loss.astype(jnp.float64),
    "minibatch_loss": lambda told: told.loss.astype(jnp.float64),
    "gradient_square": lambda told: square(told.gradient),
    "displacement_square": _displacement,
    "layer_gradient_square": lambda told: _of_layers(told.gradient),
    "layer_rotation": _rotation,
    "layer_weight_square": lambda told: _of_layers(told.theta),
    "layer_weight_gain": lambda told: _of_layers(told.moved) - _of_layers(told.theta),
    "radial_cosine_square": _radial_cosine_square,
    "radius_growth": lambda told: square(told.moved) / square(told.theta) - 1.0,
}
LAST = frozenset({"minibatch_loss"})
