"""The update energy of an optimiser: |theta' - theta|^2 over the learning rate, step by step.

    U_s = |theta_s - theta_(s-1)|^2/r_s,   4 phi = r |grad l|^2 for plain gradient descent          [2605.21933]

Between frames that are more than a step apart it is the sum of |theta' - theta|^2 over that of the learning rates.
Of sgd, momentum, nesterov and sgld in linear regression its mean is exact under every schedule (`regression_laws`).
Of Adam and AdamW there it follows as beta2 -> 1, from any start (`exact.adam_regression`), with a `doubt`.
Adam's step forgets the size of the gradient. Where gradients are pure noise, U = r d A of d parameters, A that of
`exact.adam_noise`: it follows the schedule of r and nothing else. Gradients of a linear regression on fresh rows are
such noise where theta is near the law of the data: of kurtosis K = 3 <z^4>/<z^2>^2 for normal z and e, before the mean
over a batch; what is left of the mean gradient, and of epsilon, is told as `doubt`.

Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026). Every X comes with X_error over replicas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put_mean
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.regression_laws import adam_updates, is_regression, is_told, laws, own_sets, why_no_regression
from thermosim.analysis.settings import needs_frames
from thermosim.data.generators import linear_law
from thermosim.exact import adam_noise
from thermosim.schedules import values_at

__all__ = [
    "NoiseLimit",
    "adam_limit",
    "energies_of_updates",
    "exact_limit",
    "noise_limit",
    "sums_of_rates",
    "update_energy",
]

_SQUARE = "displacement_square"
_MEMORIES = 10.0  # of the first moment, over which a step and the curvature it meets may be correlated


@of_survivors
def update_energy(ds: xr.Dataset) -> xr.Dataset:
    """Update energy between neighbouring frames, dims step (the later one) and the axes of the sweep.

    mean_learning_rate is that of the steps in between; exact is the mean in linear regression; of Adam there adam_limit
    as beta2 -> 1, known to adam_doubt of itself, and noise_limit where gradients are pure noise; NaN elsewhere.
    Raises ValueError without displacement_square, or where there is no one learning rate forward in time.
    """
    points = machines(ds)
    if len(ds["step"]) < 2:
        raise ValueError("an update lies between two frames: record more of them")
    each = [energies_of_updates(machine) for machine in points]
    frames = ds.isel(step=slice(1, None))
    result = xr.Dataset()
    values = gathered(frames, [energy for energy, _ in each], ("step", "replica"))
    put_mean(result, "update_energy", values, "energy", "|dtheta|^2/r of a step", "mean between frames")
    result["mean_learning_rate"] = gathered(frames, [rate for _, rate in each], ("step",)).assign_attrs(
        units="1/energy", long_name="mean learning rate of the steps between frames"
    )
    limits = [noise_limit(machine) for machine in points]
    missing = np.full(len(ds["step"]) - 1, np.nan)
    known = [exact_limit(machine) for machine in points]
    result["exact"] = gathered(
        frames, [missing if one is None else one.energy for one in known], ("step",)
    ).assign_attrs(
        units="energy",
        long_name="mean update energy of linear regression",
        condition="sgd, nesterov, sgld or langevin, and all replicas learn from one data set, or from fresh rows",
    )
    mild = [adam_limit(machine) for machine in points]
    for name, words in (("energy", "update energy of Adam as beta2 -> 1"), ("doubt", "what it is known to, relative")):
        given = [missing if limit is None else getattr(limit, name) for limit in mild]
        result["adam_limit" if name == "energy" else "adam_doubt"] = gathered(frames, given, ("step",)).assign_attrs(
            units="energy" if name == "energy" else "1", long_name=words, condition="linear regression on fresh rows"
        )
    lines = [missing if limit is None else limit.energy for limit in limits]
    result["noise_limit"] = gathered(frames, lines, ("step",)).assign_attrs(
        units="energy", long_name="update energy of Adam on pure noise", condition="mean gradients are far below noise"
    )
    return result


def energies_of_updates(machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    """|dtheta|^2/r between neighbouring frames (F - 1, R), and the mean learning rates (F - 1). Raises ValueError."""
    if _SQUARE not in machine.frames:
        raise ValueError(needs_frames(machine.frames, [_SQUARE]))
    theta = machine.settings.theta
    if machine.model.no_potential:
        raise ValueError(machine.model.no_potential)
    if not machine.theta_move.learns or theta.has_several_rates or machine.model.scale_invariant:
        raise ValueError("update energies need theta to learn at one learning rate for all parameters")
    if machine.settings.run.direction != "forward":
        raise ValueError('update energies need run.direction = "forward"')
    moved = np.diff(machine.frames[_SQUARE].transpose("step", "replica").values, axis=0)
    between = sums_of_rates(machine, machine.steps)
    return moved / between[:, None], between / np.diff(machine.steps)


def exact_limit(machine: Machine) -> NoiseLimit | None:
    """The mean of these by exact recursion; None where there is none, or replicas learn from several sets.

    Without doubt, but where the start, spread by minibatches alone, makes averages of replicas tell nothing.
    """
    one = [machine]
    if not is_regression(one) or why_no_regression(one) or own_sets(one) is not None:
        return None
    theory = laws(machine, [int(step) for step in machine.steps])
    square = np.diff(theory[0][0].displacement_square)
    told = np.array([is_told([theory], frame) for frame in range(len(machine.steps))])
    doubt = np.where(told[1:] & told[:-1], 0.0, np.inf)
    return NoiseLimit(square / sums_of_rates(machine, machine.steps), square, doubt)


def sums_of_rates(machine: Machine, steps: np.ndarray) -> np.ndarray:
    """Sums of the learning rates of the steps between each two of these, in order: (len(steps) - 1)."""
    return _sums(_rates(machine), steps)


@dataclass(frozen=True, eq=False)
class NoiseLimit:
    """Theory between F frames, of Adam in a limit: update energy and what it is known to, relative to it, (F - 1)."""

    energy: np.ndarray
    displacement_square: np.ndarray  # of all steps between the frames
    doubt: np.ndarray


def adam_limit(machine: Machine) -> NoiseLimit | None:
    """Adam and AdamW in linear regression on fresh rows, as beta2 -> 1; None elsewhere."""
    law = adam_updates(machine)
    if law is None:
        return None
    square, rates = _sums(law.square, machine.steps), sums_of_rates(machine, machine.steps)
    known = np.where(np.isfinite(law.doubt), law.doubt, 0.0)
    return NoiseLimit(square / rates, square, _sums(known * law.square, machine.steps) / square)


def noise_limit(machine: Machine) -> NoiseLimit | None:
    """Where Adam learns a linear regression from fresh rows, and theta is recorded; None elsewhere.

    `doubt` adds the square of the relative variance of Adam's second moment, the mean gradient against the noise, its
    correlation with the step over the memory of the first moment, and epsilon.
    """
    theta, data, constants = machine.settings.theta, machine.settings.data, machine.constants
    plain = machine.theta_move.moments and not theta.weight_decay and theta.learn is None
    if not plain or theta.has_several_rates or machine.model.name != "linear-regression":
        return None
    if data is None or not data.fresh or constants["bias"] == "yes" or "theta" not in machine.frames:
        return None
    noise = _noise(machine)
    if noise is None:
        return None
    mean, variance, kurtosis, curvature = noise
    steps, rates = np.arange(1, int(machine.settings.run.steps) + 1), _rates(machine)
    square = sum(adam_noise.mean_square(steps, theta.beta1, theta.beta2, k) for k in kurtosis)
    expected = _sums(rates**2 * square, machine.steps)
    loose = adam_noise.spread_of_square(steps, theta.beta2, float(kurtosis.max())) ** 2
    memory = _MEMORIES / (1.0 - theta.beta1)
    loose = loose + memory * rates * float((curvature / np.sqrt(variance)).max())
    loose = loose + 2.0 * theta.epsilon / np.sqrt(variance.min())
    limit = (1.0 - theta.beta1) / (1.0 + theta.beta1)
    signal = (mean**2 / variance).max(-1) / limit  # (F,)
    doubt = _sums(loose, machine.steps) / np.diff(machine.steps) + np.maximum(signal[1:], signal[:-1])
    return NoiseLimit(expected / _sums(rates, machine.steps), expected, doubt)


def _noise(machine: Machine) -> tuple[np.ndarray, ...] | None:
    """Of gradients of a batch: mean over replicas of G^2 as its root (F, m), variance, kurtosis, curvature (m)."""
    theta, data, constants = machine.settings.theta, machine.settings.data, machine.constants
    assert data is not None
    d, k = int(constants["inputs"]), int(constants["outputs"])
    mean, factor = linear_law(data, d, k)
    second = factor[:d, :d] @ factor[:d, :d].T + np.outer(mean[:d], mean[:d])
    own, squares = np.diag(factor[:d, :d] @ factor[:d, :d].T), np.diag(second)
    errors = np.diag(factor[d:, d:] @ factor[d:, d:].T)
    if np.any(squares <= 0.0) or np.any(errors <= 0.0) or not isinstance(theta.batch, int):
        return None
    matrix = np.asarray(data.matrix, float).reshape(k, d)
    path = machine.frames["theta"].transpose("step", "replica", "theta_dim").values
    off = path.reshape(*path.shape[:2], k, d) - matrix
    slope = 2.0 * (off @ second).reshape(*path.shape)
    fourth = mean[:d] ** 4 + 6.0 * mean[:d] ** 2 * own + 3.0 * own**2
    kurtosis = adam_noise.batch_kurtosis(np.tile(3.0 * fourth / squares**2, k), theta.batch)
    variance = 4.0 * np.outer(errors, squares).ravel() / theta.batch
    return np.sqrt((slope**2).mean(1)), variance, kurtosis, np.tile(2.0 * np.abs(second).sum(1), k)


def _rates(machine: Machine) -> np.ndarray:
    """Learning rates of steps 1..N."""
    steps = int(machine.settings.run.steps)
    return values_at(machine.settings.theta.learning_rate, steps, np.arange(1, steps + 1))


def _sums(each: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Sums of a number of every step 1..N between neighbours of `steps`: (len(steps) - 1)."""
    return np.asarray(np.diff(np.concatenate([[0.0], np.cumsum(each)])[steps]))
