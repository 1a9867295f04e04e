"""Charges of the continuous symmetries of a loss, which SGD changes by an exact amount at every step.

A model declares its symmetries (`Model.symmetries`). For generators A that are symmetric, and directions z of
translations, the charges C = theta'A theta/2 and z.theta obey, at the learning rate r and weight decay lambda,

    C' = (1 - r lambda)^2 C + (r^2/2) g'A g,      z.theta' = (1 - r lambda) z.theta

whatever the data, the batch and the step: no continuous time, no average over noise. g'A g is taken from the sums of
the ledger that the model names, which say it between any two frames, with weight decay between neighbouring steps.
Without them two neighbouring steps still tell that no step goes along the orbit, whatever A is, rotations included:

    (A theta).theta' = (1 - r lambda) (A theta).theta,      since r g = (1 - r lambda) theta - theta'
Sources: as in `exact.symmetry_charges`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy import sparse

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine
from thermosim.model import Symmetry

__all__ = ["charge_comparisons", "charges", "is_plain_descent", "summed_gain"]

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
    plain = machine.theta_move.retraces and not theta.momentum and theta.learn is None and theta.constraint is None
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


def summed_gain(machine: Machine, symmetry: Symmetry) -> np.ndarray | None:
    """The sum over steps of (r^2/2) g'A g from the books of the ledger, (F, R, G); None where they are not recorded."""
    ds = machine.frames
    if (
        not symmetry.books
        or not set(symmetry.books) <= set(ds)
        or any("step" not in ds[b].dims for b in symmetry.books)
    ):
        return None
    sums = {name: ds[name].transpose("step", "replica", ...).values for name in symmetry.books}
    gained = symmetry.gained(sums) if symmetry.gained else sums[symmetry.books[0]]
    gained = gained if gained.ndim > 2 else gained[..., None]
    return np.asarray(0.5 * _rate(machine) ** 2 * gained)


def _is_told(machine: Machine, symmetry: Symmetry) -> bool:
    if not is_plain_descent(machine) or not symmetry.generators(machine.constants).shape[0]:
        return False
    if symmetry.translation or bool(np.all(np.diff(machine.steps) == 1)):
        return True
    return summed_gain(machine, symmetry) is not None and not machine.settings.theta.weight_decay


def _residual(machine: Machine, symmetry: Symmetry) -> tuple[float, float, float]:
    """The largest residual, what rounding may make of it, and the size of what is compared."""
    ds = machine.frames
    theta = ds["theta"].transpose("step", "replica", "theta_dim").values.astype(float)
    gained, generators = summed_gain(machine, symmetry), symmetry.generators(machine.constants)
    kept, passed = 1.0 - _rate(machine) * float(machine.settings.theta.weight_decay), np.diff(machine.steps)
    names, scale = ["theta"], float((theta**2).sum(-1).max())
    if symmetry.translation:
        charge, scale = charges(theta, generators, translation=True), float(np.abs(theta).sum(-1).max())
        residual = charge[1:] - kept ** passed[:, None, None] * charge[:-1]
    elif gained is not None:
        charge = charges(theta, generators)
        residual = charge[1:] - kept**2 * charge[:-1] - np.diff(gained, axis=0)
        names += symmetry.books
        scale += _rate(machine) ** 2 * max(float(np.abs(ds[name].values).max()) for name in symmetry.books)
    else:
        residual = _along(generators, theta[:-1], theta[1:] - kept * theta[:-1])
    stored = max(float(np.finfo(ds[name].dtype).eps) for name in names)
    rounding = _STORED * _size(generators) * scale * (stored + np.finfo(float).eps * np.sqrt(int(passed.max())))
    return float(np.abs(residual).max()), rounding, scale


def _size(generators: Any) -> float:
    """A bound on the norm of every generator."""
    if generators.ndim == 2:
        return float(np.abs(generators).max())
    size = np.abs(generators)
    return float(np.sqrt(size.sum(1).max() * size.sum(2).max()))


def _rate(machine: Machine) -> float:
    return float(machine.settings.theta.learning_rate)
