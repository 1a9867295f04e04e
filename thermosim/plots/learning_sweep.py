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

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.learning import learning_ledger
from thermosim.analysis.mixtures import support_size
from thermosim.analysis.partial_averages import averaged_work_and_heat
from thermosim.analysis.settings import axes, settings
from thermosim.analysis.work import work_and_heat
from thermosim.checks.gaussian_machine import linear_machine
from thermosim.exact import learning_machine
from thermosim.exact.learning_machine import Moments
from thermosim.plots import style
from thermosim.plots.learning_panels import Draw, collected, exact_line, marks
from thermosim.plots.learning_points import Point, named
from thermosim.plots.legends import legend

__all__ = ["panels"]

_BLUE, _RED, _GREEN, _PURPLE = style.COLOURS[:4]
_LINES = 4  # points whose course in time is shown
_FINE = 33  # points of an exact line
_RECURSIONS = 20_000  # steps of them together
_AVERAGED = 1 << 28  # numbers of averages over all x
_REPLICAS = 512  # whose paths of theta are averaged
_INFORMED = 12  # points whose L-info is worth the time
_TICK = 12  # characters
_BOOKS = {"phi", "work", "heat", "log_ratio_x"}

# name in the ledger, in the exact moments, in the averages over paths; label; of the averages; colour
_TOTALS = {
    "work": ("work", "work", "mean_work", "mean total work (kT)", _BLUE),
    "entropy production": (
        "entropy_production",
        "entropy_production",
        "mean_divergence",
        "mean entropy production (nat)",
        _PURPLE,
    ),
    "heat": ("heat", "heat", "mean_heat", "mean total heat (kT)", _RED),
}


@dataclass(frozen=True, eq=False)
class _Line:
    """The points along one axis, at the first value of every other, and where to draw them."""

    name: str
    points: list[Point]
    x: np.ndarray
    ticks: list[str]  # of values that are no numbers
    fixed: str  # the others

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
    """Work, entropy production and heat of the whole run, L-info and loss along the axis; work in time at some."""
    line = _line(ds, everything)
    makers: list[tuple[str, Callable[[], Draw | None]]] = []
    if set(ds) >= _BOOKS:
        makers += [(name, partial(_total, line, name)) for name in _TOTALS]
        makers += [("work in time", partial(_in_time, line))]
    if line.name != "tau":
        makers += [("L-info", partial(_information, line)), ("loss", partial(_loss, line))]
    return collected(makers)


def _line(ds: xr.Dataset, everything: list[Point]) -> _Line:
    name = "tau" if "tau" in axes(ds) else axes(ds)[0]
    others = everything[0].index
    chosen = [point for point in everything if all(point.index[key] == others[key] for key in others if key != name)]
    swept = dict(zip(axes(ds), settings(ds).sweep.values()))[name]
    values = [swept[point.index[name]] for point in chosen]
    fixed = named(ds, {key: value for key, value in others.items() if key != name})
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return _Line(name, chosen, np.asarray(values, float), [], fixed)
    ticks = [str(value) if len(str(value)) <= _TICK else f"{k + 1}." for k, value in enumerate(values)]
    return _Line(name, chosen, np.arange(len(chosen), dtype=float), ticks, fixed)


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
    name, of, averaged, label, colour = _TOTALS[quantity]
    if any(name not in ledger for ledger in line.ledgers):
        return None
    value = np.array([float(ledger[name]) for ledger in line.ledgers])
    error = np.array([float(ledger[f"{name}_error"]) for ledger in line.ledgers])
    exact = _exact(line, of)
    fresh = None
    if not any(result is None for result in line.fresh):
        fresh = np.array([float(result[averaged][-1]) for result in line.fresh if result is not None])

    def draw(panel: Axes) -> None:
        if fresh is not None:
            sums = averaged == "mean_divergence" or (averaged == "mean_work" and _normalised(line))
            words = r"$\Sigma_i\,$KL$(p_{i-1}\,|\,p_i)$"
            style.theory(panel, line.x, fresh, ls="--", label=f"fresh samples, {words}" if sums else "fresh samples")
        if exact is not None:
            style.theory(panel, *exact, color=colour, label="exact")
        style.data(panel, line.x, value, error, color=colour, label="measured")
        _along(panel, line)
        panel.set(ylabel=label)
        legend(panel)

    return draw


def _in_time(line: _Line) -> Draw | None:
    """Mean work since step 0 at a few points, with exact lines, and that of fresh samples."""
    chosen = [line.points[k] for k in style.pick(len(line.points), _LINES)]
    if chosen[0].ds.sizes["step"] < 3:
        return None
    fresh = line.fresh[-1] if line.name == "tau" else None
    works = [replica_mean(point.few["work"]) for point in chosen]

    def draw(panel: Axes) -> None:
        if fresh is not None:
            style.theory(
                panel, fresh["step"], fresh["mean_work"], ls="--", label="fresh samples", color="0.2", zorder=4
            )
        for colour, point, work in zip(style.sequence(len(chosen)), chosen, works):
            exact_line(panel, point.moments, lambda m: m.work, colour)
            marks(panel, *work, colour, point.label)
        panel.set(xlabel="step", ylabel="mean work since step 0 (kT)")
        legend(panel)

    return draw


def _information(line: _Line) -> Draw | None:
    """L-info in the last frame along the axis."""
    if "theta" not in line.points[0].ds or len(line.points) > _INFORMED:
        return None
    results = [point.information_of(point.ds.isel(step=[-1])).isel(step=0) for point in line.points]
    value, error = (np.array([float(r[f"learned_information{end}"]) for r in results]) for end in ("", "_error"))
    valid = np.array([bool(r["valid"]) for r in results])

    def draw(panel: Axes) -> None:
        for mask, colour, label in ((valid, _GREEN, "densities"), (~valid, "0.7", "not valid")):
            if mask.any():
                style.data(panel, line.x[mask], value[mask], error[mask], color=colour, label=label)
        _along(panel, line)
        panel.set(ylabel=r"L-info $I(X;\Theta)$ (nat)")
        legend(panel)

    return draw


def _loss(line: _Line) -> Draw | None:
    """Loss of the last minibatch along the axis."""
    if "minibatch_loss" not in line.points[0].ds:
        return None
    results = [replica_mean(point.ds["minibatch_loss"].isel(step=-1)) for point in line.points]
    value, error = (np.array([float(part) for part in column]) for column in zip(*results))

    def draw(panel: Axes) -> None:
        style.data(panel, line.x, value, error, color=_BLUE)
        _along(panel, line)
        panel.set(ylabel="mean loss of the last minibatch")

    return draw


def _last(point: Point) -> xr.Dataset:
    """The ledger of the last frame."""
    ends = point.ds.isel(step=sorted({0, point.ds.sizes["step"] - 1}))
    quick = point.machine.model.normalised or support_size(point.machine) > 0
    return (learning_ledger if quick else work_and_heat)(ends).isel(step=-1)


def _exact(line: _Line, of: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The exact total along the axis: on a finer grid of tau, else at the points."""
    first = line.points[0].machine
    steps = int(first.settings.run.steps)
    if steps * len(line.points) > _RECURSIONS or any(point.moments is None for point in line.points):
        return None
    if line.name == "tau" and steps * _FINE <= _RECURSIONS:
        linear = linear_machine(first)
        assert linear is not None
        taus = np.unique(np.geomspace(line.x.min(), line.x.max(), _FINE).round().astype(int))
        machines = [replace(linear[0], tau=int(tau)) for tau in taus]
        ends = [int(first.steps[0]), int(first.steps[-1])]
        return taus, np.array([_of_frames(learning_machine.moments(m, linear[1], ends), of) for m in machines])
    return line.x, np.array([_of_frames(point.moments, of) for point in line.points])


def _of_frames(moments: Moments | None, of: str) -> float:
    """A total in the last frame, as the ledger has it: of entropy production since the first one, else since step 0."""
    values = getattr(moments, of)
    return float(values[-1] - values[0] if of == "entropy_production" else values[-1])


def _normalised(line: _Line) -> bool:
    return line.points[0].machine.model.normalised


def _along(panel: Axes, line: _Line) -> None:
    """Label the axis, with a logarithmic scale where its numbers span one."""
    symbol = r"moves per step $\tau$" if line.name == "tau" else line.name.replace("_", " ")
    panel.set(xlabel=symbol)
    if line.fixed:
        panel.set_title(line.fixed, loc="right")
    if line.ticks:
        panel.set_xticks(line.x, line.ticks)
    elif np.all(line.x > 0.0) and line.x.max() > 4.0 * line.x.min():
        style.log_ticks(panel, "x")
