"""How much of the gradients of minibatches is the same in all of them: what Adam's step is made of.

    rho = (1/d) sum_i <g_i>^2/<g_i^2>,   from K minibatches, <g_i>^2 as the mean of g_i g_i' over pairs of them

of d parameters that learn, 0 where a gradient is always 0. Of pure noise whose law is even the mean of the estimate is
exactly 0; it is exactly 1 where all minibatches are alike; in between its bias is of order 1/K.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thermosim.network import Measure

__all__ = ["SIGNAL_SHARE"]


def _signal_share(probe: Any, theta: Mapping[str, Any]) -> Any:
    import jax
    import jax.numpy as jnp

    count = int(probe.settings["batches"])

    def add(number: Any, sums: Any) -> Any:
        gradient = probe.gradient(theta, *probe.minibatch(number))
        first, second = sums
        return (
            {name: first[name] + g for name, g in gradient.items()},
            {name: second[name] + g * g for name, g in gradient.items()},
        )

    zero = {name: jnp.zeros_like(values) for name, values in theta.items()}
    first, second = jax.lax.fori_loop(0, count, add, (zero, zero))

    def shares(name: str) -> Any:
        squares = jnp.where(second[name] > 0.0, second[name], 1.0)
        pairs = (first[name] * first[name] - second[name]) / squares
        return jnp.sum(jnp.where(second[name] > 0.0, pairs, 0.0).astype(jnp.float64)) / (count - 1)

    return sum(map(shares, probe.learned)) / sum(theta[name].size for name in probe.learned)


def _all_rows(model: Any, settings: Any) -> str:
    return "theta learns from all rows, so minibatches have nothing apart" if settings.theta.batch == "all" else ""


SIGNAL_SHARE = Measure(
    "signal_share",
    "1",
    "mean square of the gradient that all minibatches have in common, over that of one, mean over parameters",
    "(1/d) sum_i <g_i>^2/<g_i^2>",
    _signal_share,
    absent=_all_rows,
)
