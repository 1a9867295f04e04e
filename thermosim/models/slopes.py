"""A model's slopes against finite differences of its energy, on random states; run when a user's model is loaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from thermosim.kernels.declare import bound
from thermosim.model import Model, Values

if TYPE_CHECKING:
    from thermosim.kernels.evaluate import Evaluator

__all__ = ["slope_faults"]

_STATES = 8
_STEP = 1e-5
_TOLERANCE = 1e-6  # central differences of an O(1) energy are good to about 1e-9


def slope_faults(model: Model, constants: Values) -> list[str]:
    """One message for each function that is not the gradient of the energy it belongs to, empty when all agree."""
    faults = []
    if model.energy is not None and model.force is not None:
        faults += _force_faults(model, constants)
    if not faults and model.has_samples and (model.surprisal_and_force or model.parameter_gradient):
        faults += _tile_faults(model, constants)
    return faults


def _force_faults(model: Model, constants: Values) -> list[str]:
    point = _random_states(model, constants)
    try:
        with np.errstate(over="ignore"):  # of integers that wrap, in functions of `elementary`
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


def _tile_faults(model: Model, values: Values) -> list[str]:
    """Of functions of a tile, compiled: force over x, parameter_gradient over theta."""
    from thermosim.data.sources import theta_of
    from thermosim.kernels.evaluate import Evaluator

    random, evaluator = np.random.default_rng(0), Evaluator(model, values)
    theta = theta_of(model, values, {}) + 0.3 * random.normal(size=(_STATES, evaluator.parameters))
    if model.discrete:
        x = random.choice(model.levels, size=(_STATES, evaluator.components))
    else:
        x = random.normal(size=(_STATES, evaluator.components))
    checks = [("parameter_gradient", 1.0, "theta", evaluator.gradient)] if model.learns else []
    checks += [("force", -1.0, "x", evaluator.force)] if model.surprisal_and_force is not None else []
    try:
        for name, sign, of, function in checks:
            given = sign * function(x, theta)
            columns = range(min(given.shape[1], 32))
            slopes = np.stack([_slope(evaluator, x, theta, of, i) for i in columns], axis=1)
            difference = np.abs(given[:, : len(columns)] - slopes) / (1.0 + np.abs(slopes))
            state, i = np.unravel_index(np.argmax(np.nan_to_num(difference, nan=np.inf)), difference.shape)
            if not difference[state, i] <= _TOLERANCE:
                minus = "minus " if sign < 0.0 else ""
                message = (
                    f"model: {name} gives {sign * given[state, i]:.6g} for component {i}, where {minus}the slope of "
                    f"phi is {sign * slopes[state, i]:.6g} (finite differences at a random state): mend one of the two."
                )
                return [message]
    except Exception as error:
        text = " ".join(str(error).split())[:400]
        return [f"model: its functions of a tile cannot be evaluated: {type(error).__name__}: {text}"]
    return []


def _slope(evaluator: Evaluator, x: np.ndarray, theta: np.ndarray, of: str, i: int) -> np.ndarray:
    energies = []
    for sign in (-1.0, 1.0):
        moved = {"x": x.copy(), "theta": theta.copy()}
        moved[of][:, i] += sign * _STEP
        energies.append(evaluator.surprisal(moved["x"], moved["theta"]))
    return np.asarray((energies[1] - energies[0]) / (2.0 * _STEP))


def _random_states(model: Model, values: Values) -> SimpleNamespace:
    names = model.names(values)
    random = np.random.default_rng(0)
    scalars, shared = model.packed(values)
    theta = [np.ravel(group.default(values)) for group in model.parameters]
    n = names["COMPONENTS"]
    return SimpleNamespace(
        energy=bound(model.energy, names),
        force=bound(model.force, names),
        n=n,
        x=random.normal(size=(n, _STATES)),
        theta=np.repeat(np.concatenate([*theta, np.zeros(0)])[:, None], _STATES, axis=1),
        constants=np.repeat(scalars[:, None], _STATES, axis=1),
        shared=shared,
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
