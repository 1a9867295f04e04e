"""The generative adversarial network in JAX: the network of `models.gan`, formula by formula."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from thermosim.model import Values
from thermosim.models.architectures.parts import through
from thermosim.models.latent_rules import has_rule, rule, rule_of_noise
from thermosim.network import Network

__all__ = ["gan", "players", "sampled"]

Parameters = dict[str, Any]
_TOGETHER = 64  # rows whose integral over the latent is done at one time


def gan(constants: Values) -> Network:
    """See `models.gan`."""
    latent, noise_of_pixels = int(constants["latent"]), float(constants["pixel_noise"])
    nodes, log_weights = rule(constants) if has_rule(constants) else (None, None)

    def loss(parameters: Parameters, x: Any, y: Any, noise: Any = None) -> Any:
        discriminator, generator = players(parameters, constants, x, noise)
        return discriminator + generator

    def log_probability(parameters: Parameters, x: Any) -> Any:
        if nodes is None:
            raise ValueError(
                f"ln p(x) of a latent of {latent} dimensions is known between bounds only: analysis.latent_bounds"
            )
        images = through("generator", parameters, constants, jnp.asarray(nodes, x.dtype))
        center = images.mean(axis=0)  # of no effect but on rounding
        images = (images - center) / noise_of_pixels
        of_nodes = jnp.asarray(log_weights, x.dtype) - 0.5 * jnp.sum(images**2, axis=-1)
        constant = images.shape[1] * math.log(math.sqrt(2.0 * math.pi) * noise_of_pixels)

        def of_row(row: Any) -> Any:
            u = (row - center) / noise_of_pixels
            return jax.nn.logsumexp(images @ u + of_nodes) - 0.5 * u @ u - constant

        return lax.map(of_row, x, batch_size=min(_TOGETHER, x.shape[0]))

    return Network(
        loss=loss,
        log_probability=log_probability,
        expected=loss,
        normals=latent + int(constants["dimension"]),
    )


def players(parameters: Parameters, constants: Values, x: Any, noise: Any = None) -> tuple[Any, Any]:
    """Losses of discriminator and generator, in nat; the gradient of each is that by its own parameters alone.

    noise (B, latent + n): z and xi of every row; without it, averages over z and xi by `latent_rules.rule_of_noise`.
    """
    still = jax.tree.map(lax.stop_gradient, parameters)
    size = int(constants["latent"]) + int(constants["dimension"])
    drawn, weights = (jnp.asarray(part, x.dtype) for part in rule_of_noise(size)) if noise is None else (noise, None)

    def mean(values: Any) -> Any:
        return jnp.mean(values) if weights is None else weights @ values

    def logit(of: Parameters, at: Any) -> Any:
        return through("discriminator", of, constants, at)[..., 0]

    slope = jax.grad(lambda at: jnp.sum(logit(parameters, at)))(x)
    penalty = 0.5 * float(constants["gradient_penalty"]) * jnp.mean(jnp.sum(slope**2, axis=-1))
    made = logit(parameters, sampled(still, constants, drawn))
    discriminator = jnp.mean(jax.nn.softplus(-logit(parameters, x))) + mean(jax.nn.softplus(made)) + penalty
    generator = mean(jax.nn.softplus(-logit(still, sampled(parameters, constants, drawn))))
    return discriminator, generator


def sampled(parameters: Parameters, constants: Values, normal: Any) -> Any:
    """x (K, n) = G(z) + s xi, of z and xi one after the other in normal (K, latent + n)."""
    latent = int(constants["latent"])
    images = through("generator", parameters, constants, normal[:, :latent])
    return images + float(constants["pixel_noise"]) * normal[:, latent:]
