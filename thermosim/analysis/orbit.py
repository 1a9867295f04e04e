"""The mean squared gradient along the orbit of a symmetry of a loss: its curve, its curvature, its minimum.

S(s) = E|grad l|^2 at exp(s A) theta, or at theta + s z, over minibatches of data rows. S is measured there, by the
compiled gradient of the loss at the state that was moved, and predicted from the gradients at theta alone (T1),

    S(s) = E|exp(-s A')g|^2,    least where E g'A g = 0 at that state

That both agree is a test of the symmetry and of the gradient; a loss that changes along the orbit is refused. Minimum
and balance have errors over minibatches: for other rows of the same law at the same theta.

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025); `exact.symmetry_orbits`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy import optimize

from thermosim.analysis.estimates import put
from thermosim.analysis.machine import Machine, machines
from thermosim.exact import symmetry_orbits as theory
from thermosim.kernels.evaluate import Evaluator
from thermosim.model import Model, Symmetry

__all__ = ["Flow", "flow_of", "orbit", "orbit_of_loss"]

_INVARIANT = 1e-8  # the part of a gradient along the orbit that is rounding
_ROUNDING = 1e-14  # of S, relative
_FRESH_ROWS = 4096
_CONDITION = "over minibatches of independent rows"
Direction = str | Symmetry | np.ndarray | Sequence[Any]


def orbit(
    ds: xr.Dataset,
    symmetry: Direction,
    along: Sequence[float] | np.ndarray,
    *,
    generator: int = 0,
    replica: int = 0,
    frame: int = -1,
    rows: int | np.ndarray | None = None,
    batch: int = 1,
) -> xr.Dataset:
    """`orbit_of_loss` at a recorded theta of one replica, by number, and one frame, at one point of a sweep.

    rows: the replica's data set, or of fresh rows so many of their law (4096); or rows (K, n) of your own. Raises
    ValueError as `orbit_of_loss` does, for a sweep of several points, and where theta was not recorded.
    """
    everyone = machines(ds)
    if len(everyone) > 1:
        raise ValueError("a sweep has several points: select one of each axis, as in ds.isel(learning_rate=0)")
    machine = everyone[0]
    theta = machine.theta(frame)[replica]
    of_rows = rows if isinstance(rows, np.ndarray) else _rows(machine, replica, rows)
    return orbit_of_loss(
        machine.model, machine.constants, theta, of_rows, symmetry, along, generator=generator, batch=batch
    )


def orbit_of_loss(
    model: Model,
    constants: Mapping[str, Any],
    theta: np.ndarray,
    rows: np.ndarray,
    symmetry: Direction,
    along: Sequence[float] | np.ndarray,
    *,
    generator: int = 0,
    batch: int = 1,
) -> xr.Dataset:
    """The mean squared gradient of a loss at theta (m,) moved along a symmetry, over rows (K, n): dims along, from s.

    symmetry: the name of one that the model declares, a `Symmetry`, or A itself, a matrix (m, m) or a diagonal (m,);
    generator: which of several. along: increasing s, at least 3. batch: rows of a minibatch; K/batch minibatches are
    made of the rows in order.

    mean_square_gradient is S at the moved theta, predicted that from the gradients at theta, curvature their second
    divided difference (NaN at the ends), each over minibatches. minimum is the s of the least S by theory, with
    the error of E g'A g = 0 (infinite where S falls for ever, NaN where it is flat, or A does not commute with A'),
    measured_minimum that of S at moved states, found without theory; balance is E g'A g at theta. loss is its mean over
    rows. Attributes: non_invariance, the part of the gradient along the orbit; symmetry.

    Raises ValueError for a loss that is not the same along the orbit, saying by how much; a model that is no loss;
    shapes that do not fit; a theta that the symmetry does not move; fewer than 2 minibatches.
    """
    if not model.is_loss:
        raise ValueError(f"model {model.name!r} is no loss of theta and a data row")
    machine = _Loss(Evaluator(model, constants), _checked_rows(model, constants, rows), batch)
    theta, along = np.asarray(theta, float), _checked_grid(along)
    flow = flow_of(model, constants, symmetry, generator, len(theta))
    loss, gradients = machine.at(theta)
    found = xr.Dataset(coords={"along": ("along", along, {"long_name": "place s on the orbit", "units": "1"})})
    found.attrs = {"symmetry": flow.name, "non_invariance": _require_invariance(flow, theta, gradients)}
    losses, each = zip(*(machine.at(moved) for moved in flow.path(theta, along)), strict=True)
    _require_same_loss(loss, np.stack(losses), along, flow)
    squares = np.stack([(g**2).sum(-1) for g in each])
    _put_curves(found, along, np.stack(losses), squares, theory.square_along(gradients, flow.matrix, along))
    _put_minimum(found, machine, flow, theta, gradients)
    return found


@dataclass(frozen=True)
class Flow:
    """theta -> exp(s A) theta, or theta + s z with A = 0."""

    name: str
    matrix: np.ndarray  # A (m, m) or its diagonal (m,)
    shift: np.ndarray | None = None

    def path(self, theta: np.ndarray, along: np.ndarray) -> np.ndarray:
        if self.shift is not None:
            return np.asarray(theta + np.multiply.outer(along, self.shift))
        return theory.moved(theta, self.matrix, along)

    def tangent(self, theta: np.ndarray) -> np.ndarray:
        if self.shift is not None:
            return self.shift
        return self.matrix * theta if self.matrix.ndim == 1 else self.matrix @ theta


@dataclass(frozen=True)
class _Loss:
    """A loss over rows (K, n), in minibatches."""

    evaluator: Evaluator
    rows: np.ndarray
    batch: int

    def at(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The loss of each minibatch (K/B,) and its gradient (K/B, m)."""
        groups = self.rows[: len(self.rows) // self.batch * self.batch].reshape(-1, self.batch, self.rows.shape[1])
        return self.evaluator.data_gradient(groups, np.repeat(theta[None], len(groups), axis=0))


def flow_of(model: Model, constants: Mapping[str, Any], symmetry: Direction, number: int, m: int) -> Flow:
    """The flow of a symmetry as `orbit_of_loss` takes it, for m parameters.

    Raises ValueError for a name that is unknown, and for shapes that do not fit.
    """
    if isinstance(symmetry, str):
        known = {one.name: one for one in model.symmetries}
        if symmetry not in known:
            raise ValueError(f"model {model.name!r} has no symmetry {symmetry!r}; it has {', '.join(known) or 'none'}")
        symmetry = known[symmetry]
    if isinstance(symmetry, Symmetry):
        many = symmetry.generators(constants)
        if not 0 <= number < many.shape[0]:
            raise ValueError(
                f"the symmetry {symmetry.name!r} has {many.shape[0]} generators here, none of number {number}"
            )
        one = (many[[number]].toarray() if hasattr(many, "toarray") else np.asarray(many)[[number]])[0]
        still = np.zeros(len(one))
        return Flow(symmetry.name, still, one) if symmetry.translation else Flow(symmetry.name, one)
    matrix = np.asarray(symmetry, float)
    if matrix.shape not in ((m,), (m, m)) or not np.isfinite(matrix).all():
        raise ValueError(f"a generator of shape {matrix.shape}: expected finite numbers, a matrix ({m}, {m}) or ({m},)")
    return Flow("given", matrix)


def _require_invariance(flow: Flow, theta: np.ndarray, gradients: np.ndarray) -> float:
    """The root mean square of the gradient along the orbit, of that of all. Raises ValueError where it is not 0."""
    if len(gradients) < 2:
        raise ValueError("errors are over minibatches: at least two are needed")
    tangent = flow.tangent(theta)
    if not np.any(tangent):
        raise ValueError("the symmetry does not move this theta: its orbit is one point")
    size = np.linalg.norm(gradients) * np.linalg.norm(tangent)
    if not np.isfinite(size) or size == 0.0:
        raise ValueError("the gradient is 0, or not finite, in every row: there is nothing to see along an orbit")
    part = float(np.linalg.norm(gradients @ tangent) / size)
    if part > _INVARIANT:
        raise ValueError(
            f"the loss is not the same along this orbit: {part:.2g} of the gradient points along it, where a symmetry "
            "has 0; check the generator and the order of parameters in theta"
        )
    return part


def _require_same_loss(loss: np.ndarray, losses: np.ndarray, along: np.ndarray, flow: Flow) -> None:
    """Raises ValueError where the loss of a row changes farther along the orbit."""
    size = np.abs(loss).mean() + np.abs(losses).mean(1)
    change = np.abs(losses - loss).max(1) / np.where(size > 0.0, size, 1.0)
    worst = int(np.argmax(np.where(np.isfinite(change), change, np.inf)))
    if not change[worst] <= _INVARIANT * max(1.0, float(np.abs(losses).max() / size[worst])):
        raise ValueError(
            f"the loss is not the same along this orbit: at s = {along[worst]:.3g} that of a row is another by "
            f"{change[worst]:.2g} of the mean; check the generator, or move less far"
        )


def _put_curves(
    found: xr.Dataset, along: np.ndarray, losses: np.ndarray, squares: np.ndarray, predicted: np.ndarray
) -> None:
    """S, what is predicted, and the curvature, of each minibatch (L, N)."""
    low, high = np.diff(along)[:-1, None], np.diff(along)[1:, None]
    slopes = np.diff(squares, axis=0) / np.diff(along)[:, None]
    curved = np.full(squares.shape, np.nan)
    curved[1:-1] = 2.0 * np.diff(slopes, axis=0) / (low + high)
    for name, values, units, words in (
        ("mean_square_gradient", squares, "energy^2", "mean squared gradient at the moved state"),
        ("predicted", predicted, "energy^2", "mean squared gradient from gradients at s = 0"),
        ("curvature", curved, "energy^2", "second divided difference of the mean squared gradient"),
        ("loss", losses, "energy", "mean loss at the moved state"),
    ):
        error = values.std(1, ddof=1) / np.sqrt(values.shape[1])
        if name == "curvature":  # of a flat curve: rounding of S over two steps of the grid
            error = np.hypot(error, _ROUNDING * squares.mean() / np.diff(along).min() ** 2)
        put(found, name, xr.DataArray(values.mean(1), dims="along"), error, units, words, _CONDITION)


def _put_minimum(found: xr.Dataset, machine: _Loss, flow: Flow, theta: np.ndarray, gradients: np.ndarray) -> None:
    """Where S is least, by theory and by a search among moved states, and the balance at s = 0."""
    slope = theory.slope_along(gradients, flow.matrix)
    count = np.sqrt(len(slope))
    words = "balance E g'A g at s = 0"
    put(
        found,
        "balance",
        xr.DataArray(-0.5 * slope.mean()),
        0.5 * slope.std(ddof=1) / count,
        "energy^2",
        words,
        _CONDITION,
    )
    least = theory.least_along(gradients, flow.matrix) if theory.is_normal(flow.matrix) else np.nan
    error = measured = np.nan
    if np.isfinite(least):
        slopes = theory.slope_along(gradients, flow.matrix, least)
        curvature = theory.curvature_along(gradients, flow.matrix, least).mean()
        error = float(slopes.std(ddof=1) / count / curvature)
        measured = _search(machine, flow, theta)
    put(found, "minimum", xr.DataArray(least), error, "1", "place of the least mean squared gradient", _CONDITION)
    found["measured_minimum"] = xr.DataArray(
        measured, attrs={"units": "1", "long_name": "the same, by a search among moved states", "condition": _CONDITION}
    )


def _search(machine: _Loss, flow: Flow, theta: np.ndarray) -> float:
    """The s of the least S among moved states, by Brent's search from s = 0."""

    def square(s: float) -> float:
        moved = flow.path(theta, np.array([s]))[0]
        return float(np.log((machine.at(moved)[1] ** 2).sum(-1).mean()))

    return float(optimize.minimize_scalar(square, bracket=(-0.1, 0.1), tol=1e-7).x)


def _rows(machine: Machine, replica: int, count: int | None) -> np.ndarray:
    """Rows that a replica learned from, or so many fresh ones of their law. Raises ValueError, DataError."""
    section = machine.settings.data
    if section is None or not section.fresh:
        rows = machine.data.of_set(int(machine.data_set()[replica]))
        return rows if count is None else rows[:count]
    from thermosim.data.sources import data_of

    kept = section.model_copy(update={"fresh": False, "rows": count or _FRESH_ROWS})
    return data_of(machine.model, machine.constants, kept, machine.folder).of_set(0)


def _checked_rows(model: Model, constants: Mapping[str, Any], rows: np.ndarray) -> np.ndarray:
    """Raises ValueError for rows that the loss cannot take."""
    rows, length = np.asarray(rows, float), model.row_length(constants)
    if rows.ndim != 2 or rows.shape[1] != length or not np.isfinite(rows).all():
        raise ValueError(f"rows of shape {rows.shape}: expected finite numbers (K, {length}), inputs and then targets")
    return rows


def _checked_grid(along: Sequence[float] | np.ndarray) -> np.ndarray:
    """Raises ValueError for places that are no increasing grid."""
    grid = np.asarray(along, float)
    if grid.ndim != 1 or len(grid) < 3 or not np.isfinite(grid).all() or not (np.diff(grid) > 0.0).all():
        raise ValueError("along: expected at least 3 finite numbers that increase")
    return grid
