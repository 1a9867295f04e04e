"""From a valid case to what the step loop takes: hyper-parameters per lane, tables per step, data rows per lane."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from thermosim.case.load import Axis, Case
from thermosim.case.rules import sizes
from thermosim.data import Data
from thermosim.data.sources import data_of, recorded_theta
from thermosim.model import Model
from thermosim.schedules import is_by_group, is_schedule, schedule_values

__all__ = ["Block", "plan"]

# rows of hyper, in the order of the move that reads them; "" is a row of ones
_HYPER = {
    "constrained": ("learning_rate", "weight_decay", "radius"),
    "sgd": ("learning_rate", "weight_decay", "momentum"),
    "sgld": ("learning_rate", "weight_decay", "temperature"),
    "langevin": ("learning_rate", "weight_decay", "temperature"),
}


@dataclass(frozen=True, eq=False)
class Block:
    """One ensemble of equal shapes: every lane axis of the sweep, times the replicas; or a run of its lanes."""

    number: int
    index: tuple[int, ...]  # along the structural axes
    settings: Mapping[str, Any]
    model: Model
    lane_axes: tuple[Axis, ...]
    first_replica: int  # of these lanes, counted over the whole case: the noise address
    folder: Path  # where files that the case names are looked for
    variables: tuple[str, ...]  # that are recorded: what nobody reads is not computed
    lanes: int  # replicas of all points of the lane axes together
    first_lane: int = 0  # counted over the whole block

    def part(self, first_lane: int, lanes: int) -> Block:
        """Some lanes of this block, as a block of their own."""
        first_replica = self.first_replica - self.first_lane + first_lane
        part = replace(self, first_replica=first_replica, lanes=lanes, first_lane=first_lane)
        vars(part)["data"] = self.data  # read once
        return part

    @property
    def replicas(self) -> int:
        """Replicas of every point of the sweep."""
        return int(self.settings["ensemble"]["replicas"])

    @property
    def lanes_in_all(self) -> int:
        """Lanes of the whole block."""
        return self.replicas * math.prod(len(axis.values) for axis in self.lane_axes)

    @functools.cached_property
    def sizes(self) -> dict[str, int]:
        """Sizes of the dimensions after the replica."""
        return sizes(self.model, self.settings)

    @property
    def parameters(self) -> int:
        """m, the length of theta."""
        return self.sizes["theta_dim"]

    @property
    def components(self) -> int:
        """n, the length of x."""
        return self.sizes["x_dim"]

    @property
    def derived(self) -> int:
        """Rows of what the model derives from theta; 0 where its functions read theta itself."""
        return self.model.names(self.settings["model"])["DERIVED"]

    @property
    def samples(self) -> int:
        """Chains of x per replica."""
        return self.sizes["sample"]

    @property
    def reversed(self) -> bool:
        """Whether the protocol and the order of moves run backwards."""
        return bool(self.settings["run"]["direction"] == "reversed")

    @property
    def turn(self) -> int:
        """The step after which a run there and back retraces its steps, 0 for any other."""
        return self.steps // 2 if self.settings["run"]["direction"] == "there-and-back" else 0

    @property
    def steps(self) -> int:
        """Steps of theta."""
        return int(self.settings["run"]["steps"])

    @property
    def theta_dynamics(self) -> str:
        """The move of theta."""
        return str(self.settings["theta"]["dynamics"])

    def lane_numbers(self) -> np.ndarray:
        """Number of every lane, counted over the whole block: (lanes,)."""
        return np.arange(self.first_lane, self.first_lane + self.lanes)

    def lane_values(self, key: str) -> np.ndarray:
        """The value of a dotted key in every lane: (lanes,)."""
        stride = self.replicas
        for axis in reversed(self.lane_axes):
            if axis.key == key:
                return np.asarray(axis.values, float)[self.lane_numbers() // stride % len(axis.values)]
            stride *= len(axis.values)
        section, name = key.split(".")
        return np.full(self.lanes, float(self.settings[section][name]))

    def model_constants(self) -> np.ndarray:
        """Scalar constants of the model, one row each: (C, lanes)."""
        rows = [self.lane_values(f"model.{c.name}") for c in self.model.constants if not c.is_array]
        return np.array(rows).reshape(len(rows), self.lanes)

    def shared(self) -> np.ndarray:
        """Array constants of the model, packed: (K,)."""
        arrays = [np.ravel(self.settings["model"][c.name]) for c in self.model.constants if c.is_array]
        return np.concatenate([*arrays, np.zeros(0)]).astype(float)

    def constants_of_lanes(self, lanes: slice | np.ndarray) -> dict[str, Any]:
        """The model's constants for observables: swept ones as arrays over these lanes."""
        swept = {axis.key.split(".")[1]: axis.key for axis in self.lane_axes if axis.key.startswith("model.")}
        return dict(self.settings["model"]) | {name: self.lane_values(key)[lanes] for name, key in swept.items()}

    @functools.cached_property
    def data(self) -> Data | None:
        """The rows to learn from, all data sets one after another."""
        return data_of(self.model, self.settings, self.folder) if self.settings.get("data") else None

    def first_rows(self) -> np.ndarray:
        """Row at which the data set of each lane begins: (lanes,). Replicas are dealt to the sets in equal runs."""
        if self.data is None:
            return np.zeros(self.lanes, np.int64)
        data_set = self.lane_numbers() % self.replicas * self.data.sets // self.replicas
        return np.asarray(data_set * self.data.rows, np.int64)

    @functools.cached_property
    def theta_rows(self) -> list[tuple[str, Any]]:
        """Key and value, a number or a schedule, of each hyper-parameter of the move of theta, in order."""
        theta, kind = self.settings["theta"], "constrained" if self.model.scale_invariant else self.theta_dynamics
        rows = [(f"theta.{name}", theta[name]) for name in _HYPER.get(kind, ()) if self.theta_dynamics in _HYPER]
        # temperatures by group are scales in the table, of a temperature of one
        return [("", 1.0) if is_by_group(v) else (k, v) for k, v in rows]

    @functools.cached_property
    def x_rows(self) -> list[tuple[str, Any]]:
        """Key and value of time step and temperatures."""
        if not self.settings.get("x"):
            return []
        step, temperature = self.settings["x"]["time_step"], self.settings["x"]["temperature"]
        several = [("", t) for t in temperature] if isinstance(temperature, list) else [("x.temperature", temperature)]
        return [("", 1.0) if step is None else ("x.time_step", step), *several]

    def hyper(self) -> tuple[np.ndarray, np.ndarray]:
        """Base values of theta's and x's hyper-parameters, (H, lanes); 1 where a schedule gives the value."""
        return self._base(self.theta_rows), self._base(self.x_rows)

    def _base(self, rows: list[tuple[str, Any]]) -> np.ndarray:
        base = np.ones((len(rows), self.lanes))
        for row, (key, value) in zip(base, rows, strict=True):
            if not is_schedule(value):
                row[:] = self.lane_values(key) if key else float(value)
        return base

    def factors(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """What multiplies the hyper-parameters at steps first..last: (H, steps), one column if nothing is scheduled.

        Step s of a reversed run undoes step N + 1 - s, at its time step and temperature. On the way back of a run there
        and back, the learning rate is that of the step undone, with the opposite sign.
        """
        if self.turn:
            steps = np.arange(first, last + 1)
            undone = np.where(steps > self.turn, 2 * self.turn + 1 - steps, steps)
            theta = self._factor(self.theta_rows, 1, self.turn, self.turn)
            theta = np.repeat(theta, self.turn, axis=1) if theta.shape[1] == 1 else theta
            theta = np.ascontiguousarray(theta[:, np.maximum(undone, 1) - 1])
            theta[0, steps > self.turn] *= -1.0
        else:
            theta = self._factor(self.theta_rows, first, last)
        if not self.reversed:
            return theta, self._factor(self.x_rows, first, last)
        x = self._factor(self.x_rows, self.steps + 1 - last, self.steps + 1 - first)
        return theta, np.ascontiguousarray(x[:, ::-1])

    def x_factor(self, step: int) -> np.ndarray:
        """What multiplies the hyper-parameters of x at one step: (H, 1)."""
        return self._factor(self.x_rows, step, step)[:, :1]

    def _factor(self, rows: list[tuple[str, Any]], first: int, last: int, steps: int | None = None) -> np.ndarray:
        """Columns first..last of a run of `steps` steps, by default this one."""
        if not any(is_schedule(value) for _, value in rows):
            return np.ones((len(rows), 1))
        ones, steps = np.ones(last - first + 1), steps or self.steps
        columns = [schedule_values(value, steps, first, last) if is_schedule(value) else ones for _, value in rows]
        return np.ascontiguousarray(columns)

    def theta_protocol(self, first: int, last: int) -> np.ndarray:
        """Prescribed theta after steps first..last: (steps, m). A reversed run reads the protocol backwards."""
        given, constants = self.settings["theta"]["protocol"], self.settings["model"]
        if self.reversed:
            first, last = self.steps - last, self.steps - first
        if self.settings["theta"]["recording"]:
            columns = [recorded_theta(self.settings, self.folder)[first : last + 1]]
        else:
            columns = []
        for group in self.model.parameters if not columns else ():
            value, shape = given.get(group.name, group.default(constants)), group.shape(constants)
            values = np.asarray(schedule_values(value, self.steps, first, last), float)
            columns.append(np.broadcast_to(values.reshape(len(values), -1), (last - first + 1, math.prod(shape))))
        table = np.concatenate([*columns, np.zeros((last - first + 1, 0))], axis=1)
        return np.ascontiguousarray(table[::-1] if self.reversed else table)

    def tables(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """What the moves of theta and x are told at steps first..last; one row where nothing changes."""
        prescribed = self.theta_dynamics == "protocol"
        moving = prescribed and (
            bool(self.settings["theta"]["recording"])
            or any(map(is_schedule, self.settings["theta"]["protocol"].values()))
        )
        if self.theta_dynamics in _HYPER:
            return self.learning_scales()[None], np.zeros((1, 0))
        theta = self.theta_protocol(first, last) if moving else self.theta_protocol(1, 1)
        if not self.settings.get("x") or self.settings["x"]["dynamics"] != "exact-ou":
            return theta, np.zeros((1, 0))
        before = self.theta_protocol(first - 1, last - 1) if moving and self.reversed else theta
        return theta, np.ascontiguousarray([self._propagator(row.tobytes()) for row in before])

    def learning_scales(self) -> np.ndarray:
        """Scales of every parameter's learning rate (0 where it is not learned), then of its temperature: (2 m,)."""
        learned, given = self.settings["theta"]["learn"], self.settings["theta"]["temperature"]
        by_group = given if is_by_group(given) else {}
        rates, temperatures = [], []
        for group in self.model.parameters:
            count = math.prod(group.shape(self.settings["model"]))
            rates.append(np.full(count, 1.0 if learned is None or group.name in learned else 0.0))
            temperatures.append(np.full(count, float(by_group.get(group.name, 1.0))))
        return np.concatenate([*rates, *temperatures, np.zeros(0)])

    @functools.lru_cache(maxsize=4096)  # noqa: B019  a block lives as long as its run
    def _propagator(self, theta: bytes) -> np.ndarray:
        x = self.settings["x"]
        assert self.model.propagator is not None
        mean, noise, center = self.model.propagator(
            np.frombuffer(theta), self.settings["model"], x["time_step"], x["temperature"]
        )
        return np.concatenate([np.ravel(center), np.ravel(mean), np.ravel(noise)])


def plan(case: Case) -> list[Block]:
    """The blocks of a case, in the order they run."""
    record = case.settings["record"]
    names = (*record["variables"], *record["tables"])
    blocks: list[Block] = []
    first_replica = 0
    lanes = case.settings["ensemble"]["replicas"] * math.prod(len(axis.values) for axis in case.lane_axes)
    for number, (index, settings) in enumerate(case.blocks()):
        block = Block(number, index, settings, case.model, case.lane_axes, first_replica, case.folder, names, lanes)
        blocks.append(block)
        first_replica += lanes
    return blocks
