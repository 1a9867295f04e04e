"""What a referee would plant: moves replayed in plain numpy by the addresses of their noise, exact laws at T != 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import integrate

import thermosim
from tests.assertions import assert_within, mean_and_error
from tests.learning_cases import GAUSSIAN
from thermosim.analysis.machine import machines
from thermosim.kernels import types
from thermosim.kernels.compile import compiled
from thermosim.kernels.noise import fill_normal_pair, uniform_array
from thermosim.streams import ACCEPTANCE, MINIBATCH, RESTART, X_NOISE

SEED, STEPS, TAU, SAMPLES, REPLICAS = 3, 4, 3, 2, 40
STIFFNESS = np.array([[[1.6, 0.5], [0.5, 1.0]], [[2.4, -0.7], [-0.7, 1.9]]])  # at the first step and at the last
CENTER = np.array([[0.0, 0.3], [0.9, -0.6]])
HEAT = np.array([0.5, 1.4])
STEP = np.array([0.6, 0.35])
DRAGGED = f"""
title = "a trap that is dragged, squeezed, warmed and slowed at the same time"
[model]
name = "harmonic-trap"
dimension = 2
[theta]
dynamics = "protocol"
[theta.protocol]
center = {{ kind = "linear", initial = {CENTER[0].tolist()}, final = {CENTER[1].tolist()} }}
stiffness = {{ kind = "linear", initial = {STIFFNESS[0].tolist()}, final = {STIFFNESS[1].tolist()} }}
[x]
dynamics = "mala"
tau = {TAU}
samples = {SAMPLES}
temperature = {{ kind = "linear", initial = {HEAT[0]}, final = {HEAT[1]} }}
time_step = {{ kind = "linear", initial = {STEP[0]}, final = {STEP[1]} }}
[ensemble]
replicas = {REPLICAS}
seed = {SEED}
[run]
steps = {STEPS}
[record]
every = 1
"""


def _normals(move: int, rows: int) -> np.ndarray:
    """Noise of x at a move, (rows, R)."""
    halves = np.empty((2, rows, REPLICAS))
    signature = types.void(*[types.int64] * 5, *[types.float64[:, ::1]] * 2)
    compiled(fill_normal_pair, signature)(SEED, X_NOISE, move // 2, 0, 0, halves[0], halves[1])
    return halves[move % 2]


def _ramp(ends: np.ndarray, step: int) -> np.ndarray:
    return np.asarray(ends[0] + (ends[1] - ends[0]) * step / STEPS)


def _replayed(dynamics: str, x: np.ndarray, backward: bool) -> dict[str, list[np.ndarray]]:
    """Frames of x (R, S, 2) and its books: the protocol, the moves and Metropolis' rule written out."""
    books = {name: np.zeros(x.shape[:2]) for name in ("work", "heat", "log_ratio_x", "accepted")}
    frames: dict[str, list[np.ndarray]] = {name: [] for name in ("x", "phi", *books)}
    rows = {"mala": 3, "metropolis": 2, "ula": 0}[dynamics]

    def energy(at: np.ndarray, step: int) -> np.ndarray:
        y = at - _ramp(CENTER, step)
        return np.asarray(0.5 * np.einsum("rsi,ij,rsj->rs", y, _ramp(STIFFNESS, step), y))

    def pull(at: np.ndarray, step: int) -> np.ndarray:
        return -(at - _ramp(CENTER, step)) @ _ramp(STIFFNESS, step)

    def record(step: int) -> None:
        frames["x"].append(x)
        frames["phi"].append(energy(x, step))
        for name, total in books.items():
            frames[name].append(total.copy())

    place = [STEPS - s if backward else s for s in range(STEPS + 1)]  # of the protocol after step s of the run
    record(place[0])
    for s in range(1, STEPS + 1):
        old, new = place[s - 1], place[s]
        of_bath = STEPS + 1 - s if backward else s  # step s of a reversed run undoes step N + 1 - s
        h, t = float(_ramp(STEP, of_bath)), float(_ramp(HEAT, of_bath))
        at = old if backward else new
        books["work"] += 0.0 if backward else energy(x, new) - energy(x, old)
        for move in range((s - 1) * TAU, s * TAU):
            xi = _normals(move, 2 * SAMPLES).reshape(SAMPLES, 2, REPLICAS).transpose(2, 0, 1)
            drift = h * pull(x, at) if dynamics != "metropolis" else 0.0
            proposal = x + drift + np.sqrt(2.0 * h * t) * xi
            back = x - proposal - (h * pull(proposal, at) if dynamics != "metropolis" else 0.0)
            ratio = (-(2.0 * h * t) * xi**2 + back**2).sum(axis=2) / (4.0 * h * t)  # ln p(x'|x) - ln p(x|x')
            change = energy(proposal, at) - energy(x, at)
            taken = np.ones(change.shape, bool)
            if rows:
                chance = uniform_array(SEED, ACCEPTANCE, move, 0, (SAMPLES * rows, REPLICAS))[::rows].T
                taken = np.log(chance) < -change / t - ratio
                ratio = -change / t
            x = np.where(taken[:, :, None], proposal, x)
            for name, value in (("heat", change), ("log_ratio_x", ratio), ("accepted", 1.0)):
                books[name] += np.where(taken, value, 0.0)
        books["work"] += energy(x, new) - energy(x, old) if backward else 0.0
        record(new)
    return frames


@pytest.mark.parametrize("direction", ["forward", "reversed"])
@pytest.mark.parametrize("dynamics", ["ula", "mala", "metropolis"])
def test_moves_of_x_replayed(dynamics: str, direction: str) -> None:
    """Two chains, three moves a step, everything scheduled: every number, by the addresses of noise."""
    ds = thermosim.simulate(thermosim.load_case(DRAGGED, {"x.dynamics": dynamics, "run.direction": direction}))
    frames = _replayed(dynamics, ds["x"].values[0], direction == "reversed")
    for name, values in frames.items():
        if name in ds:
            np.testing.assert_allclose(ds[name].values, np.stack(values), rtol=1e-9, atol=1e-10, err_msg=name)
    if dynamics != "ula":
        assert 0.3 < float(ds["accepted"][-1].mean()) / (STEPS * TAU) < 0.9


@pytest.mark.parametrize(("direction", "place"), [("forward", 0), ("reversed", 1)])
def test_the_start_is_the_equilibrium_where_the_protocol_begins(direction: str, place: int) -> None:
    """Center, stiffness and temperature of the first step, or of the last of a reversed run."""
    ds = thermosim.simulate(thermosim.load_case(DRAGGED, {"run.direction": direction, "ensemble.replicas": 10_000}))
    x = ds["x"].values[0, :, 0]
    assert_within(*mean_and_error(x.T), CENTER[place], catches="the origin, or the other end", mistake=0.3)
    covariance = HEAT[place] * np.linalg.inv(STIFFNESS[place])
    y = x - CENTER[place]
    mean, error = mean_and_error((y[:, :, None] * y[:, None, :]).T)
    assert_within(mean, error, covariance, catches="T, or K for its inverse", mistake=0.5 * np.abs(covariance))


WELL = """
title = "a double well at rest, sampled with long steps"
[model]
name = "double-well"
[theta]
dynamics = "frozen"
initial = { tilt = 0.4, stiffness = -1.1, cubic = 0.25, log_quartic = -0.7 }
[x]
dynamics = "mala"
time_step = 0.25
temperature = 0.6
initial = "zero"
tau = 500
[ensemble]
replicas = 60_000
seed = 2
[run]
steps = 1
[record]
variables = ["x", "accepted"]
"""


def _well(x: Any) -> Any:
    return 0.4 * x - 1.1 * x**2 + 0.25 * x**3 + np.exp(-0.7) * x**4


@pytest.mark.parametrize("dynamics", ["mala", "metropolis"])
def test_two_wells_by_quadrature(dynamics: str) -> None:
    """<x>, <x^2>, <x^4> of exp(-phi/T): a wrong ratio, a stale force or a lost 1/T shifts each by many errors."""
    ds = thermosim.simulate(thermosim.load_case(WELL, {"x.dynamics": dynamics}))
    x = ds["x"].values[-1, :, 0]
    norm = integrate.quad(lambda y: np.exp(-_well(y) / 0.6), -6.0, 6.0)[0]
    for power in (1, 2, 4):
        exact = integrate.quad(lambda y, p=power: y**p * np.exp(-_well(y) / 0.6), -6.0, 6.0)[0] / norm
        cold = integrate.quad(lambda y, p=power: y**p * np.exp(-_well(y)), -6.0, 6.0)[0]
        cold /= integrate.quad(lambda y: np.exp(-_well(y)), -6.0, 6.0)[0]
        value, error = mean_and_error(x**power)
        assert_within(value, error, exact, catches="1/T, or the force of a refused proposal", mistake=cold - exact)
    assert 0.2 < float(ds["accepted"][-1].mean()) / 500.0 < 0.9


def _first_batch(ds: xr.Dataset, replicas: int) -> np.ndarray:
    """Rows (R, 2, n) of the minibatch of step 1 of GAUSSIAN."""
    data = machines(ds)[0].data
    unit = 1.0 - uniform_array(5, MINIBATCH, 1, 0, (2, replicas))
    return np.asarray(data.values[np.floor(unit * data.rows).astype(int)].transpose(1, 0, 2))


def test_contrast_is_data_less_the_mean_of_the_samples() -> None:
    """One step of contrastive learning from three samples, replica by replica: k (m - b) - k (m - <x>)."""
    changes = {"theta.gradient": "contrast", "x.samples": 3, "ensemble.replicas": 30, "record.every": 1}
    ds = thermosim.simulate(thermosim.load_case(GAUSSIAN, changes | {"run.steps": 1, "x.initial": "normal"}))
    k, theta, x = np.exp([0.4, 1.1]), ds["theta"].values[..., :2], ds["x"].values[0]
    gradient = k * (x.mean(axis=1) - _first_batch(ds, 30).mean(axis=1))
    np.testing.assert_allclose(theta[1] - theta[0], -0.15 * gradient, atol=1e-13)


def test_restarts_have_an_address() -> None:
    """Two chains of a replica restart each from a row of its own, which are not the rows of the minibatch."""
    changes = {"x.restart": True, "x.time_step": 1e-20, "x.samples": 2, "ensemble.replicas": 50, "record.every": 1}
    ds = thermosim.simulate(thermosim.load_case(GAUSSIAN, changes | {"run.steps": 3, "data.sets": 5}))
    machine = machines(ds)[0]
    first = machine.data_set() * machine.data.rows
    for step in (1, 2, 3):
        unit = 1.0 - uniform_array(5, RESTART, step, 0, (2, 50))
        rows = machine.data.values[first + np.floor(unit * machine.data.rows).astype(int)]
        np.testing.assert_allclose(ds["x"].values[step], rows.transpose(1, 0, 2), atol=1e-8)


def test_sets_of_data_are_read_whole() -> None:
    """Full batches of several data sets: every replica descends the mean of its own."""
    changes = {"theta.batch": "all", "data.sets": 5, "ensemble.replicas": 50, "record.every": 1, "run.steps": 1}
    ds = thermosim.simulate(thermosim.load_case(GAUSSIAN, changes))
    machine = machines(ds)[0]
    means = np.stack([machine.data.of_set(k).mean(axis=0) for k in range(5)])[machine.data_set()]
    theta = ds["theta"].values[..., :2]
    expected = theta[0] - 0.15 * np.exp([0.4, 1.1]) * (theta[0] - means)
    np.testing.assert_allclose(theta[1], expected, atol=1e-13)
    assert np.ptp(means, axis=0).min() > 0.05


MOMENTUM = """
title = "spins swept three times a step"
[model]
name = "boltzmann-machine"
dimension = 4
[theta]
dynamics = "sgd"
learning_rate = 0.2
momentum = 0.7
weight_decay = 0.1
batch = 3
learn = ["coupling"]
spread = 0.5
[x]
dynamics = "gibbs"
tau = 3
samples = 2
[data]
source = "teacher"
rows = 30
teacher = { bias = [0.6, -0.4, 0.2, 0.0], coupling = 0.3 }
[ensemble]
replicas = 60
seed = 4
[run]
steps = 6
[record]
every = 1
"""


def test_gibbs_sweeps_close_the_first_law_and_momentum_leaves_what_is_not_learned() -> None:
    """Several sweeps a step book once, at their end; the log ratio is -heat; frozen groups do not drift by velocity."""
    ds = thermosim.simulate(thermosim.load_case(MOMENTUM))
    gap = ds["phi"] - ds["phi"][0] - ds["work"] - ds["heat"]
    assert abs(gap).max() < 1e-11
    np.testing.assert_allclose(ds["log_ratio_x"], -ds["heat"], atol=1e-11)
    machine = machines(ds)[0]
    for frame in (1, 6):
        for sample in range(2):
            phi = machine.evaluator.surprisal(machine.x(frame)[:, sample], machine.theta(frame))
            np.testing.assert_allclose(ds["phi"][frame, :, sample], phi, rtol=1e-9, err_msg="phi of another sweep")
    assert np.array_equal(ds["theta"].values[-1, :, :4], ds["theta"].values[0, :, :4])
    assert (ds["theta"].values[-1, :, 4:] != ds["theta"].values[0, :, 4:]).all()
    assert float(abs(ds["heat"][-1]).min()) > 0.0
