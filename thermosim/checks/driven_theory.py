"""What is known exactly of every point of a driven linear system: the law of x and the books at the run's time step."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from thermosim.analysis.settings import each_point
from thermosim.case.settings import Settings
from thermosim.case.start import Start
from thermosim.exact import driven, gaussian_products, linear_langevin
from thermosim.exact.driven import Ledger
from thermosim.exact.linear_langevin import Gaussian, Transition
from thermosim.exact.path_weights import log_theorem_averages
from thermosim.exact.scan import power
from thermosim.exact.stretches import LinearProtocol
from thermosim.exact.work_moments import WorkMoments, weight_skewness, work_moments
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
    """Everything known exactly of one point of the sweep, at F steps; worked out when it is asked for."""

    index: Mapping[str, int]
    protocol: LinearProtocol
    start: Gaussian
    steps: np.ndarray  # (F), in order

    @functools.cached_property
    def ledger(self) -> Ledger:
        """Means of x and of the books."""
        return driven.ledger(self.protocol, self.start, self.steps)

    @property
    def in_one_bath(self) -> bool:
        """Whether moments of the work are known: no drive, one temperature, a start that is no point."""
        return self.protocol.one_bath and not np.any(self.protocol.drive) and bool(np.any(self.start.covariance))

    @functools.cached_property
    def moments(self) -> WorkMoments:
        """Of the work; raises ValueError where there are none."""
        return work_moments(self.protocol, self.start, self.steps)

    @functools.cached_property
    def plain_moments(self) -> WorkMoments:
        """The same without exponential averages, which only many replicas can be compared with."""
        return work_moments(self.protocol, self.start, self.steps, exponentials=False)

    @property
    def temperature(self) -> float:
        """The single temperature; meaningful in one bath."""
        return float(np.ravel(self.protocol.temperature)[0])

    def rows(self, steps: ArrayLike) -> np.ndarray:
        """Where these steps are among those of the ledger and the moments."""
        return np.searchsorted(self.steps, steps)

    def ends(self, end: str) -> Gaussian:
        """A density of x at the steps, one of ENDS: mean (F, n), covariance (F, n, n)."""
        law = Gaussian(self.ledger.mean, self.ledger.covariance)
        if not end.endswith("state"):
            law = _stationary(self.protocol, self.steps)
        return Gaussian(law.mean, 0.5 * law.covariance) if end.startswith("narrow") else law

    def theorem_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Of exp(-Sigma), for each of ENDS at the steps: expected effective sample size per replica, and skewness."""
        ends = [self.ends(end) for end in ENDS]
        square, cube = (log_theorem_averages(self.protocol, self.start, ends, b, self.steps) for b in (2.0, 3.0))
        return np.exp(-square), weight_skewness(np.zeros_like(square), square, cube)

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
        there = _stationary(protocol, np.zeros(1, int))
        law = Gaussian(there.mean[0], there.covariance[0])
    else:
        mean, deviation = (np.zeros(n) + value for value in (start.mean, start.deviation))
        law = Gaussian(mean, np.diag(deviation**2))
    if not start.warm_up:
        return law
    move = linear_langevin.transition(protocol.force(0), protocol.dynamics, *protocol.bath(0))
    one = tuple(part[..., None] for part in (move.matrix, move.shift, move.noise))
    with np.errstate(over="ignore", invalid="ignore"):
        matrix, shift, noise = power(one, np.array([start.warm_up]), gaussian_products.moves)
    return linear_langevin.after(law, Transition(matrix[..., 0], shift[..., 0], noise[..., 0]))


def exact_results(ds: xr.Dataset, steps: np.ndarray | None = None) -> list[Exact]:
    """Exact results for every point of the sweep, in order, at these steps, by default those of the frames."""
    asked = np.unique(np.asarray(ds["step"].values if steps is None else steps, int))
    results = []
    for index, resolved in each_point(ds):
        protocol = linear_protocol(resolved)
        results.append(Exact(index, protocol, start_state(protocol, resolved.of_x.initial), asked))
    return results


def steady_frames(ds: xr.Dataset, exact: list[Exact]) -> tuple[int, int]:
    """First recorded step after ten relaxation times, at most halfway, and the last; the same step if there is one."""
    steps = ds["step"].values
    slowest = max(min(_relaxation_rate(cell) for cell in exact), np.finfo(float).tiny)
    relaxed = steps[steps >= min(10.0 / slowest, steps[-1] / 2.0)]
    return int(relaxed[0]), int(steps[-1])


def mean_rate(cell: Exact, first: int, last: int) -> float:
    """Exact mean log path ratio per unit time between two steps."""
    begin, end = cell.ledger.log_ratio[cell.rows([first, last])]
    return float((end - begin) / duration(cell, first, last))


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


def _stationary(protocol: LinearProtocol, steps: np.ndarray) -> Gaussian:
    """The stationary states of continuous time at theta and baths of steps: mean (F, n), covariance (F, n, n)."""
    stiffness, n = protocol.stiffness[steps], protocol.center.shape[1]
    t = np.asarray(protocol.temperature, float)
    t = np.broadcast_to(t[steps] if t.ndim == 2 else t, (len(steps), n))
    if protocol.one_bath and not np.any(protocol.drive):
        return Gaussian(protocol.center[steps], t[0, 0] * np.linalg.inv(stiffness))
    distinct, which = np.unique(np.concatenate([stiffness.reshape(-1, n * n), t], axis=1), axis=0, return_inverse=True)
    covariance = np.stack(
        [linear_langevin.stationary_covariance(protocol.drive - r[: n * n].reshape(n, n), r[n * n :]) for r in distinct]
    )
    return Gaussian(protocol.center[steps], covariance[which.ravel()])
