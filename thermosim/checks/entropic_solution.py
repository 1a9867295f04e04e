"""Where SGD leaves a linear network of two layers on fresh rows, extrapolated to learning rate 0, against theory.

The noise of SGD chooses among all weights with W2 W1 = V those of the entropic solution (`exact.two_layer_linear`), up
to terms of the order of the learning rate, where V, Sx and Se are diagonal in common bases of inputs and outputs. Where
they are not, W2 W1 circulates around V, as noise makes it that does not commute with the curvature, and every turn
rotates the hidden units a little: a drift of the same order as the entropic force, which no potential gives. The state
is then another one, by some per cent, and nothing is compared.

A sweep of three learning rates or more is extrapolated by a parabola, weighted by the errors, from means over the last
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
from thermosim.exact import two_layer_linear as theory
from thermosim.models.multilayer_perceptron import layers

__all__ = [
    "entropic_comparisons",
    "extrapolated",
    "has_settled",
    "is_sweep_of_rates",
    "traces",
    "why_no_entropic_solution",
]

_FEWEST, _FRAMES, _REPLICAS, _ORDER = 3, 16, 16, 2  # rates, frames, replicas, of the polynomial
_COMMUTE = 1e-9  # relative size of a commutator that is rounding
_WAY, _NOISE = 0.1, 3.0  # of the way from the first quarter, or standard errors, that the last two may differ by
_LARGEST = 0.03  # tolerance of the trace, of itself
_REFERENCE = "entropic solution of the two layers; extrapolated to learning rate 0 by a parabola"


def entropic_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """Trace of the Hessian and the matrices W1'W1, W2 W2', where there is such a sweep."""
    if not is_sweep_of_rates(ds, everyone) or why_no_entropic_solution(everyone):
        return []
    rates, quarters = _rates(everyone), _quarters(everyone)
    matrix, inputs, noise = _problem(everyone[0])
    first, second = theory.input_kernel(matrix, inputs, noise), theory.output_kernel(matrix, inputs, noise)
    trace = 2.0 * (len(matrix) * np.trace(inputs @ first) + np.trace(second) * np.trace(inputs))
    exact = np.concatenate([[trace], _upper(first), _upper(second)])
    late = quarters[2:].mean(0)  # (rates, R, K)
    value, error = extrapolated(rates, late)
    drift, of_drift = extrapolated(rates, quarters[3] - quarters[2])
    straight, _ = extrapolated(rates, late, order=1)
    tolerance = np.abs(drift) + 2.0 * of_drift + np.abs(value - straight)
    if tolerance[0] > _LARGEST * np.abs(value[0]) or not has_settled(quarters[..., 0]):
        return []
    degrees_of_freedom = late.shape[1] - 1
    n = len(_upper(first))
    parts = {
        "trace of the Hessian at learning rate 0": slice(0, 1),
        "W1'W1 at learning rate 0": slice(1, 1 + n),
        "W2 W2' at learning rate 0": slice(1 + n, None),
    }
    return [
        Comparison(
            name, value[part], error[part], exact[part], degrees_of_freedom, _REFERENCE, tolerance=tolerance[part]
        )
        for name, part in parts.items()
    ]


@dataclass(frozen=True)
class Traces:
    """Traces of the Hessian of a sweep: means over the last half and their errors, that of rate 0, what theory says."""

    rates: np.ndarray
    mean: np.ndarray
    error: np.ndarray
    limit: tuple[float, float]  # and its error
    exact: float
    flattest: float


def traces(ds: xr.Dataset, everyone: Sequence[Machine]) -> Traces | None:
    """For a picture; None where nothing is compared."""
    found = entropic_comparisons(ds, everyone)
    if not found:
        return None
    late = _quarters(everyone)[2:].mean(0)[..., 0]  # (rates, R)
    limit = float(np.ravel(found[0].measured)[0]), float(np.ravel(found[0].standard_error)[0])
    matrix, inputs, _ = _problem(everyone[0])
    return Traces(
        _rates(everyone),
        late.mean(1),
        late.std(1, ddof=1) / np.sqrt(late.shape[1]),
        limit,
        float(np.ravel(found[0].exact)[0]),
        theory.flattest_trace(matrix, inputs),
    )


def is_sweep_of_rates(ds: xr.Dataset, everyone: Sequence[Machine]) -> bool:
    """Whether it is SGD of such a network on fresh rows, at some learning rates and nothing else that varies."""
    machine = everyone[0]
    constants, theta, data = machine.constants, machine.settings.theta, machine.settings.data
    if machine.model.name != "multilayer-perceptron" or data is None or not data.fresh or "theta" not in ds:
        return False
    shape = (constants["activation"], constants["bias"], constants["loss"], len(constants["widths"]))
    plain = machine.theta_move.retraces and not theta.momentum and not theta.weight_decay and theta.learn is None
    alone = axes(ds) == ["learning_rate"] and len(everyone) >= _FEWEST
    return alone and plain and shape == ("linear", "no", "squared", 3)


def why_no_entropic_solution(everyone: Sequence[Machine]) -> str:
    """Why such a sweep has no limit to be compared with; empty where it has."""
    machine = everyone[0]
    matrix, inputs, noise = _problem(machine)
    width, rank = int(machine.constants["widths"][1]), int(np.linalg.matrix_rank(matrix))
    if width < rank:
        return f"{width} hidden units cannot make the matrix of the data, of rank {rank}"
    if min(np.linalg.eigvalsh(noise)[0], np.linalg.eigvalsh(inputs)[0]) <= 0.0:
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
