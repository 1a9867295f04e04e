"""The ideal gas of SGD against theory: the exact law of the discrete updates at the run's own step size.

References. `sphere_chain` holds at any step; its truncation is the tolerance of each comparison. The entropy estimator
has a bias at finite number of samples: it is measured on exact von Mises-Fisher samples and added to the reference,
its own error to the standard error. Drifts of a run that was long enough are zero. What is left of the start, a bound
(`sphere_start`), is added to the tolerance. A run that began at random and has not forgotten it is compared with walks
of the exact chain (`sphere_walk`), whose error is added to that of the run. Frames at every step tell rotations too.

Source: I. Sadrtdinov et al., arXiv 2511.07308.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
import xarray as xr

from thermosim.analysis import ideal_gas as measured
from thermosim.analysis.comparison import SKEWEST, Comparison
from thermosim.analysis.entropy import estimator_bias
from thermosim.analysis.machine import machines
from thermosim.analysis.settings import each_point, settings
from thermosim.analysis.sphere_frames import FEWEST_REPLICAS, SETTLING, Cells, Frames, cells, frames
from thermosim.case.start import OtherRun
from thermosim.checks.admission import at_common_steps
from thermosim.checks.means import skewness_of_mean
from thermosim.checks.rotation import rotation_comparisons
from thermosim.checks.sphere_start import start_excess
from thermosim.exact import ideal_gas, sphere_chain, sphere_walk
from thermosim.ledger import VARIABLES

__all__ = ["advice", "check", "entropy_bias", "finite_step", "is_settled"]

FINITE_STEP = "exact stationary law of the discrete updates"
TRANSIENT_FRAMES = 8
BIAS_SAMPLES = 100_000  # drawn for each bias
BIAS_POINTS = 5
FEWEST_CELLS = 2  # of a fit
FEWEST_OF_A_COURSE = 50  # replicas, or walks
WALKS = 4  # of the exact chain for each replica, at most
STEPS_OF_WALKS = 10_000_000  # in all, at most: a second or two
_NUMBERS = ("model.noise", "theta.learning_rate", "theta.weight_decay", "theta.radius")

Exact = Mapping[str, tuple[np.ndarray, np.ndarray]]


def check(ds: xr.Dataset) -> list[Comparison]:
    """All comparisons this ensemble allows, at each value of an axis that is no number of the cells by itself."""
    return [
        replace(row, quantity=f"{label}{row.quantity}")
        for label, part in _parts(ds)
        for row in [*([] if _why_nothing(part) else _rows(part)), *rotation_comparisons(part, machines(part))]
    ]


def advice(ds: xr.Dataset) -> list[str]:
    """What is not compared, and why."""
    return [f"{label}{why}" for label, part in _parts(ds) if (why := _why_nothing(part))]


def _parts(ds: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """The ensemble cut along axes that are no numbers of the cells, such as the constraint; what to call each part."""
    sweep = settings(ds).sweep
    numbers = {key for key in _NUMBERS if all(isinstance(v, (int, float)) for v in sweep.get(key, ()))}
    others = [key for key in sweep if key not in numbers]
    names = [key.rsplit(".", 1)[-1] for key in others]
    for index in itertools.product(*(range(len(sweep[key])) for key in others)):
        label = ", ".join(f"{name} = {sweep[key][i]}" for name, key, i in zip(names, others, index, strict=True))
        chosen = {name: [i] for name, i in zip(names, index, strict=True)}
        yield f"{label}: " if label else "", at_common_steps(ds.isel(chosen)) if chosen else ds


def _why_nothing(ds: xr.Dataset) -> str:
    """Why there is no law to compare with; empty where there is one."""
    case = settings(ds)
    if any(isinstance(getattr(case.theta, key), Mapping) for key in ("learning_rate", "weight_decay")):
        return "Nothing is stationary under a schedule of the learning rate or the weight decay."
    if case.run.direction != "forward":
        return "SGD there and back has no stationary law."
    if any(OtherRun.of(point.theta.initial) for _, point in each_point(ds)):
        return "w starts from another run, whose law is not known: how far it shows is not known either."
    there = cells(ds)
    if case.theta.initial != "stationary" and not is_settled(ds):
        if ds.sizes["replica"] < FEWEST_OF_A_COURSE:
            return f"A run that has not forgotten its start needs {FEWEST_OF_A_COURSE} replicas to be compared."
        if _walks(ds, there) < FEWEST_OF_A_COURSE:
            return "The run is too short to forget its start, and too long to be followed by walks of the exact chain."
        return ""
    record = frames(ds)
    slowest = float(np.max(finite_step(there)["relaxation_time"][0]))
    if record.replicas > ds.sizes["replica"] and record.step[-1] - record.step[0] < 2 * SETTLING * slowest:
        return f"{ds.sizes['replica']} replicas are too few, and blocks of time too short to stand for more."
    length = 1.0 + (record.step[-1] - record.step[0]) * there.gas.effective_learning_rate.min()
    skewness = 2.0 * np.sqrt(2.0 / ((there.dimension - 1) * record.replicas * length))
    if record.replicas < FEWEST_REPLICAS or skewness > SKEWEST:
        return f"{ds.sizes['replica']} replicas are too few for averages that are nearly normal."
    return ""


def _rows(ds: xr.Dataset) -> list[Comparison]:
    """All comparisons of a grid of one protocol."""
    there, initial = cells(ds), str(settings(ds).theta.initial or "random")
    if initial != "stationary" and not is_settled(ds):
        return _course(ds, there)
    exact = finite_step(there)
    means, record = measured.thermodynamics(ds, angles=False), frames(ds)
    started = start_excess(there, initial, exact)
    left = np.exp(-record.step[0] / exact["relaxation_time"][0])
    at_first = {name: excess * left for name, excess in started.items()}
    exact = {name: (value, error + at_first.get(name, 0.0)) for name, (value, error) in exact.items()}
    degrees = record.replicas - 1
    names = ["U", "U_frames", "gradient_square", "pV_over_RT", "heat_capacity"]
    if record.cells.protocol != "fixed-sphere":
        names.append("radius")
    rows = [_row(name, means, exact[name], degrees) for name in names]
    if record.direction is not None:
        rows += _entropies(means, record, exact)
    if len(record.step) > 2:
        rows += _drifts(measured.drift(ds), degrees, record.cells, at_first)
    if record.cells.protocol != "fixed-sphere":
        rows += _fluctuations(ds, record, exact, degrees)
    return [row for row in rows if np.all(np.abs(row.skewness) < SKEWEST)]


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
    if settings(ds).theta.initial == "stationary":
        return True
    rate = np.asarray(there.learning_rate)
    if there.protocol != "fixed-sphere":
        if np.any(there.weight_decay <= 0.0):
            return False
        radius_rate = ideal_gas.radius_relaxation_rate(*there.arguments[:-1])
        rate = np.minimum(radius_rate, there.gas.effective_learning_rate)
    if there.protocol == "fixed-elr" and np.any(there.learning_rate * there.noise * np.sqrt(there.dimension - 1) >= 1):
        return False  # every step lengthens w
    return bool(ds["step"].to_numpy()[-1] > 2 * SETTLING / rate.min())


def _row(name: str, means: xr.Dataset, exact: tuple[np.ndarray, np.ndarray], degrees: int) -> Comparison:
    value, tolerance = exact
    estimate, error, skewness = (means[f"{name}{part}"].to_numpy() for part in ("", "_error", "_skewness"))
    units = str(means[name].attrs["units"])
    return Comparison(name, estimate, error, value, degrees, FINITE_STEP, tolerance, skewness=skewness, units=units)


def _entropies(means: xr.Dataset, record: Frames, exact: Exact) -> list[Comparison]:
    """Entropy of the direction and in all, and the slopes of the latter over the grid; none without an error."""
    there, count = record.cells, int(means.attrs["groups"])
    samples = measured.entropy_frames(record) * record.replicas
    if samples.min() // record.replicas * (record.replicas // count) < measured.FEWEST_SAMPLES:
        return []
    bias, bias_error = entropy_bias(there, samples)
    reference = f"{FINITE_STEP} + bias of the estimator at {samples.min()} to {samples.max()} samples"
    rows = []
    for name in ("S_direction", "S"):
        value, truncation = exact[name]
        error = np.hypot(means[f"{name}_error"].to_numpy(), bias_error)
        estimate = means[name].to_numpy()
        rows.append(Comparison(name, estimate, error, value + bias, count - 1, reference, truncation, units="nat"))
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
        rows.append(Comparison(name, slope, error, wanted[axis][0], count - 1, reference, tolerance, units="nat"))
    return rows


def _drifts(drifts: xr.Dataset, degrees: int, there: Cells, at_first: Mapping[str, np.ndarray]) -> list[Comparison]:
    """Second half less first, which what is left of the start makes differ by as much at most."""
    pairs = [("loss_drift", "U")] + [("log_radius_square_drift", "log_radius_square")] * (
        there.protocol != "fixed-sphere"
    )
    zero = (np.zeros(there.noise.shape), np.zeros(there.noise.shape))
    reference = "a stationary record does not drift"
    return [
        replace(_row(name, drifts, zero, degrees), reference=reference, tolerance=at_first[of]) for name, of in pairs
    ]


def _fluctuations(ds: xr.Dataset, record: Frames, exact: Exact, degrees: int) -> list[Comparison]:
    """Spread of ln r^2 in the cells that ran for several relaxation times of the radius."""
    long = record.step[0] > SETTLING / 2 * exact["relaxation_time"][0]
    if not np.any(long):
        return []
    name = "log_radius_square_deviation"
    found = measured.radius_fluctuations(ds)
    value, truncation = exact[name]
    estimate, error, skewness = (found[f"{name}{part}"].to_numpy()[long] for part in ("", "_error", "_skewness"))
    return [Comparison(name, estimate, error, value[long], degrees, FINITE_STEP, truncation[long], skewness=skewness)]


def _walks(ds: xr.Dataset, there: Cells) -> int:
    """How many walks of the exact chain there is time for, at every cell."""
    steps = max(int(ds["step"].to_numpy()[-1]), 1) * there.noise.size
    return min(WALKS * ds.sizes["replica"], STEPS_OF_WALKS // steps)


def _course(ds: xr.Dataset, there: Cells) -> list[Comparison]:
    """Means on the way from a random start, at up to TRANSIENT_FRAMES frames, against walks of the exact chain."""
    record = frames(ds, settle=False)
    picked = np.unique(np.linspace(0, len(record.step) - 1, TRANSIENT_FRAMES + 1).round().astype(int))
    picked = picked[record.step[picked] > 0]
    steps, count = record.step[picked], _walks(ds, there)
    parameters = (there.noise, there.learning_rate, there.weight_decay, there.radius)
    walks = sphere_walk.course(there.protocol, there.dimension, *parameters, steps, count)
    found = {"loss": record.loss, "radius": np.exp(record.log_square / 2), **record.sums}
    where = ", ".join(map(str, steps))
    reference = f"{count} walks of the exact chain from the same start, their error included"
    rows = []
    for name, expected in walks.items():
        if name not in found or (name == "radius" and there.protocol == "fixed-sphere"):
            continue
        sides = [np.moveaxis(values, -1, 0) for values in (found[name][picked], expected)]
        errors = [side.std(0, ddof=1) / np.sqrt(len(side)) for side in sides]
        skews = [skewness_of_mean(side) for side in sides]
        error = np.hypot(*errors)
        with np.errstate(invalid="ignore", divide="ignore"):
            skewness = (skews[0] * errors[0] ** 3 - skews[1] * errors[1] ** 3) / error**3
        title = f"mean {name.replace('_', ' ')} at step {where}"
        degrees, mean = len(sides[0]) - 1, sides[0].mean(0)
        skewness = np.where(error > 0.0, skewness, 0.0)
        units = "energy" if name == "loss" else VARIABLES[name].units if name in VARIABLES else "1"
        row = Comparison(title, mean, error, sides[1].mean(0), degrees, reference, skewness=skewness, units=units)
        rows.append(row)
    return [row for row in rows if np.all(np.abs(row.skewness) < SKEWEST)]
