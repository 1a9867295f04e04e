"""Driven linear systems against theory: traps under a protocol, the rotational trap, two beads between two baths.

Every reference is exact at the time step of the run: means and covariances are carried from move to move
(`thermosim.exact.driven`), so nothing here is an expansion in h and no burn-in is needed. Exponential averages are
compared only where theory says that enough replicas carry them; the choice never looks at the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis import work
from thermosim.analysis.comparison import ROUNDING, Comparison
from thermosim.analysis.estimates import MINIMUM_SAMPLE_SIZE
from thermosim.analysis.settings import axes, each_point
from thermosim.checks.currents import precision_rows
from thermosim.checks.driven_theory import (
    ENDS,
    Exact,
    baths,
    continuous_rate,
    duration,
    exact_results,
    free_energy_of,
    linear_protocol,
    mean_rate,
    start_state,
    steady_frames,
)
from thermosim.checks.exponential import exponential_average
from thermosim.checks.first_law import BOOKS, first_law
from thermosim.checks.means import (
    LEAST_REPLICAS,
    is_nearly_normal,
    mean_comparison,
    normal_moments,
    normal_variance,
)
from thermosim.exact import driven, linear_langevin
from thermosim.exact.linear_langevin import Gaussian
from thermosim.exact.work_moments import WorkMoments
from thermosim.ledger import VARIABLES
from thermosim.moves import THETA_MOVES, X_MOVES

__all__ = [
    "Exact",
    "advice",
    "check",
    "continuous_rate",
    "exact_results",
    "fluctuation_theorem",
    "free_energy_of",
    "has_linear_moves",
    "linear_protocol",
    "mean_rate",
    "start_state",
    "starts_from_a_known_law",
    "steady_frames",
]

_SAMPLE_SIZE = 4.0 * MINIMUM_SAMPLE_SIZE  # expected, for an exponential average to be compared
_SKEWEST_WEIGHTS = 0.15  # expected skewness of an exponential average that is compared: its terms have heavy tails
_LEAST_FOR_SQUARES = 1000  # replicas for the variance of work that is not normal: fewer hide its tails
_AT = "at the run's time step"


def fluctuation_theorem(ds: xr.Dataset, end: str = "state", exact: list[Exact] | None = None) -> xr.Dataset:
    """The integral fluctuation theorem with exact transition ratios, at every frame, from a start of known density.

    p_end is the density of x at the frame (end = "state": Sigma is the total entropy production), the equilibrium of
    the frame's theta (end = "equilibrium"), or "narrow" ones of half the covariance; the theorem holds for all. Needs x
    at step 0.
    """
    if end not in ENDS:
        raise ValueError(f"end = {end!r}: expected 'state' or 'equilibrium'")
    known = exact_results(ds) if exact is None and starts_from_a_known_law(ds) else exact
    if int(ds["step"][0]) != 0 or "x" not in ds or not known or not _starts_with_a_density(known):
        raise ValueError("the fluctuation theorem needs x at step 0, drawn from a density: record.first = 0")
    return work.integral_fluctuation_theorem(ds, *_log_densities(ds, end, known))


def _log_densities(ds: xr.Dataset, end: str, exact: list[Exact]) -> tuple[xr.DataArray, xr.DataArray]:
    """ln p_0(x_0) and, at every frame, ln p_end(x_t)."""
    x, steps = ds["x"], ds["step"].values
    shape = x.isel(x_dim=0, drop=True)
    begin, finish = xr.full_like(shape.isel(step=0, drop=True), np.nan), xr.full_like(shape, np.nan)
    for cell in exact:
        here = x.isel(cell.index).transpose("step", ..., "x_dim").values
        begin[cell.index] = cell.start.log_density(here[0])
        ends = cell.ends(end)
        for frame, row in enumerate(cell.rows(steps)):
            law = Gaussian(ends.mean[row], ends.covariance[row])
            finish[{**cell.index, "step": frame}] = law.log_density(here[frame])
    return begin, finish


def check(ds: xr.Dataset) -> list[Comparison]:
    """Everything these models know exactly, at the time step of the run, in every point of the sweep."""
    if not {"x", "work", "heat", "log_ratio_x"} & set(ds):
        raise KeyError("heat")  # before theory is worked out step by step, to compare with nothing
    comparisons = [first_law(ds)] if set(ds) >= BOOKS else []
    if _follows_a_recording(ds) or (has_linear_moves(ds) and not starts_from_a_known_law(ds)):
        return comparisons
    if not has_linear_moves(ds):
        return comparisons + _of_any_move(ds)
    exact = exact_results(ds)
    if not all(cell.is_finite for cell in exact):
        return comparisons
    frames = _chosen_frames(ds)
    for name, of in (("work", "work"), ("heat", "heat"), ("log_ratio_x", "log_ratio")):
        if name in ds and any(np.any(getattr(cell.ledger, of) != 0.0) for cell in exact):
            comparisons += _nearly_normal(_mean(ds, exact, frames, name, of))
    if {"heat", "log_ratio_x"} <= set(ds):
        comparisons += _shadow(ds, exact, frames)
    if "x" in ds:
        last = int(ds["step"][-1])
        reference = f"linear Langevin moments (discrete Lyapunov recursion), {_AT}"
        states = [cell.ledger.state(-1) for cell in exact]
        comparisons += normal_moments(ds, ds["x"].isel(step=-1), states, f"of x at step {last}", reference)
    if "work" in ds:
        comparisons += _work(ds, exact, frames)
    if {"x", "log_ratio_x"} <= set(ds):
        comparisons += _theorem(ds, exact)
    if all(THETA_MOVES[resolved.theta.dynamics].rests for _, resolved in each_point(ds)):
        comparisons += _steady_state(ds, exact)
    return comparisons


def advice(ds: xr.Dataset) -> list[str]:
    """What is not compared, and why."""
    said = []
    if _follows_a_recording(ds):
        said.append("theta follows the recording of another run, so only the first law is compared.")
    elif not starts_from_a_known_law(ds):
        said.append("x starts from a frame of another run, whose law is not known: only the first law is compared.")
    elif not has_linear_moves(ds):
        said.append("x moves by a rule that is not linear in x: only what holds for any move is compared.")
    elif not all(cell.is_finite for cell in exact_results(ds, ds["step"].values[-1:])):
        said.append("x is far beyond the limit of stability, x.time_step too large: only the first law is compared.")
    elif ds.sizes["replica"] < LEAST_REPLICAS:
        said.append(
            f"Means of work, heat and log ratio are nearly normal from {LEAST_REPLICAS} replicas on: not compared."
        )
    return said


def has_linear_moves(ds: xr.Dataset) -> bool:
    """Whether means and covariances of x are known exactly: its moves are linear in x, in all points of the sweep."""
    return all(resolved.of_x.dynamics in linear_langevin.DYNAMICS for _, resolved in each_point(ds))


def _follows_a_recording(ds: xr.Dataset) -> bool:
    return any(resolved.theta.recording for _, resolved in each_point(ds))


def starts_from_a_known_law(ds: xr.Dataset) -> bool:
    """Whether the law of x at step 0 follows from the case, in all points of the sweep."""
    return all(resolved.of_x.start.other is None for _, resolved in each_point(ds))


def _starts_with_a_density(exact: list[Exact]) -> bool:
    """Whether x at step 0 is nowhere confined to fewer dimensions."""
    return all(np.linalg.eigvalsh(cell.start.covariance)[0] > 0.0 for cell in exact)


def _nearly_normal(comparison: Comparison) -> list[Comparison]:
    return [comparison] if is_nearly_normal(comparison) else []


def _of_any_move(ds: xr.Dataset) -> list[Comparison]:
    """Jarzynski's equality where moves obey detailed balance at one temperature."""
    points = [resolved for _, resolved in each_point(ds)]
    balanced = all(X_MOVES[resolved.of_x.dynamics].invariant for resolved in points)
    started = _starts_in_equilibrium(ds) and not any(resolved.of_x.restart for resolved in points)
    numbers = all(isinstance(resolved.of_x.temperature, (int, float)) for resolved in points)
    if not (balanced and started and numbers) or "work" not in ds or int(ds["step"][0]) != 0:
        return []
    exponent = xr.zeros_like(ds["work"])
    for index, resolved in each_point(ds):
        protocol, temperature = linear_protocol(resolved), float(resolved.of_x.temperature)
        gain = driven.free_energy_difference(protocol.stiffness, temperature)[ds["step"].values]
        part = (ds["work"].isel(index) - xr.DataArray(gain, dims="step")) / temperature
        exponent[index] = part.transpose(*exponent[index].dims)
    reference = "Jarzynski's equality, dF of the stiffness, at any time step: moves leave each equilibrium invariant"
    return exponential_average(ds, exponent, "<exp(-(work - dF)/T)>", reference)


def _starts_in_equilibrium(ds: xr.Dataset) -> bool:
    return all(resolved.of_x.starts_in_equilibrium for _, resolved in each_point(ds))


def _chosen_frames(ds: xr.Dataset) -> np.ndarray:
    """Indices of up to three frames, the first quarter, the middle and the end; never step 0."""
    last = ds.sizes["step"] - 1
    frames = np.unique([max(last // 4, 0), last // 2, last])
    return np.asarray(frames[ds["step"].values[frames] > 0])


def _table(ds: xr.Dataset, exact: list[Exact], value: Callable[[Exact], Any]) -> np.ndarray:
    """value(cell) over the sweep: shape (axes..., ...)."""
    entries = [np.asarray(value(cell), float) for cell in exact]
    return np.stack(entries).reshape(tuple(ds.sizes[name] for name in axes(ds)) + entries[0].shape)


def _energies(ds: xr.Dataset) -> float:
    """Size of the numbers that the books are sums of."""
    names = [name for name in ("phi", "work", "heat", "log_ratio_x") if name in ds]
    return max((float(abs(ds[name]).max()) for name in names), default=0.0)


def _mean(ds: xr.Dataset, exact: list[Exact], frames: np.ndarray, name: str, of: str) -> Comparison:
    steps = ds["step"].values[frames]
    quantity = f"mean {of.replace('_', ' ')} to step {', '.join(map(str, steps))}"
    wanted = _table(ds, exact, lambda cell: getattr(cell.ledger, of)[cell.rows(steps)])
    reference = f"linear Langevin moments, {_AT}"
    values, units = ds[name].isel(step=frames), VARIABLES[name].units
    return mean_comparison(ds, quantity, values, wanted, reference, "step", scale=_energies(ds), units=units)


def _shadow(ds: xr.Dataset, exact: list[Exact], frames: np.ndarray) -> list[Comparison]:
    """Mean log ratio + heat/T, the artefact of the time step, where there is one: without the noise of either."""
    if not all(cell.in_one_bath for cell in exact):
        return []
    steps = ds["step"].values[frames]
    wanted = _table(ds, exact, lambda cell: cell.ledger.shadow(cell.temperature)[cell.rows(steps)])
    inverse = xr.DataArray(_table(ds, exact, lambda cell: 1.0 / cell.temperature), dims=axes(ds))
    values = (ds["log_ratio_x"] + ds["heat"] * inverse).isel(step=frames)
    scale = _energies(ds) * float(inverse.max())
    if np.max(np.abs(wanted)) <= ROUNDING * scale:
        return []
    quantity, reference = f"mean shadow to step {', '.join(map(str, steps))}", f"linear Langevin moments, {_AT}"
    return _nearly_normal(mean_comparison(ds, quantity, values, wanted, reference, "step", scale=scale, units="nat"))


def _work(ds: xr.Dataset, exact: list[Exact], frames: np.ndarray) -> list[Comparison]:
    """Variance of the work and Jarzynski's average, in the last frame where theory promises enough replicas."""
    prescribed = all(THETA_MOVES[resolved.theta.dynamics].prescribed for _, resolved in each_point(ds))
    if not prescribed or not all(cell.in_one_bath for cell in exact):
        return []
    replicas, steps = ds.sizes["replica"], ds["step"].values
    many = replicas >= _SAMPLE_SIZE
    moments = [cell.moments if many else cell.plain_moments for cell in exact]
    comparisons = _variance_of_work(ds, exact, moments) if all(m.variance[-1] > 0.0 for m in moments) else []
    if not many:
        return comparisons
    sizes = replicas * np.min([m.effective_fraction() for m in moments], axis=0)
    skewness = np.max([m.skewness() for m in moments], axis=0) / np.sqrt(replicas)
    good = steps[(steps > 0) & (sizes >= _SAMPLE_SIZE) & (skewness < _SKEWEST_WEIGHTS)]
    if not len(good):
        return comparisons
    step = int(good[-1])
    inverse = xr.DataArray(_table(ds, exact, lambda cell: 1.0 / cell.temperature), dims=axes(ds))
    weights = xr.DataArray(np.exp(-ds["work"].sel(step=step) * inverse))
    expected = _table(ds, exact, lambda cell: np.exp(cell.moments.log_average[cell.rows(step)]))
    balanced = all(X_MOVES[resolved.of_x.dynamics].invariant for _, resolved in each_point(ds))
    equality = balanced and _starts_in_equilibrium(ds)
    theory = "Jarzynski's equality, exp(-dF/T), at any time step" if equality else f"Gaussian integral, {_AT}"
    sample_size = float(work.jarzynski(ds.sel(step=[step]))["effective_sample_size"].min())
    quantity = f"<exp(-work/T)> to step {step} (effective sample size {sample_size:.0f})"
    return [*comparisons, mean_comparison(ds, quantity, weights, expected, theory)]


def _variance_of_work(ds: xr.Dataset, exact: list[Exact], moments: list[WorkMoments]) -> list[Comparison]:
    """In the last frame: exact for normal work, a chi-squared; otherwise only in ensembles large enough."""
    wanted = np.reshape([m.variance[-1] for m in moments], [ds.sizes[name] for name in axes(ds)])
    step = int(ds["step"][-1])
    quantity, reference = f"variance of the work to step {step}", f"second moments of the Gaussian path, {_AT}"
    mean = xr.DataArray(_table(ds, exact, lambda cell: cell.ledger.work[-1]), dims=axes(ds))
    deviation = ds["work"].isel(step=-1) - mean
    if all(m.gaussian for m in moments):
        return [normal_variance(ds, quantity, deviation, wanted, reference, "energy^2")]
    squares = mean_comparison(ds, quantity, deviation**2, wanted, reference, units="energy^2")
    return _nearly_normal(squares) if ds.sizes["replica"] >= _LEAST_FOR_SQUARES else []


def _theorem(ds: xr.Dataset, exact: list[Exact]) -> list[Comparison]:
    """<exp(-Sigma)> = 1 in the last frame where theory promises enough replicas."""
    steps, replicas = ds["step"].values, ds.sizes["replica"]
    if int(steps[0]) != 0 or replicas < _SAMPLE_SIZE or not _starts_with_a_density(exact):
        return []
    weights = [cell.theorem_weights() for cell in exact]
    sizes = replicas * np.min([fraction for fraction, _ in weights], axis=0)
    skewness = np.max([skew for _, skew in weights], axis=0) / np.sqrt(replicas)
    good = (steps > 0) & (sizes >= _SAMPLE_SIZE) & (skewness < _SKEWEST_WEIGHTS)
    promised = {end: steps[row] for end, row in zip(ENDS, good, strict=True)}
    end = max(promised, key=lambda name: max(promised[name], default=0))
    if len(promised[end]) == 0:
        return []
    step = int(promised[end][-1])
    ends = ds.sel(step=[0, step])
    begin, finish = _log_densities(ends, end, exact)
    average = xr.DataArray(np.exp(finish.sel(step=step) - begin - ds["log_ratio_x"].sel(step=step)))
    sample_size = float(fluctuation_theorem(ends, end, exact)["effective_sample_size"].sel(step=step).min())
    quantity = f"<exp(-Sigma)> to step {step} (effective sample size {sample_size:.0f})"
    theory = f"integral fluctuation theorem with the exact transition ratios, any time step; p_end = {end}"
    return [mean_comparison(ds, quantity, average, 1.0, theory)]


def _steady_state(ds: xr.Dataset, exact: list[Exact]) -> list[Comparison]:
    """Rates between the first frame after relaxation and the last; theory with the same finite step and frames."""
    first, last = steady_frames(ds, exact)
    if any(np.ndim(cell.protocol.time_step) or np.ndim(cell.protocol.temperature) > 1 for cell in exact):
        return []  # scheduled: not steady
    if first == last or "log_ratio_x" not in ds or all(not np.any(cell.ledger.log_ratio) for cell in exact):
        return []
    increments = ds.sel(step=last) - ds.sel(step=first)
    time = xr.DataArray(_table(ds, exact, lambda cell: duration(cell, first, last)), dims=axes(ds))
    limit = ", ".join(f"{value:.4g}" for value in np.ravel([continuous_rate(cell) for cell in exact])[:6])
    reference = f"exact moments of the finite-step chain (h -> 0, steady: {limit})"
    rates = _table(ds, exact, lambda cell: mean_rate(cell, first, last))
    quantity = f"entropy production rate, steps {first} to {last}"
    flow = increments["log_ratio_x"] / time
    comparisons = _nearly_normal(mean_comparison(ds, quantity, flow, rates, reference, units="nat/time"))
    comparisons += precision_rows(ds, exact, first)
    if "heat" not in ds or exact[0].protocol.center.shape[1] != 2 or any(len(set(baths(c))) < 2 for c in exact):
        return comparisons
    quantity = f"heat from the hot and the cold bath per unit time, steps {first} to {last}"
    hot = xr.DataArray(_table(ds, exact, lambda cell: max(baths(cell))), dims=axes(ds))
    cold = xr.DataArray(_table(ds, exact, lambda cell: min(baths(cell))), dims=axes(ds))

    def currents(heat: Any, ratio: Any, hot: Any, cold: Any, time: Any) -> list[Any]:
        """The two heats that make the total heat and the log ratio, -Q_1/T_1 - Q_2/T_2 in a steady state."""
        return [(heat / b + ratio) / (1.0 / b - 1.0 / a) / time for a, b in ((hot, cold), (cold, hot))]

    def wanted(cell: Exact) -> np.ndarray:
        heat, ratio = (np.diff(of[cell.rows([first, last])])[0] for of in (cell.ledger.heat, cell.ledger.log_ratio))
        return np.array(currents(heat, ratio, max(baths(cell)), min(baths(cell)), duration(cell, first, last)))

    measured = xr.concat(currents(increments["heat"], increments["log_ratio_x"], hot, cold, time), "bath")
    return comparisons + _nearly_normal(
        mean_comparison(ds, quantity, measured, _table(ds, exact, wanted), reference, "bath", units="energy/time")
    )
