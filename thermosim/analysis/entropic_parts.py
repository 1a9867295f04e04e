"""Discretisation and noise, the two parts of the entropic loss, told apart in a run of gradient descent or SGD.

    F = L + (r/4) (|grad L|^2 + Tr Cov(g_1)/B)

Both parts are given along the path, and the coefficient 1/4 of each is measured by what it does: the displacement of
theta from where flows of the same minibatches lead from the same start is split into the responses of
the flow of L to either part (`exact.entropic_parts`). Minibatches are those of the run, drawn again by their addresses;
paths at r/2 with other minibatches, and those made of n steps of r/n for one, are computed anew, and what is
left of higher orders in r is extrapolated away. Any model that learns from rows that are kept will do.

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025). Every X comes with X_error over replicas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.entropic_loss import why_not_plain
from thermosim.analysis.estimates import gathered, put_mean
from thermosim.analysis.gradient_noise import minibatch
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.skewed_means import put_skewed_mean
from thermosim.exact import entropic_parts as theory
from thermosim.exact.entropic_loss import Gradient
from thermosim.kernels.evaluate import Evaluator

__all__ = ["entropic_parts", "why_no_parts"]

_PARTS = np.array([1, 2])  # of the learning rate
_AT_ZERO, _CHANGE = np.array([-1.0, 2.0]), np.array([-1.0, 1.0])  # a straight line at rate 0, and less that at r/2
_FEWEST = 4  # replicas
_DIM = "of_entropy"  # dimension of the two parts


@of_survivors
def entropic_parts(ds: xr.Dataset, substeps: Sequence[int] = (1, 2)) -> xr.Dataset:
    """Both parts along the path, and the coefficient of each: dims step, the axes of the sweep, substeps, of_entropy.

    entropy: (r/4)|grad L|^2 and (r/4) Tr Cov(g_1)/B in every frame, 0 with theta.batch = "all".
    displacement: |theta - theta of the flows of the minibatches|, and predicted_displacement, what both parts make of
    it to order r, in every frame.
    coefficient: of each part, extrapolated to rate 0, of steps made as `substeps` ones on the same rows; `exact`: 1/4
    over substeps, and 0 of noise that is not there. coefficient_change: by how much from r/2, of paths that are all
    computed anew. coefficient_at_rate: that at r/parts, dim parts. With theta.batch = "all" noise is that of B = 1.

    Raises ValueError where the ensemble is not of plain descent on kept rows (`why_no_parts`), a flow does not arrive,
    or the numbers of substeps are not whole and positive.
    """
    if not substeps or any(number != int(number) or number < 1 for number in substeps):
        raise ValueError(f"substeps = {list(substeps)}: expected whole numbers from 1")
    points = machines(ds)
    for machine in points:
        if why := why_no_parts(machine):
            raise ValueError(why)
    each = [_of_point(machine, substeps) for machine in points]
    coords = {_DIM: list(theory.PARTS), "substeps": list(substeps)}
    result, frames = xr.Dataset(), ("step", "replica")
    values = gathered(ds, [one.entropy for one in each], (*frames, _DIM), {_DIM: list(theory.PARTS)})
    put_skewed_mean(result, "entropy", values, "energy", "(r/4)|grad L|^2 and (r/4) Tr Cov/B", "over the rows")
    condition = "from flows of the same minibatches"
    values = gathered(ds, [one.displacement for one in each], frames)
    put_skewed_mean(result, "displacement", values, "1", "|theta - theta of the flows|", condition)
    values = gathered(ds, [one.predicted for one in each], frames)
    put_skewed_mean(result, "predicted_displacement", values, "1", "what both parts make of it", "to order r")
    dims = ("substeps", "replica", _DIM)
    found = [one.pseudo for one in each]
    values = gathered(ds, [np.tensordot(_AT_ZERO, one, 1) for one in found], dims, coords)
    put_mean(result, "coefficient", values, "1", "coefficient c of r X in the entropic loss", "at learning rate 0")
    values = gathered(ds, [np.tensordot(_CHANGE, one.replayed, 1) for one in each], dims, coords)
    put_mean(result, "coefficient_change", values, "1", "extrapolated less that at r/2", "0 as r goes to 0")
    values = gathered(ds, found, ("parts", *dims), coords | {"parts": _PARTS})
    put_mean(result, "coefficient_at_rate", values, "1", "coefficient at r/parts", "to order 1 in r")
    exact = [np.stack([theory.coefficients(n, m.settings.theta.batch != "all") for n in substeps]) for m in points]
    result["exact"] = gathered(ds, exact, ("substeps", _DIM), coords).assign_attrs(units="1", long_name="coefficient c")
    return result


def why_no_parts(machine: Machine) -> str:
    """Why the parts are not told of a run; empty where it is plain descent on rows that are kept."""
    if why := why_not_plain(machine):
        return why
    data = machine.settings.data
    if data is not None and data.fresh:
        return "the covariance of fresh rows is not known at theta: keep data.rows of them, data.fresh = false"
    count = machine.frames.sizes["replica"]
    return "" if count >= _FEWEST else f"{count} replicas are too few for errors of coefficients: take {_FEWEST}"


class _Found(NamedTuple):
    """Of one point: F frames, R replicas."""

    entropy: np.ndarray  # (F, R, 2)
    displacement: np.ndarray  # (F, R)
    predicted: np.ndarray  # (F, R)
    pseudo: np.ndarray  # of the coefficients (parts, substeps, R, 2)
    replayed: np.ndarray  # the same where single steps are not those recorded but computed anew


def _of_point(machine: Machine, substeps: Sequence[int]) -> _Found:
    theta, rows = machine.settings.theta, _own_rows(machine)
    model = Evaluator(machine.model, machine.constants, threads=1)
    rate, batch = float(theta.learning_rate), 1 if theta.batch == "all" else int(theta.batch)
    every = np.stack([machine.theta(frame) for frame in range(len(machine.steps))])  # (F, R, m)
    response = theory.responses(_mean(model, rows), _each(model, rows), every[0], rate * machine.steps)
    response[:, 1] /= batch
    off, pseudo, replayed = np.empty(0), [], []
    for part in _PARTS:
        flows, others = _paths(machine, model, rows, substeps, int(part))
        both = np.stack([_flat(rate / part * response[:, k]) for k in range(2)])
        found = [theory.pseudo_values(_flat(others[n] - flows), both) for n in substeps]
        replayed.append(found)
        if part == 1:
            off = every - flows
            found = [theory.pseudo_values(_flat(off), both) if n == 1 else one for n, one in zip(substeps, found)]
        pseudo.append(found)
    exact = theory.coefficients(1, theta.batch != "all")
    predicted = rate * np.linalg.norm(np.tensordot(response, exact, (1, 0)), axis=-1)
    entropy = rate * exact * np.stack(_squares(machine, every, batch), -1)
    return _Found(entropy, np.linalg.norm(off, axis=-1), predicted, np.array(pseudo), np.array(replayed))


def _flat(path: np.ndarray) -> np.ndarray:
    """Frames and components of (F, R, m) as one, after replicas: (R, F m)."""
    return np.asarray(path.transpose(1, 0, 2).reshape(path.shape[1], -1))


def _paths(
    machine: Machine, model: Evaluator, rows: np.ndarray, substeps: Sequence[int], part: int
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """At r/part and the recorded times theta of flows of minibatches, and of steps made of n, each (F, R, m)."""
    whole, start = machine.settings.theta.batch == "all", machine.theta(0)
    rate, last = float(machine.settings.theta.learning_rate) / part, int(machine.steps[-1])
    first = (part - 1) * last  # no minibatch twice
    at, flow, paths = set((part * machine.steps).tolist()), start, dict.fromkeys(substeps, start)
    flows, found = [start], {n: [start] for n in substeps}
    for step in range(1, part * last + 1):
        gradient = _mean(model, rows if whole else minibatch(machine, first + step))
        flow = theory.flow_step(gradient, flow, rate)
        paths = {n: theory.steps_of(gradient, path, rate, n) for n, path in paths.items()}
        if step in at:
            flows.append(flow)
            for n, path in paths.items():
                found[n].append(path)
    return np.stack(flows), {n: np.stack(path) for n, path in found.items()}


def _own_rows(machine: Machine) -> np.ndarray:
    """The rows (R, K, n) of the data set of each replica."""
    sets = [machine.data.of_set(number) for number in range(int(machine.data_set().max()) + 1)]
    return np.stack(sets)[machine.data_set()]


def _mean(model: Evaluator, rows: np.ndarray) -> Gradient:
    return lambda theta: model.data_gradient(rows, theta)[1]


def _each(model: Evaluator, rows: np.ndarray) -> Gradient:
    """Gradients of every row of rows (R, K, n), row k at theta[k] (K, R, m) or at theta (R, m): (K, R, m)."""
    replicas, count, length = rows.shape
    single = rows.transpose(1, 0, 2).reshape(count * replicas, 1, length)

    def gradient(theta: np.ndarray) -> np.ndarray:
        shape = (count, replicas, theta.shape[-1])
        flat = np.broadcast_to(theta, shape).reshape(-1, shape[-1])
        return np.asarray(model.data_gradient(single, flat)[1].reshape(shape))

    return gradient


def _squares(machine: Machine, theta: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """|grad L|^2 and Tr Cov(g_1)/B at theta (F, R, m), each with its data set: (F, R) both."""
    square, noise = np.empty((2, *theta.shape[:2]))
    sets = machine.data_set()
    for number in np.unique(sets):
        here = theta[:, sets == number]
        _, mean, variance = machine.evaluator.gradient_moments(
            machine.data.of_set(int(number)), here.reshape(-1, here.shape[-1])
        )
        square[:, sets == number] = (mean**2).sum(1).reshape(here.shape[:2])
        noise[:, sets == number] = variance.sum(1).reshape(here.shape[:2]) / batch
    return square, noise
