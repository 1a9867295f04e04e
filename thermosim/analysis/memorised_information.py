"""M-info, what the parameters hold: their entropy, and the information about the data set: Dataset in, Dataset out.

    M-info         S(Theta), differential entropy of what is learned, over replicas                           (14)
    Clausius       dS_Theta = -Q_X/T_X, postulated for a closed system and a reversible reservoir             (49)
    data set       I(Theta; B) = S(Theta) - <S(Theta|B)>,  I(X; B) = S(X) - <S(X|B)>                     (13, 15)
    data processing  I(X; B) <= I(Theta; B),  I(X; B) <= I(X; Theta),  as B -> Theta -> X is a Markov chain     (12, 13)

A differential entropy can be negative, and only its changes mean anything. Theta that starts from one point and moves
by minibatches alone takes finitely many values: strictly its entropy is -inf. The estimates are then those of the
smooth density that the values resemble once they are many, and are not valid while replicas coincide.

B is meant in two ways. To the law of data sets belongs the normal estimator: it asks what theta tells about a set drawn
anew, and has its error from the sets of the run. To the sets of the run belong the neighbours and the classifier: they
ask which of the D sets a replica learned from, at most ln D nats, and have their errors from the replicas.

Units: as in the ledger. Sources: S. S. Parsi, Entropy 26, 112 (2024), Eqs. as numbered; D. Barber, F. Agakov, NIPS
2003, for the bound that a classifier gives; S. Weerahandi, J. Am. Stat. Assoc. 88, 899 (1993), for intervals from what
may have made the data.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from scipy import stats

from thermosim.analysis import entropy
from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.entropy import NO_NOISE, Noise
from thermosim.analysis.estimates import LEVEL
from thermosim.analysis.information import assembled, book, mean_and_error, parameters_of, surprisals
from thermosim.analysis.machine import Machine, in_order_of_sets, machines
from thermosim.analysis.neighbours import FLAT, neighbour_entropy
from thermosim.analysis.normality import SHARE, normal_reason
from thermosim.analysis.set_classifier import classified, is_singular, spread_out
from thermosim.analysis.still_directions import why_no_entropy

__all__ = ["data_processing", "dataset_information", "memory"]

_DRAWS = 1000  # of covariances that may have made what is seen
_FEWEST_TOLD = 40  # data sets whose means can be seen not to be normal


@of_survivors
def memory(ds: xr.Dataset, method: str = "gaussian") -> xr.Dataset:
    """M-info, entropy S(Theta) over replicas, at every frame, and its change: dims step and the sweep axes.

    method: "gaussian", of the normal with the covariance of the replicas, exact for a normal, too large for any other;
    "nearest-neighbour", for any smooth density of up to 8 parameters, a hundred replicas for each. Parameter groups
    that theta.learn leaves out are not counted. entropy is -inf where the replicas have no spread in some direction;
    entropy_change is since reference_step, the first frame where it is finite. `valid` is false, and `reason` says
    why, where entropy is infinite, where values repeat, where replicas are seen not to be normal, component by
    component or jointly, or are too few to be seen to be, and where the bias of neighbours shows, or is not known.
    `change_valid` is whether both ends of entropy_change are.
    With the heat recorded, of x at one temperature T_X: clausius_entropy_change = -Q_X/T_X since the same step, Eq. 49,
    and clausius_residual = entropy_change + Q_X/T_X, which is zero only for a closed system with a reversible
    reservoir. Raises ValueError where theta has no spread at any frame, or replicas are too few for its dimension.
    """
    _known(method, ("gaussian", "nearest-neighbour"))
    one_bath = all(machine.temperature for machine in machines(ds))
    rows = [_memory(machine, method, one_bath) for machine in machines(ds)]
    flat = [bool(np.all(row["reason"] == FLAT)) for row in rows]
    for machine, row in zip(machines(ds), rows):
        if np.all(row["reason"] == FLAT):
            row["reason"] = np.full(len(machine.steps), why_no_entropy(machine, range(len(machine.steps))))
    if all(flat):
        raise ValueError(str(rows[0]["reason"][0]))
    meanings = {
        "entropy": ("nat", "M-info, differential entropy S(Theta)"),
        "entropy_change": ("nat", "change of S(Theta) since reference_step"),
        "reference_step": ("1", "first recorded step at which S(Theta) is finite, -1 for none"),
        "change_valid": ("", "whether the entropy is valid here and at reference_step"),
    }
    if "clausius_residual" in rows[0]:
        meanings["clausius_entropy_change"] = ("nat", "-Q_X/T_X since reference_step: dS_Theta by Clausius (Eq. 49)")
        meanings["clausius_residual"] = ("nat", "change of S(Theta) less -Q_X/T_X")
    condition = "theta normal" if method == "gaussian" else "few parameters, many replicas"
    condition = f"{condition}; replicas independent at the data of the run"
    return assembled(ds, rows, meanings, method, condition, ds.sizes["replica"] - 1)


@of_survivors
def dataset_information(ds: xr.Dataset, method: str = "gaussian", pooled: bool = True) -> xr.Dataset:
    """I(Theta; B) between parameters and data set, where data.sets > 1: dims step and the sweep axes.

    method: "gaussian", (1/2) ln det(W + G)/det W with W the covariance within a set (of all sets `pooled`, or each its
    own) and G that of the sets' means, about sets drawn anew: jackknife over sets, with the interval of those normals
    that may have made what is seen (fiducial distribution), right for few sets too. It is 0 where nothing has a spread,
    inf where theta is a function of the set. About the sets of the run, at most ln D: "nearest-neighbour", S(Theta)
    less the mean entropy of a set's replicas; "classifier", a lower bound, the mean log probability of the own set by
    normals fitted to the other replicas, plus ln D.
    `valid` is false, and `reason` says why, where the correction exceeds the error, where replicas or means of sets are
    seen not to be normal or replicas of sets to differ in covariance, where an entropy by neighbours is not valid, and
    where the classifier is only a bound. Raises ValueError unless there are three sets, with replicas enough in each.
    """
    _known(method, ("gaussian", "nearest-neighbour", "classifier"))
    rows = []
    for machine in machines(in_order_of_sets(ds)):
        starts = _sets(machine, 3 if method == "gaussian" else 2)
        frames = [_set_information(_learned(machine, f), starts, method, pooled) for f in range(len(machine.steps))]
        names = ("information", "information_error", "reason", "information_interval")
        rows.append(dict(zip(names, map(np.array, zip(*frames)))))
    meanings = {"information": ("nat", "I(Theta; B) between parameters and data set")}
    conditions = {
        "gaussian": "sets drawn anew; means of sets and replicas of a set normal",
        "nearest-neighbour": "the sets of the run; few parameters, many replicas in each",
        "classifier": "the sets of the run; a lower bound, tight for normal replicas of one covariance",
    }
    return assembled(ds, rows, meanings, method, conditions[method])


@of_survivors
def data_processing(ds: xr.Dataset, method: str = "auto", samples: int | None = None) -> xr.Dataset:
    """The three informations of B -> Theta -> X about the data sets of the run: dims step and the sweep axes.

    x_theta I(X; Theta), x_set I(X; B), theta_set I(Theta; B) by the lower bound of `dataset_information`'s classifier;
    margins theta_set - x_set, which a bound that is too low makes smaller, and x_theta - x_set, with errors of the same
    replicas. method and samples as for `learned_information`. `valid` is false, and `reason` says why, where x_theta,
    x_set or x_margin by mixtures with the replica itself is more than four standard errors from that without it, and
    where chains are not known to have relaxed; it does not judge theta_set and its margin, which are bounds. Raises
    ValueError unless there are two data sets, with three replicas each or more.
    """
    ds = in_order_of_sets(ds)
    points = machines(ds)
    rows, freedom = [], ds.sizes["replica"]
    for machine in points:
        starts = _sets(machine, 2)
        frames = [_processing(machine, frame, method, samples, starts) for frame in range(len(machine.steps))]
        rows.append({name: np.array([frame[name] for frame in frames]) for name in frames[0]})
        freedom = min(freedom, ds.sizes["replica"] - len(starts))
    meanings = {
        "x_theta": ("nat", "I(X; Theta), L-info of all replicas together"),
        "x_set": ("nat", "I(X; B) between samples and data set"),
        "theta_set": ("nat", "I(Theta; B) between parameters and data set, lower bound"),
        "theta_margin": ("nat", "I(Theta; B) - I(X; B), not negative in theory"),
        "x_margin": ("nat", "I(X; Theta) - I(X; B), not negative in theory"),
    }
    condition = "the data sets of the run; replicas independent"
    return assembled(ds, rows, meanings, f"{method}, classifier", condition, freedom)


def _known(method: str, methods: tuple[str, ...]) -> None:
    if method not in methods:
        raise ValueError(f"method = {method!r}: expected one of {', '.join(methods)}")


def _learned(machine: Machine, frame: int) -> np.ndarray:
    """Those columns of theta that are learned, (R, M)."""
    theta, groups = parameters_of(machine, frame), machine.settings.theta.learn
    if groups is None:
        return theta
    sizes = [math.prod(group.shape(machine.constants)) for group in machine.model.parameters]
    chosen = np.repeat([group.name in groups for group in machine.model.parameters], sizes)
    return theta[:, chosen]


def _memory(machine: Machine, method: str, one_bath: bool) -> dict[str, np.ndarray]:
    parts = [_entropy(_learned(machine, frame), method) for frame in range(len(machine.steps))]
    values, noises, reasons = zip(*parts)
    finite = [bool(np.isfinite(value).all()) for value in values]
    reference = finite.index(True) if any(finite) else 0
    base = values[reference] if any(finite) else np.nan
    both = [noise.plus(noises[reference]) for noise in noises]
    rows = {"entropy": (values, noises), "entropy_change": ([value - base for value in values], both)}
    if "heat" in machine.frames and one_bath:
        temperature = float(machine.temperature or 0.0)  # `one_bath`: there is one
        heat = [book(machine, "heat", frame) / temperature for frame in range(len(values))]
        rows["clausius_entropy_change"] = ([heat[reference] - q for q in heat], [NO_NOISE] * len(heat))
        residual = [s + q - heat[reference] for s, q in zip(rows["entropy_change"][0], heat)]
        rows["clausius_residual"] = (residual, both)
    result = {}
    for name, row in rows.items():
        mean, error = zip(*(mean_and_error(value, noise=noise) for value, noise in zip(*row)))
        result[name], result[f"{name}_error"] = np.array(mean), np.array(error)
    result["reference_step"] = np.full(len(values), machine.steps[reference] if any(finite) else -1)
    result["reason"] = np.array(reasons)
    result["change_valid"] = (result["reason"] == "") & (reasons[reference] == "")
    return result


def _entropy(theta: np.ndarray, method: str) -> tuple[np.ndarray, Noise, str]:
    """Surprisals or pseudo-values of S(theta), their noise, and why their mean is not valid, if it is not."""
    if method == "nearest-neighbour":
        found = neighbour_entropy(theta)
        return found.surprisals, found.noise, found.reason
    values = entropy.normal_entropy(theta)
    if not np.isfinite(values).all():
        return values, NO_NOISE, FLAT
    return values, NO_NOISE, normal_reason([theta], mean_and_error(values)[1])


def _sets(machine: Machine, least: int) -> np.ndarray:
    """First replica of every data set. Raises ValueError for fewer than `least` sets, or than three replicas in one."""
    labels = machine.data_set_in_order()
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    if len(starts) < least:
        raise ValueError(
            f"information about the data set needs {least} data sets, here is {len(starts)}: set data.sets"
        )
    sizes = np.diff(starts, append=len(labels))
    if sizes.min() < 3:
        raise ValueError(
            f"a data set has {sizes.min()} replicas, three are needed to tell what they have in common; raise "
            "ensemble.replicas, or lower data.sets"
        )
    return starts


def _set_information(
    theta: np.ndarray, starts: np.ndarray, method: str, pooled: bool
) -> tuple[float, float, str, tuple[float, float]]:
    """I(Theta; B), its error, why it is not valid, if it is not, and its interval."""
    theta, sizes = spread_out(theta), np.diff(starts, append=len(theta))
    if theta.shape[1] == 0:
        return 0.0, 0.0, "", (0.0, 0.0)
    if method == "gaussian":
        return _normal_information(theta, starts, pooled)
    if method == "classifier":
        value, error, reason = _classifier_information(theta, starts)
    else:
        whole, parts = neighbour_entropy(theta), [neighbour_entropy(part) for part in np.split(theta, starts[1:])]
        values = whole.surprisals - np.concatenate([part.surprisals for part in parts])
        noise = whole.noise.plus(max((part.noise for part in parts), key=lambda noise: noise.true))
        value, error = mean_and_error(values, starts, noise) if np.isfinite(values).all() else (np.nan, np.nan)
        reason = next((part.reason for part in (whole, *parts) if part.reason), "")
    width = error * float(stats.t.ppf(0.5 + 0.5 * LEVEL, len(theta) - len(sizes)))
    return value, error, reason, (value - width, value + width)


def _classifier_information(theta: np.ndarray, starts: np.ndarray) -> tuple[float, float, str]:
    values, seen = classified(theta, starts), classified(theta, starts, left_out=False)
    value, error = mean_and_error(values, starts)
    lost = 0.5 * float(np.mean(seen - values))
    if lost > SHARE * error:
        return value, error, f"a lower bound: fitting the normals to few replicas costs about {lost:.2g}"
    return value, error, _unlike_normals(theta, starts, error)


def _normal_information(
    theta: np.ndarray, starts: np.ndarray, pooled: bool
) -> tuple[float, float, str, tuple[float, float]]:
    sizes, m = np.diff(starts, append=len(theta)), theta.shape[1]
    freedom = len(theta) - len(starts) if pooled else int(sizes.min()) - 1
    if freedom < m + 1:
        raise ValueError(
            f"replicas within data sets leave {freedom} degrees of freedom for the covariance of {m} parameters; raise "
            f"ensemble.replicas, lower data.sets{'' if pooled else ', or use pooled=True'}"
        )
    means = np.add.reduceat(theta, starts, axis=0) / sizes[:, None]
    residual = theta - np.repeat(means, sizes, axis=0)
    scatters = np.stack([part.T @ part for part in np.split(residual, starts[1:])])
    if is_singular(residual):
        return np.inf, np.nan, "theta is a function of the data set in some direction", (np.nan, np.inf)
    every = np.arange(len(starts))
    whole = _log_ratio(means, scatters, sizes, pooled)
    without = [_log_ratio(means[every != d], scatters[every != d], sizes[every != d], pooled) for d in every]
    value, error = mean_and_error(len(starts) * whole - (len(starts) - 1) * np.array(without))
    if len(means) <= m:
        return value, error, f"{len(means)} data sets are too few for {m} parameters", (np.nan, np.nan)
    likely = _likely(np.cov(means.T).reshape(m, m), scatters, sizes, pooled)
    low, high = np.quantile(likely, [0.5 - 0.5 * LEVEL, 0.5 + 0.5 * LEVEL])
    reason = _unlike_normals(theta, starts, error, same=pooled)
    if abs(value - whole) > error:
        reason = f"too few data sets for {m} parameters: a correction of {value - whole:.2g} exceeds the error"
    elif not reason and len(means) >= _FEWEST_TOLD and normal_reason([means], error, told=False):
        reason = "the means of the data sets are not normal"
    return value, error, reason, (float(low), float(high))


def _log_ratio(means: np.ndarray, scatters: np.ndarray, sizes: np.ndarray, pooled: bool) -> float:
    """(1/2) ln det(W + G)/det W from means (D, m) and scatters (D, m, m) of sets with these sizes."""
    freedom = int(sizes.sum() - len(sizes))
    within = scatters.sum(axis=0)
    inner = entropy.log_determinant(within, freedom)
    if not pooled:
        inner = float(np.mean([entropy.log_determinant(s, int(size) - 1) for s, size in zip(scatters, sizes)]))
    between = np.cov(means.T).reshape(within.shape)  # has the mean G + W <1/size>
    total = between + within / freedom * (1.0 - np.mean(1.0 / sizes))
    return 0.5 * (float(np.linalg.slogdet(total)[1]) - inner)


def _likely(between: np.ndarray, scatters: np.ndarray, sizes: np.ndarray, pooled: bool) -> np.ndarray:
    """The ratio for those normals that may have made what is seen, (draws,): the fiducial distribution of covariances.

    between: covariance of the means of sets (m, m).

    A covariance is C = (f S) A^{-1}, A the unit Wishart matrix of f degrees of freedom with which S may have been made
    of it. Then ln det C has exactly its confidence distribution, and so has any function of a single variance.
    """
    random, sets, freedom = np.random.default_rng(0), len(sizes), int(sizes.sum()) - len(sizes)
    common = _covariances(random, scatters.sum(axis=0), freedom)
    if pooled:
        inner = np.linalg.slogdet(common)[1]
    else:
        shape = (_DRAWS, len(sizes), len(between))
        squares = random.chisquare(sizes[:, None] - 1.0 - np.arange(len(between)), shape)
        inner = np.mean(np.linalg.slogdet(scatters)[1] - np.log(squares).sum(axis=2), axis=1)
    total = _covariances(random, between * (sets - 1), sets - 1) + common * (1.0 - np.mean(1.0 / sizes))
    return np.asarray(0.5 * (np.linalg.slogdet(total)[1] - inner))


def _covariances(random: np.random.Generator, scatter: np.ndarray, freedom: int) -> np.ndarray:
    """Covariances (draws, m, m) that may have made this scatter: root A^{-1} root', by Bartlett's decomposition."""
    m = len(scatter)
    half = np.tril(random.standard_normal((_DRAWS, m, m)), -1)
    half[:, range(m), range(m)] = np.sqrt(random.chisquare(freedom - np.arange(m), (_DRAWS, m)))
    variances, directions = np.linalg.eigh(scatter)
    root = directions * np.sqrt(np.maximum(variances, 0.0))
    part = np.linalg.solve(half, np.broadcast_to(root.T, half.shape))
    return np.asarray(part.swapaxes(1, 2) @ part)


def _unlike_normals(theta: np.ndarray, starts: np.ndarray, error: float, same: bool = True) -> str:
    """Why replicas of sets are not those of normals, of the same covariance or each its own, if they are not."""
    sizes, m = np.diff(starts, append=len(theta)), theta.shape[1]
    means = np.add.reduceat(theta, starts, axis=0) / sizes[:, None]
    residual = (theta - np.repeat(means, sizes, axis=0)) * np.repeat(np.sqrt(sizes / (sizes - 1.0)), sizes)[:, None]
    if same and sizes.min() > m + 1:
        parts = np.split(residual, starts[1:])
        own = [entropy.log_determinant(p.T @ p * (1.0 - 1.0 / n), int(n) - 1) for p, n in zip(parts, sizes)]
        freedom = len(theta) - len(sizes)
        within = sum(p.T @ p * (1.0 - 1.0 / n) for p, n in zip(parts, sizes))
        gap = 0.5 * (entropy.log_determinant(within, freedom) - float(np.mean(own)))
        chance = 0.5 * np.sqrt(np.mean([entropy.log_determinant_variance(int(n) - 1, m) for n in sizes]) / len(sizes))
        if gap > max(SHARE * error, 3.0 * chance):
            return "replicas of different data sets have different covariances: pooled=False, or nearest-neighbour"
    return normal_reason([residual], error, told=False) and "replicas of a data set are not normal"


def _processing(
    machine: Machine, frame: int, method: str, samples: int | None, starts: np.ndarray
) -> dict[str, float | str]:
    parts, normaliser_error, reason = surprisals(machine, frame, method, samples, starts)
    everyone, of_set = parts.mixture(), parts.mixture_of_set(starts)
    theta = spread_out(_learned(machine, frame))
    of_classifier = classified(theta, starts) if theta.shape[1] else np.zeros(len(theta))
    rows = {
        "x_theta": everyone - parts.own.mean(axis=1),
        "x_set": everyone - of_set,
        "theta_set": of_classifier,
        "theta_margin": of_classifier - everyone + of_set,
        "x_margin": of_set - parts.own.mean(axis=1),
    }
    result: dict[str, float | str] = {}
    for name, values in rows.items():
        result[name], error = mean_and_error(values, starts)
        result[f"{name}_error"] = float(np.hypot(error, 0.5 * np.mean(normaliser_error**2)))
    gap, gap_of_set = parts.gap(), parts.gap_of_set()
    for name, bias in {"x_theta": gap, "x_set": abs(gap_of_set - gap), "x_margin": gap_of_set}.items():
        if not reason and bias > 2.0 * float(result[f"{name}_error"]) + 1e-9:
            reason = f"too few replicas: with and without the replica itself {name} differs by {2.0 * bias:.2g}"
    result["reason"] = reason
    return result
