"""Losses of a minibatch in JAX: means over its rows, as `network.Network` wants them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["cross_entropy", "squared_error"]


def squared_error(outputs: Any, targets: Any) -> Any:
    """The mean over rows of |f - y|^2, of outputs and targets (B, k); no factor 1/2."""
    return jnp.mean(jnp.sum((outputs - targets) ** 2, axis=-1))


def cross_entropy(outputs: Any, classes: Any) -> Any:
    """The mean of -ln softmax(f)_y in nat, of outputs (..., k) and classes (...)."""
    chosen = jnp.take_along_axis(outputs, classes[..., None], axis=-1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(outputs, axis=-1) - chosen)
