"""The state at step 0."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.case.start import OtherRun, Start
from thermosim.data.sources import theta_of
from thermosim.kernels.noise import normal_array, uniform_array
from thermosim.plan.block import Block
from thermosim.plan.outline import Outline
from thermosim.schedules import is_schedule
from thermosim.streams import INITIAL, RESTART

__all__ = ["initial_state", "window"]

_WINDOW, _NARROWEST = 16384, 32  # lanes
_WINDOW_BYTES = 64_000_000  # of theta and x, unless it is as narrow as may be


def initial_state(outline: Outline, first_lane: int, lanes: int) -> dict[str, np.ndarray]:
    """theta (m, lanes) and x (S, n, lanes) at step 0, or before the warm-up.

    Made in windows of lanes counted over the whole block: the arithmetic is numpy's, whose last bits can depend on the
    shape of its arrays, and may not depend on how a block was cut.
    """
    size, last, width = outline.sizes, first_lane + lanes, window(outline)
    theta, x = np.empty((size["theta_dim"], lanes)), np.empty((size["sample"], size["x_dim"], lanes))
    for begin in range(first_lane // width * width, last, width):
        block = outline.block(begin, min(width, outline.lanes - begin))
        taken = slice(max(begin, first_lane), min(begin + width, last))
        of_window, of_lanes = (slice(taken.start - zero, taken.stop - zero) for zero in (begin, first_lane))
        theta_there = _initial_theta(outline, block)
        theta[:, of_lanes] = theta_there[:, of_window]
        x[..., of_lanes] = _initial_x(outline, block, theta_there)[..., of_window]
    return {"theta": theta, "x": x}


def window(outline: Outline) -> int:
    """Lanes whose start is made at one time: the same wherever a block is cut."""
    bytes_per_lane = 8 * (outline.sizes["theta_dim"] + outline.sizes["sample"] * outline.sizes["x_dim"])
    return min(_WINDOW, max(_NARROWEST, _WINDOW_BYTES // max(1, bytes_per_lane)))


def _numbers(block: Block) -> np.ndarray:
    return np.arange(block.first_lane, block.first_lane + block.lanes)


def _initial_theta(outline: Outline, block: Block) -> np.ndarray:
    """theta at step 0: (m, lanes)."""
    model, theta = outline.model, outline.settings.theta
    if other := OtherRun.of(theta.initial):
        return outline.state_of_other("theta", other, _numbers(block))
    if model.initial_theta and block.theta.learns and not isinstance(theta.initial, Mapping):
        return _named_start(outline, block)
    if block.theta.prescribed or not model.learns:
        return np.repeat(block.timetable.theta_values(block.first_step, block.first_step).T, block.lanes, axis=1)
    center = theta_of(model, block.model_constants, theta.initial or {})[:, None]
    spread = _spread(outline)[:, None]
    if not np.any(spread):
        return np.repeat(center, block.lanes, axis=1)
    normal = normal_array(block.seed, INITIAL, 0, block.first_replica, (len(center), block.lanes))
    return np.asarray(center + spread * normal)


def _spread(outline: Outline) -> np.ndarray:
    """Standard deviation of every parameter's start: (m,)."""
    constants, given = outline.settings.model.constants, outline.settings.theta.spread
    parts = []
    for group in outline.model.parameters:
        value = given if isinstance(given, (int, float)) else (given or {}).get(group.name, group.spread)
        parts.append(np.broadcast_to(np.asarray(value, float), group.shape(constants)).ravel())
    return np.concatenate([*parts, np.zeros(0)])


def _named_start(outline: Outline, block: Block) -> np.ndarray:
    model, theta, numbers = outline.model, outline.settings.theta, _numbers(block)
    normal = normal_array(block.seed, INITIAL, 0, block.first_replica, (block.parameters + 1, block.lanes))
    uniform = uniform_array(block.seed, INITIAL, 2, block.first_replica, (1, block.lanes))[0]
    hyper: dict[str, Any] = {"constraint": theta.constraint, "radii": theta.radii}
    for key in block.theta.hyper:
        scheduled = is_schedule(getattr(theta, key))
        hyper[key] = None if scheduled else outline.lane_values(f"theta.{key}", numbers)
    start = theta.initial or next(iter(model.initial_theta))
    return model.initial_theta[start](outline.constants_of(numbers), hyper, normal, uniform)


def _initial_x(outline: Outline, block: Block, theta: np.ndarray) -> np.ndarray:
    """x at step 0, of replicas with these theta (m, lanes): (S, n, lanes)."""
    shape = (block.samples, block.components, block.lanes)
    start = outline.settings.x.start if outline.settings.x else Start("zero")
    if start.kind == "zero":
        return np.zeros(shape)
    if start.other:
        return outline.state_of_other("x", start.other, _numbers(block))[: block.samples]
    if start.kind == "point":
        return np.zeros(shape) + _column(start.mean)
    if start.kind == "data":
        uniform = uniform_array(block.seed, RESTART, 0, block.first_replica, (block.samples, block.lanes))
        rows = block.first_rows + np.floor((1.0 - uniform) * block.data_rows).astype(np.int64)
        return np.ascontiguousarray(block.data[rows].transpose(0, 2, 1))  # (S, lanes, n) before
    count = block.samples * block.components
    if start.kind == "random":
        uniform = uniform_array(block.seed, INITIAL, 4, block.first_replica, (count, block.lanes)).reshape(shape)
        low, high = outline.model.levels
        return np.where(uniform > 0.5, high, low)
    normal = normal_array(block.seed, INITIAL, 1, block.first_replica, (count, block.lanes)).reshape(shape)
    if start.kind == "normal":
        return np.asarray(_column(start.mean) + _column(start.deviation) * normal)
    if outline.model.equilibrium is None:
        return _fresh(outline, block, theta)
    factor = block.timetable.x_factor(block.steps if block.reversed else 0)
    temperature = np.broadcast_to((block.x_hyper * factor)[block.time_steps :], (block.components, block.lanes))
    constants = outline.constants_of(_numbers(block))
    return np.stack([outline.model.equilibrium(theta, constants, temperature, part) for part in normal])


def _column(value: Any) -> np.ndarray:
    """A number, or one per component, to go with (S, n, lanes)."""
    return np.asarray(value, float).reshape(-1, 1)


def _fresh(outline: Outline, block: Block, theta: np.ndarray) -> np.ndarray:
    """Exact samples by the model's own sampler, the points of the sweep one after another."""
    from thermosim.kernels.evaluate import Evaluator

    x, numbers = np.empty((block.samples, block.components, block.lanes)), _numbers(block)
    edges = [0, *(np.flatnonzero(np.diff(numbers // block.replicas)) + 1).tolist(), block.lanes]
    for first, last in itertools.pairwise(edges):
        constants = outline.constants_of(numbers[first:last])
        values = {k: float(v[0]) if isinstance(v, np.ndarray) else v for k, v in constants.items()}
        evaluator = Evaluator(outline.model, values)
        for sample in range(block.samples):
            address = block.first_replica + first
            drawn = evaluator.draw(theta[:, first:last].T, block.seed, INITIAL, 8 + sample, address)
            x[sample, :, first:last] = drawn.T
    return x
