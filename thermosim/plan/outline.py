"""From a valid case to its blocks: hyper-parameters per lane, data rows per lane, what changes from step to step."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from thermosim import cohorts
from thermosim.addresses import Numbering, series
from thermosim.case.faults import CaseError
from thermosim.case.load import Case
from thermosim.case.other_run import read_frame
from thermosim.case.record import sizes
from thermosim.case.settings import Settings
from thermosim.case.start import OtherRun
from thermosim.case.sweep import Axis
from thermosim.case.theta import move_of
from thermosim.data import Data
from thermosim.data.generators import linear_law
from thermosim.data.held_out import learned
from thermosim.data.section import GENERATED, GENERATED_ROWS
from thermosim.data.sources import data_of, recorded_theta, rows_of
from thermosim.data.tables import table
from thermosim.ledger import rows_booked
from thermosim.model import Model
from thermosim.moves import NO_SAMPLES, X_MOVES, Move
from thermosim.plan.block import Block
from thermosim.plan.timetable import Timetable
from thermosim.schedules import is_by_group

__all__ = ["Outline", "plan", "with_replicas"]


@dataclass(frozen=True, eq=False)
class Outline:
    """One ensemble of equal shapes: every lane axis of the sweep, times the replicas. `block` gives its lanes."""

    number: int
    index: tuple[int, ...]  # along the structural axes
    settings: Settings
    model: Model
    model_source: str
    axes: tuple[Axis, ...]  # of the whole sweep
    replicas: int  # of every point, those of one series of addresses
    first_replica: int  # counted over the whole case
    folder: Path  # where files that the case names are looked for

    @property
    def lane_axes(self) -> tuple[Axis, ...]:
        """Axes whose points are lanes of this ensemble."""
        return tuple(axis for axis in self.axes if not axis.structural)

    @functools.cached_property
    def variables(self) -> tuple[str, ...]:
        """Names of all that is recorded: what nobody reads is not computed."""
        return tuple(dict.fromkeys([*(self.settings.record.variables or ()), *self.settings.record.tables]))

    @property
    def steps(self) -> int:
        """Steps of theta."""
        return self.settings.run.steps

    @property
    def first_step(self) -> int:
        """The step that it begins at."""
        return self.settings.run.first_step

    def made_by(self, step: int) -> int:
        """Steps that are made once this one is reached; -1 is before the start."""
        return max(step - self.first_step, 0)

    @property
    def warm_up(self) -> int:
        """Moves of x before step 0."""
        return self.settings.x.start.warm_up if self.settings.x else 0

    @property
    def steps_to_make(self) -> float:
        """Steps, and a warm-up as so many steps of tau moves."""
        return self.made_by(self.steps) + (self.warm_up / self.settings.of_x.tau if self.warm_up else 0.0)

    @property
    def lanes(self) -> int:
        """Replicas of all points of the lane axes together."""
        return self.replicas * math.prod(len(axis.values) for axis in self.lane_axes)

    @functools.cached_property
    def sizes(self) -> dict[str, int]:
        """Sizes of the dimensions after the replica."""
        return sizes(self.model, self.settings)

    @property
    def moved(self) -> int:
        """Components that one step of one replica moves: what its cost goes with."""
        x = self.settings.x
        return self.sizes["theta_dim"] + (x.samples * self.sizes["x_dim"] * x.tau if x else 0)

    @property
    def x_move(self) -> Move:
        """The move of x."""
        return X_MOVES[self.settings.x.dynamics] if self.settings.x else NO_SAMPLES

    @functools.cached_property
    def cohort(self) -> Block:
        """Its first cohort: all that an engine must know to compile, to name kernels and to tell what lanes take."""
        return self.block(0, int(cohorts.bounds(self.replicas)[1]))

    @functools.cached_property
    def lane(self) -> Block:
        """One lane, with a row of zeros to learn from: what memory goes by, told without data and without cohorts."""
        bare = replace(self, settings=replace(self.settings, data=None)).make_block(0, 1)
        return bare if self.settings.data is None else replace(bare, data=np.zeros((1, self.row_length)))

    @functools.cached_property
    def data(self) -> Data | None:
        """The rows to learn from, all data sets one after another; None where there are none, or fresh ones."""
        section = self.settings.data
        if section is None or section.fresh:
            return None
        return data_of(self.model, self.settings.model.constants, section, self.folder)

    @property
    def row_length(self) -> int:
        """Numbers of one row of data."""
        return self.model.row_length(self.settings.model.constants)

    @property
    def _data_array(self) -> np.ndarray:
        """What a block knows of the data: all rows, or the law of fresh ones."""
        section = self.settings.data
        if section is not None and section.fresh:
            inputs, targets = rows_of(self.model, self.settings.model.constants)
            mean, factor = linear_law(section, inputs, targets.count if targets else 0)
            return np.vstack([mean, factor])
        return np.zeros((1, 0)) if self.data is None else np.ascontiguousarray(self.data.values)

    @property
    def numbers_of_rows(self) -> tuple[int, int]:
        """Rows of a data set and number of sets, told without making them; 0 of none."""
        section = self.settings.data
        if section is None or section.fresh:
            return 0, 0
        rows = section.rows or (GENERATED_ROWS if section.source in GENERATED else 0)
        inputs, _ = rows_of(self.model, self.settings.model.constants)
        return rows or len(learned(section, table(section, self.folder, inputs))), section.sets

    @functools.cached_property
    def _recording(self) -> np.ndarray | None:
        given = self.settings.theta.recording
        return recorded_theta(given, self.folder) if given else None

    def block(self, first_lane: int = 0, lanes: int | None = None) -> Block:
        """Some of its lanes, by default all of them; the last few that were asked for are kept."""
        return _block(self, first_lane, self.lanes if lanes is None else lanes)

    def make_block(self, first_lane: int, lanes: int) -> Block:
        """The same, made anew."""
        numbers = np.arange(first_lane, first_lane + lanes)
        settings, x, size = self.settings, self.settings.x, self.sizes
        theta, move = settings.theta, move_of(self.model, settings.theta)
        theta_rows, x_rows = self._theta_rows(move), self._x_rows()
        there_and_back = settings.run.direction == "there-and-back"
        return Block(
            number=self.number,
            first_lane=first_lane,
            lanes=len(numbers),
            replicas=self.replicas,
            first_replica=self.first_replica + first_lane,
            seed=settings.ensemble.seed,
            first_step=self.first_step,
            steps=self.steps,
            model_name=self.model.name,
            model_source=self.model_source,
            model_constants=settings.model.constants,
            parameters=size["theta_dim"],
            components=size["x_dim"],
            samples=size["sample"],
            tau=x.tau if x else 0,
            theta_dynamics=theta.dynamics,
            constraint=theta.constraint,
            x_dynamics=x.dynamics if x else None,
            batch=theta.batch if isinstance(theta.batch, int) else 0,
            contrast=theta.gradient == "contrast",
            restarts=x.restart if x else False,
            reversed=settings.run.direction == "reversed",
            turn=self.steps // 2 if there_and_back else 0,
            variables=self.variables,
            theta_rows=rows_booked(
                "theta", move.books, self.variables, self.model.functionals, settings.model.constants
            ),
            x_rows=rows_booked("x", self.x_move.books, self.variables),
            used=self._used(move),
            time_steps=self._time_steps,
            temperatures=max(len(x_rows) - self._time_steps, 1),
            constants=self._constants(numbers),
            shared=self.model.packed(settings.model.constants)[1],
            theta_hyper=self._base(theta_rows, numbers),
            x_hyper=self._of_mobility(self._base(x_rows, numbers)),
            data=self._data_array,
            fresh=settings.data is not None and settings.data.fresh,
            data_rows=self.data.rows if self.data is not None else 0,
            first_rows=self._first_rows(numbers),
            timetable=self._timetable(move, theta_rows, x_rows, self.steps // 2 if there_and_back else 0),
            **(self._of_network() if self.engine != "lanes" else {}),
        )

    @property
    def engine(self) -> str:
        """What makes the steps."""
        engine = self.settings.engine
        return (engine.name if engine else None) or "lanes"

    def _of_network(self) -> dict[str, Any]:
        """What the engine of networks is told beside."""
        engine, record, names = self.settings.engine, self.settings.record, set(self.variables)
        assert engine is not None
        measured: dict[str, list[tuple[int, int]]] = {}
        for one in self.model.measures:
            if one.name in (record.variables or ()):
                measured.setdefault(one.name, []).append((record.first, record.every or 1))
            if one.name in record.tables:
                table = record.tables[one.name]
                measured.setdefault(one.name, []).append((table.first or 0, table.every or 1))
        return {
            "engine": engine.name,
            "precision": engine.precision,
            "tile_width": engine.tile_width,
            "measure": self.settings.of_measure.model_dump() if names & measured.keys() else {},
            "measured": {name: tuple(cadences) for name, cadences in measured.items()},
            "test": None if self.data is None else self.data.test,
            "radii": self.settings.theta.radii,
        }

    def lane_values(self, key: str, lanes: np.ndarray) -> np.ndarray:
        """The value of a dotted key in lanes (L,), counted over the whole block: (L,)."""
        stride = self.replicas
        for axis in reversed(self.lane_axes):
            if axis.key == key:
                return np.asarray(axis.values, float)[lanes // stride % len(axis.values)]
            stride *= len(axis.values)
        return np.full(len(lanes), float(self.settings.value(key)))

    @property
    def _before(self) -> int:
        """Replicas of every point in the series of addresses before this one."""
        ensemble, points = self.settings.ensemble, math.prod(len(axis.values) for axis in self.axes)
        return Numbering(points, series(ensemble.replicas, ensemble.added)).first_of_series(self.first_replica)

    def state_of_other(self, name: str, other: OtherRun, lanes: np.ndarray) -> np.ndarray:
        """theta (m, L) or x (S, n, L) of another run, for lanes (L,) counted over the whole block.

        Raises CaseError where it has not enough replicas that did not diverge.
        """
        frame, swept = read_frame(other, name, self.folder), {axis.key for axis in self.lane_axes}
        keys = [key for key, _ in frame.axes]
        at = {key: self.lane_values(key, lanes) if key in swept else self.settings.value(key) for key in keys}
        try:
            return frame.of_lanes(at, self._before + lanes % self.replicas, other.survivors)
        except ValueError as error:
            raise CaseError([f"{name}.initial.from = {other.file!r}: {error}"]) from None

    def constants_of(self, lanes: np.ndarray) -> dict[str, Any]:
        """The model's constants: swept ones as arrays over these lanes (L,), counted over the whole block."""
        swept = {axis.key.split(".")[1]: axis.key for axis in self.lane_axes if axis.key.startswith("model.")}
        values = {name: self.lane_values(key, lanes) for name, key in swept.items()}
        return dict(self.settings.model.constants) | values

    def _used(self, move: Move) -> frozenset[str]:
        swept = {axis.key.removeprefix("theta.") for axis in self.lane_axes}
        return frozenset(key for key in move.hyper if key in swept or getattr(self.settings.theta, key) != 0.0)

    def _constants(self, lanes: np.ndarray) -> np.ndarray:
        constants = self.settings.model.constants
        return self._base(
            [(f"model.{c.name}", c.number(constants[c.name])) for c in self.model.constants if not c.is_array], lanes
        )

    def _first_rows(self, lanes: np.ndarray) -> np.ndarray:
        """Replicas are dealt to the data sets in equal runs."""
        if self.data is None:
            return np.zeros(len(lanes), np.int64)
        data_set = lanes % self.replicas * self.data.sets // self.replicas
        return np.asarray(data_set * self.data.rows, np.int64)

    def _theta_rows(self, move: Move) -> list[tuple[str, Any]]:
        """Key and value, a number or a schedule, of each hyper-parameter of the move of theta; "" is a row of ones."""
        rows = [(f"theta.{name}", getattr(self.settings.theta, name)) for name in move.hyper]
        # temperatures by group are scales in the table, of a temperature of one
        return [("", 1.0) if is_by_group(value) else (key, value) for key, value in rows]

    @property
    def _time_steps(self) -> int:
        """Rows of the time step: one, or one for each component where their mobilities differ."""
        mobility = self.settings.x.mobility if self.settings.x else 1.0
        return len(mobility) if isinstance(mobility, list) and len(set(mobility)) > 1 else 1

    def _x_rows(self) -> list[tuple[str, Any]]:
        """The same of time steps, not yet times their mobility, and temperatures: as many where there are several."""
        x, times = self.settings.x, self._time_steps
        if x is None:
            return []
        step, temperature = x.time_step, x.temperature
        several = [("", t) for t in temperature] if isinstance(temperature, list) else [("x.temperature", temperature)]
        several = several * times if len(several) < times else several
        return [("", 1.0) if step is None else ("x.time_step", step)] * times + several

    def _of_mobility(self, base: np.ndarray) -> np.ndarray:
        """Hyper-parameters of x (H, L) with each time step h multiplied by its mobility: a move knows h mu only."""
        mobility = self.settings.x.mobility if self.settings.x else 1.0
        if mobility != 1.0:
            times = self._time_steps
            base[:times] *= np.asarray(mobility, float).reshape(-1, 1)[:times]
        return base

    def _base(self, rows: list[tuple[str, Any]], lanes: np.ndarray) -> np.ndarray:
        base, swept = np.ones((len(rows), len(lanes))), {axis.key for axis in self.lane_axes}
        for row, (key, value) in zip(base, rows, strict=True):
            if key in swept:
                row[:] = self.lane_values(key, lanes)
            elif not isinstance(value, Mapping):  # a schedule gives the value itself
                row[:] = value
        return base

    def _timetable(self, move: Move, theta_rows: list[Any], x_rows: list[Any], turn: int) -> Timetable:
        settings, constants = self.settings, self.settings.model.constants
        theta, x, propagator = settings.theta, settings.x, None
        given = theta.protocol if move.prescribed else {}
        groups = self.model.parameters
        if x is not None and self.x_move.steady:
            step = x.time_step * float(np.ravel(x.mobility)[0])
            propagator = (self.model.name, self.model_source, constants, step, x.temperature)
        return Timetable(
            steps=self.steps,
            turn=turn,
            reversed=settings.run.direction == "reversed",
            theta=tuple(value for _, value in theta_rows),
            x=tuple(value for _, value in x_rows),
            scales=self._scales() if move.learns else None,
            protocol=tuple((given.get(g.name, g.default(constants)), g.shape(constants)) for g in groups),
            recording=self._recording,
            propagator=propagator,
        )

    def _scales(self) -> np.ndarray:
        """Scales of every parameter's learning rate (0 where it is not learned), then of its temperature: (2 m,).

        A preconditioner follows, row by row, without what is not learned: (2 m + m m,).
        """
        learned, given = self.settings.theta.learn, self.settings.theta.temperature
        by_group = given if is_by_group(given) else {}
        factors, matrix = self.settings.theta.learning_rate_factors or {}, self.settings.theta.preconditioner
        rates, temperatures = [], []
        for group in self.model.parameters:
            count = math.prod(group.shape(self.settings.model.constants))
            factor = float(factors.get(group.name, 1.0))
            rates.append(np.full(count, factor if learned is None or group.name in learned else 0.0))
            temperatures.append(np.full(count, float(by_group.get(group.name, 1.0))))
        scales = np.concatenate([*rates, *temperatures, np.zeros(0)])
        if matrix is None:
            return scales
        learns = np.concatenate(rates)
        return np.concatenate([scales, np.ravel(np.asarray(matrix, float) * np.outer(learns, learns))])


@functools.lru_cache(maxsize=2)
def _block(outline: Outline, first_lane: int, lanes: int) -> Block:
    return outline.make_block(first_lane, lanes)


def with_replicas(outline: Outline, replicas: int) -> Outline:
    """The same block with so many replicas of each point."""
    ensemble = outline.settings.ensemble.model_copy(update={"replicas": replicas, "added": []})
    return replace(outline, replicas=replicas, settings=replace(outline.settings, ensemble=ensemble))


def plan(case: Case) -> list[Outline]:
    """The blocks of a case, in the order they run: those of the first replicas, then those of replicas added."""
    outlines: list[Outline] = []
    source, ensemble, first_replica = case.model_source(), case.settings.ensemble, 0
    for replicas, (index, settings) in itertools.product(series(ensemble.replicas, ensemble.added), case.blocks()):
        settings = replace(settings, record=case.settings.record)  # variables are chosen for the whole sweep
        of_case = settings, case.model, source, case.axes
        outline = Outline(len(outlines), index, *of_case, replicas, first_replica, case.folder)
        outlines.append(outline)
        first_replica += outline.lanes
    return outlines
