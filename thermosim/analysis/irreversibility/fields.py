"""Update fields: what an optimiser subtracts, theta' = theta - r U(theta), for many replicas at once.

A field is any callable theta (R, m) -> U (R, m) that takes row r to row r: the gradient of a loss of the models here
on fixed rows, or one of any other framework. It is looked at before it is trusted (`looked_at`): a wrong shape, NaN, a
theta that was written to, and a second answer that is not the first would each spoil differences of fields unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from thermosim.kernels.evaluate import Evaluator
from thermosim.model import Model

__all__ = [
    "ASYMMETRIC",
    "CRITICAL",
    "Field",
    "asymmetry",
    "critical_points",
    "directional",
    "field_of_loss",
    "fields_of_minibatches",
    "looked_at",
    "one_field",
]

Field = Callable[[np.ndarray], np.ndarray]
ASYMMETRIC = 1e-4  # share of the Jacobian from which on a field is no gradient
_STEP = float(np.finfo(float).eps) ** (1.0 / 3.0)
_NEAR = 1e-5  # of theta, a place beside 0
_SMALL = 0.1  # size of theta from which on its own scale and 1 are alike
_PAIRS = 8  # of probes of the Jacobian
CRITICAL = 1e-2  # of the field, what a critical point may leave: potentials, which go as its square, are 1e-4 off
_ITERATIONS, _FOUND, _LARGEST = 60, 1e-8, 512  # towards a critical point, where it is reached, parameters at most


def field_of_loss(model: Model, constants: Mapping[str, Any], rows: np.ndarray, threads: int | None = None) -> Field:
    """The gradient of the mean loss over rows: (K, n) for all replicas, or (R, K, n) each its own.

    threads: default all; for a few replicas one is faster. Raises ValueError for a model without a gradient, and rows
    of another length.
    """
    if model.parameter_gradient is None:
        raise ValueError(f"model {model.name!r} has no gradient with respect to theta")
    rows, length = np.asarray(rows, float), model.row_length(constants)
    if rows.ndim not in (2, 3) or rows.shape[-1] != length or not rows.size or not np.isfinite(rows).all():
        raise ValueError(f"rows of shape {rows.shape}: expected finite numbers (K, {length}) or (R, K, {length})")
    evaluator = Evaluator(model, constants, threads)
    return lambda theta: evaluator.data_gradient(rows, theta)[1]


def fields_of_minibatches(model: Model, constants: Mapping[str, Any], rows: np.ndarray, batch: int) -> list[Field]:
    """One field for each minibatch of `batch` of the rows (K, n), taken in order; what is left over is not used.

    Raises ValueError as `field_of_loss` does, and where the rows make no minibatch.
    """
    rows = np.asarray(rows, float)
    if not 1 <= batch <= len(rows):
        raise ValueError(f"batch = {batch}: expected 1 to {len(rows)}, the number of rows")
    return [
        field_of_loss(model, constants, rows[first : first + batch]) for first in range(0, len(rows) - batch + 1, batch)
    ]


def looked_at(field: Field | Sequence[Field], theta: np.ndarray) -> list[Field]:
    """The fields, one for each minibatch, each of which was asked twice at theta (R, m). Raises ValueError.

    What it raises says what was seen: an answer that is no array (R, m), or not finite, a theta that was changed, or
    two answers that differ.
    """
    fields = [field] if callable(field) else list(field)
    if not fields:
        raise ValueError("no field: give a callable theta (R, m) -> U (R, m), or a list of them")
    for number, one in enumerate(fields):
        name = "the field" if len(fields) == 1 else f"field {number} of {len(fields)}"
        if not callable(one):
            raise ValueError(f"{name} is {one!r}: expected a callable theta (R, m) -> U (R, m)")
        _look(one, theta, name)
    return [_as_floats(one) for one in fields]


def one_field(field: Field, theta: np.ndarray) -> Field:
    """The field, looked at as by `looked_at`. Raises ValueError for a list of fields too."""
    if not callable(field):
        raise ValueError(f"the field is a {type(field).__name__}: give one callable, and of minibatches one at a time")
    return looked_at(field, theta)[0]


def _look(field: Field, theta: np.ndarray, name: str) -> None:
    given = theta.copy()
    first = np.asarray(field(given))
    if not np.array_equal(given, theta):
        raise ValueError(f"{name} changes the theta that it is given: work on a copy, as theta.copy()")
    if first.shape != theta.shape:
        raise ValueError(f"{name} answers theta {theta.shape} by an array {first.shape}: expected the same shape")
    if not (np.issubdtype(first.dtype, np.floating) or np.issubdtype(first.dtype, np.integer)):
        raise ValueError(f"{name} answers by numbers of the type {first.dtype}: expected real ones")
    if not np.isfinite(first).all():
        where = ", ".join(str(row) for row in np.flatnonzero(~np.isfinite(first).all(1))[:5])
        raise ValueError(f"{name} is not finite at theta of replica {where}: start where the loss is finite")
    if first.dtype.itemsize < 8 and np.issubdtype(first.dtype, np.floating):
        raise ValueError(
            f"{name} answers in {first.dtype}: the measures are differences of nearby fields, which need double "
            "precision; in PyTorch theta.double(), in JAX jax_enable_x64"
        )
    first = np.array(first, float)  # before the second answer may overwrite it
    again = np.asarray(field(given), float)
    if not np.array_equal(first, again):
        apart = float(np.abs(again - first).max())
        raise ValueError(
            f"{name} is not deterministic: two answers at one theta are up to {apart:.3g} apart; every measure takes "
            "the way back on the same minibatch, so fix the rows, and what dropout and augmentation draw"
        )
    _require_rows(field, theta, name, first)


def _require_rows(field: Field, theta: np.ndarray, name: str, first: np.ndarray) -> None:
    """Raise ValueError where moving the first replica moves the answer of another."""
    moved = theta.copy()
    moved[0] += _SMALL * (1.0 + np.abs(moved[0]))
    there = np.asarray(field(moved), float)
    apart = np.abs(there[1:] - first[1:])
    if np.any(apart > 1e-6 * np.abs(first[1:]).max(1, initial=0.0, keepdims=True)):
        raise ValueError(f"{name} mixes replicas: row r of its answer may depend on row r of theta alone")


def _as_floats(field: Field) -> Field:
    """A copy of every answer, so that a field may write all of them to one array."""
    return lambda theta: np.array(field(theta), float)


def directional(field: Field, theta: np.ndarray, along: np.ndarray) -> np.ndarray:
    """J v at theta (R, m) by central differences, v (R, m) of any length: off by some 1e-10 of it for smooth fields.

    Of the steps e (1 + s) and e s, e = 6e-6 and s the size of theta along v, that whose double changes less is taken,
    where s is small: the field may vary on the scale of 1, or on that of theta.
    """
    length = np.sqrt((along**2).sum(1, keepdims=True))
    unit = np.divide(along, length, out=np.zeros_like(along), where=length > 0.0)
    size = np.sqrt((unit**2 * theta**2).sum(1, keepdims=True))

    def slope(step: np.ndarray) -> np.ndarray:
        return np.asarray((field(theta + step * unit) - field(theta - step * unit)) / (2.0 * step))

    wide = _STEP * (1.0 + size)
    found = slope(wide)
    if np.any((size > 0.0) & (size < _SMALL)):
        narrow = np.where(size > 0.0, _STEP * size, wide)
        other = slope(narrow)
        changes = [
            np.abs(slope(2.0 * step) - at).max(1, keepdims=True) for step, at in ((wide, found), (narrow, other))
        ]
        found = np.where(changes[1] < changes[0], other, found)
    return found * length


def asymmetry(field: Field, theta: np.ndarray) -> np.ndarray:
    """The share |J - J'|/(|J - J'|^2 + |J + J'|^2)^(1/2) of the Jacobian that is no Hessian: (R,), 0 to 1.

    From a'Jb - b'Ja and a'Jb + b'Ja of 8 pairs of random vectors, their medians: a kink of a ReLU between the points of
    a difference spoils one pair. The same with U in the place of b, and the larger of both: a stiff direction hides a
    turn of the field. It is some 30 % off where it is not small.
    """
    random, here = np.random.default_rng(0), field(theta)
    turned = directional(field, theta, here)
    odd, even = np.empty((2, 2, _PAIRS, len(theta)))
    for pair in range(_PAIRS):
        a, b = random.normal(size=(2, *theta.shape))
        of_a, of_b = directional(field, theta, a), directional(field, theta, b)
        for kind, (other, image) in enumerate(((b, of_b), (here, turned))):
            ab, ba = (a * image).sum(1), (other * of_a).sum(1)
            odd[kind, pair], even[kind, pair] = (ab - ba) ** 2, (ab + ba) ** 2
    odd, even = np.median(odd, 1), np.median(even, 1)
    whole = odd + even
    return np.asarray(np.sqrt(np.divide(odd, whole, out=np.zeros_like(odd), where=whole > 0.0)).max(0))


def critical_points(field: Field, theta: np.ndarray) -> np.ndarray:
    """Where a gradient field vanishes, sought downhill from theta (R, m): (R, m).

    By damped steps of Newton with the absolute values of curvatures (Y. Dauphin et al., arXiv:1406.2572), which minima
    of the loss attract; its fall along a step is known from the field at both ends and half way (Simpson's rule).
    Raises ValueError where none is found, or theta has more than 512 parameters.
    """
    here, value = theta.copy(), field(theta)
    scale = np.abs(value).max(1)
    if theta.shape[1] > _LARGEST:
        raise ValueError(f"theta has {theta.shape[1]} parameters: give `origin`, a critical point of the field")
    best, least, damping = here, np.abs(value).max(1), np.full(len(theta), 1e-2)
    for _ in range(_ITERATIONS):
        if np.all(least <= _FOUND * scale):
            break
        step = _newton(field, here, value, damping)
        there = field(here - step)
        fall = ((value + 4.0 * field(here - 0.5 * step) + there) / 6.0 * step).sum(1)
        lower = (fall > 0.0) | ((there**2).sum(1) < (value**2).sum(1))
        here, value = np.where(lower[:, None], here - step, here), np.where(lower[:, None], there, value)
        damping = np.clip(np.where(lower, damping / 5.0, damping * 4.0), 1e-14, 1e8)
        nearer = np.abs(value).max(1) < least
        best, least = np.where(nearer[:, None], here, best), np.where(nearer, np.abs(value).max(1), least)
    if np.all(least <= CRITICAL * scale):
        return best
    if _rests_at_zero(field, theta, CRITICAL * scale):
        return np.zeros_like(theta)
    raise ValueError(
        f"no critical point of the field, where the potentials are 0, was found downhill from theta (it fell to "
        f"{np.max(least / scale):.2g} of what it is there): give `origin`, an array {theta.shape} or "
        f"({theta.shape[1]},), or leave the scalars out with scalars=False"
    )


def _rests_at_zero(field: Field, theta: np.ndarray, bound: np.ndarray) -> bool:
    """Whether 0 is critical, not by convention as where all ReLU have their kink, but with what is around it."""
    near = _NEAR * np.random.default_rng(1).normal(size=theta.shape) * (1.0 + np.abs(theta))
    return all(bool(np.all(np.abs(field(at)).max(1) <= bound)) for at in (0.0 * near, near, -near))


def _newton(field: Field, theta: np.ndarray, value: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """(|H| + damping max |H|)^-1 U of each replica: (R, m)."""
    unit = np.eye(theta.shape[1])
    jacobian = np.stack([directional(field, theta, np.broadcast_to(e, theta.shape)) for e in unit], 2)
    values, vectors = np.linalg.eigh(0.5 * (jacobian + jacobian.transpose(0, 2, 1)))
    size = np.abs(values) + (damping * np.abs(values).max(1) + np.finfo(float).tiny)[:, None]
    along = np.einsum("rki,rk->ri", vectors, value) / size
    return np.asarray(np.einsum("rki,ri->rk", vectors, along))
