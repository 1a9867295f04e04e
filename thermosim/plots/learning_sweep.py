"""A learning machine along one axis of a sweep: the price of finite time, above all.

Against tau, the total work of a run is compared with that of fresh samples at every step, the sum of the divergences
sum_i KL(p_{i-1} || p_i) of the models that theta passes (S. S. Parsi, Entropy 26, 112 (2024), Eq. 51), to which it
tends as the samples get the time to relax. The dashed lines are averages over the run's own paths of theta.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.learning import learning_ledger
from thermosim.analysis.mixtures import support_size
from thermosim.analysis.partial_averages import averaged_work_and_heat
from thermosim.analysis.work import work_and_heat
from thermosim.checks.gaussian_machine import linear_machine
from thermosim.exact import learning_machine
from thermosim.exact.learning_machine import Moments
from thermosim.plots import style
from thermosim.plots.labels import label, named, of_variable, shown, temperature_of
from thermosim.plots.learning_panels import collected, exact_line, loss_label, marks
from thermosim.plots.learning_points import Point, over_sweep
from thermosim.plots.legends import legend
from thermosim.plots.maps import SweptAxis, map_of, swept_axes
from thermosim.plots.page import Draw
from thermosim.plots.style import ENTROPY, HEAT, INFORMATION, LOSS, WORK, Look

__all__ = ["panels"]

_LINES = 4  # points whose course in time is shown
_FINE = 33  # points of an exact line
_RECURSIONS = 20_000  # steps of them together
_AVERAGED = 1 << 28  # numbers of averages over all x
_REPLICAS = 512  # whose paths of theta are averaged
_INFORMED = 12  # points whose L-info is worth the time
_MAPS = 4  # of observables, beside those of work and loss
_COUNTED = {"tau", "batch"}
_NUMBERS = _COUNTED | {"learning_rate", "time_step", "weight_decay", "momentum"}  # axes that a linear machine has too
_BOOKS = {"phi", "work", "heat", "log_ratio_x"}
_FLAGS = {"status", "diverged_step"}

# name in the ledger, in the averages over paths; label, unit; look
_TOTALS = {
    "work": ("work", "mean_work", "mean total work", "energy", WORK),
    "entropy production": ("entropy_production", "mean_divergence", "mean entropy production", "nat", ENTROPY),
    "heat": ("heat", "mean_heat", "mean total heat absorbed", "energy", HEAT),
}


@dataclass(frozen=True, eq=False)
class _Line:
    """The points along one axis, at the first value of every other, and where to draw them."""

    axis: SweptAxis
    points: list[Point]
    fixed: str  # the others
    temperature: float | None  # of all points

    @property
    def name(self) -> str:
        """Of the axis."""
        return self.axis.name

    @property
    def x(self) -> np.ndarray:
        """Where the points are drawn."""
        return np.array([self.axis.places[point.index[self.name]] for point in self.points])

    @functools.cached_property
    def ledgers(self) -> list[xr.Dataset]:
        """Ledgers of the last frame."""
        return [_last(point) for point in self.points]

    @functools.cached_property
    def fresh(self) -> list[xr.Dataset | None]:
        """Averages over fresh samples on each point's paths of theta; along tau those of the last, for all."""
        if self.name == "tau":
            return [_fresh(self.points[-1])] * len(self.points)
        return [_fresh(point) for point in self.points]


def panels(ds: xr.Dataset, everything: list[Point]) -> tuple[list[Draw], list[str]]:
    """Work, entropy production and heat of the whole run, L-info and loss along the axis; work in time at some.

    Over two axes also maps, of the work, the loss and what the model observes.
    """
    line = _line(ds, everything)
    makers: list[tuple[str, Callable[[], Draw | None]]] = []
    if set(ds) >= _BOOKS:
        makers += [(name, partial(_total, line, name)) for name in _TOTALS]
        makers += [("work in time", partial(_in_time, line))]
    if line.name != "tau":
        makers += [("learned information", partial(_information, line)), ("loss", partial(_loss, line))]
    makers += [(f"map of {name}", partial(_map, ds, everything, name)) for name in _mapped(ds, everything[0])]
    return collected(makers)


def _mapped(ds: xr.Dataset, point: Point) -> list[str]:
    """Variables of which there is a map: work and loss, and the model's observables; where there are none, others."""
    own = [name for name in point.machine.model.observables if name in ds][:_MAPS]
    known = [name for name in ("work", "minibatch_loss") if name in ds] + own
    return known or [str(name) for name in ds.data_vars if "replica" in ds[name].dims and name not in _FLAGS][:1]


def _map(ds: xr.Dataset, everything: list[Point], name: str) -> Draw | None:
    """Mean over the replicas that did not diverge, in the last frame, over two axes."""

    def mean(point: Point) -> float:
        last = point.ds[name].isel(step=-1) if "step" in point.ds[name].dims else point.ds[name]
        vectors = [str(dim) for dim in last.dims if dim not in ("replica", "sample")]
        return float(last.isel(dict.fromkeys(vectors, 0)).mean())

    words = loss_label(everything[0]) if name == "minibatch_loss" else of_variable(ds, name)
    return map_of(ds, over_sweep(ds, everything, mean), words, f"step {int(ds['step'][-1])}")


def _line(ds: xr.Dataset, everything: list[Point]) -> _Line:
    swept = swept_axes(ds)
    axis = next((axis for axis in swept if axis.name == "tau"), swept[0])
    others = everything[0].index
    name = axis.name
    chosen = [point for point in everything if all(point.index[key] == others[key] for key in others if key != name)]
    fixed = named(ds, {key: value for key, value in others.items() if key != name})
    return _Line(axis, chosen, fixed, temperature_of(ds))


def _fresh(point: Point) -> xr.Dataset | None:
    """W_X, Q_X and the sum of divergences on a point's own paths of theta, or None where they take too long."""
    size = support_size(point.machine) if point.machine.model.cross_entropy is None else 1
    if "theta" not in point.ds or size == 0:
        return None
    some = point.ds.isel(replica=style.pick(point.ds.sizes["replica"], _REPLICAS))
    if size * some.sizes["replica"] * some.sizes["step"] > _AVERAGED:
        return None
    try:
        result = averaged_work_and_heat(some)
    except ValueError:
        return None
    return result if "mean_divergence" in result else None


def _total(line: _Line, quantity: str) -> Draw | None:
    """A total of the whole run along the axis, with the exact line, and that of fresh samples."""
    name, averaged, words, units, look = _TOTALS[quantity]
    if any(name not in ledger for ledger in line.ledgers):
        return None
    value = np.array([float(ledger[name]) for ledger in line.ledgers])
    error = np.array([float(ledger[f"{name}_error"]) for ledger in line.ledgers])
    exact = _exact(line, name)
    fresh = None
    if not any(result is None for result in line.fresh):
        fresh = np.array([float(result[averaged][-1]) for result in line.fresh if result is not None])

    def draw(panel: Axes) -> None:
        if fresh is not None:
            sums = averaged == "mean_divergence" or (averaged == "mean_work" and _normalised(line))
            divergences = r"$\Sigma_i\,$KL$(p_{i-1}\,|\,p_i)$"
            told = f"fresh samples, {divergences}" if sums else "fresh samples"
            known: dict[str, Any] = {} if line.name == "tau" else {"marker": ".", "ms": 4}  # at these points only
            style.theory(panel, line.x, fresh, ls="--", label=told, **known)
        if exact is not None:
            style.theory(panel, *exact, color=look.color)
        style.data(panel, line.x, value, error, look=look, label="measured")
        _along(panel, line)
        panel.set(ylabel=label(words, units, line.temperature))
        legend(panel)

    return draw


def _in_time(line: _Line) -> Draw | None:
    """Mean work since step 0 at a few points, with exact lines, and that of fresh samples."""
    chosen = [line.points[k] for k in style.pick(len(line.points), _LINES)]
    if chosen[0].ds.sizes["step"] < 3:
        return None
    fresh = line.fresh[-1] if line.name == "tau" else None
    works = [replica_mean(point.few["work"]) for point in chosen]

    left = f"{len(chosen)} of {len(line.points)} values drawn" if len(chosen) < len(line.points) else ""

    def draw(panel: Axes) -> None:
        if fresh is not None:
            work = fresh["mean_work"]
            style.theory(panel, fresh["step"], work, label="fresh samples", ls="--", color="0.2", zorder=4)
        for look, point, mean in zip(style.looks(len(chosen)), chosen, works):
            exact_line(panel, point.moments, lambda m: m.work, look, ls=look.dashes)
            marks(panel, *mean, look, shown(line.axis.values[point.index[line.name]]))
        panel.set(xlabel="step", ylabel=label("mean work since step 0", "energy", line.temperature))
        panel.set_title(", ".join(part for part in (left, line.fixed) if part), loc="right")
        legend(panel, line.axis.words)

    return draw


def _information(line: _Line) -> Draw | None:
    """L-info in the last frame along the axis."""
    if "theta" not in line.points[0].ds or len(line.points) > _INFORMED:
        return None
    results = [point.information_of(point.ds.isel(step=[-1])).isel(step=0) for point in line.points]
    value, error = (np.array([float(r[f"learned_information{end}"]) for r in results]) for end in ("", "_error"))
    valid = np.array([bool(r["valid"]) for r in results])

    def draw(panel: Axes) -> None:
        doubtful: Look = INFORMATION._replace(color=style.DOUBTFUL)
        for mask, look, words in ((valid, INFORMATION, "measured"), (~valid, doubtful, "not valid")):
            if mask.any():
                style.data(panel, line.x[mask], value[mask], error[mask], look=look, label=words)
        _along(panel, line)
        panel.set(ylabel=label(r"learned information $I(X;\Theta)$", "nat"))
        if not valid.all():
            legend(panel)

    return draw


def _loss(line: _Line) -> Draw | None:
    """Loss of the last minibatch along the axis."""
    if "minibatch_loss" not in line.points[0].ds:
        return None
    results = [replica_mean(point.ds["minibatch_loss"].isel(step=-1)) for point in line.points]
    value, error = (np.array([float(part) for part in column]) for column in zip(*results))

    def draw(panel: Axes) -> None:
        style.data(panel, line.x, value, error, look=LOSS)
        _along(panel, line)
        panel.set(ylabel=loss_label(line.points[0]))

    return draw


def _last(point: Point) -> xr.Dataset:
    """The ledger of the last frame."""
    ends = point.ds.isel(step=sorted({0, point.ds.sizes["step"] - 1}))
    quick = point.machine.model.normalised or support_size(point.machine) > 0
    return (learning_ledger if quick else work_and_heat)(ends).isel(step=-1)


def _exact(line: _Line, of: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The exact total along the axis: between the points too where the axis is a number of the linear machine."""
    first, price = line.points[0].machine, line.points[0].price_of_moments
    if price * len(line.points) > _RECURSIONS or any(point.moments is None for point in line.points):
        return None
    linear = linear_machine(first)
    if linear is None or line.name not in _NUMBERS or not line.axis.numeric or price * _FINE > _RECURSIONS:
        return line.x, np.array([_of_frames(point.moments, of) for point in line.points])
    fine = np.geomspace if line.axis.logarithmic else np.linspace
    values = np.unique([*fine(line.x.min(), line.x.max(), _FINE), *line.x])
    if line.name in _COUNTED:
        values = np.unique(values.round().astype(int))
    unit = first.settings.of_x.mobility if line.name == "time_step" else 1  # the linear machine has time in its units
    machines = [replace(linear[0], **{line.name: value * unit}) for value in values.tolist()]
    ends = [int(first.steps[0]), int(first.steps[-1])]
    return values, np.array([_of_frames(learning_machine.moments(m, linear[1], ends), of) for m in machines])


def _of_frames(moments: Moments | None, of: str) -> float:
    """A total in the last frame, as the ledger has it: of entropy production since the first one, else since step 0."""
    values = getattr(moments, of)
    return float(values[-1] - values[0] if of == "entropy_production" else values[-1])


def _normalised(line: _Line) -> bool:
    return line.points[0].machine.model.normalised


def _along(panel: Axes, line: _Line) -> None:
    """Label the axis, and say at what values of the others."""
    line.axis.along(panel)
    panel.set_title(line.fixed, loc="right")
