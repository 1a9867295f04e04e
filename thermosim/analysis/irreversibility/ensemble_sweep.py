"""The sweep over learning rates of an ensemble: the field that its steps descend, from the starts of its first rate.

Replicas of every point of a sweep start anew; a sweep at fixed theta takes theta at step 0 of the smallest rate. With
minibatches it takes those that follow one another in the data, at most 16, each reversed on itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis.irreversibility.fields import Field
from thermosim.analysis.irreversibility.potentials import potentials
from thermosim.analysis.irreversibility.sweep import sweep
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.settings import axes
from thermosim.exact.irreversibility import quadratic_potentials
from thermosim.kernels.evaluate import Evaluator
from thermosim.model import Model, Values
from thermosim.models import MODELS

__all__ = [
    "EnsembleSweep",
    "ensemble_sweep",
    "exact_potentials",
    "is_smooth",
    "quadratic_of",
    "why_no_scalars",
    "why_no_sweep",
]

_BATCHES = _REPLICAS = 16  # at most
_KINKED = "relu"
Quadratic = tuple[np.ndarray, np.ndarray]  # matrix (m, m), and where the loss is least (m,)


@dataclass(frozen=True, eq=False)
class EnsembleSweep:
    """What `sweep` finds, and of what."""

    found: xr.Dataset
    theta: np.ndarray  # (R, m)
    quadratics: list[Quadratic]  # one of each minibatch; none where the loss is no quadratic
    smooth: bool  # whether it is known to have no kinks
    no_scalars: str  # why there are no phi_DE, phi_TR, phi_TA; empty where there are
    batches: int

    @property
    def rates(self) -> np.ndarray:
        """Learning rates (K,)."""
        return np.asarray(self.found["learning_rate"].values)


def why_no_sweep(ds: xr.Dataset, everyone: Sequence[Machine]) -> str:
    """Why an ensemble with a section [irreversibility] is no sweep at fixed theta; empty where it is."""
    if axes(ds) != ["learning_rate"] or ds.sizes["learning_rate"] < 3:
        return "a sweep at fixed theta is one over theta.learning_rate alone, of three values or more"
    machine = everyone[0]
    if machine.model.no_potential:
        return machine.model.no_potential
    theta, data = machine.settings.theta, machine.settings.data
    plain = machine.theta_move.descent and not theta.momentum and not machine.theta_move.density
    if not plain or theta.weight_decay or theta.learn is not None or theta.has_several_rates or data is None:
        return (
            "steps are swept of the bare gradient of all parameters: theta.dynamics = 'sgd' without momentum, decay, "
            "theta.learn and rates of parameters, on data"
        )
    if data.fresh or machine.settings.run.direction != "forward":
        return "rows are fresh at every step, or the run goes back: give data that are kept, and run forward"
    if "theta" not in ds or int(ds["step"][0]) != 0:
        return "theta at step 0 is not recorded: add theta to record.variables"
    return "" if np.all(np.diff(ds["learning_rate"].values) > 0.0) else "learning rates do not grow along the sweep"


def ensemble_sweep(ds: xr.Dataset) -> EnsembleSweep:
    """Raises ValueError where it is none (`why_no_sweep`), DataError where its data are not to be had."""
    everyone = machines(ds)
    if why := why_no_sweep(ds, everyone):
        raise ValueError(why)
    machine = everyone[0]
    parts, theta = _minibatches(machine)
    fields, why = _fields(machine, parts), why_no_scalars(machine)
    quadratics = [quadratic_of(machine.model, machine.constants, part) for part in parts]
    found = sweep(fields, theta, ds["learning_rate"].values, scalars=not why)
    known = [one for one in quadratics if one is not None]
    return EnsembleSweep(found, theta, known, is_smooth(machine), why, len(fields))


def why_no_scalars(machine: Machine) -> str:
    """Why there are no phi_DE, phi_TR and phi_TA at the starts of a point; empty where there are."""
    section, (parts, theta) = machine.settings.irreversibility, _minibatches(machine)
    if section is not None and not section.scalars:
        return "irreversibility.scalars = false"
    try:
        potentials(_fields(machine, parts), theta, float(machine.settings.theta.learning_rate))
    except ValueError as why:
        return str(why)
    return ""


def is_smooth(machine: Machine) -> bool:
    """Whether it is a model that is known to have no kinks, as ReLU has; a user's own may."""
    return MODELS.get(machine.model.name) is machine.model and machine.constants.get("activation") != _KINKED


def _minibatches(machine: Machine) -> tuple[list[np.ndarray], np.ndarray]:
    """Minibatches (B, n) of the data of the first replica, and theta (R, m) of those that learn from the same."""
    section, sets, batch = machine.settings.irreversibility, machine.data_set(), machine.settings.theta.batch
    mine = np.flatnonzero(sets == sets[0])[: _REPLICAS if section is None else section.replicas]
    rows = machine.data.of_set(int(sets[0]))
    size = len(rows) if batch == "all" else min(int(batch), len(rows))
    count = min(len(rows) // size, _BATCHES)
    return [rows[k * size : (k + 1) * size] for k in range(count)], machine.theta(0)[mine]


def _fields(machine: Machine, parts: Sequence[np.ndarray]) -> list[Field]:
    """By one thread: thousands of calls of a few replicas take less than threads to start."""
    evaluator = Evaluator(machine.model, machine.constants, threads=1)
    return [lambda theta, rows=part: evaluator.data_gradient(rows, theta)[1] for part in parts]  # type: ignore[misc]


def quadratic_of(model: Model, constants: Values, rows: np.ndarray) -> Quadratic | None:
    """Matrix and minimum of a loss that is a quadratic of theta on rows (K, n), the least of minima; None of others."""
    if model.name == "quadratic" and not constants["quartic"]:
        return np.asarray(constants["curvature"], float), rows.mean(axis=0)
    if model.name != "linear-regression":
        return None
    inputs, targets = np.split(rows, [int(constants["inputs"])], axis=1)
    if constants["bias"] == "yes":
        inputs = np.hstack([inputs, np.ones((len(rows), 1))])
    hessian = np.kron(np.eye(targets.shape[1]), 2.0 * inputs.T @ inputs / len(rows))
    return hessian, np.linalg.lstsq(inputs, targets, rcond=None)[0].T.ravel()


def exact_potentials(quadratics: Sequence[Quadratic], theta: np.ndarray, rates: np.ndarray) -> dict[str, np.ndarray]:
    """Closed forms at theta (R, m), averaged over minibatches: de, tr, ta, st, leading and be, each (R, K)."""
    each = [
        [quadratic_potentials(matrix, theta - least, float(rate)) for rate in rates] for matrix, least in quadratics
    ]
    return {
        name: np.mean([np.stack([found[name] for found in one], axis=-1) for one in each], axis=0)
        for name in each[0][0]
    }
