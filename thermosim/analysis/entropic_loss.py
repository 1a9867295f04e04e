"""How gradient descent departs from the flow of l + c r |grad l|^2, and at which order of the learning rate r.

    distance(c, r) = |theta of gradient descent - theta of the flow from the same start| at one time r t

It is of order r^2 at c = 1/4, the entropic loss, and of order r at every other c: of the plain loss, c = 0, too. The
descent at r is that of the ensemble; those at r/2, r/4, ... from the same starts, and the flows, are computed anew
(`exact.entropic_loss`). Any model that learns from rows that are kept will do, one of a user's file as well.
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025). Every X comes with X_error over replicas.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put_mean
from thermosim.analysis.machine import Machine, machines
from thermosim.exact import entropic_loss as theory

__all__ = ["COEFFICIENTS", "entropic_loss_order", "why_no_entropic_loss", "why_not_plain"]

COEFFICIENTS = (0.0, 0.25, 0.5, 1.0)
_PARTS = (1, 2, 4)  # of the learning rate
_REPLICAS = 16  # at most
_PLAIN = (
    'the entropic loss is that of plain gradient descent: theta.dynamics = "sgd" with theta.batch = "all", a '
    "constant learning rate, no momentum, no weight decay, all parameters learned"
)


@of_survivors
def entropic_loss_order(ds: xr.Dataset, coefficients: Sequence[float] = COEFFICIENTS) -> xr.Dataset:
    """Distances at the last frame, dims parts of the learning rate, the axes of the sweep, and coefficient.

    `order` is log2 of the distance at r over that at r/2, and goes to 2 at coefficient 1/4, to 1 elsewhere, as r goes
    to 0; `order_change` is what it differs by from that of r/2 and r/4. At most 16 replicas are taken. Raises
    ValueError where the ensemble is not of plain gradient descent on all rows, or a flow does not arrive.
    """
    points = machines(ds)
    for machine in points:
        if why := why_no_entropic_loss(machine):
            raise ValueError(why)
    count = min(_REPLICAS, ds.sizes["replica"])
    each = [_distances(machine, count, coefficients) for machine in points]  # (parts, C, R)
    with np.errstate(divide="ignore", invalid="ignore"):
        orders = [np.log2(found[:-1] / found[1:]) for found in each]
    some, coords = ds.isel(replica=slice(count)), {"coefficient": list(coefficients)}
    result, condition = xr.Dataset(attrs={"replicas": count}), "from the same start, at the same time"
    values = gathered(some, each, ("parts", "coefficient", "replica"), coords | {"parts": list(_PARTS)})
    put_mean(result, "distance", values, "1", "distance of descent at r/parts from the flow", condition)
    values = gathered(some, [order[0] for order in orders], ("coefficient", "replica"), coords)
    put_mean(result, "order", values, "1", "order of the distance in the learning rate", "between r and r/2")
    values = gathered(some, [order[0] - order[1] for order in orders], ("coefficient", "replica"), coords)
    put_mean(result, "order_change", values, "1", "order less that between r/2 and r/4", "0 as r goes to 0")
    return result


def why_no_entropic_loss(machine: Machine) -> str:
    """Why an ensemble is not of plain gradient descent on all rows, with theta recorded; empty where it is."""
    if machine.settings.theta.batch != "all":
        return _PLAIN
    return why_not_plain(machine)


def why_not_plain(machine: Machine) -> str:
    """Why an ensemble is not of plain descent on all rows or minibatches, with theta recorded; empty where it is."""
    theta, move, data = machine.settings.theta, machine.theta_move, machine.settings.data
    if machine.model.no_potential:
        return machine.model.no_potential
    plain = move.descent and not move.density and not theta.momentum and not theta.weight_decay
    plain = plain and theta.learn is None and theta.gradient != "contrast" and data is not None
    if not plain or machine.settings.run.direction != "forward" or not isinstance(theta.learning_rate, (int, float)):
        return _PLAIN
    if "theta" not in machine.frames or int(machine.steps[0]) != 0 or len(machine.steps) < 2:
        return "an order needs theta at step 0 and later: add theta to record.variables"
    return "" if machine.frames.sizes["replica"] > 1 else "one replica gives no error bars: take two or more"


def _distances(machine: Machine, count: int, coefficients: Sequence[float]) -> np.ndarray:
    """At every part of the rate and coefficient: (parts, C, R)."""
    rate, steps = float(machine.settings.theta.learning_rate), int(machine.steps[-1])
    start, sets = machine.theta(0)[:count], machine.data_set()[:count]
    ends = [machine.theta(-1)[:count]]
    ends += [theory.descend(_gradient(machine, sets), start, rate / n, n * steps) for n in _PARTS[1:]]
    shape = (len(_PARTS), len(coefficients))
    factors = np.multiply.outer(rate / np.array(_PARTS), np.asarray(coefficients, float))
    copies = factors.size
    gradient = _gradient(machine, np.tile(sets, copies))
    there = theory.flow(gradient, np.tile(start, (copies, 1)), rate * steps, np.repeat(factors.ravel(), count))
    gap = np.stack(ends)[:, None] - there.reshape(*shape, *start.shape)
    return np.asarray(np.linalg.norm(gap, axis=-1))


def _gradient(machine: Machine, sets: np.ndarray) -> theory.Gradient:
    """Of the loss of all rows, each replica with its own data set."""

    def gradient(theta: np.ndarray) -> np.ndarray:
        found = np.empty_like(theta)
        for number in np.unique(sets):
            mine = sets == number
            found[mine] = machine.evaluator.data_gradient(machine.data.of_set(int(number)), theta[mine])[1]
        return found

    return gradient
