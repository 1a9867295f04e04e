"""Panels of what a learning machine has learned to sample: images along training, or samples among the data.

The mean model density is that of the mixture p_t = <p(x|theta)> over replicas (Parsi 2024, Eq. 25), of the last frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from thermosim.analysis.mixtures import log_normalisers
from thermosim.data.section import PACKAGED
from thermosim.data.tables import DataError
from thermosim.plots import style
from thermosim.plots.learning_points import Point
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw

__all__ = ["image_rows", "law", "panel"]

_BLUE, _RED = style.SAMPLES.color, style.MODEL.color
_ROWS, _COLUMNS = 5, 10  # of images
_DOTS = 1000
_MIXTURE = 256  # replicas of a mean density
_GRID = 80  # points a side
_STATES = 10  # components of discrete x whose states are listed
_LISTED = 64  # states


def panel(point: Point) -> Draw | None:
    """The picture that suits the dimension of x. Raises ValueError where there is nothing to show."""
    if not point.machine.settings.x:
        return None
    if not {"x", "theta"} & set(point.ds):
        raise ValueError("neither x nor theta is among the recorded variables")
    n, model, source = point.machine.evaluator.components, point.machine.model, point.machine.settings.data
    side = round(n**0.5)
    if "x" in point.ds and side * side == n and n > 1 and (source.source if source else None) in PACKAGED:
        return partial(_images, point=point, side=side)
    if model.discrete and n <= _STATES:
        return partial(_states, point=point)
    if n == 1:
        return partial(_line, point=point)
    if "x" not in point.ds and _data(point) is None:
        raise ValueError("neither x nor data are to be had")
    return partial(_plane, point=point)


def law(point: Point, x: np.ndarray) -> Draw | None:
    """The law of real x of one or two components, beside samples (S, n) of it; None of more."""
    n = point.machine.evaluator.components
    if point.machine.model.discrete or n > 2:
        return None
    return partial(_line if n == 1 else _plane, point=point, samples=x)


def _images(panel: Axes, point: Point, side: int) -> None:
    """A row of data, and rows of the same chains along training."""
    machine = point.machine
    frames = style.pick(len(machine.steps), _ROWS)
    rows, names = [machine.x(frame).swapaxes(0, 1).reshape(-1, side, side)[:_COLUMNS] for frame in frames], []
    data = _data(point)
    if data is not None:
        some = data[np.linspace(0, len(data) - 1, len(rows[0])).astype(int)]
        rows, names = [some.reshape(-1, side, side), *rows], ["data"]
    names += [f"step {machine.steps[frame]}" for frame in frames]
    image_rows(panel, rows, names, "samples: one chain a column")


def image_rows(panel: Axes, rows: Sequence[np.ndarray], names: Sequence[str], title: str) -> None:
    """Square images (K, side, side) row by row, with a name for each row; the first row has the range of grey."""
    side = rows[0].shape[-1]
    gap = max(1, side // 8)
    canvas = np.full((len(rows), side + gap, len(rows[0]), side + gap), np.nan)
    low, high = np.nanmin(rows[0]), np.nanmax(rows[0])
    for k, images in enumerate(rows):
        canvas[k, :side, :, :side] = images.swapaxes(0, 1)
    canvas = canvas.reshape(len(rows) * (side + gap), -1)[:-gap, :-gap]
    panel.imshow(canvas, cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
    panel.set_yticks((side + gap) * np.arange(len(rows)) + side / 2 - 0.5, names)
    panel.set_xticks([])
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.set_title(title, loc="right")


def _line(panel: Axes, point: Point, samples: np.ndarray | None = None) -> None:
    """Densities of data, samples and models of one component."""
    data, x = _data(point), _samples(point) if samples is None else samples
    both = np.concatenate([part.ravel() for part in (data, x) if part is not None] or [np.array([-3.0, 3.0])])
    low, high = np.quantile(both, [0.0, 1.0])
    margin = 0.1 * (high - low) + 1e-9
    fewest = min(part.size for part in (data, x) if part is not None) if both.size else 1
    edges = np.linspace(low - margin, high + margin, int(np.clip(1.5 * np.sqrt(fewest), 8, 40)) + 1)
    if data is not None:
        panel.stairs(*_density(data, edges), color="0.8", fill=True, label="data")
    if x is not None:
        panel.stairs(*_density(x, edges), color=_BLUE, label="samples of all replicas")
    grid = np.linspace(edges[0], edges[-1], 400)
    density = _mixture(point, grid[:, None])
    if density is not None:
        style.theory(panel, grid, density, color=_RED, label="mean density of the models")
    panel.set(xlabel="$x$", ylabel="probability density")
    _finish(panel, point)


def _plane(panel: Axes, point: Point, samples: np.ndarray | None = None) -> None:
    """Two components, or the first two principal components of the data, with contours where x has only two."""
    data, x = _data(point), _samples(point) if samples is None else samples
    n = point.machine.evaluator.components
    reference = data if data is not None else x
    assert reference is not None
    center, axes = np.zeros(n), np.eye(n)
    if n > 2:
        center = reference.mean(axis=0)
        axes = np.linalg.svd(reference - center, full_matrices=False)[2]
        axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    planes = [None if values is None else (values - center) @ axes[:2].T for values in (data, x)]
    _square(panel, np.concatenate([plane for plane in planes if plane is not None]))
    for plane, colour, label, dot in zip(planes, ("0.6", _BLUE), ("data", "samples"), (9.0, 4.0)):
        if plane is not None:
            u, v = plane[np.linspace(0, len(plane) - 1, min(_DOTS, len(plane))).astype(int)].T
            panel.scatter(u, v, s=dot, color=colour, lw=0, alpha=0.8, label=label, rasterized=True)
    if n == 2:
        _contours(panel, point)
        panel.set(xlabel="$x_1$", ylabel="$x_2$")
    else:
        panel.set(xlabel="principal component 1", ylabel="principal component 2")
    panel.set_title(f"step {point.machine.steps[-1]}", loc="right")
    panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), markerscale=1.5).set_in_layout(False)


def _square(panel: Axes, points: np.ndarray) -> None:
    """Equal scales, and limits that leave out a few stray points at most; the free side is for the legend."""
    low, high = np.quantile(points, [0.001, 0.999], axis=0)
    center, half = 0.5 * (low + high), 0.55 * float((high - low).max()) + 1e-9
    panel.set(xlim=(center[0] - half, center[0] + half), ylim=(center[1] - half, center[1] + half))
    panel.set_aspect("equal", adjustable="box", anchor="W")


def _contours(panel: Axes, point: Point) -> None:
    """Lines of equal mean density, that hold half and nine tenths of the probability within."""
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    u, v = np.linspace(left, right, _GRID), np.linspace(bottom, top, _GRID)
    density = _mixture(point, np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2))
    if density is None:
        return
    order = np.sort(density)[::-1]
    share = np.cumsum(order) / order.sum()
    levels = [float(order[np.searchsorted(share, held)]) for held in (0.9, 0.5)]
    if 0.0 < levels[0] < levels[1]:
        panel.contour(u, v, density.reshape(_GRID, _GRID), levels=levels, colors=_RED, linewidths=1.0)
        panel.plot([], [], color=_RED, lw=1.0, label="models:\n50 % and\n90 % within")


def _states(panel: Axes, point: Point) -> None:
    """Probabilities of all states of discrete x, sorted by their frequency in the data."""
    machine, data, x = point.machine, _data(point), _samples(point)
    states, number = _listed(machine.model.levels, machine.evaluator.components)
    model = _mixture(point, states)
    sets = [None if rows is None else _frequencies(number(rows), len(states)) for rows in (data, x)]
    known = [values for values in (sets[0], model, sets[1]) if values is not None]
    order = np.lexsort([-values for values in reversed(known)])[:_LISTED]
    rank = np.arange(1, len(order) + 1)
    if sets[0] is not None:
        edges = np.arange(len(order) + 1) + 0.5
        panel.stairs(_positive(sets[0][order]), edges, baseline=None, color="0.4", lw=1.2, label="data")
    if sets[1] is not None:
        label = "samples of all replicas"
        panel.plot(rank, _positive(sets[1][order]), "o", mfc="white", ms=4, color=_BLUE, label=label)
    if model is not None:
        panel.plot(rank, model[order], color=_RED, lw=1.0, label="mean of the models", zorder=1.5)
    label = "state, by its frequency in the data" if sets[0] is not None else "state"
    if len(order) < len(states):
        label += f"\n{len(order)} of {len(states)} states, {known[0][order].sum():.0%} of the probability"
    panel.set(xlabel=label, ylabel="probability", yscale="log")
    _finish(panel, point)


def _finish(panel: Axes, point: Point) -> None:
    panel.set_title(f"samples at step {point.machine.steps[-1]}", loc="right")
    legend(panel)


def _data(point: Point) -> np.ndarray | None:
    """Rows of the first data set, or None where there are none to be had."""
    try:
        return point.machine.data.of_set(0)
    except (ValueError, DataError, OSError):
        return None


def _samples(point: Point) -> np.ndarray | None:
    """All samples of the last frame, (S, n)."""
    if "x" not in point.ds:
        return None
    x = point.machine.x(-1)
    return x.reshape(-1, x.shape[-1])


def _mixture(point: Point, where: np.ndarray) -> np.ndarray | None:
    """<p(x|theta)> over replicas at points (P, n), or None without theta, or a normaliser within seconds."""
    machine = point.machine
    if "theta" not in point.ds or (not machine.model.normalised and machine.model.support(machine.constants) is None):
        return None
    theta = machine.theta(-1)
    theta = theta[style.pick(len(theta), _MIXTURE)]
    normaliser = log_normalisers(machine, theta)[0]
    return np.asarray(np.exp(-machine.evaluator.surprisals(where, theta) - normaliser[:, None]).mean(axis=0))


def _density(values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counts = np.histogram(values, edges)[0]
    return counts / max(values.size, 1) / np.diff(edges), edges


def _listed(levels: tuple[float, float], n: int):  # type: ignore[no-untyped-def]
    """All states (2^n, n), and a function that gives the number of the state of rows (K, n)."""
    low, high = levels
    bits = 1 << np.arange(n)

    def number(rows: np.ndarray) -> np.ndarray:
        return np.asarray((rows > 0.5 * (low + high)) @ bits)

    states = np.where(np.arange(2**n)[:, None] & bits, high, low).astype(float)
    return states, number


def _frequencies(numbers: np.ndarray, states: int) -> np.ndarray:
    return np.bincount(numbers, minlength=states) / max(len(numbers), 1)


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0.0, values, np.nan)
