"""Which values and combinations a case may ask for, and why not otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thermosim.case.learning import data_faults, learning_faults
from thermosim.case.numbers import schedule_faults
from thermosim.case.record import record_faults, recorded_names
from thermosim.data.sources import recording_faults
from thermosim.ledger import VARIABLES
from thermosim.model import Model
from thermosim.schedules import is_schedule, schedule_values

__all__ = ["combination_faults", "possible_moves", "recordable", "shape_faults", "sizes"]

Settings = Mapping[str, Any]


def recordable(model: Model, settings: Settings) -> list[str]:
    """Names of the variables this case can record."""
    theta, x = settings["theta"], settings.get("x")
    names = []
    if model.parameters and (theta["dynamics"] != "frozen" or x is None):
        names.append("theta")
    if x is not None:
        names += ["x", "phi", "work", "heat"]
        names += [] if x["restart"] else ["log_ratio_x"]
        names += ["accepted"] if x["dynamics"] == "mala" else []
        if model.normalised and x["temperature"] == 1.0 and not x["restart"]:
            names += ["entropy_production", "shadow"]
    if theta["dynamics"] in ("sgd", "sgld", "langevin"):
        names += ["loss_sum", "gradient_square"] + ([] if model.scale_invariant else ["minibatch_loss"])
        names += ["stretch"] if theta["constraint"] == "fixed-sphere" else []
        names += ["log_ratio_theta"] if theta["dynamics"] != "sgd" else []
    return names + [name for name, observable in model.observables.items() if observable.of == "theta" or x is not None]


def sizes(model: Model, settings: Settings) -> dict[str, int]:
    """Sizes of the dimensions after the replica."""
    constants, x = settings["model"], settings.get("x")
    return {
        "theta_dim": sum(math.prod(group.shape(constants)) for group in model.parameters),
        "x_dim": model.components(constants) if x else 0,
        "sample": int(x["samples"]) if x else 0,
    }


def shape_faults(model: Model, first: Settings, other: Settings) -> list[str]:
    """Recorded variables whose shape differs between two points of a sweep."""
    before, after = sizes(model, first), sizes(model, other)
    changing = {name for name in before if before[name] != after[name]}
    recorded = recorded_names(first["record"], recordable(model, first))
    clash = [name for name in recorded if changing & _dims(model, name)]
    if not clash:
        return []
    remedy = "; give them no table of their own." if set(clash) & set(first["record"]["tables"]) else "."
    return [f"sweep: the shape of {', '.join(clash)} depends on an axis; name record.variables without them{remedy}"]


def _dims(model: Model, name: str) -> set[str]:
    if name in VARIABLES:
        return set(VARIABLES[name].dims)
    return {"sample"} if model.observables[name].of == "x" else set()


def combination_faults(model: Model, settings: Settings, folder: Path) -> list[str]:
    """Faults of a case whose single values have the right types; `folder` is where its files are looked for."""
    faults = _theta_faults(model, settings, folder) + _x_faults(model, settings) + data_faults(model, settings, folder)
    faults += record_faults(model, settings, recordable(model, settings))
    if settings["theta"]["dynamics"] == "frozen" and "x" not in settings:
        faults.append("theta.dynamics = 'frozen' and no [x]: nothing moves. Give theta a dynamics, or add [x].")
    if not faults and model.validate is not None:
        faults += model.validate(settings["model"], settings)
    return faults


def _theta_faults(model: Model, settings: Settings, folder: Path) -> list[str]:
    theta = settings["theta"]
    dynamics = theta["dynamics"]
    faults = []
    if dynamics == "protocol":
        faults += recording_faults(model, settings, folder) if theta["recording"] else []
        faults += _protocol_faults(model, settings)
    else:
        faults += [
            f"theta.{key}: is only used with theta.dynamics = 'protocol', not {dynamics!r}."
            for key in ("protocol", "recording")
            if theta[key]
        ]
    if settings["run"]["direction"] == "there-and-back" and dynamics != "sgd":
        faults.append(
            f"run.direction = 'there-and-back': retraces SGD, not {dynamics!r}; use 'reversed' for a protocol."
        )
    if dynamics not in ("protocol", "frozen"):
        return faults + learning_faults(model, settings)
    start = ("initial", "spread") if dynamics == "frozen" and model.learns else ()
    return faults + [
        f"theta.{key} = {theta[key]!r}: is only used when theta learns, not with theta.dynamics = {dynamics!r}."
        for key in ("learning_rate", "constraint", "initial", "spread", "batch", "gradient", "learn", "temperature")
        if theta[key] is not None and key not in start
    ]


def _protocol_faults(model: Model, settings: Settings) -> list[str]:
    groups = {group.name: group for group in model.parameters}
    if settings["theta"]["recording"] and settings["theta"]["protocol"]:
        return ["theta.protocol, theta.recording: both prescribe theta; keep one of them."]
    if not groups:
        return [f"theta.dynamics = 'protocol': model {model.name!r} has no parameters to prescribe; remove [theta]."]
    faults, given = [], settings["theta"]["protocol"]
    for name, value in given.items():
        if name not in groups:
            faults.append(f"theta.protocol.{name}: unknown; model {model.name!r} has {', '.join(groups)}.")
            continue
        group = groups[name]
        shape, key = group.shape(settings["model"]), f"theta.protocol.{name}"
        faults += schedule_faults(key, value, settings["run"]["steps"], group.meaning, shape=shape, positive=False)
    return faults


def _x_faults(model: Model, settings: Settings) -> list[str]:
    x, steps, theta = settings.get("x"), settings["run"]["steps"], settings["theta"]
    if x is None:
        if not model.has_samples or (model.learns and theta["gradient"] != "contrast" and model.normalised):
            return []
        return [f"x: missing; model {model.name!r} has samples x, give them a dynamics in [x]."]
    if not model.has_samples:
        return [f"x: model {model.name!r} has no samples x, only parameters theta; remove [x]."]
    dynamics, temperature = x["dynamics"], x["temperature"]
    faults = _move_faults(model, x, theta)
    if dynamics in ("gibbs", "exact"):
        if x["time_step"] is not None:
            faults.append(f"x.time_step = {x['time_step']!r}: has no meaning for {dynamics!r}; remove it.")
        if temperature != 1.0:
            faults.append(
                f"x.temperature = {temperature!r}: {dynamics!r} samples exp(-phi), at temperature 1; remove it."
            )
    elif x["time_step"] is None:
        faults.append(f"x.time_step: missing; {dynamics!r} needs a number or a schedule.")
    else:
        faults += schedule_faults("x.time_step", x["time_step"], steps, "time step of x", exclusive=True)
    shape = (model.components(settings["model"]),) if isinstance(temperature, list) else ()
    faults += schedule_faults("x.temperature", temperature, steps, "temperature of x", exclusive=True, shape=shape)
    if dynamics in ("exact-ou", "mala") and isinstance(temperature, list):
        remedy = "give one number, or use 'ula'."
        faults.append(f"x.temperature: {dynamics!r} obeys detailed balance at one temperature; {remedy}")
    if dynamics == "exact-ou" and (is_schedule(x["time_step"]) or is_schedule(temperature)):
        faults.append("x.time_step, x.temperature: 'exact-ou' needs constants; use 'ula' with schedules.")
    return faults + _start_faults(model, settings, bool(faults))


def _move_faults(model: Model, x: Settings, theta: Settings) -> list[str]:
    """Whether the model can make this move."""
    dynamics, name = x["dynamics"], f"model {model.name!r}"
    others = possible_moves(model)
    if dynamics in others:
        if dynamics == "exact-ou" and theta["dynamics"] not in ("protocol", "frozen"):
            return [
                "x.dynamics = 'exact-ou': needs one theta for all replicas; use 'mala' or 'ula' while theta learns."
            ]
        if dynamics == "ula" and isinstance(x["temperature"], list) and model.energy is None:
            return [f"x.temperature: {name} moves at one temperature; give one number."]
        return []
    why = {
        "ula": "has no force, its x is discrete",
        "mala": "has a drive, so no acceptance rule keeps a known law"
        if model.drive
        else "has no force, its x is discrete",
        "gibbs": "has no conditional law to draw its components from",
        "exact": "has no exact sampler",
        "exact-ou": "has no exact propagator",
    }[dynamics]
    return [f"x.dynamics = {dynamics!r}: {name} {why}; use {' or '.join(map(repr, others))}."]


def possible_moves(model: Model) -> list[str]:
    """The moves of x that a model has what it takes for."""
    continuous = model.surprisal_and_force is not None or (model.energy is not None and model.force is not None)
    able = {
        "ula": continuous,
        "mala": continuous and model.drive is None,
        "gibbs": model.resample is not None,
        "exact": model.fresh is not None,
        "exact-ou": model.propagator is not None,
    }
    return [name for name, can in able.items() if can]


def _start_faults(model: Model, settings: Settings, faulty: bool) -> list[str]:
    """Whether x can start as asked."""
    x, start, name = settings["x"], settings["x"]["initial"], f"model {model.name!r}"
    faults = []
    if start == "equilibrium" and model.equilibrium is None and model.fresh is None:
        starts = "'random' or 'data'" if model.discrete else "'zero', 'normal' or 'data'"
        why = "is driven, so it has no known equilibrium" if model.drive is not None else "has no exact sampler"
        faults.append(f"x.initial = 'equilibrium': {name} {why}; use {starts} and discard the beginning.")
    elif start == "equilibrium" and model.equilibrium is None and x["temperature"] != 1.0:
        faults.append(f"x.initial = 'equilibrium': {name} samples exp(-phi) only; use x.temperature = 1, or 'normal'.")
    elif start == "equilibrium" and is_schedule(x["temperature"]) and not faulty:
        steps = settings["run"]["steps"]
        first = steps if settings["run"]["direction"] == "reversed" else 0
        if not np.all(schedule_values(x["temperature"], steps, first, first) > 0):
            faults.append(
                "x.temperature: is 0 at step 0, where the equilibrium start needs one above 0; or start from 'zero'."
            )
    if start in ("zero", "normal") and model.discrete and not (start == "zero" and 0.0 in model.levels):
        faults.append(f"x.initial = {start!r}: the components of {name} are {model.levels}; use 'random' or 'data'.")
    if start == "random" and not model.discrete:
        faults.append(f"x.initial = 'random': is for discrete x; {name} is continuous, use 'normal' or 'data'.")
    if (start == "data" or x["restart"]) and not settings.get("data"):
        key = "x.initial = 'data'" if start == "data" else "x.restart = true"
        faults.append(f"{key}: needs data rows to start from; add a [data] section.")
    return faults
