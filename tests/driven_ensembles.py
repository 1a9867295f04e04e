"""A slow, independent ensemble of driven linear systems: plain numpy, transition ratios from Gaussian densities.

It shares no formula with the kernels or with `thermosim.exact`, and writes the layout of `thermosim.open_ensemble`.
"""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import numpy as np
import xarray as xr
from scipy import linalg

TRAP: dict[str, Any] = {
    "model": {"name": "harmonic-trap", "dimension": 2},
    "theta": {
        "dynamics": "protocol",
        "protocol": {
            "center": {"kind": "linear", "initial": [0.0, 0.2], "final": [0.9, -0.5]},
            "stiffness": {
                "kind": "linear",
                "initial": [[1.6, 0.5], [0.5, 1.0]],
                "final": [[1.9, -0.5], [-0.5, 2.3]],
            },
        },
    },
    "x": {"dynamics": "ula", "time_step": 0.2, "tau": 2, "temperature": 0.8, "samples": 1, "initial": "equilibrium"},
    "ensemble": {"replicas": 4096, "seed": 0},
    "run": {"steps": 8, "direction": "forward"},
    "record": {"first": 0, "every": 1},
    "sweep": {},
}


def trap(**changes: Any) -> dict[str, Any]:
    """Settings of the trap above with dotted keys changed ("x__tau" = 3)."""
    return changed(TRAP, **changes)


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of settings with some dotted keys (written with __) replaced."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        *parents, last = key.split("__")
        table = result
        for part in parents:
            table = table[part]
        table[last] = value
    return result


def _ramp(value: Any, steps: int) -> np.ndarray:
    """Values at steps 0..N of a constant or of a linear schedule."""
    if isinstance(value, dict):
        ends = np.asarray(value["initial"], float), np.asarray(value["final"], float)
        return np.stack([ends[0] + (ends[1] - ends[0]) * t / steps for t in range(steps + 1)])
    return np.stack([np.asarray(value, float)] * (steps + 1))


def _system(settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    model, steps = settings["model"], settings["run"]["steps"]
    if model["name"] == "harmonic-trap":
        protocol = settings["theta"]["protocol"]
        return _ramp(protocol["stiffness"], steps), _ramp(protocol["center"], steps), np.zeros((2, 2))
    if model["name"] == "rotational-trap":
        stiffness, drive = model["stiffness"] * np.eye(2), model["rotation"] * np.array([[0.0, -1.0], [1.0, 0.0]])
    else:
        k, c = model["stiffness"], model["coupling"]
        stiffness, drive = np.array([[k + c, -c], [-c, k + c]]), np.zeros((2, 2))
    return _ramp(stiffness, steps), np.zeros((steps + 1, 2)), drive


def _log_normal(residual: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    n = residual.shape[-1]
    exponent = np.einsum("...i,ij,...j->...", residual, np.linalg.inv(covariance), residual)
    return -0.5 * (exponent + np.linalg.slogdet(covariance)[1] + n * np.log(2.0 * np.pi))


def _move(x, stiffness, center, drive, settings, rng):  # type: ignore[no-untyped-def]
    """One move and the books it makes: x', heat, work of the drive, log ratio."""
    h, n = settings["x"]["time_step"], x.shape[-1]
    temperature = np.broadcast_to(np.asarray(settings["x"]["temperature"], float), (n,))
    if settings["x"]["dynamics"] == "exact-ou":
        decay = linalg.expm(-stiffness * h)
        noise = temperature[0] * np.linalg.inv(stiffness) @ (np.eye(n) - linalg.expm(-2.0 * h * stiffness))

        def mean(y: np.ndarray) -> np.ndarray:
            return center + (y - center) @ decay.T
    else:
        noise = 2.0 * h * np.diag(temperature)

        def mean(y: np.ndarray) -> np.ndarray:
            return y - h * (y - center) @ stiffness + h * y @ drive.T

    new = mean(x) + rng.standard_normal(x.shape) @ np.linalg.cholesky(noise).T
    log_ratio = _log_normal(new - mean(x), noise) - _log_normal(x - mean(new), noise)
    work = np.sum(0.5 * (x + new) @ drive.T * (new - x), axis=-1)
    return new, _energy(new, stiffness, center) - _energy(x, stiffness, center) - work, work, log_ratio


def _energy(x: np.ndarray, stiffness: np.ndarray, center: np.ndarray) -> np.ndarray:
    return 0.5 * np.einsum("...i,ij,...j->...", x - center, stiffness, x - center)


def _one(settings: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Frames at steps 0..N of one point of the sweep: each variable (N+1, replica, sample[, x_dim])."""
    stiffness, center, drive = _system(settings)
    backward = settings["run"]["direction"] == "reversed"
    if backward:
        stiffness, center = stiffness[::-1], center[::-1]
    shape = (settings["ensemble"]["replicas"], settings["x"]["samples"], 2)
    temperature = np.diag(np.broadcast_to(np.asarray(settings["x"]["temperature"], float), (2,)))
    start = linalg.solve_continuous_lyapunov(drive - stiffness[0], -2.0 * temperature)
    x = center[0] + rng.standard_normal(shape) @ np.linalg.cholesky(start).T
    work, heat, log_ratio = (np.zeros(shape[:-1]) for _ in range(3))
    frames = [(x, _energy(x, stiffness[0], center[0]), work, heat, log_ratio)]
    for t in range(1, len(center)):
        old, now = (stiffness[t - 1], center[t - 1]), (stiffness[t], center[t])
        if not backward:
            work = work + _energy(x, *now) - _energy(x, *old)
        for _ in range(settings["x"]["tau"]):
            x, absorbed, done, ratio = _move(x, *(old if backward else now), drive, settings, rng)
            work, heat, log_ratio = work + done, heat + absorbed, log_ratio + ratio
        if backward:
            work = work + _energy(x, *now) - _energy(x, *old)
        frames.append((x, _energy(x, *now), work, heat, log_ratio))
    return {
        name: np.stack(v) for name, v in zip(("x", "phi", "work", "heat", "log_ratio_x"), zip(*frames), strict=True)
    }


def simulate(settings: dict[str, Any], seed: int = 0) -> xr.Dataset:
    """The ensemble of these settings, every step a frame."""
    rng = np.random.default_rng(seed)
    sweep = settings["sweep"]
    points = list(itertools.product(*sweep.values()))
    cells = [
        _one(changed(settings, **{k.replace(".", "__"): v for k, v in zip(sweep, p, strict=True)}), rng) for p in points
    ]
    names = [key.rsplit(".", 1)[-1] for key in sweep]
    shape = [len(values) for values in sweep.values()]
    single = settings["x"]["samples"] == 1
    variables = {}
    for name in cells[0]:
        values = np.stack([cell[name] for cell in cells], axis=1)
        values = values.reshape(len(values), *shape, *values.shape[2:])
        dims = ["step", *names, "replica", "sample", *(["x_dim"] if name == "x" else [])]
        if single:
            values = values[..., 0, :] if name == "x" else values[..., 0]
            dims.remove("sample")
        variables[name] = (dims, values)
    coordinates = {"step": np.arange(settings["run"]["steps"] + 1)} | dict(zip(names, sweep.values(), strict=True))
    return xr.Dataset(variables, coordinates, {"settings": json.dumps(settings)})
