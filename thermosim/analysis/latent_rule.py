"""How far ln p(x) by a rule for the integral over a latent is from that by twice as many nodes in each dimension."""

from __future__ import annotations

import numpy as np

from thermosim.analysis.machine import Machine
from thermosim.kernels.evaluate_network import evaluator_of

__all__ = ["rule_gap"]


def rule_gap(machine: Machine, frame: int, replicas: int, rows: int) -> np.ndarray | None:
    """Mean of -ln p over the first data rows, less the same by the finer rule, of the first replicas (R,).

    None where the model has no constant `nodes`: no such rule.
    """
    if "nodes" not in machine.constants:
        return None
    finer = evaluator_of(machine.model, {**machine.constants, "nodes": 2 * int(machine.constants["nodes"])})
    theta, some = machine.theta(frame)[:replicas], machine.data.of_set(0)[:rows]
    return np.asarray((machine.evaluator.surprisals(some, theta) - finer.surprisals(some, theta)).mean(axis=1))
