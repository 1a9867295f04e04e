"""Cases of a few lanes and steps that together meet every model, every move and every row of the ledger.

What they learn from are numbers that doubles hold exactly, and schedules are those that need no elementary functions:
what an engine makes of them then depends on nothing but the engine. `write_files(folder)` puts down the rows and the
models that cases name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROWS: dict[str, list[list[float]]] = {
    "line.csv": [[-1.5], [-0.75], [0.125], [0.5], [1.25]],
    "plane.csv": [[-1.0, 0.5], [0.25, -0.75], [1.5, 1.0], [-0.5, -1.25], [0.75, 0.125]],
    "spins.csv": [[0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 0]],
    "targets.csv": [[0.5, -1.0, 0.25], [1.5, 0.75, -0.5], [-0.25, 1.0, 1.25], [-1.0, -0.5, 0.75], [0.125, 0.5, -1.5]],
    "pairs.csv": [[0.5, -1.0, 0.25, 1.0], [1.5, 0.75, -0.5, 0.5], [-0.25, 1.0, 1.25, -0.75], [-1.0, 0.5, 0.75, 0.0]],
    "chain.csv": [[0.5, -1.0], [1.5, 0.75], [-0.25, 1.0], [-1.0, -0.5]],
    "classes.csv": [[0.5, -1.0, 0], [1.5, 0.75, 1], [-0.25, 1.0, 2], [-1.0, -0.5, 1], [0.125, 0.5, 0]],
    "sides.csv": [[0.5, -1.0, 0], [1.5, 0.75, 1], [-0.25, 1.0, 1], [-1.0, -0.5, 0]],
    "entries.csv": [[0, 0, 1.5], [0, 2, -0.5], [1, 1, 0.75], [1, 2, 0.25]],
}

RING = '''
"""A particle on a soft ring: a user's energy of one lane, with a drive and a sum of its own."""
import numpy as np
from thermosim import Constant, Model, Parameter
from thermosim.kernels.declare import inlined
from thermosim.ledger import Functional

@inlined
def excess(x, y, radius):
    return (x * x + y * y) / (radius * radius) - 1.0

def energy(x, theta, constants, shared, lane):
    q = excess(x[0, lane], x[1, lane], shared[RADIUS])
    work = theta[PULL, lane] * x[0, lane] + theta[PULL + 1, lane] * x[1, lane]
    return 0.25 * constants[STIFFNESS, lane] * q * q - work

def force(i, x, theta, constants, shared, lane):
    q = excess(x[0, lane], x[1, lane], shared[RADIUS])
    return theta[PULL + i, lane] - constants[STIFFNESS, lane] * q * x[i, lane] / (shared[RADIUS] * shared[RADIUS])

def drive(i, x, theta, constants, shared, lane):
    return constants[TORQUE, lane] * (x[0, lane] if i == 1 else -x[1, lane])

def path_length(theta, before, loss, gradient, constants, shared, total):
    for lane in range(theta.shape[1]):
        square = 0.0
        for i in range(PARAMETERS):
            square += (theta[i, lane] - before[i, lane]) * (theta[i, lane] - before[i, lane])
        total[lane] += np.sqrt(square)

MODEL = Model(
    name="ring", summary="a soft ring", source="docs/models.md",
    constants=(Constant("stiffness", 8.0, "height"), Constant("torque", 0.5, "rate"),
               Constant("radius", [1.5], "radius", shape=lambda c: (1,))),
    components=lambda c: 2,
    parameters=(Parameter("pull", "force", lambda c: (2,), lambda c: np.zeros(2)),),
    energy=energy, force=force, drive=drive,
    functionals=(Functional("path_length", "theta", "1", "path of the pull", "sum |theta' - theta|", path_length),),
)
'''

LOGISTIC = '''
"""The logistic distribution: a user's surprisal of a tile, with derived rows and a sampler."""
import numpy as np
from thermosim import Constant, Derived, Model, Parameter
from thermosim.kernels.elementary import exp, log

def prepare(theta, constants, shared, derived, scratch):
    for i in range(COMPONENTS):
        for lane in range(theta.shape[1]):
            derived[CENTER + i, lane] = theta[PLACE + i, lane]
            derived[SCALE + i, lane] = exp(theta[LOG_SCALE + i, lane])

def surprisal_and_force(x, derived, constants, shared, phi, force, scratch):
    for lane in range(x.shape[1]):
        phi[lane] = 0.0
    for i in range(COMPONENTS):
        for lane in range(x.shape[1]):
            scale = derived[SCALE + i, lane]
            z = abs(x[i, lane] - derived[CENTER + i, lane]) / scale
            away = 1.0 if x[i, lane] > derived[CENTER + i, lane] else -1.0
            tail = exp(-z)
            phi[lane] += z + 2.0 * log(1.0 + tail) + log(scale)
            force[i, lane] = -away * (1.0 - tail) / (1.0 + tail) / scale

def parameter_gradient(x, derived, constants, shared, factor, loss, gradient, scratch):
    for i in range(COMPONENTS):
        for lane in range(x.shape[1]):
            scale = derived[SCALE + i, lane]
            z = (x[i, lane] - derived[CENTER + i, lane]) / scale
            tail = exp(-abs(z))
            slope = (1.0 - tail) / (1.0 + tail) * (1.0 if z > 0.0 else -1.0)
            loss[lane] += factor * (abs(z) + 2.0 * log(1.0 + tail) + log(scale))
            gradient[PLACE + i, lane] -= factor * slope / scale
            gradient[LOG_SCALE + i, lane] += factor * (1.0 - z * slope)

def fresh(x, derived, constants, shared, normal, uniform, scratch):
    for i in range(COMPONENTS):
        for lane in range(x.shape[1]):
            u = min(uniform[i, lane], 1.0 - 1e-16)
            x[i, lane] = derived[CENTER + i, lane] + derived[SCALE + i, lane] * log(u / (1.0 - u))

def size(constants):
    return (int(constants["dimension"]),)

MODEL = Model(
    name="logistic", summary="logistic components", source="N. Balakrishnan (1992)",
    constants=(Constant("dimension", 1, "components", minimum=1, integer=True),),
    components=lambda c: int(c["dimension"]),
    parameters=(Parameter("place", "place", size, lambda c: np.zeros(size(c))),
                Parameter("log_scale", "log scale", size, lambda c: np.zeros(size(c)), logarithm=True)),
    derived=(Derived("center", size), Derived("scale", size)), prepare=prepare, normalised=True,
    surprisal_and_force=surprisal_and_force, parameter_gradient=parameter_gradient,
    fresh=fresh, fresh_uniforms=lambda c: int(c["dimension"]),
)
'''

QUARTIC = '''
"""A fourth power of the error: a user's loss of a row, with a sum of several numbers."""
import numpy as np
from thermosim import Model, Parameter
from thermosim.ledger import Functional

def parameter_gradient(row, theta, constants, shared, factor, loss, gradient, scratch):
    for lane in range(row.shape[1]):
        error = theta[WEIGHT, lane] * row[0, lane] + theta[WEIGHT + 1, lane] * row[1, lane] - row[2, lane]
        loss[lane] += factor * POWER_4
        for i in range(2):
            gradient[WEIGHT + i, lane] += factor * 4.0 * POWER_3 * row[i, lane]

def descent(theta, before, loss, gradient, constants, shared, total):
    for i in range(total.shape[0]):
        for lane in range(total.shape[1]):
            total[i, lane] += gradient[i, lane] * (theta[i, lane] - before[i, lane])

MODEL = Model(
    name="fourth-power", summary="a loss", source="none", inputs=lambda c: 2, targets=lambda c: 1,
    parameters=(Parameter("weight", "weights", lambda c: (2,), lambda c: np.zeros(2)),),
    parameter_gradient=parameter_gradient,
    functionals=(Functional("descent", "theta", "energy", "fall of the loss", "sum g.dtheta", descent,
                            dim="weight", size=lambda c: 2),),
)
'''


def _network(layers: str, loss: str, inputs: int = 2) -> str:
    return f"""
from thermosim.models.networks import (absolute_error, cross_entropy, dense, fixed, gelu, huber, linear, logistic,
                                       network, normalised, relu, residual, sigmoid, softplus, squared_error, tanh)
MODEL = network("composed", inputs={inputs}, layers=[{layers}], loss={loss})
"""


MODELS: dict[str, str] = {
    "ring.py": RING,
    "logistic.py": LOGISTIC,
    "quartic.py": QUARTIC.replace("POWER_4", "error * error * error * error").replace(
        "POWER_3", "error * error * error"
    ),
    "powers.py": QUARTIC.replace("POWER_4", "error**4").replace("POWER_3", "error**3"),
    "plain.py": _network("dense(3, bias=True), relu, dense(2), tanh, dense(1)", "squared_error"),
    "normal.py": _network("normalised(2, gain=True), gelu, residual(dense(2), sigmoid), dense(1)", "absolute_error"),
    "classes.py": _network("fixed([[1.0, 0.5], [0.25, -1.0]]), dense(3), softplus, dense(3)", "cross_entropy"),
    "sides.py": _network("normalised(2), linear, dense(1, bias=True)", "logistic"),
    "huber.py": _network("dense(2), relu, dense(1)", "huber(0.5)"),
}

Section = dict[str, Any]


def _case(
    model: Section, theta: Section, x: Section | None = None, data: Section | None = None, **more: Any
) -> Section:
    """A case of four lanes and six steps, two frames after the first."""
    case = {"model": model, "theta": theta, "x": x, "data": data}
    case |= {"ensemble": {"replicas": 4, "seed": 5}, "run": {"steps": 6}, "record": {"every": 3}}
    return {name: section for name, section in (case | more).items() if section is not None}


def _diverging(*sections: Section | None) -> Section:
    """A case half of whose lanes diverge, next to the others."""
    sweep = {"theta.learning_rate": {"values": [0.0625, 1e200]}}
    return _case(*sections, ensemble={"replicas": 2, "seed": 5}, sweep=sweep)  # type: ignore[arg-type]


def _sgd(**more: Any) -> Section:
    return {"dynamics": "sgd", "learning_rate": 0.0625, "batch": 2} | more


def _ula(**more: Any) -> Section:
    return {"dynamics": "ula", "time_step": 0.03125, "initial": 0.5} | more


_PLANE, _TARGETS = {"file": "plane.csv"}, {"file": "targets.csv"}
_GAUSSIAN = {"name": "gaussian", "dimension": 2}
_AT = {"initial": {"mean": [0.25, -0.5], "log_precision": [0.0, 0.5]}}
_TRAP = {"name": "harmonic-trap", "dimension": 2}
_CENTER = {"kind": "linear", "initial": [0.0, 0.0], "final": [1.5, -0.75]}
_STIFF = {"kind": "linear", "initial": [[1.0, 0.25], [0.25, 2.0]], "final": [[1.75, -0.5], [-0.5, 1.0]]}
_DRAGGED = {"dynamics": "protocol", "protocol": {"center": _CENTER, "stiffness": _STIFF}}
_WEIGHTS = {"initial": {"weights": [0.5, -0.25]}}
_LINEAR = {"name": "linear-regression", "inputs": 2}
_SPHERE = {"name": "isotropic-sphere", "dimension": 5, "noise": 0.75, "direction": [0.0, 0.0, 1.0, 0.0, 0.0]}
_ON_SPHERE = {"dynamics": "sgd", "learning_rate": 0.125, "weight_decay": 0.0625, "initial": "random"}
_SYMMETRIC = [[1.0, 0.25], [0.25, 0.5]]

_DRIVEN = {
    "trap ula": _case(_TRAP, _DRAGGED, _ula(tau=2, samples=2)),
    "trap ula reversed": _case(_TRAP, _DRAGGED, _ula(tau=3), run={"steps": 6, "direction": "reversed"}),
    "trap mala": _case(_TRAP, _DRAGGED, _ula(dynamics="mala", tau=2, mobility=[1.0, 0.5])),
    "trap metropolis": _case(_TRAP, _DRAGGED, _ula(dynamics="metropolis", tau=3, time_step=0.25, mobility=2.0)),
    "trap metropolis reversed": _case(
        _TRAP, _DRAGGED, _ula(dynamics="metropolis", time_step=0.25), run={"steps": 5, "direction": "reversed"}
    ),
    "trap exact-ou": _case(_TRAP, _DRAGGED, _ula(dynamics="exact-ou", temperature=0.5)),
    "trap baths": _case(
        _TRAP,
        _DRAGGED,
        _ula(
            mobility=[1.0, 0.25],
            temperature=[0.5, 2.0],
            time_step={"kind": "linear", "initial": 0.0625, "final": 0.03125},
        ),
    ),
    "trap equilibrium": _case(_TRAP, {}, _ula(dynamics="mala", initial="equilibrium", temperature=0.5)),
    "trap swept": _case(
        _TRAP,
        _DRAGGED,
        _ula(),
        ensemble={"replicas": 2, "seed": 1},
        record={"every": 2, "variables": ["x", "heat"]},
        sweep={"x.temperature": {"values": [0.5, 1.0]}, "x.time_step": {"values": [0.0625, 0.03125]}},
    ),
    "trap warm-up": _case(_TRAP, {}, _ula(dynamics="mala", initial={"warm_up": 5, "from": 0.5}, tau=2)),
    "rotational trap": _case({"name": "rotational-trap", "stiffness": 1.5, "rotation": 0.5}, {}, _ula(tau=2)),
    "two beads": _case({"name": "two-beads", "coupling": 1.5}, {}, _ula(temperature=[2.5, 1.0], samples=2, tau=3)),
    "ring": _case({"file": "ring.py"}, {"dynamics": "protocol", "protocol": {"pull": _CENTER}}, _ula(tau=2)),
}

_SAMPLED = {
    "gaussian ula": _case(
        _GAUSSIAN, _sgd(**_AT, momentum=0.5, weight_decay=0.125), _ula(tau=2, samples=2, temperature=0.5), _PLANE
    ),
    "gaussian mala": _case(_GAUSSIAN, _sgd(**_AT, batch="all"), _ula(dynamics="mala", tau=2), _PLANE),
    "gaussian exact, noise in theta": _case(
        _GAUSSIAN,
        {"dynamics": "sgld", "learning_rate": 0.0625, "temperature": 0.5, "batch": 3, "gradient": "contrast", **_AT},
        {"dynamics": "exact", "initial": 0.5, "samples": 2, "tau": 2},
        _PLANE,
    ),
    "gaussian by groups": _case(
        _GAUSSIAN,
        {
            "dynamics": "sgld",
            "learning_rate": 0.0625,
            "temperature": {"mean": 0.5, "log_precision": 0.25},
            "batch": 2,
            **_AT,
        },
        _ula(),
        _PLANE,
    ),
    "gaussian restarts": _case(
        _GAUSSIAN,
        _sgd(**_AT, gradient="contrast", learn=["mean"]),
        _ula(dynamics="mala", restart=True, samples=3, initial="data"),
        _PLANE,
    ),
    "gaussian reversed": _case(
        _GAUSSIAN,
        {"dynamics": "protocol", "protocol": {"mean": _CENTER}},
        _ula(dynamics="metropolis", tau=2),
        run={"steps": 6, "direction": "reversed"},
    ),
    "gaussian two sets": _case(_GAUSSIAN, _sgd(**_AT), None, _PLANE | {"sets": 2, "rows": 3}),
    "full gaussian": _case(
        {"name": "full-gaussian", "dimension": 3},
        _sgd(initial={"mean": [0.5, 0.0, -0.25], "log_diagonal": [0.0, 0.25, -0.5], "lower": [0.5, -0.25, 0.125]}),
        _ula(dynamics="mala", tau=2),
        {"file": "targets.csv"},
    ),
    "full gaussian fresh": _case(
        {"name": "full-gaussian", "dimension": 2}, _sgd(batch="all", spread=0.125), {"dynamics": "exact"}, _PLANE
    ),
    "mixture": _case(
        {"name": "gaussian-mixture", "dimension": 2, "mixtures": 2},
        _sgd(
            initial={"logit": [0.5, 0.0], "mean": [[1.0, 0.5], [-1.0, 0.0]], "log_precision": [[0.0, 0.5], [0.25, 0.0]]}
        ),
        _ula(dynamics="mala"),
        _PLANE,
    ),
    "mixture fresh": _case(
        {"name": "gaussian-mixture", "dimension": 2, "mixtures": 3},
        _sgd(initial={"mean": [[1.0, 0.5], [-1.0, 0.0], [0.0, 2.0]]}, batch="all"),
        {"dynamics": "exact", "initial": 0.0},
        _PLANE,
    ),
    "double well": _case(
        {"name": "double-well", "cells": 16}, _sgd(learning_rate=0.015625), _ula(tau=2), {"file": "line.csv"}
    ),
    "double well fresh": _case(
        {"name": "double-well", "cells": 16},
        _sgd(learning_rate=0.015625),
        {"dynamics": "exact", "initial": 0.0},
        {"file": "line.csv"},
    ),
    "boltzmann machine": _case(
        {"name": "boltzmann-machine", "dimension": 3},
        _sgd(initial={"bias": [0.5, -0.25, 0.0], "coupling": [0.25, -0.5, 1.0]}),
        {"dynamics": "gibbs", "initial": "random", "tau": 2, "samples": 2},
        {"file": "spins.csv", "encoding": "spin"},
    ),
    "boltzmann machine fresh": _case(
        {"name": "boltzmann-machine", "dimension": 3},
        _sgd(initial={"bias": [0.5, -0.25, 0.0], "coupling": [0.25, -0.5, 1.0]}, batch="all"),
        {"dynamics": "exact", "initial": 1.0},
        {"file": "spins.csv", "encoding": "spin"},
    ),
    "boltzmann machine reversed": _case(
        {"name": "boltzmann-machine", "dimension": 3},
        {
            "dynamics": "protocol",
            "protocol": {"bias": {"kind": "linear", "initial": [0.0, 0.0, 0.0], "final": [1.5, -0.75, 0.0]}},
        },
        {"dynamics": "gibbs", "initial": 1.0, "tau": 3},
        run={"steps": 6, "direction": "reversed"},
    ),
    "rbm": _case(
        {"name": "rbm", "dimension": 3, "hidden": 2},
        _sgd(
            initial={
                "visible_bias": [0.5, -0.25, 0.0],
                "hidden_bias": [0.25, -0.5],
                "weights": [[0.5, -0.5], [1.0, 0.25], [0.0, -1.0]],
            }
        ),
        {"dynamics": "gibbs", "initial": "data", "samples": 2},
        {"file": "spins.csv", "encoding": "binary"},
    ),
    "rbm restarts": _case(
        {"name": "rbm", "dimension": 3, "hidden": 2},
        _sgd(spread=0.25, momentum=0.5),
        {"dynamics": "gibbs", "initial": "zero", "tau": 2, "restart": True},
        {"file": "spins.csv", "encoding": "binary"},
    ),
    "network energy": _case(
        {"name": "network-energy", "dimension": 2, "hidden": 3},
        _sgd(
            initial={
                "weight": [[0.5, -1.0], [1.0, 0.25], [-0.75, 0.5]],
                "bias": [0.25, 0.0, -0.5],
                "amplitude": [1.0, -0.5, 0.75],
            }
        ),
        _ula(dynamics="mala", samples=2),
        _PLANE,
    ),
    "network energy metropolis": _case(
        {"name": "network-energy", "dimension": 2, "hidden": 2, "width": 1.5},
        _sgd(
            batch="all", initial={"weight": [[0.5, -1.0], [1.0, 0.25]], "bias": [0.25, 0.0], "amplitude": [1.0, -0.5]}
        ),
        _ula(dynamics="metropolis", tau=2),
        _PLANE,
    ),
    "logistic": _case(
        {"file": "logistic.py", "dimension": 2},
        _sgd(initial={"place": [0.25, -0.5], "log_scale": [0.0, 0.5]}),
        _ula(dynamics="mala", tau=2),
        _PLANE,
    ),
    "logistic fresh": _case({"file": "logistic.py", "dimension": 2}, _sgd(batch="all"), {"dynamics": "exact"}, _PLANE),
}

_LOSSES = {
    "linear sgd": _case(_LINEAR, _sgd(**_WEIGHTS, weight_decay=0.125), None, _TARGETS),
    "linear momentum and schedule": _case(
        _LINEAR,
        _sgd(**_WEIGHTS, momentum=0.75, learning_rate={"kind": "linear", "initial": 0.125, "final": 0.03125}),
        None,
        _TARGETS,
    ),
    "linear there and back": _case(
        _LINEAR,
        _sgd(**_WEIGHTS, learning_rate={"kind": "step", "value": 0.125, "factor": 0.5, "at": [2]}),
        None,
        _TARGETS,
        run={"steps": 6, "direction": "there-and-back"},
    ),
    "linear matrix of rates": _case(_LINEAR, _sgd(**_WEIGHTS, preconditioner=_SYMMETRIC), None, _TARGETS),
    "linear matrix of rates, momentum": _case(
        _LINEAR, _sgd(**_WEIGHTS, preconditioner=_SYMMETRIC, momentum=0.5), None, _TARGETS
    ),
    "nesterov": _case(_LINEAR, _sgd(**_WEIGHTS, dynamics="nesterov", momentum=0.75), None, _TARGETS),
    "nesterov matrix of rates": _case(
        _LINEAR, _sgd(**_WEIGHTS, dynamics="nesterov", momentum=0.75, preconditioner=_SYMMETRIC), None, _TARGETS
    ),
    "adam": _case(
        _LINEAR,
        _sgd(**_WEIGHTS, dynamics="adam", weight_decay=0.0625, beta1=0.75, beta2=0.875, epsilon=0.0078125),
        None,
        _TARGETS,
    ),
    "adamw": _case(_LINEAR, _sgd(**_WEIGHTS, dynamics="adamw", weight_decay=0.0625), None, _TARGETS),
    "langevin": _case(
        _LINEAR,
        {"dynamics": "langevin", "learning_rate": 0.0625, "temperature": 0.25, "weight_decay": 0.125, **_WEIGHTS},
        None,
        _TARGETS,
    ),
    "langevin scheduled": _case(
        _LINEAR,
        {
            "dynamics": "langevin",
            "learning_rate": 0.0625,
            "temperature": {"kind": "linear", "initial": 1.0, "final": 0.25},
            **_WEIGHTS,
        },
        None,
        _TARGETS,
    ),
    "gradient flow": _case(
        _LINEAR, {"dynamics": "gradient-flow", "learning_rate": 0.25, "weight_decay": 0.125, **_WEIGHTS}, None, _TARGETS
    ),
    "theta metropolis": _case(
        _LINEAR,
        {"dynamics": "metropolis", "learning_rate": 0.0625, "temperature": 0.25, "weight_decay": 0.5, **_WEIGHTS},
        None,
        _TARGETS,
    ),
    "linear fresh rows": _case(
        {"name": "linear-regression", "inputs": 2, "outputs": 2, "bias": "yes"},
        _sgd(batch=3),
        None,
        {"source": "linear", "matrix": [[1.0, 0.5], [0.0, -0.75]], "noise": 0.25, "fresh": True},
    ),
    "linear swept": _case(
        _LINEAR,
        _sgd(**_WEIGHTS),
        None,
        _TARGETS,
        ensemble={"replicas": 2, "seed": 3},
        record={"every": 3, "variables": ["theta"]},
        sweep={"theta.learning_rate": {"values": [0.0625, 0.125]}, "theta.batch": {"values": [1, 2]}},
    ),
    "logistic regression": _case(
        {"name": "logistic-regression", "inputs": 2, "bias": "yes"}, _sgd(), None, {"file": "sides.csv"}
    ),
    "squared cosine": _case(
        {"name": "squared-cosine", "inputs": 2},
        _sgd(constraint="fixed-sphere", radius=2.0, initial={"w": [1.0, 0.5]}),
        None,
        _PLANE,
    ),
    "softmax regression": _case(
        {"name": "softmax-regression", "inputs": 2, "classes": 3, "bias": "yes"}, _sgd(), None, {"file": "classes.csv"}
    ),
    "perceptron relu": _case(
        {"name": "multilayer-perceptron", "widths": [2, 3, 1], "bias": "yes"},
        _sgd(
            initial={
                "layer_1": [[0.5, -1.0, 0.25], [1.0, 0.75, 0.0], [-0.5, 0.5, -0.25]],
                "layer_2": [[1.0, -0.5, 0.75, 0.125]],
            }
        ),
        None,
        _TARGETS,
    ),
    "perceptron tanh": _case(
        {"name": "multilayer-perceptron", "widths": [2, 2, 3], "activation": "tanh", "loss": "cross-entropy"},
        _sgd(initial={"layer_1": [[0.5, -1.0], [1.0, 0.75]], "layer_2": [[1.0, -0.5], [0.25, 0.5], [-0.75, 0.0]]}),
        None,
        {"file": "classes.csv"},
    ),
    "perceptron gelu": _case(
        {"name": "multilayer-perceptron", "widths": [2, 2, 2, 1], "activation": "gelu"},
        _sgd(initial="he", dynamics="adam"),
        None,
        _TARGETS,
    ),
    "perceptron linear": _case(
        {"name": "multilayer-perceptron", "widths": [2, 2, 1], "activation": "linear"},
        _sgd(
            initial={"layer_1": [[0.5, -1.0], [1.0, 0.75]], "layer_2": [[1.0, -0.5]]},
            learning_rate_factors={"layer_1": 0.5},
        ),
        None,
        _TARGETS,
    ),
    "deep linear": _case(
        {"name": "deep-linear", "widths": [2, 3, 2], "embedding": [[1.0, 0.5], [0.0, -1.0]]},
        _sgd(
            initial={
                "layer_1": [[0.5, -1.0], [1.0, 0.75], [0.25, 0.0]],
                "layer_2": [[1.0, -0.5, 0.5], [0.0, 0.75, -0.25]],
            }
        ),
        None,
        {"file": "pairs.csv"},
    ),
    "matrix factorisation": _case(
        {"name": "matrix-factorisation", "rows": 2, "columns": 3, "rank": 2},
        _sgd(initial={"U": [[0.5, -1.0], [1.0, 0.25]], "W": [[1.0, 0.5, -0.5], [0.0, 0.75, 1.0]]}),
        None,
        {"file": "entries.csv"},
    ),
    "scalar chain": _case(
        {"name": "scalar-chain", "depth": 3}, _sgd(initial={"weight": [0.5, 1.25, -0.75]}), None, {"file": "chain.csv"}
    ),
    "quadratic": _case(
        {"name": "quadratic", "curvature": _SYMMETRIC, "quartic": 0.5},
        _sgd(initial={"position": [1.0, -0.5]}, momentum=0.25),
        None,
        _PLANE,
    ),
    "fourth power": _case({"file": "quartic.py"}, _sgd(initial={"weight": [0.5, -0.25]}), None, _TARGETS),
    "powers": _case({"file": "powers.py"}, _sgd(initial={"weight": [0.5, -0.25]}), None, _TARGETS),
    "sphere fixed-lr": _case(_SPHERE, _ON_SPHERE | {"constraint": "fixed-lr"}),
    "sphere fixed-elr": _case(_SPHERE, _ON_SPHERE | {"constraint": "fixed-elr"}),
    "sphere fixed-sphere": _case(
        _SPHERE, _ON_SPHERE | {"constraint": "fixed-sphere", "radius": 2.0, "weight_decay": 0.0}
    ),
    "linear diverging": _diverging(_LINEAR, _sgd(momentum=0.5, **_WEIGHTS), None, _TARGETS),
    "logistic regression diverging": _diverging(
        {"name": "logistic-regression", "inputs": 2}, _sgd(), None, {"file": "sides.csv"}
    ),
    "perceptron diverging": _diverging(
        {"name": "multilayer-perceptron", "widths": [2, 2, 3], "loss": "cross-entropy"},
        _sgd(initial={"layer_1": [[0.5, -1.0], [1.0, 0.75]], "layer_2": [[1.0, -0.5], [0.25, 0.5], [-0.75, 0.0]]}),
        None,
        {"file": "classes.csv"},
    ),
    "mixture diverging": _diverging(
        {"name": "gaussian-mixture", "dimension": 2, "mixtures": 2}, _sgd(), _ula(dynamics="mala"), _PLANE
    ),
    "sphere swept": _case(
        {"name": "isotropic-sphere"},
        {"dynamics": "sgd", "constraint": "fixed-elr", "weight_decay": 0.0625, "initial": "stationary"},
        ensemble={"replicas": 2, "seed": 3},
        sweep={"theta.learning_rate": {"values": [0.0625, 0.125]}, "model.noise": {"values": [0.75, 1.0]}},
    ),
    "composed": _case({"file": "plain.py"}, _sgd(), None, _TARGETS),
    "composed of normalised": _case({"file": "normal.py"}, _sgd(), None, _TARGETS),
    "composed for classes": _case({"file": "classes.py"}, _sgd(), None, {"file": "classes.csv"}),
    "composed for sides": _case({"file": "sides.py"}, _sgd(batch="all"), None, {"file": "sides.csv"}),
    "composed with huber": _case({"file": "huber.py"}, _sgd(), None, _TARGETS),
}

# whose powers `**` are products in machine code, but those of the C library in plain Python
COMPILED_ONLY = ("powers",)
CASES: dict[str, Section] = _DRIVEN | _SAMPLED | _LOSSES


def write_files(folder: Path) -> None:
    """The rows and the models of users that the cases name."""
    for name, rows in ROWS.items():
        (folder / name).write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    for name, text in MODELS.items():
        (folder / name).write_text(text)
