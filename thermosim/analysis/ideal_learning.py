"""How far learning is from ideal, and the entropy of x and theta together: Dataset in, Dataset out.

    ideal learning   dI = -Q_X = dS_Theta                                                                   [Eq. 50]
    what is missing  -Q_X - dI = Sigma_{X|Theta} - dS_X,    Sigma_{X|Theta} = dS_{X|Theta} - Q_X            [Eq. 44]
                     dS_Theta + Q_X, which a reversible reservoir of a closed system has at 0               [Eq. 49]
    joint entropy    dS_{X,Theta} = dS_X + dS_Theta - dI = dS_Theta + dS_{X|Theta}                          [Eq. 28]
    second law       Sigma = dS_X + dS_Theta, equal to dI where the system is closed, dS_{X,Theta} = 0  [Eqs. 27, 29]

I and S_X = I + S_{X|Theta} are those of samples in equilibrium with their theta, Q_X is the heat of the chains as they
are. By Eq. 28 the joint entropy needs no law of X, only that of theta and the entropy of p(x|theta): what Eq. 29 misses
is dS_{X,Theta}, whatever I is. That the machine is closed is a postulate; its noise and its data are outside.

Units: as in the ledger. All errors, those of differences too, are over the same independent replicas.
Source: S. S. Parsi, Entropy 26, 112 (2024), arXiv 2310.19802.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from thermosim.analysis import entropy, learning
from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put_mean, require
from thermosim.analysis.gradient_noise import learned_parameters
from thermosim.analysis.information import learned_information
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.normality import normal_reason
from thermosim.analysis.still_directions import why_no_entropy

__all__ = ["ideal_learning", "joint_entropy"]

_NORMAL = "theta normal, else S_Theta is an upper bound"


@of_survivors
def ideal_learning(ds: xr.Dataset, frames: int = 11, method: str = "auto") -> xr.Dataset:
    """Eq. 50 as a table of changes and deficits: dims step and the sweep axes.

    At `frames` equally spaced recorded frames, since the first at which theta varies in all directions. Changes:
    learned_information dI, released_heat -Q_X, memory dS_Theta, marginal_entropy dS_X, conditional_entropy
    dS_{X|Theta}, conditional_entropy_production Sigma_{X|Theta}. Deficits, all 0 for ideal learning:
    dissipated_deficit -Q_X - dI, stored_deficit dS_Theta + Q_X, memory_deficit dS_Theta - dI, their sum. method: as for
    `learned_information`; S_Theta is that of the normal with theta's covariance. `valid` is false, and `reason` says
    why, where that of the information is, or theta is seen not to be normal. Raises ValueError without theta and heat,
    for a theta without spread, samples of another temperature than 1, or a model whose <phi> and ln Z are not to be
    had.
    """
    require(ds, "theta", "heat")
    some, stored, conditional, reason = _contents(ds, frames)
    information, untrue, how = _information(some, method)
    heat = some["heat"].mean("sample", skipna=False) if "sample" in some["heat"].dims else some["heat"]
    heat = heat - heat.isel(step=0, drop=True)
    values = {
        "learned_information": (information, "dI, change of the L-info", "as the L-info"),
        "released_heat": (-heat, "-Q_X, heat given off by x", "any move: the books are exact"),
        "memory": (stored, "dS_Theta, change of the M-info", _NORMAL),
        "conditional_entropy": (conditional, "dS_{X|Theta}", "samples in equilibrium"),
        "marginal_entropy": (information + conditional, "dS_X = dI + dS_{X|Theta}", "samples in equilibrium"),
        "conditional_entropy_production": (conditional - heat, "Sigma_{X|Theta} = dS_{X|Theta} - Q_X", "as Q_X"),
        "dissipated_deficit": (-heat - information, "-Q_X - dI", "0 for ideal learning (Eq. 50)"),
        "stored_deficit": (stored + heat, "dS_Theta + Q_X", "0 where Clausius' relation holds (Eq. 49)"),
        "memory_deficit": (stored - information, "dS_Theta - dI", "0 for ideal learning (Eq. 50)"),
    }
    result = _table(values, some)
    return _judged(result, [untrue, reason], f"L-info {how}, S_Theta normal")


@of_survivors
def joint_entropy(ds: xr.Dataset, frames: int = 11, method: str = "auto") -> xr.Dataset:
    """Eqs. 27 to 29 since the first frame with an entropy of theta: dims step and the sweep axes.

    joint_entropy dS_{X,Theta} = dS_Theta + dS_{X|Theta}, the residual of a closed system; sum_of_entropies dS_X +
    dS_Theta, Sigma of Eq. 27; learned_information dI, to which Sigma is equal where the residual is 0 (Eq. 29). Where x
    was recorded and is continuous, pair_entropy is that of the normal of the first sample and theta as they are: it is
    joint_entropy where chains have relaxed. Arguments, errors and `valid` are those of `ideal_learning`.
    """
    require(ds, "theta")
    some, stored, conditional, reason = _contents(ds, frames)
    information, untrue, how = _information(some, method)
    joint = stored + conditional
    values = {
        "joint_entropy": (joint, "dS_{X,Theta}, 0 for a closed system", _NORMAL),
        "sum_of_entropies": (joint + information, "Sigma = dS_X + dS_Theta (Eq. 27)", _NORMAL),
        "learned_information": (information, "dI, equal to Sigma for a closed system (Eq. 29)", "as the L-info"),
    }
    if "x" in some and not machines(some)[0].model.discrete:
        pair = gathered(some, [_pairs(machine) for machine in machines(some)], ("step", "replica"))
        values["pair_entropy"] = (pair, "dS of one sample and theta together", "the pair normal, else an upper bound")
    result = _table(values, some)
    return _judged(result, [untrue, reason], f"L-info {how}, S_Theta normal")


def _table(values: Mapping[str, tuple[xr.DataArray, str, str]], ds: xr.Dataset) -> xr.Dataset:
    result = xr.Dataset(attrs={"first": int(ds["step"][0])})
    for name, (value, meaning, condition) in values.items():
        units = "energy" if name == "released_heat" else "nat"
        put_mean(result, name, value, units, f"{meaning} since the first frame", condition)
    return result


def _information(ds: xr.Dataset, method: str) -> tuple[xr.DataArray, xr.DataArray, str]:
    """dI since the first frame as values of replicas whose mean it is, why it is not valid, and how it was found."""
    direct = learned_information(ds, method)
    values = direct["replica_information"].transpose("step", ...)
    return values - values.isel(step=0, drop=True), direct["reason"], str(direct.attrs["method"])


def _judged(result: xr.Dataset, reasons: Sequence[xr.DataArray], how: str) -> xr.Dataset:
    """`valid` where nothing speaks against the estimates at a frame and at the first; else `reason` says what."""
    reason = xr.full_like(reasons[0], "", dtype=object)
    for one in reasons:
        for at in (one, one.isel(step=0, drop=True)):
            reason = reason.where(reason != "", at.astype(object))
    reason = reason.astype(str)
    result["valid"] = (reason == "").assign_attrs(
        long_name="whether information and memory are right within their errors", condition="as far as they can tell"
    )
    result["reason"] = reason.assign_attrs(long_name="why it is not valid", condition="empty where it is")
    return result.assign_attrs(method=how)


def _contents(ds: xr.Dataset, frames: int) -> tuple[xr.Dataset, xr.DataArray, xr.DataArray, xr.DataArray]:
    """The chosen frames from the first with an entropy of theta; dS_Theta and dS_{X|Theta} since, as values of replicas
    whose means they are; and why theta is not normal, if it is not."""
    chosen = np.unique(np.linspace(0, ds.sizes["step"] - 1, max(2, frames)).round().astype(int))
    some = ds.isel(step=chosen)
    stored = [_stored(machine) for machine in machines(some)]
    regular = np.all([np.isfinite(values).all(axis=1) for values, _ in stored], axis=0)
    begin = int(np.argmax(regular))
    if not regular[begin:].all():
        point = next(i for i, (values, _) in enumerate(stored) if not np.isfinite(values[begin:]).all())
        bad = begin + np.flatnonzero(~np.isfinite(stored[point][0][begin:]).all(axis=1))
        raise ValueError(why_no_entropy(machines(some)[point], bad.tolist()))
    some = some.isel(step=slice(begin, None))
    own = [_conditional(machine) for machine in machines(some)]
    dims = ("step", "replica")
    of_theta = gathered(some, [values[begin:] - values[begin] for values, _ in stored], dims)
    of_x = gathered(some, [values - values[0] for values in own], dims)
    return some, of_theta, of_x, gathered(some, [reasons[begin:] for _, reasons in stored], ("step",))


def _stored(machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    """S_Theta of what is learned as values of replicas, (F, R), and why theta is not normal, (F,)."""
    learned = learned_parameters(machine)[0]
    thetas = [machine.theta(frame)[:, learned] for frame in range(len(machine.steps))]
    values = [entropy.normal_entropy(theta) for theta in thetas]
    reasons = [
        normal_reason([theta], float(value.std(ddof=1)) / np.sqrt(len(value)))
        if np.isfinite(value).all()
        else "theta has no spread in some direction"
        for theta, value in zip(thetas, values)
    ]
    return np.stack(values), np.array(reasons)


def _conditional(machine: Machine) -> np.ndarray:
    """S_{X|Theta} = <phi> + ln Z of every replica's theta, (F, R)."""
    frames = range(len(machine.steps))
    return np.stack([learning.mean_energy(machine, f)[0] + learning.log_normaliser(machine, f)[0] for f in frames])


def _pairs(machine: Machine) -> np.ndarray:
    """Change of the entropy of (first sample, theta) as values of replicas, (F, R)."""
    learned = learned_parameters(machine)[0]
    values = [
        entropy.normal_entropy(np.concatenate([machine.x(frame)[:, 0], machine.theta(frame)[:, learned]], axis=1))
        for frame in range(len(machine.steps))
    ]
    return np.stack(values) - values[0]
