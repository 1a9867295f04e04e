"""Layers of a network: their gradients, which come to balance, and the charges between them that drift until then.

Lines of charges are exact: what the recorded gradients make of that of the first frame (`checks.charges`).

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025).
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.checks.entropic_solution import traces
from thermosim.checks.network_charges import charges_of, layers_of
from thermosim.models.network_books import LAYER, layer_gradient_square
from thermosim.plots import style
from thermosim.plots.labels import label
from thermosim.plots.learning_points import Point
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw

__all__ = ["charges", "gradients", "sharpness"]

_NAME = layer_gradient_square.name
_MARKS = 24
_DEEPEST = 8  # layers that are told apart


def gradients(point: Point) -> Draw | None:
    """Squared gradient of a step, layer by layer: mean between two frames."""
    if _NAME not in point.ds or point.ds.sizes["step"] < 3 or point.ds.sizes[LAYER] > _DEEPEST:
        return None
    sums = point.ds[_NAME].transpose("step", "replica", LAYER)
    steps = sums["step"].values
    each = np.diff(sums.values, axis=0) / np.diff(steps)[:, None, None]
    middle = 0.5 * (steps[1:] + steps[:-1])

    def draw(panel: Axes) -> None:
        few = style.pick(len(middle), _MARKS)
        for k, look in enumerate(style.looks(each.shape[-1])):
            mean, error = each[few, :, k].mean(1), each[few, :, k].std(1, ddof=1) / np.sqrt(each.shape[1])
            style.data(panel, middle[few], mean, error, look=look, label=f"layer {k + 1}")
        panel.set(xlabel="step", ylabel=label("squared gradient $|g_k|^2$", "energy^2"))
        panel.set_title(point.label, loc="right")
        if style.is_logarithmic(each.mean(1)):
            style.log_ticks(panel, "y")
        legend(panel)

    return draw if each.shape[1] > 1 else None


def charges(point: Point) -> Draw | None:
    """Charges between neighbouring layers, measured and from the recorded sums."""
    symmetry = layers_of(point.machine)
    if symmetry is None:
        return None
    charge, gained = charges_of(point.machine, symmetry)  # (F, R, pairs) both
    if charge.shape[-1] >= _DEEPEST:
        return None
    steps, count = point.machine.steps, charge.shape[1]

    def draw(panel: Axes) -> None:
        few = style.pick(len(steps), _MARKS)
        for k, look in enumerate(style.looks(charge.shape[-1])):
            mean = charge[..., k].mean(1)
            error = charge[few, :, k].std(1, ddof=1) / np.sqrt(count)
            style.data(panel, steps[few], mean[few], error, look=look, label=f"layers {k + 1}, {k + 2}")
            style.theory(panel, steps, mean[0] + (gained[..., k] - gained[0, ..., k]).mean(1), color=look.color)
        panel.set(xlabel="step", ylabel=label("charge $(|W_{k+1}|^2 - |W_k|^2)/2$"))
        panel.set_title(point.label, loc="right")
        legend(panel)

    return draw if count > 1 else None


def sharpness(ds: xr.Dataset, everything: list[Point]) -> Draw | None:
    """Trace of the Hessian where SGD ends, against the learning rate, and what theory says of rate 0."""
    found = traces(ds, [point.machine for point in everything])
    if not found:
        return None
    alone = len(found) == 1

    def draw(panel: Axes) -> None:
        for ray, look in zip(found, [style.ENERGY] if alone else style.looks(len(found)), strict=True):
            told = "measured" if alone else f"$\\lambda/r$ = {ray.ratio:.3g}"
            style.data(panel, ray.rates, ray.mean, ray.error, look=look, label=told)
            end = style.ENTROPY if alone else look
            filled = {"mfc": "white" if alone else look.color}
            value, error = ray.limit
            style.data(panel, [0.0], [value], [error], look=end, label="extrapolated" if alone else "", **filled)
            panel.axhline(ray.exact, color=style.GREY if alone else look.color, lw=1.2, ls="-" if alone else "--")
        panel.plot([], [], color=style.GREY, lw=1.2, ls="-" if alone else "--", label="entropic solution")
        panel.axhline(found[0].flattest, color=style.GREY, lw=1.0, ls=":", label="flattest")
        panel.set(xlabel="learning rate", ylabel="trace of the Hessian")
        panel.set_xlim(left=-0.05 * max(ray.rates.max() for ray in found))
        legend(panel)

    return draw
