"""The course of scale-invariant learning from a random start, by walks of the exact chain of two numbers.

z = -mu.w/|w| and r = |w| are together a Markov chain at any step (`sphere_chain`, whose symbols are used here). A walk
draws the two components of each squared gradient, g^2 = (s + sigma xi)^2 + sigma^2 chi^2_(d-2), and makes the step as
it is, without an expansion. From a start of uniform directions and one radius, means over walks are those of the
chain, with a standard error that the number of walks sets. Updates: I. Sadrtdinov et al., arXiv 2511.07308.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["course"]

_SEED = 0


def course(
    protocol: str,
    dimension: int,
    noise: np.ndarray,
    learning_rate: np.ndarray,
    weight_decay: np.ndarray,
    radius: np.ndarray,
    steps: np.ndarray,
    walks: int,
) -> Mapping[str, np.ndarray]:
    """At the steps asked for, of every walk: (F, cells..., walks). The parameters are arrays over cells.

    loss of the frame, radius, and sums since step 0 of the loss before each step and of the squared gradient.
    """
    generator = np.random.default_rng(_SEED)
    sigma, rate, decay, start = (np.asarray(v, float)[..., None] for v in (noise, learning_rate, weight_decay, radius))
    shape = (*sigma.shape[:-1], walks)
    z = _uniform_cosine(generator, dimension, shape)
    square = np.broadcast_to(start**2, shape).copy()
    sums = {"loss_sum": np.zeros(shape), "gradient_square": np.zeros(shape)}
    frames: dict[str, list[np.ndarray]] = {name: [] for name in ("loss", "radius", *sums)}
    for step in range(int(steps[-1]) + 1):
        if step in steps:
            now = {"loss": 1.0 - z, "radius": np.sqrt(square), **sums}
            for name, values in now.items():
                frames[name].append(values.copy())
        slope = np.sqrt(np.maximum(1.0 - z**2, 0.0))
        along = slope + sigma * generator.standard_normal(shape)
        gradient = along**2
        if dimension > 2:
            gradient += sigma**2 * generator.chisquare(dimension - 2, shape)
        sums["loss_sum"] += 1.0 - z
        sums["gradient_square"] += gradient
        shrink, stride = _factors(protocol, rate, decay, square)
        growth = shrink**2 + stride**2 * gradient
        z = (shrink * z + stride * along * slope) / np.sqrt(growth)
        if protocol != "fixed-sphere":
            square *= growth
    return {name: np.stack(values) for name, values in frames.items()}


def _factors(protocol: str, rate: np.ndarray, decay: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A and B of w' = A w - B |w| (gradient on the unit sphere)."""
    if protocol == "fixed-elr":
        return 1.0 - rate * decay * square, np.broadcast_to(rate, square.shape)
    if protocol == "fixed-lr":
        return np.broadcast_to(1.0 - rate * decay, square.shape), rate / square
    return np.ones_like(square), np.broadcast_to(rate, square.shape)


def _uniform_cosine(generator: np.random.Generator, dimension: int, shape: tuple[int, ...]) -> np.ndarray:
    """One component of a uniform unit vector."""
    first, rest = generator.standard_normal(shape), generator.chisquare(dimension - 1, shape)
    return np.asarray(first / np.sqrt(first**2 + rest))
