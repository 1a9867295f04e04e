"""Learning machines and prescribed paths of theta that tests of their thermodynamics share."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import xarray as xr

import thermosim
from thermosim.analysis.machine import machines
from thermosim.exact.learning_machine import LearningMachine, Moments, Start, moments

STEPS = 10
PRECISIONS = np.linspace(1.0, 4.0, STEPS + 1)
WORK, HEAT = 0.19223333, -0.88538051  # m 0 -> 1, k 1 -> 4 in ten equal jumps, fresh samples after each
PROTOCOL = f"""
title = "a prescribed Gaussian"
[model]
name = "gaussian"
[theta]
dynamics = "protocol"
[theta.protocol]
mean = {{ kind = "linear", initial = [0.0], final = [1.0] }}
log_precision = {{ kind = "table", steps = {list(range(STEPS + 1))}, values = {np.log(PRECISIONS)[:, None].tolist()} }}
[x]
dynamics = "exact"
[ensemble]
replicas = 20000
seed = 1
[run]
steps = {STEPS}
[record]
every = 1
"""
LEARNER = """
title = "a Gaussian learns its mean"
[model]
name = "gaussian"
dimension = 2
[theta]
dynamics = "sgd"
learning_rate = 0.3
batch = 2
learn = ["mean"]
initial = { mean = [1.0, -0.5], log_precision = [0.4, 1.1] }
[x]
dynamics = "ula"
time_step = 0.2
tau = 3
[data]
source = "gaussian"
rows = 40
covariance = [[1.0, 0.5], [0.5, 0.7]]
mean = [0.2, 0.6]
[ensemble]
replicas = 20000
seed = 5
[run]
steps = 6
[record]
every = 1
"""
LANGEVIN = {"x.dynamics": "mala", "x.time_step": 0.3}
SPINS = """
title = "spins learn"
[model]
name = "boltzmann-machine"
dimension = 4
[theta]
dynamics = "sgd"
learning_rate = 0.3
batch = 2
spread = 0.2
[x]
dynamics = "gibbs"
[data]
source = "teacher"
rows = 50
teacher = { bias = [0.6, -0.4, 0.2, 0.0], coupling = 0.3 }
[ensemble]
replicas = 6000
seed = 3
[run]
steps = 5
[record]
every = 1
"""
RBM = """
title = "an energy without its normaliser"
[model]
name = "rbm"
dimension = 3
hidden = 2
[theta]
dynamics = "protocol"
[theta.protocol]
visible_bias = { kind = "linear", initial = [0.5, -0.3, 0.0], final = [-0.6, 0.4, 0.9] }
hidden_bias = { kind = "linear", initial = [0.2, -0.2], final = [0.8, 0.1] }
[theta.protocol.weights]
kind = "linear"
initial = [[0.3, 0.3], [0.3, 0.3], [0.3, 0.3]]
final = [[1.2, -0.7], [0.4, 0.9], [-0.5, 0.2]]
[x]
dynamics = "gibbs"
initial = "random"
[ensemble]
replicas = 6000
seed = 8
[run]
steps = 4
[record]
every = 1
"""


@functools.cache
def _run(text: str, overrides: str = "{}") -> xr.Dataset:
    return thermosim.simulate(thermosim.load_case(text, json.loads(overrides)))


def run(text: str, overrides: dict[str, Any] | None = None) -> xr.Dataset:
    return _run(text, json.dumps(overrides or {}))


def linear_machine(ds: xr.Dataset, **changes: Any) -> Moments:
    """Exact moments of LEARNER."""
    data = machines(ds)[0].data
    settings = {"batch": 2, "x_dynamics": "ula", "time_step": 0.2, "tau": 3} | changes
    machine = LearningMachine(np.exp([0.4, 1.1]), data.mean(), data.covariance(), ds.sizes["step"] - 1, 0.3, **settings)
    return moments(machine, Start(np.array([1.0, -0.5])))
