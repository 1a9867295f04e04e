"""A user's model looked at before it is used: rules of its functions, slopes, samplers, and that it compiles.

Everything is run as plain Python first, where a mistake has a line and cannot end the process. Only what takes long
there, the slopes of large models, is compiled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from thermosim.kernels import apply, types
from thermosim.kernels.advance import NO_BOOKS, books, books_one
from thermosim.kernels.compile import compiled
from thermosim.kernels.declare import CompileError
from thermosim.kernels.evaluate import energy_bindings
from thermosim.kernels.signatures import books as books_declaration
from thermosim.kernels.signatures import signature_of
from thermosim.model import Model, Values
from thermosim.models.user_file.blame import blamed
from thermosim.models.user_file.examination import Examination, Start
from thermosim.models.user_file.lane_rules import alone, lane_faults
from thermosim.models.user_file.load import contained
from thermosim.models.user_file.losses import loss_faults
from thermosim.models.user_file.numpy_parts import numpy_faults
from thermosim.models.user_file.plain import ModelFault, Plain
from thermosim.models.user_file.replica_parts import start_faults, sweep_faults
from thermosim.models.user_file.samplers import check_outputs, sampler_faults
from thermosim.models.user_file.slopes import compared, finite_difference
from thermosim.models.user_file.states import States, check_sizes, random_states, thetas
from thermosim.models.user_file.together import together_faults

__all__ = ["examine"]

_SLOW = 3e-4  # seconds for phi at one state, from which on what is asked of many states is compiled
_ROWS = 6  # lanes in which rows are taken together
_COMPILED = 1e-6  # that compiled code may differ by: it rounds otherwise
_NOISES = 100  # pairs of noise and its opposite


def examine(
    model: Model,
    settings_of_constants: Sequence[Values],
    *,
    swept: Collection[str] = (),
    start: Start | None = None,
    compile_too: bool = True,
) -> Examination:
    """Look at a model at each of these constants. Whatever it does, this returns.

    `swept` are constants that differ between lanes: functions in numpy get them as arrays over replicas.
    """
    found = Examination()
    try:
        with contained():
            for values in settings_of_constants:
                _examine_at(model, values, found)
                if found.faults:
                    return found
            first = Plain(model, settings_of_constants[0])
            found.faults += sweep_faults(first, swept) + (
                start_faults(first, swept, start.name, start.hyper) if start else []
            )
            if compile_too and not found.faults:
                _compile(model, settings_of_constants[0])
                found.faults += _compiled_faults(first)
    except (ModelFault, CompileError) as error:
        found.faults.append(str(error))
    except Exception as error:
        if not (said := blamed(error)):
            raise
        found.faults.append(said)
    return found


def _examine_at(model: Model, values: Values, found: Examination) -> None:
    check_sizes(model, values)
    plain = Plain(model, values)
    states = random_states(plain) if model.has_samples else None
    if states is not None:
        found.faults += lane_faults(plain, states)
        plain.slow = _seconds(plain, states) > _SLOW
        if not found.faults:
            found.faults += _slope_faults(plain, states, found)
        if not found.faults:
            found.faults += sampler_faults(plain)
            samplers = [name for name in ("equilibrium", "fresh", "resample") if getattr(model, name) is not None]
            found.checked += [f"{name} against phi" for name in samplers]
    if model.is_loss and not found.faults:
        found.faults += loss_faults(plain)
        found.checked.append("parameter_gradient against the slope of its loss")
    if states is not None and model.gradient_of_rows is not None and not found.faults:
        found.faults += together_faults(plain, states.x[:_ROWS].T.copy(), states.theta[:_ROWS].T.copy())
        found.checked.append("gradient_of_rows against parameter_gradient")
    if model.stochastic_gradient is not None and not found.faults:
        found.faults += _noise_faults(plain)
        found.checked.append("stochastic_gradient against the slope of its loss")
    if not found.faults:
        found.faults += numpy_faults(plain, states)
        found.checked += [f"observable {name}" for name in model.observables]
    found.checked = list(dict.fromkeys(found.checked))


def _slope_faults(plain: Plain, states: States, found: Examination) -> list[str]:
    """force over x and parameter_gradient over theta against phi."""
    model, one = plain.model, plain.columns(1)
    faults = []
    if not model.discrete:
        name, energy = "force", "energy" if model.energy is not None else "phi"
        faults += _compared(
            states,
            lambda s, x: -plain.phi_and_force(x[:, None], states.theta[s][:, None], one)[1][:, 0],
            lambda s, x: plain.phi_of_many(x.T.copy(), states.theta[s][:, None]),
            states.x,
            np.repeat(states.scale[:, None], plain.components, axis=1),
            lambda i, given, slope: (
                f"force({i}, ...) = {-given:.6g} where minus the slope of {energy} is {-slope:.6g} (finite "
                "differences at a random state): mend one of the two."
            ),
        )
        found.checked.append(f"{name} against {energy} at {len(states.x)} states")
    if model.parameter_gradient is not None and not faults:
        faults += _compared(
            states,
            lambda s, theta: plain.gradient(states.x[s][:, None], theta[:, None], one)[:, 0],
            lambda s, theta: plain.phi_of_many(np.repeat(states.x[s][:, None], len(theta), axis=1), theta.T.copy()),
            states.theta,
            np.where(states.theta == 0.0, 1.0, np.abs(states.theta)),
            lambda i, given, slope: (
                f"parameter_gradient gives {given:.6g} for parameter {i}, where the slope of phi is {slope:.6g} "
                "(finite differences at a random state): mend one of the two."
            ),
        )
        found.checked.append(f"parameter_gradient against phi at {len(states.x)} states")
    return faults


def _compared(
    states: States,
    given: Callable[[int, np.ndarray], np.ndarray],
    phi: Callable[[int, np.ndarray], np.ndarray],
    points: np.ndarray,
    scales: np.ndarray,
    said: Callable[[int, float, float], str],
) -> list[str]:
    decided = 0
    for s in range(len(points)):
        try:
            more, wrong = compared(
                lambda point, s=s: given(s, point),  # type: ignore[misc]
                lambda rows, s=s: phi(s, rows),  # type: ignore[misc]
                points[s : s + 1],
                scales[s : s + 1],
            )
        except ModelFault as error:
            return [f"{said(0, np.nan, np.nan).split('(')[0].split(' gives')[0]} {error}."]
        if wrong is not None:
            return [said(*wrong)]
        decided += more
    if decided or points.shape[1] == 0:
        return []
    return ["phi is so rough that finite differences find no slope of it at any random state: is it smooth in x?"]


def _seconds(plain: Plain, states: States) -> float:
    """What phi takes at one state in plain Python."""
    begun = time.perf_counter()
    plain.phi(states.x[:1].T, states.theta[:1].T, plain.columns(1))
    return time.perf_counter() - begun


def _noise_faults(plain: Plain) -> list[str]:
    """The mean of stochastic_gradient over noise and its opposite is the slope of the loss."""
    model, random = plain.model, np.random.default_rng(10)
    rows = thetas(model, plain.values, 4)
    normal = random.normal(size=(plain.parameters, 4))
    columns = plain.columns(4)
    faults = alone(
        "stochastic_gradient",
        lambda s: plain.noisy_gradient(rows[s].T.copy(), normal[:, s].copy(), columns[:, s].copy()),
        4,
    )
    if faults:
        return faults
    half = random.normal(size=(plain.parameters, min(_NOISES, max(8, 10000 // max(plain.parameters, 1)))))
    quiet, both, pairs = False, np.concatenate([half, -half], axis=1), half.shape[1]
    constants = plain.columns(2 * pairs)

    def mean_loss(theta: np.ndarray) -> np.ndarray:
        if quiet:
            return plain.noisy_gradient(theta.T.copy(), np.zeros(theta.T.shape), plain.columns(len(theta)))[0]
        many = (np.repeat(row[:, None], 2 * pairs, axis=1) for row in theta)
        return np.array([plain.noisy_gradient(each, both, constants)[0].mean() for each in many])

    for row in rows[:2]:
        loss, slope = plain.noisy_gradient(np.repeat(row[:, None], 2 * pairs, axis=1), both, constants)
        check_outputs("stochastic_gradient: loss", loss, loss.shape)
        check_outputs("stochastic_gradient: gradient", slope, slope.shape)
        quiet = bool((loss == loss[0]).all())  # the loss has no noise
        of_pairs = 0.5 * (slope[:, :pairs] + slope[:, pairs:])
        for direction in random.choice([-1.0, 1.0], size=(3, len(row))) / np.sqrt(len(row)):
            along = direction @ of_pairs
            mean, error = float(along.mean()), float(along.std(ddof=1) / np.sqrt(pairs))
            exact = finite_difference(mean_loss, row, direction, abs(mean))
            if exact.decided and abs(mean - exact.value) > 6.0 * error + 20.0 * exact.error + 1e-6 * abs(mean):
                return [
                    (
                        f"stochastic_gradient: along a random direction its mean over the noise is {mean:.6g} and the "
                        f"slope of its loss is {exact.value:.6g}: mend one of the two."
                    )
                ]
    return []


def _compile(model: Model, values: Values) -> None:
    """Every function of a kernel through the compiler; from the disk cache where it was there before."""
    names: dict[str, Any] = {"BACKWARD": False} | energy_bindings(model, values)
    if model.has_samples:
        compiled(apply.surprisals, apply.SURPRISALS, **energy_bindings(model, values))
    if model.parameter_gradient is not None:
        bindings = energy_bindings(model, values) | {"parameter_gradient": model.parameter_gradient}
        compiled(apply.gradients, apply.GRADIENTS, **bindings)
    if model.fresh is not None:
        compiled(apply.draw, apply.DRAW, **energy_bindings(model, values), fresh=model.fresh)
    tile, vector = types.float64[:, ::1], types.float64[::1]
    if model.resample is not None:
        signature = types.void(tile, tile, tile, tile, vector, tile, tile)
        compiled(model.resample, signature, **names)
    if model.stochastic_gradient is not None:
        compiled(model.stochastic_gradient, types.void(tile, tile, tile, vector, vector, tile, tile), **names)
    if model.drive is not None:
        compiled(_drives, types.void(tile, tile, tile, vector, tile), **names, drive=model.drive)
    for functional in model.functionals:
        if functional.book is not None:
            template = books_one if functional.size is None else books
            bindings = {**model.names(values), "FIRST": 0, "LAST": 1, "others": NO_BOOKS, "book": functional.book}
            compiled(template, signature_of(books_declaration), **bindings)


def _compiled_faults(plain: Plain) -> list[str]:
    """Where compiled code and plain Python differ, as in whole numbers that overflow, no other comparison holds."""
    if not plain.model.has_samples:
        return []
    states = random_states(plain)
    here = plain.phi_and_force(states.x.T, states.theta.T, plain.columns(len(states.x)))
    plain.slow = True
    there = (plain.phi_of_many(states.x.T, states.theta.T), plain.evaluator.force(states.x, states.theta).T)
    for name, a, b in zip(("phi", "force"), here, there, strict=True):
        if plain.model.discrete and name == "force":
            continue
        wrong = ~np.isclose(a, b, rtol=_COMPILED, atol=_COMPILED * np.abs(a[np.isfinite(a)]).max(initial=1e-300))
        if wrong.any():
            k = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            numbers = f"{b[k]:.6g} compiled and {a[k]:.6g} in Python"
            return [f"{name} is {numbers} at a random state: compiled, whole numbers have 64 bits, globals are fixed."]
    return []


drive = None  # bound when compiled
COMPONENTS = 1


def _drives(x, theta, constants, shared, out):  # type: ignore[no-untyped-def]
    for lane in range(x.shape[1]):
        for i in range(COMPONENTS):
            out[i, lane] = drive(i, x, theta, constants, shared, lane)
