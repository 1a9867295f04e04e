"""Loss and accuracy along a run, on the rows learned from and on rows held out: mean and spread over replicas."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.learning_curves import learning_curves
from thermosim.plots import style
from thermosim.plots.labels import label
from thermosim.plots.learning_points import Point, spread
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw
from thermosim.plots.style import HEAT, WORK, Look

__all__ = ["panels"]

_FRAMES = 17
_FEWEST = 8  # replicas
_OPERATIONS = 1 << 32  # of all gradients of a figure, about: seconds
_DASHED = (0, (4, 1.5))  # rows held out, where colours are those of points


def panels(chosen: list[Point]) -> list[tuple[str, Callable[[], Draw | None]]]:
    """What makes a panel of the loss, where rows were held out, and one of accuracy, where targets are classes."""
    machine = chosen[0].machine
    section, model = machine.settings.data, machine.model
    if not model.is_loss or section is None or (section.fresh and section.test is None):
        return []
    curves: list[xr.Dataset] = []  # made once, by the first panel
    classified = model.classes is not None and model.classes(machine.constants) > 0
    makers = [("loss", section.test is not None, label("loss", "energy")), ("accuracy", classified, "accuracy")]
    return [(name, partial(_panel, chosen, curves, name, words)) for name, there, words in makers if there]


def _panel(chosen: list[Point], curves: list[xr.Dataset], name: str, words: str) -> Draw | None:
    """One quantity on both kinds of rows, of a few points of a sweep."""
    if "theta" not in chosen[0].ds or chosen[0].ds.sizes["step"] < 2:
        return None
    if not curves:
        curves += [learning_curves(_some(point, len(chosen))) for point in chosen]
    several = len(chosen) > 1
    kinds = [("", "rows learned from"), ("test_", "rows held out")]
    drawn = [(prefix, told) for prefix, told in kinds if f"{prefix}{name}" in curves[0]]

    def look_of(place: int, prefix: str) -> Look:
        one = style.looks(len(chosen))[place] if several else (HEAT if prefix else WORK)
        return one._replace(dashes=_DASHED if prefix else "-")

    def draw(panel: Axes) -> None:
        for place, (point, found) in enumerate(zip(chosen, curves, strict=True)):
            for prefix, told in drawn:
                each, look = found[f"{prefix}{name}_of_replica"].transpose("step", "replica"), look_of(place, prefix)
                second = bool(several and prefix and len(drawn) > 1)
                words_of = ("" if second else point.label) if several else told
                # of several points one band each: those of both kinds would hide each other
                values = each.values.mean(1, keepdims=True) if second else each.values
                style.band(panel, each["step"].values, values, look, words_of)
        if several and len(drawn) > 1:
            panel.plot([], [], color="0.3", ls=_DASHED, lw=1.2, label=drawn[-1][1])
        panel.set(xlabel="step", ylabel=words)
        values = np.concatenate([found[f"{prefix}{name}"].values for found in curves for prefix, _ in drawn])
        if name == "loss" and values.min() > 0.0 and values.max() > 4.0 * values.min():
            style.log_ticks(panel, "y")
        shown, there = curves[0].sizes["replica"], chosen[0].ds.sizes["replica"]
        panel.set_title("" if shown == there else f"{shown} of {there} replicas", loc="right")
        legend(panel)

    return draw


def _some(point: Point, points: int) -> xr.Dataset:
    """Frames and replicas that take no longer than seconds."""
    machine, model = point.machine, point.machine.model
    classes = model.classes(machine.constants) if model.classes is not None else 0
    section = machine.settings.data
    assert section is not None
    rows = 0 if section.fresh else machine.data.rows
    rows += 0 if machine.test_rows is None else len(machine.test_rows)
    frames = spread(point.ds.sizes["step"], _FRAMES)
    gradients = 1 if model.outputs is not None else max(classes, 1)
    price = points * len(frames) * rows * gradients * machine.evaluator.parameters
    replicas = style.pick(point.ds.sizes["replica"], max(_FEWEST, _OPERATIONS // max(price, 1)))
    return point.ds.isel(step=frames, replica=replicas)
