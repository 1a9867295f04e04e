"""A user's loss looked at before it is used: its gradient against finite differences, at random rows of data."""

from __future__ import annotations

import numpy as np

from thermosim.exact.symmetry_orbits import tangents
from thermosim.ledger import functionals_of
from thermosim.model import Model, Values
from thermosim.models.user_file.lane_rules import sum_faults, varied
from thermosim.models.user_file.plain import ModelFault, Plain, outcome
from thermosim.models.user_file.samplers import check_outputs
from thermosim.models.user_file.slopes import compared
from thermosim.models.user_file.states import thetas
from thermosim.models.user_file.together import together_faults

__all__ = ["loss_faults"]

_STATES = 6
_SPREAD = 0.3
_INVARIANT = 1e-8  # the part of a gradient along an orbit that is rounding
_CLASSES = 8  # at most, that outputs are compared for


def loss_faults(plain: Plain) -> list[str]:
    """One sentence for each rule that `parameter_gradient` of a loss breaks."""
    rows = _rows(plain.model, plain.values)
    theta = thetas(plain.model, plain.values, _STATES).T.copy()
    constants = varied(plain, _STATES)
    loss = _loss(plain, rows, theta, constants)
    finite = np.isfinite(loss)
    if not finite.any():
        return [f"the loss is not finite at any of {_STATES} random rows and theta; it is {loss[0]}."]
    rows, theta, constants = rows[:, finite], theta[:, finite], constants[:, finite]
    if faults := sum_faults(plain, rows, theta, constants, None):
        return faults
    return (
        _slope_faults(plain, rows, theta)
        or _symmetry_faults(plain, rows, theta)
        or _output_faults(plain, rows, theta, constants)
        or together_faults(plain, rows, theta)
    )


def _symmetry_faults(plain: Plain, rows: np.ndarray, theta: np.ndarray) -> list[str]:
    """Symmetries that the loss does not have: theta'A'g = 0, and z.g = 0, for every row, at a theta of no pattern."""
    theta = theta * np.exp(_SPREAD * np.random.default_rng(6).normal(size=theta.shape))
    loss, gradient = np.zeros(theta.shape[1]), np.zeros(theta.shape)
    plain.add_gradient(rows, theta, plain.columns(theta.shape[1]), 1.0, loss, gradient)
    finite = np.isfinite(gradient).all(0)
    theta, gradient, faults = theta[:, finite], gradient[:, finite], []
    for symmetry in plain.model.symmetries:
        called = f"the symmetry {symmetry.name!r}"
        known = functionals_of(plain.model.functionals)
        if unknown := [name for name in (*symmetry.books, *symmetry.weights) if name not in known]:
            faults.append(f"{called} is told by {unknown[0]!r}, which is no functional; there are {', '.join(known)}.")
            continue
        generators = outcome(f"generators of {called}", symmetry.generators, plain.values)
        shape, m = getattr(generators, "shape", ()), len(theta)
        if shape[1:] not in ((m,), (m, m)) or (symmetry.translation and len(shape) > 2):
            of = f"directions (G, {m})" if symmetry.translation else f"diagonals (G, {m}) or matrices (G, {m}, {m})"
            faults.append(f"generators of {called} have the shape {shape}; expected {of}.")
            continue
        along = tangents(generators, theta.T, symmetry.translation).transpose(0, 2, 1)  # (G, m, L)
        slope = (along * gradient).sum(1)
        size = np.sqrt((along**2).sum(1) * (gradient**2).sum(0))
        relative = np.divide(np.abs(slope), size, out=np.zeros_like(slope), where=size > 0.0)
        if relative.size and relative.max() > _INVARIANT:
            number = int(relative.max(1).argmax())
            faults.append(
                f"the loss does not have {called}: along generator {number} it changes, by {relative.max():.2g} of "
                "what is possible at that length of the gradient; mend generators or parameter_gradient."
            )
    return faults


def _slope_faults(plain: Plain, rows: np.ndarray, theta: np.ndarray) -> list[str]:
    """gradient against the slope of loss, which the same function writes."""
    one, decided = plain.columns(1), 0
    for row, point in zip(rows.T, theta.T, strict=True):

        def gradient(at: np.ndarray, row: np.ndarray = row) -> np.ndarray:
            return plain.gradient(row[:, None], at[:, None], one)[:, 0]

        def loss(points: np.ndarray, row: np.ndarray = row) -> np.ndarray:
            many = np.repeat(row[:, None], len(points), axis=1)
            return _loss(plain, many, points.T.copy(), plain.columns(len(points)))

        try:
            scale = np.where(point == 0.0, 1.0, np.abs(point))
            count, wrong = compared(gradient, loss, point[None], scale[None])
        except ModelFault as error:
            return [f"parameter_gradient {error}."]
        if wrong is not None:
            i, given, slope = wrong
            of = f"for parameter {i}" if i >= 0 else "along a random direction"
            return [
                (
                    f"parameter_gradient gives {given:.6g} {of}, where the slope of what it adds to loss is "
                    f"{slope:.6g} (finite differences at a random row): mend one of the two."
                )
            ]
        decided += count
    if decided:
        return []
    return ["the loss is so rough that finite differences find no slope of it at any random row: is it smooth?"]


def _output_faults(plain: Plain, rows: np.ndarray, theta: np.ndarray, constants: np.ndarray) -> list[str]:
    """Outputs have their shape; those of classes fall as the losses of the same row with these classes rise."""
    model, values = plain.model, plain.values
    classes = model.classes(values) if model.classes is not None else 0
    if model.outputs is None or model.inputs is None:
        return []
    inputs, count = rows[: model.inputs(values)], rows.shape[1]
    found = outcome("outputs", model.outputs, theta.T.copy(), values, inputs.T.copy())
    each = check_outputs("outputs", found, (count, count, classes or model.targets(values)))
    own = each[np.arange(count), np.arange(count)]  # (rows, classes)
    for c in range(1, min(classes, _CLASSES)):
        first, other = (_loss(plain, np.vstack([inputs, np.full((1, count), k)]), theta, constants) for k in (0, c))
        rise, fall = other - first, own[:, 0] - own[:, c]
        if (rise * fall < -1e-9 * (1.0 + np.abs(rise * fall))).any():
            said = f"of the classes 0 and {c} the one of larger output has the larger loss too"
            return [f"outputs: {said}; give the class of least loss the largest output."]
    return []


def _loss(plain: Plain, rows: np.ndarray, theta: np.ndarray, constants: np.ndarray) -> np.ndarray:
    """The loss (L) of rows (k, L) at theta (m, L)."""
    total = np.zeros(theta.shape[1])
    plain.add_gradient(rows, theta, constants, 1.0, total, np.zeros(theta.shape))
    return total


def _rows(model: Model, values: Values) -> np.ndarray:
    """Random rows (k, L): normal numbers, and classes where the targets are these."""
    random = np.random.default_rng(5)
    rows = random.normal(size=(model.row_length(values), _STATES))
    if model.classes is not None and (classes := model.classes(values)):
        assert model.inputs is not None
        rows[model.inputs(values) :] = random.integers(classes, size=(model.targets(values), _STATES))
    return rows
