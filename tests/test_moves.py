"""Adam, AdamW, Nesterov and Metropolis against independent references: plain numpy, and exact laws with error bars."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.assertions import assert_within, mean_and_error
from thermosim.analysis.machine import machines

GAUSSIAN = """
title = "a small Gaussian machine"
[model]
name = "gaussian"
dimension = 2
[theta]
dynamics = "adam"
learning_rate = 0.05
weight_decay = 0.2
batch = "all"
initial = { mean = [2.0, -1.0], log_precision = [0.3, -0.2] }
spread = 0.3
[x]
dynamics = "exact"
[data]
source = "gaussian"
mean = [0.5, 1.0]
deviation = [0.8, 1.3]
rows = 32
[ensemble]
replicas = 5
seed = 4
[run]
steps = 25
[record]
every = 1
variables = ["theta", "loss_sum", "gradient_square"]
"""


def _run(changes: dict[str, Any]) -> xr.Dataset:
    return thermosim.simulate(thermosim.load_case(GAUSSIAN, changes), threads=1)


def _gradient(theta: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of the mean over rows of phi = sum_i exp(l_i) (x_i - m_i)^2/2 - l_i/2 + const, at theta (R, 4) = (m, l)."""
    mean, precision = theta[:, :2], np.exp(theta[:, 2:])
    gap = mean[:, None, :] - rows[None]
    return np.concatenate([precision * gap.mean(1), 0.5 * precision * (gap**2).mean(1) - 0.5], axis=1)


def _adam(theta, rows, steps, rate, decay, beta1, beta2, epsilon, decoupled):  # type: ignore[no-untyped-def]
    """Kingma and Ba, Algorithm 1, with the bias taken out by powers; Loshchilov and Hutter, Algorithm 2."""
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for t in range(1, steps + 1):
        g = _gradient(theta, rows) + (0.0 if decoupled else decay * theta)
        first, second = beta1 * first + (1.0 - beta1) * g, beta2 * second + (1.0 - beta2) * g * g
        step = first / (1.0 - beta1**t) / (np.sqrt(second / (1.0 - beta2**t)) + epsilon)
        theta = theta - rate * (step + (decay * theta if decoupled else 0.0))
    return theta


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_is_the_papers_algorithm(name: str) -> None:
    """Moments, bias correction, where the weight decay stands and every hyper-parameter of its own lane."""
    sweep = {
        "theta.beta1": {"values": [0.0, 0.9]},
        "theta.beta2": {"values": [0.5, 0.999]},
        "theta.epsilon": {"values": [1e-8, 0.3]},
    }
    ds = _run({"theta.dynamics": name, "sweep": sweep})
    machine = machines(ds)[0]
    for beta1 in (0.0, 0.9):
        for beta2 in (0.5, 0.999):
            for epsilon in (1e-8, 0.3):
                theta = ds["theta"].sel(beta1=beta1, beta2=beta2, epsilon=epsilon).values
                hyper = (0.05, 0.2, beta1, beta2, epsilon, name == "adamw")
                expected = _adam(theta[0], machine.data.values, 25, *hyper)
                np.testing.assert_allclose(theta[-1], expected, rtol=1e-10, atol=1e-10)


def test_adam_without_bias_correction_would_be_far_off() -> None:
    """The power of the test above: the first step has length r in every component, whatever the gradient."""
    ds = _run({"run.steps": 1, "theta.weight_decay": 0.0})
    np.testing.assert_allclose(abs(ds["theta"][1] - ds["theta"][0]), 0.05, rtol=1e-6)


def test_nesterov_is_the_gradient_looked_ahead_at() -> None:
    """The textbook form in phi = theta - beta v: v' = beta v - r g(phi + beta v), phi' = phi + v'."""
    ds = _run({"theta.dynamics": "nesterov", "sweep": {"theta.momentum": {"values": [0.0, 0.5, 0.9]}}})
    rows = machines(ds)[0].data.values
    for beta in (0.0, 0.5, 0.9):
        theta = ds["theta"].sel(momentum=beta).values
        phi, velocity = theta[0].copy(), np.zeros_like(theta[0])
        for _ in range(25):
            ahead = phi + beta * velocity
            velocity = beta * velocity - 0.05 * (_gradient(ahead, rows) + 0.2 * ahead)
            phi = phi + velocity
        np.testing.assert_allclose(theta[-1], phi + beta * velocity, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["nesterov", "adam", "adamw"])
def test_groups_that_are_not_learned_rest(name: str) -> None:
    ds = _run({"theta.dynamics": name, "theta.learn": ["mean"], "theta.batch": 4})
    moved = (ds["theta"] != ds["theta"][0]).any(["step", "replica"]).values
    assert moved.tolist() == [True, True, False, False]


@pytest.mark.parametrize("name", ["nesterov", "adam", "metropolis"])
def test_going_on_is_the_same_run(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """What a move keeps from step to step is part of the state: a run cut in two is the run, bit for bit."""
    changes: dict[str, Any] = {"theta.dynamics": name, "theta.batch": "all" if name == "metropolis" else 4}
    changes |= {"theta.temperature": 0.3} if name == "metropolis" else {}
    changes |= {"record.variables": ["theta", "loss_sum"]}
    whole = _run(changes)
    thermosim.simulate(thermosim.load_case(GAUSSIAN, changes | {"run.steps": 10}), tmp_path / "run.h5").close()
    with thermosim.extend(tmp_path / "run.h5", 15) as longer:
        assert np.array_equal(longer["theta"].values, whole["theta"].values)
        assert np.array_equal(longer["loss_sum"].values, whole["loss_sum"].values)


def test_what_is_not_recorded_is_not_booked_and_changes_nothing() -> None:
    alone = _run({"record.variables": ["theta"]})
    assert np.array_equal(alone["theta"].values, _run({})["theta"].values)


def test_a_functional_of_theta_is_booked_where_it_is_recorded() -> None:
    """sum |theta' - theta|^2, against the recorded path; and nothing else changes by a bit."""
    ds = _run({"record.variables": ["theta", "displacement_square"], "theta.dynamics": "sgd", "theta.batch": 4})
    squares = (ds["theta"].diff("step") ** 2).sum("theta_dim").cumsum("step")
    np.testing.assert_allclose(ds["displacement_square"][1:], squares, rtol=1e-12)
    assert np.array_equal(ds["theta"], _run({"theta.dynamics": "sgd", "theta.batch": 4})["theta"])
    assert "displacement_square" not in _run({"record.variables": None, "record.every": 25})


OWN_FUNCTIONAL = """
from dataclasses import replace
import thermosim
def descent(theta, before, loss, gradient, constants, shared, total):
    for i in range(theta.shape[0]):
        for lane in range(theta.shape[1]):
            total[lane] += gradient[i, lane] * (theta[i, lane] - before[i, lane])
MODEL = replace(
    thermosim.MODELS["gaussian"],
    name="gaussian-with-descent",
    functionals=(thermosim.Functional("descent", "theta", "kT", "fall of the loss", "sum g.dtheta", descent),),
)
"""


def test_a_model_brings_a_functional_in_one_entry(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Plain SGD moves along -r (g + lambda theta): without decay its descent is -r sum |g|^2."""
    (tmp_path / "mine.py").write_text(OWN_FUNCTIONAL)
    changes = {"theta.dynamics": "sgd", "theta.weight_decay": 0.0, "theta.batch": 4, "record.variables": None}
    text = GAUSSIAN.replace('name = "gaussian"', 'file = "mine.py"')
    case = thermosim.load_case(text, changes, tmp_path)
    with thermosim.simulate(case, tmp_path / "run.h5") as ds:
        assert ds["descent"].attrs["equation"] == "sum g.dtheta"
        np.testing.assert_allclose(ds["descent"], -0.05 * ds["gradient_square"], rtol=1e-10)
    with thermosim.extend(tmp_path / "run.h5", 5) as longer:
        assert np.isfinite(longer["descent"]).all()


LOSSES = """
from dataclasses import replace
import thermosim
def losses(theta, before, loss, gradient, constants, shared, total):
    for lane in range(theta.shape[1]):
        total[lane] += loss[lane]
def slopes(theta, before, loss, gradient, constants, shared, total):
    for i in range(theta.shape[0]):
        for lane in range(theta.shape[1]):
            total[lane] += gradient[i, lane]
MODEL = replace(
    thermosim.MODELS["gaussian"],
    name="gaussian-with-losses",
    functionals=(
        thermosim.Functional("losses", "theta", "kT", "losses", "sum L", losses),
        thermosim.Functional("slopes", "theta", "1", "slopes", "sum_t sum_i g_i", slopes),
    ),
)
"""


@pytest.mark.parametrize("name", ["sgd", "adam", "langevin", "metropolis"])
def test_a_functional_is_told_the_same_by_every_move(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Loss and gradient at theta before the move, whatever the move does with them, and whatever else is recorded."""
    (tmp_path / "mine.py").write_text(LOSSES)
    text = GAUSSIAN.replace('name = "gaussian"', 'file = "mine.py"')
    thermal = {"theta.temperature": 0.3} if name in ("langevin", "metropolis") else {}
    sums = []
    for more in ([], ["log_ratio_theta"] if thermal else []):
        variables = ["theta", "loss_sum", "losses", "slopes", *more]
        changes = {"theta.dynamics": name, "record.variables": variables, **thermal}
        ds = thermosim.simulate(thermosim.load_case(text, changes, tmp_path))
        np.testing.assert_allclose(ds["losses"], ds["loss_sum"], rtol=1e-12)
        rows = machines(ds)[0].data.values
        gradients = np.stack([_gradient(theta, rows).sum(1) for theta in ds["theta"].values[:-1]])
        np.testing.assert_allclose(ds["slopes"][1:], gradients.cumsum(0), rtol=1e-8, atol=1e-8)
        sums.append(ds["slopes"].values)
    assert np.array_equal(*sums)


@pytest.mark.parametrize(
    ("functional", "word"),
    [
        ('"theta", "theta", "1", "", "", book', "name that is taken"),
        ('"step", "theta", "1", "", "", book', "name that is taken"),
        ('"mine", "x", "1", "", "", book', "must be of theta"),
        ('"mine", "theta", "1", "", ""', "must be of theta and have a function"),
        ('"mine", "theta", "1", "", "", lambda theta, before: None', "must be book"),
    ],
)
def test_functionals_that_cannot_be_are_refused(functional: str, word: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nimport thermosim\n"
        "def book(theta, before, loss, gradient, constants, shared, total):\n    pass\n"
        f"MODEL = replace(thermosim.MODELS['gaussian'], functionals=(thermosim.Functional({functional}),))\n"
    )
    with pytest.raises(thermosim.CaseError, match=word):
        thermosim.load_case(GAUSSIAN.replace('name = "gaussian"', 'file = "mine.py"'), {}, tmp_path)


def test_a_sweep_over_moves_is_checked() -> None:
    """What holds for one move is not asked of the others."""
    sweep = {"theta.dynamics": {"values": ["sgd", "nesterov", "adam"]}}
    changes = {"theta.batch": 4, "sweep": sweep, "ensemble.replicas": 200, "theta.learn": ["mean"], "run.steps": 6}
    ds = thermosim.simulate(thermosim.load_case(GAUSSIAN, changes | {"record.variables": None, "x.dynamics": "exact"}))
    assert thermosim.check(ds).consistent


def _acceptance(ratio: float) -> float:
    """Mean acceptance of a normal random walk on a normal law, `ratio` the one's deviation over the other's.

    The pair (x, x') accepts with mean (2/pi) arctan(2/ratio): A. Gelman, G. O. Roberts, W. R. Gilks, Bayesian
    Statistics 5, 599 (1996).
    """
    return 2.0 / np.pi * np.arctan(2.0 / ratio)


TRAP = """
title = "a trap sampled by proposals"
[model]
name = "harmonic-trap"
[theta.protocol]
stiffness = [[2.5]]
center = [0.7]
[theta]
dynamics = "protocol"
[x]
dynamics = "metropolis"
time_step = 0.3
temperature = 0.8
tau = 4
[ensemble]
replicas = 20_000
seed = 9
[run]
steps = 10
[record]
every = 5
"""


def test_metropolis_of_x_keeps_the_equilibrium_and_accepts_as_it_must() -> None:
    """exp(-phi/T) is invariant at any h, the log ratio is -heat/T, the acceptance that of the exact formula."""
    ds = thermosim.simulate(thermosim.load_case(TRAP))
    x, deviation = ds["x"].isel(step=-1, x_dim=0).values, np.sqrt(0.8 / 2.5)
    mean, error = mean_and_error(x)
    assert_within(mean, error, 0.7, catches="a drift", mistake=0.3 * deviation)
    mean, error = mean_and_error((x - 0.7) ** 2)
    assert_within(mean, error, deviation**2, catches="h for 2 h, or T left out of the acceptance", mistake=0.1)
    rate, error = mean_and_error(ds["accepted"].isel(step=-1).values / 40.0)
    exact = _acceptance(np.sqrt(2.0 * 0.3 * 0.8) / deviation)
    assert_within(rate, error, exact, catches="a proposal sqrt(2) too long", mistake=0.1)
    np.testing.assert_allclose(ds["log_ratio_x"], -ds["heat"] / 0.8, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ds["phi"] - ds["phi"][0], ds["work"] + ds["heat"], atol=1e-9)


def test_metropolis_of_x_keeps_an_anisotropic_equilibrium() -> None:
    """Covariance T K^-1 of a trap whose axes are coupled and unequal, stationary at any h."""
    stiffness = np.array([[2.5, 0.9], [0.9, 0.8]])
    trap = {"model.dimension": 2, "theta.protocol.stiffness": stiffness.tolist(), "theta.protocol.center": [0.7, -0.4]}
    x = thermosim.simulate(thermosim.load_case(TRAP, trap))["x"].isel(step=-1).values - [0.7, -0.4]
    exact = 0.8 * np.linalg.inv(stiffness)
    for i, j in ((0, 0), (0, 1), (1, 1)):
        mean, error = mean_and_error(x[:, i] * x[:, j])
        assert_within(mean, error, exact[i, j], catches="T for T/2, or axes exchanged", mistake=abs(exact[i, j]) / 2)


def test_metropolis_of_x_obeys_jarzynski_under_a_drag() -> None:
    """Moves in detailed balance at any time step: <exp(-w/T)> = exp(-dF/T), dF of a stiffening trap."""
    stiffer = {"kind": "linear", "initial": [[2.5]], "final": [[4.0]]}
    ds = thermosim.simulate(thermosim.load_case(TRAP, {"theta.protocol.stiffness": stiffer}))
    weights = np.exp(-ds["work"].isel(step=-1).values / 0.8)
    mean, error = mean_and_error(weights)
    assert_within(mean, error, np.sqrt(2.5 / 4.0), catches="work booked at the wrong theta", mistake=0.1)
    assert thermosim.check(ds).consistent


THERMAL = {
    "theta.dynamics": "metropolis",
    "theta.learn": ["mean"],
    "theta.temperature": 0.4,
    "theta.learning_rate": 0.5,
    "ensemble.replicas": 20_000,
    "run.steps": 30,
    "record.every": 15,
    "record.variables": ["theta", "accepted_theta", "log_ratio_theta", "minibatch_loss", "loss_sum"],
}


def test_metropolis_of_theta_samples_the_loss() -> None:
    """exp(-U/T) with U = L + lambda |theta|^2/2 is normal for the mean: stationary from its own law on, at any r."""
    precision = np.exp([0.3, -0.2])
    rows = machines(_run({"run.steps": 1}))[0].data.values
    stiffness = precision + 0.2
    center, deviation = precision * rows.mean(0) / stiffness, np.sqrt(0.4 / stiffness)
    start = {"mean": center.tolist(), "log_precision": [0.3, -0.2]}
    spread = {"mean": deviation.tolist(), "log_precision": 0.0}
    ds = _run(THERMAL | {"theta.initial": start, "theta.spread": spread})
    theta = ds["theta"].isel(step=-1).values[:, :2]
    for i in range(2):
        mean, error = mean_and_error(theta[:, i])
        assert_within(mean, error, center[i], catches="the weight decay left out", mistake=0.1)
        mean, error = mean_and_error((theta[:, i] - center[i]) ** 2)
        assert_within(mean, error, deviation[i] ** 2, catches="T for T/2", mistake=0.5 * deviation[i] ** 2)
    energy = _energy(ds["theta"].values, rows, precision)
    np.testing.assert_allclose(ds["log_ratio_theta"][-1], -(energy[-1] - energy[0]) / 0.4, rtol=1e-7, atol=1e-7)


def _energy(theta: np.ndarray, rows: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """U at theta (F, R, 4), but for what does not depend on the mean."""
    gap = theta[..., None, :2] - rows
    return 0.5 * (precision * (gap**2).mean(-2)).sum(-1) + 0.1 * (theta**2).sum(-1)


def test_metropolis_of_theta_in_one_dimension_accepts_as_it_must() -> None:
    one = {"model.dimension": 1, "data.mean": 0.5, "data.deviation": 0.8, "theta.weight_decay": 0.0}
    rows = machines(_run({"run.steps": 1, "theta.initial": {"mean": 0.0, "log_precision": 0.3}, **one}))[0].data.values
    deviation = float(np.sqrt(0.4 / np.exp(0.3)))
    start = {"mean": float(rows.mean()), "log_precision": 0.3}
    ds = _run(THERMAL | one | {"theta.initial": start, "theta.spread": {"mean": deviation, "log_precision": 0.0}})
    rate, error = mean_and_error(ds["accepted_theta"].isel(step=-1).values / 30.0)
    exact = _acceptance(float(np.sqrt(2.0 * 0.5 * 0.4)) / deviation)
    assert_within(rate, error, exact, catches="a proposal sqrt(2) too long", mistake=0.1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"theta.momentum": 0.5}, ["theta.momentum", "'sgd' or 'nesterov'", "remove it"]),
        ({"theta.dynamics": "sgd", "theta.beta1": 0.5}, ["theta.beta1", "'adam' or 'adamw'"]),
        ({"theta.beta2": 1.0}, ["theta.beta2 = 1.0", "less than 1"]),
        ({"theta.temperature": 0.1}, ["theta.temperature", "no thermal noise", "'sgld'"]),
        ({"theta.dynamics": "metropolis"}, ["theta.temperature: missing"]),
        (
            {"theta.dynamics": "metropolis", "theta.temperature": {"mean": 1.0, "log_precision": 0.5}},
            ["accepts or refuses at one temperature"],
        ),
        ({"run.direction": "there-and-back"}, ["retraces sgd, not 'adam'"]),
        ({"theta.radius": 2.0}, ["theta.radius", "not scale-invariant"]),
        ({"record.variables": ["log_ratio_theta"]}, ["no transition density", "'metropolis'"]),
        (
            {"theta.dynamics": "metropolis", "theta.temperature": 0.3, "theta.gradient": "contrast"},
            ["accepts by the loss of the data", "'likelihood'"],
        ),
        (
            {"sweep": {"theta.dynamics": {"values": ["adam", "sgd"]}, "theta.beta1": {"values": [0.9, 0.5]}}},
            ["theta.beta1 = 0.5", "not 'sgd'"],
        ),
    ],
)
def test_refusals(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(thermosim.CaseError) as refused:
        thermosim.load_case(GAUSSIAN, changes)
    for word in words:
        assert word in str(refused.value), str(refused.value)
