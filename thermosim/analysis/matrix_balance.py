"""Balance of adjacent linear layers: two matrices of their gradients that are equal where the entropic loss is least.

    f depends on W_i and W_(i+1) through K = W_(i+1) W_i,  G = dl/dK,  g_i = W_(i+1)'G,  g_(i+1) = G W_i'

    before  <g_i g_i'> = W_(i+1)' <G G'> W_(i+1)        after  <g_(i+1)'g_(i+1)> = W_i <G'G> W_i'

They are equal in every stationary state of F = L + (r/4) <|g_B|^2> without weight decay, averages being over
minibatches at one theta. Of SGD another thing is exact: W_i W_i' - W_(i+1)'W_(i+1) changes at every step by
r^2 (g_i g_i' - g_(i+1)'g_(i+1)). So means over a stationary law of theta are equal, too, while at a single theta they
are only to the order of the rate, and where SGD rests at the least F (`checks.entropic_solution`).

With D = before - after, S = before + after, imbalance = sum |D|^2/sum |S|^2 over replicas, which no rotation of hidden
units changes: 0 to 1. Of fresh rows the squares are estimated without bias, by products of different minibatches.

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), with transposes by hand. Every X comes with X_error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import special

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put_mean, require
from thermosim.analysis.loss_gradients import own_rows
from thermosim.analysis.machine import Machine, machines

__all__ = ["matrix_balance"]

FALSE_ALARMS = 0.01  # probability that balance is not seen where it is reached
_LINEAR = 1e-8  # relative difference of W_(i+1)'g_(i+1) and g_i W_i', of layers with nothing in between
_FEWEST = 4  # replicas


@of_survivors
def matrix_balance(ds: xr.Dataset, minibatches: int = 32, frame: int = -1) -> xr.Dataset:
    """Both matrices, means over replicas, and their imbalance in one frame: dims axes, pair[, unit, other_unit].

    pair counts from 0 those layers that follow each other with nothing but a product in between. before, after: NaN
    beyond the width. imbalance: 0 where they are equal in every replica. Over all rows of each replica, or of fresh
    ones over so many `minibatches`, others for each. Of fresh ones besides: `score`, how far the mean of |D|^2 is above
    0 in standard errors, and `balanced`, whether that is chance by Student's law, at a probability of 0.01: measured, 0
    to 0.012 of normal rows at 30 to 400 replicas, less than that law has for want of its upper tail. Of kept rows
    nothing is sampled, and the imbalance is that of theta itself.

    Raises ValueError without theta, for fewer than 4 replicas or 2 minibatches, where the model says no layers, or none
    that follow each other linearly.
    """
    require(ds, "theta")
    if minibatches < 2:
        raise ValueError(f"minibatches = {minibatches}: a square without bias needs 2")
    if ds.sizes["replica"] < _FEWEST:
        raise ValueError(f"{ds.sizes['replica']} replicas are too few for errors: take {_FEWEST}")
    each = [_of_point(machine, minibatches, frame) for machine in machines(ds)]
    if len({one.pairs for one in each}) > 1 or len({one.before.shape for one in each}) > 1:
        raise ValueError("points of the sweep have other layers each: select one, ds.isel(...)")
    result, coords = xr.Dataset(), {"pair": list(each[0].pairs)}
    for name, what in (("before", "<g_i g_i'>"), ("after", "<g_(i+1)'g_(i+1)>")):
        values = gathered(ds, [getattr(one, name) for one in each], ("replica", "pair", "unit", "other_unit"), coords)
        put_mean(result, name, values, "energy^2", what, "mean over minibatches and replicas")
        result[name].attrs["undefined"] = "there are no more units in this layer"
    values = gathered(ds, [_pseudo_ratio(one) for one in each], ("replica", "pair"), coords)
    put_mean(result, "imbalance", values, "1", "sum of |D|^2/sum of |S|^2", "0 where F is least, at most 1")
    if all(one.sampled for one in each):
        score = gathered(ds, [_score(one.difference) for one in each], ("pair",), coords)
        result["score"] = score.assign_attrs(units="1", long_name="standard errors of the mean |D|^2 above 0")
        bound = special.stdtrit(ds.sizes["replica"] - 1, 1.0 - FALSE_ALARMS)
        result["balanced"] = (score < bound).assign_attrs(
            long_name="no imbalance beyond chance", nominal_false_alarm_rate=FALSE_ALARMS, condition="at this frame"
        )
    return result


class _Found(NamedTuple):
    """Of one point: R replicas, P pairs of layers, h the largest width between two."""

    pairs: tuple[int, ...]
    before: np.ndarray  # (R, P, h, h)
    after: np.ndarray  # (R, P, h, h)
    difference: np.ndarray  # |D|^2 without bias (R, P)
    total: np.ndarray  # |S|^2 without bias (R, P)
    sampled: bool


def _of_point(machine: Machine, count: int, frame: int) -> _Found:
    if machine.model.layers is None:
        raise ValueError(f"the model {machine.model.name!r} has no layers: it is no network that says them")
    theta, section = machine.theta(frame), machine.settings.data
    if section is not None and section.fresh:
        batch = int(machine.settings.theta.batch)
        rows = own_rows(machine, count * batch)
        slopes = np.stack(
            [machine.evaluator.data_gradient(rows[:, k * batch : (k + 1) * batch], theta)[1] for k in range(count)]
        )
        return _sampled(machine, theta, slopes)
    return _over_rows(machine, theta)


def _sampled(machine: Machine, theta: np.ndarray, slopes: np.ndarray) -> _Found:
    """From gradients (K, R, m) of independent minibatches."""
    pairs = _linear_pairs(machine, theta, slopes[0])
    squares = _squares(machine, slopes, pairs)  # (2, K, R, P, h, h)
    before, after = squares
    difference, total = (_square_of_mean(np.nan_to_num(before + sign * after)) for sign in (-1.0, 1.0))
    return _Found(pairs, before.mean(0), after.mean(0), difference, total, sampled=True)


def _square_of_mean(values: np.ndarray) -> np.ndarray:
    """|<X>|^2 of matrices X (K, ..., h, h), without bias, from products of different ones: (...)."""
    count = len(values)
    apart = (values.sum(0) ** 2).sum((-2, -1)) - (values**2).sum((0, -2, -1))
    return np.asarray(apart / (count * (count - 1)))


def _over_rows(machine: Machine, theta: np.ndarray) -> _Found:
    """<g_B g_B'> = <g><g>' (1 - 1/B) + <g_1 g_1'>/B over all rows of the set of each replica."""
    batch, sets = machine.settings.theta.batch, machine.data_set()
    part = 0.0 if batch == "all" else 1.0 / int(batch)
    rows = np.stack([machine.data.of_set(number) for number in range(int(sets.max()) + 1)])[sets]  # (R, K, n)
    mean = machine.evaluator.data_gradient(rows, theta)[1]
    pairs = _linear_pairs(machine, theta, machine.evaluator.data_gradient(rows[:, :1], theta)[1])
    squares = (1.0 - part) * _squares(machine, mean[None], pairs)[:, 0]
    for k in range(rows.shape[1] if part else 0):
        of_row = machine.evaluator.data_gradient(rows[:, k : k + 1], theta)[1]
        squares = squares + part / rows.shape[1] * _squares(machine, of_row[None], pairs)[:, 0]
    before, after = squares
    difference, total = ((np.nan_to_num(before + sign * after) ** 2).sum((-2, -1)) for sign in (-1.0, 1.0))
    return _Found(pairs, before, after, difference, total, sampled=False)


def _linear_pairs(machine: Machine, theta: np.ndarray, slope: np.ndarray) -> tuple[int, ...]:
    """Places of layers i that layer i + 1 follows linearly: W_(i+1)'g_(i+1) = g_i W_i' of any row."""
    assert machine.model.layers is not None
    weights, slopes = (machine.model.layers(one, machine.constants) for one in (theta, slope))
    found = []
    for i in range(len(weights) - 1):
        width = weights[i].shape[-2]
        if weights[i + 1].shape[-1] < width:
            continue
        after = np.einsum("rpa,rpb->rab", weights[i + 1][..., :width], slopes[i + 1][..., :width])
        before = np.einsum("rak,rbk->rab", slopes[i], weights[i])
        if np.abs(after - before).max() <= _LINEAR * max(np.abs(after).max(), np.finfo(float).tiny):
            found.append(i)
    if not found:
        raise ValueError("no two layers follow each other linearly: matrices balance in linear networks only")
    return tuple(found)


def _squares(machine: Machine, slopes: np.ndarray, pairs: tuple[int, ...]) -> np.ndarray:
    """g_i g_i' and g_(i+1)'g_(i+1) of gradients (..., R, m), NaN beyond the width: (2, ..., R, P, h, h)."""
    assert machine.model.layers is not None
    layers = machine.model.layers(slopes, machine.constants)
    largest = max(layers[i].shape[-2] for i in pairs)
    found = np.full((2, *slopes.shape[:-1], len(pairs), largest, largest), np.nan)
    for place, i in enumerate(pairs):
        width = layers[i].shape[-2]
        outgoing = layers[i + 1][..., :width]  # a bias, last, is no part of the product
        found[0, ..., place, :width, :width] = layers[i] @ np.swapaxes(layers[i], -1, -2)
        found[1, ..., place, :width, :width] = np.swapaxes(outgoing, -1, -2) @ outgoing
    return found


def _pseudo_ratio(found: _Found) -> np.ndarray:
    """Jackknife pseudo-values (R, P) of sum |D|^2/sum |S|^2."""
    top, below, count = found.difference, found.total, len(found.total)
    without = (top.sum(0) - top) / (below.sum(0) - below)
    return np.asarray(count * top.sum(0) / below.sum(0) - (count - 1) * without)


def _score(values: np.ndarray) -> np.ndarray:
    """Means of (R, P) in standard errors: (P,)."""
    return np.asarray(values.mean(0) / (values.std(0, ddof=1) / np.sqrt(len(values))))
