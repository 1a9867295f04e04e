"""SGD of scale-invariant networks at a fixed learning rate, a fixed effective one, or on a sphere: of one replica.

    fixed-lr      w' = w - r (g + lambda w)
    fixed-elr     w' = w - r |w|^2 (g + lambda w)
    fixed-sphere  w' = R v/|v|,   v = w - r R^2 g

w are all parameters together, as in the paper, or those that share a scale by themselves, each with its own |w|. Booked
are gradient_square |w|^2 |g|^2, radius_growth |w'|^2/|w|^2 - 1 and, on the sphere, stretch |v|/|w| - 1, where |w| is R
but for its rounding; they are summed over scales where these have radii of their own.

Source: I. Sadrtdinov et al., arXiv:2511.07308; of lanes, `kernels.theta_moves.scale_invariant`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from thermosim.engines.networks.updates import Groups, Step, square
from thermosim.plan.block import Block

__all__ = ["constrained", "scales_of"]


def scales_of(block: Block) -> tuple[tuple[str, ...], ...]:
    """Groups of parameters that share a scale; none of a network that is not scale-invariant."""
    return () if block.model.scales is None else block.model.scales(block.model_constants)


def constrained(
    constraint: str, parts: Sequence[Sequence[str]]
) -> Callable[..., tuple[Groups, Groups, dict[str, Any]]]:
    """The update at this constraint, of parts of theta that have a radius each."""
    move = {"fixed-lr": _fixed_lr, "fixed-elr": _fixed_elr, "fixed-sphere": _fixed_sphere}[constraint]

    def update(theta: Groups, memory: Groups, g: Groups, of: Step) -> tuple[Groups, Groups, dict[str, Any]]:
        moved, said = Groups(), dict[str, Any]()
        for names in parts:
            w, slope = ({name: groups[name] for name in names} for groups in (theta, g))
            there, told = move(w, slope, square(w), of)
            moved |= there
            length = square(w)
            told["gradient_square"] = length * square(slope)
            told["radius_growth"] = square(there) / length - 1.0
            said = {name: value + said.get(name, 0.0) for name, value in told.items()}
        return moved, memory, said

    return update


def _fixed_lr(w: Groups, g: Groups, length: Any, of: Step) -> tuple[Groups, dict[str, Any]]:
    rate, decay = of.hyper["learning_rate"], of.hyper["weight_decay"]
    return {name: values - rate * (g[name] + decay * values) for name, values in w.items()}, {}


def _fixed_elr(w: Groups, g: Groups, length: Any, of: Step) -> tuple[Groups, dict[str, Any]]:
    decay = of.hyper["weight_decay"]
    rate = of.hyper["learning_rate"] * length.astype(decay.dtype)
    return {name: values - rate * (g[name] + decay * values) for name, values in w.items()}, {}


def _fixed_sphere(w: Groups, g: Groups, length: Any, of: Step) -> tuple[Groups, dict[str, Any]]:
    radius = of.hyper["radius"]
    rate = of.hyper["learning_rate"] * radius * radius
    v = {name: values - rate * g[name] for name, values in w.items()}
    long, there = _length(v), _length(w)
    back = (radius.astype(jnp.float64) / long).astype(radius.dtype)
    return {name: values * back for name, values in v.items()}, {"stretch": long / there - 1.0}


def _length(groups: Groups) -> Any:
    """In float64: a step is longer than the radius by no more, often, than what the sum of squares rounds."""
    flat = [values.reshape(-1).astype(jnp.float64) for values in groups.values()]
    return jnp.sqrt(sum(jnp.dot(values, values) for values in flat))
