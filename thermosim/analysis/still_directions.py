"""Directions in which replicas never differ, by name, and what gives them a spread: without one theta has no entropy.

A direction v with v.(theta - <theta>) = 0 at every frame is a null vector of the sum of the covariances of all frames.
A loss that does not change along v never moves theta along it: a softmax conserves the sum of its arguments.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from thermosim.analysis.gradient_noise import learned_parameters
from thermosim.analysis.machine import Machine

__all__ = ["parameter_names", "still_directions", "why_no_entropy"]

_RANK = 1e-11  # smallest eigenvalue of a correlation matrix that is no rounding
_MOST_TERMS = 6  # of a direction that is written out
_MOST_NAMED = 3  # directions


def why_no_entropy(machine: Machine, frames: Sequence[int]) -> str:
    """Why learned theta has no entropy at these frames, and what to change in the case: a sentence."""
    no_entropy = "theta has no entropy (-inf)"
    if not machine.theta_move.learns:
        return f"{no_entropy}: theta.dynamics = {machine.settings.theta.dynamics!r} is one path for all replicas"
    rows, groups = learned_parameters(machine)
    thetas = np.stack([machine.theta(frame)[:, rows] for frame in frames])
    directions, where = still_directions(thetas), "at any recorded frame"
    if not len(directions):
        directions, where = still_directions(thetas[-1:]), f"at step {machine.steps[frames[-1]]}"
    if not len(directions):
        return f"{no_entropy} to rounding at step {machine.steps[frames[-1]]}: start from a larger theta.spread"
    names = parameter_names(machine)
    if len(directions) == len(rows):
        what, spread = "nothing of theta", "theta.spread = 0.1"
    else:
        said = [_written(direction, [names[row] for row in rows]) for direction in directions]
        more = f" and {len(said) - _MOST_NAMED} more directions" if len(said) > _MOST_NAMED else ""
        what = ", ".join(said[:_MOST_NAMED]) + more + (" do not" if len(said) > 1 else " does not")
        moved = dict.fromkeys(groups[i] for i in np.flatnonzero(np.any(directions != 0.0, axis=0)))
        spread = ", ".join(f"theta.spread.{group} = 0.1" for group in moved)
    differs = "differs between replicas" if what == "nothing of theta" else "differ between replicas"
    warm = "" if machine.theta_move.density else ', or theta noise of its own (theta.dynamics = "sgld")'
    return f"{no_entropy}: {what} {differs} {where}. Give the start a spread there ({spread}){warm}"


def still_directions(thetas: np.ndarray) -> np.ndarray:
    """Directions in which replicas agree at all frames of (F, R, m), in reduced echelon form: (K, m)."""
    deviation = (thetas - thetas.mean(axis=1, keepdims=True)).reshape(-1, thetas.shape[2])
    scale = np.sqrt(np.mean(deviation**2, axis=0))
    moves = scale > 1e-12 * np.abs(thetas).max(axis=(0, 1))
    still = np.eye(len(scale))[~moves]
    scaled = deviation[:, moves] / scale[moves]
    if not moves.any():
        return still
    variances, axes = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    null = np.zeros((int(np.sum(variances < _RANK)), len(scale)))
    null[:, moves] = (axes[:, variances < _RANK] / scale[moves, None]).T
    return np.concatenate([still, _reduced(null)])


def parameter_names(machine: Machine) -> list[str]:
    """Group and index of every row of theta: "mean[0, 1]", or "bias" for a group of one number."""
    names = []
    for group in machine.model.parameters:
        shape = group.shape(machine.constants)
        places = itertools.product(*map(range, shape))
        alone = math.prod(shape) == 1
        names += [group.name if alone else f"{group.name}[{', '.join(map(str, place))}]" for place in places]
    return names


def _reduced(rows: np.ndarray) -> np.ndarray:
    """Reduced row echelon form of independent rows, zeros exact."""
    rows, done = rows.copy(), 0
    for column in range(rows.shape[1]):
        if done == len(rows):
            break
        rows[done:] /= np.abs(rows[done:]).max(axis=1, keepdims=True)
        pivot = done + int(np.argmax(np.abs(rows[done:, column])))
        if abs(rows[pivot, column]) < 1e-6:
            rows[done:, column] = 0.0
            continue
        rows[[done, pivot]] = rows[[pivot, done]]
        rows[done] /= rows[done, column]
        for other in range(len(rows)):
            if other != done:
                rows[other] -= rows[other, column] * rows[done]
        done += 1
    return np.where(np.abs(rows) < 1e-5, 0.0, rows)


def _written(direction: np.ndarray, names: Sequence[str]) -> str:
    terms = np.flatnonzero(direction).tolist()
    if len(terms) > _MOST_TERMS:
        groups = dict.fromkeys(names[i].split("[")[0] for i in terms)
        return f"a combination of {len(terms)} parameters of {' and '.join(groups)}"
    text = ""
    for i in terms:
        value = direction[i]
        sign = (" - " if value < 0 else " + ") if text else ("-" if value < 0 else "")
        size = "" if abs(abs(value) - 1.0) < 1e-4 else f"{abs(value):.3g} "
        text += f"{sign}{size}{names[i]}"
    return text
