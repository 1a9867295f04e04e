"""Learning by contrast against theory: the efficacy of feedback in the place of the theorems without it.

    gamma known as a number     <exp(-work)> = gamma: few spins in few steps, and the Gaussian that learns its means, of
                                whose chains also together
    sums over x                 <exp(-work - sum ln gamma_i)> = 1, gamma_i of every step of every chain
    theta with noise            <exp(-work - i)> = 1, i what theta' tells of x, at any tau

Fresh samples for the first two, or the first step of any chain; moves that leave p_theta invariant for the last.
Source: T. Sagawa, M. Ueda, Phys. Rev. Lett. 104, 090602 (2010); proofs in `exact.feedback`.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.estimates import gathered
from thermosim.analysis.feedback import corrections, of_chains
from thermosim.analysis.feedback_paths import (
    efficacy,
    has_feedback,
    price,
    why_no_efficacy,
    why_no_information,
)
from thermosim.analysis.machine import Machine, machines
from thermosim.checks.exponential import exponential_average
from thermosim.checks.means import LEAST_REPLICAS

__all__ = ["feedback_advice", "feedback_comparisons"]

_MOST = 1 << 27  # numbers that sums over x may take
_FRAMES = 33  # steps whose sums over x are taken, and one
_DIMS = ("step", "replica", "sample")
_WHY = {"efficacy": why_no_efficacy, "information": why_no_information}
_ROWS = {
    "efficacy": ("<exp(-work)>/efficacy", "efficacy of the feedback of every step, given all but x"),
    "information": ("<exp(-work - information)>", "what theta knows of x, at any tau"),
}
_NUMBER = "efficacy of the feedback, exact"


def feedback_comparisons(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """None unless x steers theta at every point of the sweep, and the work since step 0 is known."""
    if not all(has_feedback(machine) for machine in everyone) or why_no_books(ds):
        return []
    numbers = _numbers(ds, everyone)
    names = [name for name in _ROWS if not (numbers and name == "efficacy")]
    return numbers + [row for name in names for row in _theorem(ds, everyone, name)]


def feedback_advice(ds: xr.Dataset, everyone: list[Machine]) -> list[str]:
    """What holds under feedback, and why what is not compared is not."""
    if not any(has_feedback(machine) for machine in everyone):
        return []
    said = (
        "Learning by contrast lets x steer theta: fluctuation theorems and routes to the L-info hold without feedback "
        "only, and are not compared"
    )
    if why := _why_nothing(ds, everyone):
        return [f"{said}; nor is the efficacy of the feedback: {why}."]
    return [f"{said}; the efficacy of the feedback is."]


def why_no_books(ds: xr.Dataset) -> str:
    """Why <exp(-work)> is not to be had, or empty."""
    if "work" not in ds or int(ds["step"][0]) != 0 or ds.sizes["step"] < 2:
        return "it needs the work since step 0, with a frame there"
    return f"it needs {LEAST_REPLICAS} replicas" if ds.sizes["replica"] < LEAST_REPLICAS else ""


def _why_nothing(ds: xr.Dataset, everyone: list[Machine]) -> str:
    """Why no theorem is compared, or empty where one is."""
    if why := why_no_books(ds):
        return why
    if not all(has_feedback(machine) for machine in everyone):
        return "there is none at some points of the sweep"
    if "theta" not in ds:
        return "it needs theta: record.variables"
    reasons = {name: _why_not(ds, everyone, name) for name in _ROWS}
    return reasons["efficacy"] if all(reasons.values()) else ""


def _why_not(ds: xr.Dataset, everyone: list[Machine], name: str) -> str:
    """Why a theorem is not compared at any frame, or empty."""
    reasons = [_WHY[name](machine, int(ds["step"][1])) for machine in everyone]
    if any(reasons):
        return next(reason for reason in reasons if reason)
    sums = max(price(machine) for machine in everyone)
    if not sums and name == "efficacy":
        return ""
    if "x" not in ds or int(ds["step"][1]) != 1:
        return "it needs theta and x at every step, record.every = 1"
    return "" if _affordable(ds, everyone) >= 2 * LEAST_REPLICAS else "its sums over x take too long"


def _affordable(ds: xr.Dataset, everyone: list[Machine]) -> int:
    """Replicas whose sums over x are taken."""
    steps = min(ds.sizes["step"], _FRAMES) - 1
    total = steps * sum(price(machine) for machine in everyone)
    return min(ds.sizes["replica"], int(_MOST / max(total, 1.0)))


def _numbers(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """<exp(-work)> against gamma, of one chain and of all of them, in frames where it is known at every point."""
    comparisons = []
    several = all(int(machine.settings.of_x.samples) > 1 for machine in everyone)
    for together in (False, True) if several else (False,):
        expected = gathered(ds, [efficacy(machine, together) for machine in everyone], ("step",))
        known = xr.DataArray(np.isfinite(expected)).all([d for d in expected.dims if d != "step"]).values
        if np.count_nonzero(known) < 2:
            continue
        here, work = ds.isel(step=known), ds["work"].isel(step=known)
        name = "<exp(-work of all chains)>" if together else "<exp(-work)> under feedback"
        work = work.sum("sample", skipna=False) if together else work
        comparisons += exponential_average(here, work, name, _NUMBER, expected.isel(step=known))
    return comparisons


def _theorem(ds: xr.Dataset, everyone: list[Machine], name: str) -> list[Comparison]:
    """<exp(-work - correction)> against 1."""
    if "theta" not in ds or _why_not(ds, everyone, name):
        return []
    steps = ds["step"].values
    known = np.array([not any(_WHY[name](machine, int(step)) for machine in everyone) for step in steps])
    if price(everyone[0]) or name == "information":
        known &= steps == np.arange(len(steps))
        known[_FRAMES:] = False
    some = ds.isel(step=known, replica=slice(_affordable(ds, everyone)))
    points = machines(some)
    found = [corrections(machine, (name,))[0] for machine in points]
    if not all(name in of for of in found):
        return []
    works = [(of_chains(machine) + of[name]).values for machine, of in zip(points, found, strict=True)]
    quantity, reference = _ROWS[name]
    return exponential_average(some, gathered(some, works, _DIMS), quantity, reference)
