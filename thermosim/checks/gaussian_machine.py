"""The Gaussian machine that learns its means: everything against exact recursions at the run's own steps and batches.

theta and x are linear in each other and in the minibatch mean, so that their first and second moments are exact at any
learning rate, time step, tau and batch (`exact.learning_machine`), and so is the mean of every book. Information needs
the density of theta, which is normal but for the cumulants that the finite data set gives it: they are carried along
exactly, and the L-info is compared only where their leading effect, the negentropy of theta, is far below the error.
Student's law needs means that are nearly normal: an ensemble of fewer than 500 replicas is not compared.

Source: S. S. Parsi, Entropy 26, 112 (2024), Eqs. 14, 16, 33, 42.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.information import learned_information
from thermosim.analysis.machine import Machine
from thermosim.analysis.memorised_information import memory
from thermosim.analysis.settings import axes
from thermosim.data.sources import theta_of
from thermosim.exact import gaussian_information, learning_machine
from thermosim.exact.learning_machine import LearningMachine, Moments, Start
from thermosim.schedules import is_by_group, is_schedule, schedule_values

__all__ = ["exact_moments", "gaussian_comparisons", "linear_machine"]

_INFORMATION_REPLICAS = 2048  # at most, for what compares all replicas with all
_ROUNDING = 1e-12
_LEAST_REPLICAS = 500
_NEARLY_NORMAL = 0.1  # negentropy of theta in standard errors of the information
_AT = "exact recursion at the run's learning rate, time step, tau and batch"
_LEDGER = {"work": "work", "heat": "heat", "log_ratio_x": "log_ratio", "entropy_production": "entropy_production"}


def linear_machine(machine: Machine) -> tuple[LearningMachine, Start] | None:
    """The linear machine that this point of the sweep is, or None where it is not one."""
    theta, x, data = machine.settings.theta, machine.settings.x, machine.settings.data
    if machine.model.name != "gaussian" or x is None or data is None or not machine.theta_move.descent:
        return None
    linear = theta.learn == ["mean"] and theta.gradient == "likelihood" and data.sets == 1
    plain = x.dynamics in learning_machine.X_DYNAMICS and x.temperature == 1.0 and not x.restart
    plain = plain and not isinstance(x.mobility, list)
    warm = theta.temperature
    constant = not is_schedule(theta.weight_decay) and (is_by_group(warm) or not is_schedule(warm))
    if not (linear and plain and constant and x.initial == "equilibrium"):
        return None
    if machine.settings.run.direction == "there-and-back":
        return None
    n, steps = int(machine.constants["dimension"]), int(machine.settings.run.steps)
    start = theta_of(machine.model, machine.constants, theta.initial or {})
    spread = theta.spread
    spread = np.full(n, spread) if isinstance(spread, (int, float)) else np.asarray((spread or {}).get("mean", 0.0))
    temperature = warm["mean"] if is_by_group(warm) else warm or 0.0
    linear_system = LearningMachine(
        precision=np.exp(start[n:]),
        data_mean=machine.data.mean(),
        data_covariance=machine.data.covariance(),
        steps=steps,
        learning_rate=_along(theta.learning_rate, steps),
        batch=None if theta.batch == "all" else int(theta.batch),
        weight_decay=float(theta.weight_decay),
        momentum=float(theta.momentum),
        temperature=temperature,
        x_dynamics=x.dynamics,
        time_step=0.0 if x.time_step is None else _along(x.time_step, steps) * float(x.mobility),
        tau=int(x.tau),
    )
    return linear_system, Start(start[:n], spread)


def _along(value: Any, steps: int) -> Any:
    return schedule_values(value, steps, 1, steps) if is_schedule(value) else float(value)


def exact_moments(machine: Machine) -> Moments | None:
    """Exact moments at the recorded steps, or None where the machine is not linear."""
    linear = linear_machine(machine)
    return None if linear is None else learning_machine.moments(*linear, machine.steps)


def gaussian_comparisons(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """Ledger, moments and information of every point of the sweep; none unless all of them are linear machines."""
    few = ds.sizes["replica"] < _LEAST_REPLICAS
    if few or ds.sizes["step"] < 2 or any(linear_machine(machine) is None for machine in everyone):
        return []
    theory = [moments for machine in everyone if (moments := exact_moments(machine)) is not None]
    frames = np.unique([(ds.sizes["step"] - 1) // 4, (ds.sizes["step"] - 1) // 2, ds.sizes["step"] - 1])
    frames = frames[ds["step"].values[frames] > 0]
    steps = ", ".join(str(int(s)) for s in ds["step"].values[frames])
    comparisons = []
    for name, of in _LEDGER.items():
        if name in ds:
            mean, error = replica_mean(ds[name].isel(step=frames))
            exact = _table(ds, theory, lambda m, of=of: getattr(m, of)[frames])  # type: ignore[misc]
            what = f"mean {name.replace('_', ' ').replace('log ratio x', 'log ratio')} to step {steps}"
            comparisons.append(_comparison(ds, what, mean, error, exact, _AT, "step"))
    if "theta" in ds:
        comparisons += _moments_of(ds, theory, "theta", "theta_dim")
        comparisons += _information(ds, everyone, theory)
    if "x" in ds:
        comparisons += _moments_of(ds, theory, "x", "x_dim")
    return comparisons


def _table(ds: xr.Dataset, theory: list[Moments], value: Callable[[Moments], Any]) -> np.ndarray:
    entries = np.stack([np.asarray(value(moments), float) for moments in theory])
    return entries.reshape(tuple(ds.sizes[name] for name in axes(ds)) + entries.shape[1:])


def _comparison(
    ds: xr.Dataset, quantity: str, mean: Any, error: Any, exact: np.ndarray, reference: str, *tail: str, **more: Any
) -> Comparison:
    values, errors = (np.asarray(array.transpose(*axes(ds), *tail).values) for array in (mean, error))
    return Comparison(quantity, values, errors, exact, ds.sizes["replica"] - 1, reference, **more)


def _moments_of(ds: xr.Dataset, theory: list[Moments], name: str, dimension: str) -> list[Comparison]:
    """Mean and covariance in the last frame, deviations taken from the exact mean."""
    n = theory[0].theta_mean.shape[1]
    values = ds[name].isel({"step": -1, dimension: slice(n)})
    step = int(ds["step"][-1])
    mean, error = replica_mean(values)
    exact_mean = _table(ds, theory, lambda m: getattr(m, f"{name}_mean")[-1])
    deviation = values - xr.DataArray(exact_mean, dims=(*axes(ds), dimension))
    pairs = list(zip(*np.triu_indices(n), strict=True))
    products = xr.concat([deviation.isel({dimension: i}) * deviation.isel({dimension: j}) for i, j in pairs], "pair")
    covariance, spread = replica_mean(products)
    exact = _table(ds, theory, lambda m: [getattr(m, f"{name}_covariance")[-1][i, j] for i, j in pairs])
    # theta that learns from all data has no spread but that of rounding
    unit = max(_ROUNDING, 8.0 * float(np.finfo(values.dtype).eps))
    rounding = [unit * (1.0 + np.abs(table)) for table in (exact_mean, exact)]
    what = f"of {name} at step {step}"
    return [
        _comparison(ds, f"mean {what}", mean, error, exact_mean, _AT, dimension, tolerance=rounding[0]),
        _comparison(ds, f"covariance {what}", covariance, spread, exact, _AT, "pair", tolerance=rounding[1]),
    ]


def _information(ds: xr.Dataset, everyone: list[Machine], theory: list[Moments]) -> list[Comparison]:
    """L-info and entropy of theta in the last frame, against those of the normal law with the exact covariance."""
    n = theory[0].theta_mean.shape[1]
    last = ds.isel(step=[-1], replica=slice(_INFORMATION_REPLICAS))
    covariances = [moments.theta_covariance[-1] for moments in theory]
    if any(np.linalg.eigvalsh(c).min() <= 0.0 for c in covariances):
        return []
    negentropy = np.reshape([_not_normal(machine) for machine in everyone], [ds.sizes[name] for name in axes(ds)])
    machines_ = [linear[0] for machine in everyone if (linear := linear_machine(machine)) is not None]
    learned = [
        gaussian_information.learned_information(m.precision, c) for m, c in zip(machines_, covariances, strict=True)
    ]
    stored = [gaussian_information.entropy(c) for c in covariances]
    shape = [ds.sizes[name] for name in axes(ds)]
    step = int(ds["step"][-1])
    result = []
    direct = learned_information(last).isel(step=0)
    reference = "(1/2) ln det(1 + K Cov(theta)), the covariance exact"
    for quantity, estimate, name, exact, theory_ in (
        (f"L-info at step {step}", direct, "learned_information", learned, reference),
        (
            f"M-info S(theta) at step {step}",
            memory(last).isel(step=0),
            "entropy",
            stored,
            f"entropy of the normal law of {n} parameters, the covariance exact",
        ),
    ):
        value, error = estimate[name], estimate[f"{name}_error"]
        if np.all(negentropy <= _NEARLY_NORMAL * error.transpose(*axes(ds)).values):
            result.append(_comparison(last, quantity, value, error, np.reshape(exact, shape), theory_))
    return result


def _not_normal(machine: Machine) -> float:
    """Negentropy of theta in the last frame from its exact third and fourth cumulants, summed over components."""
    linear = linear_machine(machine)
    assert linear is not None
    system, start = linear
    if system.momentum or system.batch is None:
        return 0.0
    third, fourth = learning_machine.theta_cumulants(system, *learning_machine.row_cumulants(machine.data.values))
    step = int(machine.steps[-1])
    variance = np.diag(learning_machine.moments(system, start, [step]).theta_covariance[0])
    return float(np.sum(gaussian_information.negentropy(variance, third[step], fourth[step])))
