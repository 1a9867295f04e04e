"""What is wrong with the way a case learns: its gradient, its data, its starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thermosim.case.numbers import number_faults, schedule_faults
from thermosim.data import faults as faults_of_data
from thermosim.data.sources import data_of, theta_faults
from thermosim.model import Model
from thermosim.schedules import is_by_group, is_schedule

__all__ = ["data_faults", "learning_faults"]

Settings = Mapping[str, Any]
_LARGEST_BATCH = 1_000_000


def learning_faults(model: Model, settings: Settings) -> list[str]:
    """Faults of theta.dynamics = 'sgd', 'sgld' or 'langevin'."""
    theta, steps, name = settings["theta"], settings["run"]["steps"], f"model {model.name!r}"
    dynamics = theta["dynamics"]
    faults = []
    if settings["run"]["direction"] == "reversed":
        faults.append(
            f"run.direction = 'reversed': needs theta.dynamics = 'protocol' or 'frozen'; {dynamics} has no given path "
            "back. Retrace SGD with 'there-and-back', or a recorded path with theta.recording."
        )
    if model.stochastic_gradient is None and not model.learns:
        return [
            *faults,
            f"theta.dynamics = {dynamics!r}: {name} has no gradient to learn by; use 'protocol' or 'frozen'.",
        ]
    if theta["learning_rate"] is None:
        faults.append(f"theta.learning_rate: missing; {dynamics} needs a number or a schedule.")
    else:
        faults += schedule_faults("theta.learning_rate", theta["learning_rate"], steps, "learning rate", exclusive=True)
    faults += schedule_faults("theta.weight_decay", theta["weight_decay"], steps, "weight decay")
    if model.scale_invariant:
        return faults + _scale_invariant_faults(model, theta)
    if theta["constraint"] is not None:
        faults.append(f"theta.constraint = {theta['constraint']!r}: {name} is not scale-invariant; remove it.")
    faults += _temperature_faults(model, theta, steps)
    faults += _gradient_faults(model, settings) if model.learns else []
    return faults + _initial_faults(model, settings)


def _scale_invariant_faults(model: Model, theta: Settings) -> list[str]:
    constraint, name, faults = theta["constraint"], f"model {model.name!r}", []
    if theta["dynamics"] != "sgd":
        return [f"theta.dynamics = {theta['dynamics']!r}: {name} is scale-invariant and learns by 'sgd'."]
    if constraint is None:
        faults.append("theta.constraint: missing; scale-invariant parameters need fixed-lr, fixed-elr or fixed-sphere.")
    if constraint == "fixed-sphere" and theta["weight_decay"] != 0.0:
        faults.append(
            f"theta.weight_decay = {theta['weight_decay']!r}: has no effect where the radius is held; remove it."
        )
    faults += [
        f"theta.{key} = {theta[key]!r}: {name} draws its own gradient noise and starts; remove it."
        for key in ("batch", "gradient", "learn", "temperature", "spread")
        if theta[key] is not None
    ]
    if theta["momentum"]:
        faults.append(f"theta.momentum = {theta['momentum']!r}: is not used with a constraint; remove it.")
    starts = list(model.initial_theta)
    start = theta["initial"] or (starts[0] if starts else None)
    if start not in starts:
        faults.append(f"theta.initial = {start!r}: {name} can start from {', '.join(map(repr, starts))}.")
    constant = not (is_schedule(theta["learning_rate"]) or is_schedule(theta["weight_decay"]))
    if (
        start == "stationary"
        and constraint in ("fixed-lr", "fixed-elr")
        and not (constant and theta["weight_decay"] > 0)
    ):
        faults.append(
            "theta.initial = 'stationary': needs a constant learning rate and a constant weight decay above 0."
        )
    return faults


def _temperature_faults(model: Model, theta: Settings, steps: int) -> list[str]:
    dynamics, temperature = theta["dynamics"], theta["temperature"]
    if dynamics == "sgd":
        if temperature is None:
            return []
        return [f"theta.temperature = {temperature!r}: SGD has only the noise of its minibatches; use 'sgld'."]
    faults = []
    if theta["momentum"]:
        faults.append(f"theta.momentum = {theta['momentum']!r}: is only used with theta.dynamics = 'sgd'.")
    meaning = f"temperature of {dynamics}"
    if temperature is None:
        faults.append(f"theta.temperature: missing; {dynamics} needs a number, or a table of one per parameter group.")
    elif is_by_group(temperature):
        groups = [group.name for group in model.parameters]
        for name in sorted(temperature.keys() - set(groups)):
            faults.append(f"theta.temperature.{name}: unknown parameter group; there are {', '.join(groups)}.")
        for name in groups:
            if name not in temperature:
                faults.append(f"theta.temperature.{name}: missing; give every parameter group its temperature.")
            elif fault := number_faults(temperature[name], 0.0, None, True, meaning):
                faults.append(f"theta.temperature.{name} = {temperature[name]!r}: {fault}")
    else:
        faults += schedule_faults("theta.temperature", temperature, steps, meaning, exclusive=True)
    return faults


def _gradient_faults(model: Model, settings: Settings) -> list[str]:
    theta, name = settings["theta"], f"model {model.name!r}"
    dynamics, batch, faults = theta["dynamics"], theta["batch"], []
    if dynamics == "langevin":
        if batch not in (None, "all"):
            faults.append(
                f"theta.batch = {batch!r}: 'langevin' feels all of the data, U_B; use 'sgld' with minibatches."
            )
    elif batch is None:
        faults.append(f'theta.batch: missing; {dynamics} needs the rows of a minibatch, or "all".')
    elif batch != "all" and (not isinstance(batch, int) or isinstance(batch, bool) or not 1 <= batch <= _LARGEST_BATCH):
        faults.append(
            f'theta.batch = {batch!r}: expected a number of rows, at least 1 and at most {_LARGEST_BATCH:,}, or "all".'
        )
    if theta["gradient"] == "likelihood" and not model.normalised:
        faults.append(
            f"theta.gradient = 'likelihood': the energy of {name} has no normaliser to differentiate; use 'contrast', "
            "which estimates it from the samples x."
        )
    if theta["gradient"] == "contrast" and not settings.get("x"):
        faults.append("theta.gradient = 'contrast': needs samples to contrast the data with; add an [x] section.")
    groups = [group.name for group in model.parameters]
    for group in theta["learn"] or ():
        if group not in groups:
            faults.append(f"theta.learn: {group!r} is no parameter group; there are {', '.join(groups)}.")
    if settings["run"]["direction"] == "there-and-back":
        if theta["momentum"]:
            faults.append("theta.momentum: a run there-and-back retraces plain SGD; remove it.")
        if settings["run"]["steps"] % 2:
            faults.append(f"run.steps = {settings['run']['steps']}: there-and-back needs an even number of steps.")
    return faults


def _initial_faults(model: Model, settings: Settings) -> list[str]:
    theta, constants = settings["theta"], settings["model"]
    faults = []
    if theta["initial"] is not None and (
        not isinstance(theta["initial"], str) or theta["initial"] not in model.initial_theta
    ):
        faults += theta_faults(model, constants, theta["initial"], "theta.initial")
    spread, meaning = theta["spread"], "standard deviation of the start over replicas"
    if isinstance(spread, Mapping):
        wrong = theta_faults(model, constants, spread, "theta.spread")
        negative = [name for name, value in spread.items() if not wrong and np.min(value) < 0.0]
        faults += wrong + [f"theta.spread.{name}: is negative; expected at least 0, {meaning}." for name in negative]
    elif spread is not None and (fault := number_faults(spread, 0.0, None, False, meaning)):
        faults.append(f"theta.spread = {spread!r}: {fault}")
    return faults


def _level_faults(model: Model, settings: Settings, folder: Path) -> list[str]:
    """Whether the rows take only the values that the model's components can take."""
    low, high = model.levels
    data, encoding = settings["data"], "spin" if low < 0.0 else "binary"
    key = f"data.source = {data['source']!r}" if data["source"] else f"data.file = {data['file']!r}"
    levels = f"the components of model {model.name!r} are {low:g} or {high:g}"
    if data["source"] in ("gaussian", "mixture", "ring"):
        return [f"{key}: its rows are real numbers, but {levels}; use 'teacher', 'digits', or a file of your own."]
    values = data_of(model, settings, folder).values
    other = values[(values != low) & (values != high)]
    if not other.size:
        return []
    return [f"{key}: holds {other[0]:g}, but {levels}; add data.encoding = '{encoding}'."]


def data_faults(model: Model, settings: Settings, folder: Path) -> list[str]:
    """Faults of [data], or of its absence."""
    data, theta = settings.get("data"), settings["theta"]
    learning = theta["dynamics"] in ("sgd", "sgld", "langevin")
    if not data:
        if learning and model.stochastic_gradient is None and model.learns:
            return ['data: missing; learning needs data. Add [data] with a source (such as "gaussian") or a file.']
        return []
    if not model.learns:
        return [f"data: model {model.name!r} does not learn from data; remove [data]."]
    if not learning and not (settings.get("x") and (settings["x"]["initial"] == "data" or settings["x"]["restart"])):
        return [f"data: nothing uses it with theta.dynamics = {theta['dynamics']!r}; remove [data]."]
    faults = faults_of_data(data, model.components(settings["model"]), folder)
    if model.discrete and not faults and data["source"] != "teacher":
        faults += _level_faults(model, settings, folder)
    if data["source"] == "teacher":
        if model.fresh is None:
            faults.append(f"data.source = 'teacher': model {model.name!r} has no exact sampler; use another source.")
        faults += theta_faults(model, settings["model"], data["teacher"], "data.teacher")
    if data["sets"] > settings["ensemble"]["replicas"]:
        faults.append(
            f"data.sets = {data['sets']}: more data sets than the {settings['ensemble']['replicas']} replicas of each "
            "point; every set needs replicas."
        )
    return faults
