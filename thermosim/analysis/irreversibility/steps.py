"""The entropy that steps of a recorded run shed under virtual noise s, back by the same minibatch or a fresh one.

    same minibatch     dS = (r^2/2 s^2) |U_b(theta) + U_b(theta')|^2,   s^2 dS/(8 r) = phi_ST
    fresh minibatch    dS = (r^2/2 s^2) |U_b(theta) + U_c(theta')|^2,   c drawn anew
                       E_c = (r^2/2 s^2) {|U_b(theta) + U(theta')|^2 + Tr Cov(theta')/B}

theta' = theta - r U_b(theta), U the field of all rows, U_b that of B rows drawn with replacement, weight decay in both.
The way back through the same minibatch costs more: <|U_b|^2> holds Tr Cov/B, so that to leading order the two are
(2 r^2/s^2) (|U|^2 + Tr Cov/B) and (2 r^2/s^2) (|U|^2 + Tr Cov/2B). In the dynamics with noise s, where theta' and the
bath's entropy have their xi and the densities of both ends are added, either is the log ratio of a path with its
minibatches and its reverse: <exp(-Sigma)> = 1 for both. What is told here is the step without its noise.

Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), G27; the fresh minibatch by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, require
from thermosim.analysis.gradient_noise import learned_parameters, minibatch
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.skewed_means import put_skewed_mean
from thermosim.schedules import values_at

__all__ = ["Steps", "entropy_of_steps", "require_steps", "steps_of"]


@dataclass(frozen=True, eq=False)
class Steps:
    """Of the step after each of F frames, R replicas: what its entropy is made of."""

    rate: np.ndarray  # r (F)
    same: np.ndarray  # |U_b(theta) + U_b(theta')|^2 (F, R)
    fresh: np.ndarray  # |U_b(theta) + U_c(theta')|^2 (F, R)
    fresh_mean: np.ndarray  # its mean over minibatches c (F, R)
    returned: np.ndarray  # theta~ - theta after the step and its way back (F, R, m), = -2 r g_TA
    leading: np.ndarray  # |U_b(theta)|^2 (F, R)


@of_survivors
def entropy_of_steps(ds: xr.Dataset, sigma: float | None = None) -> xr.Dataset:
    """Entropy of the step that follows each frame, but the last: dims step and the axes of the sweep.

    same_batch and fresh_batch <dS>, excess their difference, and phi_st; each with its error over replicas. sigma: the
    standard deviation of the virtual noise, by default that of the case, irreversibility.sigma. Where neighbouring
    frames are of neighbouring steps, `total` is the sum of same_batch from the first frame to each.

    Raises ValueError without theta, without sigma, for moves that are no plain descent, and fresh rows, none of which
    is kept.
    """
    require(ds, "theta")
    points = machines(ds)
    sigmas = np.array([_sigma(machine, sigma) for machine in points])
    each = [steps_of(machine) for machine in points]
    if not each[0].rate.size:
        raise ValueError("no frame is followed by a step: the last one has none")
    frames = ds.isel(step=slice(0, len(each[0].rate)))
    scale = gathered(frames, [one.rate**2 / (2.0 * s**2) for one, s in zip(each, sigmas, strict=True)], ("step",))
    same = gathered(frames, [one.same for one in each], ("step", "replica"))
    fresh = gathered(frames, [one.fresh for one in each], ("step", "replica"))
    rate = gathered(frames, [one.rate for one in each], ("step",))
    result, condition = xr.Dataset(), "of the step after the frame"
    put_skewed_mean(result, "same_batch", scale * same, "nat", "entropy shed, back by the same minibatch", condition)
    put_skewed_mean(result, "fresh_batch", scale * fresh, "nat", "entropy shed, back by a fresh minibatch", condition)
    put_skewed_mean(result, "excess", scale * (same - fresh), "nat", "what the same minibatch costs more", condition)
    put_skewed_mean(result, "phi_st", rate / 16.0 * same, "energy", "potential of entropy production", condition)
    if np.all(np.diff(ds["step"].values) == 1):
        total = (scale * same).cumsum("step")
        about = "entropy shed since the first frame"
        put_skewed_mean(result, "total", total, "nat", about, "to the step after the frame")
    return result


def steps_of(machine: Machine) -> Steps:
    """The steps after all frames but one at the end of the run. Raises ValueError as `entropy_of_steps` does."""
    require_steps(machine)
    last = int(machine.settings.run.steps)
    last = last // 2 if machine.settings.run.direction == "there-and-back" else last
    frames = [frame for frame, step in enumerate(machine.steps) if step < last]
    if not frames:
        return Steps(*(np.empty(0) for _ in fields(Steps)))
    found = [_step(machine, frame) for frame in frames]
    return Steps(*(np.stack(column) for column in zip(*found, strict=True)))


def _step(machine: Machine, frame: int) -> tuple[np.ndarray, ...]:
    """The fields of `Steps` for one frame."""
    step, last, theta = int(machine.steps[frame]) + 1, int(machine.settings.run.steps), machine.theta(frame)
    rate = float(values_at(machine.settings.theta.learning_rate, last, np.array([step]))[0])
    decay = float(values_at(machine.settings.theta.weight_decay or 0.0, last, np.array([step]))[0])
    learned = np.zeros(theta.shape[1])
    learned[learned_parameters(machine)[0]] = 1.0
    whole = machine.settings.theta.batch == "all"
    rows = None if whole else minibatch(machine, step)

    def field(there: np.ndarray, of: np.ndarray | None = rows) -> np.ndarray:
        slope = _mean_gradient(machine, there)[0] if of is None else machine.evaluator.data_gradient(of, there)[1]
        return learned * (slope + decay * there)

    here = field(theta)
    there = theta - rate * here
    back = field(there)
    returned = there + rate * back - theta
    same = ((here + back) ** 2).sum(1)
    if whole:
        return np.asarray(rate), same, same, same, returned, (here**2).sum(1)
    fresh = ((here + field(there, minibatch(machine, step + 1))) ** 2).sum(1)  # independent of theta and of this step's
    mean, variance = _mean_gradient(machine, there)
    mean_square = ((here + learned * (mean + decay * there)) ** 2).sum(1)
    spread = (learned * variance).sum(1) / int(machine.settings.theta.batch)
    return np.asarray(rate), same, fresh, mean_square + spread, returned, (here**2).sum(1)


def _mean_gradient(machine: Machine, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over the rows of each replica's data set of the gradient of one row: (R, m) both."""
    sets, mean, variance = machine.data_set(), np.empty_like(theta), np.empty_like(theta)
    for number in np.unique(sets):
        mine = sets == number
        rows = machine.data.of_set(int(number))
        mean[mine], variance[mine] = machine.evaluator.gradient_moments(rows, theta[mine])[1:]
    return mean, variance


def _sigma(machine: Machine, given: float | None) -> float:
    section = machine.settings.irreversibility
    sigma = given if given is not None else section.sigma if section else None
    if sigma is None or not (np.isfinite(sigma) and sigma > 0.0):
        raise ValueError(
            "no noise to regularise by: give sigma, a positive number, or irreversibility.sigma of the case"
        )
    return float(sigma)


def require_steps(machine: Machine) -> None:
    """Raise ValueError where steps have no entropy of their own, DataError where their rows are not to be had."""
    theta, move = machine.settings.theta, machine.theta_move
    if machine.model.no_potential:
        raise ValueError(machine.model.no_potential)
    likelihood = machine.model.is_loss or theta.gradient == "likelihood"
    if not (move.descent and likelihood) or theta.momentum or theta.has_several_rates or theta.constraint:
        raise ValueError(
            "the entropy of a step is that of plain gradient descent on a loss of data, at one learning rate: "
            'theta.dynamics = "sgd" or "sgld" without momentum'
        )
    if machine.settings.run.direction == "reversed":
        raise ValueError('in a reversed run the minibatch of the next step is another: run.direction = "forward"')
    machine.data  # noqa: B018
