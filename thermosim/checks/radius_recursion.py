"""Radii of scale-invariant networks, from frame to frame: exact but for the rounding of stored numbers.

    |w'|^2 = (1 - r lambda)^2 |w|^2 + r^2 |g|^2                       each scale, at a fixed learning rate
    |w'|^2/|w|^2 - 1 = -2 r lambda |w|^2 + (r lambda |w|^2)^2 + r^2 g_t^2     each radius, at a fixed effective one

with g_t = |w||g|, added up over steps. Squares are summed in float64, so what is left is that weights are stored to
half a spacing u: 2 <w, e> of errors e. They are independent from step to step where gradients dither them, and then
grow like sqrt(N u); a weight without a gradient rounds to the same side for long, though weights do not do so together.
The allowance is that of the worse: of D weights 2 |<w, e>| has a standard deviation of 0.42 u |w|^2 sqrt(3/D), for
normal weights, so that N u |w|^2 min(1, 3/sqrt(D)) is four of them if no weight at all has a gradient. (1) of
`scale_invariance` adds 2 r |<w, g>|. At a fixed effective rate the sum of |w|^4 is that of the means between
frames, and what radii may have moved within these is allowed.

Source: Z. Li, S. Arora, arXiv:1910.07454; I. Sadrtdinov et al., arXiv:2511.07308; finite steps and rounding by hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine
from thermosim.analysis.network_gas import layers_of_radii, layers_of_scales, of_layers

__all__ = ["COSINE", "of_scales", "recursions", "spacing", "to_rounding"]

COSINE = 16.0  # spacings that <w, g> may be off, over |w||g|
_STORED = 3.0  # spacings over the root of D, of |w|^2 in a step
_LR = "|w'|^2 = (1 - r lambda)^2 |w|^2 + r^2 |g|^2 at every step, to rounding"
_ELR = "|w'|^2/|w|^2 = (1 - r lambda |w|^2)^2 + r^2 g_t^2 at every step, to rounding and moves of |w|^2 between frames"


def spacing(machine: Machine) -> float:
    """Of numbers next to 1 at the precision of the run."""
    engine = machine.settings.engine
    return float(np.finfo(engine.precision if engine is not None else "float64").eps)


def to_rounding(quantity: str, found: Sequence[float], allowed: Sequence[float], reference: str) -> Comparison:
    """Numbers of every point that would be 0 without rounding."""
    zero = np.zeros(len(found))
    tolerance = np.asarray(allowed)
    return Comparison(quantity, np.asarray(found), zero, zero, 1.0, reference, tolerance=tolerance, scale=1.0)


def of_scales(machine: Machine, name: str) -> np.ndarray:
    """What a sum over layers gained since the first frame, added up in scales: (F - 1, R, scales)."""
    layers = machine.frames[name].transpose("step", "replica", "layer").values
    return of_layers(layers[1:] - layers[:1], layers_of_scales(machine))


def recursions(everyone: Sequence[Machine]) -> list[Comparison]:
    """Both, each where it is how all points move and its sums are recorded."""
    if len(everyone[0].steps) < 2:
        return []
    there = everyone[0].frames
    if {"layer_weight_square", "layer_gradient_square", "layer_weight_gain"} <= set(there) and all(
        map(_is_plain, everyone)
    ):
        title = "largest residual of |w|^2 between frames, over its sum"
        return [_row(title, [_at_rate(machine) for machine in everyone], _LR)]
    if {"layer_weight_square", "gradient_square", "radius_growth"} <= set(there) and all(map(_is_effective, everyone)):
        title = "largest residual of the growth of |w|^2 between frames, over its parts"
        return [_row(title, [_at_effective_rate(machine) for machine in everyone], _ELR)]
    return []


def _row(title: str, found: Sequence[tuple[np.ndarray, np.ndarray]], reference: str) -> Comparison:
    """Residuals and what is allowed of them: of every point the one that comes nearest to it, or is furthest above."""
    at = [int(np.argmax(np.where(np.isfinite(off), off / most, np.inf))) for off, most in found]
    residual, allowed = ([float(pair[k].ravel()[i]) for pair, i in zip(found, at, strict=True)] for k in (0, 1))
    return to_rounding(title, residual, allowed, reference)


def _at_rate(machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    """Between the first frame and each other, over the sum of |w|^2: (F - 1, R, scales)."""
    theta, u = machine.settings.theta, spacing(machine)
    rate, decay = float(theta.learning_rate), float(theta.weight_decay)
    names = ("layer_weight_square", "layer_gradient_square", "layer_weight_gain")
    weight, gradient, gain = (of_scales(machine, name) for name in names)
    falls = rate * decay * (2.0 - rate * decay)
    residual = gain + falls * weight - rate**2 * gradient
    across = 2.0 * COSINE * u * np.sqrt(weight * gradient) * rate
    hyper = 4.0 * u * (falls * weight + rate**2 * gradient)  # r and lambda are rounded themselves
    stored = weight * u * _stored(machine, layers_of_scales(machine))
    return np.abs(residual) / weight, (across + hyper + stored) / weight


def _at_effective_rate(machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    """Between the first frame and each other, all radii together, over the sum of decay and growth: (F - 1, R)."""
    theta, u = machine.settings.theta, spacing(machine)
    rate, decay = float(theta.learning_rate), float(theta.weight_decay)
    radii, lengths = layers_of_radii(machine), np.diff(machine.steps)[:, None, None]
    layers = machine.frames["layer_weight_square"].transpose("step", "replica", "layer").values
    square = of_layers(np.diff(layers, axis=0), radii) / lengths  # of intervals, means
    sums = (machine.frames[name].transpose("step", "replica").values for name in ("gradient_square", "radius_growth"))
    gradient, growth = (values[1:] - values[:1] for values in sums)
    x = 2.0 * rate * decay * square
    falls, curved = np.cumsum((lengths * x).sum(-1), 0), np.cumsum((lengths * x**2 / 4.0).sum(-1), 0)
    residual = growth + falls - curved - rate**2 * gradient
    steps = (machine.steps[1:] - machine.steps[0])[:, None]
    across = 2.0 * COSINE * u * rate * np.sqrt(steps * len(radii) * gradient)
    hyper = 4.0 * u * (falls + rate**2 * gradient)
    stored = steps * u * _stored(machine, radii).sum()
    # |w|^2 moves by at most this share of itself within an interval, and its variance there is a quarter of the square
    each = np.diff(np.concatenate([np.zeros((1, gradient.shape[1])), gradient]), axis=0)[..., None]
    moves = np.minimum(lengths * x + rate**2 * each, 1.0)
    within = np.cumsum((lengths * x**2 / 4.0 * moves**2 / 4.0).sum(-1), 0)
    over = falls + rate**2 * gradient
    return np.abs(residual) / over, (across + hyper + stored + within) / over


def _stored(machine: Machine, parts: Sequence[Sequence[int]]) -> np.ndarray:
    """Spacings by which |w|^2 of each part may be off in a step, for numbers that are stored to half of one."""
    groups = machine.model.groups(machine.constants)
    sizes = [sum(math.prod(groups[place].shape(machine.constants)) for place in part) for part in parts]
    return np.minimum(1.0, _STORED / np.sqrt(sizes))


def _has_numbers(machine: Machine) -> bool:
    theta = machine.settings.theta
    numbers = all(isinstance(value, (int, float)) for value in (theta.learning_rate, theta.weight_decay))
    return numbers and machine.settings.run.direction == "forward"


def _is_plain(machine: Machine) -> bool:
    """Whether the first is how it moves: also of SGD without a constraint, momentum or rates by group."""
    theta, move = machine.settings.theta, machine.theta_move
    if theta.constraint is not None or not _has_numbers(machine):
        return _has_numbers(machine) and theta.constraint == "fixed-lr"
    return move.retraces and not theta.momentum and theta.learn is None


def _is_effective(machine: Machine) -> bool:
    return _has_numbers(machine) and machine.settings.theta.constraint == "fixed-elr"
