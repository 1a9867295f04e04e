"""The variational autoencoder in JAX: the network of `models.vae`, formula by formula."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from thermosim.model import Values
from thermosim.models.architectures.parts import through
from thermosim.models.latent_rules import has_rule, rule, rule_of_noise
from thermosim.network import Network

__all__ = ["sampled", "vae"]

Parameters = dict[str, Any]


def vae(constants: Values) -> Network:
    """See `models.vae`."""
    latent = int(constants["latent"])
    nodes, log_weights = rule(constants) if has_rule(constants) else (None, None)

    def log_likelihood(parameters: Parameters, x: Any, z: Any) -> Any:
        a = through("decoder", parameters, constants, z)
        return jnp.sum(x * a - jax.nn.softplus(a), axis=-1)

    def loss(parameters: Parameters, x: Any, y: Any, noise: Any = None) -> Any:
        both = through("encoder", parameters, constants, x)
        mean, logarithm = both[:, :latent], both[:, latent:]
        width = jnp.exp(0.5 * logarithm)
        divergence = 0.5 * jnp.sum(mean**2 + width**2 - 1.0 - logarithm, axis=-1)
        if noise is not None:
            return jnp.mean(divergence - log_likelihood(parameters, x, mean + width * noise))
        epsilon, weights = (jnp.asarray(part, x.dtype) for part in rule_of_noise(latent))
        each = log_likelihood(parameters, x[:, None], mean[:, None] + width[:, None] * epsilon)
        return jnp.mean(divergence - each @ weights)

    def log_probability(parameters: Parameters, x: Any) -> Any:
        if nodes is None:
            raise ValueError(
                f"ln p(x) of a latent of {latent} dimensions is known between bounds only: analysis.latent_bounds"
            )
        a = through("decoder", parameters, constants, jnp.asarray(nodes, x.dtype))
        each = x @ a.T - jnp.sum(jax.nn.softplus(a), axis=-1) + jnp.asarray(log_weights, x.dtype)
        return jax.nn.logsumexp(each, axis=-1)

    return Network(
        loss=loss,
        features=lambda parameters, x: {"latent": through("encoder", parameters, constants, x)[:, :latent]},
        log_probability=log_probability,
        expected=loss,
        normals=latent,
    )


def sampled(parameters: Parameters, constants: Values, normal: Any, uniform: Any) -> Any:
    """x (K, n): x_d = 1 where uniform_d <= p(x_d = 1|z), z = normal."""
    a = through("decoder", parameters, constants, normal)
    return (uniform <= jax.nn.sigmoid(a)).astype(uniform.dtype)
