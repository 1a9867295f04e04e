"""What a measure may look at: the network, and the data of one replica, at a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from thermosim.engines.networks.addresses import rows_drawn
from thermosim.network import Network
from thermosim.plan.block import Block
from thermosim.streams import MEASURE

__all__ = ["Probe"]

_ROWS = 512  # of data that are looked at together


@dataclass(frozen=True, eq=False)
class Probe:
    """Of one replica at one step; traced, so that what it hands out are JAX's arrays."""

    block: Block
    network: Network
    lane: Mapping[str, Any]
    data: Mapping[str, Any]
    step: Any

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of [measure]."""
        return self.block.measure

    @property
    def first(self) -> Any:
        """The first row of this replica's data set."""
        return self.lane.get("first_row", 0)

    @property
    def batch(self) -> int:
        """Rows of a minibatch; of all of them where theta learns from all."""
        return self.block.batch or self.block.data_rows

    def minibatch(self, number: Any) -> tuple[Any, Any]:
        """Inputs and targets of a minibatch that no step learns from, counted from 0: as large as theirs."""
        address = self.step * jnp.uint64(1 << 16) + jnp.asarray(number, jnp.uint64)
        rows = rows_drawn(
            self.data["seed"], MEASURE, address, self.lane["replica"], self.batch, self.first, self.block.data_rows
        )
        return self.data["x"][rows], self.data["y"][rows]

    def gradient(self, theta: dict[str, Any], x: Any, y: Any) -> dict[str, Any]:
        """Of the loss of these rows."""
        gradient: dict[str, Any] = jax.grad(self.network.loss)(theta, x, y)
        return gradient

    def over_rows(self, function: Callable[[Any, Any], Any], test: bool = False) -> Any:
        """The mean over data rows of function(x, y), itself a mean over rows, as float64, all of the set or its test.

        Rows are taken in parts, the last of which may be smaller.
        """
        x, y, first, count = self.data["x"], self.data["y"], self.first, self.block.data_rows
        if test:
            x, y = self.data["test_x"], self.data["test_y"]
            first, count = 0, x.shape[0]
        size = min(_ROWS, count)
        whole, left = divmod(count, size)

        def of_rows(start: Any, rows: int) -> Any:
            taken = start + jnp.arange(rows, dtype=jnp.int32)
            return function(x[taken], y[taken]).astype(jnp.float64) * rows

        def add(number: Any, total: Any) -> Any:
            return total + of_rows(first + number * size, size)

        total = of_rows(first, size)
        total = lax.fori_loop(1, whole, add, total)
        if left:
            total = total + of_rows(first + whole * size, left)
        return total / count
