"""Driven linear systems against theory: traps under a protocol, the rotational trap, two beads between two baths.

Every reference is exact at the time step of the run: means and covariances are carried from move to move
(`thermosim.exact.driven`), so nothing here is an expansion in h and no burn-in is needed. Exponential averages are
compared only where theory says that enough replicas carry them; the choice never looks at the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis import work
from thermosim.analysis.comparison import Comparison
from thermosim.analysis.estimates import MINIMUM_SAMPLE_SIZE, replica_mean
from thermosim.analysis.settings import axes, each_point, settings
from thermosim.analysis.skewed_means import REPLICAS, error_against
from thermosim.case.settings import Settings
from thermosim.checks.exponential import exponential_average
from thermosim.checks.first_law import first_law
from thermosim.exact import driven, linear_langevin
from thermosim.exact.driven import Ledger, LinearProtocol, WorkMoments
from thermosim.exact.linear_langevin import Gaussian
from thermosim.moves import THETA_MOVES, X_MOVES
from thermosim.schedules import is_schedule, schedule_values

__all__ = [
    "Exact",
    "check",
    "continuous_rate",
    "exact_results",
    "fluctuation_theorem",
    "free_energy_of",
    "has_linear_moves",
    "linear_protocol",
    "mean_rate",
    "start_state",
    "steady_frames",
]

_SAMPLE_SIZE = 4.0 * MINIMUM_SAMPLE_SIZE  # expected, for an exponential average to be compared
_AT = "at the run's time step"


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
        """A density of x at steps 0..N: that of the run ("state"), or the equilibrium of the theta of the step."""
        if end == "state":
            return [self.ledger.state(step) for step in range(self.protocol.steps + 1)]
        return [_stationary(self.protocol, step) for step in range(self.protocol.steps + 1)]

    def theorem_fraction(self, end: str) -> np.ndarray:
        """Expected effective sample size of <exp(-Sigma)> per replica, at steps 0..N; nan where it has no variance."""
        return np.exp(-driven.log_theorem_average(self.protocol, self.ledger.state(0), self.ends(end), 2.0))


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
    return LinearProtocol(stiffness, center, drive, x.dynamics, h, x.tau, t, x_first=backward)


def start_state(protocol: LinearProtocol, initial: str) -> Gaussian:
    """The distribution of x at step 0: the stationary state of continuous time, or a point at the origin."""
    n = protocol.center.shape[1]
    if initial == "zero":
        return Gaussian(np.zeros(n), np.zeros((n, n)))
    return _stationary(protocol, 0)


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


def fluctuation_theorem(ds: xr.Dataset, end: str = "state", exact: list[Exact] | None = None) -> xr.Dataset:
    """The integral fluctuation theorem with exact transition ratios, at every frame, from an equilibrium start.

    p_end is the density of x at the frame (end = "state": Sigma is the total entropy production) or the equilibrium of
    the frame's theta (end = "equilibrium"); the theorem holds for both. Needs x at step 0.
    """
    if end not in ("state", "equilibrium"):
        raise ValueError(f"end = {end!r}: expected 'state' or 'equilibrium'")
    if int(ds["step"][0]) != 0 or "x" not in ds or settings(ds).of_x.initial != "equilibrium":
        raise ValueError("the fluctuation theorem needs x at step 0, drawn from equilibrium: record.first = 0")
    x, steps = ds["x"], ds["step"].values
    shape = x.isel(x_dim=0, drop=True)
    begin, finish = xr.full_like(shape.isel(step=0, drop=True), np.nan), xr.full_like(shape, np.nan)
    for cell in exact_results(ds) if exact is None else exact:
        here = x.isel(cell.index).transpose("step", ..., "x_dim").values
        begin[cell.index] = cell.ledger.state(0).log_density(here[0])
        ends = cell.ends(end)
        for frame, step in enumerate(steps):
            finish[{**cell.index, "step": frame}] = ends[step].log_density(here[frame])
    return work.integral_fluctuation_theorem(ds, begin, finish)


def check(ds: xr.Dataset) -> list[Comparison]:
    """Everything these models know exactly, at the time step of the run, in every point of the sweep."""
    if not {"x", "work", "heat", "log_ratio_x"} & set(ds):
        raise KeyError("heat")  # before theory is worked out step by step, to compare with nothing
    if not has_linear_moves(ds):
        return _of_any_move(ds)
    exact = exact_results(ds)
    frames = _chosen_frames(ds)
    comparisons = [first_law(ds)] if {"phi", "work", "heat"} <= set(ds) else []
    for name, of in (("work", "work"), ("heat", "heat"), ("log_ratio_x", "log_ratio")):
        if name in ds and any(np.any(getattr(cell.ledger, of) != 0.0) for cell in exact):
            comparisons.append(_mean_comparison(ds, exact, frames, name, of))
    comparisons += _moments_of_x(ds, exact)
    if "work" in ds:
        comparisons += _work_comparisons(ds, exact, frames)
    if {"x", "log_ratio_x"} <= set(ds):
        comparisons += _theorem(ds, exact)
    if THETA_MOVES[settings(ds).theta.dynamics].rests:
        comparisons += _steady_state(ds, exact)
    return comparisons


def has_linear_moves(ds: xr.Dataset) -> bool:
    """Whether means and covariances of x are known exactly: its moves are linear in x, in all points of the sweep."""
    return all(resolved.of_x.dynamics in linear_langevin.DYNAMICS for _, resolved in each_point(ds))


def _of_any_move(ds: xr.Dataset) -> list[Comparison]:
    """The first law, and Jarzynski's equality where moves obey detailed balance at one temperature."""
    comparisons = [first_law(ds)] if {"phi", "work", "heat"} <= set(ds) else []
    points = [resolved for _, resolved in each_point(ds)]
    balanced = all(X_MOVES[resolved.of_x.dynamics].invariant for resolved in points)
    started = all(resolved.of_x.initial == "equilibrium" and not resolved.of_x.restart for resolved in points)
    numbers = all(isinstance(resolved.of_x.temperature, (int, float)) for resolved in points)
    if not (balanced and started and numbers) or "work" not in ds or int(ds["step"][0]) != 0:
        return comparisons
    exponents = []
    for index, resolved in each_point(ds):
        protocol, temperature = linear_protocol(resolved), float(resolved.of_x.temperature)
        gain = driven.free_energy_difference(protocol.stiffness, temperature)[ds["step"].values]
        exponents.append((ds["work"].isel(index) - xr.DataArray(gain, dims="step")) / temperature)
    exponent = xr.zeros_like(ds["work"])
    for (index, _), part in zip(each_point(ds), exponents, strict=True):
        exponent[index] = part.transpose(*exponent[index].dims)
    reference = "Jarzynski's equality, dF of the stiffness, at any time step: moves leave each equilibrium invariant"
    return comparisons + exponential_average(ds, exponent, "<exp(-(work - dF)/T)>", reference)


def _chosen_frames(ds: xr.Dataset) -> np.ndarray:
    """Indices of up to three frames, the first quarter, the middle and the end; never step 0."""
    last = ds.sizes["step"] - 1
    frames = np.unique([max(last // 4, 0), last // 2, last])
    return np.asarray(frames[ds["step"].values[frames] > 0])


def _table(ds: xr.Dataset, exact: list[Exact], value: Callable[[Exact], Any]) -> np.ndarray:
    """value(cell) over the sweep: shape (axes..., ...)."""
    names = axes(ds)
    entries = [np.asarray(value(cell), float) for cell in exact]
    return np.stack(entries).reshape(tuple(ds.sizes[name] for name in names) + entries[0].shape)


def _values(ds: xr.Dataset, array: xr.DataArray, *tail: str) -> np.ndarray:
    return np.asarray(array.transpose(*axes(ds), *tail).values)


def _comparison(
    ds: xr.Dataset, quantity: str, measured: Any, error: Any, exact: np.ndarray, reference: str, tolerance: float = 0.0
) -> Comparison:
    return Comparison(quantity, measured, error, exact, ds.sizes["replica"] - 1, reference, tolerance)


def _mean_comparison(ds: xr.Dataset, exact: list[Exact], frames: np.ndarray, name: str, of: str) -> Comparison:
    steps = ds["step"].values[frames]
    mean, error = replica_mean(ds[name].isel(step=frames))
    reference = _table(ds, exact, lambda cell: getattr(cell.ledger, of)[steps])
    what = of.replace("_", " ")
    where = ", ".join(str(step) for step in steps)
    measured, errors = _values(ds, mean, "step"), _values(ds, error, "step")
    return _comparison(
        ds, f"mean {what} to step {where}", measured, errors, reference, f"linear Langevin moments, {_AT}"
    )


def _moments_of_x(ds: xr.Dataset, exact: list[Exact]) -> list[Comparison]:
    """Mean and covariance of x in the last frame, deviations taken from the exact mean."""
    if "x" not in ds:
        return []
    step = int(ds["step"][-1])
    x = ds["x"].isel(step=-1).transpose(*axes(ds), "replica", ..., "x_dim")
    n = x.sizes["x_dim"]
    mean, error = replica_mean(x)
    exact_mean = _table(ds, exact, lambda cell: cell.ledger.mean[step])
    dims = (*axes(ds), "x_dim")
    deviation = x - xr.DataArray(exact_mean, dims=dims)
    pairs = list(zip(*np.triu_indices(n), strict=True))
    products = xr.concat([deviation.isel(x_dim=i) * deviation.isel(x_dim=j) for i, j in pairs], "pair")
    covariance, spread = replica_mean(products)
    exact_covariance = _table(ds, exact, lambda cell: [cell.ledger.covariance[step][i, j] for i, j in pairs])
    reference = f"linear Langevin moments (discrete Lyapunov recursion), {_AT}"
    name = f"of x at step {step}"
    return [
        _comparison(ds, f"mean {name}", _values(ds, mean, "x_dim"), _values(ds, error, "x_dim"), exact_mean, reference),
        _comparison(
            ds,
            f"covariance {name}",
            _values(ds, covariance, "pair"),
            _values(ds, spread, "pair"),
            exact_covariance,
            reference,
        ),
    ]


def _work_comparisons(ds: xr.Dataset, exact: list[Exact], frames: np.ndarray) -> list[Comparison]:
    """Variance of the work and Jarzynski's average, in the last frame where theory promises enough replicas."""
    if not THETA_MOVES[settings(ds).theta.dynamics].prescribed or any(cell.moments is None for cell in exact):
        return []
    moments = [cell.moments for cell in exact if cell.moments is not None]
    step = int(ds["step"].values[frames[-1]])
    deviation = ds["work"].sel(step=step) - xr.DataArray(
        _table(ds, exact, lambda cell: cell.ledger.work[step]), dims=axes(ds)
    )
    variance, error = replica_mean(deviation**2)
    comparisons = []
    exact_variance = _table(ds, exact, lambda cell: cell.moments.variance[step])  # type: ignore[union-attr]
    if np.all(exact_variance > 0.0):
        quantity = f"variance of the work to step {step}"
        reference = f"second moments of the Gaussian path, {_AT}"
        comparisons.append(
            _comparison(ds, quantity, _values(ds, variance), _values(ds, error), exact_variance, reference)
        )
    replicas = ds.sizes["replica"]
    steps = ds["step"].values
    sizes = replicas * np.min([m.effective_fraction()[steps] for m in moments], axis=0)
    good = steps[(steps > 0) & (sizes >= _sample_size(replicas))]
    if not len(good):
        return comparisons
    step = int(good[-1])
    sample = ds["work"].sel(step=step)
    inverse = xr.DataArray(_table(ds, exact, lambda cell: 1.0 / cell.temperature), dims=axes(ds))
    weights = xr.DataArray(np.exp(-sample * inverse))
    weights = weights.mean("sample") if "sample" in weights.dims else weights
    expected = _table(ds, exact, lambda cell: np.exp(cell.moments.log_average[step]))  # type: ignore[union-attr]
    average = weights.mean("replica", skipna=False)
    error = error_against(weights, xr.DataArray(expected, dims=axes(ds)))
    exact_move = X_MOVES[settings(ds).of_x.dynamics].invariant
    theory = "Jarzynski's equality, exp(-dF/T), at any time step" if exact_move else f"Gaussian integral, {_AT}"
    sample_size = float(work.jarzynski(ds)["effective_sample_size"].sel(step=step).min())
    quantity = f"<exp(-work/T)> to step {step} (effective sample size {sample_size:.0f})"
    return [*comparisons, _comparison(ds, quantity, _values(ds, average), _values(ds, error), expected, theory)]


def _sample_size(replicas: int) -> float:
    """Expected effective sample size of an exponential average that is compared: f R, with R >= REPLICAS/f^2."""
    return max(_SAMPLE_SIZE, float(np.sqrt(REPLICAS * replicas)))


def _theorem(ds: xr.Dataset, exact: list[Exact]) -> list[Comparison]:
    """<exp(-Sigma)> = 1 in the last frame where theory promises enough replicas."""
    if "x" not in ds or int(ds["step"][0]) != 0 or settings(ds).of_x.initial != "equilibrium":
        return []
    steps = ds["step"].values
    promised = {}
    for end in ("state", "equilibrium"):
        sizes = ds.sizes["replica"] * np.min([cell.theorem_fraction(end)[steps] for cell in exact], axis=0)
        promised[end] = steps[(steps > 0) & (sizes >= _sample_size(ds.sizes["replica"]))]
    end = max(promised, key=lambda name: max(promised[name], default=0))
    if len(promised[end]) == 0:
        return []
    step = int(promised[end][-1])
    result = fluctuation_theorem(ds.sel(step=[0, step]), end, exact).sel(step=step)
    sample_size = float(result["effective_sample_size"].min())
    quantity = f"<exp(-Sigma)> to step {step} (effective sample size {sample_size:.0f})"
    average, error = _values(ds, result["average"]), _values(ds, result["average_error"])
    theory = f"integral fluctuation theorem with the exact transition ratios, any time step; p_end = {end}"
    return [_comparison(ds, quantity, average, error, np.ones_like(average), theory)]


def _steady_state(ds: xr.Dataset, exact: list[Exact]) -> list[Comparison]:
    """Rates between the first frame after relaxation and the last; theory with the same finite step and frames."""
    first, last = steady_frames(ds, exact)
    if any(np.ndim(cell.protocol.time_step) or np.ndim(cell.protocol.temperature) > 1 for cell in exact):
        return []  # scheduled: not steady
    if first == last or all(not np.any(cell.ledger.log_ratio) for cell in exact):
        return []
    result = work.entropy_production(ds, first, last)
    limit = ", ".join(f"{value:.4g}" for value in np.ravel([continuous_rate(cell) for cell in exact])[:6])
    rates = _table(ds, exact, lambda cell: mean_rate(cell, first, last))
    quantity = f"entropy production rate, steps {first} to {last}"
    measured = _values(ds, result["entropy_production_rate"])
    error = _values(ds, result["entropy_production_rate_error"])
    reference = f"steady state of the finite-step chain (h -> 0: {limit})"
    comparisons = [_comparison(ds, quantity, measured, error, rates, reference)]
    if settings(ds).model.name != "two-beads" or any(len(set(_baths(c))) < 2 for c in exact):
        return comparisons
    currents = work.heat_currents(ds, first, last)

    def current(cell: Exact) -> np.ndarray:
        heats = cell.ledger.heat_of_component[last] - cell.ledger.heat_of_component[first]
        return np.asarray(heats[np.argsort(_baths(cell))[::-1]] / _duration(cell, first, last))

    measured, error = (_values(ds, currents[name], "bath") for name in ("heat_current", "heat_current_error"))
    quantity = f"heat from the hot and the cold bath per unit time, steps {first} to {last}"
    theory = "steady state of the finite-step chain"
    return [*comparisons, _comparison(ds, quantity, measured, error, _table(ds, exact, current), theory)]


def steady_frames(ds: xr.Dataset, exact: list[Exact]) -> tuple[int, int]:
    """First recorded step after ten relaxation times, at most halfway, and the last; the same step if there is one."""
    steps = ds["step"].values
    slowest = min(_relaxation_rate(cell) for cell in exact)
    relaxed = steps[steps >= min(10.0 / slowest, steps[-1] / 2.0)]
    return int(relaxed[0]), int(steps[-1])


def mean_rate(cell: Exact, first: int, last: int) -> float:
    """Exact mean log path ratio per unit time between two steps."""
    return float((cell.ledger.log_ratio[last] - cell.ledger.log_ratio[first]) / _duration(cell, first, last))


def continuous_rate(cell: Exact) -> float:
    """Entropy production per unit time as the time step goes to zero: -sum_i (heat from bath i)/T_i."""
    force, temperature = cell.protocol.force(0), cell.protocol.bath(0)[1]
    covariance = linear_langevin.stationary_covariance(force.matrix, temperature)
    squares = np.einsum("ij,jk,ik->i", force.matrix, covariance, force.matrix)
    return float(np.sum((squares + temperature * np.diag(force.matrix)) / temperature))


def free_energy_of(cell: Exact) -> np.ndarray:
    """F(theta_t) - F(theta_0) at steps 0..N."""
    return driven.free_energy_difference(cell.protocol.stiffness, cell.temperature)


def _duration(cell: Exact, first: int, last: int) -> float:
    return (last - first) * cell.protocol.tau * cell.protocol.bath(0)[0]


def _baths(cell: Exact) -> list[float]:
    return [float(t) for t in cell.protocol.bath(0)[1]]


def _relaxation_rate(cell: Exact) -> float:
    """Slowest decay of a deviation per step of theta."""
    move = linear_langevin.transition(cell.protocol.force(0), cell.protocol.dynamics, *cell.protocol.bath(0))
    return float(-cell.protocol.tau * np.log(np.abs(np.linalg.eigvals(move.matrix)).max()))


def _stationary(protocol: LinearProtocol, step: int) -> Gaussian:
    """The stationary state of continuous time at the theta and the baths of a step."""
    temperature = protocol.bath(step)[1]
    covariance = linear_langevin.stationary_covariance(protocol.force(step).matrix, temperature)
    return Gaussian(protocol.center[step], covariance)
