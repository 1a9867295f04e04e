"""A model's forces against finite differences of its energy, on random states; run when a user's model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from thermosim.kernels.compile import bound
from thermosim.model import Model

__all__ = ["force_faults"]

_STATES = 8
_STEP = 1e-5
_TOLERANCE = 1e-6  # central differences of an O(1) energy are good to about 1e-9


def force_faults(model: Model, settings: Mapping[str, Any]) -> list[str]:
    """One message for each function that is not minus the gradient of its energy, empty when all agree."""
    if model.energy is None or model.force is None:
        return []
    point = _random_states(model, settings["model"])
    try:
        errors = [_force_error(point, i) for i in range(min(point.n, 8))]
    except Exception as error:
        return [f"model: energy or force cannot be evaluated: {type(error).__name__}: {error}"]
    worst = int(np.argmax([difference for difference, _, _ in errors]))
    difference, force, slope = errors[worst]
    if difference <= _TOLERANCE:
        return []
    message = (
        f"model: force({worst}, ...) = {force:.6g} where minus the slope of energy is {slope:.6g} (finite differences "
        "at a random state): mend one of the two."
    )
    return [message]


def _random_states(model: Model, values: Mapping[str, Any]) -> SimpleNamespace:
    names = model.names(values)
    random = np.random.default_rng(0)
    scalars = [values[c.name] for c in model.constants if not c.is_array]
    arrays = [np.ravel(values[c.name]) for c in model.constants if c.is_array]
    theta = [np.ravel(group.default(values)) for group in model.parameters]
    n = names["COMPONENTS"]
    return SimpleNamespace(
        energy=bound(model.energy, names),
        force=bound(model.force, names),
        n=n,
        x=random.normal(size=(n, _STATES)),
        theta=np.repeat(np.concatenate([*theta, np.zeros(0)])[:, None], _STATES, axis=1),
        constants=np.repeat(np.array(scalars, float)[:, None], _STATES, axis=1),
        shared=np.concatenate([*arrays, np.zeros(0)]),
    )


def _force_error(point: SimpleNamespace, i: int) -> tuple[float, float, float]:
    """Largest |force - slope| / (1 + |slope|) over the states, with the two numbers."""
    worst = (0.0, 0.0, 0.0)
    for lane in range(_STATES):
        energies = []
        for sign in (-1.0, 1.0):
            x = point.x.copy()
            x[i, lane] += sign * _STEP
            energies.append(point.energy(x, point.theta, point.constants, point.shared, lane))
        slope = -(energies[1] - energies[0]) / (2.0 * _STEP)
        force = point.force(i, point.x, point.theta, point.constants, point.shared, lane)
        difference = abs(force - slope) / (1.0 + abs(slope))
        if not difference <= worst[0]:
            worst = (float(difference), float(force), float(slope))
    return worst
