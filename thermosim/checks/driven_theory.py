"""What is known exactly of every point of a driven linear system: the law of x and the books at the run's time step."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.settings import each_point
from thermosim.case.settings import Settings
from thermosim.case.start import Start
from thermosim.exact import driven, linear_langevin
from thermosim.exact.driven import Ledger, LinearProtocol, WorkMoments
from thermosim.exact.linear_langevin import Gaussian, Transition
from thermosim.schedules import is_schedule, schedule_values

__all__ = [
    "ENDS",
    "Exact",
    "baths",
    "continuous_rate",
    "duration",
    "exact_results",
    "free_energy_of",
    "linear_protocol",
    "mean_rate",
    "start_state",
    "steady_frames",
]

# densities that Sigma may end in: of the run, or the equilibrium of the step's theta; or with half their covariance,
# which makes weights whose tails are lighter
ENDS = ("state", "equilibrium", "narrow state", "narrow equilibrium")


@dataclass(frozen=True)
class Exact:
    """Everything known exactly of one point of the sweep."""

    index: Mapping[str, int]
    protocol: LinearProtocol
    ledger: Ledger
    moments: WorkMoments | None  # None: driven, or several temperatures

    @property
    def temperature(self) -> float:
        """The single temperature; meaningful where `moments` is not None."""
        return float(np.ravel(self.protocol.temperature)[0])

    def ends(self, end: str) -> list[Gaussian]:
        """A density of x at steps 0..N: one of ENDS."""
        of = self.ledger.state if end.endswith("state") else functools.partial(_stationary, self.protocol)
        share = 0.5 if end.startswith("narrow") else 1.0
        states = [of(step) for step in range(self.protocol.steps + 1)]
        return [Gaussian(state.mean, share * state.covariance) for state in states] if share < 1.0 else states

    def theorem_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Of exp(-Sigma), for each of ENDS at steps 0..N: expected effective sample size per replica, and skewness."""
        start, ends = self.ledger.state(0), [self.ends(end) for end in ENDS]
        square, cube = (driven.log_theorem_averages(self.protocol, start, ends, power) for power in (2.0, 3.0))
        return np.exp(-square), driven.weight_skewness(np.zeros_like(square), square, cube)

    @property
    def is_finite(self) -> bool:
        """Whether moments of x stay numbers: the chain is not far beyond its limit of stability."""
        return bool(np.all(np.isfinite(self.ledger.covariance)) and np.all(np.isfinite(self.ledger.heat)))


def linear_protocol(resolved: Settings) -> LinearProtocol:
    """The linear system that these settings describe. Raises ValueError for a model that is not one of the three."""
    model, x, name = resolved.model.constants, resolved.of_x, resolved.model.name
    steps, backward = resolved.run.steps, resolved.run.direction == "reversed"
    if name == "harmonic-trap":
        n = model["dimension"]
        given = resolved.theta.protocol
        stiffness = schedule_values(given.get("stiffness", np.eye(n)), steps).reshape(-1, n, n)
        center = schedule_values(given.get("center", np.zeros(n)), steps).reshape(-1, n)
        drive = np.zeros((n, n))
    elif name == "rotational-trap":
        n, k = model["dimension"], model["stiffness"]
        stiffness, center = np.tile(k * np.eye(n), (steps + 1, 1, 1)), np.zeros((steps + 1, n))
        drive = model["rotation"] * np.kron(np.eye(n // 2), [[0.0, -1.0], [1.0, 0.0]])
    elif name == "two-beads":
        n, k, c = 2, model["stiffness"], model["coupling"]
        stiffness, center = np.tile([[k + c, -c], [-c, k + c]], (steps + 1, 1, 1)), np.zeros((steps + 1, n))
        drive = np.zeros((n, n))
    else:
        raise ValueError(f"model {name!r} is not one of harmonic-trap, rotational-trap, two-beads")
    h, t = x.time_step, x.temperature
    h = schedule_values(h, steps) if is_schedule(h) else np.asarray(h, float)
    t = schedule_values(t, steps).reshape(steps + 1, -1) if is_schedule(t) else np.asarray(t, float)
    if backward:  # step s undoes step N + 1 - s; the start is the forward run's end
        stiffness, center = stiffness[::-1], center[::-1]
        h = np.concatenate([h[-1:], h[:0:-1]]) if is_schedule(x.time_step) else h
        t = np.concatenate([t[-1:], t[:0:-1]]) if is_schedule(x.temperature) else t
    mobility = np.asarray(x.mobility, float)
    return LinearProtocol(stiffness, center, drive, x.dynamics, h, x.tau, t, x_first=backward, mobility=mobility)


def start_state(protocol: LinearProtocol, initial: Any) -> Gaussian:
    """The law of x at step 0 of a start as `x.initial` has it: the stationary state of continuous time, a normal law, a
    point, each carried through the warm-up. Raises ValueError for a start from another run, whose law is not known.
    """
    start, n = Start.of(initial), protocol.center.shape[1]
    if start.other is not None:
        raise ValueError(f"x starts from {start}, whose law is not known")
    if start.kind == "equilibrium":
        law = _stationary(protocol, 0)
    else:
        mean, deviation = (np.zeros(n) + value for value in (start.mean, start.deviation))
        law = Gaussian(mean, np.diag(deviation**2))
    if not start.warm_up:
        return law
    move = linear_langevin.transition(protocol.force(0), protocol.dynamics, *protocol.bath(0))
    return linear_langevin.after(law, _repeated(move, start.warm_up))


def _repeated(move: Transition, times: int) -> Transition:
    """So many of the same move as one, by squaring: the noise N + M N M' of two grows as their matrix does."""
    n = len(move.shift)
    result = Transition(np.eye(n), np.zeros(n), np.zeros((n, n)))
    with np.errstate(over="ignore", invalid="ignore"):
        while times:
            result = _then(result, move) if times & 1 else result
            move, times = _then(move, move), times >> 1
    return result


def _then(first: Transition, second: Transition) -> Transition:
    """One move after another."""
    matrix = second.matrix @ first.matrix
    shift = second.matrix @ first.shift + second.shift
    return Transition(matrix, shift, second.matrix @ first.noise @ second.matrix.T + second.noise)


def exact_results(ds: xr.Dataset) -> list[Exact]:
    """Exact results for every point of the sweep, in order."""
    results = []
    for index, resolved in each_point(ds):
        protocol = linear_protocol(resolved)
        start = start_state(protocol, resolved.of_x.initial)
        one_bath = np.ndim(protocol.temperature) < 2 and len(np.unique(np.asarray(protocol.temperature))) == 1
        known = one_bath and not np.any(protocol.drive) and np.any(start.covariance)
        moments = driven.work_moments(protocol, start) if known and "work" in ds else None
        results.append(Exact(index, protocol, driven.ledger(protocol, start), moments))
    return results


def steady_frames(ds: xr.Dataset, exact: list[Exact]) -> tuple[int, int]:
    """First recorded step after ten relaxation times, at most halfway, and the last; the same step if there is one."""
    steps = ds["step"].values
    slowest = max(min(_relaxation_rate(cell) for cell in exact), np.finfo(float).tiny)
    relaxed = steps[steps >= min(10.0 / slowest, steps[-1] / 2.0)]
    return int(relaxed[0]), int(steps[-1])


def mean_rate(cell: Exact, first: int, last: int) -> float:
    """Exact mean log path ratio per unit time between two steps."""
    return float((cell.ledger.log_ratio[last] - cell.ledger.log_ratio[first]) / duration(cell, first, last))


def continuous_rate(cell: Exact) -> float:
    """Entropy production per unit time as the time step goes to zero: -sum_i (heat from bath i)/T_i."""
    _, temperature, mobility = cell.protocol.bath(0)
    return linear_langevin.entropy_production_rate(cell.protocol.force(0).matrix, temperature, mobility)


def free_energy_of(cell: Exact) -> np.ndarray:
    """F(theta_t) - F(theta_0) at steps 0..N."""
    return driven.free_energy_difference(cell.protocol.stiffness, cell.temperature)


def duration(cell: Exact, first: int, last: int) -> float:
    """Time between two steps."""
    return (last - first) * cell.protocol.tau * cell.protocol.bath(0)[0]


def baths(cell: Exact) -> list[float]:
    """Temperatures of the components at step 0."""
    return [float(t) for t in cell.protocol.bath(0)[1]]


def _relaxation_rate(cell: Exact) -> float:
    """Slowest decay of a deviation per step of theta."""
    move = linear_langevin.transition(cell.protocol.force(0), cell.protocol.dynamics, *cell.protocol.bath(0))
    with np.errstate(divide="ignore"):
        return float(-cell.protocol.tau * np.log(np.abs(np.linalg.eigvals(move.matrix)).max()))


def _stationary(protocol: LinearProtocol, step: int) -> Gaussian:
    """The stationary state of continuous time at the theta and the baths of a step."""
    temperature = protocol.bath(step)[1]
    covariance = linear_langevin.stationary_covariance(protocol.force(step).matrix, temperature)
    return Gaussian(protocol.center[step], covariance)
