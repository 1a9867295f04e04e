"""A network's functions in JAX applied to arrays, in float64: what `Evaluator` is for models with kernels.

A network with ln p(x) has the surprisal phi = -ln p(x); one that has none is a loss of its rows. Replicas are taken one
after another, each with all its rows at once, so that results do not depend on how many go together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from thermosim.kernels.evaluate import Evaluator
from thermosim.kernels.noise import normal_array, uniform_array
from thermosim.kernels.traced import compiled, jax_faults, traced
from thermosim.model import Model

__all__ = ["NetworkEvaluator", "evaluator_of"]

_ROWS = 4096  # rows that one replica takes at a time
_TOGETHER = 64  # pairs of a row and its own theta
_NUMBERS = 1 << 23  # of gradients of rows that are held at a time


def evaluator_of(model: Model, values: Mapping[str, Any]) -> Evaluator:
    """The evaluator of a model: by its kernels where it has them."""
    return Evaluator(model, values) if model.has_kernels else NetworkEvaluator(model, values)


class NetworkEvaluator(Evaluator):
    """A network at given constants. Raises ValueError where JAX is not installed."""

    def __init__(self, model: Model, values: Mapping[str, Any]) -> None:
        assert model.network is not None
        if faults := jax_faults():
            raise ValueError(faults[0])
        self.model, self.values = model, dict(values)
        self._groups = [(group.name, group.shape(values)) for group in model.groups(values)]
        self.components = model.row_length(values) - model.targets(values)
        self.parameters = sum(math.prod(shape) for _, shape in self._groups)
        self._row_length = model.row_length(values)
        with traced():
            self._network = model.network(self.values)

    def surprisal(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """phi of x (R, n), each under its own theta (R, m): (R,)."""
        return self._called("pairs", np.asarray(theta, float), np.asarray(x, float))

    def force(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Networks run without samples that move."""
        raise ValueError(f"model {self.model.name!r}: a network has no force on x here")

    def surprisals(self, points: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """phi of every point (P, n) under every theta (R, m): (R, P)."""
        points, theta = np.asarray(points, float), np.asarray(theta, float)
        out = np.empty((len(theta), len(points)))
        for first in range(0, len(points), _ROWS):
            part = points[first : first + _ROWS]
            padded = part if len(points) <= _ROWS else np.pad(part, ((0, _ROWS - len(part)), (0, 0)))
            out[:, first : first + _ROWS] = self._called("table", theta, padded)[:, : len(part)]
        return out

    def log_sum(self, points: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """ln sum_r exp(-phi_r(x)) over all theta (R, m), at every point (P, n): (P,)."""
        return np.asarray(np.logaddexp.reduce(-self.surprisals(points, theta), axis=0))

    def data_gradient(self, rows: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the loss over rows, and of its gradient, for every theta (R, m): (R,), (R, m).

        rows (K, n) are the same for all, or (R, K, n) each its own.
        """
        rows = np.asarray(rows, float)
        loss, slope = self._called(
            "gradients of one" if rows.ndim == 2 else "gradients", np.asarray(theta, float), rows
        )
        return np.asarray(loss), np.asarray(slope)

    def gradient(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """d phi/d theta at x (R, n), each under its own theta (R, m): (R, m)."""
        return self.data_gradient(np.asarray(x, float)[:, None, :], theta)[1]

    def gradient_moments(self, rows: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean over rows (K, n) of the loss, and mean and variance of the gradient of one row, for every theta (R, m).

        Returns (R,), (R, m), (R, m).
        """
        losses = self.row_losses(rows, theta)[0]
        mean, square = np.zeros(np.shape(theta)), np.zeros(np.shape(theta))
        size = max(1, _NUMBERS // np.size(theta))
        for first in range(0, len(rows), size):
            slopes = self.row_gradients(rows[first : first + size], theta)
            mean += slopes.sum(axis=1) / len(rows)
            square += (slopes**2).sum(axis=1) / len(rows)
        return losses.mean(axis=1), mean, square - mean**2

    def row_losses(self, rows: np.ndarray, theta: np.ndarray, classes: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Loss of every row (K, n) for every theta (R, m), and whether its class is predicted, NaN without: (R, K)."""
        rows, theta = np.asarray(rows, float), np.asarray(theta, float)
        loss, right = self._called("losses", theta, rows)
        return np.asarray(loss), np.asarray(right)

    def own_surprisals(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """phi of x (R, K, n), those of a replica under its own theta (R, m): (R, K)."""
        return np.asarray(self._called("own", np.asarray(theta, float), np.asarray(x, float)))

    def row_gradients(self, rows: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Gradient of the loss of every row (K, n) for every theta (R, m): (R, K, m)."""
        return np.asarray(self._called("gradients of rows", np.asarray(theta, float), np.asarray(rows, float)))

    def draw(self, theta: np.ndarray, seed: int, stream: int, block: int, first_replica: int = 0) -> np.ndarray:
        """One exact sample for each theta (R, m): (R, n). The noise has the address given."""
        return self._drawn(np.asarray(theta, float), 1, seed, stream, block, first_replica)[:, 0]

    def draws(
        self, theta: np.ndarray, count: int, seed: int, stream: int, block: int, first_replica: int = 0
    ) -> np.ndarray:
        """`count` exact samples of each theta (R, m): (R, count, n), at the addresses of `Evaluator.draws`."""
        return self._drawn(np.asarray(theta, float), count, seed, stream, block, first_replica)

    def _drawn(
        self, theta: np.ndarray, count: int, seed: int, stream: int, block: int, first_replica: int
    ) -> np.ndarray:
        """The noise of sample k of replica r is that of lane first_replica + k R + r."""
        model, lanes = self.model, count * len(theta)
        normal = normal_array(seed, stream, 2 * block, first_replica, (model.fresh_normals(self.values), lanes))
        uniform = uniform_array(seed, stream, 2 * block + 1, first_replica, (model.fresh_uniforms(self.values), lanes))
        of_replicas = [noise.reshape(len(noise), count, len(theta)).transpose(2, 1, 0) for noise in (normal, uniform)]
        return self._called("draws", theta, *of_replicas)

    def _called(self, name: str, *arrays: np.ndarray) -> Any:
        with traced():
            made = self._programs[name](*arrays)
        return np.asarray(made) if not isinstance(made, tuple) else made

    @functools.cached_property
    def _programs(self) -> dict[str, Callable[..., Any]]:
        """Functions of theta (R, m) and arrays, compiled when they are first called at a shape."""
        import jax
        import jax.numpy as jnp

        network, model, values = self._network, self.model, self.values
        inputs = self.components
        classes = 0 if model.classes is None else int(model.classes(values))

        def unpacked(theta: Any) -> dict[str, Any]:
            found, first = {}, 0
            for name, shape in self._groups:
                found[name] = theta[first : first + math.prod(shape)].reshape(shape)
                first += math.prod(shape)
            return found

        def loss(theta: Any, rows: Any) -> Any:
            y = rows[:, inputs].astype(jnp.int32) if classes else rows[:, inputs:]
            return network.loss(unpacked(theta), rows[:, :inputs], y)

        def phi(theta: Any, x: Any) -> Any:
            if network.log_probability is not None:
                return -network.log_probability(unpacked(theta), x)
            return jax.vmap(lambda row: loss(theta, row[None]))(x)

        def losses(theta: Any, rows: Any) -> Any:
            of_row = jax.vmap(lambda row: loss(theta, row[None]))(rows)
            if not classes or network.outputs is None:
                return of_row, jnp.full(of_row.shape, jnp.nan)
            return of_row, 1.0 * (network.outputs(unpacked(theta), rows[:, :inputs]).argmax(-1) == rows[:, inputs])

        def draws(theta: Any, normal: Any, uniform: Any) -> Any:
            assert model.fresh is not None
            return model.fresh(unpacked(theta), values, normal, uniform)

        slope = jax.value_and_grad(loss)
        over = jax.lax.map
        functions: dict[str, Callable[..., Any]] = {
            "table": lambda theta, x: over(lambda one: phi(one, x), theta),
            "pairs": lambda theta, x: over(lambda of: phi(of[0], of[1][None])[0], (theta, x), batch_size=_TOGETHER),
            "own": lambda theta, x: over(lambda of: phi(*of), (theta, x)),
            "gradients of rows": lambda theta, rows: over(
                lambda one: jax.vmap(lambda row: slope(one, row[None])[1])(rows), theta
            ),
            "gradients of one": lambda theta, rows: over(lambda one: slope(one, rows), theta),
            "gradients": lambda theta, rows: over(lambda of: slope(*of), (theta, rows), batch_size=_TOGETHER),
            "losses": lambda theta, rows: over(lambda one: losses(one, rows), theta),
            "draws": lambda theta, normal, uniform: over(lambda of: draws(*of), (theta, normal, uniform)),
        }
        return {name: compiled(function, "cpu") for name, function in functions.items()}
