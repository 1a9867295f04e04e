"""Numbers of arXiv:2505.12387 on the entropic loss F = L + c r S, which a finite step r makes of the loss L.

Its coefficient c is measured in three ways, each extrapolated to r = 0:

    along paths          where descent leads other than flows of its own minibatches  (`analysis.entropic_parts`)
    by smaller steps     c for which n steps of r/n along grad F are one of r along grad L
    by a step back       c for which a step of -r along grad F undoes one of r along grad L

The last two are linear in c to leading order, so that c is where the difference of both ends is least; the error is
over starts, and besides what the last stage of the extrapolation, by halving r twice, has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import xarray as xr

from thermosim import analysis
from thermosim.analysis.machine import Machine, machines
from thermosim.exact import entropic_loss as theory
from thermosim.exact.entropic_parts import flow_step
from thermosim.papers.claims import Ensembles, Number
from thermosim.papers.numbers import of_replicas

__all__ = ["both_ways", "by_smaller_steps", "coefficients", "orders", "reversed_step", "there_and_back"]

_WHOLE, _MINIBATCHES = "all", 4  # of the sweep over theta.batch
_TAILS = 1.5  # errors of the coefficients along paths are a third too small: starts have long tails
_SQUARES = 16.0  # of a change of a coefficient from r/2 to 0, in units of the coefficient: what the line leaves
_ENOUGH = 0.12  # error of a coefficient, of itself, that does not hide a half of it
_ORDERS = 2.0  # of the change of an order from r and r/2 to r/2 and r/4: what is left of it
_LAST: dict[bytes, tuple[xr.Dataset, xr.Dataset]] = {}
_SMALLER = (2.0, 4.0, np.inf)
Gradient = theory.Gradient


def coefficients(ensembles: Ensembles, claimed: float) -> list[Number]:
    """Of discretisation in gradient descent and in SGD, and of noise in SGD, beside what is claimed of all."""
    found, _ = _analysed(ensembles["descent"])
    numbers = []
    for batch, part, words in (
        (_WHOLE, "discretisation", "of |grad L|^2, descent on all rows"),
        (_MINIBATCHES, "discretisation", f"of |grad L|^2, SGD, B = {_MINIBATCHES}"),
        (_MINIBATCHES, "noise", f"of Tr Cov/B, SGD, B = {_MINIBATCHES}"),
    ):
        place = [str(one) for one in found["batch"].values].index(str(batch))
        here = found.isel(batch=place).sel(of_entropy=part)
        left = _SQUARES * float(here["coefficient_change"]) ** 2
        numbers.append(
            Number(
                f"coefficient {words}",
                float(here["coefficient"]),
                float(np.hypot(_TAILS * here["coefficient_error"], left)),
                claimed,
                degrees_of_freedom=ensembles["descent"].sizes["replica"] - 1,
                enough=_ENOUGH,
            )
        )
    return numbers


def orders(ensembles: Ensembles, coefficient: float) -> list[Number]:
    """The order in r at which descent departs from the flow of F with this coefficient: 2 is claimed."""
    found = _analysed(ensembles["descent"])[1].sel(coefficient=coefficient)
    left = _ORDERS * abs(float(found["order_change"]))
    return [
        Number(
            f"order in eta of the distance from the flow of L + {coefficient:g} eta |grad L|^2",
            float(found["order"]),
            float(np.hypot(found["order_error"], left)),
            claimed=2.0,
            degrees_of_freedom=found.attrs["replicas"] - 1,
        )
    ]


def _analysed(ds: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Coefficients along paths, and orders: known for the last ensemble, which is asked for what is right, too."""
    key = ds["theta"].values.tobytes()
    if key not in _LAST:
        _LAST.clear()
        parts = analysis.entropic_parts(ds, (1,)).isel(substeps=0)
        whole = [str(one) for one in ds["batch"].values].index(_WHOLE)
        order = analysis.entropic_loss_order(ds.isel(batch=whole), (theory.COEFFICIENT, 1.0)).isel(parts=-1)
        _LAST[key] = parts, order
    return _LAST[key]


def by_smaller_steps(ensembles: Ensembles, claimed: float | None) -> list[Number]:
    """c for which n steps of r/n along grad F do what one along grad L does; (1 - 1/n)/4 where none is claimed."""
    numbers = []
    for count in _SMALLER:
        goal = theory.COEFFICIENT * (1.0 - 1.0 / count) if claimed is None else claimed
        words = (
            f"coefficient, {count:.0f} steps for one" if np.isfinite(count) else "coefficient, the flow for one step"
        )
        numbers.append(_number(words, *_limit(ensembles, partial(_smaller, count)), goal))
    return numbers


def reversed_step(ensembles: Ensembles) -> list[Number]:
    """By how much the F that takes a step back differs from that of the flow, where none is claimed."""
    (back, of_back), (flow, of_flow) = _limit(ensembles, _back), _limit(ensembles, partial(_smaller, np.inf))
    return [_number("coefficient by a step back, less that of the flow", back - flow, of_back + of_flow, 0.0)]


def both_ways(ensembles: Ensembles) -> list[Number]:
    """c of either."""
    back, flow = _limit(ensembles, _back), _limit(ensembles, partial(_smaller, np.inf))
    return [_number("coefficient by a step back", *back, 0.5), _number("coefficient of the flow", *flow, 0.25)]


def there_and_back(ensembles: Ensembles) -> list[Number]:
    """theta_2/theta_0 of L = theta^2/2 after a step of r along the gradient and one of -r, for r of the ensemble."""
    machine = _whole(ensembles)
    rate, start = float(machine.settings.theta.learning_rate), np.ones((1, 1))
    numbers = []
    for larger in (1.0, 10.0, 50.0):
        there = theory.descend(_harmonic, start, larger * rate, 1)
        back = float(theory.descend(_harmonic, there, -larger * rate, 1)[0, 0])
        numbers.append(Number(f"theta_2/theta_0, eta = {larger * rate:g}", back, 0.0, 1.0 - (larger * rate) ** 2))
    return numbers


def _harmonic(theta: np.ndarray) -> np.ndarray:
    return theta


def _whole(ensembles: Ensembles) -> Machine:
    """The machine that learns from all rows at every step."""
    return next(one for one in machines(ensembles["descent"]) if one.settings.theta.batch == _WHOLE)


def _smaller(count: float, gradient: Gradient, start: np.ndarray, rate: float, coefficient: float) -> np.ndarray:
    """What is between one step along grad L and so many for it along grad F, or the flow."""
    if np.isfinite(count):
        several = theory.descend(gradient, start, rate / count, int(count), coefficient * rate)
    else:
        several = flow_step(partial(theory.slope, gradient, coefficient=coefficient * rate), start, rate)
    return np.asarray(several - theory.descend(gradient, start, rate, 1))


def _back(gradient: Gradient, start: np.ndarray, rate: float, coefficient: float) -> np.ndarray:
    """What is between a start and where a step along grad L and one back along grad F lead."""
    there = theory.descend(gradient, start, rate, 1)
    return np.asarray(theory.descend(gradient, there, -rate, 1, coefficient * rate) - start)


def _limit(ensembles: Ensembles, difference: Callable[..., np.ndarray]) -> tuple[np.ndarray, float]:
    """c (R,) of the least difference at rate 0, from the starts of all replicas, and what may be left of the rate."""
    machine = _whole(ensembles)
    rows = np.stack([machine.data.of_set(int(number)) for number in machine.data_set()])
    start, rate = machine.theta(0), float(machine.settings.theta.learning_rate)

    def gradient(theta: np.ndarray) -> np.ndarray:
        return np.asarray(machine.evaluator.data_gradient(rows, theta)[1])

    first, second, third = (_least(partial(difference, gradient, start, rate / part)) for part in (1, 2, 4))
    lines = 2.0 * second - first, 2.0 * third - second
    found = (4.0 * lines[1] - lines[0]) / 3.0
    return found, abs(float((found - lines[1]).mean()))


def _number(words: str, values: np.ndarray, left: float, claimed: float) -> Number:
    number = of_replicas(words, values, claimed)
    return replace(number, error=float(np.hypot(number.error, left)))


def _least(difference: Callable[[float], np.ndarray]) -> np.ndarray:
    """c (R,) of the least |difference(c)|, linear in c to leading order."""
    without = difference(0.0)
    change = difference(1.0) - without
    return np.asarray(-(without * change).sum(1) / (change**2).sum(1))
