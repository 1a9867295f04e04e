"""The program of a block: its steps and its measures, traced once for all tiles, compiled once for a device.

A tile is `width` replicas, the leading axis of everything. Steps are a loop with as many turns as a call asks for, so
that cuts compile nothing and change nothing; what differs between replicas and steps comes in as arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from thermosim.engines.networks.books import BOOKS, LAST, Told
from thermosim.engines.networks.constraints import constrained, scales_of
from thermosim.engines.networks.platform import compiled
from thermosim.engines.networks.probe import Probe, minibatch_of_step
from thermosim.engines.networks.shapes import Shapes, shapes_of
from thermosim.engines.networks.updates import UPDATES, Step, log_ratio
from thermosim.network import Measure, Network
from thermosim.plan.block import Block

__all__ = ["Program", "program_of"]

State = dict[str, dict[str, Any]]
Given = dict[str, Any]  # of the lanes of a tile, and the data: see `LanesOfNetworks`


@dataclass(frozen=True, eq=False)
class Program:
    """A network, and functions that are compiled for a device.

    advance(state, given, hyper (H, W, F), noise, first, stop) -> the state after steps first + 1, ..., stop; column
        s - first - 1 of hyper, or the only one, is that of step s, and so are entries of noise.
    measure(theta, given, step, names=(...)) -> {name: (W, *shape)} of measures, which share what they are made of.
    spoiled(state, (W,) of bool) -> the state with these lanes NaN.
    """

    network: Network
    advance: Callable[..., State]
    measure: Any
    spoiled: Callable[..., State]


_made: dict[str, Program] = {}  # by all that they are traced from, the last few
_KEPT = 16
_MEASURED_BYTES = 2**28  # that measures of a tile hold at one time, as far as lanes can be taken one by one


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
        *(sorted(block.measure.items()), sorted(block.measured), block.precision, block.tile_width, device),
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

    def measured(theta: dict[str, Any], given: Given, step: Any, names: tuple[str, ...]) -> dict[str, Any]:
        def of_one(one: tuple[dict[str, Any], Given]) -> dict[str, Any]:
            probe = Probe(block, network, one[1], given["data"], step)
            found = {name: measures[name].function(probe, one[0]) for name in names}
            return {name: jnp.asarray(value).astype(jnp.float64) for name, value in found.items()}

        together = _lanes_together(block, [measures[name] for name in names])
        if together == block.tile_width:
            return jax.vmap(of_one)((theta, given["lane"]))
        found: dict[str, Any] = lax.map(of_one, (theta, given["lane"]), batch_size=together)
        return found

    def spoiled(state: State, bad: Any) -> State:
        def spoil(values: Any) -> Any:
            return jnp.where(bad.reshape(-1, *[1] * (values.ndim - 1)), jnp.asarray(jnp.nan, values.dtype), values)

        return jax.tree.map(spoil, state)

    return Program(
        network,
        compiled(advance, device, donate_argnums=(0,)),
        compiled(measured, device, static_argnames=("names",)),
        compiled(spoiled, device),
    )


def _lanes_together(block: Block, measures: list[Measure]) -> int:
    """How many lanes of a tile are measured at one time, for the vectors like theta that the measures hold."""
    held = sum(measure.vectors(block.measure) for measure in measures)
    size = max(1, held * block.parameters * (8 if block.precision == "float64" else 4))
    fits = max(1, _MEASURED_BYTES // size)
    return max(lanes for lanes in range(1, block.tile_width + 1) if block.tile_width % lanes == 0 and lanes <= fits)


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
        x, y = minibatch_of_step(block, lane, data, number)

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
