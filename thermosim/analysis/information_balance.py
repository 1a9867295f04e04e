"""Both sides of the balance of information and entropy production, and L-info by two routes: Dataset in, Dataset out.

    dI = Sigma_X - Sigma_{X|Theta},   Sigma_X = dS_X - Q_X,   Sigma_{X|Theta} = <sigma>                        (44)
    sigma = -q + s(x_t|theta_t) - s(x_0|theta_0)                                                               (41)

S_X is the entropy of the samples of all chains. -q is the entropy that flows to the bath, booked as log_ratio_x: for a
move in detailed balance the two are equal; for another one only the ratio makes the theorem exact, and it is used on
both sides, of which it drops out. The average is, for any chain,

    Sigma_X - Sigma_{X|Theta} = d [I(X_t; Theta_t) - <KL(law of X_t given theta_t || p(x|theta_t))>]

with the information of the pair as it is, and not of a fresh sample. Where chains are in equilibrium this is the
L-info; where they lag, it is a lower bound of I(X_t; Theta_t).

Units: nats, kT. Errors are over independent replicas. Source: S. S. Parsi, Entropy 26, 112 (2024), Eqs. as numbered.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis import entropy
from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.information import (
    SIGMAS,
    assembled,
    book,
    described,
    learned_information,
    mean_and_error,
    parameters_of,
    require_own_bath,
    strata,
)
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.mixtures import log_normalisers, surprisals_of
from thermosim.analysis.replicas import since

__all__ = ["information_balance", "routes"]

_NEIGHBOUR_DIMENSIONS = 8


def information_balance(ds: xr.Dataset, marginal: str = "auto") -> xr.Dataset:
    """Both sides of Eq. 44 since the first recorded frame: dims step and the sweep axes.

    marginal_entropy S_X, marginal_entropy_production Sigma_X = dS_X - Q_X, conditional_entropy_production
    Sigma_{X|Theta}, and their difference learned_information_change. marginal: "empirical", frequencies of the states
    of discrete x; "nearest-neighbour", up to about 8 components; "gaussian", the normal with the samples' covariance;
    "mixture", mean of -ln p_t at the samples; "auto", the first that applies. replica_information_change has the mean
    of learned_information_change. `valid` is false where S_X is not to be trusted: more than 5 % of the probability in
    states not met, neighbours with a bias above 0.1 nat and two errors, a normal where cumulants say otherwise, or
    bounds of the mixture too far apart. `shadow` is what would be missing with the heat in place of the log ratio.
    Raises ValueError where x has another temperature than 1, chains are restarted, or the books are not recorded.
    """
    everyone = machines(ds)
    names = {_marginal(machine, marginal) for machine in everyone}
    rows = []
    for machine in everyone:
        require_own_bath(machine)
        rows.append(_balance(machine, _marginal(machine, marginal)))
    meanings = {
        "marginal_entropy": ("nat", "entropy S_X of the samples of all chains"),
        "marginal_entropy_production": ("nat", f"Sigma_X = dS_X - Q_X {since(ds)}"),
        "conditional_entropy_production": ("nat", f"Sigma_X|Theta, mean of sigma {since(ds)}"),
        "learned_information_change": ("nat", f"Sigma_X - Sigma_X|Theta, change of the L-info {since(ds)}"),
        "replica_information_change": ("nat", "samples of a replica: change of the mutual content (Eq. 43)"),
        "shadow": ("nat", f"mean log ratio plus heat {since(ds)}"),
        "valid": ("1", "whether the estimate of S_X is to be trusted"),
    }
    condition = "the L-info where chains have relaxed; a lower bound of I(X_t; Theta_t) where they lag"
    return assembled(ds, rows, meanings, " and ".join(sorted(names)), condition)


def routes(
    ds: xr.Dataset, method: str = "auto", marginal: str = "auto", information: xr.Dataset | None = None
) -> xr.Dataset:
    """Change of the L-info since the first frame by both routes: direct, fluctuation, and their difference.

    dims step and the sweep axes. The errors are of the same replicas, so that of the difference is no sum. `agree` is
    whether the difference is within four standard errors; `valid` whether both routes say they are. They estimate the
    same number only where chains have relaxed: see `learning.relaxation`. `information` as for `low_variance`.
    """
    direct = learned_information(ds, method) if information is None else information
    balance = information_balance(ds, marginal)
    change = direct["replica_information"] - direct["replica_information"].isel(step=0, drop=True)
    theorem = balance["replica_information_change"]
    result = xr.Dataset()
    for name, values in (("direct", change), ("fluctuation", theorem), ("difference", change - theorem)):
        result[name], result[f"{name}_error"] = replica_mean(values)
    result["agree"] = abs(result["difference"]) <= SIGMAS * result["difference_error"] + 1e-12
    result["valid"] = direct["valid"] & balance["valid"]
    meanings = {
        "direct": ("nat", f"change of the L-info {since(ds)}, from densities"),
        "fluctuation": ("nat", f"change of the L-info {since(ds)}, from the fluctuation theorem (Eq. 44)"),
        "difference": ("nat", "direct less fluctuation"),
        "agree": ("1", f"whether the difference is within {SIGMAS:g} standard errors"),
        "valid": ("1", "whether both estimates are right within their errors, as far as they can tell"),
    }
    method = f"{direct.attrs['method']} against {balance.attrs['method']} marginal entropy"
    return described(result, meanings, method, "equal where chains have relaxed")


def _balance(machine: Machine, marginal: str) -> dict[str, np.ndarray]:
    """Rows of Eq. 44, from the values of single replicas at every frame."""
    rows: dict[str, list] = {}
    start = None
    for frame in range(len(machine.steps)):
        theta = parameters_of(machine, frame)
        entropies, valid = _marginal_entropy(machine, frame, theta, marginal)
        flow, heat = book(machine, "log_ratio_x", frame), book(machine, "heat", frame)
        own = book(machine, "phi", frame) + log_normalisers(machine, theta)[0]
        here = np.stack([entropies, flow, heat, own])
        start = here if start is None else start
        entropy_change, flow, heat, own_change = here - start
        values = {
            "marginal_entropy": entropies,
            "marginal_entropy_production": entropy_change + flow,
            "conditional_entropy_production": own_change + flow,
            "learned_information_change": entropy_change - own_change,
            "shadow": flow + heat,
        }
        for name, value in values.items():
            mean, error = mean_and_error(value)
            rows.setdefault(name, []).append(mean)
            rows.setdefault(f"{name}_error", []).append(error)
        rows.setdefault("valid", []).append(valid)
        rows.setdefault("replica_information_change", []).append(entropy_change - own_change)
    return {name: np.array(row) for name, row in rows.items()}


def _marginal(machine: Machine, marginal: str) -> str:
    known = ("empirical", "nearest-neighbour", "gaussian", "mixture")
    discrete, n = machine.model.discrete, machine.evaluator.components
    if marginal == "auto":
        return "empirical" if discrete else "nearest-neighbour" if n <= _NEIGHBOUR_DIMENSIONS else "gaussian"
    if marginal not in known:
        raise ValueError(f"marginal = {marginal!r}: expected auto or one of {', '.join(known)}")
    if marginal != "mixture" and discrete != (marginal == "empirical"):
        kind = "discrete" if discrete else "continuous"
        raise ValueError(f"marginal = {marginal!r}: x of model {machine.model.name!r} is {kind}; use 'auto'")
    return marginal


def _marginal_entropy(machine: Machine, frame: int, theta: np.ndarray, marginal: str) -> tuple[np.ndarray, bool]:
    """S_X: one value for each replica (R,), and whether to trust it."""
    x = machine.x(frame)
    slots = [np.ascontiguousarray(x[:, sample]) for sample in range(x.shape[1])]  # samples of a replica are dependent
    if marginal == "empirical":
        return entropy.empirical_entropy(x), entropy.singleton_fraction(x) < 0.05
    if marginal == "mixture":
        starts = strata(machine)
        parts = surprisals_of(machine, theta, x, log_normalisers(machine, theta)[0], starts)
        values = parts.mixture()
        return values, parts.gap() <= 2.0 * mean_and_error(values, starts)[1]
    if marginal == "gaussian":
        values = np.mean([entropy.normal_entropy(slot) for slot in slots], axis=0)
        excess = float(np.mean([entropy.normal_excess(slot) for slot in slots]))
        return values, excess <= 2.0 * mean_and_error(values)[1]
    values = np.mean([entropy.neighbour_entropy(slot) for slot in slots], axis=0)
    bias = abs(entropy.neighbour_bias(*slots[0].shape))
    return values, bool(np.isfinite(values).all()) and bias <= max(0.1, 2.0 * mean_and_error(values)[1])
