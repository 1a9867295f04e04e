"""Which values and combinations a case may ask for, and why not otherwise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.model import Model
from thermosim.schedules import KINDS, is_schedule, schedule_values, telling_steps, values_at
from thermosim.variables import VARIABLES

__all__ = ["combination_faults", "number_faults", "recordable", "shape_faults", "sizes"]

Settings = Mapping[str, Any]


def number_faults(
    value: Any, minimum: float | None, maximum: float | None, exclusive: bool, meaning: str
) -> str | None:
    """What is wrong with a number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"expected a number; {meaning}."
    if not math.isfinite(value):
        return f"expected a finite number; {meaning}."
    if minimum is not None and (value < minimum or (exclusive and value == minimum)):
        return f"expected {'more than' if exclusive else 'at least'} {minimum:g}; {meaning}."
    if maximum is not None and value > maximum:
        return f"expected at most {maximum:g}; {meaning}."
    return None


def recordable(model: Model, settings: Settings) -> list[str]:
    """Names of the variables this case can record."""
    theta, x = settings["theta"], settings.get("x")
    names = []
    if model.parameters and (theta["dynamics"] != "frozen" or x is None):
        names.append("theta")
    if x is not None:
        names += ["x", "phi", "work", "heat", "log_ratio_x"]
    if theta["dynamics"] == "sgd":
        names += ["loss_sum", "gradient_square"]
        names += ["stretch"] if theta["constraint"] == "fixed-sphere" else []
    return names + list(model.observables)


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
    recorded = first["record"]["variables"] or recordable(model, first)
    clash = [name for name in recorded if changing & _dims(model, name)]
    if not clash:
        return []
    return [f"sweep: the shape of {', '.join(clash)} depends on an axis; name record.variables without them."]


def _dims(model: Model, name: str) -> set[str]:
    if name in VARIABLES:
        return set(VARIABLES[name].dims)
    return {"sample"} if model.observables[name].of == "x" else set()


def combination_faults(model: Model, settings: Settings) -> list[str]:
    """Faults of a case whose single values have the right types."""
    faults = _theta_faults(model, settings) + _x_faults(model, settings) + _record_faults(model, settings)
    if settings["theta"]["dynamics"] == "frozen" and "x" not in settings:
        faults.append("theta.dynamics = 'frozen' and no [x]: nothing moves. Give theta a dynamics, or add [x].")
    if not faults and model.validate is not None:
        faults += model.validate(settings["model"], settings)
    return faults


def _schedule_faults(
    key: str,
    value: Any,
    steps: int,
    meaning: str,
    exclusive: bool = False,
    shape: tuple[int, ...] = (),
    positive: bool = True,
) -> list[str]:
    """Faults of a number or array of `shape`, or of a schedule of such; one number will do for a shape of one."""
    if _has_bool(value):
        return [f"{key} = {value!r}: expected numbers, not true or false; {meaning}."]
    if is_schedule(value):
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            return [f"{key}.kind = {kind!r}: expected one of {', '.join(KINDS)}."]
        _, needed, allowed = KINDS[kind]
        faults = [f"{key}: a {kind} schedule needs the key {name!r}." for name in sorted(needed - value.keys())]
        extra = value.keys() - needed - allowed
        faults += [
            f"{key}.{name} = {value[name]!r}: a {kind} schedule only has {', '.join(sorted(needed | allowed))}."
            for name in sorted(extra)
        ]
        if faults := faults + _knot_faults(key, value, steps):
            return faults
    try:
        at = telling_steps(value, steps)
        values = np.asarray(values_at(value, steps, at), float)
    except Exception as error:
        return [f"{key} = {value!r}: expected {'numbers' if shape else 'a number'} or a schedule; {meaning} ({error})."]
    if values.shape[1:] != shape and not (math.prod(shape) == 1 and values.size == len(values)):
        return [f"{key} = {value!r}: has shape {values.shape[1:]}, expected {shape}; {meaning}."]
    if not np.isfinite(values).all():
        return [f"{key} = {value!r}: takes values that are not finite; {meaning}."]
    low = values[at > 0].min()  # index 0 is the initial state, which no move uses
    if positive and (low < 0 or (exclusive and low == 0)):
        return [
            f"{key} = {value!r}: reaches {low:g}, expected {'more than' if exclusive else 'at least'} 0; {meaning}."
        ]
    return []


def _has_bool(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_bool(part) for part in value.values())
    return isinstance(value, bool) or (isinstance(value, list) and any(_has_bool(part) for part in value))


def _knot_faults(key: str, value: Mapping[str, Any], steps: int) -> list[str]:
    """Faults in the steps at which a schedule begins, ends or changes."""
    faults = []
    for name in ("begin", "end", "warm_up"):
        if name in value and (not isinstance(value[name], int) or not 0 <= value[name] <= steps):
            faults.append(f"{key}.{name} = {value[name]!r}: expected a step between 0 and the last, {steps}.")
    for name in ("at", "steps"):
        knots = value.get(name, [0])
        if not isinstance(knots, list) or not knots or not all(isinstance(knot, int) for knot in knots):
            faults.append(f"{key}.{name} = {knots!r}: expected a list of steps.")
        elif any(b <= a for a, b in itertools.pairwise(knots)):
            faults.append(f"{key}.{name} = {knots!r}: expected steps in increasing order.")
    if not faults and value.get("begin", 0) >= value.get("end", steps):
        faults.append(
            f"{key}: begins at step {value.get('begin', 0)} and ends at {value.get('end', steps)}; end it later."
        )
    return faults


def _theta_faults(model: Model, settings: Settings) -> list[str]:
    theta, steps = settings["theta"], settings["run"]["steps"]
    dynamics, constraint = theta["dynamics"], theta["constraint"]
    faults = []
    if dynamics == "protocol":
        faults += _protocol_faults(model, settings)
    elif theta["protocol"]:
        faults.append(f"theta.protocol: is only used with theta.dynamics = 'protocol', not {dynamics!r}.")
    if dynamics != "sgd":
        faults += [
            f"theta.{key} = {theta[key]!r}: is only used with theta.dynamics = 'sgd', not {dynamics!r}."
            for key in ("learning_rate", "constraint", "initial")
            if theta[key] is not None
        ]
        return faults
    if settings["run"]["direction"] == "reversed":
        faults.append(
            "run.direction = 'reversed': needs theta.dynamics = 'protocol' or 'frozen'; SGD has no given path back."
        )
    if model.stochastic_gradient is None:
        return [
            *faults,
            f"theta.dynamics = 'sgd': model {model.name!r} has no stochastic gradient; use 'protocol' or 'frozen'.",
        ]
    if theta["learning_rate"] is None:
        faults.append("theta.learning_rate: missing; SGD needs a number or a schedule.")
    else:
        faults += _schedule_faults(
            "theta.learning_rate", theta["learning_rate"], steps, "learning rate of SGD", exclusive=True
        )
    faults += _schedule_faults("theta.weight_decay", theta["weight_decay"], steps, "weight decay of SGD")
    if model.scale_invariant and constraint is None:
        faults.append("theta.constraint: missing; scale-invariant parameters need fixed-lr, fixed-elr or fixed-sphere.")
    if not model.scale_invariant and constraint is not None:
        faults.append(f"theta.constraint = {constraint!r}: model {model.name!r} is not scale-invariant; remove it.")
    if constraint == "fixed-sphere" and theta["weight_decay"] != 0.0:
        faults.append(
            f"theta.weight_decay = {theta['weight_decay']!r}: has no effect where the radius is held; remove it."
        )
    starts = list(model.initial_theta)
    start = theta["initial"] or (starts[0] if starts else None)
    if start not in starts:
        faults.append(f"theta.initial = {start!r}: model {model.name!r} can start from {', '.join(map(repr, starts))}.")
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


def _protocol_faults(model: Model, settings: Settings) -> list[str]:
    groups = {group.name: group for group in model.parameters}
    if not groups:
        return [f"theta.dynamics = 'protocol': model {model.name!r} has no parameters to prescribe; remove [theta]."]
    faults, given = [], settings["theta"]["protocol"]
    for name, value in given.items():
        if name not in groups:
            faults.append(f"theta.protocol.{name}: unknown; model {model.name!r} has {', '.join(groups)}.")
            continue
        group = groups[name]
        shape, key = group.shape(settings["model"]), f"theta.protocol.{name}"
        faults += _schedule_faults(key, value, settings["run"]["steps"], group.meaning, shape=shape, positive=False)
    return faults


def _x_faults(model: Model, settings: Settings) -> list[str]:
    x, steps = settings.get("x"), settings["run"]["steps"]
    if x is None:
        return (
            []
            if model.energy is None
            else [f"x: missing; model {model.name!r} has samples x, give them a dynamics in [x]."]
        )
    if model.energy is None:
        return [f"x: model {model.name!r} has no samples x, only parameters theta; remove [x]."]
    faults = _schedule_faults("x.time_step", x["time_step"], steps, "time step of x", exclusive=True)
    temperature, n = x["temperature"], model.components(settings["model"])
    shape = (n,) if isinstance(temperature, list) else ()
    faults += _schedule_faults("x.temperature", temperature, steps, "temperature of x", exclusive=True, shape=shape)
    if x["dynamics"] == "exact-ou":
        if model.propagator is None:
            faults.append(f"x.dynamics = 'exact-ou': model {model.name!r} has no exact propagator; use 'ula'.")
        if isinstance(temperature, list):
            faults.append(
                "x.temperature: 'exact-ou' obeys detailed balance at one temperature; give one number, or use 'ula'."
            )
        if is_schedule(x["time_step"]) or is_schedule(temperature):
            faults.append("x.time_step, x.temperature: 'exact-ou' needs constants; use 'ula' with schedules.")
    if x["initial"] == "equilibrium" and model.equilibrium is None:
        faults.append(
            f"x.initial = 'equilibrium': model {model.name!r} has no exact sampler; use 'zero' and discard the start."
        )
    if x["initial"] == "equilibrium" and is_schedule(temperature) and not faults:
        start = steps if settings["run"]["direction"] == "reversed" else 0
        if not np.all(schedule_values(temperature, steps, start, start) > 0):
            faults.append(
                "x.temperature: is 0 at step 0, where the equilibrium start needs one above 0; or start from 'zero'."
            )
    if x["initial"] == "equilibrium" and model.drive is not None and model.equilibrium is None:
        faults.append("x.initial: a driven system has no equilibrium to start from.")
    return faults


def _record_faults(model: Model, settings: Settings) -> list[str]:
    record, steps = settings["record"], settings["run"]["steps"]
    faults = []
    if record["first"] > steps:
        faults.append(f"record.first = {record['first']}: is past the last step, {steps}; nothing would be recorded.")
    frames = (steps - record["first"]) // record["every"] + 1
    if frames > 2_000_000:
        faults.append(
            f"record.every = {record['every']}: makes {frames:,} frames; make it larger (two million at most)."
        )
    valid = recordable(model, settings)
    for name in record["variables"] or ():
        if name not in valid:
            why = "this model and these moves do not have it" if name in VARIABLES else "there is no such variable"
            faults.append(f"record.variables: {name!r}: {why}. This case can record: {', '.join(valid)}.")
    return faults
