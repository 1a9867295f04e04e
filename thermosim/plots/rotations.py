"""How far weights whose length has no effect turn in a step, and how long they are, along the run.

A step that leaves |w| as it is turns by the angle |w' - w|/|w|, to order 2. Points are roots of mean squares over
replicas and some steps, lines what a stationary state has: exact of SGD, otherwise in a limit (`analysis.rotation`).
Source: A. Kosson, B. Messmer, M. Jaggi, ICML 2024, arXiv:2305.17212.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis.rotation import parts, rotation
from thermosim.exact.rotations import EXACT
from thermosim.plots import style
from thermosim.plots.learning_points import Point
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw

__all__ = ["angles", "lengths"]

_BLOCKS = 24  # of steps
_PARTS = 4  # of one point
_REPLICAS = 256
_NUMBERS = 1 << 25  # of theta


def angles(chosen: Sequence[Point]) -> Draw | None:
    """The angle of a step of every point and part."""
    found = _found(chosen)
    if not found:
        return None

    def draw(panel: Axes) -> None:
        for look, point, one in zip(style.looks(len(chosen)), chosen, found, strict=True):
            step, turned = _blocks(one["update_square"])
            for k in range(turned.shape[1]):
                words = point.label if k == 0 else ""
                style.data(panel, step, np.sqrt(turned[:, k]), look=look, label=words, ms=2.5)
            expected = math.sqrt(float(one["expected_square"][0]))
            exact = point.machine.theta_move.name in EXACT
            words = "" if exact else f"{point.label or 'theory'}, on pure noise".strip()
            if math.isfinite(expected):
                style.theory(panel, step[[0, -1]], [expected] * 2, color=look.color, ls=look.dashes, label=words)
        panel.set(
            xlabel="step",
            ylabel="turn of a step (rad)\n$\\langle|\\Delta w|^2\\rangle^{1/2}/\\langle|w|^2\\rangle^{1/2}$",
        )
        style.log_ticks(panel, "y")
        panel.set_title(_count(found), loc="right")
        legend(panel)

    return draw


def lengths(chosen: Sequence[Point]) -> Draw | None:
    """The mean length of every point and part."""
    found = _found(chosen)
    if not found:
        return None

    def draw(panel: Axes) -> None:
        for look, point, one in zip(style.looks(len(chosen)), chosen, found, strict=True):
            step, radius = _blocks(one["radius"])
            for k in range(radius.shape[1]):
                style.data(panel, step, radius[:, k], look=look, label=point.label if k == 0 else "", ms=2.5)
        panel.set(xlabel="step", ylabel=r"length $|w|$")
        style.log_ticks(panel, "y")
        panel.set_title(_count(found), loc="right")
        legend(panel)

    return draw


def _count(found: Sequence[xr.Dataset]) -> str:
    names = [str(name) for name in found[0]["part"].values]
    return f"{names[0]}" if len(names) == 1 else f"{len(names)} rows of weights each"


def _found(chosen: Sequence[Point]) -> list[xr.Dataset]:
    """Rotations of each point; none unless every point has free parts that decay, at every step."""
    found = []
    for point in chosen:
        ds = point.ds
        if "theta" not in ds or ds["theta"].size > _NUMBERS or ds.sizes["step"] < 5:
            return []
        if np.any(np.diff(ds["step"].values) != 1) or not point.machine.settings.theta.weight_decay:
            return []
        free = [k for k, part in enumerate(parts(point.machine)) if part.free][:_PARTS]
        if not free:
            return []
        known = rotation(ds.isel(replica=slice(_REPLICAS)))
        found.append(known.isel(part=free))
    return found


def _blocks(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Middle steps and means of blocks of steps, (B) and (B, parts)."""
    cuts = np.array_split(np.arange(values.sizes["step"]), min(_BLOCKS, values.sizes["step"]))
    table = values.transpose("step", "part").values
    step = values["step"].values
    return np.array([step[cut].mean() for cut in cuts]), np.array([table[cut].mean(0) for cut in cuts])
