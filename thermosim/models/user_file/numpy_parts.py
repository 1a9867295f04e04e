"""What a model gives in plain numpy, looked at once: observables, propagator, support, cross-entropies, normaliser."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg

from thermosim.models.user_file.plain import ModelFault, Plain, outcome
from thermosim.models.user_file.samplers import check_outputs
from thermosim.models.user_file.states import States, defaults, thetas

__all__ = ["numpy_faults"]

_FRAMES = (2, 3)
_TIME_STEP, _TEMPERATURE = 0.1, 0.6
_POINTS = 4096  # of a support whose sum is made here
_LEEWAY = 0.01  # of ln Z by a rule of integration
_DRAWN, _SIGMAS = 1500, 6.0
_REACH, _NODES = 14.0, 1401  # of a grid in asinh x


def numpy_faults(plain: Plain, states: States | None) -> list[str]:
    """One sentence for each function that gives something else than it must."""
    faults = []
    for part in (_observables, _books, _propagator, _support, _cross_entropy, _log_normaliser):
        try:
            faults += part(plain, states)
        except ModelFault as error:
            faults.append(str(error))
    return faults


def _observables(plain: Plain, states: States | None) -> list[str]:
    """One number for each frame and replica, each from its own theta or x."""
    faults = []
    for name, observable in plain.model.observables.items():
        called = f"the observable {name!r}"
        try:
            frames = _frames(plain, states, observable.of)
            frames.flags.writeable = False
            given = outcome(called, observable.function, frames, plain.values)
            value = check_outputs(called, given, _FRAMES, finite=False)
            single = frames[1:, 1:2]
            first = check_outputs(called, outcome(called, observable.function, single, plain.values), (1, 1), False)
        except ModelFault as error:
            faults.append(str(error))
            continue
        if not np.allclose(value[1:, 1:2], first, rtol=1e-9, atol=1e-12, equal_nan=True):
            faults.append(
                f"{called} of one replica depends on other replicas or frames: it gives {value[1, 1]:.6g} among others "
                f"and {first[0, 0]:.6g} alone. Reduce over the last axis only."
            )
    return faults


def _frames(plain: Plain, states: States | None, of: str) -> np.ndarray:
    frames, replicas = _FRAMES
    if of == "x" and states is not None:
        rows = states.x
    elif states is not None:
        rows = states.theta
    else:
        rows = thetas(plain.model, plain.values, frames * replicas)
    return np.resize(rows, (frames, replicas, rows.shape[1])) if rows.size else np.zeros((*_FRAMES, rows.shape[1]))


def _books(plain: Plain, states: States | None) -> list[str]:
    """`book` adds to total, lane by lane."""
    model, random, lanes, faults = plain.model, np.random.default_rng(9), 3, []
    theta = thetas(model, plain.values, lanes).T.copy()
    before, gradient = theta + 0.1 * random.normal(size=theta.shape), random.normal(size=theta.shape)
    loss = random.normal(size=lanes)
    for functional in model.functionals:
        if functional.book is None:
            continue
        inputs = (theta, before, loss, gradient, plain.columns(lanes), plain.model.packed(plain.values)[1])
        of_lane = () if functional.size is None else (functional.size(plain.values),)
        start, totals = random.normal(size=(*of_lane, lanes)), []
        for total in (np.zeros((*of_lane, lanes)), start.copy()):
            plain.book(functional.book, *inputs, total)
            totals.append(total)
        single = np.zeros((*of_lane, 1))
        one = [part[..., 2:3].copy() if part is not inputs[5] else part for part in inputs]
        plain.book(functional.book, *one, single)
        if not np.isfinite(totals[0]).all():
            faults.append(
                f"book of the functional {functional.name!r} gives {totals[0].flat[0]}; expected finite numbers."
            )
        elif not np.allclose(totals[1] - start, totals[0], rtol=1e-9, atol=1e-10):
            faults.append(f"book of the functional {functional.name!r} must add to total, not write it.")
        elif not np.allclose(single, totals[0][..., 2:3], rtol=1e-9, atol=1e-12):
            faults.append(f"book of the functional {functional.name!r}: a lane depends on other lanes.")
    return faults


def _propagator(plain: Plain, states: States | None) -> list[str]:
    """mean = exp(A h) and noise noise' = 2 T int_0^h exp(A s) exp(A' s) ds, A being the slope of a linear force."""
    model, n = plain.model, plain.components
    if model.propagator is None:
        return []
    theta = np.concatenate([np.zeros(0), *(value for _, value in defaults(model, plain.values))])
    several = np.stack([theta, 1.1 * theta + 0.05, theta])
    given = outcome("propagator", model.propagator, several, plain.values, _TIME_STEP, _TEMPERATURE)
    if not isinstance(given, tuple) or len(given) != 3:
        return ["propagator must return (mean, noise, center)."]
    parts = zip(("mean", "noise", "center"), given, ((3, n, n), (3, n, n), (3, n)), strict=True)
    arrays = [check_outputs(f"propagator: {name}", value, shape) for name, value, shape in parts]
    for one, mean, noise, center in zip(several, *arrays, strict=True):
        if faults := _transition(plain, one, mean, noise, center):
            return faults
    return []


def _transition(plain: Plain, theta: np.ndarray, mean: np.ndarray, noise: np.ndarray, center: np.ndarray) -> list[str]:
    """What is wrong with x' = center + mean (x - center) + noise xi at one theta (m)."""
    model, n = plain.model, plain.components

    def force(x: np.ndarray) -> np.ndarray:
        many = np.repeat(theta[:, None], x.shape[1], axis=1)
        total = plain.phi_and_force(x, many, plain.columns(x.shape[1]))[1]
        return total + (plain.drive(x, many, plain.columns(x.shape[1])) if model.drive is not None else 0.0)

    steps = np.concatenate([np.zeros((n, 1)), np.eye(n), 2.0 * np.eye(n)], axis=1)
    values = force(center[:, None] + steps)
    slope, twice = values[:, 1 : n + 1] - values[:, :1], values[:, n + 1 :] - values[:, :1]
    if not np.allclose(twice, 2.0 * slope, rtol=1e-6, atol=1e-8):
        return ["propagator: the force is not linear in x, so no Gaussian transition is exact."]
    whole = np.block([[-slope, 2.0 * _TEMPERATURE * np.eye(n)], [np.zeros((n, n)), slope.T]])
    exponential = linalg.expm(_TIME_STEP * whole)  # C. F. Van Loan, IEEE Trans. Autom. Control 23, 395 (1978)
    exact_mean = exponential[n:, n:].T
    exact_noise = exact_mean @ exponential[:n, n:]
    checks = (
        ("center", values[:, 0], np.zeros(n), "is not where the force vanishes"),
        ("mean", mean, exact_mean, "is not exp(A h), A the slope of the force"),
        ("noise", noise @ noise.T, exact_noise, "times its transpose is not the covariance 2 T int exp(A s) exp(A' s)"),
    )
    return [
        f"propagator: {name} {wrong}." for name, a, b, wrong in checks if not np.allclose(a, b, rtol=1e-6, atol=1e-8)
    ]


def _support(plain: Plain, states: States | None) -> list[str]:
    """Points and logarithms of their weights; where phi is normalised exp(-phi) sums to one."""
    model = plain.model
    rule = outcome("support", model.support, plain.values)
    theta = np.concatenate([np.zeros(0), *(value for _, value in defaults(model, plain.values))])
    if rule is None:
        return _on_the_line(plain, theta)
    if not isinstance(rule, tuple) or len(rule) != 2:
        return ["support must return (points (P, n), log_weights (P)) or None."]
    points = np.asarray(rule[0])
    check_outputs("support: points", rule[0], (len(points), plain.components))
    weights = check_outputs("support: log_weights", rule[1], (len(points),))
    if not model.has_samples or not model.normalised or len(points) > _POINTS:
        return []
    phi = plain.phi_of_many(points.T.astype(float), theta[:, None])
    log_z = float(np.logaddexp.reduce(weights - phi))
    if abs(log_z) <= _LEEWAY:
        return []
    return [
        (
            f"normalised = True, but exp(-phi) sums to {np.exp(log_z):.4g} over the support at its default theta, "
            "not 1: phi lacks ln Z, or the support is too small or coarse."
        )
    ]


def _on_the_line(plain: Plain, theta: np.ndarray) -> list[str]:
    """int exp(-phi) dx of one component, by the trapezoidal rule in asinh x where two grids agree on it."""
    model = plain.model
    if not (model.normalised and plain.components == 1) or model.discrete:
        return []
    u = np.linspace(-_REACH, _REACH, _NODES)
    phi = plain.phi_of_many(np.sinh(u)[None], theta[:, None])
    with np.errstate(over="ignore"):
        density = np.where(np.isfinite(phi), np.exp(-phi) * np.cosh(u), 0.0) * (u[1] - u[0])
    fine, coarse = density.sum(), 2.0 * density[::2].sum()
    if abs(fine - coarse) > 1e-3 * fine or fine < 1e-3 or abs(fine - 1.0) <= _LEEWAY:
        return []
    return [f"normalised = True, but exp(-phi) integrates to {fine:.4g} at its default theta, not 1: phi lacks ln Z."]


def _cross_entropy(plain: Plain, states: States | None) -> list[str]:
    """<phi_b> in exp(-phi_a) has one number for each theta, and is least where b is a (J. W. Gibbs)."""
    model = plain.model
    if model.cross_entropy is None:
        return []
    theta = thetas(model, plain.values, 4, lambda moves: 3.0 * moves)  # far apart, so that a and b are told apart
    own = check_outputs(
        "cross_entropy", outcome("cross_entropy", model.cross_entropy, theta, theta, plain.values), (4,)
    )
    other = np.roll(theta, 1, axis=0)
    cross = outcome("cross_entropy", model.cross_entropy, theta, other, plain.values)
    cross = check_outputs("cross_entropy", cross, (4,))
    if model.normalised and (cross < own - 1e-9 * (1.0 + np.abs(own))).any():
        return [
            "cross_entropy(a, b) is below cross_entropy(a, a), which no normalised phi allows: are a and b mixed up?"
        ]
    if model.fresh is None:
        return []
    phi = plain.phi_of_many(plain.fresh_of_many(theta[:1].T, _DRAWN), other[:1].T)
    mean, error = float(phi.mean()), float(phi.std(ddof=1) / np.sqrt(_DRAWN))
    if abs(mean - cross[0]) <= _SIGMAS * error + 1e-9 * (1.0 + abs(mean)):
        return []
    said = f"the mean of phi_b over {_DRAWN} fresh samples of a is {mean:.6g} +- {error:.2g}"
    return [f"cross_entropy(a, b) is {cross[0]:.6g} where {said}: are a and b mixed up?"]


def _log_normaliser(plain: Plain, states: States | None) -> list[str]:
    model: Any = plain.model
    if model.log_normaliser is None:
        return []
    theta = thetas(model, plain.values, 2)
    try:
        with np.errstate(all="ignore"):
            given = model.log_normaliser(theta, plain.values)
    except ValueError:  # how a model says that it has none at these constants
        return []
    if not isinstance(given, tuple) or len(given) != 2:
        return ["log_normaliser must return (ln Z, its standard error)."]
    for name, value in zip(("ln Z", "its error"), given, strict=True):
        check_outputs(f"log_normaliser: {name}", value, (2,))
    return []
