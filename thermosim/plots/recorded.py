"""Any recorded variable of any model: its course in time, its distribution, and the map over two axes of a sweep.

What is drawn of a model that has no picture of its own, of an ensemble that lacks what that picture needs, and of any
variable that is asked for by name.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis import work
from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.settings import axes, settings
from thermosim.model import Model
from thermosim.plots import style
from thermosim.plots.energies import histogram, ledger, replicas
from thermosim.plots.labels import label, named, of_variable, shown, wrapped
from thermosim.plots.legends import legend
from thermosim.plots.maps import SweptAxis, map_of, swept_axes
from thermosim.plots.page import Draw, page
from thermosim.plots.style import OTHER, Look

__all__ = ["any_model", "drawable", "variable"]

_PANELS = 8
_CURVES = 5  # points of a sweep
_COMPONENTS = 3
_DISCRETE = 12  # different values, at most, that are shown one by one
_NOT_DRAWN = {"status", "diverged_step", "outside"}


def drawable(ds: xr.Dataset) -> list[str]:
    """Variables that have a picture: numbers of replicas or cohorts."""
    names = [str(name) for name in ds.data_vars if name not in _NOT_DRAWN and not str(name).endswith("_outside")]
    return [name for name in names if ds[name].dtype.kind in "fiub" and {"replica", "cohort"} & set(ds[name].dims)]


def variable(ds: xr.Dataset, name: str) -> Figure:
    """Everything there is to see of one variable."""
    with style.style():
        return page(_title(ds), _panels(ds, name), _notes(ds), _over(ds))


def any_model(ds: xr.Dataset, model: Model) -> Figure | None:
    """The ledger, what the user observes, and other variables as there is room; None where nothing can be drawn."""
    names = drawable(ds)
    own = [name for name in (*model.observables, *(one.name for one in model.rows)) if name in names]
    books = [name for name in ("work", "heat", "phi") if name in names]
    whole = len(books) == 3 and ds.sizes.get("step", 1) > 1
    rest = [name for name in names if name not in own and not (whole and name in books)]
    order = (
        own
        + sorted(rest, key=lambda name: "loss" not in name)
        + (books if whole and ds.sizes.get("replica", 2) > 1 else [])
    )
    draws: list[Draw] = []
    with style.style():
        if whole and ds["work"].dims[-1] == "replica":
            first = dict.fromkeys(axes(ds), 0)
            draws.append(ledger(ds.isel(first), float(work.first_law_residual(ds).max()), named(ds, first)))
        for name in order:
            more = _panels(ds, name)
            if len(draws) + len(more) > _PANELS:
                break
            draws += more
        return page(_title(ds), draws, _notes(ds), _over(ds)) if draws else None


def _title(ds: xr.Dataset) -> str:
    resolved = settings(ds)
    return resolved.title or str(resolved.model.name)


def _over(ds: xr.Dataset) -> str:
    return replicas(ds) if "replica" in ds.sizes else "cohorts of replicas"


def _notes(ds: xr.Dataset) -> list[str]:
    return ["One replica: its own values, without bands."] if ds.sizes.get("replica", 1) < 2 else []


def _panels(ds: xr.Dataset, name: str) -> list[Draw]:
    """What there is to see of a variable: a few panels."""
    values, words = ds[name], of_variable(ds, name)
    if name.endswith("_histogram"):
        return [_stored_histogram(ds, name)]
    components = _components(values)
    swept = [axis for axis in swept_axes(ds) if axis.name in values.dims]
    if not swept:
        names = [_index(one) for one in components] if len(components) > 1 else [""]
        first = f"{words}, {names[0]}" if names[0] else words
        draws = [_course([_of(values, one) for one in components], words, names)]
        return [draw for draw in (*draws, _distribution(_of(values, components[0]), first)) if draw is not None]
    one = _of(values, components[0])
    words = f"{words}, {_index(components[0])}" if len(components) > 1 else words
    main = swept[0]
    rest = {axis.name: 0 for axis in swept[1:]}
    line = one.isel(rest)
    fixed = named(ds, rest)
    chosen = style.pick(len(main.values), _CURVES)
    curves = [line.isel({main.name: k}) for k in chosen]
    told = f"{len(chosen)} of {len(main.values)} values drawn"
    told = ", ".join(part for part in (told if len(chosen) < len(main.values) else "", fixed) if part)
    course = _course(curves, words, [shown(main.values[k]) for k in chosen], told, main.words)
    last = one.isel({dim: -1 for dim in one.dims if _is_time(one, str(dim))})
    over = last.mean([dim for dim in last.dims if dim not in axes(ds)])
    shown_map = map_of(ds, over, words, _last_step(one)) if len(swept) > 1 else None
    along = shown_map or _along(last.isel(rest), words, main, _last_step(one))
    return [draw for draw in (course, along) if draw is not None]


def _is_time(values: xr.DataArray, dim: str) -> bool:
    return (dim == "step" or dim.endswith("_step")) and dim not in _axes_of(values)


def _axes_of(values: xr.DataArray) -> set[str]:
    """Dimensions of a variable that are axes of the sweep: their coordinate knows its key."""
    return {str(dim) for dim in values.dims if dim in values.coords and "key" in values.coords[dim].attrs}


def _members(values: xr.DataArray) -> str:
    return "replica" if "replica" in values.dims else "cohort"


def _components(values: xr.DataArray) -> list[dict[str, int]]:
    """The first few components of a vector; one that is empty for a number."""
    known = {_members(values), "sample", *_axes_of(values)}
    others = [str(dim) for dim in values.dims if dim not in known and not _is_time(values, str(dim))]
    if not others:
        return [{}]
    rest = dict.fromkeys(others[1:], 0)
    return [{others[0]: k} | rest for k in range(min(_COMPONENTS, values.sizes[others[0]]))]


def _of(values: xr.DataArray, component: Mapping[str, int]) -> xr.DataArray:
    one = values.isel(component).astype(float)
    return one.mean("sample") if "sample" in one.dims and _members(one) in one.dims else one


def _index(component: Mapping[str, int]) -> str:
    return f"component {next(iter(component.values())) + 1}" if component else ""


def _last_step(values: xr.DataArray) -> str:
    time = next((str(dim) for dim in values.dims if _is_time(values, str(dim))), "")
    return f"step {int(values[time].values[-1])}" if time and time in values.coords else ""


def _course(
    curves: list[xr.DataArray], words: str, names: list[str], title: str = "", heading: str = ""
) -> Draw | None:
    """Means in time, in bands of replicas."""
    time = next((str(dim) for dim in curves[0].dims if _is_time(curves[0], str(dim))), "")
    if not time or curves[0].sizes[time] < 2:
        return None
    several: list[Look] = style.looks(len(curves)) if len(curves) > 1 else [OTHER]
    title = title or ("cohorts, not replicas" if _members(curves[0]) == "cohort" else "")

    def draw(panel: Axes) -> None:
        for values, name, look in zip(curves, names, several, strict=True):
            ordered = values.transpose(time, _members(values))
            if _is_flag(ordered.values):
                mean, error = (part.values for part in replica_mean(ordered.rename({_members(values): "replica"})))
                frames = style.pick(len(mean), 24)
                style.data(panel, ordered[time].values[frames], mean[frames], error[frames], look=look, label=name)
            else:
                style.band(panel, ordered[time].values, ordered.values, look, name)
        panel.set(xlabel="step", ylabel=words)
        panel.set_title(title, loc="right")
        if any(names):
            legend(panel, heading)

    return draw


def _is_flag(values: np.ndarray) -> bool:
    return bool(np.isin(values[np.isfinite(values)], (0.0, 1.0)).all())


def _along(last: xr.DataArray, words: str, axis: SweptAxis, title: str) -> Draw:
    """Mean and error in the last frame against an axis."""
    ordered = last.transpose(axis.name, _members(last)).rename({_members(last): "replica"})
    mean, error = (part.values for part in replica_mean(ordered))

    def draw(panel: Axes) -> None:
        style.data(panel, axis.places, mean, error if np.isfinite(error).any() else None, look=OTHER)
        axis.along(panel)
        panel.set(ylabel=words)
        panel.set_title(title, loc="right")

    return draw


def _distribution(values: xr.DataArray, words: str) -> Draw | None:
    """Histograms over replicas of the first and the last frame."""
    time = next((str(dim) for dim in values.dims if _is_time(values, str(dim))), "")
    if values.sizes[_members(values)] < 2:
        return None
    frames = [0, -1] if time and values.sizes[time] > 1 else [-1]
    rows = [np.ravel(values.isel({time: k}).values if time else values.values) for k in frames]
    names = [f"step {int(values[time].values[k])}" if time and time in values.coords else "" for k in frames]
    rows = [row[np.isfinite(row)] for row in rows]
    if not any(row.size for row in rows) or (len(rows) > 1 and all(np.ptp(row) == 0.0 for row in rows if row.size)):
        return None  # of replicas that are all alike, as under a protocol, the course says everything
    several = (Look("0.45", "s", (0, (4, 1.5))), OTHER._replace(color=style.WORK.color))[-len(rows) :]
    points = np.unique(np.concatenate(rows))

    def draw(panel: Axes) -> None:
        for row, name, look in zip(rows, names, several, strict=True):
            if not row.size:
                continue
            if points.size <= _DISCRETE:
                share = np.array([(row == point).mean() for point in points])
                style.data(panel, points, share, np.sqrt(share * (1 - share) / row.size), look=look, label=name)
            elif np.ptp(row) == 0.0:
                panel.axvline(
                    row[0], color=look.color, ls=look.dashes, lw=1.2, label=f"{name}, all the same".strip(", ")
                )
            else:
                histogram(panel, row, look, name, filled=row is rows[-1])
        if points.size <= _DISCRETE:
            panel.set_xmargin(0.15)
            if np.array_equal(points, np.round(points)) and np.ptp(points) < _DISCRETE:
                panel.set_xticks(np.arange(points[0], points[-1] + 1))
        panel.set(xlabel=words, ylabel="fraction of replicas" if points.size <= _DISCRETE else "probability density")
        if any(names):
            legend(panel)

    return draw


def _stored_histogram(ds: xr.Dataset, name: str) -> Draw:
    """A histogram that was kept during the run, over steps and replicas."""
    values, bins = ds[name], f"{name.removesuffix('_histogram')}_bin"
    swept = [axis.name for axis in swept_axes(ds) if axis.name in values.dims]
    counts = values.isel(dict.fromkeys(swept, 0)).sum([dim for dim in values.dims if dim in ("cohort", "sample")])
    others = [str(dim) for dim in counts.dims if dim != bins]
    rows = counts.transpose(*others, bins).values.reshape(-1, counts.sizes[bins])[:_COMPONENTS]
    centres = ds[bins].values
    words = str(ds[bins].attrs.get("long_name", name)).removeprefix("centre of bin: ")

    def draw(panel: Axes) -> None:
        width = np.diff(centres).mean() if len(centres) > 1 else 1.0
        sides = np.append(centres - width / 2, centres[-1] + width / 2)
        for k, (row, look) in enumerate(zip(rows, style.looks(len(rows)), strict=True)):
            density = row / max(row.sum(), 1) / width
            told = f"component {k + 1}" if len(rows) > 1 else None
            panel.stairs(density, sides, color=look.color, ls=look.dashes, lw=1.2, label=told)
        panel.set(xlabel=label(words), ylabel="probability density")
        panel.set_title(wrapped(named(ds, dict.fromkeys(swept, 0)) or "over steps and replicas", 40), loc="right")
        legend(panel)

    return draw
