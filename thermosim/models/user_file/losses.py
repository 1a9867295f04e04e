"""A user's loss looked at before it is used: its gradient against finite differences, at random rows of data."""

from __future__ import annotations

import numpy as np

from thermosim.model import Model, Values
from thermosim.models.user_file.lane_rules import sum_faults, varied
from thermosim.models.user_file.plain import ModelFault, Plain, outcome
from thermosim.models.user_file.samplers import check_outputs
from thermosim.models.user_file.slopes import compared
from thermosim.models.user_file.states import thetas

__all__ = ["loss_faults"]

_STATES = 6
_CLASSES = 8  # at most, that scores are compared for


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
    return _slope_faults(plain, rows, theta) or _score_faults(plain, rows, theta, constants)


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


def _score_faults(plain: Plain, rows: np.ndarray, theta: np.ndarray, constants: np.ndarray) -> list[str]:
    """Scores of classes fall as the losses of the same row with these classes rise."""
    model, values = plain.model, plain.values
    classes = model.classes(values) if model.classes is not None else 0
    if model.scores is None:
        return []
    if not classes or model.inputs is None:
        return ["scores: are of classes, which this loss has not; remove it, or give classes."]
    inputs, count = rows[: model.inputs(values)], rows.shape[1]
    found = outcome("scores", model.scores, theta.T.copy(), inputs.T.copy(), values)
    own = check_outputs("scores", found, (count, count, classes))[np.arange(count), np.arange(count)]  # (rows, classes)
    for c in range(1, min(classes, _CLASSES)):
        first, other = (_loss(plain, np.vstack([inputs, np.full((1, count), k)]), theta, constants) for k in (0, c))
        rise, fall = other - first, own[:, 0] - own[:, c]
        if (rise * fall < -1e-9 * (1.0 + np.abs(rise * fall))).any():
            said = f"of the classes 0 and {c} the one of larger score has the larger loss too"
            return [f"scores: {said}; give the class of least loss the largest score."]
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
