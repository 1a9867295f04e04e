"""Both sides of the balance of information and entropy production, and L-info by two routes: Dataset in, Dataset out.

    dI = Sigma_X - Sigma_{X|Theta},   Sigma_X = dS_X - Q_X,   Sigma_{X|Theta} = <sigma>                        (44)
    sigma = -q + s(x_t|theta_t) - s(x_0|theta_0)                                                               (41)

S_X is the entropy of the samples of all chains. -q is the entropy that flows to the bath, booked as log_ratio_x: for a
move in detailed balance the two are equal; for another one only the ratio makes the theorem exact, and it is used on
both sides, of which it drops out. The average is, for any chain,

    Sigma_X - Sigma_{X|Theta} = d [I(X_t; Theta_t) - <KL(law of X_t given theta_t || p(x|theta_t))>]

with the information of the pair as it is, and not of a fresh sample. Where chains are in equilibrium, at this frame and
at the first, this is the change of the L-info; where they lag at this frame, it is a lower bound of I(X_t; Theta_t),
and where they do at the first, what they were short of counts as learned.

Units: as in the ledger. Errors are over independent replicas. Source: S. S. Parsi, Entropy 26, 112 (2024), Eqs. as
numbered.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis import entropy
from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.entropy import NO_NOISE, Noise
from thermosim.analysis.estimates import gathered, replica_mean
from thermosim.analysis.information import (
    SIGMAS,
    VERDICT,
    assembled,
    book,
    described,
    lag,
    learned_information,
    mean_and_error,
    parameters_of,
    require_own_bath,
    strata,
)
from thermosim.analysis.machine import Machine, in_order_of_sets, machines
from thermosim.analysis.mixtures import log_normalisers, surprisals_of
from thermosim.analysis.neighbours import DIMENSIONS, neighbour_entropy
from thermosim.analysis.normality import normal_reason
from thermosim.analysis.replicas import since

__all__ = ["information_balance", "routes"]

_TERMS = ("marginal_entropy_production", "learned_information_change")  # these change with S_X


@of_survivors
def information_balance(ds: xr.Dataset, marginal: str = "auto") -> xr.Dataset:
    """Both sides of Eq. 44 since the first recorded frame: dims step and the sweep axes.

    marginal_entropy S_X, marginal_entropy_production Sigma_X = dS_X - Q_X, conditional_entropy_production
    Sigma_{X|Theta}, and their difference learned_information_change. marginal: "empirical", frequencies of the states
    of discrete x; "nearest-neighbour", up to about 8 components; "gaussian", the normal with the samples' covariance;
    "mixture", mean of -ln p_t at the samples; "auto", the first that applies. replica_information_change has the mean
    of learned_information_change. `shadow` is what would be missing with the heat in place of the log ratio. `valid`
    is false, and `reason` says why, where S_X is not to be trusted here or in the first frame (states not met, an
    entropy by neighbours or of a normal that is not valid, bounds of the mixture too far apart), and where samples are
    not known to be those of p(x|theta) here or in the first frame: chains that have not relaxed, or that theta
    follows, as in learning by contrast.
    Raises ValueError where x has another temperature than 1, chains are restarted, or the books are not recorded.
    """
    return _of_points(ds, marginal)[0]


def _of_points(ds: xr.Dataset, marginal: str) -> tuple[xr.Dataset, list[list[Noise]]]:
    """The balance of all points, and the noise of learned_information_change of each, at every frame."""
    ds = in_order_of_sets(ds)
    everyone = machines(ds)
    names = {_marginal(machine, marginal) for machine in everyone}
    rows = []
    for machine in everyone:
        require_own_bath(machine)
        rows.append(_balance(machine, _marginal(machine, marginal)))
    noises = [row.pop("noise") for row in rows]
    meanings = {
        "marginal_entropy": ("nat", "entropy S_X of the samples of all chains"),
        "marginal_entropy_production": ("nat", f"Sigma_X = dS_X - Q_X {since(ds)}"),
        "conditional_entropy_production": ("nat", f"Sigma_X|Theta, mean of sigma {since(ds)}"),
        "learned_information_change": ("nat", f"Sigma_X - Sigma_X|Theta, change of the L-info {since(ds)}"),
        "replica_information_change": ("nat", "samples of a replica: change of the mutual content (Eq. 43)"),
        "shadow": ("nat", f"mean log ratio plus heat {since(ds)}"),
    }
    condition = "the L-info where chains have relaxed; a lower bound of I(X_t; Theta_t) where they lag"
    result = assembled(ds, rows, meanings, " and ".join(sorted(names)), condition, ds.sizes["replica"] - 1)
    return result, noises


@of_survivors
def routes(
    ds: xr.Dataset, method: str = "auto", marginal: str = "auto", information: xr.Dataset | None = None
) -> xr.Dataset:
    """Change of the L-info since the first frame by both routes: direct, fluctuation, and their difference.

    dims step and the sweep axes. The errors are of the same replicas, so that of the difference is no sum. `agree` is
    whether the difference is within four standard errors; `valid` whether both routes say they are, and direct in the
    first frame too; `reason` says why not. They estimate the same number only where chains have relaxed, here and in
    the first frame, and where theta does not follow them. `information` as for `low_variance`.
    """
    direct = learned_information(ds, method) if information is None else information
    balance, noises = _of_points(ds, marginal)
    noise = {name: _gathered(ds, noises, name) for name in Noise._fields}
    change = direct["replica_information"] - direct["replica_information"].isel(step=0, drop=True)
    theorem = balance["replica_information_change"]
    result = xr.Dataset()
    size = change.sizes["replica"]
    for name, values in (("direct", change), ("fluctuation", theorem), ("difference", change - theorem)):
        result[name], error = replica_mean(values)
        if name != "direct":
            error = xr.apply_ufunc(_with_noise, error, *noise.values(), size)
        result[f"{name}_error"] = error.assign_attrs(degrees_of_freedom=size - 1.0)
    result["agree"] = abs(result["difference"]) <= SIGMAS * result["difference_error"] + 1e-12
    reason = balance["reason"].where(balance["reason"] != "", direct["reason"])
    result["reason"] = reason.where(reason != "", direct["reason"].isel(step=0, drop=True)).transpose(*reason.dims)
    result["valid"] = result["reason"] == ""
    meanings = VERDICT | {
        "direct": ("nat", f"change of the L-info {since(ds)}, from densities"),
        "fluctuation": ("nat", f"change of the L-info {since(ds)}, from the fluctuation theorem (Eq. 44)"),
        "difference": ("nat", "direct less fluctuation"),
        "agree": ("", f"whether the difference is within {SIGMAS:g} standard errors"),
    }
    method = f"{direct.attrs['method']} against {balance.attrs['method']} marginal entropy"
    return described(result, meanings, method, "equal where chains have relaxed")


def _gathered(ds: xr.Dataset, noises: list[list[Noise]], name: str) -> xr.DataArray:
    return gathered(ds, [np.array([getattr(noise, name) for noise in row]) for row in noises], ("step",))


@np.vectorize
def _with_noise(error: float, seen: float, true: float, stretch: float, size: int) -> float:
    """A standard error over replicas, of values that have the noise of neighbours."""
    return Noise(seen, true, stretch).error(error**2 * size, size)


def _balance(machine: Machine, marginal: str) -> dict[str, Any]:
    """Rows of Eq. 44, from the values of single replicas at every frame, and the noise of the change."""
    rows: dict[str, list] = {}
    start, first, beginning = None, NO_NOISE, ""
    for frame in range(len(machine.steps)):
        theta = parameters_of(machine, frame)
        flow, heat = book(machine, "log_ratio_x", frame), book(machine, "heat", frame)
        own = book(machine, "phi", frame) + log_normalisers(machine, theta)[0]
        entropies, noise, reason = _marginal_entropy(machine, frame, theta, marginal)
        here = np.stack([entropies, flow, heat, own])
        start = here if start is None else start
        entropy_change, flow, heat, own_change = here - start
        both = noise.plus(first) if frame else NO_NOISE
        values = {
            "marginal_entropy": entropies,
            "marginal_entropy_production": entropy_change + flow,
            "conditional_entropy_production": own_change + flow,
            "learned_information_change": entropy_change - own_change,
            "shadow": flow + heat,
        }
        for name, value in values.items():
            known = noise if name == "marginal_entropy" else both if name in _TERMS else NO_NOISE
            mean, error = mean_and_error(value, noise=known)
            rows.setdefault(name, []).append(mean)
            rows.setdefault(f"{name}_error", []).append(error)
        error = rows["learned_information_change_error" if frame else "marginal_entropy_error"][-1]
        behind = lag(machine, frame, error)
        if frame == 0:
            first, beginning = noise, reason
        elif beginning and not reason:
            reason = f"in the first frame, {beginning}"
        start_behind = lag(machine, 0, error)
        if start_behind:
            behind = f"the first frame is no reference: {start_behind}"
        rows.setdefault("reason", []).append(reason or behind)
        rows.setdefault("replica_information_change", []).append(entropy_change - own_change)
        rows.setdefault("noise", []).append(both)
    return {name: row if name == "noise" else np.array(row) for name, row in rows.items()}


def _marginal(machine: Machine, marginal: str) -> str:
    known = ("empirical", "nearest-neighbour", "gaussian", "mixture")
    discrete, n = machine.model.discrete, machine.evaluator.components
    if marginal == "auto":
        return "empirical" if discrete else "nearest-neighbour" if n <= DIMENSIONS else "gaussian"
    if marginal not in known:
        raise ValueError(f"marginal = {marginal!r}: expected auto or one of {', '.join(known)}")
    if marginal != "mixture" and discrete != (marginal == "empirical"):
        kind = "discrete" if discrete else "continuous"
        raise ValueError(f"marginal = {marginal!r}: x of model {machine.model.name!r} is {kind}; use 'auto'")
    return marginal


def _marginal_entropy(machine: Machine, frame: int, theta: np.ndarray, marginal: str) -> tuple[np.ndarray, Noise, str]:
    """S_X: one value for each replica (R,), their noise, and why it is not valid, if it is not."""
    x = machine.x(frame)
    slots = [np.ascontiguousarray(x[:, sample]) for sample in range(x.shape[1])]  # samples of a replica are dependent
    if marginal == "empirical":
        return entropy.empirical_entropy(x), entropy.empirical_noise(x), entropy.empirical_reason(x)
    if marginal == "mixture":
        starts = strata(machine)
        parts = surprisals_of(machine, theta, x, log_normalisers(machine, theta)[0], starts)
        values = parts.mixture()
        apart = parts.gap() > 2.0 * mean_and_error(values, starts)[1]
        return values, NO_NOISE, "too few replicas: the bounds of the mixture are too far apart" if apart else ""
    if marginal == "gaussian":
        values = np.mean([entropy.normal_entropy(slot) for slot in slots], axis=0)
        if not np.isfinite(values).all():
            return values, NO_NOISE, "x has no spread in some direction"
        return values, NO_NOISE, normal_reason(slots, mean_and_error(values)[1])
    parts_ = [neighbour_entropy(slot) for slot in slots]
    noise = parts_[0].noise
    noise = Noise(noise.seen / len(slots), noise.true / len(slots), noise.stretch)
    return np.mean([p.surprisals for p in parts_], axis=0), noise, next((p.reason for p in parts_ if p.reason), "")
