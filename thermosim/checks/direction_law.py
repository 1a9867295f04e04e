"""Three weights on rows of data, on a sphere: SGD against its exact chain, at every frame and between them.

Mean losses and mean squares along the directions in which the loss rises at frames, and of the steps between frames the
loss, |w|^2|g|^2 and the stretch, against moments of the chain: from a start that is a point at all steps, otherwise
after 20 relaxation times. What polynomials of higher degree would change is the tolerance (`exact.direction_chain`).
Of other protocols, what `scale_invariance` knows is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import SKEWEST, Comparison
from thermosim.analysis.direction_law import NAME, chains, late, why_no_law
from thermosim.analysis.machine import Machine, machines
from thermosim.checks import learning, scale_invariance
from thermosim.checks.means import skewness_of_mean
from thermosim.exact.direction_chain import Chain, truncation

__all__ = ["advice", "check", "direction_comparisons"]

_MOST = 6  # frames of each point
_FEWEST = 50  # replicas
_ENOUGH = 1e-3  # truncation, over the number itself
_REFERENCE = "exact chain of the direction, rows drawn with replacement"
Function = Callable[[Chain], Callable[[np.ndarray], np.ndarray]]  # of u, of each chain
_SUMS: dict[str, tuple[str, Function]] = {
    "loss_sum": ("loss", lambda law: law.loss),
    "gradient_square": ("|w|^2|g|^2", lambda law: law.gradient_square),
    "stretch": ("stretch", lambda law: law.stretch),
}
_AT_FRAMES: dict[str, Function] = {
    "loss of all rows": lambda law: law.loss,
    "mean square along the steepest direction": lambda law: lambda u: law.spreads(u)[:, 0],
    "mean square along the other direction": lambda law: lambda u: law.spreads(u)[:, 1],
}


@dataclass(frozen=True)
class _Values:
    """Of one point: (R, K), exact and its truncation (K,)."""

    measured: np.ndarray
    exact: np.ndarray
    truncation: np.ndarray


def check(ds: xr.Dataset) -> list[Comparison]:
    """What any model that learns is compared with, weights that have a scale, and the law of the direction."""
    everyone = machines(ds)
    return [*learning.check(ds), *scale_invariance.check(ds, everyone), *direction_comparisons(ds, everyone)]


def advice(ds: xr.Dataset) -> list[str]:
    """What is not compared, and why."""
    said = learning.advice(ds)
    if why := _why_none(ds, machines(ds)):
        said.append(f"The law of the direction is not compared: {why}.")
    return said


def _why_none(ds: xr.Dataset, everyone: Sequence[Machine]) -> str:
    if why := why_no_law(everyone):
        return why
    if ds.sizes["replica"] < _FEWEST:
        return f"it needs {_FEWEST} replicas"
    try:
        for machine in everyone:
            law = chains(machine)[0]
            if _start(machine) is None and len(late(machine, law)) < 1:
                return f"the run is shorter than 20 relaxation times, {20 * law.relaxation_time:.0f} steps"
    except ValueError as error:
        return str(error)
    return ""


def direction_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """None where the law is not known."""
    if everyone[0].model.name != NAME or _why_none(ds, everyone):
        return []
    table: dict[str, list[_Values]] = {}
    for machine in everyone:
        for name, values in _point(machine).items():
            table.setdefault(name, []).append(values)
    rows = []
    for name, several in table.items():
        measured = np.concatenate([one.measured for one in several], axis=1)
        exact = np.concatenate([one.exact for one in several])
        truncated = np.concatenate([one.truncation for one in several])
        skewness = skewness_of_mean(measured)
        good = (np.abs(skewness) < SKEWEST) & (truncated < _ENOUGH * np.abs(exact))
        if good.any():
            size = len(measured)
            error = measured.std(axis=0, ddof=1) / np.sqrt(size)
            parts = (measured.mean(axis=0), error, exact)
            mean, error, exact = (part[good] for part in parts)
            more = {"tolerance": truncated[good], "skewness": skewness[good]}
            rows.append(Comparison(name, mean, error, exact, size - 1.0, _REFERENCE, **more))
    return rows


def _start(machine: Machine) -> np.ndarray | None:
    """Where every replica starts, if that is one point."""
    theta = machine.settings.theta
    if isinstance(theta.initial, Mapping) and "w" in theta.initial and not theta.spread:
        return np.asarray(theta.initial["w"], float)
    return None


def _point(machine: Machine) -> dict[str, _Values]:
    laws, start = chains(machine), _start(machine)
    steps = machine.steps
    frames = np.arange(len(steps)) if start is not None else late(machine, laws[0])
    frames = frames[np.unique(np.linspace(0, len(frames) - 1, _MOST).round().astype(int))]
    moments = [_moments(law, start, steps[frames]) for law in laws]
    found = {}
    if "theta" in machine.frames:
        u = np.stack([machine.theta(int(frame)) for frame in frames], axis=1)  # (R, F, 3)
        u /= np.linalg.norm(u, axis=-1, keepdims=True)
        moved = steps[frames] > 0
        for name, function in _AT_FRAMES.items():
            values = function(laws[0])(u.reshape(-1, 3)).reshape(u.shape[:2])
            found[name] = _of(values, laws, function, [at for at, _ in moments], moved)
    for name, (title, function) in _SUMS.items():
        if name in machine.frames and len(frames) > 1:
            sums = machine.frames[name].isel(step=frames).transpose("replica", "step").values
            gap = np.diff(steps[frames])
            between = [np.diff(since, axis=0) / gap[:, None] for _, since in moments]
            found[f"{title} of a step"] = _of(np.diff(sums, axis=1) / gap, laws, function, between, gap > 0)
    return found


def _moments(law: Chain, start: np.ndarray | None, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if start is not None:
        return law.course(start, steps)
    return np.tile(law.stationary, (len(steps), 1)), np.outer(steps, law.stationary)


def _of(
    measured: np.ndarray,
    laws: Sequence[Chain],
    function: Function,
    moments: Sequence[np.ndarray],
    good: np.ndarray,
) -> _Values:
    exact = [law.average(function(law), at) for law, at in zip(laws, moments, strict=True)]
    return _Values(measured[:, good], exact[0][good], truncation(exact)[good])
