"""The state at step 0."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from thermosim.data.sources import theta_of
from thermosim.kernels.noise import normal_array, uniform_array
from thermosim.plan.block import Block
from thermosim.schedules import is_schedule
from thermosim.streams import INITIAL, RESTART

__all__ = ["initial_state"]

_WINDOW = 16384


def initial_state(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """theta (m, lanes) and x (S, n, lanes) at step 0.

    Made in windows of lanes counted over the whole block: the arithmetic is numpy's, whose last bits can depend on the
    shape of its arrays, and may not depend on how a block was cut.
    """
    theta = np.empty((block.parameters, block.lanes))
    x = np.empty((block.samples, block.components, block.lanes))
    first, last = block.first_lane, block.first_lane + block.lanes
    for begin in range(first // _WINDOW * _WINDOW, last, _WINDOW):
        window = block.part(begin, min(_WINDOW, block.lanes_in_all - begin))
        taken = slice(max(begin, first), min(begin + _WINDOW, last))
        of_window, of_block = (slice(taken.start - zero, taken.stop - zero) for zero in (begin, first))
        theta_there = initial_theta(window)
        theta[:, of_block] = theta_there[:, of_window]
        x[..., of_block] = initial_x(window, theta_there)[..., of_window]
    return theta, x


def initial_theta(block: Block) -> np.ndarray:
    """theta at step 0: (m, lanes)."""
    theta = block.settings["theta"]
    if block.theta_dynamics == "protocol":
        return np.repeat(block.theta_protocol(0, 0).T, block.lanes, axis=1)
    if block.model.initial_theta and block.theta_dynamics != "frozen":
        return _named_start(block)
    if not block.model.learns:
        return np.repeat(block.theta_protocol(0, 0).T, block.lanes, axis=1)
    constants, given = block.settings["model"], theta["initial"] or {}
    center = theta_of(block.model, constants, given)[:, None]
    spread = _spread(block)[:, None]
    if not np.any(spread):
        return np.repeat(center, block.lanes, axis=1)
    normal = normal_array(
        block.settings["ensemble"]["seed"], INITIAL, 0, block.first_replica, (len(center), block.lanes)
    )
    return np.asarray(center + spread * normal)


def _spread(block: Block) -> np.ndarray:
    """Standard deviation of every parameter's start: (m,)."""
    constants, given = block.settings["model"], block.settings["theta"]["spread"]
    parts = []
    for group in block.model.parameters:
        value = given if isinstance(given, (int, float)) else (given or {}).get(group.name, group.spread)
        parts.append(np.broadcast_to(np.asarray(value, float), group.shape(constants)).ravel())
    return np.concatenate([*parts, np.zeros(0)])


def _named_start(block: Block) -> np.ndarray:
    seed, m, theta = block.settings["ensemble"]["seed"], block.parameters, block.settings["theta"]
    normal = normal_array(seed, INITIAL, 0, block.first_replica, (m + 1, block.lanes))
    uniform = uniform_array(seed, INITIAL, 2, block.first_replica, (1, block.lanes))[0]
    hyper: dict[str, Any] = {"constraint": theta["constraint"]}
    for key, value in block.theta_rows:
        hyper[key.removeprefix("theta.")] = None if is_schedule(value) else block.lane_values(key)
    start = theta["initial"] or next(iter(block.model.initial_theta))
    return block.model.initial_theta[start](block.constants_of_lanes(slice(None)), hyper, normal, uniform)


def initial_x(block: Block, theta: np.ndarray) -> np.ndarray:
    """x at step 0, of replicas with these theta (m, lanes): (S, n, lanes)."""
    shape = (block.samples, block.components, block.lanes)
    start = block.settings["x"]["initial"] if block.samples else "zero"
    if start == "zero":
        return np.zeros(shape)
    seed = block.settings["ensemble"]["seed"]
    if start == "data":
        assert block.data is not None
        uniform = uniform_array(seed, RESTART, 0, block.first_replica, (block.samples, block.lanes))
        rows = block.first_rows() + np.floor((1.0 - uniform) * block.data.rows).astype(np.int64)
        return np.ascontiguousarray(block.data.values[rows].transpose(0, 2, 1))  # (S, lanes, n) before
    count = block.samples * block.components
    if start == "random":
        uniform = uniform_array(seed, INITIAL, 4, block.first_replica, (count, block.lanes)).reshape(shape)
        low, high = block.model.levels
        return np.where(uniform > 0.5, high, low)
    normal = normal_array(seed, INITIAL, 1, block.first_replica, (count, block.lanes)).reshape(shape)
    if start == "normal":
        return normal
    if block.model.equilibrium is None:
        return _fresh(block, theta, seed)
    first = block.steps if block.reversed else 0
    base, factor = block.hyper()[1], block.x_factor(first)
    temperature = np.broadcast_to((base * factor)[1:], (block.components, block.lanes))
    constants = block.constants_of_lanes(slice(None))
    return np.stack([block.model.equilibrium(theta, constants, temperature, part) for part in normal])


def _fresh(block: Block, theta: np.ndarray, seed: int) -> np.ndarray:
    """Exact samples by the model's own sampler, the points of the sweep one after another."""
    from thermosim.kernels.evaluate import Evaluator

    x = np.empty((block.samples, block.components, block.lanes))
    points = block.lane_numbers() // block.replicas
    edges = [0, *(np.flatnonzero(np.diff(points)) + 1).tolist(), block.lanes]
    for first, last in itertools.pairwise(edges):
        lanes = slice(first, last)
        values = {
            k: float(v[0]) if isinstance(v, np.ndarray) else v for k, v in block.constants_of_lanes(lanes).items()
        }
        evaluator = Evaluator(block.model, values)
        for sample in range(block.samples):
            address = block.first_replica + first
            x[sample, :, lanes] = evaluator.draw(theta[:, lanes].T, seed, INITIAL, 8 + sample, address).T
    return x
