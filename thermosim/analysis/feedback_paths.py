"""Feedback of learning by contrast, path by path: what the samples were worth to the theta that they steered.

    theta' = theta - r (g_b - (1/S) sum_s d phi(x_s)/d theta + lambda theta) + noise

Had another x stood in the place of x_s, all else being as it was, theta' would have been

    theta'(x) = theta' + (r/S) [d phi(x)/d theta - d phi(x_s)/d theta],

at the theta before: minibatch, noise, decay, velocity and the other chains drop out and need not be known. So the
efficacy of every step of every chain, all but its x given, is an exact sum over the model's support,

    gamma = sum_x exp(-phi_theta'(x)(x)),              <exp(-w - sum ln gamma)> = 1            with fresh samples,

and with noise of variance 2 r T the information that theta' has about x, at its minibatch and the other chains,

    i = ln p(theta'|x_s) - ln sum_x p_theta(x) p(theta'|x),
    <exp(-w - i)> = 1                                           with moves that leave p_theta invariant.

With fresh samples <i> is the mutual information; of chains that lag it is more, for p_theta is not what they are. (The
theorem would hold with any density in the place of that of theta': which it is shows in the mean of i.) The sums of the
Gaussian that learns its means are integrals in closed form. Both hold for one chain of S. Signs of w as in the ledger.
Proofs and sources: `exact.feedback` (T. Sagawa, M. Ueda, Phys. Rev. Lett. 104, 090602 (2010)).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp

from thermosim.analysis.gradient_noise import full_gradient, learned_parameters, minibatch
from thermosim.analysis.machine import Machine
from thermosim.exact.feedback import enumerated_efficacy, gaussian_log_efficacy
from thermosim.models import gaussian
from thermosim.schedules import is_by_group, is_schedule, values_at

__all__ = [
    "efficacy",
    "has_feedback",
    "informations",
    "log_efficacies",
    "price",
    "why_no_efficacy",
    "why_no_information",
]

_PATHS = 1 << 16  # of x, that are added up
_MOST = 1 << 32  # numbers of all sums over x: minutes
_CHUNK = 1 << 20  # numbers held at a time
_INTEGRAL = 1e-6  # how far from 1 a probability may integrate on the support


def has_feedback(machine: Machine) -> bool:
    """Whether x steers theta."""
    return bool(machine.theta_move.learns and machine.settings.theta.gradient == "contrast")


def _why_neither(machine: Machine) -> str:
    """Why neither theorem holds at this point of the sweep, or empty."""
    x, run, model = machine.settings.x, machine.settings.run, machine.model
    reasons = {
        "x does not steer theta": not has_feedback(machine),
        "the energy has no normaliser": not model.normalised,
        "theta moves before x in a forward run only": run.direction != "forward",
        "x is not at temperature 1": machine.temperature != 1.0,
        "x does not start in equilibrium, or starts anew at every step": (
            x is None or x.restart or not x.starts_in_equilibrium
        ),
        "theta' is not linear in the gradient, or has several rates": not machine.theta_move.descent,
        "the model has no sum over x, and is not a Gaussian that learns its means": (
            not _is_linear(machine) and model.support(machine.constants) is None
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def why_no_efficacy(machine: Machine, last: int) -> str:
    """Why <exp(-w - sum ln gamma)> = 1 does not hold up to step `last`, or empty."""
    if not machine.x_move.fresh and last > 1:
        return f"{machine.settings.of_x.dynamics}: from the second step on the efficacy needs fresh samples"
    return _why_neither(machine)


def why_no_information(machine: Machine, last: int) -> str:
    """Why <exp(-w - i)> = 1 does not hold up to step `last`, or empty."""
    theta = machine.settings.theta
    if not machine.theta_move.density:
        return f"theta.dynamics = {theta.dynamics!r}: theta' has no density given x"
    if machine.settings.data is not None and machine.settings.data.fresh:
        return "rows are not kept, so that the noise of theta is not known"
    if not machine.x_move.invariant and last > 1:
        return f"{machine.settings.of_x.dynamics}: does not leave p_theta invariant"
    return _why_neither(machine)


def price(machine: Machine) -> float:
    """Numbers that sums over x take for one step of one replica; 0 in closed form."""
    rule = None if _is_linear(machine) else machine.model.support(machine.constants)
    if rule is None:
        return 0.0
    samples = 1 if machine.settings.x is None else int(machine.settings.x.samples)
    names = machine.model.names(machine.constants)
    return float(len(rule[0]) * samples * (names["DERIVED"] + names["PARAMETERS"]))


def log_efficacies(machine: Machine) -> np.ndarray:
    """sum ln gamma since step 0 of every frame, replica and chain: (F, R, S).

    The closed form needs theta in the first frame, where the precisions are; sums over x need theta and x at all
    steps. Raises ValueError where there is neither, or where the sum over x misses probability.
    """
    if _is_linear(machine):
        return np.repeat(_in_closed_form(machine, _samples(machine))[..., None], _samples(machine), axis=2)
    return _running(machine, lambda step: _log_efficacy(machine, step))


def efficacy(machine: Machine, together: bool = False) -> np.ndarray:
    """gamma = <exp(-w)> of one chain at every frame, where theory knows it as a number, else NaN: (F,).

    It does for a Gaussian whose replicas have the same precisions, also for the work of all chains `together`, and in a
    few steps of one chain from one theta on full batches without noise or velocity, whose paths can be added up; for
    moves that keep a memory of x in the first step.
    """
    result = np.full(len(machine.steps), np.nan)
    known = np.array([not why_no_efficacy(machine, int(step)) for step in machine.steps])
    if "theta" not in machine.frames or not known.any():
        return result
    if _is_linear(machine):
        logarithm = _in_closed_form(machine, 1 if together else _samples(machine))
        return np.where(known & (np.ptp(logarithm, axis=1) == 0.0), np.exp(logarithm[:, 0]), np.nan)
    if not _has_few_paths(machine) or np.ptp(machine.theta(0), axis=0).any():
        return result
    section, steps = machine.settings.theta, int(machine.settings.run.steps)
    rates = values_at(section.learning_rate, steps, np.arange(1, steps + 1))
    one, rest = machine.theta(0)[0], _rest(machine)

    def slope(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        slopes = machine.evaluator.gradient(x, theta)
        slopes[:, rest] = 0.0
        return slopes

    def data_slopes(theta: np.ndarray) -> np.ndarray:
        slopes = machine.evaluator.data_gradient(machine.data.of_set(0), theta)[1]
        slopes[:, rest] = 0.0
        return slopes[None]

    rule, surprisal = _support(machine), machine.evaluator.surprisal
    for frame in np.flatnonzero(known):
        if len(rule[0]) ** (step := int(machine.steps[frame])) <= _PATHS:
            result[frame] = enumerated_efficacy(*rule, surprisal, slope, data_slopes, one, rates[:step])
    return result


def _has_few_paths(machine: Machine) -> bool:
    section, data = machine.settings.theta, machine.settings.data
    plain = section.batch == "all" and not machine.theta_move.density and not section.momentum
    plain = plain and not is_schedule(section.weight_decay) and float(section.weight_decay) == 0.0
    return bool(plain and _samples(machine) == 1 and data is not None and data.sets == 1)


def informations(machine: Machine) -> np.ndarray:
    """sum i since step 0 of every frame, replica and chain, nat: (F, R, S). Needs theta and x at every step.

    Raises ValueError without them, or where minibatches or data are not known.
    """
    return _running(machine, lambda step: _information(machine, step))


def _is_linear(machine: Machine) -> bool:
    return machine.model is gaussian.MODEL and machine.settings.theta.learn == ["mean"]


def _in_closed_form(machine: Machine, samples: int) -> np.ndarray:
    """sum ln gamma of one chain of so many, of the Gaussian that learns its means: (F, R)."""
    n, steps = int(machine.constants["dimension"]), int(machine.settings.run.steps)
    every, which = np.unique(machine.theta(0)[:, n:], axis=0, return_inverse=True)
    rates = values_at(machine.settings.theta.learning_rate, steps, np.arange(1, steps + 1))
    return gaussian_log_efficacy(np.exp(every), rates, samples)[machine.steps][:, which.ravel()]


def _samples(machine: Machine) -> int:
    return int(machine.settings.of_x.samples)


def _running(machine: Machine, of_step: Callable[[int], np.ndarray]) -> np.ndarray:
    """Sums over steps of an array (R, S) of each frame but the last: (F, R, S)."""
    if not np.array_equal(machine.steps, np.arange(len(machine.steps))):
        raise ValueError("sums over x need theta and x at every step from step 0: record.every = 1, record.first = 0")
    if (numbers := price(machine) * len(machine.steps) * machine.frames.sizes["replica"]) > _MOST:
        raise ValueError(f"sums over x take {numbers:.0e} numbers: give fewer replicas, ds.isel(replica=slice(...))")
    steps = [of_step(frame) for frame in range(len(machine.steps) - 1)]
    nothing = np.zeros((1, machine.frames.sizes["replica"], _samples(machine)))
    return np.concatenate([nothing, *[part[None] for part in steps]]).cumsum(axis=0)


def _rate(machine: Machine, frame: int) -> float:
    """r of the step that follows a frame."""
    theta, steps = machine.settings.theta, int(machine.settings.run.steps)
    return float(values_at(theta.learning_rate, steps, machine.steps[[frame]] + 1)[0])


def _rest(machine: Machine) -> np.ndarray:
    """Rows of theta that do not learn."""
    names = machine.model.names(machine.constants)
    return np.setdiff1d(np.arange(names["PARAMETERS"]), learned_parameters(machine)[0])


def _slopes(machine: Machine, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """d phi/d theta at theta (R, m) and x (R, K, n), of learned parameters: (R, K, m), 0 elsewhere."""
    count = x.shape[1]
    slopes = machine.evaluator.gradient(x.reshape(-1, x.shape[2]), np.repeat(theta, count, axis=0))
    slopes[:, _rest(machine)] = 0.0
    return slopes.reshape(len(theta), count, -1)


def _in_parts(machine: Machine, of_part: Callable[[slice], np.ndarray]) -> np.ndarray:
    """An array (R, S), made of some replicas at a time."""
    replicas = machine.frames.sizes["replica"]
    size = max(1, int(_CHUNK / max(price(machine), 1.0)))
    return np.concatenate([of_part(slice(first, first + size)) for first in range(0, replicas, size)])


def _support(machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    rule = machine.model.support(machine.constants)
    if rule is None:
        raise ValueError(f"model {machine.model.name!r} has no sum over x, and its integrals no closed form")
    return rule


def _log_efficacy(machine: Machine, frame: int) -> np.ndarray:
    """ln gamma of the step that follows a frame, (R, S)."""
    points, log_weights = _support(machine)
    before, after, own = machine.theta(frame), machine.theta(frame + 1), machine.x(frame)
    pull = _rate(machine, frame) / own.shape[1]

    def of_part(part: slice) -> np.ndarray:
        theta, x = before[part], own[part]
        others = _slopes(machine, theta, np.broadcast_to(points, (len(theta), *points.shape)))
        change = others[:, None] - _slopes(machine, theta, x)[:, :, None]
        moved = (after[part][:, None, None] + pull * change).reshape(-1, theta.shape[1])
        many = np.tile(points, (x.shape[0] * x.shape[1], 1))
        phi = machine.evaluator.surprisal(many, moved).reshape(*x.shape[:2], len(points))
        _require_whole(machine, theta)
        return np.asarray(logsumexp(log_weights - phi, axis=2))

    return _in_parts(machine, of_part)


def _require_whole(machine: Machine, theta: np.ndarray) -> np.ndarray:
    """ln of the weights of the sum over x, with their probabilities: (R, P). Raises ValueError where some is missed."""
    points, log_weights = _support(machine)
    weights = np.asarray(log_weights - machine.evaluator.surprisals(points, theta))
    if np.any(np.abs(np.expm1(logsumexp(weights, axis=1))) > _INTEGRAL):
        raise ValueError("the quadrature over x misses probability")
    return weights


def _information(machine: Machine, frame: int) -> np.ndarray:
    """i of the step that follows a frame, (R, S)."""
    theta, own, rate = machine.theta(frame), machine.x(frame), _rate(machine, frame)
    learned, samples = learned_parameters(machine)[0], own.shape[1]
    if rate == 0.0:
        return np.zeros(own.shape[:2])
    of_own = _slopes(machine, theta, own)
    noise = (_noise(machine, frame, rate) - rate * of_own.mean(axis=1))[:, learned]
    variance = 2.0 * rate * _temperature(machine, frame)
    observed = -0.5 * (noise**2 / variance).sum(axis=1)[:, None]
    pull = rate / samples
    if _is_linear(machine):
        n = int(machine.constants["dimension"])
        precision = np.exp(theta[:, None, n:])
        without = noise[:, None] + pull * of_own[..., learned]  # of theta' less its mean, had x been the mode
        whole = variance + pull**2 * precision
        return np.asarray(observed + 0.5 * (without**2 / whole + np.log(whole / variance)).sum(axis=2))
    points, _ = _support(machine)

    def of_part(part: slice) -> np.ndarray:
        others = _slopes(machine, theta[part], np.broadcast_to(points, (len(theta[part]), *points.shape)))
        change = pull * (others[:, None] - of_own[part][:, :, None])[..., learned]
        density = -0.5 * ((noise[part][:, None, None] - change) ** 2 / variance).sum(axis=3)
        return np.asarray(logsumexp(_require_whole(machine, theta[part])[:, None] + density, axis=2))

    return np.asarray(observed - _in_parts(machine, of_part))


def _noise(machine: Machine, frame: int, rate: float) -> np.ndarray:
    """theta' less its mean without samples, theta - r (g_b + lambda theta), at the minibatch of the step: (R, m)."""
    theta, section = machine.theta(frame), machine.settings.theta
    step, steps = int(machine.steps[frame]) + 1, int(machine.settings.run.steps)
    if isinstance(section.batch, int):
        gradient = machine.evaluator.data_gradient(minibatch(machine, step), theta)[1]
    else:
        gradient = full_gradient(machine, theta, 1)[1]
    decay = float(values_at(section.weight_decay, steps, np.array([step]))[0])
    return np.asarray(machine.theta(frame + 1) - theta + rate * (gradient + decay * theta))


def _temperature(machine: Machine, frame: int) -> Any:
    """T of the step that follows a frame, a number or one for each learned parameter."""
    warm, steps = machine.settings.theta.temperature, int(machine.settings.run.steps)
    if is_by_group(warm):
        return np.array([float(warm[group]) for group in learned_parameters(machine)[1]])
    return float(values_at(warm, steps, machine.steps[[frame]] + 1)[0])
