"""What changes from step to step: factors of the hyper-parameters, and what a protocol prescribes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thermosim.models import model_of
from thermosim.schedules import is_schedule, schedule_values

__all__ = ["Timetable"]


@dataclass(frozen=True, eq=False)
class Timetable:
    """Values or schedules of a run of `steps` steps, evaluated for the steps that are asked for. Can be pickled."""

    steps: int
    turn: int
    reversed: bool
    theta: tuple[Any, ...]  # value or schedule of each hyper-parameter of theta, in order of the move
    x: tuple[Any, ...]  # of the time steps and the temperatures of x
    scales: (
        np.ndarray | None
    )  # of every learning rate, then of every temperature (2 m,), then a matrix of learning rates, if there is one, row
    # by row (m m,); None where theta is prescribed
    protocol: tuple[tuple[Any, tuple[int, ...]], ...]  # value or schedule, and shape, of each group of parameters
    recording: np.ndarray | None  # a recorded path of theta: (steps + 1, m)
    propagator: tuple[str, str, Mapping[str, Any], float, float] | None  # of a steady move of x: model's name, source
    # and constants, time step, temperature

    @property
    def theta_varies(self) -> bool:
        """Whether hyper-parameters of theta change from step to step."""
        return bool(self.turn) or any(map(is_schedule, self.theta))

    @property
    def x_varies(self) -> bool:
        """Whether time steps or temperatures of x do."""
        return any(map(is_schedule, self.x))

    def factors(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """What multiplies the hyper-parameters at steps first..last: (H, steps), one column if nothing is scheduled.

        Step s of a reversed run undoes step N + 1 - s, at its time step and temperature. On the way back of a run there
        and back, the learning rate is that of the step undone, with the opposite sign.
        """
        if self.turn:
            steps = np.arange(first, last + 1)
            undone = np.where(steps > self.turn, 2 * self.turn + 1 - steps, steps)
            theta = _factor(self.theta, self.turn, 1, self.turn)
            theta = np.repeat(theta, self.turn, axis=1) if theta.shape[1] == 1 else theta
            theta = np.ascontiguousarray(theta[:, np.maximum(undone, 1) - 1])
            theta[0, steps > self.turn] *= -1.0
        else:
            theta = _factor(self.theta, self.steps, first, last)
        if not self.reversed:
            return theta, _factor(self.x, self.steps, first, last)
        x = _factor(self.x, self.steps, self.steps + 1 - last, self.steps + 1 - first)
        return theta, np.ascontiguousarray(x[:, ::-1])

    def x_factor(self, step: int) -> np.ndarray:
        """What multiplies the hyper-parameters of x at one step: (H, 1)."""
        return _factor(self.x, self.steps, step, step)[:, :1]

    def theta_values(self, first: int, last: int) -> np.ndarray:
        """Prescribed theta after steps first..last: (steps, m). A reversed run reads the protocol backwards."""
        if self.reversed:
            first, last = self.steps - last, self.steps - first
        if self.recording is not None:
            table = np.asarray(self.recording[first : last + 1])
            return np.ascontiguousarray(table[::-1] if self.reversed else table)
        columns = []
        for value, shape in self.protocol:
            values = np.asarray(schedule_values(value, self.steps, first, last), float)
            columns.append(np.broadcast_to(values.reshape(len(values), -1), (last - first + 1, math.prod(shape))))
        table = np.concatenate([*columns, np.zeros((last - first + 1, 0))], axis=1)
        return np.ascontiguousarray(table[::-1] if self.reversed else table)

    @property
    def moving(self) -> bool:
        """Whether a prescribed theta changes from step to step."""
        return self.recording is not None or any(is_schedule(value) for value, _ in self.protocol)

    def tables(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """What the moves of theta and x are told at steps first..last; one row where nothing changes."""
        if self.scales is not None:
            return self.scales[None], np.zeros((1, 0))
        moving = self.moving
        theta = self.theta_values(first, last) if moving else self.theta_values(1, 1)
        if self.propagator is None:
            return theta, np.zeros((1, 0))
        before = self.theta_values(first - 1, last - 1) if moving and self.reversed else theta
        name, source, constants, *bath = self.propagator
        propagator = model_of(name, source).propagator
        assert propagator is not None
        mean, noise, center = propagator(before, constants, *bath)
        return theta, np.concatenate([part.reshape(len(before), -1) for part in (center, mean, noise)], axis=1)


def _factor(rows: tuple[Any, ...], steps: int, first: int, last: int) -> np.ndarray:
    """Columns first..last of a run of `steps` steps."""
    if not any(map(is_schedule, rows)):
        return np.ones((len(rows), 1))
    ones = np.ones(last - first + 1)
    return np.ascontiguousarray(
        [schedule_values(value, steps, first, last) if is_schedule(value) else ones for value in rows]
    )
