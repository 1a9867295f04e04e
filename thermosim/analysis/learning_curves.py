"""What was learned along a run of a loss: loss and accuracy at frames, on the rows learned from and on rows held out.

    loss       L(theta) = mean over rows of l(theta; row)
    accuracy   share of rows whose class y is the one of least loss, y = argmin_c l(theta; inputs, c)
    gap        L over the rows held out (`data.test`) less L over the rows learned from

Of a cross-entropy, l = -ln p_y, the class of least loss is that of the largest p. Of k classes that share the least
loss each counts 1/k, so that a network that does not see its inputs has the accuracy of chance.

Errors are over independent replicas, on the rows as they are. Other rows would make another difference, the same for
all replicas: X_error_of_rows is the standard error over the rows held out of the mean over replicas, as for independent
rows.

Source: C. M. Bishop, Pattern Recognition and Machine Learning (2006), ch. 1.5 for decisions, 4.3 for the losses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put_mean
from thermosim.analysis.machine import Machine, machines

__all__ = ["learning_curves"]

_CHUNK = 1 << 22  # numbers held at a time


@dataclass(frozen=True, eq=False)
class _Curves:
    """Of one point of a sweep: loss and accuracy (F, R), and their errors over rows (F,)."""

    loss: np.ndarray
    accuracy: np.ndarray
    loss_of_rows: np.ndarray
    accuracy_of_rows: np.ndarray


@of_survivors
def learning_curves(ds: xr.Dataset) -> xr.Dataset:
    """Loss and accuracy of every recorded frame of theta: dims step, axes of the sweep.

    loss, accuracy over all rows that a replica learned from, absent with fresh rows; test_loss, test_accuracy over
    those of `data.test`, with X_error_of_rows, and generalisation_gap; accuracies only of losses whose targets are
    classes. X_error is over replicas; X_of_replica has dims step, axes, replica. Attributes: rows, test_rows (numbers
    of them). It takes a gradient of every row at every frame, one for each class where the model has no `outputs`:
    select frames with ds.isel(step=...).

    Raises ValueError where the model is no loss, theta is not recorded, or there are neither rows nor test rows;
    DataError where the rows are not to be had.
    """
    points = machines(ds)
    if points[0].model.no_potential:
        raise ValueError(points[0].model.no_potential)
    if not points[0].model.is_loss:
        raise ValueError(f"model {points[0].model.name!r} is no loss of inputs and targets, which have learning curves")
    if any(point.settings.data is None for point in points):
        raise ValueError("the ensemble learned from no data: its case has no [data]")
    fresh = any(point.settings.data is not None and point.settings.data.fresh for point in points)
    tested = all(point.settings.data is not None and point.settings.data.test is not None for point in points)
    if fresh and not tested:
        raise ValueError("rows were fresh and none is kept: run with data.test = 1000 to draw as many to test with")
    result = xr.Dataset(attrs={"method": "all rows, at every frame"})
    learned = [] if fresh else [_learned(point) for point in points]
    held_out = [_held_out(point) for point in points] if tested else []
    if learned:
        _put(result, ds, learned, "", "the rows learned from", points)
        result.attrs["rows"] = points[0].data.rows
    if held_out:
        _put(result, ds, held_out, "test_", "rows held out", points)
        result.attrs["test_rows"] = len(_rows_of_test(points[0]))
    if learned and held_out:
        gap = [test.loss - own.loss for test, own in zip(held_out, learned, strict=True)]
        told = "loss on rows held out less that on the rows learned from"
        put_mean(result, "generalisation_gap", _over(ds, gap), "energy", told, "of these rows")
    return result


def _put(
    result: xr.Dataset, ds: xr.Dataset, curves: list[_Curves], prefix: str, where: str, points: list[Machine]
) -> None:
    """Add loss, and accuracy where there are classes."""
    kinds = (("loss", "energy", "mean loss"), ("accuracy", "1", "share of right classes"))
    for name, units, told in kinds if all(map(_classes, points)) else kinds[:1]:
        each = _over(ds, [getattr(one, name) for one in curves])
        told, name = f"{told} on {where}", f"{prefix}{name}"
        put_mean(result, name, each, units, told, "of these rows, over replicas")
        result[f"{name}_of_replica"] = each.assign_attrs(units=units, long_name=f"{told}, of a replica")
        if prefix:
            of_rows = gathered(ds, [getattr(one, f"{name.removeprefix(prefix)}_of_rows") for one in curves], ("step",))
            about = {"units": units, "long_name": f"standard error by the choice of rows: {told}"}
            result[f"{name}_error_of_rows"] = of_rows.assign_attrs(about)


def _over(ds: xr.Dataset, values: list[np.ndarray]) -> xr.DataArray:
    return gathered(ds, values, ("step", "replica"))


def _classes(machine: Machine) -> int:
    model = machine.model
    return 0 if model.classes is None else int(model.classes(machine.constants))


def _learned(machine: Machine) -> _Curves:
    """On the data set of each replica."""
    sets = machine.data_set()
    shape = len(machine.steps), len(sets)
    loss, accuracy = np.empty(shape), np.empty(shape)
    nothing = np.full(shape[0], np.nan)
    for frame in range(shape[0]):
        theta = machine.theta(frame)
        for number in np.unique(sets):
            mine = sets == number
            loss[frame, mine], accuracy[frame, mine], *_ = _means(
                machine, machine.data.of_set(int(number)), theta[mine]
            )
    return _Curves(loss, accuracy, nothing, nothing)


def _held_out(machine: Machine) -> _Curves:
    """On the rows of data.test, which are the same for all."""
    rows = _rows_of_test(machine)
    frames = [_means(machine, rows, machine.theta(frame)) for frame in range(len(machine.steps))]
    return _Curves(*(np.stack(values) for values in zip(*frames, strict=True)))


def _rows_of_test(machine: Machine) -> np.ndarray:
    rows = machine.test_rows
    assert rows is not None
    return rows


def _means(machine: Machine, rows: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Loss and accuracy (R,) of theta (R, m), and the errors over rows of their means over replicas."""
    totals, means = np.zeros((2, len(theta))), np.empty((2, len(rows)))
    each_takes = max(1, _classes(machine), machine.model.scratch_rows(machine.constants))
    size = max(1, _CHUNK // (len(theta) * each_takes))
    for first in range(0, len(rows), size):
        part = slice(first, first + size)
        each = np.stack(_of_rows(machine, rows[part], theta))  # (2, R, rows)
        totals += each.sum(2)
        means[:, part] = each.mean(1)
    error = means.std(1, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.full(2, np.nan)
    return totals[0] / len(rows), totals[1] / len(rows), float(error[0]), float(error[1])


def _of_rows(machine: Machine, rows: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loss of every row (K, n) for every theta (R, m), and whether its class is that of least loss: (R, K) both."""
    model, classes = machine.model, _classes(machine)
    if model.outputs is None or not classes:
        return machine.evaluator.row_losses(rows, theta, classes)
    loss, _ = machine.evaluator.row_losses(rows, theta)
    outputs = model.outputs(theta, machine.constants, rows[:, :-1])
    best = outputs == outputs.max(-1, keepdims=True)
    own = np.take_along_axis(best, rows[None, :, -1:].astype(np.int64), 2)[..., 0]
    return loss, own / best.sum(-1)
