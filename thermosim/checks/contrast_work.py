"""Mean work of a Gaussian that learns its mean by contrast with its own chains, against the exact recursion.

Source: `exact.least_dissipation`; at any learning rates, minibatch, number of chains and moves per step.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine
from thermosim.checks.means import LEAST_REPLICAS, is_nearly_normal
from thermosim.checks.moments import exact_table, residual_mean
from thermosim.data.sources import theta_of
from thermosim.exact.least_dissipation import MOVES, mean_work, of_moves
from thermosim.models import gaussian
from thermosim.schedules import is_schedule, schedule_values

__all__ = ["contrast_comparisons"]

_AT = "exact recursion of theta and the mean of its chains"


def contrast_comparisons(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """None unless every point of the sweep is such a machine from a start at rest, with its work since step 0."""
    if "work" not in ds or int(ds["step"][0]) != 0 or ds.sizes["step"] < 2 or ds.sizes["replica"] < LEAST_REPLICAS:
        return []
    if not all(map(_is_linear, everyone)):
        return []
    last = ds.sizes["step"] - 1
    frames = np.unique([max(1, last // 2), last])
    steps = ds["step"].values[frames]
    exact = exact_table(ds, np.stack([_work(machine)[steps] for machine in everyone]), "step")
    what = f"mean work of a chain to step {', '.join(map(str, steps))}"
    row = residual_mean(ds, what, ds["work"].isel(step=frames), exact, _AT, "step")
    return [row] if is_nearly_normal(row) else []


def _is_linear(machine: Machine) -> bool:
    theta, x, data = machine.settings.theta, machine.settings.x, machine.settings.data
    if machine.model is not gaussian.MODEL or x is None or data is None or theta.gradient != "contrast":
        return False
    plain = machine.theta_move.descent and theta.learn == ["mean"] and not theta.has_several_rates
    plain = plain and theta.weight_decay == theta.momentum == 0.0 and not theta.temperature and not theta.spread
    plain = plain and not machine.settings.run.first_step
    moves = x.dynamics in MOVES and x.temperature == 1.0 and not is_schedule(x.time_step)
    moves = moves and not x.restart and not isinstance(x.mobility, list) and x.starts_in_equilibrium
    started = theta.initial is None or isinstance(theta.initial, dict)
    return plain and moves and started and data.sets == 1 and machine.settings.run.direction == "forward"


def _work(machine: Machine) -> np.ndarray:
    """After steps 0..N, (N + 1), summed over components."""
    theta, x, steps = machine.settings.theta, machine.settings.of_x, int(machine.settings.run.steps)
    n = int(machine.constants["dimension"])
    start = theta_of(machine.model, machine.constants, theta.initial or {})
    curvatures, distances = np.exp(start[n:]), machine.data.mean() - start[:n]
    spread = np.diag(machine.data.covariance()) / (np.inf if theta.batch == "all" else float(theta.batch))
    rates = np.broadcast_to(schedule_values(theta.learning_rate, steps, 1, steps), (steps,))
    works = []
    for curvature, distance, minibatch in zip(curvatures, distances, spread, strict=True):
        time_step = 0.0 if x.time_step is None else float(x.time_step) * float(x.mobility)
        contraction, variance = of_moves(x.dynamics, time_step, int(x.tau), curvature)
        works.append(mean_work(rates, distance, contraction, curvature, x.samples, variance, minibatch))
    return np.sum(works, axis=0)
