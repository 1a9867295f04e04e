"""Figures of the ideal gas of SGD: energy and entropy, radius laws, equation of state, adiabats, potentials.

Panels follow the protocol and the axes of the sweep, as in I. Sadrtdinov et al., arXiv 2511.07308: points are measured,
lines are theory (solid: exact law of the discrete updates; dashed: von Mises-Fisher; dotted: low-temperature gas).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis import ideal_gas as measured
from thermosim.analysis.sphere_frames import Cells, cells
from thermosim.checks.ideal_gas import finite_step, is_settled
from thermosim.exact import ideal_gas
from thermosim.plots import style

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
FINE = 17  # points of a theoretical line
_UNBIASED_DIMENSION = 8  # above, the bias of the estimator shows at a few thousand samples


@dataclass(frozen=True)
class _Curve:
    """One line of cells along an axis: index into the arrays over the axes, the values, and a label."""

    axis: str
    index: tuple[int | slice, ...]
    x: np.ndarray
    label: str
    color: str
    cells: Cells


def figure(ds: xr.Dataset) -> Figure:
    """The figure that suits the run: a transient, one cell, or a sweep."""
    with style.style():
        there = cells(ds)
        if not is_settled(ds):
            return _transient(ds, there)
        swept = [n for n in there.names if len(there.coords[n]) > 1]
        return _sweep(ds, there, swept) if swept else _single(ds, there)


def _sweep(ds: xr.Dataset, there: Cells, swept: list[str]) -> Figure:
    means = measured.thermodynamics(ds, angles=False)
    main = _main_axis(there, swept)
    panels: list[Callable[[Axes], None]] = [lambda a: _quantity(a, means, there, main, "U", r"internal energy $U$")]
    if "S_direction" in means:
        panels.append(lambda a: _quantity(a, means, there, main, "S_direction", r"entropy of direction $S(\bar w)$"))
    panels += [lambda a, n=n: _mechanics(a, means, there, n) for n in swept[:2]]  # type: ignore[misc]
    panels.append(lambda a: _equation_of_state(a, means, there, main))
    if "S" in means:
        other, maps = _entropy_axis(there, swept), measured.free_energy_maps(ds)
        panels.append(lambda a: _total_entropy(a, ds, means, there, other))
        for target in _targets(there, swept):
            panels.append(lambda a, t=target: _map(a, maps, there, swept, t))  # type: ignore[misc]
    columns = 3 if len(panels) > 4 else len(panels)
    rows = -(-len(panels) // columns)
    title = f"Ideal gas of SGD, {NAMES[there.protocol]}, d = {there.dimension}"
    drawn, axes = style.new_figure(rows, columns, title=title)
    for panel, draw in zip(axes.flat, panels, strict=False):
        draw(panel)
    for panel in axes.flat[len(panels) :]:
        panel.set_visible(False)
    style.label_panels(list(axes.flat[: len(panels)]))
    return drawn


def _main_axis(there: Cells, swept: list[str]) -> str:
    order = ["weight_decay", "learning_rate"] if there.protocol == "fixed-lr" else ["learning_rate", "weight_decay"]
    return next((n for n in order if n in swept), swept[0])


def _entropy_axis(there: Cells, swept: list[str]) -> str:
    """Where a Maxwell relation or an adiabat shows: along the weight decay or the radius."""
    return next((n for n in ("weight_decay", "radius") if n in swept), swept[0])


def _axis_label(there: Cells, axis: str) -> str:
    return SYMBOLS.get((there.protocol, axis), SYMBOLS.get(axis, axis))


def _curves(there: Cells, axis: str, most: int = 3) -> list[_Curve]:
    """Lines of cells along one axis, at a few values of each other."""
    position = there.names.index(axis)
    others = [n for n in there.names if n != axis]
    choices = [style.pick(len(there.coords[n]), most if k == 0 else 1) for k, n in enumerate(others)]
    chosen = list(np.ndindex(*(len(c) for c in choices)))
    colours = style.sequence(len(chosen)) if len(chosen) > 1 else [style.COLOURS[0]]
    result = []
    for colour, pick in zip(colours, chosen, strict=True):
        fixed = [choices[k][p] for k, p in enumerate(pick)]
        index: list[int | slice] = list(fixed)
        index.insert(position, slice(None))
        values = [float(there.coords[n][i]) for n, i in zip(others, fixed, strict=True)]
        label = ", ".join(f"${SHORT.get(n, n)} = {v:.3g}$" for n, v in zip(others, values, strict=True))
        x = np.asarray(there.coords[axis], float)
        result.append(_Curve(axis, tuple(index), x, label, colour, _fine(there, axis, tuple(index))))
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


def _quantity(axes: Axes, means: xr.Dataset, there: Cells, axis: str, name: str, label: str) -> None:
    """U or S(direction) along the main axis with the three levels of theory."""
    curves = _curves(there, axis, 1 if there.protocol != "fixed-lr" else 3)
    for k, curve in enumerate(curves):
        gas = curve.cells.gas
        exact = finite_step(curve.cells)[name][0]
        vmf = gas.energy if name == "U" else gas.direction_entropy
        low = ideal_gas.low_temperature_energy if name == "U" else ideal_gas.low_temperature_entropy
        first = k == 0
        x = np.asarray(curve.cells.coords[axis])
        style.theory(axes, x, exact, color=curve.color, label="exact, finite step" if first else "")
        style.theory(axes, x, vmf, color=style.GREY, ls="--", lw=1.0, label="von Mises-Fisher" if first else "")
        ideal = low(there.dimension, gas.temperature)
        style.theory(axes, x, ideal, color=style.GREY, ls=":", lw=1.0, label="ideal gas, low $T$" if first else "")
        estimate, error = means[name].to_numpy()[curve.index], means[f"{name}_error"].to_numpy()[curve.index]
        style.data(
            axes, curve.x, estimate, error, color=curve.color, label=curve.label if len(curves) > 1 else "measured"
        )
    _logarithmic(axes, curves, "xy" if name == "U" else "x")
    axes.set(xlabel=_axis_label(there, axis), ylabel=label)
    if name != "U":
        _warn_of_bias(axes, there)
    crowded = len(curves) > 1 or axis == "radius"  # on the sphere nothing depends on r: flat lines, no free corner
    style.headroom(axes, 0.35 if crowded else 0.1)
    axes.legend(loc="upper left", ncols=2 if crowded else 1, columnspacing=1.0, borderaxespad=0.1)


def _mechanics(axes: Axes, means: xr.Dataset, there: Cells, axis: str) -> None:
    """The radius law, or the pressure on the sphere, with its logarithmic slope."""
    name, label = (
        ("p", r"pressure $p$") if there.protocol == "fixed-sphere" else ("radius", r"radius $\langle r\rangle$")
    )
    curves = _curves(there, axis)
    for curve in curves:
        x = np.asarray(curve.cells.coords[axis])
        style.theory(axes, x, finite_step(curve.cells)[name][0], color=curve.color)
        leading = curve.cells.gas.pressure if name == "p" else curve.cells.gas.radius
        style.theory(axes, x, leading, color=style.GREY, ls="--", lw=1.0)
        estimate, error = means[name].to_numpy()[curve.index], means[f"{name}_error"].to_numpy()[curve.index]
        slope = np.polyfit(np.log(curve.x), np.log(estimate), 1)[0] if np.all(curve.x > 0) else np.nan
        said = f"{curve.label}: slope {slope:+.3f}" if curve.label else f"slope {slope:+.3f}"
        style.data(axes, curve.x, estimate, error, color=curve.color, label=said)
    axes.set(xlabel=_axis_label(there, axis), ylabel=label)
    _logarithmic(axes, curves, "xy")
    style.headroom(axes, 0.35 if len(curves) > 1 else 0.1)
    axes.legend(loc="upper center", borderaxespad=0.1)


def _equation_of_state(axes: Axes, means: xr.Dataset, there: Cells, axis: str) -> None:
    """pV/(RT), which differs from one by about eta_eff/2."""
    curves = _curves(there, axis)
    axes.axhline(1.0, color=style.GREY, ls=":", lw=1.0)
    for curve in curves:
        x = np.asarray(curve.cells.coords[axis])
        style.theory(axes, x, finite_step(curve.cells)["pV_over_RT"][0], color=curve.color)
        estimate = means["pV_over_RT"].to_numpy()[curve.index]
        style.data(
            axes,
            curve.x,
            estimate,
            means["pV_over_RT_error"].to_numpy()[curve.index],
            color=curve.color,
            label=curve.label,
        )
    axes.set(xlabel=_axis_label(there, axis), ylabel=r"$pV/RT$")
    _logarithmic(axes, curves, "x")
    if curves[0].label:
        axes.legend(loc="best")


def _total_entropy(axes: Axes, ds: xr.Dataset, means: xr.Dataset, there: Cells, axis: str) -> None:
    """S along the weight decay or radius: the Maxwell slope, or the adiabats of the fixed learning rate."""
    curves = _curves(there, axis)
    for curve in curves:
        x = np.asarray(curve.cells.coords[axis])
        style.theory(axes, x, finite_step(curve.cells)["S"][0], color=curve.color)
        style.theory(axes, x, curve.cells.gas.entropy, color=style.GREY, ls="--", lw=1.0)
        estimate, error = means["S"].to_numpy()[curve.index], means["S_error"].to_numpy()[curve.index]
        style.data(axes, curve.x, estimate, error, color=curve.color, label=curve.label)
    axes.set(xlabel=_axis_label(there, axis), ylabel="entropy $S$")
    _warn_of_bias(axes, there)
    _logarithmic(axes, curves, "x")
    style.headroom(axes, 0.3)
    fitted = measured.maxwell(ds)
    name = f"dS_dln_{axis}"
    if name in fitted:
        value = rf"{float(fitted[name]):.3f} \pm {float(fitted[f'{name}_error']):.3f}"
        words = rf"$\partial S/\partial\ln {SHORT.get(axis, axis)} = {value}$"
        words = f"adiabats: {words}" if there.protocol == "fixed-lr" and axis == "weight_decay" else words
        axes.text(0.03, 0.98, words, transform=axes.transAxes, va="top", fontsize=8)
    if curves[0].label:
        axes.legend(
            loc="upper right", bbox_to_anchor=(1.0, 0.92), ncols=len(curves), columnspacing=0.8, handletextpad=0.2
        )


def _targets(there: Cells, swept: list[str]) -> list[tuple[int, ...]]:
    """Target states whose potentials are drawn: two on a grid, three together on a line."""
    if there.protocol == "fixed-sphere" and swept == ["radius"]:
        return []
    lengths = [len(there.coords[n]) for n in there.names]
    if _is_surface(there, swept):
        return [tuple(n // 4 for n in lengths), tuple(3 * n // 4 for n in lengths)]
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
    gap = (gap - np.nanmin(gap)) / float(there.gas.temperature[target]) + 1e-3
    x, y = (np.asarray(there.coords[n], float) for n in swept)
    image = axes.pcolormesh(x, y, np.log10(gap), shading="nearest", cmap="viridis_r", vmin=-2, vmax=2, rasterized=True)
    exact = {n: v for n, (v, _) in finite_step(there).items()}
    wanted_gap = exact["U"] - exact["T"][target] * exact["S"] + exact["p"][target] * exact["V"]
    wanted_gap = (wanted_gap - wanted_gap.min()) / exact["T"][target]
    surface = xr.DataArray(wanted_gap, dims=there.names).transpose(swept[1], swept[0], ...)
    lines = axes.contour(x, y, np.squeeze(surface), levels=[0.1, 1.0, 10.0], colors="white", linewidths=0.8)
    axes.clabel(lines, fontsize=6, fmt="%g")
    best = [float(there.coords[n][int(chosen[f"minimum_{n}"])]) for n in swept]
    wanted = [float(there.coords[n][target[there.names.index(n)]]) for n in swept]
    axes.plot(*wanted, "s", ms=9, mfc="none", mec="black", mew=1.2, ls="none", label="target")
    axes.plot(*best, "x", ms=6, color=style.COLOURS[1], mew=1.8, ls="none", label="minimum")
    axes.set(xscale="log", yscale="log", xlabel=_axis_label(there, swept[0]), ylabel=_axis_label(there, swept[1]))
    bar = axes.figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label(r"$\log_{10}\,(G - G_{\min})/T^*$", fontsize=8)
    axes.legend(loc="lower left", frameon=True, framealpha=0.85, edgecolor="none", ncols=2, handletextpad=0.1)


def _potential_lines(axes: Axes, maps: xr.Dataset, there: Cells, name: str, axis: str) -> None:
    """(F or G) - minimum, in units of T*, against the axis, for three targets; others axes at their middle."""
    x = np.asarray(there.coords[axis], float)
    fixed = {n: len(there.coords[n]) // 2 for n in there.names if n != axis}
    line = maps.isel(fixed | {f"target_{n}": i for n, i in fixed.items()})
    temperature = xr.DataArray(there.gas.temperature, dims=there.names).isel(fixed).to_numpy()
    picked = style.pick(len(x), 5)[1:-1] or [len(x) // 2]
    for colour, target in zip(style.sequence(len(picked)), picked, strict=True):
        potential = line[name].isel({f"target_{axis}": target}).to_numpy() / temperature[target]
        best = int(np.nanargmin(potential))
        label = f"target ${SHORT.get(axis, axis)} = {x[target]:.3g}$"
        axes.plot(x, potential - potential[best], "o-", mfc="white", ms=3.5, lw=1.0, color=colour, label=label)
        axes.plot(x[best], 0.0, "x", color=colour, ms=8, mew=1.8, zorder=4)
        axes.axvline(x[target], color=colour, ls=":", lw=1.0)
    if np.all(x > 0):
        style.log_ticks(axes, "x")
    axes.set(xlabel=_axis_label(there, axis), ylabel=rf"$({name} - {name}_{{\min}})/T^*$")
    axes.set_ylim(top=min(axes.get_ylim()[1], 4.0 * (there.dimension - 1)))  # the wells, not their far walls
    style.headroom(axes, 0.35)
    axes.legend(loc="upper center", frameon=True, framealpha=0.85, edgecolor="none")


def _single(ds: xr.Dataset, there: Cells) -> Figure:
    """One cell: the courses of loss and radius, and the law of the cosine."""
    from thermosim.plots import sphere_cell

    return sphere_cell.stationary(ds, there, f"Ideal gas of SGD, {NAMES[there.protocol]}, d = {there.dimension}")


def _transient(ds: xr.Dataset, there: Cells) -> Figure:
    from thermosim.plots import sphere_cell

    return sphere_cell.transient(ds, there, f"Relaxation of the radius, {NAMES[there.protocol]}, d = {there.dimension}")
