"""A block: some lanes of one ensemble of equal shapes, as plain arrays and sizes. It is what any engine receives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thermosim.ledger import FUNCTIONALS, functionals_of, variables_of
from thermosim.model import Model
from thermosim.models import model_of
from thermosim.moves import CONSTRAINED, NO_SAMPLES, THETA_MOVES, X_MOVES, Move
from thermosim.plan.timetable import Timetable

__all__ = ["Block", "rows_of_block"]


@dataclass(frozen=True, eq=False)
class Block:
    """Lanes first_lane, first_lane + 1, ... of a block of a case, each a replica at one point of the sweep.

    m parameters, n components, S chains of x per replica. Computed once; can be pickled.
    """

    number: int  # of the block in its case
    first_lane: int  # counted over the whole block
    lanes: int
    replicas: int  # of every point of the sweep
    first_replica: int  # of these lanes, counted over the whole case: the address of their noise
    seed: int
    first_step: int  # that it begins at
    steps: int
    model_name: str
    model_source: str  # text of a user's model
    model_constants: Mapping[str, Any]  # at the first point of the sweep
    parameters: int  # m
    components: int  # n, 0 without x
    samples: int  # S
    tau: int
    theta_dynamics: str
    constraint: str | None  # of scale-invariant parameters
    x_dynamics: str | None
    batch: int  # rows of a minibatch, 0 for all rows
    contrast: bool  # the gradient is that of data against samples
    restarts: bool  # chains start from data rows at every step
    reversed: bool  # protocol and order of moves run backwards
    turn: int  # the step after which a run there and back retraces its steps, 0 for any other
    variables: tuple[str, ...]  # that are recorded
    theta_rows: tuple[str, ...]  # of the ledger that are booked
    x_rows: tuple[str, ...]
    used: frozenset[str]  # hyper-parameters of theta that are not zero everywhere
    time_steps: int  # of x, each with its mobility: 1, or one per component
    temperatures: int  # of x: 1, or one per component, which it is where there are several time steps
    constants: np.ndarray  # scalar constants of the model, a row each: (C, lanes)
    shared: np.ndarray  # array constants of the model, packed: (K,)
    theta_hyper: np.ndarray  # base values of hyper-parameters (H, lanes), 1 where a schedule gives the value
    x_hyper: np.ndarray
    data: np.ndarray  # rows of all data sets (rows, n); of fresh rows their mean, and under it their factor (1 + n, n)
    fresh: bool  # rows are drawn anew at every step
    data_rows: int  # of each set
    first_rows: np.ndarray  # row at which the data set of each lane begins: (lanes,)
    timetable: Timetable
    engine: str = "lanes"  # that makes the steps
    precision: str = "float64"  # of a network's parameters
    tile_width: int = 0  # replicas of a network that go together
    measure: Mapping[str, Any] = field(default_factory=dict)  # settings of what is measured at frames
    measured: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)  # at which steps: first, every
    test: np.ndarray | None = None  # rows of data that are not learned from
    radii: str = "joint"  # that a constraint is about: of all parameters, or "by-group"

    @property
    def model(self) -> Model:
        """The model, found by its name or made of the user's text."""
        return model_of(self.model_name, self.model_source)

    @property
    def theta(self) -> Move:
        """The move of theta."""
        return CONSTRAINED[self.constraint] if self.constraint else THETA_MOVES[self.theta_dynamics]

    @property
    def x(self) -> Move:
        """The move of x."""
        return X_MOVES[self.x_dynamics] if self.x_dynamics else NO_SAMPLES

    @property
    def preconditioned(self) -> bool:
        """Whether theta has a matrix of learning rates, which follows the scales in the table of its move."""
        scales = self.timetable.scales
        return scales is not None and len(scales) > 2 * self.parameters

    @property
    def derived(self) -> int:
        """Rows of what the model derives from theta; 0 where its functions read theta itself."""
        return self.model.names(self.model_constants)["DERIVED"]

    @property
    def delivered(self) -> tuple[str, ...]:
        """What the engine delivers of every frame: the states and rows that are recorded, or watched by the guard."""
        variables = variables_of(self.model.rows)
        sources = {variables[name].source for name in self.variables if name in variables}
        sources |= {self.model.observables[name].of for name in self.variables if name not in variables}
        # a network that diverges has a loss that is not finite: its theta, which is large, need not be looked at
        told = self.engine != "lanes" and "loss_sum" in self.theta_rows
        watched = {"theta"} if self.theta.learns and not told else set()
        watched |= {"x", "phi"} if self.samples else set()
        states = [name for name in ("theta", "x", "phi") if name in sources | watched]
        return (*states, *dict.fromkeys(self.theta_rows), *self.x_rows, *self.measured)

    @property
    def frame_size(self) -> int:
        """Numbers of one lane in a frame of all that is delivered."""
        return sum(math.prod(self.shape(name)) for name in self.delivered)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a delivered variable, after the lane."""
        shapes = {"theta": (self.parameters,), "x": (self.samples, self.components), "phi": (self.samples,)}
        if name in self.measured:
            one = next(measure for measure in self.model.measures if measure.name == name)
            groups = {"groups": len(self.model.groups(self.model_constants))}
            return () if one.size is None else (one.size({**self.measure, **groups}),)
        if name in self.theta_rows and name not in FUNCTIONALS:
            own = functionals_of(self.model.functionals)[name]
            return () if own.size is None else (self.theta_rows.count(name),)
        return shapes.get(name, (self.samples,) if name in self.x_rows else ())


def rows_of_block(block: Block) -> int:
    """Numbers that a block holds of each lane."""
    return len(block.constants) + len(block.theta_hyper) + len(block.x_hyper) + 1
