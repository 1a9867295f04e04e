"""A model's own samplers against its energy: exact identities of exp(-phi/T), within six standard errors.

Of continuous x, wherever exp(-phi/T) dies out on all sides, integration by parts gives for every component

    <x_i d phi/dx_i> = T_i,     <d phi/dx_i> = 0

(the virial theorem), at one temperature. Of discrete x with few states, means of components, of products of neighbours
and of phi follow from enumeration; and one Gibbs sweep leaves them as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from thermosim.models.user_file.lane_rules import alone
from thermosim.models.user_file.plain import ModelFault, Plain, outcome
from thermosim.models.user_file.states import thetas

__all__ = ["check_outputs", "sampler_faults"]

_SIGMAS = 6.0
_SAMPLES = 1500
_STATES = 6  # components of discrete x whose states are enumerated
_TEMPERATURE = 0.25  # far from 1, its root and its square
_FAR, _HIGH, _PROBES = 30.0, 20.0, 6  # phi is confining where it is so much higher (kT) so many spreads further out
_COMPONENTS = 32  # that are looked at one by one

Draw = Callable[[np.ndarray, int], np.ndarray]  # theta (m,), how many -> x (n, R)


def sampler_faults(plain: Plain) -> list[str]:
    """One sentence for each sampler that does not sample exp(-phi/T), or not in the right shape."""
    model, faults = plain.model, []
    if model.equilibrium is not None:
        faults += _faults(plain, "equilibrium", _equilibrium(plain), _TEMPERATURE)
    if model.fresh is not None:
        faults += _alone(plain, thetas(model, plain.values, 1)[0])
        faults += [] if faults else _faults(plain, "fresh", _fresh(plain), 1.0)
        faults += [] if faults else _score(plain)
    if model.resample is not None:
        faults += _sweeps(plain)
    return faults


def check_outputs(name: str, given: object, shape: tuple[int, ...], finite: bool = True) -> np.ndarray:
    """What a function in numpy gives, as an array. Raises ModelFault where it is not one of numbers of this shape."""
    try:
        value = np.asarray(given)
    except ValueError:
        raise ModelFault(f"{name} gives no array, but a {type(given).__name__}.") from None
    if value.dtype.kind not in "fiub":
        raise ModelFault(f"{name} gives {type(given).__name__} of {value.dtype}, expected real numbers.")
    if value.shape != shape:
        raise ModelFault(f"{name} gives shape {value.shape}, expected {shape}.")
    if finite and not np.isfinite(value.astype(float)).all():
        raise ModelFault(f"{name} gives values that are not finite.")
    return value.astype(float)


def _equilibrium(plain: Plain) -> Draw:
    function, n = plain.model.equilibrium, plain.components
    assert function is not None

    def draw(theta: np.ndarray, count: int) -> np.ndarray:
        normal = np.random.default_rng(5).normal(size=(n, count))
        many = np.repeat(theta[:, None], count, axis=1)
        x = outcome("equilibrium", function, many, plain.values, np.full((n, count), _TEMPERATURE), normal)
        return check_outputs("equilibrium", x, (n, count))

    return draw


def _fresh(plain: Plain) -> Draw:
    def draw(theta: np.ndarray, count: int) -> np.ndarray:
        return check_outputs("fresh", plain.fresh_of_many(theta[:, None], count), (plain.components, count))

    return draw


def _alone(plain: Plain, theta: np.ndarray) -> list[str]:
    """A sample must be the same in a tile of one lane as in a wider one."""
    random = np.random.default_rng(6)
    rows = [
        int(outcome(name, getattr(plain.model, name), plain.values)) for name in ("fresh_normals", "fresh_uniforms")
    ]
    normal, uniform = random.normal(size=(rows[0], 2)), 1.0 - random.random(size=(rows[1], 2))
    two = theta[:, None] * np.ones(2), plain.columns(2)
    return alone(
        "fresh",
        lambda s: (plain.fresh(two[0][:, s].copy(), two[1][:, s].copy(), normal[:, s].copy(), uniform[:, s].copy()),),
        2,
    )


def _faults(plain: Plain, name: str, draw: Draw, temperature: float) -> list[str]:
    """The sampler at its default theta, and at others: moved anyhow, all up, all down.

    Of these one must be right: what a parameter of zero may become, only the model knows.
    """
    model, values = plain.model, plain.values
    default = np.concatenate([np.zeros(0), *(np.ravel(g.default(values)) for g in model.parameters)]).astype(float)
    test = _enumerated if model.discrete else _virial
    if fault := test(plain, name, draw(default, _SAMPLES), default, temperature):
        return [fault]
    if not len(default):
        return []
    found = []
    for sign in (np.asarray, np.abs, lambda z: -np.abs(z)):
        theta = thetas(model, values, 1, sign)[0]
        try:
            fault = test(plain, name, draw(theta, _SAMPLES), theta, temperature)
        except ModelFault as error:
            fault = f"{error}"
        if not fault:
            return []
        found.append(fault)
    return [f"{found[0]} At its default theta it is right: does it use all of theta?"]


def _virial(plain: Plain, name: str, x: np.ndarray, theta: np.ndarray, temperature: float) -> str:
    count = x.shape[1]
    if not _confining(plain, x, theta[:, None], temperature):
        return ""
    slope = -plain.force_of_many(x, theta[:, None])
    for i in range(min(plain.components, _COMPONENTS)):
        for what, values, exact in (
            (f"<x_{i} d phi/dx_{i}>", x[i] * slope[i], temperature),
            (f"<d phi/dx_{i}>", slope[i], 0.0),
        ):
            mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(count))
            if not abs(mean - exact) <= _SIGMAS * error + 1e-9 * (abs(exact) + 1.0):
                return (
                    f"{name} does not sample exp(-phi/T): over {count} samples at T = {temperature:g} {what} is "
                    f"{mean:.4g} +- {error:.2g}, where integration by parts gives {exact:g}."
                )
    return ""


def _score(plain: Plain) -> list[str]:
    """<d phi/d theta> = 0 over exact samples where phi is normalised: the slope of ln Z is in phi and is right."""
    if not (plain.model.normalised and plain.model.learns):
        return []
    theta = thetas(plain.model, plain.values, 1)[0]
    draw = _fresh(plain)
    slope = plain.gradient_of_many(draw(theta, _SAMPLES), theta[:, None])
    error = slope.std(axis=1, ddof=1) / np.sqrt(_SAMPLES)
    worst = int(np.argmax(np.abs(slope.mean(axis=1)) - _SIGMAS * error))
    if abs(slope[worst].mean()) <= _SIGMAS * error[worst] + 1e-9 * (1.0 + np.abs(slope[worst]).max()):
        return []
    return [
        (
            f"normalised = True, but over {_SAMPLES} samples of fresh <d phi/d theta_{worst}> is "
            f"{slope[worst].mean():.4g} +- {error[worst]:.2g}, which is 0 for phi = -ln p: "
            "phi lacks ln Z, or fresh does not sample exp(-phi)."
        )
    ]


def _confining(plain: Plain, x: np.ndarray, theta: np.ndarray, temperature: float) -> bool:
    """Whether phi rises along every component far out, so that an integration by parts leaves nothing at the edge."""
    spread = x.std(axis=1)
    for i in range(min(plain.components, _COMPONENTS)):
        heights = []
        for far in (0.0, _FAR, 2.0 * _FAR):
            moved = np.concatenate([x[:, :_PROBES], x[:, :_PROBES]], axis=1)
            moved[i] += np.repeat([far, -far], _PROBES) * spread[i]
            heights.append(plain.phi_of_many(moved, theta))
        here, there, beyond = heights
        risen = (there - here > _HIGH * temperature) & (beyond > there)
        if not (np.isfinite(beyond).all() and risen.all()):
            return False
    return True


def _enumerated(plain: Plain, name: str, x: np.ndarray, theta: np.ndarray, temperature: float) -> str:
    levels = np.unique(plain.model.levels)
    if not np.isin(x, levels).all():
        return f"{name} gives values other than levels = {plain.model.levels}."
    if plain.components > _STATES:
        return ""
    states, probabilities, statistics = _all_states(plain, theta)
    exact = statistics @ probabilities
    places = ((x[:, None, :] - states[:, :, None]) ** 2).sum(axis=0).argmin(axis=0)
    measured = statistics[:, places]
    return _compared(name, measured, exact, "enumeration of exp(-phi)")


def _all_states(plain: Plain, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All states (n, P), their probabilities (P), and statistics of each: components, their products, phi."""
    n = plain.components
    low, high = plain.model.levels
    bits = (np.arange(1 << n) >> np.arange(n)[:, None]) & 1
    states = np.where(bits == 1, high, low).astype(float)
    phi = plain.phi_of_many(states, theta[:, None])
    weights = np.exp(phi.min() - phi)
    products = [states[i] * states[j] for i in range(n) for j in range(i)]
    return states, weights / weights.sum(), np.array([*states, *products, phi])


def _compared(name: str, measured: np.ndarray, exact: np.ndarray, by: str) -> str:
    errors = measured.std(axis=1, ddof=1) / np.sqrt(measured.shape[1])
    for value, error, right in zip(measured.mean(axis=1), errors, exact, strict=True):
        if not abs(value - right) <= _SIGMAS * error + 1e-9 * (1.0 + abs(right)):
            return (
                f"{name} does not sample exp(-phi): a mean over {measured.shape[1]} samples is {value:.4g} +- "
                f"{error:.2g}, where {by} gives {right:.4g}."
            )
    return ""


def _sweeps(plain: Plain) -> list[str]:
    """One sweep from exact samples, forward and backward."""
    model, random, n = plain.model, np.random.default_rng(8), plain.components
    rows = int(outcome("resample_uniforms", model.resample_uniforms, plain.values))
    theta = thetas(model, plain.values, 1)[0]
    low_high = np.asarray(model.levels, float)
    begun = random.choice(low_high, size=(n, 2))
    uniform = 1.0 - random.random(size=(rows, 2))
    for backward in (False, True):
        after = plain.resample(begun, theta[:, None], plain.columns(1), uniform, backward)
        check_outputs("resample", after, (n, 2))
        second = begun[:, 1:].copy(), uniform[:, 1:].copy()
        if not np.array_equal(
            after[:, 1:], plain.resample(second[0], theta[:, None], plain.columns(1), second[1], backward)
        ):
            return ["resample: a lane depends on other lanes: alone it gives another sample."]
        if not np.isin(after, low_high).all():
            return [f"resample gives values other than levels = {model.levels}."]
    if n > _STATES:
        return []
    states, probabilities, statistics = _all_states(plain, theta)
    places = random.choice(len(probabilities), size=_SAMPLES, p=probabilities)
    for backward in (False, True):
        uniform = 1.0 - random.random(size=(rows, _SAMPLES))
        after = plain.resample(states[:, places], theta[:, None], plain.columns(1), uniform, backward)
        found = ((after[:, None, :] - states[:, :, None]) ** 2).sum(axis=0).argmin(axis=0)
        how = " where BACKWARD is set" if backward else ""
        by = "enumeration of exp(-phi), from which it started,"
        if fault := _compared(f"resample{how}", statistics[:, found], statistics @ probabilities, by):
            return [fault]
    return []
