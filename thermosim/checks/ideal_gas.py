"""The ideal gas of SGD against theory: the exact law of the discrete updates at the run's own step size.

References. `sphere_chain` holds at any step; its truncation is the tolerance of each comparison. The entropy estimator
has a bias at finite number of samples: it is measured on exact von Mises-Fisher samples and added to the reference,
its own error to the standard error. Drifts of a run that was long enough are zero. A run that began away from its
stationary radius, and is not yet there, is compared with the closed-form transient, good to the order of eta_eff.

Source: I. Sadrtdinov et al., arXiv 2511.07308.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import xarray as xr

from thermosim.analysis import ideal_gas as measured
from thermosim.analysis.comparison import Comparison
from thermosim.analysis.entropy import estimator_bias
from thermosim.analysis.settings import settings
from thermosim.analysis.sphere_frames import SETTLING, Cells, Frames, cells, frames
from thermosim.exact import ideal_gas, sphere_chain

__all__ = ["check", "entropy_bias", "finite_step", "is_settled"]

FINITE_STEP = "exact stationary law of the discrete updates"
TRANSIENT_FRAMES = 8
BIAS_SAMPLES = 100_000  # drawn for each bias
BIAS_POINTS = 5
FEWEST_CELLS = 2  # of a fit

Exact = Mapping[str, tuple[np.ndarray, np.ndarray]]


def check(ds: xr.Dataset) -> list[Comparison]:
    """All comparisons this ensemble allows; none under a schedule, where nothing is stationary."""
    if any(isinstance(getattr(settings(ds).theta, key), Mapping) for key in ("learning_rate", "weight_decay")):
        return []
    if not is_settled(ds):
        return [_transient(ds)]
    exact = finite_step(cells(ds))
    means, record = measured.thermodynamics(ds, angles=False), frames(ds)
    degrees = int(means.attrs["replicas"]) - 1
    names = ["U", "U_frames", "gradient_square", "pV_over_RT", "heat_capacity"]
    if record.cells.protocol != "fixed-sphere":
        names.append("radius")
    rows = [_row(name, means, exact[name], degrees) for name in names]
    if record.direction is not None:
        rows += _entropies(means, record, exact)
    if len(record.step) > 2:
        rows += _drifts(measured.drift(ds), degrees, record.cells)
    if record.cells.protocol != "fixed-sphere":
        rows += _fluctuations(ds, record, exact, degrees)
    return rows


def finite_step(there: Cells) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Exact value and truncation of each quantity of `thermodynamics`, arrays over the axes, at finite step."""
    law = sphere_chain.stationary(*there.arguments)
    gas_constant = (there.dimension - 1) / 2
    value = {name: v for name, (v, _) in law.items()}
    relative = {name: e / np.maximum(np.abs(v), 1e-300) for name, (v, e) in law.items()}
    temperature, volume = value["temperature"], value["radius_square"] / 2
    compress = value["pressure"] * volume / (gas_constant * temperature)
    capacity = value["loss_variance"] / temperature**2
    spread = relative["pressure"] + relative["radius_square"] + relative["temperature"]
    s, s_error = law["direction_entropy"]
    return {
        "U": law["loss"],
        "U_frames": law["loss"],
        "T": law["temperature"],
        "p": law["pressure"],
        "V": (volume, volume * relative["radius_square"]),
        "radius": law["radius"],
        "gradient_square": law["gradient_square"],
        "pV_over_RT": (compress, compress * spread),
        "heat_capacity": (capacity, capacity * (relative["loss_variance"] + 2 * relative["temperature"])),
        "S_direction": law["direction_entropy"],
        "S": (s + gas_constant * value["log_radius_square"], s_error + gas_constant * law["log_radius_square"][1]),
        "log_radius": (value["log_radius_square"] / 2, law["log_radius_square"][1] / 2),
        "log_radius_square_deviation": law["log_radius_square_deviation"],
        "relaxation_time": law["relaxation_time"],
    }


def entropy_bias(there: Cells, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bias of the cap estimator, and its error, at the number of samples and the temperature of each cell."""
    bias, error = np.zeros(samples.shape), np.zeros(samples.shape)
    kappa = 1 / there.gas.temperature
    for number in np.unique(samples):
        here = samples == number
        low, high = np.log(kappa[here].min()), np.log(kappa[here].max())
        points = np.linspace(low, high, BIAS_POINTS if high > low else 1)
        table = [_bias(int(number), there.dimension, float(f"{np.exp(k):.6g}")) for k in points]
        for target, values in zip((bias, error), np.transpose(table), strict=True):
            target[here] = np.interp(np.log(kappa[here]), points, values)
    return bias, error


@lru_cache(maxsize=256)
def _bias(number: int, dimension: int, kappa: float) -> tuple[float, float]:
    repeats = int(np.clip(BIAS_SAMPLES // number, 24, 1000))
    return estimator_bias(number, dimension, kappa, repeats=repeats)


def is_settled(ds: xr.Dataset) -> bool:
    """Whether the run began stationary, or has forgotten its start."""
    there = cells(ds)
    if settings(ds).theta.initial == "stationary" or there.protocol == "fixed-sphere":
        return True
    rate = ideal_gas.radius_relaxation_rate(*there.arguments[:-1])
    return bool(ds["step"].to_numpy()[-1] > 2 * SETTLING / rate.min())


def _row(name: str, means: xr.Dataset, exact: tuple[np.ndarray, np.ndarray], degrees: int) -> Comparison:
    value, truncation = exact
    estimate, error = means[name].to_numpy(), means[f"{name}_error"].to_numpy()
    if name == "heat_capacity":  # its error is in proportion to it: take it at the exact value, or low ones look sure
        error = error * value / estimate
    return Comparison(name, estimate, error, value, degrees, FINITE_STEP, truncation)


def _entropies(means: xr.Dataset, record: Frames, exact: Exact) -> list[Comparison]:
    """Entropy of the direction and in all, and the slopes of the latter over the grid."""
    there, count = record.cells, int(means.attrs["groups"])
    samples = measured.entropy_frames(record) * record.replicas
    bias, bias_error = entropy_bias(there, samples)
    reference = f"{FINITE_STEP} + bias of the estimator at {samples.min()} to {samples.max()} samples"
    rows = []
    for name in ("S_direction", "S"):
        value, truncation = exact[name]
        error = np.hypot(means[f"{name}_error"].to_numpy(), bias_error)
        rows.append(Comparison(name, means[name].to_numpy(), error, value + bias, count - 1, reference, truncation))
    if there.noise.size < FEWEST_CELLS:
        return rows
    value, truncation = exact["S"]
    fitted = measured.slopes(there, measured.grouped(record, angles=False)["S"])
    wanted = measured.slopes(there, (value + bias)[..., None])
    weights = measured.slopes(there, np.eye(value.size).reshape(*value.shape, value.size))
    if there.protocol != "fixed-lr":  # there the relation is a slope by itself
        weights.pop("relation", None)
    for axis, weight in weights.items():
        slope, error = measured.pooled(fitted[axis])
        uncertain = [(weight * bias_error.ravel())[samples.ravel() == n] for n in np.unique(samples)]
        error = np.sqrt(error**2 + sum(part.sum() ** 2 + np.square(part).sum() for part in uncertain))
        name = "Maxwell relation" if axis == "relation" else f"dS/dln {axis}"
        tolerance = float(np.abs(weight) @ np.ravel(truncation))
        rows.append(Comparison(name, slope, error, wanted[axis][0], count - 1, reference, tolerance))
    return rows


def _drifts(drifts: xr.Dataset, degrees: int, there: Cells) -> list[Comparison]:
    names = ["loss_drift"] + ["log_radius_square_drift"] * (there.protocol != "fixed-sphere")
    zero = np.zeros(there.noise.shape)
    reference = "a stationary record does not drift"
    return [
        Comparison(n, drifts[n].to_numpy(), drifts[f"{n}_error"].to_numpy(), zero, degrees, reference) for n in names
    ]


def _fluctuations(ds: xr.Dataset, record: Frames, exact: Exact, degrees: int) -> list[Comparison]:
    """Spread of ln r^2 in the cells that ran for several relaxation times of the radius."""
    long = record.step[0] > SETTLING / 2 * exact["relaxation_time"][0]
    if not np.any(long):
        return []
    name = "log_radius_square_deviation"
    found = measured.radius_fluctuations(ds)
    value, truncation = exact[name]
    estimate, error = found[name].to_numpy()[long], found[f"{name}_error"].to_numpy()[long]
    return [Comparison(name, estimate, error, value[long], degrees, FINITE_STEP, truncation[long])]


def _transient(ds: xr.Dataset) -> Comparison:
    """Mean radius on its way to the stationary value."""
    course = measured.radius_transient(ds)
    there = cells(ds)
    picked = np.unique(np.linspace(1, course.sizes["step"] - 1, TRANSIENT_FRAMES).round().astype(int))
    course = course.isel(step=picked)
    exact = course["radius_exact"].to_numpy()
    rate = there.learning_rate / (exact**2 if there.protocol == "fixed-lr" else 1.0)
    tolerance = exact * rate * np.maximum(1.0, 1.0 / there.noise**2)
    return Comparison(
        "radius transient",
        course["radius"].to_numpy(),
        course["radius_error"].to_numpy(),
        exact,
        ds.sizes["replica"] - 1,
        "closed form to first order in the step, from the mean radius of the first frame",
        tolerance,
    )
