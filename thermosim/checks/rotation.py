"""Weights whose length has no effect turn by an exact law of SGD: the product of neighbours, and the squared step.

    w_t.w_(t+1) + a w_(t-1).w_t = (1 + a - r lambda) |w_t|^2         at every step of every replica, to rounding
    <|w' - w|^2> = 2 r lambda <|w|^2>/(1 + a)                        in a stationary state

The second is compared along the later half of a record of every step at constant rates, where what |w|^2 has drifted,
which is its tolerance, is a small part of it. Source: `exact.rotations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.estimates import gathered
from thermosim.analysis.machine import Machine
from thermosim.analysis.rotation import Part, expected_square, law_of_products, parts, path
from thermosim.checks.means import is_nearly_normal, mean_comparison
from thermosim.exact.rotations import residual

__all__ = ["rotation_comparisons"]

_STORED = 32.0  # spacings of the numbers that are stored, which may be float32
_DRIFT = 0.02  # of the law, at most
_FEWEST = 20  # steps of a record
_MOST = 1 << 26  # numbers of theta that are looked at
_PRODUCTS = "exact recursion of w.w' of SGD at every step, to rounding"
_STATIONARY = "stationary |w|^2 of SGD, exact at any step: 2 r lambda/(1 + a)"


def rotation_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """None without weight decay, theta at neighbouring steps, or weights whose length has no effect."""
    if "theta" not in ds or ds.sizes["step"] < 3 or np.any(np.diff(ds["step"].values) != 1):
        return []
    laws = [law_of_products(machine) for machine in everyone]
    free = [[part for part in parts(machine) if part.free] for machine in everyone]
    if any(law is None or not np.any(law[0]) for law in laws) or not free[0] or len({len(one) for one in free}) > 1:
        return []
    if ds["theta"].size > _MOST:
        return []
    worst, rounding = 0.0, 0.0
    for machine, here in zip(everyone, free, strict=True):
        for part in here:
            found, allowed = _residual(machine, part)
            worst, rounding = max(worst, found), max(rounding, allowed)
    zero = np.zeros(())
    row = Comparison(
        "largest residual of w.w' over |w|^2",
        np.asarray(worst),
        zero,
        zero,
        max(ds.sizes["replica"] - 1, 1),
        _PRODUCTS,
        tolerance=rounding,
        scale=1.0,
    )
    return [row, *_stationary(ds, everyone, free)]


def _residual(machine: Machine, part: Part) -> tuple[float, float]:
    """The largest of any replica and step, and what rounding may make of it."""
    w, shrink, momentum = _law(machine, part)
    largest = float(((np.diff(w, axis=0) ** 2).sum(-1) / (w[:-1] ** 2).sum(-1)).max()) ** 0.5
    spacing = float(np.finfo(machine.frames["theta"].dtype).eps)
    allowed = _STORED * spacing * (1.0 + momentum) * (1.0 + largest) * (1.0 + float(np.abs(shrink).max()))
    return float(np.abs(residual(w, shrink, momentum)).max()), allowed


def _law(machine: Machine, part: Part) -> tuple[np.ndarray, np.ndarray, float]:
    """w (F, R, n), r lambda of the steps between frames (F - 1, R or 1), and the momentum."""
    law = law_of_products(machine)
    assert law is not None
    w, shrink = path(machine, part), law[0][machine.steps[:-1]]
    if machine.settings.theta.constraint == "fixed-elr":
        shrink = shrink * (w[:-1] ** 2).sum(-1)
    return w, shrink, law[1]


def _stationary(ds: xr.Dataset, everyone: Sequence[Machine], free: Sequence[Sequence[Part]]) -> list[Comparison]:
    """<|w' - w|^2> of each part over what it is in a stationary state."""
    first = ds.sizes["step"] // 2
    if ds.sizes["step"] - first < _FEWEST:
        return []
    ratios, tolerances = [], []
    for machine, here in zip(everyone, free, strict=True):
        for part in here:
            expected, (w, _, momentum) = expected_square(machine, part), _law(machine, part)
            late, square = w[first:], (w**2).sum(-1)
            moved, weight = (np.diff(late, axis=0) ** 2).sum((0, -1)), square[first:-1].sum(0)
            products = [(w[k] * w[k + 1]).sum(-1) for k in (first - 1, -2)]
            drift = square[-1] - square[first] - 2.0 * momentum / (1.0 + momentum) * (products[1] - products[0])
            law = expected * weight.mean()
            ratios.append((moved - expected * weight) / law)
            tolerances.append(abs(drift.mean()) / law)
    if not np.all(np.asarray(tolerances) < _DRIFT):  # NaN, where nothing is expected, is not
        return []
    shape = (len(everyone), len(free[0]), -1)
    values = 1.0 + gathered(ds, list(np.reshape(ratios, shape)), ("part", "replica"))
    row = mean_comparison(ds, "mean |w' - w|^2 over that of a stationary state", values, 1.0, _STATIONARY, "part")
    row = replace(row, tolerance=np.reshape(tolerances, row.measured.shape))
    return [row] if is_nearly_normal(row) else []
