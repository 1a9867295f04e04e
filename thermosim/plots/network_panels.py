"""Layers of a network: their gradients, which come to balance, and the charges between them that drift until then.

Lines of charges are exact: what the recorded gradients make of that of the first frame (`checks.network_charges`).

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025).
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.checks.entropic_solution import traces
from thermosim.checks.network_charges import layer_charges, obeys
from thermosim.models.network_books import LAYER, layer_gradient_square
from thermosim.plots import style
from thermosim.plots.labels import label
from thermosim.plots.learning_points import Point
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw

__all__ = ["charges", "gradients", "sharpness"]

_NAME = layer_gradient_square.name
_MARKS = 24


def gradients(point: Point) -> Draw | None:
    """Squared gradient of a step, layer by layer: mean between two frames."""
    if _NAME not in point.ds or point.ds.sizes["step"] < 3:
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
        if style.is_logarithmic(each.mean(1)):
            style.log_ticks(panel, "y")
        legend(panel)

    return draw if each.shape[1] > 1 else None


def charges(point: Point) -> Draw | None:
    """Charges between neighbouring layers, measured and from the recorded gradients."""
    if _NAME not in point.ds or not obeys(point.machine) or point.machine.settings.theta.weight_decay:
        return None
    charge, gained = layer_charges(point.machine)  # (F, R, pairs) both
    steps, count = point.machine.steps, charge.shape[1]

    def draw(panel: Axes) -> None:
        few = style.pick(len(steps), _MARKS)
        for k, look in enumerate(style.looks(charge.shape[-1])):
            mean = charge[..., k].mean(1)
            error = charge[few, :, k].std(1, ddof=1) / np.sqrt(count)
            style.data(panel, steps[few], mean[few], error, look=look, label=f"layers {k + 1}, {k + 2}")
            style.theory(panel, steps, mean[0] + (gained[..., k] - gained[0, ..., k]).mean(1), color=look.color)
        several = point.machine.settings.theta.has_several_rates
        charged = "(|W_{k+1}|^2/f_{k+1} - |W_k|^2/f_k)/2" if several else "(|W_{k+1}|^2 - |W_k|^2)/2"
        panel.set(xlabel="step", ylabel=label(f"charge ${charged}$"))
        legend(panel)

    return draw if count > 1 else None


def sharpness(ds: xr.Dataset, everything: list[Point]) -> Draw | None:
    """Trace of the Hessian where SGD ends, against the learning rate, and what theory says of rate 0."""
    found = traces(ds, [point.machine for point in everything])
    if found is None:
        return None

    def draw(panel: Axes) -> None:
        style.data(panel, found.rates, found.mean, found.error, look=style.ENERGY, label="measured")
        value, error = found.limit
        style.data(panel, [0.0], [value], [error], look=style.ENTROPY, label="extrapolated")
        panel.axhline(found.exact, color=style.GREY, lw=1.2, label="entropic solution")
        panel.axhline(found.flattest, color=style.GREY, lw=1.0, ls=":", label="flattest")
        panel.set(xlabel="learning rate", ylabel="trace of the Hessian")
        panel.set_xlim(left=-0.05 * found.rates.max())
        legend(panel)

    return draw
