"""The target p* that a model learns: the law its rows are drawn from, or one that is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thermosim.analysis.machine import Machine
from thermosim.data.densities import log_density, mean_and_covariance
from thermosim.data.generators import generated
from thermosim.data.sources import theta_of

__all__ = ["Given", "Target", "target_of"]

Given = np.ndarray | Callable[[np.ndarray], np.ndarray] | None
_FRESH = 10**7  # number of the set of rows that stands for p*: no case has so many sets


@dataclass(frozen=True, eq=False)
class Target:
    """p*, as far as it is known."""

    log_density: Callable[[np.ndarray], np.ndarray]  # of points (P, n), normalised: (P,)
    sample: Callable[[int], np.ndarray] | None  # independent rows (K, n), none of them those of the run
    theta: np.ndarray | None = None  # (m,), where p* is of the model's own family
    normal: tuple[np.ndarray, np.ndarray] | None = None  # mean (n,) and covariance (n, n), where p* is a normal


def target_of(machine: Machine, given: Given) -> Target:
    """p* of `given`, parameters (m,) or ln p* of points; by default that of the case's generator of rows.

    Raises ValueError where the rows come from no generator with a density, or parameters have the wrong shape.
    """
    if callable(given):
        return Target(given, None)
    if given is not None:
        theta = np.asarray(given, float)
        if theta.shape != (machine.evaluator.parameters,):
            raise ValueError(f"target of shape {theta.shape}: theta has {machine.evaluator.parameters} parameters")
        return _own(machine, theta)
    section = machine.settings.data
    if section is None:
        raise ValueError("the case has no [data], whose law could be the target: give a target")
    if section.source == "teacher":
        return _own(machine, theta_of(machine.model, machine.constants, section.teacher))
    n = machine.evaluator.components
    log_density(section, np.zeros((1, n)))  # raises where there is none
    normal = mean_and_covariance(section, n) if section.source == "gaussian" else None
    return Target(
        lambda points: log_density(section, points), lambda count: generated(section, n, count, _FRESH)[0], None, normal
    )


def _own(machine: Machine, theta: np.ndarray) -> Target:
    """The model itself at these parameters."""
    from thermosim.analysis.mixtures import log_normalisers
    from thermosim.data.generators import NORMAL, address
    from thermosim.streams import DATA

    evaluator, seed = machine.evaluator, int(machine.settings.ensemble.seed)

    def logarithm(points: np.ndarray) -> np.ndarray:
        normaliser = log_normalisers(machine, theta[None])[0]
        return np.asarray(-evaluator.surprisals(points, theta[None])[0] - normaliser)

    def sample(count: int) -> np.ndarray:
        return evaluator.draw(np.broadcast_to(theta, (count, len(theta))), seed, DATA, address(NORMAL, _FRESH) // 2)

    return Target(logarithm, sample if machine.model.fresh else None, theta)
