"""The section [theta] of a case: how the parameters move."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from thermosim.case.constraint import constraint_faults, radii_faults
from thermosim.case.numbers import number_faults, schedule_faults
from thermosim.case.other_run import frame_faults
from thermosim.case.rates import rate_faults
from thermosim.case.section import Batch, Factors, Matrix, Scale, Schedule, Section, Start
from thermosim.case.start import FROM_FILE, OtherRun, listed
from thermosim.data.sources import recording_faults, theta_faults
from thermosim.model import Model, Values
from thermosim.moves import CONSTRAINED, THETA_MOVES, Move, hyper_parameters, moves_with
from thermosim.schedules import is_by_group

if TYPE_CHECKING:
    from thermosim.case.settings import Settings

    Dynamics = str
    Constraint = str
else:
    Dynamics, Constraint = Literal[tuple(THETA_MOVES)], Literal[tuple(CONSTRAINED)]

__all__ = ["ThetaSection", "faults", "move_of", "with_defaults"]

_LARGEST_BATCH = 1_000_000
_OF_LEARNING = (
    "learning_rate",
    "learning_rate_factors",
    "preconditioner",
    "constraint",
    "initial",
    "spread",
    "batch",
    "gradient",
    "learn",
    "temperature",
)


class ThetaSection(Section):
    """How the parameters move."""

    dynamics: Dynamics = Field("frozen", description="the move of theta")
    constraint: Constraint | None = Field(None, description="what SGD of scale-invariant parameters holds fixed")
    learning_rate: Schedule = Field(None, description="learning rate, a number or a schedule")
    learning_rate_factors: Factors = Field(
        None, description="a table of what multiplies the learning rate of parameter groups; 1 for those not named"
    )
    preconditioner: Matrix = Field(
        None,
        description="symmetric positive matrix Lambda of learning rates in units of learning_rate, a row for each "
        "parameter: theta' = theta - r Lambda (g + lambda theta)",
    )
    weight_decay: Schedule = Field(0.0, description="weight decay, a number or a schedule")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum of sgd and nesterov")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the first moment of adam and adamw")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the second moment of adam and adamw")
    epsilon: float = Field(1e-8, gt=0, allow_inf_nan=False, description="added to the root of adam's second moment")
    temperature: Schedule = Field(
        None,
        description="temperature of moves with thermal noise: a number, a schedule, or a table of one per parameter "
        "group",
    )
    batch: Batch = Field(None, description="rows of a minibatch, or all of the data")
    gradient: Literal["likelihood", "contrast"] | None = Field(
        None, description="likelihood, or contrast of data and samples; default what the model can do"
    )
    learn: list[str] | None = Field(None, min_length=1, description="parameter groups that are learned; default all")
    radius: float = Field(1.0, gt=0, allow_inf_nan=False, description="|w| of the fixed sphere, or of the random start")
    radii: Literal["joint", "by-group"] = Field(
        "joint", description="whose radius a constraint is about: of all parameters of a network, or of each scale"
    )
    initial: Start = Field(
        None,
        description="named start of the model, a table of values of parameter groups, or the state of another run: "
        "{ from, step, survivors }",
    )
    spread: Scale = Field(
        None, description="standard deviation over replicas of the start: a number, or a table of parameter groups"
    )
    protocol: dict[str, Any] = Field({}, description="prescribed value or schedule of each parameter group")
    recording: dict[str, Any] = Field(
        {}, description="a protocol read from an ensemble: { file, replica }, the path of theta of one of its replicas"
    )

    @property
    def has_several_rates(self) -> bool:
        """Whether parameters have learning rates of their own."""
        return self.learning_rate_factors is not None or self.preconditioner is not None


def move_of(model: Model, theta: ThetaSection) -> Move:
    """The move of theta, as the table of moves has it, without its claims at one learning rate where there are more."""
    constrained = model.scale_invariant or (model.scales is not None and theta.constraint is not None)
    if constrained and THETA_MOVES[theta.dynamics].on_sphere:
        return CONSTRAINED[theta.constraint or next(iter(CONSTRAINED))]
    move = THETA_MOVES[theta.dynamics]
    return move.at_several_rates if theta.has_several_rates else move


def with_defaults(model: Model, theta: ThetaSection) -> ThetaSection:
    """The section with what follows from the model and the move filled in."""
    move, filled = THETA_MOVES[theta.dynamics], {}
    if model.learns and model.has_samples and theta.gradient is None and move.learns:
        filled["gradient"] = "likelihood" if model.normalised else "contrast"
    if move.whole_data and theta.batch is None:
        filled["batch"] = "all"
    return theta.model_copy(update=filled)


def faults(model: Model, settings: Settings, folder: Path) -> list[str]:
    """What is wrong with a section whose single values have the right types."""
    theta, found = settings.theta, radii_faults(model, settings)
    move = THETA_MOVES[theta.dynamics]
    if move.prescribed:
        if theta.recording:
            found += recording_faults(model, settings.model.constants, theta.recording, settings.run.steps, folder)
        found += _protocol_faults(model, settings)
    else:
        found += [
            f"theta.{key}: is only used with theta.dynamics = 'protocol', not {theta.dynamics!r}."
            for key in ("protocol", "recording")
            if getattr(theta, key)
        ]
    if settings.run.direction == "there-and-back" and not move.retraces:
        retracing = " and ".join(name for name, other in THETA_MOVES.items() if other.retraces)
        found.append(
            f"run.direction = 'there-and-back': retraces {retracing}, not {theta.dynamics!r}; use 'reversed' for a "
            "protocol."
        )
    if move.learns:
        return found + _learning_faults(model, settings, move, folder)
    found += _unused_faults(theta, move)
    start = ("initial", "spread") if move.rests and model.learns else ()
    found += _initial_faults(model, settings, folder) if start else []
    return found + [
        f"theta.{key} = {getattr(theta, key)!r}: is only used when theta learns, not with theta.dynamics = "
        f"{theta.dynamics!r}."
        for key in _OF_LEARNING
        if getattr(theta, key) is not None and key not in start
    ]


def _protocol_faults(model: Model, settings: Settings) -> list[str]:
    theta = settings.theta
    groups = {group.name: group for group in model.groups(settings.model.constants)}
    if theta.recording and theta.protocol:
        return ["theta.protocol, theta.recording: both prescribe theta; keep one of them."]
    if lack := THETA_MOVES[theta.dynamics].lacks(model):
        return [f"theta.dynamics = {theta.dynamics!r}: model {model.name!r} {lack}; remove [theta]."]
    found = []
    for name, value in theta.protocol.items():
        if name not in groups:
            found.append(
                f"theta.protocol.{name}: unknown; model {model.name!r} has {', '.join(groups)}; name one of these."
            )
            continue
        group = groups[name]
        shape, key = group.shape(settings.model.constants), f"theta.protocol.{name}"
        found += schedule_faults(key, value, settings.run.steps, group.meaning, shape=shape, positive=False)
    return found


def _learning_faults(model: Model, settings: Settings, move: Move, folder: Path) -> list[str]:
    theta, steps, name = settings.theta, settings.run.steps, f"model {model.name!r}"
    found = []
    if settings.run.direction == "reversed":
        found.append(
            f"run.direction = 'reversed': needs theta.dynamics = 'protocol' or 'frozen'; {move.name} has no given path "
            "back. Retrace SGD with 'there-and-back', or a recorded path with theta.recording."
        )
    if lack := move.lacks(model):
        able = [
            other.name
            for other in THETA_MOVES.values()
            if other.learns and other.lacks(model) is None and (other.on_sphere or not model.scale_invariant)
        ]
        others = " or ".join(map(repr, able or ["protocol", "frozen"]))
        return [*found, f"theta.dynamics = {move.name!r}: {name} {lack}; use {others}."]
    if theta.learning_rate is None:
        found.append(f"theta.learning_rate: missing; {move.name} needs a number or a schedule.")
    else:
        found += schedule_faults("theta.learning_rate", theta.learning_rate, steps, "learning rate", exclusive=True)
    found += schedule_faults("theta.weight_decay", theta.weight_decay, steps, "weight decay")
    if model.scale_invariant:
        return found + _scale_invariant_faults(model, theta) + _other_run_faults(model, settings, folder)
    if theta.constraint is not None and model.scales is not None:
        found += constraint_faults(model, settings) if move.on_sphere else [_only_sgd(theta)]
        return found + _gradient_faults(model, settings, move) + _initial_faults(model, settings, folder)
    if theta.constraint is not None:
        found.append(f"theta.constraint = {theta.constraint!r}: {name} is not scale-invariant; remove it.")
    if theta.radius != ThetaSection.model_fields["radius"].default:
        why = f"{name} is not scale-invariant" if model.scales is None else "belongs to a theta.constraint"
        found.append(f"theta.radius = {theta.radius!r}: {why}; remove it.")
    found += _unused_faults(theta, move) + _temperature_faults(model, theta, settings.model.constants, steps)
    found += _gradient_faults(model, settings, move) if model.learns else []
    found += rate_faults(model, settings, move) if theta.has_several_rates else []
    return found + _initial_faults(model, settings, folder)


def _only_sgd(theta: ThetaSection) -> str:
    able = " or ".join(repr(move.name) for move in THETA_MOVES.values() if move.on_sphere)
    return f"theta.constraint = {theta.constraint!r}: is one of {able}, not of {theta.dynamics!r}; remove it."


def _unused_faults(theta: ThetaSection, move: Move) -> list[str]:
    """Hyper-parameters that are given, and that this move does not have."""
    found = []
    others = hyper_parameters("theta") - set(move.hyper) - {"temperature", "learning_rate"}
    for key in sorted(others if not move.learns else others - {"radius"}):
        value, default = getattr(theta, key), ThetaSection.model_fields[key].default
        if value != default:
            users = " or ".join(map(repr, moves_with(key, "theta") or ["sgd"]))
            found.append(
                f"theta.{key} = {value!r}: is only used with theta.dynamics = {users}, not {move.name!r}; remove it."
            )
    return found


def _scale_invariant_faults(model: Model, theta: ThetaSection) -> list[str]:
    constraint, name, faults = theta.constraint, f"model {model.name!r}", []
    if not THETA_MOVES[theta.dynamics].on_sphere:
        able = " or ".join(repr(move.name) for move in THETA_MOVES.values() if move.on_sphere)
        return [f"theta.dynamics = {theta.dynamics!r}: {name} is scale-invariant and learns by {able}."]
    if constraint is None:
        faults.append("theta.constraint: missing; scale-invariant parameters need fixed-lr, fixed-elr or fixed-sphere.")
    if constraint == "fixed-sphere" and theta.weight_decay != 0.0:
        faults.append(
            f"theta.weight_decay = {theta.weight_decay!r}: has no effect where the radius is held; remove it."
        )
    faults += [
        f"theta.{key} = {getattr(theta, key)!r}: {name} draws its own gradient noise and starts; remove it."
        for key in ("batch", "gradient", "learn", "temperature", "spread")
        if getattr(theta, key) is not None
    ]
    faults += [
        f"theta.{key} = {getattr(theta, key)!r}: is not used with a constraint; remove it."
        for key in ("momentum", "beta1", "beta2", "epsilon", "learning_rate_factors", "preconditioner")
        if getattr(theta, key) != ThetaSection.model_fields[key].default
    ]
    constant = all(isinstance(rate, (int, float)) for rate in (theta.learning_rate, theta.weight_decay))
    decays = constraint == "fixed-sphere" or (constant and theta.weight_decay > 0)
    starts = [start for start in model.initial_theta if start != "stationary" or (constant and decays)]
    start = theta.initial or next(iter(model.initial_theta), None)
    use = listed([*starts, FROM_FILE])
    if start == "stationary" and "stationary" not in starts and constraint is not None:
        decay = "" if constraint == "fixed-sphere" else " and a constant weight decay above 0"
        faults.append(f"theta.initial = 'stationary': needs a constant learning rate{decay}; or use {use}.")
    elif OtherRun.of(start) is None and not (isinstance(start, str) and start in model.initial_theta):
        faults.append(f"theta.initial = {start!r}: {name} can start from {use}.")
    return faults


def _other_run_faults(model: Model, settings: Settings, folder: Path) -> list[str]:
    """What is wrong with a start from another run; none where theta starts otherwise."""
    given = settings.theta.initial
    other = OtherRun.of(given)
    if other is None:
        return []
    found = [
        f"theta.initial.{key} = {given[key]!r}: unknown key; a start from another run has from, step, survivors."
        for key in given.keys() - {"from", "step", "survivors"}
    ]
    found += OtherRun.faults("theta.initial", given)
    if settings.theta.spread is not None:
        found.append(f"theta.spread = {settings.theta.spread!r}: theta has the spread of another run; remove it.")
    return found or frame_faults("theta", other, model, settings, folder)


def _temperature_faults(model: Model, theta: ThetaSection, constants: Values, steps: int) -> list[str]:
    dynamics, temperature = theta.dynamics, theta.temperature
    move, faults = THETA_MOVES[dynamics], []
    if "temperature" not in move.hyper:
        if temperature is None:
            return []
        warm = " or ".join(map(repr, moves_with("temperature", "theta")))
        return [f"theta.temperature = {temperature!r}: {dynamics!r} has no thermal noise; use {warm}, or remove it."]
    meaning = f"temperature of {dynamics}"
    if temperature is None:
        table = ", or a table of one per parameter group" if move.descent else ""
        faults.append(f"theta.temperature: missing; {dynamics} needs a number{table}.")
    elif is_by_group(temperature) and not move.descent:
        faults.append(f"theta.temperature: {dynamics!r} accepts or refuses at one temperature; give one number.")
    elif is_by_group(temperature):
        groups = [group.name for group in model.groups(constants)]
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


def _gradient_faults(model: Model, settings: Settings, move: Move) -> list[str]:
    theta, name = settings.theta, f"model {model.name!r}"
    batch, faults = theta.batch, []
    if move.whole_data:
        if batch not in (None, "all"):
            faults.append(
                f"theta.batch = {batch!r}: {move.name!r} feels all of the data, U_B; remove it, or use "
                f"{'sgld' if 'temperature' in move.hyper else 'sgd'!r} with minibatches."
            )
    elif batch is None:
        faults.append(f'theta.batch: missing; {move.name} needs the rows of a minibatch, or "all".')
    elif batch != "all" and (not isinstance(batch, int) or isinstance(batch, bool) or not 1 <= batch <= _LARGEST_BATCH):
        faults.append(
            f'theta.batch = {batch!r}: expected a number of rows, at least 1 and at most {_LARGEST_BATCH:,}, or "all".'
        )
    if theta.gradient is not None and model.is_loss:
        faults.append(f"theta.gradient = {theta.gradient!r}: {name} is a loss, without samples x; remove it.")
    elif theta.gradient == "likelihood" and not model.normalised:
        faults.append(
            f"theta.gradient = 'likelihood': the energy of {name} has no normaliser to differentiate; use 'contrast', "
            "which estimates it from the samples x."
        )
    if theta.gradient == "contrast" and move.judges:
        faults.append(
            f"theta.gradient = 'contrast': {move.name!r} accepts by the loss of the data, and a contrast with moving "
            "samples is none; use 'likelihood', or another move."
        )
    if theta.gradient == "contrast" and not settings.x and model.has_samples:
        faults.append("theta.gradient = 'contrast': needs samples to contrast the data with; add an [x] section.")
    groups = [group.name for group in model.groups(settings.model.constants)]
    for name in theta.learn or ():
        if name not in groups:
            faults.append(f"theta.learn: {name!r} is no parameter group; there are {', '.join(groups)}.")
    if settings.run.direction == "there-and-back":
        if theta.momentum:
            faults.append("theta.momentum: a run there-and-back retraces plain SGD; remove it.")
        if settings.run.steps % 2:
            faults.append(f"run.steps = {settings.run.steps}: there-and-back needs an even number of steps.")
    return faults


def _initial_faults(model: Model, settings: Settings, folder: Path) -> list[str]:
    theta, constants = settings.theta, settings.model.constants
    if OtherRun.of(theta.initial) is not None:
        return _other_run_faults(model, settings, folder)
    faults = []
    if theta.initial is not None and (not isinstance(theta.initial, str) or theta.initial not in model.initial_theta):
        wrong = theta_faults(model, constants, theta.initial, "theta.initial")
        use = listed([*model.initial_theta, FROM_FILE])
        faults += [f"{fault.rstrip('.')}; or use {use}." for fault in wrong]
    if model.initial_theta and theta.spread is not None and not isinstance(theta.initial, Mapping):
        named = theta.initial or next(iter(model.initial_theta))
        faults.append(
            f"theta.spread = {theta.spread!r}: the start {named!r} has its own; remove it, or start from a table."
        )
    spread, meaning = theta.spread, "standard deviation of the start over replicas"
    if isinstance(spread, Mapping):
        wrong = theta_faults(model, constants, spread, "theta.spread")
        negative = [name for name, value in spread.items() if not wrong and np.min(value) < 0.0]
        faults += wrong + [f"theta.spread.{name}: is negative; expected at least 0, {meaning}." for name in negative]
    elif spread is not None and (fault := number_faults(spread, 0.0, None, False, meaning)):
        faults.append(f"theta.spread = {spread!r}: {fault}")
    return faults
