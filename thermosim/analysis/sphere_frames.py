"""Reading an ensemble of scale-invariant SGD: what each cell of the sweep was run with, and its settled frames.

An ensemble of fewer than eight replicas is cut in time blocks, which then count as replicas; they must be long against
the relaxation time. Errors are standard errors from independent replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.replicas import examine
from thermosim.analysis.settings import axes, setting, settings
from thermosim.exact import ideal_gas

__all__ = [
    "FEWEST_REPLICAS",
    "SETTLING",
    "Cells",
    "Frames",
    "cells",
    "frames",
    "jackknife",
    "jackknife_moments",
    "mean_of_finite",
]

FEWEST_REPLICAS = 8
SETTLING = 10.0  # relaxation times left out at the start


@dataclass(frozen=True)
class Cells:
    """What the cells of the sweep were run with: arrays over the sweep axes (shape () without a sweep)."""

    protocol: str
    dimension: int
    names: tuple[str, ...]
    coords: Mapping[str, Any]
    noise: np.ndarray
    learning_rate: np.ndarray
    weight_decay: np.ndarray
    radius: np.ndarray

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Arguments of the functions of `exact.ideal_gas` and `exact.sphere_chain`."""
        return self.protocol, self.dimension, self.noise, self.learning_rate, self.weight_decay, self.radius

    @property
    def gas(self) -> ideal_gas.IdealGas:
        """Theory to leading order in the step."""
        return ideal_gas.state(*self.arguments)

    def dataset(
        self,
        values: Mapping[str, tuple[np.ndarray, ...]],
        about: Mapping[str, tuple[str, str, str]] | None = None,
        degrees_of_freedom: Mapping[str, int] | int = 0,
        **attrs: Any,
    ) -> xr.Dataset:
        """name -> (estimate, error[, skewness]), arrays over the axes, as variables name, name_error, name_skewness.

        `about` gives units, long name and equation of each name; degrees_of_freedom are those of the errors.
        """
        result = xr.Dataset(coords={name: self.coords[name] for name in self.names}, attrs=attrs)
        for name, (value, error, *skewness) in values.items():
            units, long_name, equation = (about or {}).get(name, ("1", name.replace("_", " "), ""))
            said = {"units": units, "long_name": long_name, "equation": equation}
            result[name] = (self.names, np.asarray(value), said)
            freedom = degrees_of_freedom if isinstance(degrees_of_freedom, int) else degrees_of_freedom[name]
            said["long_name"] = f"error of {long_name}"
            result[f"{name}_error"] = (self.names, np.asarray(error), said | {"degrees_of_freedom": float(freedom)})
            if skewness:
                what = {"units": "1", "long_name": f"skewness of the estimate of {long_name}"}
                result[f"{name}_skewness"] = (self.names, np.asarray(skewness[0]), what)
        return result


def cells(ds: xr.Dataset) -> Cells:
    """The cells of an ensemble. Raises ValueError where a hyper-parameter is a schedule: nothing is stationary then."""
    examine(ds)
    case, names = settings(ds), tuple(axes(ds))
    shape = tuple(ds.sizes[name] for name in names)
    grid = xr.DataArray(np.zeros(shape), dims=names, coords={name: ds[name] for name in names})

    def spread(key: str, default: float) -> np.ndarray:
        value = setting(ds, key)
        value = default if value is None else value
        if isinstance(value, Mapping):
            raise ValueError(f"{key} is a schedule; the ideal-gas analysis needs a constant")
        return (grid + value).transpose(*names).to_numpy()

    return Cells(
        protocol=str(case.theta.constraint),
        dimension=int(case.model.constants["dimension"]),
        names=names,
        coords={name: ds[name] for name in names},
        noise=spread("model.noise", 1.0),
        learning_rate=spread("theta.learning_rate", np.nan),
        weight_decay=spread("theta.weight_decay", 0.0),
        radius=spread("theta.radius", 1.0),
    )


@dataclass(frozen=True)
class Frames:
    """The settled part of a record. Arrays (frames, axes..., replica); theta has the components last."""

    cells: Cells
    step: np.ndarray
    loss: np.ndarray
    log_square: np.ndarray  # ln r^2
    sums: Mapping[str, np.ndarray]  # loss_sum, gradient_square, stretch: cumulative
    direction: np.ndarray | None

    @property
    def replicas(self) -> int:
        """Number of independent replicas (or time blocks)."""
        return self.loss.shape[-1]

    def per_step(self, name: str, begin: int = 0, end: int = -1) -> np.ndarray:
        """Mean over the steps between two frames: (axes..., replica)."""
        if len(self.step) == 1:
            return self.sums[name][0] / self.step[0]
        return (self.sums[name][end] - self.sums[name][begin]) / (self.step[end] - self.step[begin])


def frames(ds: xr.Dataset, *, settle: bool = True) -> Frames:
    """Read an ensemble; with `settle`, without its first SETTLING relaxation times (but never less than half of it).

    Relaxation is that of the direction for runs begun at "stationary", and that of the radius too for others.
    """
    there = cells(ds)
    order = ("step", *there.names, "replica")
    theta = ds["theta"].transpose(*order, "theta_dim").to_numpy() if "theta" in ds else None
    sums = {name: _plain(ds, name, order) for name in ("loss_sum", "gradient_square", "stretch") if name in ds}
    direction = None
    if theta is not None:
        radius = np.linalg.norm(theta, axis=-1)
        direction = theta / radius[..., None]
        mu = np.asarray(settings(ds).model.constants["direction"], float)
        loss = 1.0 + direction @ (mu / np.linalg.norm(mu))
    else:
        loss = _plain(ds, "loss", order)
        if there.protocol == "fixed-sphere":  # where the radius is a setting, and may be an axis
            radius = np.broadcast_to(there.radius[..., None], loss.shape)
        else:
            radius = _plain(ds, "radius", order)
    result = Frames(there, ds["step"].to_numpy(), loss, 2 * np.log(radius), sums, direction)
    first = 0
    if settle and len(result.step) > 2:
        first = int(np.searchsorted(result.step, SETTLING * _relaxation(ds, there)))
        first = min(first, (len(result.step) - 1) // 2)
    return _blocks(_cut(result, slice(first, None)))


def _plain(ds: xr.Dataset, name: str, order: tuple[str, ...]) -> np.ndarray:
    return ds[name].transpose(*order).to_numpy()


def _relaxation(ds: xr.Dataset, there: Cells) -> float:
    slowest = 1.0 / there.gas.effective_learning_rate
    if settings(ds).theta.initial != "stationary" and there.protocol != "fixed-sphere":
        slowest = np.maximum(slowest, 1.0 / ideal_gas.radius_relaxation_rate(*there.arguments[:-1]))
    return float(np.max(slowest))


def _cut(record: Frames, chosen: slice) -> Frames:
    return Frames(
        record.cells,
        record.step[chosen],
        record.loss[chosen],
        record.log_square[chosen],
        {name: value[chosen] for name, value in record.sums.items()},
        None if record.direction is None else record.direction[chosen],
    )


def _blocks(record: Frames) -> Frames:
    """Time blocks as replicas, when there are too few of them and the frames are evenly spaced."""
    spacing = np.diff(record.step)
    count = -(-2 * FEWEST_REPLICAS // record.replicas)
    length = (len(record.step) - 1) // count
    if record.replicas >= FEWEST_REPLICAS or length < 2 or np.any(spacing != spacing[0]):
        return record
    parts = [_cut(record, slice(k * length, (k + 1) * length + 1)) for k in range(count)]
    axis = record.loss.ndim - 1

    def join(pick: Callable[[Frames], np.ndarray]) -> np.ndarray:
        return np.concatenate([pick(part) for part in parts], axis)

    return Frames(
        record.cells,
        parts[0].step,
        join(lambda f: f.loss),
        join(lambda f: f.log_square),
        {name: join(lambda f, name=name: f.sums[name]) for name in record.sums},  # type: ignore[misc]
        None if record.direction is None else join(lambda f: f.direction),  # type: ignore[arg-type,return-value]
    )


def jackknife(
    values: Mapping[str, np.ndarray],
    function: Callable[[dict[str, np.ndarray]], np.ndarray],
    unbiased: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """A function of means over replicas (last axis) and its standard error; replicas that are not finite are left out.

    The function must broadcast: it is called with means (axes...) and with delete-one means (replica, axes...).
    unbiased: without its bias of order 1/R, which the jackknife knows.
    """
    return jackknife_moments(values, function, unbiased)[:2]


def jackknife_moments(
    values: Mapping[str, np.ndarray],
    function: Callable[[dict[str, np.ndarray]], np.ndarray],
    unbiased: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with the skewness of the estimate, to leading order in 1/replicas."""
    front = {name: np.moveaxis(value, -1, 0) for name, value in values.items()}
    valid = np.all([np.isfinite(v) for v in front.values()], axis=0)
    count = valid.sum(0)
    totals = {name: np.where(valid, v, 0.0).sum(0) for name, v in front.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.asarray(function({name: total / count for name, total in totals.items()}))
        left = np.broadcast_to(function({n: (totals[n] - front[n]) / (count - 1.0) for n in front}), valid.shape)
        center = np.where(valid, left, 0.0).sum(0) / count
        deviation = np.where(valid, center - left, 0.0)  # a replica that raises the estimate lowers what is left
        square = (deviation**2).sum(0)
        skewness = np.where(square > 0.0, (deviation**3).sum(0) / square**1.5, 0.0)
        if unbiased:
            estimate = estimate - (count - 1) * (center - estimate)
        return np.broadcast_to(estimate, count.shape) + 0.0, np.sqrt((count - 1) / count * square), skewness


def mean_of_finite(values: np.ndarray, axis: int | tuple[int, ...] = -1, keepdims: bool = False) -> np.ndarray:
    """Mean of what is finite, NaN where nothing is."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        total = np.where(finite, values, 0.0).sum(axis=axis, keepdims=keepdims)
        return np.asarray(total / finite.sum(axis=axis, keepdims=keepdims))
