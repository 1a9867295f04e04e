"""A small, slow, independent simulator of the paper's updates that writes the documented layout of an ensemble."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from thermosim.exact import ideal_gas, von_mises_fisher

__all__ = ["sphere_ensemble"]

DIRECTION = np.array([0.6, -0.48, 0.64])


def sphere_ensemble(
    constraint: str,
    *,
    dimension: int = 3,
    noise: float = 1.0,
    learning_rate: float = 0.01,
    weight_decay: float = 0.01,
    radius: float = 1.0,
    sweep: Mapping[str, Sequence[float]] | None = None,
    replicas: int = 64,
    steps: int = 1000,
    every: int = 100,
    initial: str = "stationary",
    seed: int = 1,
) -> xr.Dataset:
    """Frames at 0, every, ..., steps; w (cells, replicas, d) updated one numpy step at a time."""
    sweep = dict(sweep or {})
    names = [key.rsplit(".", 1)[-1] for key in sweep]
    base = {"noise": noise, "learning_rate": learning_rate, "weight_decay": weight_decay, "radius": radius}
    grid = [base | dict(zip(names, point, strict=True)) for point in itertools.product(*sweep.values())]
    cell = {name: np.array([point[name] for point in grid]) for name in base}
    random = np.random.default_rng(seed)
    mu = np.zeros(dimension)
    mu[: min(3, dimension)] = DIRECTION[: min(3, dimension)]
    mu /= np.linalg.norm(mu)
    w = _start(constraint, dimension, cell, mu, replicas, initial, random)
    record = _run(constraint, w, cell, mu, steps, every, random)
    shape = (len(record["step"]), *map(len, sweep.values()), replicas)
    dims = ("step", *names, "replica")
    ds = xr.Dataset(
        coords={"step": record.pop("step")} | {n: np.array(v) for n, v in zip(names, sweep.values(), strict=True)}
    )
    theta = record.pop("theta")
    ds["theta"] = ((*dims, "theta_dim"), theta.reshape(*shape, dimension))
    for name, values in record.items():
        ds[name] = (dims, values.reshape(shape))
    resolved: dict[str, Any] = {
        "model": {"name": "isotropic-sphere", "dimension": dimension, "noise": noise, "direction": mu.tolist()},
        "theta": {"dynamics": "sgd", "constraint": constraint, "initial": initial}
        | {name: base[name] for name in ("learning_rate", "weight_decay", "radius")},
        "ensemble": {"replicas": replicas, "seed": seed},
        "run": {"steps": steps, "direction": "forward"},
        "sweep": {key: list(values) for key, values in sweep.items()},
    }
    ds.attrs["settings"] = json.dumps(resolved)
    return ds


def _start(
    constraint: str,
    dimension: int,
    cell: dict[str, np.ndarray],
    mu: np.ndarray,
    replicas: int,
    initial: str,
    random: np.random.Generator,
) -> np.ndarray:
    gas = ideal_gas.state(constraint, dimension, *cell.values(), gradient=True)
    shape = (len(cell["noise"]), replicas)
    normal = random.standard_normal((dimension, int(np.prod(shape))))
    if initial != "stationary":
        n = (normal / np.linalg.norm(normal, axis=0)).T.reshape(*shape, dimension)
        return n * cell["radius"][:, None, None]
    kappa = np.repeat(1 / (gas.temperature * (1 + gas.effective_learning_rate / 2)), replicas)
    n = von_mises_fisher.directions(kappa, -mu, random.random(kappa.size), normal).T.reshape(*shape, dimension)
    spread = ideal_gas.radius_fluctuation(
        constraint, dimension, cell["noise"], cell["learning_rate"], cell["weight_decay"]
    )[:, None]
    log_square = 2 * np.log(gas.radius[:, None]) + spread * random.standard_normal(shape) - spread**2 / 2
    return n * np.exp(log_square / 2)[..., None]


def _run(
    constraint: str,
    w: np.ndarray,
    cell: dict[str, np.ndarray],
    mu: np.ndarray,
    steps: int,
    every: int,
    random: np.random.Generator,
) -> dict[str, np.ndarray]:
    sigma, rate, decay, radius = (v[:, None] for v in cell.values())
    sums = {name: np.zeros(w.shape[:-1]) for name in ("loss_sum", "gradient_square", "stretch")}
    frames: dict[str, list[np.ndarray]] = {name: [] for name in ("step", "theta", *sums)}
    for t in range(steps + 1):
        if t % every == 0:
            for name, value in {"step": np.array(t), "theta": w, **sums}.items():
                frames[name].append(value.copy())
        length = np.sqrt(np.einsum("cri,cri->cr", w, w))
        n = w / length[..., None]
        push = mu + sigma[..., None] * random.standard_normal(w.shape)
        push -= n * np.einsum("cri,cri->cr", n, push)[..., None]
        sums["loss_sum"] += 1 + n @ mu
        sums["gradient_square"] += np.einsum("cri,cri->cr", push, push)
        if constraint == "fixed-lr":
            w = (1 - rate * decay)[..., None] * w - (rate / length)[..., None] * push
        elif constraint == "fixed-elr":
            w = (1 - rate * decay * length**2)[..., None] * w - (rate * length)[..., None] * push
        else:
            w = w - (rate * radius)[..., None] * push
            stretched = np.sqrt(np.einsum("cri,cri->cr", w, w))
            sums["stretch"] += stretched / radius - 1
            w *= (radius / stretched)[..., None]
    if constraint != "fixed-sphere":
        del frames["stretch"]
    return {name: np.array(values) for name, values in frames.items()}
