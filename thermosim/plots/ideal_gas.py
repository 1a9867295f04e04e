"""Figures of the ideal gas of SGD: energy and entropy, radius laws, equation of state, adiabats, potentials.

Panels follow the protocol and the axes of the sweep, as in I. Sadrtdinov et al., arXiv 2511.07308: points are measured,
lines are theory (solid: exact law of the discrete updates; dashed: von Mises-Fisher; dotted: low-temperature gas).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from thermosim.analysis import ideal_gas as measured
from thermosim.analysis.settings import settings
from thermosim.analysis.sphere_frames import Cells, cells
from thermosim.checks.ideal_gas import finite_step, is_settled
from thermosim.exact import ideal_gas
from thermosim.plots import style
from thermosim.plots.labels import plain, shown
from thermosim.plots.legends import legend
from thermosim.plots.maps import NO_VALUE, SweptAxis, edges, heat_map
from thermosim.plots.page import Draw, colour_bar, page
from thermosim.plots.style import ENERGY, ENTROPY, WORK, Look

__all__ = ["figure"]

NAMES = {
    "fixed-elr": "fixed effective learning rate",
    "fixed-lr": "fixed learning rate",
    "fixed-sphere": "fixed sphere",
}
SYMBOLS = {
    ("fixed-lr", "learning_rate"): r"learning rate $\eta$",
    "learning_rate": r"effective learning rate $\eta_{\rm eff}$",
    "weight_decay": r"weight decay $\lambda$",
    "radius": r"radius $r$",
    "noise": r"noise $\sigma$",
}
SHORT = {"learning_rate": r"\eta", "weight_decay": r"\lambda", "radius": "r", "noise": r"\sigma"}
_LINES = "Lines: exact, at the run's step (solid); von Mises-Fisher (dashed); ideal gas of low temperature (dotted)."
FINE = 17  # points of a theoretical line
_UNBIASED_DIMENSION = 8  # above, the bias of the estimator shows at a few thousand samples


@dataclass(frozen=True)
class _Curve:
    """One line of cells along an axis: index into the arrays over the axes, the values, and a label."""

    axis: str
    index: tuple[int | slice, ...]
    x: np.ndarray
    label: str
    look: Look
    cells: Cells


def figure(ds: xr.Dataset) -> Figure:
    """The figure that suits the run: a transient, one cell, or a sweep."""
    with style.style():
        there = cells(ds)
        if not is_settled(ds):
            return _transient(ds, there)
        swept = [n for n in there.names if len(there.coords[n]) > 1]
        return _sweep(ds, there, swept) if swept else _single(ds, there)


def _title(ds: xr.Dataset, there: Cells) -> str:
    return settings(ds).title or f"Ideal gas of SGD, {NAMES[there.protocol]}"


def _sweep(ds: xr.Dataset, there: Cells, swept: list[str]) -> Figure:
    means = measured.thermodynamics(ds, angles=False)
    main = _main_axis(there, swept)
    draws: list[Draw] = [lambda a: _quantity(a, means, there, main, "U")]
    if known := "S_direction" in means and bool(np.isfinite(means["S_direction"]).any()):
        draws.append(lambda a: _quantity(a, means, there, main, "S_direction"))
    draws += [lambda a, n=n: _mechanics(a, means, there, n) for n in swept[:2]]  # type: ignore[misc]
    draws.append(lambda a: _equation_of_state(a, means, there, main))
    if known:
        other, maps = _entropy_axis(there, swept), measured.free_energy_maps(ds)
        draws.append(lambda a: _total_entropy(a, ds, means, there, other))
        for target in _targets(there, swept):
            draws.append(lambda a, t=target: _map(a, maps, there, swept, t))  # type: ignore[misc]
    if len(swept) > 1:
        draws.append(lambda a: _energies(a, means, there, swept))
    said = f"{NAMES[there.protocol].capitalize()}, dimension {there.dimension}."
    return page(_title(ds, there), draws, [said], exact=_LINES)


def _energies(axes: Axes, means: xr.Dataset, there: Cells, swept: list[str]) -> None:
    """U of all points over two axes, others at their first value."""
    x, y = (SweptAxis(n, list(map(float, there.coords[n])), _axis_label(there, n)) for n in swept[:2])
    values = means["U"].isel({n: 0 for n in there.names if n not in swept[:2]}).transpose(swept[1], swept[0])
    heat_map(axes, values.to_numpy(), x, y, r"internal energy $U$")


def _main_axis(there: Cells, swept: list[str]) -> str:
    order = ["weight_decay", "learning_rate"] if there.protocol == "fixed-lr" else ["learning_rate", "weight_decay"]
    return next((n for n in order if n in swept), swept[0])


def _entropy_axis(there: Cells, swept: list[str]) -> str:
    """Where a Maxwell relation or an adiabat shows: along the weight decay or the radius."""
    return next((n for n in ("weight_decay", "radius") if n in swept), swept[0])


def _axis_label(there: Cells, axis: str) -> str:
    return SYMBOLS.get((there.protocol, axis), SYMBOLS.get(axis, plain(axis.replace("_", " "))))


def _symbol(axis: str) -> str:
    return f"${SHORT[axis]}$" if axis in SHORT else plain(axis.replace("_", " "))


def _drawn(there: Cells, axis: str, curves: list[_Curve]) -> str:
    """How many of the lines along an axis are drawn, where not all are."""
    others = [n for n in there.names if n != axis and len(there.coords[n]) > 1]
    count = int(np.prod([len(there.coords[n]) for n in others]))
    over = ", ".join(_symbol(n) for n in others)
    if len(curves) == count:
        return ""
    return f"at {curves[0].label}" if len(curves) == 1 else f"{len(curves)} of {count} values of {over} drawn"


def _curves(there: Cells, axis: str, most: int = 3) -> list[_Curve]:
    """Lines of cells along one axis, at a few values of each other."""
    position = there.names.index(axis)
    others = [n for n in there.names if n != axis]
    choices = [style.pick(len(there.coords[n]), most if k == 0 else 1) for k, n in enumerate(others)]
    chosen = list(np.ndindex(*(len(c) for c in choices)))
    result = []
    for look, pick in zip(style.looks(len(chosen)), chosen, strict=True):
        fixed = [choices[k][p] for k, p in enumerate(pick)]
        index: list[int | slice] = list(fixed)
        index.insert(position, slice(None))
        values = [float(there.coords[n][i]) for n, i in zip(others, fixed, strict=True)]
        label = ", ".join(f"{_symbol(n)} = {shown(v)}" for n, v in zip(others, values, strict=True))
        x = np.asarray(there.coords[axis], float)
        result.append(_Curve(axis, tuple(index), x, label, look, _fine(there, axis, tuple(index))))
    return result


def _fine(there: Cells, axis: str, index: tuple[int | slice, ...]) -> Cells:
    """The same line of cells on a finer grid, for theory."""
    x = np.asarray(there.coords[axis], float)
    fine = np.geomspace(x.min(), x.max(), FINE) if np.all(x > 0) else np.linspace(x.min(), x.max(), FINE)
    names = ("noise", "learning_rate", "weight_decay", "radius")
    held: dict[str, Any] = {n: np.full(FINE, getattr(there, n)[index].flat[0]) for n in names}
    return replace(there, names=(axis,), coords={axis: fine}, **(held | {axis: fine}))


def _logarithmic(axes: Axes, curves: list[_Curve], which: str) -> None:
    if np.all(curves[0].x > 0) and curves[0].x.max() > 4 * curves[0].x.min():
        style.log_ticks(axes, which)
    elif "y" in which:
        style.log_ticks(axes, "y")


def _warn_of_bias(axes: Axes, there: Cells) -> None:
    """Nearest neighbours overestimate the entropy of many dimensions; `check` corrects for it, the points do not."""
    if there.dimension > _UNBIASED_DIMENSION:
        words = "nearest-neighbour estimate,\nbiased upwards at this $d$"
        axes.text(
            0.97, 0.04, words, transform=axes.transAxes, ha="right", va="bottom", fontsize="small", color=style.GREY
        )


def _quantity(axes: Axes, means: xr.Dataset, there: Cells, axis: str, name: str) -> None:
    """U or S(direction) along the main axis with the three levels of theory."""
    energy = name == "U"
    curves = _curves(there, axis, 1 if there.protocol != "fixed-lr" else 3)
    low = ideal_gas.low_temperature_energy if energy else ideal_gas.low_temperature_entropy
    for curve in curves:
        look = curve.look if len(curves) > 1 else ENERGY if energy else ENTROPY
        gas, x = curve.cells.gas, np.asarray(curve.cells.coords[axis])
        style.theory(axes, x, finite_step(curve.cells)[name][0], color=look.color)
        vmf = gas.energy if energy else gas.direction_entropy
        style.theory(axes, x, vmf, ls="--", lw=1.0)
        ideal = low(there.dimension, gas.temperature)
        style.theory(axes, x, ideal, ls=":", lw=1.0)
        words = curve.label if len(curves) > 1 else ""
        style.data(axes, curve.x, *_estimate(means, name, curve), look=look, label=words)
    _logarithmic(axes, curves, "xy" if energy else "x")
    ylabel = r"internal energy $U$" if energy else "entropy of direction\n$S(\\bar w)$ (nats)"
    axes.set(xlabel=_axis_label(there, axis), ylabel=ylabel)
    axes.set_title(_drawn(there, axis, curves), loc="right")
    if not energy:
        _warn_of_bias(axes, there)
    legend(axes)


def _estimate(means: xr.Dataset, name: str, curve: _Curve) -> tuple[np.ndarray, np.ndarray | None]:
    """A mean along a curve and its error, where there is one."""
    error = means[f"{name}_error"].to_numpy()[curve.index]
    return means[name].to_numpy()[curve.index], error if np.isfinite(error).any() else None


def _mechanics(axes: Axes, means: xr.Dataset, there: Cells, axis: str) -> None:
    """The radius law, or the pressure on the sphere, with its logarithmic slope."""
    name, words = (
        ("p", r"pressure $p$") if there.protocol == "fixed-sphere" else ("radius", r"mean radius $\langle r\rangle$")
    )
    curves = _curves(there, axis)
    for curve in curves:
        x = np.asarray(curve.cells.coords[axis])
        style.theory(axes, x, finite_step(curve.cells)[name][0], color=curve.look.color)
        leading = curve.cells.gas.pressure if name == "p" else curve.cells.gas.radius
        style.theory(axes, x, leading, ls="--", lw=1.0)
        estimate, error = _estimate(means, name, curve)
        slope = np.polyfit(np.log(curve.x), np.log(estimate), 1)[0] if np.all(curve.x > 0) else np.nan
        said = f"{curve.label}: slope ${slope:+.3f}$" if curve.label else f"slope ${slope:+.3f}$"
        style.data(axes, curve.x, estimate, error, look=curve.look, label=said)
    axes.set(xlabel=_axis_label(there, axis), ylabel=words)
    axes.set_title(_drawn(there, axis, curves), loc="right")
    _logarithmic(axes, curves, "xy")
    legend(axes)


def _equation_of_state(axes: Axes, means: xr.Dataset, there: Cells, axis: str) -> None:
    """pV/(RT), which differs from one by about eta_eff/2."""
    curves = _curves(there, axis)
    axes.axhline(1.0, color=style.GREY, ls=":", lw=1.0)
    for curve in curves:
        x = np.asarray(curve.cells.coords[axis])
        style.theory(axes, x, finite_step(curve.cells)["pV_over_RT"][0], color=curve.look.color)
        words = curve.label
        style.data(axes, curve.x, *_estimate(means, "pV_over_RT", curve), look=curve.look, label=words)
    axes.set(xlabel=_axis_label(there, axis), ylabel="equation of state, $pV/RT$")
    axes.set_title(_drawn(there, axis, curves), loc="right")
    _logarithmic(axes, curves, "x")
    legend(axes)


def _total_entropy(axes: Axes, ds: xr.Dataset, means: xr.Dataset, there: Cells, axis: str) -> None:
    """S along the weight decay or radius: the Maxwell slope, or the adiabats of the fixed learning rate."""
    curves = _curves(there, axis)
    for curve in curves:
        x = np.asarray(curve.cells.coords[axis])
        style.theory(axes, x, finite_step(curve.cells)["S"][0], color=curve.look.color)
        leading = curve.cells.gas.entropy
        style.theory(axes, x, leading, ls="--", lw=1.0)
        style.data(axes, curve.x, *_estimate(means, "S", curve), look=curve.look, label=curve.label)
    axes.set(xlabel=_axis_label(there, axis), ylabel="entropy $S$ (nats)")
    _warn_of_bias(axes, there)
    _logarithmic(axes, curves, "x")
    title = [_drawn(there, axis, curves)]
    fitted, name = measured.maxwell(ds), f"dS_dln_{axis}"
    if name in fitted:
        value, error = float(fitted[name]), float(fitted[f"{name}_error"])
        number = rf"{value:.3f} \pm {error:.3f}" if np.isfinite(error) else f"{value:.3f}"
        words = rf"$\partial S/\partial\ln {SHORT.get(axis, axis)} = {number}$"
        title.append(f"adiabats: {words}" if there.protocol == "fixed-lr" and axis == "weight_decay" else words)
    axes.set_title("\n".join(part for part in title if part), loc="right")
    legend(axes)


def _targets(there: Cells, swept: list[str]) -> list[tuple[int, ...]]:
    """Target states whose potentials are drawn: one on a grid, three together on a line."""
    if there.protocol == "fixed-sphere" and swept == ["radius"]:
        return []
    lengths = [len(there.coords[n]) for n in there.names]
    if _is_surface(there, swept):
        return [tuple(n // 4 for n in lengths)]
    return [tuple(n // 2 for n in lengths)]


def _is_surface(there: Cells, swept: list[str]) -> bool:
    return len(swept) == 2 and there.protocol != "fixed-sphere"


def _map(axes: Axes, maps: xr.Dataset, there: Cells, swept: list[str], target: tuple[int, ...]) -> None:
    """The potential of all states for one target: a map over the grid, or lines with their minima."""
    name = "F" if "F" in maps else "G"
    if not _is_surface(there, swept):
        _potential_lines(axes, maps, there, name, next(n for n in swept if n != "radius"))
        return
    to = {f"target_{n}": i for n, i in zip(there.names, target, strict=True)}
    chosen = maps.isel(to)
    gap = np.squeeze(chosen[name].transpose(swept[1], swept[0], ...).to_numpy())
    gap = (gap - np.nanmin(gap)) / float(there.gas.temperature[target])
    gap = np.maximum(gap, 1e-3)
    x, y = (np.asarray(there.coords[n], float) for n in swept)
    along = [SweptAxis(n, list(map(float, there.coords[n])), _axis_label(there, n)) for n in swept]
    sides = [edges(one.places, one.logarithmic) for one in along]
    image = axes.pcolormesh(*sides, gap, norm=LogNorm(1e-2, 1e2), cmap="viridis_r", rasterized=True)
    axes.set_facecolor(NO_VALUE)
    exact = {n: v for n, (v, _) in finite_step(there).items()}
    wanted_gap = exact["U"] - exact["T"][target] * exact["S"] + exact["p"][target] * exact["V"]
    wanted_gap = (wanted_gap - wanted_gap.min()) / exact["T"][target]
    surface = xr.DataArray(wanted_gap, dims=there.names).transpose(swept[1], swept[0], ...)
    lines = axes.contour(x, y, np.squeeze(surface), levels=[0.1, 1.0, 10.0], colors="white", linewidths=0.8)
    axes.clabel(lines, fontsize=6, fmt="%g")
    best = [float(there.coords[n][int(chosen[f"minimum_{n}"])]) for n in swept]
    wanted = [float(there.coords[n][target[there.names.index(n)]]) for n in swept]
    axes.plot(*wanted, "s", ms=9, mfc="none", mec="black", mew=1.2, ls="none", label="target")
    axes.plot(*best, "x", ms=6, color=style.MODEL.color, mew=1.8, ls="none", label="measured minimum")
    along[0].along(axes, "x")
    along[1].along(axes, "y")
    axes.set(xlim=(sides[0][0], sides[0][-1]), ylim=(sides[1][0], sides[1][-1]))
    axes.plot([], [], color="0.6", lw=0.8, label="exact levels")
    colour_bar(axes, image, r"potential $(G - G_{\min})/T^*$", extend="both")
    legend(axes)


def _potential_lines(axes: Axes, maps: xr.Dataset, there: Cells, name: str, axis: str) -> None:
    """(F or G) - minimum, in units of T*, against the axis, for three targets; others axes at their middle."""
    x = np.asarray(there.coords[axis], float)
    fixed = {n: len(there.coords[n]) // 2 for n in there.names if n != axis}
    line = maps.isel(fixed | {f"target_{n}": i for n, i in fixed.items()})
    temperature = xr.DataArray(there.gas.temperature, dims=there.names).isel(fixed).to_numpy()
    picked = style.pick(len(x), 5)[1:-1] or [len(x) // 2]
    for look, target in zip(style.looks(len(picked)) if len(picked) > 1 else [WORK], picked, strict=True):
        potential = line[name].isel({f"target_{axis}": target}).to_numpy() / temperature[target]
        if not np.isfinite(potential).any():
            continue
        best = int(np.nanargmin(potential))
        label = f"target {_symbol(axis)} = {x[target]:.3g}"
        shape = {"marker": look.mark, "ls": look.dashes, "color": look.color}
        axes.plot(x, potential - potential[best], mfc="white", ms=3.5, lw=1.0, label=label, **shape)
        axes.plot(x[best], 0.0, "x", color=look.color, ms=8, mew=1.8, zorder=4)
        axes.axvline(x[target], color=look.color, ls=":", lw=1.0)
    if np.all(x > 0):
        style.log_ticks(axes, "x")
    axes.set(xlabel=_axis_label(there, axis), ylabel=rf"$({name} - {name}_{{\min}})/T^*$")
    axes.set_title("crosses: measured minima; dotted: targets", loc="right")
    axes.set_ylim(top=min(axes.get_ylim()[1], 4.0 * (there.dimension - 1)))  # the wells, not their far walls
    legend(axes)


def _single(ds: xr.Dataset, there: Cells) -> Figure:
    """One cell: the courses of loss and radius, and the law of the cosine."""
    from thermosim.plots import sphere_cell

    return sphere_cell.stationary(ds, there, _title(ds, there))


def _transient(ds: xr.Dataset, there: Cells) -> Figure:
    from thermosim.plots import sphere_cell

    return sphere_cell.transient(ds, there, _title(ds, there))
