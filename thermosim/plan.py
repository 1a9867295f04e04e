"""From a valid case to what the step loop takes: hyper-parameters per lane, tables per step, addresses of functions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thermosim.case import Axis, Case
from thermosim.kernels import signatures
from thermosim.kernels.advance import jump
from thermosim.kernels.compile import address_of
from thermosim.kernels.noise import INITIAL, normal_array, uniform_array
from thermosim.kernels.theta_moves.prescribed import protocol
from thermosim.kernels.theta_moves.scale_invariant import FIXED_ELR, FIXED_LR, FIXED_SPHERE, constrained_sgd
from thermosim.kernels.x_moves.exact_ou import exact_ou
from thermosim.kernels.x_moves.ula import ula
from thermosim.model import Model
from thermosim.rules import sizes
from thermosim.schedules import is_schedule, schedule_values

__all__ = ["Block", "plan"]

X_MOVES: dict[str, Callable[..., None]] = {"ula": ula, "exact-ou": exact_ou}
CONSTRAINTS = {"fixed-lr": FIXED_LR, "fixed-elr": FIXED_ELR, "fixed-sphere": FIXED_SPHERE}
THETA_HYPER = ("learning_rate", "weight_decay", "radius")


@dataclass(frozen=True, eq=False)
class Block:
    """One ensemble of equal shapes: every lane axis of the sweep, times the replicas."""

    number: int
    index: tuple[int, ...]  # along the structural axes
    settings: Mapping[str, Any]
    model: Model
    lane_axes: tuple[Axis, ...]
    first_replica: int  # counted over the whole case: the noise address

    @property
    def lanes(self) -> int:
        """Replicas in this block, all points of the lane axes together."""
        return int(self.settings["ensemble"]["replicas"] * math.prod(len(axis.values) for axis in self.lane_axes))

    @property
    def parameters(self) -> int:
        """m, the length of theta."""
        return sizes(self.model, self.settings)["theta_dim"]

    @property
    def components(self) -> int:
        """n, the length of x."""
        return sizes(self.model, self.settings)["x_dim"]

    @property
    def samples(self) -> int:
        """Chains of x per replica."""
        return sizes(self.model, self.settings)["sample"]

    @property
    def reversed(self) -> bool:
        """Whether the protocol and the order of moves run backwards."""
        return bool(self.settings["run"]["direction"] == "reversed")

    @property
    def steps(self) -> int:
        """Steps of theta."""
        return int(self.settings["run"]["steps"])

    @property
    def theta_dynamics(self) -> str:
        """The move of theta."""
        return str(self.settings["theta"]["dynamics"])

    def lane_values(self, key: str) -> np.ndarray:
        """The value of a dotted key in every lane: (lanes,)."""
        shape = [len(axis.values) for axis in self.lane_axes] + [self.settings["ensemble"]["replicas"]]
        for position, axis in enumerate(self.lane_axes):
            if axis.key == key:
                column = np.asarray(axis.values, float).reshape([-1 if i == position else 1 for i in range(len(shape))])
                return np.broadcast_to(column, shape).reshape(-1)
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

    def constants_of_lanes(self, lanes: slice) -> dict[str, Any]:
        """The model's constants for observables: swept ones as arrays over these lanes."""
        swept = {axis.key.split(".")[1]: axis.key for axis in self.lane_axes if axis.key.startswith("model.")}
        return dict(self.settings["model"]) | {name: self.lane_values(key)[lanes] for name, key in swept.items()}

    @functools.cached_property
    def theta_rows(self) -> list[Any]:
        """Hyper-parameters of the move of theta, numbers or schedules, in the order of its rows."""
        return [self.settings["theta"][name] for name in THETA_HYPER] if self.theta_dynamics == "sgd" else []

    @functools.cached_property
    def x_rows(self) -> list[Any]:
        """Time step and temperatures, numbers or schedules."""
        if "x" not in self.settings:
            return []
        temperature = self.settings["x"]["temperature"]
        return [self.settings["x"]["time_step"], *(temperature if isinstance(temperature, list) else [temperature])]

    def hyper(self) -> tuple[np.ndarray, np.ndarray]:
        """Base values of theta's and x's hyper-parameters, (H, lanes); 1 where a schedule gives the value."""
        theta_keys = [f"theta.{name}" for name in THETA_HYPER]
        several = "x" in self.settings and isinstance(self.settings["x"]["temperature"], list)
        x_keys = ["x.time_step", *["" if several else "x.temperature"] * (len(self.x_rows) - 1)]
        return self._base(self.theta_rows, theta_keys), self._base(self.x_rows, x_keys)

    def _base(self, rows: list[Any], keys: list[str]) -> np.ndarray:
        base = np.ones((len(rows), self.lanes))
        for row, value, key in zip(base, rows, keys, strict=False):
            if not is_schedule(value):
                row[:] = self.lane_values(key) if key else float(value)
        return base

    def factors(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """What multiplies the hyper-parameters at steps first..last: (H, steps), one column if nothing is scheduled.

        Step s of a reversed run undoes step N + 1 - s, at its time step and temperature.
        """
        theta = self._factor(self.theta_rows, first, last)
        if not self.reversed:
            return theta, self._factor(self.x_rows, first, last)
        x = self._factor(self.x_rows, self.steps + 1 - last, self.steps + 1 - first)
        return theta, np.ascontiguousarray(x[:, ::-1])

    def _factor(self, rows: list[Any], first: int, last: int) -> np.ndarray:
        if not any(is_schedule(row) for row in rows):
            return np.ones((len(rows), 1))
        ones = np.ones(last - first + 1)
        columns = [schedule_values(row, self.steps, first, last) if is_schedule(row) else ones for row in rows]
        return np.ascontiguousarray(columns)

    def theta_protocol(self, first: int, last: int) -> np.ndarray:
        """Prescribed theta after steps first..last: (steps, m). A reversed run reads the protocol backwards."""
        given, constants = self.settings["theta"]["protocol"], self.settings["model"]
        if self.reversed:
            first, last = self.steps - last, self.steps - first
        columns = []
        for group in self.model.parameters:
            value, shape = given.get(group.name, group.default(constants)), group.shape(constants)
            values = np.asarray(schedule_values(value, self.steps, first, last), float)
            columns.append(np.broadcast_to(values.reshape(len(values), -1), (last - first + 1, math.prod(shape))))
        table = np.concatenate([*columns, np.zeros((last - first + 1, 0))], axis=1)
        return np.ascontiguousarray(table[::-1] if self.reversed else table)

    def tables(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Prescribed theta, and what the move of x needs, at steps first..last; one row where nothing changes."""
        moving = self.theta_dynamics == "protocol" and any(
            map(is_schedule, self.settings["theta"]["protocol"].values())
        )
        theta = self.theta_protocol(first, last) if moving else self.theta_protocol(1, 1)
        if "x" not in self.settings or self.settings["x"]["dynamics"] != "exact-ou":
            return theta, np.zeros((1, 0))
        before = self.theta_protocol(first - 1, last - 1) if moving and self.reversed else theta
        return theta, np.ascontiguousarray([self._propagator(row.tobytes()) for row in before])

    @functools.lru_cache(maxsize=4096)  # noqa: B019  a block lives as long as its run
    def _propagator(self, theta: bytes) -> np.ndarray:
        x = self.settings["x"]
        assert self.model.propagator is not None
        mean, noise, center = self.model.propagator(
            np.frombuffer(theta), self.settings["model"], x["time_step"], x["temperature"]
        )
        return np.concatenate([np.ravel(center), np.ravel(mean), np.ravel(noise)])

    def initial_theta(self) -> np.ndarray:
        """theta at step 0: (m, lanes)."""
        if self.theta_dynamics != "sgd":
            return np.repeat(self.theta_protocol(0, 0).T, self.lanes, axis=1)
        seed, m = self.settings["ensemble"]["seed"], self.parameters
        normal = normal_array(seed, INITIAL, 0, self.first_replica, (m + 1, self.lanes))
        uniform = uniform_array(seed, INITIAL, 2, self.first_replica, (1, self.lanes))[0]
        hyper: dict[str, Any] = {"constraint": self.settings["theta"]["constraint"]}
        for name in THETA_HYPER:
            value = self.settings["theta"][name]
            hyper[name] = None if is_schedule(value) else self.lane_values(f"theta.{name}")
        constants = self.constants_of_lanes(slice(None))
        start = self.settings["theta"]["initial"] or next(iter(self.model.initial_theta))
        return self.model.initial_theta[start](constants, hyper, normal, uniform)

    def initial_x(self, theta: np.ndarray) -> np.ndarray:
        """x at step 0: (S, n, lanes)."""
        shape = (self.samples, self.components, self.lanes)
        if not self.samples or self.settings["x"]["initial"] == "zero":
            return np.zeros(shape)
        rows = self.samples * self.components
        seed = self.settings["ensemble"]["seed"]
        normal = normal_array(seed, INITIAL, 1, self.first_replica, (rows, self.lanes)).reshape(shape)
        start = self.steps if self.reversed else 0
        base, factor = self.hyper()[1], self._factor(self.x_rows, start, start)
        temperature = np.broadcast_to((base * factor[:, :1])[1:], (self.components, self.lanes))
        constants = self.constants_of_lanes(slice(None))
        assert self.model.equilibrium is not None
        return np.stack([self.model.equilibrium(theta, constants, temperature, part) for part in normal])

    @functools.cached_property
    def addresses(self) -> tuple[int, int, int, int]:
        """Machine code of stochastic gradient, move of theta, jump and move of x."""
        names = self.model.names(self.settings["model"])
        gradient: Any = self.model.stochastic_gradient or _no_gradient
        moves = {"sgd": constrained_sgd, "protocol": protocol, "frozen": protocol}
        constraint = CONSTRAINTS.get(self.settings["theta"]["constraint"], 0)
        move = address_of(moves[self.theta_dynamics], signatures.THETA_MOVE, CONSTRAINT=constraint)
        gradient_address = address_of(gradient, signatures.STOCHASTIC_GRADIENT, **names)
        energy: Any = self.model.energy or _no_energy
        jump_address = address_of(jump, signatures.JUMP, energy=energy, **names)
        if not self.samples:
            return gradient_address, move, jump_address, address_of(_no_x_move, signatures.X_MOVE)
        x_names: dict[str, Any] = dict(names)
        if self.settings["x"]["dynamics"] == "ula":
            x_names |= {"TEMPERATURES": len(self.x_rows) - 1, "DRIVEN": self.model.drive is not None}
            x_names |= {"force": self.model.force, "drive": self.model.drive or _no_drive}
        x_move = X_MOVES[self.settings["x"]["dynamics"]]
        return gradient_address, move, jump_address, address_of(x_move, signatures.X_MOVE, energy=energy, **x_names)


def plan(case: Case) -> list[Block]:
    """The blocks of a case, in the order they run."""
    blocks: list[Block] = []
    first_replica = 0
    for number, (index, settings) in enumerate(case.blocks()):
        blocks.append(Block(number, index, settings, case.model, case.lane_axes, first_replica))
        first_replica += blocks[-1].lanes
    return blocks


def _no_gradient(theta, normal, constants, shared, loss, gradient, work):  # type: ignore[no-untyped-def]
    pass


def _no_energy(x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    return 0.0


def _no_drive(i, x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    return 0.0


def _no_x_move(  # type: ignore[no-untyped-def]
    x, x_new, theta, constants, shared, table, langevin, normal, uniform, phi, path, jumped
):
    pass
