"""Losses of one row of data, by the outputs f (b, L) of a network and the targets y of the row.

    squared_error      |f - y|^2                                                    (no factor 1/2)
    absolute_error     sum_j |f_j - y_j|
    huber(w)           sum_j h(f_j - y_j),   h(e) = e^2 where |e| <= w, else w (2 |e| - w)
    cross_entropy      ln sum_k exp f_k - f_y, in nat; y is a class 0, 1, ...
    logistic           ln(1 + exp(-s f)),  s = 2 y - 1, in nat; y is the class 0 or 1

A loss adds factor l to loss (L) and writes d = factor dl/df (b, L); work (2, L) is scratch.

Sources: P. J. Huber, Ann. Math. Stat. 35, 73 (1964), twice his Eq. 3.4 so that it starts as the squared error; C. M.
Bishop, Pattern Recognition and Machine Learning, ch. 4.3, for those of classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import exp, fma, log

__all__ = ["Loss", "absolute_error", "cross_entropy", "huber", "logistic", "squared_error"]


@dataclass(frozen=True)
class Loss:
    """A loss; `classes(outputs)` is how many classes the one target numbers, 0 where targets are real numbers."""

    name: str
    made: Callable[[int], Callable[..., None]]  # of the number of outputs: the compiled function
    classes: Callable[[int], int] = lambda outputs: 0
    fault: Callable[[int], str] = lambda outputs: ""  # why it cannot be one of so many outputs


def _of_errors(function: Callable[..., Any]) -> Callable[[int], Callable[..., None]]:
    """A sum over outputs of a function of f - y, which gives its value and its slope."""

    def made(outputs: int) -> Callable[..., None]:
        @inlined
        def add(f, targets, factor, loss, d, work):  # type: ignore[no-untyped-def]
            for j in range(outputs):
                output, y, slope = f[j], targets[j], d[j]
                for lane in range(loss.shape[0]):
                    value, steepness = function(output[lane] - y[lane])
                    slope[lane] = factor * steepness
                    loss[lane] = fma(factor, value, loss[lane])

        return add

    return made


@inlined
def _square(e):  # type: ignore[no-untyped-def]
    return e * e, 2.0 * e


@inlined
def _size(e):  # type: ignore[no-untyped-def]
    """A NaN gives one for slope, too."""
    return abs(e), 1.0 if e > 0.0 else -1.0 if e < 0.0 else e


def huber(width: float = 1.0) -> Loss:
    """Squared where it is below the width, and linear above it. Raises ValueError unless the width is positive."""
    if not isinstance(width, (int, float)) or not width > 0.0:
        raise ValueError(f"huber({width!r}): expected a positive width")
    w = float(width)

    @inlined
    def of_error(e):  # type: ignore[no-untyped-def]
        clipped = max(min(e, w), -w)
        return clipped * (2.0 * e - clipped), 2.0 * clipped

    return Loss("huber", _of_errors(of_error))


def _cross_entropy(outputs: int) -> Callable[..., None]:
    @inlined
    def add(f, targets, factor, loss, d, work):  # type: ignore[no-untyped-def]
        """The largest output is taken off first."""
        target, top, total = targets[0], work[0], work[1]
        for lane in range(loss.shape[0]):
            top[lane] = f[0, lane]
            total[lane] = 0.0
        for j in range(1, outputs):
            output = f[j]
            for lane in range(loss.shape[0]):
                top[lane] = max(top[lane], output[lane])
        for j in range(outputs):
            output, slope = f[j], d[j]
            for lane in range(loss.shape[0]):
                slope[lane] = exp(output[lane] - top[lane])
                total[lane] += slope[lane]
        for lane in range(loss.shape[0]):
            loss[lane] = fma(factor, log(total[lane]), loss[lane])
            total[lane] = factor / total[lane]
        for j in range(outputs):
            output, slope = f[j], d[j]
            for lane in range(loss.shape[0]):
                here = factor if target[lane] == j else 0.0
                loss[lane] = fma(here, top[lane] - output[lane], loss[lane])
                slope[lane] = fma(slope[lane], total[lane], -here)

    return add


def _logistic(outputs: int) -> Callable[..., None]:
    @inlined
    def add(f, targets, factor, loss, d, work):  # type: ignore[no-untyped-def]
        """exp is taken of numbers that are not positive, so that none overflows."""
        output, target, slope = f[0], targets[0], d[0]
        for lane in range(loss.shape[0]):
            sign = fma(2.0, target[lane], -1.0)
            margin = sign * output[lane]
            small = exp(-abs(margin))
            above = 1.0 + small
            # ln(1 + small) without loss of digits
            tail = small if above == 1.0 else log(above) * (small / (above - 1.0))
            loss[lane] = fma(factor, max(-margin, 0.0) + tail, loss[lane])
            slope[lane] = -factor * sign * ((small if margin > 0.0 else 1.0) / above)

    return add


def _too_few(outputs: int) -> str:
    return "" if outputs > 1 else "cross_entropy needs an output for each class, two at least"


def _too_many(outputs: int) -> str:
    return "" if outputs == 1 else "logistic tells two classes by one output; use cross_entropy for more"


squared_error = Loss("squared_error", _of_errors(_square))
absolute_error = Loss("absolute_error", _of_errors(_size))
cross_entropy = Loss("cross_entropy", _cross_entropy, lambda outputs: outputs, _too_few)
logistic = Loss("logistic", _logistic, lambda outputs: 2, _too_many)
