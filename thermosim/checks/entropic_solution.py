"""Where SGD leaves a linear network of two layers on fresh rows, extrapolated to learning rate 0, against theory.

The noise of SGD chooses among all weights with W2 W1 = V those of the entropic solution (`exact.entropic_forces`), up
to terms of the order of the learning rate, where V, Sx and Se are diagonal in common bases of inputs and outputs. Where
they are not, W2 W1 circulates around V, as noise makes it that does not commute with the curvature, and every turn
rotates the hidden units a little: a drift of the same order as the entropic force, which no potential gives. The state
is then another one, by some per cent, and nothing is compared.

Weight decay lambda, whose gradient is lambda theta = 2 gamma theta, adds gamma |theta|^2 to (r/4) E|g|^2: the state is
a function of gamma/r alone, once both are small, and leads from the entropic solution to that of least norm. So points
of a sweep that share lambda/r are a ray, which is extrapolated: all rates without decay, the diagonals of a grid of
rates and decays in geometric steps.

A ray of three learning rates or more is extrapolated by a parabola, weighted by the errors, from means over the last
half of the record. It takes of the order of 1/rate^2 steps to get there: what the third and the fourth quarter of the
record differ by, twice the error of this, and what a straight line gives instead, are a tolerance; where it is large,
or no small part of the way from the first quarter, nothing is compared.
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025); of drifts without a potential Z. Li, T. Wang, S. Arora,
ICLR 2022.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine
from thermosim.analysis.settings import axes
from thermosim.data.generators import linear_law
from thermosim.exact import entropic_forces as theory
from thermosim.models.multilayer_perceptron import layers
from thermosim.models.network_books import layer_gradient_square

__all__ = ["entropic_comparisons", "extrapolated", "has_settled", "traces", "why_no_entropic_solution"]

_FEWEST, _FRAMES, _REPLICAS, _ORDER = 3, 16, 16, 2  # rates, frames, replicas, of the polynomial
_SAME = 1e-6  # relative difference of ratios that are the same
_COMMUTE = 1e-9  # relative size of a commutator that is rounding
_WAY, _NOISE = 0.1, 3.0  # of the way from the first quarter, or standard errors, that the last two may differ by
_LARGEST = 0.03  # tolerance of the trace, of itself
_COLUMNS = ("value", "error", "exact", "tolerance")
_REFERENCE = "entropic solution of the two layers; extrapolated to learning rate 0 by a parabola"


def entropic_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """Trace of the Hessian and the matrices W1'W1, W2 W2', of every ray of such a sweep that has settled."""
    limits = _limits(ds, everyone)
    if not limits:
        return []
    rays = ", ".join(f"{limit.ratio:.3g}" for limit in limits)
    where = "" if not any(limit.ratio for limit in limits) else f", weight decay/rate = {rays}"
    n = len(_upper(np.zeros(_problem(everyone[0])[1].shape)))
    parts = {"trace of the Hessian": slice(0, 1), "W1'W1": slice(1, 1 + n), "W2 W2'": slice(1 + n, None)}
    found = []
    for name, part in parts.items():
        arrays = [np.stack([getattr(limit, key)[part] for limit in limits]) for key in _COLUMNS]
        value, error, exact, tolerance = (array[0] if len(limits) == 1 else array for array in arrays)
        freedom = everyone[0].frames.sizes["replica"] - 1
        quantity = f"{name} at learning rate 0{where}"
        found.append(Comparison(quantity, value, error, exact, freedom, _REFERENCE, tolerance=tolerance))
    return found


@dataclass(frozen=True)
class Limit:
    """What the points of one ray say of learning rate 0, in the order of `_quantities`: (K) each.

    `ratio` is that of weight decay and learning rate, `points` are places among all points of the sweep.
    """

    ratio: float
    points: tuple[int, ...]
    value: np.ndarray
    error: np.ndarray
    exact: np.ndarray
    tolerance: np.ndarray


def _limits(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Limit]:
    if not _is_sweep_of_rates(ds, everyone) or _why_no_limit(everyone):
        return []
    rates, quarters, found = _rates(everyone), _quarters(everyone), []
    for ratio, points in _rays(everyone).items():
        here, of_ray = quarters[:, points], rates[list(points)]
        late = here[2:].mean(0)  # (rates, R, K)
        value, error = extrapolated(of_ray, late)
        drift, of_drift = extrapolated(of_ray, here[3] - here[2])
        straight, _ = extrapolated(of_ray, late, order=1)
        tolerance = np.abs(drift) + 2.0 * of_drift + np.abs(value - straight)
        if tolerance[0] <= _LARGEST * np.abs(value[0]) and has_settled(here[..., 0]):
            found.append(Limit(ratio, points, value, error, _exact(everyone[points[0]], ratio), tolerance))
    return found


def _exact(machine: Machine, ratio: float) -> np.ndarray:
    """Tr H, and the entries of W1'W1 and W2 W2', where the weight decay is so much of the learning rate."""
    matrix, inputs, noise = _problem(machine)
    batch = int(machine.settings.theta.batch)
    first, second = theory.entropic_kernels(matrix, inputs, noise, learning_rate=1.0, decay=0.5 * ratio, batch=batch)
    trace = 2.0 * (len(matrix) * np.trace(inputs @ first) + np.trace(second) * np.trace(inputs))
    return np.concatenate([[trace], _upper(first), _upper(second)])


@dataclass(frozen=True)
class Traces:
    """Traces of the Hessian of a ray: means over the last half and their errors, that of rate 0, what theory says."""

    ratio: float
    rates: np.ndarray
    mean: np.ndarray
    error: np.ndarray
    limit: tuple[float, float]  # and its error
    exact: float
    flattest: float


def traces(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Traces]:
    """For a picture; none where nothing is compared."""
    limits = _limits(ds, everyone)
    late = _quarters(everyone)[2:].mean(0)[..., 0] if limits else np.zeros(0)  # (points, R)
    found = []
    for limit in limits:
        here, (matrix, inputs, _) = late[list(limit.points)], _problem(everyone[0])
        found.append(
            Traces(
                limit.ratio,
                _rates(everyone)[list(limit.points)],
                here.mean(1),
                here.std(1, ddof=1) / np.sqrt(here.shape[1]),
                (float(limit.value[0]), float(limit.error[0])),
                float(limit.exact[0]),
                theory.flattest_trace(matrix, inputs),
            )
        )
    return found


def _is_sweep_of_rates(ds: xr.Dataset, everyone: Sequence[Machine]) -> bool:
    """Whether it is SGD of such a network on fresh rows, at some rates, weight decays, and nothing else that varies."""
    machine = everyone[0]
    constants, theta, data = machine.constants, machine.settings.theta, machine.settings.data
    if layer_gradient_square not in machine.model.functionals or data is None or not data.fresh or "theta" not in ds:
        return False
    shape = tuple(constants.get(name) for name in ("activation", "bias", "loss"))
    linear = shape == ("linear", "no", "squared") and len(constants["widths"]) == 3
    plain = machine.theta_move.retraces and not theta.momentum and theta.learn is None
    numbers = [
        value for one in everyone for value in (one.settings.theta.learning_rate, one.settings.theta.weight_decay)
    ]
    constant = all(isinstance(value, (int, float)) for value in numbers)
    alone = "learning_rate" in axes(ds) and set(axes(ds)) <= {"learning_rate", "weight_decay"}
    return alone and len(everyone) >= _FEWEST and linear and plain and constant


def _rays(everyone: Sequence[Machine]) -> dict[float, tuple[int, ...]]:
    """Points that share the ratio of weight decay and learning rate, where there are enough of them, by this ratio."""
    found: dict[float, list[int]] = {}
    for point, machine in enumerate(everyone):
        ratio = float(machine.settings.theta.weight_decay) / float(machine.settings.theta.learning_rate)
        known = next((other for other in found if np.isclose(other, ratio, rtol=_SAME)), ratio)
        found.setdefault(known, []).append(point)
    return {ratio: tuple(points) for ratio, points in sorted(found.items()) if len(points) >= _FEWEST}


def why_no_entropic_solution(ds: xr.Dataset, everyone: Sequence[Machine]) -> str:
    """Why such a sweep is not compared with its limit; empty where it is, or is no such sweep."""
    if not _is_sweep_of_rates(ds, everyone):
        return ""
    if not (why := _why_no_limit(everyone)) and not _limits(ds, everyone):
        return (
            f"the means have not settled, or tell those of learning rate 0 to no better than {100 * _LARGEST:g} %; "
            "run more steps, of the order of 1/rate^2, or more replicas"
        )
    return why


def _why_no_limit(everyone: Sequence[Machine]) -> str:
    """Why such a sweep has no limit to be compared with; empty where it has."""
    machine = everyone[0]
    matrix, inputs, noise = _problem(machine)
    width, rank = int(machine.constants["widths"][1]), int(np.linalg.matrix_rank(matrix))
    if width < rank:
        return f"{width} hidden units cannot make the matrix of the data, of rank {rank}"
    rays = _rays(everyone)
    if not rays:
        return f"{_FEWEST} learning rates at the same ratio of weight decay and learning rate are needed"
    if 0.0 in rays and min(np.linalg.eigvalsh(noise)[0], np.linalg.eigvalsh(inputs)[0]) <= 0.0:
        return "inputs or noise of the targets do not vary in every direction, and the solution is not finite"
    pairs = [
        (noise, matrix @ matrix.T),
        (noise, matrix @ inputs @ matrix.T),
        (inputs, matrix.T @ matrix),
        (inputs, matrix.T @ noise @ matrix),
    ]
    if any(np.abs(a @ b - b @ a).max() > _COMMUTE * np.abs(a @ b).max() for a, b in pairs):
        return (
            "the matrix of the data, the inputs and the noise are not diagonal in common bases, so that SGD turns the "
            "hidden units for ever, and its state is not that of least mean squared gradient"
        )
    if machine.frames.sizes["step"] < _FRAMES or machine.frames.sizes["replica"] < _REPLICAS:
        return f"{_FRAMES} frames and {_REPLICAS} replicas are needed"
    return ""


def _rates(everyone: Sequence[Machine]) -> np.ndarray:
    return np.array([float(machine.settings.theta.learning_rate) for machine in everyone])


def _problem(machine: Machine) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """V, the second moments of the inputs, and the covariance of the noise of the targets."""
    data, widths = machine.settings.data, [int(width) for width in machine.constants["widths"]]
    assert data is not None
    mean, factor = linear_law(data, widths[0], widths[-1])
    own, other = factor[: widths[0], : widths[0]], factor[widths[0] :, widths[0] :]
    inputs = own @ own.T + np.outer(mean[: widths[0]], mean[: widths[0]])
    return np.asarray(data.matrix, float).reshape(widths[-1], widths[0]), inputs, other @ other.T


def _quantities(machine: Machine, frames: slice) -> np.ndarray:
    """Tr H and the entries of W1'W1 and W2 W2', means over frames: (R, K)."""
    _, inputs, _ = _problem(machine)
    path = machine.frames["theta"].isel(step=frames).transpose("step", "replica", "theta_dim").values
    first, second = layers(path, machine.constants)
    kernels = np.swapaxes(first, -1, -2) @ first, second @ np.swapaxes(second, -1, -2)
    trace = theory.hessian_trace(first, second, inputs)
    return np.concatenate([trace[..., None], *map(_upper, kernels)], axis=-1).mean(0)


def _quarters(everyone: Sequence[Machine]) -> np.ndarray:
    """The quantities in each quarter of the record: (4, rates, R, K)."""
    edges = np.linspace(0, everyone[0].frames.sizes["step"], 5).astype(int)
    return np.array([[_quantities(m, slice(a, b)) for m in everyone] for a, b in itertools.pairwise(edges)])


def has_settled(trace: np.ndarray) -> bool:
    """Whether at every rate the last quarters of (4, rates, R) differ by little of the way from the first, or noise."""
    last, way = trace[3] - trace[2], np.abs((trace[3] - trace[0]).mean(-1))
    error = last.std(-1, ddof=1) / np.sqrt(last.shape[-1])
    return bool(np.all(np.abs(last.mean(-1)) <= np.maximum(_WAY * way, _NOISE * error)))


def _upper(matrix: np.ndarray) -> np.ndarray:
    """Entries on and above the diagonal: (..., n (n + 1)/2)."""
    return np.asarray(matrix[(..., *np.triu_indices(matrix.shape[-1]))])


def extrapolated(rates: np.ndarray, values: np.ndarray, order: int = _ORDER) -> tuple[np.ndarray, np.ndarray]:
    """Values (rates, R, K) of replicas at rate 0, and their standard errors: (K,), (K,)."""
    mean, error = values.mean(1), values.std(1, ddof=1) / np.sqrt(values.shape[1])
    powers = np.vander(rates / rates.max(), order + 1, increasing=True)
    found, errors = np.empty((2, mean.shape[1]))
    for k in range(mean.shape[1]):
        scaled = powers / error[:, k, None]
        covariance = np.linalg.inv(scaled.T @ scaled)
        found[k] = (covariance @ scaled.T @ (mean[:, k] / error[:, k]))[0]
        errors[k] = np.sqrt(covariance[0, 0])
    return found, errors
