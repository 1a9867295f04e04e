"""Ensembles whose information is known: any parameters and samples in the layout of an ensemble, exact references."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

import thermosim
from thermosim.addresses import origin_of

CASE = """
title = "machine"
[model]
name = "gaussian"
dimension = 2
[theta]
dynamics = "langevin"
learning_rate = 0.2
temperature = 3.0
learn = ["mean"]
[theta.initial]
log_precision = [0.0, 1.2]
[theta.spread]
mean = [0.2, 0.1]
log_precision = 0.0
[x]
dynamics = "exact"
[data]
source = "gaussian"
mean = [1.0, -0.5]
covariance = [[0.8, 0.5], [0.5, 0.6]]
rows = 40
[ensemble]
replicas = 3000
seed = 5
[run]
steps = 6
[record]
every = 3
"""


SPINS = """
title = "spins"
[model]
name = "boltzmann-machine"
dimension = 3
[theta]
dynamics = "langevin"
learning_rate = 0.3
temperature = 1.0
spread = 0.3
[x]
dynamics = "exact"
samples = 3
[data]
source = "teacher"
teacher = { bias = [0.8, -0.4, 0.3], coupling = 0.5 }
rows = 40
[ensemble]
replicas = 3000
seed = 5
[run]
steps = 6
[record]
every = 3
"""


def settings(case: str = CASE, **changes: Any) -> dict[str, Any]:
    """Settings of a case; "theta__learn" changes theta.learn."""
    return thermosim.load_case(case, {key.replace("__", "."): v for key, v in changes.items()}).settings.as_dict()


def discrete_settings(name: str, **constants: int) -> dict[str, Any]:
    """Settings of a discrete model at rest."""
    head = f'title = "at rest"\n[model]\nname = "{name}"\n[x]\ndynamics = "gibbs"\ninitial = "random"\n'
    case = head + "[ensemble]\nreplicas = 2\n[run]\nsteps = 1\n"
    return settings(case, **{f"model__{key}": value for key, value in constants.items()})


def ensemble(theta: np.ndarray, given: dict[str, Any], **variables: np.ndarray) -> xr.Dataset:
    """An ensemble with theta (F, R, m) at steps 0, 1, ..., and variables of the same first two dimensions."""
    frames, replicas = theta.shape[:2]
    given = given | {"ensemble": given["ensemble"] | {"replicas": replicas}, "record": {"first": 0, "every": 1}}
    given["run"] = given["run"] | {"steps": max(frames - 1, given["run"]["steps"])}
    dims = {"theta": ("theta_dim",), "x": ("sample", "x_dim"), "phi": ("sample",), "heat": ("sample",)}
    arrays = {name: (("step", "replica", *dims[name]), v) for name, v in ({"theta": theta} | variables).items()}
    coordinates: dict[str, Any] = {"step": np.arange(frames), "replica": np.arange(replicas)}
    coordinates["address"] = ("replica", np.arange(replicas))
    coordinates["origin"] = ("replica", np.full(replicas, origin_of(given)))
    return xr.Dataset(arrays, coordinates, {"settings": json.dumps(given), "model_source": ""})


def gaussian_settings(dimension: int, **changes: Any) -> dict[str, Any]:
    """Settings of the Gaussian model with so many components."""
    flat = {"theta__initial": {}, "theta__spread": 0.0, "data__mean": 0.0, "data__covariance": 1.0}
    return settings(CASE, model__dimension=dimension, **(flat | changes))


def sets_information(means: np.ndarray, variance: float) -> float:
    """I of a number and which of the normals of this variance about means (D,) it came from; by quadrature."""
    width = 10.0 * np.sqrt(variance)
    y = np.linspace(means.min() - width, means.max() + width, 20001)
    density = np.exp(-((y - means[:, None]) ** 2) / (2.0 * variance)) / np.sqrt(2.0 * np.pi * variance)
    mixture = density.mean(axis=0)
    entropy = -np.trapezoid(mixture * np.log(np.maximum(mixture, 1e-300)), y)
    return float(entropy - 0.5 * np.log(2.0 * np.pi * np.e * variance))
