"""The Gaussian machine that learns its means: everything against exact recursions at the run's own steps and batches.

theta and x are linear in each other and in the minibatch mean, so that their first and second moments are exact at any
learning rate, time step, tau and batch (`exact.learning_machine`), and so is the mean of every book. Where replicas
start with precisions of their own, which are not learned, the recursion is that of each replica given its precision.
Information needs the density of theta, which is normal but for the cumulants that the finite data set gives it: they
are carried along exactly, and the L-info is compared only where their leading effect, the negentropy of theta, is far
below the error.

Source: S. S. Parsi, Entropy 26, 112 (2024), Eqs. 14, 16, 33, 42.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.information import learned_information
from thermosim.analysis.machine import Machine
from thermosim.analysis.memorised_information import memory
from thermosim.analysis.settings import axes
from thermosim.case.start import OtherRun
from thermosim.checks.means import LEAST_REPLICAS, is_nearly_normal
from thermosim.checks.moments import exact_table, frame_moments, residual_mean
from thermosim.data.sources import theta_of
from thermosim.exact import gaussian_information, learning_machine
from thermosim.exact.learning_machine import LearningMachine, Moments, Start
from thermosim.ledger import VARIABLES
from thermosim.models import gaussian
from thermosim.schedules import is_by_group, is_schedule, schedule_values

__all__ = ["exact_moments", "gaussian_comparisons", "has_own_precisions", "linear_machine"]

_INFORMATION_REPLICAS = 2048  # at most, for what compares all replicas with all
_INFORMATION_LEAST = 500
_CONDITIONAL_NUMBERS = 2e7  # of covariances of single replicas, at most
_NEARLY_NORMAL = 0.1  # negentropy of theta in standard errors of the information
_AT = "exact recursion at the run's learning rate, time step, tau and batch"
_LEDGER = {"work": "work", "heat": "heat", "log_ratio_x": "log_ratio", "entropy_production": "entropy_production"}


def linear_machine(machine: Machine, precision: np.ndarray | None = None) -> tuple[LearningMachine, Start] | None:
    """The linear machine that this point of the sweep is, or None where it is not one.

    precision (R, n) is that of each replica; without it there is none where replicas have precisions of their own.
    """
    theta, x, data = machine.settings.theta, machine.settings.x, machine.settings.data
    if machine.model is not gaussian.MODEL or x is None or data is None or not machine.theta_move.descent:
        return None
    linear = theta.learn == ["mean"] and theta.gradient == "likelihood" and data.sets == 1
    plain = x.dynamics in learning_machine.X_DYNAMICS and x.temperature == 1.0 and not x.restart
    plain = plain and not isinstance(x.mobility, list)
    warm = theta.temperature
    constant = not is_schedule(theta.weight_decay) and (is_by_group(warm) or not is_schedule(warm))
    if not (linear and plain and constant and x.starts_in_equilibrium) or OtherRun.of(theta.initial):
        return None
    if machine.settings.run.direction == "there-and-back":
        return None
    if has_own_precisions(machine) and precision is None:
        return None
    n, steps = int(machine.constants["dimension"]), int(machine.settings.run.steps)
    start = theta_of(machine.model, machine.constants, theta.initial or {})
    temperature = warm["mean"] if is_by_group(warm) else warm or 0.0
    linear_system = LearningMachine(
        precision=np.exp(start[n:]) if precision is None else precision,
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
    return linear_system, Start(start[:n], np.broadcast_to(np.asarray(_spread(machine, "mean"), float), (n,)))


def has_own_precisions(machine: Machine) -> bool:
    """Whether this is the Gaussian, not a user's model of that name, and replicas start with precisions that differ."""
    return machine.model is gaussian.MODEL and bool(np.any(np.asarray(_spread(machine, "log_precision"), float) != 0.0))


def _spread(machine: Machine, group: str) -> Any:
    """Standard deviation over replicas of the start of a group, whose default is 0."""
    spread = machine.settings.theta.spread
    return (spread or {}).get(group, 0.0) if isinstance(spread, Mapping) or spread is None else spread


def _along(value: Any, steps: int) -> Any:
    return schedule_values(value, steps, 1, steps) if is_schedule(value) else float(value)


def exact_moments(machine: Machine) -> Moments | None:
    """Exact moments at the recorded steps, or None where the machine is not linear."""
    linear = linear_machine(machine)
    return None if linear is None else learning_machine.moments(*linear, machine.steps)


def gaussian_comparisons(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """Ledger, moments and information of every point of the sweep; none unless all of them are linear machines."""
    if ds.sizes["replica"] < LEAST_REPLICAS or ds.sizes["step"] < 2:
        return []
    own = any(has_own_precisions(machine) for machine in everyone)
    if own and "theta" not in ds:
        return []
    n = int(everyone[0].constants.get("dimension", 0))
    precisions: list[np.ndarray | None] = [None] * len(everyone)
    if own:
        most = max(LEAST_REPLICAS, int(_CONDITIONAL_NUMBERS / (9 * n * n)))
        ds = ds.isel(replica=slice(most))
        precisions = [np.exp(machine.theta(0)[:most, n:]) for machine in everyone]
    linear = [linear_machine(machine, k) for machine, k in zip(everyone, precisions, strict=True)]
    if any(one is None for one in linear):
        return []
    theory = [learning_machine.moments(*one, ds["step"].values) for one in linear if one is not None]
    frames = np.unique([(ds.sizes["step"] - 1) // 4, (ds.sizes["step"] - 1) // 2, ds.sizes["step"] - 1])
    frames = frames[ds["step"].values[frames] > 0]
    steps = ", ".join(str(int(s)) for s in ds["step"].values[frames])
    scale = max((float(abs(ds[name]).max()) for name in ("phi", *_LEDGER) if name in ds), default=0.0)
    comparisons = []
    for name, of in _LEDGER.items():
        if name in ds:
            exact = _table(ds, theory, lambda m, of=of: getattr(m, of)[frames], "step")  # type: ignore[misc]
            what = f"mean {name.replace('_', ' ').replace('log ratio x', 'log ratio')} to step {steps}"
            row = residual_mean(ds, what, ds[name].isel(step=frames), exact, _AT, "step", scale=scale)
            comparisons.append(replace(row, units=VARIABLES[name].units))
    for name in ("theta", "x"):
        if name in ds:
            comparisons += _moments_of(ds, theory, name, n)
    if "theta" in ds and not own:
        comparisons += _information(ds, everyone, theory)
    return [comparison for comparison in comparisons if is_nearly_normal(comparison)]


def _table(ds: xr.Dataset, theory: list[Moments], value: Callable[[Moments], Any], *dims: str) -> xr.DataArray:
    """Exact values over the sweep: axes, then dims of the value, among them the replica where each has its own."""
    entries = np.stack([np.asarray(value(moments), float) for moments in theory])
    own = entries.ndim > 1 + len(dims)
    named = (("step", "replica") if dims == ("step",) else ("replica", *dims)) if own else dims
    return exact_table(ds, entries, *named)


def _moments_of(ds: xr.Dataset, theory: list[Moments], name: str, n: int) -> list[Comparison]:
    """Mean and covariance in the last frame."""
    dimension, step = f"{name}_dim", int(ds["step"][-1])
    mean = _table(ds, theory, lambda m: getattr(m, f"{name}_mean")[-1], dimension)
    covariance = np.stack([getattr(m, f"{name}_covariance")[-1] for m in theory])
    values = ds[name].isel({"step": -1, dimension: slice(n)})
    return frame_moments(ds, values, mean, covariance, f"{name} at step {step}", _AT)


def _information(ds: xr.Dataset, everyone: list[Machine], theory: list[Moments]) -> list[Comparison]:
    """L-info and entropy of theta in the last frame, against those of the normal law with the exact covariance."""
    n = theory[0].theta_mean.shape[1]
    if ds.sizes["replica"] < _INFORMATION_LEAST:
        return []
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
            values, errors = (np.asarray(array.transpose(*axes(ds)).values) for array in (value, error))
            degrees = last.sizes["replica"] - 1
            wanted = np.reshape(exact, shape)
            result.append(Comparison(quantity, values, errors, wanted, degrees, theory_, units="nat"))
    return result


def _not_normal(machine: Machine) -> float:
    """Negentropy of theta in the last frame from its exact third and fourth cumulants, summed over components."""
    linear = linear_machine(machine)
    assert linear is not None
    system, start = linear
    if system.momentum or system.batch is None:
        return 0.0
    last = machine.steps[-1:]
    rows = learning_machine.row_cumulants(machine.data.values)
    third, fourth = learning_machine.theta_cumulants(system, *rows, last)
    variance = np.diag(learning_machine.moments(system, start, last).theta_covariance[0])
    return float(np.sum(gaussian_information.negentropy(variance, third[0], fourth[0])))
