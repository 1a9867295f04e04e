"""The exact law of a run of linear regression: which runs have one, and moments and books at any steps.

Mean and covariance of theta, the sums of the ledger, and with them the update energy of every step follow from one
recursion at the run's learning rates, batch, decay, momentum and rows (`exact.linear_regression`), under any schedule.
Adam has one as its second
moment forgets nothing, beta2 -> 1 (`exact.adam_regression`). Sources: as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from thermosim.analysis.machine import Machine
from thermosim.case.start import OtherRun
from thermosim.data.generators import linear_law
from thermosim.data.sources import theta_of
from thermosim.exact.adam_regression import AdamDescent, Updates, updates
from thermosim.exact.linear_langevin import Gaussian
from thermosim.exact.linear_regression import (
    Descent,
    Moments,
    Rows,
    moments,
    noiseless,
    normal_rows,
    rows_of_set,
    steepness,
)
from thermosim.models import linear_regression
from thermosim.schedules import is_by_group, is_schedule, schedule_values

__all__ = [
    "MANY_NUMBERS",
    "adam_updates",
    "is_regression",
    "is_told",
    "laws",
    "own_sets",
    "parameters",
    "why_no_regression",
]

MANY_NUMBERS = 2e7  # of covariances of single replicas, or of fourth moments of rows, at most
_MOVES = ("sgd", "nesterov", "sgld", "langevin")
_SECONDS = 20.0  # that the recursion may take
_STEP, _PRODUCT = 2e-4, 4e-9  # seconds of a step, and of one product of numbers in it
_STEEPEST = 0.25  # part of the learning rate at which the mean square grows
_CARRIED = 0.3  # part of the mean square that the start, spread by minibatches alone, may be


def is_regression(everyone: Sequence[Machine]) -> bool:
    """Whether it is linear regression by moves that are linear in the gradient, of all weights, forward."""
    return all(
        machine.model is linear_regression.MODEL
        and machine.theta_move.name in _MOVES
        and machine.settings.data is not None
        and machine.settings.run.direction == "forward"
        and not OtherRun.of(machine.settings.theta.initial)
        and not machine.settings.theta.has_several_rates
        for machine in everyone
    )


def why_no_regression(everyone: Sequence[Machine]) -> str:
    """Why such a run is too large for the recursion, or its averages tell nothing; empty where neither is so."""
    if not all(_is_small(machine) for machine in everyone):
        size = max(parameters(machine) for machine in everyone)
        return f"{size} weights have too large a covariance, and rows too many fourth moments"
    seconds = sum(
        _seconds(machine, parameters(machine) * (1 + bool(machine.settings.theta.momentum))) for machine in everyone
    )
    if seconds > _SECONDS:
        return f"it would take {seconds:.0f} seconds"
    steepest = max(_steepness(machine) for machine in everyone)
    if steepest > _STEEPEST:
        return (
            f"the learning rate is {steepest:.2g} times that at which minibatches of this size make the mean square "
            "grow, and rare replicas carry the averages; lower theta.learning_rate, or raise theta.batch"
        )
    return ""


def _is_small(machine: Machine) -> bool:
    """Whether covariances and fourth moments of rows are no more numbers than can be kept."""
    return max(_fourth(machine), parameters(machine) ** 2) <= MANY_NUMBERS


def _fourth(machine: Machine) -> int:
    outputs, inputs = _shape(machine)
    return ((inputs + outputs) * inputs) ** 2


def _seconds(machine: Machine, state: int) -> float:
    """That the recursion of so many numbers takes, over all data sets."""
    of_step = _STEP + _PRODUCT * (_shape(machine)[0] ** 2 * _fourth(machine) + 6.0 * state**3)
    return of_step * float(machine.settings.run.steps) * (machine.settings.data.sets if machine.settings.data else 1)


def _steepness(machine: Machine) -> float:
    """Largest learning rate, that of many steps where there is momentum, over that of a mean square that grows."""
    theta = machine.settings.theta
    if theta.batch == "all":
        return 0.0
    rate = float(np.max(_along(theta.learning_rate, int(machine.settings.run.steps)))) / (1.0 - float(theta.momentum))
    return max(rate * steepness(rows) for rows in _rows(machine)) / int(theta.batch)


def _shape(machine: Machine) -> tuple[int, ...]:
    """(outputs, inputs), among these the bias."""
    return tuple(linear_regression.MODEL.parameters[0].shape(machine.constants))


def parameters(machine: Machine) -> int:
    return int(np.prod(_shape(machine)))


def own_sets(everyone: Sequence[Machine]) -> np.ndarray | None:
    """The data set of every replica (points, R); None where all learn from the same."""
    if all(machine.settings.data is None or machine.settings.data.sets == 1 for machine in everyone):
        return None
    return np.stack([machine.data_set() for machine in everyone])


def laws(machine: Machine, steps: Sequence[int]) -> list[tuple[Moments, Moments]]:
    """The exact law of each data set, and the fate of the mean start: minibatches and decay, no noise of targets."""
    theta, last = machine.settings.theta, int(machine.settings.run.steps)
    given = theta.temperature["weights"] if is_by_group(theta.temperature) else theta.temperature
    descent = Descent(
        last,
        _along(theta.learning_rate, last),
        None if theta.batch == "all" else int(theta.batch),
        _along(theta.weight_decay, last),
        float(theta.momentum),
        machine.theta_move.name == "nesterov",
        _along(given or 0.0, last),
    )
    law, cold, found = _start(machine), replace(descent, temperature=0.0), []
    for rows in _rows(machine):
        point = Gaussian(law.mean - rows.best.ravel(), np.zeros_like(law.covariance))
        found.append((moments(rows, law, descent, steps), moments(noiseless(rows), point, cold, steps)))
    return found


def _start(machine: Machine) -> Gaussian:
    theta = machine.settings.theta
    start = theta_of(machine.model, machine.constants, theta.initial or {})
    spread = theta.spread.get("weights", 0.0) if isinstance(theta.spread, dict) else theta.spread or 0.0
    deviation = np.broadcast_to(np.asarray(spread, float), _shape(machine)).ravel()
    return Gaussian(start, np.diag(deviation**2))


def adam_updates(machine: Machine) -> Updates | None:
    """<|dtheta|^2> of every step of Adam or AdamW on fresh rows, and its doubt; None where there is no such law."""
    theta, data, last = machine.settings.theta, machine.settings.data, int(machine.settings.run.steps)
    if not machine.theta_move.moments or machine.model is not linear_regression.MODEL or theta.has_several_rates:
        return None
    if data is None or not data.fresh or theta.learn is not None or theta.batch == "all":
        return None
    if machine.settings.run.direction != "forward" or OtherRun.of(theta.initial):
        return None
    if not _is_small(machine) or _seconds(machine, 2 * parameters(machine)) > _SECONDS:
        return None
    every = np.ones(last)
    descent = AdamDescent(
        _along(theta.learning_rate, last) * every,
        _along(theta.weight_decay, last) * every,
        int(theta.batch),
        float(theta.beta1),
        float(theta.beta2),
        float(theta.epsilon),
        machine.theta_move.name == "adamw",
    )
    return updates(_rows(machine)[0], _start(machine), descent)


def is_told(theory: Sequence[Sequence[tuple[Moments, Moments]]], frame: int) -> bool:
    """Whether at every point and set the start, spread by minibatches alone, is a small part of the mean square."""
    for law, fate in (pair for laws in theory for pair in laws):
        spread, left = np.trace(fate.covariance[frame]), fate.mean[frame] @ fate.mean[frame]
        if spread > _CARRIED * (np.trace(law.covariance[frame]) + left):
            return False
    return True


def _along(value: Any, steps: int) -> Any:
    return schedule_values(value, steps, 1, steps) if is_schedule(value) else float(value)


def _rows(machine: Machine) -> list[Rows]:
    """Moments of the rows of every data set, or of the law of fresh ones; a bias is an input of 1."""
    data, constants = machine.settings.data, machine.constants
    assert data is not None
    inputs, outputs, bias = int(constants["inputs"]), int(constants["outputs"]), int(constants["bias"] == "yes")
    if not data.fresh:
        sets = [np.asarray(machine.data.of_set(number), float) for number in range(data.sets)]
        return [
            rows_of_set(np.column_stack([rows[:, :inputs], np.ones((len(rows), bias))]), rows[:, inputs:])
            for rows in sets
        ]
    mean, factor = linear_law(data, inputs, outputs)
    own, other = factor[:inputs, :inputs], factor[inputs:, inputs:]
    matrix = np.asarray(data.matrix, float).reshape(outputs, inputs)
    return [
        normal_rows(
            np.concatenate([mean[:inputs], np.ones(bias)]),
            np.pad(own @ own.T, (0, bias)),
            np.pad(matrix, ((0, 0), (0, bias))),
            other @ other.T,
        )
    ]
