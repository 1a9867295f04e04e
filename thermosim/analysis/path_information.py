"""Upper bounds of what theta can know, step by step, of a machine that learns with thermal noise.

A step is theta' = theta - r (g + lambda theta) + sqrt(2 r T) xi, g the mean gradient of a minibatch of b rows, drawn
one by one from the N rows of data set S; minibatches B_t are drawn independently of the past. By the chain rule, along
the path theta_0, ..., theta_n, with c = r/(2 T) and theta_0 independent of the data,

    I(Theta_n; B | S) <= sum_t E (1/2) ln det[1 + c Cov_B(g_t)],     Cov_B = Cov of one row's gradient over S, over b

for a step given the past is -r g plus noise, whose entropy is at most that of a normal of the same covariance. With S
not given, the past tells of S, and what comes next is no longer independent of it. Then for any law q of a step

    I(Theta_n; S) <= I(Theta_n; S, B) <= sum_t E D(p(theta_t|theta_(t-1), S, B_t) || q(theta_t|theta_(t-1)))

and q is the normal of a theta_(t-1) whose set is anyone's: mean gradient a = <g>, covariance C = <(g - a)(g - a)'> over
sets and minibatches alike. That is

    sum_t E {(1/2) ln det(1 + c C) + (c/2) tr[(1 + c C)^{-1} (V_S - C)]},     V_S = E_B (g - a)(g - a)' of the own set

of which the first term is the whole where theta has not learned yet which set it learns from, and the second corrects
it later, when the own set pulls less than others would. Everything is told by the Gram matrix G of all rows' deviations
f, C = sum f f': with H = G (1 + c G)^{-1}, tr (1 + c C)^{-1} f f' is the diagonal entry of H.

Sources: A. Pensia, V. Jog, P.-L. Loh, ISIT 2018, arXiv 1801.04295, Thm. 1, for the chain rule and the entropy of a
step; S. S. Parsi, Entropy 26, 112 (2024), Eq. 14, for what is bounded; the law q by convexity of the relative entropy
(T. M. Cover, J. A. Thomas, Elements of Information Theory, Thm. 2.7.2, and Eq. 2.64).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.gradient_noise import learned_parameters
from thermosim.analysis.information import assembled, mean_and_error, strata
from thermosim.analysis.machine import Machine, in_order_of_sets, machines
from thermosim.analysis.set_classifier import classified, spread_out
from thermosim.schedules import is_by_group, values_at

__all__ = ["gram_bounds", "path_information", "why_no_bounds"]

_NUMBERS = 1 << 24  # of gradients that are held at a time
_LARGEST = 2048  # rows of a Gram matrix


@of_survivors
def path_information(ds: xr.Dataset, replicas: int = 64) -> xr.Dataset:
    """Bounds of the information in theta at every frame, along the path since step 0: dims step and the sweep axes.

    minibatch_bound, above I(Theta_t; B | S) of the minibatches, 0 where steps take all rows; set_bound, above
    I(Theta_t; S), and I(Theta_t; S, B) too, of the data sets of the run, and their minibatches; information_lower,
    below I(Theta_t; S), where there are two sets or more: a classifier by the mean losses of theta on each set. A bound
    holds for averages over ensembles; each has its error over replicas, of which upper bounds take so many at most, of
    all sets alike. I(Theta; S) is at most ln D as well.
    `valid` is false, and `reason` says why, where the lower bound exceeds the upper by more than four standard errors.
    Raises ValueError where theta does not learn with thermal noise, forward and from rows that are kept, or was not
    recorded at every step.
    """
    ds = in_order_of_sets(ds)
    rows = [_of_point(machine, replicas) for machine in machines(ds)]
    meanings = {
        "minibatch_bound": ("nat", "upper bound of I(Theta; B | S), minibatches given the data set"),
        "set_bound": ("nat", "upper bound of I(Theta; S, B), data set and minibatches"),
    }
    if "information_lower" in rows[0]:
        meanings["information_lower"] = ("nat", "lower bound of I(Theta; S), by the losses on each data set")
    condition = "every step recorded; theta starts independent of the data"
    return assembled(ds, rows, meanings, "Gram matrices of gradients, classifier", condition)


def _of_point(machine: Machine, replicas: int) -> dict[str, np.ndarray]:
    if why := why_no_bounds(machine):
        raise ValueError(why)
    starts, frames, count = strata(machine), len(machine.steps), machine.frames.sizes["replica"]
    chosen = np.unique(np.linspace(0, count - 1, min(count, replicas)).round().astype(int))
    few = replace(machine, frames=machine.frames.isel(replica=chosen))
    sums = np.zeros((2, frames, len(chosen)))
    for frame in range(frames - 1):
        sums[:, frame + 1] = sums[:, frame] + _step(few, frame)
    result: dict[str, np.ndarray] = {}
    for name, values in zip(("minibatch_bound", "set_bound"), sums):
        pairs = [mean_and_error(value, strata(few)) for value in values]
        result[name], result[f"{name}_error"] = (np.array(column) for column in zip(*pairs))
    reasons = [""] * frames
    if _can_tell(starts, _sets(machine), count):
        pairs = [mean_and_error(_told(machine, frame, starts), starts) for frame in range(frames)]
        lower, error = (np.array(column) for column in zip(*pairs))
        result |= {"information_lower": lower, "information_lower_error": error}
        allowed = 4.0 * np.hypot(error, result["set_bound_error"]) + 1e-9
        over = lower - result["set_bound"] > allowed
        reasons = ["the lower bound exceeds the upper one" if wrong else "" for wrong in over]
    return result | {"reason": np.array(reasons)}


def why_no_bounds(machine: Machine, largest: int = _LARGEST) -> str:
    """Why there are none, or none by Gram matrices of at most so many rows; empty where there are."""
    theta, move, data = machine.settings.theta, machine.theta_move, machine.settings.data
    if not (move.learns and move.descent and move.density) or theta.gradient == "contrast":
        return (
            'bounds of the information need the noise of theta.dynamics = "sgld" or "langevin", along the gradient of '
            "a loss of data; without noise theta is a function of what it learned from"
        )
    if machine.evaluator.noisy:
        return f"model {machine.model.name!r} adds noise of its own to every row, which the bounds do not count"
    if machine.shares_rows:
        return f"model {machine.model.name!r} normalises over a minibatch, so that a row has no gradient of its own"
    if is_by_group(theta.temperature):
        return "bounds of the information take one temperature: give theta.temperature as a number"
    if theta.has_several_rates:
        return "bounds of the information take one learning rate: remove theta.learning_rate_factors"
    if data is None or data.fresh or machine.settings.run.direction != "forward":
        return 'bounds of the information need rows that are kept, and run.direction = "forward"'
    if not np.array_equal(machine.steps, np.arange(len(machine.steps))):
        return "bounds of the information add up every step: record.first = 0 and record.every = 1"
    columns = _sets(machine) * (1 if _batch(machine) == 0 else machine.data.rows + 1)
    if columns > largest:
        return (
            f"the Gram matrix of all gradients would have {columns} rows; {largest} are taken at most: use fewer "
            'data.rows or data.sets, or theta.batch = "all"'
        )
    return ""


def _sets(machine: Machine) -> int:
    return int(machine.settings.data.sets) if machine.settings.data is not None else 1


def _batch(machine: Machine) -> int:
    """Rows of a minibatch, 0 for all."""
    batch = machine.settings.theta.batch
    return 0 if machine.theta_move.whole_data or batch == "all" else int(batch)


def _step(machine: Machine, frame: int) -> np.ndarray:
    """What the step after a frame adds to both sums, of every replica: (2, R)."""
    theta, run = machine.settings.theta, int(machine.settings.run.steps)
    when = machine.steps[frame : frame + 1] + 1
    rate, temperature = (float(values_at(value, run, when)[0]) for value in (theta.learning_rate, theta.temperature))
    factor = 0.5 * rate / temperature
    everyone, sets, found = machine.theta(frame), machine.data_set(), []
    learned, _ = learned_parameters(machine)
    distinct, which = np.unique(np.column_stack([sets, everyone]), axis=0, return_inverse=True)
    columns = _sets(machine) * (machine.data.rows if _batch(machine) else 1)
    size = max(1, _NUMBERS // (columns * everyone.shape[1]))
    for first in range(0, len(distinct), size):
        some = distinct[first : first + size]
        found.append(_of_replicas(machine, some[:, 1:], some[:, 0].astype(int), learned, factor))
    return np.concatenate(found, axis=1)[:, which.ravel()]


def _of_replicas(
    machine: Machine, theta: np.ndarray, sets: np.ndarray, learned: np.ndarray, factor: float
) -> np.ndarray:
    batch, count = _batch(machine), _sets(machine)
    parts, label, of_rows = [], [], []
    means = np.empty((len(theta), count, len(learned)))
    for number in range(count):
        rows = machine.data.of_set(number)
        if batch:
            slopes = machine.evaluator.row_gradients(rows, theta)[..., learned]
            means[:, number] = slopes.mean(axis=1)
            parts.append((slopes - means[:, number, None]) / np.sqrt(count * len(rows) * batch))
            label += [number] * len(rows)
        else:
            means[:, number] = machine.evaluator.data_gradient(rows, theta)[1][:, learned]
    of_rows = [True] * len(label) + [False] * count
    parts.append((means - means.mean(axis=1, keepdims=True)) / np.sqrt(count))
    deviations = np.concatenate(parts, axis=1)
    gram = deviations @ deviations.swapaxes(1, 2)
    return gram_bounds(gram, np.array(label + list(range(count))), np.array(of_rows), sets, count, factor)


def gram_bounds(
    gram: np.ndarray, label: np.ndarray, of_rows: np.ndarray, sets: np.ndarray, count: int, factor: float
) -> np.ndarray:
    """Both terms of one step, (2, R), of replicas that learn from `sets` (R,), one of `count`; factor is c.

    gram (R, K, K): of columns f, with C = sum f f' over all; label (K,): their data set; of_rows (K,): whether they are
    deviations of rows from the mean of their set, or of that mean from the mean of all.
    """
    whole_matrix = np.eye(gram.shape[1]) + factor * gram
    shrunk = np.diagonal(np.linalg.solve(whole_matrix, gram), axis1=1, axis2=2)  # of H
    own = label == sets[:, None]
    whole = 0.5 * np.linalg.slogdet(whole_matrix)[1]
    whole += 0.5 * factor * (count * np.sum(shrunk * own, axis=1) - shrunk.sum(axis=1))
    given = np.empty(len(gram))
    for replica, mine in enumerate(own & of_rows):
        within = count * gram[replica][np.ix_(mine, mine)]
        given[replica] = 0.5 * np.linalg.slogdet(np.eye(len(within)) + factor * within)[1]
    return np.stack([given, whole])


def _can_tell(starts: np.ndarray, sets: int, replicas: int) -> bool:
    """Whether there are replicas enough for the classifier, three of each set and more than it fits numbers."""
    sizes = np.diff(starts, append=replicas)
    return sets > 1 and len(starts) == sets and int(sizes.min()) > 2 and replicas > 2 * sets


def _told(machine: Machine, frame: int, starts: np.ndarray) -> np.ndarray:
    """ln of the probability of the own set over its share, by the mean losses on each, (R,)."""
    theta = machine.theta(frame)
    losses = [machine.evaluator.data_gradient(machine.data.of_set(d), theta)[0] for d in range(_sets(machine))]
    features = np.stack(losses, axis=1)
    features = spread_out(features - features.mean(axis=1, keepdims=True))
    return classified(features, starts) if features.shape[1] else np.zeros(len(theta))
