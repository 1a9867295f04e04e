"""Rules of functions that run on tiles: a lane is alone, outputs are written, sums are added to, weights are honoured.

A lane must come out the same in a tile of one lane as among others, whose theta, x and constants differ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from thermosim.models.user_file.plain import Plain
from thermosim.models.user_file.states import States

__all__ = ["alone", "lane_faults", "sum_faults", "varied"]

_ROUNDING = 1e-11  # sums over components in another order of memory
_FACTORS = (0.7, -0.4)


def lane_faults(plain: Plain, states: States) -> list[str]:
    """One sentence for each function of x, theta and constants that breaks a rule."""
    model, faults = plain.model, []
    x, theta = states.x.T.copy(), states.theta.T.copy()
    constants = varied(plain, x.shape[1])
    phi_name = "energy" if model.energy is not None else "surprisal" if model.discrete else "surprisal_and_force"

    def energy(lanes: slice) -> tuple[np.ndarray, ...]:
        phi, force = plain.phi_and_force(x[:, lanes].copy(), theta[:, lanes].copy(), constants[:, lanes].copy())
        return (phi,) if model.discrete else (phi, force)

    faults += alone(phi_name if model.energy is None else "energy or force", energy, x.shape[1])
    faults += _written(phi_name, plain, states)
    if model.drive is not None:
        faults += alone(
            "drive", lambda s: (plain.drive(x[:, s].copy(), theta[:, s].copy(), constants[:, s].copy()),), x.shape[1]
        )
    if model.parameter_gradient is not None and not faults:
        faults += sum_faults(plain, x, theta, constants, plain.phi(x, theta, constants))
    return faults


def alone(name: str, function: Callable[[slice], tuple[np.ndarray, ...]], lanes: int) -> list[str]:
    """What is wrong with a function of some lanes, whose results end in an axis of lanes, if one depends on others."""
    together = function(slice(0, lanes))
    for lane in range(lanes):
        for all_of_it, single in zip(together, function(slice(lane, lane + 1)), strict=True):
            here, apart = np.ravel(all_of_it[..., lane]), np.ravel(single[..., 0])
            if _same(here, apart):
                continue
            k = int(np.argmax(~np.isclose(here, apart, rtol=_ROUNDING, atol=1e-300, equal_nan=True)))
            return [
                (
                    f"{name}: a lane depends on other lanes: the same state gives {here[k]:.6g} among {lanes} and "
                    f"{apart[k]:.6g} alone. Index every array by the lane, as in x[i, lane], and sum over components."
                )
            ]
    return []


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    size = np.abs(a[np.isfinite(a)]).max(initial=1e-300)
    return bool(np.allclose(a, b, rtol=_ROUNDING, atol=_ROUNDING * size, equal_nan=True))


def _written(phi_name: str, plain: Plain, states: States) -> list[str]:
    """phi and force must be written, and nothing read that was not: both hold NaN before, and scratch too."""
    x, theta = states.x.T, states.theta.T
    phi, force = plain.phi_and_force(x, theta, plain.columns(x.shape[1]))
    name = "force" if plain.model.energy is not None else phi_name
    if not np.isfinite(phi).all():  # alone it was finite
        return [f"{name}: phi is not finite in a tile of several lanes: is every lane written?"]
    if plain.model.discrete or np.isfinite(force).all():
        return []
    i, lane = np.argwhere(~np.isfinite(force))[0]
    return [
        (
            f"{name}: component {i} of the force is {force[i, lane]:.6g} at "
            "a random state where phi is finite: it must be written, not added to, for every component and lane."
        )
    ]


def sum_faults(
    plain: Plain, x: np.ndarray, theta: np.ndarray, constants: np.ndarray, phi: np.ndarray | None
) -> list[str]:
    """parameter_gradient adds factor phi to loss and factor d phi/d theta to gradient; of a loss phi is not known."""
    lanes, random, name = x.shape[1], np.random.default_rng(4), "parameter_gradient"
    loss = random.normal(size=(lanes,))
    slope: np.ndarray = random.normal(size=theta.shape)

    def added(factor: float, lane: slice) -> tuple[np.ndarray, np.ndarray]:
        total, gradient = loss[lane].copy(), slope[:, lane].copy()
        plain.add_gradient(x[:, lane].copy(), theta[:, lane].copy(), constants[:, lane].copy(), factor, total, gradient)
        return total - loss[lane], gradient - slope[:, lane]

    if faults := alone(name, lambda s: added(1.0, s), lanes):
        return faults
    everything = slice(0, lanes)
    from_zero, of_loss = np.zeros(theta.shape), np.zeros(lanes)
    plain.add_gradient(x, theta, constants, 1.0, of_loss, from_zero)
    added_loss, added_slope = added(1.0, everything)
    for what, given, summed in (("gradient", from_zero, added_slope), ("loss", of_loss, added_loss)):
        if not _close(given, summed):
            return [f"{name} writes to {what} what it must add: use {what}[...] += factor * ..."]
    if phi is not None and not _close(of_loss, phi):
        lane = int(np.argmax(np.abs(of_loss - phi)))
        return [f"{name} adds {of_loss[lane]:.6g} to loss at factor 1 where phi is {phi[lane]:.6g}: it must add phi."]
    for factor in _FACTORS:
        weighted = added(factor, everything)
        for what, given, full in zip(("loss", "gradient"), weighted, (of_loss, from_zero), strict=True):
            if not _close(given, factor * full):
                return [f"{name} does not multiply what it adds to {what} by factor."]
    return []


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    size = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0.0)))
    return bool(np.allclose(a, b, rtol=1e-9, atol=1e-10 * size, equal_nan=True))


def varied(plain: Plain, lanes: int) -> np.ndarray:
    """Scalar constants (C, L), the real ones a little different in every lane, as in a sweep."""
    constants, row = plain.columns(lanes), 0
    factors = 1.0 + 0.03 * np.arange(lanes) / max(lanes, 1)
    for constant in plain.model.constants:
        if constant.is_array:
            continue
        last = constants[row, 0] * factors[-1]
        low, high = (-np.inf if constant.minimum is None else constant.minimum, constant.maximum or np.inf)
        if not constant.integer and not constant.choices and low <= last <= high:
            constants[row] *= factors
        row += 1
    return constants
