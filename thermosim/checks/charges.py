"""Charges of the continuous symmetries of a loss, which SGD changes by an exact amount at every step.

A model declares its symmetries (`Model.symmetries`). For generators A that are symmetric, and directions z of
translations, the charges C = theta'A theta/2 and z.theta obey, at the learning rate r and weight decay lambda,

    C' = (1 - r lambda)^2 C + (r^2/2) g'A g,      z.theta' = (1 - r lambda) z.theta

whatever the data, the batch and the step: no continuous time, no average over noise. Summed over the steps from s to t,

    C_t - C_s = (r^2/2) sum g'A g - r lambda (1 - r lambda/2) sum theta'A theta

which the ledger tells between any two frames where it has both sums, without weight decay the first. Without sums two
neighbouring steps still tell that no step goes along the orbit, whatever A is, rotations included:

    (A theta).theta' = (1 - r lambda) (A theta).theta,      since r g = (1 - r lambda) theta - theta'

and so they do where parameters have learning rates of their own, a matrix r L: (A theta).L^-1 (theta' - theta) =
- r lambda (A theta).theta, likewise with z for A theta.

Every step rounds theta and the sums, by eps/2 of their size at most; a full batch that has come to rest rounds them the
same way for ever. The tolerance is n eps of their size for n steps between frames, and what storage takes.
Sources: as in `exact.symmetry_charges`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy import sparse

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine
from thermosim.model import Symmetry
from thermosim.moves import THETA_MOVES

__all__ = ["charge_comparisons", "charges", "charges_of", "has_charges", "is_booked", "why_no_charges"]

_STORED = 8.0  # spacings of the numbers that are stored, which may be float32
_REFERENCE = "exact recursion of theta'A theta/2 at every step of SGD, to rounding"
_KEPT = "exact recursion of z.theta at every step of SGD, to rounding"


def charge_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """The largest residual of any replica, charge and frame; none where the recursion does not hold."""
    found = []
    for symmetry in everyone[0].model.symmetries:
        if not all(_is_told(machine, symmetry) for machine in everyone):
            continue
        each = [_residual(machine, symmetry) for machine in everyone]
        residual, tolerance, scale = (max(values) for values in zip(*each, strict=True))
        zero, degrees_of_freedom = np.zeros(()), max(ds.sizes["replica"] - 1, 1)
        quantity, reference = f"largest residual of {symmetry.meaning}", _KEPT if symmetry.translation else _REFERENCE
        found.append(
            Comparison(
                quantity,
                np.asarray(residual),
                zero,
                zero,
                degrees_of_freedom,
                reference,
                tolerance=tolerance,
                scale=scale,
            )
        )
    return found


def is_plain_descent(machine: Machine) -> bool:
    """Whether theta, recorded, makes steps of plain SGD in all its components forward at a constant rate and decay."""
    theta, ds = machine.settings.theta, machine.frames
    if "theta" not in ds or ds.sizes["step"] < 2 or machine.settings.run.direction != "forward":
        return False
    one_by_one = THETA_MOVES[theta.dynamics].retraces  # at several rates too
    plain = one_by_one and not theta.momentum and theta.learn is None and theta.constraint is None
    return plain and all(isinstance(value, (int, float)) for value in (theta.learning_rate, theta.weight_decay))


def charges(theta: np.ndarray, generators: Any, translation: bool = False) -> np.ndarray:
    """theta'A theta/2, or z.theta, of theta (..., m) for every one of G `Symmetry.generators`: (..., G)."""
    if translation:
        return np.asarray((generators @ theta.reshape(-1, theta.shape[-1]).T).T).reshape(*theta.shape[:-1], -1)
    return 0.5 * _along(generators, theta, theta)


def _along(generators: Any, theta: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(A theta).other of theta and other (..., m): (..., G)."""
    a, b = (part.reshape(-1, theta.shape[-1]) for part in (theta, other))
    if generators.ndim == 2:
        found = np.asarray((generators @ (a * b).T).T)
    else:
        found = np.stack([((sparse.csr_array(one) @ a.T).T * b).sum(-1) for one in generators], axis=-1)
    return found.reshape(*theta.shape[:-1], -1)


def charges_of(machine: Machine, symmetry: Symmetry) -> tuple[np.ndarray, np.ndarray]:
    """C, and what the sums of the ledger say it has gained since step 0, each (F, R, G), where they are recorded.

    Without the sums of the weights, what weight decay takes is not in it.
    """
    rate, decay = _rates(machine)
    gained = 0.5 * rate**2 * symmetry.between(*_sums(machine, symmetry.books))
    if _recorded(machine, symmetry.weights):
        lost = rate * decay * (1.0 - 0.5 * rate * decay)
        gained = gained - lost * symmetry.between(*_sums(machine, symmetry.weights))
    return charges(_theta(machine), symmetry.generators(machine.constants)), gained


def is_booked(machine: Machine, symmetry: Symmetry) -> bool:
    """Whether sums of the ledger tell the charges of the next frame from those of the last."""
    if not has_charges(machine, symmetry) or not _recorded(machine, symmetry.books):
        return False
    if machine.settings.theta.has_several_rates:  # sums in which gradients are alike do not tell
        return False
    return _is_close(machine) or not _rates(machine)[1] or _recorded(machine, symmetry.weights)


def has_charges(machine: Machine, symmetry: Symmetry) -> bool:
    """Whether the model has the symmetry at its constants, and theta is recorded, along steps that obey."""
    return is_plain_descent(machine) and bool(symmetry.generators(machine.constants).shape[0])


def why_no_charges(everyone: Sequence[Machine]) -> str:
    """What to record, where charges would be told but for that; empty where they are, or can not be."""
    for symmetry in everyone[0].model.symmetries:
        for machine in everyone:
            booked = has_charges(machine, symmetry) and _recorded(machine, symmetry.books)
            if booked and not is_booked(machine, symmetry):
                if machine.settings.theta.has_several_rates:
                    return "" if _is_close(machine) else "at several learning rates they need every step"
                names = f"{' and '.join(symmetry.weights)} in record.variables, or " if symmetry.weights else ""
                return f"with weight decay they need {names}every step"
    return ""


def _is_told(machine: Machine, symmetry: Symmetry) -> bool:
    if _is_close(machine) or (symmetry.translation and not machine.settings.theta.has_several_rates):
        return has_charges(machine, symmetry)
    return is_booked(machine, symmetry)


def _residual(machine: Machine, symmetry: Symmetry) -> tuple[float, float, float]:
    """The largest residual, what rounding may make of it, and the size of what is compared."""
    theta, passed, (rate, decay) = _theta(machine), np.diff(machine.steps), _rates(machine)
    generators, kept = symmetry.generators(machine.constants), 1.0 - rate * decay
    factors, scale = {"theta": 0.0}, float((theta**2).sum(-1).max())
    if machine.settings.theta.has_several_rates:
        undone, least = _undone(machine, np.diff(theta, axis=0))
        along = undone + (1.0 - kept) * theta[:-1]
        told_by = charges(along, generators, translation=True) if symmetry.translation else None
        residual = _along(generators, theta[:-1], along) if told_by is None else told_by
        scale = (float(np.abs(theta).sum(-1).max()) if symmetry.translation else scale) / min(least, 1.0)
    elif symmetry.translation:
        charge, scale = charges(theta, generators, translation=True), float(np.abs(theta).sum(-1).max())
        residual = charge[1:] - kept ** passed[:, None, None] * charge[:-1]
    elif _recorded(machine, symmetry.books):
        charge, gained = charges_of(machine, symmetry)
        told = _recorded(machine, symmetry.weights)
        residual = charge[1:] - (1.0 if told else kept**2) * charge[:-1] - np.diff(gained, axis=0)
        factors |= dict.fromkeys(symmetry.books, rate**2)
        factors |= dict.fromkeys(symmetry.weights if told else (), 2.0 * rate * decay)
    else:
        residual = _along(generators, theta[:-1], theta[1:] - kept * theta[:-1])
    ds = machine.frames
    scale += sum(factor * float(np.abs(ds[name].values).max()) for name, factor in factors.items())
    stored = max(float(np.finfo(ds[name].dtype).eps) for name in factors)
    rounding = _size(generators) * scale * (_STORED * stored + np.finfo(float).eps * int(passed.max()))
    return float(np.abs(residual).max()), rounding, scale


def _undone(machine: Machine, change: np.ndarray) -> tuple[np.ndarray, float]:
    """L^-1 of changes (..., m) of theta at the learning rates r L, and the least eigenvalue of L."""
    theta, model, constants = machine.settings.theta, machine.model, machine.constants
    if theta.preconditioner is not None:
        matrix = np.asarray(theta.preconditioner, float)
        return change @ np.linalg.inv(matrix), float(np.linalg.eigvalsh(matrix)[0])
    given = theta.learning_rate_factors or {}
    sizes = [math.prod(group.shape(constants)) for group in model.parameters]
    factors = np.repeat([float(given.get(group.name, 1.0)) for group in model.parameters], sizes)
    return change / factors, float(factors.min())


def _theta(machine: Machine) -> np.ndarray:
    """(F, R, m)."""
    return np.asarray(machine.frames["theta"].transpose("step", "replica", "theta_dim").values, float)


def _recorded(machine: Machine, names: Sequence[str]) -> bool:
    ds = machine.frames
    return bool(names) and all(name in ds and "step" in ds[name].dims for name in names)


def _sums(machine: Machine, names: Sequence[str]) -> list[np.ndarray]:
    return [machine.frames[name].transpose("step", "replica", ...).values for name in names]


def _is_close(machine: Machine) -> bool:
    return bool(np.all(np.diff(machine.steps) == 1))


def _rates(machine: Machine) -> tuple[float, float]:
    theta = machine.settings.theta
    return float(theta.learning_rate), float(theta.weight_decay)


def _size(generators: Any) -> float:
    """A bound on the norm of every generator."""
    if generators.ndim == 2:
        return float(np.abs(generators).max())
    size = np.abs(generators)
    return float(np.sqrt(size.sum(1).max() * size.sum(2).max()))
