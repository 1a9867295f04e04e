"""Random small cases that the rules of cases admit: every model, move of theta and x, start, schedule and sweep.

Sizes that are bound when a kernel is compiled (components, hidden units) take few values, so that kernels are soon
compiled; everything else is drawn anew for each case.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import thermosim
from thermosim.case.faults import CaseError
from thermosim.case.load import Case
from thermosim.models import MODELS
from thermosim.moves import CONSTRAINED, THETA_MOVES, X_MOVES

__all__ = ["random_case"]

Keys = dict[str, Any]
_MOST_REPLICAS = 4000  # of all points of a sweep
_TRIES = 1000

SIZES: dict[str, Keys] = {
    "isotropic-sphere": {"model.dimension": 3},
    "harmonic-trap": {"model.dimension": 2},
    "gaussian": {"model.dimension": 2},
    "full-gaussian": {"model.dimension": 2},
    "gaussian-mixture": {"model.dimension": 1, "model.mixtures": 2},
    "double-well": {"model.cells": 64},
    "boltzmann-machine": {"model.dimension": 3},
    "rbm": {"model.dimension": 4, "model.hidden": 2},  # the digits, shrunk to 2 x 2
    "network-energy": {"model.dimension": 1, "model.hidden": 3},
}


def random_case(random: np.random.Generator, model: str | None = None, **fixed: Any) -> Case:
    """A case that is whole; `fixed` are dotted keys with their dots as two underscores."""
    given = {key.replace("__", "."): value for key, value in fixed.items()}
    name = str(random.choice(list(MODELS))) if model is None else model
    for _ in range(_TRIES):
        keys = _keys(random, name) | given
        try:
            case = thermosim.load_case(f'[model]\nname = "{name}"\n', keys)
        except CaseError:
            continue
        if case.replicas_in_all <= _MOST_REPLICAS:
            return case
    raise RuntimeError(f"no case in {_TRIES} draws with {given}")


def _keys(random: np.random.Generator, name: str) -> Keys:
    """Dotted keys of a case that may not be whole yet."""
    model, steps = MODELS[name], int(random.integers(20, 101))
    keys: Keys = {
        "run.steps": steps + steps % 2,
        "ensemble.replicas": int(random.integers(100, 601)),
        "ensemble.seed": int(random.integers(1 << 40)),
        **SIZES.get(name, {}),
    }
    keys |= _record(random)
    if name == "isotropic-sphere":
        return keys | _sphere(random)
    if name == "linear-regression":
        return keys | _regression(random)
    if model.learns:
        keys |= _learning(random, name)
    else:
        keys |= _driven(random, name, int(keys["run.steps"]))
    return keys | _sweep(random, keys)


def _record(random: np.random.Generator) -> Keys:
    keys: Keys = {"record.every": int(random.choice([1, 1, 2, 5, 7]))}
    if random.random() < 0.1:
        keys["record.first"] = int(random.integers(1, 8))
    if random.random() < 0.03:
        names = ["theta", "x", "phi", "work", "heat", "log_ratio_x", "entropy_production"]
        keys["record.variables"] = [n for n in names if random.random() < 0.6] or ["phi"]
    if random.random() < 0.1:
        keys["record.x.keep"] = ["mean", "variance"]
    return keys


def _number(random: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _scheduled(random: np.random.Generator, low: float, high: float, share: float = 0.2) -> Any:
    """A number, or one of the schedules."""
    value = _number(random, low, high)
    if random.random() > share:
        return value
    kind = random.choice(["constant", "linear", "cosine", "exponential", "step"])
    if kind == "constant":
        return {"kind": "constant", "value": value}
    if kind == "step":
        return {"kind": "step", "value": value, "factor": 0.5, "at": [7, 15]}
    return {"kind": str(kind), "initial": value, "final": _number(random, low, high)}


def _x_move(random: np.random.Generator, high: float) -> Keys:
    """Dynamics of x, its time step, tau, samples; `high` is the largest time step."""
    dynamics = str(random.choice(list(X_MOVES)))
    keys: Keys = {"x.dynamics": dynamics, "x.tau": int(random.choice([1, 1, 2, 3, 10]))}
    if "time_step" in X_MOVES[dynamics].hyper:
        keys["x.time_step"] = _scheduled(random, 0.02, high, 0.1)
    if random.random() < 0.25:
        keys["x.samples"] = int(random.integers(2, 5))
    return keys


def _learning(random: np.random.Generator, name: str) -> Keys:
    model = MODELS[name]
    keys = {} if random.random() < 0.05 else _x_move(random, 0.4)
    if keys:
        starts = ["equilibrium"] * 6 + ["zero", "normal", "random", "data"]
        keys["x.initial"] = str(random.choice(starts))
        if random.random() < (0.08 if model.normalised else 0.35):
            keys["x.restart"] = True
        if random.random() < 0.06:
            keys["x.temperature"] = _number(random, 0.5, 2.0)
    dynamics = str(random.choice(list(THETA_MOVES)))
    keys["theta.dynamics"] = dynamics
    move = THETA_MOVES[dynamics]
    if move.prescribed:
        group = str(random.choice([group.name for group in model.parameters]))
        ends = random.uniform(-0.7, 0.7, 2)
        shape = next(g.shape for g in model.parameters if g.name == group)(
            {
                **{c.name: c.default for c in model.constants},
                **{k.split(".")[1]: v for k, v in SIZES.get(name, {}).items()},
            }
        )
        first, last = (np.full(shape, e).tolist() for e in ends)
        keys[f"theta.protocol.{group}"] = {"kind": "linear", "initial": first, "final": last}
    if move.learns:
        keys |= _descent(random, name, dynamics)
    if move.learns or keys.get("x.initial") == "data" or keys.get("x.restart"):
        keys |= _data(random, name)
    if (move.learns or move.rests) and random.random() < 0.6:
        keys |= _start(random, name)
    direction = random.random()
    if move.retraces and direction < 0.1:
        keys["run.direction"] = "there-and-back"
    elif (move.prescribed or move.rests) and direction < 0.3:
        keys["run.direction"] = "reversed"
    return keys


def _descent(random: np.random.Generator, name: str, dynamics: str) -> Keys:
    model, move = MODELS[name], THETA_MOVES[dynamics]
    keys: Keys = {"theta.learning_rate": _scheduled(random, 0.005, 0.2, 0.25)}
    if not move.whole_data:
        keys["theta.batch"] = "all" if random.random() < 0.2 else int(random.choice([1, 2, 4, 8]))
    if random.random() < 0.25:
        keys["theta.weight_decay"] = _scheduled(random, 0.01, 0.5, 0.1)
    if "momentum" in move.hyper and random.random() < 0.4:
        keys["theta.momentum"] = float(random.uniform(0.1, 0.9))
    if "temperature" in move.hyper:
        keys["theta.temperature"] = _scheduled(random, 0.01, 1.0, 0.2)
        if random.random() < 0.2:
            keys["theta.temperature"] = {group.name: _number(random, 0.01, 1.0) for group in model.parameters}
    groups = [group.name for group in model.parameters]
    if random.random() < 0.45:
        keys["theta.learn"] = [g for g in groups if random.random() < 0.5] or groups[:1]
    if not model.normalised or random.random() < 0.15:
        keys["theta.gradient"] = "contrast"
    elif name == "gaussian" and random.random() < 0.5:  # all of its moments are known
        keys |= {"theta.learn": ["mean"], "x.initial": "equilibrium"}
    return keys


def _start(random: np.random.Generator, name: str) -> Keys:
    keys: Keys = {}
    groups = [group.name for group in MODELS[name].parameters]
    scale = 0.3 if name in ("double-well", "gaussian-mixture") else 0.7
    if random.random() < 0.7:
        keys["theta.initial"] = {g: float(random.uniform(-scale, scale)) for g in groups if random.random() < 0.7}
    kind = random.random()
    if kind < 0.3:
        keys["theta.spread"] = _number(random, 0.05, 0.5)
    elif kind < 0.8:
        keys["theta.spread"] = {g: _number(random, 0.05, 0.5) for g in groups if random.random() < 0.6}
    return keys


def _data(random: np.random.Generator, name: str) -> Keys:
    keys: Keys = {"data.rows": int(random.choice([5, 20, 60, 200])), "data.seed": int(random.integers(1000))}
    if random.random() < 0.2:
        keys["data.sets"] = int(random.integers(2, 5))
    if MODELS[name].discrete:
        if MODELS[name].fresh is None:
            keys |= {"data.source": "digits", "data.encoding": "binary", "data.shrink": 4}
            return keys | {"model.dimension": 4}
        group = MODELS[name].parameters[0].name
        return keys | {"data.source": "teacher", "data.teacher": {group: float(random.uniform(-0.8, 0.8))}}
    source = random.random()
    if source < 0.7:
        mean, deviation = float(random.uniform(-1, 1)), _number(random, 0.3, 1.5)
        return keys | {"data.source": "gaussian", "data.mean": mean, "data.deviation": deviation}
    if source < 0.85 and MODELS[name].fresh is not None:
        group = MODELS[name].parameters[0].name
        return keys | {"data.source": "teacher", "data.teacher": {group: float(random.uniform(-0.5, 0.5))}}
    n = 1 if name in ("gaussian-mixture", "double-well", "network-energy") else 2
    centers = random.uniform(-1, 1, (2, n)).tolist()
    return keys | {"data.source": "mixture", "data.centers": centers, "data.deviation": 0.4}


def _driven(random: np.random.Generator, name: str, steps: int) -> Keys:
    keys = _x_move(random, 0.4)
    keys["x.initial"] = str(random.choice(["equilibrium"] * 5 + ["zero", "normal"]))
    keys["x.temperature"] = 1.0 if random.random() < 0.5 else _scheduled(random, 0.4, 2.5, 0.2)
    if random.random() < 0.15:
        keys["x.temperature"] = [_number(random, 0.4, 2.5) for _ in range(2)]
    if name == "harmonic-trap":
        if random.random() < 0.85:
            keys["theta.dynamics"] = "protocol"
            ends = [random.uniform(-1, 1, 2).tolist() for _ in range(2)]
            if random.random() < 0.8:
                kind = str(random.choice(["linear", "cosine"]))
                keys["theta.protocol.center"] = {"kind": kind, "initial": ends[0], "final": ends[1]}
            if random.random() < 0.7:
                keys["theta.protocol.stiffness"] = {
                    "kind": "linear",
                    "initial": _stiffness(random),
                    "final": _stiffness(random),
                }
        if random.random() < 0.25:
            keys["run.direction"] = "reversed"
    elif name == "rotational-trap":
        keys["model.stiffness"], keys["model.rotation"] = _number(random, 0.5, 2.0), float(random.uniform(-1.5, 1.5))
    else:
        keys["model.stiffness"], keys["model.coupling"] = _number(random, 0.5, 2.0), float(random.uniform(0.0, 1.5))
    return keys


def _stiffness(random: np.random.Generator) -> list[list[float]]:
    a, b = _number(random, 0.5, 3.0), _number(random, 0.5, 3.0)
    c = float(random.uniform(-0.6, 0.6) * np.sqrt(a * b))
    return [[a, c], [c, b]]


def _regression(random: np.random.Generator) -> Keys:
    """Rows kept or fresh, any move; rates up to a third of where the mean would be unstable."""
    outputs, inputs, bias = (int(random.integers(1, high)) for high in (3, 4, 3))
    dynamics = str(random.choice([name for name, move in THETA_MOVES.items() if move.learns]))
    keys = _descent(random, "linear-regression", dynamics) | {
        "theta.dynamics": dynamics,
        "theta.learning_rate": _scheduled(random, 0.003, 0.1, 0.25),
        "model.inputs": inputs,
        "model.outputs": outputs,
        "model.bias": "yes" if bias == 1 else "no",
        "data.source": "linear",
        "data.matrix": random.normal(size=(outputs, inputs)).tolist(),
        "data.covariance": _covariance(random, inputs),
        "data.mean": random.uniform(-0.5, 0.5, inputs).tolist(),
        "data.noise": 0.0 if random.random() < 0.1 else _covariance(random, outputs),
    }
    keys.pop("theta.gradient", None)
    keys.pop("theta.learn", None)
    if THETA_MOVES[dynamics].whole_data or keys["theta.batch"] == "all" or random.random() < 0.5:
        keys |= {"data.rows": int(random.choice([3, 5, 20, 60])), "data.seed": int(random.integers(1000))}
        if random.random() < 0.2:
            keys["data.sets"] = int(random.integers(2, 5))
    else:
        keys["data.fresh"] = True
    if "temperature" in THETA_MOVES[dynamics].hyper:
        keys["theta.temperature"] = _scheduled(random, 0.01, 1.0, 0.2)
    if random.random() < 0.5:
        keys["theta.spread"] = _number(random, 0.05, 0.5)
    if random.random() < 0.5:
        keys["theta.initial"] = {"weights": float(random.uniform(-1.0, 1.0))}
    return keys | _chosen_axes(random, {"theta.learning_rate": {"logspace": [0.01, 0.05], "num": 2}})


def _covariance(random: np.random.Generator, n: int) -> list[list[float]]:
    """Of eigenvalues from a tenth to one, in no common basis."""
    basis = np.linalg.qr(random.normal(size=(n, n)))[0]
    covariance = (basis * np.exp(random.uniform(np.log(0.1), 0.0, n))) @ basis.T
    return (0.5 * (covariance + covariance.T)).tolist()


def _sphere(random: np.random.Generator) -> Keys:
    constraint = str(random.choice(list(CONSTRAINED)))
    keys: Keys = {
        "theta.dynamics": "sgd",
        "theta.constraint": constraint,
        "theta.learning_rate": _scheduled(random, 0.01, 0.3, 0.1),
        "theta.initial": str(random.choice(["random", "stationary"])),
        "theta.radius": _number(random, 0.3, 3.0),
        "model.noise": _number(random, 0.4, 1.5),
        "run.steps": int(random.choice([20, 60, 100, 300])),
    }
    if constraint != "fixed-sphere":
        keys["theta.weight_decay"] = _number(random, 0.003, 0.3) if random.random() < 0.95 else 0.0
    axes = {
        "theta.learning_rate": {"logspace": [0.02, 0.1], "num": 3},
        "theta.weight_decay": {"values": [0.02, 0.2]},
        "model.noise": {"values": [0.6, 1.2]},
        "theta.radius": {"values": [0.5, 1.0, 2.0]},
        "theta.initial": {"values": ["random", "stationary"]},
        "theta.constraint": {"values": ["fixed-elr", "fixed-lr"]},
    }
    return keys | _chosen_axes(random, axes)


def _sweep(random: np.random.Generator, keys: Keys) -> Keys:
    axes: dict[str, Keys] = {
        "x.time_step": {"values": [0.05, 0.2]},
        "x.tau": {"values": [1, 3]},
        "x.dynamics": {"values": [str(d) for d in random.choice(list(X_MOVES), 2, replace=False)]},
        "x.temperature": {"values": [1.0, 0.7]},
        "x.initial": {"values": ["equilibrium", "normal"]},
        "theta.learning_rate": {"logspace": [0.02, 0.1], "num": 2},
        "theta.batch": {"values": [2, "all"]},
        "theta.spread": {"values": [0.1, 0.3]},
        "theta.momentum": {"values": [0.0, 0.5]},
        "theta.gradient": {"values": ["likelihood", "contrast"]},
        "theta.dynamics": {"values": [str(d) for d in random.choice(list(THETA_MOVES), 2, replace=False)]},
        "theta.learn": {"values": [["mean"], ["log_precision"]]},
        "theta.weight_decay": {"values": [0.0, 0.2]},
        "theta.temperature": {"values": [0.1, 0.5]},
        "model.stiffness": {"values": [0.7, 1.5]},
        "data.seed": {"values": [1, 2]},
        "run.direction": {"values": ["forward", "reversed"]},
    }
    return _chosen_axes(random, {key: axis for key, axis in axes.items() if key in keys or random.random() < 0.2})


def _chosen_axes(random: np.random.Generator, axes: dict[str, Keys]) -> Keys:
    if random.random() > 0.3 or not axes:
        return {}
    number = min(int(random.choice([1, 1, 2])), len(axes))
    chosen = random.choice(list(axes), number, replace=False)
    return {"sweep": {str(key): axes[str(key)] for key in chosen}}
