"""The program of a block: its steps and its measures, traced once for all tiles, compiled once for a device.

A tile is `width` replicas, the leading axis of everything. Steps are a loop with as many turns as a call asks for, so
that cuts compile nothing and change nothing; what differs between replicas and steps comes in as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from thermosim.engines.networks.addresses import rows_drawn
from thermosim.engines.networks.books import BOOKS, LAST, Told
from thermosim.engines.networks.constraints import constrained, scales_of
from thermosim.engines.networks.platform import compiled
from thermosim.engines.networks.probe import Probe
from thermosim.engines.networks.shapes import Shapes, shapes_of
from thermosim.engines.networks.updates import UPDATES, Step, log_ratio
from thermosim.network import Measure, Network
from thermosim.plan.block import Block
from thermosim.streams import MINIBATCH

__all__ = ["Program", "program_of"]

State = dict[str, dict[str, Any]]
Given = dict[str, Any]  # of the lanes of a tile, and the data: see `LanesOfNetworks`


@dataclass(frozen=True, eq=False)
class Program:
    """A network, and functions that are compiled for a device.

    advance(state, given, hyper (H, W, F), noise, first, stop) -> the state after steps first + 1, ..., stop; column
        s - first - 1 of hyper, or the only one, is that of step s, and so are entries of noise.
    measure[name](theta, given, step) -> (W, *shape).
    spoiled(state, (W,) of bool) -> the state with these lanes NaN.
    """

    network: Network
    advance: Callable[..., State]
    measure: Mapping[str, Callable[..., Any]]
    spoiled: Callable[..., State]


_made: dict[str, Program] = {}  # by all that they are traced from, the last few
_KEPT = 16


def program_of(block: Block, device: str) -> Program:
    """The program of a block; nothing is compiled before it is called, and nothing is traced twice."""
    parts = (
        *(block.model_name, block.model_source, sorted(block.model_constants.items()), block.theta_dynamics),
        *(
            block.constraint,
            block.radii,
            block.batch,
            block.data_rows,
            block.turn,
            block.theta_rows,
            sorted(block.used),
        ),
        *(sorted(block.measure.items()), sorted(block.measured), block.precision, device),
        _scales(block, shapes_of(block)),
    )
    key = repr(parts)
    if key not in _made:
        while len(_made) >= _KEPT:
            _made.pop(next(iter(_made)))
        _made[key] = _program(block, device)
    return _made[key]


def _program(block: Block, device: str) -> Program:
    assert block.model.network is not None
    network, shapes = block.model.network(block.model_constants), shapes_of(block)
    measures = {one.name: one for one in block.model.measures if one.name in block.measured}
    one = _step_of_one(block, shapes, network)

    def advance(state: State, given: Given, hyper: Any, noise: Given, first: Any, stop: Any) -> State:
        def step(number: Any, state: State) -> State:
            at = number - first - 1
            now = hyper[:, :, jnp.minimum(at, hyper.shape[2] - 1)]
            drawn = number
            if block.turn:
                drawn = jnp.where(number <= block.turn, number, 2 * block.turn + 1 - number)
            of_step = jax.tree.map(lambda values: values[at], noise)
            axes = (0, 0, 1, 0, None, None)
            return jax.vmap(one, axes)(state, given["lane"], now, of_step, given["data"], drawn)

        return lax.fori_loop(first + 1, stop + 1, step, state)

    def measured(measure: Measure) -> Callable[..., Any]:
        def of_one(theta: dict[str, Any], lane: Given, data: Given, step: Any) -> Any:
            value = measure.function(Probe(block, network, lane, data, step), theta)
            return jnp.asarray(value).astype(jnp.float64)

        def of_tile(theta: dict[str, Any], given: Given, step: Any) -> Any:
            return jax.vmap(of_one, (0, 0, None, None))(theta, given["lane"], given["data"], step)

        return compiled(of_tile, device)

    def spoiled(state: State, bad: Any) -> State:
        def spoil(values: Any) -> Any:
            return jnp.where(bad.reshape(-1, *[1] * (values.ndim - 1)), jnp.asarray(jnp.nan, values.dtype), values)

        return jax.tree.map(spoil, state)

    return Program(
        network,
        compiled(advance, device, donate_argnums=(0,)),
        {name: measured(measure) for name, measure in measures.items()},
        compiled(spoiled, device),
    )


def _step_of_one(block: Block, shapes: Shapes, network: Network) -> Callable[..., State]:
    """step(state, lane, hyper (H,), noise, data, number) -> state, of one replica."""
    names = [name for name, _ in shapes.groups]
    update, hyper_names = UPDATES[block.theta_dynamics], block.theta.hyper
    scales = scales_of(block)
    if block.constraint:
        update = constrained(block.constraint, scales if block.radii == "by-group" else (tuple(names),))
    rates, warmth = _scales(block, shapes)
    ratio = "log_ratio_theta" in block.theta_rows

    def ordered(groups: dict[str, Any]) -> dict[str, Any]:
        """In the order of the model, which numbers of layers are in: JAX hands dicts on in that of the alphabet."""
        return {name: groups[name] for name in names}

    def one(state: State, lane: Given, hyper: Any, noise: Given, data: Given, number: Any) -> State:
        theta, memory, path = state["theta"], state["memory"], state["path"]
        x, y = _minibatch(block, lane, data, number)

        def loss_of(parameters: dict[str, Any]) -> Any:
            more = (noise["rows"].reshape(x.shape[0], -1),) if network.normals else ()
            return network.loss(parameters, x, y, *more)

        loss, gradient = jax.value_and_grad(loss_of)(theta)
        drawn = _cut_noise(noise["theta"], shapes) if "theta" in noise else None
        step = Step(dict(zip(hyper_names, hyper, strict=True)), rates, warmth, drawn)
        moved, memory, said = update(theta, memory, gradient, step)
        if ratio:
            said = {**said, "log_ratio_theta": log_ratio(theta, moved, gradient, jax.grad(loss_of)(moved), step)}
        told = Told(ordered(theta), ordered(moved), loss, ordered(gradient), said, scales)
        booked = {}
        for name, before in path.items():
            value = said[name] if name in said else BOOKS[name](told)
            booked[name] = value if name in LAST else before + value
        return {"theta": {name: moved[name] for name in names}, "memory": memory, "path": booked}

    return one


def _minibatch(block: Block, lane: Given, data: Given, number: Any) -> tuple[Any, Any]:
    """Inputs and targets of the rows that one replica learns from at a step; all of its set where none are drawn."""
    if block.batch == 0:
        if "first_row" not in lane:
            return data["x"], data["y"]
        rows = lane["first_row"] + jnp.arange(block.data_rows, dtype=jnp.int32)
        return data["x"][rows], data["y"][rows]
    first = lane.get("first_row", 0)
    rows = rows_drawn(data["seed"], MINIBATCH, number, lane["replica"], block.batch, first, block.data_rows)
    return data["x"][rows], data["y"][rows]


def _cut_noise(normal: Any, shapes: Shapes) -> dict[str, Any]:
    found, first = {}, 0
    for name, shape in shapes.groups:
        size = 1
        for length in shape:
            size *= length
        found[name] = normal[first : first + size].reshape(shape)
        first += size
    return found


def _scales(block: Block, shapes: Shapes) -> tuple[dict[str, float], dict[str, float]]:
    """What multiplies the learning rate and the temperature of each group."""
    scales, m = block.timetable.scales, block.parameters
    if scales is None:
        return dict.fromkeys((name for name, _ in shapes.groups), 0.0), {}
    rates, warmth, first = {}, {}, 0
    for name, shape in shapes.groups:
        rates[name], warmth[name] = float(scales[first]), float(scales[m + first])
        size = 1
        for length in shape:
            size *= length
        first += size
    return rates, warmth
