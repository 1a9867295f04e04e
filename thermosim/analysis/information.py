"""L-info, the information that samples have about the parameters: Dataset in, Dataset out.

    of one replica   I(theta) = int dx p(x|theta) ln p(x|theta)/p_t(x),    p_t(x) = <p(x|theta)>         (25)
    L-info           I = <I(theta)>, the average over the ensemble                                          (16)

The estimate is that of the infinite ensemble that the replicas are drawn from: the mixture over R replicas is itself an
estimate, whose bias of order 1/R is removed (`mixtures`). What the replicas have in common, such as one data set, is
not uncertain in that ensemble, nor are several data sets with fixed numbers of replicas. It is the information of
samples in equilibrium; `learning.relaxation` measures how far the chains are from it. The same number from heat and
entropy is in `information_balance`.

Units: as in the ledger. Errors are over independent replicas. Source: S. S. Parsi, Entropy 26, 112 (2024), Eqs. as
numbered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.entropy import NO_NOISE, Noise
from thermosim.analysis.estimates import gathered, put, replica_mean
from thermosim.analysis.learning import INFORMATION, LAG, exact_samples
from thermosim.analysis.machine import Machine, in_order_of_sets, machines, require_own_law
from thermosim.analysis.mixtures import Surprisals, integrated, log_normalisers, support_size, surprisals_of
from thermosim.analysis.normality import SHARE
from thermosim.analysis.settings import needs_frames
from thermosim.analysis.skewed_means import FEWEST_FOR_VARIANCE, put_skewed_mean
from thermosim.analysis.spreads import replica_spread, root_interval, square_deviations

__all__ = [
    "ALL",
    "SIGMAS",
    "VERDICT",
    "Meanings",
    "assembled",
    "book",
    "described",
    "lag",
    "learned_information",
    "low_variance",
    "mean_and_error",
    "parameters_of",
    "require_own_bath",
    "strata",
    "surprisals",
]

SIGMAS = 4.0  # of a difference that is called none
_FOR_RATIO = 500.0  # replicas for a ratio of deviation and mean of 1
_SUMS = 1 << 26  # numbers of an exact sum that is still quick
_MASS = 1e-4  # probability that an exact sum may miss
_POINTS = 4096  # samples for a mixture, at least; of each replica four, at least

Meanings = Mapping[str, tuple[str, str]]
VERDICT = {
    "valid": ("", "whether the estimates are right within their errors, as far as they can tell"),
    "reason": ("", "why the estimates are not valid, empty where they are"),
}
ALL = np.zeros(1, int)  # all replicas are one set


@of_survivors
def learned_information(ds: xr.Dataset, method: str = "auto", samples: int | None = None) -> xr.Dataset:
    """L-info at every frame: dims step and the sweep axes; replica_information, Eq. 25, has the replicas as well.

    method: "exact", a sum over all x; "nested", `samples` exact samples of each of R replicas, at a cost of R^2 times
    their number (default: 4096 in all, at least four each, on which the error of replica_information rests); "chains",
    the recorded samples of the chains, right only as far as these have relaxed; "auto", the first of them that the
    model can do.
    lower_bound and upper_bound hold on average over ensembles of this size. `valid` is false, and `reason` says why,
    where half their distance exceeds two standard errors, where the sum over x misses some of it, where chains are not
    known to have relaxed so far that it does not matter, or where they steer theta.
    Raises ValueError for a single replica, theta not recorded or not finite, samples of another temperature than 1, or
    a method that the model has not.
    """
    ds = in_order_of_sets(ds)
    rows = [
        _stacked([_direct(machine, frame, method, samples) for frame in range(len(machine.steps))])
        for machine in machines(ds)
    ]
    names = {_method(machine, method) for machine in machines(ds)}
    meanings = {
        "learned_information": ("nat", "L-info I(X; Theta)"),
        "lower_bound": ("nat", "L-info, lower bound on average: mixture with the replica itself"),
        "upper_bound": ("nat", "L-info, upper bound on average: mixture without the replica itself"),
        "replica_information": ("nat", "L-info of a replica, relative entropy of p(x|theta) and p_t"),
    }
    condition = "replicas are independent draws of the ensemble at the data of the run"
    result = assembled(ds, rows, meanings, " and ".join(sorted(names)), condition, _freedom(machines(ds)))
    if samples == 1 or (names == {"chains"} and "sample" not in ds["x"].dims):
        result["replica_information_error"].attrs["undefined"] = "one sample of a replica has no error"
    return result


@of_survivors
def low_variance(ds: xr.Dataset, information: xr.Dataset | None = None) -> xr.Dataset:
    """Mean and standard deviation over replicas of their L-info, and the ratio of both: dims step and the sweep axes.

    The low-variance condition of Parsi 2024, Sec. 5.1.3, is a ratio far below one: then one replica tells the L-info of
    the ensemble. The noise of each replica's estimate is not counted. `reliable`: replicas are enough for the intervals
    of spread and ratio. `information` is the result of `learned_information`, which is computed if it is not given.
    """
    information = learned_information(ds) if information is None else information
    values, noise = information["replica_information"], information["replica_information_error"]
    mean, squares = values.mean("replica", skipna=False), square_deviations(values, noise)
    variance, (spread, spread_error) = squares.mean("replica", skipna=False), replica_spread(squares)
    with np.errstate(divide="ignore", invalid="ignore"):
        some = mean > 1e-12  # below there is no information, only rounding
        ratio = xr.DataArray(spread / mean).where(some)
        slope = np.minimum(0.5 / spread, 1.0 / np.sqrt(replica_mean(squares)[1]))
        ratio_error = replica_mean((squares - variance) * slope / mean - (values - mean) * ratio / mean)[1]
        square = (squares - 2.0 * variance * (values / mean - 1.0)) / mean**2  # each replica's share in ratio^2
        low, high = (end.where(some) for end in root_interval(square))
    result, method = xr.Dataset(attrs={"method": information.attrs["method"]}), information.attrs["method"]
    condition = "independent replicas; small where one replica tells the L-info of all (Sec. 5.1.3)"
    put_skewed_mean(result, "mean", values, "nat", "mean over replicas of their L-info", condition)
    what = "standard deviation over replicas of their L-info"
    put(result, "spread", spread, spread_error, "nat", what, condition, bounds=root_interval(squares))
    what = "standard deviation over mean of the replicas' L-info"
    put(result, "ratio", ratio, ratio_error, "1", what, condition, bounds=(low, high))
    for name in result.data_vars:
        result[name].attrs["method"] = method
    needed = np.maximum(FEWEST_FOR_VARIANCE, _FOR_RATIO * ratio.fillna(0.0) ** 2)
    result["reliable"] = xr.DataArray(values.sizes["replica"] >= needed).assign_attrs(
        long_name=f"at least {FEWEST_FOR_VARIANCE} replicas, and {_FOR_RATIO:g} for a ratio of 1, as its square",
        condition="a flag, not a proof",
        method=method,
    )
    return result


def surprisals(
    machine: Machine, frame: int, method: str, samples: int | None, starts: np.ndarray
) -> tuple[Surprisals, np.ndarray, str]:
    """Surprisals at a frame, standard error of each ln Z (R,), and why they are not those of p(x|theta), if not.

    method and samples as for `learned_information`; data sets, of two replicas or more, start at replicas `starts`.
    """
    theta, name = parameters_of(machine, frame), _method(machine, method)
    normaliser, error = log_normalisers(machine, theta)
    if name == "exact":
        parts = integrated(machine, theta, normaliser, starts)
        assert parts.mass is not None
        missing = float(np.max(np.abs(parts.mass - 1.0)))
        return parts, error, "" if missing < _MASS else f"the sum over x misses {missing:.1g} of the probability"
    x = machine.x(frame) if name == "chains" else _drawn(machine, frame, samples)
    parts = surprisals_of(machine, theta, x, normaliser, starts)
    if name == "nested":
        return parts, error, ""
    return parts, error, lag(machine, frame, mean_and_error(parts.mixture() - parts.own.mean(axis=1), starts)[1])


def parameters_of(machine: Machine, frame: int) -> np.ndarray:
    """theta (R, m) of a frame, of two replicas at least, all finite. Raises ValueError otherwise."""
    theta = machine.theta(frame)
    if len(theta) < 2:
        raise ValueError("an ensemble of one replica has no information; raise ensemble.replicas")
    if not np.isfinite(theta).all():
        raise ValueError(
            f"theta is not finite at step {machine.steps[frame]}: take the frames before it, or run again with a "
            "smaller theta.learning_rate"
        )
    return theta


def strata(machine: Machine) -> np.ndarray:
    """First replica of every data set; a set of a single replica, which shows no spread, is one with its neighbour."""
    labels = machine.data_set_in_order()
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    starts = starts[np.diff(starts, append=len(labels)) > 1]
    starts[:1] = 0
    return starts if len(starts) else ALL


def mean_and_error(values: np.ndarray, starts: np.ndarray = ALL, noise: Noise = NO_NOISE) -> tuple[float, float]:
    """Mean of (R,), and its standard error where every set, from these replicas on, keeps its number of replicas.

    noise: of surprisals by neighbours among the values. Infinite values have no error.
    """
    if not np.isfinite(values).all():
        return float(values.mean()), np.nan
    sizes = np.diff(starts, append=len(values))
    residual = values - np.repeat(np.add.reduceat(values, starts) / sizes, sizes)
    variance = float(np.sum(residual**2) / (len(values) - len(starts)))
    return float(values.mean()), noise.error(variance, len(values))


def assembled(
    ds: xr.Dataset,
    rows: Sequence[Mapping[str, np.ndarray]],
    meanings: Meanings,
    method: str,
    condition: str,
    freedom: int | None = None,
) -> xr.Dataset:
    """Arrays (F,) or (F, R) of every point of the sweep as one Dataset; those of one dimension have no replica.

    X_interval is (F, 2). `reason` is text, empty where estimates are valid. freedom: degrees of freedom of all errors.
    """
    result = xr.Dataset()
    for name, first in rows[0].items():
        dims = ("step", "bound" if name.endswith("_interval") else "replica")[: np.ndim(first)]
        result[name] = gathered(ds, [row[name] for row in rows], dims)
        if "bound" in dims:
            result[name] = result[name].assign_coords(bound=["low", "high"]).transpose(..., "bound")
        if freedom is not None and name.endswith("_error"):
            result[name].attrs["degrees_of_freedom"] = float(freedom)
    if "reason" in result:
        result["valid"] = result["reason"] == ""
        meanings = {**meanings, **VERDICT}
    return described(result, meanings, method, condition)


def described(result: xr.Dataset, meanings: Meanings, method: str, condition: str) -> xr.Dataset:
    """With the attributes of every variable: its unit, none for a flag or a word, and its meaning."""
    for name, (units, meaning) in meanings.items():
        unit = {"units": units} if units else {}
        known = result[name] if units else result[name].drop_attrs(deep=False)
        result[name] = known.assign_attrs(unit, long_name=meaning, method=method, condition=condition)
        if f"{name}_error" in result:
            attributes = {"units": units, "long_name": f"standard error: {meaning}", "method": method}
            result[f"{name}_error"] = result[f"{name}_error"].assign_attrs(attributes, condition=condition)
        if f"{name}_interval" in result:
            attributes = {"units": units, "long_name": f"95 % interval: {meaning}", "method": method}
            result[f"{name}_interval"] = result[f"{name}_interval"].assign_attrs(attributes, condition=condition)
    return result.assign_attrs(method=method)


def _stacked(frames: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Numbers and arrays (R,) of every frame, stacked."""
    return {name: np.stack([np.asarray(frame[name]) for frame in frames]) for name in frames[0]}


def _direct(machine: Machine, frame: int, method: str, samples: int | None) -> dict[str, Any]:
    starts = strata(machine)
    parts, normaliser_error, reason = surprisals(machine, frame, method, samples, starts)
    values = parts.mixture() - parts.own.mean(axis=1)
    mean, error = mean_and_error(values, starts)
    # an error e of ln Z leaves the mean as it is to first order; to second it takes away at most e^2/2
    error = float(np.hypot(error, 0.5 * np.mean(normaliser_error**2)))
    if not reason and parts.gap() > 2.0 * error + 1e-9:
        reason = f"too few replicas: with and without the replica itself the L-info differs by {2.0 * parts.gap():.2g}"
    count = parts.own.shape[1]
    noise = np.zeros(len(values))
    if parts.mass is None:
        single = parts.excluded - parts.own
        noise = single.std(axis=1, ddof=1) / np.sqrt(count) if count > 1 else np.full(len(values), np.nan)
    return {
        "learned_information": mean,
        "learned_information_error": error,
        "lower_bound": np.mean(parts.included - parts.own),
        "upper_bound": np.mean(parts.excluded - parts.own),
        "reason": reason,
        "replica_information": values,
        "replica_information_error": np.hypot(noise, normaliser_error),
    }


def _method(machine: Machine, method: str) -> str:
    size = support_size(machine)
    able = {"exact": size > 0, "nested": machine.model.fresh is not None, "chains": "x" in machine.frames}
    if method == "auto":
        quick = size * machine.frames.sizes["replica"] <= _SUMS
        able["exact"] &= quick or not able["nested"]
        method = next((name for name, can in able.items() if can), "chains")
    if method not in able:
        raise ValueError(f"method = {method!r}: expected auto, exact, nested or chains")
    if not able[method]:
        has = {"exact": "sum over all x", "nested": "exact sampler", "chains": "recorded x"}[method]
        raise ValueError(f"method = {method!r}: model {machine.model.name!r} has no {has} here; choose another method")
    require_own_law([machine])
    if method == "chains":
        require_own_bath(machine, flow=False)
    return method


def _drawn(machine: Machine, frame: int, samples: int | None) -> np.ndarray:
    """Exact samples (R, K, n)."""
    count = samples or max(4, -(-_POINTS // machine.frames.sizes["replica"]))
    return exact_samples(machine, frame, INFORMATION, count)


def book(machine: Machine, name: str, frame: int) -> np.ndarray:
    """A variable of a frame, averaged over the samples of each replica (R,)."""
    if name not in machine.frames:
        raise ValueError(needs_frames(machine.frames, [name]))
    values = machine.frames[name].isel(step=frame)
    return np.asarray(values.mean("sample") if "sample" in values.dims else values)


def lag(machine: Machine, frame: int, error: float) -> str:
    """Why samples of chains at a frame are not those of p(x|theta), if not so far as this error of an entropy tells.

    Fresh samples are, and those of a start in equilibrium. Of others the mean of phi is compared with that of p: with a
    gap of g standard deviations of phi they have a relative entropy of g^2/2, in the least case, which must be small
    against the error, a standard error of the gap included. It is a necessary sign only.
    """
    x, fresh = machine.settings.of_x, machine.x_move.fresh
    run = machine.settings.run
    if run.direction == "reversed" or (run.direction == "there-and-back" and 2 * machine.steps[frame] > run.steps):
        return "on the way back theta has moved on when a frame is taken"
    if fresh and (machine.steps[frame] > 0 or x.starts_in_equilibrium):
        return ""
    if machine.settings.theta.gradient == "contrast" and machine.steps[frame] > 0:
        return "learning by contrast: theta follows the samples, which are not those of p(x|theta) at any tau"
    if machine.steps[frame] == 0:
        return "" if x.starts_in_equilibrium else f"chains start from {x.start} and have not relaxed"
    try:
        theta, phi = parameters_of(machine, frame), book(machine, "phi", frame)
        mean, gap_error = mean_and_error(phi - _equilibrium_average(machine, frame, theta))
    except ValueError as fault:
        return f"chains are not known to have relaxed: {fault}"
    spread = float(machine.frames["phi"].isel(step=frame).std())
    farthest = abs(mean) + gap_error
    if farthest == 0.0 or (spread > 0.0 and 0.5 * (farthest / spread) ** 2 <= SHARE * error):
        return ""
    return f"chains have not relaxed, or cannot be seen to: phi is {mean:.2g} above its mean in equilibrium"


def _equilibrium_average(machine: Machine, frame: int, theta: np.ndarray) -> np.ndarray:
    """<phi> in p(x|theta) of every replica, (R,)."""
    model = machine.model
    if model.cross_entropy is not None:
        return np.asarray(model.cross_entropy(theta, theta, machine.constants))
    if support_size(machine) > 0:
        normaliser = log_normalisers(machine, theta)[0]
        return integrated(machine, theta, normaliser, ALL).own[:, 0] - normaliser
    if model.fresh is None:
        raise ValueError(
            f"model {model.name!r} has no cross-entropy, sum over x or exact sampler to compare its chains with, "
            "whatever x.tau is"
        )
    x = exact_samples(machine, frame, LAG, 4)
    phi = [machine.evaluator.surprisal(x[:, sample], theta) for sample in range(x.shape[1])]
    return np.asarray(np.mean(phi, axis=0))


def _freedom(points: Sequence[Machine]) -> int:
    """Degrees of freedom of errors from the replicas within their sets."""
    return min(machine.frames.sizes["replica"] - len(strata(machine)) for machine in points)


def require_own_bath(machine: Machine, flow: bool = True) -> None:
    """Raise ValueError unless chains sample exp(-phi) itself, and book all entropy that flows."""
    section = machine.settings.x
    if not section:
        raise ValueError("the ensemble has no samples x: its case has no [x]")
    require_own_law([machine])
    if flow and section.restart:
        raise ValueError("x.restart: a restart has no transition ratio, so its entropy production is not known")
