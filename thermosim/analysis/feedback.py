"""The efficacy of feedback: <exp(-w)> of learning by contrast, and second laws for its work.

    work          <exp(-w)> = gamma                     where gamma is known           <w> >= -ln gamma
    efficacy      <exp(-w - sum ln gamma_i)> = 1        fresh samples                  <w> >= -<sum ln gamma_i>
    information   <exp(-w - i)> = 1                     theta with noise, any tau      <w> >= -<i>

gamma is a number for the Gaussian that learns its means, where it is the same for all theta and data, and for a start
that all replicas share, full batches without noise or velocity, and few paths of x. gamma_i and i are those of
`feedback_paths`, of every step at what was there before it.

Source: T. Sagawa, M. Ueda, Phys. Rev. Lett. 104, 090602 (2010); proofs in `exact.feedback`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put, put_mean, require
from thermosim.analysis.exponential_averages import exponential_average, put_reliability
from thermosim.analysis.feedback_paths import (
    efficacy,
    has_feedback,
    informations,
    log_efficacies,
    why_no_efficacy,
    why_no_information,
)
from thermosim.analysis.machine import Machine, machines

__all__ = ["corrections", "feedback_efficacy", "of_chains"]

THEOREMS = {
    "work": "<exp(-w)> = gamma, at which frames `exact` is true",
    "efficacy": "<exp(-w - sum ln gamma_i)> = 1: fresh samples, or the first step",
    "information": "<exp(-w - i)> = 1: noise in theta, and moves of x that leave p_theta invariant",
}

_EXPONENTS = {"efficacy": (why_no_efficacy, log_efficacies), "information": (why_no_information, informations)}


@of_survivors
def feedback_efficacy(ds: xr.Dataset) -> xr.Dataset:
    """<exp(-a)> of work under feedback since step 0, and the second laws: dims theorem, step and the sweep axes.

    a: the work of one chain (theorem work); work and sum ln gamma_i (efficacy); work and i (information). average, with
    interval, effective_sample_size and `reliable`; expected: gamma, NaN where it is not known as a number, 1 and
    1. mean_work, of a chain; bound (theorem): -ln gamma, -<sum ln gamma_i>, -<i>, below which it is not. Coordinate
    `exact` (theorem, step, axes) says where a theorem holds; theorems that are nowhere to be had are left out. Sums
    over x, and i, need theta and x at every step; the closed form of the Gaussian needs theta in the first frame.

    Raises ValueError where x does not steer theta, without step 0, and where no theorem holds, with the reasons.
    """
    require(ds, "work")
    if int(ds["step"][0]) != 0:
        raise ValueError("the theorems need the work since step 0, from a frame at step 0: record.first = 0")
    points = machines(ds)
    if not all(has_feedback(machine) for machine in points):
        raise ValueError('x does not steer theta: feedback needs theta.gradient = "contrast" and a theta that learns')
    found = [corrections(machine) for machine in points]
    gammas = [efficacy(machine) for machine in points]
    names = [name for name in THEOREMS if name == "work" or all(name in of for of, _ in found)]
    if names == ["work"] and not np.isfinite(np.stack(gammas)[:, 1:]).any():
        raise ValueError(
            "no theorem of feedback: " + "; ".join(dict.fromkeys(why for _, said in found for why in said))
        )
    result, dims, ones = xr.Dataset(), ("theorem", "step"), np.ones(ds.sizes["step"])
    condition = "where the coordinate `exact` is true, at any learning rate"
    columns, bounds, exact, wanted = [], [], [], []
    for machine, (of, _), gamma in zip(points, found, gammas):
        works = of_chains(machine)
        columns.append(
            np.stack([_average(works + of[name]) if name in of else _average(works) for name in names], axis=1)
        )
        known = np.broadcast_to(-np.log(gamma)[:, None], works.shape[:2])
        bounds.append(np.stack([-of[name].mean("sample").values if name in of else known for name in names]))
        exact.append(np.stack([np.isfinite(gamma) if name == "work" else _holds(machine, name) for name in names]))
        wanted.append(np.stack([gamma if name == "work" else ones for name in names]))
    average, error, low, high, size, reliable = gathered(ds, columns, ("part", *dims))
    put(result, "average", average, error, "1", "<exp(-a)>", condition, bounds=(low, high))
    put_reliability(result, size, reliable > 0.0)
    result["expected"] = gathered(ds, wanted, dims).assign_attrs(
        units="1", long_name="<exp(-a)> in theory", condition=condition
    )
    put_mean(result, "mean_work", ds["work"], "energy", "mean work of a chain since step 0", "the books are exact")
    below = gathered(ds, bounds, (*dims, "replica"))
    put_mean(result, "bound", below, "nat", "what mean work is not below", condition)
    result["bound"].attrs["undefined"] = "gamma is not known as a number"
    told = {"theorem": names, "condition": ("theorem", [THEOREMS[name] for name in names])}
    return result.assign_coords(told | {"exact": gathered(ds, exact, dims)})


def corrections(
    machine: Machine, names: Sequence[str] = ("efficacy", "information")
) -> tuple[dict[str, xr.DataArray], list[str]]:
    """sum ln gamma_i (efficacy) and sum i (information) since step 0, dims step, replica, sample, and why not."""
    found, said = {}, []
    for name in names:
        why, values = _EXPONENTS[name]
        reason = why(machine, int(machine.steps[min(1, len(machine.steps) - 1)]))
        try:
            if not reason:
                found[name] = xr.DataArray(values(machine), dims=("step", "replica", "sample"))
        except ValueError as error:
            reason = str(error)
        said += [reason] if reason else []
    return found, said


def of_chains(machine: Machine) -> xr.DataArray:
    """Work since step 0, dims step, replica, sample."""
    work = machine.frames["work"]
    work = work if "sample" in work.dims else work.expand_dims("sample")
    return xr.DataArray(work.transpose("step", "replica", "sample").values, dims=("step", "replica", "sample"))


def _holds(machine: Machine, name: str) -> np.ndarray:
    """Whether the theorem holds in each frame: (F,)."""
    why = why_no_efficacy if name == "efficacy" else why_no_information
    return np.array([not why(machine, int(step)) for step in machine.steps])


def _average(exponent: xr.DataArray) -> np.ndarray:
    """<exp(-a)>, its error, interval, sample size and reliability: (6, F)."""
    found = exponential_average(-exponent)
    average = xr.DataArray(np.exp(found.logarithm))
    parts = (average, average * found.error, np.exp(found.low), np.exp(found.high), found.sample_size, found.reliable)
    return np.stack([np.asarray(part) for part in parts])
