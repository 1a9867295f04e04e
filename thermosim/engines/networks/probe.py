"""What a measure may look at: the network, and the data of one replica, at a frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from thermosim.engines.networks.addresses import rows_drawn, signs_drawn
from thermosim.engines.networks.shapes import shapes_of
from thermosim.network import Network, NotMeasured
from thermosim.plan.block import Block
from thermosim.streams import DIRECTIONS, MEASURE, MINIBATCH

__all__ = ["Probe", "minibatch_of_step"]

_ROWS = 512  # of data that are looked at together


@dataclass(frozen=True, eq=False)
class Probe:
    """Of one replica at one step; traced, so that what it hands out are JAX's arrays."""

    block: Block
    network: Network
    lane: Mapping[str, Any]
    data: Mapping[str, Any]
    step: Any
    made: dict[str, Any] = field(default_factory=dict)  # what several measures of one frame take

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

    @property
    def learned(self) -> list[str]:
        """The groups of theta that learn; all where none does."""
        scales, first, found = self.block.timetable.scales, 0, []
        groups = shapes_of(self.block).groups
        for name, shape in groups:
            if scales is not None and scales[first] != 0.0:
                found.append(name)
            first += math.prod(shape)
        return found or [name for name, _ in groups]

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What this name stands for, made by the first measure that asks for it."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def minibatch(self, number: Any) -> tuple[Any, Any]:
        """Inputs and targets of a minibatch that no step learns from, counted from 0: as large as theirs."""
        address = jnp.asarray(self.step, jnp.uint64) * jnp.uint64(1 << 16) + jnp.asarray(number, jnp.uint64)
        rows = rows_drawn(
            self.data["seed"], MEASURE, address, self.lane["replica"], self.batch, self.first, self.block.data_rows
        )
        return self.data["x"][rows], self.data["y"][rows]

    def next_minibatch(self) -> tuple[Any, Any]:
        """Inputs and targets of the minibatch that the step after this frame learns from."""
        number, turn = self.step + 1, self.block.turn
        drawn = jnp.where(number <= turn, number, 2 * turn + 1 - number) if turn else number
        return minibatch_of_step(self.block, self.lane, self.data, drawn)

    def loss(self, theta: Mapping[str, Any], x: Any, y: Any) -> Any:
        """Of these rows, by which gradients are taken, too. Raises NotMeasured where it takes random numbers."""
        if self.network.normals:
            name = self.block.model_name
            raise NotMeasured(f"measure: the loss of {name!r} takes random numbers, so it has none of this kind.")
        return self.network.loss(theta, x, y)

    def mean_loss(self, theta: Mapping[str, Any], x: Any, y: Any) -> Any:
        """Of these rows, random numbers averaged over. Raises NotMeasured where the network does not know how."""
        expected = self.network.expected
        return self.loss(theta, x, y) if expected is None else expected(theta, x, y)

    @property
    def names(self) -> list[str]:
        """Groups of theta in the order of the model."""
        return [name for name, _ in self._shapes(None)]

    def gradient(self, theta: Mapping[str, Any], x: Any, y: Any) -> dict[str, Any]:
        """Of the loss of these rows."""
        gradient: dict[str, Any] = jax.grad(self.loss)(theta, x, y)
        return gradient

    def curvature(self, theta: Mapping[str, Any], x: Any, y: Any, direction: Mapping[str, Any]) -> dict[str, Any]:
        """The Hessian of the loss of these rows, times a direction."""
        product: dict[str, Any] = jax.jvp(lambda at: self.gradient(at, x, y), (theta,), (direction,))[1]
        return product

    def flat(self, groups: Mapping[str, Any], names: list[str] | None = None) -> Any:
        """Groups one after another, (m,): all of theta, or those named, in its order."""
        return jnp.concatenate([groups[name].reshape(-1) for name, _ in self._shapes(names)])

    def groups(self, vector: Any, names: list[str] | None = None) -> dict[str, Any]:
        """The groups that `flat` made this vector of; those that it left out are 0."""
        found, first = {}, 0
        kept = {name for name, _ in self._shapes(names)}
        for name, shape in shapes_of(self.block).groups:
            size = math.prod(shape) if name in kept else 0
            values = vector[first : first + size]
            found[name] = values.reshape(shape) if name in kept else jnp.zeros(shape, vector.dtype)
            first += size
        return found

    def _shapes(self, names: list[str] | None) -> list[tuple[str, tuple[int, ...]]]:
        return [one for one in shapes_of(self.block).groups if names is None or one[0] in names]

    def direction(self, number: int, names: list[str], dtype: Any) -> Any:
        """Of length 1, (m,): signs drawn by address, the same for all replicas and frames, over sqrt(m)."""
        signs = signs_drawn(self.data["seed"], MEASURE, DIRECTIONS + number, 0, self.block.parameters)
        vector = self.flat(self.groups(signs.astype(dtype)), names)
        return vector / jnp.sqrt(jnp.asarray(vector.shape[0], dtype))

    def row_numbers(self, count: int) -> Any:
        """Numbers (count,) of rows spread evenly over the data set, the same at every frame."""
        rows = self.block.data_rows
        if count > rows:
            raise NotMeasured(f"measure: {count} rows of data are asked for, and there are {rows}; ask for fewer.")
        return self.first + jnp.arange(count, dtype=jnp.int64) * rows // count

    def over_rows(self, function: Callable[[Any, Any], Any], test: bool = False, count: int | None = None) -> Any:
        """The mean over data rows of function(x, y), itself a mean over rows or a tree of such, as float64.

        All rows of the set, those of its test, or `count` of the set (`row_numbers`). Rows are taken in parts, the last
        of which may be smaller. A network that normalises over a minibatch sees parts as large as those it learns from,
        and no part smaller than these.
        """
        x, y, rows = self.data["x"], self.data["y"], self.block.data_rows
        if test:
            x, y, rows = self.data["test_x"], self.data["test_y"], self.data["test_x"].shape[0]
        numbers = None if count is None else self.row_numbers(count)
        rows, first = count or rows, 0 if test else self.first
        size = min(_ROWS if self.network.by_row else self.batch, rows)
        whole, left = divmod(rows, size)
        left = left if self.network.by_row else 0

        def of_rows(start: Any, many: int) -> Any:
            place = start + jnp.arange(many, dtype=jnp.int32)
            taken = first + place if numbers is None else numbers[place]
            return jax.tree.map(lambda value: value.astype(jnp.float64) * many, function(x[taken], y[taken]))

        def add(number: Any, total: Any) -> Any:
            return jax.tree.map(jnp.add, total, of_rows(number * size, size))

        total = lax.fori_loop(1, whole, add, of_rows(0, size))
        if left:
            total = jax.tree.map(jnp.add, total, of_rows(whole * size, left))
        return jax.tree.map(lambda value: value / (whole * size + left), total)


def minibatch_of_step(block: Block, lane: Mapping[str, Any], data: Mapping[str, Any], number: Any) -> tuple[Any, Any]:
    """Inputs and targets of the rows that one replica learns from at a step; all of its set where none are drawn."""
    if block.batch == 0:
        if "first_row" not in lane:
            return data["x"], data["y"]
        rows = lane["first_row"] + jnp.arange(block.data_rows, dtype=jnp.int32)
        return data["x"][rows], data["y"][rows]
    first = lane.get("first_row", 0)
    rows = rows_drawn(data["seed"], MINIBATCH, number, lane["replica"], block.batch, first, block.data_rows)
    return data["x"][rows], data["y"][rows]
