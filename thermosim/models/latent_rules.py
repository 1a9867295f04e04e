"""What the models with a latent, `vae` and `gan`, are made of, as numbers: shapes of layers, rules for integrals."""

from __future__ import annotations

import itertools

import numpy as np

from thermosim.model import Values

__all__ = ["has_rule", "layer_shapes", "rule", "rule_of_noise"]

_FARTHEST = 6.0  # of z
_OF_NOISE = 16  # nodes in each dimension of epsilon
_SUMMED = 2  # dimensions, at most, that a rule is for
_DRAWN = 128  # pairs of epsilon and -epsilon of a larger latent


def layer_shapes(constants: Values, part: str) -> list[tuple[int, int]]:
    """(out, in + 1) of every layer of the encoder or the decoder, the generator or the discriminator."""
    latent, n = int(constants["latent"]), int(constants["dimension"])
    units = constants[part if part in constants else "hidden"]
    hidden = [int(number) for number in (units[::-1] if part == "decoder" else units)]
    ends = {"encoder": (n, 2 * latent), "decoder": (latent, n), "generator": (latent, n), "discriminator": (n, 1)}
    first, last = ends[part]
    return [(b, a + 1) for a, b in itertools.pairwise([first, *hidden, last])]


def has_rule(constants: Values) -> bool:
    """Whether the integral over the latent is done by a rule: in one or two dimensions."""
    return int(constants["latent"]) <= _SUMMED


def rule(constants: Values) -> tuple[np.ndarray, np.ndarray]:
    """Nodes z (K, latent), and logarithms of their weights (K,)."""
    line = np.linspace(-_FARTHEST, _FARTHEST, int(constants["nodes"]))
    latent = int(constants["latent"])
    nodes = np.stack(np.meshgrid(*[line] * latent, indexing="ij"), axis=-1).reshape(-1, latent)
    logarithm = -0.5 * (nodes**2).sum(axis=1)
    return nodes, logarithm - np.logaddexp.reduce(logarithm)


def rule_of_noise(latent: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Hermite nodes epsilon (K, latent) of a normal law, and their weights (K,); of a larger latent, draws."""
    if latent > _SUMMED:
        half = np.random.default_rng(0).standard_normal((_DRAWN, latent))
        return np.concatenate([half, -half]), np.full(2 * _DRAWN, 0.5 / _DRAWN)
    line, weight = np.polynomial.hermite_e.hermegauss(_OF_NOISE)
    nodes, weights = (np.meshgrid(*[part] * latent, indexing="ij") for part in (line, weight / weight.sum()))
    return np.stack(nodes, axis=-1).reshape(-1, latent), np.prod(weights, axis=0).ravel()
